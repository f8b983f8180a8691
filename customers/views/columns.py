"""How an operator likes the customer list: which columns, and how many rows a page. Kept on the server."""

from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.views.decorators.http import require_http_methods

from customers.listing import COLUMNS, USUAL, ListQuery, columns_of, split
from partnerportal.http import OperatorRequest, go_to, post_only, render_page
from partnerportal.permissions import Permission, require
from partnerportal.preferences import SIZES, Preferences


@require_http_methods(["GET", "POST"])
@require(Permission.VIEW)
def columns(request: OperatorRequest) -> HttpResponse:
    """The chooser. Moving a column only draws the form anew; it is kept with "Show these columns" or "Reset"."""
    liked = Preferences.of(request.user)
    if request.method != "POST":
        query = ListQuery.read(request.GET.dict(), liked)
        now = columns_of(split(query.cols) or liked.columns)[1:]
        return _form(request, query, [*now, *(key for key in COLUMNS if key not in ("name", *now))], set(now))
    query = _asked(request, liked)
    order = [key for key in dict.fromkeys(request.POST.getlist("order")) if key in COLUMNS and key != "name"]
    order += [key for key in COLUMNS if key not in ("name", *order)]
    shown = [key for key in order if key in request.POST.getlist("shown")]
    way, _, moved = request.POST.get("move", "").partition(":")
    if moved in order and way in ("up", "down"):
        return _form(request, query, _moved(order, moved, way), set(shown), moved=moved, way=way)
    wanted = () if request.POST.get("step") == "reset" or ("name", *shown) == USUAL else ("name", *shown)
    Preferences.save(request.user, columns=wanted)
    return go_to(request, query.url(page=query.page, cols=""))


@post_only
@require(Permission.VIEW)
def page_size(request: OperatorRequest) -> HttpResponse:
    """Keep how many rows a page has; the list stays where it was."""
    liked = Preferences.of(request.user)
    asked = request.POST.get("size", "")
    size = int(asked) if asked in map(str, SIZES) else liked.size
    liked = Preferences.save(request.user, size=size)
    first = request.POST.get("first", "")
    place = int(first) - 1 if first.isdecimal() and len(first) < 9 and int(first) else 0
    query = replace(_asked(request, liked), usual_size=size)
    # Not by `go_to`: htmx follows this by itself, and gets the table alone.
    return HttpResponseRedirect(query.url(size=size, page=place // size + 1), status=303)


def _asked(request: HttpRequest, liked: Preferences) -> ListQuery:
    """The list that the form stood on."""
    asked: dict[str, Any] = QueryDict(request.POST.get("list", "")).dict()
    return ListQuery.read(asked, liked)


def _moved(order: list[str], key: str, way: str) -> list[str]:
    """The order with this column one place up or down; at either end it stays."""
    here = order.index(key)
    there = max(0, here - 1) if way == "up" else min(len(order) - 1, here + 1)
    order[here], order[there] = order[there], order[here]
    return order


def _form(request: OperatorRequest, query: ListQuery, order: list[str], shown: set[str], **more: Any) -> HttpResponse:
    context = {
        "list": query.params(page=query.page).urlencode(),
        "back_url": query.url(page=query.page),
        "columns": [{"key": key, "label": COLUMNS[key].label, "shown": key in shown} for key in order],
        **more,
    }
    return render_page(request, "customers/columns.html", "chooser", context)
