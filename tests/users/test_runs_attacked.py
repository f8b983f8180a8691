"""Runs, looked at by somebody who wants them to go wrong: the moments between two statements."""

from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from django.db import connection

from partnerportal import clock
from partnerportal.models import Pace
from partnerportal.sandbox.seed_licences import BUSINESS_PREMIUM, CLASSROOM
from users import actions, queued
from users.models import OnboardingRow, OnboardingRun, Operation
from users.onboarding import delivery, rows, run, steering

from .conftest import tenant
from .runs import RowState, State, checked, newcomers, sign_in_of, start, states
from .test_runs import again, beat, creating, posts, worker

__all__ = ["worker"]  # a fixture


def once_after(words, act):
    """Act once, right after a statement that has all these words: what another process does in that moment."""
    done = []

    def wrapper(execute, sql, params, many, context):
        answer = execute(sql, params, many, context)
        if not done and all(word in sql for word in words):
            done.append(sql)
            act()
        return answer

    return connection.execute_wrapper(wrapper)


@pytest.fixture
def dies(monkeypatch):
    """The process is killed as it comes to this function: nothing of ours catches that."""

    @contextmanager
    def there(function):
        def killed(*_args, **_more):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
            patched.setattr(function, killed)
            yield

    return there


CLAIM = ("UPDATE", "users_onboardingrow", '"held"', '"fence"')


def test_a_pause_in_the_moment_of_a_claim_leaves_the_row_queued(admin, directory, worker):
    found = creating("anna")
    worker.messages += delivery.due(found)
    with once_after(CLAIM, lambda: steering.pause(again(found), by=found.by)):
        worker.take()
    assert (again(found).state, states(found)) == (State.PAUSED, ["queued"])
    steering.resume(again(found), by=found.by, grant=sign_in_of("admin"))
    worker.drain(found)
    assert (states(found), len(directory.named("anna"))) == (["done"], 1)


def test_what_a_killed_worker_has_sent_is_unknown_when_the_run_is_stopped_without_a_sign_in(
    admin, directory, worker, dies
):
    """Never "not sent": it would be sent once more, under another id."""
    found = creating("anna")
    worker.messages += delivery.due(found)

    with dies("users.operations._settle"):
        worker.take()
    assert len(directory.named("anna")) == 1
    admin.post("/signout/")
    steering.stop(again(found), by=found.by)
    beat(OnboardingRow.SILENT + 1)
    row = found.rows.get()
    assert (again(found).state, row.state) == (State.STOPPED, RowState.UNKNOWN)
    assert row.operation.op_id == row.op_id


def test_a_worker_that_was_frozen_before_it_sent_sends_nothing_once_the_run_was_stopped(
    admin, directory, worker, monkeypatch
):
    """TRUST F8: what another worker has decided meanwhile stays true."""
    found = creating("anna")
    worker.messages += delivery.due(found)
    really = actions._must_be_allowed

    def frozen(*args, **more):
        really(*args, **more)
        steering.stop(again(found), by=found.by)
        OnboardingRow.objects.update(silent=OnboardingRow.SILENT)
        monkeypatch.setattr(actions, "_must_be_allowed", really)
        run.carry_out(found.rows.get().pk)

    monkeypatch.setattr(actions, "_must_be_allowed", frozen)
    worker.take()
    assert states(found) == ["stopped"]
    assert directory.writes() == []
    assert not Operation.objects.exists()


def test_a_worker_that_was_frozen_before_it_sent_leaves_the_row_to_whoever_has_it_now(
    admin, directory, worker, monkeypatch
):
    found = creating("anna")
    worker.messages += delivery.due(found)
    really = actions._must_be_allowed

    def frozen(*args, **more):
        really(*args, **more)
        OnboardingRow.objects.update(silent=OnboardingRow.SILENT)
        monkeypatch.setattr(actions, "_must_be_allowed", really)
        run.carry_out(found.rows.get().pk)

    monkeypatch.setattr(actions, "_must_be_allowed", frozen)
    worker.take()
    assert states(found) == ["done"]
    assert len(posts(directory)) == 1
    assert Operation.objects.count() == 1


def test_a_run_that_is_tried_again_while_it_is_being_closed_stays_open(admin, directory, worker):
    found = creating("anna", "bert")
    worker.drain(found)
    OnboardingRun.objects.update(state=State.RUNNING)
    found.rows.filter(line=2).update(state=RowState.REFUSED)
    directory.users().pop(directory.named("bert")[0].id)
    asked = ("SELECT", "users_onboardingrow", "LIMIT 1")

    def try_again():
        assert steering.try_again(again(found), by=found.by, grant=sign_in_of("admin")) == 1

    with once_after(asked, try_again):
        delivery.finish(again(found))
    assert (again(found).state, states(found)) == (State.RUNNING, ["done", "queued"])


def test_licences_of_a_row_go_by_the_roles_that_were_read_last(admin, directory, worker, sandbox, move_clock, dies):
    """Read anew in the same attempt, and the person may write no more: the user is there, and nothing else is sent."""
    found = checked()
    newcomers(found, "anna")
    found.rows.update(licences={BUSINESS_PREMIUM.id: "Business Premium"})
    start(found)
    worker.messages += delivery.due(found)
    with dies("users.onboarding.rows.afterwards"):
        worker.take()
    sandbox.state("set_app_roles", persona="admin", roles=["Portal.Reader"])
    move_clock(20 * 60)
    beat(OnboardingRow.SILENT + OnboardingRow.LOST)
    worker.drain()
    assert states(found) == ["done"]
    assert len(directory.writes()) == 1


def test_a_row_whose_customer_has_another_tenant_than_was_checked_is_not_sent(admin, directory, worker):
    found = creating("anna")
    found.rows.update(tenant_id="11111111-2222-3333-4444-555555555555")
    worker.drain(found)
    assert states(found) == ["conflict"]
    assert directory.writes() == []


# --- Tried again, and not for ever --------------------------------------------------------------------------


def with_licence(*names):
    found = checked()
    newcomers(found, *names)
    found.rows.update(licences={CLASSROOM.id: CLASSROOM.name})
    return start(found)


def later(worker, move_clock, *moments):
    for moment in moments:
        move_clock(moment)
        beat(OnboardingRow.LOST)
        worker.drain()


def licences_of(directory, name):
    return [licence.sku_id for licence in directory.named(name)[0].licences]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_licences_that_were_not_taken_are_sent_again_with_their_row(
    admin, directory, worker, sandbox, move_clock, status
):
    """A 429 was answered, so the next one is a request of its own; what is not known is looked up first."""
    found = with_licence("anna")
    sandbox.fault(
        "partnercenter", "status", method="POST", path="licenseupdates", status=status, headers={"Retry-After": "3"}
    )
    worker.drain(found)
    assert states(found) == ["sent"]
    assert (again(found).state, licences_of(directory, "anna")) == (State.RUNNING, [])
    later(worker, move_clock, 6, 20, 50, 90)
    assert (states(found), again(found).state) == (["done"], State.DONE)
    assert found.rows.get().detail == f"The licence was assigned: {CLASSROOM.name}."
    assert licences_of(directory, "anna") == [CLASSROOM.id]
    ids = [line["request_id"] for line in posts(directory) if "licenseupdates" in line["path"]]
    assert (len(ids), len(set(ids))) == (2, 2 if status == 429 else 1)


def test_licences_that_wait_for_their_turn_are_not_lost(admin, directory, worker, move_clock, monkeypatch):
    """Our own pace says no in the middle of a row: nothing was refused."""
    found = with_licence("anna")
    really = rows.afterwards

    def too_many(*args):
        Pace.objects.filter(pk=tenant("contoso")).update(next_at=clock.now() + timedelta(seconds=9))
        return really(*args)

    with monkeypatch.context() as patched:
        patched.setattr(rows, "afterwards", too_many)
        worker.drain(found)
    later(worker, move_clock, 12, 30)
    assert (states(found), licences_of(directory, "anna")) == (["done"], [CLASSROOM.id])


def test_licences_wait_until_microsoft_knows_the_new_user_everywhere(admin, directory, worker, sandbox, move_clock):
    """TRUST F35."""
    sandbox.state("replication_lag", seconds=60)
    found = with_licence("anna")
    worker.drain(found)
    later(worker, move_clock, 6, 20, 50, 90, 160)
    assert found.rows.get().detail == f"The licence was assigned: {CLASSROOM.name}."
    assert licences_of(directory, "anna") == [CLASSROOM.id]


def test_licences_that_are_never_taken_leave_the_row_done_and_say_so(admin, directory, worker, sandbox, move_clock):
    found = with_licence("anna")
    sandbox.fault("partnercenter", "status", method="POST", path="licenseupdates", status=429, times=0)
    worker.drain(found)
    later(worker, move_clock, *(100 * number for number in range(1, 12)))
    assert (states(found), again(found).state) == (["done"], State.DONE)
    assert "licence was not assigned yet" in found.rows.get().detail
    assert len(posts(directory)) <= 1 + queued.MOST


def test_a_run_that_was_stopped_sends_no_licences_that_waited(admin, directory, worker, sandbox, move_clock):
    found = with_licence("anna")
    sandbox.fault("partnercenter", "status", method="POST", path="licenseupdates", status=429)
    worker.drain(found)
    steering.stop(again(found), by=found.by)
    later(worker, move_clock, 20, 80)
    assert (states(found), again(found).state) == (["done"], State.STOPPED)
    assert licences_of(directory, "anna") == []
    assert "licence was not assigned yet" in found.rows.get().detail


def test_a_row_that_is_asked_to_slow_down_again_and_again_fails_after_six_tries(
    admin, directory, worker, sandbox, move_clock
):
    """TRUST 2.4: six retries an item."""
    found = creating("anna")
    sandbox.fault(
        "partnercenter", "status", method="POST", path="/users$", status=429, headers={"Retry-After": "30"}, times=0
    )
    worker.drain(found)
    later(worker, move_clock, *(400 * number for number in range(1, 9)))
    assert (states(found), again(found).state) == (["refused"], State.DONE)
    assert len(posts(directory)) == run.MOST_TRIES + 1
