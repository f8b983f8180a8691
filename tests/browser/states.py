"""Every page of the portal and every state it can be in: how a browser gets there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page, expect

from partnerportal.sandbox import seed
from scripts.throwaway import Portal
from tests.browser.conftest import (
    CONTOSO,
    PHONE,
    OpenPage,
    Watch,
    access_of,
    awkward,
    forget_gdap_syncs,
    gdap_was_read,
    nothing_ahead,
    rows,
    settled,
    users_of,
)
from tests.conftest import Cloud

State = Callable[["Stage"], Page]
STATES: dict[str, State] = {}


@dataclass
class Stage:
    """What a state needs to come about."""

    portal: Portal
    empty_portal: Callable[[], Portal]
    sandbox: Cloud
    watch: Watch
    open_page: OpenPage


AVEPOINT_ONLY = "/customers/ap-77e4dde9-9b3f-4b6c-9d0f-25705db15101/"


def details_of(name: str) -> str:
    """The details of one of the cloud's special customers."""
    return f"/customers/{seed.SPECIAL[name]}/details/"


def state(made: State) -> State:
    STATES[made.__name__.replace("_", " ")] = made
    return made


def page_at(path: str, persona: str = "admin", status: int = 200) -> State:
    """A page that needs nothing but its address."""

    def opened(stage: Stage) -> Page:
        stage.watch.expects(status)
        page = stage.open_page(persona)
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == status, (path, answer.status)
        return page

    return opened


STATES.update(
    {
        "overview": page_at("/"),
        "overview for a reader": page_at("/", "reader"),
        "customers": page_at("/customers/"),
        "customers, the awkward ones": page_at("/customers/?page=4&sort=name"),
        "customers filtered": page_at("/customers/?source=pc&sort=-name"),
        "customers, nothing matches": page_at("/customers/?q=vinyard&source=both"),
        "customers that need attention": page_at("/customers/?view=needs-attention&country=France,Vietnam"),
        "customers with all columns": page_at(
            "/customers/?cols=name,domain,source,country,access,gdap,ap,tenant,owner,codes,tags"
        ),
        "customers, columns without a script": page_at("/customers/columns/"),
        "users": page_at(users_of("contoso", "?sort=-name")),
        "users deleted": page_at(users_of("contoso", "?state=deleted")),
        "users read-only": page_at(users_of("readonly"), "writer"),
        "users for a reader": page_at(users_of("contoso"), "reader"),
        "users, access ends soon": page_at(users_of("expiring")),
        "users, none there": page_at(users_of("no_users")),
        "users, no access": page_at(users_of("expired"), status=403),
        "a customer that only AvePoint knows": page_at(f"{AVEPOINT_ONLY}users/"),
        "details": page_at(details_of("contoso")),
        "details for a reader": page_at(details_of("contoso"), "reader"),
        "details of a customer that only AvePoint knows": page_at(f"{AVEPOINT_ONLY}details/?beside=nowhere.example"),
        "matches": page_at("/matches/"),
        "matches for a reader": page_at("/matches/?why=names", "reader"),
        "settings": page_at("/settings/"),
        "shortcuts": page_at("/shortcuts/", "reader"),
        "go to customer, without a script": page_at("/go/?q=co"),
        "go to customer, nothing matches": page_at("/go/?q=vinyard"),
        "a user": page_at(users_of("contoso", f"{awkward('synced')}/")),
        "a user with a long name": page_at(users_of("contoso", f"{awkward('very_long')}/")),
        "a user written from right to left": page_at(users_of("contoso", f"{awkward('rtl')}/")),
        "a user that is gone": page_at(users_of("contoso", "11111111-1111-4111-8111-111111111111/"), status=404),
        "new user": page_at(users_of("contoso", "new/")),
        "new user, not allowed": page_at(users_of("readonly", "new/"), "writer", status=403),
        "edit": page_at(users_of("contoso", f"{awkward('plain')}/edit/")),
        "edit a user from on premises": page_at(users_of("contoso", f"{awkward('synced')}/edit/")),
        "edit without the right to set a password": page_at(users_of("contoso", f"{awkward('plain')}/edit/"), "writer"),
        "access": page_at(access_of("union")),
        "access, the group is missing": page_at(access_of("contoso"), "nested"),
        "access, nothing there": page_at(access_of("none")),
        "access, ended": page_at(access_of("expired"), "writer"),
        "access, cannot tell": page_at(access_of("status_expiring"), "writer"),
        "sources": page_at("/sources/"),
        "sources for a reader": page_at("/sources/", "reader"),
        "audit trail": page_at("/audit/"),
        "audit trail, one's own": page_at("/audit/", "reader"),
        "audit trail, nothing matches": page_at("/audit/?who=nobody"),
        "not allowed": page_at("/gdap/sync/", "reader", status=403),
        "no such page": page_at("/customers/nowhere/at/all/", status=404),
    }
)


# --- The customer list --------------------------------------------------------------------------------------


@state
def customers_with_a_menu_open(stage: Stage) -> Page:
    page = stage.open_page("admin", "/customers/?page=2")
    page.locator("summary[aria-label^='Actions for']").first.click()
    expect(page.get_by_role("link", name="Open users")).to_be_visible()
    return page


@state
def customers_choosing_columns(stage: Stage) -> Page:
    page = stage.open_page("admin", "/customers/?page=2")
    page.get_by_role("link", name="Columns").click()
    expect(page.get_by_role("heading", name="Columns of the customer list")).to_be_visible()
    return page


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


# --- An upstream that fails ---------------------------------------------------------------------------------


@state
def users_and_partner_center_down(stage: Stage) -> Page:
    stage.watch.expects(502, 503, 504)
    stage.sandbox.fault("partnercenter", "status", path="/users", status=503, times=0)
    return stage.open_page("admin", users_of("contoso"))


@state
def users_page_two_failed(stage: Stage) -> Page:
    stage.watch.expects(502, 503, 504)
    page = stage.open_page("admin")
    nothing_ahead(page)
    page.goto(users_of("contoso"))
    stage.sandbox.fault("partnercenter", "status", path="/users", status=503, times=0)
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#notice .notice")).to_be_visible()
    return page


@state
def a_user_and_partner_center_down(stage: Stage) -> Page:
    stage.watch.expects(502, 503, 504)
    stage.sandbox.fault("partnercenter", "status", path="/users/", status=503, times=0)
    return stage.open_page("admin", users_of("contoso", f"{awkward('plain')}/"))


@state
def roles_cannot_be_checked(stage: Stage) -> Page:
    stage.sandbox.fault("graph", "status", status=503, times=0)
    return stage.open_page("admin", users_of("accents"))


@state
def slow_down(stage: Stage) -> Page:
    stage.watch.expects(429)
    stage.sandbox.fault(
        "partnercenter", "status", path="/users/", status=429, times=0, headers={"Retry-After": "40"}, body="{}"
    )
    return stage.open_page("admin", users_of("contoso", f"{awkward('plain')}/"))


# --- A new user ---------------------------------------------------------------------------------------------


def fill_new(page: Page, first: str = "Maya", last: str = "Lind") -> None:
    page.get_by_label("First name").fill(first)
    page.get_by_label("Last name").fill(last)


@state
def new_user_with_errors(stage: Stage) -> Page:
    stage.watch.expects(422)
    page = stage.open_page("admin", users_of("contoso", "new/"))
    page.get_by_label("Usage location").select_option("")
    page.get_by_label("I type one").check()
    page.get_by_text("Advanced").click()
    page.get_by_label("Immutable ID").fill("x")
    page.get_by_role("button", name="Create user").click()
    expect(page.get_by_role("alert").get_by_role("heading")).to_contain_text("The user was not created: fix")
    return page


@state
def new_user_whose_name_is_taken(stage: Stage) -> Page:
    stage.watch.expects(422)
    page = stage.open_page("admin", users_of("contoso", "new/"))
    fill_new(page, "Adele", "Vance")
    page.get_by_label("Domain", exact=True).select_option("contosotrading.example")
    page.get_by_role("button", name="Create user").click()
    expect(page.get_by_role("heading", name="What Partner Center answered")).to_be_visible()
    return page


@state
def new_user_on_another_domain(stage: Stage) -> Page:
    page = stage.open_page("admin", users_of("contoso", "new/"))
    page.get_by_label("Domain", exact=True).select_option("other")
    page.get_by_label("I type one").check()
    expect(page.get_by_label("Other domain")).to_be_visible()
    return page


@state
def created(stage: Stage) -> Page:
    page = stage.open_page("admin", users_of("contoso", "new/"))
    fill_new(page)
    page.get_by_role("button", name="Create user").click()
    expect(page.get_by_role("heading", name="Maya Lind was created")).to_be_visible()
    return page


def fill_new_with_a_licence(stage: Stage) -> Page:
    page = stage.open_page("admin", users_of("contoso", "new/"))
    fill_new(page)
    page.get_by_label("Minecraft Education").check()
    return page


@state
def created_and_the_licence_refused(stage: Stage) -> Page:
    page = fill_new_with_a_licence(stage)
    stage.sandbox.state("set_units", tenant_id=CONTOSO, sku="MEE_FACULTY", units=0)
    page.get_by_role("button", name="Create user").click()
    expect(page.get_by_text("The licence was refused: none left.")).to_be_visible()
    return page


@state
def licences_not_assigned_yet(stage: Stage) -> Page:
    page = fill_new_with_a_licence(stage)
    stage.sandbox.fault("graph", "status", status=503, times=0)
    page.get_by_role("button", name="Create user").click()
    page.get_by_role("link", name="Assign the licence").click()
    expect(page.get_by_role("button", name="Assign them now")).to_be_visible()
    return page


@state
def not_known(stage: Stage) -> Page:
    page = stage.open_page("admin", users_of("contoso", "new/"))
    fill_new(page)
    stage.sandbox.fault("partnercenter", "drop_after", method="POST", path="/users")
    stage.sandbox.fault("partnercenter", "status", method="GET", path="/users", status=503, times=0)
    page.get_by_role("button", name="Create user").click()
    expect(page.get_by_role("heading", name="We do not know if Maya Lind was created")).to_be_visible()
    return page


@state
def found_and_perhaps_somebody_elses(stage: Stage) -> Page:
    """The names could not be looked through before it was sent, and then a user with these values is there."""
    page = not_known(stage)
    stage.sandbox.no_faults()
    page.get_by_role("button", name="Check again").click()
    expect(page.get_by_role("button", name="It is the one I created")).to_be_visible()
    return page


@state
def denied_at_submit(stage: Stage) -> Page:
    stage.watch.expects(403)
    page = stage.open_page("writer", users_of("contoso", "new/"))
    fill_new(page)
    stage.sandbox.state("remove_from_group", persona="writer", group="GDAP Directory Writers")
    page.get_by_role("button", name="Create user").click()
    expect(page.get_by_role("alert").get_by_role("heading")).to_contain_text("The user was not created")
    return page


# --- A change -----------------------------------------------------------------------------------------------


def open_edit(stage: Stage, **changes: str) -> Page:
    page = stage.open_page("admin", users_of("contoso", f"{awkward('plain')}/edit/"))
    for label, value in changes.items():
        page.get_by_label(label.replace("_", " ")).first.fill(value)
    return page


@state
def edit_with_errors(stage: Stage) -> Page:
    stage.watch.expects(422)
    page = open_edit(stage, Display_name="", First_name="", Last_name="")
    page.get_by_role("button", name="Check before saving").click()
    expect(page.get_by_role("alert").get_by_role("heading")).to_contain_text("The user was not changed")
    return page


@state
def edit_nothing(stage: Stage) -> Page:
    stage.watch.expects(422)
    page = open_edit(stage)
    page.get_by_role("button", name="Check before saving").click()
    expect(page.get_by_text("You changed nothing.")).to_be_visible()
    return page


@state
def review(stage: Stage) -> Page:
    page = open_edit(stage, Last_name="Bellini-Moss", Phone="")
    page.get_by_label("Usage location").select_option("IT")
    page.get_by_label("Make a new one").check()
    page.get_by_role("button", name="Check before saving").click()
    expect(page.get_by_role("heading", name="Check before saving")).to_be_visible()
    return page


@state
def conflict(stage: Stage) -> Page:
    stage.watch.expects(409)
    page = review(stage)
    change_elsewhere(stage.sandbox, last_name="Vance-Moss", phone="+00 555 0199")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Changed meanwhile")).to_be_visible()
    return page


@state
def changed(stage: Stage) -> Page:
    page = review(stage)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="was changed")).to_be_visible()
    return page


def change_elsewhere(sandbox: Cloud, **values: Any) -> None:
    """Somebody else changes Adele Vance, in Microsoft's own pages."""
    world = sandbox.running.cloud.world
    found = world.customers[CONTOSO].directory.users[awkward("plain")]
    for name, value in values.items():
        assert hasattr(found, name), name
        setattr(found, name, value)


# --- Matches and labels ---------------------------------------------------------------------------------------


@state
def matches_decided_in_place(stage: Stage) -> Page:
    """One linked and one kept apart: both stay in sight until the page is left."""
    page = stage.open_page("admin", "/matches/?show=decided")
    tidy_matches(page)
    page.goto("/matches/?why=name")
    cards = page.get_by_role("article")
    cards.nth(0).get_by_role("button", name="Link").click()
    expect(cards.nth(0).get_by_text("Linked by Maya Okafor")).to_be_visible()
    expect(cards.nth(1)).to_be_focused()
    cards.nth(1).get_by_role("button", name="Keep apart").click()
    expect(cards.nth(1).get_by_text("Kept apart by Maya Okafor")).to_be_visible()
    return page


@state
def matches_decided(stage: Stage) -> Page:
    page = matches_decided_in_place(stage)
    page.goto("/matches/?show=decided")
    rows(page).first.get_by_label("Actions for").click()
    expect(page.get_by_role("button", name="Undo this one").first).to_be_visible()
    page.keyboard.press("Escape")
    return page


@state
def a_match_that_somebody_decided_meanwhile(stage: Stage) -> Page:
    stage.watch.expects(409)
    page = stage.open_page("admin", "/matches/?show=decided")
    tidy_matches(page)
    page.goto("/matches/?why=name")
    late = stage.open_page("writer", "/matches/?why=name")
    page.get_by_role("article").first.get_by_role("button", name="Keep apart").click()
    expect(page.get_by_text("Kept apart by Maya Okafor")).to_be_visible()
    late.get_by_role("article").first.get_by_role("button", name="Link").click()
    expect(late.get_by_role("alert").filter(has_text="Nothing was done.")).to_be_focused()
    return late


@state
def matches_to_confirm(stage: Stage) -> Page:
    """The domains of a customer are read when somebody opens it; the next sync compares them."""
    page = stage.open_page("admin", "/matches/?show=decided")
    tidy_matches(page)
    for name in ("one_user", "readonly"):
        page.goto(users_of(name))
    stage.portal.finish(stage.portal.manage("sync_customers"))
    page.goto("/matches/")
    page.get_by_role("link", name="Confirm all").click()
    expect(page.get_by_role("button", name="Link")).to_be_visible()
    return page


def tidy_matches(page: Page) -> None:
    """Undo what other states have decided; the page shows the decisions."""
    while left := page.get_by_label("Actions for").count():
        page.get_by_label("Actions for").first.click()
        page.get_by_role("button", name="Undo this one").first.click()
        expect(page.get_by_label("Actions for")).to_have_count(left - 1)


@state
def labels_added(stage: Stage) -> Page:
    page = stage.open_page("admin", details_of("contoso"))
    while left := page.get_by_role("button", name="Remove").count():
        with settled(page):
            page.get_by_role("button", name="Remove").first.click()
        expect(page.get_by_role("button", name="Remove")).to_have_count(left - 1)
    for label, text in (("New alias", "Contoso Handel"), ("New internal code", "ERP-4711"), ("New tag", "Retail")):
        page.get_by_label(label).fill(text)
        with settled(page):  # else the focus that follows a swap takes the next key
            page.get_by_label(label).press("Enter")
        expect(page.get_by_role("listitem").filter(has_text=text)).to_be_visible()
        expect(page.get_by_label(label)).to_be_focused()
    return page


@state
def a_label_that_is_there_already(stage: Stage) -> Page:
    stage.watch.expects(422)
    page = labels_added(stage)
    page.get_by_label("New tag").fill("RETAIL")
    page.get_by_role("button", name="Add tag").click()
    expect(page.get_by_text("Retail is there already.").first).to_be_visible()
    expect(page.get_by_label("New tag")).to_be_focused()
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


# --- GDAP ---------------------------------------------------------------------------------------------------


@state
def gdap_not_read_yet(stage: Stage) -> Page:
    page = stage.open_page("admin", "/gdap/", at=stage.empty_portal())
    expect(page.get_by_role("heading", name="Nothing has been read yet")).to_be_visible()
    return page


@state
def gdap(stage: Stage) -> Page:
    page = stage.open_page("admin")
    gdap_was_read(page, stage.portal)
    expect(page.get_by_role("table", name="GDAP relationships, page 1")).to_be_visible()
    return page


@state
def gdap_filtered(stage: Stage) -> Page:
    page = gdap(stage)
    page.goto("/gdap/?ends=30&auto=no&customer=coffee")
    expect(rows(page)).to_have_count(1)
    return page


@state
def gdap_nothing_matches(stage: Stage) -> Page:
    page = gdap(stage)
    page.goto("/gdap/?customer=vinyard")
    expect(page.get_by_role("heading", name="No relationship matches")).to_be_visible()
    return page


@state
def gdap_who_can_do_what(stage: Stage) -> Page:
    page = gdap(stage)
    page.get_by_role("link", name="Who can do what").click()
    expect(page.get_by_role("table", name="Who can do what")).to_be_visible()
    return page


@state
def gdap_changes(stage: Stage) -> Page:
    page = gdap(stage)
    stage.sandbox.state("terminate_relationship", tenant_id=CONTOSO)
    page.get_by_role("button", name="Try now").click()
    page.get_by_text("The last read ended").wait_for()
    page.goto("/gdap/?view=changes")
    expect(rows(page).first).to_be_visible()
    return page


@state
def gdap_facts(stage: Stage) -> Page:
    page = gdap(stage)
    page.get_by_role("heading", name="What Microsoft says about GDAP").click()
    expect(page.get_by_text("A relationship lasts two years at most.")).to_be_visible()
    return page


@state
def access_from_our_copy(stage: Stage) -> Page:
    page = gdap(stage)
    stage.sandbox.fault("graph", "status", status=503, times=0)
    page.goto(access_of("union"))
    expect(page.get_by_text("This is from our copy of")).to_be_visible()
    return page


@state
def access_of_somebody_else(stage: Stage) -> Page:
    page = gdap(stage)
    page.goto(access_of("contoso"))
    stage.open_page("nested", access_of("contoso"))  # so that the groups are known
    page.reload()
    page.get_by_label("Ask for").select_option("Jonas Lindqvist")
    expect(page.get_by_text("What Jonas Lindqvist may do here, not you")).to_be_visible()
    return page


@state
def what_the_roles_mean_menu(stage: Stage) -> Page:
    page = stage.open_page("admin", access_of("contoso"))
    page.get_by_text("What the roles mean").click()
    expect(page.get_by_text("may not be enough for some password resets")).to_be_visible()
    return page


@state
def a_source_is_down(stage: Stage) -> Page:
    """Only to look at: the next sync of any test mends it."""
    stage.sandbox.fault("avepoint", "status", status=503, times=0)
    stage.portal.manage("sync_customers").wait()  # which says with its exit code that a source is missing
    stage.sandbox.no_faults()
    page = stage.open_page("admin", "/customers/")
    expect(page.get_by_text("AvePoint is not answering.")).to_be_visible()
    stage.portal.finish(stage.portal.manage("sync_customers"))
    return page


@state
def overview_with_every_picture(stage: Stage) -> Page:
    """The relationships of a year, users created on some days, an unknown outcome, and an old source."""
    stage.open_page("admin", "/").context.close()  # whose operations they are
    stage.portal.finish(stage.portal.manage("shell", "-v0", "-c", PICTURES))
    page = stage.open_page("admin", "/")
    expect(page.get_by_text("We do not know if Maya Lind was created").first).to_be_visible()
    page.get_by_text("Show as a table").click()
    expect(page.get_by_role("columnheader", name="Extends by itself")).to_be_attached()
    stage.portal.finish(stage.portal.manage("shell", "-v0", "-c", NO_PICTURES))
    return page


PICTURES = """
import uuid
from datetime import timedelta
from django.utils import timezone
from customers import snapshot
from customers.models import Customer, GdapRelationship, Source
from partnerportal.models import Operator
from users.models import Operation

now, contoso = timezone.now(), Customer.objects.filter(in_partner_center=True)[0]
GdapRelationship.objects.bulk_create(
    GdapRelationship(id=f"picture-{n}", tenant_id="picture", display_name="Helpdesk", status="active",
                     ends_at=now + timedelta(days=1 + n * n % 400), extends=n % 3 > 0)
    for n in range(300)
)
Source.objects.get_or_create(name="graph", defaults={"last_good_at": now - timedelta(hours=5)})
Operation.objects.bulk_create(
    Operation(op_id=uuid.uuid4(), kind="create", by=Operator.objects.get(name="Maya Okafor"), customer=contoso,
              tenant_id="picture", target_name="Maya Lind", sent_at=now - timedelta(days=n % 9),
              created_at=now - timedelta(days=n % 9, minutes=5),
              state="unknown" if n == 0 else "refused" if n % 7 == 0 else "done")
    for n in range(60)
)
snapshot.changed()
"""

NO_PICTURES = """
from customers import snapshot
from customers.models import GdapRelationship
from users.models import Operation

GdapRelationship.objects.filter(tenant_id="picture").delete()
Operation.objects.filter(tenant_id="picture").delete()
snapshot.changed()
"""


@state
def overview_without_customers(stage: Stage) -> Page:
    page = stage.open_page("admin", "/", at=stage.empty_portal())
    expect(page.get_by_role("button", name="Sync now")).to_be_visible()
    return page


@state
def a_source_that_lists_far_fewer(stage: Stage) -> Page:
    """The question to a Portal.Admin; the next sync clears it."""
    stage.sandbox.state("hide_customers", source="avepoint", fraction=0.8)
    stage.portal.manage("sync_customers").wait()
    stage.sandbox.state("hide_customers", source="avepoint", fraction=0)
    page = stage.open_page("admin", "/sources/")
    expect(page.get_by_role("button", name="It is right, take them away")).to_be_visible()
    stage.portal.finish(stage.portal.manage("sync_customers"))
    return page


@state
def sources_with_a_sync_under_way(stage: Stage) -> Page:
    """No worker runs here, so it waits for the next one who syncs."""
    page = stage.open_page("admin", "/sources/")
    page.get_by_role("button", name="Try Partner Center now").click()
    expect(page.get_by_role("button", name="Cancel sync")).to_be_visible()
    return page


@state
def no_customers_yet(stage: Stage) -> Page:
    page = stage.open_page("admin", "/customers/", at=stage.empty_portal())
    expect(page.get_by_role("heading", name="No customers yet")).to_be_visible()
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


# --- One user -----------------------------------------------------------------------------------------------

STATES.update(
    {
        "delete a user": page_at(users_of("contoso", f"{awkward('plain')}/delete/")),
        "delete a user, not allowed": page_at(users_of("contoso", f"{awkward('plain')}/delete/"), "writer", status=403),
        "restore a user": page_at(users_of("contoso", f"{awkward('deleted')}/restore/")),
        "reset a password": page_at(users_of("contoso", f"{awkward('plain')}/password/")),
        "reset an administrator's password": page_at(users_of("contoso", f"{awkward('duplicate_a')}/password/")),
        "licences": page_at(users_of("contoso", f"{awkward('plain')}/licences/")),
        "licences without a usage location": page_at(users_of("contoso", f"{awkward('no_location')}/licences/")),
    }
)


@state
def history_of_a_user(stage: Stage) -> Page:
    page = stage.open_page("admin", users_of("contoso", f"{awkward('formula')}/edit/"))
    page.get_by_label("Phone").fill("+00 555 0199")
    page.get_by_role("button", name="Check before saving").click()
    page.get_by_role("button", name="Save 1 change").click()
    expect(page.get_by_role("heading", name="was changed")).to_be_visible()
    page.goto(users_of("contoso", f"{awkward('formula')}/history/"))
    expect(page.get_by_role("button", name="Undo this change")).to_be_visible()
    return page


# --- One-time links -----------------------------------------------------------------------------------------


STATES["no links"] = page_at("/links/", "writer")
STATES["a link that does not work"] = page_at("/handover/nobody-made-this-one/", "", status=404)


@state
def a_link_made(stage: Stage) -> Page:
    page = created(stage)
    page.get_by_label("Passphrase").fill("blue whale")
    page.get_by_role("button", name="Make a one-time link").click()
    expect(page.get_by_label("One-time link")).to_be_focused()
    return page


@state
def a_link_with_a_wrong_passphrase(stage: Stage) -> Page:
    stage.watch.expects(422)
    page = stage.open_page("", a_link_made(stage).get_by_label("One-time link").input_value())
    page.get_by_label("Passphrase").fill("red whale")
    page.get_by_role("button", name="Show the password").click()
    expect(page.get_by_role("alert").filter(has_text="That is not the passphrase")).to_be_visible()
    return page


@state
def a_link_opened(stage: Stage) -> Page:
    page = a_link_with_a_wrong_passphrase(stage)
    page.get_by_label("Passphrase").fill("blue whale")
    page.get_by_role("button", name="Show the password").click()
    expect(page.get_by_role("heading", name="Your temporary password")).to_be_visible()
    return page


@state
def links_of_everybody(stage: Stage) -> Page:
    """One's own of two makers; the second is open, the first was opened."""
    a_link_opened(stage)
    page = stage.open_page("writer", users_of("contoso", "new/"))
    fill_new(page, "Owen", "Prys-Jones")
    page.get_by_role("button", name="Create user").click()
    page.get_by_role("button", name="Make a one-time link").click()
    expect(page.get_by_label("One-time link")).to_be_focused()
    page = stage.open_page("admin", "/links/?whose=all")
    expect(rows(page)).to_have_count(2)
    return page


# --- Templates ----------------------------------------------------------------------------------------------


@state
def templates_of_a_customer(stage: Stage) -> Page:
    return stage.open_page("writer", f"/customers/{seed.SPECIAL['contoso']}/templates/")


@state
def a_new_template_with_errors(stage: Stage) -> Page:
    stage.watch.expects(422)
    page = stage.open_page("admin", f"/customers/{seed.SPECIAL['contoso']}/templates/new/")
    page.get_by_label("Usage location", exact=True).select_option("locked")
    page.get_by_role("button", name="Save template").click()
    expect(page.get_by_role("alert").get_by_role("heading")).to_contain_text("The template was not saved: fix 2 fields")
    return page


# --- Finding users --------------------------------------------------------------------------------------------


def search_of(name: str) -> str:
    """The page that searches among the users of one of the cloud's special customers."""
    return f"{users_of(name)}search/"


STATES["users not read for the search"] = page_at(search_of("medium"))


@state
def users_found(stage: Stage) -> Page:
    """Read as the worker does it, and somebody types."""
    page = stage.open_page("admin", search_of("contoso"))
    page.get_by_role("button", name="Search all users of this customer").click()
    expect(page.get_by_text("The users are being read")).to_be_visible()
    stage.portal.finish(stage.portal.manage("shell", "-v0", "-c", READ_USERS))
    while page.get_by_text("The users are being read").count():  # by the worker, when there is one
        page.wait_for_timeout(250)
        page.goto(search_of("contoso"))
    page.get_by_label("Name, user name or object ID").fill("del")
    expect(page.get_by_role("link", name="Adele Vance")).to_be_visible()
    expect(page.get_by_role("link", name="Restore Gona Deleted")).to_be_visible()
    return page


READ_USERS = """
from users import index
from users.models import UserIndex

for one in UserIndex.objects.filter(open=True):
    index.carry_out(one.pk)
"""


# --- Several users at once ------------------------------------------------------------------------------------


def tick_two(stage: Stage) -> Page:
    page = stage.open_page("admin", users_of("medium"))
    for box in page.get_by_role("checkbox", name="Select ").all()[:2]:
        box.check()
    return page


def sign_in_anew(page: Page, then: str) -> None:
    """Where the page asks for it; the sign-in of the state before may be young enough. Then presses that button."""
    asked, button = page.get_by_role("link", name="Sign in again to go on"), page.get_by_role("button", name=then)
    expect(asked.or_(button)).to_be_visible()  # the page before may still be standing
    if asked.count():
        asked.click()
        page.get_by_role("button", name="(admin)").click()
    button.click()


@state
def users_ticked(stage: Stage) -> Page:
    page = tick_two(stage)
    expect(page.get_by_text("2 ticked:")).to_be_visible()
    return page


@state
def licences_of_several_users(stage: Stage) -> Page:
    page = tick_two(stage)
    page.get_by_role("button", name="Licences…").click()
    expect(page.get_by_role("heading", name="Licences of 2 users")).to_be_visible()
    return page


@state
def a_run_to_be_checked(stage: Stage) -> Page:
    page = tick_two(stage)
    page.get_by_role("button", name="Delete…").last.click()
    expect(page.get_by_role("heading", name="Delete users: check before anything is sent")).to_be_visible()
    stage.watch.expects(422)
    sign_in_anew(page, then="Delete 2 users")
    expect(page.get_by_text("Type how many users are deleted: 2")).to_be_visible()
    return page


@state
def a_run(stage: Stage) -> Page:
    """Started and paused at once, so that it is the same with a worker and without one."""
    page = tick_two(stage)
    page.get_by_role("button", name="Change location…").click()
    page.get_by_label("Usage location").select_option("AQ")
    page.get_by_role("button", name="Check 2 users").click()
    sign_in_anew(page, then="Change 2 users")
    expect(page.get_by_role("progressbar")).to_be_visible()
    return page


@state
def runs(stage: Stage) -> Page:
    a_run(stage)
    return page_at("/onboarding/")(stage)


@state
def slips_of_a_run(stage: Stage) -> Page:
    page = stage.open_page("admin", "/")
    stage.portal.finish(stage.portal.manage("shell", "-v0", "-c", A_RUN_OF_STARTERS))
    page.goto("/onboarding/?q=Slips")
    page.get_by_role("link", name="Slips").first.click()
    page.get_by_role("link", name="Make links…").click()
    page.get_by_role("button", name="Make links: slips to print").click()
    expect(page.get_by_role("heading", name="1 slip, one for each user")).to_be_visible()
    return page


A_RUN_OF_STARTERS = """
import uuid
from customers.models import Customer
from partnerportal import clock, vault
from partnerportal.models import Operator
from users.models import OnboardingRun, Operation

customer, now, op_id = Customer.objects.filter(in_partner_center=True)[0], clock.now(), uuid.uuid4()
by = Operator.objects.get(name="Maya Okafor")
about = {"customer": customer, "tenant_id": customer.tenant_id, "target_id": str(op_id), "target_name": "Maya Lind"}
done = Operation.objects.create(op_id=op_id, kind="create", state="done", by=by, sets_password=True, decided_at=now,
                                sealed_password=vault.seal("operation", str(op_id), "Of-A-State-1"), **about)
run = OnboardingRun.objects.create(by=by, kind="create", title="Slips", state="done", started_at=now, finished_at=now)
run.rows.create(line=1, op_id=op_id, user_name="maya.lind@contoso.example", state="done", operation=done, **about)
"""


# --- New users from a file ------------------------------------------------------------------------------------


STATES["new users from a file"] = page_at(f"/onboarding/new/?customer={seed.SPECIAL['contoso']}")


def with_file(stage: Stage, text: str) -> Page:
    """The page after a file of this text was sent from Contoso's page."""
    page = stage.open_page("admin", f"/onboarding/new/?customer={seed.SPECIAL['contoso']}")
    file: Any = {"name": "starters.csv", "mimeType": "text/csv", "buffer": text.encode()}
    page.get_by_label("CSV file or Excel workbook").set_input_files(file)
    page.get_by_role("button", name="Check this file").click()
    return page


@state
def a_file_that_is_refused(stage: Stage) -> Page:
    stage.watch.expects(422)
    page = with_file(stage, 'User name,Country\na.b,"DE\n')
    expect(page.get_by_role("alert").get_by_role("heading")).to_have_text("The file was not taken")
    return page


@state
def columns_of_a_file(stage: Stage) -> Page:
    page = with_file(stage, "Wer;Vorname;Mail\nLee;Ann;ann@contosotrading.example\n")
    expect(page.get_by_role("heading", level=1)).to_have_text("What do these columns mean?")
    return page


@state
def a_file_that_was_checked(stage: Stage) -> Page:
    """Checked as the worker does it: one row that is ready, one that is not."""
    page = with_file(stage, "Vorname;Nachname;Benutzername;Land\nZoë;Berg;;NL\nAnn;Lee;ann lee;Deutschlnd\n")
    expect(page.get_by_role("heading", level=1)).to_have_text("Check: starters")
    stage.portal.finish(stage.portal.manage("shell", "-v0", "-c", CHECK_ROWS))
    while page.get_by_role("progressbar").count():  # by the worker, when there is one
        page.wait_for_timeout(250)
        page.reload()
    expect(page.locator("#report").get_by_text("1 of 2 rows are ready. 1 row needs a change")).to_be_visible()
    return page


CHECK_ROWS = """
from users.models import OnboardingCheck
from users.onboarding import check

for one in OnboardingCheck.objects.filter(open=True):
    check.carry_out(one.pk)
"""
