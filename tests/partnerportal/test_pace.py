"""The pace of runs: one row a customer in the database, whichever process, thread or machine asks."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections

from partnerportal import clock, pace
from partnerportal.models import Pace
from partnerportal.sandbox.seed import special_id
from partnerportal.settings import _partner_center_rates
from partnerportal.upstream.errors import Throttled
from partnerportal.upstream.http import Call

CONTOSO, MEDIUM = special_id("contoso"), special_id("medium")
URL = "https://api.partnercenter.microsoft.com/v1/customers/"


def near(seconds):
    """The database keeps microseconds."""
    return pytest.approx(seconds, abs=2e-6)


def call(tenant_id=CONTOSO):
    return Call(source="Partner Center", method="POST", url=f"{URL}{tenant_id}/users", request_id="ours")


@pytest.fixture
def slept(monkeypatch, settings):
    """How long each turn would have waited, in seconds; at 10 requests a second to one customer, 40 to all."""
    settings.PARTNER_CENTER_RATES = (10, 40)
    found = []
    monkeypatch.setattr(pace.time, "sleep", found.append)
    return found


@pytest.fixture
def at_noon(monkeypatch):
    """A clock that stands still until it is moved."""
    noon = [clock.now()]
    monkeypatch.setattr(clock, "now", lambda: noon[0])
    return lambda seconds: noon.__setitem__(0, noon[0] + timedelta(seconds=seconds))


@pytest.mark.django_db
def test_the_requests_to_one_customer_go_a_tenth_of_a_second_apart(slept, at_noon):
    for _ in range(4):
        pace.turn(call())
    assert slept == near([0.1, 0.2, 0.3])
    at_noon(0.4)
    pace.turn(call(CONTOSO.upper()))
    assert len(slept) == 3  # it was its turn


@pytest.mark.django_db
def test_customers_do_not_wait_for_each_other_but_for_the_pace_of_all(slept, at_noon):
    for _ in range(3):
        pace.turn(call())
    pace.turn(call(MEDIUM))
    assert slept == near([0.1, 0.2, 0.075])


@pytest.mark.django_db
def test_other_services_are_not_paced(slept):
    for _ in range(3):
        pace.turn(Call(source="Graph", method="GET", url="https://graph.microsoft.com/v1.0/me"))
    assert not slept
    assert not Pace.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_no_two_workers_take_the_same_moment(settings):
    settings.PARTNER_CENTER_RATES = (10, 40)
    now = clock.now()

    def take(_):
        try:
            return pace._take(CONTOSO, now, pace._rows(CONTOSO)[CONTOSO])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as workers:
        taken = sorted(workers.map(take, range(40)))
    assert [(at - now).total_seconds() for at in taken] == near([number / 10 for number in range(40)])


@pytest.mark.django_db
def test_a_429_stops_that_customer_and_takes_a_little_off_its_pace_for_a_minute(slept, at_noon):
    for _ in range(3):  # three that were under way at the same time
        pace.slow_down(call(), 4)
    pace.turn(call(MEDIUM))
    assert not slept
    assert pace.full_until(CONTOSO) == clock.now() + timedelta(seconds=4)
    at_noon(4)
    for _ in range(3):
        pace.turn(call())
    assert slept == near([0.1 / 0.98, 0.2 / 0.98])  # once, not three times
    at_noon(60)
    slept.clear()
    for _ in range(3):
        pace.turn(call())
    assert slept == near([0.1, 0.2])


@pytest.mark.django_db
def test_each_further_429_in_its_minute_halves_the_pace_and_it_comes_back_step_by_step(slept, at_noon):
    for _ in range(9):
        pace.slow_down(call(), 1)
        at_noon(1)
    found = []
    for _ in range(6):
        slept.clear()
        pace.turn(call())
        pace.turn(call())
        found += slept
        at_noon(60)
    assert found == near([0.8, 0.4, 0.2, 0.1 / 0.98, 0.1, 0.1])


@pytest.mark.django_db
@pytest.mark.parametrize(("asked", "waits"), [(None, 5), (0, 1), (120, 120)])
def test_what_a_429_asks_for_is_heard_by_all_workers_and_none_of_them_waits_for_it(asked, waits, slept, at_noon):
    pace.slow_down(call(), asked)
    if waits > 5:
        with pytest.raises(Throttled) as told:
            pace.turn(call())
        assert told.value.retry_at == clock.now() + timedelta(seconds=waits)
        assert not told.value.sent
        assert not told.value.ambiguous
        assert not slept
    assert pace.full_until(CONTOSO) in (None, clock.now() + timedelta(seconds=waits))


@pytest.mark.django_db
def test_whoever_wakes_up_late_leaves_the_moment_unused_and_takes_another_one_once(slept, at_noon, monkeypatch):
    """The calls after it go at their own moments: with a late one among them, they would be too many in a second."""
    begun = clock.now()
    pace.turn(call())
    hold_up = iter([0.1 + 0.021, 1.0])
    monkeypatch.setattr(pace.time, "sleep", lambda seconds: (slept.append(seconds), at_noon(next(hold_up))))
    pace.turn(call())
    assert slept == near([0.1, 0.2 - 0.121])
    taken = Pace.objects.get(key=CONTOSO).next_at - begun
    assert taken.total_seconds() == near(0.3)  # of three moments, the last is used however late it is
    assert (Pace.objects.get(key=pace.ALL).next_at - begun).total_seconds() == near(0.05)  # nobody else has lost one


@pytest.mark.django_db
def test_whoever_slept_until_its_turn_sends_nothing_when_another_was_told_to_stop_meanwhile(
    slept, at_noon, monkeypatch
):
    pace.turn(call())
    monkeypatch.setattr(pace.time, "sleep", lambda _: pace.slow_down(call(), 30))
    with pytest.raises(Throttled):
        pace.turn(call())


@pytest.mark.django_db
def test_a_clock_that_was_a_day_ahead_stops_nobody(slept, at_noon):
    day = clock.now() + timedelta(days=1)
    Pace.objects.create(key=CONTOSO, next_at=day, resumes_at=day, slow_until=day)
    pace.turn(call())
    pace.turn(call())
    assert slept == near([0.1])


@pytest.mark.django_db
def test_a_pace_goes_a_day_after_its_last_use_and_whoever_asks_then_begins_another(slept, at_noon):
    pace.turn(call())
    pace.turn(call(MEDIUM))
    pace.slow_down(call(MEDIUM), 60)
    at_noon(24 * 3600 + 1)
    assert pace.forget() == 1
    assert set(Pace.objects.values_list("key", flat=True)) == {MEDIUM, pace.ALL}
    pace.turn(call())
    assert Pace.objects.filter(key=CONTOSO).exists()
    assert pace.forget() == 0


@pytest.mark.parametrize(("said", "read"), [("8,40", (8, 40)), ("0.5, 2", (0.5, 2))])
def test_the_rates_are_two_numbers(said, read, monkeypatch):
    monkeypatch.setenv("PARTNER_CENTER_RATES", said)
    assert _partner_center_rates() == read


@pytest.mark.parametrize("said", ["8", "many,40", "40,8", "0,8", "8,inf", "nan,8", "1,2,3", "1e-300,8"])
def test_other_rates_do_not_start(said, monkeypatch):
    monkeypatch.setenv("PARTNER_CENTER_RATES", said)
    with pytest.raises(SystemExit, match="does not start: PARTNER_CENTER_RATES is"):
        _partner_center_rates()
