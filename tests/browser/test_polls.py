"""Pages that ask by themselves how far something is: they take nothing from whoever works in them meanwhile."""

import re
import time
import uuid

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import CONTOSO, Watch, focused

SEARCH = f"/customers/{CONTOSO}/users/search/"


def tick(page: Page) -> None:
    page.evaluate("document.body.dispatchEvent(new Event('tick'))")


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
