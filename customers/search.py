"""The search: what a typed text asks for, and the indexes that answer it on either database.

Both sides are folded (no accents, no case). A word of three characters or more is looked for anywhere; one or two
characters begin a word, for they would be found nearly everywhere. A word ends at whatever is no letter or digit.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.lookups import Contains, Regex

from . import countries


@dataclass(frozen=True)
class Texts:
    """A table with a column `search_text`, and what the names of its indexes begin with. All names are ours."""

    table: str
    prefix: str


CUSTOMERS = Texts("customers_customer", "customers")
MANY = 2_000
"""More hits than this are read in the order of the list, instead of being collected and sorted."""


def stored(texts: Iterable[str]) -> str:
    """The search text of a row that is called all this."""
    return apart("\n".join(map(countries.fold, texts)))


def words(text: str) -> list[str]:
    """The folded words of what somebody typed, each once."""
    return list(dict.fromkeys(apart(countries.fold(text.replace("\x00", " "))).split()))


def apart(folded: str) -> str:
    """A folded text with a space after each sign beyond ASCII, so that every word begins after a sign of ASCII: see
    `_begins`.
    """
    if folded.isascii():
        return folded
    pairs = zip(folded, f"{folded[1:]} ", strict=True)
    return "".join(
        f"{char} " if _is_sign(char) and not (following.isascii() and following.isspace()) else char
        for char, following in pairs
    )


_VARIANTS = "\N{VARIATION SELECTOR-15}\N{VARIATION SELECTOR-16}"  # of an emoji; marks of letters stay in their word


def _is_sign(char: str) -> bool:
    """Punctuation, a symbol, a separator or a control character, beyond ASCII; also what encloses or varies one."""
    if char.isascii():
        return False
    category = unicodedata.category(char)
    return category[0] in "PSZC" or category == "Me" or char in _VARIANTS


def put_apart(rows: QuerySet[Any], at_once: int = 2_000) -> None:
    """For migrations: what was stored before gets the spaces of `apart`."""
    changed = []
    for row in rows.only("search_text").order_by("pk").iterator(chunk_size=at_once):
        before = row.search_text
        row.search_text = apart(before)
        if row.search_text != before:
            changed.append(row)
        if len(changed) == at_once:
            rows.bulk_update(changed, ["search_text"], batch_size=200)
            changed.clear()
    rows.bulk_update(changed, ["search_text"], batch_size=200)


def condition(text: str, *, walking: bool = False, most: int = 0, of: Texts = CUSTOMERS) -> Q:
    """Whether a row's search text has every word. `walking`: row by row, in the order of an index of the list.

    PostgreSQL's planner knows by itself which is better; SQLite has to be told.

    `most`: enough when any so many of them are found.
    """
    if connection.vendor == "sqlite" and not walking:
        found = _fts(words(text), most, of)
    else:
        found = Q()
        for word in words(text):
            found &= Q(_begins(word) if _is_beginning(word) else _contains(word))
    return found


def few(text: str) -> list[int] | None:
    """The ids of the listed customers that match, in no order; None when there are more than `MANY` hits."""
    from .models import Customer  # which stands above this module

    found = Customer.objects.filter(condition(text, most=MANY + 1)).order_by()
    hits = list(found.values_list("pk", "listed")[: MANY + 1])
    return [pk for pk, listed in hits if listed] if len(hits) <= MANY else None


def _is_beginning(word: str) -> bool:
    return len(word) < 3 and word.isalnum()


def _fts(wanted: list[str], most: int, of: Texts) -> Q:
    """By SQLite's full-text indexes. Quoted, so that nothing typed is an operator of theirs."""
    long = [word for word in wanted if len(word) >= 3]
    short = [word for word in wanted if _is_beginning(word)]
    signs = [word for word in wanted if word not in (*long, *short)]  # one or two, which no index can find
    limit = most if len(list(filter(None, (long, short, signs)))) == 1 else 0
    found = Q()
    if long:
        found &= _matching(f"{of.prefix}_trigrams", " ".join(map(_quoted, long)), limit)
    if short:
        found &= _matching(f"{of.prefix}_words", " AND ".join(f"{_quoted(word)} *" for word in short), limit)
    for word in signs:
        found &= Q(_contains(word))
    return found


def _quoted(word: str) -> str:
    return '"' + word.replace('"', '""') + '"'


def _matching(index: str, match: str, limit: int) -> Q:
    # A negative limit is none. The index is one of ours; what was typed is a parameter.
    found = f"SELECT rowid FROM {index} WHERE {index} MATCH %s LIMIT %s"  # noqa: S608  # nosec B608
    return Q(pk__in=RawSQL(found, [match, limit or -1]))  # noqa: S611  # nosec B611


def _contains(word: str) -> Contains:
    return Contains(F("search_text"), word)


def _begins(word: str) -> Regex:
    # PostgreSQL's trigrams answer an expression whose signs are few enough to be named. "[^[:alnum:]]" names thousands,
    # and has every row read: of 10,000, in twenty times the time.
    before = "(?<![^\\W_])" if connection.vendor == "sqlite" else "(^|[\x01-/:-@[-`{-\x7f])"
    return Regex(F("search_text"), before + re.escape(word))


# --- The indexes --------------------------------------------------------------------------------------------

# SQLite: two full-text indexes over the column, which keep no copy of it, and triggers that keep them in step with
# it inside whatever transaction changes it. Trigrams find three characters anywhere; the other finds beginnings.
_SQLITE = (
    """CREATE VIRTUAL TABLE IF NOT EXISTS {prefix}_trigrams USING fts5(
        search_text, content='{table}', content_rowid='id', tokenize='trigram case_sensitive 1')""",
    """CREATE VIRTUAL TABLE IF NOT EXISTS {prefix}_words USING fts5(
        search_text, content='{table}', content_rowid='id', tokenize='unicode61 remove_diacritics 0',
        prefix='1 2', detail=none, columnsize=0)""",
    """CREATE TRIGGER IF NOT EXISTS {prefix}_search_insert AFTER INSERT ON {table} BEGIN
        INSERT INTO {prefix}_trigrams(rowid, search_text) VALUES (new.id, new.search_text);
        INSERT INTO {prefix}_words(rowid, search_text) VALUES (new.id, new.search_text);
        END""",
    """CREATE TRIGGER IF NOT EXISTS {prefix}_search_delete AFTER DELETE ON {table} BEGIN
        INSERT INTO {prefix}_trigrams({prefix}_trigrams, rowid, search_text)
            VALUES ('delete', old.id, old.search_text);
        INSERT INTO {prefix}_words({prefix}_words, rowid, search_text)
            VALUES ('delete', old.id, old.search_text);
        END""",
    """CREATE TRIGGER IF NOT EXISTS {prefix}_search_update AFTER UPDATE OF search_text ON {table}
        WHEN old.search_text IS NOT new.search_text BEGIN
        INSERT INTO {prefix}_trigrams({prefix}_trigrams, rowid, search_text)
            VALUES ('delete', old.id, old.search_text);
        INSERT INTO {prefix}_words({prefix}_words, rowid, search_text)
            VALUES ('delete', old.id, old.search_text);
        INSERT INTO {prefix}_trigrams(rowid, search_text) VALUES (new.id, new.search_text);
        INSERT INTO {prefix}_words(rowid, search_text) VALUES (new.id, new.search_text);
        END""",
)
_REBUILD = (
    # Bytes that an index gathers in memory before it writes: many rows in one transaction go in faster.
    "INSERT INTO {prefix}_trigrams({prefix}_trigrams, rank) VALUES ('hashsize', 4194304)",
    "INSERT INTO {prefix}_words({prefix}_words, rank) VALUES ('hashsize', 4194304)",
    "INSERT INTO {prefix}_trigrams({prefix}_trigrams) VALUES ('rebuild')",
    "INSERT INTO {prefix}_words({prefix}_words) VALUES ('rebuild')",
)
_POSTGRESQL = "CREATE INDEX IF NOT EXISTS {prefix}_trigrams ON {table} USING gin (search_text gin_trgm_ops)"
_REMOVE = {
    "sqlite": (
        "DROP TRIGGER IF EXISTS {prefix}_search_insert",
        "DROP TRIGGER IF EXISTS {prefix}_search_delete",
        "DROP TRIGGER IF EXISTS {prefix}_search_update",
        "DROP TABLE IF EXISTS {prefix}_trigrams",
        "DROP TABLE IF EXISTS {prefix}_words",
    ),
    "postgresql": ("DROP INDEX IF EXISTS {prefix}_trigrams",),
}
_TRIGGERS = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE '{prefix}_search_%'"


def install(database: BaseDatabaseWrapper, of: Texts = CUSTOMERS) -> None:
    """Make the indexes of a search, or mend them; nothing where all are there.

    Called by a migration and after every `migrate`: SQLite changes a table by building another one in its place,
    and the triggers go with the old one.
    """
    with database.cursor() as cursor:
        if database.vendor == "postgresql":
            cursor.execute(_POSTGRESQL.format(**vars(of)))
            return
        cursor.execute(_TRIGGERS.format(**vars(of)))
        if cursor.fetchone()[0] < 3:
            for statement in (*_SQLITE, *_REBUILD):
                cursor.execute(statement.format(**vars(of)))


def remove(database: BaseDatabaseWrapper, of: Texts = CUSTOMERS) -> None:
    """Take the indexes of a search away again."""
    with database.cursor() as cursor:
        for statement in _REMOVE[database.vendor]:
            cursor.execute(statement.format(**vars(of)))


@contextmanager
def made_anew(database: BaseDatabaseWrapper, of: Texts = CUSTOMERS) -> Iterator[None]:
    """Around very many changes, in a transaction: SQLite's indexes hear of none of them and are filled in the end."""
    with database.cursor() as cursor:
        for trigger in ("insert", "delete", "update"):
            cursor.execute(f"DROP TRIGGER {of.prefix}_search_{trigger}")
        yield
        for statement in (*_SQLITE, *_REBUILD):
            cursor.execute(statement.format(**vars(of)))


def settle(database: BaseDatabaseWrapper, of: Texts) -> None:
    """After many new rows: PostgreSQL counts them, and sorts into its index what waits beside it.

    It does both by itself, but only minutes later, and until then each search reads every row.
    """
    if database.vendor == "postgresql":
        with database.cursor() as cursor:
            for statement in _SETTLE:
                cursor.execute(statement.format(**vars(of)))


# Only the owner may do the one, which whoever migrates may be instead; of the other PostgreSQL warns.
_SETTLE = (
    """SELECT gin_clean_pending_list(oid) FROM pg_class
        WHERE oid = to_regclass('{prefix}_trigrams') AND pg_has_role(relowner, 'USAGE')""",
    "ANALYZE {table}",
)


def keep(database: BaseDatabaseWrapper, of: Texts) -> None:
    """After every `migrate` of SQLite: the indexes are there, if their table is."""
    if database.vendor == "sqlite" and of.table in database.introspection.table_names():
        install(database, of)
