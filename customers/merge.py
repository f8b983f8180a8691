"""Two sources, one list: how rows of Partner Center and AvePoint become customers.

Only an equal tenant id joins two rows, or a person who has said that they are one. Equal names or domains are kept as
suggestions for a person to judge.
"""

import gc
import re
import sys
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import F, OuterRef, Q, QuerySet, Subquery

from partnerportal.upstream.avepoint import AvePointCustomer
from partnerportal.upstream.paging import Stretch
from partnerportal.upstream.partner_center import CustomerRow

from . import indexes, matches, snapshot, staging
from .gdap import relationships
from .joining import join
from .models import (
    Customer,
    MatchDecision,
    SourceName,
    SourceRow,
    StagedRow,
    SyncRun,
)
from .staging import Waiting
from .telling import Told, retell, told

TENANT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
USABLE_ID = re.compile(r"[^/\x00-\x1f]{1,110}")  # an AvePoint id that can stand in an address of ours
BATCH = staging.BATCH


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
        rolls = {source: staging.RollCall(source) for source in walks}
        for source, rows in walks.items():
            staging.stage(run, [Stretch(b"", len(rows), tuple(rows))], rolls[source])
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
        absent = [pk for source, roll in rolls.items() if source not in partial for pk in staging.absent(roll)]
        for roll in rolls.values():
            roll.remember()
        ids = staging.few_ids(run, rolls, absent, snapshot.FEW)
        if ids is None:
            _put_many(run, rolls, absent, now)
            return
        indexes.mend()
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
    with indexes.many_to_come() if staging.doubles(run, sources) else nullcontext(), _many_rows():
        _put(run, sources, absent, now, measured=False)
    staging.measure(SourceRow, Customer)  # once more: each is compared with each where there were 500 when it looked
    matches.suggest()
    snapshot.changed()


TURN = 0.0003  # seconds that a thread goes on while another one wants to


@contextmanager
def _many_rows() -> Iterator[None]:
    """Of the many rows that are made here none points back, and to look for such takes a twelfth of the time. Whoever
    stores them waits for the database a thousand times, and each time for its turn after whoever tells the next.
    """
    looked, turn = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(turn)
        if looked:
            gc.enable()


def _put(
    run: SyncRun, sources: Collection[SourceName], absent: Sequence[int], now: datetime, *, measured: bool = True
) -> None:
    batches = staging.waiting(run, sources)
    if SourceRow.objects.exists():
        for rows in batches:
            _settle(rows, now)
            if not measured:
                staging.measure(SourceRow, Customer)
                measured = True
    else:
        _put_first(batches, now)
    for pks in staging.slices(absent):
        _miss(pks, now)
    _honour_links()


def _put_first(batches: Iterable[Sequence[Waiting]], now: datetime) -> None:
    """Where no row is known, none is looked for, and the next customers are told while the database stores these."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        under_way = deque[tuple[Strangers, Future[list[Told]]]]()
        for rows in chain(batches, [()]):
            strangers = _by_id(rows)
            under_way.append((strangers, pool.submit(_tell_all, strangers)))
            if len(under_way) > 1:
                before, telling = under_way.popleft()
                staging.adopt(_create(before, telling.result()), now)
                relationships.retell(before)


def _settle(rows: Sequence[Waiting], now: datetime) -> None:
    """Store these rows, and tell their customers."""
    ids = {row.source_id for row in rows}
    known: dict[tuple[str, str], SourceRow] = {}
    for named in staging.slices(ids):
        found = SourceRow.objects.filter(source__in=SourceName.values, source_id__in=named)  # as the index has them
        known |= {(row.source, row.source_id): row for row in found}
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
    retell(touched | _insert(new, [*known.values()], now))
    relationships.retell(ids)


def _update(rows: Sequence[SourceRow], fields: Sequence[str]) -> None:
    """As an upsert, for Django's bulk_update takes minutes for 20,000 rows."""
    SourceRow.objects.bulk_create(
        rows, batch_size=BATCH, update_conflicts=True, unique_fields=["source", "source_id"], update_fields=fields
    )


def _insert(new: Sequence[Waiting], known: Sequence[SourceRow], now: datetime) -> set[int]:
    """Rows that were never seen before; returns the ids of those of their customers that were there already.

    An equal id in the other source is the same customer, unless somebody has linked that row to another tenant.
    """
    if not new:
        return set()
    there = {row.source_id: row.customer_id for row in known}
    taken = _with_a_tenant(there.values()) if there else set()
    homes: dict[int, int] = {}
    for row in new:
        home = there.get(row.source_id)
        if home is not None and not (row.source == SourceName.PARTNER_CENTER and home in taken):
            homes[row.pk] = home
    strangers = _by_id([row for row in new if row.pk not in homes])
    staging.adopt(homes | _create(strangers, _tell_all(strangers)), now)
    return set(homes.values())


Strangers = Mapping[str, Sequence[Waiting]]
"""Id -> the rows of a customer that is still to be made."""


def _by_id(rows: Iterable[Waiting]) -> Strangers:
    found: dict[str, list[Waiting]] = defaultdict(list)
    for row in rows:
        found[row.source_id].append(row)
    return found


def _tell_all(strangers: Strangers) -> list[Told]:
    return [told(rows) for rows in strangers.values()]


def _create(strangers: Strangers, all_told: Sequence[Told]) -> dict[int, int]:
    """Make these customers; of each staged row, which is its home."""
    if not strangers:
        return {}
    columns = dict(zip(Told._fields, zip(*all_told, strict=True), strict=True))
    pks = staging.create(columns)
    return {row.pk: pk for rows, pk in zip(strangers.values(), pks, strict=True) for row in rows}


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
