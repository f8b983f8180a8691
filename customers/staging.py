"""What a sync under way has read: stored page by page, compared with what we know inside the database, then forgotten.

So the memory of a sync does not grow with the list, and what did not change never comes into Python.
"""

from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django.db import connection
from django.db.models import BooleanField, CharField, Exists, ForeignKey, Model, OuterRef, QuerySet, TextField

from .models import Customer, SourceName, SourceRow, StagedRow, SyncRun

if TYPE_CHECKING:
    from .merge import Seen

FIELDS = ("given_id", "name", "domain", "country", "owner_email", "status", "relationship")
BATCH = 500  # rows in one statement; the database has a limit of variables
AT_ONCE = 100  # rows in one INSERT of ours; SQLite keeps the last 128 statements, so they must not be large


def told_by(source: str) -> list[str]:
    """The fields that a source's list tells. Partner Center's has no country: what was read by id stays."""
    return [name for name in FIELDS if (source, name) != (SourceName.PARTNER_CENTER, "country")]


def stage(run: SyncRun, source: str, rows: "Sequence[Seen]") -> None:
    """Store rows of a walk. One that came before is left out, so a page that comes twice brings each row once.

    In the order of the ids, for the index: that takes half the time.
    """
    columns = ("run_id", "source", "source_id", *FIELDS)
    values = [(run.pk, source, *row) for row in sorted(rows, key=attrgetter("source_id"))]
    _insert("customers_stagedrow", columns, values, "ON CONFLICT DO NOTHING")


def count(run: SyncRun, source: str) -> int:
    """How many different rows this walk has brought."""
    return StagedRow.objects.filter(run=run, source=source).count()


def changed(run: SyncRun, source: str) -> QuerySet[StagedRow]:
    """The staged rows of which we know no equal: new, different, or back again."""
    same = {name: OuterRef(name) for name in ("source_id", *told_by(source))}
    known = SourceRow.objects.filter(source=source, missing_since=None, gone_at=None, **same)
    return StagedRow.objects.filter(~Exists(known), run=run, source=source)


def absent(run: SyncRun, source: str) -> QuerySet[SourceRow]:
    """The rows that counted so far and that this walk did not bring."""
    seen = StagedRow.objects.filter(run=run, source=source, source_id=OuterRef("source_id"))
    return SourceRow.objects.filter(~Exists(seen), source=source, gone_at=None)


def measure(*tables: type[Model]) -> None:
    """Tell PostgreSQL how large these tables are by now. It plans by what it last saw of them: of one that was only
    just filled that is nothing, and then it compares each row with each. SQLite goes by the index anyhow.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"ANALYZE {connection.ops.quote_name(table._meta.db_table)}")  # noqa: SLF001


def forget() -> None:
    """Drop all that is staged. There is one sync at a time, so the rest is of runs that died."""
    StagedRow.objects.all().delete()


def create(rows: Sequence[Customer] | Sequence[SourceRow], key: str) -> None:
    """As bulk_create, of at most `BATCH` rows, in a fifth of the time; `key` names a field without equal values."""
    if not rows:
        return
    fields = [field for field in rows[0]._meta.concrete_fields if not field.primary_key]  # noqa: SLF001 -- public, in spite of its name
    plain = (CharField, TextField, BooleanField, ForeignKey)  # whose values the database takes as they are
    odd = [(place, field) for place, field in enumerate(fields) if not isinstance(field, plain)]
    take = attrgetter(*(field.attname for field in fields))
    values = [[*take(row)] for row in rows]
    for value in values:
        for place, field in odd:
            if value[place] is not None:
                value[place] = field.get_db_prep_save(value[place], connection)
    table = rows[0]._meta.db_table  # noqa: SLF001
    ids = dict(_insert(table, [str(field.column) for field in fields], values, f"RETURNING {key}, id"))
    for row in rows:
        row.pk = ids[getattr(row, key)]


def _insert(table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], end: str) -> list[Any]:
    """By hand, for this is done for every row of every walk. All names are ours."""
    row = f"({', '.join(['%s'] * len(columns))})"
    names = ", ".join(f'"{column}"' for column in columns)
    found: list[Any] = []
    with connection.cursor() as cursor:
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            cursor.execute(
                f'INSERT INTO "{table}" ({names}) VALUES {", ".join([row] * len(some))} {end}',  # noqa: S608  # nosec B608
                [value for row in some for value in row],
            )
            found += cursor.fetchall() if cursor.description else []
    return found


def slices(ids: Collection[int]) -> list[list[int]]:
    """These ids in order, as many at once as one statement takes."""
    ordered = sorted(ids)
    return [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]
