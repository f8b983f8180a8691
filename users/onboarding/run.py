"""How a row is carried out, from its id alone: safe to call twice, late, side by side, or after a kill on any line.

The claim decides who is at a row; the operation, committed before its first byte leaves, says what may have been sent.
Each attempt asks anew whether the run still runs, whether whoever started it is still signed in, and what they may do.
A row ends in a sure answer, or goes back with the time from which on somebody may take it up again.
"""

import logging
import uuid
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db.models import F

from customers.access import ActionDenied, access_to
from customers.explain import why_not
from customers.models import Customer
from partnerportal import chain_check, clock, freshness, grants, identity, pace
from partnerportal.models import TokenCache
from partnerportal.permissions import RoleMissing
from partnerportal.upstream.errors import Forbidden, Refused, SignInAgain, Throttled, Unintelligible, UpstreamError
from partnerportal.upstream.http import budget, paced

from .. import actions, first_licences, kinds, operations, refusals, seen_names
from ..models import OnboardingRow, OnboardingRun, Operation
from . import rows

log = logging.getLogger(__name__)

State = OnboardingRow.State
MOST_TRIES = 6
PAUSES = (5, 10, 20, 40, 60, 60)  # seconds, one after the other: what was just created may not be seen yet
REPLICATION = timedelta(seconds=60)  # what is not seen after that long was most likely not done

STOPPED = "Stopped before it was sent."
SIGNED_OUT = "Signed out. Sign in again and press Resume to go on."
ENDED = "The sign-in with which it was started has ended. Sign in again and press Resume to go on."
OUR_FAULT = "We had a fault with this row. The log names it."
CHANGED = "The user changed after the run was checked. Nothing was sent."
PUT_BACK = (
    "Nothing was sent. Our database was put back from an older copy after the run had started, so this run may have "
    "created them. Then set a new password: the first one is lost."
)
LICENCES_WAIT = "The user is there. The licences are still to be assigned."
LEFT = "This customer has left the partner’s list. Nothing was sent."
OTHER_TENANT = "This customer has another tenant now than the one that was checked. Nothing was sent."
STILL_OPEN = "Another form or run has sent a user with this name, and nobody knows yet if it was created."


class LeaseLost(Exception):
    """Another worker has taken this row over, or the run was stopped; whatever we do now must not count."""


class Halt(Exception):
    """The run cannot go on before its owner does something. `str()` says what."""

    def __init__(self, to: OnboardingRun.State, reason: str) -> None:
        self.to = to
        super().__init__(reason)


def carry_out(row_id: int) -> OnboardingRow | None:
    """One attempt at a row. Returns the row; None when it is not to be done now, or somebody else is at it."""
    row = OnboardingRow.claim(row_id)
    if row is None:
        return None
    try:
        with budget(settings.UPSTREAM_BUDGET), paced(pace), operations.only_while(row.write):
            row.run.hear()
            _attempt(row)
    except (LeaseLost, operations.NotOurs):
        log.warning("row %s of run %s was taken over, or stopped", row.line, row.run_id)
    except Exception:  # a fault of ours must not leave a row that nobody can decide
        log.exception("row %s of run %s broke off", row.line, row.run_id)
        _broke_off(row)
    return row


def _attempt(row: OnboardingRow) -> None:
    operation = None if row.state == State.QUEUED else _operation_of(row)
    if operation is None and row.run.state != OnboardingRun.State.RUNNING:
        if row.run.state in OnboardingRun.HALTED:  # since it was found to be due
            _back(row, None)
        else:
            _settle(row, State.STOPPED, STOPPED)
        return
    asks = operation is None or operation.undecided
    if asks and (until := pace.full_until(row.tenant_id)):  # no worker waits for that with the row in its hands
        _back(row, operation, not_before=until)
        return
    try:
        grant = _grant_of(row.run)
        if operation:
            _find_out(row, operation, grant)
        else:
            _send(row, grant)
    except Halt as halt:
        _back(row, operation)
        row.run.move(to=halt.to, before=(OnboardingRun.State.RUNNING,), reason=str(halt))
    except chain_check.Broken as broken:
        _back(row, operation)
        row.run.move(to=OnboardingRun.State.PAUSED, before=(OnboardingRun.State.RUNNING,), reason=str(broken))
    except (SignInAgain, identity.NotGenuine, identity.WrongTenant) as error:
        _back(row, operation)
        reason = f"{error} Then press Resume." if isinstance(error, SignInAgain) else ENDED
        row.run.move(to=OnboardingRun.State.WAITING, before=(OnboardingRun.State.RUNNING,), reason=reason)
    except Throttled as error:
        _slow_down(row, operation, error.retry_at)
    except UpstreamError as error:  # Entra does not tell which app roles there are
        until = clock.now() + freshness.ASK_AGAIN_AFTER
        _back(row, operation, not_before=until, detail=f"We could not check your app role. {error}")


def _operation_of(row: OnboardingRow) -> Operation | None:
    """What was stored to be sent under the row's id. Of a queued row, nothing: the two change in one transaction."""
    return Operation.objects.select_related("by", "customer").filter(op_id=row.op_id).first()


def _grant_of(run: OnboardingRun) -> TokenCache:
    """The run's own tokens, which must be of whoever started it. Raises `Halt`, and what a look at Entra raises."""
    grant = run.grant
    if grant is None:
        raise Halt(OnboardingRun.State.PAUSED, SIGNED_OUT)
    if (grant.operator_id, grant.job) != (run.by_id, run.key):
        log.error("the tokens of run %s are somebody else’s", run.pk)
        raise Halt(OnboardingRun.State.WAITING, ENDED)
    if grant.ends_at is None or grant.ends_at <= clock.now():
        raise Halt(OnboardingRun.State.WAITING, ENDED)
    grant.operator = run.by  # who was read with the run
    if freshness.is_old(run.by):
        try:
            if not freshness.read_again(grant):
                raise Unintelligible(source="Microsoft Entra")
        except freshness.NoRoleLeft:
            log.warning("run %s: its owner has no app role any more", run.pk)
    return grant


# --- Sending ------------------------------------------------------------------------------------------------


def _send(row: OnboardingRow, grant: TokenCache) -> None:
    """Send it for the first time. What is raised in here was raised before anything was sent.

    Under an id that nobody has heard of: in a database that was put back, that of the row may have been used. It is
    written in the intent's transaction, and only while the run goes on with these tokens: until then the row is queued.
    """
    if row.customer is None or row.customer.tenant_id != row.tenant_id:
        _settle(row, State.CONFLICT, OTHER_TENANT)
        return
    if not row.customer.listed:
        _settle(row, State.CONFLICT, LEFT)
        return
    op_id = uuid.uuid4()
    still_ours = partial(row.write, to_go_on=True, state=State.SENT, op_id=op_id)
    try:
        if _was_sent_before(row, row.customer, grant):
            return
        with operations.only_while(still_ours):
            operation = rows.send(row, grant, op_id)
    except operations.NotOurs:
        _back(row, None)  # paused or signed out just now, or taken over
        return
    except (SignInAgain, Throttled):
        raise
    except BEFORE_SENDING as error:
        _not_sent(row, grant, error)
        return
    if operation is None:
        _settle(row, State.DONE, "It was so already. Nothing was sent.")
        return
    if operation.status != 429:
        row.tries = 0  # from here on they count look-ups
    _follow(row, operation, grant)


def _was_sent_before(row: OnboardingRow, customer: Customer, grant: TokenCache) -> bool:
    """Whether the user of a create is there although our database knows of no request: an older copy was put back.

    The same request would be answered as it was then, for a password that went with the newer database. All other kinds
    look at their user before they send anyway.
    """
    if row.run.kind != Operation.Kind.CREATE or not chain_check.accepted_since(row.run.started_at):
        return False
    found, _ = seen_names.look_up(customer, row.creates, grants.partner_center(grant), since=None)
    if found is None or found.is_deleted:
        return False
    different = kinds.differing(found, row.fields)
    state = State.DIFFERS if different else State.CONFLICT
    told = f"{found.display_name} is there already, with {different or 'the same values'}. {PUT_BACK}"
    _settle(row, state, told, target_id=found.id)
    return True


BEFORE_SENDING = (
    ActionDenied,
    RoleMissing,
    actions.ChangedMeanwhile,
    actions.UserGone,
    operations.StillOpen,
    operations.StrangeOperation,
    UpstreamError,
)


def _not_sent(row: OnboardingRow, grant: TokenCache, error: Exception) -> None:
    """What stood in the way before anything was sent."""
    match error:
        case ActionDenied() if error.verdict.no:
            _settle(row, State.DENIED, error.reason)
            end_unsent(State.DENIED, error.reason, run=row.run, customer=row.customer)
        case ActionDenied():  # nobody can tell, and a run does not try
            _later(row, State.DENIED, f"{error.reason} Nothing was sent.")
        case RoleMissing():
            _settle(row, State.DENIED, str(error))
            end_unsent(State.DENIED, str(error), run=row.run)
        case actions.ChangedMeanwhile():
            _settle(row, State.CONFLICT, CHANGED)
        case actions.UserGone():
            _settle(row, State.CONFLICT, actions.GONE)
        case Forbidden():
            _forbidden(row, grant, str(error), code=error.code)
        case Refused():
            _settle(row, State.REFUSED, f"{error} Nothing was sent.", code=error.code)
        case UpstreamError():
            _later(row, State.REFUSED, f"{error} Nothing was sent.")
        case _:
            _later(row, State.CONFLICT, STILL_OPEN)


def _find_out(row: OnboardingRow, operation: Operation, grant: TokenCache) -> None:
    """It may have been sent: look it up, and send it again under its old id only after a look-up that found nothing."""
    try:
        actions.check_again(operation, by=row.run.by, grant=grant, in_run=True)
        is_late = abs(clock.now() - operation.created_at) > REPLICATION
        may_go = operation.may_go_again and is_late and operation.customer.listed
        if may_go and row.write(to_go_on=True):
            actions.send_again(operation, proved=False, by=row.run.by, grant=grant, in_run=True)
    except (SignInAgain, Throttled):
        raise
    except (ActionDenied, RoleMissing) as denied:  # it is not there, and it may not be sent again
        reason = getattr(denied, "reason", str(denied))
        if operation.may_be_given_up:
            actions.give_up(operation, by=row.run.by)
            _settle(row, State.DENIED, reason, operation=operation)
        else:  # it may still come up
            _later(row, State.UNKNOWN, reason, operation=operation)
    except UpstreamError as error:
        _later(row, State.UNKNOWN, f"We could not find out. {error}", operation=operation)
    else:
        _follow(row, operation, grant)


def _follow(row: OnboardingRow, operation: Operation, grant: TokenCache) -> None:
    """What the state of its operation means for the row."""
    told: dict[str, Any] = {"operation": operation, "code": operation.code, "correlation_id": operation.correlation_id}
    match operation.state:
        case Operation.State.DONE:
            _done(row, operation, grant, told)
        case Operation.State.CONFLICT if operation.kind == Operation.Kind.CREATE:
            _is_there(row, operation, grant, told)
        case Operation.State.CONFLICT:
            _settle(row, State.CONFLICT, refusals.explain(operation).sentence, **told)
        case Operation.State.STOPPED:
            _settle(row, State.STOPPED, operation.detail, **told)
        case Operation.State.DENIED:
            _forbidden(row, grant, refusals.explain(operation).sentence, **told)
        case Operation.State.REFUSED if operation.status == 401:
            _anew(row)
            raise SignInAgain(source="Partner Center", code=operation.code)
        case Operation.State.REFUSED if operation.status == 429:
            _anew(row)
            retry_at = operation.retry_at or clock.now() + rows.ASK_AGAIN_AFTER  # whoever heard it has died
            raise Throttled(source="Partner Center", retry_at=retry_at)
        case Operation.State.REFUSED if operation.status is None:  # it never left
            _anew(row)
            _later(row, State.REFUSED, f"{operation.detail} Nothing was changed.")
        case Operation.State.REFUSED:
            _settle(row, State.REFUSED, refusals.explain(operation).sentence, **told)
        case Operation.State.UNKNOWN if operation.may_be_ours:  # which its owner can say
            _settle(row, State.UNKNOWN, operation.detail, **told)
        case _:
            _later(row, State.UNKNOWN, operation.detail, operation=operation)


def _done(row: OnboardingRow, operation: Operation, grant: TokenCache, told: dict[str, Any]) -> None:
    """It is done; what follows it may take some tries more. Once the run is stopped, nothing that waits is sent."""
    tries = row.tries + 1
    until = clock.now() + timedelta(seconds=PAUSES[min(row.tries, MOST_TRIES - 1)])
    try:
        is_stopped = row.run.state == OnboardingRun.State.STOPPING
        if not row.licences:
            after = ""  # nothing was stored to follow it
        else:
            after = first_licences.in_words(operation) if is_stopped else rows.afterwards(operation, row.run.by, grant)
    except SignInAgain:
        raise
    except (rows.NotYet, UpstreamError) as error:
        if tries <= MOST_TRIES:
            if isinstance(error, Throttled):
                until = min(max(until, error.retry_at), clock.now() + OnboardingRow.LONGEST_WAIT)
            _back(row, operation, tries=tries, not_before=until, detail=LICENCES_WAIT)
            return
        after = first_licences.in_words(operation)
    _settle(row, State.DONE, f"{operation.detail} {after}".strip(), target_id=operation.target_id, **told)


def _is_there(row: OnboardingRow, operation: Operation, grant: TokenCache, told: dict[str, Any]) -> None:
    """The user name is taken: by a user with the same values, by another one, or nobody can say by whom."""
    if operation.target_id:  # a look-up has compared them
        _settle(row, State.DIFFERS, operation.detail, target_id=operation.target_id, **told)
        return
    sentence = refusals.explain(operation)
    if sentence.field == "immutable_id":
        _settle(row, State.REFUSED, sentence.sentence, **told)
        return
    try:
        found, _ = seen_names.look_up(operation.customer, row.creates, grants.partner_center(grant), since=None)
    except UpstreamError as error:
        if isinstance(error, Throttled) and row.tries < MOST_TRIES:
            raise
        found = None
    if found is None or found.is_deleted:
        _settle(row, State.CONFLICT, f"{sentence.sentence}. We could not compare the two.", **told)
    elif different := kinds.differing(found, operation.fields):
        detail = f"The user name is taken by {found.display_name}, with {different}. Nothing was changed."
        _settle(row, State.DIFFERS, detail, target_id=found.id, **told)
    else:
        detail = f"{found.display_name} is there already, with the same values. Nothing was changed."
        _settle(row, State.CONFLICT, detail, target_id=found.id, **told)


def _anew(row: OnboardingRow) -> None:
    """It was answered, and nothing was done: the next try is another request, under another id (CONTRACT 1.7)."""
    if not row.write(op_id=uuid.uuid4(), operation=None):
        raise LeaseLost


# --- What becomes of the row --------------------------------------------------------------------------------


def _settle(row: OnboardingRow, state: State, detail: str = "", **values: Any) -> None:
    """The row's last word."""
    values |= {"state": state, "detail": detail, "held": False, "not_before": None, "decided_at": clock.now()}
    if not row.write(**values):
        raise LeaseLost
    if state == State.UNKNOWN and (operation := Operation.objects.filter(op_id=row.op_id).first()):
        OnboardingRow.follow(operation)  # its owner may have decided it just before


def _later(row: OnboardingRow, at_last: State, detail: str, operation: Operation | None = None) -> None:
    """Try again after a pause that grows; after too many tries `at_last` it is."""
    tries = row.tries + 1
    if tries > MOST_TRIES:
        _settle(row, at_last, detail, operation=operation)
        return
    until = clock.now() + timedelta(seconds=PAUSES[tries - 1])
    if operation and operation.retry_at:
        until = max(until, operation.retry_at)
    _back(row, operation, tries=tries, not_before=until, detail=detail)


def _back(row: OnboardingRow, operation: Operation | None, **values: Any) -> None:
    """Hand the row back undecided: to be sent, or to be looked up."""
    operation = operation or Operation.objects.filter(op_id=row.op_id).first()  # it may have been sent just now
    was_sent = operation is not None and operation.op_id == row.op_id
    values |= {"state": State.SENT if was_sent else State.QUEUED, "operation": operation if was_sent else None}
    if not row.write(held=False, **values):
        raise LeaseLost


def _slow_down(row: OnboardingRow, operation: Operation | None, until: datetime) -> None:
    """Microsoft asked for patience: all rows of this customer wait, and the others go on."""
    until = min(until, clock.now() + OnboardingRow.LONGEST_WAIT)
    tries = row.tries + 1
    if tries > MOST_TRIES:
        detail = f"Microsoft asked {MOST_TRIES} times to slow down."
        _settle(row, State.UNKNOWN if operation else State.REFUSED, detail, operation=operation)
    else:
        _back(row, operation, tries=tries, not_before=until, detail="Microsoft asked us to slow down.")
    others = OnboardingRow.objects.filter(tenant_id=row.tenant_id, state__in=OnboardingRow.OPEN, held=False)
    others.exclude(not_before__gt=until).update(not_before=until)


def _forbidden(row: OnboardingRow, grant: TokenCache, detail: str, **values: Any) -> None:
    """Microsoft said no: the rights are asked anew, and where they are gone the rest of this customer is denied too."""
    action = actions.NEEDS[Operation.Kind(row.run.kind)]
    _settle(row, State.DENIED, detail, **values)
    try:
        verdict = access_to(row.tenant_id, by=row.run.by, graph=grants.graph(grant), fresh=True)[action]
    except UpstreamError:  # the next row asks again
        return
    if verdict.no and row.customer:
        end_unsent(State.DENIED, why_not(verdict, row.customer), run=row.run, customer=row.customer)


def end_unsent(state: State, detail: str, **which: Any) -> int:
    """Decide the rows that were not sent yet; whoever is at one has lost it. Returns how many."""
    unsent = OnboardingRow.objects.filter(state=State.QUEUED, **which)
    return unsent.update(
        state=state, detail=detail, fence=F("fence") + 1, held=False, nudged=False, decided_at=clock.now()
    )


def _broke_off(row: OnboardingRow) -> None:
    """After a fault of ours: what may have been sent is looked up, all else is tried again."""
    operation = Operation.objects.filter(op_id=row.op_id).first()
    try:
        _later(row, State.UNKNOWN if operation else State.REFUSED, OUR_FAULT, operation)
    except LeaseLost:
        log.warning("row %s of run %s was taken over", row.line, row.run_id)
