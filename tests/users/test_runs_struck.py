"""What strikes a run from outside while it is under way: its database, its tokens, its people, a restored backup."""

import contextlib
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.urls import reverse

from partnerportal.models import AuditEvent, AuditHead, TokenCache
from partnerportal.sandbox import seed
from tests.conftest import Browser, table_of
from tests.pages import Page
from tests.requirements_plugin import POSTGRES_URL
from users import operations
from users.models import OnboardingRow, OnboardingRun, Operation
from users.onboarding import delivery, run
from users.tasks import keep_runs

from .conftest import users_url
from .runs import RowState, State, Worker, all_accounted_for, checked, newcomers, start, states
from .test_runs import again, beat, creating, posts, worker

__all__ = ["worker"]  # a fixture


def ids(lines: list[dict[str, Any]]) -> set[str]:
    return {line["request_id"] for line in lines}


def brought_to_an_end(found: OnboardingRun, worker: Worker, move_clock: Callable[[float], None]) -> None:
    """Beat and worker go on until everything is found out."""
    for moment in (61, 75, 100, 150, 220, 300):
        move_clock(moment)
        beat()
        worker.drain()
    assert again(found).state == State.DONE, found.rows.values()


# --- The database (TRUST F9, F12, F13) ----------------------------------------------------------------------


@contextlib.contextmanager
def held_by_another() -> Iterator[None]:
    """Another process has begun to write, and does not end: we would wait for it for 20 seconds, here a moment."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA busy_timeout = 50")
        else:
            cursor.execute("SET lock_timeout = '50ms'")
    try:
        if connection.vendor == "sqlite":
            path = connection.settings_dict["NAME"]
            with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as other:
                other.execute("BEGIN IMMEDIATE")
                yield
        else:
            url = f"{POSTGRES_URL.rpartition('/')[0]}/{connection.settings_dict['NAME']}"
            with psycopg.connect(url) as other:
                other.execute("LOCK TABLE users_onboardingrow, users_operation IN EXCLUSIVE MODE")
                yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 20000" if connection.vendor == "sqlite" else "RESET lock_timeout")


@pytest.mark.django_db(transaction=True)
def test_while_another_writer_holds_the_database_nothing_is_sent_pages_are_read_and_no_row_is_lost(
    admin, directory, worker, move_clock
):
    """TRUST F9."""
    found = creating("anna", "bert")
    worker.messages += delivery.due(found)
    with held_by_another():
        with pytest.raises(OperationalError):
            worker.take()
        pages = [reverse(name) for name in ("customers", "home", "runs", "sources", "audit")]
        for url in (reverse("run", args=[found.key]), *pages):
            assert admin.get(url).status_code == 200
    assert directory.writes() == []
    beat(OnboardingRow.LOST)  # the message was lost with its task
    worker.drain()
    assert states(found) == ["done", "done"]
    assert len(posts(directory)) == 2


@pytest.mark.parametrize(("line", "left"), [("begin", 0), ("_settle", 1)])
def test_a_deadlock_is_tried_again_here_and_nothing_goes_twice(
    admin, directory, worker, move_clock, monkeypatch, line, left
):
    """TRUST F12: before it is sent, or when the answer is to be written down."""
    found = creating("anna")

    def deadlock(*_args, **_more):
        raise OperationalError("deadlock detected")

    with monkeypatch.context() as patched:
        patched.setattr(operations, line, deadlock)
        worker.drain(found)
    assert len(directory.named("anna")) == left
    brought_to_an_end(found, worker, move_clock)
    assert states(found) == ["done"]
    assert len(posts(directory)) == 1


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite can be told to be full")
@pytest.mark.django_db(transaction=True)
def test_while_the_disk_of_the_database_is_full_nothing_is_sent_and_afterwards_all_is(
    admin, directory, worker, move_clock
):
    """TRUST F13."""
    found = creating(*(f"person{number}" for number in range(40)))
    with connection.cursor() as cursor:
        [pages] = cursor.execute("PRAGMA page_count").fetchone()
        cursor.execute(f"PRAGMA max_page_count = {pages}")
    worker.messages += delivery.due(found)
    with contextlib.suppress(OperationalError):
        for _ in range(40):
            worker.take()
    sent = len(posts(directory))
    assert sent < 40
    assert sent == Operation.objects.exclude(state="checked").count()  # each with its intent
    assert admin.get(reverse("run", args=[found.key])).status_code == 200
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA max_page_count = 1000000000")
    worker.messages.clear()
    beat(OnboardingRow.SILENT + OnboardingRow.LOST)
    worker.drain()
    brought_to_an_end(found, worker, move_clock)
    assert states(found) == ["done"] * 40
    assert len(posts(directory)) == 40


# --- A backup (TRUST F39) -----------------------------------------------------------------------------------


def what_a_backup_holds() -> Callable[[], None]:
    """Take a backup of what runs and the trail have; calling what is returned restores it."""
    models = (TokenCache, Operation, OnboardingRun, OnboardingRow, AuditEvent, AuditHead)
    with connection.cursor() as cursor:
        saved = [(model, *table_of(cursor, model)) for model in models]

    def restore() -> None:
        with transaction.atomic(), connection.cursor() as cursor:  # the foreign keys are looked at in the end
            for model, _, _ in reversed(saved):
                cursor.execute(f"DELETE FROM {model._meta.db_table}")
            for _, insert, rows in saved:
                cursor.executemany(insert, rows)

    return restore


@pytest.mark.django_db(transaction=True)
def test_after_a_backup_was_restored_nothing_is_sent_before_somebody_says_so_and_all_is_looked_up_first(
    admin, directory, worker, move_clock, monkeypatch
):
    """The backup is of the moment when the first create was on its way; then both were done, and it is put back."""
    found = creating("anna", "bert")
    restores = []
    really = operations.send

    def send(operation, call):
        restores.append(what_a_backup_holds())
        return really(operation, call)

    with monkeypatch.context() as patched:
        patched.setattr(operations, "send", send)
        worker.drain(found)
    assert states(found) == ["done", "done"]
    assert len(posts(directory)) == 2
    restores[0]()
    assert states(found) == ["queued", "queued"] or states(found) == ["sent", "queued"]
    beat(OnboardingRow.SILENT + OnboardingRow.LOST)
    worker.drain()
    assert len(posts(directory)) == 2
    halted = again(found)
    assert (halted.state, "audit trail is not whole" in halted.reason) == (State.PAUSED, True)
    assert "audit trail" in Page(admin.get(reverse("run", args=[found.key]))).words
    call_command("audit_accept", by="maya.okafor@partnerdesk.example", reason="Restored the backup of this morning")
    page = admin.post(reverse("run", args=[found.key]), {"step": "resume", "op_id": str(found.key)})
    assert page.status_code == 303
    beat()
    worker.drain()
    brought_to_an_end(found, worker, move_clock)
    assert states(found) == ["done", "conflict"]  # whom nobody remembers is there, and is nobody of ours to decide
    assert [len(directory.named(name)) for name in ("anna", "bert")] == [1, 1]
