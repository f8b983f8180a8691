"""kill -9 of the worker in the middle of a walk, a restart, and the sync ends complete (TRUST F1, F4)."""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from kombu.connection import Connection
from psycopg import sql

from partnerportal.sandbox.seed import special_id
from tests.conftest import Cloud
from tests.requirements_plugin import AMQP_URL, POSTGRES_URL

ROOT = Path(settings.BASE_DIR)
CELERY = [sys.executable, "-m", "celery", "-A", "tests.faults.impatient_celery"]
WORKER = [*CELERY, "worker", "--pool", "threads", "--concurrency", "4", "--loglevel", "INFO",
          "--without-gossip", "--without-mingle", "--without-heartbeat"]  # fmt: skip
BEAT = [*CELERY, "beat", "--loglevel", "INFO", "--pidfile="]
# What a press of Refresh does, on a new database.
PREPARE = """
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from customers import sync, tasks
from tests.faults import impatient_celery
run, is_new = sync.request_sync()
assert is_new
tasks.start_sync(run)
"""
PATIENCE = 60.0  # seconds for any one condition: a busy machine is slow, not wrong


@dataclass
class Desk:
    """The portal's processes in a folder, with a database and a queue of their own."""

    folder: Path
    database_url: str
    broker_url: str
    query: Callable[[str], list[tuple[Any, ...]]]
    more: dict[str, str] = field(default_factory=dict)  # of the environment
    queue: str = field(default_factory=lambda: f"test-{uuid.uuid4()}")
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(
        self, command: list[str], log: str, *, stdin: int | None = None, stdout: int | None = None
    ) -> subprocess.Popen[bytes]:
        """A process; what it says goes to a file of the folder, but for what goes to `stdout`."""
        environment = os.environ | {
            "VAR_DIR": str(self.folder),
            "TEST_DATABASE_URL": self.database_url,
            "TEST_BROKER_URL": self.broker_url,
            "TEST_QUEUE": self.queue,
            "PYTHONUNBUFFERED": "1",
            **self.more,
        }
        with (self.folder / log).open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=stdin,
                stdout=output if stdout is None else stdout,
                stderr=output,
                start_new_session=True,
                umask=0o077,
            )
        self.processes.append(process)
        return process

    def said(self, log: str) -> str:
        return (self.folder / log).read_text(errors="replace")

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """As the kernel does when memory runs out."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def run_row(self) -> tuple[Any, ...]:
        """(state, fence) of the only run."""
        [row] = self.query("SELECT state, fence FROM customers_syncrun")
        return row

    def move_clock(self, seconds: float) -> None:
        """Whoever looks meanwhile sees the old time or the new one, and not a file that is empty."""
        (self.folder / "clock_offset.new").write_text(str(seconds))
        (self.folder / "clock_offset.new").replace(self.folder / "clock_offset")

    def until(self, condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        """Wait for a condition, not for a time."""
        until = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < until, f"{what}\n" + "\n".join(
                f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in self.folder.glob("*.log")
            )
            time.sleep(0.05)


@pytest.fixture
def on_files(tmp_path: Path) -> Iterator[Desk]:
    """The embedded default: a broker of files, and SQLite."""
    path = tmp_path / "portal.sqlite3"

    def query(text: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=10)) as connection:
            return connection.execute(text).fetchall()

    yield from _ended(Desk(tmp_path, f"sqlite:///{path}", "filesystem://", query))


@pytest.fixture
def on_servers(tmp_path: Path) -> Iterator[Desk]:
    """As in production: RabbitMQ and PostgreSQL."""
    name = f"test_partnerdesk_killed_{uuid.uuid4().hex}"
    url = POSTGRES_URL.rpartition("/")[0] + f"/{name}"

    def query(text: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            return connection.execute(text.encode()).fetchall()

    with psycopg.connect(POSTGRES_URL, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    desk = Desk(tmp_path, url, AMQP_URL, query)
    try:
        yield from _ended(desk)
    finally:
        with psycopg.connect(POSTGRES_URL, autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        with Connection(AMQP_URL) as broker:
            broker.default_channel.queue_delete(desk.queue)
            broker.default_channel.exchange_delete(desk.queue)


def _ended(desk: Desk) -> Iterator[Desk]:
    try:
        yield desk
    finally:
        for process in desk.processes:
            desk.kill(process)


@pytest.mark.parametrize(
    "name",
    ["on_files", pytest.param("on_servers", marks=[pytest.mark.postgres, pytest.mark.amqp])],
)
def test_a_sync_whose_worker_is_killed_in_mid_walk_ends_complete(name, request, sandbox: Cloud):
    desk: Desk = request.getfixturevalue(name)
    prepared = desk.start([sys.executable, "-c", PREPARE], "prepare.log")
    beat = desk.start(BEAT, "beat.log")
    sandbox.assume("avepoint_paging", 10)
    sandbox.fault("avepoint", "slow", seconds=90, times=0, path="^/partner/customers", skip=2)
    assert prepared.wait(PATIENCE) == 0, desk.said("prepare.log")

    def walked() -> int:
        return len([line for line in sandbox.journal("avepoint", "GET") if line["path"] == "/partner/customers"])

    worker = desk.start(WORKER, "worker-1.log")
    desk.until(lambda: walked() == 3, "the worker is on the third page of AvePoint")
    assert desk.run_row() == ("running", 1)
    desk.kill(worker)
    sandbox.no_faults()

    desk.start(WORKER, "worker-2.log")
    desk.until(lambda: " ready." in desk.said("worker-2.log"), "the second worker is there")
    desk.until(lambda: "customers.tasks.republish_due[" in desk.said("worker-2.log"), "beat is heard")
    assert desk.run_row() == ("running", 1)  # the dead worker's lease still counts
    assert desk.query("SELECT count(*) FROM customers_customer") == [(0,)]

    desk.move_clock(61)
    desk.until(lambda: desk.run_row()[0] != "running", "the run has ended")
    assert desk.run_row() == ("done", 2)
    world = sandbox.running.cloud.world
    told = {row.told_id.lower() for row in world.avepoint} | set(world.customers)
    assert desk.query("SELECT count(*) FROM customers_customer") == [(len(told),)]
    assert desk.query("SELECT count(*) FROM customers_sourcerow WHERE source = 'avepoint'") == [(len(world.avepoint),)]
    both = "SELECT in_partner_center, in_avepoint FROM customers_customer WHERE tenant_id = '{}'"
    [(in_partner_center, in_avepoint)] = desk.query(both.format(special_id("contoso")))
    assert (bool(in_partner_center), bool(in_avepoint)) == (True, True)
    assert walked() == 3 + -(-len(world.avepoint) // 10)  # once more from the start, and only once
    assert beat.poll() is None
    assert "Traceback" not in desk.said("worker-2.log")


def new_version(sandbox: Cloud, version: int) -> None:
    """All that both sources say is of this version, so that a mixture shows."""
    world = sandbox.running.cloud.world
    for customer in world.customers.values():
        customer.name = f"{customer.name.partition(' #')[0]} #{version}"
    for row in world.avepoint:
        row.organization = f"{row.organization.partition(' #')[0]} #{version}"
        row.job_status = f"#{version}"


def versions(desk: Desk) -> set[str]:
    """Those that the list shows; one at most, if it is a complete one."""
    names = {name.rpartition(" ")[2] for (name,) in desk.query("SELECT name FROM customers_customer WHERE listed")}
    return names | {status for (status,) in desk.query("SELECT DISTINCT ap_status FROM customers_customer") if status}


@pytest.mark.parametrize("times", [3, pytest.param(30, marks=pytest.mark.torture)])
@pytest.mark.parametrize(
    "name",
    ["on_files", pytest.param("on_servers", marks=[pytest.mark.postgres, pytest.mark.amqp])],
)
def test_however_often_the_worker_is_killed_the_list_is_a_complete_one(name, times, request, sandbox: Cloud):
    desk: Desk = request.getfixturevalue(name)
    desk.more = {"TEST_SYNC_AT_ONCE": "1"}
    world = sandbox.running.cloud.world
    everybody = len({row.told_id.lower() for row in world.avepoint} | set(world.customers))
    sandbox.assume("avepoint_paging", 10)
    sandbox.fault("avepoint", "slow", seconds=0.03, times=0, path="^/partner/customers")
    new_version(sandbox, 0)
    prepared = desk.start([sys.executable, "-c", PREPARE], "prepare.log")
    assert prepared.wait(PATIENCE) == 0, desk.said("prepare.log")
    desk.start(BEAT, "beat.log")
    seed = random.randrange(10**6)
    chance = random.Random(seed)

    def walks() -> int:
        return len([line for line in sandbox.journal("partnercenter", "GET") if line["path"] == "/v1/customers"])

    seen = set()
    for kill in range(1, times + 1):
        new_version(sandbox, kill)
        before = walks()
        worker = desk.start(WORKER, f"worker-{kill}.log")
        desk.until(lambda before=before: walks() > before, f"walk {kill} has begun (seed {seed})")  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.7))  # the walk takes a third of a second, the swap about as long
        desk.kill(worker)
        shown = versions(desk)
        assert len(shown) <= 1, f"a mixture after kill {kill} (seed {seed})"
        [(count,)] = desk.query("SELECT count(*) FROM customers_customer WHERE listed")
        assert count == (everybody if shown else 0), f"not all of them after kill {kill} (seed {seed})"
        seen |= shown
        desk.move_clock(61 * kill)  # the dead worker's lease has run out

    new_version(sandbox, times + 1)
    desk.start(WORKER, "worker-last.log")
    desk.until(lambda: versions(desk) == {f"#{times + 1}"}, f"the last sync has come through (seed {seed})")
    assert desk.query("SELECT count(*) FROM customers_customer WHERE listed") == [(everybody,)]
    rows = len(world.customers) + len(world.avepoint)
    assert desk.query("SELECT count(*) FROM customers_sourcerow WHERE missing_since IS NULL") == [(rows,)]
    open_runs = "SELECT id FROM customers_syncrun WHERE open"
    left = f"SELECT count(*) FROM customers_stagedrow WHERE run_id NOT IN ({open_runs})"
    desk.until(lambda: desk.query(left) == [(0,)], "nothing of the dead is left")
    sys.stdout.write(f"{times} kills with seed {seed}: the list was seen at {sorted(seen)}\n")
