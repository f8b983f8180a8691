"""What was typed of a user, judged by shape alone. What is free, allowed or known, only upstream can say.

The form for a new user stands in `new_forms.py`.
"""

import re
import unicodedata
import uuid
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core import signing

from customers import countries
from customers.models import Customer
from partnerportal import vault
from partnerportal.upstream.http import Secret
from partnerportal.widgets import Select

from . import names, passwords
from .tally import NOTHING_SEEN, Tally

OTHER = "other"
MOST_USED, ALL_OTHERS = "Most used by this customer", "All other countries and regions"
MOST_USED_SHOWN = 5
FEDERATED = "{domain} is federated. Create this user in the customer’s own directory, or choose another domain"
TOO_OLD = "This form is too old, or came in pieces. Open it again"
_TYPED = "typed password"
_NO_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CODE = re.compile(r"[A-Z]{2}")


class TextField(forms.CharField):
    """A line of text: outer blanks trimmed, NFC, no control characters; never changed otherwise."""

    def clean(self, value: Any) -> Any:
        text = tidy(super().clean(value))
        if _NO_CONTROL.search(text):
            raise forms.ValidationError("Take out the characters that cannot be seen")
        self.run_validators(text)  # tidying may have made it longer
        return text


def tidy(text: str) -> str:
    """What is done to a text silently."""
    return unicodedata.normalize("NFC", text.strip())


class DomainSelect(Select):
    """A select whose federated domains can be read but not chosen."""

    federated: frozenset[str] = frozenset()

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *args, **kwargs)
        if str(value) in self.federated:
            option["attrs"]["disabled"] = True
        return option


class UserForm(forms.Form):
    """The fields that a new user and a changed one share."""

    pattern = names.USUAL  # what a user name is made after
    display_pattern = names.DISPLAY[0]
    user_name_is_locked = False
    op_id = forms.UUIDField(widget=forms.HiddenInput, error_messages=dict.fromkeys(("required", "invalid"), TOO_OLD))
    first_name = TextField(label="First name", max_length=64, required=False)
    last_name = TextField(label="Last name", max_length=64, required=False)
    display_name = TextField(label="Display name", max_length=256, required=False)
    user_name = forms.CharField(
        label="User name",
        required=False,
        strip=True,
        help_text="What they type to sign in. Letters, numbers and . - _ ' ! # ^ ~",
    )
    domain = forms.ChoiceField(label="Domain", required=False, widget=DomainSelect)
    other_domain = forms.CharField(
        label="Other domain", required=False, help_text="We could not see this domain in the tenant."
    )
    usage_location = forms.ChoiceField(
        label="Usage location",
        required=False,
        widget=Select,
        help_text="Where they work. Microsoft needs it before a licence can be assigned.",
    )
    password = forms.CharField(
        label="Password to set",
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    force_change = forms.BooleanField(label="They must change it at first sign-in", required=False, initial=True)

    def __init__(self, *args: Any, customer: Customer, seen: Tally = NOTHING_SEEN, **kwargs: Any) -> None:
        self.customer = customer
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs.setdefault("autocomplete", "off")
        domain = self._choice("domain")
        domain.choices = domain_choices(customer, self._said("domain"), seen)
        assert isinstance(domain.widget, DomainSelect)  # noqa: S101 -- for the type checker
        domain.widget.federated = federated_domains(customer) - {self._own_domain()}
        self.only_domain = self._only_domain([str(value) for value, _ in domain.choices], domain.widget.federated)
        self._choice("usage_location").choices = self._locations(seen)
        self.fields["user_name"].widget.attrs.update({"spellcheck": "false", "autocapitalize": "none"})

    def _choice(self, name: str) -> forms.ChoiceField:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 -- for the type checker
        return field

    def _locations(self, seen: Tally) -> "Locations":
        return location_choices(self.customer, self._said("usage_location"), seen)

    def _only_domain(self, choices: list[str], federated: frozenset[str]) -> str:
        """The domain, where Partner Center has told of this one alone; "" where there is something to choose."""
        told = self.customer.profile_read_at is not None and self._said("domain") != OTHER
        return choices[0] if told and len(choices) == 2 and choices[0] not in federated else ""

    def _own_domain(self) -> str:
        """The domain that the user has already, which may be kept though it is federated."""
        return ""

    def add_error(self, field: str | None, error: Any) -> None:
        """Where the domain is plain text, only the user name can be mended."""
        is_text = getattr(self, "only_domain", "") and field in ("domain", "other_domain")
        super().add_error("user_name" if is_text else field, error)

    def _said(self, name: str) -> str:
        """A value as it was typed, or as the form was filled."""
        found = self.data.get(name) if self.is_bound else self.initial.get(name)
        return str(found or "")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self._clean_display_name(cleaned)
        self._clean_user_name(cleaned)
        return cleaned

    def _clean_display_name(self, cleaned: dict[str, Any]) -> None:
        if "display_name" in cleaned and not cleaned["display_name"]:
            joined = names.display(cleaned.get("first_name", ""), cleaned.get("last_name", ""), self.display_pattern)
            cleaned["display_name"] = joined
            if not joined and not (self.errors.keys() & {"first_name", "last_name"}):
                self.add_error("display_name", "Enter a display name, or a first and last name")

    def _clean_user_name(self, cleaned: dict[str, Any]) -> None:
        """The whole name, judged as typed. A pasted name@domain is split."""
        local, _, pasted = str(cleaned.get("user_name", "")).partition("@")
        chosen = cleaned.get("domain", "")
        domain = pasted or (cleaned.get("other_domain", "") if chosen == OTHER else chosen)
        if self._is_kept(cleaned, local, domain):
            return
        if problem := names.local_part_problem(local):
            self.add_error("user_name", problem if local else self._no_user_name(cleaned))
        problem, domain = names.domain_problem(domain), domain.lower()
        if problem:
            self.add_error("other_domain" if chosen == OTHER and not pasted else "domain", problem)
        elif domain in federated_domains(self.customer) and not self._had().endswith(f"@{domain}"):
            self.add_error("domain", FEDERATED.format(domain=domain))
        cleaned["user_principal_name"] = f"{local}@{domain}"

    @property
    def proposal(self) -> str:
        """What the names make; "" for those that ASCII cannot write."""
        return names.propose(self._said("first_name"), self._said("last_name"), self.pattern)

    def _no_user_name(self, cleaned: dict[str, Any]) -> str:
        """Nothing can be proposed for names that ASCII cannot write, and it is said why."""
        in_latin = not (cleaned.get("first_name") or cleaned.get("last_name")) or self.proposal
        return "Enter a user name" if in_latin else "Type a user name in Latin letters"

    def _is_kept(self, cleaned: dict[str, Any], local: str, domain: str) -> bool:
        """A name that the user has already is not judged, however odd. Only the case of its domain may differ."""
        had = self._had()
        is_kept = had != "" and f"{local}@{domain.lower()}" == had
        if is_kept:
            cleaned["user_principal_name"] = cleaned["was"]["user_principal_name"]
        return is_kept

    def _had(self) -> str:
        """The user name before the change, its domain in small letters; "" for a new user."""
        was = self.cleaned_data.get("was")
        return "@".join(names.parted(was["user_principal_name"])) if was else ""

    def _clean_typed_password(self, cleaned: dict[str, Any]) -> None:
        problem = passwords.problem_with(cleaned.get("password", ""), cleaned.get("user_principal_name", ""))
        if problem:
            self.add_error("password", problem)


class EditUserForm(UserForm):
    """A user as it was read, to be changed. Carries what it was filled from, signed."""

    KEEP, MADE, TYPED = "keep", "made", "typed"

    phone_number = TextField(label="Phone", max_length=64, required=False)
    password_mode = forms.ChoiceField(
        label="Password",
        choices=[
            (KEEP, "Leave it as it is"),
            (MADE, "Make a new one, easy to read out"),
            (TYPED, "I type a new one"),
        ],
        widget=forms.RadioSelect,
        initial=KEEP,
        required=False,
    )
    sealed_password = forms.CharField(required=False, widget=forms.HiddenInput)
    was = forms.CharField(widget=forms.HiddenInput, error_messages={"required": TOO_OLD})

    def __init__(self, *args: Any, owner: str, **kwargs: Any) -> None:
        """`owner` names the operator and the user: a typed password sealed in this form opens in no other."""
        self.owner = owner
        super().__init__(*args, **kwargs)

    def _own_domain(self) -> str:
        try:
            was = opened_before_image(self._said("was"))
        except forms.ValidationError:
            return ""
        return names.parted(was["user_principal_name"])[1]

    def clean_was(self) -> dict[str, str]:
        return opened_before_image(self.cleaned_data["was"])

    def clean_sealed_password(self) -> Secret | None:
        """A typed password that has been through the review page."""
        sealed = self.cleaned_data["sealed_password"]
        try:
            return Secret(vault.open(_TYPED, self._place(self._said("op_id")), sealed.encode())) if sealed else None
        except vault.VaultError:
            raise forms.ValidationError(TOO_OLD) from None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        sealed = cleaned.get("sealed_password")
        if cleaned.get("password_mode") == self.TYPED:
            cleaned["password"] = sealed.reveal() if sealed else cleaned.get("password", "")
            self._clean_typed_password(cleaned)
        return cleaned

    @property
    def before(self) -> dict[str, str]:
        return dict(self.cleaned_data["was"])

    @property
    def changes(self) -> dict[str, str]:
        """The fields whose typed value is not what the form was filled with, silent tidying aside."""
        typed = {name: self.cleaned_data.get(name, "") for name in self.before}
        return {name: typed[name] for name, was in self.before.items() if typed[name] not in (was, tidy(was))}

    @property
    def wants_password(self) -> bool:
        return self.cleaned_data.get("password_mode") in (self.MADE, self.TYPED)

    @property
    def typed_password(self) -> Secret | None:
        """The typed password, also when it has been through the review page, sealed."""
        typed = self.cleaned_data.get("password_mode") == self.TYPED
        return Secret(self.cleaned_data["password"]) if typed else None

    def sealed_for_review(self, op_id: str = "") -> str:
        """The typed password as the review page carries it, for the write of this form or of the next one's `op_id`."""
        password = self.typed_password
        place = self._place(op_id or self._said("op_id"))
        return vault.seal(_TYPED, place, password.reveal()).decode() if password else ""

    def _place(self, op_id: str) -> str:
        return f"{self.customer.key}/{self.owner}/{op_id.lower()}"


LONGEST_PASSPHRASE = 128  # characters


class LinkForm(forms.Form):
    """A one-time link: how long it works, and what else one must know to open it."""

    HOURS = ((1, "1 hour"), (4, "4 hours"), (24, "1 day"), (72, "3 days"), (168, "7 days"))

    hours = forms.TypedChoiceField(
        label="Works for",
        choices=HOURS,
        coerce=int,
        initial=24,
        help_text="Then it ends by itself.",
        error_messages={"invalid_choice": "Choose one of the times in the list"},
    )
    passphrase = TextField(
        label="Passphrase",
        required=False,
        min_length=6,
        max_length=LONGEST_PASSPHRASE,
        help_text="6 characters or more. Tell it by phone, say.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        error_messages={"min_length": "Make it 6 characters or longer, or leave it empty"},
    )


def before_image(values: Mapping[str, object], of: str = "edit") -> str:
    """What a form was filled from, signed for the form to carry. `of`: the kind of form; each keeps other things."""
    return _was(of).sign_object(values)


def opened_before_image(signed: str, of: str = "edit") -> dict[str, str]:
    """Raises `forms.ValidationError` for anything that we did not sign for this kind of form."""
    try:
        return dict(_was(of).unsign_object(signed))
    except signing.BadSignature:
        raise forms.ValidationError(TOO_OLD) from None


def _was(of: str) -> signing.Signer:
    return signing.Signer(salt=f"users.before-image.{of}")


def new_op_id() -> uuid.UUID:
    """The id of a write, minted with the form; it becomes MS-RequestId."""
    return uuid.uuid4()


def domain_choices(customer: Customer, current: str = "", seen: Tally = NOTHING_SEEN) -> list[tuple[str, str]]:
    """The customer's domains, default first, then by number of users; last one to type by hand."""
    domains = _domains(customer, seen)
    if current and current != OTHER and current not in domains:
        domains.append(current)
    choices = [(domain, _domain_words(customer, domain)) for domain in domains]
    return [*choices, (OTHER, "Other domain…")]


def _domains(customer: Customer, seen: Tally) -> list[str]:
    """The default one first, then by number of users; those of which nothing was seen as Partner Center tells them."""
    known = dict.fromkeys([*customer.domains, *sorted(customer.seen_domains)])
    return sorted(known, key=lambda domain: (domain != customer.domain, -seen.domains[domain.lower()]))


def _domain_words(customer: Customer, domain: str) -> str:
    if customer.seen_domains.get(domain) == "federated":
        return f"{domain} (federated: create this user in the customer’s own directory)"
    return f"{domain} (default)" if domain == customer.domain else domain


def federated_domains(customer: Customer) -> frozenset[str]:
    """The domains in which Microsoft lets nobody create a user from here."""
    return frozenset(domain for domain, kind in customer.seen_domains.items() if kind == "federated")


def best_domain(customer: Customer, seen: Tally = NOTHING_SEEN) -> str:
    """The first of the customer's domains in which users can be created; "" when none is known."""
    federated = federated_domains(customer)
    return next((domain for domain in _domains(customer, seen) if domain not in federated), "")


Countries = list[tuple[str, str]]
Locations = list[tuple[str, str | Countries]]


def location_choices(customer: Customer, current: str = "", seen: Tally = NOTHING_SEEN) -> Locations:
    """The customer's own country, the five that most of its users have, then all others by name.

    Each stands there once. Last is a code that a user has and ISO does not know.
    """
    mine = customer.country_code
    first = [(mine, f"{countries.name_of(mine)} (this customer’s country)")] if mine else []
    used = _most_used(seen, but=mine)
    told = {mine, *(code for code, _ in used)}
    rest = [(code, name) for code, name in countries.names().items() if code not in told]
    if _CODE.fullmatch(current) and current not in countries.names():
        rest.append((current, current))
    top: Locations = [("", "Choose a country or region"), *first]
    return [*top, (MOST_USED, used), (ALL_OTHERS, rest)] if used else [*top, *rest]


def _most_used(seen: Tally, *, but: str) -> Countries:
    """The locations that most users have; equals by name."""
    known = [(code, name) for code, name in countries.names().items() if code != but and seen.locations[code]]
    return sorted(known, key=lambda pair: -seen.locations[pair[0]])[:MOST_USED_SHOWN]
