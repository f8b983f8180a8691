"""Creates under random faults, kill -9 of the web process and replication lag (TRUST F1 to F5, F16 to F19, F21, F35).

People press what a person would press, through the real forms, until each page says what became of the user. All of
them press at once, while the web process may be killed; between two rounds the clock of portal and cloud moves. At
the end the cloud, past all its interfaces, is compared with what the portal says: nobody twice, nobody "failed" who is
there, no password that nobody knows, no gap in the audit trail.
"""

import json
import os
import random
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest
import requests
from django.db import connection

from partnerportal import vault
from partnerportal.sandbox import seed
from scripts.throwaway import signed_in_cookies
from tests.conftest import Cloud
from tests.faults.test_worker_killed import PATIENCE, Desk, _ended, on_files, on_servers
from tests.pages import Page
from tests.requirements_plugin import POSTGRES_URL
from tests.settings import free_port
from tests.users.conftest import shown_password

__all__ = ["on_files", "on_servers"]  # fixtures

CONTOSO = seed.SPECIAL["contoso"]
NEW = f"/customers/{CONTOSO}/users/new/"
DOMAIN = "contosotrading.onmicrosoft.example"
STORM = 3  # rounds in which things break after the last has come in
LAG = 60  # seconds until Microsoft shows what was written
PREPARE = """
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from customers import sync
sync.sync_now()
"""
CREATE_FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 500},
    {"kind": "drop_before"},
    {"kind": "drop_after"},
    {"kind": "fail_after"},
    {"kind": "truncate"},
    {"kind": "truncate", "honest": True},
    {"kind": "slow", "seconds": 0.4},
    {"kind": "slow", "seconds": 0.4, "after": True},
)
LOOK_UP_FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 503, "times": 3},
    {"kind": "status", "status": 429, "times": 3},
    {"kind": "drop_before"},
    {"kind": "truncate"},
)


Fields = dict[str, str]


@dataclass
class Newcomer:
    """Somebody who is to be created, and how far the person has come who does it."""

    cookies: Fields
    name: str
    chance: random.Random
    fields: Fields  # of the form, as it is sent next
    page: Page | None = None  # what stands on the screen; None: nothing came
    password: str = ""  # that a page has shown
    ended: str = ""  # done, taken, or what else the page said at last

    def sees(self, answer: requests.Response) -> None:
        """Take in an answer. A page of another kind than these is an error page, after which the form is sent again."""
        page = self.page = Page(answer)
        if password := shown_password(answer):
            self.password, self.ended = password, "done"
        elif page.href("New user like this"):
            self.ended = "done"  # without its password
        elif "There is a user with this name already" in page.words or f"{self.name}@{DOMAIN} is taken" in page.words:
            self.ended = "taken"
        elif page.href("Open the form again"):
            self.ended = "not created"
        elif not page.href("Show the users"):
            forms = [form for form in page.forms if "op_id" in form.fields]
            self.fields = forms[0].fields if forms else self.fields
            self.page = None


@dataclass(frozen=True)
class Sent:
    """An operation as it stands in the database."""

    op_id: str
    state: str
    name: str
    target_id: str
    password: str  # "" once it is destroyed
    tries: int
    looked_up: bool

    @classmethod
    def read(
        cls, op_id: Any, state: str, fields: Any, target_id: str, sealed: Any, tries: int, checked_at: Any
    ) -> Self:
        number = str(uuid.UUID(str(op_id)))
        told = fields if isinstance(fields, dict) else json.loads(fields)
        password = vault.open("operation", number, bytes(sealed)) if sealed else ""
        name = local(told["user_principal_name"])
        return cls(number, state, name, target_id, password, tries, checked_at is not None)


@dataclass
class Torture:
    """A portal, its cloud, and people who press while things break."""

    desk: Desk
    sandbox: Cloud
    chance: random.Random
    url: str
    deadline: float  # seconds that the portal waits for an answer
    people: list[tuple[Fields, Fields]] = field(default_factory=list)  # cookies, and the form for a new user
    clock: float = 0
    numbers: Iterator[int] = field(default_factory=count)
    told: Counter[str] = field(default_factory=Counter)  # of one half, for the table

    def serve(self) -> None:
        """Start gunicorn with the project's own configuration, and wait until it answers."""
        port = self.url.rpartition(":")[2]
        command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "1"]
        self.web = self.desk.start(command, f"web-{next(self.numbers)}.log")
        self.until_it_answers()

    def sign_in(self, persona: str) -> None:
        """Somebody comes in and opens the form for a new user. Its number is made anew for each newcomer."""
        cookies = {cookie["name"]: cookie["value"] for cookie in signed_in_cookies(self.url, persona)}
        answer = requests.get(self.url + NEW, cookies=cookies, timeout=PATIENCE)
        self.people.append((cookies, Page(answer).form("op_id").fields))

    def until_it_answers(self) -> None:
        def answers() -> bool:
            with suppress(requests.RequestException):
                return requests.get(f"{self.url}/livez", timeout=PATIENCE).status_code == 200
            return False

        self.desk.until(answers, "the web process answers", PATIENCE * 5)

    # --- What a person does -----------------------------------------------------------------------------------

    def press(self, newcomer: Newcomer) -> None:
        """The next press of one person, and what comes of it."""
        try:
            answer = self.pressed(newcomer)
        except requests.RequestException:  # killed, or not back yet
            newcomer.page = None
        else:
            newcomer.sees(answer)

    def pressed(self, newcomer: Newcomer) -> requests.Response:
        if newcomer.page is None or newcomer.chance.random() < 0.1:
            return self.post(newcomer, NEW, newcomer.fields)
        form = newcomer.page.form("step")
        # Whom they have found is theirs, and they know it.
        may = [value for name, value in form.buttons.values() if name == "step" and value != "theirs"]
        return self.post(newcomer, form.action, form.fields | {"step": newcomer.chance.choice(may)})

    def post(self, newcomer: Newcomer, path: str, fields: Fields) -> requests.Response:
        return requests.post(
            self.url + path,
            data=fields,
            cookies=newcomer.cookies,
            headers={"Origin": self.url},
            timeout=PATIENCE,
            allow_redirects=False,
        )

    # --- Rounds ---------------------------------------------------------------------------------------------

    def half(self, newcomers: int, *, replays: bool, at_once: int) -> dict[str, int | list[str]]:
        """Have so many created, with a cloud that knows a repeated MS-RequestId again or not. Returns the figures."""
        self.told = Counter()
        self.sandbox.assume("replay_request_id", replays)
        began = self.seq()
        waiting = self.invited(newcomers, replays)
        everybody, calm = list(waiting), 0
        live: list[Newcomer] = []
        while live or waiting:
            calm = calm if waiting else calm + 1
            while waiting and len(live) < at_once:
                live.append(waiting.pop())
            self.round(live, storm=calm < STORM)
            live = [newcomer for newcomer in live if not newcomer.ended]
            assert self.told["rounds"] < 20 + newcomers, [vars(newcomer) for newcomer in live]
        return self.reckoned(everybody, began)

    def invited(self, newcomers: int, replays: bool) -> list[Newcomer]:
        """The people to be created; every tenth name is given to two, by two different operators."""
        made = []
        for number in range(newcomers):
            name = f"{'known' if replays else 'new'}{number - 1 if number % 10 == 9 else number}"
            cookies, form = self.people[(number + number // 10) % len(self.people)]
            typed = {"first_name": "Ada", "last_name": name, "display_name": f"Ada {name}", "user_name": name}
            fields = form | typed | {"domain": DOMAIN, "op_id": str(uuid.uuid4())}
            made.append(Newcomer(cookies, name, random.Random(self.chance.random()), fields))
        return made[::-1]

    def round(self, live: list[Newcomer], *, storm: bool) -> None:
        """All press at once; in a storm things break, and perhaps the web process is killed. Then time passes."""
        self.told["rounds"] += 1
        killed = storm and self.chance.random() < 0.5
        if storm:
            self.break_things(len(live))
        began = self.seq()
        with ThreadPoolExecutor(len(live)) as pool:
            presses = [pool.submit(self.press, newcomer) for newcomer in live]
            if killed:
                self.kill_after(began, lambda: all(press.done() for press in presses))
            for press in presses:
                press.result()
        if killed:
            self.until_it_answers()
            [(interrupted,)] = self.desk.query(
                "SELECT count(*) FROM users_operation WHERE state IN ('checked', 'sent')"
            )
            self.told["interrupted"] += interrupted
        self.sandbox.no_faults()
        self.desk.until(lambda: not self.under_way(), "the cloud has done what it was asked")
        self.move_clock(61 if killed else self.chance.choice((0, 10, 30, 61)))

    def break_things(self, people: int) -> None:
        """Faults for about two of three creates of a round, and for some look-ups."""
        if self.told["rounds"] % 8 == 1:
            late: dict[str, Any] = {"kind": "slow", "seconds": self.deadline + 0.5, "after": self.chance.random() < 0.5}
            self.sandbox.fault("partnercenter", method="POST", path="/users$", **late)
        for _ in range(people * 2 // 3):
            spec = self.chance.choice(CREATE_FAULTS)
            self.sandbox.fault("partnercenter", method="POST", path="/users$", skip=self.chance.randrange(2), **spec)
        if self.chance.random() < 0.5:
            spec = self.chance.choice(LOOK_UP_FAULTS)
            self.sandbox.fault("partnercenter", method="GET", path="/users$", skip=self.chance.randrange(3), **spec)

    def kill_after(self, began: int, all_done: Callable[[], bool]) -> None:
        """SIGKILL at a random moment, or when a create has just arrived: the process, or its master with it."""
        if self.chance.random() < 0.5:
            until = time.monotonic() + PATIENCE
            while not (self.under_way(began) or all_done()) and time.monotonic() < until:
                time.sleep(0.002)
            time.sleep(self.chance.uniform(0, 0.05))
        else:
            time.sleep(self.chance.uniform(0, 1))
        self.told["kills"] += 1
        if self.chance.random() < 0.5:
            self.desk.kill(self.web)
            self.serve()
        else:
            children = Path(f"/proc/{self.web.pid}/task/{self.web.pid}/children").read_text().split()
            os.kill(int(self.chance.choice(children)), signal.SIGKILL)

    def seq(self) -> int:
        """The number of the last call that the cloud was asked."""
        return max((line["seq"] for line in self.sandbox.running.journal.after(0)), default=0)

    def under_way(self, began: int = 0) -> list[dict[str, Any]]:
        """Creates that the cloud has not done with."""
        lines = self.sandbox.running.journal.after(began)
        return [line for line in lines if is_create(line) and line["status"] is None and not line["fault"]]

    def move_clock(self, seconds: float) -> None:
        """Portal and cloud move together, and only while nobody asks anything."""
        self.clock += seconds
        self.desk.move_clock(self.clock)
        self.sandbox.state("set_clock_offset", seconds=self.clock)

    # --- What came of it --------------------------------------------------------------------------------------

    def sent(self) -> list[Sent]:
        """The portal's own books, past its pages."""
        rows = self.desk.query(
            "SELECT op_id, state, fields, target_id, sealed_password, tries, checked_at FROM users_operation "
            "WHERE kind = 'create'"
        )
        return [Sent.read(*row) for row in rows]

    def reckoned(self, newcomers: list[Newcomer], began: int) -> dict[str, int | list[str]]:
        """The figures of a half: what happened, and the names of whom it must not happen to (`MUST_BE_NONE`)."""
        names = {newcomer.name for newcomer in newcomers}
        operations = [operation for operation in self.sent() if operation.name in names]
        cloud = self.sandbox.running.cloud.world.customers[CONTOSO].directory.users.values()
        users = {user.id: user for user in cloud if local(user.upn) in names}
        there = Counter(local(user.upn) for user in users.values())
        done = {operation.target_id: operation for operation in operations if operation.state == "done"}
        posts = [line for line in self.sandbox.running.journal.after(began) if is_create(line)]
        known = {operation.op_id for operation in operations}
        given_up = {newcomer.name for newcomer in newcomers if newcomer.ended == "not created"}
        passwords = {(newcomer.name, newcomer.password) for newcomer in newcomers}
        passwords |= {(operation.name, operation.password) for operation in operations}
        shown = {newcomer.name: newcomer.password for newcomer in newcomers if newcomer.password}
        open_intents = self.desk.query(
            "SELECT target_name FROM partnerportal_auditevent WHERE kind = 'intent' AND attempt NOT IN "
            "(SELECT attempt FROM partnerportal_auditevent WHERE kind = 'outcome')"
        )
        return {
            "forms": len(newcomers),
            "names": len(names),
            "rounds": self.told["rounds"],
            "kill -9": self.told["kills"],
            "operations that a kill cut off": self.told["interrupted"],
            "creates that reached the cloud": len(posts),
            "of them with a fault": sum(bool(line["fault"]) for line in posts),
            "operations": len(operations),
            "sent more than once": sum(operation.tries > 1 for operation in operations),
            "found by a look-up": sum(operation.looked_up for operation in done.values()),
            "given up": len(given_up),
            "users in the cloud": len(users),
            "lost": sorted(names - set(there) - given_up),
            "duplicates": sorted(name for name, often in there.items() if often > 1),
            "failed, and there": sorted(local(users[user_id].upn) for user_id in set(users) - set(done)),
            "done, and not there": sorted(done[user_id].name for user_id in set(done) - set(users)),
            "unknown passwords": sorted(
                name for user in users.values() if ((name := local(user.upn)), user.password) not in passwords
            ),
            "wrong passwords shown": sorted(
                name for user in users.values() if shown.get(name := local(user.upn), user.password) != user.password
            ),
            "undecided": sorted(each.name for each in operations if each.state in ("checked", "sent", "unknown")),
            "sent without an intent": sorted(str(line["seq"]) for line in posts if line["request_id"] not in known),
            "audit gaps": sorted(name for (name,) in open_intents),
        }


def local(upn: str) -> str:
    return upn.partition("@")[0]


def is_create(line: dict[str, Any]) -> bool:
    return bool(line["method"] == "POST" and line["path"].endswith("/users"))


MUST_BE_NONE = (
    *("lost", "duplicates", "failed, and there", "done, and not there", "unknown passwords", "wrong passwords shown"),
    *("undecided", "sent without an intent", "audit gaps"),
)


def tortured(desk: Desk, sandbox: Cloud, newcomers: int, *, at_once: int, deadline: float) -> None:
    """Both halves, with their table; no figure of `MUST_BE_NONE` is anything but 0."""
    number = int(os.environ.get("TORTURE_SEED", "0")) or random.randrange(10**6)
    url = f"http://127.0.0.1:{free_port()}"
    desk.more = {
        "TEST_PUBLIC_URL": url,
        "TEST_DEADLINE": str(deadline),
        "DJANGO_SETTINGS_MODULE": "tests.faults.impatient_settings",
    }
    torture = Torture(desk, sandbox, random.Random(number), url, deadline)
    torture.serve()
    # MSAL looks at the machine's clock, which does not move with the cloud's: a token must outlast the whole storm.
    sandbox.assume("access_token_seconds", 24 * 3600)
    for persona in ("writer", "admin") * 2:
        torture.sign_in(persona)
    sandbox.state("replication_lag", seconds=LAG)
    sandbox.running.journal.clear()
    halves = [torture.half(newcomers // 2, replays=replays, at_once=at_once) for replays in (True, False)]
    lines = [f"seed {number:<27} {'id known':>8} {'ignored':>8}"]
    for name, *figures in ((name, *(half[name] for half in halves)) for name in halves[0]):
        lines.append(f"{name:<32} " + " ".join(f"{len(n) if isinstance(n, list) else n:>8}" for n in figures))
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
    wrong = {name: [half[name] for half in halves] for name in MUST_BE_NONE if any(half[name] for half in halves)}
    assert not wrong, f"seed {number}"


@pytest.fixture
def on_this_database(transactional_db: None, snapshot: None, tmp_path: Path) -> Iterator[Desk]:
    """The database of this run, with the customers of a first sync."""
    name = connection.settings_dict["NAME"]
    engine = "sqlite:///" if connection.vendor == "sqlite" else POSTGRES_URL.rpartition("/")[0] + "/"

    def query(text: str) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(text)
            return list(cursor.fetchall())

    yield from _ended(Desk(tmp_path, f"{engine}{name}", "filesystem://", query))


def test_thirty_creates_end_known_whatever_breaks(on_this_database: Desk, sandbox: Cloud) -> None:
    tortured(on_this_database, sandbox, 30, at_once=15, deadline=4)


@pytest.mark.torture
@pytest.mark.parametrize(
    "name",
    ["on_files", pytest.param("on_servers", marks=[pytest.mark.postgres, pytest.mark.amqp])],
)
def test_five_hundred_creates_end_known_whatever_breaks(name, request, sandbox: Cloud):
    desk: Desk = request.getfixturevalue(name)
    prepared = desk.start([sys.executable, "-c", PREPARE], "prepare.log")
    assert prepared.wait(5 * PATIENCE) == 0, desk.said("prepare.log")
    tortured(desk, sandbox, 500, at_once=40, deadline=30)
