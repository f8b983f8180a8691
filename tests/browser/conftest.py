"""Debian's Chromium in front of a portal as it is served in production, with the pretend cloud in this process.

All of it lives as long as this package's tests run: Playwright keeps an event loop alive in the main thread, and
Django's database guard would mind it in the tests of others.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

from partnerportal.sandbox import seed
from partnerportal.sandbox.server import RunningSandbox
from scripts.throwaway import Portal, running_portal, signed_in_cookies
from tests.conftest import Cloud
from tests.requirements_plugin import CHROMIUM
from tests.settings import free_port

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--js-flags=--always-sparkplug",  # axe is much script that runs a few times: compiled at once it takes a tenth less
)
PATIENCE = 15_000  # milliseconds; the machine may be busy with other tests
LEFT_ALONE = 2.0  # seconds for a request that a test does not wait for
DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
SMALL = {"width": 320, "height": 640}

CONTOSO = seed.SPECIAL["contoso"]
EXPECTED_OF_A_BROWSER = "Failed to load resource: the server responded with a status of "

expect.set_options(timeout=PATIENCE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a browser."""
    for item in items:
        if item.nodeid.startswith("tests/browser/"):
            item.add_marker("browser")


# --- The portal and the browser, once -----------------------------------------------------------------------


@pytest.fixture(scope="package")
def portal(running_cloud: RunningSandbox) -> Iterator[Portal]:
    """A portal with the customers of the demo, and no worker yet: see `worker`."""
    running_cloud.cloud.reset("demo")  # whatever the tests of others have left there
    running_cloud.faults.clear()
    with running_portal(
        port=free_port(), cloud=running_cloud.url, CLOCK_OFFSET_FILE=settings.CLOCK_OFFSET_FILE
    ) as portal:
        yield portal


@pytest.fixture(scope="package")
def empty_portal(running_cloud: RunningSandbox) -> Iterator[Portal]:
    """A portal that has read nothing yet."""
    with running_portal(port=free_port(), cloud=running_cloud.url, synced=False) as portal:
        yield portal


@pytest.fixture
def worker(portal: Portal) -> None:
    """Background work is done, from here on."""
    portal.work()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


# --- Somebody's browser, and what it may not say ------------------------------------------------------------


@dataclass
class Watch:
    """What a browser complained of, and which refusals the test asks for."""

    complaints: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)
    broken_network: bool = False
    under_way: set[Request] = field(default_factory=set)

    def expects(self, *statuses: int) -> None:
        """These answers are part of the test, so Chromium's own line about them is too."""
        self.expected |= set(statuses)

    def heard(self, message: ConsoleMessage) -> None:
        where = str(message.location.get("url", ""))
        if message.type not in ("error", "warning") or where.startswith(settings.SANDBOX_URL):
            return  # Entra's pages are not ours
        text = message.text
        if (
            text.startswith(EXPECTED_OF_A_BROWSER)
            and int(text.removeprefix(EXPECTED_OF_A_BROWSER)[:3]) in self.expected
        ):
            return
        # htmx says the same in its own words, with the path.
        if text.startswith("Response Status Error Code ") and int(text.split()[4]) in self.expected:
            return
        if self.broken_network:
            return
        self.complaints.append(f"{message.type} on the console: {text} ({where})")

    def asked(self, request: Request) -> None:
        self.under_way.add(request)
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and parts.hostname != "127.0.0.1":
            self.complaints.append(f"a request to another host: {request.url}")

    def answered(self, request: Request) -> None:
        self.under_way.discard(request)

    def on(self, context: BrowserContext) -> None:
        # Chromium reports violations on the console too; this one says which element did it.
        context.add_init_script(
            "document.addEventListener('securitypolicyviolation', (event) => console.error("
            "`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`))"
        )
        context.on("console", self.heard)
        context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))
        context.on("request", self.asked)
        context.on("requestfinished", self.answered)
        context.on("requestfailed", self.answered)

    def let_finish(self, page: Page) -> None:
        """What is still being asked would meet the next test's database."""
        until = time.monotonic() + LEFT_ALONE
        while self.under_way and time.monotonic() < until:
            page.wait_for_timeout(20)


@pytest.fixture
def watch(portal: Portal) -> Iterator[Watch]:
    """Fails the test on any complaint of a browser or of the portal."""
    watch = Watch()
    before = len(portal.log("web"))
    yield watch
    said = portal.log("web")[before:]
    watch.complaints += [line for line in said.splitlines() if "CSP violation" in line or is_fault(line)]
    assert not watch.complaints, "\n".join(watch.complaints)


def is_fault(line: str) -> bool:
    """Whether the portal logs an exception that nobody had foreseen."""
    return '"level": "error"' in line and "Traceback" in line


LEFT_BEHIND = (
    "DELETE FROM users_handoverlink",
    "DELETE FROM users_handoverknock",
    "DELETE FROM users_operation",
    "UPDATE partnerportal_operator SET preferences = '{}'",
    "DELETE FROM customers_favourite",
    "DELETE FROM customers_visit",
    "DELETE FROM users_seennames",
    "DELETE FROM users_indexeduser",
    "DELETE FROM users_userindex",
)


@pytest.fixture(autouse=True)
def nothing_left_behind(portal: Portal) -> None:
    """What somebody likes, and what nobody knows the outcome of, follows them into every browser: so into the next
    test as well. A read that no worker has begun waits with a sign-in that the cloud has forgotten by now.
    """
    waiting = () if portal.has_worker else ("DELETE FROM customers_gdapread WHERE open",)
    with contextlib.closing(sqlite3.connect(portal.folder / "portal.sqlite3", timeout=20)) as database, database:
        for statement in (*LEFT_BEHIND, *waiting):
            database.execute(statement)


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(portal: Portal, sandbox: Cloud, chromium: Browser, watch: Watch) -> Iterator[OpenPage]:
    """`open_page("admin", "/customers/")`: a fresh browser of somebody who signed in; without a name, of nobody."""
    contexts: list[BrowserContext] = []

    def opened(persona: str = "", path: str = "", at: Portal = portal, **options: Any) -> Page:
        options = {"viewport": DESK, "locale": "en-GB", "reduced_motion": "reduce", **options}
        context = chromium.new_context(base_url=at.url, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        watch.on(context)
        if persona:
            context.add_cookies(signed_in_cookies(at.url, persona))  # type: ignore[arg-type]
        page = context.new_page()
        if path:
            page.goto(path)
        return page

    yield opened
    for context in contexts:
        if context.pages:
            watch.let_finish(context.pages[0])
        context.close()


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """The browser of `admin`, signed in, nowhere yet."""
    return open_page("admin")


# --- Words of the tests -------------------------------------------------------------------------------------


def users_of(key: str, rest: str = "") -> str:
    """The address of the users of a special customer."""
    return f"/customers/{seed.SPECIAL[key]}/users/{rest}"


def access_of(key: str, rest: str = "") -> str:
    """The address of the capability card of a special customer."""
    return f"/customers/{seed.SPECIAL[key]}/access/{rest}"


def gdap_was_read(page: Page, portal: Portal) -> None:
    """Wait, on the GDAP page, until a worker has read the snapshot with somebody's sign-in."""
    portal.work()
    until = time.monotonic() + 60
    page.goto("/gdap/")
    while page.get_by_text("Nothing has been read yet").count():
        assert time.monotonic() < until, portal.logs()
        time.sleep(0.25)
        page.goto("/gdap/")


def awkward(key: str) -> str:
    """The id of a special user of contoso."""
    return str(seed.SPECIAL_USERS[key])


def writes(sandbox: Cloud) -> list[str]:
    """What reached Partner Center but reads: `POST /v1/customers/…/users`."""
    return [f"{line['method']} {line['path']}" for line in sandbox.journal("partnercenter") if line["method"] != "GET"]


def forget_gdap_syncs(portal: Portal) -> None:
    """As if nobody had asked for one: the next request need not wait until the last is done."""
    with contextlib.closing(sqlite3.connect(portal.folder / "portal.sqlite3", timeout=20)) as database, database:
        database.execute("DELETE FROM customers_gdapsync")


def rows(page: Page) -> Locator:
    """The rows of the page's table, without its header."""
    return page.locator("#table tbody").get_by_role("row")


def focused(page: Page) -> str:
    """The id of the element that has the focus; its tag when it has none."""
    return str(page.evaluate("document.activeElement.id || document.activeElement.tagName"))


@contextlib.contextmanager
def settled(page: Page) -> Iterator[None]:
    """Wait until htmx has put in place what the block asked for."""
    page.evaluate(
        "delete document.documentElement.dataset.settled; document.addEventListener('htmx:afterSettle', () => "
        "setTimeout(() => { document.documentElement.dataset.settled = 'yes' }, 30), { once: true })"
    )
    yield
    page.locator("html[data-settled]").wait_for()


@contextlib.contextmanager
def page_ahead(page: Page) -> Iterator[None]:
    """Wait until the page of users that the block makes the browser ask for ahead is there."""
    with page.expect_response("**/users/ahead/**"):
        yield


def nothing_ahead(page: Page) -> None:
    """The browser asks for no page ahead: what a test switches in the cloud meets the press itself."""
    page.route("**/users/ahead/**", lambda route: route.fulfill(status=202))
