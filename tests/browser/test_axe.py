"""axe finds nothing on any page, in any state, light and dark, on a desk and on a phone."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

from scripts.throwaway import Portal
from tests.browser.conftest import DESK, PHONE, OpenPage, Watch
from tests.browser.states import STATES, Stage
from tests.conftest import Cloud

RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}  # all that a theme can change
RUN = "([where, rules]) => axe.run(where, { runOnly: rules, resultTypes: ['violations'], preload: false })"
SET_THEME = "(theme) => { document.documentElement.dataset.theme = theme }"
# A row of a table is like the one before. axe takes in the whole page before it leaves anything out, so they are gone.
SHORTEN = "document.querySelectorAll('#table tbody tr:nth-child(n+5)').forEach((row) => row.remove())"
WHOLE = (
    *("customers", "customers, the awkward ones", "users", "users deleted", "audit trail"),
    *("the menu of a phone", "signed out", "sign in refused", "a source is down"),  # the frame is another one there
)
PICTURES = os.environ.get("BROWSER_PICTURES", "")  # a folder: every page that was looked at, as a PNG


@pytest.fixture
def stage(portal: Portal, sandbox: Cloud, watch: Watch, open_page: OpenPage, request: pytest.FixtureRequest) -> Stage:
    return Stage(portal, lambda: request.getfixturevalue("empty_portal"), sandbox, watch, open_page)


@pytest.mark.parametrize("name", STATES)
def test_axe_finds_nothing(name: str, stage: Stage) -> None:
    page = STATES[name](stage)
    if page.context.pages[0] is not page:
        page.bring_to_front()
    nothing_scrolls_sideways(page)
    found = [f"{where}: {what}" for where, rules in looks(page, name) for what in violations(page, name, rules)]
    assert not found, "\n".join(found)


def nothing_scrolls_sideways(page: Page) -> None:
    """The whole page, before anything of it is left out."""
    for size in (PHONE, DESK):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        for theme in ("light", "dark"):
            page.evaluate(SET_THEME, theme)
            where = f"{size['width']}, {theme}"
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], f"{where}: sideways scroll"


def looks(page: Page, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Light and dark, wide and narrow, and what is to be judged there; the page itself is loaded once."""
    if name not in WHOLE and not PICTURES:
        page.evaluate(SHORTEN)
    for size in (DESK, PHONE):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        # As high as the page, so that nothing lies under a bar that sticks to an edge.
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": size["width"], "height": max(size["height"], height)})
        for theme, rules in (("light", RULES), ("dark", COLOURS)):
            page.evaluate(SET_THEME, theme)
            where = f"{size['width']}, {theme}"
            if PICTURES:
                picture(page, Path(PICTURES) / f"{name} {size['width']} {theme}.png")
            yield where, rules


def part(name: str) -> dict[str, Any]:
    """What axe looks at: all of it, but the frame, which is the same everywhere, in few states only."""
    if name.endswith(" menu"):
        return {"include": ".menu[open]"}  # it lies over controls that are out of reach until it closes
    return {"include": "html"} if name in WHOLE else {"exclude": [[".topbar"], ["#rail"]]}


def violations(page: Page, name: str, rules: dict[str, Any]) -> list[str]:
    """What axe minds, with the element it is about."""
    if PICTURES:
        return []
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    result: dict[str, Any] = page.evaluate(RUN, [part(name), rules])
    return [
        f"{rule['id']}: {rule['help']}: {node['target']} {node['html'][:200]} {node.get('failureSummary', '')}"
        for rule in result["violations"]
        for node in rule["nodes"]
    ]


def picture(page: Page, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, animations="disabled")
