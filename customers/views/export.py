"""The customer list as a CSV file: the same rows as on the screen, all of them."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from django.http import HttpResponseBase
from django.views.decorators.http import require_GET

from customers import paging, snapshot, standing
from customers.listing import COLUMNS, ListQuery, columns_of, split
from customers.models import Customer, CustomerQuerySet, GdapState
from partnerportal import audit, csv_out, exports
from partnerportal.http import OperatorRequest
from partnerportal.models import AuditEvent
from partnerportal.permissions import Permission, require
from partnerportal.preferences import Preferences

CHUNK = 2_000  # rows in memory

HEADERS = {
    "name": ("Customer",),
    "domain": ("Default domain",),
    "source": ("Source",),
    "country": ("Country", "Country code"),
    "access": ("Your access",),
    "gdap": ("GDAP", "GDAP ends", "GDAP extends by itself"),
    "ap": ("AvePoint status",),
    "tenant": ("Tenant ID",),
    "owner": ("Owner e-mail",),
    "codes": ("Internal codes",),
    "tags": ("Tags",),
    "relationship": ("Relationship name",),
    "roles": ("GDAP roles",),
    "users": ("Users", "Users complete", "Users seen"),
    "synced": ("Synced",),
}


@require_GET
@require(Permission.VIEW)
def export(request: OperatorRequest) -> HttpResponseBase:
    """All matching rows, sent as they are read; `cols=all` for all columns. Noted in the audit trail."""
    if refused := exports.too_many(request):
        return refused
    liked = Preferences.of(request.user)
    query = ListQuery.read(request.GET.dict(), liked)
    wanted = tuple(COLUMNS) if request.GET.get("cols") == "all" else columns_of(split(query.cols) or liked.columns)
    head = snapshot.head(query.sort, 0)
    total = paging.count(query, request.user, head)
    asked = query.params(cols="", size=query.usual_size).urlencode()
    audit.note(
        audit.Subject(action=exports.CUSTOMERS, target_name=f"{total:,} customers", fields={"filter": ("", asked)}),
        audit.Result(outcome=AuditEvent.Outcome.DONE, detail=f"Exported {total:,} rows"),
        by=request.user,
    )
    rows = paging.every(query, request.user, wanted)
    header = [words for key in wanted for words in HEADERS[key]]
    return csv_out.download("customers", header, _rows(rows, wanted, head.read_at))


def _rows(
    rows: CustomerQuerySet, wanted: tuple[str, ...], read_at: Mapping[str, datetime | None]
) -> Iterator[list[object]]:
    for row in rows.iterator(chunk_size=CHUNK):
        yield [value for key in wanted for value in _values(row, key, read_at)]


def _values(row: Customer, key: str, read_at: Mapping[str, datetime | None]) -> tuple[object, ...]:
    match key:
        case "relationship":
            return (row.relationship_name or "",)  # type: ignore[attr-defined]
        case "roles":
            return (", ".join(standing.role_names(row)),)
        case "users":
            if not standing.shows_users(row):
                return ("", "", "")
            return (row.users_seen, "yes" if row.users_seen_all else "no", row.users_seen_at)
        case "synced":
            return (row.synced(read_at),)
        case "source":
            missing = f"{row.missing_words} {row.missing_since:%Y-%m-%d}" if row.missing_since else ""
            return (missing or row.source_words,)
        case "country":
            return (row.country, row.country_code)
        case "access":
            level = standing.LEVELS.get(row.standing_level, "")  # type: ignore[attr-defined]
            return (standing.WORDS.get(level, ""),)
        case "gdap":
            state = GdapState(row.gdap_state).label if row.gdap_state in GdapState.values else ""
            extends = ("yes" if row.gdap_extends else "no") if row.gdap_state == GdapState.LIVE else ""
            return (state, row.gdap_ends_at, extends)
    names = {"domain": "domain", "ap": "ap_status", "tenant": "tenant_id", "owner": "owner_email"}
    return (getattr(row, names.get(key, key)),)
