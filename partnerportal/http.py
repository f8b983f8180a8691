"""Small pieces that every view uses: the request's type, addresses, the page or its part, and where to go next."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_POST
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from partnerportal.models import Operator, TokenCache

V = TypeVar("V", bound=Callable[..., HttpResponseBase])


class AnyRequest(HttpRequest):
    """A request of anybody, as the middleware leaves it."""

    htmx: HtmxDetails
    grant: TokenCache | None  # the sealed tokens of a sign-in
    request_id: str


class OperatorRequest(AnyRequest):
    """A request of somebody who is signed in."""

    user: Operator
    grant: TokenCache


def post_only(view: V) -> V:
    """As Django's `require_POST`, and seen from outside: a sign-in leads to no view that answers no GET."""
    checked: Any = require_POST(view)
    checked.post_only = True
    return cast("V", checked)


def typed(params: Mapping[str, str], key: str) -> str:
    """What an address says under this key, as far as it can mean anything: PostgreSQL refuses a NUL."""
    return params.get(key, "").replace("\x00", "").strip()[:200]


def page_number(params: Mapping[str, str]) -> int:
    """The page that an address asks for; 1 for what is no number, or one beyond any list."""
    page = params.get("page", "")
    return int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 1


def differing(wanted: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of what is not as usual, in the order of the fields. A field `from_` is called `from` there."""
    return {key.rstrip("_"): value for key, value in wanted.items() if value != usual[key]}


def with_query(path: str, params: Mapping[str, Any]) -> str:
    """The address with these parameters; without any, the bare path."""
    return f"{path}?{urlencode(params)}" if params else path


def wants_part(request: OperatorRequest) -> bool:
    """Whether htmx asked for the named part of a page, and not for the whole of it."""
    htmx = request.htmx
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def render_page(
    request: OperatorRequest,
    template: str,
    part: str,
    context: dict[str, Any],
    status: int = 200,
) -> HttpResponse:
    """The whole page, or only its named part when htmx asked for that."""
    context["is_part"] = wants_part(request)
    name = f"{template}#{part}" if context["is_part"] else template
    response = render(request, name, context, status=status)
    patch_vary_headers(response, ["HX-Request", "HX-History-Restore-Request"])
    if status >= 400:
        response["HX-Push-Url"] = "false"
    return response


def takes_bodies_of(size: int) -> Callable[[V], V]:
    """A view to which more bytes may be sent than to the others: `middleware.body_limits` holds all of them to it."""

    def marked(view: V) -> V:
        view.body_limit = size  # type: ignore[attr-defined]
        return view

    return marked


def go_to(request: OperatorRequest, url: str) -> HttpResponse:
    """Lead the browser to a page of ours: a 303, or for htmx its own way of saying so."""
    if request.htmx:
        return HttpResponseClientRedirect(url)
    response = HttpResponseRedirect(url)
    response.status_code = 303
    return response
