"""What a customer is told to be, from its rows of both sources: name, country, state, and what its search finds."""

from collections import defaultdict
from collections.abc import Collection, Sequence

from . import countries, matches, search, staging
from .gdap.relationships import Telling
from .models import Customer, Label, SourceName, SourceRow, avepoint_row

TOLD = (
    "key",
    "tenant_id",
    "name",
    "sort_name",
    "domain",
    "country",
    "country_code",
    "ap_status",
    "owner_email",
    "in_partner_center",
    "in_avepoint",
    "missing_from",
    "missing_since",
    "listed",
    "conflicts",
    "search_text",
    "plain_name",
    "owner_domain",
)


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
        Customer.objects.bulk_create(customers, update_conflicts=True, unique_fields=["pk"], update_fields=TOLD)
        # Their GDAP columns apart, for those of the others belong to `gdap.relationships`.
        if lost := [customer.pk for customer in customers if customer.tenant_id is None and customer.gdap_state]:
            Customer.objects.filter(pk__in=lost).update(**Telling("")._asdict())


def tell(customer: Customer, rows: Sequence[SourceRow], labels: Sequence[str] = ()) -> None:
    """Fill a customer from its rows: Partner Center's name and domain first, AvePoint's country first. `labels` are
    found by the search.

    Rows that are gone do not count. A customer without any other keeps what was last told, and is not listed.
    """
    living = [row for row in rows if row.gone_at is None]
    counted = living or rows
    partner_center = next((row for row in counted if row.source == SourceName.PARTNER_CENTER), None)
    tenant_id = partner_center.source_id if partner_center else None
    avepoint = avepoint_row(counted, tenant_id)
    first = partner_center or avepoint
    if first is None:
        return
    customer.tenant_id = tenant_id
    customer.key = first.key
    customer.name = first.name
    customer.sort_name = countries.fold(first.name)[:400]
    customer.domain = first.domain.lower()[:255]
    country = (avepoint.country if avepoint else "") or (partner_center.country if partner_center else "")
    customer.country_code = countries.code_of(country)
    customer.country = countries.name_of(customer.country_code) if customer.country_code else country
    customer.ap_status = avepoint.status if avepoint else ""
    customer.owner_email = avepoint.owner_email if avepoint else ""
    customer.plain_name = matches.plain(first.name)
    customer.owner_domain = matches.domain_of(customer.owner_email)
    customer.in_partner_center = partner_center is not None
    customer.in_avepoint = avepoint is not None
    gone = {row.source: row.missing_since for row in (partner_center, avepoint) if row and row.missing_since}
    customer.missing_from = "both" if len(gone) > 1 else next(iter(gone), "")
    customer.missing_since = max(gone.values(), default=None)
    customer.listed = bool(living)
    customer.conflicts = _conflicts(partner_center, avepoint) if partner_center and avepoint else []
    customer.search_text = search.stored(
        [*(row.name for row in counted), *customer.domains, first.given_id, customer.owner_email, *labels]
    )


def _conflicts(partner_center: SourceRow, avepoint: SourceRow) -> list[str]:
    """The fields on which the two differ; what one of them does not tell is no difference."""
    values = {
        "name": [_told_name(row) for row in (partner_center, avepoint)],
        "country": [_told_country(row) for row in (partner_center, avepoint)],
    }
    return [name for name, (mine, theirs) in values.items() if mine and theirs and mine != theirs]


def _told_name(row: SourceRow) -> str:
    """The name folded; "" for one that we have put in ourselves, see `from_partner_center`."""
    return "" if row.name in (row.domain, row.given_id) else countries.fold(row.name)


def _told_country(row: SourceRow) -> str:
    return countries.code_of(row.country) or countries.fold(row.country)
