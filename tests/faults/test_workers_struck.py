"""Real workers that are killed, ended, stopped and cut off in the middle of a run, or have no log, no memory or an
old version (TRUST F2, F6, F8, F10, F11, F13, F14, F37, F38).

Beat looks three times a second, so silence is noticed within two; the clock of portal and cloud is moved for what waits
longer.
"""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection, connections
from django.db.migrations.recorder import MigrationRecorder
from django.urls import reverse
from psycopg import sql

from partnerportal.models import AuditEvent
from partnerportal.sandbox.server import RunningSandbox
from tests.conftest import Browser, Cloud
from tests.faults.test_runs_tortured import Storm
from tests.faults.test_worker_killed import Desk
from tests.pages import Page
from tests.requirements_plugin import POSTGRES_URL
from tests.users.conftest import Directory
from tests.users.runs import State, checked, newcomers, start, states
from users.models import OnboardingRow, OnboardingRun, Operation

ON_ITS_WAY = 1.0  # seconds in which a create arrives that had begun


@dataclass
class Under:
    """A run under way, the processes that carry it out, and the clock."""

    storm: Storm
    sandbox: Cloud
    move_clock: Callable[[float], None]
    run: OnboardingRun | None = None
    moved: float = 0

    def begin(self, rows: int) -> OnboardingRun:
        found = checked()
        newcomers(found, *(f"person{number}" for number in range(rows)))
        self.run = start(found)
        return self.run

    def posts(self) -> list[dict[str, Any]]:
        found = self.sandbox.journal("partnercenter", "POST")
        return [line for line in found if line["path"].endswith("/users")]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        self.storm.desk.until(condition, what)

    def ends(self) -> None:
        """Time passes until the run is over; nobody presses anything."""

        def over() -> bool:
            self.moved += 5
            self.move_clock(self.moved)
            assert self.run
            self.run.refresh_from_db()
            return self.run.state == State.DONE

        self.until(over, "the run is over")

    def created_once(self, rows: int) -> None:
        """Each of them is there, once, by one request, with the password that we know, and no intent is open."""
        assert self.run
        directory = Directory(self.sandbox)
        assert states(self.run) == ["done"] * rows
        names = [f"person{number}" for number in range(rows)]
        assert [len(directory.named(name)) for name in names] == [1] * rows
        assert len({line["request_id"] for line in self.posts()}) == len(self.posts()) == rows
        told = AuditEvent.objects.filter(action="create user")
        for kind in ("intent", "outcome"):
            assert told.filter(kind=kind).count() >= rows
        outcomes = told.filter(kind="outcome").values("attempt")
        assert not told.filter(kind="intent").exclude(attempt__in=outcomes).exists()


@pytest.fixture(scope="module")
def nursery(django_db_setup: None, running_cloud: RunningSandbox) -> Iterator[Storm]:
    """Where workers come from, for all tests of a process; it has opened nothing itself."""
    name = connection.settings_dict["NAME"]
    url = f"sqlite:///{name}" if connection.vendor == "sqlite" else f"{POSTGRES_URL.rpartition('/')[0]}/{name}"
    desk = Desk(Path(settings.VAR_DIR), url, "filesystem://", lambda _query: [])  # the tests' own clock and kept head
    desk.more = {
        "TEST_DEADLINE": "20",
        "TEST_LOOKS_EVERY": "0.3",
        "DJANGO_SETTINGS_MODULE": "tests.faults.impatient_settings",
    }
    storm = Storm(desk, Cloud(running_cloud), random.Random(), "")
    with storm.open_nursery():
        yield storm


@pytest.fixture
def under(nursery: Storm, sandbox: Cloud, admin: Browser, move_clock: Callable[[float], None]) -> Iterator[Under]:
    nursery.empty_broker()
    for log in nursery.desk.folder.glob("*.log"):
        log.write_text("")
    sandbox.running.journal.clear()
    yield Under(nursery, sandbox, move_clock)
    for name in list(nursery.running):
        nursery.kill(name)


@pytest.fixture
def admin(signed_in: Callable[..., Browser], transactional_db: None, snapshot: None) -> Browser:
    return signed_in("admin")


def test_at_row_14_of_40_worker_beat_and_broker_die_and_all_40_are_there_once_without_a_press(under, admin):
    """Issue 5, acceptance 2. The first to be lost are done at Microsoft, and nobody has heard it."""
    found = under.begin(40)
    late = {"seconds": 2, "after": True, "skip": 13, "times": 4}
    under.sandbox.fault("partnercenter", "slow", method="POST", path="/users$", **late)
    for name in ("beat", "worker 1"):
        under.storm.start(name)
    under.until(lambda: len(under.posts()) >= 14, "the fourteenth is sent")
    under.storm.kill("worker 1")
    under.storm.kill("beat")
    under.storm.empty_broker()
    done = states(found).count("done")
    assert 10 <= done < 18
    page = Page(admin.get(reverse("run", args=[found.key])))
    assert f"{done} of 40 rows done" in page.words
    assert "You can leave this page; the run goes on." in page.words
    assert not page.html.count('value="resume"')
    under.moved = 75
    under.move_clock(under.moved)
    page = Page(admin.get(reverse("run", args=[found.key])))
    assert "No worker has been at work on this run since" in page.words
    assert "the run goes on." not in page.words

    for name in ("beat", "worker 2"):
        under.storm.start(name)
    under.ends()
    under.created_once(40)
    page = Page(admin.get(reverse("run", args=[found.key])))
    assert "No worker" not in page.words
    assert "40 of 40 rows done" in page.words


def test_a_worker_that_is_told_to_end_finishes_the_rows_in_its_hands_and_lets_go_of_all(under):
    """TRUST F6: SIGTERM, as in a deployment."""
    found = under.begin(8)
    under.sandbox.fault("partnercenter", "slow", method="POST", path="/users$", seconds=1, times=4)
    for name in ("beat", "worker 1"):
        under.storm.start(name)
    under.until(lambda: len(under.posts()) >= 1, "a row is on its way")
    worker = under.storm.running.pop("worker 1")
    os.kill(worker, signal.SIGTERM)
    under.until(lambda: not Path(f"/proc/{worker}").exists(), "the worker has ended")
    told = set(states(found))
    assert "done" in told
    assert told <= {"done", "queued"}
    assert not OnboardingRow.objects.filter(held=True).exists()
    assert not Operation.objects.exclude(state="done").exists()
    under.storm.start("worker 2")
    under.ends()
    under.created_once(8)


def test_a_worker_that_was_stopped_taken_over_from_and_woken_changes_nothing_any_more(under):
    """TRUST F8: SIGSTOP while the answer is on its way, SIGCONT when another worker has found out."""
    found = under.begin(2)
    under.sandbox.fault("partnercenter", "slow", method="POST", path="/users$", seconds=1, after=True, times=2)
    for name in ("beat", "worker 1"):
        under.storm.start(name)
    under.until(lambda: len(under.posts()) == 2, "both rows are on their way")
    asleep = under.storm.running.pop("worker 1")
    os.kill(asleep, signal.SIGSTOP)
    under.storm.start("worker 2")
    under.ends()
    before = list(found.rows.order_by("line").values())
    under.storm.running["asleep"] = asleep
    os.kill(asleep, signal.SIGCONT)
    under.until(lambda: "was taken over" in under.storm.desk.said("worker 1.log"), "the first one has noticed")
    assert list(found.rows.order_by("line").values()) == before
    under.created_once(2)


@contextlib.contextmanager
def gone(server: psycopg.Connection[Any], name: str) -> Iterator[None]:
    """A database that ends all connections and lets nobody in; afterwards it does again, whatever happened."""
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    server.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
    try:
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield
    finally:
        server.execute(allow.format(sql.Identifier(name), sql.SQL("true")))


def tries_in(log: Path) -> int:
    """How often a worker was told that nobody is let in."""
    return log.read_text().count("not currently accepting connections")


@pytest.mark.only_on("postgresql")  # a file does not go away while it is open
def test_a_database_that_goes_away_stops_the_sending_and_comes_back_to_a_run_that_goes_on(under):
    """TRUST F10, F11: PostgreSQL ends all connections and lets nobody in; then it does again."""
    under.begin(20)
    for name in ("beat", "worker 1"):
        under.storm.start(name)
    under.until(lambda: len(under.posts()) >= 3, "the run is under way")
    connections.close_all()
    said = under.storm.desk.folder / "worker 1.log"
    with psycopg.connect(POSTGRES_URL, autocommit=True) as server, gone(server, str(connection.settings_dict["NAME"])):
        under.until(lambda: tries_in(said) > 0, "the worker is without it")
        time.sleep(ON_ITS_WAY)
        sent, tries = len(under.posts()), tries_in(said)
        under.until(lambda: tries_in(said) > tries or not under.storm.running, "it has tried again")
        assert len(under.posts()) == sent
    under.ends()
    under.created_once(20)


@pytest.mark.only_on("sqlite")  # it is the same for both
def test_a_log_that_cannot_be_written_stops_nothing_and_loses_nothing(under):
    """TRUST F13: the disk under the log is full."""
    under.begin(4)
    for name in ("beat", "worker 1"):
        under.storm.start(name, log="/dev/full")
    under.ends()
    under.created_once(4)


@pytest.mark.only_on("sqlite")
def test_a_worker_that_runs_out_of_memory_in_the_middle_of_its_rows_leaves_none_half_done(under):
    """TRUST F14, as under `ulimit -v`: the answers to two creates are larger than what it may still have."""
    under.begin(4)
    large = {"effect": True, "megabytes": 19, "times": 2}
    under.sandbox.fault("partnercenter", "huge", method="POST", path="/users$", **large)
    under.storm.start("beat")
    under.storm.start("worker 1", memory=MOST_MEMORY)
    said = under.storm.desk.folder / "worker 1.log"
    used_up = ("MemoryError", "can't start new thread")
    under.until(lambda: said.exists() and any(each in said.read_text() for each in used_up), "the memory is used up")
    under.storm.kill("worker 1")  # one that cannot start a thread has ended by itself, one that can would go on
    assert not {"refused", "stopped"} & set(states(under.run))  # nothing is said to have failed that was done
    under.storm.start("worker 2")
    under.ends()
    under.created_once(4)


MOST_MEMORY = 150 * 1024 * 1024  # bytes beyond what it has when it is born: threads and their stacks take most of it


def test_a_worker_of_an_old_version_touches_no_row_beside_newer_tables_and_ends(under):
    """TRUST F38: somebody has migrated, and has forgotten to stop it. What it was sent is left to a new one."""
    found = under.begin(4)
    newer = MigrationRecorder.Migration.objects.create(app="users", name="9999_of_a_newer_version")
    try:
        for name in ("beat", "worker 1"):
            under.storm.start(name)
        worker = under.storm.running.pop("worker 1")
        under.until(lambda: not Path(f"/proc/{worker}").exists(), "the old worker has ended")
        assert (states(found), under.posts()) == (["queued"] * 4, [])
        assert "is of a newer version than this worker" in under.storm.desk.said("worker 1.log")
    finally:
        newer.delete()  # no table of ours, so no test empties it
    under.storm.start("worker 2")
    under.ends()
    under.created_once(4)
