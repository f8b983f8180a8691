"""Runs: nothing lost, nothing done twice, whatever dies, comes twice, or comes late."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.urls import reverse

from customers.models import Customer
from partnerportal import clock
from partnerportal.models import AuditEvent, TokenCache
from partnerportal.sandbox.seed_licences import BUSINESS_PREMIUM, ENTERPRISE_E3, POWER_BI_PRO
from tests.pages import Page
from users import operations
from users.models import OnboardingRow, OnboardingRun, Operation
from users.onboarding import delivery, steering, words
from users.tasks import keep_runs, purge_secrets

from .conftest import trail
from .runs import (
    Kind,
    RowState,
    State,
    Worker,
    all_accounted_for,
    checked,
    customer,
    newcomers,
    people,
    sign_in_of,
    start,
    states,
)


@pytest.fixture
def worker(monkeypatch):
    found = Worker()
    monkeypatch.setattr("users.tasks.carry_out_row.delay", found.put)
    monkeypatch.setattr("users.tasks.carry_out_row.apply_async", found.put_by)
    monkeypatch.setattr("users.tasks.SHIFT", 0)  # each message is one row
    return found


def creating(*names, persona="admin", key="contoso"):
    """A run that creates users of these names, started."""
    found = checked(persona)
    newcomers(found, *names, key=key)
    return start(found, persona)


def again(found):
    return OnboardingRun.objects.get(pk=found.pk)


def beat(times=1):
    for _ in range(times):
        keep_runs()


def posts(directory):
    return [line for line in directory.writes() if line["method"] == "POST"]


# --- What a run does ----------------------------------------------------------------------------------------


def test_every_row_is_created_once_and_the_run_ends_with_its_tokens_gone(admin, directory, worker):
    found = creating("anna", "bert", "cleo", "dora", "emil", "fred")
    assert TokenCache.objects.filter(job=found.key).count() == 1
    worker.drain(found)
    assert states(found) == [RowState.DONE] * 6
    assert [len(directory.named(name)) for name in ("anna", "bert", "cleo", "dora", "emil", "fred")] == [1] * 6
    done = again(found)
    assert (done.state, done.grant) == (State.DONE, None)
    assert not TokenCache.objects.filter(job=found.key).exists()
    assert ("outcome", "run ended", "done") in trail()
    ended = AuditEvent.objects.get(action="run ended", kind="outcome")
    assert (ended.detail, ended.target_id) == ("6 created", str(found.key))
    row = found.rows.get(line=1)
    assert row.target_id == directory.named("anna")[0].id
    assert row.operation.op_id == row.op_id


def test_the_password_of_a_created_user_is_kept_for_its_owner_and_no_longer_than_a_day(
    admin, directory, worker, signed_in
):
    found = creating("anna")
    worker.drain(found)
    Operation.objects.update(decided_at=clock.now() - timedelta(hours=23))
    assert Operation.purge_secrets() == 0
    operation = found.rows.get().operation
    shown = operations.password_of(operation, by=found.by, grant=sign_in_of("admin"))
    assert shown.reveal() == directory.named("anna")[0].password
    signed_in("writer")
    theirs = sign_in_of("writer")
    assert operations.password_of(operation, by=theirs.operator, grant=theirs) is None
    Operation.objects.update(decided_at=clock.now() - timedelta(hours=25))
    assert Operation.purge_secrets() == 1


def test_one_bad_row_does_not_stop_the_others(admin, directory, worker):
    found = checked()
    newcomers(found, "anna", "bert", "cleo")
    taken = directory.special("plain").upn
    found.rows.filter(line=2).update(creates=taken.lower(), fields={"user_principal_name": taken, "display_name": "B"})
    found.rows.filter(line=3).update(problems=[{"field": "customer", "sentence": "There is no such customer."}])
    newcomers(found, "dora", "dora")
    start(found)
    worker.drain(found)
    assert states(found) == ["done", "differs", "stopped", "done", "conflict"]
    told = dict(found.rows.values_list("line", "detail"))
    assert "is taken" in told[2]
    assert told[3] == "Not sent. There is no such customer."
    assert told[5] == steering.TAKEN
    assert again(found).state == State.DONE


@pytest.mark.parametrize("elsewhere", [True, False])
def test_names_that_are_taken_are_found_all_at_once_as_a_run_starts(
    elsewhere, admin, directory, worker, django_assert_max_num_queries
):
    """Row by row, a run of thousands would keep whoever presses Start waiting."""
    names = [f"n{number}" for number in range(30)]
    if elsewhere:
        creating("n7")
    found = checked()
    newcomers(found, *names, *([] if elsewhere else ["n7"]))
    with django_assert_max_num_queries(30):
        start(found)
    taken = found.rows.filter(state=RowState.CONFLICT).values_list("line", "detail")
    assert list(taken) == [(8 if elsewhere else 31, steering.TAKEN)]
    assert found.rows.filter(state=RowState.QUEUED).count() == (29 if elsewhere else 30)


def test_a_name_that_is_taken_says_whether_the_user_who_has_it_is_the_same(admin, directory, worker):
    """Who is there is compared and never written to (DESIGN 5.7)."""
    same, other = directory.special("plain"), directory.special("no_location")
    before = (replace(same), replace(other))
    found = checked()
    newcomers(found, "anna", "bert")
    for line, user, name in ((1, same, same.first_name), (2, other, "Somebody")):
        fields = {"user_principal_name": user.upn, "display_name": user.display_name, "first_name": name}
        found.rows.filter(line=line).update(creates=user.upn.lower(), user_name=user.upn, fields=fields)
    start(found)
    worker.drain(found)
    assert (same, other) == before
    assert states(found) == ["conflict", "differs"]
    page = Page(admin.get(reverse("run", args=[found.key])))
    assert f"{same.display_name} is there already, with the same values. Nothing was changed." in page.words
    assert f"is taken by {other.display_name}, with another first name. Nothing was changed." in page.words
    assert "For the same person, change the user who is there." in page.words
    assert "Differs" in page.words
    assert {row.target_id for row in found.rows.all()} == {same.id, other.id}


def test_a_name_whose_user_nobody_could_look_up_is_told_as_taken(admin, directory, worker, sandbox):
    found = checked()
    newcomers(found, "anna")
    taken = directory.special("plain").upn
    found.rows.update(creates=taken.lower(), fields={"user_principal_name": taken, "display_name": "B"})
    sandbox.fault("partnercenter", "status", method="GET", path="/users", status=503, times=0)
    start(found)
    worker.drain(found)
    assert states(found) == ["conflict"]
    row = found.rows.get()
    assert row.detail == f"The user name {taken} is taken. Choose another. We could not compare the two."
    assert words.fix_of(row, Kind.CREATE).startswith("Compare the user who is there.")


def test_a_change_leaves_alone_whoever_changed_after_the_check(admin, directory, worker):
    first, second = directory.special("plain"), directory.special("no_location")
    found = checked(kind=Kind.PATCH)
    people(found, [first, second], {"usage_location": "DE"})
    first.display_name = "Somebody else"
    start(found)
    worker.drain(found)
    assert states(found) == ["conflict", "done"]
    now = [directory.users()[user.id].usage_location for user in (first, second)]
    assert (now[0] == "DE", now[1]) == (False, "DE")


def test_licences_are_added_to_what_each_user_has_and_who_has_them_is_left_alone(admin, directory, worker):
    adele, kim = directory.special("plain"), directory.special("duplicate_b")
    before = {licence.sku_id for licence in kim.licences}
    found = checked(kind=Kind.LICENCES)
    assign, remove = {ENTERPRISE_E3.id: ENTERPRISE_E3.name}, {POWER_BI_PRO.id: POWER_BI_PRO.name}
    people(found, [adele, kim], {"assign": assign, "remove": remove})
    start(found)
    worker.drain(found)
    assert states(found) == ["done", "done"]
    now = [{licence.sku_id for licence in directory.users()[user.id].licences} for user in (adele, kim)]
    assert now == [{BUSINESS_PREMIUM.id, ENTERPRISE_E3.id}, (before | {ENTERPRISE_E3.id}) - {POWER_BI_PRO.id}]
    writes = len(directory.writes())
    twice = checked(kind=Kind.LICENCES)
    people(twice, [adele], {"assign": assign, "remove": remove})
    start(twice)
    worker.drain(twice)
    assert (states(twice), len(directory.writes())) == (["done"], writes)


def test_undo_deletes_just_what_the_run_created_and_a_run_restores_it(admin, directory, worker):
    found = creating("anna", "bert")
    found.rows.filter(line=2).update(state=RowState.STOPPED)
    worker.drain(found)
    undoing = steering.undo(again(found), by=found.by)
    assert steering.undo(again(found), by=found.by) == undoing
    assert (undoing.state, undoing.origin, undoing.rows.count()) == (State.CHECKED, found, 1)
    start(undoing)
    worker.drain(undoing)
    assert states(undoing) == ["done"]
    (anna,) = [user for user in directory.users().values() if user.display_name == "Anna"]
    assert anna.deleted_at
    back = checked(kind=Kind.RESTORE)
    people(back, [anna], {"state": "active"})
    start(back)
    worker.drain(back)
    assert (states(back), directory.users()[anna.id].deleted_at) == (["done"], None)


# --- Pause, stop, try again ---------------------------------------------------------------------------------


def test_a_paused_run_sends_nothing_and_resumes_with_the_tokens_it_has(admin, directory, worker):
    found = creating("anna", "bert")
    worker.messages += delivery.due(found)
    assert steering.pause(found, by=found.by)
    worker.drain()
    beat(3)
    assert (worker.messages, directory.writes()) == ([], [])
    assert not steering.needs_sign_in(found)
    assert steering.resume(again(found), by=found.by, grant=sign_in_of("admin"))
    worker.drain(again(found))
    assert states(found) == ["done", "done"]


def test_stop_takes_effect_between_two_rows_and_what_was_created_stays(admin, directory, worker):
    found = creating("anna", "bert", "cleo")
    worker.messages += delivery.due(found)
    worker.take()
    assert steering.stop(again(found), by=found.by)
    worker.drain()
    beat()
    assert states(found) == ["done", "stopped", "stopped"]
    assert (again(found).state, len(directory.writes())) == (State.STOPPED, 1)
    assert all_accounted_for(found, 3)


def test_of_a_customer_that_leaves_the_list_nothing_more_is_sent_and_its_run_can_still_be_stopped(
    admin, directory, worker, sandbox, move_clock
):
    found = creating("anna", "bert", "cleo")
    worker.messages += delivery.due(found)
    worker.take()
    sandbox.fault("partnercenter", "drop_before", method="POST", path="/users$")
    worker.take()  # of whom nobody knows
    sandbox.no_faults()
    Customer.objects.filter(pk=customer().pk).update(listed=False)
    url = reverse("run", args=[found.key])
    page = Page(admin.get(url))
    assert "Stop" in page.words
    assert "Anna" not in page.words
    worker.take()
    assert states(found) == ["done", "sent", "conflict"]
    assert found.rows.get(line=3).detail == "This customer has left the partner’s list. Nothing was sent."
    for seconds in range(100, 1000, 100):  # it is looked up, and not sent again
        move_clock(seconds)
        beat()
        worker.drain()
    assert states(found) == ["done", "unknown", "conflict"]
    assert len(posts(directory)) == 2
    assert admin.get(url).status_code == 404  # over, and not the partner's any more


def test_a_run_whose_customer_left_the_list_is_stopped_by_whoever_started_it(admin, directory, worker):
    found = creating("anna")
    Customer.objects.filter(pk=customer().pk).update(listed=False)
    admin.post(reverse("run", args=[found.key]), {"step": "stop"})
    beat()
    assert (again(found).state, states(found), directory.writes()) == (State.STOPPED, ["stopped"], [])


def test_what_was_sent_is_found_out_before_a_stopped_run_is_over(admin, worker, sandbox, move_clock):
    sandbox.fault("partnercenter", "fail_after", method="POST", path="/users$")
    found = creating("anna", "bert")
    worker.messages += delivery.due(found)
    worker.take()
    steering.stop(again(found), by=found.by)
    assert (states(found), again(found).state) == (["sent", "stopped"], State.STOPPING)
    move_clock(10)
    beat()
    worker.drain()
    assert (states(found), again(found).state) == (["done", "stopped"], State.STOPPED)


def test_a_run_that_is_stopped_after_its_tokens_went_ends_and_says_what_it_does_not_know(admin, worker, sandbox):
    sandbox.fault("partnercenter", "fail_after", method="POST", path="/users$")
    found = creating("anna")
    worker.drain(found)
    admin.post("/signout/")
    beat()
    steering.stop(again(found), by=found.by)
    beat(2)
    assert (states(found), again(found).state) == (["unknown"], State.STOPPED)


def test_what_failed_is_tried_again_under_a_new_id(admin, directory, worker, sandbox):
    sandbox.fault("partnercenter", "status", method="POST", path="/users$", status=400, body={"code": 3000})
    found = creating("anna", "bert")
    worker.drain(found)
    assert states(found) == ["refused", "done"]
    refused = found.rows.get(line=1)
    assert steering.try_again(again(found), by=found.by, grant=sign_in_of("admin")) == 1
    worker.drain(again(found))
    assert states(found) == ["done", "done"]
    assert found.rows.get(line=1).op_id != refused.op_id
    assert [len(directory.named(name)) for name in ("anna", "bert")] == [1, 1]


def test_of_two_runs_that_create_one_name_the_second_is_told_so(admin, directory, worker):
    first, second = creating("anna"), creating("anna")
    assert states(second) == ["conflict"]
    worker.drain(second)
    worker.drain(first)
    assert len(directory.named("anna")) == 1
    assert AuditEvent.objects.filter(action="run started").exists()


def test_a_run_that_was_not_started_goes_after_a_day_and_the_people_of_an_old_one_after_ninety(admin, worker):
    found, never = creating("anna"), checked()
    newcomers(never, "bert")
    worker.drain(found)
    OnboardingRun.objects.filter(pk=never.pk).update(created_at=clock.now() - timedelta(hours=23))
    OnboardingRun.objects.filter(pk=found.pk).update(finished_at=clock.now() - timedelta(days=89))
    purge_secrets()
    assert (OnboardingRun.objects.count(), found.rows.get().target_name) == (2, "Anna")
    OnboardingRun.objects.filter(pk=never.pk).update(created_at=clock.now() - timedelta(hours=25))
    OnboardingRun.objects.filter(pk=found.pk).update(finished_at=clock.now() - timedelta(days=91))
    purge_secrets()
    row = OnboardingRow.objects.get()
    assert (row.user_name, row.target_name, row.fields, row.state) == ("", "", {}, "done")


def test_a_broken_audit_trail_pauses_the_run_before_anything_leaves(admin, directory, worker):
    found = creating("anna", "bert")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE partnerportal_auditevent SET actor_name = 'Nobody'")
    worker.drain(found)
    assert (directory.writes(), states(found)) == ([], [RowState.QUEUED] * 2)
    assert again(found).state == State.PAUSED
    assert "audit trail is not whole" in again(found).reason


# --- Whether anybody is at work on it -----------------------------------------------------------------------


def test_a_run_on_which_no_worker_is_at_work_says_so_and_goes_on_by_itself_when_one_returns(admin, worker, move_clock):
    found = creating("anna", "bert")
    url = reverse("run", args=[found.key])
    assert "the run goes on." in Page(admin.get(url)).words
    move_clock(71)
    assert "No worker" in Page(admin.get(reverse("runs"))).words
    page = Page(admin.get(url))
    assert "No worker has been at work on this run since" in page.words
    assert "Nothing is sent meanwhile, and nothing is lost." in page.words
    assert "the run goes on." not in page.words
    beat()
    assert "No worker" not in Page(admin.get(url)).words
    assert "No worker" not in Page(admin.get(reverse("runs"))).words
    move_clock(150)
    worker.take()  # without beat: whoever is at a row is at work
    page = Page(admin.get(url))
    assert ("No worker" in page.words, states(found)) == (False, ["done", "queued"])


def test_a_run_that_is_paused_or_was_opened_again_after_days_misses_no_worker(admin, sandbox, worker, move_clock):
    found = creating("anna")
    steering.pause(found, by=found.by)
    move_clock(3600)
    assert again(found).unheard_since is None
    steering.stop(found, by=found.by)
    steering.try_again(again(found), by=found.by, grant=sign_in_of("admin"))
    assert (again(found).state, again(found).unheard_since) == (State.RUNNING, None)
    move_clock(0)  # a clock that was wrong, put right
    assert again(found).unheard_since is not None
    worker.drain(found)
    assert again(found).unheard_since is None
