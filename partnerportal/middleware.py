"""What happens around every view: the headers, the limits of a session, sign-in, and upstream's errors as pages."""

import logging
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.signals import request_finished
from django.db import OperationalError
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import Resolver404, resolve
from django.utils import timezone
from django.utils.cache import patch_vary_headers

from partnerportal import chain_check, freshness, log, problems, sessions
from partnerportal.models import TokenCache
from partnerportal.preferences import Preferences
from partnerportal.upstream.errors import UpstreamError
from partnerportal.upstream.http import budget

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponseBase]

PROBES = ("/livez", "/readyz")

# On every answer, errors and files included. The CSP is django-csp's.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # "no-referrer" would make browsers send "Origin: null", which CSRF refuses
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": ", ".join(
        f"{feature}=()"
        for feature in (
            "accelerometer",
            "autoplay",
            "browsing-topics",
            "camera",
            "display-capture",
            "encrypted-media",
            "geolocation",
            "gyroscope",
            "hid",
            "idle-detection",
            "local-fonts",
            "magnetometer",
            "microphone",
            "midi",
            "payment",
            "picture-in-picture",
            "publickey-credentials-get",
            "screen-wake-lock",
            "serial",
            "usb",
            "xr-spatial-tracking",
        )
    ),
}


def answer_headers(get_response: GetResponse) -> GetResponse:
    """Outermost: names the request, and puts the headers on whatever answer comes, a refused Host's included."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        request.request_id = uuid.uuid4().hex  # type: ignore[attr-defined]
        log.request_id.set(request.request_id)  # type: ignore[attr-defined]
        response = get_response(request)
        response["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)  # a view may be stricter
        if not _is_file(request, response):
            response["Cache-Control"] = "no-store"
            patch_vary_headers(response, ["Cookie", "HX-Request"])
        return response

    return middleware


@receiver(request_finished, dispatch_uid="forget the request's id")
def forget_request_id(**_signal: Any) -> None:
    """Not before: Django writes its line about a 4xx or 5xx after the last middleware."""
    log.request_id.set("")


def _is_file(request: HttpRequest, response: HttpResponseBase) -> bool:
    """One of ours, as whitenoise serves them: hashed by name and the same for everybody."""
    return request.path_info.startswith(settings.STATIC_URL) and response.status_code in (200, 206, 304)


def public_host(get_response: GetResponse) -> GetResponse:
    """Sandbox only: the sign-in comes back to 127.0.0.1, so who starts at `localhost` is led there first."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if settings.SANDBOX and request.method in ("GET", "HEAD") and request.path_info not in PROBES:
            asked, public = request.get_host(), urlsplit(settings.PUBLIC_URL)
            if asked != public.netloc and asked.partition(":")[0] == "localhost":
                return HttpResponseRedirect(f"{settings.PUBLIC_URL}{request.get_full_path()}")
        return get_response(request)

    return middleware


def body_limits(get_response: GetResponse) -> GetResponse:
    """No view gets a larger body than it takes; a larger one is refused before anybody reads a form in it.

    What a person has sent is read to its end and dropped, within bounds: a browser that is still sending would show
    a broken connection instead of the reason.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        size = int(request.META.get("CONTENT_LENGTH") or 0)
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if size > limit:
            limit = _body_limit(request)
        if size > limit:
            if request.grant and size <= MOST_DROPPED:  # type: ignore[attr-defined]
                while request.read(64 * 1024):
                    pass
            return problems.answer(request, problems.too_large(size, limit))
        return get_response(request)

    return middleware


MOST_DROPPED = 64 * 1024 * 1024  # bytes


def _body_limit(request: HttpRequest) -> int:
    """What the view behind this address takes."""
    try:
        view = resolve(request.path_info).func
    except Resolver404:
        return int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
    return int(getattr(view, "body_limit", settings.DATA_UPLOAD_MAX_MEMORY_SIZE))


def same_origin_only(get_response: GetResponse) -> GetResponse:
    """Beside the CSRF token: a browser that says that another site makes it send this is believed."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.method not in ("GET", "HEAD", "OPTIONS", "TRACE"):
            site = request.headers.get("Sec-Fetch-Site", "same-origin")
            if site not in ("same-origin", "none"):
                return problems.answer(request, problems.NOT_FROM_HERE)
        return get_response(request)

    return middleware


class Sessions(SessionMiddleware):
    """Django's, with a page in words where the session cannot be kept: that comes after the view and its errors."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        try:
            return super().process_response(request, response)
        except OperationalError:
            logger.exception("a session could not be kept")
            return problems.answer(request, problems.busy(unsafe=request.method not in ("GET", "HEAD")))


def session_limits(get_response: GetResponse) -> GetResponse:
    """30 minutes without a click, 12 hours in all. What a page asks for by itself keeps nothing alive.

    Leaves `request.grant`, the sealed tokens of the sign-in; None for strangers.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        try:
            sessions.apply_limits(request)
            request.grant = sessions.current_grant(request)  # type: ignore[attr-defined]
        except OperationalError:  # a session that is over could not be ended: nobody is let in by it
            logger.exception("the database does not answer")
            request.grant, request.user = None, AnonymousUser()  # type: ignore[attr-defined]
            return problems.answer(request, problems.busy(unsafe=False))
        return get_response(request)

    return middleware


def own_preferences(get_response: GetResponse) -> GetResponse:
    """Every time is told in the zone of the person who reads it; UTC for strangers.

    The theme goes into a cookie beside: the sign-in page knows nobody, and looks as whoever was here last likes it.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        grant: TokenCache | None = request.grant  # type: ignore[attr-defined]
        if grant is None:
            return get_response(request)
        with timezone.override(Preferences.of(grant.operator).tz):
            response = get_response(request)
        _keep_theme(request, response, Preferences.of(grant.operator).theme)
        return response

    return middleware


def _keep_theme(request: HttpRequest, response: HttpResponseBase, theme: str) -> None:
    name = settings.THEME_COOKIE_NAME
    if theme == request.COOKIES.get(name, ""):
        return
    if theme:
        response.set_cookie(
            name, theme, max_age=timedelta(days=365), secure=not settings.SANDBOX, httponly=True, samesite="Lax"
        )
    else:
        response.delete_cookie(name, samesite="Lax")


class SignInRequired(LoginRequiredMiddleware):
    """Every view wants somebody signed in, unless it says `login_not_required`."""

    def process_view(
        self, request: HttpRequest, view_func: Callable[..., Any], view_args: Any, view_kwargs: Any
    ) -> HttpResponseBase | None:
        if not getattr(view_func, "login_required", True):
            return None
        grant: TokenCache | None = request.grant  # type: ignore[attr-defined]
        return freshness.check(request, grant) if grant else problems.sign_in_again(request)


def upstream_budget(get_response: GetResponse) -> GetResponse:
    """All upstream calls of one request together get so many seconds."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        with budget(settings.UPSTREAM_BUDGET):
            return get_response(request)

    return middleware


class UpstreamErrors:
    """What a view did not handle of upstream's answers, of a broken trail, or of a database that did not answer a read
    becomes a page (or a notice) in words.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, UpstreamError):
            return problems.upstream(request, exception)
        if isinstance(exception, chain_check.Broken):
            return problems.answer(request, problems.stopped(str(exception)))
        if isinstance(exception, OperationalError) and request.method in ("GET", "HEAD"):
            logger.error("the database does not answer", exc_info=exception)
            return problems.answer(request, problems.busy(unsafe=False))
        return None
