"""What somebody's being here sets off."""

import logging
from collections.abc import Callable
from functools import partial

from django.http import HttpRequest, HttpResponseBase

from partnerportal.models import TokenCache

from . import tasks

log = logging.getLogger(__name__)

# The list is what is opened most, and has to do with five queries. Other pages are looked at before: what the look
# remembers (the names of groups) saves their access check a round to Graph.
AFTERWARDS = frozenset({"/customers/"})


def keep_gdap_fresh(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """While somebody is active, the GDAP snapshot and their groups are read again when they are old: in a worker."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        grant = getattr(request, "grant", None)
        polls = request.headers.get("X-Poll") == "1"  # a page's own polling is no sign of life
        if grant is None or polls:
            return get_response(request)
        if request.path_info in AFTERWARDS:
            return _and_then(get_response(request), partial(_look, grant))
        _look(grant)
        return get_response(request)

    return middleware


def _and_then(response: HttpResponseBase, work: Callable[[], None]) -> HttpResponseBase:
    """The answer, and this once the browser has it: the server closes an answer when all of it is sent."""
    close = response.close

    def close_at_last() -> None:
        try:
            work()
        finally:
            close()

    response.close = close_at_last  # type: ignore[method-assign]
    return response


def _look(grant: TokenCache) -> None:
    try:
        tasks.somebody_is_here(grant)
    except Exception:  # such as a database that is busy: no page waits for this, and a later one looks again
        log.exception("nobody could look how old the GDAP snapshot is")
