"""Write-ahead: what is to be sent is stored first, and what came of it is stored after.

checked -> sent -> done | refused | conflict | denied | unknown; before that queued, when it waits for another one. An
answer that may hide a success is *unknown*, never "failed": then somebody looks the user up, and only a look-up that
found nothing lets the same request go again, under the same id and with the same sealed password.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from customers.models import Customer
from partnerportal import audit, by_hand, chain_check, clock, vault
from partnerportal.models import AuditEvent, Operator, TokenCache
from partnerportal.upstream.errors import Conflict, Forbidden, Throttled, UpstreamError
from partnerportal.upstream.http import Secret
from partnerportal.upstream.partner_center import Receipt

from . import queued, refusals
from .models import OnboardingRow, Operation
from .models.users import fitting

log = logging.getLogger(__name__)

State = Operation.State
PATIENCE = 25.0  # seconds that a second press waits for the answer to the first
MINUTE = timedelta(minutes=1)
MOST_LOOK_UPS = 10  # by hand, of one person within a minute: each may walk over all users of a customer


class StrangeOperation(Exception):
    """This `op_id` is known from another operator, customer or with other values. Nothing of it is shown."""


class StillOpen(Exception):
    """Nobody knows yet what became of another create of this very name. `operation` is the older one."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        super().__init__()


class TooSoon(Exception):
    """It was looked up a moment ago, or its author has had much looked up. `str()` says when to ask again."""

    def __init__(self, why: str, at: datetime) -> None:
        super().__init__(f"{why} Check again after {timezone.localtime(at):%H:%M:%S}.")


class NotOurs(Exception):
    """Somebody else has taken over what this was sent for, so nothing was sent."""


_still_ours: ContextVar[Callable[[], bool] | None] = ContextVar("still_ours", default=None)


@contextmanager
def only_while(still_ours: Callable[[], bool]) -> Iterator[None]:
    """No intent is committed inside once `still_ours` says no. It is asked in the intent's own transaction."""
    token = _still_ours.set(still_ours)
    try:
        yield
    finally:
        _still_ours.reset(token)


def _must_be_ours() -> None:
    still_ours = _still_ours.get()
    if still_ours and not still_ours():
        raise NotOurs


def find(
    op_id: uuid.UUID,
    *,
    kind: str,
    by: Operator,
    customer: Customer,
    fields: Mapping[str, Any],
    target_id: str = "",
    sets_password: bool = True,
    password: Secret | None = None,
    force_change: bool = True,
) -> Operation | None:
    """The operation that this form has started already; None for a first press. Raises `StrangeOperation`."""
    operation = Operation.objects.filter(op_id=op_id).first()
    if operation is None:
        return None
    known = (operation.kind, operation.by_id, operation.customer_id, operation.fields, operation.sets_password)
    if known != (kind, by.pk, customer.pk, dict(fields), sets_password):
        raise StrangeOperation
    if sets_password and operation.force_change != force_change:
        raise StrangeOperation
    if password and operation.has_password and _open(operation) != password:  # compared in constant time
        raise StrangeOperation
    if target_id and operation.target_id != target_id:  # of a create, only the answer tells it
        raise StrangeOperation
    return operation


def begin(
    op_id: uuid.UUID,
    *,
    kind: str,
    by: Operator,
    grant: TokenCache,
    customer: Customer,
    fields: Mapping[str, Any],
    target_name: str,
    target_id: str = "",
    before: Mapping[str, Any] | None = None,
    password: Secret | None = None,
    force_change: bool = True,
    licences: Mapping[str, str] | None = None,
    seen_absent_at: datetime | None = None,
) -> Operation:
    """Commit the intent: the row, the sealed password and the audit line.

    `licences` (SKU id -> name) are to be assigned once a user is created, whose name was absent at `seen_absent_at`.
    Raises IntegrityError on a second press, and while another create of the same name is undecided;
    `chain_check.Broken` while the audit trail is not whole; `NotOurs` as `only_while` says.
    """
    chain_check.must_hold()
    operation = Operation(
        op_id=op_id,
        kind=kind,
        by=by,
        session=grant.pk,
        job=grant.job,
        customer=customer,
        tenant_id=customer.tenant_id or "",
        target_id=target_id,
        target_name=fitting(Operation, {"target_name": target_name})["target_name"],
        fields=dict(fields),
        before=dict(before or {}),
        force_change=force_change,
        sets_password=password is not None,
        sealed_password=vault.seal("operation", str(op_id), password.reveal()) if password else None,
        open_name=fields["user_principal_name"].lower() if kind == Operation.Kind.CREATE else "",
        seen_absent_at=seen_absent_at,
        sent_at=clock.now(),
    )
    with transaction.atomic():
        _must_be_ours()
        by_hand.insert(operation)
        queued.store(operation, licences or {})
        audit.intend(subject(operation), by=by, attempt=operation.attempt)
    return operation


def send(operation: Operation, call: Callable[[], Receipt]) -> Operation:
    """Make the call once and write down what came of it. Never raises for what upstream answered."""
    if not operation.write(state=State.SENT, sent_at=clock.now()):
        return wait_for(operation)
    started = time.monotonic()
    try:
        receipt = call()
    except UpstreamError as error:
        operation.claims, operation.retry_at = error.claims, error.retry_at
        _settle(operation, **_refused(error, operation), milliseconds=_since(started))
    except Exception:
        # Whatever broke in here, it may have been sent: the last thing to say is that nothing was changed.
        log.exception("operation %s broke off", operation.op_id)
        _settle(operation, state=State.UNKNOWN, detail="We had a fault while it was being done.")
    else:
        created = receipt.user if operation.kind == Operation.Kind.CREATE else None
        target = {"target_id": created.id} if created else {}
        _settle(
            operation,
            state=State.DONE,
            status=receipt.status,
            correlation_id=receipt.correlation_id,
            detail=" ".join(receipt.warnings),
            milliseconds=_since(started),
            **target,
        )
    return operation


def again(operation: Operation, *, by: Operator, grant: TokenCache) -> bool:
    """Open an operation for a send under its old id: a look-up found it absent, or it has waited for another one.

    Its password may then be seen by the sign-in that sends it now. False: somebody was faster. Raises
    `chain_check.Broken` while the audit trail is not whole.
    """
    chain_check.must_hold()
    attempt = uuid.uuid4()
    with transaction.atomic():
        _must_be_ours()
        won = operation.write(
            state=State.CHECKED,
            attempt=attempt,
            session=grant.pk,
            tries=operation.tries + 1,
            sent_at=clock.now(),
            checked_at=None,
            found_absent=False,
        )
        if won:
            audit.intend(subject(operation), by=by, attempt=attempt)
    return won


def take_look_up(operation: Operation) -> None:
    """Before its author has it looked up: not within moments, nor too much of theirs in all. Raises `TooSoon`."""
    if at := operation.ask_again_at:
        raise TooSoon("This was looked up just now.", at)
    now = clock.now()
    lately = Operation.objects.filter(by=operation.by, asked_at__gt=now - MINUTE, asked_at__lt=now + MINUTE)
    others = lately.exclude(pk=operation.pk).order_by("-asked_at")[:MOST_LOOK_UPS]
    newest = [each.asked_at for each in others if each.asked_at]
    if len(newest) == MOST_LOOK_UPS:
        why = f"You had {MOST_LOOK_UPS} changes looked up within a minute."
        raise TooSoon(why, newest[-1] + MINUTE)
    asked = Operation.objects.filter(pk=operation.pk, asked_at=operation.asked_at)
    if not asked.update(asked_at=now):  # the other of two presses was faster
        raise TooSoon("This is being looked up.", now + Operation.PAUSES[0])
    operation.asked_at = now


def decide(
    operation: Operation,
    *,
    by: Operator,
    state: str,
    detail: str = "",
    checked_at: datetime | None = None,
    **values: Any,
) -> bool:
    """Write down what a look-up, made at `checked_at` or now, found out about an unknown operation. False: somebody
    was faster.
    """
    about = subject(operation)
    with transaction.atomic():
        decided = {} if state == State.UNKNOWN else {"decided_at": clock.now()}
        won = operation.write(state=state, detail=detail, checked_at=checked_at or clock.now(), **decided, **values)
        if won:
            queued.lead_on(operation)
            OnboardingRow.follow(operation)
            looked_up = audit.Subject(**{**vars(about), "action": f"check {about.action}"})
            result = audit.Result(outcome=_OUTCOMES[State(state)], detail=detail, target_id=operation.target_id)
            audit.note(looked_up, result, by=by)
    return won


def wait_for(operation: Operation) -> Operation:
    """The operation once it is decided; after `PATIENCE` seconds as it stands. For the second of two presses."""
    until = time.monotonic() + PATIENCE
    operation.refresh_from_db()
    while operation.state in {State.CHECKED, State.SENT} and not operation.lost and time.monotonic() < until:
        time.sleep(0.2)
        operation.refresh_from_db()
    if operation.lost:
        give_up(operation)
    return operation


def settled(operation: Operation) -> Operation:
    """The operation as it stands; unknown when whoever sent it has died."""
    if operation.lost:
        give_up(operation)
    return operation


def give_up(operation: Operation) -> None:
    """Nobody is left who could tell: what was sent by a process that died is unknown."""
    _settle(operation, state=State.UNKNOWN, detail="The portal was interrupted before the answer came.")


def password_of(operation: Operation, *, by: Operator, grant: TokenCache) -> Secret | None:
    """The password that was set, for the person and the sign-in that set it, until Done or 15 minutes.

    A row of a run has no answer that somebody reads at once: its password is there for its owner, until Done or a day.
    Of a user who was deleted since, or has a newer one, there is nothing to hand over.
    """
    if operation.sealed_password is None or operation.state != State.DONE or operation.decided_at is None:
        return None
    in_a_run = OnboardingRow.objects.filter(op_id=operation.op_id).exists()
    if operation.by_id != by.pk or not (in_a_run or operation.session == grant.pk):
        return None
    if clock.now() - operation.decided_at >= (Operation.SEALED_FOR if in_a_run else Operation.SHOWN_FOR):
        return None
    if was_deleted(operation) or newer_password(operation):
        return None
    try:
        return _open(operation)
    except vault.VaultError:  # its key was taken away
        return None


def sealed_password_of(operation: Operation) -> Secret:
    """The password to send, whatever the state. For the wire only, never for a page. Raises `VaultError`."""
    return _open(operation)


def sent_within_a_minute(by: Operator) -> int:
    """How many writes this person has sent by hand within the last minute: not the rows of a run, nor what waits.

    Of one that went again all sends count, whenever they were: who sends one again and again waits longer.
    """
    since = clock.now() - MINUTE
    in_a_run = OnboardingRow.objects.filter(op_id=OuterRef("op_id"))
    by_a_run = TokenCache.objects.exclude(job=None).values("pk")  # the licences of those whom it creates
    by_hand = TokenCache.objects.filter(operator=by, job=None).values("pk")  # a row of a run that was sent again
    lately = Operation.objects.filter(Q(created_at__gt=since) | Q(sent_at__gt=since), by=by)
    lately = lately.filter(~Exists(in_a_run) | Q(session__in=by_hand))
    sends = lately.exclude(state=State.QUEUED).exclude(session__in=by_a_run).aggregate(sends=Sum("tries"))
    return sends["sends"] or 0


def undecided_create(customer: Customer, user_name: str, *, but: uuid.UUID) -> Operation | None:
    """A create of this name in this customer, `but` for this one, of which nobody knows yet what became of it."""
    open_ones = Operation.objects.filter(customer=customer, open_name=user_name.lower()).exclude(op_id=but)
    return open_ones.select_related("by", "customer").first()


def claimed_by_another(operation: Operation, user_id: str) -> bool:
    """Whether this user is what another create of ours has made."""
    others = Operation.objects.filter(kind=Operation.Kind.CREATE, state=State.DONE, target_id=user_id)
    return others.exclude(pk=operation.pk).exists()


def newer_password(operation: Operation) -> bool:
    """Whether a password was sent for the same user after this operation's, and set.

    What counts is when each was sent: what became of the older one may have been found out later.
    """
    if not operation.target_id:
        return False
    since = operation.sent_at or operation.created_at
    return passwords_since(since, operation.tenant_id, operation.target_id).exclude(pk=operation.pk).exists()


def passwords_since(since: Any, tenant_id: Any, target_id: Any) -> QuerySet[Operation]:
    """What was sent for this user after that time and has set a password. For a subquery, too."""
    done = Operation.objects.filter(tenant_id=tenant_id, target_id=target_id, state=State.DONE, sets_password=True)
    return done.filter(sent_at__gt=since)


def fate(tenant_id: Any, target_id: Any) -> QuerySet[Operation, str]:
    """DELETE or RESTORE, whichever we have done to this user last; nothing for most. For a subquery, too."""
    kinds = (Operation.Kind.DELETE, Operation.Kind.RESTORE)
    done = Operation.objects.filter(tenant_id=tenant_id, target_id=target_id, state=State.DONE, kind__in=kinds)
    return done.order_by("-decided_at").values_list("kind", flat=True)[:1]


def was_deleted(operation: Operation) -> bool:
    """Whether the user of this operation was deleted by one of ours, and not brought back."""
    deleted = Operation.Kind.DELETE in fate(operation.tenant_id, operation.target_id)
    return operation.target_id != "" and deleted


def destroy_password(operation: Operation) -> None:
    """Done was pressed: the password is gone from the database. One that may have to go again stays."""
    Operation.objects.filter(pk=operation.pk, state=State.DONE).update(sealed_password=None)


def subject(operation: Operation) -> audit.Subject:
    """The operation as the audit trail tells it."""
    return about(
        Operation.Kind(operation.kind),
        operation.customer,
        operation.target_name,
        operation.fields,
        before=operation.before,
        target_id=operation.target_id,
        sets_password=operation.sets_password,
    )


def about(
    kind: Operation.Kind,
    customer: Customer,
    target_name: str,
    fields: Mapping[str, Any],
    *,
    before: Mapping[str, Any] | None = None,
    target_id: str = "",
    sets_password: bool,
) -> audit.Subject:
    """What somebody is about to do, for the audit trail: fields before and after, and never a password."""
    told = {name: (_told((before or {}).get(name, "")), _told(value)) for name, value in fields.items()}
    if sets_password:
        told["password"] = ("not shown", "a new one, not shown")
    return audit.Subject(
        action=kind.label.lower(),
        tenant_id=customer.tenant_id or "",
        customer_name=customer.name,
        target_id=target_id,
        target_name=target_name,
        fields=told,
    )


def _told(value: Any) -> Any:
    """Licences by their names alone; all else as it is."""
    return ", ".join(value.values()) if isinstance(value, dict) else value


def _open(operation: Operation) -> Secret:
    return Secret(vault.open("operation", str(operation.op_id), bytes(operation.sealed_password or b"")))


def _refused(error: UpstreamError, operation: Operation) -> dict[str, Any]:
    """What an error means for the operation: a sure no, of which kind, or nothing that we know."""
    detail = _in_full(error)
    if error.ambiguous:
        state, detail = State.UNKNOWN, str(error)
    elif operation.tries > 1:
        # A sure no to this try says nothing of the first one, whose outcome nobody knows.
        state, detail = (
            State.UNKNOWN,
            f"This time it was refused: “{detail}” What became of the first try is not known.",
        )
    elif isinstance(error, Conflict) or refusals.name_is_taken(error.description):
        state = State.CONFLICT
    elif isinstance(error, Forbidden):
        state = State.DENIED
    else:
        state = State.REFUSED
        detail = str(error) if isinstance(error, Throttled) else detail  # says until when
    return {
        "state": state,
        "status": error.status,
        "code": error.code,
        "detail": detail,
        "correlation_id": error.correlation_id,
    }


def _in_full(error: UpstreamError) -> str:
    """Microsoft's sentence, with the properties it blames when it names them beside it only."""
    detail = error.description or str(error)
    blamed = [name for name in error.data if name.lower() not in detail.lower()]
    return f"{detail} ({', '.join(blamed)})" if blamed else detail


def _settle(operation: Operation, *, state: str, milliseconds: int | None = None, **values: Any) -> None:
    """State, outcome line and the end of a password that was refused, in one transaction."""
    settled = state in {State.REFUSED, State.CONFLICT, State.DENIED}
    about = subject(operation)
    if state != State.UNKNOWN:
        values["decided_at"] = clock.now()
    if settled:
        values["sealed_password"] = None
    with transaction.atomic():
        if not operation.write(state=state, **values):
            return
        queued.lead_on(operation)
        OnboardingRow.follow(operation)
        result = audit.Result(
            outcome=_OUTCOMES[State(state)],
            detail=operation.detail,
            target_id=operation.target_id,
            status=operation.status,
            code=operation.code,
            upstream_request_id=str(operation.op_id),
            correlation_id=operation.correlation_id,
            milliseconds=milliseconds,
        )
        audit.conclude(operation.attempt, about, result, by=operation.by)


_OUTCOMES = {
    State.DONE: AuditEvent.Outcome.DONE,
    State.REFUSED: AuditEvent.Outcome.FAILED,
    State.CONFLICT: AuditEvent.Outcome.CONFLICT,
    State.DENIED: AuditEvent.Outcome.DENIED,
    State.UNKNOWN: AuditEvent.Outcome.UNKNOWN,
    State.STOPPED: AuditEvent.Outcome.FAILED,
}


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
