"""The overview: what needs the person in front of the screen, pictures of the whole, and the latest changes."""

from collections.abc import Iterable
from datetime import date
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from customers.models import GRAPH, SourceName, SyncRun
from customers.overview import figures as counted
from customers.overview.charts import Columns, Slice, Stack, columns, lines, slices, spread
from customers.overview.figures import Day, Figures, Week
from customers.overview.needs import address, needs
from partnerportal import audit, clock
from partnerportal.http import OperatorRequest
from partnerportal.models import AppendOnly
from partnerportal.permissions import Permission, may, require
from partnerportal.upstream import avepoint

COUNTRIES = 8
STATUSES = 4
CHANGES = 5
NO_CHANGES = ("sign in", "sign out")


@require_GET
@require(Permission.VIEW)
def overview(request: OperatorRequest) -> HttpResponse:
    """The start page, from our own tables alone: no upstream is asked."""
    now = clock.now()
    sources, generation = counted.sources()
    by_name = {source.name: source for source in sources}
    figures = counted.figures(now, generation)
    sees_all = may(request.user, Permission.AUDIT_ALL)
    days = counted.created(now, None if sees_all else request.user)
    context = {
        "now": now,
        "figures": figures,
        "needs": needs(figures, sources, counted.unknown(request.user)),
        "partner_center": by_name.get(SourceName.PARTNER_CENTER),
        "avepoint": by_name.get(SourceName.AVEPOINT),
        "avepoint_configured": avepoint.configured(),
        "graph": by_name.get(GRAPH),
        "gdap": _gdap(figures),
        "by_source": _by_source(figures),
        "by_status": _by_status(figures),
        "by_country": _by_country(figures),
        "no_country": figures.countries.get("", 0),
        "days": _days(days),
        "created": sum(day.created for day in days),
        "failed": sum(day.failed for day in days),
        "sees_all": sees_all,
        "changes": _changes(audit.readable(request.user)),
    }
    if not figures.customers:
        context["run"] = SyncRun.objects.filter(open=True).first()
    return render(request, "overview.html", context)


def _changes(events: AppendOnly) -> AppendOnly:
    """The newest attempts at anything but the door."""
    return events.attempts().exclude(action__in=NO_CHANGES)[:CHANGES]


# --- Pictures ---------------------------------------------------------------------------------------------------


def _gdap(figures: Figures) -> dict[str, Any]:
    """The relationships by the week they end, as a chart and as the rows of a table."""
    weeks = [(week, _week_url(week)) for week in figures.weeks]
    labels = spread(_months(figures.weeks), apart=3)
    soon = sum(week.soon for week in figures.weeks)
    busiest = max(figures.weeks, key=lambda week: week.ends)
    most = f"Most end in the week of {_day(busiest.monday)}: {busiest.ends:,}." if busiest.ends else ""
    return {
        "chart": columns([_column_of(*week, label) for week, label in zip(weeks, labels, strict=True)]),
        "rows": [(week, url) for week, url in weeks if week.ends + week.extends],
        "takeaway": f"{soon:,} of {figures.relationships:,} end within 30 days and do not extend by themselves. {most}",
    }


def _column_of(week: Week, url: str, label: str) -> Stack:
    words = f"Week of {_day(week.monday)}: {week.ends:,} end, {week.extends:,} extend by themselves"
    return Stack(words, url, (("cbad", week.soon), ("c1", week.later), ("c3", week.extends)), label)


def _week_url(week: Week) -> str:
    return address("gdap", {"from": week.monday.isoformat(), "to": week.sunday.isoformat()})


def _months(weeks: Iterable[Week]) -> list[str]:
    """A label for each week in which a month begins, and for the first; January tells its year."""
    labels: list[str] = []
    before = 0
    for week in weeks:
        day = week.sunday if labels else week.monday
        year = f" {day:%y}" if day.month == 1 else ""
        labels.append("" if day.month == before else f"{day:%b}{year}")
        before = day.month
    return labels


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"


def _by_source(figures: Figures) -> list[Slice]:
    words = (("both", "Both", "c1"), ("pc", "Partner Center only", "c2"), ("ap", "AvePoint only", "c3"))
    return slices(
        (label, address("customers", {"source": name}), figures.sources[name], css) for name, label, css in words
    )


def _by_status(figures: Figures) -> list[Slice]:
    """The most frequent statuses and, wherever it comes, Failed; the rest together."""
    told = {status: count for status, count in figures.statuses.items() if status}
    failed = {"Failed": told.pop("Failed")} if "Failed" in told else {}
    shown, rest = _first(told, STATUSES)
    colours = ("c1", "c2", *["c3"] * STATUSES)
    parts = [
        (status, address("customers", {"ap": status}), count, css)
        for (status, count), css in zip(shown, colours, strict=False)
    ]
    if rest:
        parts.append((f"Other, {len(rest)} statuses", address("customers", {"sort": "ap"}), sum(rest.values()), "c3"))
    parts += [(status, address("customers", {"ap": status}), count, "cbad") for status, count in failed.items()]
    return slices(parts)


def _by_country(figures: Figures) -> list[Slice]:
    told = {country: count for country, count in figures.countries.items() if country}
    shown, rest = _first(told, COUNTRIES)
    parts = [(country, address("customers", {"country": country}), count) for country, count in shown]
    if rest:
        parts.append((f"Other, {len(rest)} countries", address("customers", {"sort": "country"}), sum(rest.values())))
    return lines(parts)


def _first(counts: dict[str, int], limit: int) -> tuple[list[tuple[str, int]], dict[str, int]]:
    """The most frequent ones, and the others; one alone is no "other"."""
    pairs = list(counts.items())
    cut = limit if len(pairs) > limit + 1 else len(pairs)
    return pairs[:cut], dict(pairs[cut:])


def _days(days: list[Day]) -> Columns:
    return columns([_column_of_day(day, labelled=n % 4 == 0) for n, day in enumerate(days)])


def _column_of_day(day: Day, *, labelled: bool) -> Stack:
    on = f"{day.day.day} {day.day:%b}"
    url = address("audit", {"action": "create user", "from": day.day.isoformat(), "to": day.day.isoformat()})
    words = f"{on}: {day.created:,} created, {day.failed:,} failed"
    return Stack(words, url, (("c1", day.created), ("cbad", day.failed)), on if labelled else "")
