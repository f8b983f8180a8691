"""The form for a new user: its fields under the rules of templates, and what it is opened with.

It is filled by templates, another user and the address; the nearer wins, locks hold.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import QueryDict

from customers import countries
from customers.models import Customer
from partnerportal import grants
from partnerportal.http import OperatorRequest, typed
from partnerportal.upstream.errors import UpstreamError
from partnerportal.upstream.http import Secret

from . import first_licences, names, tally, templates
from .forms import TOO_OLD, TextField, UserForm, best_domain, federated_domains, new_op_id, tidy

# What an address may fill in, for anybody can send one. Never a password, nor what says how it is made; nor the
# immutable ID, which ties the user to somebody in another directory for good.
FROM_ADDRESS = ("first_name", "last_name", "display_name", "user_name", "domain", "usage_location")
GONE = (
    "The template of this form is not there any more, so what it locked is open now. "
    "Check the fields and send the form again, without it"
)
Sources = dict[str, tuple[str, str]]
"""Field -> (value, where it is from)."""


class NewUserForm(UserForm):
    """Everything a new user needs. `rules` are what templates say of the fields, and hold whatever was posted."""

    MADE, TYPED = "made", "typed"
    is_bare = False

    template = forms.CharField(required=False, widget=forms.HiddenInput)
    password_mode = forms.ChoiceField(
        label="Password",
        choices=[(MADE, "Make one for me, easy to read out"), (TYPED, "I type one")],
        widget=forms.RadioSelect,
        initial=MADE,
        required=False,
    )
    immutable_id = TextField(
        label="Immutable ID",
        max_length=128,
        required=False,
        help_text="Only to link this user to an on-premises directory object. It cannot be changed later. "
        "Leave empty if unsure.",
    )
    licences = forms.MultipleChoiceField(
        label="Licences",
        required=False,
        widget=first_licences.Ticks,
        help_text="Assigned right after the user is created. How many are left was read when this form was opened.",
        error_messages=dict.fromkeys(("invalid_choice", "invalid_list"), TOO_OLD),
    )
    offer = forms.CharField(required=False, widget=forms.HiddenInput)
    despite_deleted = forms.BooleanField(
        label="Create a new user all the same",
        required=False,
        help_text="The deleted one can then be restored only under another user name.",
    )

    def __init__(
        self,
        *args: Any,
        rules: Mapping[str, templates.Rule] | None = None,
        sources: Mapping[str, tuple[str, str]] | None = None,
        **kwargs: Any,
    ) -> None:
        """`sources` tells of values that no template filled in: field -> (value, where it is from)."""
        self.rules = dict(rules or {})
        self._tampered: list[str] = []
        super().__init__(*args, **kwargs)
        self._posted = self.data  # before anything is put back
        self.offered = self._opened_offer()
        self.preset = self._preset()
        self.pattern = self._pattern("user_name", self.pattern)
        self.display_pattern = self._pattern("display_name", self.display_pattern)
        for name, rule in self.rules.items():
            self._obey(name, rule)
        self.user_name_is_locked = self._is_fixed("user_name")
        self._say_sources(sources or {})

    def _opened_offer(self) -> first_licences.Offer:
        try:
            return first_licences.opened(self._said("offer"), self.customer)
        except forms.ValidationError:  # no licence can be chosen, then
            return first_licences.NOTHING

    def _preset(self) -> first_licences.Preset:
        """Offer the licences that the customer has, those of the templates ticked where they can be had."""
        rule, field = self.rules.get("licences"), self._choice("licences")
        preset = self.offered.preset(rule.value) if rule and self.offered.skus else first_licences.Preset()
        field.choices = self.offered.choices
        assert isinstance(field.widget, first_licences.Ticks)  # noqa: S101 -- for the type checker
        field.widget.closed = frozenset(self.offered.skus) if rule and rule.fixed else self.offered.used_up
        field.initial = list(preset.chosen)
        return preset

    def _obey_licences(self, rule: templates.Rule) -> None:
        """Nothing is required or locked where there is nothing to choose: the user is created without, and told so."""
        field, can_choose = self.fields["licences"], bool(set(self.offered.skus) - self.offered.used_up)
        told = f"{self.preset.left_out} Set by {rule.source}." if self.preset.left_out else f"From {rule.source}."
        if rule.value or rule.fixed:
            field.help_text = f"{field.help_text} {'Locked. ' if rule.fixed else ''}{told}"
        if rule.mode == templates.REQUIRED and can_choose:
            field.required = True
            field.error_messages["required"] = f"Choose one: Licences are required by {rule.source}"
        if rule.fixed and self.is_bound:
            data = QueryDict(mutable=True)
            data.update(self.data)
            if not set(data.getlist("licences")) <= set(self.preset.chosen):
                self._tampered.append("licences")
            data.setlist("licences", list(self.preset.chosen))
            self.data = data

    def _pattern(self, name: str, usual: str) -> str:
        rule = self.rules.get(name)
        pattern = rule.value if rule and rule.value else usual
        self.fields[name].widget.attrs["data-pattern"] = pattern
        return pattern

    def _obey(self, name: str, rule: templates.Rule) -> None:
        """Make a field what its rule says, and put back what was posted against it."""
        if name == "licences":
            self._obey_licences(rule)
            return
        field = self.fields[name]
        if rule.mode == templates.REQUIRED:
            field.required = True
            field.error_messages["required"] = f"Enter a value: {field.label} is required by {rule.source}"
        if not rule.fixed or name == "user_name":
            return
        if name in ("usage_location", "domain", "password_mode"):
            choice = self._choice(name)
            choice.choices = [one for one in self._flat(choice) if one[0] == rule.value] or [(rule.value, rule.value)]
        elif name == "force_change":
            field.widget.attrs["disabled"] = True  # a tick-box cannot be read-only; its value travels hidden
        else:
            field.widget.attrs["readonly"] = True
        if name == "domain":
            self.only_domain = rule.value
        if self.is_bound:
            self._put_back(name, "" if name == "display_name" else rule.value)

    @staticmethod
    def _flat(field: forms.ChoiceField) -> list[tuple[Any, Any]]:
        """The choices of a select without their groups."""
        told: list[Any] = list(field.choices)  # type: ignore[arg-type]
        groups = [label if isinstance(label, list) else [(value, label)] for value, label in told]
        return [one for group in groups for one in group]

    def _put_back(self, name: str, value: str) -> None:
        data = QueryDict(mutable=True)
        data.update(self.data)
        posted = data.get(name)
        if name == "display_name":  # made of the names, here and now
            names_ = (tidy(data.get("first_name", "")), tidy(data.get("last_name", "")))
            allowed = {"", names.display(*names_, self.display_pattern)}
        else:
            allowed = {value}
        if posted is not None and tidy(posted) not in allowed:
            self._tampered.append(name)
        data[name] = value
        self.data = data

    def _say_sources(self, sources: Mapping[str, tuple[str, str]]) -> None:
        """Beside each value stands where it comes from, as long as it is that value."""
        filled = {name: (rule.value, f"from {rule.source}") for name, rule in self.rules.items()}
        told = filled | {name: from_ for name, from_ in sources.items() if not self._is_fixed(name)}
        for name, (value, source) in told.items():
            field = self.fields[name]
            if name == "licences":  # says so itself, with what could not be had
                continue
            if name in ("user_name", "display_name") and name not in sources:
                words = f"Made as “{value}”, {source}."
            elif self._said(name).lower() in (value.lower(), {"on": "true", "false": ""}.get(value, value)):
                words = f"{source[0].upper()}{source[1:]}."
            else:
                words = ""
            words = f"Locked. {words}" if self._is_fixed(name) else words
            field.help_text = f"{field.help_text} {words}".strip()

    def _is_fixed(self, name: str) -> bool:
        return name in self.rules and self.rules[name].fixed

    @property
    def shown(self) -> dict[str, bool]:
        """Whether a field is on the page. One with an error always is."""
        hidden = {name for name, rule in self.rules.items() if rule.mode == templates.HIDDEN}
        return {name: name not in hidden or name in self.errors for name in self.fields}

    @property
    def not_shown(self) -> list[str]:
        """What is set without being on the page, in words."""
        return [
            f"{self.fields[name].label}: {self._in_words(name, rule.value) or 'empty'}, from {rule.source}."
            for name, rule in self.rules.items()
            if not self.shown[name] and (name != "licences" or self.offered.skus)
        ]

    def _in_words(self, name: str, value: str) -> str:
        if name != "licences":
            return templates.value_in_words(name, value)
        chosen = ", ".join(sorted(self.offered.skus[sku_id]["name"] for sku_id in self.preset.chosen)) or "none"
        return f"{chosen} ({self.preset.left_out})" if self.preset.left_out else chosen

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if not cleaned.get("usage_location") and "usage_location" not in self.errors:
            why = ": Microsoft assigns no licence without one" if cleaned.get("licences") else ""
            self.add_error("usage_location", f"Choose a usage location{why}")
        if problem := self.offered.why_not(cleaned.get("licences", [])):
            self.add_error("licences", problem)
        if cleaned.get("password_mode") == self.TYPED:
            self._clean_typed_password(cleaned)
        self._clean_locked(cleaned)
        return cleaned

    def _clean_locked(self, cleaned: dict[str, Any]) -> None:
        """What was posted against a lock is refused in words. The fields stand as they are to be already."""
        for name in self._tampered:
            rule, label = self.rules[name], self.fields[name].label
            value = templates.value_in_words(name, rule.value) or "empty"
            self.add_error(
                name, f"{label} is locked by {rule.source}: {value}. It was set back; check it and send again"
            )
        local, _, domain = str(cleaned.get("user_principal_name", "")).partition("@")
        if self._is_fixed("domain") and domain and domain != self.rules["domain"].value.lower():
            rule = self.rules["domain"]
            self.add_error(
                "domain", f"The domain is locked by {rule.source}: {rule.value}. Type the user name without @"
            )
        first, last = cleaned.get("first_name", ""), cleaned.get("last_name", "")
        if self._is_fixed("user_name") and local and not names.fits(local, first, last, self.pattern):
            self.add_error(
                "user_name",
                f"User names are made as {self.pattern} by {self.rules['user_name'].source}. "
                f"Use {self.proposal}, or that with a number",
            )

    def bare(self) -> "NewUserForm":
        """The same for somebody who may not create users here: what they typed, and nothing that templates say."""
        plain = NewUserForm(self._posted, customer=self.customer)
        plain.is_bare = True
        plain.is_valid()
        return plain

    @property
    def user_fields(self) -> dict[str, str]:
        """What is to be true of the new user, as `Operation.fields` keeps it."""
        names_ = ("user_principal_name", "display_name", "first_name", "last_name", "usage_location", "immutable_id")
        return {name: self.cleaned_data[name] for name in names_}

    @property
    def wanted_licences(self) -> dict[str, str]:
        """SKU id -> name of those that are to be assigned once the user is there."""
        return {sku_id: self.offered.skus[sku_id]["name"] for sku_id in self.cleaned_data["licences"]}

    @property
    def typed_password(self) -> Secret | None:
        typed = self.cleaned_data.get("password_mode") == self.TYPED
        return Secret(self.cleaned_data["password"]) if typed else None


# --- Opened and sent -----------------------------------------------------------------------------------------


def opened(request: OperatorRequest, customer: Customer, offer: first_licences.Offer) -> NewUserForm:
    """The form as a GET asks for it. Raises `TemplateGone`."""
    return fresh(request, customer, offer, template=typed(request.GET.dict(), "template"))


def fresh(request: OperatorRequest, customer: Customer, offer: first_licences.Offer, *, template: str) -> NewUserForm:
    """An empty form with its defaults, after the template of this number. Raises `TemplateGone`."""
    chosen = templates.chosen(customer, template)
    rules, seen = templates.rules_for(customer, chosen), tally.of(customer)
    asked = request.GET.dict() if request.method == "GET" else {}
    sources = _like(request, customer, asked.get("like", "")) | _from_address(customer, asked)
    initial = {
        "op_id": new_op_id(),
        "template": chosen.pk if chosen else "",
        "offer": offer.signed(customer),
        "domain": best_domain(customer, seen),
        "usage_location": customer.country_code,
        **templates.initial_of(rules),
        **{name: value for name, (value, _) in sources.items() if name not in rules or not rules[name].fixed},
    }
    return NewUserForm(initial=initial, customer=customer, seen=seen, rules=rules, sources=sources)


def sent(request: OperatorRequest, customer: Customer) -> NewUserForm:
    """The form as it was posted, under the rules of its template as they are now; with an error when it is gone."""
    data, chosen, gone = request.POST.copy(), None, False
    try:
        chosen = templates.chosen(customer, data.get("template", ""))
    except templates.TemplateGone:
        data["template"], gone = "", True
    rules = templates.rules_for(customer, chosen)
    form = NewUserForm(data, customer=customer, seen=tally.of(customer), rules=rules)
    if gone and form.errors is not None:  # which judges the rest first
        form.add_error(None, GONE)
    return form


def around(customer: Customer, form: UserForm) -> dict[str, Any]:
    """What stands on the page of the form: the form, and the templates to choose from."""
    said = form.data.get("template", "") if form.is_bound else form.initial.get("template", "")
    to_choose = [] if getattr(form, "is_bare", False) else templates.names_of(templates.to_choose(customer))
    return {"form": form, "templates": to_choose, "template_id": str(said)}


def _like(request: OperatorRequest, customer: Customer, said: str) -> Sources:
    """?like=<user id> fills location and domain from another user, never the names."""
    try:
        model = grants.partner_center(request.grant).user(customer.tenant_id or "", str(uuid.UUID(said)))
    except (ValueError, UpstreamError):
        return {}
    found = {"usage_location": model.usage_location}
    domain = names.parted(model.user_principal_name)[1]
    if domain not in federated_domains(customer):
        found["domain"] = domain
    return {name: (value, f"from {model.display_name}") for name, value in found.items() if value}


def _from_address(customer: Customer, asked: Mapping[str, str]) -> Sources:
    """The known fields of the address, as far as they can be filled in."""
    found = {name: tidy(typed(asked, name)) for name in FROM_ADDRESS}
    domain, location = found["domain"].lower(), found["usage_location"].upper()
    is_domain = not names.domain_problem(domain) and domain not in federated_domains(customer)
    found["domain"] = domain if is_domain else ""
    found["usage_location"] = location if location in countries.names() else ""
    return {name: (value, "from the address of this page") for name, value in found.items() if value}
