"""Pages that ask by themselves how far something is: they take nothing from whoever works in them meanwhile."""

import re
import time
import uuid

import pytest
from playwright.sync_api import Dialog, Page, Route, expect

from tests.browser.conftest import CONTOSO, Watch, focused
from tests.conftest import Cloud

ROWS = b"first_name;last_name;user_name;usage_location\nMaya;Lind;;XX\nZoe;Berg;;YY\nAnn;Pond;;NL\n"
SEARCH = f"/customers/{CONTOSO}/users/search/"


def tick(page: Page) -> None:
    page.evaluate("document.body.dispatchEvent(new Event('tick'))")


def opened_check(page: Page) -> None:
    """The check of a file in which two rows need a change, after it has ended."""
    page.goto(f"/onboarding/new/?customer={CONTOSO}")
    field = page.get_by_label("CSV file or Excel workbook")
    field.set_input_files({"name": "starters.csv", "mimeType": "text/csv", "buffer": ROWS})
    page.get_by_role("button", name="Check this file").click()
    expect(page.get_by_label("Usage location of row 3")).to_be_visible()
    expect(page.get_by_text("1 of 3 rows are ready").first).to_be_visible()


@pytest.mark.usefixtures("worker")
def test_cells_that_are_typed_in_while_a_check_runs_stay_as_typed(page: Page, sandbox: Cloud) -> None:
    opened_check(page)
    sandbox.fault("partnercenter", "slow", path=".*users.*", seconds=4)
    page.get_by_label("Usage location of row 2").fill("NL")
    page.get_by_role("button", name="Save and check again").click()
    expect(page.locator("progress")).to_be_visible()
    cell = page.get_by_label("Usage location of row 3")
    cell.fill("DE")
    with page.expect_response(lambda answer: answer.request.headers.get("x-poll") == "1"):
        tick(page)
    expect(page.get_by_text("The check has ended.")).to_be_visible()
    expect(cell).to_have_value("DE")
    expect(cell).to_be_focused()
    page.get_by_role("button", name="Save and check again").click()
    expect(page.get_by_text("3 of 3 rows are ready").first).to_be_visible()


@pytest.mark.usefixtures("worker")
def test_what_a_check_found_comes_by_itself_when_nobody_types(page: Page, sandbox: Cloud) -> None:
    opened_check(page)
    sandbox.fault("partnercenter", "slow", path=".*users.*", seconds=2)
    page.get_by_label("Usage location of row 2").fill("NL")
    page.get_by_role("button", name="Save and check again").click()
    expect(page.locator("progress")).to_be_visible()
    expect(page.get_by_text("2 of 3 rows are ready").first).to_be_visible()
    expect(page.locator("#live")).to_have_text("2 of 3 rows are ready. 1 row needs a change")
    expect(page.get_by_label("Usage location of row 2")).to_have_count(0)


def test_a_poll_that_meets_a_fault_says_so_once_and_asks_again_a_while_later(page: Page, watch: Watch) -> None:
    watch.expects(500)
    page.clock.install()
    poll = '<div id="found" hx-get="/poll/" hx-trigger="tick from:body" hx-headers=\'{"X-Poll": "1"}\'></div>'
    page.goto(SEARCH)
    page.route(re.compile(r"q=ma$"), lambda route: route.fulfill(content_type="text/html", body=poll))
    asked: list[str] = []

    def fail(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=500, content_type="text/html", body='<p class="title">That did not work</p>')

    page.route("**/poll/", fail)
    page.locator("#q").press_sequentially("ma")
    page.clock.run_for(1000)
    expect(page.locator("#found[hx-get]")).to_have_count(1)
    for seconds, times in ((2, 1), (10, 1), (16, 2)):
        page.clock.run_for(seconds * 1000)
        page.wait_for_timeout(100)
        assert len(asked) == times, seconds


@pytest.mark.usefixtures("worker")
def test_what_was_typed_in_a_check_is_not_left_without_a_question(page: Page) -> None:
    opened_check(page)
    page.get_by_label("Usage location of row 2").fill("NL")
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.get_by_role("link", name="Edit row 4").click()
    page.wait_for_timeout(300)
    assert asked == ["beforeunload"]
    expect(page.get_by_label("Usage location of row 2")).to_have_value("NL")


def test_a_poll_does_not_answer_for_a_search_that_is_under_way(page: Page) -> None:
    def answer(route: Route) -> None:
        text = re.search(r"q=(\w+)", route.request.url)
        word = text[1] if text else ""
        is_poll = route.request.headers.get("x-poll") == "1"
        time.sleep(0.8 if word == "mar" and not is_poll else 0)
        attributes = f'hx-get="{SEARCH}?q={word}" hx-trigger="tick from:body" hx-swap="outerHTML"'
        body = f'<div id="found" {attributes} hx-headers=\'{{"X-Poll": "1"}}\'>results for {word}</div>'
        route.fulfill(status=200, content_type="text/html", body=body)

    page.goto(SEARCH)
    page.route(re.compile(r"users/search/\?q="), answer)
    page.locator("#q").press_sequentially("ma")
    expect(page.locator("#found")).to_have_text("results for ma")
    with page.expect_request(re.compile("q=mar$")):
        page.locator("#q").press_sequentially("r")
    tick(page)
    expect(page.locator("#found")).to_have_text("results for mar")
    expect(page).to_have_url(re.compile(r"\?q=mar$"))


@pytest.mark.parametrize(("status", "url"), [(401, f"{SEARCH}?q=zoe"), (404, f"/onboarding/{uuid.UUID(int=0)}/check/")])
def test_a_poll_that_is_refused_asks_once_and_takes_no_focus(status: int, url: str, page: Page, watch: Watch) -> None:
    watch.expects(status)
    poll = f'<div id="found" hx-get="{url}" hx-trigger="tick from:body" hx-headers=\'{{"X-Poll": "1"}}\'></div>'
    page.goto(SEARCH)
    page.route(re.compile(r"q=ma$"), lambda route: route.fulfill(content_type="text/html", body=poll))
    page.locator("#q").press_sequentially("ma")
    expect(page.locator("#found[hx-get]")).to_have_count(1)
    page.context.clear_cookies(name="pd_session" if status == 401 else "none")
    asked: list[str] = []
    page.on("request", lambda request: asked.extend(filter(None, [request.headers.get("x-poll")])))
    tick(page)
    if status == 401:
        expect(page.get_by_role("dialog", name="Sign in again to go on")).to_be_visible()
        page.keyboard.press("Escape")
    else:
        expect(page.locator("#notice .title")).to_be_visible()
    assert focused(page) == "q"
    for _ in range(3):
        tick(page)
        page.wait_for_timeout(100)
    assert asked == ["1"]
    expect(page.get_by_role("dialog")).to_have_count(0)
