"""The door: the way in through Entra's own pages, everything that can go wrong on it, and the way out."""

import json
import re
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.contrib.sessions.models import Session
from django.urls import reverse

from partnerportal import identity, sessions, signin
from partnerportal.models import AuditEvent, Operator, TokenCache
from partnerportal.sandbox import seed
from tests.conftest import STAFF, Browser


def failure_page(browser, answer):
    """Follow the callback's answer to the card; (status, text)."""
    assert (answer.status_code, answer["Location"]) == (303, "/signin/?failed")
    card = browser.get("/signin/?failed")
    assert card.templates[0].name == "signin/card.html"
    return card.status_code, card.content.decode()


# --- In -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("persona", STAFF)
def test_staff_come_in(visitor, sandbox, persona):
    answer = visitor.sign_in(persona)
    assert (answer.status_code, answer["Location"]) == (303, "/")
    operator, known = Operator.objects.get(), sandbox.persona(persona)
    assert (str(operator.oid), str(operator.tid)) == (known.oid, known.tid)
    assert (operator.name, operator.email, operator.app_roles) == (known.name, known.upn, known.app_roles)
    assert visitor.get("/session/").status_code == 204


def test_the_second_sign_in_finds_the_same_operator_and_brings_it_up_to_date(signed_in, sandbox):
    signed_in("writer")
    sandbox.persona("writer").name = "Tom Reyes-Lund"
    sandbox.state("set_app_roles", persona="writer", roles=["Portal.Reader", "Something.Else"])
    signed_in("writer")
    operator = Operator.objects.get()
    assert operator.name == "Tom Reyes-Lund"
    assert operator.app_roles == ["Portal.Reader"]


def test_the_session_key_changes_at_sign_in(visitor):
    callback = visitor.at_entra("admin")
    before = visitor.cookies["pd_session"].value
    visitor.get(callback)
    assert visitor.cookies["pd_session"].value != before
    assert not Session.objects.filter(session_key=before).exists()


def test_the_session_holds_a_few_facts_and_no_secret(signed_in):
    browser = signed_in("admin")
    own = {sessions.GRANT, sessions.SIGNED_IN_AT, sessions.SEEN_AT, sessions.PROVED_AT, sessions.MODE}
    assert {name for name in dict(browser.session) if not name.startswith("_")} - {signin.FLOWS} == own
    assert browser.session[signin.FLOWS] == {}
    assert browser.session[sessions.GRANT] == str(TokenCache.objects.get().pk)
    assert browser.session[sessions.MODE] == "sandbox"


def test_the_flow_waits_sealed(visitor):
    started = visitor.get("/signin/")
    told = {name: values[0] for name, values in parse_qs(urlsplit(started["Location"]).query).items()}
    kept = json.dumps(dict(visitor.session))
    assert told["code_challenge_method"] == "S256"
    for name in ("state", "nonce", "code_challenge"):
        assert told[name] not in kept
    assert "verifier" not in kept


def test_what_is_asked_of_entra(visitor):
    query = parse_qs(urlsplit(visitor.get("/signin/")["Location"]).query)
    assert query["redirect_uri"] == ["http://127.0.0.1:8000/signin/callback/"]
    assert query["response_type"] == ["code"]
    assert "CP1" in query["claims"][0]
    assert "prompt" not in query


def test_signing_in_again_replaces_the_old_tokens(signed_in):
    browser = signed_in("admin")
    first = TokenCache.objects.get().pk
    browser.sign_in("admin")
    assert TokenCache.objects.get().pk != first


def test_another_person_in_the_same_browser_takes_nothing_over(signed_in):
    browser = signed_in("admin")
    browser.session["left"] = "behind"
    browser.sign_in("reader")
    assert TokenCache.objects.get().operator.name == "Ines Halloran"
    assert "left" not in browser.session


def test_five_sessions_a_person(signed_in):
    browsers = [signed_in("admin") for _ in range(6)]
    other = signed_in("reader")
    assert TokenCache.objects.filter(operator__name="Maya Okafor").count() == 5
    assert [browser.get("/session/").status_code for browser in [*browsers, other]] == [401] + [204] * 6


def test_sign_in_is_written_down(signed_in):
    signed_in("writer")
    intent, outcome = AuditEvent.objects.order_by("id")
    assert (intent.action, intent.kind, outcome.outcome) == ("sign in", "intent", "done")
    assert (intent.actor_oid, intent.actor_name, intent.mode) == (seed.PERSONA_OIDS["writer"], "Tom Reyes", "sandbox")
    assert intent.request_id == outcome.request_id != ""


def test_post_does_not_start_a_sign_in(visitor):
    assert visitor.post("/signin/").status_code == 405
    assert visitor.post("/signin/callback/").status_code == 405


# --- next ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["/audit/", "/audit/?outcome=done", "/customers/", "/customers/?q=%C3%A9"])
def test_next_leads_to_a_page_of_ours(visitor, page):
    assert visitor.sign_in("admin", next_page=page)["Location"] == page


@pytest.mark.parametrize(
    "page",
    [
        "",
        "audit/",
        "//evil.example/",
        "///evil.example/",
        "/\\evil.example/",
        "\\\\evil.example/",
        "/\t/evil.example/",
        "/%0d%0aSet-Cookie:a=b",
        "/audit/\r\nX: y",
        "/audit/\x00",
        "https://evil.example/",
        "http://127.0.0.1:8000.evil.example/audit/",
        "http://127.0.0.1:8000/audit/",
        "http:///evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "/nowhere/",
        "/audit",
        "/../audit/",
        "/signin/",
        "/signin/callback/?code=x",
        "/signout/",
        "/csp-report/",
        "/livez",
        "/theme/",
        "/audit/?" + "q" * 600,
        "/audit/\u202e",
    ],
)
def test_next_leads_nowhere_else(visitor, page):
    assert visitor.sign_in("admin", next_page=page)["Location"] == "/"


def test_next_does_not_travel(visitor):
    """It stays with us: nothing of it in the address that Entra sees."""
    assert "audit" not in visitor.get("/signin/", {"next": "/audit/"})["Location"]


# --- Not in -------------------------------------------------------------------------------------------------


def test_without_an_app_role_the_page_names_the_three(visitor):
    status, text = failure_page(visitor, visitor.sign_in("norole"))
    assert status == 403
    assert all(role in text for role in ("Portal.Reader", "Portal.Operator", "Portal.Admin"))
    assert "An Admin agent can grant one" in text
    assert visitor.get("/session/").status_code == 401
    assert not Operator.objects.exists()
    assert not TokenCache.objects.exists()


def test_the_same_name_and_mail_in_another_tenant_is_another_person(visitor, signed_in):
    signed_in("admin")
    status, text = failure_page(visitor, visitor.sign_in("foreign"))
    assert status == 403
    assert seed.PARTNER_TENANT_ID in text
    assert seed.FOREIGN_TENANT_ID not in text
    assert "okafor" not in text.lower()
    assert Operator.objects.count() == 1


@pytest.mark.parametrize(("persona", "tid"), [("norole", "PARTNER_TENANT_ID"), ("foreign", "FOREIGN_TENANT_ID")])
def test_a_refused_sign_in_of_somebody_known_is_written_down(visitor, persona, tid):
    visitor.sign_in(persona)
    outcome = AuditEvent.objects.get(kind="outcome")
    assert (outcome.action, outcome.outcome, outcome.status) == ("sign in", "denied", 403)
    assert (outcome.actor_tid, outcome.actor_oid) == (getattr(seed, tid), seed.PERSONA_OIDS[persona])


def test_cancelling_at_microsoft_is_refused_consent(visitor):
    status, text = failure_page(visitor, visitor.sign_in("cancel"))
    assert (status, "AADSTS65004" in text) == (403, True)
    assert f"adminconsent?client_id={seed.CLIENT_ID}" in text
    assert "User declined" not in text
    assert not AuditEvent.objects.exists()


def test_missing_consent(visitor, sandbox):
    sandbox.assume("missing_consent", "graph")
    status, text = failure_page(visitor, visitor.sign_in("admin"))
    assert (status, "AADSTS65001" in text) == (403, True)
    assert "Trace ID" not in text


def test_conditional_access_names_code_and_time(visitor, sandbox):
    callback = visitor.at_entra("admin")
    sandbox.state("require_mfa", on=True, at="token")
    status, text = failure_page(visitor, visitor.get(callback))
    assert status == 403
    assert re.search(r"AADSTS50076 at \d\d:\d\d:\d\d UTC", text)
    assert "configuration change" not in text


def test_the_callback_works_once(visitor):
    callback = visitor.at_entra("admin")
    visitor.get(callback)
    status, text = failure_page(visitor, visitor.get(callback))
    assert (status, "Start again" in text) == (400, True)
    assert visitor.get("/session/").status_code == 204, "who was in stays in"


def test_a_flow_lives_ten_minutes(visitor, move_clock):
    callback = visitor.at_entra("admin")
    move_clock(601)
    assert failure_page(visitor, visitor.get(callback))[0] == 400


def test_a_clock_that_went_back_does_not_lengthen_a_flow(visitor, move_clock):
    callback = visitor.at_entra("admin")
    move_clock(-601)
    assert failure_page(visitor, visitor.get(callback))[0] == 400


def test_the_callback_belongs_to_the_browser_that_started(visitor):
    callback = visitor.at_entra("admin")
    thief = Browser()
    assert failure_page(thief, thief.get(callback))[0] == 400
    assert not TokenCache.objects.exists()


@pytest.mark.parametrize("query", ["", "?code=x", "?state=x", "?state=&code=x", "?error=access_denied&state=y"])
def test_a_callback_nobody_asked_for(visitor, query):
    status, text = failure_page(visitor, visitor.get(f"/signin/callback/{query}"))
    assert (status, "Start again" in text) == (400, True)


@pytest.mark.parametrize("cookie", ["", "a" * 32])
def test_whoever_started_no_sign_in_leaves_no_session_however_often_they_come(visitor, settings, cookie):
    """TRUST T27."""
    for number in range(3):
        if cookie:
            visitor.cookies[settings.SESSION_COOKIE_NAME] = cookie
        answer = visitor.get(f"/signin/callback/?state=x{number}&code=1")
        assert (answer.status_code, answer["Location"]) == (303, "/signin/?failed")
    assert not Session.objects.exists()
    assert "Start again" in failure_page(visitor, answer)[1]


def test_a_callback_with_neither_code_nor_error(visitor):
    state = parse_qs(urlsplit(visitor.at_entra("admin")).query)["state"][0]
    assert failure_page(visitor, visitor.get("/signin/callback/", {"state": state}))[0] == 400


def test_several_tabs_may_sign_in_at_once(visitor):
    first, second = visitor.at_entra("admin", next_page="/audit/"), visitor.at_entra("admin")
    assert visitor.get(first)["Location"] == "/audit/"
    assert visitor.get(second)["Location"] == "/"


def test_only_the_last_five_starts_are_kept(visitor):
    callbacks = [visitor.at_entra("admin") for _ in range(6)]
    assert len(visitor.session[signin.FLOWS]) == 5
    assert visitor.get(callbacks[0])["Location"] == "/signin/?failed"
    assert visitor.get(callbacks[1])["Location"] == "/"


def test_starts_that_are_too_old_are_dropped(visitor, move_clock):
    visitor.get("/signin/")
    move_clock(700)
    visitor.get("/signin/")
    assert len(visitor.session[signin.FLOWS]) == 1


def test_a_flow_that_does_not_open_is_no_flow(visitor, settings):
    callback = visitor.at_entra("admin")
    from cryptography.fernet import Fernet

    settings.VAULT_KEYS = [Fernet.generate_key().decode()]
    assert failure_page(visitor, visitor.get(callback))[0] == 400


def test_a_code_of_another_sign_in_is_refused(visitor):
    """Code injection: PKCE and nonce tie the code to the flow."""
    stolen = parse_qs(urlsplit(Browser().at_entra("admin")).query)["code"][0]
    state = parse_qs(urlsplit(visitor.at_entra("reader")).query)["state"][0]
    assert failure_page(visitor, visitor.get("/signin/callback/", {"code": stolen, "state": state}))[0] == 400
    assert not TokenCache.objects.exists()


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"kind": "status", "status": 503}, 503),
        ({"kind": "status", "status": 429}, 503),
        ({"kind": "drop_before"}, 503),
        ({"kind": "html"}, 503),
        ({"kind": "bad_json"}, 503),
        ({"kind": "truncate"}, 503),
    ],
)
@pytest.mark.parametrize("where", ["token", "keys"])
def test_entra_that_breaks_on_the_way_back(visitor, sandbox, fault, status, where):
    callback = visitor.at_entra("admin")
    sandbox.fault("entra", path=where, times=0, **fault)
    told, text = failure_page(visitor, visitor.get(callback))
    assert (told, "Microsoft did not answer" in text) == (status, True)
    sandbox.no_faults()
    assert visitor.sign_in("admin")["Location"] == "/"


def test_entra_that_does_not_answer_at_the_start(visitor, sandbox):
    sandbox.fault("entra", "drop_before", path="openid-configuration", times=0)
    card = visitor.get("/signin/")
    assert card.status_code == 503
    assert "Microsoft did not answer" in card.content.decode()


def test_a_certificate_that_cannot_be_read_is_told_as_that(visitor, settings):
    callback = visitor.at_entra("admin")
    settings.ENTRA_CLIENT_CERTIFICATE = "/nowhere/app.pem"
    for card in (visitor.get("/signin/"), visitor.get(visitor.get(callback)["Location"])):
        assert card.status_code == 502
        assert "Partner Desk cannot read its certificate" in card.content.decode()
        assert "/nowhere" not in card.content.decode()


def test_a_tenant_that_entra_does_not_know_is_a_fault_of_the_set_up(visitor, sandbox):
    sandbox.fault("entra", "status", path="openid-configuration", status=400, body={"error": "invalid_tenant"})
    card = visitor.get("/signin/")
    assert (card.status_code, "does not accept how Partner Desk is set up" in card.content.decode()) == (502, True)


def test_a_wrong_client_secret_is_our_fault(visitor, settings):
    callback = visitor.at_entra("admin")
    settings.ENTRA_CLIENT_SECRET = "stale"
    status, text = failure_page(visitor, visitor.get(callback))
    assert (status, "AADSTS7000215" in text) == (502, True)


def test_an_id_token_that_fails_its_check(visitor, monkeypatch):
    callback = visitor.at_entra("admin")

    def refuse(*_args, **_kwargs):
        raise identity.NotGenuine("nonce")

    monkeypatch.setattr(identity, "verify", refuse)
    assert failure_page(visitor, visitor.get(callback))[0] == 403
    assert not TokenCache.objects.exists()


def test_no_failure_page_repeats_what_stands_in_the_address(visitor):
    visitor.get("/signin/callback/", {"state": "x", "error": "<b>evil</b>", "error_description": "AADSTS9: evil"})
    assert "evil" not in visitor.get("/signin/?failed").content.decode()


def test_the_way_to_try_again_lets_people_choose_another_account(visitor):
    visitor.sign_in("foreign")
    assert visitor.get("/signin/?failed").status_code == 403
    assert "prompt=select_account" in visitor.get("/signin/")["Location"]
    assert "prompt" not in visitor.get("/signin/")["Location"]


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({"error": "invalid_grant", "error_codes": [53003]}, "conditions"),
        ({"error": "access_denied", "error_description": "AADSTS530002: device"}, "conditions"),
        ({"error": "interaction_required"}, "conditions"),
        ({"error": "invalid_grant", "suberror": "consent_required"}, "consent"),
        ({"error": "access_denied"}, "consent"),
        ({"error": "access_denied", "error_description": "AADSTS50105: not assigned"}, "norole"),
        ({"error": "invalid_request", "error_description": "AADSTS50020: guest"}, "tenant"),
        ({"error": "unauthorized_client", "error_codes": ["x"]}, "setup"),
        ({"error": "temporarily_unavailable"}, "unreachable"),
        ({"error": "server_error", "error_description": 7}, "unreachable"),
        ({"error": "invalid_grant", "error_codes": [54005]}, "expired"),
        ({"error": "something_new", "error_description": "AADSTS123456789012: x"}, "other"),
    ],
)
def test_what_entra_says_is_told_in_our_words(result, why):
    assert signin._why(result) == why


def test_every_failure_can_be_told(rf, visitor):
    for why in signin.FAILURES:
        session = visitor.session
        session[signin.FAILURE] = {"why": why, "code": "AADSTS1234", "at": "12:00:00 UTC"}
        session.save()
        visitor.cookies["pd_session"] = session.session_key
        card = visitor.get("/signin/?failed")
        assert card.status_code == signin.FAILURES[why].status
        assert "{" not in card.context["body"] + card.context["copy_text"]
        assert "AADSTS1234" in card.content.decode()


def test_the_code_leaves_the_address_and_the_log(visitor, caplog):
    callback = visitor.at_entra("admin")
    code = parse_qs(urlsplit(callback).query)["code"][0]
    answer = visitor.get(callback)
    assert (answer.status_code, answer.content, answer["Referrer-Policy"]) == (303, b"", "same-origin")
    assert code not in caplog.text


# --- The backend --------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_nothing_but_verified_claims_opens_the_backend(client):
    assert not client.login(username="admin", password="admin")
    assert not client.login(claims={"tid": seed.PARTNER_TENANT_ID, "oid": seed.PERSONA_OIDS["admin"]})
    assert signin.EntraBackend().get_user(12345) is None


def test_verified_claims_do(sandbox, db):
    when = datetime(2026, 1, 1, tzinfo=UTC)
    claims = identity.Claims(
        tid=seed.PARTNER_TENANT_ID, oid=seed.PERSONA_OIDS["admin"], name="Maya", email="", roles=(), issued_at=when
    )
    operator = signin.EntraBackend().authenticate(None, claims=claims)
    assert operator.initials == "M"
    assert signin.EntraBackend().get_user(operator.pk) == operator


# --- Out ----------------------------------------------------------------------------------------------------


def test_signing_out_destroys_tokens_and_session(signed_in):
    browser = signed_in("admin")
    key = browser.cookies["pd_session"].value
    answer = browser.post("/signout/")
    assert answer.status_code == 200
    assert not TokenCache.objects.exists()
    assert not Session.objects.filter(session_key=key).exists()
    assert answer["Clear-Site-Data"] == '"cache", "storage"'
    assert all(answer.cookies[name].value == "" for name in ("pd_session", "pd_csrf"))
    assert browser.get("/session/").status_code == 401
    assert "Maya" not in answer.content.decode()
    assert AuditEvent.objects.filter(action="sign out", outcome="done").count() == 1


def test_microsofts_own_sign_out_is_a_link_that_leads_back(signed_in, sandbox):
    answer = signed_in("admin").post("/signout/")
    link = answer.context["entra_signout_url"]
    assert f'href="{sandbox.url}/_/entra/{seed.PARTNER_TENANT_ID}/oauth2/v2.0/logout?' in answer.content.decode()
    back = requests.get(link, allow_redirects=False, timeout=5)
    assert back.headers["Location"] == f"http://127.0.0.1:8000{reverse('signout')}"
    assert "You are signed out" in Browser().get("/signout/").content.decode()


def test_signing_out_works_while_entra_does_not(signed_in, sandbox):
    browser = signed_in("admin")
    identity.forget_published()
    sandbox.fault("entra", "status", status=503, path=".*", times=0)
    answer = browser.post("/signout/")
    assert answer.context["entra_signout_url"].startswith("https://login.microsoftonline.com/")
    assert not TokenCache.objects.exists()


def test_looking_at_the_sign_out_page_signs_nobody_out(signed_in):
    browser = signed_in("admin")
    assert browser.get("/signout/")["Location"] == "/"
    assert browser.get("/session/").status_code == 204


def test_a_stranger_may_sign_out(visitor):
    assert visitor.post("/signout/").status_code == 200
    assert not AuditEvent.objects.exists()


def test_signing_out_needs_the_csrf_token(signed_in):
    browser = signed_in("admin")
    browser.handler.enforce_csrf_checks = True
    assert browser.post("/signout/").status_code == 403
    assert TokenCache.objects.exists()
