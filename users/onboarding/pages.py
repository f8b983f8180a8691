"""The pages of runs: all of them, one before it starts, one under way and over, and its results as a file."""

import uuid
from collections.abc import Iterator
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Count, Max, Q, QuerySet
from django.http import Http404, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from customers.models import Customer
from customers.views.export import RUN_ACTION, too_many
from partnerportal import audit, clock, csv_out, problems, sessions
from partnerportal.http import OperatorRequest, go_to, render_page, typed, wants_part, with_query
from partnerportal.models import AuditEvent, Operator
from partnerportal.permissions import Permission, may, require

from ..models import OnboardingRow, OnboardingRun, Operation
from ..tasks import deliver
from . import checking, steering, words

State = OnboardingRun.State
RowState = OnboardingRow.State
SIZE = 50
NOT_YOURS = "Only whoever started a run may go on with it: it runs with their sign-in."


def access_run(key: uuid.UUID, by: Operator) -> OnboardingRun:
    """The only way to a run by its key: one's own, or anybody's for a Portal.Admin, while a customer of it is listed.

    Raises Http404, the same for a run of somebody else and for one that does not exist (TRUST T14).
    """
    run = OnboardingRun.objects.select_related("by", "grant", "origin").filter(key=key).first()
    if run is None or not (run.by_id == by.pk or may(by, Permission.AUDIT_ALL)):
        raise Http404("no such run")
    if run.rows.exclude(customer=None).exists() and not run.rows.filter(customer__listed=True).exists():
        raise Http404("no such run")
    return run


# --- All of them --------------------------------------------------------------------------------------------

STATES = {"open": OnboardingRun.OPEN, "over": OnboardingRun.OVER, "before": OnboardingRun.BEFORE}


@require_GET
@require(Permission.WRITE_USERS)
def runs(request: OperatorRequest) -> HttpResponse:
    """One's own runs, newest first; a Portal.Admin sees everybody's. Filters: state, customer."""
    sees_all = may(request.user, Permission.AUDIT_ALL)
    found = OnboardingRun.objects.all() if sees_all else OnboardingRun.objects.filter(by=request.user)
    state, customer = typed(request.GET, "state"), typed(request.GET, "customer")
    unknown = [("state", state)] if state and state not in STATES else []
    if state in STATES:
        found = found.filter(state__in=STATES[state])
    if customer:
        found = found.filter(pk__in=OnboardingRow.objects.filter(customer__key=customer).values("run"))
    found = (
        found.select_related("by")
        .order_by("-pk")
        .annotate(
            all=Count("rows"),
            done=Count("rows", filter=Q(rows__state=RowState.DONE)),
            failed=Count("rows", filter=Q(rows__state__in=(RowState.REFUSED, RowState.DENIED, RowState.UNKNOWN))),
            customers=Count("rows__customer", distinct=True),
            customer_name=Max("rows__customer__name"),
        )
    )
    here = {"customer": customer} if customer else {}
    chosen = state if state in STATES else ""
    context = {
        "page": Paginator(found, 25).get_page(request.GET.get("page", "1")),
        "sees_all": sees_all,
        "filtered": bool(state in STATES or customer),
        "unknown": unknown,
        "views": [
            (label, with_query(reverse("runs"), ({"state": name} if name else {}) | here), name == chosen)
            for name, label in (("", "All"), ("open", "Under way"), ("over", "Over"), ("before", "Not started"))
        ],
        "customer": Customer.objects.filter(key=customer, listed=True).first() if customer else None,
    }
    return render_page(request, "onboarding/list.html", "results", context)


# --- Before it starts ---------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@require(Permission.WRITE_USERS)
def run_check(request: OperatorRequest, run_id: uuid.UUID) -> HttpResponse:
    """Who it is about, what changes, and what stands in the way; a POST starts it or throws it away."""
    run = access_run(run_id, request.user)
    if run.state not in OnboardingRun.BEFORE:
        return go_to(request, run_url(run))
    if run.source and run.by_id == request.user.pk:
        return checking.answer(request, run)
    if request.method == "GET":
        return _check_page(request, run)
    if run.by_id != request.user.pk:
        return _check_page(request, run, error=NOT_YOURS, status=403)
    if request.POST.get("step") == "discard":
        OnboardingRun.objects.filter(pk=run.pk, state__in=OnboardingRun.BEFORE).delete()
        return go_to(request, reverse("runs"))
    ready = run.rows.filter(problems=[]).count()
    if not ready:
        return _check_page(request, run, error="There is no row to be sent.", status=422)
    if run.kind == Operation.Kind.DELETE and typed(request.POST, "number") != str(ready):
        error = f"Type how many users are deleted: {ready}"
        return _check_page(request, run, field_error=error, status=422)
    if not sessions.proved_lately(request):
        return _check_page(request, run, status=403)
    goes_on = bool(request.POST.get("goes_on"))
    if steering.start(run, by=request.user, grant=request.grant, goes_on=goes_on):
        deliver(run)
    return go_to(request, run_url(run))


def _check_page(
    request: OperatorRequest, run: OnboardingRun, *, error: str = "", field_error: str = "", status: int = 200
) -> HttpResponse:
    rows = _rows(run).order_by("line")
    counts = rows.aggregate(
        all=Count("pk"), ready=Count("pk", filter=Q(problems=[])), customers=Count("customer", distinct=True)
    )
    page = Paginator(rows.order_by("problems", "line") if run.kind == Operation.Kind.CREATE else rows, SIZE)
    context = {
        "run": run,
        "page": page.get_page(request.GET.get("page", "1")),
        "counts": {**counts, "left_out": counts["all"] - counts["ready"]},
        "only": rows[0].customer if counts["customers"] == 1 else None,
        "verb": words.VERBS[Operation.Kind(run.kind)],
        "error": error,
        "field_error": field_error,
        "goes_on": bool(request.POST.get("goes_on")),
        **_proof(request),
    }
    return render_page(request, "onboarding/check.html", "form_area", context, status=status)


def _proof(request: OperatorRequest) -> dict[str, str]:
    """The way to sign in anew, where the sign-in is older than 15 minutes: Microsoft is told to ask."""
    if sessions.proved_lately(request):
        return {}
    sessions.remember_challenge(request, claims="")
    return {"proof_url": problems.sign_in_url(request.path), "unproved": sessions.why_unproved(request)}


# --- Under way, and over ------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@require(Permission.WRITE_USERS)
def run(request: OperatorRequest, run_id: uuid.UUID) -> HttpResponse:
    """How far a run is, row by row. A POST pauses it, resumes, stops, tries again what failed, or prepares its undo."""
    found = access_run(run_id, request.user)
    if request.method == "POST":
        return _steer(request, found)
    if found.state in OnboardingRun.BEFORE:
        return go_to(request, reverse("run-check", args=[found.key]))
    return _run_page(request, found)


def _steer(request: OperatorRequest, run: OnboardingRun) -> HttpResponse:
    step = request.POST.get("step")
    if step in ("resume", "again", "undo") and run.by_id != request.user.pk:
        return _run_page(request, run, error=NOT_YOURS, status=403)
    if step in ("resume", "again") and steering.needs_sign_in(run) and not sessions.proved_lately(request):
        return _run_page(request, run, status=403, **_proof(request))
    match step:
        case "pause":
            steering.pause(run, by=request.user)
        case "resume":
            if steering.resume(run, by=request.user, grant=request.grant):
                deliver(run)
        case "stop":
            steering.stop(run, by=request.user)
        case "again":
            if steering.try_again(run, by=request.user, grant=request.grant):
                deliver(run)
        case "undo" if run.kind == Operation.Kind.CREATE and run.state in OnboardingRun.OVER:
            return go_to(request, reverse("run-check", args=[steering.undo(run, by=request.user).key]))
        case _:
            raise Http404("no such step")
    return go_to(request, run_url(run))


def _run_page(
    request: OperatorRequest, run: OnboardingRun, *, error: str = "", status: int = 200, **more: Any
) -> HttpResponse:
    now, counts = clock.now(), words.counted(run)
    all_tiles = words.tiles(run.kind, now)
    chosen = next((tile for tile in all_tiles if tile.key == typed(request.GET, "status")), all_tiles[0])
    rows = _rows(run).filter(chosen.which).order_by("line")
    page = Paginator(rows, SIZE).get_page(request.GET.get("page", "1"))
    left = counts["queued"] + counts["waiting"]
    done = counts["all"] - left
    percent = 100 * done // max(counts["all"], 1)
    said = f"{run.state}{percent // 25}"
    own = run.by_id == request.user.pk
    context = {
        "run": run,
        "own": own,
        "counts": counts,
        "done": done,
        "left": left,
        "percent": percent,
        "time_left": words.time_left(run, done, left) if run.state == State.RUNNING else "",
        "tiles": [
            {
                "words": tile.words,
                "icon": tile.icon,
                "count": counts[tile.key or "all"],
                "chosen": tile is chosen,
                "url": _url(run, tile.key),
            }
            for tile in all_tiles
            if tile.always or counts[tile.key] or tile is chosen
        ],
        "slowed": _slowed(run, now),
        "page": page,
        "told": [(row, words.of_row(row, run.kind, now)) for row in page],
        "poll_url": with_query(run_url(run), {"status": chosen.key, "page": page.number, "said": said}),
        "news": said != request.GET.get("said", said),
        "needs_sign_in": run.state in OnboardingRun.HALTED and steering.needs_sign_in(run),
        "can_try_again": run.rows.filter(problems=[], state__in=(*steering.AGAIN, RowState.UNKNOWN)).count()
        if run.state in OnboardingRun.OVER
        else 0,
        "can_undo": run.kind == Operation.Kind.CREATE and run.state in OnboardingRun.OVER and counts["done"],
        "error": error,
        **more,
    }
    response = render_page(request, "onboarding/run.html", "progress", context, status=status)
    if wants_part(request) and run.state in OnboardingRun.OVER and status == 200:
        response.status_code = 286  # nothing more to poll for
    return response


def run_url(run: OnboardingRun) -> str:
    return reverse("run", args=[run.key])


def _url(run: OnboardingRun, status: str) -> str:
    return with_query(run_url(run), {"status": status} if status else {})


def _rows(run: OnboardingRun) -> QuerySet[OnboardingRow]:
    """Its rows, but for those of customers that are not the partner's any more."""
    rows = OnboardingRow.objects.filter(Q(customer=None) | Q(customer__listed=True), run=run)
    return rows.select_related("customer", "operation")


def _slowed(run: OnboardingRun, now: Any) -> list[dict[str, Any]]:
    """The customers for which Microsoft asked for patience, until when, and how many rows wait for it."""
    waits = _rows(run).filter(state=RowState.QUEUED, not_before__gt=now).order_by()
    found = waits.values("customer__name").annotate(rows=Count("pk"), until=Max("not_before"))
    return [{"name": each["customer__name"], "rows": each["rows"], "until": each["until"]} for each in found[:5]]


# --- The file -----------------------------------------------------------------------------------------------

HEADER = (
    "Row",
    "Customer",
    "Tenant ID",
    "Name",
    "User name",
    "Result",
    "Reason",
    "Code",
    "Object ID",
    "Request ID",
    "At",
)


@require_GET
@require(Permission.WRITE_USERS)
def run_results(request: OperatorRequest, run_id: uuid.UUID) -> HttpResponseBase:
    """What became of each row, as a CSV file. No password is in it."""
    found = access_run(run_id, request.user)
    if refused := too_many(request):
        return refused
    rows = _rows(found).order_by("line")
    detail = f"Exported {rows.count():,} rows."
    about = audit.Subject(action=RUN_ACTION, target_name=f"run {found.pk}")
    audit.note(about, audit.Result(outcome=AuditEvent.Outcome.DONE, detail=detail), by=request.user)
    return csv_out.download(f"run-{found.pk}", HEADER, _lines(found, rows))


def _lines(run: OnboardingRun, rows: QuerySet[OnboardingRow]) -> Iterator[list[object]]:
    now = clock.now()
    for row in rows.iterator(chunk_size=500):
        word = words.of_row(row, run.kind, now).text
        name = row.customer.name if row.customer else ""
        reason = row.detail or " ".join(problem["sentence"] for problem in row.problems)
        yield [
            row.line,
            name,
            row.tenant_id,
            row.target_name,
            row.user_name,
            word,
            reason,
            row.code,
            row.target_id,
            row.request_id if row.operation else "",
            row.decided_at,
        ]
