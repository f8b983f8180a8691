"""The door, the frame, the overview, and what belongs to no customer."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, forget_gdap_syncs, rows, users_of

from .stage import STATES, Stage, page_at, state
from .users import changed

STATES.update(
    {
        "overview": page_at("/"),
        "overview for a reader": page_at("/", "reader"),
        "settings": page_at("/settings/"),
        "shortcuts": page_at("/shortcuts/", "reader"),
        "go to customer, without a script": page_at("/go/?q=co"),
        "go to customer, nothing matches": page_at("/go/?q=vinyard"),
        "audit trail": page_at("/audit/"),
        "audit trail, one's own": page_at("/audit/", "reader"),
        "audit trail, nothing matches": page_at("/audit/?who=nobody"),
        "not allowed": page_at("/gdap/sync/", "reader", status=403),
        "no such page": page_at("/customers/nowhere/at/all/", status=404),
    }
)


# --- The door -----------------------------------------------------------------------------------------------


@state
def sign_in_refused(stage: Stage) -> Page:
    stage.watch.expects(403)
    page = stage.open_page("", "/")
    page.get_by_role("button", name="Felix Adeyemi").click()
    expect(page.get_by_role("link", name="Try again with Microsoft")).to_be_visible()
    return page


@state
def signed_out(stage: Stage) -> Page:
    page = stage.open_page("admin", "/customers/")
    page.get_by_text("Maya Okafor").first.click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    return page


@state
def session_ended_in_a_list(stage: Stage) -> Page:
    stage.watch.expects(401)
    page = stage.open_page("admin", "/customers/")
    page.context.clear_cookies(name="pd_session")
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    return page


@state
def session_ended_in_a_form(stage: Stage) -> Page:
    stage.watch.expects(401)
    page = stage.open_page("admin", users_of("contoso", "new/"))
    page.context.clear_cookies(name="pd_session")
    page.get_by_role("button", name="Create user").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    return page


@state
def session_ended_without_htmx(stage: Stage) -> Page:
    stage.watch.expects(401)
    page = stage.open_page("admin", users_of("contoso", "new/"))
    page.context.clear_cookies(name="pd_session")
    page.locator("form[data-user-form]").evaluate("(form) => form.submit()")  # past htmx
    expect(page.get_by_role("heading", name="Sign in again to go on")).to_be_visible()
    return page


# --- The frame ----------------------------------------------------------------------------------------------


@state
def account_menu(stage: Stage) -> Page:
    page = stage.open_page("admin", "/customers/")
    page.get_by_text("Maya Okafor").first.click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    return page


@state
def row_menu(stage: Stage) -> Page:
    page = stage.open_page("admin", users_of("contoso"))
    rows(page).nth(1).get_by_label("Actions for").click()
    expect(page.get_by_role("button", name="Copy user name").first).to_be_visible()
    return page


@state
def the_menu_of_a_phone(stage: Stage) -> Page:
    page = stage.open_page("admin", "/customers/", viewport=PHONE)
    page.get_by_role("button", name="Menu").click()
    expect(page.get_by_role("link", name="GDAP sync")).to_be_visible()
    return page


@state
def the_filters_of_a_phone(stage: Stage) -> Page:
    page = stage.open_page("admin", "/customers/", viewport=PHONE)
    page.get_by_role("button", name="Filters and sort").click()
    expect(page.get_by_label("Country", exact=True)).to_be_visible()
    return page


@state
def the_filters_of_the_audit_trail_on_a_phone(stage: Stage) -> Page:
    page = stage.open_page("admin", "/audit/", viewport=PHONE)
    page.get_by_role("button", name="Filters").click()
    expect(page.get_by_label("Who", exact=True)).to_be_visible()
    return page


@state
def connection_broken(stage: Stage) -> Page:
    stage.watch.broken_network = True
    page = stage.open_page("admin", "/customers/")
    page.context.set_offline(True)
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("You are offline.").first).to_be_visible()
    return page


# --- The rest -----------------------------------------------------------------------------------------------


@state
def audit_entry(stage: Stage) -> Page:
    page = changed(stage)
    page.goto("/audit/?action=change+user")
    rows(page).first.get_by_role("link").click()
    expect(page.get_by_role("heading", name="For support")).to_be_visible()
    return page


@state
def gdap_sync(stage: Stage) -> Page:
    forget_gdap_syncs(stage.portal)
    page = stage.open_page("admin", "/gdap/sync/")
    expect(page.get_by_role("button", name="Sync customers")).to_be_visible()
    return page


@state
def gdap_sync_requested(stage: Stage) -> Page:
    page = gdap_sync(stage)
    page.get_by_role("button", name="Sync customers").click()
    expect(page.get_by_role("heading", name="Past requests")).to_be_visible()
    return page


@state
def gdap_sync_of_one_request(stage: Stage) -> Page:
    page = gdap_sync_requested(stage)
    page.get_by_role("table").get_by_role("rowheader").first.get_by_role("link").click()
    expect(page.get_by_role("heading", name="How far it is")).to_be_visible()
    return page


# --- The desk -----------------------------------------------------------------------------------------------


@state
def go_to_customer(stage: Stage) -> Page:
    page = stage.open_page("admin", users_of("contoso"))
    page.goto("/customers/?page=2")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("group", name="Opened last")).to_be_visible()
    page.keyboard.type("co")
    expect(page.get_by_role("group", name="Customers")).to_be_visible()
    page.keyboard.press("ArrowDown")
    return page


@state
def shortcuts_in_a_dialog(stage: Stage) -> Page:
    page = stage.open_page("admin", "/customers/?page=2")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    return page


@state
def theme_menu(stage: Stage) -> Page:
    page = stage.open_page("admin", "/settings/")
    if page.locator("#theme").is_visible():
        page.locator("#theme summary").click()
        expect(page.locator("#theme").get_by_role("button", name="Dark")).to_be_visible()
    return page


@state
def setting_refused(stage: Stage) -> Page:
    stage.watch.expects(422)
    page = stage.open_page("admin", "/settings/")
    page.evaluate("document.querySelector('#set-size option').value = '1000'")
    page.get_by_label("Customers on a page").select_option("1000")
    expect(page.locator("#notice")).to_contain_text("There is no page size “1000”.")
    return page
