"""Words that people put on a customer: other names, internal codes, tags. The search finds them at once."""

import re
import unicodedata

from django.db import transaction

from partnerportal import audit
from partnerportal.models import AuditEvent, Operator

from . import countries, snapshot, telling
from .find import access_customer
from .models import Customer, Label

LONGEST = 80  # characters
MOST = 20  # of one kind on one customer
_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji need these inside words

PLURALS = {Label.Kind.ALIAS: "aliases", Label.Kind.CODE: "internal codes", Label.Kind.TAG: "tags"}


class LabelRefused(Exception):
    """The label was not added; the sentence says what to change."""


def add(customer: Customer, kind: Label.Kind, text: str, *, by: Operator) -> Label:
    """Put a label on a customer. Raises `LabelRefused`."""
    text = _clean(kind, text)
    folded = countries.fold(text)[:LONGEST]
    with transaction.atomic():
        customer = _held(customer)
        there = Label.objects.filter(customer=customer, kind=kind)
        if same := there.filter(folded=folded).first():
            raise LabelRefused(f"{same.text} is there already. Accents and capitals make no difference.")
        if there.count() >= MOST:
            raise LabelRefused(f"{customer.name} has {MOST} {PLURALS[kind]}, and more do not fit. Remove one first.")
        label = Label.objects.create(customer=customer, kind=kind, text=text, folded=folded)
        _told(customer, f"add {kind.label.lower()}", kind, ("", text), by)
    return label


def remove(customer: Customer, pk: int, *, by: Operator) -> Label | None:
    """Take a label off a customer, and return it; None when it is not there (any more)."""
    with transaction.atomic():
        customer = _held(customer)
        label = Label.objects.filter(customer=customer, pk=pk).first()
        if label is None:
            return None
        label.delete()
        kind = Label.Kind(label.kind)
        _told(customer, f"remove {kind.label.lower()}", kind, (label.text, ""), by)
    return label


def _held(customer: Customer) -> Customer:
    """The customer as it is now, and until this transaction ends: somebody may just have made it one with another.

    Comes first: of two who add at once, the second sees what the first has added.
    """
    snapshot.changed(sorts=(), counts=False)
    return access_customer(customer.key)


def _clean(kind: Label.Kind, text: str) -> str:
    """The text as it is kept: composed, and without outer or double blanks."""
    text = re.sub(" {2,}", " ", unicodedata.normalize("NFC", text).strip())
    article = "an" if kind.label[0] in "AI" else "a"
    if not text or not countries.fold(text):
        raise LabelRefused(f"Type {article} {kind.label.lower()} first.")
    if any(unicodedata.category(char) in _HIDDEN and char not in _JOINERS for char in text):
        raise LabelRefused(
            "This holds a character that cannot be seen, a line break or a tab for one. Type it by hand."
        )
    if len(text) > LONGEST:
        raise LabelRefused(f"This has {len(text)} characters. Use {LONGEST} or fewer.")
    return text


def _told(customer: Customer, action: str, kind: Label.Kind, change: tuple[str, str], by: Operator) -> None:
    """The search knows it, and the audit trail."""
    telling.retell({customer.pk})
    subject = audit.Subject(
        action=action,
        tenant_id=customer.tenant_id or "",
        customer_name=customer.name,
        target_id=customer.avepoint_id,
        fields={str(kind.label).lower().replace(" ", "_"): change},
    )
    audit.note(subject, audit.Result(outcome=AuditEvent.Outcome.DONE), by=by)


def of(customer: Customer) -> list[tuple[Label.Kind, list[Label]]]:
    """What stands on a customer, by kind."""
    found: dict[str, list[Label]] = {}
    for label in Label.objects.filter(customer=customer).order_by("folded", "pk"):
        found.setdefault(label.kind, []).append(label)
    return [(kind, found.get(kind, [])) for kind in Label.Kind]
