"""Rows that one test leaves for the next: those of the first sync, and of a sign-in."""

from dataclasses import dataclass
from typing import Any

import pytest
from django.core.management.color import no_style
from django.db import connection, transaction
from django.db.models import Model

from customers import sync
from customers.models import Customer, ListAnchor, MatchSuggestion, Snapshot, Source, SourceRow, SyncRun

SYNCED = (
    Source,
    Customer,
    SourceRow,
    MatchSuggestion,
    SyncRun,
    Snapshot,
    ListAnchor,
)  # in the order in which they may be inserted


@dataclass
class Kept:
    """The rows of a table, to be put back without the ORM, which takes no time."""

    table: str
    columns: str
    rows: list[Any]

    @classmethod
    def of(cls, cursor: Any, model: type[Model]) -> "Kept":
        """All rows that are there."""
        table = model._meta.db_table
        cursor.execute(f"SELECT * FROM {table} ORDER BY {model._meta.pk.column}")
        columns = ", ".join(connection.ops.quote_name(column[0]) for column in cursor.description)
        return cls(table, columns, cursor.fetchall())

    def put_back(self, cursor: Any) -> None:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {self.table} ({self.columns}) FROM STDIN") as copy:
                for row in self.rows:
                    copy.write_row(row)
            return
        values = ", ".join(["%s"] * (self.columns.count(",") + 1))
        cursor.executemany(f"INSERT INTO {self.table} ({self.columns}) VALUES ({values})", self.rows)


class FirstSync:
    """What the first sync of a process has left. It lies in the database from one test to the next, below the
    transaction of each, which is rolled back without touching it: putting the rows in takes as long as many a test.
    """

    def __init__(self) -> None:
        self.rows: list[Kept] = []
        self.below: transaction.Atomic | None = None  # the transaction that they lie in
        self.may: Any = None  # pytest-django's, for between two tests nobody may use the database

    def happened(self) -> None:
        run = sync.sync_now()
        assert run.state == run.State.DONE
        with connection.cursor() as cursor:
            self.rows = [Kept.of(cursor, model) for model in SYNCED]

    def put_back(self) -> None:
        with connection.cursor() as cursor:
            for kept in self.rows:
                kept.put_back(cursor)
            for statement in connection.ops.sequence_reset_sql(no_style(), list(SYNCED)):
                cursor.execute(statement)

    def make_ready(self, item: pytest.Item) -> None:
        """Before a test: the rows lie there if it wants them, and not if it does not or commits what it does."""
        if not self.rows:
            return
        names = item.fixturenames  # type: ignore[attr-defined]
        marker = item.get_closest_marker("django_db")
        commits = "transactional_db" in names or bool(marker and marker.kwargs.get("transaction"))
        wanted = "snapshot" in names and not commits
        if not wanted or connection.needs_rollback or connection.connection is None:
            self.take_away()
        if wanted and not self.below:
            self.lay_down()

    def lay_down(self) -> None:
        with self.may.unblock():
            self.below = transaction.atomic()
            self.below.__enter__()
            self.put_back()
            connection.check_constraints()  # what PostgreSQL has checked here, it need not check for each test

    def take_away(self) -> None:
        if self.below:
            with self.may.unblock():
                transaction.set_rollback(True)
                self.below.__exit__(None, None, None)
            self.below = None


FIRST_SYNC = FirstSync()
