"""Two sources, one list: how rows of Partner Center and AvePoint become customers.

Only an equal tenant id joins two rows, or a person who has said that they are one. Equal names or domains are kept as
suggestions for a person to judge.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import F, OuterRef, ProtectedError, Q, QuerySet, Subquery

from partnerportal.upstream.avepoint import AvePointCustomer
from partnerportal.upstream.partner_center import CustomerProfile, CustomerRow

from . import countries, matches, search, snapshot, staging
from .gdap import relationships
from .models import (
    Customer,
    Favourite,
    Label,
    MatchDecision,
    SourceName,
    SourceRow,
    StagedRow,
    SyncRun,
    Visit,
    avepoint_row,
)

TENANT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
USABLE_ID = re.compile(r"[^/\x00-\x1f]{1,110}")  # an AvePoint id that can stand in an address of ours
DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-.]{0,251}[a-z0-9])?")
BATCH = staging.BATCH
SEEN_EVERY = timedelta(minutes=1)  # the same figure is not written anew for every page


# --- What a walk brings -------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """A source row as a walk brought it; the fields in the order of `staging.FIELDS`."""

    source_id: str
    given_id: str
    name: str
    domain: str = ""
    country: str = ""
    owner_email: str = ""
    status: str = ""
    relationship: str = ""


def from_partner_center(row: CustomerRow) -> Seen:
    name = _fit("name", row.name) or _fit("name", row.domain) or row.id
    domain, relationship = _fit("domain", row.domain), _fit("relationship", row.relationship)
    return Seen(row.id.lower(), row.id, name, domain, relationship=relationship)


def from_avepoint(row: AvePointCustomer) -> Seen | None:
    """None for an id that cannot stand in an address of ours."""
    source_id = row.id.lower()
    if not USABLE_ID.fullmatch(source_id):
        return None
    name, country = _fit("name", row.organization) or row.id, _fit("country", row.country)
    return Seen(
        source_id, row.id, name, "", country, _fit("owner_email", row.owner_email), _fit("status", row.job_status)
    )


_LONGEST: dict[str, int] = {name: getattr(SourceRow, name).field.max_length for name in staging.FIELDS}


def _fit(name: str, text: str) -> str:
    """The text as its column takes it: PostgreSQL refuses a NUL, and what is too long."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").strip()[: _LONGEST[name]]


# --- Putting it in place ------------------------------------------------------------------------------------


def swap(walks: Mapping[SourceName, Sequence[Seen]], now: datetime, *, partial: Collection[SourceName] = ()) -> None:
    """What a sync does in the end, with rows that are in memory already."""
    with transaction.atomic():
        run = SyncRun.objects.create(state=SyncRun.State.DONE, open=None)
        rolls = {source: staging.RollCall() for source in walks}
        for source, rows in walks.items():
            staging.stage(run, source, rows, rolls[source])
        put_in_place(run, rolls, now, partial=partial)
        run.delete()


def put_in_place(
    run: SyncRun, rolls: Mapping[SourceName, staging.RollCall], now: datetime, *, partial: Collection[SourceName] = ()
) -> None:
    """Put the walks of these sources in place of what we knew, all in one transaction. Primary keys stay.

    In a `partial` walk some rows could not be read, so that what is absent from it may be one of those.
    """
    with transaction.atomic():
        snapshot.hold()  # whoever decides on a match meanwhile waits for us, or we for them
        absent = [pk for source, roll in rolls.items() if source not in partial for pk in staging.absent(source, roll)]
        ids = staging.few_ids(run, rolls, absent, snapshot.FEW)
        if ids is None:
            _put_many(run, rolls, absent, now)
            return
        ids.update(*_apart().values_list("tenant_id", "avepoint_id"))
        if ids:
            with snapshot.changing(lambda: matches.touching(ids)):
                _put(run, rolls, absent, now)
        suggested = matches.compare()
        if suggested.customers:
            with snapshot.changing(lambda: suggested.customers):
                suggested.write()
        else:
            suggested.write()


def _put_many(run: SyncRun, sources: Collection[SourceName], absent: Sequence[int], now: datetime) -> None:
    """So much that all is counted anew in the end."""
    staging.measure(StagedRow)
    with staging.many_to_come() if staging.doubles(run, sources) else nullcontext():
        _put(run, sources, absent, now, measured=False)
    staging.measure(Customer)  # once more: each is compared with each where there were 500 when it looked
    matches.suggest()
    snapshot.changed()


def _put(
    run: SyncRun, sources: Collection[SourceName], absent: Sequence[int], now: datetime, *, measured: bool = True
) -> None:
    for rows in staging.waiting(run, sources):
        _settle([_as_source_row(row, now) for row in rows], now)
        if not measured:
            staging.measure(SourceRow, Customer)
            measured = True
    for pks in staging.slices(absent):
        _miss(pks, now)
    _honour_links()


def _settle(rows: Sequence[SourceRow], now: datetime) -> None:
    """Store these rows, and tell their customers."""
    ids = {row.source_id for row in rows}
    found = SourceRow.objects.filter(source__in=SourceName.values, source_id__in=ids)  # as the index has them
    known = {(row.source, row.source_id): row for row in found}
    differing: dict[str, list[SourceRow]] = defaultdict(list)
    new = []
    for row in rows:
        old = known.get((row.source, row.source_id))
        if old is None:
            new.append(row)
        else:
            old.missing_since = old.gone_at = None
            for name in staging.told_by(row.source):
                setattr(old, name, getattr(row, name))
            differing[old.source].append(old)
    for source, some in differing.items():
        _update(some, [*staging.told_by(source), "missing_since", "gone_at"])
    touched = {row.customer_id for some in differing.values() for row in some}
    retell(touched | _insert(new, [*known.values()]))
    relationships.retell(ids)


def _as_source_row(staged: Sequence[str], now: datetime) -> SourceRow:
    """All columns in their order, which takes half the time that their names would."""
    source, source_id, given_id, *told = staged
    every: list[Any] = [None, source, source_id, given_id, None, *told, now, None, None]
    return SourceRow(*every)


def _update(rows: Sequence[SourceRow], fields: Sequence[str]) -> None:
    """As an upsert, for Django's bulk_update takes minutes for 20,000 rows."""
    SourceRow.objects.bulk_create(
        rows, batch_size=BATCH, update_conflicts=True, unique_fields=["source", "source_id"], update_fields=fields
    )


def _insert(new: Sequence[SourceRow], known: Sequence[SourceRow]) -> set[int]:
    """Rows that were never seen before; returns the ids of those of their customers that were there already.

    An equal id in the other source is the same customer, unless somebody has linked that row to another tenant.
    """
    homes = {row.source_id: row.customer_id for row in known}
    at_home: set[int] = set()
    strangers: dict[str, list[SourceRow]] = defaultdict(list)
    taken = _with_a_tenant(homes.values()) if homes else set()
    for row in new:
        home = homes.get(row.source_id)
        if home is None or (row.source == SourceName.PARTNER_CENTER and home in taken):
            strangers[row.source_id].append(row)
        else:
            row.customer_id = home
            at_home.add(home)
    blank = [field.get_default() for field in Customer._meta.concrete_fields]  # noqa: SLF001 -- public, in spite of its name
    fresh = {source_id: Customer(*blank) for source_id in strangers}  # half the time of asking for each default
    for source_id, rows in strangers.items():
        tell(fresh[source_id], rows)
    staging.create([*fresh.values()])
    for source_id, rows in strangers.items():
        for row in rows:
            row.customer_id = fresh[source_id].pk
    staging.create(new)
    return at_home


def _with_a_tenant(customer_ids: Collection[int]) -> set[int]:
    rows = SourceRow.objects.filter(source=SourceName.PARTNER_CENTER, customer_id__in=customer_ids)
    return set(rows.values_list("customer_id", flat=True))


def _miss(pks: Sequence[int], now: datetime) -> None:
    """Mark what a walk lacks; what the complete walk before it lacked too is gone."""
    rows = list(SourceRow.objects.filter(pk__in=pks))
    gone = [row.pk for row in rows if row.missing_since]
    SourceRow.objects.filter(pk__in=gone).update(gone_at=now)
    SourceRow.objects.filter(pk__in=set(pks).difference(gone)).update(missing_since=now)
    retell({row.customer_id for row in rows})


# --- Telling ------------------------------------------------------------------------------------------------

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
    """Tell these customers anew from their source rows."""
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


# --- What people decide -------------------------------------------------------------------------------------


def join(row: SourceRow, customer: Customer) -> None:
    """Let an AvePoint row belong to this customer from now on, with what people have put on its own customer.

    For a transaction of the caller, who also stores the decision, says `snapshot.changed` and lets `matches` suggest.
    """
    left = row.customer
    if left == customer:
        return
    row.customer = customer
    row.save(update_fields=["customer"])
    if left.rows.exists():
        retell({left.pk})
    else:
        _give_up(left, customer)
    retell({customer.pk})


def part(row: SourceRow) -> Customer:
    """Give an AvePoint row a customer of its own again, and return that one. For a transaction of the caller, as above.

    Labels stay where they are: nobody knows on which of the two they were put. Raises ValueError for a row that is
    joined by its id: no person has done that, so no person can undo it.
    """
    joined = row.customer
    by_id = SourceRow.objects.filter(source=SourceName.PARTNER_CENTER, source_id=row.source_id).first()
    if by_id and by_id.customer == joined:
        raise ValueError(f"{row} and {by_id} have the same id")
    own = by_id.customer if by_id else Customer.objects.create(key=f"parted-{row.pk}", name=row.name)
    row.customer = own
    row.save(update_fields=["customer"])
    retell({joined.pk})  # first, for its key may be the row's until then
    retell({own.pk})
    own.refresh_from_db()
    return own


def _give_up(left: Customer, customer: Customer) -> None:
    """Move what people have put on a customer without rows, and delete it, or unlist it if its history needs it."""
    _move_labels(left, customer)
    liked = Favourite.objects.filter(customer=customer).values("operator")
    Favourite.objects.filter(customer=left).exclude(operator__in=list(liked.values_list("operator", flat=True))).update(
        customer=customer
    )
    _move_visits(left, customer)
    try:
        left.delete()
    except ProtectedError:
        # Its old key may be wanted by the customer that has its row now.
        Customer.objects.filter(pk=left.pk).update(listed=False, key=f"gone-{left.pk}", tenant_id=None)


def _move_labels(left: Customer, customer: Customer) -> None:
    there = set(Label.objects.filter(customer=customer).values_list("kind", "folded"))
    moving = [
        label.pk for label in Label.objects.filter(customer=left) if (label.kind, label.folded) not in there
    ]  # the rest goes with its customer
    Label.objects.filter(pk__in=moving).update(customer=customer)


def _move_visits(left: Customer, customer: Customer) -> None:
    """The later one of each operator stays."""
    there = {visit.operator_id: visit for visit in Visit.objects.filter(customer=customer)}
    for visit in Visit.objects.filter(customer=left):
        mine = there.get(visit.operator_id)
        if mine is None:
            Visit.objects.filter(pk=visit.pk).update(customer=customer)
        elif mine.at < visit.at:
            Visit.objects.filter(pk=mine.pk).update(at=visit.at)


def _honour_links() -> None:
    """Join whatever somebody has linked and a sync has brought apart: rows that are new, or come back."""
    for decision in list(_apart()):
        row = SourceRow.objects.select_related("customer").get(
            source=SourceName.AVEPOINT, source_id=decision.avepoint_id
        )
        join(row, Customer.objects.get(pk=decision.home))


def _apart() -> QuerySet[MatchDecision, Any]:
    """The links whose rows belong to two customers."""
    rows = SourceRow.objects.filter(source=SourceName.PARTNER_CENTER, source_id=OuterRef("tenant_id"))
    others = SourceRow.objects.filter(source=SourceName.AVEPOINT, source_id=OuterRef("avepoint_id"))
    return (
        MatchDecision.objects.filter(undone_at=None, verdict=MatchDecision.Verdict.LINKED)
        .annotate(home=Subquery(rows.values("customer")), away=Subquery(others.values("customer")))
        .filter(home__isnull=False, away__isnull=False)
        .exclude(Q(home=F("away")))
    )


# --- What pages learn ---------------------------------------------------------------------------------------


def learn(customer: Customer, profile: CustomerProfile, now: datetime) -> None:
    """Keep what Partner Center told of one customer when it was opened: country and custom domains."""
    with transaction.atomic():
        snapshot.hold()
        rows = SourceRow.objects.filter(customer=customer)
        if profile.country:
            rows.filter(source=SourceName.PARTNER_CENTER).update(country=profile.country)
        customer.profile_read_at = now
        customer.custom_domains = [d for d in map(str.lower, profile.custom_domains) if DOMAIN.fullmatch(d)]
        before = (customer.country, customer.search_text)
        tell(customer, list(rows), [label.text for label in customer.labels.all()])
        # Nothing else: a sync may have written the rest since this customer was read.
        told = ("profile_read_at", "custom_domains", "country", "country_code", "conflicts", "search_text")
        if customer.country != before[0]:
            with snapshot.changing(lambda: {customer.pk}):
                customer.save(update_fields=told)
            return
        customer.save(update_fields=told)
        if customer.search_text != before[1]:
            snapshot.changed(sorts=(), counts=False)


def see_domains(customer: Customer, domains: dict[str, str]) -> None:
    """Remember domains that its users have, or that Microsoft called federated.

    A user whose domain type is not told ("") does not make a federated domain an ordinary one.
    """
    known = customer.seen_domains
    fresh = {
        domain: kind
        for domain, kind in domains.items()
        if DOMAIN.fullmatch(domain) and (domain not in known or (kind and known[domain] != kind))
    }
    if fresh:
        customer.seen_domains = known | fresh
        Customer.objects.filter(pk=customer.pk).update(seen_domains=customer.seen_domains)


def see_users(customer: Customer, number: int, *, all_of_them: bool, at: datetime) -> None:
    """Remember how many users its first page showed, and when: to the minute, if nothing else is new."""
    told = (customer.users_seen, customer.users_seen_all)
    since = at - customer.users_seen_at if customer.users_seen_at else SEEN_EVERY
    if told == (number, all_of_them) and timedelta(0) <= since < SEEN_EVERY:
        return
    Customer.objects.filter(pk=customer.pk).update(users_seen=number, users_seen_all=all_of_them, users_seen_at=at)
