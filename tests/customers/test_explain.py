"""The sentences of DESIGN section 9, word for word: what one may do here, until when, and what is missing."""

import re
from datetime import timedelta

import pytest
import time_machine
from hypothesis import given

from customers.access import Action, Facts, judge
from customers.explain import banner, day, how_to_get, request_for_lead, through, why_not
from customers.models import Customer
from partnerportal.models import Operator
from tests.customers.hand_made import NOW, READERS, TENANT, USER_ADMIN, WRITERS, assignment, facts, relationship
from tests.customers.test_access import MINE, PAIRS, known

BELLOWS = Customer(key=TENANT, tenant_id=TENANT, name="Bellows College")
AUTHOR = Operator(name="Tom Reyes", app_roles=["Portal.Operator"])
READER = Operator(name="Ines Halloran", app_roles=["Portal.Reader"])
VIEW_ONLY = "You can look at these users but not change them."


@pytest.fixture(autouse=True)
def today():
    with time_machine.travel(NOW, tick=False):
        yield


def told(*pairs, by=AUTHOR, **more):
    """The banner for these facts."""
    return banner(judge(facts(*pairs, **more), NOW), BELLOWS, by=by)


def refusal(*pairs, action=Action.CREATE, **more):
    return why_not(judge(facts(*pairs, **more), NOW)[action], BELLOWS)


# --- The banner -----------------------------------------------------------------------------------------------


def test_who_may_edit_for_long_is_told_so_in_the_head():
    found = told((relationship(), assignment(USER_ADMIN)))
    assert (found.kind, found.title, found.body) == ("quiet", "You can edit users here (User Administrator).", "")


def test_who_may_edit_and_whose_access_extends_is_not_warned():
    found = told((relationship(days=5, extends=True), assignment(WRITERS)))
    assert (found.kind, found.title) == ("quiet", "You can edit users here (Directory Writers).")


def test_an_end_within_thirty_days_is_a_warning_with_the_day_and_the_way():
    found = told((relationship("Helpdesk Tier 1", days=11), assignment(USER_ADMIN)))
    assert found.kind == "warn"
    assert found.title == "You can create and change users here until 3 Dec 2026, in 11 days."
    assert found.body == (
        "Your role is User Administrator, through the GDAP relationship Helpdesk Tier 1. "
        "It does not extend by itself; an Admin agent can turn that on."
    )


@pytest.mark.parametrize(
    ("days", "words"), [(0.2, "22 Nov 2026, today"), (1, "23 Nov 2026, in 1 day"), (2, "in 2 days")]
)
def test_the_last_days_are_counted(days, words):
    assert words in told((relationship(days=days), assignment(USER_ADMIN))).title


def test_who_may_only_read_hears_what_is_needed_and_what_they_have():
    found = told((relationship("Read-only baseline", days=110, granted=[READERS]), assignment(READERS)))
    assert (found.kind, found.title) == ("info", VIEW_ONLY)
    assert found.body == (
        "Creating or changing a user here needs the User Administrator or Directory Writers role. "
        "You have Directory Readers, through Read-only baseline, until 12 Mar 2027."
    )
    assert found.steps[0] == (
        "Ask an Admin agent for a GDAP relationship that includes User Administrator or Directory Writers."
    )
    assert "Role needed: User Administrator or Directory Writers" in found.request_text


def test_who_may_read_but_is_not_in_the_group_hears_which_group():
    found = told((relationship(), assignment(READERS), assignment(USER_ADMIN, group="theirs")))
    assert found.title == VIEW_ONLY
    assert "but you are not in the group that holds it (Their group). Ask your lead to add you." in found.body
    assert "security group Their group. It already holds User Administrator" in found.steps[0]
    assert "Group: Their group" in found.request_text


def test_who_may_do_nothing_hears_why():
    found = told((relationship(days=-6), assignment()))
    assert found.title == (
        "Your access to Bellows College ended on 16 Nov 2026. A new relationship needs the customer’s approval."
    )
    assert found.body == ""


def test_when_we_cannot_tell_microsoft_decides():
    found = banner(judge(Facts(NOW, problem="Microsoft Graph did not answer"), NOW), BELLOWS, by=AUTHOR)
    assert (found.kind, found.title, found.body) == (
        "info",
        "We could not check your roles (Microsoft Graph did not answer).",
        "You can try; Microsoft decides.",
    )


def test_when_we_cannot_tell_our_copy_is_a_hint_with_its_age():
    live = judge(Facts(NOW, problem="Microsoft Graph did not answer"), NOW)
    no = judge(facts((relationship(), assignment(USER_ADMIN, group="theirs"))), NOW)
    found = banner(live, BELLOWS, by=AUTHOR, copied=no)
    assert found.body == (
        "Our copy of 22 Nov 2026, 12:00 UTC says no. The customer has granted User Administrator to your company, but "
        "you are not in the group that holds it (Their group). Ask your lead to add you. "
        "You can try; Microsoft decides."
    )
    assert "Group: Their group" in found.request_text
    yes = judge(facts((relationship(), assignment(USER_ADMIN))), NOW)
    found = banner(live, BELLOWS, by=AUTHOR, copied=yes)
    assert re.fullmatch(r"Our copy of .+ says yes: User Administrator, through .+ You can try; .+", found.body)
    assert found.request_text == ""


def test_an_app_role_that_only_reads_is_named_whatever_gdap_says():
    found = told((relationship(), assignment()), by=READER)
    assert found.title == VIEW_ONLY
    assert found.body == (
        "Your app role in Partner Desk is Portal.Reader; creating or changing users needs Portal.Operator."
    )
    found = told((relationship(granted=[READERS]), assignment(READERS)), by=READER)
    assert found.body.endswith("It also needs User Administrator or Directory Writers in this customer.")


def test_who_may_write_but_not_list_is_not_told_to_look():
    found = told((relationship(), assignment(WRITERS)))
    assert found.title == "You can edit users here (Directory Writers)."


# --- Why not --------------------------------------------------------------------------------------------------


def test_why_not_when_the_group_is_missing():
    assert refusal((relationship(), assignment(USER_ADMIN, group="theirs"))) == (
        "The customer has granted User Administrator to your company, but you are not in the group that holds it "
        "(Their group). Ask your lead to add you."
    )


def test_why_not_when_it_was_just_granted():
    assert refusal((relationship(), assignment(WRITERS, status="pending"))) == (
        "Directory Writers was just granted to My group. Microsoft can need some minutes; open this page again then."
    )


def test_why_not_when_no_group_holds_the_role():
    assert refusal((relationship(granted=[WRITERS]),)) == (
        "The customer has granted Directory Writers to your company, but no security group holds it. "
        "An Admin agent can assign it to a group that you are in."
    )


def test_why_not_when_the_relationship_lacks_the_role():
    assert refusal((relationship(granted=[READERS]),)) == (
        "No relationship with this customer includes User Administrator or Directory Writers. "
        "A new request needs the customer’s approval."
    )


def test_why_not_when_the_customer_has_not_approved():
    assert refusal((relationship(status="approvalPending", days=None),)) == (
        "The customer has not yet approved the GDAP relationship that your company asked for."
    )


def test_why_not_when_it_ended_some_day():
    assert refusal((relationship(status="terminated", days=None),)) == (
        "Your access to Bellows College has ended. A new relationship needs the customer’s approval."
    )


def test_why_not_when_there_was_never_anything():
    assert refusal() == "Your company has no GDAP relationship with Bellows College."


def test_why_not_when_nobody_could_tell():
    verdict = judge(Facts(NOW, problem="Microsoft Graph did not answer"), NOW)[Action.RESET_PASSWORD]
    assert why_not(verdict, BELLOWS) == (
        "We could not check your roles (Microsoft Graph did not answer), and this is not done on a guess."
    )


# --- How to get access ----------------------------------------------------------------------------------------


def steps(*pairs):
    return how_to_get(judge(facts(*pairs), NOW)[Action.CREATE])


def test_the_way_to_a_role_ends_with_coming_back():
    ways = [
        steps((relationship(), assignment(group="theirs"))),
        steps((relationship(), assignment(status="pending"))),
        steps((relationship(),)),
        steps((relationship(status="created", days=None),)),
        steps(),
    ]
    assert len({way[0] for way in ways}) == 5
    assert {way[-1] for way in ways} == {"Come back to this page. We check your roles again each time you open it."}


def test_the_contact_of_the_settings_is_whom_to_ask(settings):
    settings.ACCESS_CONTACT = "the service desk (ext. 12)"
    assert steps()[0].startswith("Ask the service desk (ext. 12) for a GDAP relationship")
    assert "The service desk (ext. 12) can assign it" in refusal((relationship(granted=[WRITERS]),))


def test_the_request_for_a_lead_has_all_that_they_need(settings):
    settings.PUBLIC_URL = "https://desk.partner.example"
    verdict = judge(facts((relationship(), assignment(USER_ADMIN, group="theirs"))), NOW)[Action.DELETE]
    assert request_for_lead(verdict, BELLOWS).splitlines() == [
        "I need to delete users in Bellows College.",
        f"Tenant ID: {TENANT}",
        "Role needed: User Administrator",
        "What is missing: not in the group",
        "GDAP relationship: Helpdesk",
        "Group: Their group",
        f"https://desk.partner.example/customers/{TENANT}/users/",
    ]
    settings.PUBLIC_URL = ""
    assert "http" not in request_for_lead(verdict, BELLOWS)


def test_a_way_in_words():
    path = judge(facts((relationship(days=None), assignment(USER_ADMIN))), NOW)[Action.CREATE].path
    assert path is not None
    assert through(path) == "User Administrator, through Helpdesk"
    assert (day(NOW + timedelta(days=11)), day(None)) == ("3 Dec 2026", "")


@given(PAIRS, MINE)
def test_for_any_facts_there_is_a_whole_sentence(pairs, mine):
    access = judge(known(pairs, mine), NOW)
    for somebody in (AUTHOR, READER):
        found = banner(access, BELLOWS, by=somebody)
        assert found.title.endswith(".")
        assert "None" not in f"{found.title} {found.body} {found.steps} {found.request_text}"
    for verdict in access.verdicts.values():
        if not verdict.yes:
            assert why_not(verdict, BELLOWS).endswith(".")
            assert how_to_get(verdict)
            assert request_for_lead(verdict, BELLOWS)
