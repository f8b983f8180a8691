"""Runs that Microsoft asks to slow down (TRUST F15)."""

from datetime import timedelta

from partnerportal import clock
from partnerportal.models import Pace

from .conftest import tenant
from .runs import (
    checked,
    newcomers,
    start,
    states,
)
from .test_runs import beat, creating, posts, worker

__all__ = ["worker"]  # a fixture


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
