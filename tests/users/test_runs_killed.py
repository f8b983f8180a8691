"""Runs whose worker dies on any line, whose message comes twice, or whose answer hides a success."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from partnerportal import clock
from users import operations
from users.models import OnboardingRow
from users.onboarding import delivery, rows, run
from users.tasks import carry_out_row

from .conftest import tenant
from .runs import (
    RowState,
    State,
    checked,
    newcomers,
    start,
    states,
)
from .test_runs import again, beat, creating, posts, worker

__all__ = ["worker"]  # a fixture


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
