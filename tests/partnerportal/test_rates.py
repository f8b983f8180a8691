"""One address starts so many sign-ins a minute and no more, whatever it claims to be; nobody else notices."""

import re
import threading
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connections

from partnerportal import clock, rates
from partnerportal.models import SignInStart
from partnerportal.tasks import forget_sign_in_starts
from tests.conftest import Browser
from tests.pages import Page

MOST = 30
HERE, ELSEWHERE = "192.0.2.7", "192.0.2.8"


def start(address=HERE, **headers):
    """The status of a sign-in that starts from there."""
    return Browser(REMOTE_ADDR=address).get("/signin/", headers=headers).status_code


@pytest.fixture
def full(visitor):
    """That address has started as many as it may, all now."""
    started(HERE, MOST)


def started(address, times, ago=0.0):
    at = clock.now() - timedelta(seconds=ago)
    SignInStart.objects.bulk_create([SignInStart(address=address, at=at) for _ in range(times)])


def test_the_limit_is_trusts():
    assert settings.SIGN_IN_STARTS_A_MINUTE == MOST


# --- The limit ----------------------------------------------------------------------------------------------


def test_the_thirtieth_start_goes_through_and_the_next_is_told_to_wait(visitor):
    started(HERE, MOST - 1, ago=20)
    assert start() == 302
    answer = Browser(REMOTE_ADDR=HERE).get("/signin/?next=/audit/")
    page = Page(answer)
    assert answer.status_code == 429
    assert 1 <= int(answer["Retry-After"]) <= 40
    assert page.title == "Too many sign-ins were started · Partner Desk"
    assert re.search(
        r"Your network has started 30 within a minute, which is the most, so this one was not\. Nothing else is "
        rf"affected\. Try again at \d\d:\d\d:\d\d UTC, in {answer['Retry-After']} seconds\.",
        page.words,
    )
    assert page.href("Try again with Microsoft") == "/signin/?next=/audit/"
    assert "pd_session" not in answer.cookies


def test_it_goes_on_when_retry_after_says_so(full, move_clock):
    wait = int(Browser(REMOTE_ADDR=HERE).get("/signin/")["Retry-After"])
    move_clock(wait - 2)
    assert start() == 429
    move_clock(wait)
    assert start() == 302


def test_those_that_were_refused_do_not_make_it_longer(full):
    for _ in range(3):
        assert start() == 429
    assert SignInStart.objects.count() == MOST


def test_other_addresses_do_not_notice(full):
    assert start(ELSEWHERE) == 302


def test_whoever_is_in_and_whoever_is_under_way_does_not_notice(full, signed_in):
    browser = signed_in("admin")
    under_way = Browser()
    callback = under_way.at_entra("reader")
    for each in (browser, under_way):
        each.defaults["REMOTE_ADDR"] = HERE
    assert browser.get("/audit/").status_code == 200
    assert under_way.get(callback).status_code == 303
    assert browser.get("/signin/").status_code == 429
    assert browser.get("/session/").status_code == 204
    assert browser.get("/signin/?failed").status_code != 429


def test_a_refused_start_leaves_what_the_next_one_has_to_satisfy(full):
    browser = Browser()
    browser.sign_in("foreign")
    browser.defaults["REMOTE_ADDR"] = HERE
    assert browser.get("/signin/").status_code == 429
    browser.defaults["REMOTE_ADDR"] = ELSEWHERE
    assert "prompt=select_account" in browser.get("/signin/")["Location"]


def test_the_count_is_in_no_process(full):
    cache.clear()
    assert start() == 429


@pytest.mark.django_db(transaction=True)
def test_of_many_at_the_same_moment_no_more_than_the_limit_get_in(rf, db):
    request = rf.get("/signin/", REMOTE_ADDR=HERE)
    started(HERE, MOST - 3)
    together, let_in = threading.Barrier(8), []

    def knock():
        together.wait()
        let_in.append(rates.start_sign_in(request) is None)
        connections.close_all()

    threads = [threading.Thread(target=knock) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(let_in) == 8
    assert sum(let_in) <= 3
    assert SignInStart.objects.count() == MOST - 3 + sum(let_in)


def test_addresses_are_forgotten_when_no_limit_looks_at_them_any_more(db):
    started(HERE, 2, ago=61)
    started(ELSEWHERE, 1, ago=50)
    forget_sign_in_starts()
    assert list(SignInStart.objects.values_list("address", flat=True)) == [ELSEWHERE]


def test_a_clock_that_went_back_locks_nobody_out(full, move_clock):
    move_clock(-90)
    assert start() == 302


# --- This machine -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1"])
def test_in_the_sandbox_this_machine_is_not_counted(visitor, address):
    for counted_as in ("127.0.0.1", "127.0.0.9", "::/64"):
        started(counted_as, MOST)
    assert start(address) == 302
    assert SignInStart.objects.count() == 3 * MOST


def test_in_the_sandbox_every_other_machine_is_counted(visitor):
    start("10.1.2.3")
    assert SignInStart.objects.get().address == "10.1.2.3"


def test_in_production_this_machine_is_counted_too_and_the_log_says_what_may_be_missing(rf, db, settings, caplog):
    settings.SANDBOX = False
    started("127.0.0.1", MOST)
    assert rates.start_sign_in(rf.get("/signin/", REMOTE_ADDR="127.0.0.1"))
    assert "Behind a proxy, set TRUSTED_PROXIES" in caplog.text


# --- Who asks -----------------------------------------------------------------------------------------------


def test_nobody_gets_around_it_with_a_header(full):
    for said in (ELSEWHERE, "127.0.0.1", f"{ELSEWHERE}, 127.0.0.1"):
        assert start(**{"X-Forwarded-For": said}) == 429


@pytest.mark.parametrize(
    ("proxies", "forwarded", "remote", "expected"),
    [
        (0, "198.51.100.1", "10.0.0.1", "10.0.0.1"),
        (1, "198.51.100.1", "10.0.0.1", "198.51.100.1"),
        (1, "6.6.6.6, 198.51.100.1", "10.0.0.1", "198.51.100.1"),
        (2, "6.6.6.6, 198.51.100.1, 10.0.0.2", "10.0.0.1", "198.51.100.1"),
        (2, "198.51.100.1", "10.0.0.1", "198.51.100.1"),
        (1, "", "10.0.0.1", "10.0.0.1"),
        (1, "198.51.100.1:4711", "10.0.0.1", "198.51.100.1"),
        (1, "[2001:db8::7]:4711", "10.0.0.1", "2001:db8::7"),
        (1, "[2001:db8::7]", "10.0.0.1", "2001:db8::7"),
        (1, "::ffff:198.51.100.1", "10.0.0.1", "198.51.100.1"),
        (1, "unknown", "10.0.0.1", "10.0.0.1"),
        (1, "198.51.100.1,", "10.0.0.1", "10.0.0.1"),
        (0, "", "", "None"),
    ],
)
def test_whom_our_own_proxies_name_is_believed_and_nobody_else(rf, settings, proxies, forwarded, remote, expected):
    settings.TRUSTED_PROXIES = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert str(rates.client_address(rf.get("/", REMOTE_ADDR=remote, headers=headers))) == expected


def test_behind_a_proxy_each_person_has_a_limit_of_their_own(full, settings):
    settings.TRUSTED_PROXIES = 1
    assert start("127.0.0.1", **{"X-Forwarded-For": HERE}) == 429
    assert start("127.0.0.1", **{"X-Forwarded-For": f"{HERE}, {ELSEWHERE}"}) == 302


def test_all_of_an_ipv6_network_is_one_address(visitor):
    started("2001:db8:1:2::/64", MOST)
    assert start("2001:db8:1:2:aaaa::9") == 429
    assert start("2001:db8:1:3::9") == 302


def test_a_connection_without_an_address_is_counted_as_one(visitor):
    started("unknown", MOST)
    assert start("") == 429
