"""Lanes: a worker goes from row to row without a message, and hears at once what is said to the run meanwhile."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import product

import pytest
from django.db import connections

from customers.models import Customer
from partnerportal import clock, grants
from partnerportal.models import Pace
from users import operations, seen_names
from users.models import OnboardingRow
from users.onboarding import delivery, run, steering
from users.tasks import carry_out_row

from .conftest import tenant
from .runs import RowState, State, sign_in_of, states
from .test_runs import again, creating, posts, worker

__all__ = ["worker"]

NAMES = ("anna", "bert", "cleo", "dora", "emil", "fred", "gina")


@pytest.fixture
def shift(monkeypatch, worker):
    monkeypatch.setattr("users.tasks.SHIFT", 60)
    return worker


def test_one_message_carries_a_worker_through_its_lane(admin, directory, shift):
    found = creating(*NAMES)
    shift.messages += delivery.due(found)[:1]
    shift.take()
    beyond = [1, *range(delivery.LANE + 1, len(NAMES) + 1)]  # the others of the lane have messages of their own
    assert list(found.rows.filter(state="done").values_list("line", flat=True)) == beyond
    assert shift.messages == []
    assert len(posts(directory)) == len(beyond)


def test_a_shift_ends_with_a_message_for_the_next_row(admin, worker):
    found = creating("anna", "bert")
    worker.messages += delivery.due(found)[:1]
    found.rows.update(nudged=False)
    worker.take()
    assert (states(found), worker.messages) == (["done", "queued"], [found.rows.get(line=2).pk])


@pytest.mark.parametrize("said", ["pause", "sign out", "stop"])
def test_what_is_said_to_a_run_after_a_row_was_claimed_is_heard_before_it_leaves(
    admin, directory, shift, monkeypatch, said
):
    """TRUST F31: nobody sends with the tokens of somebody who has signed out a moment before."""
    found = creating("anna", "bert")
    really = run._was_sent_before

    def meanwhile(*args):
        if said == "sign out":
            admin.post("/signout/")
        else:
            getattr(steering, said)(again(found), by=found.by)
        return really(*args)

    with monkeypatch.context() as patched:
        patched.setattr(run, "_was_sent_before", meanwhile)
        shift.messages += delivery.due(found)
        shift.take()
    assert (directory.writes(), operations.Operation.objects.count()) == ([], 0)
    assert not found.rows.filter(held=True).exists()  # for nobody has died
    if said == "stop":
        assert (states(found), again(found).state) == (["stopped", "stopped"], State.STOPPED)
        return
    assert states(found) == ["queued", "queued"]
    if said == "sign out":
        shift.drain()
        assert again(found).reason == run.SIGNED_OUT
        admin.sign_in("admin")
    assert steering.resume(again(found), by=found.by, grant=sign_in_of("admin"))
    shift.drain(again(found))
    assert (states(found), len(posts(directory))) == (["done", "done"], 2)


def test_of_a_customer_whose_turns_are_taken_no_more_rows_are_looked_at_than_a_lane_holds(admin, directory, shift):
    found = creating(*NAMES)
    Pace.objects.create(key=tenant("contoso"), next_at=clock.now() + timedelta(seconds=9))
    shift.messages += delivery.due(found)
    while shift.messages:
        shift.take()
    waiting = found.rows.exclude(not_before=None)
    assert (waiting.count(), found.rows.filter(fence=0).count()) == (delivery.LANE, len(NAMES) - delivery.LANE)
    assert {row_id for row_id, _ in shift.later} == set(waiting.values_list("pk", flat=True))
    assert directory.writes() == []


@pytest.mark.django_db(transaction=True)
def test_rows_that_start_together_share_one_walk_over_the_names(admin, directory, sandbox, shift):
    found = creating("anna", "bert", "cleo", "dora")
    ids = delivery.due(found)
    sandbox.fault("partnercenter", "slow", method="GET", path="/users$", seconds=0.3, times=0)
    directory.asked()

    def work(row_id):
        try:
            carry_out_row(row_id)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(work, ids))
    assert states(found) == ["done"] * 4
    assert directory.asked().count("partnercenter GET /v1/customers/…/users") == 2  # the active, then the deleted


def test_a_walk_that_takes_too_long_is_not_waited_for(admin, directory, monkeypatch):
    customer = Customer.objects.get(tenant_id=tenant("contoso"))
    monkeypatch.setattr(seen_names, "SECONDS", 0.01)
    with seen_names._one_at_a_time(customer), seen_names._one_at_a_time(customer):
        pass  # the second one went on


def test_a_row_is_due_by_itself_when_the_query_says_so(admin, worker):
    found = creating("anna")
    row, now = found.rows.get(), clock.now()
    moments = (None, now - timedelta(hours=1), now + timedelta(hours=1), now + timedelta(hours=3))
    for run_state, row_state, not_before in product(State, RowState, moments):
        for held, silent in ((False, 0), (True, row.SILENT - 1), (True, row.SILENT)):
            type(found).objects.update(state=run_state)
            OnboardingRow.objects.update(state=row_state, not_before=not_before, held=held, silent=silent)
            as_read = OnboardingRow.objects.select_related("run").get()
            assert as_read.is_due(now) == OnboardingRow.due(now).exists(), (run_state, row_state, not_before, held)


def test_tokens_that_are_kept_open_are_opened_once_and_anew_after_each_change(admin, monkeypatch):
    grant, opened = sign_in_of("admin"), []
    really = grants.vault.open
    monkeypatch.setattr(grants.vault, "open", lambda *args: opened.append(args[:2]) or really(*args))

    def token_of(grant):
        return grants.partner_center_token(type(grant).objects.select_related("operator").get(pk=grant.pk))

    token_of(grant)  # Entra is asked, and what it gives is kept
    opened.clear()
    with grants.kept_open():
        assert token_of(grant) == token_of(grant)
        assert len(opened) == 1
        type(grant).objects.update(fence=99)
        token_of(grant)
        assert len(opened) == 2
    token_of(grant)
    token_of(grant)
    assert len(opened) == 4
