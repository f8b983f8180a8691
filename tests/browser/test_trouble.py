"""What the page does when an upstream fails, or the connection."""

import re

import pytest
from playwright.sync_api import Page, expect

from scripts.throwaway import Portal
from tests.browser.conftest import (
    CONTOSO,
    Watch,
    nothing_ahead,
    rows,
    settled,
    users_of,
)
from tests.conftest import Cloud

from .test_behaviour import NEW, fill_new


def test_page_one_stays_when_page_two_fails(page: Page, sandbox: Cloud, watch: Watch) -> None:
    watch.expects(502, 503, 504)
    nothing_ahead(page)
    page.goto(users_of("contoso"))
    here, names = page.url, rows(page).all_inner_texts()
    sandbox.fault("partnercenter", "status", path="/users", status=503, times=0)
    page.get_by_role("link", name="Next").click()
    notice = page.locator("#notice")
    expect(notice).to_contain_text("Partner Center")
    expect(notice).to_contain_text("Nothing was changed.")
    expect(notice).to_be_in_viewport()
    assert rows(page).all_inner_texts() == names
    assert page.url == here
    sandbox.no_faults()
    with settled(page):
        page.get_by_role("link", name="Next").click()
    expect(notice).to_be_empty()
    expect(page.get_by_text("26–46", exact=True)).to_be_visible()


def test_a_broken_connection_is_said_and_can_be_tried_again(page: Page, watch: Watch) -> None:
    watch.broken_network = True
    page.goto("/customers/")
    page.route("**/customers/?page=2", lambda route: route.abort())
    page.get_by_role("link", name="Next").click()
    notice = page.locator("#notice")
    expect(notice).to_contain_text("The connection broke.")
    expect(page.get_by_role("alert").get_by_text("The connection broke.")).to_have_count(1)
    page.unroute("**/customers/?page=2")
    with settled(page):
        notice.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("26–50", exact=True)).to_be_visible()
    expect(notice).to_be_empty()


def test_a_proxys_own_page_of_an_error_is_told_in_our_words_and_can_be_tried_again(page: Page, watch: Watch) -> None:
    watch.expects(502)
    page.goto("/customers/")
    theirs = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1>nginx</body></html>"
    failing = {"status": 502, "content_type": "text/html", "body": theirs}
    page.route("**/customers/?page=2", lambda route: route.fulfill(**failing))
    page.get_by_role("link", name="Next").click()
    notice = page.locator("#notice")
    expect(notice).to_contain_text("The connection broke.")
    expect(page.get_by_text("nginx")).to_have_count(0)
    page.unroute("**/customers/?page=2")
    with settled(page):
        notice.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("26–50", exact=True)).to_be_visible()
    expect(notice).to_be_empty()


def test_a_write_whose_connection_broke_is_sent_again_under_its_number(
    page: Page, sandbox: Cloud, watch: Watch
) -> None:
    watch.broken_network = True
    page.goto(NEW)
    fill_new(page)
    page.route("**/users/new/", lambda route: route.abort())
    page.get_by_role("button", name="Create user").click()
    notice = page.locator("#notice")
    expect(notice).to_contain_text("We do not know if it was saved.")
    op_id = page.locator("[name=op_id]").input_value()
    page.unroute("**/users/new/")
    notice.get_by_role("button", name="Check again").click()
    expect(page.get_by_role("heading", name="Maya Lind was created")).to_be_visible()
    assert [line["request_id"] for line in sandbox.journal("partnercenter", "POST")] == [op_id]


@pytest.mark.usefixtures("worker")
def test_refresh_brings_what_is_new(page: Page, portal: Portal, sandbox: Cloud) -> None:
    customer = sandbox.running.cloud.world.customers[CONTOSO]
    name, customer.name = customer.name, "Contoso Renamed"
    page.goto("/customers/?q=contoso&sort=-name")
    page.get_by_role("button", name="Refresh").click()
    expect(page).to_have_url(re.compile(r"q=contoso&sort=-name$"))
    renamed = page.get_by_role("link", name="Contoso Renamed")
    for _ in range(60):
        if renamed.count():
            break
        page.wait_for_timeout(250)
        page.reload()
    expect(renamed).to_be_visible()
    customer.name = name
    portal.finish(portal.manage("sync_customers"))


def test_the_end_of_the_sign_in_is_announced_two_minutes_before(page: Page) -> None:
    page.clock.install()
    page.goto("/settings/")
    page.clock.fast_forward("11:57:00")
    expect(page.locator("#notice")).to_be_empty()
    page.clock.fast_forward("02:00")
    expect(page.locator("#notice")).to_contain_text("You will be signed out in 2 minutes.")
    expect(page.get_by_role("link", name="Sign in (new tab)")).to_have_attribute("target", "_blank")
