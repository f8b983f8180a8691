"""What Partner Center refused, in our words and on the field it is about (DESIGN section 8).

No real body of most of these refusals is public (CONTRACT 3.5), so we go by keyword at most, and always keep
Microsoft's own sentence for what we do not know.
"""

import re
from dataclasses import dataclass

from partnerportal.upstream.errors import MFA_CODES, OUR_FAULT_CODES, quoted

from . import names
from .forms import FEDERATED
from .models import Operation
from .passwords import TOO_WEAK

NONE_LEFT = "60012"  # of a licence
ROLE_MISSING = {"400", "2032", "900150", "900308"}


@dataclass(frozen=True)
class Refusal:
    """Where a sentence belongs: the form's field, or "" for the form as a whole."""

    field: str
    sentence: str


def name_is_taken(text: str) -> bool:
    """Whether Microsoft's sentence says that the user name exists already."""
    text = text.lower()
    about_name = "userprincipalname" in text.replace(" ", "") or "user name" in text
    return about_name and ("already exist" in text or "same value" in text or "in use" in text)


def explain(operation: Operation) -> Refusal:
    """The refusal of a create or change, for the form that comes back: by code first, then by what the text names."""
    said = operation.detail.lower().replace(" ", "")
    return _by_code(operation) or _by_word(operation, said) or _as_quoted(operation, said)


def _nothing(operation: Operation) -> str:
    return "Nothing was created." if operation.kind == Operation.Kind.CREATE else "Nothing was changed."


def _by_code(operation: Operation) -> Refusal | None:
    """Refusals of the whole, which no field is to blame for."""
    nothing = _nothing(operation)
    code, denied = operation.code, operation.state == Operation.State.DENIED
    if code in OUR_FAULT_CODES:
        return Refusal("", f"We had a fault: Partner Center does not accept our registration. {nothing}")
    if code in _CODES:
        return Refusal("", f"{_CODES[code]} {nothing}")
    if denied or (code in ROLE_MISSING and operation.status in (401, 403)):
        said = quoted(operation.detail)
        return Refusal("", f"Microsoft says that your role here does not allow this: {said} {nothing}")
    if operation.status == 401:
        return Refusal("", f"Partner Center asks you to sign in again{_with(code)}. {nothing}")
    if operation.status == 429:
        return Refusal("", f"{operation.detail} {nothing} Send it again then.")
    return None


def _with(code: str) -> str:
    return " with a second factor" if code in MFA_CODES else ""


_CODES = {
    "20002": "Your company has no relationship with this customer any more.",
    "20003": "This customer does not have that licence any more.",
    "60002": "This user is no longer in this customer. Someone may have deleted it.",
    "60003": "This customer is not in your Partner Center.",
    NONE_LEFT: "No licences of this kind are left. Buy more, or take one from somebody.",
    "900309": "A sign-in rule of the customer or of us blocked this (Conditional Access).",
    "900316": "Partners may not manage licences here. The customer’s own admin centre can.",
}


def _by_word(operation: Operation, said: str) -> Refusal | None:
    """Refusals whose cause we can name ourselves."""
    name = str(operation.fields.get("user_principal_name") or operation.before.get("user_principal_name", ""))
    domain = name.partition("@")[2]
    if operation.was_too_late:
        return Refusal("", "This user changed since you opened the form. Nothing was changed. Open the form again")
    if operation.state == Operation.State.CONFLICT and operation.kind == Operation.Kind.RESTORE:
        return Refusal(
            "",
            f"The user name {name} belongs to somebody else now, so this user was not restored. "
            "Give that user another name first, then restore this one.",
        )
    if operation.state == Operation.State.CONFLICT and _names_user(operation) and "immutableid" not in said:
        return Refusal("user_name", f"The user name {name} is taken. Choose another")
    if _FEDERATED in said:
        federated = federated_domain(operation)
        return Refusal("domain", FEDERATED.format(domain=federated)) if federated else None
    for words, field, sentence in _WORDS:
        if words.search(said):
            return Refusal(field, sentence.format(domain=domain))
    return None


_FEDERATED = "federated"


def federated_domain(operation: Operation) -> str:
    """The domain in which Microsoft lets nobody have this user name; "" where it was asked for none.

    A federated user who gets no new password, say, tells nothing of a domain that somebody chose.
    """
    if _FEDERATED not in operation.detail.lower() or not _names_user(operation):
        return ""
    return names.parted(str(operation.fields.get("user_principal_name", "")))[1]


def _names_user(operation: Operation) -> bool:
    """Whether a user name was asked for, so that it or its domain may be to blame."""
    return operation.kind == Operation.Kind.CREATE or "user_principal_name" in operation.fields


_IN_USE = "(already|inuse|samevalue|belongsto)"
_WORDS = (  # looked for in small letters without blanks
    (
        re.compile(f"immutableid.*{_IN_USE}|{_IN_USE}.*immutableid"),
        "immutable_id",
        "This immutable ID belongs to another user",
    ),
    (re.compile("password"), "password", f"Microsoft refused this password. {TOO_WEAK}"),
    (
        re.compile("domain.*(verif|notfound|unknown)|(un|not)verified.*domain"),
        "domain",
        "{domain} is not a verified domain of this customer. Choose another",
    ),
    (re.compile("usagelocation"), "usage_location", "Choose a usage location"),
)


def _as_quoted(operation: Operation, said: str) -> Refusal:
    """What we do not know stands in Microsoft's words, on the field whose property it names."""
    if operation.status is None:
        return Refusal("", f"{operation.detail} {_nothing(operation)}")
    field = next((field for word, field in _PROPERTIES if word in said), "")
    return Refusal(field, f"Partner Center refused: {quoted(operation.detail)} {_nothing(operation)}")


_PROPERTIES = (
    ("userprincipalname", "user_name"),
    ("immutableid", "immutable_id"),
    ("displayname", "display_name"),
    ("firstname", "first_name"),
    ("lastname", "last_name"),
    ("phonenumber", "phone_number"),
    ("domain", "domain"),
)
