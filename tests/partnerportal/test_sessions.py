"""How long somebody stays signed in."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from partnerportal import clock, sessions, tasks
from partnerportal.models import Operator, TokenCache
from partnerportal.session_store import SessionStore

MINUTE, HOUR = 60, 3600


def alive(browser, **headers):
    return browser.get("/session/", headers=headers).status_code == 204


def click(browser):
    """A page that somebody asked for."""
    return browser.get("/audit/").status_code == 200


def test_thirty_minutes_without_a_click_end_it(signed_in, move_clock):
    browser = signed_in("admin")
    move_clock(29 * MINUTE)
    assert alive(browser)
    move_clock(31 * MINUTE)
    assert not alive(browser)
    assert not TokenCache.objects.exists(), "the tokens are destroyed with it"


def test_a_click_keeps_it_alive(signed_in, move_clock):
    browser = signed_in("admin")
    for minutes in (20, 40, 60):
        move_clock(minutes * MINUTE)
        assert click(browser)
    move_clock(91 * MINUTE)
    assert not click(browser)


@pytest.mark.parametrize(
    "poll", [("/session/", {}), ("/audit/", {"X-Poll": "1"}), ("/customers/", {"X-Poll": "1", "HX-Request": "true"})]
)
def test_what_a_page_asks_for_by_itself_does_not(signed_in, move_clock, poll):
    browser = signed_in("admin")
    path, headers = poll
    for minutes in (10, 20, 29):
        move_clock(minutes * MINUTE)
        browser.get(path, headers=headers)
    move_clock(31 * MINUTE)
    assert not alive(browser)


def test_twelve_hours_end_it_whatever_one_does(signed_in, move_clock):
    browser = signed_in("admin")
    for minutes in range(20, 12 * 60, 20):
        move_clock(minutes * MINUTE)
        assert click(browser), minutes
    move_clock(12 * HOUR + 1)
    assert not click(browser)
    assert not TokenCache.objects.exists()


@pytest.mark.parametrize("seconds", [-HOUR, -24 * HOUR])
def test_a_clock_that_goes_back_makes_no_session_eternal(signed_in, move_clock, seconds):
    browser = signed_in("admin")
    move_clock(seconds)
    assert not alive(browser)


def test_a_clock_that_goes_back_a_little_is_no_harm(signed_in, move_clock):
    browser = signed_in("admin")
    move_clock(-100)
    assert alive(browser)


def test_a_session_of_the_sandbox_is_worth_nothing_in_production(signed_in, settings):
    browser = signed_in("admin")
    store = SessionStore(browser.session.session_key)
    assert store[sessions.MODE] == "sandbox"
    settings.SANDBOX = False
    settings.SECURE_SSL_REDIRECT = False
    assert not alive(browser)
    assert sessions.mode() == "production"


@pytest.mark.parametrize("seconds", [-1, 0])
def test_a_session_that_ran_out_in_the_database_is_not_read_and_its_key_is_forgotten(signed_in, seconds):
    browser = signed_in("admin")
    key = browser.session.session_key
    Session.objects.update(expire_date=timezone.now() + timedelta(seconds=seconds))
    store = SessionStore(key)
    assert not list(store.keys())
    assert store.session_key is None
    assert not alive(browser)


@pytest.mark.parametrize(
    "value", ["abc\x00defghijk", "\\000abcdefghijk", "ABCDEFGHIJK", "short", "", "a'--bcdefgh", "é" * 40]
)
def test_a_cookie_that_is_no_session_of_ours_is_a_stranger_and_no_fault(visitor, settings, value):
    visitor.cookies[settings.SESSION_COOKIE_NAME] = value
    answer = visitor.get("/customers/")
    assert (answer.status_code, answer["Location"]) == (302, "/signin/?next=%2Fcustomers%2F")
    assert visitor.get("/signin/").status_code == 302


def test_a_session_without_its_tokens_is_over(signed_in):
    browser = signed_in("admin")
    TokenCache.objects.all().delete()
    key = browser.session.session_key
    assert not alive(browser)
    assert not Session.objects.filter(session_key=key).exists()


def test_a_new_salt_ends_all_sessions_of_one_person(signed_in):
    maya, again, ines = signed_in("admin"), signed_in("admin"), signed_in("reader")
    sessions.end_all(Operator.objects.get(name="Maya Okafor"))
    assert [alive(browser) for browser in (maya, again, ines)] == [False, False, True]


def test_a_salt_alone_ends_sessions_and_takes_the_tokens_along(signed_in):
    browser = signed_in("admin")
    Operator.objects.update(session_salt="another")
    assert not alive(browser)
    assert not TokenCache.objects.exists()


def test_a_rotated_secret_key_ends_sessions(signed_in, settings):
    browser = signed_in("admin")
    settings.SECRET_KEY = "y" * 50
    assert not alive(browser)


def test_a_click_writes_the_session_at_most_twice_a_minute(signed_in, move_clock, django_assert_num_queries):
    browser = signed_in("admin")
    before = browser.session[sessions.SEEN_AT]
    assert click(browser)
    assert browser.session[sessions.SEEN_AT] == before
    move_clock(31)
    assert click(browser)
    assert browser.session[sessions.SEEN_AT] > before


def test_a_session_that_ends_while_a_page_is_made_asks_to_sign_in(signed_in, monkeypatch):
    """Signed out in another tab at the same moment: the page does not bring the session back."""
    browser = signed_in("admin")
    key = browser.session.session_key
    real = sessions.apply_limits

    def limits_and_gone(request):
        real(request)
        request.session["touched"] = True
        Session.objects.filter(session_key=key).delete()

    monkeypatch.setattr(sessions, "apply_limits", limits_and_gone)
    answer = browser.get("/audit/")
    assert (answer.status_code, answer["Location"]) == (302, "/signin/?next=%2Faudit%2F")
    assert not Session.objects.filter(session_key=key).exists()


def test_tokens_of_abandoned_sessions_are_destroyed(signed_in):
    signed_in("admin")
    signed_in("reader")
    old = TokenCache.objects.filter(operator__name="Maya Okafor")
    old.update(created_at=clock.now() - timedelta(hours=12, seconds=1))
    tasks.forget_abandoned_sessions()
    assert [grant.operator.name for grant in TokenCache.objects.all()] == ["Ines Halloran"]


def test_strangers_cost_no_query(client, db, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert client.get("/session/").status_code == 401
