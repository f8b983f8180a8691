"""The cast, the pretend cloud, and a browser that went through the real door. Shared by all tests."""

import copy
import gc
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import requests
from _pytest import runner
from django.apps import apps
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations
from django.http import HttpResponse
from django.test import Client

from customers import sync
from customers.models import Source
from partnerportal import clock, identity
from partnerportal.models import AuditHead, Operator
from partnerportal.sandbox import seed, state
from partnerportal.sandbox.directory import Persona
from partnerportal.sandbox.server import RunningSandbox, running_sandbox
from partnerportal.sessions import GRANT
from partnerportal.upstream import avepoint, tokens
from tests.kept_rows import FIRST_SYNC, FirstSync, Kept
from tests.requirements_plugin import pytest_collection_modifyitems, pytest_runtest_setup

__all__ = ["pytest_collection_modifyitems", "pytest_runtest_setup"]  # hooks: they judge the markers of every test

gc.set_threshold(100_000, 50, 100)  # looking for circles so often took a twelfth of the time

PERSONAS = tuple(seed.PERSONA_OIDS)
STAFF = ("admin", "writer", "reader", "nested", "outsider")  # those who may enter


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """What a process keeps of its upstreams, and the test clock, are as after a start."""
    cache.clear()
    identity.forget_published()
    tokens.forget_http_cache()
    avepoint.forget_token()
    sync.app_only_refused.clear()
    yield
    Path(settings.CLOCK_OFFSET_FILE).unlink(missing_ok=True)
    (settings.VAR_DIR / "audit-head").unlink(missing_ok=True)  # the database of the next test begins anew


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """As pytest does it, with the customers of the first sync in place and room on the stack."""
    FIRST_SYNC.make_ready(item)
    return with_room(item, nextitem)


def with_room(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    return runner.pytest_runtest_protocol(item, nextitem)


# Python takes its stack from the system in pieces of 16 KB, and gives a piece back as soon as a call returns that was
# the first in it. Where a loop sits at such an edge, each call in it takes and gives: some 2,000 times a test, which
# was a fifteenth of the time. This frame takes one piece that is large enough for all that a test calls.
with_room.__code__ = with_room.__code__.replace(co_stacksize=60_000)  # words of 8 bytes


def emptied(self: DatabaseOperations, style: Any, tables: list[str], **_: bool) -> list[str]:
    """How a test that commits is cleared away. TRUNCATE makes new files for each table and each index, which takes 60
    times as long as it takes to delete the few rows.
    """
    return [f"DELETE FROM {self.quote_name(table)};" for table in tables]


DatabaseOperations.sql_flush = emptied  # type: ignore[assignment,method-assign]


_ended = itertools.count(1)


def pytest_runtest_logfinish() -> None:
    """Every 50 tests PostgreSQL clears away what they have rolled back: after 800 it took twice as long for each."""
    if connection.vendor == "postgresql" and "test_" in connection.settings_dict["NAME"] and next(_ended) % 50 == 0:
        told = connection.get_connection_params()
        with psycopg.connect(
            **{name: told[name] for name in ("host", "port", "user", "password", "dbname") if name in told},
            autocommit=True,
        ) as server:
            server.execute("VACUUM (TRUNCATE FALSE)")  # which would wait for the transaction of FirstSync


@pytest.fixture(autouse=True)
def the_trail_comes_last() -> Iterator[None]:
    """Whoever holds the end of the audit trail writes nothing else until the commit: nobody waits in a circle."""
    held: list[str] = []  # the savepoint, which is the transaction of the code under test

    def watch(execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        word, is_trail = sql.lstrip()[:6].upper(), "partnerportal_audit" in sql[:200]
        of_the_test = context["connection"].savepoint_ids[bool(FIRST_SYNC.below) :]
        open_now = [name for name in of_the_test if name]
        held[:] = [name for name in held if name in open_now]
        if word in ("INSERT", "UPDATE", "DELETE") and not is_trail:
            assert not held, f"written after the audit trail, in the same transaction: {sql[:200]}"
        if is_trail and word in ("UPDATE", "WITH T"):  # which moves the head on, by itself or with its row
            held[:] = open_now
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield


# --- The sandbox --------------------------------------------------------------------------------------------


@dataclass
class Cloud:
    """The sandbox of a test: what may be switched in it, and what it was asked."""

    running: RunningSandbox
    touched: bool = False  # whether the test has switched anything

    @property
    def url(self) -> str:
        return self.running.url

    def state(self, op: str, **fields: Any) -> dict[str, Any]:
        """As `POST /_sandbox/state`."""
        self.touched = True
        return state.change(self.running.cloud, {"op": op, **fields})

    def assume(self, name: str, value: Any) -> None:
        self.state("assume", name=name, value=value)

    def fault(self, service: str, kind: str, **fields: Any) -> None:
        """As `POST /_sandbox/faults`, with one fault."""
        self.touched = True
        spec = {"service": service, "kind": kind, **fields}
        requests.post(f"{self.url}/_sandbox/faults", json=[spec], timeout=5).raise_for_status()

    def no_faults(self) -> None:
        self.running.faults.clear()

    def journal(self, service: str = "", method: str = "") -> list[dict[str, Any]]:
        """What was asked since the test began, oldest first, as `GET /_sandbox/journal` tells it."""
        found = self.running.journal.after(0)
        return [line for line in found if service in ("", line["service"]) and method in ("", line["method"])]

    def persona(self, key: str) -> Persona:
        self.touched = True  # perhaps, by whoever asks
        return self.running.cloud.world.personas[key]


@pytest.fixture(scope="session")
def running_cloud() -> Iterator[RunningSandbox]:
    """One pretend cloud a pytest process, on the port that the settings route to."""
    with running_sandbox(profile="demo", port=settings.SANDBOX_PORT) as running:
        yield running


@pytest.fixture
def sandbox(running_cloud: RunningSandbox) -> Cloud:
    """The pretend cloud, planted anew."""
    running_cloud.cloud.reset("demo")
    running_cloud.faults.clear()
    running_cloud.journal.clear()
    return Cloud(running_cloud)


@pytest.fixture
def move_clock(sandbox: Cloud) -> Callable[[float], None]:
    """Move the portal's clock, and the cloud's with it, to so many seconds from now."""

    def move(seconds: float) -> None:
        Path(settings.CLOCK_OFFSET_FILE).write_text(str(seconds), encoding="utf-8")
        sandbox.state("set_clock_offset", seconds=seconds)

    return move


@pytest.fixture(scope="session")
def first_sync(django_db_setup: None, django_db_blocker: Any) -> Iterator[FirstSync]:
    """What the first sync has left, out of the database again before that is removed."""
    FIRST_SYNC.may = django_db_blocker
    yield FIRST_SYNC
    FIRST_SYNC.take_away()


@pytest.fixture
def snapshot(sandbox: Cloud, db: None, first_sync: FirstSync) -> None:
    """The customer lists as a first sync brings them; the journal begins after it."""
    if not first_sync.rows:
        first_sync.happened()
    elif not first_sync.below:
        first_sync.put_back()
    Source.objects.update(last_good_at=clock.now(), last_tried_at=clock.now())
    sandbox.running.journal.clear()


# --- People and their browsers ------------------------------------------------------------------------------


class Browser(Client):
    """Django's test client at the portal's own address; `sign_in` goes through Entra's pages."""

    def __init__(self, **defaults: Any) -> None:
        super().__init__(HTTP_HOST=urlsplit(settings.PUBLIC_URL).netloc, **defaults)
        self.entra = requests.Session()  # the cookies of Entra's own pages

    def at_entra(self, persona: str, *, mfa: bool = False, next_page: str = "", without: str = "") -> str:
        """Start a sign-in, choose a persona on Entra's page; the callback's path with its query.

        `without`: a parameter that somebody takes out of the address of Entra's page.
        """
        started = self.get("/signin/", {"next": next_page} if next_page else {})
        assert started.status_code == 302, started
        fields = {"cancel": "1"} if persona == "cancel" else {"persona": persona, **({"mfa": "1"} if mfa else {})}
        page = re.sub(f"&{without}=[^&]*", "", started["Location"]) if without else started["Location"]
        chosen = self.entra.post(page, data=fields, allow_redirects=False, timeout=10)
        back = urlsplit(chosen.headers["Location"])
        return f"{back.path}?{back.query}"

    def sign_in(self, persona: str, **how: Any) -> HttpResponse:
        """The answer of the callback; `how` as `at_entra` takes it."""
        answer: Any = self.get(self.at_entra(persona, **how))
        self.has_looked()
        return answer

    def has_looked(self) -> None:
        """As if this person had just looked how old the GDAP snapshot is."""
        if grant := self.session.get(GRANT):
            cache.set(f"gdap-looked-{grant}", True, 30)

    def htmx(self, method: str, path: str, data: Any = None, **more: Any) -> HttpResponse:
        """As htmx asks."""
        answer: Any = getattr(self, method.lower())(path, data, headers={"HX-Request": "true"}, **more)
        return answer


def without_token(answer: HttpResponse) -> str:
    """A page, to be compared with another: the CSRF token is masked anew each time it is written, ages grow, and the
    seconds until the sign-in ends get fewer.
    """
    page = re.sub(r'(name="csrfmiddlewaretoken" value=")\w+', r"\1", answer.content.decode())
    page = re.sub(r'data-left="\d+"', "", page)
    return re.sub(r"<time\b.*?</time>", "<time></time>", page)


@pytest.fixture
def visitor(sandbox: Cloud, db: None) -> Browser:
    """Nobody yet."""
    return Browser()


@dataclass
class Entered:
    """What a sign-in has left: in the browser, at Entra, and in each table that it wrote to."""

    at: datetime
    cookies: SimpleCookie
    entra: requests.cookies.RequestsCookieJar
    generation: int
    refresh_tokens: set[str]
    rows: list[Kept]

    FRESH = timedelta(seconds=20)  # the session is written anew for what comes half a minute later

    def still_holds(self, cloud: Cloud) -> bool:
        """Whether the portal and Entra would still take it for one of just now."""
        entra = cloud.running.cloud.entra
        known = {token for token, grant in entra.refresh.items() if not grant.revoked}
        is_fresh = timedelta(0) <= clock.now() - self.at <= self.FRESH
        return is_fresh and self.generation == entra.generation and self.refresh_tokens <= known


_entered: dict[str, Entered] = {}  # the last sign-in of each persona in this process


def enter_again(persona: str, cloud: Cloud) -> Browser | None:
    """The browser of somebody who signed in a moment ago, in the test before; None when that would tell."""
    left = _entered.get(persona)
    if left is None or cloud.touched or not left.still_holds(cloud) or not nobody_was_here():
        return None
    with connection.cursor() as cursor:
        for kept in left.rows:
            kept.put_back(cursor)
    browser = Browser()
    browser.cookies = copy.deepcopy(left.cookies)
    browser.entra.cookies = left.entra.copy()
    browser.has_looked()
    return browser


def nobody_was_here() -> bool:
    """Whether this would be the first sign-in of a test whose transaction is never committed."""
    return connection.in_atomic_block and not Operator.objects.exists() and not AuditHead.objects.exists()


def enter_first(persona: str, cloud: Cloud) -> Browser:
    """Through the real door, and remember what it leaves."""
    is_first = not cloud.touched and nobody_was_here()
    entra, written = cloud.running.cloud.entra, dict[str, None]()

    def watch(execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if found := re.search(r'\bINSERT (?:OR IGNORE )?INTO "?(\w+)', sql):
            written[found[1]] = None
        return execute(sql, params, many, context)

    before, browser = set(entra.refresh), Browser()
    with connection.execute_wrapper(watch):
        answer = browser.sign_in(persona)
    assert (answer.status_code, answer["Location"]) == (303, "/"), answer["Location"]
    if is_first:
        models = [model for model in apps.get_models() if model._meta.db_table in written]
        models.sort(key=lambda model: list(written).index(model._meta.db_table))
        with connection.cursor() as cursor:
            rows = [Kept.of(cursor, model) for model in models]
        cookies, at_entra = copy.deepcopy(browser.cookies), browser.entra.cookies.copy()
        new = set(entra.refresh) - before
        _entered[persona] = Entered(clock.now(), cookies, at_entra, entra.generation, new, rows)
    return browser


@pytest.fixture
def signed_in(sandbox: Cloud, db: None) -> Callable[..., Browser]:
    """`signed_in("admin")`: a browser of that persona, signed in through the real flow.

    The first of a test gets what the same sign-in has left in another test a moment ago, if there was one: a
    seventh of the time of most tests. `anew`: not so here. The sign-in's own tests go through the door.
    """

    def enter(persona: str, *, anew: bool = False, **how: Any) -> Browser:
        if not how and not anew:
            return enter_again(persona, sandbox) or enter_first(persona, sandbox)
        browser = Browser()
        answer = browser.sign_in(persona, **how)
        assert (answer.status_code, answer["Location"]) == (303, "/"), answer["Location"]
        return browser

    return enter


@pytest.fixture
def cast(signed_in: Callable[..., Browser]) -> Callable[[str], Operator]:
    """`cast("writer")`: the operator, who has signed in once."""

    def operator(persona: str) -> Operator:
        signed_in(persona)
        return Operator.objects.get(oid=seed.PERSONA_OIDS[persona])

    return operator
