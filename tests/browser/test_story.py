"""The whole story as `admin`, and what everybody else may and may not do, with the sentence that is shown."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from partnerportal.sandbox import seed
from scripts.throwaway import Portal
from tests.browser.conftest import CONTOSO, OpenPage, Watch, awkward, forget_gdap_syncs, rows, settled, users_of, writes
from tests.conftest import Cloud


def enter(page: Page, name: str) -> None:
    """Through the real door: our address, Microsoft's page, and back."""
    page.goto("/")
    expect(page.get_by_role("heading", name="Pick an account")).to_be_visible()
    page.get_by_role("button", name=name).click()


def sign_out(page: Page, name: str) -> None:
    page.get_by_role("banner").get_by_text(name).first.click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()


def names(page: Page) -> list[str]:
    return page.locator("#table tbody").get_by_role("rowheader").get_by_role("link").all_inner_texts()


def fill_new(page: Page, first: str, last: str) -> None:
    page.get_by_label("First name").fill(first)
    page.get_by_label("Last name").fill(last)


@pytest.mark.usefixtures("worker")
def test_the_whole_story(open_page: OpenPage, portal: Portal, sandbox: Cloud) -> None:
    forget_gdap_syncs(portal)
    page = open_page()

    enter(page, "(admin)")
    expect(page).to_have_title("Overview · Partner Desk")
    page.get_by_role("link", name="Customers", exact=True).click()
    expect(page).to_have_url(re.compile(r"/customers/$"))
    expect(page).to_have_title("Customers (page 1 of 4) · Partner Desk")
    page.wait_for_load_state()

    # Finds a customer.
    page.get_by_label("Filter by name, domain or tenant ID").fill("northw")
    expect(rows(page)).to_have_count(2)
    page.get_by_role("link", name="Northwind Foods").click()
    expect(page.get_by_role("heading", name="Northwind Foods", level=1)).to_be_visible()
    expect(page.get_by_text("You can edit users here (User Administrator).")).to_be_visible()

    # Pages its users, forward and back.
    first = names(page)
    assert len(first) == 25
    with settled(page):
        page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("26–50, more to come", exact=True)).to_be_visible()
    assert not set(names(page)) & set(first)
    with settled(page):
        page.get_by_role("link", name="Next").click()
    with settled(page):
        page.get_by_role("link", name="Previous").click()
    with settled(page):
        page.get_by_role("link", name="Previous").click()
    expect(page.get_by_text("1–25, more to come", exact=True)).to_be_visible()
    assert names(page) == first

    # Creates a user: first and last name are enough.
    page.get_by_role("link", name="New user", exact=True).click()
    fill_new(page, "Søren", "Lind-Ström")
    expect(page.get_by_label("Display name")).to_have_value("Søren Lind-Ström")
    expect(page.get_by_label("User name, part before the at sign")).to_have_value("soren.lindstrom")
    expect(page.get_by_label("Domain", exact=True)).to_have_value("northwindfoods.onmicrosoft.example")
    expect(page.get_by_label("Usage location")).to_have_value("DE")
    page.get_by_role("button", name="Create user").click()
    expect(page.get_by_role("heading", name="Søren Lind-Ström was created")).to_be_visible()
    expect(page).to_have_title("Søren Lind-Ström created · Partner Desk")
    password = page.get_by_label("Temporary password").input_value()
    assert len(password) > 15
    assert len(writes(sandbox)) == 1
    created = created_user(sandbox, "soren.lindstrom@northwindfoods.onmicrosoft.example")
    assert created.password == password
    assert created.force_change

    # Changes it, with a review.
    page.get_by_role("link", name="Open user").click()
    page.get_by_role("link", name="Edit user").click()
    page.get_by_label("Last name").fill("Lind")
    page.get_by_label("Usage location").select_option("SE")
    page.get_by_role("button", name="Check before saving").click()
    expect(page.get_by_role("heading", name="Check before saving")).to_be_visible()
    changes = page.get_by_role("table", name="Changes to the user").get_by_role("row")
    assert [row.split() for row in changes.all_inner_texts()] == [
        ["Field", "Now", "After"],
        ["Last", "name", "Lind-Ström", "Lind"],
        ["Usage", "location", "Germany", "Sweden"],
    ]
    assert len(writes(sandbox)) == 1
    page.get_by_role("button", name="Save 2 changes in Northwind Foods").click()
    expect(page.get_by_role("heading", name="Søren Lind-Ström was changed")).to_be_visible()
    sent = sandbox.journal("partnercenter", "PATCH")
    assert len(sent) == 1
    assert "Lind" in str(sent[0]["body"])
    assert "displayName" not in str(sent[0]["body"])
    changed = created_user(sandbox, created.upn)
    assert (changed.last_name, changed.usage_location, changed.display_name) == ("Lind", "SE", "Søren Lind-Ström")

    # Both stand in the audit trail.
    page.get_by_role("link", name="Audit trail").first.click()
    expect(rows(page).nth(0)).to_contain_text(
        re.compile("Maya Okafor.*change user.*Northwind Foods.*Done", re.IGNORECASE | re.DOTALL)
    )
    expect(rows(page).nth(1)).to_contain_text(
        re.compile("Maya Okafor.*create user.*Northwind Foods.*Done", re.IGNORECASE | re.DOTALL)
    )
    rows(page).nth(0).get_by_role("link").click()
    expect(page.get_by_text("MS-CorrelationId")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("Last name"))).to_contain_text("Lind-Ström")
    assert password not in page.content()

    # Asks for both syncs.
    page.get_by_role("link", name="Customers", exact=True).first.click()
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_text("A sync is under way").or_(page.get_by_text("just now").first).first).to_be_visible()
    page.get_by_role("link", name="GDAP sync").click()
    page.get_by_role("button", name="Sync customers").click()
    expect(page.get_by_text("Sync requested at")).to_be_visible()
    expect(page.get_by_text("it sends an e-mail to maya.okafor@partnerdesk.example when it is done")).to_be_visible()
    assert len([line for line in sandbox.journal("gdap") if "Synchronize" in line["path"]]) == 1

    # Signs out, and Back shows nothing.
    page.goto(users_of("medium"))
    expect(rows(page).first).to_be_visible()
    sign_out(page, "Maya Okafor")
    page.go_back()
    expect(page.get_by_role("heading", name="Pick an account")).to_be_visible()
    assert "Northwind" not in page.content()


def created_user(sandbox: Cloud, name: str) -> Any:
    customers = sandbox.running.cloud.world.customers.values()
    return next(user for one in customers for user in one.directory.users.values() if user.upn == name)


# --- Everybody else -----------------------------------------------------------------------------------------


def test_the_reader_looks_and_changes_nothing(open_page: OpenPage, sandbox: Cloud, watch: Watch) -> None:
    page = open_page("reader", users_of("contoso"))
    why = "Your app role in Partner Desk is Portal.Reader; creating or changing users needs Portal.Operator."
    expect(page.locator("#rolebar")).to_contain_text("You can look at these users but not change them.")
    expect(page.locator("#rolebar")).to_contain_text(why)
    expect(rows(page)).to_have_count(25)
    new = page.get_by_role("link", name="New user")
    expect(new).to_be_disabled()
    expect(new).to_have_accessible_description(re.compile("needs Portal.Operator"))
    rows(page).nth(3).get_by_label("Actions for").click()
    expect(page.get_by_role("button", name="Copy user name").first).to_be_visible()
    edit = rows(page).nth(3).get_by_role("link", name="Edit", exact=True)
    expect(edit).to_be_disabled()
    expect(edit).to_have_accessible_description(re.compile("needs Portal.Operator"))
    expect(page.get_by_role("link", name="New user like this")).to_have_count(0)

    watch.expects(403)
    for path, action in (("new/", "create users"), (f"{awkward('plain')}/edit/", "change users")):
        page.goto(users_of("contoso", path))
        expect(page.get_by_role("heading", name=f"You may not {action} here")).to_be_visible()
        expect(page.get_by_text(why)).to_be_visible()
        assert forced_post(page, users_of("contoso", path)) == 403
    page.goto("/gdap/sync/")
    expect(page.get_by_text("that needs the app role Portal.Admin.")).to_be_visible()
    expect(page.get_by_text("An Admin agent can grant it.")).to_be_visible()
    assert writes(sandbox) == []
    page.goto("/audit/")
    expect(page.get_by_text("What you did, refused attempts included")).to_be_visible()
    expect(page.get_by_text("Maya Okafor")).to_have_count(0)


def test_the_writer_writes_where_the_role_is(open_page: OpenPage, sandbox: Cloud, watch: Watch) -> None:
    page = open_page("writer", users_of("contoso", "new/"))
    fill_new(page, "Wanda", "Writer")
    page.get_by_role("button", name="Create user").click()
    expect(page.get_by_role("heading", name="Wanda Writer was created")).to_be_visible()

    # A change yes, a password no: Directory Writers holds no such right.
    page.goto(users_of("contoso", f"{awkward('plain')}/edit/"))
    expect(page.get_by_text("Setting a password here needs User Administrator")).to_be_visible()
    expect(page.get_by_role("radio")).to_have_count(0)
    page.get_by_label("Phone").fill("+00 555 0177")
    page.get_by_role("button", name="Check before saving").click()
    page.get_by_role("button", name="Save 1 change in Contoso Trading").click()
    expect(page.get_by_role("heading", name="Adele Vance was changed")).to_be_visible()
    assert [line.split()[0] for line in writes(sandbox)] == ["POST", "PATCH"]

    # Elsewhere: read only, with what is missing; and not even that, with the reason.
    page.goto(users_of("readonly"))
    expect(page.locator("#rolebar")).to_contain_text("You can look at these users but not change them.")
    expect(page.locator("#rolebar")).to_contain_text("You have Directory Readers, through Helpdesk Tier 1")
    page.get_by_text("How to get access").click()
    expect(page.get_by_text("Ask a lead to add you to the security group GDAP Helpdesk Tier 1.")).to_be_visible()
    watch.expects(403)
    page.goto(users_of("writer_none"))
    expect(page.get_by_role("heading", name="You may not see the users here")).to_be_visible()
    expect(page.get_by_text("you are not in the group that holds it (GDAP Helpdesk Tier 1)")).to_be_visible()
    page.goto(users_of("expired"))
    expect(page.get_by_text("Your access to Bellows College ended on")).to_be_visible()
    page.goto(users_of("none"))
    expect(page.get_by_text("Your company has no GDAP relationship with Proseware.")).to_be_visible()
    assert len(writes(sandbox)) == 2


def test_a_role_lost_while_typing_stops_the_write_and_keeps_the_draft(
    open_page: OpenPage, sandbox: Cloud, watch: Watch
) -> None:
    watch.expects(403)
    page = open_page("writer", users_of("contoso", "new/"))
    fill_new(page, "Late", "Comer")
    sandbox.state("remove_from_group", persona="writer", group="writers")
    page.get_by_role("button", name="Create user").click()
    summary = page.get_by_role("alert").filter(has=page.get_by_role("heading", name="The user was not created"))
    expect(summary).to_contain_text("you are not in the group that holds it")
    expect(summary).to_be_focused()
    expect(page.get_by_label("First name")).to_have_value("Late")
    assert writes(sandbox) == []


def test_nested_membership_counts_and_only_there(open_page: OpenPage, sandbox: Cloud, watch: Watch) -> None:
    page = open_page("nested", users_of("nested_only"))
    expect(page.get_by_text("You can edit users here (User Administrator).")).to_be_visible()
    page.get_by_role("link", name="New user", exact=True).click()
    fill_new(page, "Nils", "Nested")
    page.get_by_role("button", name="Create user").click()
    expect(page.get_by_role("heading", name="Nils Nested was created")).to_be_visible()
    assert len(writes(sandbox)) == 1

    watch.expects(403)
    page.goto(users_of("contoso"))
    expect(page.get_by_role("heading", name="You may not see the users here")).to_be_visible()
    page.goto(users_of("contoso", "new/"))
    expect(page.get_by_role("heading", name="You may not create users here")).to_be_visible()
    assert forced_post(page, users_of("contoso", "new/")) == 403
    assert len(writes(sandbox)) == 1


def test_for_the_outsider_microsoft_decides(open_page: OpenPage, sandbox: Cloud, watch: Watch) -> None:
    """Graph tells somebody outside Admin agents nothing, which is no no: the write goes out and comes back refused."""
    watch.expects(403, 422)
    page = open_page("outsider", users_of("contoso"))
    expect(page.get_by_role("heading", name="You may not see the users here")).to_be_visible()
    expect(page.get_by_text("We could not check your roles")).to_be_visible()
    expect(page.get_by_text("HTTP 403, code 900150")).to_be_visible()

    page.goto(users_of("contoso", "new/"))
    expect(page.get_by_role("complementary")).to_contain_text("We could not check your roles")
    expect(page.get_by_role("complementary")).to_contain_text("You can try; Microsoft decides.")
    fill_new(page, "Olga", "Outside")
    page.get_by_role("button", name="Create user").click()
    summary = page.get_by_role("alert").filter(has=page.get_by_role("heading", name="The user was not created"))
    expect(summary).to_contain_text("Nothing was created.")
    expect(page.get_by_text("HTTP 403, code 900150")).to_be_visible()
    expect(page.get_by_label("First name")).to_have_value("Olga")
    left = sandbox.journal("partnercenter", "POST")
    assert [(line["subject"], line["status"]) for line in left] == [(seed.PERSONA_OIDS["outsider"], 403)]
    assert "Olga" not in str([user.first_name for user in contoso_users(sandbox)])


def contoso_users(sandbox: Cloud) -> list[Any]:
    return list(sandbox.running.cloud.world.customers[CONTOSO].directory.users.values())


@pytest.mark.parametrize(
    ("persona", "title", "sentence"),
    [
        (
            "norole",
            "You have no role in Partner Desk",
            "none of the app roles Portal.Reader, Portal.Operator, Portal.Admin",
        ),
        ("foreign", "This account is of another tenant", seed.PARTNER_TENANT_ID),
    ],
)
def test_some_do_not_come_in(
    persona: str, title: str, sentence: str, open_page: OpenPage, sandbox: Cloud, watch: Watch
) -> None:
    watch.expects(403)
    page = open_page()
    enter(page, f"({persona})")
    expect(page.get_by_role("heading", name=title)).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text(sentence)
    page.goto("/customers/")
    expect(page.get_by_role("heading", name="Pick an account")).to_be_visible()
    assert not sandbox.journal("partnercenter")


def forced_post(page: Page, path: str) -> int:
    """The status of a POST that no page of ours would send, with all the tokens that one would have."""
    answer: int = page.evaluate(
        """async (path) => {
            const token = document.cookie.match(/pd_csrf=([^;]+)/)[1];
            const fields = { op_id: crypto.randomUUID(), first_name: "No", last_name: "Body", user_name: "no.body",
                domain: "contosotrading.onmicrosoft.example", usage_location: "US", password_mode: "made",
                step: "save" };
            const body = new URLSearchParams(fields);
            return (await fetch(path, { method: "POST", headers: { "X-CSRFToken": token }, body })).status;
        }""",
        path,
    )
    return answer
