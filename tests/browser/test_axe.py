"""axe finds nothing on any page, in any state, light and dark, on a desk and on a phone."""

import os
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
THEMES = {"light": RULES, "dark": COLOURS}
# Each call from here goes through four processes and lets the browser draw, so both themes are looked at in one.
WIDTHS = """(themes) => themes.map((theme) => {
  document.documentElement.dataset.theme = theme
  return document.documentElement.scrollWidth
})"""
# A rule that breaks off has judged nothing, and axe counts it among what a person should look at.
RUN = """async ([where, themes]) => {
  const found = {}
  for (const [theme, rules] of Object.entries(themes)) {
    document.documentElement.dataset.theme = theme
    const result = await axe.run(where, { runOnly: rules, resultTypes: ['violations'], preload: false })
    found[theme] = [...result.violations, ...result.incomplete.filter((rule) => rule.error)]
  }
  return found
}"""
# axe reads a colour by trying every colour space that there is, each time, for each element behind each text.
READ_EACH_COLOUR_ONCE = """() => {
  const { Color } = axe.commons.color
  const read = Color.prototype.parseString
  const known = new Map()
  Color.prototype.parseString = function (text) {
    if (!known.has(text)) {
      read.call(this, text)
      known.set(text, [this.r, this.g, this.b, this.alpha])
    }
    [this.r, this.g, this.b, this.alpha] = known.get(text)
    return this
  }
}"""
CONTRASTS = """async () => {
  const found = await axe.run({ runOnly: ['color-contrast'], preload: false })
  const nodes = [...found.passes, ...found.violations].flatMap((rule) => rule.nodes)
  return nodes.map(({ target, any: [{ data }] }) => [target[0], data.fgColor, data.bgColor, data.contrastRatio])
}"""
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
    for size in (DESK, PHONE):
        nothing_scrolls_sideways(page, size)
    shorten(page, name)
    found = []
    for size in (PHONE, DESK):
        as_high_as_the_page(page, size)
        found += pictures(page, name, size) if PICTURES else violations(page, name, size)
    assert not found, "\n".join(found)


def test_axe_finds_a_text_that_is_too_pale_in_either_theme(page: Page) -> None:
    page.goto("/settings/")
    page.evaluate("document.querySelectorAll('main label').forEach((one) => { one.style.color = '#808080' })")
    page.evaluate("document.querySelector('main').style.background = '#777777'")
    shorten(page, "settings")
    found = violations(page, "settings", DESK)
    pale = [line for line in found if "insufficient color contrast" in line]
    assert {line.split(":")[0] for line in pale} == {"1440, light", "1440, dark"}


def test_axe_does_not_pass_over_a_rule_that_breaks_off(page: Page) -> None:
    page.goto("/settings/")
    shorten(page, "settings")
    page.evaluate("axe.configure({ checks: [{ id: 'color-contrast', options: { contrastRatio: null } }] })")
    assert any(": color-contrast: " in line for line in violations(page, "settings", DESK))


def test_axe_finds_the_same_colours_when_it_reads_each_once(page: Page) -> None:
    page.goto("/customers/")
    page.evaluate(AXE_SCRIPT)
    before = page.evaluate(CONTRASTS)
    page.evaluate(READ_EACH_COLOUR_ONCE)
    assert page.evaluate(CONTRASTS) == before
    assert page.evaluate(CONTRASTS) == before
    assert len({(text, behind) for _, text, behind, _ in before}) > 5


def nothing_scrolls_sideways(page: Page, size: dict[str, int]) -> None:
    """The whole page, before anything of it is left out."""
    page.set_viewport_size(size)  # type: ignore[arg-type]
    widths = dict(zip(THEMES, page.evaluate(WIDTHS, list(THEMES)), strict=True))
    assert max(widths.values()) <= size["width"], f"{size['width']}: sideways scroll, {widths}"


def shorten(page: Page, name: str) -> None:
    """The page as it is looked at from here on; it is loaded once, and axe with it."""
    if PICTURES:
        return
    if name not in WHOLE:
        page.evaluate(SHORTEN)
    page.evaluate(AXE_SCRIPT)
    page.evaluate(READ_EACH_COLOUR_ONCE)


def as_high_as_the_page(page: Page, size: dict[str, int]) -> None:
    """So that nothing lies under a bar that sticks to an edge."""
    page.set_viewport_size(size)  # type: ignore[arg-type]
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": max(size["height"], height)})


def part(name: str) -> dict[str, Any]:
    """What axe looks at: all of it, but the frame, which is the same everywhere, in few states only."""
    if name.endswith(" menu"):
        return {"include": ".menu[open]"}  # it lies over controls that are out of reach until it closes
    return {"include": "html"} if name in WHOLE else {"exclude": [[".topbar"], ["#rail"]]}


def violations(page: Page, name: str, size: dict[str, int]) -> list[str]:
    """What axe minds, light and dark, with the element it is about."""
    found: dict[str, Any] = page.evaluate(RUN, [part(name), THEMES])
    return [
        f"{size['width']}, {theme}: {rule['id']}: {rule['help']}: {node['target']} {node['html'][:200]} "
        f"{node.get('failureSummary', '')}"
        for theme, rules in found.items()
        for rule in rules
        for node in rule["nodes"]
    ]


def pictures(page: Page, name: str, size: dict[str, int]) -> list[str]:
    """The page as it is seen, light and dark; nothing is judged."""
    for theme in THEMES:
        page.evaluate(SET_THEME, theme)
        path = Path(PICTURES) / f"{name} {size['width']} {theme}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=path, animations="disabled")
    return []
