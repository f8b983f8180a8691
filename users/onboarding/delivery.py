"""Who knocks at a worker's door for which row, and what beat makes good when a message or a worker is lost.

Each customer of a run has a lane: a few messages at a time, so that a run of thousands fills no queue, no customer
waits for another one's, and other work comes in between. Whoever is done with a row knocks for the next in its lane.
"""

from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, Subquery

from partnerportal import audit, by_hand, clock
from partnerportal.models import AuditEvent, Operator, TokenCache

from ..models import OnboardingRow, OnboardingRun, Operation
from . import run as engine
from . import words

State = OnboardingRun.State
LANE = 4  # rows of one customer that are under way at the same time


def due(run: OnboardingRun) -> list[int]:
    """The ids of rows for which to knock now: up to `LANE` a customer, each marked so that nobody else does."""
    found: list[int] = []
    waiting = OnboardingRow.due(clock.now()).filter(run=run, nudged=False)
    for customer_id in waiting.order_by().values_list("customer", flat=True).distinct():
        mine = waiting.filter(customer=customer_id).order_by("line")
        free = LANE - _under_way(run, customer_id)
        found += [pk for pk in mine.values_list("pk", flat=True)[: max(free, 0)] if _mark(pk)]
    return found


def next_in_lane(row: OnboardingRow, *, ahead: bool = False) -> int | None:
    """The id of one more row of the same customer, marked; None when none is due.

    The first that is due, or, where there is one, the first `ahead` of this row, which is found much faster.
    """
    if ahead and (found := _next_line(row)):
        return found
    waiting = OnboardingRow.due(clock.now()).filter(run=row.run_id, customer=row.customer_id, nudged=False)
    return next((pk for pk in waiting.order_by("line").values_list("pk", flat=True)[:LANE] if _mark(pk)), None)


# The index of the lines is walked from where the lane is, however long the run is: what is added to the other columns
# keeps their indexes out of it. Whether the run goes on is for the claim to say.
_NEXT_LINE = """
UPDATE users_onboardingrow SET nudged = %s, silent = 0 WHERE nudged = %s AND held = %s AND id = (
    SELECT id FROM users_onboardingrow
    WHERE run_id = %s AND line > %s AND customer_id + 0 = %s AND state || '' = %s AND nudged = %s AND held = %s
    AND (not_before IS NULL OR not_before <= %s) ORDER BY line LIMIT 1
) RETURNING id
"""


def _next_line(row: OnboardingRow) -> int | None:
    (now,) = by_hand.adapted(OnboardingRow, {"not_before": clock.now()})
    here = [row.run_id, row.line, row.customer_id, OnboardingRow.State.QUEUED]
    with connection.cursor() as cursor:
        cursor.execute(_NEXT_LINE, [True, False, False, *here, False, False, now])
        found = cursor.fetchall()  # all of it: SQLite has written when it has been read
    return int(found[0][0]) if found else None


def next_to_wait_for(**which: Any) -> tuple[int, float] | None:
    """The id of the row that may be taken up first, marked, and in how many seconds; None when beat sees it in time."""
    now = clock.now()
    soon = OnboardingRow.objects.filter(not_before__gt=now, not_before__lte=now + settings.RUNS_EVERY, **which)
    waiting = soon.filter(run__state=State.RUNNING, state__in=OnboardingRow.OPEN, held=False, nudged=False)
    for pk, at in waiting.order_by("not_before", "line").values_list("pk", "not_before")[:LANE]:
        if at and _mark(pk):
            return pk, (at - now).total_seconds()
    return None


def _mark(pk: int) -> bool:
    """Say that a message is under way. Of a row whose worker has died the count of silence goes on."""
    row = OnboardingRow.objects.filter(pk=pk, nudged=False)
    return bool(row.filter(held=False).update(nudged=True, silent=0) or row.filter(held=True).update(nudged=True))


def _under_way(run: OnboardingRun, customer_id: int | None) -> int:
    open_rows = OnboardingRow.objects.filter(run=run, customer=customer_id, state__in=OnboardingRow.OPEN)
    return open_rows.filter(Q(nudged=True) | Q(held=True, silent__lt=OnboardingRow.SILENT)).count()


# --- Beat ---------------------------------------------------------------------------------------------------


def look() -> list[int]:
    """Every ten seconds, in a worker: note that there is one, count who is silent, end what is over.

    Returns the ids of the rows for which to knock again.
    """
    OnboardingRun.objects.filter(state__in=OnboardingRun.OPEN).update(heard_at=clock.now())
    open_rows = OnboardingRow.objects.filter(state__in=OnboardingRow.OPEN)
    open_rows.filter(Q(held=True) | Q(nudged=True)).update(silent=F("silent") + 1)
    nudged = open_rows.filter(nudged=True)
    nudged.filter(held=False, silent__gte=OnboardingRow.LOST).update(nudged=False, silent=0)
    taken_over = OnboardingRow.SILENT + OnboardingRow.LOST
    nudged.filter(held=True, silent__gte=taken_over).update(nudged=False, silent=OnboardingRow.SILENT)
    found: list[int] = []
    for run in OnboardingRun.objects.filter(state__in=OnboardingRun.OPEN).select_related("by", "grant"):
        if run.grant is None or (run.grant.ends_at and run.grant.ends_at <= clock.now()):
            _without_tokens(run)
        if not finish(run):
            found += due(run)
    return found


def _without_tokens(run: OnboardingRun) -> None:
    """Signed out, or eight hours are over: the run halts. One that stops ends, whatever was not found out."""
    signed_out = run.grant is None
    if run.state == State.RUNNING:
        to, reason = (State.PAUSED, engine.SIGNED_OUT) if signed_out else (State.WAITING, engine.ENDED)
        run.move(to=to, before=(State.RUNNING,), reason=reason)
    elif run.state == State.STOPPING:
        free = Q(held=False) | Q(silent__gte=OnboardingRow.SILENT)
        undecided = OnboardingRow.objects.filter(free, run=run, state=OnboardingRow.State.SENT)
        ended = {"fence": F("fence") + 1, "held": False, "decided_at": clock.now()}
        about = Operation.objects.filter(op_id=OuterRef("op_id"))  # which a worker that died has not noted in the row
        unknown = {"state": OnboardingRow.State.UNKNOWN, "operation": Subquery(about.values("pk")[:1])}
        undecided.filter(Exists(about)).update(detail="Stopped before it was found out.", **unknown, **ended)
        undecided.update(state=OnboardingRow.State.STOPPED, detail=engine.STOPPED, **ended)


def finish(run: OnboardingRun) -> bool:
    """Close a run whose rows are all decided: its tokens go, and the audit trail has the counts."""
    undecided = OnboardingRow.objects.filter(run=run, state__in=OnboardingRow.OPEN)
    if undecided.exists():
        return False
    run.refresh_from_db(fields=["state"])
    to = State.STOPPED if run.state == State.STOPPING else State.DONE
    before = (State.STOPPING,) if to == State.STOPPED else (State.RUNNING, *OnboardingRun.HALTED)
    with transaction.atomic():
        if not run.move(to=to, before=before, reason="", finished_at=clock.now()):
            return False
        if undecided.exists():  # somebody has just opened some anew, and the run with them
            transaction.set_rollback(True)
            return False
        TokenCache.objects.filter(job=run.key).delete()
        counts = words.counted(run)
        tiles = [tile for tile in words.tiles(run.kind, clock.now()) if tile.key and counts[tile.key]]
        told = ", ".join(f"{counts[tile.key]:,} {tile.words.lower()}" for tile in tiles)
        note(run, "run ended", told, by=run.by)
    return True


def note(run: OnboardingRun, action: str, detail: str = "", *, by: Operator) -> None:
    """What somebody does to a run, and how it ends, in the audit trail."""
    customers = OnboardingRow.objects.filter(run=run).exclude(customer=None).order_by()
    names = customers.values_list("tenant_id", "customer__name").annotate(Count("pk"))[:2]
    only = names[0] if len(names) == 1 else ("", "")
    about = audit.Subject(
        action=action, tenant_id=only[0], customer_name=only[1], target_id=str(run.key), target_name=f"run {run.pk}"
    )
    audit.note(about, audit.Result(outcome=AuditEvent.Outcome.DONE, detail=detail), by=by)
