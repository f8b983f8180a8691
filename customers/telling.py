"""What a customer is told to be, from its rows of both sources: name, country, state, and what its search finds."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from . import countries, matches, search, staging
from .gdap import relationships
from .models import Customer, Label, SourceName, SourceRow, avepoint_row, domains_of

AnyRow = SourceRow | staging.Waiting  # whether it is one of ours already or only staged


def retell(customer_ids: Collection[int]) -> None:
    """Tell these customers anew from their source rows. What is no tenant of ours any more has no GDAP either."""
    for ids in staging.slices(customer_ids):
        rows: dict[int, list[SourceRow]] = defaultdict(list)
        for row in SourceRow.objects.filter(customer_id__in=ids).order_by("pk"):  # the search text follows this order
            rows[row.customer_id].append(row)
        words: dict[int, list[str]] = defaultdict(list)
        for label in Label.objects.filter(customer_id__in=ids):
            words[label.customer_id].append(label.text)
        customers = list(Customer.objects.filter(pk__in=ids))
        for customer in customers:
            tell(customer, rows[customer.pk], words[customer.pk])
        # As an upsert, for Django's bulk_update takes minutes for 20,000 rows.
        Customer.objects.bulk_create(customers, update_conflicts=True, unique_fields=["pk"], update_fields=Told._fields)
        # Their GDAP columns apart, for those of the others belong to `gdap.relationships`.
        if lost := [customer.pk for customer in customers if customer.tenant_id is None and customer.gdap_state]:
            Customer.objects.filter(pk__in=lost).update(**relationships.Telling("")._asdict())


class Told(NamedTuple):
    """What a customer's rows together say of it, by the names of its columns."""

    key: str
    tenant_id: str | None
    name: str
    sort_name: str
    domain: str
    country: str
    country_code: str
    ap_status: str
    owner_email: str
    in_partner_center: bool
    in_avepoint: bool
    missing_from: str
    missing_since: datetime | None
    listed: bool
    conflicts: list[str]
    search_text: str
    plain_name: str
    owner_domain: str


def tell(customer: Customer, rows: Sequence[SourceRow], labels: Sequence[str] = ()) -> None:
    """Fill a customer from its rows. One without any keeps what was last told. `labels` are found by the search."""
    if rows:
        for name, value in told(rows, customer.custom_domains, labels)._asdict().items():
            setattr(customer, name, value)


def told(rows: Sequence[AnyRow], custom_domains: Sequence[str] = (), labels: Sequence[str] = ()) -> Told:
    """Of one row at least: Partner Center's name and domain first, AvePoint's country first.

    Rows that are gone do not count. A customer without any other is what was last told, and is not listed.
    """
    living = [row for row in rows if row.gone_at is None]
    counted = living or rows
    partner_center = next((row for row in counted if row.source == SourceName.PARTNER_CENTER), None)
    tenant_id = partner_center.source_id if partner_center else None
    avepoint = avepoint_row(counted, tenant_id)
    first = partner_center or avepoint or counted[0]
    owner = avepoint.owner_email if avepoint else ""
    country = (avepoint.country if avepoint else "") or (partner_center.country if partner_center else "")
    code = countries.code_of(country)
    domain = first.domain.lower()[:255]
    gone = {row.source: row.missing_since for row in (partner_center, avepoint) if row and row.missing_since}
    texts = [*(row.name for row in counted), *domains_of(domain, custom_domains), first.given_id, owner, *labels]
    return Told(
        key=first.key,
        tenant_id=tenant_id,
        name=first.name,
        sort_name=countries.fold(first.name)[:400],
        domain=domain,
        country=countries.name_of(code) if code else country,
        country_code=code,
        ap_status=avepoint.status if avepoint else "",
        owner_email=owner,
        in_partner_center=partner_center is not None,
        in_avepoint=avepoint is not None,
        missing_from="both" if len(gone) > 1 else next(iter(gone), ""),
        missing_since=max(gone.values(), default=None),
        listed=bool(living),
        conflicts=_conflicts(partner_center, avepoint) if partner_center and avepoint else [],
        search_text=search.stored(texts),
        plain_name=matches.plain(first.name),
        owner_domain=matches.domain_of(owner),
    )


def _conflicts(partner_center: AnyRow, avepoint: AnyRow) -> list[str]:
    """The fields on which the two differ; what one of them does not tell is no difference."""
    if partner_center.name == avepoint.name and not (partner_center.country and avepoint.country):
        return []  # nothing to compare, as of most
    values = {
        "name": [_told_name(row) for row in (partner_center, avepoint)],
        "country": [_told_country(row) for row in (partner_center, avepoint)],
    }
    return [name for name, (mine, theirs) in values.items() if mine and theirs and mine != theirs]


def _told_name(row: AnyRow) -> str:
    """The name folded; "" for one that we have put in ourselves, see `from_partner_center`."""
    return "" if row.name in (row.domain, row.given_id) else countries.fold(row.name)


def _told_country(row: AnyRow) -> str:
    return countries.code_of(row.country) or countries.fold(row.country)
