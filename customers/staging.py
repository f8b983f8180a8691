"""What a sync under way has read: compared page by page with what we know; only what is new or different is stored.

So a sync holds no list in memory, but for five bytes a row, and what did not change is never written, nor read in full.
"""

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from django.db import IntegrityError, connection, transaction
from django.db.models import BooleanField, CharField, Model, TextField

from partnerportal import clock
from partnerportal.upstream.paging import Familiar, Stretch

from .models import Customer, KnownStretch, SourceName, SourceRow, StagedRow, SyncRun, key_of

if TYPE_CHECKING:
    from .merge import Seen

IdT = TypeVar("IdT", int, str, bytes)

FIELDS = ("given_id", "name", "domain", "country", "owner_email", "status", "relationship")
BATCH = 500  # rows in one statement; the database has a limit of variables
PKS = "I"  # four bytes for a primary key in a `KnownStretch`
MOST_PKS = 1 << 32
SETTLED = 2_000  # staged rows that are put in place together
ASKED = 16_000  # rows that are asked for at once, while other threads read pages: each question may wait for them


def told_by(source: str) -> list[str]:
    """The fields that a source's list tells. Partner Center's has no country: what was read by id stays."""
    return [name for name in FIELDS if (source, name) != (SourceName.PARTNER_CENTER, "country")]


class RollCall:
    """Which of the rows of a source that we know its walk has brought, by their primary keys: a byte each, so that a
    million are little. Made before the walk, for it asks the database.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.same = 0  # how many came as we know them
        self.is_first = not SourceRow.objects.filter(source=source).exists()  # whether we know none
        self._came = bytearray()
        stretches = KnownStretch.objects.filter(source=source).values_list("mark", "rows")
        self._known = {bytes(mark): bytes(rows) for mark, rows in stretches}
        self._again: set[bytes] = set()  # marks of those that came as a whole
        self._new: dict[bytes, bytes] = {}  # stretches of nothing but rows as we know them
        # Once a day everything is read and compared, whatever we may have thought that we knew.
        self.familiar = Familiar(self._known.keys(), f"{clock.now():%Y-%m-%d}".encode())

    def call(self, pk: int) -> bool:
        """Note that this row came; False when it had come before."""
        if pk >= len(self._came):
            self._came.extend(bytes(pk + BATCH - len(self._came)))
        before, self._came[pk] = self._came[pk], 1
        return not before

    def has(self, pk: int) -> bool:
        return pk < len(self._came) and bool(self._came[pk])

    def call_known(self, mark: bytes) -> None:
        """Note that the rows of this stretch came as we know them."""
        pks = array(PKS, self._known[mark])
        firsts = sum(map(self.call, pks))
        self.same += firsts
        if firsts == len(pks):  # else one of them has come before, and may be different from now on
            self._again.add(mark)

    def learn(self, mark: bytes, pks: Sequence[int]) -> None:
        """Note that these rows, none of which had come before, are all of a stretch."""
        if mark and max(pks) < MOST_PKS:
            self._new[mark] = array(PKS, pks).tobytes()

    def remember(self) -> None:
        """Keep what came as a whole for the next walk, and nothing else. Part of putting the walk in place."""
        known = KnownStretch.objects.filter(source=self.source)
        if not self._again:
            known.delete()
        for marks in slices(self._known.keys() - self._again):
            known.filter(mark__in=marks).delete()
        new = [KnownStretch(source=self.source, mark=mark, rows=rows) for mark, rows in self._new.items()]
        KnownStretch.objects.bulk_create(new, batch_size=BATCH)


def stage(run: SyncRun, stretches: "Sequence[Stretch[Seen]]", roll: RollCall) -> None:
    """Take rows of a walk: what is as we know it is noted on the roll, the rest is stored.

    Of rows with one id the first counts, or of those that come together the one that we know: a page that comes twice
    brings each row once.
    """
    unread = [stretch.mark for stretch in stretches if stretch.number and not stretch.rows]
    for mark in unread:
        roll.call_known(mark)
    read = [stretch for stretch in stretches if stretch.rows]
    rows = [row for stretch in read for row in stretch.rows]
    if not roll.is_first:
        rows = [row for some in _pieces(read) for row in _news(some, roll)]
    # In the order of the ids, for the index: that takes half the time.
    values = [(run.pk, roll.source, *row) for row in sorted(rows, key=attrgetter("source_id"))]
    _insert("customers_stagedrow", ("run_id", "source", "source_id", *FIELDS), values, may_be_there=True)


def _pieces(stretches: "Sequence[Stretch[Seen]]") -> "Iterator[list[Stretch[Seen]]]":
    """As many rows as are asked for at once."""
    some, rows = [], 0
    for stretch in stretches:
        some.append(stretch)
        rows += stretch.number
        if rows >= ASKED:
            yield some
            some, rows = [], 0
    if some:
        yield some


def _news(stretches: "Sequence[Stretch[Seen]]", roll: RollCall) -> "list[Seen]":
    """The rows that are new, different or back again. The others are noted, and the stretches of nothing but these."""
    rows = [row for stretch in stretches for row in stretch.rows]
    pks = [pk if pk and roll.call(pk) else -pk for pk in _same(roll.source, rows)]  # negative: it came before
    known = _known(roll.source, [row.source_id for row, pk in zip(rows, pks, strict=True) if not pk])
    news = []
    for number, (row, pk) in enumerate(zip(rows, pks, strict=True)):
        if pk:
            continue
        ours = known.get(row.source_id)
        if ours is None:
            news.append(row)
        elif roll.call(ours[0]):
            if ours[1] and ours[2:] == row:
                pks[number] = ours[0]
            else:
                news.append(row)
    roll.same += sum(pk > 0 for pk in pks)
    start = 0
    for stretch in stretches:
        here = pks[start : start + len(stretch.rows)]
        start += len(stretch.rows)
        if min(here) > 0:
            roll.learn(stretch.mark, here)
    return news


def _known(source: str, source_ids: list[str]) -> dict[str, tuple[Any, ...]]:
    """Id -> our row as primary key, whether it counts, and what the source told: by hand, for every row of every walk
    is asked for.
    """
    is_sqlite = connection.vendor == "sqlite"
    asked = "value FROM json_each(%s)" if is_sqlite else "unnest(%s::text[])"
    ids = msgspec.json.encode(source_ids).decode() if is_sqlite else source_ids
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, {_COUNTS}, {_told(source)} FROM customers_sourcerow "  # noqa: S608  # nosec B608
            f"WHERE source = %s AND source_id IN (SELECT {asked})",
            [source, ids],
        )
        return {row[2]: row for row in cursor.fetchall()}


_COUNTS = "(missing_since IS NULL AND gone_at IS NULL)"


def _told(source: str) -> str:
    """The columns of a `Seen`. One that the source does not tell is empty, as in what comes."""
    return ", ".join(["source_id", *(name if name in told_by(source) else "''" for name in FIELDS)])


def _same(source: str, rows: "Sequence[Seen]") -> list[int]:
    """For each row the primary key of ours that SQLite finds to be the same, or 0. It compares while the threads go on
    that read pages; one by one its rows would have to wait for these. The cross join keeps the tables in order.
    """
    found = [0] * len(rows)
    if connection.vendor != "sqlite":
        return found
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT group_concat(came.key), group_concat(ours.id)
            FROM json_each(%s) came CROSS JOIN customers_sourcerow ours
            WHERE ours.source = %s AND ours.source_id = json_extract(came.value, '$[0]')
            AND {_COUNTS} AND json_array({_told(source)}) = came.value""",  # noqa: S608  # nosec B608
            [msgspec.json.encode(rows).decode(), source],
        )
        numbers, pks = (map(int, told.split(",")) if told else () for told in cursor.fetchone())
    for number, pk in zip(numbers, pks, strict=True):
        found[number] = pk
    return found


def count(run: SyncRun, roll: RollCall) -> int:
    """How many different rows this walk has brought."""
    return roll.same + StagedRow.objects.filter(run=run, source=roll.source).count()


class _Columns(NamedTuple):
    pk: int
    source: str
    source_id: str
    given_id: str
    name: str
    domain: str
    country: str
    owner_email: str
    status: str
    relationship: str


class Waiting(_Columns):
    """A staged row, as `waiting` gives it: the values of its columns, and what every row of a walk is."""

    __slots__ = ()
    missing_since: datetime | None = None
    gone_at: datetime | None = None

    @property
    def key(self) -> str:
        return key_of(self.source, self.source_id)


def waiting(run: SyncRun, sources: Collection[str]) -> Iterator[list[Waiting]]:
    """What is new, different or back again. In the order of the ids; rows with one id come together, so that each
    customer is told once.
    """
    staged = StagedRow.objects.filter(run=run, source__in=sources).order_by("source_id", "source")
    columns = ("pk", *Waiting._fields[1:])
    after = ""
    while found := staged.filter(source_id__gt=after).values_list(*columns)[: SETTLED + 1]:
        rows = list(map(Waiting._make, found))
        if len(rows) > SETTLED:  # the other row of the last id may not have come along
            rows = [row for row in rows if row.source_id != rows[-1].source_id]
        after = rows[-1].source_id
        yield rows


def absent(roll: RollCall) -> list[int]:
    """The rows that counted so far and that this walk did not bring, by their primary keys."""
    counted = SourceRow.objects.filter(source=roll.source, gone_at=None).values_list("pk", flat=True)
    return [pk for pk in counted.iterator(chunk_size=10_000) if not roll.has(pk)]


def doubles(run: SyncRun, sources: Collection[str]) -> bool:
    """Whether more was staged than there are customers, as in a first sync."""
    return StagedRow.objects.filter(run=run, source__in=sources).count() > Customer.objects.count()


def few_ids(run: SyncRun, sources: Collection[str], absent: Sequence[int], most: int) -> set[str] | None:
    """The sources' ids of all that a swap will change; None when there are more than `most`."""
    staged = StagedRow.objects.filter(run=run, source__in=sources).values_list("source_id", flat=True)
    ids = list(staged[: most + 1])
    if len(ids) + len(absent) > most:
        return None
    found = set(ids)
    for pks in slices(absent):
        found.update(SourceRow.objects.filter(pk__in=pks).values_list("source_id", flat=True))
    return found


def measure(*tables: type[Model]) -> None:
    """Tell PostgreSQL how large these tables are by now. It plans by what it last saw of them: of one that was only
    just filled that is nothing, and then it compares each row with each. SQLite goes by the index anyhow.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # A third of what it looks at by itself, which it will do within minutes: enough for a plan.
            cursor.execute("SET LOCAL default_statistics_target = 30")
            for table in tables:
                cursor.execute(f"ANALYZE {connection.ops.quote_name(table._meta.db_table)}")  # noqa: SLF001


def forget() -> None:
    """Drop all that is staged. There is one sync at a time, so the rest is of runs that died."""
    StagedRow.objects.all().delete()


# --- Many new rows ------------------------------------------------------------------------------------------


def create(columns: Mapping[str, Sequence[Any]]) -> Sequence[int]:
    """New customers with these values, all others by default: as bulk_create, in a tenth of the time. Returns their
    primary keys.
    """
    number = len(next(iter(columns.values())))
    pks = _new_ids(number)
    values: list[Sequence[Any]] = []
    for field in Customer._meta.concrete_fields:  # noqa: SLF001 -- public, in spite of its name
        if field.primary_key:
            values.append(pks)
        elif field.name in columns:
            values.append(_prepared(field, columns[field.name]))
        else:
            values.append([*_prepared(field, [field.get_default()])] * number)
    names = [str(field.column) for field in Customer._meta.concrete_fields]  # noqa: SLF001
    _insert("customers_customer", names, [*zip(*values, strict=True)])
    return pks


def _prepared(field: Any, values: Sequence[Any]) -> Sequence[Any]:
    """The column's values as the database takes them. Most are what the one before is."""
    if isinstance(field, CharField | TextField | BooleanField):
        return values
    found: list[Any] = []
    last = told = None
    for value in values:
        if value != last or value is None:
            last, told = value, None if value is None else field.get_db_prep_save(value, connection)
        found.append(told)
    return found


def _new_ids(number: int) -> range:
    """Primary keys that no customer has or had. Whoever makes customers is alone with it: see `snapshot.hold`."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = 'customers_customer'")
            last = (cursor.fetchone() or (0,))[0]
            return range(last + 1, last + number + 1)
        cursor.execute(_RESERVE, [number])
        last = cursor.fetchone()[0]
        return range(last - number + 1, last + 1)


_RESERVE = """SELECT setval(ids, nextval(ids) + %s - 1)
    FROM (SELECT pg_get_serial_sequence('customers_customer', 'id')::regclass AS ids) customers"""


def adopt(homes: Mapping[int, int], now: datetime) -> None:
    """Make rows of ours of those that are staged under these primary keys, each of that customer. They never leave the
    database for it.
    """
    columns = ", ".join(["source", "source_id", *FIELDS])
    is_sqlite = connection.vendor == "sqlite"
    given = [msgspec.json.encode([*homes.items()]).decode()] if is_sqlite else [[*homes], [*homes.values()]]
    seen_at = SourceRow._meta.get_field("first_seen_at").get_db_prep_save(now, connection)  # noqa: SLF001
    with connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO customers_sourcerow ({columns}, first_seen_at, customer_id)
            SELECT {columns}, %s, home.customer FROM {_HOMES[connection.vendor]} home
            CROSS JOIN customers_stagedrow came WHERE came.id = home.staged
            ORDER BY source_id, source""",  # noqa: S608  # nosec B608
            [seen_at, *given],
        )


_HOMES = {
    "sqlite": """(SELECT json_extract(value, '$[0]') AS staged, json_extract(value, '$[1]') AS customer
        FROM json_each(%s))""",
    "postgresql": "(SELECT * FROM unnest(%s::bigint[], %s::bigint[]) AS pairs(staged, customer))",
}


def _insert(table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, may_be_there: bool = False) -> None:
    """By hand, for this is done for every new row of every walk. All names are ours. `may_be_there`: a row that is
    there is left as it is.
    """
    names = ", ".join(f'"{column}"' for column in columns)
    if connection.vendor == "postgresql":
        try:
            with transaction.atomic():
                _copy(table, names, rows)
        except IntegrityError:
            if not may_be_there:
                raise
        else:
            return
    places, end = ", ".join(["%s"] * len(columns)), "ON CONFLICT DO NOTHING" if may_be_there else ""
    with connection.cursor() as cursor:
        cursor.executemany(f'INSERT INTO "{table}" ({names}) VALUES ({places}) {end}', rows)  # noqa: S608  # nosec B608


def _copy(table: str, names: str, rows: Sequence[Sequence[Any]]) -> None:
    """What takes PostgreSQL a tenth of an INSERT's time."""
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(f'COPY "{table}" ({names}) FROM STDIN') as copy,
    ):
        for row in rows:
            copy.write_row(row)


def slices(ids: "Collection[IdT]") -> "list[list[IdT]]":
    """These ids in order, as many at once as one statement takes."""
    ordered = sorted(ids)
    return [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]
