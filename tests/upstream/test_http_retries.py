"""What is asked again, how often, and after which pause."""

import time
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests
import responses

from partnerportal import clock
from partnerportal.upstream import http
from partnerportal.upstream.errors import Broken, Throttled, Unreachable
from partnerportal.upstream.http import Answer, Call, budget, send
from partnerportal.upstream.payload import expect

from .test_http import SOURCE, URL, get, post


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_read_is_asked_again(wire: responses.RequestsMock, no_waiting: list[float], status: int) -> None:
    wire.get(URL, status=status)
    wire.get(URL, body=requests.ConnectionError("reset"))
    wire.get(URL, body=b"{}")
    assert send(get()).status == 200
    assert len(no_waiting) == 2
    assert all(0.1 <= pause <= 0.8 for pause in no_waiting)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 500, 501])
def test_other_statuses_stand(wire: responses.RequestsMock, no_waiting: list[float], status: int) -> None:
    wire.get(URL, status=status)
    assert send(get()).status == status
    assert no_waiting == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_write_is_never_asked_again(wire: responses.RequestsMock, no_waiting: list[float], status: int) -> None:
    wire.post(URL, status=status)
    assert send(post(json={})).status == status
    assert len(wire.calls) == 1
    assert no_waiting == []


def test_a_post_that_only_reads_is_asked_again(wire: responses.RequestsMock, no_waiting: list[float]) -> None:
    wire.post(URL, status=503)
    wire.post(URL, body=b"{}")
    assert send(post(json={}, replayable=True)).status == 200


def test_it_stops_after_two_more_tries(wire: responses.RequestsMock, no_waiting: list[float]) -> None:
    wire.get(URL, status=503)
    answer = send(get())
    assert (answer.status, len(wire.calls)) == (503, 3)
    with pytest.raises(Broken):
        expect(answer, 200)


def test_a_short_retry_after_is_honoured(wire: responses.RequestsMock, no_waiting: list[float]) -> None:
    wire.get(URL, status=429, headers={"Retry-After": "2"})
    wire.get(URL, body=b"{}")
    assert send(get()).status == 200
    assert 2 <= no_waiting[0] < 2.2


@pytest.mark.parametrize("value", ["6", "86400", "999999999"])
def test_a_long_retry_after_is_the_callers_to_decide(
    wire: responses.RequestsMock, no_waiting: list[float], value: str
) -> None:
    wire.get(URL, status=429, headers={"Retry-After": value})
    with pytest.raises(Throttled) as caught:
        expect(send(get()), 200)
    assert len(wire.calls) == 1
    assert no_waiting == []
    wait = (caught.value.retry_at - clock.now()).total_seconds()
    assert min(int(value), 3600) - 5 < wait <= 3600
    assert str(caught.value).startswith("Partner Center asked us to slow down until ")
    assert caught.value.retryable
    assert not caught.value.ambiguous


def test_a_wait_that_does_not_fit_the_budget_is_not_begun(wire: responses.RequestsMock) -> None:
    wire.get(URL, status=429, headers={"Retry-After": "3"})
    began = time.monotonic()
    with budget(1):
        assert send(get()).status == 429
    assert time.monotonic() - began < 0.5


def test_each_try_takes_its_turn_and_a_429_is_the_pacers_to_hear(
    wire: responses.RequestsMock, no_waiting: list[float]
) -> None:
    heard: list[Any] = []

    class Pacer:
        def turn(self, call: Call) -> None:
            heard.append(call.method)

        def slow_down(self, call: Call, seconds: float | None) -> None:
            heard.append(seconds)

    wire.get(URL, status=503)
    wire.get(URL, status=429, headers={"Retry-After": "2"})
    with http.paced(Pacer()):
        assert send(get()).status == 429
    assert heard == ["GET", "GET", 2.0]
    wire.get(URL, status=200, body=b"{}")
    assert send(get()).status == 200
    assert len(heard) == 3


def answer_with(retry_after: str | None, *, status: int = 429, body: bytes = b"") -> Answer:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Answer(
        source=SOURCE, status=status, headers=requests.structures.CaseInsensitiveDict(headers), body=body, took=0.1
    )


def test_a_retry_after_may_be_a_date() -> None:
    soon = clock.now() + timedelta(seconds=40)
    assert 35 < (http.retry_after(answer_with(format_datetime(soon, usegmt=True))) or 0) <= 40
    assert http.retry_after(answer_with("Wed, 21 Oct 2015 07:28:00 GMT")) == 0
    assert http.retry_after(answer_with("Wed, 21 Oct 2015 07:28:00 -0000")) == 0
    assert http.retry_after(answer_with("Wed, 21 Oct 9999 07:28:00 GMT")) == 3600


@pytest.mark.parametrize("value", [None, "", "-5", "soon", "1e9", "١٢", "12.5", "99999999999999999999", "Wed, 99 Foo"])
def test_a_retry_after_that_says_nothing_is_ignored(value: str | None) -> None:
    assert http.retry_after(answer_with(value)) is None


def test_the_gateway_says_it_in_words() -> None:
    said = b'{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in 57 seconds." }'
    assert http.retry_after(answer_with(None, body=said)) == 57
    assert http.retry_after(answer_with(None, status=503, body=said)) is None


@pytest.mark.parametrize(
    ("problem", "sent"),
    [(requests.ConnectTimeout("x"), False), (requests.ReadTimeout("x"), True), (requests.ConnectionError("x"), True)],
)
def test_only_what_surely_did_not_leave_is_called_unsent(
    wire: responses.RequestsMock, problem: Exception, sent: bool
) -> None:
    wire.post(URL, body=problem)
    with pytest.raises(Unreachable) as caught:
        send(post(json={}))
    assert caught.value.sent is sent
