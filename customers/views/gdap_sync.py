"""The customer sync of the GDAP API."""

import uuid

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from customers.gdap import api_sync
from customers.models import GdapSync
from partnerportal.http import OperatorRequest, go_to, render_page, wants_part
from partnerportal.permissions import Permission, require
from partnerportal.upstream import gdap_api
from partnerportal.upstream.errors import UpstreamError


@require_http_methods(["GET", "POST"])
@require(Permission.SYNC_GDAP)
def gdap_sync(request: OperatorRequest) -> HttpResponse:
    """Ask the GDAP API to synchronise the partner's customers, and list what was asked before."""
    configured = gdap_api.configured()
    problem, again, status = "", False, 200 if configured or request.method == "GET" else 409
    if request.method == "POST" and configured:
        try:
            api_sync.request_sync(by=request.user, op_id=_op_id(request))
            return go_to(request, reverse("gdap-sync"))
        except api_sync.AlreadyRequested:
            again, status = True, 409
        except api_sync.NotRequested as error:
            problem, status = str(error), 502
        except UpstreamError as error:
            problem, status = ("" if error.ambiguous else str(error)), 502
    context = {
        "configured": configured,
        "running": api_sync.current(),
        "again": again,
        "history": GdapSync.objects.select_related("by").defer("rows_before")[:20],
        "op_id": uuid.uuid4(),
        "problem": problem,
    }
    response = render_page(request, "gdap/sync.html", "sync", context, status=status)
    if status >= 400:  # the answer is the page's part, not a notice above it
        response["HX-Retarget"], response["HX-Reswap"] = "#gdap", "outerHTML"
    return response


@require_GET
@require(Permission.SYNC_GDAP)
def gdap_sync_request(request: OperatorRequest, op_id: uuid.UUID) -> HttpResponse:
    """One request: who asked, what was seen to change, how it ended."""
    asked = get_object_or_404(GdapSync.objects.select_related("by").defer("rows_before"), op_id=op_id)
    seen = asked.observed.get("names", {})
    kinds = (("appeared", "Appeared"), ("changed", "Changed"), ("went", "Went"))
    observed = [(words, asked.observed.get(kind, 0), seen.get(kind, [])) for kind, words in kinds]
    context = {"asked": asked, "observed": observed, "again": asked.observed.get("again", 0)}
    response = render_page(request, "gdap/sync_request.html", "progress", context)
    if asked.settled and wants_part(request):
        response.status_code = 286  # nothing more to poll for
    return response


def _op_id(request: HttpRequest) -> uuid.UUID:
    """The id that the form was given when it was rendered."""
    try:
        return uuid.UUID(request.POST.get("op_id", ""))
    except ValueError:
        raise Http404("a form without its id") from None
