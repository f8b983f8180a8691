"""The pictures of docs/screenshots/: `make screenshots`, or `python -m scripts.screenshots --out folder`.

Starts a pretend cloud and a portal of its own, so nothing has to run before. Needs Debian's Chromium.
"""

import argparse
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from partnerportal.sandbox import seed
from partnerportal.sandbox.server import running_sandbox
from scripts.demo import HOST, ROOT
from scripts.throwaway import running_portal, signed_in_cookies

DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
SHORT = {"width": 1120, "height": 620}  # for pages with little on them
CUSTOMERS = "/customers/?page=2"  # the first page shows the names that are meant to break things
CUSTOMER = f"/customers/{seed.SPECIAL['medium']}/users/"
CONTOSO = f"/customers/{seed.SPECIAL['contoso']}"
ADELE = f"{CONTOSO}/users/{seed.SPECIAL_USERS['plain']}/"
STARTERS = """Vorname;Nachname;Benutzername;Land
Zoë;de Witt;;NL
Jörg;Müßig;;DE
Ann;Lee;ann lee;GB
Siân;Prys-Jones;;GB
Chloé;D’Arcy;;Frankreich
Tomás;Ó Briain;;Irlnd
Ines;Navarro;;ES
Owen;Marsh;adele.vance@contosotrading.example;GB
"""  # three of them want a change
READ_ONLY = f"/customers/{seed.SPECIAL['readonly']}/users/"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--lang=en-GB")  # fmt: skip


class Camera:
    """Takes pictures of pages as somebody sees them."""

    def __init__(self, browser: Browser, url: str, out: Path) -> None:
        self.browser, self.url, self.out = browser, url, out
        self._cookies: dict[str, Any] = {}

    @contextmanager
    def browser_of(self, persona: str, **options: Any) -> Iterator[Page]:
        """Somebody who is signed in; "" is nobody."""
        options = {"viewport": DESK, "locale": "en-GB", "color_scheme": "light", "reduced_motion": "reduce", **options}
        context = self.browser.new_context(base_url=self.url, **options)
        if persona and persona not in self._cookies:  # one sign-in each, as the audit trail will show
            self._cookies[persona] = signed_in_cookies(self.url, persona)
        context.add_cookies(self._cookies.get(persona, []))
        try:
            yield context.new_page()
        finally:
            context.close()

    def take(self, page: Page, name: str, *, whole: bool = False) -> None:
        """One PNG; `whole` also what is below the fold."""
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0); document.fonts.ready")
        page.mouse.move(0, 0)
        if whole:  # not by full_page: what sticks to an edge would stand in the middle
            height = int(page.evaluate("document.documentElement.scrollHeight"))
            page.set_viewport_size({"width": DESK["width"], "height": max(DESK["height"], height)})
        path = self.out / f"{name}.png"
        page.screenshot(path=path, animations="disabled", caret="hide")
        page.set_viewport_size(page.viewport_size if not whole else DESK)  # type: ignore[arg-type]
        print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")


def main() -> None:
    """All pictures, in the order in which they are made."""
    parser = argparse.ArgumentParser(prog="screenshots", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screenshots")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with (
        running_sandbox(profile="demo") as cloud,
        running_portal(port=free_port(), cloud=cloud.url) as portal,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        camera = Camera(browser, portal.url, out)
        portal.work()
        gdap_is_read(camera)
        lists(camera)
        forms(camera)
        one_user(camera)
        found_users(camera)
        customers(camera)
        onboarding(camera)
        browser.close()


def gdap_is_read(camera: Camera) -> None:
    """The first sign-in inside Admin agents has the relationships read; what a customer list says comes from there."""
    with camera.browser_of("admin") as page:
        for _ in range(120):
            page.goto("/gdap/")
            if not page.get_by_text("Nothing has been read yet").count():
                return
            time.sleep(0.5)
    sys.exit("The GDAP relationships were not read within a minute.")


def lists(camera: Camera) -> None:
    """Customers and users, wide and narrow, light and dark."""
    with camera.browser_of("admin") as page:
        page.goto(CUSTOMERS)
        camera.take(page, "customers")
        page.goto(CUSTOMER)
        page.get_by_role("link", name="Next").click()
        page.get_by_role("link", name="Previous").wait_for()
        camera.take(page, "users")
    with camera.browser_of("admin", color_scheme="dark") as page:
        page.goto(CUSTOMERS)
        camera.take(page, "customers-dark")
    with camera.browser_of("admin", viewport=PHONE, has_touch=True, is_mobile=True) as page:
        page.goto(CUSTOMERS)
        camera.take(page, "customers-390")
        page.goto(CUSTOMER)
        camera.take(page, "users-390")
    with camera.browser_of("writer") as page:
        page.goto(READ_ONLY)
        camera.take(page, "users-readonly")


def forms(camera: Camera) -> None:
    """A new user, one that is refused, a change, and what the audit trail says about all that."""
    with camera.browser_of("admin") as page:
        page.goto(f"{CUSTOMER}new/")
        fill(page, {"First name": "Maya", "Last name": "Lind"})
        camera.take(page, "user-new", whole=True)
        page.get_by_role("button", name="Create user").click()
        page.get_by_role("heading", name="Maya Lind was created").wait_for()
        camera.take(page, "user-created")

        page.goto(f"{CUSTOMER}new/")
        fill(page, {"First name": "Maya", "Last name": "Lind"})
        page.get_by_role("button", name="Create user").click()
        page.get_by_role("alert").get_by_role("heading").wait_for()
        camera.take(page, "user-new-errors", whole=True)

        page.goto(CUSTOMER)
        page.locator("#table tbody").get_by_role("row").nth(3).get_by_role("link").first.click()
        page.get_by_role("link", name="Edit user").click()
        fill(page, {"Last name": "Bellini-Moss", "Phone": "+44 20 7946 0991"})
        page.get_by_label("Usage location").select_option("IT")
        page.get_by_label("Make a new one").check()
        page.get_by_role("button", name="Check before saving").click()
        page.get_by_role("heading", name="Check before saving").wait_for()
        camera.take(page, "review")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("heading", name="was changed").wait_for()
    with camera.browser_of("writer") as page:  # so that the trail has more than one person in it
        page.goto(f"/customers/{seed.SPECIAL['contoso']}/users/new/")
        fill(page, {"First name": "Owen", "Last name": "Prys-Jones"})
        page.get_by_role("button", name="Create user").click()
        page.get_by_role("heading", name="was created").wait_for()
    with camera.browser_of("admin") as page:
        page.goto("/audit/")
        camera.take(page, "audit")


def onboarding(camera: Camera) -> None:
    """A sheet of new starters: what the check says of it, and the run once it is over."""
    with camera.browser_of("admin") as page:
        page.goto(f"{CONTOSO}/users/")
        page.get_by_role("link", name="From a file").click()
        sheet = {"name": "starters.csv", "mimeType": "text/csv", "buffer": STARTERS.encode("cp1252")}
        page.get_by_label("CSV file or Excel workbook").set_input_files(sheet)  # type: ignore[arg-type]
        page.get_by_role("button", name="Check this file").click()
        page.locator("#report").get_by_text("3 rows need a change").wait_for()
        camera.take(page, "onboarding-check")
        page.get_by_role("link", name="Sign in again to create them").click()
        page.get_by_role("button", name="Maya Okafor (admin)").click()
        page.get_by_role("button", name="Create 5 users in 1 customer").click()
        page.get_by_role("heading", name="6 of 6 rows done").wait_for(timeout=60_000)
        camera.take(page, "onboarding-run")


def one_user(camera: Camera) -> None:
    """A password that is handed over, templates, and what is done to a user, with the way back."""
    with camera.browser_of("admin", viewport=SHORT) as page:
        page.goto(f"{CONTOSO}/users/new/")
        fill(page, {"First name": "Zoë", "Last name": "van den Berg"})
        page.get_by_role("button", name="Create user").click()
        page.get_by_label("Passphrase").fill("blue whale")
        page.get_by_role("button", name="Make a one-time link").click()
        link = page.get_by_role("textbox", name="One-time link").input_value()
        with camera.browser_of("", viewport=SHORT) as stranger:
            stranger.goto(link)
            camera.take(stranger, "handover")

        page.goto(f"{CONTOSO}/templates/new/")
        fill(page, {"Name of the template": "Sales, London"})
        for rule, mode, value in (("User name", "default", 2), ("Usage location", "locked", 1)):
            page.get_by_label(rule, exact=True).select_option(mode)
            page.get_by_label(f"{rule}: value").select_option(index=value)
        page.get_by_role("button", name="Save template").click()
        page.get_by_role("rowheader", name="Sales, London").wait_for()
        camera.take(page, "templates")

        page.goto(f"{ADELE}edit/")
        fill(page, {"Last name": "Vance-Moss"})
        page.get_by_role("button", name="Check before saving").click()
        page.get_by_role("button", name="Save 1 change").click()
        page.get_by_role("heading", name="was changed").wait_for()
        page.goto(f"{ADELE}history/")
        camera.take(page, "history")

        page.goto(f"{ADELE}licences/")
        page.get_by_role("checkbox").first.click()
        page.get_by_role("button", name="Check before saving").click()
        page.get_by_role("heading", name="Check before saving").wait_for()
        camera.take(page, "licences")
        page.goto(f"{ADELE}delete/")
        camera.take(page, "user-delete")


def found_users(camera: Camera) -> None:
    """Users of all customers whose users were read for the search, in "Go to customer"."""
    with camera.browser_of("admin", viewport=SHORT) as page:
        for customer in (f"{CONTOSO}/users/", CUSTOMER):
            page.goto(f"{customer}search/")
            page.get_by_role("button", name="Search all users of this customer").click()
            for _ in range(120):
                if page.get_by_text("is the truth").count() and not page.get_by_text("are being read").count():
                    break
                page.wait_for_timeout(500)
                page.goto(f"{customer}search/")
        page.goto(CUSTOMERS)
        page.keyboard.press("Control+k")
        page.keyboard.type("mar")
        page.get_by_role("group", name="Users").wait_for()
        camera.take(page, "users-everywhere")


def customers(camera: Camera) -> None:
    """What is known of customers, and what one may do there; when the other pictures have left something to show."""
    with camera.browser_of("admin") as page:
        for name, path in (
            ("overview", "/"),
            ("gdap", "/gdap/"),
            ("matches", "/matches/"),
            ("sources", "/sources/"),
            ("details", f"/customers/{seed.SPECIAL['contoso']}/details/"),
        ):
            page.goto(path)
            camera.take(page, name, whole=True)
    with camera.browser_of("writer") as page:
        page.goto(f"/customers/{seed.SPECIAL['readonly']}/access/")
        camera.take(page, "access", whole=True)


def fill(page: Page, values: dict[str, str]) -> None:
    for label, value in values.items():
        page.get_by_label(label).first.fill(value)


def chromium() -> str:
    """Where Chromium is."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), "")
    return found or sys.exit("There is no Chromium here. Install it: apt-get install chromium-headless-shell")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
