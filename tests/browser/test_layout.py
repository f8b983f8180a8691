"""Where things stand: what must be reached can be, and what is the same on two pages is in the same place."""

import contextlib
import sqlite3

import pytest
from playwright.sync_api import Locator, Page, expect

from scripts.throwaway import Portal
from tests.browser.conftest import DESK, PHONE, OpenPage, Watch, access_of, awkward, rows, users_of

MIDDLE = {"width": 1110, "height": 900}


def left_edge(found: Locator) -> int:
    return round(found.evaluate("(element) => element.getBoundingClientRect().left"))


def top_edge(found: Locator) -> float:
    return float(found.evaluate("(element) => element.getBoundingClientRect().top + scrollY"))


# --- The customer list --------------------------------------------------------------------------------------


@pytest.fixture
def avepoint_is_stale(portal: Portal):
    with contextlib.closing(sqlite3.connect(portal.folder / "portal.sqlite3", timeout=20)) as database, database:
        database.execute("UPDATE customers_source SET problem = 'AvePoint was silent.' WHERE name = 'avepoint'")
    yield
    with contextlib.closing(sqlite3.connect(portal.folder / "portal.sqlite3", timeout=20)) as database, database:
        database.execute("UPDATE customers_source SET problem = '' WHERE name = 'avepoint'")


@pytest.mark.usefixtures("avepoint_is_stale")
@pytest.mark.parametrize("width", [1440, 1240, 1110, 1024, 720])
def test_the_menus_can_be_reached_though_columns_say_how_old_they_are(width: int, open_page: OpenPage) -> None:
    page = open_page("admin", "/customers/?size=100", viewport={"width": width, "height": 900})
    if width > 1100:
        expect(page.get_by_role("columnheader", name="AvePoint status as of")).to_be_visible()
    frame = page.locator(".tablewrap").bounding_box()
    menu = page.get_by_label("Actions for Contoso Trading").bounding_box()
    assert frame
    assert menu
    assert menu["x"] + menu["width"] <= frame["x"] + frame["width"]


def test_the_domains_stand_still_from_page_to_page_and_break_at_their_dots_alone(page: Page) -> None:
    places = set()
    for path in ("/customers/", "/customers/?page=2", "/customers/?page=3", "/customers/?size=100"):
        page.goto(path)
        places.add(round(page.get_by_role("columnheader", name="Default domain").bounding_box()["width"]))  # type: ignore[index]
    assert len(places) == 1
    lines: list[list[str]] = page.evaluate(
        """() => [...document.querySelectorAll("#table tbody td.any.sec")].map((cell) => {
            const found = [];
            for (const text of [...cell.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE)) {
                const range = document.createRange();
                range.selectNodeContents(text);
                found.push([text.data, new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size]);
            }
            return found.filter(([, count]) => count > 1).map(([words]) => words);
        })"""
    )
    assert len(lines) > 50
    assert not [piece for broken in lines for piece in broken if len(piece) < 40]  # a longer one fits no line


# --- The head of a customer, and of a user ------------------------------------------------------------------


@pytest.mark.parametrize("viewport", [DESK, MIDDLE, PHONE], ids=lambda size: str(size["width"]))
def test_the_tabs_of_a_customer_stand_still(viewport: dict[str, int], open_page: OpenPage, watch: Watch) -> None:
    watch.expects(403)
    page = open_page("admin", viewport=viewport)
    for key in ("contoso", "long_name", "expiring", "expired", "no_users"):
        tops = {}
        for path in (users_of(key), users_of(key, "?state=deleted"), access_of(key), access_of(key, "../details/")):
            page.goto(path)
            tops[path] = top_edge(page.get_by_role("navigation", name="This customer"))
            expect(page.get_by_role("button", name="Favourite")).to_be_visible()
        assert len(set(tops.values())) == 1, tops


def test_the_tabs_of_a_user_stand_still(page: Page) -> None:
    home = users_of("contoso", f"{awkward('plain')}/")
    tops = set()
    for path in (home, f"{home}history/"):
        page.goto(path)
        tops.add(top_edge(page.get_by_role("navigation", name="This user")))
    assert len(tops) == 1


# --- Ticks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=lambda size: str(size["width"]))
def test_what_is_done_to_several_shows_while_somebody_is_ticked(viewport: dict[str, int], open_page: OpenPage) -> None:
    page = open_page("admin", users_of("medium"), viewport=viewport)
    bar = page.locator("#several")
    boxes = page.get_by_role("checkbox", name="Select ")
    expect(bar).to_be_hidden()
    boxes.first.check()
    expect(bar.get_by_text("1 ticked:")).to_be_visible()
    expect(bar.get_by_role("button", name="Delete…")).to_be_visible()
    boxes.first.uncheck()
    expect(bar).to_be_hidden()


def test_the_bar_needs_no_javascript(open_page: OpenPage) -> None:
    page = open_page("admin", users_of("medium"), java_script_enabled=False)
    expect(page.locator("#several")).to_be_hidden()
    page.get_by_role("checkbox", name="Select ").nth(1).check()
    expect(page.get_by_role("button", name="Change location…")).to_be_visible()


def test_a_box_has_a_column_of_its_own_and_all_of_its_cell(page: Page) -> None:
    page.goto(users_of("contoso"))
    everybody = page.get_by_role("checkbox", name="All on this page")
    boxes = page.get_by_role("checkbox", name="Select ")
    assert {left_edge(box) for box in [everybody, *boxes.all()]} == {left_edge(everybody)}
    page.locator("#table tbody .tick").first.click(position={"x": 3, "y": 3})
    expect(boxes.first).to_be_checked()
    colours = {row.evaluate("(row) => getComputedStyle(row).backgroundColor") for row in rows(page).all()[:2]}
    assert len(colours) == 2
    everybody.check()
    expect(page.get_by_text("25 ticked:")).to_be_visible()


def test_shift_ticks_all_between_and_x_the_row_that_has_the_focus(page: Page) -> None:
    page.goto(users_of("medium"))
    boxes = page.get_by_role("checkbox", name="Select ")
    boxes.nth(6).check()
    boxes.nth(3).click(modifiers=["Shift"])
    expect(page.get_by_text("4 ticked:")).to_be_visible()
    boxes.nth(4).click()
    expect(page.get_by_text("3 ticked:")).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    first = rows(page).first
    expect(first.get_by_role("rowheader").get_by_role("link")).to_be_focused()
    page.keyboard.press("x")
    expect(first.get_by_role("checkbox")).to_be_checked()
    expect(first.get_by_role("rowheader").get_by_role("link")).to_be_focused()
    page.keyboard.press("x")
    expect(first.get_by_role("checkbox")).not_to_be_checked()
