"""The capability card: may I, through what; or what exactly is missing, since when, and who can help."""

import re
from datetime import timedelta

import pytest

from customers import merge, tasks
from customers.models import Customer, SourceName
from partnerportal import clock
from partnerportal.models import Operator
from partnerportal.sandbox.seed import GROUP_IDS, PERSONA_OIDS, SPECIAL, SPECIAL_USERS
from tests.customers.gdap_reads import grant_of, read_as
from tests.pages import Page

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("snapshot")]


def path_of(key="contoso", query=""):
    return f"/customers/{SPECIAL[key]}/access/{query}"


def look(browser, key="contoso", query="", status=200):
    answer = browser.get(path_of(key, query))
    assert answer.status_code == status, Page(answer).words
    return Page(answer)


def lines(page):
    """Action -> what its line says."""
    rows = re.findall(r'<tr role="row" id="row-([a-z_]+)">(.*?)</tr>', page.html, re.DOTALL)
    return {name: Page(row).words for name, row in rows}


# --- One line an action ---------------------------------------------------------------------------------------


def test_every_action_has_its_line(signed_in):
    told = lines(look(signed_in("admin")))
    assert list(told) == ["list", "create", "patch", "reset_password", "delete", "restore", "licences"]
    for line in told.values():
        assert "Yes" in line
        assert "Helpdesk Tier 1" in line
        assert "group GDAP Helpdesk Tier 1" in line


def test_a_part_of_the_actions_may_be_allowed(signed_in):
    told = lines(look(signed_in("writer")))
    assert "Yes Directory Writers" in told["create"]
    assert "Yes Directory Readers" in told["list"]
    assert "No User Administrator" in told["delete"]
    assert "You are not in the group GDAP Helpdesk Tier 1, which holds User Administrator through “" in told["delete"]


@pytest.mark.parametrize(
    ("persona", "key", "words"),
    [
        ("nested", "contoso", "You are not in the group GDAP Helpdesk Tier 1, which holds User Administrator through"),
        ("admin", "none", "There is no GDAP relationship with this customer."),
        ("admin", "pending", "has waited for the customer’s approval since"),
        ("admin", "expired", "ended on"),
        ("admin", "ceiling", "does not include User Administrator or Directory Writers."),
        ("writer", "assignment_pending", "Directory Writers for the group GDAP Directory Writers through"),
        ("outsider", "contoso", "We cannot tell, because Microsoft Graph shows GDAP relationships to Admin agents"),
        ("writer", "status_expiring", "We cannot tell, because the GDAP relationship Old helpdesk"),
    ],
)  # fmt: skip
def test_what_exactly_is_missing(signed_in, persona, key, words):
    assert words in lines(look(signed_in(persona), key))["create"]


def test_an_assignment_that_is_being_removed(signed_in, sandbox):
    [nested] = sandbox.running.cloud.relationships_of(SPECIAL["nested_only"])
    for each in nested.assignments:
        each.status = "deleting"
    words = lines(look(signed_in("nested"), "nested_only"))["create"]
    assert "User Administrator is being taken away from the group" in words


def test_no_group_holds_the_role(signed_in, sandbox):
    for one in sandbox.running.cloud.relationships_of(SPECIAL["contoso"]):
        one.assignments.clear()
    assert "but no security group holds it." in lines(look(signed_in("admin")))["create"]


def test_an_assignment_that_hangs_is_not_told_to_wait(signed_in):
    words = lines(look(signed_in("writer"), "assignment_pending"))["create"]
    assert "has been pending since" in words
    assert "An Admin agent" in words
    assert "some minutes" not in words


def test_how_new_a_grant_is_is_told_truly(signed_in, sandbox):
    [one] = sandbox.running.cloud.relationships_of(SPECIAL["assignment_pending"])
    one.assignments[-1].modified = clock.now() - timedelta(minutes=3, seconds=5)
    words = lines(look(signed_in("writer"), "assignment_pending"))["create"]
    assert "Directory Writers was granted 3 minutes ago to GDAP Directory Writers through" in words
    assert "Microsoft can need some minutes." in words
    one.assignments[-1].status = "active"
    words = lines(look(signed_in("writer"), "assignment_pending"))["create"]
    assert "Yes Directory Writers" in words
    assert "Granted 3 minutes ago. Microsoft can need some minutes; we check again when you open the page." in words


def test_an_app_role_that_only_looks_is_told_beside_gdap(signed_in, sandbox):
    sandbox.state("add_to_group", persona="reader", group="user_admins")
    told = lines(look(signed_in("reader")))
    assert told["create"].startswith("Create users No")
    assert "Your app role in Partner Desk is Portal.Reader" in told["create"]
    assert "See the users Yes" in told["list"]


# --- Who can help, and texts to copy --------------------------------------------------------------------------


def test_the_contact_of_the_settings_is_named_where_nobody_better_is_known(signed_in, settings):
    settings.ACCESS_CONTACT = "the GDAP desk (gdap@partnerdesk.example)"
    for key in ("contoso", "none", "ceiling", "expired"):
        assert "The GDAP desk (gdap@partnerdesk.example)" in lines(look(signed_in("nested"), key))["create"]
    assert "The customer’s administrator" in lines(look(signed_in("nested"), "pending"))["create"]


def test_who_can_help_is_no_column_where_nobody_has_to(signed_in):
    assert "Who can help" not in look(signed_in("admin")).words
    assert "Who can help" in look(signed_in("writer")).words


def test_the_text_for_the_lead_is_ready(signed_in):
    page = look(signed_in("nested"))
    for line in (
        "I need to create users in Contoso Trading.",
        f"Tenant ID: {SPECIAL['contoso']}",
        "Role needed: User Administrator or Directory Writers",
        "GDAP relationship: Helpdesk Tier 1",
        "Group: GDAP Helpdesk Tier 1",
    ):
        assert line in page.words
    assert "For the customer" not in page.words
    copied = [told["data-copy"] for _, told in page.tags if told.get("aria-label") == "Copy request for your lead"]
    assert len(copied) == 7
    assert "I need to delete users in Contoso Trading." in copied[4]


@pytest.mark.parametrize("key", ["none", "expired", "pending", "ceiling"])
def test_the_text_for_the_customer_is_there_where_the_customer_has_to_act(signed_in, key):
    page = look(signed_in("admin"), key)
    assert "For the customer" in page.words
    assert "we need the role User Administrator or Directory Writers." in page.words
    assert f"Your tenant ID: {SPECIAL[key]}" in page.words


def test_colleagues_who_can_are_named(signed_in):
    signed_in("admin")
    read_as("admin")
    nested = signed_in("nested")
    told = lines(look(nested))
    assert "Can do it: Maya Okafor" in told["create"]
    assert "Can do it" not in lines(look(nested, "none"))["create"]


# --- Relationships below --------------------------------------------------------------------------------------


def test_the_relationships_are_below_with_roles_and_groups(signed_in):
    words = look(signed_in("writer"), "union").words
    assert "Project Directory" in words
    assert "Helpdesk Tier 1" in words
    assert "4 more" in words
    assert "GDAP Directory Writers: Directory Writers" in words
    words = look(signed_in("admin"), "expired").words
    assert "Helpdesk Tier 1" in words
    assert "Ended" in words


def test_an_assignment_that_does_not_work_says_so(signed_in):
    words = look(signed_in("writer"), "assignment_gone").words
    assert "Being removed" in words


def test_roles_are_explained(signed_in):
    assert "may not be enough for some password resets" in look(signed_in("admin")).words


def test_the_page_is_one_of_the_customers_tabs(signed_in):
    browser = signed_in("admin")
    page = look(browser)
    assert page.attributes(href=f"/customers/{SPECIAL['contoso']}/access/")["aria-current"] == "page"
    assert Page(browser.get(f"/customers/{SPECIAL['contoso']}/users/")).href("Access") == path_of()


# --- When Graph does not tell ---------------------------------------------------------------------------------


def test_without_graph_the_snapshot_tells_with_its_age(signed_in, sandbox, move_clock):
    browser = signed_in("admin")
    read_as("admin")
    move_clock(600)
    sandbox.fault("graph", "status", status=503, times=0)
    page = look(browser)
    assert "Microsoft Graph has a fault of its own (503)." in page.words
    assert "This is from our copy of" in page.words
    assert "From our copy of 10 min ago" in page.words
    assert "Yes" in lines(page)["create"]


def test_without_graph_and_without_a_snapshot_we_cannot_tell(signed_in, sandbox):
    sandbox.fault("graph", "status", status=503, times=0)
    told = lines(look(signed_in("admin")))
    assert "Cannot tell" in told["create"]
    assert "We cannot tell, because Microsoft Graph has a fault of its own (503)." in told["create"]


def test_an_outsider_is_told_by_the_snapshot(signed_in):
    signed_in("admin")
    read_as("admin")
    outsider = signed_in("outsider")
    tasks.read_groups(str(grant_of("outsider").pk))
    page = look(outsider)
    assert "Microsoft Graph shows GDAP relationships to Admin agents only." in page.words
    assert "You are not in the group GDAP Helpdesk Tier 1" in lines(page)["create"]


def test_opening_the_page_asks_anew_and_tells_the_lists(signed_in, sandbox):
    nested = signed_in("nested")
    assert "No" in lines(look(nested))["create"]
    sandbox.state("add_to_group", persona="nested", group="user_admins")
    assert "Yes" in lines(look(nested))["create"]
    assert GROUP_IDS["user_admins"] in Operator.objects.get(oid=PERSONA_OIDS["nested"]).groups


# --- Acceptance 2 ---------------------------------------------------------------------------------------------


def test_from_no_to_yes_within_a_minute_and_the_write_at_once(signed_in, sandbox, settings, move_clock):
    settings.ACCESS_CONTACT = "the GDAP desk"
    nested = signed_in("nested")
    told = lines(look(nested))["patch"]
    for part in ("Helpdesk Tier 1", "GDAP Helpdesk Tier 1", "The GDAP desk"):
        assert part in told
    edit = f"/customers/{SPECIAL['contoso']}/users/{SPECIAL_USERS['plain']}/edit/"
    assert nested.get(edit).status_code == 403
    sandbox.state("add_to_group", persona="nested", group="user_admins")
    new = {
        "op_id": "7d0f4c1e-52a9-4f6b-8e3d-91c2b7a64f11",
        "display_name": "Now Allowed",
        "user_name": "now.allowed",
        "domain": "contosotrading.example",
        "usage_location": "GB",
        "password_mode": "made",
        "force_change": "on",
    }
    assert nested.post(f"/customers/{SPECIAL['contoso']}/users/new/", new).status_code == 200
    assert [line for line in sandbox.journal("partnercenter", "POST") if line["path"].endswith("/users")]
    move_clock(60)
    assert "Yes" in lines(look(nested))["patch"]
    assert nested.get(edit).status_code == 200


# --- For somebody else ----------------------------------------------------------------------------------------


@pytest.fixture
def admin(signed_in):
    for persona in ("admin", "nested", "writer"):
        browser = signed_in(persona)
        tasks.read_groups(str(grant_of(persona).pk))
    return signed_in("admin") if browser else None


def test_an_administrator_may_ask_for_anybody(admin, move_clock):
    move_clock(300)
    page = look(admin, query=f"?for={PERSONA_OIDS['nested']}")
    assert "What Jonas Lindqvist may do here, not you" in page.words
    assert "By the groups of their last visit, 5 min ago." in page.words
    assert "Relationships checked just now, groups as of their last visit. Partner Center has the last" in page.words
    assert "We check again" not in page.words
    assert "Jonas Lindqvist is not in the group GDAP Helpdesk Tier 1" in lines(page)["create"]
    assert "Checked with Microsoft Graph just now. We check again when you open the page." in look(admin).words
    assert "Yes" in lines(look(admin, "nested_only", f"?for={PERSONA_OIDS['nested']}"))["create"]


def test_the_groups_are_those_of_the_last_visit(admin, sandbox):
    sandbox.state("add_to_group", persona="nested", group="user_admins")
    assert "No" in lines(look(admin, query=f"?for={PERSONA_OIDS['nested']}"))["create"]


def test_somebody_whose_groups_nobody_knows_cannot_be_told(admin, signed_in):
    signed_in("reader")
    page = look(admin, query=f"?for={PERSONA_OIDS['reader']}")
    assert "Cannot tell" in lines(page)["create"]
    assert "Their groups are not known" in page.words
    assert "Relationships checked" not in page.words


def test_others_may_ask_for_themselves_only(admin, signed_in):
    nested = signed_in("nested")
    page = look(nested, query=f"?for={PERSONA_OIDS['admin']}", status=403)
    assert "Portal.Admin" in page.words
    own = look(nested, query=f"?for={PERSONA_OIDS['nested']}")
    assert "not you" not in own.words
    assert "Ask for" not in own.words


@pytest.mark.parametrize("wanted", ["nobody", "11111111-1111-4111-8111-111111111111", PERSONA_OIDS["foreign"]])
def test_nobody_of_that_id(admin, wanted):
    look(admin, query=f"?for={wanted}", status=404)


# --- The address ----------------------------------------------------------------------------------------------


def test_a_customer_that_only_avepoint_knows_has_no_rights_to_show(signed_in):
    key = Customer.objects.filter(tenant_id=None).first().key
    answer = signed_in("admin").get(f"/customers/{key}/access/")
    assert answer.status_code == 200
    assert "is not in Partner Center" in Page(answer).words


def test_an_old_address_leads_to_the_new_one(signed_in):
    answer = signed_in("admin").get(f"/customers/{SPECIAL['contoso'].upper()}/access/")
    assert (answer.status_code, answer["Location"]) == (302, path_of())


def test_hostile_names_stay_text(signed_in, sandbox):
    [one] = sandbox.running.cloud.relationships_of(SPECIAL["contoso"])
    one.name = "<script>alert(1)</script>\N{RIGHT-TO-LEFT OVERRIDE}x"
    seen = merge.Seen(SPECIAL["contoso"], SPECIAL["contoso"], "<b>Contoso</b>", "c.example")
    merge.swap({SourceName.PARTNER_CENTER: [seen]}, clock.now())
    page = look(signed_in("nested"))
    assert "<script>alert" not in page.html
    assert "<b>Contoso" not in page.html
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in "".join(page.pieces)
