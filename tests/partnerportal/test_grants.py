"""The tokens of a sign-in: opened, used, sealed again, and nobody else's."""

import json
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from partnerportal import grants, identity, vault
from partnerportal.models import Operator, TokenCache
from partnerportal.sandbox import seed
from partnerportal.upstream.errors import SignInAgain, Unreachable
from partnerportal.upstream.graph import Graph
from partnerportal.upstream.partner_center import PartnerCenter


@pytest.fixture
def grant(signed_in):
    signed_in("admin")
    return TokenCache.objects.select_related("operator").get()


def token_calls(sandbox):
    return len([line for line in sandbox.journal("entra", "POST") if line["path"].endswith("/token")])


def opened(grant):
    return json.loads(vault.open("tokens", str(grant.pk), bytes(TokenCache.objects.get(pk=grant.pk).sealed)))


def claims_of(secret):
    return jwt.decode(secret.reveal(), options={"verify_signature": False})


def test_nothing_stands_in_the_row_in_clear(grant):
    kept = opened(grant)
    secrets = [entry["secret"] for kind in ("AccessToken", "RefreshToken", "IdToken") for entry in kept[kind].values()]
    assert len(secrets) == 3
    assert not any(secret.encode() in bytes(grant.sealed) for secret in secrets)


def test_each_service_has_a_token_of_its_own(grant):
    graph, partner_center = claims_of(grants.graph_token(grant)), claims_of(grants.partner_center_token(grant))
    assert graph["aud"] == "https://graph.microsoft.com"
    assert partner_center["aud"] == "https://api.partnercenter.microsoft.com"
    assert {graph["oid"], partner_center["oid"]} == {seed.PERSONA_OIDS["admin"]}


def test_the_clients_speak_for_the_operator(grant, sandbox):
    assert isinstance(grants.graph(grant), Graph)
    client = grants.partner_center(grant)
    assert isinstance(client, PartnerCenter)
    next(iter(client.customers()))
    assert sandbox.journal("partnercenter")[-1]["subject"] == seed.PERSONA_OIDS["admin"]


def test_a_token_that_still_lives_costs_no_call_and_no_write(grant, sandbox, django_assert_num_queries):
    before = token_calls(sandbox)
    with django_assert_num_queries(0):
        for _ in range(3):
            grants.graph_token(grant)
    assert token_calls(sandbox) == before


def test_a_new_token_is_kept(grant, sandbox):
    grants.partner_center_token(grant)
    before = token_calls(sandbox)
    again = TokenCache.objects.get()
    assert again.fence == grant.fence == 1
    grants.partner_center_token(again)
    assert token_calls(sandbox) == before


def test_who_lost_the_race_overwrites_nothing(grant):
    other = TokenCache.objects.get()
    grants.partner_center_token(other)
    kept = opened(grant)
    assert claims_of(grants.partner_center_token(grant))["oid"] == seed.PERSONA_OIDS["admin"]
    assert opened(grant) == kept
    assert TokenCache.objects.get().fence == 1


def test_tokens_of_a_session_that_ended_meanwhile_are_not_kept(grant):
    TokenCache.objects.all().delete()
    grants.partner_center_token(grant)
    assert not TokenCache.objects.exists()


def test_a_client_can_be_used_in_threads_without_the_database(grant, django_assert_num_queries):
    client = grants.graph(grant)
    with django_assert_num_queries(0), ThreadPoolExecutor(4) as pool:
        assert len({tuple(found) for found in pool.map(lambda _: client.relationships(), range(4))}) == 1


def test_another_persons_tokens_are_refused(grant):
    """Sealed for this row, but somebody else's: a fault of ours must not become theirs."""
    grant.operator = Operator(tid=seed.PARTNER_TENANT_ID, oid=seed.PERSONA_OIDS["reader"], name="Ines")
    with pytest.raises(SignInAgain):
        grants.graph_token(grant)


def test_tokens_of_another_row_do_not_open(grant):
    moved = TokenCache.objects.create(operator=grant.operator, sealed=bytes(grant.sealed))
    with pytest.raises(SignInAgain) as caught:
        grants.graph_token(moved)
    assert caught.value.code == "sealed"


def test_a_revoked_sign_in_has_to_be_renewed(grant, sandbox):
    sandbox.state("revoke_refresh_token", persona="admin")
    with pytest.raises(SignInAgain) as caught:
        grants.partner_center_token(grant)
    assert caught.value.code == "AADSTS50173"


def test_an_entra_that_does_not_answer(grant, sandbox):
    sandbox.fault("entra", "drop_before", path="token", times=0)
    with pytest.raises(Unreachable):
        grants.partner_center_token(grant)


def test_who_somebody_is_now(grant, sandbox):
    sandbox.state("set_app_roles", persona="admin", roles=["Portal.Reader"])
    assert grants.ask_who(grant).roles == ("Portal.Reader",)
    assert TokenCache.objects.get().fence == 1


def test_an_answer_about_somebody_else_is_not_believed(grant, monkeypatch):
    def verify(_token, *, nonce):
        return identity.Claims(
            tid=seed.PARTNER_TENANT_ID,
            oid=seed.PERSONA_OIDS["writer"],
            name="",
            email="",
            roles=("Portal.Admin",),
            issued_at=grant.created_at,
        )

    monkeypatch.setattr(identity, "verify", verify)
    with pytest.raises(identity.NotGenuine, match="somebody else"):
        grants.ask_who(grant)


def test_an_answer_without_an_id_token_is_not_believed(grant, monkeypatch):
    monkeypatch.setattr(grants, "_id_token", lambda _client: "")
    with pytest.raises(identity.NotGenuine):
        grants.ask_who(grant)
