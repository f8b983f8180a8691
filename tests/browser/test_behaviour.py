"""What a person does to a page that no request on its own can show: presses, focus, Back, tabs, no JavaScript."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from partnerportal.sandbox import seed
from scripts.throwaway import Portal
from tests.browser.conftest import (
    CONTOSO,
    PHONE,
    SMALL,
    OpenPage,
    Watch,
    awkward,
    focused,
    nothing_ahead,
    rows,
    settled,
    users_of,
    writes,
)
from tests.conftest import Cloud
from users import names

NEW = users_of("contoso", "new/")


def fill_new(page: Page, first: str = "Maya", last: str = "Lind") -> None:
    page.get_by_label("First name").fill(first)
    page.get_by_label("Last name").fill(last)


def first_name(page: Page) -> str:
    return rows(page).first.get_by_role("rowheader").get_by_role("link").inner_text()


# --- Two presses, one write ---------------------------------------------------------------------------------


def test_a_double_click_creates_once(page: Page, sandbox: Cloud) -> None:
    page.goto(NEW)
    fill_new(page)
    sandbox.fault("partnercenter", "slow", method="POST", path="/users", seconds=1)
    page.get_by_role("button", name="Create user").dblclick()
    expect(page.get_by_role("heading", name="Maya Lind was created")).to_be_visible()
    assert len(writes(sandbox)) == 1


def test_a_double_click_without_htmx_creates_once_and_shows_the_page(open_page: OpenPage, sandbox: Cloud) -> None:
    page = open_page("admin", NEW, java_script_enabled=False)
    fill_new(page)
    page.get_by_label("Display name").fill("Maya Lind")
    page.get_by_label("User name, part before the at sign").fill("maya.lind")
    sandbox.fault("partnercenter", "slow", method="POST", path="/users", seconds=1)
    page.get_by_role("button", name="Create user").dblclick()
    expect(page.get_by_role("heading", name="Maya Lind was created")).to_be_visible()
    expect(page.get_by_label("Temporary password")).not_to_be_empty()
    assert len(writes(sandbox)) == 1


def test_a_slow_press_says_so_and_keeps_the_focus(page: Page, sandbox: Cloud) -> None:
    page.goto(NEW)
    fill_new(page)
    sandbox.fault("partnercenter", "slow", method="POST", path="/users", seconds=2)
    page.get_by_role("button", name="Create user").click()
    expect(page.get_by_role("button", name="Creating…")).to_be_visible()
    assert focused(page) == "create"
    expect(page.get_by_role("heading", name="Maya Lind was created")).to_be_focused()


def test_an_answer_that_never_came_is_unknown_and_found_by_checking(page: Page, sandbox: Cloud) -> None:
    page.goto(NEW)
    fill_new(page)
    sandbox.fault("partnercenter", "drop_after", method="POST", path="/users")
    page.get_by_role("button", name="Create user").click()
    heading = page.get_by_role("heading", name="We do not know if Maya Lind was created")
    expect(heading).to_be_focused()
    page.get_by_role("button", name="Check again").click()
    expect(page.get_by_role("heading", name="Maya Lind was created")).to_be_visible()
    assert len(writes(sandbox)) == 1


# --- The session ends ---------------------------------------------------------------------------------------


def test_a_session_that_ran_out_keeps_what_was_typed(
    page: Page, sandbox: Cloud, watch: Watch, move_clock: Callable[[float], None]
) -> None:
    watch.expects(401)
    page.goto(NEW)
    fill_new(page)
    move_clock(31 * 60)
    page.get_by_role("button", name="Create user").click()
    dialog = page.get_by_role("dialog", name="Sign in again to go on")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("heading")).to_be_focused()
    expect(page).to_have_url(re.compile("/users/new/$"))
    assert writes(sandbox) == []

    with page.context.expect_page() as opened:
        dialog.get_by_role("link", name="Sign in (new tab)").click()
    tab = opened.value
    tab.get_by_role("button", name="(admin)").click()
    expect(tab).to_have_url(re.compile("/users/new/$"))  # `next` is the page behind the dialog
    tab.close()

    dialog.get_by_role("button", name="Send again").click()
    expect(page.get_by_role("heading", name="Maya Lind was created")).to_be_visible()
    assert len(writes(sandbox)) == 1


def test_a_session_that_ran_out_in_a_list_leads_back_to_it(page: Page, watch: Watch) -> None:
    watch.expects(401)
    page.goto("/customers/?source=both")
    page.context.clear_cookies(name="pd_session")
    page.get_by_role("link", name="Next").click()
    dialog = page.get_by_role("dialog", name="Sign in again to go on")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(rows(page)).to_have_count(25)
    page.get_by_role("link", name="Next").click()
    dialog.get_by_role("link", name="Sign in").click()
    page.get_by_role("button", name="(admin)").click()
    expect(page).to_have_url(re.compile(r"/customers/\?source=both"))


def test_back_without_a_session_shows_nothing_old(page: Page) -> None:
    page.goto("/customers/")
    with settled(page):
        page.get_by_role("link", name="Next").click()
    page.context.clear_cookies()
    page.go_back()
    expect(page.get_by_role("heading", name="Pick an account")).to_be_visible()


# --- The URL is the view ------------------------------------------------------------------------------------


def test_back_forward_and_reload_rebuild_the_view(page: Page) -> None:
    page.goto("/customers/")
    opened = first_name(page)
    with settled(page):
        page.get_by_label("Source", exact=True).select_option("both")
    expect(page).to_have_url(re.compile(r"/customers/\?source=both$"))
    with settled(page):
        page.get_by_role("link", name="Next").click()
    expect(page).to_have_url(re.compile(r"source=both&page=2$"))
    second = first_name(page)
    with settled(page):
        page.get_by_role("link", name="Default domain").click()
    expect(page).to_have_url(re.compile(r"source=both&sort=domain$"))

    page.go_back()
    expect(page.get_by_text("26–50", exact=True)).to_be_visible()
    assert first_name(page) == second
    expect(page.get_by_label("Source", exact=True)).to_have_value("both")
    page.reload()
    assert first_name(page) == second
    expect(page.get_by_label("Source", exact=True)).to_have_value("both")
    page.evaluate("history.go(-2)")
    expect(page).to_have_url(re.compile(r"/customers/$"))
    expect(page.get_by_text("1–25", exact=True)).to_be_visible()
    expect(page.get_by_label("Source", exact=True)).to_have_value("")
    assert first_name(page) == opened
    page.evaluate("history.go(2)")
    expect(page).to_have_url(re.compile(r"source=both&page=2$"))
    expect(page.get_by_text("26–50", exact=True)).to_be_visible()
    assert first_name(page) == second
    expect(page.get_by_role("link", name="Skip to main content")).to_have_count(1)  # a page, not a fragment


def test_the_view_is_the_one_of_the_url_however_fast_one_goes_back(page: Page) -> None:
    page.goto("/customers/")
    for _ in range(3):
        with settled(page):
            page.get_by_role("link", name="Next").click()
    page.evaluate("for (const wait of [0, 10, 40]) setTimeout(() => history.back(), wait)")
    page.wait_for_timeout(1500)
    shown = {"": "1–25", "page=2": "26–50", "page=3": "51–75", "page=4": "76–76"}
    expect(page.get_by_text(shown[page.url.partition("?")[2]], exact=True)).to_be_visible()
    assert not page.url.endswith("page=4")


def test_typing_filters_and_adds_no_history(page: Page) -> None:
    page.goto("/gdap/sync/")
    page.goto("/customers/")
    page.get_by_label("Filter by name, domain or tenant ID").press_sequentially("north", delay=60)
    expect(rows(page)).to_have_count(2)
    expect(page).to_have_url(re.compile(r"/customers/\?q=north$"))
    assert focused(page) == "q"
    expect(page.locator("#live")).to_have_text("2 customers, page 1 of 1")
    page.reload()
    expect(page.get_by_label("Filter by name, domain or tenant ID")).to_have_value("north")
    expect(rows(page)).to_have_count(2)
    page.go_back()
    expect(page).to_have_url(re.compile("/gdap/sync/$"))


def test_sort_and_size_stay_when_filters_change(page: Page) -> None:
    page.goto("/customers/")
    with settled(page):
        page.get_by_role("link", name="Customer", exact=True).click()
    with settled(page):
        page.get_by_label("Rows").select_option("50")
    with settled(page):
        page.get_by_label("AvePoint status").select_option("Failed")
    url = page.url
    assert all(part in url for part in ("sort=-name", "size=50", "ap=Failed")), url
    with settled(page):
        page.get_by_label("Filter by name, domain or tenant ID").fill("co")
    assert all(part in page.url for part in ("q=co", "sort=-name", "size=50", "ap=Failed")), page.url
    expect(page.get_by_role("columnheader", name="Customer")).to_have_attribute("aria-sort", "descending")


def test_the_theme_stays(page: Page) -> None:
    page.goto("/customers/")
    page.locator("#theme summary").click()
    with page.expect_response("**/theme/"):
        page.get_by_role("button", name="Dark").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.goto("/audit/")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    assert dark == "rgb(14, 17, 22)"
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.locator("#theme summary").click()
    with page.expect_response("**/theme/"):  # it is the person's, so the next test would find it
        page.get_by_role("button", name="System").click()


def test_the_last_press_wins(page: Page, sandbox: Cloud) -> None:
    """Two links of one table, pressed before the first has answered: the view is the one that the URL names."""
    nothing_ahead(page)
    page.goto(users_of("contoso"))
    sandbox.fault("partnercenter", "slow", path="/users", seconds=1)
    page.get_by_role("link", name="Next").click()
    with settled(page):
        page.get_by_role("link", name="Display name").click()
    expect(page).to_have_url(re.compile(r"sort=-name$"))
    page.wait_for_timeout(1200)
    expect(page).to_have_url(re.compile(r"sort=-name$"))
    expect(page.get_by_role("columnheader", name="Display name")).to_have_attribute("aria-sort", "descending")
    expect(page.get_by_text("1–25, more to come", exact=True)).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


# --- The focus ----------------------------------------------------------------------------------------------


def test_the_focus_stays_on_what_was_pressed(page: Page) -> None:
    page.goto("/customers/")
    with settled(page):
        page.locator("#page-next").press("Enter")
    assert focused(page) == "page-next"
    with settled(page):
        page.locator("#sort-name").press("Enter")
    assert focused(page) == "sort-name"
    expect(page.get_by_role("columnheader", name="Customer")).to_have_attribute("aria-sort", "descending")
    with settled(page):
        page.locator("#page-4").press("Enter")
    expect(page.get_by_text("76–76", exact=True)).to_be_visible()
    with settled(page):
        page.locator("#page-previous").press("Enter")
    with settled(page):
        page.locator("#page-next").press("Enter")  # and there is no Next on the last page
    assert focused(page) == "table"


def test_the_focus_stays_on_next_of_the_users(page: Page) -> None:
    page.goto(users_of("contoso"))
    with settled(page):
        page.locator("#page-next").press("Enter")
    expect(page.locator("#page-next")).to_have_count(0)
    assert focused(page) == "table"
    with settled(page):
        page.locator("#page-previous").press("Enter")
    with settled(page):
        page.locator("#sort-name").press("Enter")
    assert focused(page) == "sort-name"


def test_errors_take_the_focus_and_lead_to_their_fields(page: Page, sandbox: Cloud, watch: Watch) -> None:
    watch.expects(422)
    page.goto(NEW)
    page.get_by_label("Display name").fill("Adele Vance")
    page.get_by_label("Usage location").select_option("")
    page.get_by_label("I type one").check()
    page.get_by_label("Password to set").fill("short")
    page.get_by_role("button", name="Create user").click()
    summary = page.locator(".errsum")
    expect(summary).to_be_focused()
    expect(summary.get_by_role("heading")).to_have_text("The user was not created: fix 3 fields")
    expect(page).to_have_title(re.compile("^Error: New user"))
    for text in summary.get_by_role("link").all_inner_texts():
        expect(page.locator(".err").get_by_text(text)).to_be_visible()
    expect(page.get_by_label("Display name")).to_have_value("Adele Vance")
    expect(page.get_by_label("Password to set")).to_have_value("")
    summary.get_by_role("link", name="Choose a usage location").click()
    assert focused(page) == "id_usage_location"
    expect(page.get_by_label("Usage location")).to_have_accessible_description(re.compile("Choose a usage location"))
    assert writes(sandbox) == []


def test_a_taken_name_is_told_on_its_field_with_free_ones(page: Page, watch: Watch) -> None:
    watch.expects(422)
    page.goto(NEW)
    fill_new(page, "Adele", "Vance")
    page.get_by_label("Domain", exact=True).select_option("contosotrading.example")
    page.get_by_role("button", name="Create user").click()
    expect(page.locator(".errsum")).to_contain_text("The user name adele.vance@contosotrading.example is taken.")
    page.get_by_role("button", name="adele.vance2").click()
    expect(page.get_by_label("User name, part before the at sign")).to_have_value("adele.vance2")
    expect(page.get_by_label("User name, part before the at sign")).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="Adele Vance was created")).to_be_visible()


def test_the_script_proposes_what_the_server_would(page: Page) -> None:
    page.goto(NEW)
    box = page.get_by_label("User name, part before the at sign")
    people = [
        ("Jürgen", "Groß"),
        ("Søren", "van den Ångström"),
        ("Ə", "’t Hart"),
        ("Иvan", "Lee"),
        ("Ann", ""),
        ("İpek", "Łuk-Le"),
    ]
    for pattern in names.PATTERNS:
        box.evaluate("(box, pattern) => { box.dataset.pattern = pattern; }", pattern)
        for first, last in people:
            fill_new(page, first, last)
            expect(box).to_have_value(names.propose(first, last, pattern))


def test_a_whole_user_name_beside_the_only_domain_is_split_and_any_other_stays(page: Page, sandbox: Cloud) -> None:
    cloud = sandbox.running.cloud.world.customers[seed.SPECIAL["many_groups"]]
    assert cloud.directory.users, "who is made when somebody first looks, with the domains of then"
    cloud.custom_domains = []
    page.goto(users_of("many_groups", "new/"))
    box = page.get_by_label("User name, part before the at sign")
    expect(box).to_have_accessible_description(re.compile(re.escape(cloud.domain)))
    for typed, left in ((f"ann@{cloud.domain.upper()}", "ann"), ("ann@elsewhere.example", "ann@elsewhere.example")):
        box.fill(typed)
        box.press("Tab")
        expect(box).to_have_value(left)


def test_a_task_needs_no_mouse(page: Page, sandbox: Cloud) -> None:
    page.goto(users_of("contoso"))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to main content")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, "Actions for Abena Bianchi")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Edit", exact=True).first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Actions for Abena Bianchi")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_label("Phone").focus()
    page.keyboard.type("+00 555 0123")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="Check before saving")).to_be_focused()
    tab_to(page, "Save 1 change in Contoso Trading")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Abena Bianchi was changed")).to_be_focused()
    assert len(writes(sandbox)) == 1


def tab_to(page: Page, name: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        here: str = page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText || ''")
        if here.strip() == name:
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    pytest.fail(f"Tab never reached {name}")


# --- A change, and somebody else's --------------------------------------------------------------------------


def test_what_somebody_else_changed_is_kept_or_replaced_by_choice(page: Page, sandbox: Cloud, watch: Watch) -> None:
    watch.expects(409)
    page.goto(users_of("contoso", f"{awkward('plain')}/edit/"))
    page.get_by_label("Last name").fill("Mine")
    page.get_by_label("Phone").fill("+00 555 0111")
    page.get_by_role("button", name="Check before saving").click()
    adele = sandbox.running.cloud.world.customers[CONTOSO].directory.users[awkward("plain")]
    adele.last_name, adele.phone = "Theirs", "+00 555 0222"
    page.get_by_role("button", name="Save 2 changes").click()
    expect(page.get_by_text("Adele Vance changed since you opened this form.")).to_be_visible()
    assert writes(sandbox) == []
    page.get_by_role("row", name=re.compile("Last name")).get_by_role("radio").nth(1).check()
    page.get_by_role("button", name="Go on with these values").click()
    page.get_by_role("button", name="Save 1 change in").click()
    expect(page.get_by_role("heading", name="Adele Vance was changed")).to_be_visible()
    adele = sandbox.running.cloud.world.customers[CONTOSO].directory.users[awkward("plain")]
    assert (adele.last_name, adele.phone) == ("Mine", "+00 555 0222")


# --- Secrets ------------------------------------------------------------------------------------------------


def test_the_password_is_shown_once(page: Page, sandbox: Cloud) -> None:
    page.goto(NEW)
    fill_new(page)
    page.get_by_role("button", name="Create user").click()
    password = page.get_by_label("Temporary password").input_value()
    url = page.url
    page.get_by_role("link", name="Open user").click()
    expect(page.get_by_role("heading", name="Maya Lind")).to_be_visible()
    assert password not in page.content()
    page.go_back()
    page.wait_for_load_state()
    assert password not in page.content()
    page.goto(url)
    page.reload()
    assert password not in page.content()
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    assert len(writes(sandbox)) == 1


def test_the_password_without_htmx_is_shown_once(open_page: OpenPage, sandbox: Cloud) -> None:
    page = open_page("admin", NEW, java_script_enabled=False)
    page.get_by_label("Display name").fill("Nora Script")
    page.get_by_label("User name, part before the at sign").fill("nora.script")
    with page.expect_response(lambda response: response.request.method == "POST") as answer:
        page.get_by_role("button", name="Create user").click()
    password = page.get_by_label("Temporary password").input_value()
    assert answer.value.headers["cache-control"] == "no-store"  # so that Back asks before it sends a form twice
    page.get_by_role("link", name="Open user").click()
    assert password not in page.content()
    page.goto(NEW)
    page.get_by_label("Display name").fill("Nina Script")
    page.get_by_label("User name, part before the at sign").fill("nina.script")
    page.get_by_role("button", name="Create user").click()
    page.get_by_role("button", name="Done").click()
    expect(page).to_have_url(re.compile("/users/$"))
    assert len(writes(sandbox)) == 2


def test_nothing_of_a_customer_is_stored_in_the_browser(page: Page) -> None:
    page.goto("/customers/")
    page.get_by_role("link", name="Next").click()
    page.get_by_role("link", name="Default domain").click()
    page.goto(users_of("contoso"))
    with settled(page):
        page.get_by_role("link", name="Next").click()
    page.go_back()
    expect(rows(page)).to_have_count(25)
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    assert page.evaluate("caches.keys()") == []
    assert page.evaluate("indexedDB.databases()") == []
    ours = {cookie["name"] for cookie in page.context.cookies(page.url)} - {"sb_entra"}  # Entra's own
    assert ours - {"pd_theme"} == {"pd_session", "pd_csrf"}


# --- Without JavaScript, and small --------------------------------------------------------------------------


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


# --- Upstream fails -----------------------------------------------------------------------------------------


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
