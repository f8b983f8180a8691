"""The pages of a customer's users: the table, one user, a new one, and what became of an operation."""

import uuid
from dataclasses import replace
from functools import partial
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from customers import favourites
from customers.access import Access, Action, ActionDenied, access_to
from customers.find import access_customer
from customers.learning import learn
from customers.models import Customer, Source
from partnerportal import clock, grants, problems
from partnerportal.http import OperatorRequest, go_to, render_page, wants_part
from partnerportal.models import Operator
from partnerportal.permissions import Permission, may, require
from partnerportal.upstream.errors import Forbidden, Refused, SignInAgain, Throttled, UpstreamError
from partnerportal.upstream.partner_center import CustomerProfile, CustomerUser

from . import (
    actions,
    first_licences,
    forms,
    handover,
    new_forms,
    operations,
    pages,
    resetting,
    seen_skus,
    table,
    tasks,
    templates,
)
from .around import Around
from .models import Operation

State = Operation.State


@require_GET
@require(Permission.VIEW)
def users(request: OperatorRequest, key: str) -> HttpResponse:
    """One page of users, live from Partner Center, and what the operator may do here."""
    customer = access_customer(key)
    if customer.key != key:
        return redirect("users", customer.key)
    if customer.tenant_id is None:
        context = {
            "customer": customer,
            "ages": Source.telling(customer),
            "is_favourite": favourites.has(customer, by=request.user),
        }
        return render(request, "users/not_in_partner_center.html", context)
    around = Around(request, customer)
    query = table.TableQuery.read(request.GET.dict())
    if request.headers.get("Cache-Control") in ("max-age=0", "no-cache"):  # the browser's own Reload
        query = replace(query, fresh=1)
    try:
        meanwhile = None if wants_part(request) else partial(_opened, around, customer, request.user)
        found = table.load(customer, query, by=request.user, grant=request.grant, meanwhile=meanwhile)
    except table.NoRole as refusal:
        return pages.no_access(request, customer, refusal.access, Action.LIST)
    if isinstance(found.problem, Forbidden) and not found.problem.our_fault:
        return pages.refused(request, customer, found.access, found.problem)
    if found.problem and (wants_part(request) or isinstance(found.problem, Refused)):
        raise found.problem
    if "fresh" in request.GET and query.cursor and not found.problem:
        return redirect(query.url(customer, cursor=query.cursor))  # to what is kept of it now
    # A whole page whose table is an error card has its head, rights and ways on; but for 429, its status is 200.
    context = {**pages.shell(request, customer, found.access, around), **_table_context(customer, query, found)}
    slowed = problems.slowed(request, found.problem) if isinstance(found.problem, Throttled) else None
    context["retry_url"] = "" if slowed and slowed.resumes else request.get_full_path()
    if slowed:
        context |= {"problem_title": slowed.title, "what_next": slowed.next_step}
    response = render_page(request, "users/list.html", "table", context, status=slowed.status if slowed else 200)
    if slowed:
        problems.tell_the_wait(response, slowed)
    if query.cursor and found.place.page == 1 and not found.problem:
        response["HX-Push-Url"] = query.url(customer)
    return response


def _opened(around: Around, customer: Customer, by: Operator) -> None:
    """What a whole page takes of the database, all of which can be done while Microsoft is asked."""
    favourites.visited(customer, by=by)
    around.read()


@require_GET
@require(Permission.VIEW)
def users_ahead(request: OperatorRequest, key: str) -> HttpResponse:
    """The browser asks ahead for the next page while the one before it is read. 202: not now, and not again."""
    customer = pages.tenant_of(key)
    try:
        table.look_ahead(customer, table.TableQuery.read(request.GET.dict()), by=request.user, grant=request.grant)
    except UpstreamError:  # nobody waits for this; whoever goes on asks, and is told
        return HttpResponse(status=202)
    return HttpResponse(status=204)


def _table_context(customer: Customer, query: table.TableQuery, found: table.Table) -> dict[str, Any]:
    page = found.place.page
    first = (page - 1) * query.size + 1
    last = first + len(found.users) - 1
    more = found.page.next is not None if found.page else False
    return {
        "query": query,
        "users": found.users,
        "problem": found.problem,
        "note": found.note,
        "words": f"{first:,}–{last:,}{', more to come' if more else ''}" if found.users else "No more users",
        "page_number": page,
        "first_url": query.url(customer) if page > 1 else "",
        "export_url": query.url(customer, "users-export", sort="name", size=25),
        "refresh_url": query.url(customer, cursor=query.cursor, fresh=1),
        "here_url": query.url(customer, cursor=found.place.cursor(1)) if page == 1 and more else "",
        "ahead_url": query.url(customer, "users-ahead", cursor=found.place.cursor(page + 1)) if more else "",
        "previous_url": query.url(customer, cursor=found.place.cursor(page - 1)) if page > 1 else "",
        "next_url": query.url(customer, cursor=found.place.cursor(page + 1)) if more else "",
        "sort_url": query.url(customer, sort="name" if query.descending else "-name"),
        "direction": "descending" if query.descending else "ascending",
        "active_url": query.url(customer, state="active"),
        "deleted_url": query.url(customer, state="deleted"),
        "sizes": table.SIZES,
        "op_id": forms.new_op_id(),  # of the run over those who are ticked
    }


@require_GET
@require(Permission.VIEW)
def user(request: OperatorRequest, key: str, user_id: uuid.UUID) -> HttpResponse:
    """One user as Partner Center knows them now, with their licences and directory roles."""
    customer = pages.tenant_of(key)
    try:
        access, person = pages.access_and_user(request, customer, user_id)
    except pages.NotShown as refusal:
        return pages.refused(request, customer, refusal.access, refusal.error)
    if access[Action.LIST].no:
        return pages.no_access(request, customer, access, Action.LIST)
    if person is None:
        return pages.gone(request, customer)
    context = {**pages.shell(request, customer, access), "person": person}
    return render(request, "users/detail.html", {**context, **_powers(request, customer, person)})


def _powers(request: OperatorRequest, customer: Customer, person: CustomerUser) -> dict[str, Any]:
    """The licences and directory roles of a user; None for what could not be seen, which hides nothing else."""
    partner_center, tenant_id = grants.partner_center(request.grant), customer.tenant_id or ""
    licences, held = table.side_by_side(
        lambda: partner_center.licences(tenant_id, person.id),
        lambda: partner_center.directory_roles(tenant_id, person.id),
    )
    return {
        "licences": None if isinstance(licences, UpstreamError) else licences,
        "directory_roles": None if isinstance(held, UpstreamError) else held,
    }


@require_http_methods(["GET", "POST"])
@require(Permission.VIEW)
def user_new(request: OperatorRequest, key: str) -> HttpResponse:
    """The form for a new user; a POST creates it, once, and shows the password in its answer only."""
    customer = pages.tenant_of(key)
    if request.method == "POST":
        return _create(request, customer)
    access, offer = _open_new_form(request, customer)
    if not (may(request.user, Permission.WRITE_USERS) and access[Action.CREATE].tried):
        return pages.no_access(request, customer, access, Action.CREATE)
    try:
        form = new_forms.opened(request, customer, offer)
    except templates.TemplateGone:
        return pages.template_gone(request, customer)
    tasks.prepare_create(customer, grant=request.grant)
    context = {**pages.shell(request, customer, access), **new_forms.around(customer, form)}
    return render(request, "users/new.html", context)


def _open_new_form(request: OperatorRequest, customer: Customer) -> tuple[Access, first_licences.Offer]:
    """The rights, and what they let one choose of the licences; beside that the customer's domains.

    Domains that do not come are typed by hand.
    """
    partner_center, graph = grants.partner_center(request.grant), grants.graph(request.grant)

    def rights() -> tuple[Access, first_licences.Offer]:
        access = access_to(customer.tenant_id or "", by=request.user, graph=graph)
        return access, first_licences.offer(customer, access, by=request.user, partner_center=partner_center)

    known, profile = table.side_by_side(rights, lambda: partner_center.customer(customer.tenant_id or ""))
    if isinstance(known, UpstreamError):
        raise known
    if isinstance(profile, CustomerProfile):
        learn(customer, profile, clock.now())
    seen_skus.learn(known[1].skus)
    return known  # type: ignore[no-any-return]


def _create(request: OperatorRequest, customer: Customer) -> HttpResponse:
    if not may(request.user, Permission.WRITE_USERS):
        return pages.no_role(request, customer, Action.CREATE, "create user")
    form = new_forms.sent(request, customer)
    again = partial(pages.form_again, request, customer, form, "users/new.html")
    if not form.is_valid():
        return again()
    try:
        operation = actions.create_user(
            customer=customer,
            fields=form.user_fields,
            password=form.typed_password,
            force_change=form.cleaned_data["force_change"],
            op_id=form.cleaned_data["op_id"],
            by=request.user,
            grant=request.grant,
            despite_deleted=form.cleaned_data["despite_deleted"],
            licences=form.wanted_licences,
        )
    except actions.WasDeleted as namesake:
        return pages.was_deleted(request, customer, form, namesake.user)
    except operations.StillOpen as open_one:
        return pages.still_open(request, customer, form, open_one.operation)
    except pages.NOT_SENT as error:
        return pages.not_sent(request, customer, error, again)
    if operation.state in {State.REFUSED, State.CONFLICT, State.DENIED}:
        return again(operation=operation)
    unsent = first_licences.follow(operation, by=request.user, grant=request.grant)
    if operation.state == State.DONE and request.POST.get("then") == "another":
        return pages.another(request, operation, unsent)
    return pages.outcome(request, operation, unsent=unsent)


@require_http_methods(["GET", "POST"])
@require(Permission.WRITE_USERS)
def operation(request: OperatorRequest, key: str, op_id: uuid.UUID) -> HttpResponse:
    """What became of an operation of one's own. A POST does something about it: check again, send again, give it up,
    say whose the user is that was found, hand its password over by a link, revoke one, or be done with the password.
    """
    customer = pages.tenant_of(key)
    mine = Operation.objects.filter(op_id=op_id, by=request.user, customer=customer)
    found = mine.select_related("customer", "by").first()
    if found is None:
        raise Http404("no such operation")
    if request.method == "GET":
        return pages.outcome(request, operations.settled(found))
    trouble = unsent = ""
    asks: dict[str, Any] = {}
    status = 200
    try:
        match request.POST.get("step"):
            case "done":
                operations.destroy_password(found)
                return go_to(request, reverse("users", args=[customer.key]))
            case "check":
                actions.check_again(found, by=request.user, grant=request.grant)
            case "send":
                trouble, asks, status = _send_again(request, found)
            case str(step) if step in handover.STEPS:
                return handover.STEPS[step](request, found)
            case "stop":
                actions.give_up(found, by=request.user)
            case "ours" | "theirs" as whose:
                actions.say_whose(found, ours=whose == "ours", by=request.user)
            case _:
                raise Http404("no such step")
        unsent = first_licences.follow(found, by=request.user, grant=request.grant)
    except SignInAgain:
        raise
    except operations.TooSoon as early:
        trouble, status = str(early), 429
    except UpstreamError as error:
        trouble = f"We could not find out. {error}"
    found.refresh_from_db()
    return pages.outcome(request, found, trouble, unsent=unsent, asks=asks, status=status)


def _send_again(request: OperatorRequest, found: Operation) -> tuple[str, dict[str, Any], int]:
    """Send an operation once more. What stood in the way as a sentence, what it asks of the operator, the status."""
    proved = resetting.is_proved(request, found.user_name)
    asks: dict[str, Any] = {}
    status = 200
    try:
        actions.send_again(found, proved=proved, by=request.user, grant=request.grant)
        return "", asks, status
    except ActionDenied as denied:
        why = denied.reason
    except actions.TooFast:
        why, status = actions.TOO_FAST, 429
    except actions.UserGone:
        why = actions.GONE
    except actions.Administrator as powerful:
        why = resetting.asked_for(powerful)
        asks = {"powers": powerful.roles, **resetting.proof(request, needed=True)}
    again = "" if found.is_due else " again"
    return f"It was not sent{again}. {why}", asks, status
