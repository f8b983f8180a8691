"""The page that looks among all users of one customer, by name, user name or id."""

from typing import Any

from django.db import transaction
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from customers.access import Access, Action, access_to
from customers.models import Customer
from partnerportal import audit, grants
from partnerportal.http import OperatorRequest, go_to, render_page, typed, with_query
from partnerportal.models import AuditEvent
from partnerportal.permissions import Permission, require

from . import find, index, pages, tasks
from .models import UserIndex

ACTION = "read users for the search"


@require_http_methods(["GET", "POST"])
@require(Permission.VIEW)
def users_search(request: OperatorRequest, key: str) -> HttpResponse:
    """The users that match `?q=`; a POST has all users read for it, with the operator's own sign-in.

    Who may see the users is asked of Microsoft as for the live list, but nobody stands behind the copy who could
    refuse: what we cannot tell is no here. That answer is the same whether there is an index or not.
    """
    customer = pages.tenant_of(key)
    access = access_to(customer.tenant_id or "", by=request.user, graph=grants.graph(request.grant))
    if not access[Action.LIST].yes:
        return pages.no_access(request, customer, access, Action.LIST)
    if request.method == "POST":
        return _read(request, customer)
    return _show(request, customer, access)


def _read(request: OperatorRequest, customer: Customer) -> HttpResponse:
    """Have the users read, unless that is under way; then back to what was typed."""
    known = index.of(customer)
    if not (known and known.open and known.grant_id):
        about = audit.Subject(action=ACTION, tenant_id=customer.tenant_id or "", customer_name=customer.name)
        with transaction.atomic():
            tasks.start_reading(customer, by=request.user, grant=request.grant)
            audit.note(about, audit.Result(outcome=AuditEvent.Outcome.DONE, detail="Asked for."), by=request.user)
    return go_to(request, _url(customer, typed(request.POST.dict(), "q")))


def _show(request: OperatorRequest, customer: Customer, access: Access) -> HttpResponse:
    text = typed(request.GET.dict(), "q")
    known, found = index.of(customer), find.Found()
    if known and known.copy:
        found = find.inside(known, text)
        if text:
            known.use()
        if known.is_old:
            known = tasks.start_reading(customer, by=request.user, grant=request.grant)
    context: dict[str, Any] = {
        **pages.shell(request, customer, access),
        "index": known or UserIndex(),
        "found": found,
        "text": text,
        "words": _words(text, found),
        "is_short": len(text) < find.SHORTEST,
        "search_url": _url(customer, ""),
        "here_url": _url(customer, text),
    }
    return render_page(request, "users/search.html", "found", context)


def _words(text: str, found: find.Found) -> str:
    """How many were found, in a sentence that can be read out."""
    if not text:
        return ""
    if len(text) < find.SHORTEST:
        return "Type one letter more"
    if not found.users:
        return f"Nobody matches “{text}”"
    if found.are_more:
        return f"The first {find.MOST}. Type more of the name to see fewer"
    return f"{len(found.users)} user{'' if len(found.users) == 1 else 's'} found"


def _url(customer: Customer, text: str) -> str:
    return with_query(reverse("users-search", args=[customer.key]), {"q": text} if text else {})
