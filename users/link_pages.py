"""The list of one-time links: one's own, and for a Portal.Admin everybody's. It holds no address, no password."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from partnerportal import clock
from partnerportal.http import OperatorRequest, differing, go_to, page_number, render_page, typed, with_query
from partnerportal.models import Operator
from partnerportal.permissions import Permission, may, require

from . import links
from .models import HandoverLink

PAGE = 50
State = HandoverLink.State


@dataclass(frozen=True)
class LinkQuery:
    """What the address of the list asks for; the defaults are left out of it."""

    whose: str = ""  # or "all"
    state: str = ""
    page: int = 1

    @classmethod
    def read(cls, params: Mapping[str, str], by: Operator) -> "LinkQuery":
        """What makes no sense is left out; so are the links of others, for those who may not see them."""
        state = typed(params, "state")
        return cls(
            whose="all" if params.get("whose") == "all" and may(by, Permission.ALL_LINKS) else "",
            state=state if state in State.values else "",
            page=page_number(params),
        )

    def url(self, **changes: Any) -> str:
        """The list's address with these changes, from its first page on."""
        wanted = replace(self, **{"page": 1, **changes})
        return with_query(reverse("links"), differing(vars(wanted), vars(LinkQuery())))

    def rows(self, by: Operator) -> QuerySet[HandoverLink]:
        """The links that match, newest first."""
        found = readable(by) if self.whose else readable(by).filter(operation__by=by)
        return found.filter(_in_state(self.state)) if self.state else found


def readable(by: Operator) -> QuerySet[HandoverLink]:
    """The links of which somebody may know, and which they may revoke. The password is not read with them."""
    found = HandoverLink.objects.select_related("operation__by", "operation__customer").defer("sealed_password")
    return found if may(by, Permission.ALL_LINKS) else found.filter(operation__by=by)


def _in_state(state: str) -> Q:
    """As the page tells it: a link that has run out is no open one, though beat has not come by yet."""
    ran_out = Q(state=State.OPEN, expires_at__lte=clock.now())
    match state:
        case State.OPEN:
            return Q(state=State.OPEN) & ~ran_out
        case State.EXPIRED:
            return Q(state=State.EXPIRED) | ran_out
    return Q(state=state)


@require_http_methods(["GET", "POST"])
@require(Permission.WRITE_USERS)
def hand_over_links(request: OperatorRequest) -> HttpResponse:
    """What became of the links, for whom they are and until when. A POST revokes one."""
    query = LinkQuery.read(request.GET.dict(), request.user)
    said = _revoke(request) if request.method == "POST" else ""
    page = Paginator(query.rows(request.user), PAGE).get_page(query.page)
    if page.number != query.page and not said:
        return go_to(request, query.url(page=page.number))
    context = {
        "query": query,
        "page": page,
        "here_url": query.url(page=page.number),
        "mine_url": query.url(whose=""),
        "all_url": query.url(whose="all"),
        "clear_url": query.url(state=""),
        "states": State.choices,
        "sees_all": may(request.user, Permission.ALL_LINKS),
        "said": said,
    }
    return render_page(request, "users/link_list.html", "results", context)


def _revoke(request: OperatorRequest) -> str:
    """Close a link, and say so. Raises Http404 for one that is somebody else's, or nobody's."""
    try:
        link = readable(request.user).get(pk=uuid.UUID(request.POST.get("link", "")))
    except (ValueError, HandoverLink.DoesNotExist):
        raise Http404("no such link") from None
    whom = link.operation.target_name
    if links.revoke(link, by=request.user):
        return f"The link for {whom} was revoked: it does not work any more, and nobody has opened it."
    return f"The link for {whom} was over before you revoked it. See below what became of it."
