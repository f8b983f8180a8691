"""App roles are at most 15 minutes old."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection

from customers.models import GdapRead
from partnerportal import clock, grants, identity
from partnerportal.models import AuditEvent, Operator, TokenCache
from tests.pages import Page

MINUTE = 60
BUSY = "The database is busy It did not answer in time. Nothing was changed. Try again in a minute."
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


# --- Our own database does not answer ------------------------------------------------------------------------


@contextlib.contextmanager
def busy_for(statement):
    """As while another process holds the database: what begins so waits in vain."""

    def wait(execute, sql, params, many, context):
        if sql.startswith(statement):
            raise OperationalError("database is locked")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wait):
        yield


ROLES_KEPT = 'UPDATE "partnerportal_operator" SET "app_roles"'


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("statement", ['UPDATE "partnerportal_operator"', ROLES_KEPT])
def test_while_the_database_is_busy_pages_can_be_looked_at_and_nothing_can_be_changed(signed_in, move_clock, statement):
    browser = signed_in("admin")
    move_clock(16 * MINUTE)
    browser.has_looked()
    with busy_for(statement):
        assert browser.get("/gdap/").status_code == 200
        answer = browser.post("/theme/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "60")
    assert BUSY in Page(answer).words
    assert browser.post("/theme/").status_code == 303


@pytest.mark.django_db(transaction=True)
def test_a_role_that_was_taken_away_shows_nothing_although_that_cannot_be_stored(signed_in, sandbox, move_clock):
    browser = signed_in("writer")
    sandbox.state("set_app_roles", persona="writer", roles=[])
    move_clock(16 * MINUTE)
    with busy_for(ROLES_KEPT):
        assert browser.get("/gdap/").status_code == 403


@pytest.mark.django_db(transaction=True)
def test_whom_entra_wants_to_sign_in_again_sees_nothing_while_they_cannot_be_signed_out(signed_in, sandbox, move_clock):
    browser = signed_in("admin")
    sandbox.state("revoke_refresh_token", persona="admin")
    move_clock(16 * MINUTE)
    with busy_for('DELETE FROM "partnerportal_tokencache"'):
        answer = browser.get("/gdap/")
    assert answer.status_code == 503
    assert BUSY in Page(answer).words


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("address", ["/gdap/", "/customers/"])
def test_no_page_waits_for_a_read_that_the_busy_database_does_not_take(signed_in, snapshot, address):
    browser = signed_in("admin")
    cache.clear()
    with busy_for('INSERT INTO "customers_gdapread"'):
        assert browser.get(address).status_code == 200
    assert not GdapRead.objects.exists()
    cache.clear()
    browser.get(address)
    assert GdapRead.objects.filter(open=True).exists()


def test_public_pages_ask_nobody(signed_in, sandbox, move_clock):
    browser = signed_in("admin")
    before = asked(sandbox)
    move_clock(16 * MINUTE)
    browser.get("/session/")
    assert asked(sandbox) == before


@pytest.mark.django_db(transaction=True)
def test_a_session_that_is_over_and_cannot_be_ended_lets_nobody_in_and_says_why(signed_in, move_clock):
    browser = signed_in("admin")
    move_clock(31 * MINUTE)
    with busy_for('DELETE FROM "partnerportal_tokencache"'):
        answer = browser.get("/gdap/")
    assert (answer.status_code, BUSY in Page(answer).words) == (503, True)
    assert "Sign out" not in Page(answer).words
    assert browser.get("/gdap/").status_code in (302, 401)


@pytest.mark.django_db(transaction=True)
def test_a_sign_in_that_cannot_be_remembered_says_why(visitor):
    with busy_for('INSERT INTO "django_session"'):
        answer = visitor.get("/signin/")
    assert (answer.status_code, BUSY in Page(answer).words) == (503, True)
    assert visitor.get("/signin/").status_code == 302
