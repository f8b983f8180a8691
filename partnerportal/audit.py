"""The audit trail: an intent before anything is sent, an outcome after.

Both are inserted rows of one chain (`chain.py`); nothing is ever updated. When the intent cannot be stored, nothing is
sent. In a transaction they come last: the end of the chain is locked from there to the commit.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from . import chain, clock
from .log import current_request_id
from .models import AppendOnly, AuditEvent, Operator
from .permissions import Permission, may

Fields = Mapping[str, tuple[Any, Any]]
"""Field name -> (before, after). A secret is named here, its values never are."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What an action is about, as values that stay true when the rows behind them are gone."""

    action: str
    tenant_id: str = ""
    customer_name: str = ""
    target_id: str = ""
    target_name: str = ""
    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Result:
    """How it ended: one of `AuditEvent.Outcome`, and what upstream said about it."""

    outcome: str
    detail: str = ""
    target_id: str = ""
    status: int | None = None
    code: str = ""
    upstream_request_id: str = ""
    correlation_id: str = ""
    milliseconds: int | None = None


def intend(subject: Subject, *, by: Operator, attempt: uuid.UUID | None = None) -> uuid.UUID:
    """Store that `by` is about to do this. Returns the attempt's id, for `conclude`."""
    attempt = attempt or uuid.uuid4()
    chain.append(_row(AuditEvent.Kind.INTENT, attempt, subject, by))
    return attempt


def conclude(attempt: uuid.UUID, subject: Subject, result: Result, *, by: Operator) -> None:
    """Store what became of an attempt. The first outcome of an attempt stays."""
    row = _row(AuditEvent.Kind.OUTCOME, attempt, subject, by)
    row.outcome = result.outcome
    row.detail = result.detail.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    row.target_id = _fit("target_id", result.target_id or subject.target_id)
    row.status = result.status
    row.code = result.code[:60]
    row.upstream_request_id = result.upstream_request_id[:64]
    row.correlation_id = result.correlation_id[:64]
    row.milliseconds = result.milliseconds
    chain.append(row)


def note(subject: Subject, result: Result, *, by: Operator) -> None:
    """An intent and its outcome in one go, for what is decided here: refusals, sign-ins, exports."""
    conclude(intend(subject, by=by), subject, result, by=by)


def _fit(name: str, text: str) -> str:
    """The text as its column takes it. A refused request may name anything, and is to be written down all the same."""
    longest: int = getattr(AuditEvent, name).field.max_length
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:longest]


def deed(action: str) -> str:
    """What somebody did, as the trail has it, at the beginning of a line: "gdap sync" is "GDAP sync"."""
    words = " ".join("GDAP" if word == "gdap" else word for word in action.split(" "))
    return words[:1].upper() + words[1:]


def readable(by: Operator) -> AppendOnly:
    """The part of the trail that this operator may read: a Portal.Admin all of it, others their own."""
    events = AuditEvent.objects.all()
    return events if may(by, Permission.AUDIT_ALL) else events.by(by)


def _row(kind: str, attempt: uuid.UUID, subject: Subject, by: Operator) -> AuditEvent:
    return AuditEvent(
        attempt=attempt,
        kind=kind,
        at=clock.now(),
        mode="sandbox" if settings.SANDBOX else "production",
        actor_tid=str(by.tid),
        actor_oid=str(by.oid),
        actor_name=by.name,
        action=_fit("action", subject.action),
        tenant_id=_fit("tenant_id", subject.tenant_id),
        customer_name=_fit("customer_name", subject.customer_name),
        target_id=_fit("target_id", subject.target_id),
        target_name=_fit("target_name", subject.target_name),
        fields={name: list(values) for name, values in subject.fields.items()},
        request_id=current_request_id(),
    )
