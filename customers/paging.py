"""One page of the customer list, as fast at the end of a million rows as at the start.

The whole list: from a known row near the page (`ListAnchor`) along the index of the order. A part of it: its size is
remembered under the list's generation, so that only the first who asks has it counted; few rows are collected, many
are read along the index.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

from django.core.cache import cache
from django.core.paginator import Page, Paginator
from django.db.models import BooleanField, Count, F, Func, OuterRef, QuerySet, Subquery, Value, Window
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils.http import RFC3986_SUBDELIMS

from partnerportal import by_hand, clock
from partnerportal.models import Operator

from . import search, snapshot, standing
from .gdap import relationships
from .listing import ListQuery, split
from .models import Customer, CustomerQuerySet, Label
from .places import from_row

MANY = search.MANY
HOUR = 3600  # seconds
_AS_REVERSE = f"{RFC3986_SUBDELIMS}/~:@"  # what Django's `reverse` leaves as it is
UNREAD = ("search_text", "custom_domains", "seen_domains", "conflicts")  # not shown in the list, and long
SELDOM = frozenset({"users", "relationship", "roles", "codes", "tags"})  # columns that somebody has to choose
USERS_SEEN = ("users_seen", "users_seen_all", "users_seen_at")


class Counted(Paginator):  # type: ignore[type-arg]  # Django cannot be asked `Paginator[…]` while it runs
    """A paginator that is told how many there are."""

    def __init__(self, count: int, size: int) -> None:
        super().__init__([], size)
        self.total = count

    @property
    def count(self) -> int:
        return self.total


@dataclass(frozen=True)
class Found:
    """A page, and what was read with it."""

    page: Page[Customer]
    head: snapshot.Head


def find(query: ListQuery, by: Operator, columns: Collection[str] = ()) -> Found:
    """The page that was asked for, or (without rows) the last one; in at most three queries."""
    wanted = range((query.page - 1) * query.size, query.page * query.size)
    head = snapshot.head(query.sort, wanted.start)
    reader = Reader(query, by, head, columns)
    rows = reader.rows(wanted)
    number = min(query.page, max(1, -(-reader.total // query.size)))
    return Found(Page(addressed(rows), number, Counted(reader.total, query.size)), head)


def count(query: ListQuery, by: Operator, head: snapshot.Head) -> int:
    """How many customers match."""
    return Reader(query, by, head).total


def every(query: ListQuery, by: Operator, columns: Collection[str]) -> CustomerQuerySet:
    """All matching customers in order, for the export."""
    return shown(query.found(by, clock.now()).search(query.q).in_order(query.sort), columns, by)


class Reader:
    """Reads pages of one question."""

    def __init__(self, query: ListQuery, by: Operator, head: snapshot.Head, columns: Collection[str] = ()) -> None:
        self.query, self.by, self.head, self.columns = query, by, head, columns
        self.now = clock.now()
        asked = (query.view, query.q, query.source, query.country, query.access, query.ap)
        of_mine = bool(query.access) or query.view == "no-access"
        mine = [standing.known(by), *sorted(map(str, by.groups))] if of_mine else []
        self._keep = standing.REMEMBERED if of_mine else HOUR  # GDAP ends by the clock
        parts = repr((head.generation, snapshot.day(self.now), asked, mine))
        self._key = f"list:{hashlib.sha256(parts.encode()).hexdigest()}"

    def rows(self, wanted: range) -> list[Customer]:
        """The rows at these places; none past the end."""
        if self.query.whole:
            return self._of_the_whole(range(wanted.start, min(wanted.stop, self.total)))
        if self.query.q:
            return self._searched(wanted)
        indexed = not (self.query.view or "," in f"{self.query.source}{self.query.country}{self.query.ap}")
        if self.known_total is not None and (indexed or self.known_total > MANY):
            return self._along_the_index(wanted)
        return self._collected(wanted)

    @cached_property
    def total(self) -> int:
        """How many customers match, exactly."""
        known = self.known_total
        if known is None and self.query.q and not self.query.filtered and (hits := self._hits()) is not None:
            known = len(hits)
        if known is None:
            remembered = cache.get(f"{self._key}:total")
            known = remembered if remembered is not None else self._remember(self._matching().count())
        return int(known)

    @cached_property
    def known_total(self) -> int | None:
        """What the facts say without counting: of the whole list, of a view, or of one filter."""
        query, facts = self.query, self.head.facts
        asked = [key for key in ("view", "q", "source", "country", "access", "ap") if getattr(query, key)]
        if not asked:
            return facts.total
        if len(asked) > 1:
            return None
        groups = {"source": facts.sources, "country": facts.countries, "ap": facts.statuses}.get(asked[0])
        if groups is not None:
            values = split(getattr(query, asked[0]))
            offered = len(groups) < snapshot.CHOICES or all(value in groups for value in values)
            return sum(groups.get(value, 0) for value in values) if offered else None
        lasting = {"only-in-one-source": facts.one_source, "matches-to-check": facts.matches}
        until_midnight = {"needs-attention": facts.attention, "gdap30": facts.gdap_ends_soon}
        today = facts.day == snapshot.day(self.now)
        return (lasting | (until_midnight if today else {})).get(query.view)

    def _remember(self, total: int) -> int:
        cache.set(f"{self._key}:total", total, self._keep)
        return total

    # --- The whole list ---

    def _of_the_whole(self, wanted: range) -> list[Customer]:
        """From the nearest known row on; a page across the border of the empty values takes two reads."""
        key = self.query.sort.removeprefix("-")
        border = self.total - self.head.facts.empty.get(key, 0)
        found: list[Customer] = []
        for empty, part in ((False, range(border)), (True, range(border, self.total))):
            places = range(max(wanted.start, part.start), min(wanted.stop, part.stop))
            if places:
                found += self._of_a_part(key, empty, part.start, places)
        return found

    def _of_a_part(self, key: str, empty: bool, start: int, places: range) -> list[Customer]:
        """Rows of the part that begins at the place `start`: those that have a value, or those that have none."""
        rows = Customer.objects.listed().filled(key, empty=empty)
        columns = CustomerQuerySet.SORTS[key]
        down = self.query.sort.startswith("-")
        if self.head.values is not None and start <= self.head.place <= places.start:
            start = self.head.place
            rows = rows.filter(from_row(key, self.head.values, down=down, empty=empty))
        order = [F(name).desc() if down else F(name).asc() for name in columns]
        ids = rows.order_by(*order).values("pk")[places.start - start : places.stop - start]
        return list(self._shown(Customer.objects.filter(pk__in=ids).order_by(*order)))

    # --- A part of it ---

    def _matching(self, *, walking: bool = False) -> CustomerQuerySet:
        return self.query.found(self.by, self.now).search(self.query.q, walking=walking)

    def _collected(self, wanted: range) -> list[Customer]:
        """A part without an index of its own: its first ids and its size are read once, and remembered."""
        key = f"{self._key}:{self.query.sort}"
        remembered = cache.get(key)
        if remembered is None:
            found = self._matching().in_order(self.query.sort).annotate(of=Window(Count("pk")))
            pairs = list(found.values_list("pk", "of")[:MANY])
            remembered = ([pk for pk, _ in pairs], pairs[0][1] if pairs else 0)
            cache.set(key, remembered, self._keep)
        ids, total = remembered
        self.total = self._remember(total)
        if wanted.stop > len(ids) < total:
            return self._along_the_index(wanted)
        return self._by_id(ids[wanted.start : wanted.stop])

    def _searched(self, wanted: range) -> list[Customer]:
        """Few hits: their ids, then those that pass the filters, sorted. Many: along the index, up to the page."""
        if (hits := self._hits()) is not None:
            return self._of_few(hits, wanted)
        if cache.get(f"{self._key}:total") is None:
            return self._first_of_many(wanted)
        return self._along_the_index(wanted)

    def _hits(self) -> list[int] | None:
        """The listed customers that the typed words find; None when those are many. Remembered."""
        key = f"hits:{self.head.generation}:{hashlib.sha256(self.query.q.encode()).hexdigest()}"
        hits: list[int] | str | None = cache.get(key)
        if hits is None:
            found = search.few(self.query.q)
            hits = "many" if found is None else found
            cache.set(key, hits, HOUR)
        return None if isinstance(hits, str) else hits

    def _of_few(self, hits: list[int], wanted: range) -> list[Customer]:
        if not hits:
            self.total = 0
        if wanted.start >= len(hits):
            return []
        if not self.query.filtered:  # all of them are shown, and `total` knows how many they are
            return self._by_id(hits, wanted)
        rows = self.query.found(self.by, self.now).filter(pk__in=hits).annotate(of=Window(Count("pk")))
        found = list(self._shown(rows.in_order(self.query.sort))[wanted.start : wanted.stop])
        if found or not wanted.start:
            self.total = self._remember(found[0].of if found else 0)  # type: ignore[attr-defined]
        return found

    def _first_of_many(self, wanted: range) -> list[Customer]:
        """The page with the number of all hits, in one query; for whoever asks first."""
        hits = self._matching().order_by().values(one=Value(1)).annotate(n=Count("*")).values("n")
        ids = self._matching(walking=True).in_order(self.query.sort).values("pk")[wanted.start : wanted.stop]
        found = self._in_order(Customer.objects.filter(pk__in=ids).annotate(of=Subquery(hits)))
        if found:
            self.total = self._remember(found[0].of)  # type: ignore[attr-defined]
        return found

    def _along_the_index(self, wanted: range) -> list[Customer]:
        """From the nearer end; the total is known."""
        rows = self._matching(walking=bool(self.query.q)).in_order(self.query.sort)
        wanted = range(wanted.start, min(wanted.stop, self.total))
        if not wanted:
            return []
        if wanted.start > self.total // 2:
            ids = rows.reverse().values("pk")[self.total - wanted.stop : self.total - wanted.start]
        else:
            ids = rows.values("pk")[wanted.start : wanted.stop]
        return self._in_order(Customer.objects.filter(pk__in=ids))

    def _by_id(self, ids: Sequence[int], wanted: range = range(MANY)) -> list[Customer]:
        """These customers, sorted, from place to place: mostly without the ORM's part of the work (decision 30)."""
        if not ids:
            return []
        if not SELDOM.isdisjoint(self.columns):
            return self._in_order(Customer.objects.listed().filter(pk__in=ids))[wanted.start : wanted.stop]
        level, told = standing.level(self.by)
        beside = (("to_check", _TO_CHECK), ("standing_level", level))
        places = ", ".join(["%s"] * len(ids))
        order = CustomerQuerySet.order_by_hand(self.query.sort)
        rest = f"WHERE listed AND id IN ({places}) ORDER BY {order} LIMIT {len(wanted)} OFFSET {wanted.start}"
        unread = (*UNREAD, *USERS_SEEN)
        rows = by_hand.fetch(Customer, rest, [*told, *ids], beside=beside, unread=unread)
        return by_hand.built(Customer, rows, beside=beside, unread=unread)

    def _in_order(self, rows: CustomerQuerySet) -> list[Customer]:
        return list(self._shown(rows.in_order(self.query.sort)))

    def _shown(self, rows: CustomerQuerySet) -> CustomerQuerySet:
        return shown(rows, self.columns, self.by)


# --- Pieces of queries --------------------------------------------------------------------------------------


def addressed(rows: list[Customer]) -> list[Customer]:
    """The rows, each with the `url` that its addresses begin with."""
    prefix = reverse("customers")  # of each row in turn, it took longer than reading the rows
    for row in rows:
        row.url = f"{prefix}{quote(row.key, safe=_AS_REVERSE)}/"  # type: ignore[attr-defined]
    return rows


def shown(rows: CustomerQuerySet, columns: Collection[str], by: Operator) -> CustomerQuerySet:
    """With all that a row shows, so that none asks for more."""
    to_check = RawSQL(_TO_CHECK, [], BooleanField())  # noqa: S611  # nosec B611 -- no parameters
    unread = UNREAD if "users" in columns else (*UNREAD, *USERS_SEEN)
    rows = standing.beside(rows.defer(*unread), by).annotate(to_check=to_check)
    if "relationship" in columns or "roles" in columns:
        rows = rows.annotate(**relationships.lasting_longest(clock.now()))
    kinds = {"codes": Label.Kind.CODE, "tags": Label.Kind.TAG}
    return rows.annotate(**{key: _labels(kind) for key, kind in kinds.items() if key in columns})


# By hand, like `standing._LEVEL` and for its reason.
_TO_CHECK = """
    EXISTS (
        SELECT 1 FROM customers_matchsuggestion pair
        WHERE pair.partner_center_id = customers_customer.id OR pair.avepoint_id = customers_customer.id
    )"""


class Joined(Func):
    """Texts of several rows as one, with commas."""

    function = "STRING_AGG"
    arity = 2

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, function="GROUP_CONCAT", **context)


def _labels(kind: str) -> Coalesce:
    mine: QuerySet[Label] = Label.objects.filter(customer=OuterRef("pk"), kind=kind).order_by()
    joined = mine.values("customer").annotate(all=Joined(F("text"), Value(", "))).values("all")
    return Coalesce(Subquery(joined), Value(""))
