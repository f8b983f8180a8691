"""Among 20,000 customers: how long somebody waits for one, and what an address alone brings back."""

import sys
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from partnerportal.sandbox.server import running_sandbox
from scripts.throwaway import Portal, running_portal
from tests.browser.conftest import OpenPage, rows, settled
from tests.settings import free_port

pytestmark = pytest.mark.torture  # its sync takes longer than all that is looked at

SEARCH = "Filter by name, domain or tenant ID"
WITHIN = 4.0  # seconds from the first key to the users


@pytest.fixture(scope="module")
def large() -> Iterator[Portal]:
    """A portal in front of a cloud of its own, with 20,000 customers."""
    with (
        running_sandbox(profile="large", port=free_port()) as cloud,
        running_portal(port=free_port(), cloud=cloud.url) as portal,
    ):
        yield portal


def names(page: Page) -> list[str]:
    return rows(page).get_by_role("rowheader").get_by_role("link").all_inner_texts()


def test_four_letters_and_enter_show_the_users_of_one_among_twenty_thousand(open_page: OpenPage, large: Portal) -> None:
    page = open_page("admin", "/customers/?sort=-name", at=large)
    name = names(page)[7]
    took = []
    for _ in range(5):
        page.goto("/audit/")
        began = time.monotonic()
        page.keyboard.press("Control+k")
        page.keyboard.type(name[:4], delay=80)  # milliseconds a key, as a fast typist
        page.keyboard.press("Enter")
        expect(page.locator("#table tbody tr").first).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_contain_text(name[:4])
        took.append(time.monotonic() - began)
    sys.stdout.write(f"“{name[:4]}”, Enter, users: {min(took):.2f} to {max(took):.2f} s\n")
    assert max(took) < WITHIN


def test_an_address_alone_rebuilds_the_view_in_another_browser(open_page: OpenPage, large: Portal) -> None:
    page = open_page("admin", "/customers/", at=large)
    with settled(page):
        page.get_by_label(SEARCH).fill("an")
    with settled(page):
        page.get_by_role("link", name="Country").click()
    with settled(page):
        page.get_by_role("link", name="Next").click()
    assert all(part in page.url for part in ("q=an", "sort=country", "page=2")), page.url
    other = open_page("writer", page.url.removeprefix(large.url), at=large)
    expect(other.get_by_label(SEARCH)).to_have_value("an")
    expect(other.get_by_role("columnheader", name="Country")).to_have_attribute("aria-sort", "ascending")
    seen = names(page)
    assert len(seen) == 25
    assert names(other) == seen
