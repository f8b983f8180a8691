"""Go to customer, the keyboard, settings that follow their person, and the page that was asked for ahead."""

import re

from playwright.sync_api import Locator, Page, expect

from scripts.throwaway import Portal
from tests.browser.conftest import CONTOSO, OpenPage, focused, page_ahead, rows, settled, users_of
from tests.conftest import Cloud


def options(page: Page) -> Locator:
    return page.locator("#goto").get_by_role("option")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


# --- Go to customer -----------------------------------------------------------------------------------------


def test_four_letters_and_enter_open_the_users(page: Page, sandbox: Cloud) -> None:
    page.goto("/audit/")
    before = len(sandbox.journal())
    press(page, "Control+k")
    page.keyboard.type("cont")
    expect(page.get_by_role("option", name="Contoso Trading")).to_be_visible()
    assert len(sandbox.journal()) == before  # no upstream is asked for options
    press(page, "Enter")
    expect(page.get_by_role("heading", name="Contoso Trading")).to_be_visible()
    assert page.url.endswith(users_of("contoso"))


def test_enter_does_not_wait_for_the_options(page: Page) -> None:
    page.goto("/audit/")
    page.route("**/go/?q=*", lambda route: route.continue_() if "open=1" in route.request.url else None)
    press(page, "Control+k")
    page.keyboard.type("cont")
    press(page, "Enter")
    expect(page.get_by_role("heading", name="Contoso Trading")).to_be_visible()


def test_the_arrows_choose_and_escape_gives_the_focus_back(page: Page) -> None:
    page.goto("/customers/")
    page.get_by_role("link", name="Audit trail").focus()
    press(page, "Control+k")
    box = page.get_by_role("combobox", name="Name, domain, tenant ID")
    expect(box).to_be_focused()
    page.keyboard.type("exa")
    shown = options(page)
    expect(shown).to_have_count(8)
    active = page.locator("[role=option][aria-selected=true]")
    for key, place in (("", 0), ("ArrowDown", 1), ("End", 7), ("ArrowDown", 0), ("ArrowUp", 7), ("Home", 0)):
        if key:
            press(page, key)
        expect(shown.nth(place)).to_have_attribute("aria-selected", "true")
        expect(active).to_have_count(1)
        expect(box).to_have_attribute("aria-activedescendant", str(shown.nth(place).get_attribute("id")))
    press(page, "End")
    page.keyboard.type("m")
    expect(shown.nth(0)).to_have_attribute("aria-selected", "true")
    expect(active).to_have_count(1)
    press(page, "Escape")
    expect(page.locator("#goto")).to_be_hidden()
    expect(page.get_by_role("link", name="Audit trail")).to_be_focused()


def test_options_of_fewer_letters_are_not_marked(page: Page) -> None:
    """They may come when more is typed, and Enter opens what the server finds for all of it."""
    page.goto(users_of("contoso"))
    page.goto("/audit/")
    press(page, "Control+k")
    expect(options(page)).to_have_count(1)
    marked = page.locator("[role=option][aria-selected=true]")
    expect(marked).to_have_count(1)
    page.route("**/go/?q=*", lambda route: None)  # which never answers
    page.keyboard.type("northwind")
    expect(marked).to_have_count(0)
    page.unroute("**/go/?q=*")


def test_an_option_that_was_chosen_is_the_one_that_opens(page: Page) -> None:
    page.goto("/audit/")
    press(page, "Control+k")
    page.keyboard.type("exa")
    expect(options(page)).to_have_count(8)
    press(page, "ArrowDown", "ArrowDown")
    third = options(page).nth(2).get_attribute("href")
    press(page, "Enter")
    page.wait_for_url(f"**{third}")


def test_ctrl_enter_opens_a_new_tab_and_this_one_stays(page: Page) -> None:
    page.goto("/audit/")
    press(page, "Control+k")
    page.keyboard.type("cont")
    expect(options(page)).to_have_count(1)
    with page.context.expect_page() as opened:
        press(page, "Control+Enter")
    expect(opened.value.get_by_role("heading", name="Contoso Trading")).to_be_visible()
    assert page.url.endswith("/audit/")


def test_the_last_customers_and_the_starred_stand_there_before_a_letter_is_typed(page: Page) -> None:
    page.goto(users_of("contoso"))
    star = page.get_by_role("button", name="Favourite")
    with settled(page):
        star.click()
    expect(star).to_have_attribute("aria-pressed", "true")
    assert focused(page) == "star-button"
    expect(page.locator("#live")).to_have_text("Contoso Trading is a favourite")
    page.goto(users_of("medium"))
    page.get_by_role("link", name="Go to customer").click()
    opened = page.get_by_role("group", name="Opened last").get_by_role("option")
    expect(opened.nth(1)).to_contain_text("Contoso Trading")
    assert opened.nth(0).get_attribute("href") == users_of("medium")
    press(page, "Escape")
    page.goto(users_of("contoso"))
    with settled(page):
        star.click()
    expect(star).to_have_attribute("aria-pressed", "false")


def test_without_javascript_it_is_a_page(open_page: OpenPage) -> None:
    page = open_page("admin", "/audit/", java_script_enabled=False)
    page.get_by_role("link", name="Go to customer").click()
    page.get_by_role("searchbox", name="Name, domain, tenant ID").fill(CONTOSO)
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="Contoso Trading").click()
    expect(page.get_by_role("heading", name="Contoso Trading")).to_be_visible()


# --- Keyboard -----------------------------------------------------------------------------------------------


def test_single_keys_do_what_the_list_says(page: Page) -> None:
    page.goto("/customers/")
    press(page, "/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("jn[")  # while typing they are letters
    expect(page.locator("#q")).to_have_value("jn[")
    page.goto("/customers/")
    press(page, "j", "j", "k", "j")
    expect(rows(page).nth(1).get_by_role("link").first).to_be_focused()
    with settled(page):
        press(page, "]")
    assert page.url.endswith("page=2")
    with settled(page):
        press(page, "[")
    press(page, "g", "a")
    page.wait_for_url("**/audit/")
    press(page, "g", "c")
    page.wait_for_url("**/customers/")
    page.goto(users_of("contoso"))
    press(page, "n")
    page.wait_for_url("**/users/new/")


def test_a_question_mark_lists_the_shortcuts_and_escape_gives_the_focus_back(page: Page) -> None:
    page.goto("/customers/")
    page.get_by_role("link", name="Audit trail").focus()
    press(page, "?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog.get_by_text("Filter this list")).to_be_visible()
    press(page, "n", "j")  # not behind a dialog
    press(page, "Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("link", name="Audit trail")).to_be_focused()


def test_single_keys_can_be_turned_off_and_ctrl_k_stays(page: Page) -> None:
    page.goto("/settings/")
    with page.expect_response("**/settings/"):
        page.get_by_role("button", name="Off").click()
    expect(page.locator("#live")).to_have_text("Saved")
    press(page, "g", "c", "?")
    page.goto("/customers/")
    press(page, "/", "j", "?", "g", "a")
    page.wait_for_timeout(400)
    assert focused(page) == "BODY"
    assert page.url.endswith("/customers/")
    press(page, "Control+k")
    expect(page.locator("#goto")).to_be_visible()


# --- Settings -----------------------------------------------------------------------------------------------


def test_settings_follow_their_person_into_another_browser(open_page: OpenPage) -> None:
    page = open_page("admin", "/settings/", timezone_id="Europe/Berlin")
    main = page.locator("#main")
    for name in ("Dark", "Comfortable"):
        with page.expect_response("**/settings/"):
            main.get_by_role("button", name=name).click()
        expect(main.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text("Your browser says Europe/Berlin.")).to_be_visible()
    page.get_by_role("button", name="Use it").click()
    expect(page.get_by_label("Time zone")).to_have_value("Europe/Berlin")
    expect(page.get_by_text("Your browser says")).to_be_hidden()

    other = open_page("admin", "/customers/?page=2")
    expect(other.locator("html")).to_have_attribute("data-theme", "dark")
    expect(other.locator("#zone")).to_have_text("Europe/Berlin time")
    box = rows(other).nth(3).bounding_box()
    assert box is not None
    assert 44 <= box["height"] <= 46
    assert re.search(r"CES?T$", str(other.locator("#freshness time").first.get_attribute("title")))


def test_a_time_zone_is_saved_as_it_is_chosen_and_the_rail_says_so(page: Page) -> None:
    page.goto("/settings/")
    page.get_by_label("Time zone").focus()
    with settled(page):
        page.get_by_label("Time zone").select_option("America/New_York")
    expect(page.locator("#zone")).to_have_text("America/New York time")
    assert focused(page) == "set-zone"


def test_without_javascript_each_setting_has_a_button(open_page: OpenPage) -> None:
    page = open_page("admin", "/settings/", java_script_enabled=False)
    page.get_by_label("Customers on a page").select_option("50")
    page.get_by_role("button", name="Save page size").click()
    expect(page.get_by_label("Customers on a page")).to_have_value("50")
    page.get_by_label("Customers on a page").select_option("25")
    page.get_by_role("button", name="Save page size").click()


# --- The page ahead -----------------------------------------------------------------------------------------


def list_calls(sandbox: Cloud) -> int:
    return sum(line["path"].endswith("/users") for line in sandbox.journal("partnercenter", "GET"))


def test_reading_and_going_on_and_back_asks_once_a_page(page: Page, sandbox: Cloud) -> None:
    with page_ahead(page):
        page.goto(users_of("medium"))
    assert list_calls(sandbox) == 2
    first = page.locator("#table tbody th a").first.inner_text()
    with page_ahead(page), settled(page):
        page.get_by_role("link", name="Next").click()
    assert list_calls(sandbox) == 3
    page.go_back(wait_until="networkidle")
    expect(page.locator("#table tbody th a").first).to_have_text(first)
    page.wait_for_timeout(700)
    assert list_calls(sandbox) == 3


def test_who_goes_on_while_the_next_page_is_under_way_waits_for_it(page: Page, sandbox: Cloud) -> None:
    sandbox.fault("partnercenter", "slow", path="/users$", seconds=1.2)
    with page.expect_request("**/users/ahead/**"):
        page.goto(users_of("medium"))
    second = page.locator("#table").get_attribute("data-ahead") or "missing"
    with page.expect_response(lambda answer: "/users/ahead/" in answer.url and second not in answer.url):
        page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("26–50, more to come", exact=True)).to_be_visible()
    assert list_calls(sandbox) == 3  # and the page after that one


def test_nobody_looks_ahead_in_a_tab_that_is_not_seen(page: Page, sandbox: Cloud) -> None:
    page.add_init_script("Object.defineProperty(document, 'hidden', { get: () => true })")
    page.goto(users_of("medium"), wait_until="networkidle")
    page.wait_for_timeout(500)
    assert list_calls(sandbox) == 1


def test_reload_asks_anew(page: Page, sandbox: Cloud, portal: Portal) -> None:
    with page_ahead(page):
        page.goto(users_of("medium"))
    with page_ahead(page), settled(page):
        page.get_by_role("link", name="Next").click()
    before = list_calls(sandbox)
    page.reload(wait_until="networkidle")
    assert list_calls(sandbox) == before + 1
