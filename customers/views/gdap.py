"""The GDAP page: relationships by when they end, who can do what where, what changed; and its export."""

from collections.abc import Iterator
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from customers import tasks
from customers.access import Action
from customers.gdap import card, reading, relationships, team
from customers.gdap.listing import AUTO, ENDS, VIEWS, GdapQuery, changes_since_yesterday, first_read_lately, tiles
from customers.models import GRAPH, Customer, GdapRead, GdapRelationship, GdapState, Source
from partnerportal import audit, csv_out, exports
from partnerportal.http import OperatorRequest, go_to, render_page, wants_part
from partnerportal.models import AuditEvent, Operator
from partnerportal.nav import gdap_ends_soon
from partnerportal.permissions import Permission, require
from partnerportal.upstream import roles

SIZE = 25
EXPORTED_AT_ONCE = 500


@require_GET
@require(Permission.VIEW)
def gdap(request: OperatorRequest) -> HttpResponse:
    """Our copy of the relationships; no upstream is asked."""
    query = GdapQuery.read(request.GET.dict())
    made = {"matrix": _matrix, "changes": _changes}.get(query.view, _list)(query, request.user)
    page: Page[Any] = made["page"]
    if page.number != query.page:
        return go_to(request, query.url(page=page.number))
    context = {
        **made,
        "query": query,
        "params": query.params(),
        "source": Source.objects.filter(pk=GRAPH).first(),
        "reading": GdapRead.objects.filter(open=True).first(),
        "tiles": tiles(query),
        "views": [(words, query.url(view=value), value == query.view) for value, words in VIEWS.items()],
        "gdap_ends_soon": gdap_ends_soon(),
        "news": changes_since_yesterday().count(),
        "ends_choices": ENDS,
        "auto_choices": AUTO,
        "role_choices": sorted(roles.NAMES.items(), key=lambda pair: pair[1]),
        "clear_url": GdapQuery(view=query.view).url(),
        "export_url": query.url("gdap-export", view=""),
    }
    response = render_page(request, "gdap/list.html", "results", context)
    if wants_part(request):
        response["HX-Push-Url"] = query.url(page=page.number)
    return response


def _list(query: GdapQuery, by: Operator) -> dict[str, Any]:
    page = Paginator(query.rows().prefetch_related("assignments"), SIZE).get_page(query.page)
    names = relationships.names_of(
        {each.group_id for row in page.object_list for each in row.assignments.all()} if page.object_list else ()
    )
    return {"page": page, "rows": [(row, _agreement(row, by, names)) for row in page]}


def _agreement(row: GdapRelationship, by: Operator, names: dict[str, str]) -> card.Agreement:
    return card.agreement(row.told, [each.told for each in row.assignments.all()], by.groups, names)


def _matrix(query: GdapQuery, by: Operator) -> dict[str, Any]:
    """Customers × actions, for the reader and for everybody known here: one query a page."""
    found = Customer.objects.listed().filter(gdap_state__in=(GdapState.LIVE, GdapState.PENDING, GdapState.ENDED))
    if query.customer:
        found = found.search(query.customer)
    page = Paginator(found.order_by("sort_name", "pk"), SIZE).get_page(query.page)
    held = team.holders([customer.tenant_id or "" for customer in page])
    me, staff = team.Member.of(by), team.members()
    rows = []
    for customer in page:
        groups = held.get(customer.tenant_id or "", {})
        cells = [
            {"action": action, "mine": me.can(action, groups), "team": team.who_can(action, groups, staff)}
            for action in Action
        ]
        rows.append((customer, cells))
    return {"page": page, "rows": rows, "actions": list(Action), "staff": staff, "known": by.groups_read_at}


def _changes(query: GdapQuery, by: Operator) -> dict[str, Any]:
    page = Paginator(changes_since_yesterday(), SIZE).get_page(query.page)
    return {"page": page, "rows": list(page), "first_read_at": None if page.paginator.count else first_read_lately()}


@require_http_methods(["GET", "POST"])
@require(Permission.REFRESH)
def refresh(request: OperatorRequest) -> HttpResponse:
    """POST asks for a fresh copy, read with the token of who asks. GET tells how far the read is, for what polls."""
    if request.method == "POST":
        read, is_new = reading.request_read(by=request.user, grant=request.grant)
        if is_new:
            tasks.start_read(read)
        return go_to(request, GdapQuery().url())
    if not request.htmx:
        return redirect("gdap")
    under_way = GdapRead.objects.filter(open=True).first()
    last = GdapRead.objects.filter(open=None).order_by("-pk").first()
    context = {"reading": under_way, "last": last}
    return render(request, "gdap/list.html#reading", context, status=200 if under_way is not None else 286)


HEADER = (
    *("Customer", "Tenant ID", "Relationship", "Relationship ID", "Status", "Ends", "Extends by itself"),
    *("Roles", "Groups", "Your groups"),
)


@require_GET
@require(Permission.VIEW)
def export(request: OperatorRequest) -> HttpResponseBase:
    """The matching relationships as a CSV file, with the page's own query; written into the audit trail."""
    if refused := exports.too_many(request):
        return refused
    query = GdapQuery.read(request.GET.dict())
    rows = query.rows()  # made here, for the reader's time zone is forgotten when the answer is under way
    count = rows.count()
    result = audit.Result(outcome=AuditEvent.Outcome.DONE, detail=f"Exported {count:,} GDAP relationships.")
    audit.note(
        audit.Subject(action=exports.GDAP, target_name=query.params().urlencode()[:400]), result, by=request.user
    )
    return csv_out.download("gdap", HEADER, _cells(rows, relationships.names_of(), request.user))


def _cells(rows: QuerySet[GdapRelationship], names: dict[str, str], by: Operator) -> Iterator[tuple[object, ...]]:
    for row in rows.prefetch_related("assignments").iterator(chunk_size=EXPORTED_AT_ONCE):
        shown = _agreement(row, by, names)
        yield (
            row.listed_name or row.customer_name,  # type: ignore[attr-defined]
            row.tenant_id,
            row.display_name,
            row.pk,
            shown.status,
            shown.ends_at,
            "yes" if row.extends else "no",
            ", ".join(shown.roles),
            "; ".join(f"{held.group}: {', '.join(held.roles)}" for held in shown.held),
            ", ".join(shown.mine),
        )
