"""The answers to what cannot be served: the dialog of an ended session, a notice in the page, or a page of its own.

Each has its status, whoever asked. htmx gets a fragment and is told where it belongs; a browser gets the same
words as a whole page.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from urllib.parse import urlencode, urlsplit

from django.apps import apps
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

from partnerportal import clock, sessions
from partnerportal.upstream.errors import (
    MFA_CODES,
    Conflict,
    Forbidden,
    NotFound,
    Refused,
    SignInAgain,
    Throttled,
    Unreachable,
    UpstreamError,
)

BY_ITSELF = "This goes on by itself"
LONGEST_RESUME = 300  # seconds; nobody sits in front of a page for longer

PAGES = {403: "403.html", 404: "404.html", 500: "500.html"}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What happened, what it means, and what to do."""

    status: int
    title: str
    reason: str = ""
    next_step: str = ""
    code: str = ""  # upstream's, for support
    request_id: str = ""
    upstream_status: int | None = None
    retry_after: int | None = None  # seconds
    resumes: bool = False  # the page is loaded again by itself then


BAD_REQUEST = Problem(
    status=400,
    title="We cannot read this request",
    reason="The address or the form is not one of ours. Nothing was changed.",
)
TOO_MANY_FIELDS = Problem(
    status=400,
    title="Too much was chosen at once",
    reason=f"A form may have {settings.DATA_UPLOAD_MAX_NUMBER_FIELDS} fields, and this one came with more. "
    "Nothing was changed.",
    next_step="Choose fewer at once, or let the browser run this site’s scripts: then a whole page of 500 can go.",
)
NOT_FOUND = Problem(
    status=404,
    title="There is no page at this address",
    reason="It may have moved, or the address was cut off.",
)
NOT_FROM_HERE = Problem(
    status=403,
    title="This did not come from one of our pages",
    reason="Another site asked for a change in your name. Nothing was changed.",
)
STALE_FORM = Problem(
    status=403,
    title="This form is out of date",
    reason="Somebody signed in or out in this browser after the form was opened. Nothing was changed.",
    next_step="Load the page again and send it once more.",
)


def too_large(size: int, limit: int) -> Problem:
    """More was sent than the page takes. Nothing of it was looked at."""
    told = min(size, 2**50)  # a header can say anything
    size_words, limit_words = (f"{each / 1024 / 1024:.3g} MB" for each in (told, limit))
    return Problem(
        status=413,
        title="This is too large",
        reason=f"{size_words} were sent, and this page takes {limit_words} at most. Nothing was taken.",
        next_step="Send less at once: split a file into several.",
    )


def busy(*, unsafe: bool) -> Problem:
    """Our own database did not answer in time: another writer holds it, or it is gone."""
    outcome = "What you asked for may have been done: check before you try again." if unsafe else "Nothing was changed."
    return Problem(
        status=503,
        title="The database is busy",
        reason=f"It did not answer in time. {outcome}",
        next_step="Try again in a minute.",
        retry_after=60,
    )


def denied(reason: str) -> Problem:
    """Somebody who is signed in may not do this."""
    return Problem(
        status=403,
        title="You may not do this",
        reason=reason,
        next_step=f"{settings.ACCESS_CONTACT[:1].upper()}{settings.ACCESS_CONTACT[1:]} can grant it.",
    )


def stopped(reason: str) -> Problem:
    """The audit trail is not whole, so nothing is sent to customers."""
    return Problem(status=503, title="Changes to customers are stopped", reason=reason)


def is_htmx(request: HttpRequest) -> bool:
    """Whether htmx asks; true also where something failed before its middleware ran."""
    return request.headers.get("HX-Request") == "true"


def answer(request: HttpRequest, problem: Problem) -> HttpResponse:
    """The problem as a notice for htmx, as a page for everybody else."""
    if is_htmx(request):
        context = {
            "kind": "warn" if problem.status in (404, 409, 429) else "bad",
            "title": problem.title,
            "body": " ".join(part for part in (problem.reason, problem.next_step) if part),
            "focus": problem.status != 429 and request.headers.get("X-Poll") != "1",  # asked for by nobody
            "role": "status" if problem.status == 429 else "alert",
        }
        response = render(request, "partials/notice.html", context, status=problem.status)
        _lead_to(response, "#notice")
    else:
        page = PAGES.get(problem.status, "problem.html")
        response = render(request, page, {"problem": problem, **vars(problem)}, status=problem.status)
    tell_the_wait(response, problem)
    return response


def tell_the_wait(response: HttpResponse, problem: Problem) -> None:
    """How long to wait, for whoever asks by a program; and for a browser, whether it loads the page again then."""
    if problem.retry_after is not None:
        response["Retry-After"] = str(problem.retry_after)
        if problem.resumes:
            response["Refresh"] = str(problem.retry_after)


# --- Nobody is signed in ------------------------------------------------------------------------------------


def sign_in_again(request: HttpRequest, *, after: bool = False) -> HttpResponse:
    """Nobody is signed in (any more): a plain GET is led to sign in, everything else gets a 401 and keeps its page.

    `after`: the session ended while the request was served, so that it may have been done.

    A redirect would be followed by htmx itself, right into a login page that the CSP does not let it read.
    """
    unsafe = request.method not in ("GET", "HEAD")
    if not unsafe and not is_htmx(request):
        return HttpResponseRedirect(sign_in_url(request.get_full_path()))
    context = {"unsafe": unsafe, "after": after, "signin_url": sign_in_url(page_behind(request))}
    if is_htmx(request):
        response = render(request, "partials/session_dialog.html", context, status=401)
        _lead_to(response, "#dialog")
        return response
    return render(request, "signin/again.html", context, status=401)


def sign_in_url(next_page: str) -> str:
    """Where the sign-in starts, and where it leads in the end."""
    return f"{reverse('signin')}?{urlencode({'next': next_page})}"


def way_to_prove(request: HttpRequest) -> dict[str, str]:
    """For a page that asks for a proof, empty when there is one (`sessions.proved_lately`).

    `proof_url`: the way to sign in anew, where Microsoft is told to ask whatever it remembers. `unproved`: why the last
    sign-in proved nothing, so that nobody goes round in circles.
    """
    if sessions.proved_lately(request):
        return {}
    sessions.remember_challenge(request, claims="")
    return {"proof_url": sign_in_url(request.path), "unproved": sessions.why_unproved(request)}


def page_behind(request: HttpRequest) -> str:
    """The page of ours that the browser shows, as far as it tells; else the start page."""
    said = request.headers.get("HX-Current-URL") or request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(said, {request.get_host()}, require_https=not settings.SANDBOX):
        return reverse("home")
    parts = urlsplit(said)
    if parts.path.startswith(("//", "/\\")):  # on its own, this would be the address of another site
        return reverse("home")
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _lead_to(response: HttpResponse, target: str) -> None:
    """Say where a fragment belongs that htmx did not ask for."""
    response["HX-Retarget"] = target
    response["HX-Reswap"] = "innerHTML"
    response["HX-Push-Url"] = "false"


# --- Upstream did not do it ---------------------------------------------------------------------------------


def upstream(request: HttpRequest, error: UpstreamError) -> HttpResponse:
    """What an upstream's error means for the person who waits for the page."""
    if isinstance(error, SignInAgain) and not error.our_fault:
        if sessions.just_signed_in(request):
            return answer(request, _refused_after_sign_in(error))
        if error.claims or error.code in MFA_CODES:
            sessions.remember_challenge(request, claims=error.claims)
        return sign_in_again(request)
    if isinstance(error, Throttled):
        return answer(request, slowed(request, error))
    return answer(request, _problem(error, unsafe=request.method not in ("GET", "HEAD")))


def slowed(request: HttpRequest, error: Throttled) -> Problem:
    """Upstream asked us to slow down. A page that a browser reads is loaded again by itself then: soon, and once, so
    that nobody is sent round and round.
    """
    problem = _problem(error, unsafe=request.method not in ("GET", "HEAD"))
    wait, grant = problem.retry_after or 0, getattr(request, "grant", None)
    if request.method != "GET" or is_htmx(request) or grant is None or wait > LONGEST_RESUME:
        return problem
    page = hashlib.sha256(request.get_full_path().encode()).hexdigest()
    if not cache.add(f"resumes:{grant.pk}:{page}", True, wait + 60):
        return problem
    return replace(problem, resumes=True, next_step=try_again_at(error.retry_at, BY_ITSELF)[1])


def _refused_after_sign_in(error: SignInAgain) -> Problem:
    """Sending somebody back who has just come from there would go round for ever."""
    return Problem(
        status=403,
        title=f"{error.source} does not accept your sign-in",
        reason=f"{error} You signed in a moment ago, so doing it again will not help.",
        next_step="Tell an administrator of your tenant this code. Conditional Access may ask for a second factor.",
        code=error.code,
        request_id=error.request_id,
        upstream_status=error.status,
    )


def _problem(error: UpstreamError, *, unsafe: bool) -> Problem:
    status, title = _status_and_title(error)
    next_step, wait = "", None
    if isinstance(error, Throttled):
        wait, next_step = try_again_at(error.retry_at)
    elif isinstance(error, Forbidden):
        next_step = denied("").next_step
    elif last := _last_reached(error.source):
        last = timezone.localtime(last)
        next_step = f"We last reached it at {last:%H:%M %Z} on {last.day} {last:%b}."
    if unsafe and error.ambiguous:
        outcome = "We do not know if it was done. Check before you try again."
    else:
        outcome = "Nothing was changed."
    if not isinstance(error, Throttled):  # of which title and next step say all
        outcome = f"{error} {outcome}"
    return Problem(
        status=status,
        title=title,
        reason=outcome,
        next_step=next_step,
        code=error.code,
        request_id=error.request_id,
        upstream_status=error.status,
        retry_after=wait,
    )


def try_again_at(moment: datetime, what: str = "Try again") -> tuple[int, str]:
    """The seconds until then, at least one, for Retry-After; and the sentence that tells a person."""
    wait = max(1, ceil((moment - clock.now()).total_seconds()))
    return wait, f"{what} at {clock.told(moment, '%H:%M:%S %Z')}, in {wait} seconds."


def status_of(error: UpstreamError) -> int:
    """The status of an answer of ours that tells of this error."""
    return _status_and_title(error)[0]


def _status_and_title(error: UpstreamError) -> tuple[int, str]:
    if isinstance(error, Refused) and error.our_fault:
        return 502, f"{error.source} does not accept how we are set up"
    if isinstance(error, Forbidden):
        return 403, f"{error.source} does not allow this"
    if isinstance(error, NotFound):
        return 404, f"{error.source} did not find this"
    if isinstance(error, Conflict):
        return 409, f"{error.source} sees a conflict"
    if isinstance(error, Throttled):
        return 429, f"{error.source} asked us to slow down"
    if isinstance(error, Unreachable):
        return (504 if error.sent else 503), f"{error.source} did not answer"
    return 502, f"{error.source} did not do what we asked"


def _last_reached(source: str) -> datetime | None:
    # By name: the customers app stands above this one.
    for row in apps.get_model("customers", "Source").objects.all():
        if row.label == source and isinstance(row.last_good_at, datetime):
            return row.last_good_at
    return None
