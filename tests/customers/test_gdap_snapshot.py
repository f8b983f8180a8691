"""The GDAP snapshot: whose token reads it, what it keeps, what an answer may not do to it, and what it says changed."""

import threading
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection
from django.http import HttpResponse

from customers import standing, tasks
from customers.access import Action, access_to
from customers.gdap import news, reading, relationships
from customers.middleware import keep_gdap_fresh
from customers.models import (
    GRAPH,
    Customer,
    GdapAssignment,
    GdapChange,
    GdapGrant,
    GdapRead,
    GdapRelationship,
    SecurityGroup,
    Snapshot,
    Source,
)
from partnerportal import clock, grants
from partnerportal.models import AuditEvent, Operator, TokenCache
from partnerportal.sandbox.seed import GROUP_IDS, PERSONA_OIDS, SPECIAL
from partnerportal.upstream import roles
from partnerportal.upstream.graph import Assignment
from tests.customers.gdap_reads import grant_of, read_as, source
from tests.pages import Page

pytestmark = pytest.mark.django_db
State = GdapRead.State
Kind = GdapChange.Kind
CONTOSO = SPECIAL["contoso"]


@pytest.fixture
def read(snapshot, signed_in):
    """`read("admin")`: sign in and read; what the cloud was asked before is forgotten."""

    def once(persona="admin"):
        if not TokenCache.objects.filter(operator__oid=PERSONA_OIDS[persona]).exists():
            signed_in(persona)
        return read_as(persona)

    return once


def changes():
    return list(GdapChange.objects.order_by("pk"))


def customer(key):
    return Customer.objects.get(tenant_id=SPECIAL[key])


# --- What a read keeps ----------------------------------------------------------------------------------------


def test_a_read_keeps_all_that_graph_tells(read, sandbox):
    done = read()
    world = sandbox.running.cloud.world
    assert done.state == State.DONE
    assert done.rows_seen == len(world.relationships)
    assert set(GdapRelationship.objects.values_list("pk", flat=True)) == set(world.relationships)
    live = [one for one in world.relationships.values() if one.status in ("active", "expiring")]
    live = [one for one in live if one.ends > clock.now()]
    assert GdapAssignment.objects.count() == sum(len(one.assignments) for one in live)
    assert SecurityGroup.objects.get(pk=GROUP_IDS["user_admins"]).name == "GDAP Helpdesk Tier 1"
    kept = GdapAssignment.objects.filter(relationship__tenant_id=CONTOSO).first()
    assert kept.modified_at - kept.created_at == timedelta(minutes=7)
    ended = GdapRelationship.objects.get(tenant_id=SPECIAL["terminated"])
    assert ended.modified_at == ended.ends_at
    assert changes() == []  # the very first read is no news


def test_the_source_row_tells_how_it_went(read):
    read()
    told = source()
    assert abs(told.last_good_at - clock.now()) < timedelta(seconds=20)
    assert (told.rows, told.quarantined, told.problem) == (GdapRelationship.objects.count(), 0, "")
    assert 0 < told.took < 20
    assert told.label == "GDAP"


def test_assignments_are_asked_twenty_at_a_time_and_only_where_they_count(read, sandbox):
    read()
    batches = [line["body"]["requests"] for line in sandbox.journal("graph") if line["path"].endswith("$batch")]
    asked = [each["url"] for batch in batches for each in batch if "accessAssignments" in each["url"]]
    assert max(len(batch) for batch in batches) == 20
    assert len(asked) == len(set(asked))
    ended = GdapRelationship.objects.filter(status="expired").values_list("pk", flat=True)
    assert ended
    assert not [url for url in asked if any(one in url for one in ended)]


def test_where_graph_answers_no_batch_each_is_asked_for_itself(read, sandbox):
    sandbox.fault("graph", "status", path="batch", status=404, times=0)
    assert read().state == State.DONE
    assert GdapAssignment.objects.count() > 100
    assert [line for line in sandbox.journal("graph") if line["path"].endswith("/accessAssignments")]


def test_all_pages_are_read(read, sandbox, monkeypatch):
    monkeypatch.setattr("partnerportal.upstream.graph.LARGEST_PAGE", 7)
    read()
    assert GdapRelationship.objects.count() == len(sandbox.running.cloud.world.relationships)


def test_duplicated_rows_count_once(read, sandbox):
    sandbox.fault("graph", "repeat_items", path="delegatedAdminRelationships$", times=0)
    assert read().rows_seen == len(sandbox.running.cloud.world.relationships)


@pytest.mark.parametrize(
    ("key", "state", "days"),
    [
        ("contoso", "live", None),
        ("expiring", "live", 11),
        ("expired", "ended", -7),
        ("past_end", "ended", -1),
        ("terminated", "ended", -20),
        ("pending", "pending", None),
        ("none", "none", None),
        ("status_expiring", "live", None),
    ],
)
def test_each_customer_is_told_what_its_relationships_amount_to(read, key, state, days):
    read()
    found = customer(key)
    assert found.gdap_state == state
    if days is not None:
        assert abs(found.gdap_ends_at - (clock.now() + timedelta(days=days))) < timedelta(hours=2)


def test_of_several_relationships_the_one_that_lasts_longest_is_told(read):
    read()
    assert (customer("union").gdap_ends_at - clock.now()).days > 300


def test_the_end_of_what_was_ended_early_does_not_move_with_every_look(read, move_clock):
    read()
    [kept] = GdapRelationship.objects.filter(tenant_id=CONTOSO)
    kept.status, kept.modified_at = "terminated", clock.now() - timedelta(days=1)
    assert kept.ends_at > clock.now() + timedelta(days=50)
    kept.save()
    assert relationships.retell() is True
    assert (customer("contoso").gdap_state, customer("contoso").gdap_ends_at) == ("ended", kept.modified_at)
    for _ in range(2):
        move_clock(20 * 86400)
        relationships.retell()  # others end meanwhile
        assert customer("contoso").gdap_ends_at == kept.modified_at
        assert relationships.retell() is False


def test_an_end_of_which_nobody_tells_the_day_has_none(read):
    read()
    GdapRelationship.objects.filter(tenant_id=CONTOSO).update(status="terminated", modified_at=None)
    relationships.retell()
    assert (customer("contoso").gdap_state, customer("contoso").gdap_ends_at) == ("ended", None)
    assert relationships.retell() is False


def test_before_the_first_read_customers_are_told_nothing(snapshot):
    assert relationships.retell() is False
    assert set(Customer.objects.values_list("gdap_state", flat=True)) == {""}


def test_a_customer_that_comes_later_is_told_at_once(read):
    read()
    found = customer("expiring")
    Customer.objects.filter(pk=found.pk).update(gdap_state="", gdap_ends_at=None)
    relationships.retell([found.tenant_id, "ap-something"])
    assert customer("expiring").gdap_state == "live"
    assert (customer("expiring").gdap_ends_at - clock.now()).days in (10, 11)


def test_a_second_read_of_the_same_changes_nothing(read):
    read()
    rows = list(GdapGrant.objects.order_by("pk").values()), list(GdapAssignment.objects.order_by("pk").values())
    generation = Snapshot.objects.get().generation
    assert read().state == State.DONE
    assert (
        list(GdapGrant.objects.order_by("pk").values()),
        list(GdapAssignment.objects.order_by("pk").values()),
    ) == rows
    assert Snapshot.objects.get().generation == generation
    assert changes() == []


# --- Whose token ----------------------------------------------------------------------------------------------


def test_an_empty_list_replaces_nothing(read):
    read("admin")
    before = list(GdapRelationship.objects.order_by("pk").values()), source().last_good_at
    assert read("outsider").state == State.EMPTY
    assert (list(GdapRelationship.objects.order_by("pk").values()), source().last_good_at) == before
    assert source().problem == ""


def test_before_anybody_inside_admin_agents_came_that_is_said(read):
    assert read("outsider").state == State.EMPTY
    assert "Admin agents only" in source().problem
    assert source().last_good_at is None
    assert read("admin").state == State.DONE
    assert source().problem == ""


def test_the_groups_of_the_reader_are_kept_with_each_read(read):
    read("nested")
    nested = Operator.objects.get(oid=PERSONA_OIDS["nested"])
    assert set(nested.groups) == {GROUP_IDS[key] for key in ("admin_agents", "night_shift", "nested_admins")}
    assert abs(nested.groups_read_at - clock.now()) < timedelta(seconds=20)


def test_an_outsiders_own_groups_are_kept_too(read, sandbox):
    sandbox.state("add_to_group", persona="outsider", group="writers")
    read("outsider")
    assert Operator.objects.get(oid=PERSONA_OIDS["outsider"]).groups == [GROUP_IDS["writers"]]


def test_groups_alone_are_read_by_a_task_of_their_own(signed_in, sandbox):
    signed_in("reader")
    tasks.read_groups(str(grant_of("reader").pk))
    reader = Operator.objects.get(oid=PERSONA_OIDS["reader"])
    assert set(reader.groups) == {GROUP_IDS["admin_agents"], GROUP_IDS["readers"]}
    sandbox.fault("graph", "status", status=500, times=0)
    tasks.read_groups(str(grant_of("reader").pk))
    assert Operator.objects.get(pk=reader.pk).groups == reader.groups
    tasks.read_groups("00000000-0000-4000-8000-000000000000")  # signed out meanwhile


def test_a_token_that_is_worth_nothing_says_nothing_about_graph(read, signed_in, sandbox):
    read("admin")
    good_at = source().last_good_at
    signed_in("writer")
    sandbox.fault("graph", "expired_token", times=0)
    assert read("writer").state == State.FAILED
    assert (source().problem, source().last_good_at) == ("", good_at)


def test_who_signed_out_meanwhile_leaves_a_read_that_failed(read, signed_in):
    signed_in("admin")
    grant = grant_of("admin")
    made, _ = reading.request_read(by=grant.operator, grant=grant)
    grant.delete()
    reading.carry_out(made.pk)
    made.refresh_from_db()
    assert (made.state, made.open) == (State.FAILED, None)


def test_signing_out_just_after_a_worker_took_the_read_is_no_fault_of_ours(read, signed_in, monkeypatch):
    signed_in("admin")
    grant, walk = grant_of("admin"), reading._walk
    made, _ = reading.request_read(by=grant.operator, grant=grant)

    def walk_after_signing_out(claimed):
        grant.delete()
        return walk(claimed)

    monkeypatch.setattr(reading, "_walk", walk_after_signing_out)
    reading.carry_out(made.pk)
    assert source().problem == reading.NOBODY_YET


# --- When -----------------------------------------------------------------------------------------------------


def here(persona):
    """Somebody's request, half a minute after the last one."""
    cache.clear()
    return reading.look(grant_of(persona))


def test_whoever_signs_in_sets_off_a_read(signed_in, sandbox):
    signed_in("admin")
    due = here("admin")
    assert (due.read.by.name, due.read.state) == ("Maya Okafor", State.QUEUED)
    assert here("admin").read is None  # one at a time


def test_a_request_asks_no_upstream_and_publishes_the_ids_only(
    signed_in, sandbox, monkeypatch, django_capture_on_commit_callbacks
):
    published = []
    monkeypatch.setattr(tasks.read_gdap, "delay", lambda *args: published.append(("read", *args)))
    monkeypatch.setattr(tasks.read_groups, "delay", lambda *args: published.append(("groups", *args)))
    browser = signed_in("admin")
    cache.clear()
    sandbox.running.journal.clear()
    with django_capture_on_commit_callbacks(execute=True):
        browser.get("/audit/")
    assert sandbox.journal() == []
    assert published == [("read", GdapRead.objects.get().pk)]
    other = signed_in("writer")
    cache.clear()
    with django_capture_on_commit_callbacks(execute=True):
        other.get("/audit/")
    assert published[1:] == [("groups", str(grant_of("writer").pk))]


@pytest.mark.parametrize("known", [False, True])
def test_the_list_sets_a_read_off_whether_or_not_ones_groups_are_known(read, signed_in, move_clock, known):
    browser = signed_in("admin")
    if known:
        read()
        move_clock(16 * 60)
    cache.clear()
    assert browser.get("/customers/").status_code == 200
    assert GdapRead.objects.get(open=True).by.name == "Maya Okafor"


def test_the_list_sets_off_the_reading_of_ones_groups(read, signed_in, monkeypatch, django_capture_on_commit_callbacks):
    published = []
    monkeypatch.setattr(tasks.read_groups, "delay", published.append)
    read("admin")
    browser = signed_in("writer")
    cache.clear()
    with django_capture_on_commit_callbacks(execute=True):
        browser.get("/customers/?q=a")
    assert published == [str(grant_of("writer").pk)]


def test_the_list_is_with_the_browser_before_anybody_looks(signed_in, rf, monkeypatch):
    signed_in("admin")
    request = rf.get("/customers/")
    request.grant = grant_of("admin")
    answer = HttpResponse("the list")
    answer.close = lambda: order.append("closed")
    order = []
    monkeypatch.setattr(tasks, "somebody_is_here", lambda grant: order.append(f"look for {grant.operator.name}"))
    response = keep_gdap_fresh(lambda _: answer)(request)
    assert (response.content, order) == (b"the list", [])
    response.close()  # as the server does when all of it is sent
    assert order == ["look for Maya Okafor", "closed"]


def test_a_look_that_fails_leaves_the_list_alone(signed_in, snapshot, monkeypatch, caplog):
    browser = signed_in("admin")
    monkeypatch.setattr(tasks, "somebody_is_here", lambda grant: 1 / 0)
    assert browser.get("/customers/").status_code == 200
    assert "nobody could look how old the GDAP snapshot is" in caplog.text


@pytest.mark.parametrize("page", ["/audit/", "/customers/"])
def test_what_a_page_asks_for_by_itself_sets_nothing_off(signed_in, page):
    browser = signed_in("admin")
    cache.clear()
    browser.get(page, headers={"X-Poll": "1"})
    assert not GdapRead.objects.exists()


def test_a_visitor_sets_nothing_off(visitor):
    visitor.get("/audit/")
    assert not GdapRead.objects.exists()


@pytest.mark.parametrize(("minutes", "is_due"), [(1, False), (14, False), (16, True)])
def test_while_somebody_is_active_it_is_read_every_fifteen_minutes(read, minutes, is_due, move_clock):
    read()
    move_clock(minutes * 60)
    assert (here("admin").read is not None) == is_due


@pytest.mark.parametrize(("minutes", "is_due"), [(1, False), (3, True)])
def test_who_comes_in_just_after_a_read_needs_none(read, signed_in, minutes, is_due, move_clock):
    read()
    move_clock(minutes * 60)
    signed_in("writer")
    due = here("writer")
    assert (due.read is not None) == is_due
    assert due.groups == (not is_due)


def test_an_outsider_does_not_try_again_before_a_quarter_of_an_hour(read, move_clock):
    read("outsider")
    move_clock(14 * 60)
    assert here("outsider").read is None
    move_clock(16 * 60)
    assert here("outsider").read is not None


def test_after_a_failure_it_is_tried_again_a_minute_later(read, sandbox, move_clock):
    sandbox.fault("graph", "status", status=500, times=0)
    assert read().state == State.FAILED
    sandbox.no_faults()
    assert here("admin").read is None
    move_clock(70)
    assert here("admin").read is not None


def test_one_sign_in_causes_one_look_in_half_a_minute(read, django_assert_num_queries):
    read()
    grant = grant_of("admin")
    cache.clear()
    reading.look(grant)
    with django_assert_num_queries(0):
        assert reading.look(grant) == reading.Due()


# --- Half an answer, too few, and what cannot be read ---------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500, "path": "delegatedAdminRelationships$", "skip": 2},
        {"kind": "status", "status": 503, "path": "batch|accessAssignments", "skip": 1},
        {"kind": "truncate", "path": "delegatedAdminRelationships$", "skip": 1},
        {"kind": "html", "path": "batch"},
        {"kind": "loop", "path": "delegatedAdminRelationships$"},
        {"kind": "bad_json", "path": "transitiveMemberOf"},
        {"kind": "drop_before", "path": "delegatedAdminRelationships$", "skip": 1},
    ],
    ids=lambda fault: f"{fault['kind']}-{fault['path'][:12]}",
)
def test_a_read_that_does_not_come_whole_changes_nothing(read, sandbox, fault, monkeypatch):
    monkeypatch.setattr("partnerportal.upstream.graph.LARGEST_PAGE", 20)
    read()
    sandbox.state("terminate_relationship", tenant_id=CONTOSO)
    before = (
        list(GdapRelationship.objects.order_by("pk").values()),
        list(GdapAssignment.objects.order_by("pk").values()),
    )
    good_at = source().last_good_at
    sandbox.fault("graph", times=0, **fault)
    assert read().state == State.FAILED
    now = list(GdapRelationship.objects.order_by("pk").values()), list(GdapAssignment.objects.order_by("pk").values())
    assert now == before
    assert source().last_good_at == good_at
    assert source().problem.startswith("Microsoft Graph")
    assert source().last_tried_at > good_at


def test_who_asks_too_fast_waits_and_goes_on(read, sandbox):
    sandbox.fault("graph", "status", path="batch", status=429, headers={"Retry-After": "6"}, body="{}")
    assert read().state == State.DONE


def test_a_relationship_that_is_missing_once_stays_and_twice_goes(read, sandbox):
    read()
    world = sandbox.running.cloud.world
    [gone] = sandbox.running.cloud.relationships_of(CONTOSO)
    del world.relationships[gone.id]
    world.by_tenant = None
    read()
    kept = GdapRelationship.objects.get(pk=gone.id)
    assert kept.missing_since
    assert kept.gone_at is None
    assert (customer("contoso").gdap_state, GdapGrant.objects.filter(tenant_id=CONTOSO).exists()) == ("live", True)
    read()
    kept.refresh_from_db()
    assert kept.gone_at
    assert (customer("contoso").gdap_state, GdapGrant.objects.filter(tenant_id=CONTOSO).exists()) == ("none", False)
    assert [(change.kind, change.relationship_id) for change in changes()] == [(Kind.GONE, gone.id)]
    assert not GdapAssignment.objects.filter(relationship_id=gone.id).exists()
    world.relationships[gone.id] = gone
    world.by_tenant = None
    read()
    kept.refresh_from_db()
    assert (kept.missing_since, kept.gone_at, changes()[-1].kind) == (None, None, Kind.NEW)
    assert customer("contoso").gdap_state == "live"


def test_under_half_stops_and_waits_for_an_administrator(read, sandbox, signed_in):
    read()
    known = GdapRelationship.objects.count()
    sandbox.state("hide_customers", source="graph", fraction=0.7)
    assert read().state == State.FAILED
    told = source()
    assert f"where we know {known:,}. We keep what we know." in told.problem
    assert 0 < told.short_rows < known / 2
    assert not GdapRelationship.objects.exclude(missing_since=None).exists()
    browser = signed_in("admin")
    question = f"Microsoft Graph listed {told.short_rows} relationships where we know {known}. Is that right?"
    assert question.removeprefix("Microsoft Graph ") in Page(browser.get("/sources/")).words
    answer = {"source": GRAPH, "rows": told.short_rows, "answer": "accept"}
    page = Page(browser.post("/sources/answer/", answer, follow=True)).words
    assert f"has said that {told.short_rows} relationships of" in page
    asked = GdapRead.objects.get(open=True)  # at once
    reading.carry_out(asked.pk)
    asked.refresh_from_db()
    assert asked.state == State.DONE
    assert (source().problem, source().short_rows, source().accepted_rows) == ("", None, None)
    assert GdapRelationship.objects.exclude(missing_since=None).count() == known - told.short_rows


@pytest.fixture
def unassigned(read, sandbox):
    """Graph lists every relationship and a fifth of their assignments; a read has met that. How many it knew."""
    read()
    known = GdapAssignment.objects.count()
    sandbox.state("hide_customers", source="assignments", fraction=0.8)
    assert read().state == State.FAILED
    return known


def kept():
    models = (GdapRelationship, GdapAssignment, GdapGrant, GdapChange)
    return [list(model.objects.order_by("pk").values()) for model in models]


def accept_assignments(browser):
    return browser.post("/sources/answer/", {"source": GRAPH, "assignments": source().short_assignments}, follow=True)


def test_all_relationships_without_most_of_their_assignments_replace_nothing(read, sandbox):
    read()
    before, good_at, standing_there = kept(), source().last_good_at, customer("contoso").gdap_state
    sandbox.state("hide_customers", source="assignments", fraction=0.8)
    for _ in range(2):  # two such reads that agree are still a question
        assert read().state == State.FAILED
        assert kept() == before
    assert (source().last_good_at, customer("contoso").gdap_state) == (good_at, standing_there)


def test_what_is_asked_of_a_portal_admin_says_assignments_and_no_relationships(unassigned, signed_in):
    told = source()
    assert 0 < told.short_assignments < unassigned / 2
    assert told.short_rows is None
    sentence = f"listed {told.short_assignments} access assignments where we know {unassigned}"
    assert told.problem == f"Microsoft Graph {sentence}. We keep what we know."
    admin, reader = (Page(signed_in(persona).get("/sources/")) for persona in ("admin", "reader"))
    for page in (admin, reader):
        assert f"GDAP {sentence}. Is that right?" in page.words
        assert "relationships where we know" not in page.words
    assert "It is right, take them away" in admin.words
    assert "It is right, take them away" not in reader.words
    needs = Page(signed_in("reader").get("/")).words
    assert f"Found far fewer access assignments than before: GDAP ({told.short_assignments})." in needs
    assert "Source does not answer: GDAP" not in needs


def test_few_assignments_that_a_portal_admin_calls_right_are_believed_once(unassigned, read, sandbox, signed_in):
    found, browser = source().short_assignments, signed_in("admin")
    form = Page(browser.get("/sources/")).form("assignments")
    page = Page(browser.post(form.action, form.fields | {"answer": "accept"}, follow=True)).words
    assert f"Maya Okafor has said that {found} access assignments of GDAP are right." in page
    entry = AuditEvent.objects.get(action="few access assignments accepted", kind="outcome")
    assert (entry.actor_name, entry.fields) == ("Maya Okafor", {"assignments": [unassigned, found]})
    asked = GdapRead.objects.get(open=True)  # at once
    reading.carry_out(asked.pk)
    asked.refresh_from_db()
    told = source()
    assert asked.state == State.DONE
    assert (told.problem, told.short_assignments, told.accepted_assignments, told.accepted_by) == ("", None, None, None)
    assert GdapAssignment.objects.count() == found
    assert not GdapRelationship.objects.exclude(missing_since=None).exists()

    sandbox.state("hide_customers", source="assignments", fraction=0.97)
    assert read().state == State.FAILED  # it was believed once
    assert GdapAssignment.objects.count() == found


def test_an_acceptance_does_not_cover_assignments_that_shrink_further(unassigned, sandbox, signed_in):
    found = source().short_assignments
    accept_assignments(signed_in("admin"))
    sandbox.state("hide_customers", source="assignments", fraction=0.97)
    reading.carry_out(GdapRead.objects.get(open=True).pk)
    assert GdapAssignment.objects.count() == unassigned
    assert source().short_assignments < found * 0.9


def test_an_acceptance_of_few_assignments_can_be_taken_back(unassigned, signed_in):
    browser = signed_in("admin")
    accept_assignments(browser)
    page = Page(browser.post("/sources/answer/", {"source": GRAPH, "answer": "wait"}, follow=True)).words
    assert "Is that right?" in page
    assert AuditEvent.objects.filter(action="few access assignments not accepted", kind="outcome").count() == 1
    reading.carry_out(GdapRead.objects.get(open=True).pk)
    assert GdapAssignment.objects.count() == unassigned


def test_only_a_portal_admin_calls_few_assignments_right(unassigned, signed_in):
    answer = {"source": GRAPH, "assignments": source().short_assignments, "answer": "accept"}
    assert signed_in("writer").post("/sources/answer/", answer).status_code == 403
    assert source().accepted_assignments is None


def test_an_answer_about_relationships_decides_nothing_about_assignments(unassigned, signed_in):
    answer = {"source": GRAPH, "rows": source().short_assignments, "answer": "accept"}
    page = Page(signed_in("admin").post("/sources/answer/", answer, follow=True)).words
    assert "The question has changed meanwhile. Nothing was decided." in page
    assert (source().accepted_rows, source().accepted_assignments) == (None, None)


def test_assignments_that_are_all_there_again_clear_the_question(unassigned, read, sandbox, signed_in):
    before = kept()
    sandbox.state("hide_customers", source="assignments", fraction=0)
    assert read().state == State.DONE
    assert (source().problem, source().short_assignments) == ("", None)
    assert kept() == before
    assert "Is that right?" not in Page(signed_in("admin").get("/sources/")).words


def test_half_of_the_assignments_is_no_question(read, sandbox):
    read()
    known = GdapAssignment.objects.count()
    sandbox.state("hide_customers", source="assignments", fraction=0.3)
    assert read().state == State.DONE
    assert known / 2 <= GdapAssignment.objects.count() < known


def test_only_assignments_that_the_read_would_change_are_compared():
    """Not those of a relationship that was not asked, nor of one whose answer could not be read in full."""
    for name in ("asked", "in doubt", "not asked"):
        one = GdapRelationship.objects.create(id=name, tenant_id=CONTOSO, display_name=name, status="active")
        for number in range(4):
            GdapAssignment.objects.create(relationship=one, assignment_id=str(number), status="active", group_id="g")
    here = Assignment("1", "active", "g", frozenset())
    copy = relationships.Copy(
        assignments={"asked": (here,), "in doubt": (here,), "new": (here,)}, in_doubt={"in doubt"}
    )
    assert reading._assigned(copy) == (2, 4)


def test_few_relationships_and_few_assignments_of_these_are_one_question(unassigned, read, sandbox, signed_in):
    sandbox.state("hide_customers", source="graph", fraction=0.7)
    browser = signed_in("admin")
    accept_assignments(browser)
    reading.carry_out(GdapRead.objects.get(open=True).pk)
    told = source()
    assert told.short_rows
    assert not told.answered  # the relationships are a new question
    page = Page(browser.get("/sources/"))
    assert f"listed {told.short_rows} relationships where we know" in page.words
    assert f", and {told.short_assignments} access assignment" in page.words
    browser.post("/sources/answer/", page.form("assignments").fields | {"answer": "accept"})
    reading.carry_out(GdapRead.objects.get(open=True).pk)
    assert (source().problem, source().short, source().accepted_rows) == ("", [], None)


def test_a_day_on_which_most_relationships_end_is_no_question(read, sandbox):
    """What has ended is not asked for its assignments, so these are not missed."""
    read()
    standing_now = [one for one in sandbox.running.cloud.world.relationships.values() if one.assignments]
    for one in standing_now[: len(standing_now) * 3 // 4]:
        one.status = "expired"
    assert read().state == State.DONE
    assert source().short == []


def test_a_row_that_cannot_be_read_is_counted_and_what_is_absent_stays(read, sandbox):
    read()
    known = GdapRelationship.objects.count()
    sandbox.fault("graph", "null_items", path="delegatedAdminRelationships$", times=1)
    assert read().state == State.DONE
    assert source().quarantined == -(-known // 2)
    assert not GdapRelationship.objects.exclude(missing_since=None).exists()
    assert customer("contoso").gdap_state == "live"


def test_an_assignment_that_cannot_be_read_keeps_what_we_knew_of_its_relationship(read, sandbox):
    read()
    known = GdapAssignment.objects.count()
    sandbox.fault("graph", "status", path="batch", status=404, times=0)  # each for itself, for faults meet no part
    sandbox.fault("graph", "null_items", path="accessAssignments$", members=["accessContainer"], times=0)
    done = read()
    # Of two or more rows every second one is spoilt; a list of one spoilt row cannot be read at all.
    assert (done.state, GdapAssignment.objects.count()) in {(State.DONE, known), (State.FAILED, known)}


def test_names_that_do_not_come_are_the_ones_we_knew(read, sandbox):
    read()
    sandbox.fault("graph", "status", path="groups/", status=503, times=0)
    assert read().state == State.DONE
    assert SecurityGroup.objects.get(pk=GROUP_IDS["writers"]).name == "GDAP Directory Writers"


@pytest.mark.parametrize("text", ["a\x00b", "x" * 5000])
def test_no_text_of_graph_is_too_strange_for_the_database(read, sandbox, text):
    for one in sandbox.running.cloud.relationships_of(CONTOSO):
        one.name, one.status, one.customer_name = text, text, text
    assert read().state == State.DONE
    assert read().state == State.DONE
    assert changes() == []


# --- Killed, doubled, late ------------------------------------------------------------------------------------


def test_a_read_whose_worker_died_is_published_again_and_finished_by_another(read, signed_in, move_clock, monkeypatch):
    signed_in("admin")
    grant = grant_of("admin")
    made, _ = reading.request_read(by=grant.operator, grant=grant)
    assert GdapRead.claim(made.pk)  # and dies
    published = []
    monkeypatch.setattr(tasks.read_gdap, "delay", published.append)
    tasks.republish_due()
    assert published == []
    move_clock(61)
    tasks.republish_due()
    tasks.republish_due()
    assert published == [made.pk]
    reading.carry_out(made.pk)
    made.refresh_from_db()
    assert (made.state, made.fence) == (State.DONE, 2)


A_DAY_AHEAD = timedelta(days=1)  # by a clock that was put right since


def test_a_copy_from_before_a_clock_was_put_right_is_read_anew(read, sandbox):
    read()
    assert here("admin").read is None
    grant = grant_of("admin")
    Source.objects.filter(pk=GRAPH).update(last_good_at=clock.now() + A_DAY_AHEAD)
    GdapRead.objects.update(finished_at=clock.now() + A_DAY_AHEAD, created_at=clock.now() + A_DAY_AHEAD)
    Operator.objects.update(groups_read_at=clock.now() + A_DAY_AHEAD)
    grant.operator.refresh_from_db()
    assert reading.is_due(grant, clock.now())
    due = here("admin")
    assert due.read is not None
    assert due.groups is False  # the read brings them
    GdapRead.objects.all().delete()
    Source.objects.filter(pk=GRAPH).update(last_good_at=clock.now())
    assert here("admin").groups is True


def test_a_lease_from_before_a_clock_was_put_right_holds_nobody_up(read, signed_in, monkeypatch):
    signed_in("admin")
    grant = grant_of("admin")
    made, _ = reading.request_read(by=grant.operator, grant=grant)
    assert GdapRead.claim(made.pk)  # and dies
    ahead = clock.now() + A_DAY_AHEAD
    GdapRead.objects.update(leased_until=ahead, published_at=ahead)
    published = []
    monkeypatch.setattr(tasks.read_gdap, "delay", published.append)
    tasks.republish_due()
    tasks.republish_due()
    assert published == [made.pk]
    reading.carry_out(made.pk)
    made.refresh_from_db()
    assert (made.state, made.fence) == (State.DONE, 2)


def test_who_lost_its_lease_writes_nothing(read, signed_in, monkeypatch):
    signed_in("admin")
    grant = grant_of("admin")
    made, _ = reading.request_read(by=grant.operator, grant=grant)
    finish = reading._finish

    def overtaken(*args):
        GdapRead.objects.filter(pk=made.pk).update(fence=9)
        finish(*args)

    monkeypatch.setattr(reading, "_finish", overtaken)
    reading.carry_out(made.pk)
    assert not GdapRelationship.objects.exists()
    assert GdapRead.objects.get().state == State.RUNNING


def test_a_message_that_comes_twice_does_nothing_the_second_time(read, sandbox):
    done = read()
    sandbox.running.journal.clear()
    reading.carry_out(done.pk)
    assert sandbox.journal() == []


@pytest.mark.django_db(transaction=True)
def test_two_who_ask_at_the_same_moment_get_one_read(signed_in):
    signed_in("admin")
    grant = grant_of("admin")
    start, answers = threading.Barrier(2), []

    def work():
        start.wait()
        try:
            answers.append(reading.request_read(by=grant.operator, grant=grant)[1])
        finally:
            connection.close()

    both = [threading.Thread(target=work) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(answers) == [False, True]
    assert GdapRead.objects.count() == 1


# --- What changed ---------------------------------------------------------------------------------------------


def test_what_changed_is_told_in_words(read, sandbox):
    read()
    [contoso] = sandbox.running.cloud.relationships_of(CONTOSO)
    [expiring] = sandbox.running.cloud.relationships_of(SPECIAL["expiring"])
    [pending] = sandbox.running.cloud.relationships_of(SPECIAL["pending"])
    [low] = sandbox.running.cloud.relationships_of(SPECIAL["ceiling"])
    sandbox.state("terminate_relationship", tenant_id=CONTOSO)
    sandbox.state("set_relationship", relationship_id=expiring.id, ends_in_days=200)
    sandbox.state("set_relationship", relationship_id=pending.id, status="approved")
    sandbox.state("set_relationship", relationship_id=low.id, roles=[roles.DIRECTORY_READERS, roles.USER_ADMINISTRATOR])
    [nested] = sandbox.running.cloud.relationships_of(SPECIAL["nested_only"])
    sandbox.state("set_assignment", relationship_id=nested.id, group="nested_admins", status="deleting")
    read()
    told = {(change.relationship_id, change.kind): (change.before, change.after) for change in changes()}
    before, after = told.pop((contoso.id, Kind.ENDED))
    assert (before, after[:6]) == ("Active", "Ended ")
    told.pop((contoso.id, Kind.ENDS), None)
    assert told.pop((expiring.id, Kind.ENDS))[0].endswith(f"{clock.now() + timedelta(days=11.05):%b %Y}")
    assert told.pop((pending.id, Kind.STATUS)) == ("Waiting for approval", "Approved")
    assert told.pop((low.id, Kind.ROLES)) == ("Global Reader", "User Administrator")
    assert told.pop((nested.id, Kind.GROUPS)) == (
        "GDAP Consolidated Messenger: User Administrator",
        "GDAP Consolidated Messenger: User Administrator (being removed)",
    )
    assert told == {}


def test_an_end_that_only_time_brought_is_told_once(read, signed_in, move_clock):
    read()
    move_clock(12 * 86400)
    signed_in("admin")
    read_again = read()
    assert read_again.state == State.DONE
    told = [change for change in changes() if change.tenant_id == SPECIAL["expiring"]]
    assert [change.kind for change in told] == [Kind.ENDED]
    read()
    assert len([change for change in changes() if change.tenant_id == SPECIAL["expiring"]]) == 1
    assert customer("expiring").gdap_state == "ended"


@pytest.mark.parametrize("status", ["active", "expiring"])
def test_an_end_that_time_brought_and_the_status_followed_is_told_once(read, signed_in, sandbox, move_clock, status):
    [one] = sandbox.running.cloud.relationships_of(SPECIAL["expiring"])
    sandbox.state("set_relationship", relationship_id=one.id, status=status)
    read()
    move_clock(12 * 86400)
    signed_in("admin")
    read()  # Graph says as before, and the day has come
    sandbox.state("set_relationship", relationship_id=one.id, status="expired")
    read()
    told = [change for change in changes() if change.tenant_id == SPECIAL["expiring"]]
    assert [(change.kind, change.before) for change in told] == [(Kind.ENDED, news.status_words(status))]
    assert told[0].after == f"Ended {one.ends.day} {one.ends:%b %Y}"


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        ("active", "terminated", [Kind.ENDED]),
        ("expiring", "expired", [Kind.ENDED]),
        ("active", "expiring", [Kind.STATUS]),
        ("approvalPending", "expired", [Kind.STATUS]),  # a request that nobody approved
        ("terminating", "terminated", []),
        ("expired", "active", [Kind.STATUS, Kind.GROUPS]),
    ],
)
def test_each_change_of_a_status_is_one_line(read, sandbox, before, after, kinds):
    [one] = sandbox.running.cloud.relationships_of(CONTOSO)
    sandbox.state("set_relationship", relationship_id=one.id, status=before)
    read()
    sandbox.state("set_relationship", relationship_id=one.id, status=after)
    read()
    assert [change.kind for change in changes()] == kinds


# --- Standing -------------------------------------------------------------------------------------------------

PEOPLE = ("admin", "writer", "reader", "nested")


def test_the_standing_of_everybody_everywhere_agrees_with_the_live_check(read, sandbox, signed_in):
    """A property of the demo seed: the list's column says what the customer's page will say."""
    read("admin")
    shown = list(Customer.objects.exclude(tenant_id=None))
    words = {"edit": 0, "view": 0, "none": 0}
    for persona in PEOPLE:
        signed_in(persona)
        grant = grant_of(persona)
        tasks.read_groups(str(grant.pk))
        grant.operator.refresh_from_db()
        graph = grants.graph(grant)
        found = standing.of(grant.operator, shown)
        for one in shown:
            access = access_to(one.tenant_id, by=grant.operator, graph=graph)
            create, see = access[Action.CREATE], access[Action.LIST]
            live = "edit" if create.yes else "view" if see.yes else "none"
            words[live] += 1
            assert found[one.pk].level == live, (persona, one.name, create.answer)
        for level in words:
            named = {one.pk for one in shown if found[one.pk].level == level}
            assert (
                set(
                    standing.at(Customer.objects.exclude(tenant_id=None), grant.operator, level).values_list(
                        "pk", flat=True
                    )
                )
                == named
            )
    assert all(words.values())


def test_an_outsider_stands_where_the_cloud_says_although_graph_tells_them_nothing(read, sandbox):
    read("admin")
    sandbox.state("add_to_group", persona="outsider", group="writers")
    read("outsider")
    operator = Operator.objects.get(oid=PERSONA_OIDS["outsider"])
    shown = list(Customer.objects.exclude(tenant_id=None))
    found = standing.of(operator, shown)
    for one in shown:
        held = sandbox.running.cloud.roles(PERSONA_OIDS["outsider"], one.tenant_id)
        edits = bool(held & {roles.USER_ADMINISTRATOR, roles.DIRECTORY_WRITERS})
        assert (found[one.pk].level == "edit") == edits, one.name


def test_a_grant_past_its_end_counts_for_nothing_before_any_read_notices(read, signed_in, move_clock):
    read()
    operator = Operator.objects.get(oid=PERSONA_OIDS["admin"])
    one = customer("expiring")
    assert standing.of(operator, [one])[one.pk].level == "edit"
    move_clock(12 * 86400)
    assert standing.of(operator, [one])[one.pk].level == "none"


@pytest.mark.django_db(transaction=True)
def test_who_signs_out_while_they_ask_for_a_read_leaves_one_that_says_so(snapshot, cast):
    operator = cast("admin")
    grant = TokenCache.objects.get(operator=operator)
    TokenCache.objects.all().delete()
    asked, is_new = reading.request_read(by=operator, grant=grant)
    assert is_new
    reading.carry_out(asked.pk)
    asked.refresh_from_db()
    assert (asked.state, asked.open) == (State.FAILED, None)
