"""App roles are at most 15 minutes old."""

from datetime import UTC, datetime, timedelta

import pytest

from partnerportal import clock, grants, identity
from partnerportal.models import AuditEvent, Operator, TokenCache

MINUTE = 60
FOREIGN = identity.WrongTenant(
    identity.Claims(tid="t", oid="o", name="", email="", roles=(), issued_at=datetime(2026, 1, 1, tzinfo=UTC))
)


def roles():
    return Operator.objects.get().app_roles


def asked(sandbox):
    return len([line for line in sandbox.journal("entra", "POST") if line["path"].endswith("/token")])


def test_within_fifteen_minutes_nobody_is_asked(signed_in, sandbox, move_clock):
    browser = signed_in("admin")
    before = asked(sandbox)
    move_clock(14 * MINUTE)
    assert browser.get("/audit/").status_code == 200
    assert asked(sandbox) == before


def test_after_fifteen_minutes_a_new_role_counts(signed_in, sandbox, move_clock):
    browser = signed_in("admin")
    sandbox.state("set_app_roles", persona="admin", roles=["Portal.Reader"])
    assert "GDAP sync" in browser.get("/audit/").content.decode()
    move_clock(16 * MINUTE)
    assert "GDAP sync" not in browser.get("/audit/").content.decode()
    assert roles() == ["Portal.Reader"]
    before = asked(sandbox)
    browser.get("/audit/")
    assert asked(sandbox) == before, "and it is not asked again"


def test_after_a_clock_was_put_right_a_new_role_counts(signed_in, sandbox):
    browser = signed_in("admin")
    sandbox.state("set_app_roles", persona="admin", roles=["Portal.Reader"])
    ahead = clock.now() + timedelta(days=1)
    Operator.objects.update(roles_read_at=ahead, roles_asked_at=ahead)
    assert "GDAP sync" not in browser.get("/audit/").content.decode()
    assert roles() == ["Portal.Reader"]


def test_a_role_that_was_taken_away_ends_every_session(signed_in, sandbox, move_clock):
    here, elsewhere = signed_in("writer"), signed_in("writer")
    sandbox.state("set_app_roles", persona="writer", roles=[])
    move_clock(16 * MINUTE)
    answer = here.get("/audit/")
    assert answer.status_code == 403
    assert "You have no role in Partner Desk any more" in answer.content.decode()
    assert "Tom Reyes" not in answer.content.decode()
    assert not TokenCache.objects.exists()
    assert elsewhere.get("/session/").status_code == 401
    assert roles() == []
    assert AuditEvent.objects.filter(action="app role lost", outcome="denied").count() == 1


def test_a_revoked_sign_in_ends(signed_in, sandbox, move_clock):
    browser = signed_in("admin")
    sandbox.state("revoke_refresh_token", persona="admin")
    move_clock(16 * MINUTE)
    answer = browser.get("/audit/")
    assert (answer.status_code, answer["Location"]) == (302, "/signin/?next=%2Faudit%2F")
    assert not TokenCache.objects.exists()


def test_a_new_condition_is_passed_on_to_the_next_sign_in(signed_in, sandbox, move_clock):
    browser = signed_in("admin")
    sandbox.state("require_mfa", on=True, at="token")
    move_clock(16 * MINUTE)
    assert browser.htmx("get", "/audit/").status_code == 401
    assert "capolids" in browser.get("/signin/")["Location"]
    assert "capolids" not in browser.get("/signin/")["Location"]


@pytest.fixture
def silent_entra(signed_in, sandbox, move_clock):
    browser = signed_in("admin")
    sandbox.fault("entra", "status", status=503, path="token", times=0)
    move_clock(16 * MINUTE)
    return browser


def test_while_entra_is_silent_pages_can_be_looked_at(silent_entra, sandbox):
    assert silent_entra.get("/audit/").status_code == 200


def test_while_entra_is_silent_it_is_asked_once_a_minute(silent_entra, sandbox, move_clock):
    silent_entra.get("/audit/")
    before = asked(sandbox)
    assert [silent_entra.get("/audit/").status_code for _ in range(3)] == [200] * 3
    assert asked(sandbox) == before
    move_clock(18 * MINUTE)
    silent_entra.get("/audit/")
    assert asked(sandbox) > before


@pytest.mark.parametrize("htmx", [False, True])
def test_while_entra_is_silent_nothing_can_be_changed(silent_entra, htmx):
    silent_entra.get("/audit/")
    answer = silent_entra.htmx("post", "/theme/") if htmx else silent_entra.post("/theme/")
    assert answer.status_code == 503
    assert "We could not check your roles" in answer.content.decode()
    assert TokenCache.objects.exists()


def test_once_entra_answers_again_changes_work(silent_entra, sandbox):
    assert silent_entra.post("/theme/").status_code == 503
    sandbox.no_faults()
    assert silent_entra.post("/theme/").status_code == 303


def test_signing_out_works_all_the_same(silent_entra):
    assert silent_entra.post("/signout/").status_code == 200
    assert not TokenCache.objects.exists()


@pytest.mark.parametrize("problem", [identity.NotGenuine("issuer"), FOREIGN])
def test_an_id_token_that_fails_ends_the_session(signed_in, move_clock, monkeypatch, problem):
    browser = signed_in("admin")

    def ask(_grant):
        raise problem

    monkeypatch.setattr(grants, "ask_who", ask)
    move_clock(16 * MINUTE)
    assert browser.get("/audit/").status_code == 302
    assert not TokenCache.objects.exists()


def test_an_old_id_token_is_no_answer(signed_in, move_clock, monkeypatch):
    browser = signed_in("admin")
    old = grants.ask_who(TokenCache.objects.get())
    monkeypatch.setattr(grants, "ask_who", lambda _grant: old)
    move_clock(16 * MINUTE)
    assert browser.get("/audit/").status_code == 200
    assert browser.post("/theme/").status_code == 503


def test_public_pages_ask_nobody(signed_in, sandbox, move_clock):
    browser = signed_in("admin")
    before = asked(sandbox)
    move_clock(16 * MINUTE)
    browser.get("/session/")
    assert asked(sandbox) == before
