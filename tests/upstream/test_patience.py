"""Asking again, when an upstream asks to slow down, for as long as there is patience."""

from datetime import timedelta

import pytest

from partnerportal import clock
from partnerportal.upstream.errors import Broken, Throttled
from partnerportal.upstream.patience import patiently


@pytest.fixture
def slept(monkeypatch):
    found = []
    monkeypatch.setattr("partnerportal.upstream.patience.time.sleep", found.append)
    return found


def asking(*answers):
    """A question whose answers come one after the other; an error is raised, a number is the pause of a 429."""
    left = list(answers)

    def ask():
        answer = left.pop(0)
        if isinstance(answer, int):
            raise Throttled(source="Partner Center", retry_at=clock.now() + timedelta(seconds=answer))
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def test_it_waits_as_long_as_it_is_told_and_asks_again(slept):
    assert patiently(asking(5, 10, "yes"), pauses=2, longest=20) == "yes"
    assert [round(seconds) for seconds in slept] == [5, 10]


def test_a_pause_that_is_over_is_short_and_not_none_at_all(slept):
    assert patiently(asking(-3, "yes"), pauses=1, longest=20) == "yes"
    assert slept == [0.1]


@pytest.mark.parametrize(("answers", "pauses", "waited"), [((5, 5, 5), 2, 2), ((21, "late"), 2, 0), ((5,), 0, 0)])
def test_one_pause_too_many_or_too_long_ends_it(slept, answers, pauses, waited):
    with pytest.raises(Throttled):
        patiently(asking(*answers), pauses=pauses, longest=20)
    assert len(slept) == waited


def test_it_does_not_go_on_for_who_has_given_up_meanwhile(slept):
    with pytest.raises(Throttled):
        patiently(asking(5, "yes"), pauses=2, longest=20, go_on=lambda: False)
    assert slept == []


def test_any_other_trouble_is_not_asked_again(slept):
    with pytest.raises(Broken):
        patiently(asking(Broken(source="Partner Center"), "yes"), pauses=2, longest=20)
    assert slept == []
