"""The verdict about rights, from hand-made facts: pure, so every row of the contract's table can be tried."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customers.access import Access, Action, Answer, Facts, Missing, judge
from partnerportal.upstream import roles
from partnerportal.upstream.graph import Assignment, Relationship
from tests.customers.hand_made import NOW, READERS, ROLES, TENANT, USER_ADMIN, WRITERS, assignment, facts, relationship

# CONTRACT 3.1, by the names that Microsoft's page gives the roles.
TABLE = {
    Action.LIST: {"Directory Readers", "Global Reader", "User Administrator"},
    Action.CREATE: {"User Administrator", "Directory Writers"},
    Action.PATCH: {"User Administrator", "Directory Writers"},
    Action.RESET_PASSWORD: {"User Administrator", "Privileged Authentication Administrator"},
    Action.DELETE: {"User Administrator"},
    Action.RESTORE: {"User Administrator", "Directory Writers"},
    Action.LICENCES: {"Directory Writers", "User Administrator", "License Administrator"},
}


def create(known: Facts, now=NOW):
    return judge(known, now)[Action.CREATE]


# --- Which role is good for what ------------------------------------------------------------------------------


@pytest.mark.parametrize("role", sorted(ROLES))
@pytest.mark.parametrize("action", list(Action))
def test_each_action_needs_the_roles_of_the_contract(action, role):
    verdict = judge(facts((relationship(), assignment(ROLES[role]))), NOW)[action]
    assert verdict.answer is (Answer.YES if role in TABLE[action] else Answer.NO)
    assert set(verdict.needs.split(" or ")) == TABLE[action]
    if verdict.yes:
        assert verdict.path is not None
        assert verdict.path.role == ROLES[role]
        assert (verdict.no, verdict.tried, verdict.missing) == (False, True, Missing.NOTHING)


def test_roles_come_together_from_several_relationships():
    one, two = relationship("Reading", granted=[READERS]), relationship("Writing", granted=[WRITERS], days=80)
    access = judge(facts((one, assignment(READERS)), (two, assignment(WRITERS))), NOW)
    assert access[Action.LIST].path.relationship == "Reading"
    assert access[Action.CREATE].path.relationship == "Writing"
    assert access[Action.DELETE].no
    assert {path.role for path in access.held} == {READERS, WRITERS}


def test_the_relationship_is_the_ceiling_of_its_assignments():
    low = relationship(granted=[READERS])
    assert create(facts((low, assignment(USER_ADMIN, READERS)))).no


def test_an_assignment_of_one_relationship_opens_no_other():
    rich, poor = relationship("Rich"), relationship("Poor", granted=[READERS])
    assert create(facts((rich,), (poor, assignment(WRITERS)))).no


# --- What counts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status",
    ["activating", "approvalPending", "approved", "created", "expired", "terminated", "terminating",
     "terminationRequested", "unknownFutureValue", "", "Active"],
)  # fmt: skip
def test_only_an_active_relationship_grants_anything(status):
    assert create(facts((relationship(status=status), assignment()))).no


def test_an_active_relationship_grants():
    assert create(facts((relationship(), assignment()))).yes
    assert create(facts((relationship(days=None), assignment()))).yes


def test_after_its_end_a_relationship_grants_nothing_whatever_its_status_says():
    verdict = create(facts((relationship(days=-1), assignment())))
    assert (verdict.answer, verdict.missing, verdict.ended_at) == (
        Answer.NO,
        Missing.ENDED,
        NOW - timedelta(days=1),
    )


def test_the_very_moment_of_the_end_is_too_late():
    ends = relationship(days=1)
    known = facts((ends, assignment()))
    assert create(known, ends.ends_at - timedelta(seconds=1)).yes
    assert create(known, ends.ends_at).no


def test_a_relationship_that_is_expiring_makes_the_answer_uncertain():
    verdict = create(facts((relationship("Old helpdesk", status="expiring", days=0.5), assignment())))
    assert verdict.answer is Answer.CANNOT_TELL
    assert verdict.tried
    assert verdict.problem == "the GDAP relationship Old helpdesk is just ending"


def test_a_live_one_beside_it_makes_it_certain_again():
    old, new = relationship("Old", status="expiring", days=0.5), relationship("New")
    assert create(facts((old, assignment()), (new, assignment()))).path.relationship == "New"


def test_expiring_and_past_its_end_is_simply_over():
    assert create(facts((relationship(status="expiring", days=-1), assignment()))).no
    assert create(facts((relationship(status="expiring", days=None), assignment()))).no


@pytest.mark.parametrize("status", ["pending", "deleting", "deleted", "error", "unknownFutureValue", ""])
def test_only_an_active_assignment_counts(status):
    assert create(facts((relationship(), assignment(status=status)))).no


def test_a_group_that_is_not_mine_gives_me_nothing():
    assert create(facts((relationship(), assignment(group="theirs")))).no
    assert create(facts((relationship(), assignment()), mine=())).no


def test_what_graph_did_not_say_is_not_a_no():
    access = judge(Facts(NOW, problem="Microsoft Graph did not answer"), NOW)
    assert {verdict.answer for verdict in access.verdicts.values()} == {Answer.CANNOT_TELL}
    assert access.held == ()


@pytest.mark.parametrize("action", list(Action))
def test_when_we_cannot_tell_only_what_is_harmless_is_tried(action):
    verdict = judge(Facts(NOW, problem="silence"), NOW)[action]
    assert verdict.tried is (action in {Action.LIST, Action.CREATE, Action.PATCH})


# --- The best way, and its end --------------------------------------------------------------------------------


def test_the_way_that_lasts_longest_is_shown():
    ways = [
        (relationship("Short", days=20), assignment()),
        (relationship("Long", days=700), assignment()),
        (relationship("Shorter", days=3), assignment()),
    ]
    assert create(facts(*ways)).path.relationship == "Long"
    ways.append((relationship("Extends by itself", days=5, extends=True), assignment()))
    assert create(facts(*ways)).path.relationship == "Extends by itself"
    assert [path.relationship for path in judge(facts(*ways), NOW).held if path.role == WRITERS] == [
        "Extends by itself"
    ]


@pytest.mark.parametrize(
    ("days", "extends", "soon"),
    [
        (0.1, False, True),
        (11, False, True),
        (30, False, True),
        (31, False, False),
        (11, True, False),
        (None, False, False),
    ],
)
def test_an_end_within_thirty_days_is_soon_unless_it_extends(days, extends, soon):
    verdict = create(facts((relationship(days=days, extends=extends), assignment())))
    assert verdict.ends_soon(NOW) is soon


def test_a_no_has_no_end():
    assert not create(facts()).ends_soon(NOW)


# --- What is missing ------------------------------------------------------------------------------------------


def test_the_group_is_missing():
    verdict = create(facts((relationship(), assignment(WRITERS, group="theirs"))))
    assert verdict.missing is Missing.GROUP
    assert (verdict.granted.role, verdict.granted.group, verdict.granted.relationship) == (
        WRITERS,
        "Their group",
        "Helpdesk",
    )


def test_a_group_without_a_name_is_called_by_its_id():
    assert create(facts((relationship(), assignment(group="nameless")))).granted.group == "nameless"


def test_waiting_is_all_when_the_assignment_to_my_group_is_pending():
    known = facts((relationship(), assignment(group="theirs"), assignment(status="pending")))
    verdict = create(known)
    assert (verdict.missing, verdict.granted.group) == (Missing.ASSIGNMENT_PENDING, "My group")


def test_a_pending_assignment_to_another_group_still_needs_the_group():
    verdict = create(facts((relationship(), assignment(group="theirs", status="pending"))))
    assert (verdict.missing, verdict.granted.group) == (Missing.GROUP, "Their group")


def test_the_assignment_is_missing():
    verdict = create(facts((relationship(), assignment(READERS), assignment(status="deleted"))))
    assert (verdict.missing, verdict.granted.role, verdict.granted.group) == (Missing.ASSIGNMENT, USER_ADMIN, "")


@pytest.mark.parametrize("group", ["mine", "theirs"])
def test_an_assignment_that_is_being_removed_is_told_when_there_is_no_other(group):
    verdict = create(facts((relationship(), assignment(READERS), assignment(group=group, status="deleting"))))
    assert (verdict.missing, verdict.relationship) == (Missing.ASSIGNMENT_REMOVED, "Helpdesk")
    assert verdict.granted.group == {"mine": "My group", "theirs": "Their group"}[group]
    other = facts((relationship(), assignment(status="deleting"), assignment(group="theirs")))
    assert create(other).missing is Missing.GROUP


def test_the_role_is_missing():
    assert create(facts((relationship(granted=[READERS]), assignment(READERS)))).missing is Missing.ROLE


@pytest.mark.parametrize("status", ["created", "approvalPending", "approved", "activating"])
def test_the_approval_is_missing(status):
    waiting = relationship(status=status, days=None)
    assert create(facts((waiting,), (relationship("Old", days=-5),))).missing is Missing.APPROVAL


def test_the_last_end_is_told_and_never_one_in_the_future():
    verdict = create(facts((relationship("a", days=-20),), (relationship("b", status="expired", days=-5),)))
    assert (verdict.missing, verdict.ended_at) == (Missing.ENDED, NOW - timedelta(days=5))
    assert create(facts((relationship(status="terminated", days=None),))).ended_at is None


@pytest.mark.parametrize(
    ("status", "days", "changed", "ended"),
    [
        ("terminated", 90, -40, -40),
        ("terminated", -3, -40, -40),  # the day that was agreed has come meanwhile
        ("terminated", -3, None, -3),
        ("terminated", 90, None, None),  # nobody says, and it was not just now
        ("terminating", 90, -1, -1),
        ("terminated", 90, 1, None),  # by another clock
        ("expired", -3, -700, -3),  # changed last when it was activated
        ("expired", 1, -1, -1),
        ("active", -3, -700, -3),
        ("expiring", -3, -1, -3),
    ],
)
def test_what_was_ended_early_ended_when_it_was_last_changed(status, days, changed, ended):
    one = relationship(status=status, days=days, changed=changed)
    at = None if ended is None else NOW + timedelta(days=ended)
    for later in (timedelta(0), timedelta(minutes=15)):
        verdict = judge(facts((one,)), NOW + later)[Action.CREATE]
        assert (verdict.missing, verdict.ended_at, verdict.since) == (Missing.ENDED, at, at)


def test_of_several_the_one_is_told_that_ended_last_and_not_the_one_that_was_agreed_for_longest():
    early = relationship("Early", status="terminated", days=300, changed=-40)
    verdict = create(facts((early,), (relationship("Late", status="expired", days=-5),)))
    assert (verdict.relationship, verdict.ended_at) == ("Late", NOW - timedelta(days=5))


def test_since_when_it_is_missing_is_told_where_graph_tells_it():
    changed = replace(assignment(status="pending"), modified_at=NOW - timedelta(minutes=3))
    assert create(facts((relationship(), changed))).since == NOW - timedelta(minutes=3)
    asked = replace(relationship(status="approvalPending", days=None), created_at=NOW - timedelta(days=4))
    assert create(facts((asked,))).since == NOW - timedelta(days=4)
    assert create(facts((relationship(days=-5),))).since == NOW - timedelta(days=5)


@pytest.mark.parametrize(("minutes", "just"), [(3, True), (14, True), (16, False), (-1, False), (None, False)])
def test_a_new_grant_is_told_to_be_new(minutes, just):
    at = None if minutes is None else NOW - timedelta(minutes=minutes)
    path = create(facts((relationship(), replace(assignment(), created_at=at)))).path
    assert path.just_granted(NOW) is just


def test_the_relationship_in_the_way_is_named():
    assert create(facts((relationship("Poor", granted=[READERS]), assignment(READERS)))).relationship == "Poor"
    two = (relationship("First", days=-20),), (relationship("Last", days=-5),)
    assert create(facts(*two)).relationship == "Last"


def test_the_relationship_is_missing():
    assert create(facts()).missing is Missing.RELATIONSHIP


def test_while_a_relationship_is_expiring_the_missing_group_is_still_the_reason():
    verdict = create(facts((relationship(status="expiring", days=0.5), assignment(group="theirs"))))
    assert verdict.missing is Missing.GROUP


# --- For any facts at all -------------------------------------------------------------------------------------

GROUPS = ("mine", "theirs", "third")
SOME_ROLES = st.frozensets(st.sampled_from([USER_ADMIN, WRITERS, READERS, *sorted(ROLES.values())[:4]]), max_size=4)
ASSIGNMENTS = st.builds(
    Assignment,
    id=st.uuids().map(str),
    status=st.sampled_from(["active", "active", "pending", "deleting", "error"]),
    group_id=st.sampled_from(GROUPS),
    roles=SOME_ROLES,
)
RELATIONSHIPS = st.builds(
    Relationship,
    id=st.uuids().map(str),
    display_name=st.sampled_from(["One", "Two", ""]),
    tenant_id=st.just(TENANT),
    status=st.sampled_from(["active", "active", "expiring", "expired", "terminated", "approvalPending", "?"]),
    ends_at=st.none() | st.integers(-90, 800).map(lambda days: NOW + timedelta(days=days)),
    auto_extends=st.booleans(),
    roles=SOME_ROLES,
)
PAIRS = st.lists(st.tuples(RELATIONSHIPS, st.lists(ASSIGNMENTS, max_size=3)), max_size=3)
MINE = st.frozensets(st.sampled_from(GROUPS))


def known(pairs, mine) -> Facts:
    return facts(*((relationship, *assignments) for relationship, assignments in pairs), mine=mine)


def holds(pairs, mine, wanted: set[str]) -> bool:
    """The rule of CONTRACT 4.4, told in another way: is there a live path to one of these roles?"""
    return any(
        each.status == "active"
        and each.group_id in mine
        and {roles.NAMES[role] for role in each.roles & found.roles} & wanted
        for found, assignments in pairs
        if found.status == "active" and not (found.ends_at and found.ends_at <= NOW)
        for each in assignments
    )


@given(PAIRS, MINE)
def test_yes_if_and_only_if_there_is_a_live_path(pairs, mine):
    access = judge(known(pairs, mine), NOW)
    for action, wanted in TABLE.items():
        assert access[action].yes == holds(pairs, mine, wanted)


@given(PAIRS, MINE)
def test_every_verdict_says_why(pairs, mine):
    for action, verdict in judge(known(pairs, mine), NOW).verdicts.items():
        assert verdict.action is action
        assert (verdict.path is not None) == verdict.yes
        assert bool(verdict.problem) == (verdict.answer is Answer.CANNOT_TELL)
        assert (verdict.missing is not Missing.NOTHING) == verdict.no
        if verdict.path:
            assert roles.NAMES[verdict.path.role] in TABLE[action]
        if verdict.missing in (Missing.GROUP, Missing.ASSIGNMENT, Missing.ASSIGNMENT_PENDING):
            assert verdict.granted is not None


@given(PAIRS, MINE)
def test_creating_changing_and_restoring_need_the_same(pairs, mine):
    access = judge(known(pairs, mine), NOW)
    assert access[Action.CREATE].answer is access[Action.PATCH].answer is access[Action.RESTORE].answer


@given(PAIRS, MINE)
def test_who_may_delete_may_do_everything(pairs, mine):
    access = judge(known(pairs, mine), NOW)
    if access[Action.DELETE].yes:
        assert all(verdict.yes for verdict in access.verdicts.values())


def yes_to(access: Access) -> set[Action]:
    return {action for action, verdict in access.verdicts.items() if verdict.yes}


@given(PAIRS, PAIRS, MINE, MINE)
def test_more_relationships_and_more_groups_never_take_a_right_away(pairs, more, mine, others):
    before = yes_to(judge(known(pairs, mine), NOW))
    assert before <= yes_to(judge(known(pairs + more, mine), NOW))
    assert before <= yes_to(judge(known(pairs, mine | others), NOW))


@given(PAIRS, MINE, st.integers(0, 900))
def test_time_alone_never_gives_a_right(pairs, mine, days):
    later = yes_to(judge(known(pairs, mine), NOW + timedelta(days=days)))
    assert later <= yes_to(judge(known(pairs, mine), NOW))


@given(PAIRS, MINE)
def test_a_problem_outweighs_all_that_was_seen(pairs, mine):
    doubtful = replace(known(pairs, mine), problem="half an answer")
    assert yes_to(judge(doubtful, NOW)) == set()
    assert not any(verdict.no for verdict in judge(doubtful, NOW).verdicts.values())
