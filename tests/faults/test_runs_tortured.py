"""Runs of creates under a lying upstream, while web, workers and beat are killed (TRUST F1 to F4, F15 to F19, F35).

Two workers carry out the runs, over a real broker and a real database. Partner Center answers 8 % of the creates with
429 and 6 % with 503, cuts 3 % off before and 7 % after it has done them, says 500 to 10 % that it has done, and shows
what is new a minute late; half of the runs meet one that does not know a repeated MS-RequestId. Meanwhile kill -9 falls
on a worker, beat or the web, the broker loses all its messages, a worker is stopped and woken when another one has its
rows. Somebody looks at the page all the time, and presses Resume or Try again where it offers that.

At the end the cloud, past all its interfaces, and its journal are compared with what the database says.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
from kombu.connection import Connection

from partnerportal.sandbox import seed
from scripts.throwaway import signed_in_cookies
from tests.conftest import Cloud
from tests.faults.test_creates_tortured import LAG, PREPARE, Sent, is_create, local, on_this_database
from tests.faults.test_worker_killed import PATIENCE, ROOT, Desk, on_files, on_servers
from tests.pages import Page
from tests.settings import free_port

__all__ = ["on_files", "on_servers", "on_this_database"]  # fixtures

ROWS = int(os.environ.get("TORTURE_ROWS", "5000"))  # on each database
KILLS = int(os.environ.get("TORTURE_KILLS", "260"))
# Whether the cloud knows an id again: one half of the rows each, unless only one is asked for.
HALVES = {"known": (True,), "ignored": (False,)}.get(os.environ.get("TORTURE_IDS", ""), (True, False))
CUSTOMERS = 10
LOOK = 1.0  # seconds between two looks of beat, of ten: a worker is taken for dead after seven of them
WORKERS = ("worker 1", "worker 2")
# (kind, its fields, part of all creates): the probe of TRUST 3.2
LIES: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("status", {"status": 429, "headers": {"Retry-After": "1"}}, 0.08),
    ("status", {"status": 503}, 0.06),
    ("drop_before", {}, 0.03),
    ("fail_after", {}, 0.10),
    ("drop_after", {}, 0.07),
    ("slow", {"seconds": 6, "after": True}, 0.002),  # longer than the portal waits
)
# What falls on whom, and how often.
BLOWS = {"worker": 80, "beat": 6, "web": 6, "broker emptied": 4, "worker stopped": 4}
MUST_BE_NONE = (
    *("rows lost", "users twice", "failed, and there", "done, and not there", "unknown passwords", "undecided"),
    *("second id while open", "sent without an intent", "audit gaps", "breaks of the chain", "others touched"),
    *("pages with 500",),
)
Figures = dict[str, Any]


@dataclass
class Storm:
    """A portal whose processes are killed, and the cloud that lies to it."""

    desk: Desk
    sandbox: Cloud
    chance: random.Random
    url: str
    running: dict[str, int] = field(default_factory=dict)  # name -> process id
    asleep: list[tuple[float, int]] = field(default_factory=list)  # when to wake which process
    cookies: dict[str, str] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)  # of the runs of this half
    prefix: str = ""  # of the names of this half
    clock: float = 0
    looked_at: float = 0
    numbers: Iterator[int] = field(default_factory=count)
    told: Counter[str] = field(default_factory=Counter)  # of one half, for the table
    false: set[str] = field(default_factory=set)  # names that a row called failed at any end, and that are there

    # --- Processes --------------------------------------------------------------------------------------------

    @contextmanager
    def open_nursery(self) -> Iterator[None]:
        """Its children end with it."""
        command = [sys.executable, "-m", "tests.faults.nursery"]
        self.nursery = self.desk.start(command, "nursery.log", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            yield
        finally:
            self.desk.kill(self.nursery)
            for pipe in (self.nursery.stdin, self.nursery.stdout):
                assert pipe
                pipe.close()

    def born(self, name: str, *argv: str, **how: Any) -> int:
        """The process id of a new process that does as `python -m` these words would. `how`: see the nursery."""
        order = {"log": str(self.desk.folder / f"{name}.log"), "argv": argv, **how}
        assert self.nursery.stdin
        assert self.nursery.stdout
        self.nursery.stdin.write(json.dumps(order).encode() + b"\n")
        self.nursery.stdin.flush()
        return int(self.nursery.stdout.readline())

    def start(self, name: str, **how: Any) -> None:
        celery = ("celery", "--quiet", "-A", "tests.faults.impatient_celery")
        quiet = ("--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat")
        match name:
            case "web":
                bind = self.url.rpartition("/")[2]
                argv: tuple[str, ...] = ("gunicorn", "--bind", bind, "--workers", "1")
            case "beat":
                argv = (*celery, "beat", "--loglevel", "WARNING", "--pidfile=")
            case _:
                host = f"{name.replace(' ', '-')}-{next(self.numbers)}@here"
                argv = (*celery, "worker", "--pool", "threads", "--concurrency", "4", *quiet, "--hostname", host)
        self.running[name] = self.born(name, *argv, **how)

    def start_all(self) -> None:
        for name in ("web", "beat", *WORKERS):
            self.start(name)
        self.desk.until(lambda: self.page("/livez") is not None, "the web process answers", PATIENCE * 3)

    def kill(self, name: str) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.running.pop(name), signal.SIGKILL)

    # --- What a person does -----------------------------------------------------------------------------------

    def sign_in(self) -> None:
        for _ in range(20):
            with suppress(requests.RequestException, RuntimeError, KeyError):
                found = signed_in_cookies(self.url, "admin")
                self.cookies = {cookie["name"]: cookie["value"] for cookie in found}
                return
            time.sleep(0.5)
        raise AssertionError("nobody can sign in")

    def page(self, path: str, fields: dict[str, str] | None = None) -> Page | None:
        """What a page says, or the answer to a press; None when nothing came, as from a process that was killed."""
        how: dict[str, Any] = {"cookies": self.cookies, "timeout": PATIENCE}
        with suppress(requests.RequestException):
            if fields is None:
                answer = requests.get(self.url + path, **how)
            else:
                answer = requests.post(self.url + path, data=fields, headers={"Origin": self.url}, **how)
            self.told["pages"] += 1
            self.told["pages with 500"] += answer.status_code == 500
            return Page(answer)
        return None

    def press(self, path: str, step: str) -> bool:
        """Press the button of a page, signed in anew where it wants that. False: there is no such button."""
        for _ in range(20):
            page = self.page(path)
            if page and not self.proved(page):
                found = [form for form in page.forms if ("step", step) in form.buttons.values()]
                if not found:
                    return False
                answer = self.page(found[0].action, found[0].fields | {"step": step})
                if answer and not self.proved(answer):
                    self.told[f"pressed {step}"] += 1
                    return True
            time.sleep(0.3)
        raise AssertionError(f"{step} cannot be pressed at {path}")

    def proved(self, page: Page) -> bool:
        """Sign in anew where a page asks for that; whether it did."""
        door = page.href("Sign in again to go on") or page.href("Sign in again")
        if door:
            with suppress(requests.RequestException, KeyError), requests.Session() as session:
                session.cookies.update(self.cookies)
                entra = session.get(self.url + door, allow_redirects=False, timeout=PATIENCE).headers["Location"]
                chosen = session.post(entra, data={"persona": "admin"}, allow_redirects=False, timeout=PATIENCE)
                session.get(chosen.headers["Location"], allow_redirects=False, timeout=PATIENCE)
                self.cookies = {cookie.name: str(cookie.value) for cookie in session.cookies}
        return bool(door)

    def look(self) -> None:
        """Now and then at the page of one run; where it halts, press Resume."""
        if time.monotonic() < self.looked_at + 1.5:
            time.sleep(0.1)
            return
        self.looked_at = time.monotonic()
        key = self.chance.choice(self.keys)
        page = self.page(f"/onboarding/{key}/")
        if page and any(("step", "resume") in form.buttons.values() for form in page.forms):
            self.sign_in()
            self.press(f"/onboarding/{key}/", "resume")

    # --- One half ---------------------------------------------------------------------------------------------

    def half(self, rows: int, kills: int, *, runs: int, replays: bool) -> Figures:
        """So many rows and kills, with a cloud that knows a repeated MS-RequestId again or not."""
        self.told, self.false = Counter(), set()
        self.sandbox.no_faults()
        self.sandbox.assume("replay_request_id", replays)
        self.sign_in()
        self.prefix = "known" if replays else "new"
        others = self.passwords_of_others()
        self.make_runs(rows, runs)
        self.sandbox.running.journal.clear()
        began = time.monotonic()
        for key in self.keys:
            assert self.press(f"/onboarding/{key}/check/", "start"), f"run {key} was not started"
        self.lie()
        self.storm(rows, kills)
        self.told["seconds of storm"] = round(time.monotonic() - began)
        self.bring_to_an_end()
        figures = self.reckoned(rows, others)
        self.sandbox.running.journal.clear()
        return figures

    def make_runs(self, rows: int, runs: int) -> None:
        taken: dict[str, list[str]] = {}
        left_out = {seed.SPECIAL[key] for key in ("big", "medium", "federated")}
        for customer in self.sandbox.running.cloud.world.customers.values():
            users = customer.directory.users.values() if customer.id not in left_out else ()
            if names := [user.upn for user in users if user.deleted_at is None]:
                taken[customer.id] = names[:40]
        asked = {"rows": rows, "runs": runs, "customers": CUSTOMERS, "prefix": self.prefix, "taken": taken}
        command = [sys.executable, "-m", "tests.faults.make_runs", json.dumps(asked)]
        self.keys = self.said_by(command, "make.log").split()
        assert len(self.keys) == runs, self.desk.said("make.log")

    def lie(self) -> None:
        """Each kind gets its part of all creates; the dice of one are thrown for what those before it have left."""
        left = 1.0
        for kind, fields, share in LIES:
            where = {"method": "POST", "path": "/users$", "times": 0, "share": share / left}
            self.sandbox.fault("partnercenter", kind, **where, **fields)
            left -= share
        for kind, fields in (("status", {"status": 503}), ("drop_before", {})):
            where = {"method": "GET", "path": "/users$", "times": 0, "share": 0.02}
            self.sandbox.fault("partnercenter", kind, **where, **fields)

    def storm(self, rows: int, kills: int) -> None:
        """Blows, spread over the rows: each falls when its part of them is decided, or when nothing moves."""
        for number in range(kills):
            waits_until = time.monotonic() + 3
            while self.decided() < rows * number // kills and time.monotonic() < waits_until:
                self.wake()
                self.look()
            time.sleep(self.chance.uniform(0, 0.3))
            [blow] = self.chance.choices(list(BLOWS), list(BLOWS.values()))
            self.strike(blow)

    def strike(self, blow: str) -> None:
        self.told[blow] += 1
        name = self.chance.choice(WORKERS)
        match blow:
            case "broker emptied":
                self.empty_broker()
                return
            case "worker stopped":  # and woken again when another one has its rows
                process = self.running.pop(name)
                os.killpg(process, signal.SIGSTOP)
                self.asleep.append((time.monotonic() + 9 * LOOK, process))
            case "worker":
                self.kill(name)
            case _:
                self.kill(name := blow)
        self.start(name)

    def wake(self, *, all_of_them: bool = False) -> None:
        """Those whose time has come finish what they have in hand, and are killed a little later."""
        for at, process in list(self.asleep):
            if all_of_them or time.monotonic() > at:
                self.asleep.remove((at, process))
                os.killpg(process, signal.SIGCONT)
                time.sleep(0.5)
                os.killpg(process, signal.SIGKILL)

    def empty_broker(self) -> None:
        """All messages are lost."""
        if self.desk.broker_url.startswith("filesystem"):
            for path in (self.desk.folder / "broker" / "messages").glob("*"):
                path.unlink(missing_ok=True)
        else:
            with Connection(self.desk.broker_url) as broker:
                broker.default_channel.queue_purge(self.desk.queue)

    def bring_to_an_end(self) -> None:
        """No more blows; what is sent anew still meets the lies. Then what failed is tried again."""
        self.wake(all_of_them=True)
        for name in ("web", "beat", *WORKERS):  # one that has died of something else is missed here
            self.told["died by itself"] += not Path(f"/proc/{self.running[name]}").exists()
        for attempt in range(6):
            self.hasten(lambda: not self.open_rows(), "all rows are decided")
            self.false |= self.falsely_failed()
            if attempt == 0:
                self.told["seconds in all"] = self.told["seconds of storm"]
                self.told["not done at the first end"] = self.not_done()
            if not self.not_done():
                break
            self.sandbox.no_faults() if attempt else None
            self.sign_in()
            for key in self.keys:
                self.press(f"/onboarding/{key}/", "again")
        over = "SELECT count(*) FROM users_onboardingrun WHERE state = 'done'"
        before = len(self.desk.query("SELECT 1 FROM users_onboardingrun"))
        self.hasten(lambda: self.desk.query(over) == [(before,)], "all runs are over")

    def hasten(self, over: Callable[[], bool], what: str) -> None:
        """The clock of portal and cloud runs ahead until it is so."""
        until = time.monotonic() + 20 * PATIENCE
        while not over():
            assert time.monotonic() < until, f"{what}: {self.open_rows()} rows are open\n{self.said()}"
            self.look()
            self.clock += 8
            self.sandbox.state("set_clock_offset", seconds=self.clock)
            self.desk.move_clock(self.clock)
            time.sleep(0.3)

    def said(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-2000:]}" for path in self.desk.folder.glob("*.log"))

    # --- What came of it --------------------------------------------------------------------------------------

    def mine(self) -> str:
        """The runs of this half, for a WHERE."""
        keys = ", ".join(f"'{key}', '{key.replace('-', '')}'" for key in self.keys)
        return f"run_id IN (SELECT id FROM users_onboardingrun WHERE CAST(key AS text) IN ({keys}))"

    def number_of(self, where: str) -> int:
        [(number,)] = self.desk.query(f"SELECT count(*) FROM users_onboardingrow WHERE {self.mine()} AND {where}")
        return int(number)

    def decided(self) -> int:
        return self.number_of("decided_at IS NOT NULL")

    def open_rows(self) -> int:
        return self.number_of("state IN ('queued', 'checked', 'sent')")

    def not_done(self) -> int:
        return self.number_of("state NOT IN ('done', 'conflict', 'differs')")

    def states(self) -> dict[str, str]:
        """User name in small letters -> state of its row."""
        found = self.desk.query(f"SELECT creates, state FROM users_onboardingrow WHERE {self.mine()}")
        return {str(name): str(state) for name, state in found}

    def users(self) -> dict[str, list[Any]]:
        """User name in small letters -> those in the cloud who have it."""
        found: dict[str, list[Any]] = {}
        for customer in self.sandbox.running.cloud.world.customers.values():
            if customer.id not in (seed.SPECIAL["big"], seed.SPECIAL["medium"]):
                for user in customer.directory.users.values():
                    found.setdefault(user.upn.lower(), []).append(user)
        return found

    def passwords_of_others(self) -> dict[str, str]:
        return {user.id: user.password for users in self.users().values() for user in users}

    def falsely_failed(self) -> set[str]:
        there = self.users()
        failed = ("refused", "denied", "stopped", "conflict", "differs")
        ours = {
            name for name, state in self.states().items() if state in failed and local(name).startswith(self.prefix)
        }
        return ours & set(there)

    def reckoned(self, rows: int, others: dict[str, str]) -> Figures:
        """The figures of a half: what happened, and the names of whom it must not happen to (`MUST_BE_NONE`)."""
        states, there = self.states(), self.users()
        ours = {name for name in states if local(name).startswith(self.prefix)}
        mine = {name: there[name] for name in ours if name in there}
        posts = [line for line in self.sandbox.running.journal.after(0) if is_create(line)]
        operations = [operation for operation in self.sent() if operation.name.startswith(self.prefix)]
        done = {operation.target_id: operation for operation in operations if operation.state == "done"}
        passwords = {(operation.name, operation.password) for operation in done.values()}
        users = [user for found in mine.values() for user in found]
        now = {user.id: user.password for found in there.values() for user in found}
        intents = {str(row[0]) for row in self.desk.query("SELECT op_id FROM users_operation")}
        audit = self.audit()
        [(counted,)] = self.desk.query(f"SELECT count(*) FROM users_onboardingrow WHERE {self.mine()}")
        takeovers = f"SELECT sum(fence) - count(*) FROM users_onboardingrow WHERE {self.mine()}"
        [(claims,)] = self.desk.query(takeovers)
        answered = Counter(f"{line['fault'] or 'as it should'} {line['status'] or '-'}" for line in posts)
        return {
            "rows": counted,
            "of them with a name that is taken": len(states) - len(ours),
            "kill -9 of a worker": self.told["worker"],
            "kill -9 of beat": self.told["beat"],
            "kill -9 of the web": self.told["web"],
            "workers stopped, woken, killed": self.told["worker stopped"],
            "times all messages were lost": self.told["broker emptied"],
            "seconds of storm": self.told["seconds of storm"],
            "pages looked at": self.told["pages"],
            "presses of Resume": self.told["pressed resume"],
            "rows to try again after the first end": self.told["not done at the first end"],
            "creates that reached the cloud": len(posts),
            "answered 429": sum(line["status"] == 429 for line in posts),
            "with another fault": sum(bool(line["fault"]) and line["status"] != 429 for line in posts),
            "done, and not said so": sum(
                number for kind, number in answered.items() if kind.startswith(("drop_after", "fail_after", "slow"))
            ),
            "rows claimed more than once": int(claims or 0),
            "operations": len(operations),
            "sent more than once under one id": sum(operation.tries > 1 for operation in operations),
            "found by a look-up": sum(operation.looked_up for operation in done.values()),
            "users in the cloud": len(users),
            "rows lost": sorted(ours - set(there)) + ["rows"] * (rows - counted),
            "users twice": sorted(name for name, found in mine.items() if len(found) > 1),
            "failed, and there": sorted(self.false | self.falsely_failed()),
            "done, and not there": sorted({name for name, state in states.items() if state == "done"} - set(mine)),
            "unknown passwords": sorted(
                user.upn for user in users if (local(user.upn), user.password) not in passwords
            ),
            "undecided": sorted(name for name, state in states.items() if state not in ("done", "conflict", "differs")),
            "second id while open": second_ids(posts),
            "sent without an intent": sorted(
                str(line["seq"])
                for line in posts
                if line["request_id"] not in intents and line["request_id"].replace("-", "") not in intents
            ),
            "audit gaps": self.open_intents(),
            "breaks of the chain": audit["findings"] + ([] if audit["whole"] else ["not whole"]),
            "others touched": sorted(name for name, password in others.items() if now.get(name) != password),
            "pages with 500": ["500"] * self.told["pages with 500"],
        }

    def sent(self) -> list[Sent]:
        columns = "op_id, state, fields, target_id, sealed_password, tries, checked_at"
        return [Sent.read(*row) for row in self.desk.query(f"SELECT {columns} FROM users_operation")]

    def open_intents(self) -> list[str]:
        told = "SELECT attempt FROM partnerportal_auditevent WHERE kind = 'outcome'"
        query = f"SELECT id FROM partnerportal_auditevent WHERE kind = 'intent' AND attempt NOT IN ({told})"
        return [str(number) for (number,) in self.desk.query(query)]

    def audit(self) -> dict[str, Any]:
        command = [sys.executable, str(ROOT / "manage.py"), "audit_verify", "--json"]
        report: dict[str, Any] = json.loads(self.said_by(command, "verify.log"))
        return report

    def said_by(self, command: list[str], log: str) -> str:
        """What a command says on standard output."""
        with self.desk.start(command, log, stdout=subprocess.PIPE) as process:
            return process.communicate()[0].decode()


def second_ids(posts: list[dict[str, Any]]) -> list[str]:
    """The names of whom a create went under another id before the one of before was answered with a sure no."""
    ids: dict[str, dict[str, list[Any]]] = {}
    for line in posts:
        name = str((line["body"] or {}).get("userPrincipalName", "")).lower()
        ids.setdefault(name, {}).setdefault(line["request_id"], []).append(line["status"])
    return sorted(
        name for name, sent in ids.items() if any(set(statuses) - {429, 401} for statuses in list(sent.values())[:-1])
    )


def tortured(desk: Desk, sandbox: Cloud, rows: int, kills: int, *, runs: int = 2) -> None:
    """Both halves, with their table; no figure of `MUST_BE_NONE` is anything but 0."""
    number = int(os.environ.get("TORTURE_SEED", "0")) or random.randrange(10**6)
    url = f"http://127.0.0.1:{free_port()}"
    desk.more = {
        "TEST_PUBLIC_URL": url,
        "TEST_DEADLINE": "5",
        "TEST_LOOKS_EVERY": str(LOOK),
        "TEST_RATES": "100000,100000",
        "DJANGO_SETTINGS_MODULE": "tests.faults.impatient_settings",
    }
    storm = Storm(desk, sandbox, random.Random(number), url)
    sys.stdout.write(
        f"\nseed {number}, {'PostgreSQL, RabbitMQ' if desk.broker_url.startswith('amqp') else 'SQLite, files'}\n"
    )
    with storm.open_nursery():
        storm.start_all()
        sandbox.state("replication_lag", seconds=LAG)
        for replays in HALVES:
            figures = storm.half(rows // len(HALVES), kills // len(HALVES), runs=runs, replays=replays)
            lines = [f"  the id is {'known' if replays else 'ignored'} when it comes again"]
            for name, found in figures.items():
                lines.append(f"{name:<42}{len(found) if isinstance(found, list) else found:>7}")
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()
            wrong = {name: figures[name][:20] for name in MUST_BE_NONE if figures[name]}
            assert not wrong, f"seed {number}"


@pytest.mark.torture
@pytest.mark.parametrize(
    "name",
    ["on_files", pytest.param("on_servers", marks=[pytest.mark.postgres, pytest.mark.amqp])],
)
def test_rows_of_runs_end_known_whatever_is_killed(name, request, sandbox: Cloud):
    desk: Desk = request.getfixturevalue(name)
    prepared = desk.start([sys.executable, "-c", PREPARE], "prepare.log")
    assert prepared.wait(5 * PATIENCE) == 0, desk.said("prepare.log")
    tortured(desk, sandbox, ROWS, KILLS)
