"""The merged list of customers, and its refresh."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.core.paginator import Page
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from customers import merge, paging, snapshot, standing, sync, tasks
from customers.find import access_customer
from customers.listing import COLUMNS, SOURCES, VIEWS, ListQuery, columns_of, join, split
from customers.models import SOON, Customer, Source, SourceName, SyncRun
from customers.snapshot import Head
from customers.templatetags.customer_rows import Look
from partnerportal import clock
from partnerportal.http import OperatorRequest, go_to, render_page, wants_part
from partnerportal.nav import freshness_of
from partnerportal.permissions import Permission, may, require
from partnerportal.preferences import SIZES, Preferences


@require_GET
@require(Permission.VIEW)
def customers(request: OperatorRequest) -> HttpResponse:
    """The merged list, from our snapshot alone: no upstream is asked before the first paint."""
    liked = Preferences.of(request.user)
    query = ListQuery.read(request.GET.dict(), liked)
    columns = columns_of(split(query.cols) or liked.columns)
    found = paging.find(query, request.user, columns)
    if not request.htmx and (exact := _exactly(query.q, found.page)):
        return redirect("customer", exact.key)
    page = found.page.number
    if page != query.page:
        return go_to(request, query.url(page=page))
    context = _list_context(query, found, columns, request)
    response = render_page(request, "customers/list.html", "results", context)
    if wants_part(request):  # a form sends its empty fields too; and Back must not walk letters
        history = "HX-Replace-Url" if request.htmx.trigger_name == "q" else "HX-Push-Url"
        response[history] = query.url(page=page)
    return response


def _list_context(
    query: ListQuery, found: paging.Found, columns: tuple[str, ...], request: OperatorRequest
) -> dict[str, Any]:
    by, page, head, now = request.user, found.page, found.head, clock.now()
    sources = _configured_of(head.sources)
    headers = {key: _column(query, sources, key) for key in COLUMNS if key in columns or COLUMNS[key].sorts}
    without = paging.count(query.without_filters(), by, head) if query.filtered and not page else 0
    return {
        "query": query,
        "params": query.params(),
        "paged": query.params(page=2),  # so that the links of the pages have it in its place
        "page": page,
        "known": head.facts.total,
        "views": _views(query, head, request),
        "columns": [headers[key] for key in columns],
        "sort_choices": [header for key, header in headers.items() if COLUMNS[key].sorts],
        "own_columns": bool(query.cols),
        "without_filters": without,
        "clear_url": query.url(source="", country="", access="", ap=""),
        "all_url": query.url(view="", source="", country="", access="", ap=""),
        "reset_url": ListQuery(usual_size=query.usual_size, size=query.size).url(),
        "filters": _filters(query, head),
        "export_url": query.address("customers-export"),
        "columns_url": query.address("customers-columns", page=query.page),
        "sizes": SIZES,
        "size_url": reverse("customers-size"),
        "keys": columns,
        "look": Look(
            now=now,
            soon=now.replace(hour=0, minute=0, second=0, microsecond=0) + SOON + timedelta(days=1),
            not_loaded=tuple(source.label for source in sources if not source.last_good_at),
            avepoint_loaded=any(source.last_good_at for source in sources if source.name == SourceName.AVEPOINT),
            read_at=head.read_at,
        ),
        "cannot_tell": not standing.known(by) and "access" in columns,
        "sources": sources,
        "freshness": freshness_of(head.sources),
        "gdap_ends_soon": head.facts.gdap_ends_soon,
        "not_configured": [name.label for name in SourceName if not _is_configured(name)],
        "troubles": [source for source in sources if source.problem or source.very_old],
        "fine": [source.label for source in sources if not source.problem],
        "run": None if head.rows_seen is None else {"rows_seen": head.rows_seen},
    }


def _views(query: ListQuery, head: Head, request: OperatorRequest) -> list[dict[str, Any]]:
    """The links above the list, with counts; one without a number where it is not known yet."""
    facts = head.facts
    today = facts.day == snapshot.day(clock.now())  # else what ends soon is another number, which nobody has counted
    # Counted on the list as it opens only, where nothing else has to be.
    may_count = query.whole and query.sort == "name"
    counts = {
        "": facts.total,
        "needs-attention": facts.attention if today else None,
        "gdap30": facts.gdap_ends_soon if today else None,
        "no-access": standing.without_access(request.user, head.generation, facts.total, may_count=may_count),
        "only-in-one-source": facts.one_source,
        "matches-to-check": facts.matches,
    }
    alarming = {"needs-attention", "gdap30", "matches-to-check"}
    blank = ListQuery(sort=query.sort, size=query.size, usual_size=query.usual_size, cols=query.cols)
    return [
        {
            "key": key or "all",
            "label": label,
            "url": blank.url(view=key),
            "count": counts[key],
            "warn": key in alarming and counts[key],
            "current": query.view == key,
        }
        for key, label in VIEWS.items()
    ]


def _filters(query: ListQuery, head: Head) -> list[dict[str, Any]]:
    """The selects: key, words, and (value, words, whether it is chosen). Several values stand as one choice."""
    offered: dict[str, tuple[str, str, dict[str, str]]] = {
        "source": ("Source", "Any source", SOURCES),
        "country": ("Country", "Any country", {name: name for name in head.facts.countries}),
        "access": ("Your access", "Any access", standing.WORDS),
        "ap": ("AvePoint status", "Any AvePoint status", {name: name for name in head.facts.statuses}),
    }
    return [_filter(key, label, nothing, words, query) for key, (label, nothing, words) in offered.items()]


def _filter(key: str, label: str, nothing: str, words: dict[str, str], query: ListQuery) -> dict[str, Any]:
    chosen = split(getattr(query, key))
    named = ", ".join(words.get(value, value) for value in chosen)
    return {
        "key": key,
        "label": label,
        "nothing": nothing,
        "chosen": (join(chosen), named) if chosen and (len(chosen) > 1 or chosen[0] not in words) else None,
        "choices": [(join((value,)), name, chosen == (value,)) for value, name in words.items()],
        # With something chosen, each other value can come beside it.
        "more": [
            (join((*chosen, value)), f"{named}, {name}", False) for value, name in words.items() if value not in chosen
        ]
        if chosen and len(chosen) + 1 < len(words)
        else [],
    }


def _configured_of(found: Sequence[Source]) -> list[Source]:
    """The sources that are configured; those never tried as they will be."""
    by_name = {source.name: source for source in found}
    return [by_name.get(name) or Source(name=name) for name in SourceName if _is_configured(name)]


_COLUMN_SOURCES = {"ap": SourceName.AVEPOINT, "country": SourceName.AVEPOINT, "domain": SourceName.PARTNER_CENTER}


def _column(query: ListQuery, sources: list[Source], key: str) -> dict[str, Any]:
    """What a column's header needs: words, sort link, direction, and the age of its source when that has a problem."""
    column = COLUMNS[key]
    now = {key: "ascending", f"-{key}": "descending"}.get(query.sort, "")
    told_by = next((source for source in sources if source.name == _COLUMN_SOURCES.get(key)), None)
    return {
        "key": key,
        "label": column.label,
        "css": column.css,
        "sorted": now,
        "url": query.url(sort=f"-{key}" if query.sort == key else key) if column.sorts else "",
        "as_of": told_by.last_good_at if told_by and told_by.problem else None,
    }


def _is_configured(name: str) -> bool:
    return Source(name=name).is_configured


def _exactly(text: str, page: Page[Customer]) -> Customer | None:
    """The one customer whose tenant ID or domain somebody pasted; `page` is what the search found."""
    wanted = text.strip().lower()
    is_id = bool(merge.TENANT_ID.fullmatch(wanted))
    if not (is_id or ("." in wanted and " " not in wanted)):
        return None
    if page.paginator.num_pages == 1:
        found = [row for row in page if wanted == (row.tenant_id if is_id else row.domain)]
    else:
        rule = {"tenant_id": wanted} if is_id else {"domain": wanted}
        found = list(Customer.objects.listed().filter(**rule)[:2])
    return found[0] if len(found) == 1 else None


@require_GET
@require(Permission.VIEW)
def customer(request: OperatorRequest, key: str) -> HttpResponse:
    """A customer's address leads to its users."""
    return redirect("users", access_customer(key).key)


PARTNER_CENTER = "https://partner.microsoft.com/dashboard/v2/customers/{}/subscriptions"
AVEPOINT = "https://elements.avepointonlineservices.com/"


@require_GET
@require(Permission.VIEW)
def menu(request: OperatorRequest, key: str) -> HttpResponse:
    """The actions of one row: fetched when its menu is opened, or a page of their own."""
    found = access_customer(key)
    context = {
        "customer": found,
        "may_write": may(request.user, Permission.WRITE_USERS),
        "partner_center_url": PARTNER_CENTER.format(found.tenant_id),
        "avepoint_url": AVEPOINT,
    }
    return render_page(request, "customers/menu.html", "items", context)


@require_http_methods(["GET", "POST"])
@require(Permission.REFRESH)
def refresh(request: OperatorRequest) -> HttpResponse:
    """POST asks for a fresh list. GET tells how far the sync is, for the line that polls."""
    if request.method == "POST":
        run, is_new = sync.request_sync(by=request.user, grant=request.grant)
        if is_new:
            tasks.start_sync(run)
        if request.POST.get("back") == "sources":
            return go_to(request, reverse("sources"))
        query = ListQuery.read(QueryDict(request.POST.get("query", "")).dict(), Preferences.of(request.user))
        return go_to(request, query.url(page=query.page))
    if not request.htmx:
        return redirect("customers")
    under_way = SyncRun.objects.filter(open=True).first()
    context: dict[str, Any] = {"run": under_way}
    if under_way is None:
        context["last"] = SyncRun.objects.filter(open=None).order_by("-pk").first()
        context["silent"] = [source for source in _configured_of(list(Source.objects.all())) if source.silent]
    return render(request, "customers/list.html#sync_status", context, status=200 if under_way is not None else 286)
