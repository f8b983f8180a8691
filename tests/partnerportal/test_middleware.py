"""What stands around every view: headers, hosts, origins, sign-in, and upstream's errors in words."""

import re
import uuid
from datetime import timedelta

import pytest
from django.http import Http404
from django.test import Client

from partnerportal import clock, log, problems, sessions
from partnerportal.models import AuditEvent
from partnerportal.upstream.errors import (
    Broken,
    Conflict,
    Forbidden,
    NotFound,
    Refused,
    SignInAgain,
    Throttled,
    Unintelligible,
    Unreachable,
)
from tests.conftest import Browser, without_token
from tests.partnerportal import urls_that_fail

PC = "Partner Center"

# --- Headers ------------------------------------------------------------------------------------------------

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


def check_headers(answer):
    for name, value in ALWAYS.items():
        assert answer[name] == value, name
    assert re.fullmatch(r"[0-9a-f]{32}", answer["X-Request-ID"])
    assert "camera=()" in answer["Permissions-Policy"]
    policy = dict(part.strip().split(" ", 1) for part in answer["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == policy["script-src"] == policy["style-src"] == "'self'"
    assert "unsafe" not in answer["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 302),
        ("/nowhere/", 404),
        ("/signin/?failed", 400),
        ("/signout/", 200),
        ("/session/", 401),
        ("/livez", 200),
        ("/csp-report/", 405),
        ("/static/portal.css", 200),
        ("/static/nowhere.css", 404),
    ],
)
@pytest.mark.django_db
def test_every_answer_has_the_headers(path, status):
    answer = Browser().get(path)
    answer.close()
    assert answer.status_code == status
    check_headers(answer)


@pytest.mark.django_db
def test_a_refused_host_has_them_too():
    answer = Client(SERVER_NAME="evil.example").get("/livez")
    assert answer.status_code == 400
    check_headers(answer)
    assert "evil.example" not in answer.content.decode()


@pytest.mark.parametrize("path", ["/audit/", "/audit/999999/"])
def test_pages_of_people_are_not_kept(signed_in, path):
    answer = signed_in("admin").get(path)
    check_headers(answer)
    assert answer["Cache-Control"] == "no-store"
    assert {"Cookie", "HX-Request"} <= {name.strip() for name in answer["Vary"].split(",")}


@pytest.mark.django_db
def test_files_may_be_kept():
    answer = Browser().get("/static/portal.css")
    answer.close()
    assert "no-store" not in answer["Cache-Control"]


@pytest.mark.django_db
def test_every_request_has_an_id_of_its_own():
    browser = Browser()
    seen = {browser.get("/livez", headers={"X-Request-ID": "mine"})["X-Request-ID"] for _ in range(3)}
    assert len(seen) == 3
    assert "mine" not in seen


@pytest.mark.django_db
def test_the_log_names_the_request_and_forgets_it(caplog):
    caplog.handler.addFilter(log.RequestId())
    answer = Browser().get("/nowhere/")
    line = next(record for record in caplog.records if "Not Found" in record.getMessage())
    assert line.request_id == answer["X-Request-ID"]
    answer.close()
    assert log.current_request_id() == ""


# --- Where from ---------------------------------------------------------------------------------------------


def test_localhost_is_led_to_the_address_that_the_sign_in_comes_back_to(db):
    answer = Client(SERVER_NAME="localhost", SERVER_PORT="8000").get("/audit/?who=x")
    assert (answer.status_code, answer["Location"]) == (302, "http://127.0.0.1:8000/audit/?who=x")


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_may_ask_localhost(db, path):
    assert Client(SERVER_NAME="localhost", SERVER_PORT="8000").get(path).status_code == 200


def test_forms_and_production_are_not_led_anywhere(db, settings):
    assert Client(SERVER_NAME="localhost").post("/theme/").status_code == 401
    settings.SANDBOX = False
    assert Client(SERVER_NAME="localhost").get("/session/").status_code == 401


@pytest.mark.parametrize(
    ("site", "status"), [(None, 303), ("same-origin", 303), ("none", 303), ("same-site", 403), ("cross-site", 403)]
)
def test_a_browser_that_says_another_site_asked_is_believed(signed_in, site, status):
    headers = {"Sec-Fetch-Site": site} if site else {}
    assert signed_in("admin").post("/theme/", headers=headers).status_code == status


def test_other_sites_may_link_to_us(signed_in):
    assert signed_in("admin").get("/audit/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def csrf_token(browser):
    browser.get("/audit/")
    return browser.cookies["pd_csrf"].value


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"X-CSRFToken": "x" * 32}, 403),
        ({"X-CSRFToken": "mine"}, 303),
        ({"X-CSRFToken": "mine", "Origin": "http://127.0.0.1:8000"}, 303),
        ({"X-CSRFToken": "mine", "Origin": "http://evil.example"}, 403),
        ({"X-CSRFToken": "mine", "Origin": "null"}, 403),
        ({"X-CSRFToken": "mine", "Origin": "http://127.0.0.1:8001"}, 403),
    ],
)
def test_a_form_needs_the_token_and_the_right_origin(signed_in, headers, status):
    browser = signed_in("admin")
    token = csrf_token(browser)
    browser.handler.enforce_csrf_checks = True
    told = {name: token if value == "mine" else value for name, value in headers.items()}
    answer = browser.post("/theme/", headers=told)
    assert answer.status_code == status
    if status == 403:
        assert "This form is out of date" in answer.content.decode()


def test_a_stale_form_of_htmx_gets_a_notice(signed_in):
    browser = signed_in("admin")
    browser.handler.enforce_csrf_checks = True
    answer = browser.htmx("post", "/theme/")
    assert (answer.status_code, answer["HX-Retarget"], answer["HX-Push-Url"]) == (403, "#notice", "false")
    assert "<html" not in answer.content.decode()


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_no_header_changes_the_method(signed_in, name):
    assert signed_in("admin").get("/theme/", headers={name: "POST"}).status_code == 405


def test_nobody_elses_page_may_read_us(visitor):
    answer = visitor.options("/audit/", headers={"Origin": "https://evil.example"})
    assert not any(name.startswith("Access-Control") for name in answer.headers)


# --- Nobody is signed in ------------------------------------------------------------------------------------


def test_a_plain_page_leads_to_sign_in_and_back(visitor):
    answer = visitor.get("/audit/?outcome=done")
    assert (answer.status_code, answer["Location"]) == (302, "/signin/?next=%2Faudit%2F%3Foutcome%3Ddone")


HERE = "http://127.0.0.1:8000/audit/?who=x"


def test_a_fragment_gets_the_dialog(visitor):
    answer = visitor.get("/audit/", headers={"HX-Request": "true", "HX-Current-URL": HERE})
    assert answer.status_code == 401
    assert (answer["HX-Retarget"], answer["HX-Reswap"], answer["HX-Push-Url"]) == ("#dialog", "innerHTML", "false")
    text = answer.content.decode()
    assert "Sign in again to go on" in text
    assert 'href="/signin/?next=%2Faudit%2F%3Fwho%3Dx"' in text
    assert "_blank" not in text
    assert "<html" not in text


def test_a_form_in_a_fragment_keeps_what_was_typed(visitor):
    answer = visitor.post("/theme/", headers={"HX-Request": "true", "HX-Current-URL": HERE})
    assert answer.status_code == 401
    text = answer.content.decode()
    assert 'target="_blank"' in text
    assert "Send again" in text


def test_a_plain_form_gets_a_page_not_a_redirect(visitor):
    answer = visitor.post("/theme/", headers={"Referer": HERE})
    assert answer.status_code == 401
    assert 'href="/signin/?next=%2Faudit%2F%3Fwho%3Dx"' in answer.content.decode()


@pytest.mark.parametrize("htmx", [True, False])
@pytest.mark.parametrize("path", ["/theme/", "/customers/refresh/", "/gdap/sync/"])
def test_who_signed_out_in_another_tab_gets_the_dialog_though_the_csrf_cookie_is_gone_too(visitor, htmx, path):
    visitor.handler.enforce_csrf_checks = True
    headers = {"HX-Request": "true", "HX-Current-URL": HERE} if htmx else {"Referer": HERE}
    answer = visitor.post(path, headers=headers)
    assert answer.status_code == 401
    assert "Sign in again to go on" in answer.content.decode()
    assert answer.get("HX-Retarget") == ("#dialog" if htmx else None)


@pytest.mark.parametrize(
    "page",
    [
        "https://evil.example/audit/",
        "http://127.0.0.1:8000.evil.example/",
        "http://127.0.0.1:8000//evil.example/x",
        "nonsense:",
        "",
    ],
)
def test_the_page_behind_is_ours_or_none(visitor, page):
    answer = visitor.post("/theme/", headers={"HX-Request": "true", "HX-Current-URL": page})
    assert 'href="/signin/?next=%2F"' in answer.content.decode()


# --- Upstream's errors --------------------------------------------------------------------------------------


@pytest.fixture
def fails(signed_in, settings, move_clock):
    """`fails(error)`: the answer when a page lets this error through, a minute after sign-in."""
    settings.ROOT_URLCONF = "tests.partnerportal.urls_that_fail"
    browser = signed_in("writer", anew=True)
    move_clock(61)

    def ask(error, method="get", **headers):
        urls_that_fail.failure["error"] = error
        browser.raise_request_exception = False
        return getattr(browser, method)("/failing/", headers=headers)

    ask.browser = browser
    return ask


def in_half_a_minute():
    return clock.now() + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (Forbidden(source=PC, status=403, code="900308"), 403, "does not allow"),
        (NotFound(source=PC, status=404), 404, "did not find"),
        (Conflict(source=PC, status=409), 409, "conflict"),
        (Refused(source=PC, status=400, code="2000"), 502, "refused this (400)"),
        (Refused(source=PC, status=401, code="900420", our_fault=True), 502, "how we are set up"),
        (SignInAgain(source="Entra", status=401, our_fault=True), 502, "how we are set up"),
        (Broken(source=PC, status=500), 502, "fault of its own"),
        (Unintelligible(source=PC), 502, "cannot read"),
        (Unreachable(source=PC, sent=False), 503, "cannot be reached"),
        (Unreachable(source=PC, took=20.0), 504, "did not answer in 20 seconds. Nothing was changed."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_error_has_its_status_and_words(fails, error, status, words):
    page = fails(error)
    assert page.status_code == status
    assert words in page.content.decode()
    assert "<html" in page.content.decode()
    notice = fails(error, **{"HX-Request": "true"})
    assert notice.status_code == status
    assert (notice["HX-Retarget"], notice["HX-Reswap"], notice["HX-Push-Url"]) == ("#notice", "innerHTML", "false")
    assert words in notice.content.decode()
    assert "<html" not in notice.content.decode()


def test_slowing_down_names_the_time(fails):
    error = Throttled(source=PC, status=429, retry_at=in_half_a_minute())
    answer = fails(error)
    assert answer.status_code == 429
    assert 28 <= int(answer["Retry-After"]) <= 31
    assert f"This goes on by itself at {error.retry_at:%H:%M:%S} UTC" in answer.content.decode()
    notice = fails(error, **{"HX-Request": "true"})
    assert "Refresh" not in notice
    assert f"Try again at {error.retry_at:%H:%M:%S} UTC" in notice.content.decode()


def test_the_ids_for_support_are_shown(fails):
    request_id = str(uuid.uuid4())
    text = fails(Broken(source=PC, status=500, code="3000", request_id=request_id)).content.decode()
    assert request_id in text
    assert "HTTP 500, code 3000" in text


def test_when_it_was_last_reached(fails):
    from customers.models import Source, SourceName

    Source.objects.create(name=SourceName.PARTNER_CENTER, last_good_at=clock.now())
    Source.objects.create(name=SourceName.AVEPOINT)
    assert "We last reached it at" in fails(Broken(source=PC, status=500)).content.decode()
    assert "We last reached it at" not in fails(Broken(source="AvePoint", status=500)).content.decode()
    assert "We last reached it at" not in fails(Broken(source="Elsewhere", status=500)).content.decode()


def test_a_write_that_may_have_happened_is_not_called_failed(fails):
    text = fails(Unreachable(source=PC, took=20.0), "post").content.decode()
    assert "We do not know if it was done" in text
    assert "Nothing was changed" not in text
    assert "Nothing was changed" in fails(Refused(source=PC, status=400), "post").content.decode()


def test_what_upstream_said_is_escaped(fails):
    text = fails(Refused(source=PC, status=400, description="<script>alert(1)</script>")).content.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text


def test_signing_in_again_goes_through_the_door_with_the_claims(fails):
    claims = '{"access_token": {"nbf": {"essential": true}}}'
    answer = fails(SignInAgain(source="Microsoft Graph", status=401, claims=claims))
    assert (answer.status_code, answer["Location"]) == (302, "/signin/?next=%2Ffailing%2F")
    assert fails.browser.session[sessions.CHALLENGE] == claims
    assert "nbf" in fails.browser.get("/signin/")["Location"]
    assert sessions.CHALLENGE not in fails.browser.session


def test_a_missing_second_factor_asks_for_a_fresh_sign_in(fails):
    fails(SignInAgain(source=PC, status=401, code="900421"))
    assert "prompt=login" in fails.browser.get("/signin/")["Location"]


def test_a_lapsed_token_asks_for_nothing_special(fails):
    fails(SignInAgain(source=PC, status=401, code="AADSTS700082"))
    assert "prompt" not in fails.browser.get("/signin/")["Location"]


def test_signing_in_again_is_a_dialog_for_htmx(fails):
    answer = fails(SignInAgain(source=PC, status=401), **{"HX-Request": "true"})
    assert (answer.status_code, answer["HX-Retarget"]) == (401, "#dialog")


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_who_has_just_signed_in_is_not_sent_round_in_circles(fails, move_clock, headers):
    move_clock(59)
    answer = fails(SignInAgain(source=PC, status=401, code="900421"), **headers)
    assert answer.status_code == 403
    assert "Partner Center does not accept your sign-in" in answer.content.decode()
    assert "You signed in a moment ago" in answer.content.decode()


# --- Other errors -------------------------------------------------------------------------------------------


def test_a_fault_of_ours_tells_its_number_and_nothing_else(fails):
    answer = fails(RuntimeError("the secret is xyzzy"))
    text = answer.content.decode()
    assert answer.status_code == 500
    assert answer["X-Request-ID"] in text
    assert "xyzzy" not in text
    notice = fails(RuntimeError("x"), **{"HX-Request": "true"})
    assert (notice.status_code, notice["HX-Retarget"]) == (500, "#notice")
    assert notice["X-Request-ID"] in notice.content.decode()
    check_headers(answer)


def test_when_even_the_page_for_it_fails_there_is_plain_text(fails, monkeypatch):
    def broken(*_args):
        raise LookupError("no template either")

    monkeypatch.setattr(problems, "answer", broken)
    answer = fails(RuntimeError("x"))
    assert (answer.status_code, answer["Content-Type"]) == (500, "text/plain")
    assert answer["X-Request-ID"] in answer.content.decode()
    check_headers(answer)


def test_not_there_and_not_yours_are_one_page(fails):
    one, two = fails(Http404("not yours")), fails(Http404("no such thing"))
    assert one.status_code == 404
    assert without_token(one) == without_token(two)


def test_an_unknown_address_keeps_the_rail_of_who_is_signed_in(signed_in):
    answer = signed_in("admin").get("/nowhere/")
    assert answer.status_code == 404
    assert "Maya Okafor" in answer.content.decode()
    assert not AuditEvent.objects.exclude(action="sign in").exists()
