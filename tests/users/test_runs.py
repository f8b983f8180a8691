"""Runs: nothing lost, nothing done twice, whatever dies, comes twice, or comes late."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.urls import reverse

from partnerportal import clock, grants
from partnerportal.models import AuditEvent, Pace, TokenCache
from partnerportal.sandbox import seed
from partnerportal.sandbox.seed_licences import BUSINESS_PREMIUM, ENTERPRISE_E3, POWER_BI_PRO
from tests.pages import Page
from users import operations
from users.models import OnboardingRow, OnboardingRun, Operation
from users.onboarding import delivery, rows, run, steering, words
from users.tasks import carry_out_row, keep_runs, purge_secrets

from .conftest import operation_url, tenant, trail
from .runs import (
    Kind,
    RowState,
    State,
    Worker,
    all_accounted_for,
    checked,
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


# --- Where a process may die (TRUST F1 to F3, F8) -----------------------------------------------------------


def die(*_args, **_kwargs):
    raise SystemExit("killed")


@pytest.mark.parametrize(
    ("module", "line", "left"),
    [
        (run, "_attempt", 0),  # claimed
        (rows, "send", 0),  # about to be sent
        (operations, "send", 0),  # the intent is stored
        (operations, "_settle", 1),  # the answer was there, and is lost
        (run, "_follow", 1),  # the answer is stored, the row does not know
    ],
)
def test_a_worker_killed_on_any_line_leaves_a_row_that_the_next_one_ends(
    admin, directory, worker, move_clock, monkeypatch, module, line, left
):
    found = creating("anna", "bert")
    with monkeypatch.context() as patched:
        patched.setattr(module, line, die)
        worker.messages += delivery.due(found)
        with pytest.raises(SystemExit):
            worker.take()
    assert len(directory.named("anna")) == left
    worker.drain()
    assert len(directory.named("bert")) == 1
    beat(OnboardingRow.SILENT - 1)
    assert worker.messages == []  # it may be slow and alive
    move_clock(61)
    for moment in (62, 90, 130, 200):
        beat()
        worker.drain()
        move_clock(moment)
    assert states(found) == ["done", "done"]
    (anna,) = directory.named("anna")
    assert operations.sealed_password_of(found.rows.get(line=1).operation).reveal() == anna.password
    assert len({line["request_id"] for line in posts(directory)}) == 2
    assert again(found).state == State.DONE


def test_who_lost_the_row_writes_nothing_any_more(admin, directory, worker):
    """Stopped (SIGSTOP) after the claim, taken over after a minute of silence, and woken again."""
    found = creating("anna")
    (row_id,) = delivery.due(found)
    asleep = OnboardingRow.claim(row_id)
    assert OnboardingRow.claim(row_id) is None
    beat(OnboardingRow.SILENT)
    worker.drain()
    assert states(found) == ["done"]
    with pytest.raises(run.LeaseLost):
        run._attempt(asleep)
    with pytest.raises(run.LeaseLost):
        run._later(asleep, RowState.UNKNOWN, "late")
    assert states(found) == ["done"]
    assert len(directory.writes()) == 1


def test_a_clock_that_jumps_gives_no_row_to_two_workers(admin, worker, move_clock):
    """TRUST F36: silence is counted in looks of beat."""
    found = creating("anna")
    (row_id,) = delivery.due(found)
    assert OnboardingRow.claim(row_id)
    for jump in (7200, -86_400):
        move_clock(jump)
        beat()
        assert OnboardingRow.claim(row_id) is None


def test_a_message_that_comes_three_times_and_one_that_is_lost_do_no_harm(admin, directory, worker):
    """TRUST F37."""
    found = creating("anna", "bert")
    first, second = delivery.due(found)
    worker.messages = [first] * 3
    worker.drain()
    assert states(found) == ["done", "queued"]
    beat(OnboardingRow.LOST - 1)
    assert worker.messages == []
    beat()
    assert worker.messages == [second]
    worker.drain()
    assert [len(directory.named(name)) for name in ("anna", "bert")] == [1, 1]
    assert len(directory.writes()) == 2


@pytest.mark.django_db(transaction=True)
def test_three_workers_with_the_same_messages_send_each_row_once(admin, sandbox, directory, worker):
    """TRUST F7."""
    found = creating("anna", "bert", "cleo")
    ids = delivery.due(found)
    sandbox.fault("partnercenter", "slow", method="POST", path="/users$", seconds=0.3, times=3)

    def work(order):
        try:
            for row_id in order:
                carry_out_row(row_id)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(3) as workers:
        list(workers.map(work, (ids, ids[::-1], ids[1:] + ids[:1])))
    worker.drain()
    assert states(found) == ["done"] * 3
    assert [len(directory.named(name)) for name in ("anna", "bert", "cleo")] == [1] * 3
    assert (len(directory.writes()), again(found).state) == (3, State.DONE)


def test_an_answer_that_asks_for_patience_is_heard_though_its_worker_died(
    admin, directory, worker, sandbox, monkeypatch
):
    sandbox.fault("partnercenter", "status", method="POST", path="/users$", status=429, headers={"Retry-After": "5"})
    found = creating("anna")
    with monkeypatch.context() as patched:
        patched.setattr(run, "_follow", die)
        worker.messages += delivery.due(found)
        with pytest.raises(SystemExit):
            worker.take()
    beat(OnboardingRow.SILENT)
    worker.drain()
    row = found.rows.get()
    assert (row.state, row.not_before > clock.now(), row.operation) == (RowState.QUEUED, True, None)


def test_a_lane_holds_a_few_rows_and_no_customer_waits_for_another_one(admin, worker):
    found = checked()
    newcomers(found, *(f"person{number}" for number in range(7)))
    newcomers(found, "zoe", key="medium")
    start(found)
    first = delivery.due(found)
    lanes = list(OnboardingRow.objects.filter(pk__in=first).values_list("customer__tenant_id", flat=True))
    assert sorted(lanes) == sorted([tenant("contoso")] * delivery.LANE + [tenant("medium")])
    assert delivery.due(found) == []


def test_a_fault_of_ours_is_tried_again_and_told_at_last(admin, directory, worker, monkeypatch, move_clock):
    found = creating("anna")

    def broken(*_args):
        raise ZeroDivisionError

    monkeypatch.setattr(rows, "send", broken)
    for step in range(9):
        worker.drain(found)
        move_clock(60 * (step + 1))
    row = found.rows.get()
    assert (row.state, row.detail, again(found).state) == (RowState.REFUSED, run.OUR_FAULT, State.DONE)


# --- Answers that may hide a success ------------------------------------------------------------------------


@pytest.mark.parametrize("honoured", [True, False])
@pytest.mark.parametrize(("fault", "writes"), [("fail_after", 1), ("drop_after", 1), ("drop_before", 2)])
def test_an_answer_that_may_hide_a_success_is_looked_up_and_never_called_failed(
    admin, directory, worker, sandbox, move_clock, fault, writes, honoured
):
    """TRUST F16 to F19, F35: what Microsoft shows a minute late is not sent under a new id."""
    sandbox.assume("replay_request_id", honoured)
    sandbox.state("replication_lag", seconds=60)
    sandbox.fault("partnercenter", fault, method="POST", path="/users$")
    found = creating("anna")
    worker.drain(found)
    assert states(found) == ["sent"]
    assert found.rows.get().not_before > clock.now()
    for moment in (6, 17, 40, 85, 150, 220, 290):
        move_clock(moment)
        beat()
        worker.drain()
    assert states(found) == ["done"]
    assert len(directory.named("anna")) == 1
    assert len(posts(directory)) <= writes
    assert len({line["request_id"] for line in posts(directory)}) == 1


# --- Throttling (TRUST F15) ---------------------------------------------------------------------------------


def test_a_customer_that_is_slowed_down_waits_and_the_others_go_on(admin, directory, worker, sandbox, move_clock):
    found = checked()
    newcomers(found, "anna", "bert", "cleo")
    newcomers(found, "zoe", key="medium")
    start(found)
    sandbox.fault(
        "partnercenter", "status", method="POST", path=tenant("contoso"), status=429, headers={"Retry-After": "120"}
    )
    worker.drain(found)
    assert states(found) == ["queued", "queued", "queued", "done"]
    waits = [row.not_before - clock.now() for row in found.rows.filter(state="queued")]
    assert all(timedelta(seconds=110) < wait <= timedelta(seconds=120) for wait in waits)
    asked = len(posts(directory))
    beat()
    worker.drain()
    assert len(posts(directory)) == asked
    move_clock(121)
    beat()
    worker.drain()
    assert states(found) == ["done"] * 4
    first_try, *others = [line for line in posts(directory) if tenant("contoso") in line["path"]]
    assert first_try["request_id"] not in {line["request_id"] for line in others}  # it was answered


def test_a_customer_whose_turns_are_taken_gets_its_rows_back_without_a_try_and_on_time(
    admin, directory, worker, move_clock
):
    found = creating("anna", "bert")
    newcomers(found, "zoe", key="medium")
    found.rows.filter(state="draft").update(state="queued")
    began = clock.now()
    taken = began + timedelta(seconds=9)
    Pace.objects.create(key=tenant("contoso"), next_at=taken)
    worker.drain(found)
    assert states(found) == ["queued", "queued", "done"]
    assert set(found.rows.filter(state="queued").values_list("not_before", "tries", "held")) == {(taken, 0, False)}
    assert [line["path"] for line in posts(directory)] == [f"/v1/customers/{tenant('medium')}/users"]
    assert {row_id for row_id, _ in worker.later} == set(found.rows.filter(state="queued").values_list("pk", flat=True))
    least, most = ((taken - asked).total_seconds() for asked in (clock.now(), began))
    assert all(least <= seconds <= most for _, seconds in worker.later)  # until the turn, from when it was asked for
    page = admin.get(f"/onboarding/{found.key}/").content.decode()
    assert f"2 rows go on at {taken:%H:%M:%S}." in page
    move_clock(10)
    worker.drain()
    assert states(found) == ["done"] * 3


def test_after_a_429_that_customer_goes_at_half_the_pace(admin, worker, sandbox, settings):
    settings.PARTNER_CENTER_RATES = (10, 40)
    found = creating("anna")
    sandbox.fault("partnercenter", "status", method="POST", status=429, headers={"Retry-After": "4"})
    worker.drain(found)
    slowed = Pace.objects.get(pk=tenant("contoso"))
    assert slowed.slow_until - slowed.resumes_at == timedelta(minutes=1)
    assert found.rows.get().not_before <= slowed.resumes_at + timedelta(seconds=1)
    [(row_id, seconds)] = worker.later  # before beat would look
    assert row_id == found.rows.get().pk
    assert 3 < seconds <= 4


def test_no_retry_after_holds_a_row_for_more_than_an_hour(admin, worker, sandbox):
    found = creating("anna")
    sandbox.fault("partnercenter", "status", method="POST", status=429, headers={"Retry-After": "86400"})
    worker.drain(found)
    assert found.rows.get().not_before - clock.now() <= timedelta(hours=1)


# --- Whose tokens (TRUST 2.3, F31 to F34) -------------------------------------------------------------------


def test_signing_out_pauses_the_run_and_only_a_sign_in_of_the_same_person_resumes(admin, directory, worker, signed_in):
    found = creating("anna", "bert", "cleo")
    worker.messages += delivery.due(found)
    worker.take()
    admin.post("/signout/")
    assert not TokenCache.objects.filter(job=found.key).exists()  # at once, whoever looks
    worker.drain()
    paused = again(found)
    assert (paused.state, paused.reason, paused.grant) == (State.PAUSED, run.SIGNED_OUT, None)
    assert states(found) == ["done", "queued", "queued"]
    assert len(directory.writes()) == 1
    signed_in("writer")
    theirs = sign_in_of("writer")
    with pytest.raises(steering.NotYours):
        steering.resume(paused, by=theirs.operator, grant=theirs)
    signed_in("admin")
    assert steering.needs_sign_in(paused)
    assert steering.resume(paused, by=found.by, grant=sign_in_of("admin"))
    worker.drain(again(found))
    assert states(found) == ["done"] * 3
    assert {line["subject"] for line in directory.writes()} == {seed.PERSONA_OIDS["admin"]}


def test_beat_pauses_a_run_that_nobody_works_on(admin, worker):
    found = creating("anna")
    admin.post("/signout/")
    beat()
    assert (again(found).state, worker.messages) == (State.PAUSED, [])


def test_a_run_that_was_told_to_finish_outlives_the_sign_in_but_not_eight_hours(admin, directory, worker, move_clock):
    found = checked()
    newcomers(found, "anna", "bert")
    start(found, goes_on=True)
    (first, second) = delivery.due(found)
    admin.post("/signout/")
    worker.messages = [first]
    worker.take()
    assert states(found)[0] == "done"
    move_clock(8 * 3600 + 1)
    worker.messages = [second]
    worker.drain()
    halted = again(found)
    assert (halted.state, halted.reason, states(found)[1]) == (State.WAITING, run.ENDED, "queued")
    assert len(directory.writes()) == 1


def test_a_sign_in_anew_takes_the_runs_of_the_one_before_along(admin, worker):
    found = creating("anna")
    admin.sign_in("admin")
    worker.drain(found)
    assert states(found) == ["done"]


def test_the_tokens_of_a_run_open_in_no_other_run_and_are_of_its_owner(admin, directory, worker, signed_in):
    found, other = creating("anna"), creating("bert")
    stolen = TokenCache.objects.get(job=other.key)
    TokenCache.objects.filter(pk=stolen.pk).delete()
    TokenCache.objects.filter(job=found.key).update(job=other.key)
    moved = TokenCache.objects.select_related("operator").get(job=other.key)
    with pytest.raises(Exception, match="sign in again"):
        grants.partner_center(moved)
    worker.drain(found)
    assert (again(found).state, directory.writes()) == (State.WAITING, [])


def test_a_second_factor_that_is_asked_for_halts_the_run_and_fails_no_row(admin, directory, worker, sandbox):
    found = creating("anna", "bert")
    sandbox.state("require_mfa", on=True)
    worker.drain(found)
    assert again(found).state == State.WAITING
    assert "Then press Resume." in again(found).reason
    assert states(found) == ["queued", "queued"]
    assert posts(directory) == [] or all(line["status"] == 401 for line in posts(directory))
    sandbox.state("require_mfa", on=False)
    admin.sign_in("admin", mfa=True)
    assert steering.resume(again(found), by=found.by, grant=sign_in_of("admin"))
    worker.drain(again(found))
    assert states(found) == ["done", "done"]


def test_rights_that_end_deny_the_rest_of_that_customer_only(admin, directory, worker, sandbox):
    """TRUST F34. The memo of a minute ends with Microsoft's first no."""
    found = checked()
    newcomers(found, *(f"person{number}" for number in range(6)))
    newcomers(found, "zoe", key="medium")
    start(found)
    worker.messages += sorted(delivery.due(found))
    worker.take()
    sandbox.state("terminate_relationship", tenant_id=tenant("contoso"))
    worker.drain()
    assert states(found) == ["done", *["denied"] * 5, "done"]
    refused = [line for line in posts(directory) if line["status"] == 403]
    assert len(refused) <= 1
    assert all_accounted_for(found, 7)


def test_an_app_role_that_is_taken_away_denies_the_whole_rest(admin, directory, worker, sandbox, move_clock):
    found = creating("anna", "bert")
    worker.messages += delivery.due(found)
    worker.take()
    sandbox.state("set_app_roles", persona="admin", roles=[])
    move_clock(16 * 60)
    worker.drain()
    assert states(found) == ["done", "denied"]
    assert len(directory.writes()) == 1
    assert not TokenCache.objects.filter(operator=found.by).exists()


def test_a_directory_writer_cannot_delete_in_a_run_either(writer, directory, worker):
    found = checked("writer", kind=Kind.DELETE)
    people(found, [directory.special("plain")], {"state": "deleted"})
    start(found, "writer")
    worker.drain(found)
    assert (states(found), directory.writes()) == (["denied"], [])


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


# --- Names seen absent --------------------------------------------------------------------------------------


def test_one_walk_over_the_names_serves_all_rows_of_a_customer(admin, directory, worker, sandbox):
    found = creating("anna", "bert", "cleo")
    directory.asked()
    worker.drain(found)
    assert states(found) == ["done", "done", "done"]
    assert directory.asked().count("partnercenter GET /v1/customers/…/users") == 2  # the active, then the deleted
    assert len(set(Operation.objects.values_list("seen_absent_at", flat=True)) - {None}) == 1


def test_a_row_waits_when_microsoft_asks_for_patience_before_its_name_is_seen(admin, directory, worker, sandbox):
    throttled = {"status": 429, "headers": {"Retry-After": "5"}}
    sandbox.fault("partnercenter", "status", method="GET", path="/users$", **throttled)
    found = creating("anna")
    worker.messages += delivery.due(found)
    worker.take()
    assert (states(found), directory.writes()) == (["queued"], [])


def test_who_was_there_before_is_left_to_the_owner_of_the_run(admin, directory, worker, sandbox, move_clock):
    found = creating("anna")
    user = directory.special("plain")
    user.upn, user.display_name, user.usage_location = found.rows.get().user_name, "Anna", "NL"
    user.first_name = user.last_name = ""
    found.rows.update(fields={**found.rows.get().fields, "first_name": "", "last_name": ""})
    sandbox.fault("partnercenter", "status", method="POST", path="/users$", status=500)
    worker.drain(found)
    move_clock(10)
    beat()
    worker.drain()
    row = found.rows.get()
    assert (row.state, row.tries) == ("unknown", 1)  # one look-up, not six
    assert "it may be this one or somebody else’s. Look at it, and say whose it is." in row.detail
    admin.post(operation_url(row.op_id), {"step": "theirs"})
    steering.try_again(again(found), by=found.by, grant=sign_in_of("admin"))
    worker.drain(again(found))
    assert (states(found), len(directory.writes())) == (["conflict"], 1)


def test_the_rows_of_a_run_do_not_count_for_what_is_sent_by_hand_until_they_are_sent_again_by_hand(
    admin, directory, worker, sandbox, move_clock
):
    sandbox.fault("partnercenter", "drop_before", method="POST", path="/users$")
    found = creating("anna", "bert")
    worker.drain(found)
    assert operations.sent_within_a_minute(found.by) == 0
    row = found.rows.get(line=1)
    admin.post(operation_url(row.op_id), {"step": "check"})
    admin.post(operation_url(row.op_id), {"step": "send"})
    assert Operation.objects.get(op_id=row.op_id).state == "done"
    assert operations.sent_within_a_minute(found.by) == 2  # once by the run, once by hand
