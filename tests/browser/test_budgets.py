"""How much a page weighs, asks for and shows: CHECKLIST 16, 26, 27, 28 and 30."""

import gzip
import json
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Response

from scripts.throwaway import Portal
from tests.browser.conftest import DESK, OpenPage, page_ahead, rows, settled, users_of
from tests.conftest import Cloud

KB = 1000
BUDGETS = {"css": 10 * KB, "js": 22 * KB, "font": 50 * KB, "svg": 4 * KB}


def kind(response: Response) -> str:
    return {"stylesheet": "css", "script": "js", "font": "font", "document": "html"}.get(
        response.request.resource_type, "svg"
    )


def asked_of(portal: Portal, act: Callable[[], object]) -> list[str]:
    """The paths that gunicorn was asked for while something was done: what came over the wire."""
    before = len(portal.log("web"))
    act()
    said = ""
    while said != (said := portal.log("web")[before:]):  # a line is written when its answer has left
        time.sleep(0.2)
    lines = [json.loads(line) for line in said.splitlines() if '"logger":"access"' in line]
    return [str(line["path"]) for line in lines]


def test_the_first_page_asks_six_times_and_is_light(open_page: OpenPage, portal: Portal) -> None:
    page = open_page("admin")
    found: list[Response] = []

    def hear(response: Response) -> None:
        found.append(response)

    page.on("response", hear)
    first = asked_of(portal, lambda: page.goto("/customers/?page=2&size=50", wait_until="networkidle"))
    # Names beyond Western Europe bring one more font file, and only then.
    first = [path for path in first if "latin-ext" not in path and "vietnamese" not in path]
    assert sorted(path.rpartition(".")[2] for path in first) == ["/customers/", "css", "js", "js", "svg", "woff2"]
    weights: dict[str, int] = {}
    for response in found:
        if urlsplit(response.url).path in first:
            first.remove(urlsplit(response.url).path)
            weights[kind(response)] = weights.get(kind(response), 0) + response.request.sizes()["responseBodySize"]
            assert kind(response) == "html" or "immutable" in response.headers["cache-control"]
    assert {name: weights[name] for name in BUDGETS if weights[name] > BUDGETS[name]} == {}, weights

    again = asked_of(portal, lambda: page.goto("/customers/", wait_until="networkidle"))
    assert [path for path in again if "latin-ext" not in path] == ["/customers/"]


@pytest.mark.parametrize("path", ["/customers/?size=50", users_of("medium", "?size=50")])
def test_fifty_rows_are_light(path: str, page: Page) -> None:
    page.goto(path)
    assert rows(page).count() == 50
    assert page.evaluate("document.querySelectorAll('*').length") <= 1500
    answer = page.request.get(path)
    assert len(gzip.compress(answer.body())) <= 12 * KB
    part = page.request.get(path, headers={"HX-Request": "true"})
    assert len(gzip.compress(part.body())) <= 7 * KB


def test_paging_asks_once_and_the_page_was_there_before(page: Page, portal: Portal, sandbox: Cloud) -> None:
    with page_ahead(page):
        page.goto(users_of("medium"))
    page.goto(users_of("medium"), wait_until="networkidle")  # what was asked for ahead is still kept
    before = len(sandbox.journal("partnercenter"))

    def turn() -> None:
        with page_ahead(page), settled(page):
            page.get_by_role("link", name="Next").click()

    first, *ahead = asked_of(portal, turn)
    assert (first, [path.rpartition("/users/")[2] for path in ahead]) == (users_of("medium"), ["ahead/"])
    assert len(sandbox.journal("partnercenter")) == before + 1  # for the page after this one


def test_enough_rows_are_seen_at_once(page: Page) -> None:
    for path, least in (("/customers/?page=2", 16), (users_of("medium"), 16), (users_of("expiring"), 14)):
        page.goto(path)
        boxes = [row.bounding_box() for row in rows(page).all()]
        seen = [box for box in boxes if box and box["y"] + box["height"] <= DESK["height"]]
        heights = {round(box["height"]) for box in seen[: len(boxes) - 1]}  # the last one has no line under it
        assert heights <= {36, 37}, (path, heights)
        assert len(seen) >= least, (path, len(seen))


def test_nothing_moves_while_a_page_loads(page: Page) -> None:
    for path in ("/customers/", users_of("contoso"), users_of("contoso", "new/"), "/audit/"):
        page.goto(path, wait_until="networkidle")
        shift: float = page.evaluate(
            """() => new Promise((done) => {
                let all = 0;
                new PerformanceObserver((list) => list.getEntries().forEach((entry) => { all += entry.value; }))
                    .observe({ type: "layout-shift", buffered: true });
                setTimeout(() => done(all), 100);
            })"""
        )
        assert shift <= 0.02, path


def test_page_turns_leave_nothing_behind(page: Page) -> None:
    page.goto("/customers/?size=25")
    size = page.evaluate("document.querySelectorAll('*').length")
    for _ in range(4):
        for name in ("Next", "Next", "Previous", "Previous"):
            with settled(page):
                page.get_by_role("link", name=name).click()
    assert page.evaluate("document.querySelectorAll('*').length") == size
