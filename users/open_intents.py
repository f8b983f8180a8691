"""What was begun and has no end yet: listed at every start of a worker, and resolved as far as we alone can (F39).

A process that died, or a database that was put back from an older copy, leaves operations that may have been sent, and
intents in the audit trail without an outcome. Such an operation becomes *unknown*: it is looked up before anything of
it goes again, by its run or by whoever presses the button. Of any other intent nobody will tell the end any more, so
its outcome is *unknown*.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, transaction

from partnerportal import audit, clock
from partnerportal.models import AuditEvent, Operator

from . import operations
from .models import Operation

log = logging.getLogger(__name__)

ENDED_WITHIN = timedelta(hours=1)  # whatever was begun longer ago than that has nobody left who could tell
TOLD = 50  # lines of the log at one start
INTERRUPTED = "The portal was interrupted before this came to its end, or its database was put back from an older copy."


@dataclass(frozen=True)
class Left:
    """One thing that was begun: what, for whom, since when, and what is known."""

    what: str
    who: str
    customer: str
    since: str
    state: str
    request_id: str


def undecided() -> list[Left]:
    """The operations whose outcome nobody knows yet, oldest first; those that merely wait for another one are not."""
    known = (Operation.State.CHECKED, Operation.State.SENT, Operation.State.UNKNOWN)
    found = Operation.objects.filter(state__in=known).select_related("by", "customer").order_by("created_at")
    return [
        Left(
            what=each.get_kind_display(),
            who=each.by.name,
            customer=each.customer.name,
            since=each.created_at.isoformat(timespec="seconds"),
            state=each.state,
            request_id=str(each.op_id),
        )
        for each in found
    ]


def resolve() -> tuple[int, int]:
    """Make what has lost its sender unknown. Returns how many operations, and how many other intents, that were."""
    lost = settle_lost()
    return lost, sum(_conclude(intent) for intent in _without_outcome())


def settle_lost() -> int:
    """An operation whose sender died is unknown, and somebody may check it. Returns how many."""
    in_flight = [Operation.State.CHECKED, Operation.State.SENT]
    lost = [
        each for each in Operation.objects.filter(state__in=in_flight).select_related("by", "customer") if each.lost
    ]
    for operation in lost:
        operations.give_up(operation)
    return len(lost)


def at_start() -> None:
    """Resolve and list: one line each for the newest `TOLD`, so that a restored copy does not start unseen."""
    lost, intents = resolve()
    left = undecided()
    if lost or intents or left:
        log.warning(
            "open intents: %d operations and %d other entries became unknown just now; %d operations are undecided",
            lost,
            intents,
            len(left),
        )
    for each in left[-TOLD:]:
        log.warning("undecided since %s: %s at %s, request %s", each.since, each.what, each.customer, each.request_id)


def _without_outcome() -> Iterator[AuditEvent]:
    return AuditEvent.objects.filter(at__lt=clock.now() - ENDED_WITHIN).attempts("").order_by("id").iterator()


def _conclude(intent: AuditEvent) -> bool:
    """False: somebody has told its end meanwhile, or nobody of that name signed in here."""
    by = Operator.objects.filter(tid=intent.actor_tid, oid=intent.actor_oid).first()
    if by is None:
        return False
    about = audit.Subject(
        action=intent.action,
        tenant_id=intent.tenant_id,
        customer_name=intent.customer_name,
        target_id=intent.target_id,
        target_name=intent.target_name,
        fields={name: tuple(values) for name, values in intent.fields.items()},
    )
    result = audit.Result(outcome=AuditEvent.Outcome.UNKNOWN, detail=INTERRUPTED)
    try:
        with transaction.atomic():
            audit.conclude(intent.attempt, about, result, by=by)
    except IntegrityError:
        return False
    return True
