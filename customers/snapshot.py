"""What is true of the whole list, kept in one row so that no page counts anything; with the places of `places.py`."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Self

from django.db import transaction
from django.db.models import Count, F

from partnerportal import clock

from . import places
from .models import Customer, CustomerQuerySet, Snapshot, Source, SourceName, SyncRun

CHOICES = 300  # countries and statuses that a filter offers
FEW = 1_000  # customers of which a change is followed by the difference; to number a list anew takes seconds


@dataclass(frozen=True)
class Facts:
    """Counts of the listed customers, and what there is to filter by."""

    day: str = ""  # when it was counted: what ends soon changes at midnight
    total: int = 0
    sources: dict[str, int] = field(default_factory=dict)  # "both", "pc", "ap"
    countries: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)  # of AvePoint
    empty: dict[str, int] = field(default_factory=dict)  # sort -> rows that stand last for want of a value
    attention: int = 0
    gdap_ends_soon: int = 0
    matches: int = 0

    @classmethod
    def of(cls, stored: dict[str, Any] | None) -> Self | None:
        """As they were stored; None when there are none, or they are of another version."""
        names = {one.name for one in fields(cls)}
        return cls(**stored) if stored and stored.keys() == names else None

    @property
    def has_all(self) -> bool:
        """Whether no country and no status was left out for being one of too many."""
        return max(len(self.countries), len(self.statuses)) < CHOICES

    def but(self, before: Self, after: Self) -> Self:
        """These facts, when some customers were `before` and are `after`."""

        def moved(name: str) -> Any:
            all_of, was, now = (getattr(one, name) for one in (self, before, after))
            if not isinstance(all_of, dict):
                return all_of - was + now
            counts = {key: all_of.get(key, 0) - was.get(key, 0) + now.get(key, 0) for key in sorted({*all_of, *now})}
            return {key: n for key, n in counts.items() if n or name == "empty"}

        return replace(self, **{one.name: moved(one.name) for one in fields(self) if one.name != "day"})

    @property
    def one_source(self) -> int:
        return self.sources.get("pc", 0) + self.sources.get("ap", 0)


@dataclass(frozen=True)
class Head:
    """What every page of the list begins with, of one query."""

    sources: Sequence[Source]
    generation: int
    facts: Facts
    place: int  # the place of the nearest known row, 0 when there is none
    values: list[Any] | None  # of that row's columns
    rows_seen: int | None  # of the sync under way; None when there is none

    @property
    def read_at(self) -> dict[str, datetime | None]:
        """Source -> when it last came whole."""
        return {source.name: source.last_good_at for source in self.sources}


# --- Writing ------------------------------------------------------------------------------------------------


def changed(*, sorts: Collection[str] | None = None, counts: bool = True) -> None:
    """Say that the list is not what it was. Called inside the transaction that changes it, whoever does.

    Says everything unless told better: `sorts` are the orders in which a row moved, came or went (() when only what
    no order looks at has changed), `counts` whether any count or choice may differ.
    """
    with transaction.atomic():
        kept, _ = Snapshot.objects.get_or_create(pk=1)
        values: dict[str, Any] = {"generation": F("generation") + 1}
        known = Facts.of(kept.facts)
        facts = known
        if known is None or counts:
            facts = count()
            values |= {"facts": asdict(facts), "built_at": clock.now()}
        Snapshot.objects.filter(pk=1).update(**values)
        if facts is not None:
            places.note(facts.total, facts.empty, places.SORTS if sorts is None or known is None else sorts)


@contextmanager
def changing(touched: Callable[[], set[int]]) -> Iterator[None]:
    """Around what changes a few customers, in the transaction of the caller: counts and places by the difference.

    `touched`: the ids of all that it may change in any way that is counted; asked before and after, for some come to
    be. Counts the whole list where there is nothing to start from, or there are many.
    """
    hold()
    now = clock.now()
    known = Facts.of(Snapshot.objects.values_list("facts", flat=True).get(pk=1))
    before_ids = touched()
    if known is None or known.day != day(now) or not known.has_all or len(before_ids) > FEW:
        yield
        changed()
        return
    before, stood = count(before_ids, now), places.standing(before_ids)
    yield
    ids = before_ids | touched()
    facts = known.but(before, count(ids, now))
    if not facts.has_all:
        changed()
        return
    values = {"generation": F("generation") + 1, "facts": asdict(facts), "built_at": clock.now()}
    Snapshot.objects.filter(pk=1).update(**values)
    places.shift(stood, places.standing(ids, stood.known), facts.total, facts.empty)


def hold() -> None:
    """Let nobody else change the list before this transaction ends. Says nothing; `changed` holds it as well."""
    Snapshot.objects.get_or_create(pk=1)
    Snapshot.objects.filter(pk=1).update(generation=F("generation"))


def count(ids: Collection[int] | None = None, now: datetime | None = None) -> Facts:
    """The facts of the list as it is now, or of these customers in it."""
    listed, now = Customer.objects.listed(), now or clock.now()
    if ids is not None:
        listed = listed.filter(pk__in=ids)
    pairs = listed.values_list("in_partner_center", "in_avepoint").annotate(n=Count("pk"))
    names = {(True, True): "both", (True, False): "pc", (False, True): "ap"}
    sources = {names[pc, ap]: n for pc, ap, n in pairs if (pc, ap) in names}
    countries, statuses = _groups(listed, "country"), _groups(listed, "ap_status")
    total = sum(countries.values())
    return Facts(
        day=day(now),
        total=total,
        sources=sources,
        empty={
            "country": countries.pop("", 0),
            "ap": statuses.pop("", 0),
            "domain": listed.filled("domain", empty=True).count(),
            "gdap": listed.filled("gdap", empty=True).count(),
        },
        countries=_choices(countries),
        statuses=_choices(statuses),
        attention=listed.needing_attention(now).count(),
        gdap_ends_soon=listed.gdap_ends_soon(now).count(),
        matches=listed.to_check().count(),
    )


def day(now: datetime) -> str:
    return f"{now:%Y-%m-%d}"


def _groups(listed: CustomerQuerySet, column: str) -> dict[str, int]:
    return dict(listed.values_list(column).annotate(n=Count("pk")).order_by(column))


def _choices(groups: dict[str, int]) -> dict[str, int]:
    """Those that a filter offers: all of them, unless somebody filled the column with anything."""
    most = sorted(groups, key=lambda value: -groups[value])[:CHOICES]
    return {value: groups[value] for value in sorted(most)}


# --- Reading ------------------------------------------------------------------------------------------------


def head(sort: str, place: int) -> Head:
    """The sources, the facts, and the known row nearest before this place of this order; in one query."""
    rows: list[Any] = list(Source.objects.raw(_HEAD, [sort, place]))
    told = next((row for row in rows if row.pk == SourceName.PARTNER_CENTER), None)
    facts = Facts.of(json.loads(told.facts)) if told and told.facts else None
    if told is None or facts is None:  # before the first sync, or just after an update
        under_way = SyncRun.objects.filter(open=True).first()
        return Head(rows, 0, count(), 0, None, under_way.rows_seen if under_way else None)
    values = json.loads(told.values) if told.values else None
    return Head(rows, told.generation, facts, told.place or 0, values, told.rows_seen)


# By hand: every page begins with it, and Django took longer to write it than the database to answer it. The facts
# come with one row only, for they are long.
_HEAD = """
    SELECT source.*, kept.generation, CASE source.name WHEN 'partner_center' THEN kept.facts END AS facts,
        before.place, before."values", run.rows_seen
    FROM customers_source source
    LEFT JOIN customers_snapshot kept ON kept.id = 1
    LEFT JOIN (
        SELECT place, "values" FROM customers_listanchor WHERE sort = %s AND place <= %s ORDER BY place DESC LIMIT 1
    ) before ON TRUE
    LEFT JOIN customers_syncrun run ON run.open"""
