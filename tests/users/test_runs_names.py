"""Rows whose name nobody had before, or somebody: whose user it is, and who says so."""

from django.urls import reverse

from partnerportal.sandbox.seed_licences import ENTERPRISE_E3
from tests.pages import Page
from users import operations
from users.models import Operation
from users.onboarding import delivery, run, steering

from .conftest import operation_url
from .runs import (
    State,
    sign_in_of,
    states,
)
from .test_runs import again, beat, creating, worker

__all__ = ["worker"]  # a fixture


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
    row.refresh_from_db()  # at once: nobody has to try the run again
    assert (row.state, row.target_id) == ("conflict", "")
    assert "said to be somebody else’s" in row.detail
    assert (again(found).state, len(directory.writes())) == (State.DONE, 1)
    assert steering.try_again(again(found), by=found.by, grant=sign_in_of("admin")) == 0


def left_unknown(directory, worker, sandbox, monkeypatch, licences):
    """A run that is over: its user was created, which only its owner can say, for nobody had seen the name absent."""
    monkeypatch.setattr("users.onboarding.run.MOST_TRIES", 0)
    monkeypatch.setattr("users.seen_names._walk", lambda *_of: ([], [], False))
    sandbox.fault("partnercenter", "fail_after", method="POST", path="/users$")
    found = creating("anna")
    found.rows.update(licences=licences)
    worker.drain(found)
    row = found.rows.get()
    assert (row.state, again(found).state) == ("unknown", State.DONE)
    return row


def test_what_its_owner_says_is_theirs_is_done_in_the_run_as_well_with_its_licences_and_its_password(
    admin, directory, worker, sandbox, monkeypatch
):
    row = left_unknown(directory, worker, sandbox, monkeypatch, {ENTERPRISE_E3.id: ENTERPRISE_E3.name})
    admin.post(operation_url(row.op_id), {"step": "check"})
    row.refresh_from_db()
    assert row.state == "unknown"
    admin.post(operation_url(row.op_id), {"step": "ours"})
    row.refresh_from_db()
    (anna,) = directory.named("anna")
    assert (row.state, row.target_id) == ("done", anna.id)
    assert row.detail.endswith(f"The licence was assigned: {ENTERPRISE_E3.name}.")
    page = Page(admin.get(reverse("run", args=[row.run.key])))
    assert "1 of 1 row done" in page.words
    assert "1 new password to hand over" in page.words


def test_a_row_that_is_given_up_on_its_page_is_given_up_in_the_run(
    admin, directory, worker, sandbox, monkeypatch, move_clock
):
    sandbox.fault("partnercenter", "drop_before", method="POST", path="/users$")
    monkeypatch.setattr("users.onboarding.run.MOST_TRIES", 0)
    found = creating("anna")
    worker.drain(found)
    assert states(found) == ["unknown"]
    move_clock(121)
    admin.post(operation_url(found.rows.get().op_id), {"step": "check"})
    assert states(found) == ["unknown"]
    admin.post(operation_url(found.rows.get().op_id), {"step": "stop"})
    assert states(found) == ["stopped"]


def test_what_its_owner_decides_while_a_worker_closes_the_row_is_not_left_unknown(
    admin, directory, worker, sandbox, monkeypatch
):
    later = run._later

    def owner_is_faster(row, *about, **more):
        admin.post(operation_url(row.op_id), {"step": "check"})
        assert Operation.objects.get().state == "done"
        later(row, *about, **more)

    monkeypatch.setattr(run, "_later", owner_is_faster)
    monkeypatch.setattr(run, "MOST_TRIES", 0)
    sandbox.fault("partnercenter", "drop_after", method="POST", path="/users$")
    found = creating("anna")
    worker.drain(found)
    assert states(found) == ["done"]


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
