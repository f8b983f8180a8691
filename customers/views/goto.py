"""Where the top bar's "Go to customer" leads, and the star in a customer's head."""

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from customers import favourites, goto
from customers.find import access_customer
from partnerportal.http import OperatorRequest, go_to, post_only, render_page
from partnerportal.permissions import Permission, require


@require_GET
@require(Permission.VIEW)
def go(request: OperatorRequest) -> HttpResponse:
    """Options for `?q=`; with `open` straight to the best of them. Without JavaScript it is a page with links."""
    text = request.GET.get("q", "")[:200]
    groups = goto.find(text, by=request.user, grant=request.grant)
    hits = [hit for group in groups for hit in group.hits]
    if "open" in request.GET and hits:
        return redirect(hits[0].url)
    context = {"text": text.strip(), "groups": groups, "count": len(hits), "first": hits[0] if hits else None}
    return render_page(request, "goto/page.html", "options", context)


@post_only
@require(Permission.VIEW)
def favourite(request: OperatorRequest, key: str) -> HttpResponse:
    """`on=1` keeps the customer at hand, anything else lets it go."""
    customer = access_customer(key)
    wanted = request.POST.get("on") == "1"
    (favourites.keep if wanted else favourites.drop)(customer, by=request.user)
    if not request.htmx:
        return go_to(request, reverse("users", args=[customer.key]))
    return render(request, "goto/star.html", {"customer": customer, "is_favourite": wanted, "is_part": True})
