"""Settings: one preference a form, kept on the server, and every time in the person's zone."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from django.utils import timezone

from customers.explain import day
from customers.models import Source, SourceName
from partnerportal import clock, preferences, problems
from partnerportal.middleware import _keep_theme
from partnerportal.models import Operator
from partnerportal.preferences import Preferences
from partnerportal.upstream.errors import Throttled
from tests.pages import Page

SETTINGS = "/settings/"


def likes():
    return Preferences.of(Operator.objects.get())


def body(answer):
    return answer.content.decode()


# --- Saving -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("theme", "dark", "dark"),
        ("theme", "", ""),
        ("density", "comfortable", "comfortable"),
        ("zone", "Asia/Kathmandu", "Asia/Kathmandu"),
        ("size", "100", 100),
        ("shortcuts", "off", False),
    ],
)
def test_each_control_saves_by_itself(signed_in, name, value, kept):
    browser = signed_in("reader")
    before = Preferences()
    answer = browser.htmx("post", SETTINGS, {name: value})
    assert answer.status_code == (200 if name == "zone" else 204)
    assert likes() == replace(before, **{name: kept})
    assert browser.post(SETTINGS, {name: value}).status_code == 303


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"theme": '"><script>'}, "There is no theme “&quot;&gt;&lt;script&gt;”."),
        ({"zone": "Mars/Olympus"}, "There is no time zone “Mars/Olympus”."),
        ({"zone": "../etc/passwd"}, "There is no time zone “../etc/passwd”."),
        ({"zone": ""}, "There is no time zone “”."),
        ({"size": "1000"}, "There is no page size “1000”."),
        ({"size": "٢٥"}, "There is no page size “٢٥”."),
        ({"shortcuts": "maybe"}, "There is no choice for shortcuts “maybe”."),
        ({"density": "dense"}, "There is no row height “dense”."),
        ({}, "This form names none of the settings, or more than one."),
        ({"columns": "name"}, "This form names none of the settings, or more than one."),
        ({"theme": "dark", "size": "1000"}, "This form names none of the settings, or more than one."),
    ],
)
def test_a_bad_value_is_refused_with_a_sentence_and_nothing_is_half_done(signed_in, form, sentence):
    browser = signed_in("reader")
    browser.post(SETTINGS, {"size": "50"})
    for answer in (browser.post(SETTINGS, form), browser.htmx("post", SETTINGS, form)):
        assert answer.status_code == 422
        assert sentence in body(answer)
        assert "Nothing was saved" in body(answer)
    assert answer["HX-Retarget"] == "#notice"
    assert likes() == Preferences(size=50)


def test_what_is_stored_and_makes_no_sense_is_as_if_it_were_not_stored(signed_in):
    browser = signed_in("reader")
    stored = {"theme": "pink", "density": 3, "zone": "Mars/Olympus", "size": 26, "shortcuts": "no", "left": "over"}
    Operator.objects.update(preferences=stored)
    assert likes() == Preferences()
    assert browser.get(SETTINGS).status_code == 200


def test_preferences_are_ones_own_and_the_same_in_every_browser(signed_in):
    first, other = signed_in("admin"), signed_in("reader")
    first.post(SETTINGS, {"density": "comfortable"})
    first.post(SETTINGS, {"shortcuts": "off"})
    second = signed_in("admin")
    assert 'data-density="comfortable" data-shortcuts="off"' in body(second.get("/audit/"))
    assert 'data-density="" data-shortcuts="on"' in body(other.get("/audit/"))


def test_two_tabs_that_change_different_settings_at_once_lose_neither(signed_in):
    signed_in("reader")
    one, other = Operator.objects.get(), Operator.objects.get()  # as either request has read it
    Preferences.save(one, density="comfortable")
    now = Preferences.save(other, size=100)
    assert now == likes() == Preferences.of(other) == Preferences(density="comfortable", size=100)


def test_the_page_shows_what_holds_and_has_a_button_for_each_without_javascript(signed_in):
    browser = signed_in("reader")
    for form in ({"zone": "Europe/Paris"}, {"size": "200"}, {"theme": "light"}, {"shortcuts": "off"}):
        browser.post(SETTINGS, form)
    page = Page(browser.get(SETTINGS))
    chosen = {form.fields.get("zone") or form.fields.get("size") for form in page.forms}
    assert {"Europe/Paris", "200"} <= chosen
    buttons = {words for form in page.forms for words in form.buttons}
    assert buttons >= {"Save time zone", "Save page size", "System", "Dark", "Compact", "Comfortable", "On", "Off"}
    pressed = [told["value"] for tag, told in page.tags if tag == "button" and told.get("aria-pressed") == "true"]
    assert sorted(pressed) == ["", "light", "light", "off"]  # the theme also stands in the top bar


# --- The theme at the door ----------------------------------------------------------------------------------


def test_the_sign_in_page_looks_as_whoever_was_here_last_likes_it(signed_in):
    browser = signed_in("reader")
    answer = browser.post("/theme/", {"theme": "dark"}, headers={"Referer": "http://127.0.0.1:8000/audit/?page=1"})
    assert (answer.status_code, answer["Location"]) == (303, "/audit/?page=1")
    cookie = answer.cookies["pd_theme"]
    assert (cookie.value, cookie["httponly"], cookie["samesite"], cookie["path"]) == ("dark", True, "Lax", "/")
    browser.post("/signout/")
    assert 'data-theme="dark"' in body(browser.get("/signout/"))


def test_a_second_browser_gets_the_theme_with_its_first_page_and_its_door_too(signed_in):
    signed_in("reader").post("/theme/", {"theme": "dark"})
    second = signed_in("reader")
    answer = second.get("/audit/")
    assert 'data-theme="dark"' in body(answer)
    assert answer.cookies["pd_theme"].value == "dark"
    assert "pd_theme" not in second.get("/audit/").cookies
    second.post("/theme/", {"theme": ""})
    assert second.cookies["pd_theme"].value == ""


def test_a_theme_cookie_that_somebody_made_up_changes_nothing(signed_in, visitor):
    for browser, path in ((signed_in("reader"), "/audit/"), (visitor, "/signout/")):
        browser.cookies["pd_theme"] = '"><script>'
        assert 'data-theme=""' in body(browser.get(path))


# --- The zone -----------------------------------------------------------------------------------------------


def test_every_time_is_told_in_the_persons_zone_and_the_rail_says_which(signed_in):
    at = clock.now() - timedelta(days=2)
    Source.objects.create(name=SourceName.PARTNER_CENTER, last_good_at=at)
    browser = signed_in("reader")
    assert "UTC time" in body(browser.get("/audit/"))
    part = browser.htmx("post", SETTINGS, {"zone": "Asia/Kathmandu"})
    assert '<p id="zone" hx-swap-oob="true"><span>Asia/Kathmandu time</span></p>' in body(part)
    page = body(browser.get("/audit/"))
    there = at.astimezone(ZoneInfo("Asia/Kathmandu"))
    assert f'<time datetime="{there.isoformat(timespec="seconds")}"' in page
    assert f"{there:%H:%M}</time>" in page
    assert "Asia/Kathmandu time" in page
    assert re.search(r"\+0545\"", page)


def test_the_next_person_of_this_process_is_told_the_time_in_their_own(signed_in, visitor):
    signed_in("admin").post(SETTINGS, {"zone": "Asia/Kathmandu"})
    assert "UTC time" in body(signed_in("reader").get("/audit/"))
    assert clock.told(datetime(2026, 11, 22, 13, 4, tzinfo=UTC), "%H:%M %Z") == "13:04 UTC"


def test_sentences_name_the_zone_too():
    at = datetime(2026, 11, 22, 23, 30, 12, tzinfo=UTC)
    assert "until 23:30:12 UTC" in str(Throttled(source="Partner Center", status=429, retry_at=at))
    with timezone.override(Preferences(zone="Europe/Berlin").tz):
        error = Throttled(source="Partner Center", status=429, retry_at=at)
        assert "until 00:30:12 CET" in str(error)
        assert "Try again at 00:30:12 CET" in problems._problem(error, unsafe=False).next_step
        assert day(at) == "23 Nov 2026"
    assert day(at) == "22 Nov 2026"


def test_there_is_a_zone_for_every_part_of_the_world_and_utc_comes_first():
    zones = preferences.zones()
    assert zones[0] == "UTC"
    assert {"Europe/Berlin", "America/Argentina/Ushuaia", "Pacific/Auckland", "Asia/Kolkata"} <= set(zones)
    assert list(zones[1:]) == sorted(set(zones[1:]))
    assert all(Preferences(zone=zone).tz for zone in zones)


# --- Shortcuts ----------------------------------------------------------------------------------------------


def test_the_shortcuts_stand_on_a_page_and_in_a_dialog(signed_in):
    browser = signed_in("reader")
    page, part = Page(browser.get("/shortcuts/")), Page(browser.htmx("get", "/shortcuts/"))
    for shown in (page, part):
        assert "Ctrl K Go to a customer" in shown.words
        assert "g a Audit trail" in shown.words
    assert "<html" not in part.html
    browser.post(SETTINGS, {"shortcuts": "off"})
    assert "are turned off" in Page(browser.get("/shortcuts/")).words


# --- In production ------------------------------------------------------------------------------------------


def test_the_cookie_is_for_https_alone_in_production():
    response = HttpResponse()
    with override_settings(SANDBOX=False):
        _keep_theme(RequestFactory().get("/"), response, "dark")
    assert response.cookies["pd_theme"]["secure"] is True
