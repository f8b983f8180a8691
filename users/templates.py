"""Templates of the form for a new user: what stands in a field at first, whether it may be changed, and who says so.

Three layers, the nearer the stronger: the defaults of all customers, those of one customer, and a template with a name.
What a farther layer has locked no nearer one opens.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from customers import countries
from customers.models import Customer
from partnerportal import audit, clock
from partnerportal.models import AuditEvent, Operator
from partnerportal.upstream.partner_center import CustomerUser

from . import names
from .models import UserTemplate

DEFAULT, REQUIRED, LOCKED, HIDDEN = "default", "required", "locked", "hidden"
MODES = {
    DEFAULT: "Filled in, can be changed",
    REQUIRED: "Must be filled in",
    LOCKED: "Locked",
    HIDDEN: "Not shown, and locked",
}
_TEXT = (DEFAULT, REQUIRED, LOCKED, HIDDEN)
_CHOICE = (DEFAULT, LOCKED, HIDDEN)  # never empty, so nothing to require
_NAME = (DEFAULT, LOCKED)  # what they will type to sign in is always shown
FIELDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "first_name": ("First name", _TEXT),
    "last_name": ("Last name", _TEXT),
    "display_name": ("Display name", _CHOICE),
    "user_name": ("User name", _NAME),
    "domain": ("Domain", _NAME),
    "usage_location": ("Usage location", _CHOICE),
    "password_mode": ("Password", _CHOICE),
    "force_change": ("They must change it", _CHOICE),
    "immutable_id": ("Immutable ID", _TEXT),
    "licences": ("Licences", _TEXT),  # by name or part number, as in a file of new users
}
MAY_BE_EMPTY = frozenset(name for name, (_, modes) in FIELDS.items() if modes is _TEXT)
ON, OFF = "on", "false"  # of a tick-box, as Django reads them
WORDS = {
    "password_mode": {"made": "Made by the portal", "typed": "Typed"},
    "force_change": {ON: "Yes", OFF: "No"},
}

Rules = Mapping[str, Mapping[str, str]]
"""Field -> {"mode", "value"}, as a template keeps them."""


class TemplateRefused(Exception):
    """Nothing was saved; the sentence says why and what to do."""


class TemplateGone(Exception):
    """The template that a form was opened with is not there any more."""


@dataclass(frozen=True)
class Rule:
    """What holds for one field of the form, and which layer says so."""

    mode: str
    value: str
    source: str

    @property
    def fixed(self) -> bool:
        return self.mode in (LOCKED, HIDDEN)


def source_of(row: UserTemplate) -> str:
    """Where a value comes from, to be read after "from": the template Warehouse, Contoso's defaults."""
    if row.name:
        return f"the template {row.name}"
    return f"{row.customer.name}’s defaults" if row.customer else "the defaults of all customers"


def of(customer: Customer | None) -> QuerySet[UserTemplate]:
    """The templates of a customer, or with None those of all customers; the defaults first."""
    return UserTemplate.objects.filter(customer=customer).select_related("customer", "changed_by").order_by("folded")


def to_choose(customer: Customer) -> QuerySet[UserTemplate]:
    """The named templates that a new user of this customer may be made with."""
    mine = Q(customer=customer) | Q(customer=None)
    return UserTemplate.objects.filter(mine).exclude(name="").order_by("folded", "pk")


def names_of(rows: Iterable[UserTemplate]) -> list[tuple[int, str]]:
    """(number, name) of templates to choose from; one of all customers says so beside one that is named like it."""
    found = list(rows)
    named = Counter(row.folded for row in found)
    for_all = {row.pk for row in found if row.customer_id is None and named[row.folded] > 1}
    return [(row.pk, f"{row.name} (all customers)" if row.pk in for_all else row.name) for row in found]


def chosen(customer: Customer, said: str) -> UserTemplate | None:
    """The named template of this number. Raises `TemplateGone`."""
    if not said:
        return None
    found = (
        to_choose(customer).filter(pk=said).first() if said.isascii() and said.isdigit() and len(said) < 19 else None
    )
    if found is None:
        raise TemplateGone
    return found


def rules_for(customer: Customer, template: UserTemplate | None = None) -> dict[str, Rule]:
    """What holds for each field of a new user of this customer, the layers laid over each other."""
    rows = UserTemplate.objects.filter(Q(customer=customer) | Q(customer=None), name="").select_related("customer")
    layers = sorted(rows, key=lambda row: row.customer_id is not None) + ([template] if template else [])
    found: dict[str, Rule] = {}
    for layer in layers:
        for name, kept in layer.rules.items():
            found[name] = _over(found.get(name), Rule(kept["mode"], kept["value"], source_of(layer)))
    return found


def _over(farther: Rule | None, nearer: Rule) -> Rule:
    """The nearer rule, but what is locked stays so, and what is required is never left empty."""
    if farther and farther.fixed:
        return farther
    if farther and farther.mode == REQUIRED and (nearer.mode == DEFAULT or not nearer.value):
        return replace(nearer, mode=REQUIRED)
    return nearer


def initial_of(rules: Mapping[str, Rule]) -> dict[str, Any]:
    """What the rules fill in. Patterns are none of it: they make a value once there are names; nor are
    licences, which depend on what the customer has.
    """
    made = ("display_name", "user_name", "licences")
    filled = {name: rule.value for name, rule in rules.items() if name not in made}
    filled = {name: value for name, value in filled.items() if value}
    return filled | ({"force_change": filled["force_change"] == ON} if "force_change" in filled else {})


def from_user(user: CustomerUser, licences: Iterable[str] = ()) -> dict[str, dict[str, str]]:
    """The rules that a user suggests: where they are, their domain, licences, and the patterns of their names."""
    local, domain = names.parted(user.user_principal_name)
    made = (user.first_name, user.last_name)
    display = next((each for each in names.DISPLAY if names.display(*made, each) == user.display_name), "")
    pattern = next((each for each in names.PATTERNS if names.propose(*made, each) == local.lower() != ""), "")
    found = {
        "display_name": display,
        "user_name": pattern,
        "domain": domain,
        "usage_location": user.usage_location,
        "licences": " | ".join(sorted(licences)),
    }
    return {name: {"mode": DEFAULT, "value": value} for name, value in found.items() if value}


def save(row: UserTemplate, *, name: str, rules: Rules, version: int, by: Operator, action: str = "") -> UserTemplate:
    """Store a template, new or as it was read at this version, and the audit line. Raises `TemplateRefused`."""
    before = _in_words(row.rules) | ({"name": row.name} if row.name else {})
    subject = _subject(row, name, action or ("change template" if row.pk else "add template"))
    values = {"name": name, "folded": countries.fold(name)[:200], "rules": dict(rules), "changed_by": by}
    values |= {"changed_at": clock.now(), "version": version + 1}
    if version and not row.pk:
        raise TemplateRefused(
            "Somebody removed this template since you opened it. Nothing was saved, and what you chose is still here. "
            "Save it to have it made anew."
        )
    try:
        with transaction.atomic():
            if not row.pk:
                row = UserTemplate.objects.create(customer=row.customer, **values)
            elif not UserTemplate.objects.filter(pk=row.pk, version=version).update(**values):
                raise TemplateRefused(
                    "Somebody else changed or removed this template since you opened it. Nothing was saved. "
                    "Open it in another tab, and take over what you need."
                )
            after = _in_words(rules) | ({"name": name} if name else {})
            _told(subject, before, after, by)
    except IntegrityError:
        what = f"a template {name}" if name else "a set of defaults"
        raise TemplateRefused(f"There is {what} here already. Nothing was saved. Choose another name.") from None
    return row


def remove(row: UserTemplate, *, version: int, by: Operator) -> None:
    """Take a template away as it was read at this version. Raises `TemplateRefused` when it has changed since.

    Forms that are open with it are told when they are sent.
    """
    with transaction.atomic():
        if UserTemplate.objects.filter(pk=row.pk, version=version).delete()[0]:
            _told(_subject(row, row.name, "remove template"), _in_words(row.rules), {}, by)
        elif UserTemplate.objects.filter(pk=row.pk).exists():
            raise TemplateRefused(
                "Somebody else changed this template since you opened it, so it was not removed. Look at what it says "
                "now, and remove it then."
            )


def target_of(said: str) -> Customer:
    """The customer with this tenant ID or default domain, for a copy. Raises `TemplateRefused`."""
    said = said.strip().lower()
    asked = Customer.objects.filter(Q(tenant_id=said) | Q(domain__iexact=said), listed=True, tenant_id__isnull=False)
    found = list(asked[:2]) if said and "\x00" not in said else []
    if len(found) != 1:
        how_many = "Several customers have" if found else "No customer of Partner Center has"
        raise TemplateRefused(f"{how_many} the tenant ID or default domain {said}. Nothing was copied.")
    return found[0]


def copy(row: UserTemplate, to: Customer, *, by: Operator) -> UserTemplate:
    """Copy a template to another customer. A domain that they do not have stays behind. Raises `TemplateRefused`."""
    rules = {name: rule for name, rule in row.rules.items() if name != "domain" or rule["value"] in to.domains}
    return save(UserTemplate(customer=to), name=row.name, rules=rules, version=0, by=by, action="copy template here")


def value_in_words(name: str, value: str) -> str:
    """The value of a field as people read it."""
    if name == "usage_location":
        return countries.name_of(value)
    return WORDS.get(name, {}).get(value, value)


def in_words(rules: Rules) -> list[tuple[str, str]]:
    """(field, what holds for it) of a template, in the order of the form."""
    told = _in_words(rules)
    return [(FIELDS[name][0], told[name]) for name in FIELDS if name in told]


def _in_words(rules: Rules) -> dict[str, str]:
    return {
        name: f"{MODES[rule['mode']]}: {value_in_words(name, rule['value']) or 'empty'}" for name, rule in rules.items()
    }


def _subject(row: UserTemplate, name: str, action: str) -> audit.Subject:
    customer = row.customer
    return audit.Subject(
        action=action,
        tenant_id=(customer.tenant_id or "") if customer else "",
        customer_name=customer.name if customer else "",
        target_name=name or "Defaults",
    )


def _told(subject: audit.Subject, before: Mapping[str, str], after: Mapping[str, str], by: Operator) -> None:
    """The audit trail knows each field that changed, as it was and as it is."""
    changed = {
        name: (before.get(name, ""), after.get(name, ""))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    }
    audit.note(replace(subject, fields=changed), audit.Result(outcome=AuditEvent.Outcome.DONE), by=by)
