"""How long a technician is at it: what is clicked, typed and waited for, from any page to the end of the task.

Prints clicks, fields, keys and seconds. Typed at 80 ms a key; what a person needs beside that for finding the place and
pointing at it is reckoned with the keystroke-level model (Card, Moran, Newell): 1.35 s of thought before each step,
1.1 s for moving the hand to the mouse and pointing.
"""

import base64
import re
import sys
import time
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Locator, Page, expect

from partnerportal.sandbox.directory import User
from tests.browser.conftest import CONTOSO, OpenPage, Watch, awkward, users_of, writes
from tests.conftest import Cloud
from tests.users.onboarding.made import csv

pytestmark = pytest.mark.torture  # it types as slowly as people do

KEY = 80  # milliseconds
THOUGHT, POINTING = 1.35, 1.1  # seconds
ANYWHERE = "/audit/"
NEW_STARTER, HANDED_OVER, HR_SHEET = 27.0, 18.0, 60.0  # seconds, from the issues


@dataclass
class Hand:
    """Somebody's hand on mouse and keyboard, counted."""

    page: Page
    task: str
    clicks: int = 0
    fields: int = 0
    keys: int = 0
    began: float = field(default_factory=time.monotonic)

    def click(self, place: Locator) -> None:
        place.click()
        self.clicks += 1

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)
        time.sleep(KEY / 1000)
        self.keys += 1

    def type(self, text: str) -> None:
        """Into the field that has the focus."""
        self.page.keyboard.type(text, delay=KEY)
        self.fields += 1
        self.keys += len(text)

    def done(self) -> float:
        """Seconds that the person needs, by the model. How long they wait says more of this machine, and is printed."""
        typing = self.keys * KEY / 1000
        waited = time.monotonic() - self.began - typing
        needed = typing + self.clicks * (THOUGHT + POINTING) + self.fields * THOUGHT
        sys.stdout.write(
            f"\n{self.task}: {self.clicks} clicks, {self.fields} fields, {self.keys} keys; {needed:.1f} s of a person "
            f"({typing:.1f} s of them typing), and {waited:.1f} s of waiting for this machine\n"
        )
        return needed


@pytest.fixture
def desk(open_page: OpenPage, watch: Watch) -> Page:
    """Any page, of somebody who may do everything, with the scripts and the customer known."""
    watch.broken_network = True  # who clicks while the next page is asked for breaks that off, and htmx says so
    page = open_page("admin", users_of("contoso"))
    page.goto(ANYWHERE)
    return page


def adele(sandbox: Cloud) -> User:
    """Adele Vance, as the cloud has her now."""
    return sandbox.running.cloud.world.customers[CONTOSO].directory.users[awkward("plain")]


def go_to(hand: Hand, name: str) -> None:
    """Ctrl K, some letters, Enter: the users of a customer."""
    hand.press("Control+k")
    expect(hand.page.locator("#goto-q")).to_be_focused()
    hand.type(name)
    hand.press("Enter")
    expect(hand.page.locator("#table tbody tr").first).to_be_visible()


def test_a_new_starter_with_an_accent_and_a_particle_from_any_page(desk: Page, sandbox: Cloud) -> None:
    hand = Hand(desk, "New starter")
    go_to(hand, "contoso")
    hand.press("n")
    hand.click(desk.get_by_label("First name"))
    hand.type("Zoë")
    hand.press("Tab")
    hand.type("van den Berg")
    expect(desk.get_by_label("User name, part before the at sign")).to_have_value("zoe.vandenberg")
    hand.click(desk.get_by_role("button", name="Create user"))
    expect(desk.get_by_role("heading", name="Zoë van den Berg was created")).to_be_visible()
    hand.click(desk.get_by_role("button", name="Copy password"))
    assert hand.done() < NEW_STARTER
    assert len(writes(sandbox)) == 1


def test_a_reset_that_is_handed_over_by_a_link(desk: Page, sandbox: Cloud) -> None:
    person = adele(sandbox)
    hand = Hand(desk, "Reset, handed over by a link")
    go_to(hand, "contoso")
    hand.click(desk.get_by_role("link", name=person.display_name, exact=True))
    hand.click(desk.get_by_role("link", name="Reset password"))
    hand.click(desk.get_by_role("button", name="Reset password"))
    hand.click(desk.get_by_role("button", name="Make a one-time link"))
    hand.click(desk.get_by_role("button", name="Copy link"))
    assert hand.done() < HANDED_OVER
    link = desk.get_by_label("One-time link").input_value()
    stranger = desk.context.browser.new_page()  # type: ignore[union-attr]
    stranger.goto(link)
    stranger.get_by_role("button", name="Show the password").click()
    told = stranger.get_by_role("textbox", name="Password").input_value()
    stranger.context.close()
    assert told == adele(sandbox).password


def test_a_rename_with_review_and_undo(desk: Page, sandbox: Cloud) -> None:
    person = adele(sandbox)
    hand = Hand(desk, "Rename with review, and undo")
    go_to(hand, "contoso")
    hand.click(desk.get_by_role("link", name=person.display_name, exact=True))
    hand.click(desk.get_by_role("link", name="Edit user"))
    hand.click(desk.get_by_label("Last name"))
    hand.press("Control+a")
    hand.type("Vance-Møller")
    hand.click(desk.get_by_role("button", name="Check before saving"))
    hand.click(desk.get_by_role("button", name="Save 1 change"))
    expect(desk.get_by_role("heading", name="was changed")).to_be_visible()
    assert adele(sandbox).last_name == "Vance-Møller"
    hand.click(desk.get_by_role("link", name="Open user"))
    hand.click(desk.get_by_role("link", name="History"))
    hand.click(desk.get_by_role("button", name="Undo this change"))
    expect(desk.get_by_role("heading", name="was changed")).to_be_visible()
    hand.done()
    assert adele(sandbox).last_name == person.last_name


FIRST = ("Zoë", "Jürgen", "Renée", "Søren", "Łukasz")
LAST = ("Groß", "Ångström", "Muñoz", "O’Brien", "Lefèvre")
DROP = """({ name, data }) => {
  const dropped = new DataTransfer();
  dropped.items.add(new File([Uint8Array.from(atob(data), (each) => each.charCodeAt(0))], name));
  return dropped;
}"""


def drop(hand: Hand, name: str, data: bytes) -> None:
    """A file from the desktop onto the form: one movement of the mouse."""
    told = {"name": name, "data": base64.b64encode(data).decode()}
    dropped = hand.page.evaluate_handle(DROP, told)
    hand.page.dispatch_event("[data-drop]", "drop", {"dataTransfer": dropped})
    hand.clicks += 1


def correct(hand: Hand, label: str, text: str) -> None:
    """What stands in a cell of the check is typed over."""
    hand.click(hand.page.get_by_label(label))
    hand.press("Control+a")
    hand.type(text)


def test_an_hr_sheet_of_25_starters_from_the_drop_until_it_runs(desk: Page, sandbox: Cloud, worker: None) -> None:
    """Semicolons, accents, UTF-16 as a spreadsheet saves it, and three rows that cannot be created as they stand."""
    people = [(first, last, "", "Deutschland") for first in FIRST for last in LAST]
    people[3] = ("Renée", "Ode", "renée ode", "DE")  # no user name
    people[9] = (*people[9][:3], "Deutschlnd")
    people[20] = (*people[20][:2], adele(sandbox).upn, "DE")  # is taken
    sheet = csv(("Vorname", "Nachname", "Benutzername", "Land"), *people, encoding="utf-16")
    desk.goto(f"/onboarding/new/?customer={CONTOSO}")
    hand = Hand(desk, "HR sheet of 25, 3 rows mended")
    drop(hand, "Starters März.csv", sheet)
    expect(desk.get_by_text("22 of 25 rows are ready. 3 rows need a change").first).to_be_visible(timeout=90_000)
    correct(hand, "User name of row 5", "renee.ode")
    correct(hand, "Usage location of row 11", "DE")
    correct(hand, "User name of row 22", "lukasz.gross2")
    hand.click(desk.get_by_role("button", name="Save and check again"))
    ready = desk.get_by_role("button", name="Create 25 users")
    prove = desk.get_by_role("link", name="Sign in again to create them")
    expect(ready.or_(prove)).to_be_visible(timeout=90_000)
    if prove.count():
        hand.click(prove)
        hand.click(desk.get_by_role("button", name="(admin)"))
    hand.click(ready)
    expect(desk.get_by_role("heading", name=re.compile("of 25 rows done"))).to_be_visible()
    assert hand.done() < HR_SHEET
    expect(desk.get_by_role("heading", name="25 of 25 rows done")).to_be_visible(timeout=180_000)
    assert len(writes(sandbox)) == 25
