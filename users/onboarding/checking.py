"""The page of the check: how far it is, what it found, and the cells in which that can be mended."""

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Case, Count, Q, QuerySet, Value, When
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET
from django_htmx.http import retarget

from partnerportal import audit, csv_out, exports, problems, sessions
from partnerportal.http import OperatorRequest, go_to, render_page, typed, with_query
from partnerportal.models import AuditEvent
from partnerportal.permissions import Permission, require

from ..models import OnboardingCheck, OnboardingRow, OnboardingRun
from ..tasks import deliver, start_checking, start_editing
from . import check, columns, drafts, steering

LONGEST = 1000  # characters of a cell that can be mended here
SIZE = 25  # rows on a page
MOST_CELLS = 180  # on a page: a form may have 200 fields
_CELL = re.compile(r"cell-([0-9]{1,7})-([a-z_]{1,20})")
OTHERWISE = "Nothing was started: the rows were changed or checked anew after this page was made. Look at them again."
_SHOW = {"problems": "Need a change", "ready": "Ready", "notes": "Look again"}


def answer(request: OperatorRequest, run: OnboardingRun) -> HttpResponse:
    """What would become of each row. A POST mends cells, checks all anew, starts the run or throws the rows away."""
    here = with_query(request.path, {name: value for name, value in request.GET.items() if name in ("show", "page")})
    if request.method == "GET":
        return _page(request, run)
    try:
        match request.POST.get("step", "save"):
            case "again":
                start_checking(run, grant=request.grant, everything=True)
            case "discard":
                drafts.discard(run)
                return go_to(request, reverse("onboarding-new"))
            case "start":
                return _start(request, run, here)
            case _:
                if changes := dict(_changes(request, run)):
                    start_editing(run, changes, grant=request.grant)
    except check.Started:
        return redirect("run", run.key)
    return go_to(request, here)


def _start(request: OperatorRequest, run: OnboardingRun, here: str) -> HttpResponse:
    """On to the run, by somebody who has just proved who they are; a check that is too old is made anew before."""
    if not sessions.proved_lately(request):
        return go_to(request, here)  # where the way to sign in stands
    walk = OnboardingCheck.objects.filter(run=run).first()
    if walk is None or request.POST.get("walk") != str(walk.fence):  # not of the check that this person has seen
        return _page(request, run, trouble=OTHERWISE)
    if not drafts.tally(run).ready and check.is_fresh(run):
        return _page(request, run, trouble="There is no row to be sent.")
    if not check.is_fresh(run):
        start_checking(run, grant=request.grant, everything=run.state == OnboardingRun.State.CHECKED)
        return go_to(request, here)
    wishes = {"goes_on": request.POST.get("goes_on") == "on", "notify": request.POST.get("notify") == "on"}
    if steering.start(run, by=request.user, grant=request.grant, **wishes):
        deliver(run)
    return go_to(request, reverse("run", args=[run.key]))


def _changes(request: OperatorRequest, run: OnboardingRun) -> Iterator[tuple[int, dict[str, str]]]:
    """The cells that were changed: line -> field -> text. A button "Use …" fills its cell."""
    cells = {name: str(text) for name, text in request.POST.dict().items()}
    # What comes back as it was shown was not changed here, though it may have been since, in another tab.
    shown = dict(part.partition("=")[::2] for part in cells.get("shown", "").split())
    cells = {name: text for name, text in cells.items() if shown.get(name) != _mark(text)}
    used, _, value = cells.get("use", "").partition("=")
    said: dict[int, dict[str, str]] = {}
    for name, text in (*cells.items(), (used, value)):
        if (found := _CELL.fullmatch(name)) and found[2] in columns.FIELDS:
            said.setdefault(int(found[1]), {})[found[2]] = _plain(text)
    for row in run.rows.filter(line__in=said):
        # A proposal that comes back as it was shown was not typed: it is to be made anew when the names change.
        as_before = {field: (row.typed.get(field, ""), _shown(row, field)) for field in said[row.line]}
        differing = {field: text for field, text in said[row.line].items() if text not in as_before[field]}
        if differing:
            yield row.line, differing


def _plain(text: str) -> str:
    """A cell as it is kept; an input of one line drops the ends of lines by itself."""
    return re.sub(r"[\x00\r\n]", "", text).strip()[:LONGEST]


def _mark(text: str) -> str:
    """Tells one text of a cell from another, and is short: a page of long cells must still fit into one body."""
    return hashlib.sha256(_plain(text).encode(errors="replace")).hexdigest()[:12]


def _marks(cells: Iterable[dict[str, Any]]) -> str:
    """What all cells of a page held when they were shown, as one field of their form."""
    return " ".join(f"{cell['id']}={_mark(cell['value'])}" for cell in cells)


def _shown(row: OnboardingRow, field: str) -> str:
    """What stands in a cell; in that of the user name, where the row has none, the one that is proposed."""
    typed: dict[str, str] = row.typed
    return typed.get(field, "")[:LONGEST] or (row.user_name if field == "user_name" else "")


def _page(request: OperatorRequest, run: OnboardingRun, trouble: str = "") -> HttpResponse:
    walk = OnboardingCheck.objects.filter(run=run).first()
    tally = drafts.tally(run)
    show = typed(request.GET.dict(), "show")
    show = show if show in _SHOW else ""
    rows = Paginator(_in_order(run, show), SIZE).get_page(request.GET.get("page"))
    edited = typed(request.GET.dict(), "edit")
    used = {field for row in rows for field in row.typed}
    told = _within([_told(row, used, is_open=str(row.line) == edited) for row in rows])
    context = {
        "run": run,
        "trouble": trouble,
        "walk": walk,
        "tally": tally,
        "words": _words(run, walk, tally),
        "fresh": check.is_fresh(run),
        "show": show,
        "tiles": _tiles(request.path, tally, show),
        "page": rows,
        "rows": told,
        "shown": _marks(cell for each in told for cell in each["cells"]),
        "customers": _customers(run) if tally.customers else [],
        "here_url": with_query(request.path, request.GET.dict()),
        **(problems.way_to_prove(request) if tally.ready and not (walk and walk.open) else {}),
    }
    # A page that waits asks how far the check is. In the end it gets the report, but not over cells that are typed in.
    is_waiting = request.htmx.target == "how-far" and ((walk and walk.open) or "X-Typing" in request.headers)
    part, status = "how_far" if is_waiting else "report", 409 if trouble else 200
    response = render_page(request, "onboarding/file_check.html", part, context, status=status)
    return response if is_waiting else retarget(response, "#report")


def _in_order(run: OnboardingRun, show: str) -> QuerySet[OnboardingRow]:
    """Problems first, then what is to be looked at, then the others, each in the order of the file."""
    rank = Case(When(~drafts.NO_PROBLEM, then=Value(0)), When(~Q(notes=[]), then=Value(1)), default=Value(2))
    rows = run.rows.select_related("customer").order_by(rank, "line")
    match show:
        case "problems":
            return rows.exclude(problems=[])
        case "ready":
            return rows.filter(drafts.NO_PROBLEM, checked_at__isnull=False)
        case "notes":
            return rows.filter(drafts.NO_PROBLEM).exclude(notes=[])
    return rows


def _tiles(here: str, tally: drafts.Tally, shown: str) -> list[dict[str, Any]]:
    """The filters above the rows, as `partials/tiles.html` shows them."""
    counts = {"": tally.rows, "ready": tally.ready, "problems": tally.problems, "notes": tally.notes}
    icons = {"": "list", "ready": "check", "problems": "stop", "notes": "alert"}
    return [
        {
            "words": _SHOW.get(key, "All rows"),
            "count": count,
            "icon": icons[key],
            "chosen": key == shown,
            "url": with_query(here, {"show": key} if key else {}),
        }
        for key, count in counts.items()
    ]


def _words(run: OnboardingRun, walk: OnboardingCheck | None, tally: drafts.Tally) -> str:
    """What the check has come to, in one sentence."""
    if tally.unchecked:
        return f"{tally.rows - tally.unchecked:,} of {tally.rows:,} rows are checked"
    needs = f"{tally.problems:,} row{'s need' if tally.problems != 1 else ' needs'} a change"
    ready = f"{tally.ready:,} of {tally.rows:,} rows are ready" if tally.rows != 1 else "The row is ready"
    if tally.rows == 1 and not tally.ready:
        return "The row needs a change"
    return f"{ready}. {needs}" if tally.problems else ready


def _told(row: OnboardingRow, used: set[str], *, is_open: bool) -> dict[str, Any]:
    """A row with the cells that are to be shown as inputs: those with a problem, or all when it was opened."""
    problems = {problem["field"]: problem for problem in row.problems}
    fields = [field for field in columns.FIELDS if field in problems or (is_open and field in {*used, "user_name"})]
    cells = [
        {
            "id": f"cell-{row.line}-{field}",
            "label": columns.FIELDS[field],
            "value": _shown(row, field),
            "sentence": problems.get(field, {}).get("sentence", ""),
            "choices": problems.get(field, {}).get("choices", []),
        }
        for field in fields
    ]
    others = [problem["sentence"] for problem in row.problems if problem["field"] not in columns.FIELDS]
    return {"row": row, "cells": cells, "others": others, "is_open": is_open}


def _within(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many cells as one form may have. The row that was opened has its own; of one that gets none, what is wrong
    stands there, and it can be opened.
    """
    left = MOST_CELLS - sum(len(each["cells"]) for each in told if each["is_open"])
    for each in told:
        if not each["is_open"] and len(each["cells"]) > left:
            each["others"] += [cell["sentence"] for cell in each["cells"]]
            each["cells"] = []
        elif not each["is_open"]:
            left -= len(each["cells"])
    return told


def _customers(run: OnboardingRun) -> list[Any]:
    """The customers in which users would be created, with what tells them apart."""
    rows = run.rows.filter(drafts.NO_PROBLEM, checked_at__isnull=False).exclude(customer=None)
    named = rows.values("customer__key", "customer__name", "customer__domain", "tenant_id")
    return list(named.annotate(users=Count("pk")).order_by("customer__sort_name"))


@require_GET
@require(Permission.WRITE_USERS)
def run_problems(request: OperatorRequest, run_id: uuid.UUID) -> HttpResponseBase:
    """The rows that need a change, as they are now, with the reason; a file that can be mended and sent again."""
    run = drafts.find(run_id, by=request.user)
    if refusal := exports.too_many(request):
        return refusal
    header = ["row", "problem", *columns.FIELDS]
    rows = run.rows.exclude(problems=[]).order_by("line")
    about = audit.Subject(action=exports.RUN, target_name=f"run {run.pk}")
    detail = f"Exported {rows.count():,} rows that need a change."
    audit.note(about, audit.Result(outcome=AuditEvent.Outcome.DONE, detail=detail), by=request.user)
    told = (
        [row.line, " ".join(each["sentence"] for each in row.problems), *(row.typed.get(f, "") for f in columns.FIELDS)]
        for row in rows.iterator(chunk_size=500)
    )
    return csv_out.download(f"run-{run.pk}-problems", header, told)
