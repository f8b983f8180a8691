"""The indexes of the list, out of the way while more comes than there is: to make one of all rows takes a fraction of
the time that it takes to keep it row by row.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper

from . import search
from .models import Customer

log = logging.getLogger(__name__)

MANY = 10_000  # rows to come: fewer are not worth it
WAIT = "500ms"  # for whoever reads the list in a transaction at this moment


@contextmanager
def many_to_come() -> Iterator[None]:
    """Around more new customers than there are, in a transaction. SQLite makes the indexes anew in the end, PostgreSQL
    those that `set_aside` has dropped.
    """
    if connection.vendor == "postgresql":
        yield
        mend()
        return
    with connection.cursor() as cursor:
        cursor.execute(_INDEXES)
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f'DROP INDEX "{name}"')
        with search.made_anew(connection):
            yield
        for _, statement in indexes:
            cursor.execute(statement)


_INDEXES = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'customers_customer' AND sql <> ''"


def set_aside(rows: int) -> None:
    """Drop PostgreSQL's indexes of the list before so many rows come into an empty one, in a transaction of its own.

    To drop an index locks out every reader until the commit, which in an empty list is at once; to make one lets all
    of them read. Should the sync die in between, the next one mends it: until then an empty list has no index.
    """
    if connection.vendor != "postgresql" or rows < MANY or Customer.objects.exists():
        return
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{WAIT}'")
            if not _are_ours(cursor):
                return
            cursor.execute("LOCK TABLE customers_customer IN ACCESS EXCLUSIVE MODE")
            if Customer.objects.exists():  # another worker was quicker: then these are its indexes
                return
            for index in Customer._meta.indexes:  # noqa: SLF001 -- public, in spite of its name
                cursor.execute(f'DROP INDEX IF EXISTS "{index.name}"')
            search.remove(connection)
    except OperationalError:
        log.info("somebody reads the list, so its indexes stay; the first load takes longer")


def _are_ours(cursor: CursorWrapper) -> bool:
    """Whether we may drop and make them: only the owner may, and whoever runs the portal need not be."""
    cursor.execute(_OURS)
    return bool(cursor.fetchone())


_OURS = """SELECT 1 FROM pg_class
    WHERE oid = to_regclass('customers_customer') AND pg_has_role(relowner, 'USAGE')"""


def mend() -> None:
    """Make those of PostgreSQL's indexes of the list that are missing, see `set_aside`."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'customers_customer'")
        there = {name for (name,) in cursor.fetchall()}
        missing = [index for index in Customer._meta.indexes if index.name not in there]  # noqa: SLF001
        may = bool(missing) and _are_ours(cursor)
    if may:
        with connection.schema_editor(atomic=False) as editor:
            for index in missing:
                editor.add_index(Customer, index)
        search.install(connection)
