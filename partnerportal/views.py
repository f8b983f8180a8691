"""What belongs to no app: the probes, and what is said on errors."""

import json
import logging
from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import TooManyFieldsSent
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from partnerportal import audit as audit_trail
from partnerportal import chain_check, problems, sessions
from partnerportal.http import (
    AnyRequest,
)
from partnerportal.permissions import RoleMissing
from partnerportal.problems import Problem

logger = logging.getLogger(__name__)

# --- For machines -------------------------------------------------------------------------------------------


@require_safe
@login_not_required
def livez(request: HttpRequest) -> HttpResponse:
    """200 once this process can serve: it is up, and its database has the tables it expects."""
    return _probe("ok")


@require_safe
@login_not_required
def readyz(request: HttpRequest) -> HttpResponse:
    """200 while the database answers, so while everybody can read; the word says if changes are stopped."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        logger.exception("the database does not answer")
        return HttpResponse("The database does not answer.\n", content_type="text/plain", status=503)
    return _probe("ready", chain_check.told_stopped)


def _probe(word: str, stopped: Callable[[], str] = str) -> HttpResponse:
    if not _migrated():
        return HttpResponse("Run manage.py migrate first.\n", content_type="text/plain", status=503)
    if why := stopped():
        word = f"{word}, but changes to customers are stopped. Run manage.py audit_verify. {why}"
    return HttpResponse(f"{word}\n", content_type="text/plain")


_known_migrated = False


def _migrated() -> bool:
    """Whether the database is as new as the code. A yes is remembered: tables do not go away while we run."""
    global _known_migrated  # noqa: PLW0603
    if not _known_migrated:
        try:
            executor = MigrationExecutor(connection)
            _known_migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        except DatabaseError:
            logger.exception("the database does not answer")
    return _known_migrated


CSP_REPORT_LIMIT = 16 * 1024  # bytes
CSP_REPORT_FIELDS = ("document-uri", "violated-directive", "effective-directive", "blocked-uri", "line-number")


@csrf_exempt
@require_POST
@login_not_required
def csp_report(request: HttpRequest) -> HttpResponse:
    """A browser tells what our Content-Security-Policy kept from running. It goes to the log."""
    if len(request.META.get("CONTENT_LENGTH") or "") > 5 or int(request.META.get("CONTENT_LENGTH") or 0) > (
        CSP_REPORT_LIMIT
    ):
        return HttpResponse(status=413)
    try:
        report = json.loads(request.body)["csp-report"]
        told = {name: str(report.get(name, ""))[:200].partition("?")[0] for name in CSP_REPORT_FIELDS}
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return HttpResponse(status=400)
    logger.warning("the browser reports a CSP violation: %s", json.dumps(told))
    return HttpResponse(status=204)


# --- Errors -------------------------------------------------------------------------------------------------


def bad_request(request: AnyRequest, exception: Exception) -> HttpResponse:
    """400: not a request that a page of ours sends; or the session ended while it was served."""
    if isinstance(exception, SessionInterrupted):
        if sessions.still_there(request):
            return problems.answer(request, problems.busy(unsafe=request.method not in ("GET", "HEAD")))
        request.grant = None
        return problems.sign_in_again(request, after=True)
    too_many = isinstance(exception, TooManyFieldsSent)
    return problems.answer(request, problems.TOO_MANY_FIELDS if too_many else problems.BAD_REQUEST)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403: the reason, and who can help. A change that somebody tried all the same is written down."""
    if isinstance(exception, RoleMissing) and request.method not in ("GET", "HEAD"):
        _note_denial(request, exception)
    return problems.answer(request, problems.denied(str(exception)))


def _note_denial(request: Any, denial: RoleMissing) -> None:
    match = request.resolver_match
    subject = audit_trail.Subject(
        action=match.url_name,
        tenant_id=match.kwargs.get("key", ""),
        target_id=str(match.kwargs.get("user_id", "")),
    )
    audit_trail.note(subject, audit_trail.Result(outcome="denied", detail=str(denial), status=403), by=request.user)


def csrf_failure(request: AnyRequest, reason: str = "") -> HttpResponse:
    """403: the form is older than the sign-in, or came from elsewhere. 401 where it is the sign-in that is missing."""
    logger.warning("CSRF check failed: %s", reason)
    match = request.resolver_match
    if request.grant is None and match and getattr(match.func, "login_required", True):
        return problems.sign_in_again(request)
    return problems.answer(request, problems.STALE_FORM)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: the same for what is not there and what is not yours."""
    return problems.answer(request, problems.NOT_FOUND)


def server_error(request: HttpRequest) -> HttpResponse:
    """500: our fault, with the number that support asks for. Plain text when even the page cannot be drawn."""
    request_id = getattr(request, "request_id", "")
    known = (
        "Nothing was changed as far as we know."
        if request.method in ("GET", "HEAD")
        else "We do not know if it was done. Check before you try again; the same form sent again does nothing twice."
    )
    number = f"Tell support this number: {request_id}"
    fault = Problem(status=500, title="We had a fault", reason=known, next_step=number, request_id=request_id)
    try:
        return problems.answer(request, fault)
    except Exception:
        logger.exception("the page for a fault cannot be drawn")
        return HttpResponse(f"We had a fault. {known} {number}\n", content_type="text/plain", status=500)
