"""What a person does to a page that no request on its own can show: presses, focus, Back, tabs, no JavaScript."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import (
    CONTOSO,
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


def test_ticks_that_go_with_their_page_are_said_to_be_gone(page: Page) -> None:
    page.goto(users_of("contoso"))
    for row in (0, 3):
        rows(page).nth(row).get_by_role("checkbox").check()
    with settled(page):
        page.get_by_role("link", name="Next").click()
    expect(page.locator("#live")).to_have_text(re.compile(r"^Users 26–[0-9]+\. Nobody is ticked any more$"))
    with settled(page):
        page.get_by_role("link", name="Previous").click()
    expect(page.locator("#live")).not_to_contain_text("ticked")


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


def test_a_file_that_cannot_be_sent_leaves_the_form_as_usable_as_before(page: Page, watch: Watch) -> None:
    watch.expects(422)
    page.goto("/onboarding/new/")
    file, send = page.locator("[type=file]"), page.get_by_role("button", name="Check this file")
    send.click()
    expect(page.get_by_role("alert").or_(page.locator(".errsum")).first).to_contain_text("file")
    file.set_input_files({"name": "large.csv", "mimeType": "text/csv", "buffer": b"x" * 5_300_000})
    send.click()
    page.wait_for_timeout(500)  # so long that the button would have said "Reading…"
    expect(send).to_have_text("Check this file")
    expect(page.locator("form[data-drop]")).not_to_have_attribute("aria-busy", "true")
    row = b"First name,Last name,User name\nAda,Lind,ada.lind\n"
    file.set_input_files({"name": "starters.csv", "mimeType": "text/csv", "buffer": row})
    send.click()
    expect(page).not_to_have_url(re.compile("/onboarding/new/$"))


def test_two_files_dropped_at_once_are_refused_on_the_field(page: Page) -> None:
    page.goto("/onboarding/new/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    drop = """(names) => { const all = new DataTransfer();
        names.forEach((name) => all.items.add(new File(["First name,Last name\\nAda,Lind\\n"], name)));
        const drop = new DragEvent("drop", { dataTransfer: all, bubbles: true, cancelable: true });
        document.querySelector("[data-drop]").dispatchEvent(drop); }"""
    page.evaluate(drop, ["one.csv", "two.csv"])
    page.wait_for_timeout(300)
    assert "POST" not in asked
    assert "Drop one file." in page.locator("[type=file]").evaluate("(input) => input.validationMessage")
    page.evaluate(drop, ["one.csv"])
    expect(page).not_to_have_url(re.compile("/onboarding/new/$"))


# --- Answers that are no page -------------------------------------------------------------------------------


def test_an_export_that_is_refused_says_so(page: Page, watch: Watch) -> None:
    watch.expects(429)
    refusal = {"status": 429, "content_type": "text/html", "body": "<h1>Ten files a minute are the most</h1>"}
    page.goto("/customers/")
    page.route("**/export.csv*", lambda route: route.fulfill(**refusal))
    page.get_by_role("link", name=re.compile("^Export")).click()
    expect(page.get_by_role("heading", name="Ten files a minute are the most")).to_be_visible()


def test_a_form_that_is_answered_with_a_file_does_not_stay_dimmed(page: Page) -> None:
    file = {"Content-Disposition": 'attachment; filename="links.csv"', "Content-Type": "text/csv"}
    page.goto("/customers/")
    page.route("**/customers/refresh/", lambda route: route.fulfill(status=200, headers=file, body="a,b"))
    with page.expect_download():
        page.get_by_role("button", name="Refresh").click()
    form = page.locator("form:has(#refresh)")
    expect(form).to_have_attribute("aria-busy", "true")
    expect(form).not_to_have_attribute("aria-busy", "true")
