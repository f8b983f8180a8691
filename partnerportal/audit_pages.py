"""The audit trail as people read it: its list with filters, one entry, and a file of all that match."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import Any

from django.conf import settings
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.views.decorators.http import require_GET

from partnerportal import audit as audit_trail
from partnerportal import chain_check, clock, csv_out, exports
from partnerportal.http import OperatorRequest, differing, go_to, page_number, render_page, typed, with_query
from partnerportal.models import AppendOnly, AuditEvent
from partnerportal.permissions import Permission, may, require

AUDIT_DAYS = 7
AUDIT_PAGE = 50
CHUNK = 500  # rows of an export in memory
HEADER = (
    *("Time", "Who", "Action", "Customer", "Tenant ID", "Target", "Target ID", "Outcome", "Reason", "Changes"),
    *("Status", "Code", "Request ID", "MS-RequestId", "MS-CorrelationId", "Milliseconds", "Entry"),
)


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

    def url(self, to: str = "audit", /, **changes: Any) -> str:
        """The trail's URL with these changes; whatever changes, page 1 comes unless a page is asked for."""
        wanted = replace(self, **{"page": 1, "unknown": (), **changes})
        return with_query(reverse(to), differing(vars(wanted), vars(AuditQuery())))

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
        "export_url": query.url("audit-export"),
        "clear_url": query.url(who="", customer="", action="", outcome="", from_="", to=""),
        "sees_all": may(request.user, Permission.AUDIT_ALL),
        "actions": audit_trail.readable(request.user)
        .order_by("action")
        .values_list("action", flat=True)
        .distinct()[:100],
        "outcomes": [*AuditEvent.Outcome.choices, ("open", "Not concluded")],
        "days": AUDIT_DAYS,
        "home": str(settings.ENTRA_TENANT_ID).lower(),
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
    is_run = intent.target_name.startswith("run ") and intent.action.startswith("run ") and intent.target_id
    run_url = reverse("run", args=[intent.target_id]) if is_run else ""
    context = {"event": intent, "outcome": outcome, "changes": changes, "run_url": run_url}
    return render_page(request, "audit/detail.html", "entry", context)


@require_GET
@require(Permission.AUDIT_OWN)
def audit_export(request: OperatorRequest) -> HttpResponseBase:
    """All attempts that match, as a CSV file with the ids that support asks for. The trail tells of it, too."""
    if refused := exports.too_many(request):
        return refused
    query = AuditQuery.read(request.GET.dict())
    readable = audit_trail.readable(request.user)
    newest = readable.values_list("pk", flat=True).first()  # without the entries of this export
    rows = query.rows(readable.filter(pk__lte=newest or 0))
    count = rows.count()
    detail = f"Exported {count:,} entr{'y' if count == 1 else 'ies'}"
    asked = query.url().partition("?")[2]
    audit_trail.note(
        audit_trail.Subject(action=exports.AUDIT, fields={"filter": ("", asked)}),
        audit_trail.Result(outcome=AuditEvent.Outcome.DONE, detail=detail),
        by=request.user,
    )
    return csv_out.download("audit-trail", HEADER, _lines(rows))


def _lines(rows: AppendOnly) -> Iterator[tuple[object, ...]]:
    found = rows.iterator(chunk_size=CHUNK)
    while some := list(islice(found, CHUNK)):
        outcomes = AuditEvent.objects.filter(kind=AuditEvent.Kind.OUTCOME, attempt__in=[row.attempt for row in some])
        of: dict[uuid.UUID, AuditEvent] = {outcome.attempt: outcome for outcome in outcomes}
        yield from (_line(row, of.get(row.attempt)) for row in some)


def _line(intent: AuditEvent, outcome: AuditEvent | None) -> tuple[object, ...]:
    told = outcome or intent
    return (
        intent.at,
        intent.actor_name,
        intent.action,
        intent.customer_name,
        intent.tenant_id,
        intent.target_name,
        told.target_id or intent.target_id,
        outcome.get_outcome_display() if outcome else "Not concluded",
        told.detail,
        "; ".join(f"{name}: {before} → {after}" for name, (before, after) in sorted(intent.fields.items())),
        told.status,
        told.code,
        intent.request_id,
        told.upstream_request_id,
        told.correlation_id,
        told.milliseconds,
        intent.pk,
    )
