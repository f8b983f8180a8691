"""The pages that belong to no app: the probes, the audit trail, and what is said on errors."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import TooManyFieldsSent
from django.core.paginator import Paginator
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST, require_safe

from partnerportal import audit as audit_trail
from partnerportal import chain_check, clock, problems, sessions
from partnerportal.http import (
    AnyRequest,
    OperatorRequest,
    differing,
    go_to,
    page_number,
    render_page,
    typed,
    with_query,
)
from partnerportal.models import AppendOnly, AuditEvent
from partnerportal.permissions import Permission, RoleMissing, may, require
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


# --- Audit trail --------------------------------------------------------------------------------------------

AUDIT_DAYS = 7
AUDIT_PAGE = 50


@dataclass(frozen=True)
class AuditQuery:
    """What the URL of the audit trail asks for. Defaults are left out of URLs, keys have a fixed order."""

    who: str = ""
    customer: str = ""
    action: str = ""
    outcome: str = ""
    from_: str = ""
    to: str = ""
    page: int = 1
    unknown: tuple[tuple[str, str], ...] = ()  # (key, value) of what was asked for and does not exist

    @classmethod
    def read(cls, params: Mapping[str, str]) -> "AuditQuery":
        """Unknown keys are ignored; a value that makes no sense becomes the default, and the page says so."""
        given = {key: typed(params, key) for key in ("who", "customer", "action", "outcome", "from", "to")}
        good = given | {
            "outcome": given["outcome"] if given["outcome"] in (*AuditEvent.Outcome.values, "open") else "",
            "from": _day(given["from"]),
            "to": _day(given["to"]),
        }
        return cls(
            who=good["who"],
            customer=good["customer"],
            action=good["action"],
            outcome=good["outcome"],
            from_=good["from"],
            to=good["to"],
            page=page_number(params),
            unknown=tuple((key, value) for key, value in given.items() if value and not good[key]),
        )

    def url(self, **changes: Any) -> str:
        """The trail's URL with these changes; whatever changes, page 1 comes unless a page is asked for."""
        wanted = replace(self, **{"page": 1, "unknown": (), **changes})
        return with_query(reverse("audit"), differing(vars(wanted), vars(AuditQuery())))

    @property
    def since(self) -> datetime:
        """The first instant shown: the last seven days when nothing is asked for."""
        if self.from_:
            return _midnight(self.from_)
        end = _midnight(self.to) if self.to else clock.now()
        return end - timedelta(days=AUDIT_DAYS)

    def rows(self, events: AppendOnly) -> AppendOnly:
        """The attempts that match, newest first."""
        found = events.filter(at__gte=self.since)
        if self.to:
            found = found.filter(at__lt=_midnight(self.to) + timedelta(days=1))
        if self.who:
            found = found.filter(actor_name__icontains=self.who)
        if self.customer:
            found = found.about(self.customer)
        if self.action:
            found = found.filter(action=self.action)
        return found.attempts("" if self.outcome == "open" else self.outcome or None)

    @property
    def filtered(self) -> bool:
        return bool(self.who or self.customer or self.action or self.outcome or self.from_ or self.to)


def _day(value: str) -> str:
    try:
        found = parse_date(value) if len(value) == 10 else None
    except ValueError:
        return ""
    return value if found and 2000 <= found.year <= 9000 else ""  # a week before or after it is a day, too


def _midnight(day: str) -> datetime:
    return timezone.make_aware(datetime.combine(date.fromisoformat(day), time.min))


@require_GET
@require(Permission.AUDIT_OWN)
def audit(request: OperatorRequest) -> HttpResponse:
    """What was done, one row an attempt. A Portal.Admin sees everybody's, others their own."""
    query = AuditQuery.read(request.GET.dict())
    readable = audit_trail.readable(request.user)
    page = Paginator(query.rows(readable), AUDIT_PAGE).get_page(query.page)
    if page.number != query.page:
        return go_to(request, query.url(page=page.number))
    context = {
        "query": query,
        "page": page,
        "previous_url": query.url(page=page.number - 1) if page.has_previous() else "",
        "next_url": query.url(page=page.number + 1) if page.has_next() else "",
        "clear_url": query.url(who="", customer="", action="", outcome="", from_="", to=""),
        "sees_all": may(request.user, Permission.AUDIT_ALL),
        "actions": audit_trail.readable(request.user)
        .order_by("action")
        .values_list("action", flat=True)
        .distinct()[:100],
        "outcomes": [*AuditEvent.Outcome.choices, ("open", "Not concluded")],
        "days": AUDIT_DAYS,
        "stopped": chain_check.told_stopped(),
    }
    return render_page(request, "audit/list.html", "results", context)


@require_GET
@require(Permission.AUDIT_OWN)
def audit_event(request: OperatorRequest, pk: int) -> HttpResponse:
    """One attempt: what was to be changed, what became of it, and the ids that support asks for."""
    intent = audit_trail.readable(request.user).attempts().filter(pk=pk).first()
    if intent is None:
        raise Http404("no such entry, or not yours")
    outcome = AuditEvent.objects.filter(attempt=intent.attempt, kind=AuditEvent.Kind.OUTCOME).first()
    changes = [(name, *values) for name, values in intent.fields.items()]
    context = {"event": intent, "outcome": outcome, "changes": changes}
    return render_page(request, "audit/detail.html", "entry", context)


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
