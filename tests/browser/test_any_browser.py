"""Without JavaScript, on a small screen, and with large text."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import (
    PHONE,
    SMALL,
    OpenPage,
    Watch,
    awkward,
    rows,
    settled,
    users_of,
    writes,
)
from tests.conftest import Cloud

from .test_behaviour import NEW


def test_it_all_works_without_javascript(open_page: OpenPage, sandbox: Cloud, watch: Watch) -> None:
    watch.expects(422)
    page = open_page("", "/", java_script_enabled=False)
    page.get_by_role("button", name="(admin)").click()
    page.get_by_role("link", name="Customers", exact=True).click()
    page.get_by_label("Filter by name, domain or tenant ID").fill("contoso")
    page.get_by_role("button", name="Show", exact=True).first.click()
    expect(rows(page)).to_have_count(1)
    page.get_by_role("link", name="Contoso Trading").click()
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("26–46", exact=True)).to_be_visible()
    page.get_by_role("link", name="Previous").click()
    page.get_by_role("link", name="Display name").click()
    expect(page.get_by_role("columnheader", name="Display name")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("link", name="New user", exact=True).click()
    page.get_by_role("button", name="Create user").click()
    expect(page.get_by_role("heading", name=re.compile("The user was not created: fix 2 fields"))).to_be_visible()
    page.get_by_label("First name").fill("Noah")
    page.get_by_label("User name, part before the at sign").fill("noah")
    page.get_by_role("button", name="Create user").click()
    expect(page.get_by_role("heading", name="Noah was created")).to_be_visible()
    page.get_by_role("link", name="Open user").click()
    page.get_by_role("link", name="Edit user").click()
    page.get_by_label("Phone").fill("+00 555 0166")
    page.get_by_role("button", name="Check before saving").click()
    page.get_by_role("button", name="Save 1 change in Contoso Trading").click()
    expect(page.get_by_role("heading", name="Noah was changed")).to_be_visible()
    page.locator("#theme summary").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.locator("#theme summary").click()
    with page.expect_response("**/theme/"):
        page.get_by_role("button", name="System").click()
    page.get_by_role("banner").get_by_text("Maya Okafor").first.click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    assert [line.split()[0] for line in writes(sandbox)] == ["POST", "PATCH"]


def test_a_bar_leads_to_the_list_that_it_counts(page: Page) -> None:
    page.goto("/")
    bar = page.locator("svg.bar a").nth(1)
    count = str(bar.get_attribute("aria-label")).rpartition(" ")[2]
    bar.click()
    expect(page).to_have_url(re.compile(r"/customers/\?source=pc$"))
    expect(page.get_by_text(f"of {count}", exact=False).first).to_be_visible()


@pytest.mark.parametrize("size", [SMALL, PHONE, {"width": 720, "height": 900}, {"width": 1024, "height": 768}])
def test_nothing_scrolls_sideways(size: dict[str, int], page: Page) -> None:
    page.set_viewport_size(size)  # type: ignore[arg-type]
    for path in (
        "/",
        "/customers/?size=100&ap=Waiting+for+configuration",
        "/customers/?size=100",
        users_of("contoso", "?size=50"),
        users_of("long_name"),
        users_of("contoso", f"{awkward('very_long')}/edit/"),
        users_of("contoso", f"{awkward('long_upn')}/"),
        "/audit/",
        "/gdap/sync/",
    ):
        page.goto(path)
        page.evaluate("document.fonts.ready.then(() => true)")  # the letters until then may be wider
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
        # Nor is anything cut off: the card clips what is wider than itself.
        wide = "[...document.querySelectorAll('.tablewrap')].filter((one) => one.scrollWidth > one.clientWidth).length"
        assert page.evaluate(wide) == 0, path


def test_twice_the_text_still_fits(page: Page) -> None:
    page.set_viewport_size({"width": 720, "height": 450})  # as 1440 by 900 at 200 %
    for path in ("/", "/customers/", users_of("contoso"), NEW):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 720, path


def test_a_phone_has_a_menu_and_a_sheet_of_filters(open_page: OpenPage) -> None:
    page = open_page("admin", "/customers/", viewport=PHONE, has_touch=True, is_mobile=True)
    expect(page.get_by_label("Source", exact=True)).to_be_hidden()
    page.get_by_role("button", name="Filters and sort").click()
    with settled(page):
        page.get_by_label("Source", exact=True).select_option("ap")
    with settled(page):
        page.get_by_label("Sort").select_option("-name")
    page.get_by_role("button", name="Show customers").click()
    expect(page.get_by_label("Source", exact=True)).to_be_hidden()
    assert all(part in page.url for part in ("source=ap", "sort=-name")), page.url
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Audit trail").click()
    expect(page.get_by_role("heading", name="Audit trail")).to_be_visible()
