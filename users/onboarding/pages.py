"""The pages of a run: before it starts, under way, and over."""

import uuid
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Case, Count, Max, Q, QuerySet, When
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from partnerportal import clock, problems, sessions
from partnerportal.http import OperatorRequest, go_to, render_page, typed, wants_part, with_query
from partnerportal.models import Operator
from partnerportal.permissions import Permission, may, require

from ..models import OnboardingRow, OnboardingRun, Operation
from ..tasks import deliver
from . import checking, drafts, handing, news, steering, uploading, words

State = OnboardingRun.State
RowState = OnboardingRow.State
SIZE = 50
FAILED_FIRST = Case(
    When(state__in=(RowState.DONE, *OnboardingRow.OPEN), then=1),
    When(state=RowState.STOPPED, problems=[], then=1),
    default=0,
)
NAMES_NOBODY = "The rows of this run do not say any more whom they were about."
NOTHING_TO_TRY = (
    "No row was tried again, and nothing was changed: none is left to be tried, the run is just being stopped, or "
    "another run creates these users. Below is how each row stands."
)
NOT_YOURS = "Only whoever started a run may go on with it: it runs with their sign-in."


def access_run(key: uuid.UUID, by: Operator) -> OnboardingRun:
    """The only way to a run by its key: one's own, or anybody's for a Portal.Admin, while a customer of it is listed.

    One that has not ended can be reached, and stopped, whatever became of its customers; their rows are not shown.
    Raises Http404, the same for a run of somebody else and for one that does not exist (TRUST T14).
    """
    run = OnboardingRun.objects.select_related("by", "grant", "origin").filter(key=key).first()
    if run is None or not (run.by_id == by.pk or may(by, Permission.AUDIT_ALL)):
        raise Http404("no such run")
    is_about_some = run.rows.exclude(customer=None).exists()
    if not run.is_open and is_about_some and not run.rows.filter(customer__listed=True).exists():
        raise Http404("no such run")
    return run


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
        drafts.discard(run)
        return go_to(request, reverse("runs"))
    if request.POST.get("step") != "start":
        raise Http404("no such step")
    ready = run.rows.filter(problems=[]).count()
    if not ready:
        return _check_page(request, run, error="No row can be sent. Throw them away and choose others.", status=422)
    if run.kind == Operation.Kind.DELETE and typed(request.POST, "number") != str(ready):
        error = f"Type how many users are deleted: {ready}"
        return _check_page(request, run, field_error=error, status=422)
    if not sessions.proved_lately(request):
        return _check_page(request, run, status=403)
    wishes = {"goes_on": bool(request.POST.get("goes_on")), "notify": bool(request.POST.get("notify"))}
    if steering.start(run, by=request.user, grant=request.grant, **wishes):
        deliver(run)
    return go_to(request, run_url(run))


def _check_page(
    request: OperatorRequest, run: OnboardingRun, *, error: str = "", field_error: str = "", status: int = 200
) -> HttpResponse:
    rows = rows_of(run).order_by("line")
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
        "notify": bool(request.POST.get("notify")),
        **problems.way_to_prove(request),
    }
    return render_page(request, "onboarding/check.html", "form_area", context, status=status)


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
    return _in_the_way(request, run, step) or _step(request, run, step)


def _in_the_way(request: OperatorRequest, run: OnboardingRun, step: str | None) -> HttpResponse | None:
    """The page with the reason why this step cannot be taken; None when it can."""
    if step in ("resume", "again", "mend", "undo", "notify", "hush", "mail") and run.by_id != request.user.pk:
        return _run_page(request, run, error=NOT_YOURS, status=403)
    if step in ("again", "mend", "undo") and steering.names_nobody(run):
        return _run_page(request, run, error=NAMES_NOBODY, status=409)
    if step in ("resume", "again") and steering.needs_sign_in(run) and not sessions.proved_lately(request):
        return _run_page(request, run, status=403, **problems.way_to_prove(request))
    return None


def _step(request: OperatorRequest, run: OnboardingRun, step: str | None) -> HttpResponse:
    match step:
        case "pause":
            steering.pause(run, by=request.user)
        case "resume":
            if steering.resume(run, by=request.user, grant=request.grant):
                deliver(run)
        case "stop":
            steering.stop(run, by=request.user)
        case "again":
            return _try_again(request, run)
        case "notify" | "hush":
            steering.notify(run, by=request.user, wanted=step == "notify")
        case "mail":
            steering.mail(run, by=request.user)
        case "mend" if run.state in OnboardingRun.OVER:
            if (mending := drafts.mend(run, by=request.user)) is not None:
                return uploading.to_check(request, mending)
        case "undo" if run.kind == Operation.Kind.CREATE and run.state in OnboardingRun.OVER:
            return go_to(request, reverse("run-check", args=[steering.undo(run, by=request.user).key]))
        case _:
            raise Http404("no such step")
    return go_to(request, run_url(run))


def _try_again(request: OperatorRequest, run: OnboardingRun) -> HttpResponse:
    """The rows that failed go once more. Of two presses the second finds them under way, and says nothing of it."""
    if steering.try_again(run, by=request.user, grant=request.grant):
        deliver(run)
        return go_to(request, run_url(run))
    if run.state in (*OnboardingRun.BEFORE, State.RUNNING):
        return go_to(request, run_url(run))
    return _run_page(request, run, error=NOTHING_TO_TRY, status=409)


def _run_page(
    request: OperatorRequest, run: OnboardingRun, *, error: str = "", status: int = 200, **more: Any
) -> HttpResponse:
    now, counts = clock.now(), words.counted(run)
    all_tiles = words.tiles(run.kind, now)
    chosen = next((tile for tile in all_tiles if tile.key == typed(request.GET, "status")), all_tiles[0])
    rows = rows_of(run).filter(chosen.which).order_by(*(() if run.is_open else (FAILED_FIRST,)), "line")
    page = Paginator(rows, SIZE).get_page(request.GET.get("page", "1"))
    left = counts["queued"] + counts["waiting"]
    left_out = run.rows.filter(state=RowState.STOPPED).exclude(problems=[]).count()
    wanted = counts["all"] - left_out
    done = wanted - left - (0 if run.is_open else counts["stopped"] - left_out)  # through, however it ended
    percent = 100 * done // max(wanted, 1)
    unheard = run.unheard_since
    said = f"{run.state}{percent // 25}{'-' if unheard else ''}"
    own, is_over = run.by_id == request.user.pk, run.state in OnboardingRun.OVER and not steering.names_nobody(run)
    context = {
        "run": run,
        "own": own,
        "counts": counts,
        "done": done,
        "left": left,
        "left_out": left_out,
        "wanted": wanted,
        "percent": percent,
        "time_left": words.time_left(run, left) if run.state == State.RUNNING and not unheard else "",
        "unheard": unheard,
        "tiles": _tiles(run, all_tiles, chosen, counts),
        "slowed": _slowed(run, now),
        "page": page,
        "told": [(row, words.of_row(row, run.kind, now), words.fix_of(row, run.kind)) for row in page],
        "poll_url": with_query(run_url(run), {"status": chosen.key, "page": page.number, "said": said}),
        "news": said != request.GET.get("said", said),
        "needs_sign_in": run.state in OnboardingRun.HALTED and steering.needs_sign_in(run),
        "can_try_again": steering.to_try(run).count() if is_over else 0,
        "can_mend": drafts.to_mend(run).count() if own and is_over else 0,
        "can_undo": run.kind == Operation.Kind.CREATE and is_over and counts["done"],
        "mail": news.how_it_went(run) if own else "",
        "handing": handing.waiting(run, rows_of(run)) if own and run.kind == Operation.Kind.CREATE else None,
        "error": error,
        **more,
    }
    response = render_page(request, "onboarding/run.html", "progress", context, status=status)
    if wants_part(request) and run.state in OnboardingRun.OVER and status == 200:
        response.status_code = 286  # nothing more to poll for
    return response


def _tiles(
    run: OnboardingRun, tiles: list[words.Tile], chosen: words.Tile, counts: dict[str, int]
) -> list[dict[str, Any]]:
    """The counts that are filters, without those of which there is no row."""
    return [
        {
            "words": tile.words,
            "icon": tile.icon,
            "count": counts[tile.key or "all"],
            "chosen": tile is chosen,
            "url": _url(run, tile.key),
        }
        for tile in tiles
        if tile.always or counts[tile.key] or tile is chosen
    ]


def run_url(run: OnboardingRun) -> str:
    return reverse("run", args=[run.key])


def _url(run: OnboardingRun, status: str) -> str:
    return with_query(run_url(run), {"status": status} if status else {})


def rows_of(run: OnboardingRun) -> QuerySet[OnboardingRow]:
    """Its rows, but for those of customers that are not the partner's any more."""
    rows = OnboardingRow.objects.filter(Q(customer=None) | Q(customer__listed=True), run=run)
    return rows.select_related("customer", "operation")


def _slowed(run: OnboardingRun, now: Any) -> list[dict[str, Any]]:
    """The customers for which Microsoft asked for patience, until when, and how many rows wait for it."""
    waits = rows_of(run).filter(state=RowState.QUEUED, not_before__gt=now).order_by()
    found = waits.values("customer__name").annotate(rows=Count("pk"), until=Max("not_before"))
    return [{"name": each["customer__name"], "rows": each["rows"], "until": each["until"]} for each in found[:5]]
