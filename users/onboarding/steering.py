"""What a person does to a run: start it, pause it, go on, stop it, try again what failed, undo it, ask for news."""

import uuid
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max, Min, Q, QuerySet, Value
from django.db.models.functions import Concat
from django.db.models.lookups import In

from partnerportal import clock, grants
from partnerportal.models import Operator, TokenCache

from .. import kinds
from ..models import OnboardingRow, OnboardingRun, Operation
from . import delivery, news
from . import run as engine

State = OnboardingRun.State
RowState = OnboardingRow.State

TAKEN = "Another run that is under way creates a user with this name."
AGAIN = (RowState.REFUSED, RowState.DENIED, RowState.STOPPED)  # nothing was done, surely


class NotYours(Exception):
    """Only whoever started a run may go on with it: it runs with their tokens."""


def start(run: OnboardingRun, *, by: Operator, grant: TokenCache, goes_on: bool = False, notify: bool = False) -> bool:
    """Start a run that was checked. Rows with problems are not sent. False: it was started, or thrown away, before.

    The caller has seen to it that the sign-in is at most 15 minutes old.
    """
    _must_be_own(run, by)
    now = clock.now()
    with transaction.atomic():
        values = {"started_at": now, "heard_at": now, "reason": "", "let_it_finish": goes_on, "notify": notify}
        if not run.move(to=State.RUNNING, before=(State.CHECKED,), **values):
            return False
        _give_tokens(run, grant, goes_on=goes_on)
        rows = OnboardingRow.objects.filter(run=run, state=RowState.DRAFT)
        for row in rows.exclude(problems=[]):
            rows.filter(pk=row.pk).update(**_not_sent(row), decided_at=now)
        taken = {"state": RowState.CONFLICT, "detail": TAKEN, "decided_at": now}
        rows.filter(_taken()).update(**taken)
        for tenant_id, creates, first in _twice(rows):
            rows.filter(tenant_id=tenant_id, creates=creates, line__gt=first).update(**taken)
        _queue(rows)
        delivery.note(run, "run started", f"{run.rows.filter(state=RowState.QUEUED).count():,} rows", by=by)
    return True


def _not_sent(row: OnboardingRow) -> dict[str, str]:
    """What becomes of a row with problems; one whose user is there already, and that has no other, says so."""
    detail = f"Not sent. {' '.join(problem['sentence'] for problem in row.problems)}"
    there = row.problems[0].get("there") if len(row.problems) == 1 else None
    if there:
        return {"state": there["state"], "target_id": there["id"], "detail": detail}
    return {"state": RowState.STOPPED, "detail": detail}


def _taken() -> Q:
    """Rows whose user name another open row creates. As one set: for each row anew, thousands take many seconds."""
    there = OnboardingRow.objects.filter(state__in=(*OnboardingRow.OPEN, RowState.UNKNOWN)).exclude(creates="")
    whom = Concat("tenant_id", Value(" "), "creates")
    return ~Q(creates="") & Q(In(whom, there.order_by().values_list(whom)))


def _twice(rows: Any) -> list[tuple[str, str, int]]:
    """User names that several of these rows create: tenant id, name, and the line of the first."""
    names = rows.exclude(creates="").order_by().values_list("tenant_id", "creates")
    return list(names.annotate(first=Min("line")).filter(first__lt=Max("line")))


def _queue(rows: Any) -> None:
    """All at once; one by one where another run has just taken a name."""
    queued = {"state": RowState.QUEUED, "detail": ""}
    try:
        with transaction.atomic():
            rows.update(**queued)
    except IntegrityError:
        for row in rows:
            try:
                with transaction.atomic():
                    rows.filter(pk=row.pk).update(**queued)
            except IntegrityError:
                rows.filter(pk=row.pk).update(state=RowState.CONFLICT, detail=TAKEN, decided_at=clock.now())


def _give_tokens(run: OnboardingRun, grant: TokenCache, *, goes_on: bool) -> None:
    TokenCache.objects.filter(job=run.key).delete()
    run.grant = grants.save_for_job(run.key, grant, goes_on=goes_on)
    run.save(update_fields=["grant"])


def needs_sign_in(run: OnboardingRun) -> bool:
    """Whether the run has no tokens to go on with, so that somebody has to sign in before."""
    grant = run.grant
    lasts = grant is not None and grant.ends_at is not None and grant.ends_at > clock.now()
    return run.state == State.WAITING or not lasts


def names_nobody(run: OnboardingRun) -> bool:
    """Whether the rows do not say any more whom they were about, so that nothing can be done with them."""
    return run.names_until is not None and run.names_until <= clock.now()


def pause(run: OnboardingRun, *, by: Operator) -> bool:
    """No row is begun any more; what is under way comes to its end. False: it did not run."""
    with transaction.atomic():
        paused = run.move(to=State.PAUSED, before=(State.RUNNING,), reason=f"Paused by {by.name}.")
        if paused:
            delivery.note(run, "run paused", by=by)
    return paused


def resume(run: OnboardingRun, *, by: Operator, grant: TokenCache) -> bool:
    """Go on; with fresh tokens where those of before are gone. False: it was not paused. Raises `NotYours`."""
    _must_be_own(run, by)
    afresh = needs_sign_in(run)
    with transaction.atomic():
        if not run.move(to=State.RUNNING, before=OnboardingRun.HALTED, reason=""):
            return False
        if afresh:
            _give_tokens(run, grant, goes_on=run.let_it_finish)
        delivery.note(run, "run resumed", by=by)
    return True


def stop(run: OnboardingRun, *, by: Operator) -> bool:
    """Nothing more is sent, and what was done stays. What is under way is still found out. False: it was over."""
    with transaction.atomic():
        if not run.move(
            to=State.STOPPING, before=(State.RUNNING, *OnboardingRun.HALTED), reason=f"Stopped by {by.name}."
        ):
            return False
        engine.end_unsent(RowState.STOPPED, engine.STOPPED, run=run)
        delivery.note(run, "run stopped", by=by)
    delivery.finish(run)
    return True


def try_again(run: OnboardingRun, *, by: Operator, grant: TokenCache) -> int:
    """Open the rows that failed once more, and the run with them. Returns how many. Raises `NotYours`.

    What was refused goes as a new request; what nobody knows is looked up first, under its old id. Where there is no
    row to open, nothing changes: a run that is over stays so, since when it was.
    """
    _must_be_own(run, by)
    if names_nobody(run):
        return 0
    count, afresh = 0, needs_sign_in(run)
    with transaction.atomic():
        anew: dict[str, Any] = {"reason": "", "heard_at": clock.now()}
        anew |= {"notified_at": None, "mailed_at": None}  # the next end is told as well
        before = (*OnboardingRun.OVER, State.RUNNING, *OnboardingRun.HALTED)
        if not run.move(to=State.RUNNING, before=before, **anew):
            return 0
        if afresh:
            _give_tokens(run, grant, goes_on=run.let_it_finish)
        opened = {"detail": "", "code": "", "correlation_id": "", "tries": 0, "not_before": None, "decided_at": None}
        opened |= {"held": False, "nudged": False}
        for row in to_try(run).exclude(state=RowState.UNKNOWN):
            count += _reopen(row, {"state": RowState.QUEUED, "op_id": uuid.uuid4(), "operation": None, **opened})
        for row in run.rows.filter(state=RowState.UNKNOWN):
            count += _reopen(row, {"state": RowState.SENT, **opened})
        if count:
            delivery.note(run, "run tried again", f"{count:,} rows", by=by)
        else:
            transaction.set_rollback(True)
    if not count:
        run.refresh_from_db()
    return count


def to_try(run: OnboardingRun) -> QuerySet[OnboardingRow]:
    """The rows of a run that "Try again" opens. Not those that have gone into a run of mended rows: tried here as well,
    the same person would be created twice, under two names. Thrown away there, they come back.
    """
    mended = OnboardingRow.objects.filter(run__origin=run, run__kind=Operation.Kind.CREATE).values("line")
    return run.rows.filter(state__in=(*AGAIN, RowState.UNKNOWN), problems=[]).exclude(line__in=mended)


def _reopen(row: OnboardingRow, values: dict[str, Any]) -> int:
    try:
        with transaction.atomic():
            return OnboardingRow.objects.filter(pk=row.pk, fence=row.fence).update(fence=row.fence + 1, **values)
    except IntegrityError:  # another run creates a user of that name by now
        return 0


def notify(run: OnboardingRun, *, by: Operator, wanted: bool) -> None:
    """Whether its owner gets an e-mail when it is over. Raises `NotYours`."""
    _must_be_own(run, by)
    OnboardingRun.objects.filter(pk=run.pk, notified_at=None).update(notify=wanted)


def mail(run: OnboardingRun, *, by: Operator) -> None:
    """Send the e-mail about the end of a run, once more if need be. Raises `NotYours`."""
    _must_be_own(run, by)
    if run.state in OnboardingRun.OVER and run.by.email and news.how_it_went(run) in (news.NOT_TAKEN, news.UNKNOWN):
        news.send(run)


def undo(run: OnboardingRun, *, by: Operator) -> OnboardingRun:
    """A new run, not started, that deletes just the users that this one has created. The same one if there is one."""
    _must_be_own(run, by)
    created = run.rows.filter(state=RowState.DONE).exclude(target_id="")
    prepared = run.followers.filter(kind=Operation.Kind.DELETE, state__in=OnboardingRun.BEFORE)
    whom = set(created.values_list("target_id", flat=True))
    if (known := prepared.first()) and set(known.rows.values_list("target_id", flat=True)) == whom:
        return known
    with transaction.atomic():
        prepared.update(state=State.CHECKED)  # so that nobody starts it while it goes
        prepared.delete()  # more were created since
        undoing = OnboardingRun.objects.create(
            by=by, kind=Operation.Kind.DELETE, title=f"Undo {run.title}"[:200], origin=run, state=State.CHECKED
        )
        OnboardingRow.objects.bulk_create(
            OnboardingRow(
                run=undoing,
                line=row.line,
                customer_id=row.customer_id,
                tenant_id=row.tenant_id,
                target_id=row.target_id,
                target_name=row.target_name,
                user_name=row.user_name,
                fields={"state": kinds.DELETED},
                before=_as_created(row),
            )
            for row in created
        )
    return undoing


def _as_created(row: OnboardingRow) -> dict[str, str]:
    return {name: str(row.fields.get(name, "")) for name in kinds.EDITABLE}


def _must_be_own(run: OnboardingRun, by: Operator) -> None:
    if run.by_id != by.pk:
        raise NotYours
