"""What strikes a run from outside while it is under way: its database, its tokens, its people, a restored backup."""

import contextlib
import gc
import os
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.urls import reverse

from partnerportal.models import AuditEvent, AuditHead, TokenCache
from partnerportal.sandbox import seed
from tests.kept_rows import Kept
from tests.pages import Page
from tests.requirements_plugin import POSTGRES_URL
from tests.users.conftest import users_url
from users import operations
from users.models import OnboardingRow, OnboardingRun, Operation
from users.onboarding import delivery, run, steering

from .runs import State, Worker, all_accounted_for, sign_in_of, states
from .test_runs import again, beat, creating, posts, worker
from .test_runs_killed import die

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
        live = admin.get(users_url())  # what it has read it keeps, on SQLite in vain
        assert live.status_code == (503 if connection.vendor == "sqlite" else 200)
        if live.status_code == 503:
            assert "The database is busy It did not answer in time. Nothing was changed." in Page(live).words
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


@pytest.mark.only_on("sqlite")  # a server that is full says no as well: test_what_cannot_be_stored_is_not_sent
@pytest.mark.django_db(transaction=True)
def test_while_the_disk_of_the_database_is_full_nothing_is_sent_and_afterwards_all_is(
    admin, directory, worker, move_clock
):
    """TRUST F13."""
    found = creating(*(f"person{number}" for number in range(40)))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # no page is left of what the tests before have thrown away
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


@contextlib.contextmanager
def no_file_handle_left() -> Iterator[None]:
    """Every number that a file could have is taken."""
    gc.collect()  # else sockets that nobody holds any more are closed in the middle
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(highest + 1, soft), hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.django_db(transaction=True)
def test_a_process_without_a_file_handle_left_sends_nothing_that_it_cannot_store_and_ends_all_afterwards(
    admin, directory, worker, move_clock
):
    """TRUST F14: no new connection, no new file."""
    found = creating("anna", "bert")
    worker.messages += delivery.due(found)
    with no_file_handle_left():
        for _ in range(2):
            with contextlib.suppress(OSError, OperationalError):
                worker.take()
    # As a rule nothing. A handle that the cloud beside us lets go meanwhile is enough for both, to store and to send.
    stored = set(map(str, Operation.objects.values_list("op_id", flat=True)))
    assert {line["request_id"] for line in directory.writes()} <= stored
    assert "refused" not in states(found)
    beat(OnboardingRow.SILENT + OnboardingRow.LOST)
    worker.drain()
    brought_to_an_end(found, worker, move_clock)
    assert states(found) == ["done", "done"]
    assert [len(directory.named(name)) for name in ("anna", "bert")] == [1, 1]


# --- A backup, and an upgrade (TRUST F38, F39) ---------------------------------------------------------------


def what_a_backup_holds() -> Callable[[], None]:
    """Take a backup of what runs and the trail have; calling what is returned restores it."""
    models = (TokenCache, Operation, OnboardingRun, OnboardingRow, AuditEvent, AuditHead)
    with connection.cursor() as cursor:
        saved = [Kept.of(cursor, model) for model in models]

    def restore() -> None:
        with transaction.atomic(), connection.cursor() as cursor:  # the foreign keys are looked at in the end
            for kept in reversed(saved):
                cursor.execute(f"DELETE FROM {kept.table}")
            for kept in saved:
                kept.put_back(cursor)

    return restore


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("replays", [True, False])
def test_after_a_backup_was_restored_nothing_is_sent_before_somebody_says_so_and_all_is_looked_up_first(
    admin, directory, worker, sandbox, move_clock, monkeypatch, replays
):
    """The backup is of the moment when the first create was on its way; then both were done, and it is put back."""
    sandbox.assume("replay_request_id", replays)
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
    assert "done" not in states(found)
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
    assert states(found) == ["done", "conflict"]
    first, second = found.rows.order_by("line")
    assert operations.sealed_password_of(first.operation).reveal() == directory.named("anna")[0].password
    # Whose password nobody has any more: never "done", whether ids are known again or not.
    assert second.detail.startswith("Bert is there already, with the same values. Nothing was sent.")
    assert "Then set a new password: the first one is lost." in second.detail
    sandbox.running.journal.clear()  # or the fixture would look for the intent of what the backup did not have
    assert [len(directory.named(name)) for name in ("anna", "bert")] == [1, 1]


@pytest.mark.django_db(transaction=True)
def test_rows_that_a_version_before_has_left_open_are_ended_by_this_one(admin, directory, worker):
    """TRUST F38: the tables go back to how they were when there were no files of users, and forward again."""
    found = creating("anna", "bert")
    worker.messages += delivery.due(found)
    worker.take()
    worker.messages.clear()  # the old worker was told to end
    try:
        call_command("migrate", "users", "0009", verbosity=0)
    finally:
        call_command("migrate", "users", verbosity=0)
    beat(OnboardingRow.LOST)
    worker.drain()
    assert states(found) == ["done", "done"]
    assert [len(directory.named(name)) for name in ("anna", "bert")] == [1, 1]


def test_the_password_of_whom_a_dead_worker_created_waits_for_a_run_that_is_paused_meanwhile(
    admin, directory, worker, move_clock, monkeypatch
):
    """The answer was stored, the row did not know it yet; a form's password would go after a quarter of an hour."""
    found = creating("anna")
    with monkeypatch.context() as patched:
        patched.setattr(run, "_follow", die)
        worker.messages += delivery.due(found)
        with pytest.raises(SystemExit):
            worker.take()
    assert steering.pause(found, by=found.by)
    move_clock(16 * 60)
    assert Operation.purge_secrets() == 0
    assert steering.resume(again(found), by=found.by, grant=sign_in_of("admin"))
    beat(OnboardingRow.SILENT)
    worker.drain()
    assert states(found) == ["done"]
    operation = found.rows.get().operation
    shown = operations.password_of(operation, by=found.by, grant=sign_in_of("admin"))
    assert shown.reveal() == directory.named("anna")[0].password


def test_a_row_that_is_claimed_while_its_run_is_paused_waits_for_the_run_and_is_not_given_up(admin, directory, worker):
    found = creating("anna")
    (row_id,) = delivery.due(found)
    row = OnboardingRow.claim(row_id)
    assert steering.pause(found, by=found.by)
    row.run.refresh_from_db()  # as if the claim had found it due a moment before
    run._attempt(row)
    assert (states(found), directory.writes()) == (["queued"], [])
    assert steering.resume(again(found), by=found.by, grant=sign_in_of("admin"))
    worker.drain(again(found))
    assert states(found) == ["done"]


# --- Tokens and people (TRUST F31 to F33) -------------------------------------------------------------------


def test_an_access_token_that_runs_out_in_mid_run_is_renewed_and_no_row_waits_for_a_person(
    admin, directory, worker, sandbox, move_clock, monkeypatch
):
    """TRUST F31."""
    found = creating("anna", "bert")
    worker.messages += delivery.due(found)
    worker.take()
    move_clock(70 * 60)
    late = SimpleNamespace(time=lambda: time.time() + 70 * 60)  # MSAL looks at the clock of the machine
    monkeypatch.setattr("msal.application.time", late)
    monkeypatch.setattr("msal.token_cache.time", late)
    sandbox.running.journal.clear()
    worker.drain()
    assert (again(found).state, states(found)) == (State.DONE, ["done", "done"])
    assert [line["status"] for line in posts(directory)] == [200]
    assert [line for line in sandbox.journal("entra", "POST") if line["path"].endswith("/token")]


def test_a_refresh_that_entra_refuses_makes_the_run_wait_for_its_owner_and_fails_no_row(
    admin, directory, worker, move_clock, sandbox
):
    """TRUST F32."""
    found = creating("anna", "bert")
    worker.messages += sorted(delivery.due(found))
    worker.take()
    sandbox.state("revoke_refresh_token", persona="admin")
    move_clock(70 * 60)
    worker.drain()
    beat(OnboardingRow.LOST)
    worker.drain()
    assert (again(found).state, states(found)) == (State.WAITING, ["done", "queued"])
    assert len(directory.writes()) == 1


def test_signed_out_at_row_5_of_20_another_signs_in_and_the_first_returns_after_ten_minutes_and_resumes(
    admin, signed_in, sandbox, directory, worker, move_clock, monkeypatch
):
    """Issue 5, acceptance 7, with a moved clock and a tenth of the rows: the journal in between."""
    monkeypatch.setattr("partnerportal.sessions.proved_lately", lambda _request: True)
    found = creating(*(f"person{number}" for number in range(20)))
    address = reverse("run", args=[found.key])
    worker.messages += delivery.due(found)
    for _ in range(5):
        worker.take()
    assert states(found).count("done") == 5
    admin.post("/signout/")
    last = sandbox.journal()[-1]["seq"]

    other = signed_in("writer")
    assert other.get(address).status_code == 404  # a Portal.Operator sees nothing of it
    assert other.post(address, {"step": "resume"}).status_code == 404
    for minute in range(10):
        move_clock(60 * (minute + 1))
        beat(6)
        worker.drain()
    between = [line for line in sandbox.journal() if line["seq"] > last]
    assert [line for line in between if line["service"] == "partnercenter" and line["method"] != "GET"] == []
    assert {line["persona"] for line in between if line["service"] in ("partnercenter", "graph")} <= {"writer"}
    paused = again(found)
    assert (paused.state, paused.reason, states(found).count("queued")) == (State.PAUSED, run.SIGNED_OUT, 15)
    assert not TokenCache.objects.filter(job=found.key).exists()

    back = signed_in("admin")
    page = Page(back.get(address))
    assert "5 of 20 rows done" in page.words
    assert "Paused Signed out. Sign in again and press Resume to go on." in page.words
    fields = (
        page.form("step").fields
        if len(page.forms) == 1
        else next(form.fields for form in page.forms if ("step", "resume") in form.buttons.values())
    )
    assert back.post(address, fields | {"step": "resume"}).status_code == 303  # one press
    worker.drain(again(found))
    assert states(found) == ["done"] * 20
    assert again(found).state == State.DONE
    names = [f"person{number}" for number in range(20)]
    assert [len(directory.named(name)) for name in names] == [1] * 20
    assert {line["subject"] for line in directory.writes()} == {seed.PERSONA_OIDS["admin"]}
    assert len(ids(posts(directory))) == len(posts(directory)) == 20
    assert all_accounted_for(found, 20)
