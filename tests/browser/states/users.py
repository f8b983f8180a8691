"""The users of a customer, their forms, links and templates."""

from typing import Any

from playwright.sync_api import Page, expect

from partnerportal.sandbox import seed
from tests.browser.conftest import CONTOSO, awkward, nothing_ahead, rows, users_of
from tests.conftest import Cloud

from .customers import AVEPOINT_ONLY
from .stage import STATES, Stage, page_at, state

STATES.update(
    {
        "users": page_at(users_of("contoso", "?sort=-name")),
        "users deleted": page_at(users_of("contoso", "?state=deleted")),
        "users read-only": page_at(users_of("readonly"), "writer"),
        "users for a reader": page_at(users_of("contoso"), "reader"),
        "users, access ends soon": page_at(users_of("expiring")),
        "users, none there": page_at(users_of("no_users")),
        "users, no access": page_at(users_of("expired"), status=403),
        "a customer that only AvePoint knows": page_at(f"{AVEPOINT_ONLY}users/"),
        "a user": page_at(users_of("contoso", f"{awkward('synced')}/")),
        "a user with a long name": page_at(users_of("contoso", f"{awkward('very_long')}/")),
        "a user written from right to left": page_at(users_of("contoso", f"{awkward('rtl')}/")),
        "a user that is gone": page_at(users_of("contoso", "11111111-1111-4111-8111-111111111111/"), status=404),
        "new user": page_at(users_of("contoso", "new/")),
        "new user, not allowed": page_at(users_of("readonly", "new/"), "writer", status=403),
        "edit": page_at(users_of("contoso", f"{awkward('plain')}/edit/")),
        "edit a user from on premises": page_at(users_of("contoso", f"{awkward('synced')}/edit/")),
        "edit without the right to set a password": page_at(users_of("contoso", f"{awkward('plain')}/edit/"), "writer"),
    }
)


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
    # From the start: a worker, where another test has wanted one, looks through the names as the form opens.
    stage.sandbox.fault("partnercenter", "status", method="GET", path="/users", status=503, times=0)
    page = stage.open_page("admin", users_of("contoso", "new/"))
    fill_new(page)
    stage.sandbox.fault("partnercenter", "drop_after", method="POST", path="/users")
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
