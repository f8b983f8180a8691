"""How long a technician is at it: what is clicked, typed and waited for, from any page to the end of the task.

Prints clicks, fields, keys and seconds. Typed at 80 ms a key; what a person needs beside that for finding the place and
pointing at it is reckoned with the keystroke-level model (Card, Moran, Newell): 1.35 s of thought before each step,
1.1 s for moving the hand to the mouse and pointing.
"""

import sys
import time
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Locator, Page, expect

from partnerportal.sandbox.directory import User
from tests.browser.conftest import CONTOSO, OpenPage, Watch, awkward, users_of, writes
from tests.conftest import Cloud

pytestmark = pytest.mark.torture  # it types as slowly as people do

KEY = 80  # milliseconds
THOUGHT, POINTING = 1.35, 1.1  # seconds
ANYWHERE = "/audit/"
NEW_STARTER, HANDED_OVER = 27.0, 18.0  # seconds, from the issue


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
