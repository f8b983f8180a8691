"""Tokens: MSAL over our transport. What it keeps, for whom, and what it says when Entra refuses."""

import base64
import json
import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests
import responses
from django.conf import settings as django_settings

from partnerportal.upstream import tokens
from partnerportal.upstream.errors import (
    Broken,
    Forbidden,
    NotFound,
    Refused,
    SignInAgain,
    Throttled,
    Unintelligible,
    Unreachable,
    UpstreamError,
)
from partnerportal.upstream.http import Secret
from partnerportal.upstream.tokens import GRAPH_SCOPES, PARTNER_CENTER_SCOPES, MsalHttp, TokenClient

from .conftest import sent_text

OID = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"
AUTHORITY = f"https://login.microsoftonline.com/{django_settings.ENTRA_TENANT_ID}"
DISCOVERY = f"{AUTHORITY}/v2.0/.well-known/openid-configuration"
TOKEN = f"{AUTHORITY}/oauth2/v2.0/token"
REDIRECT = "http://127.0.0.1:8000/signin/callback/"


def b64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def id_token(oid: str = OID, **more: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": f"{AUTHORITY}/v2.0",
        "aud": django_settings.ENTRA_CLIENT_ID,
        "tid": django_settings.ENTRA_TENANT_ID,
        "oid": oid,
        "sub": "x",
        "preferred_username": "maya@partner.example",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        **more,
    }
    return f"{b64({'alg': 'RS256'})}.{b64(claims)}.c2ln"


def granted(access_token: str, oid: str = OID, **claims: Any) -> dict[str, Any]:
    return {
        "access_token": access_token,
        "refresh_token": f"refresh-of-{access_token}",
        "id_token": id_token(oid, **claims),
        "client_info": b64({"uid": oid, "utid": django_settings.ENTRA_TENANT_ID}),
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": " ".join(GRAPH_SCOPES),
    }


@pytest.fixture
def entra(wire: responses.RequestsMock) -> responses.RequestsMock:
    """Entra, as far as its description goes."""
    wire.get(
        DISCOVERY,
        json={
            "issuer": f"{AUTHORITY}/v2.0",
            "authorization_endpoint": f"{AUTHORITY}/oauth2/v2.0/authorize",
            "token_endpoint": TOKEN,
            "jwks_uri": f"{AUTHORITY}/discovery/v2.0/keys",
        },
    )
    return wire


def form(call: responses.Call) -> dict[str, str]:
    return dict(parse_qsl(sent_text(call)))


def signed_in(entra: responses.RequestsMock, access_token: str = "at-graph", oid: str = OID) -> str:
    """The state of somebody who has signed in."""
    client = TokenClient()
    flow = client.start_flow(REDIRECT, GRAPH_SCOPES)
    nonce = parse_qs(urlsplit(flow["auth_uri"]).query)["nonce"][0]
    entra.post(TOKEN, json=granted(access_token, oid, nonce=nonce))
    client.finish_flow(flow, {"code": "the-code", "state": flow["state"]})
    entra.remove("POST", TOKEN)
    return client.state


# --- Signing in ---------------------------------------------------------------------------------------------


def test_a_flow_has_state_nonce_and_pkce(entra: responses.RequestsMock) -> None:
    claims = '{"access_token":{"nbf":{"essential":true,"value":"1"}}}'
    flow = TokenClient().start_flow(REDIRECT, GRAPH_SCOPES, prompt="login", claims=claims, login_hint="maya@p.example")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(flow["auth_uri"]).query).items()}
    assert flow["auth_uri"].startswith(f"{AUTHORITY}/oauth2/v2.0/authorize?")
    assert asked["code_challenge_method"] == "S256"
    assert asked["response_mode"] == "query"
    assert (asked["prompt"], asked["login_hint"], asked["redirect_uri"]) == ("login", "maya@p.example", REDIRECT)
    assert set(asked["scope"].split()) == {*GRAPH_SCOPES, "openid", "profile", "offline_access"}
    assert json.loads(asked["claims"])["access_token"]["xms_cc"] == {"values": ["CP1"]}
    assert asked["nonce"]
    assert flow["code_verifier"]
    json.dumps(flow)


def test_a_finished_flow_tells_who_and_keeps_the_tokens_to_itself(
    entra: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    client = TokenClient()
    flow = client.start_flow(REDIRECT, GRAPH_SCOPES)
    assert not client.changed
    nonce = parse_qs(urlsplit(flow["auth_uri"]).query)["nonce"][0]
    entra.post(TOKEN, json=granted("at-graph", nonce=nonce))
    with caplog.at_level(logging.DEBUG, logger="partnerportal"):
        result = client.finish_flow(flow, {"code": "the-code", "state": flow["state"]})
    assert result["id_token_claims"]["oid"] == OID
    assert result["id_token"].count(".") == 2
    assert not {"access_token", "refresh_token"} & set(result)
    sent = form(entra.calls[-1])
    assert (sent["code"], sent["grant_type"]) == ("the-code", "authorization_code")
    assert sent["code_verifier"] == flow["code_verifier"]
    assert client.changed
    assert "at-graph" in client.state
    assert not client.changed
    assert not any(word in caplog.text for word in ("the-code", "at-graph", sent["client_secret"]))


def test_what_belongs_to_another_flow_is_refused_without_its_words(entra: responses.RequestsMock) -> None:
    client = TokenClient()
    flow = client.start_flow(REDIRECT, GRAPH_SCOPES)
    for params in ({"code": "c", "state": "other-state"}, {"state": flow["state"]}, {}):
        with pytest.raises(SignInAgain) as caught:
            client.finish_flow(flow, params)
        assert caught.value.code == "flow"
        assert flow["state"] not in f"{caught.value!r} {vars(caught.value)}"
        assert caught.value.__context__ is None


def test_an_id_token_of_another_sign_in_is_refused(entra: responses.RequestsMock) -> None:
    client = TokenClient()
    flow = client.start_flow(REDIRECT, GRAPH_SCOPES)
    entra.post(TOKEN, json=granted("at", nonce="another"))
    with pytest.raises(SignInAgain) as caught:
        client.finish_flow(flow, {"code": "c", "state": flow["state"]})
    assert "maya" not in str(vars(caught.value))


@pytest.mark.parametrize("token", ["", "abc", "a.b", "a.!.c"])
def test_an_id_token_that_is_none_is_unintelligible(entra: responses.RequestsMock, token: str) -> None:
    client = TokenClient()
    flow = client.start_flow(REDIRECT, GRAPH_SCOPES)
    entra.post(TOKEN, json=granted("at") | {"id_token": token})
    with pytest.raises(UpstreamError):
        client.finish_flow(flow, {"code": "c", "state": flow["state"]})


def test_a_refused_consent_is_a_result(entra: responses.RequestsMock) -> None:
    client = TokenClient()
    flow = client.start_flow(REDIRECT, GRAPH_SCOPES)
    said = {"error": "access_denied", "error_description": "AADSTS65004", "state": flow["state"]}
    result = client.finish_flow(flow, said)
    assert result["error"] == "access_denied"


def test_a_certificate_signs_instead_of_the_secret(
    entra: responses.RequestsMock, settings: Any, tmp_path: Path
) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "app.pem"
    path.write_bytes(private + certificate)
    settings.ENTRA_CLIENT_CERTIFICATE = str(path)
    entra.post(TOKEN, json={"access_token": "app", "expires_in": 3600, "token_type": "Bearer"})
    assert tokens.app_only_partner_center() == Secret("app")
    sent = form(entra.calls[-1])
    assert "client_secret" not in sent
    assert sent["client_assertion"].count(".") == 2


@pytest.mark.parametrize("file", ["nowhere.pem", "", "empty.pem"])
def test_a_certificate_that_cannot_be_read_is_our_fault_and_nothing_is_asked(
    entra: responses.RequestsMock, settings: Any, tmp_path: Path, file: str
) -> None:
    (tmp_path / "empty.pem").touch()
    settings.ENTRA_CLIENT_CERTIFICATE = str(tmp_path / file)
    with pytest.raises(Refused, match="certificate cannot be read") as told:
        tokens.app_only_partner_center()
    assert (told.value.our_fault, told.value.sent, told.value.code) == (True, False, "certificate")
    assert str(tmp_path) not in repr(told.value)
    assert not entra.calls


# --- Tokens -------------------------------------------------------------------------------------------------


def test_one_sign_in_gives_a_token_for_each_service(entra: responses.RequestsMock) -> None:
    client = TokenClient(signed_in(entra), oid=OID.upper())
    assert client.silent(GRAPH_SCOPES) == Secret("at-graph")
    answer = granted("at-pc") | {"scope": PARTNER_CENTER_SCOPES[0]}
    entra.post(TOKEN, json=answer)
    assert client.silent(PARTNER_CENTER_SCOPES) == Secret("at-pc")
    sent = form(entra.calls[-1])
    assert (sent["grant_type"], sent["refresh_token"]) == ("refresh_token", "refresh-of-at-graph")
    assert PARTNER_CENTER_SCOPES[0] in sent["scope"]
    assert client.changed
    again = TokenClient(client.state, oid=OID)
    assert again.silent(PARTNER_CENTER_SCOPES) == Secret("at-pc")
    assert again.silent(GRAPH_SCOPES) == Secret("at-graph")
    assert not again.changed


def test_a_forced_refresh_asks_entra(entra: responses.RequestsMock) -> None:
    client = TokenClient(signed_in(entra), oid=OID)
    entra.post(TOKEN, json=granted("at-new"))
    assert client.silent(GRAPH_SCOPES, force_refresh=True) == Secret("at-new")
    entra.replace("POST", TOKEN, json=granted("at-claims"))
    assert client.silent(GRAPH_SCOPES, claims='{"access_token":{}}') == Secret("at-claims")
    assert "claims" in form(entra.calls[-1])


def test_without_tokens_of_this_operator_one_signs_in_again(entra: responses.RequestsMock) -> None:
    state = signed_in(entra)
    for client in (TokenClient(), TokenClient(state, oid=OTHER), TokenClient("{not json", oid=OID)):
        with pytest.raises(SignInAgain) as caught:
            client.silent(GRAPH_SCOPES)
        assert caught.value.code == "no_account"
        assert not caught.value.sent


def test_two_accounts_in_one_cache_are_nobodys(entra: responses.RequestsMock) -> None:
    mine, other = json.loads(signed_in(entra)), json.loads(signed_in(entra, "at-other", OTHER))
    both = {kind: {**mine.get(kind, {}), **other.get(kind, {})} for kind in mine}
    with pytest.raises(SignInAgain):
        TokenClient(json.dumps(both)).silent(GRAPH_SCOPES)
    assert TokenClient(json.dumps(both), oid=OTHER).silent(GRAPH_SCOPES) == Secret("at-other")


def test_a_token_for_somebody_else_is_refused(entra: responses.RequestsMock) -> None:
    client = TokenClient(signed_in(entra), oid=OID)
    entra.post(TOKEN, json=granted("at-of-other", OTHER))
    with pytest.raises(SignInAgain) as caught:
        client.silent(GRAPH_SCOPES, force_refresh=True)
    assert caught.value.code == "wrong_account"


def test_a_lost_refresh_token_means_sign_in_again(entra: responses.RequestsMock) -> None:
    state = json.loads(signed_in(entra))
    del state["RefreshToken"]
    with pytest.raises(SignInAgain) as caught:
        TokenClient(json.dumps(state), oid=OID).silent(PARTNER_CENTER_SCOPES)
    assert caught.value.code == "no_token"


TRACE = "0d0f3f1f-9a0c-4c5b-8f5e-7d2a4a0b1c00"


@pytest.mark.parametrize(
    ("said", "kind", "code", "our_fault"),
    [
        (
            {
                "error": "interaction_required",
                "suberror": "basic_action",
                "error_description": "AADSTS50076: Due to a configuration change you must use MFA. "
                f"Trace ID: {TRACE} Correlation ID: x Timestamp: y",
                "claims": '{"access_token":{"polids":{"essential":true,"values":["p"]}}}',
                "correlation_id": "corr-1",
            },
            SignInAgain,
            "AADSTS50076",
            False,
        ),
        ({"error": "invalid_grant", "error_description": "AADSTS70008: expired"}, SignInAgain, "AADSTS70008", False),
        ({"error": "consent_required", "error_description": "no code"}, SignInAgain, "consent_required", False),
        ({"error": "invalid_client", "error_description": "AADSTS7000215: bad secret"}, Refused, "AADSTS7000215", True),
        ({"error": "unauthorized_client"}, Refused, "unauthorized_client", True),
    ],
)
def test_a_refusal_of_entra_says_who_can_mend_it(
    entra: responses.RequestsMock, said: dict[str, Any], kind: type[Refused], code: str, our_fault: bool
) -> None:
    client = TokenClient(signed_in(entra), oid=OID)
    entra.post(TOKEN, status=400, json=said)
    with pytest.raises(Refused) as caught:
        client.silent(PARTNER_CENTER_SCOPES)
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.our_fault, error.source) == (code, our_fault, "Microsoft Entra")
    assert "Trace ID" not in error.description
    if code == "AADSTS50076":
        assert error.claims == said["claims"]
        assert error.data == ("basic_action",)
        assert (error.request_id, error.correlation_id) == (TRACE, "corr-1")
        assert str(error) == "Microsoft Entra asks you to sign in again with a second factor."


def test_a_refusal_is_not_remembered_when_its_reason_is_gone(entra: responses.RequestsMock) -> None:
    client = TokenClient(signed_in(entra), oid=OID)
    entra.post(TOKEN, status=400, json={"error": "interaction_required"})
    with pytest.raises(SignInAgain):
        client.silent(PARTNER_CENTER_SCOPES)
    entra.replace("POST", TOKEN, json=granted("at-pc"))
    assert client.silent(PARTNER_CENTER_SCOPES) == Secret("at-pc")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"status": 500, "body": b"<html>"}, Broken),
        ({"status": 503}, Broken),
        ({"status": 429, "headers": {"Retry-After": "7"}}, Throttled),
        ({"status": 302}, Unintelligible),
        ({"body": b"<html>at-secret"}, Unintelligible),
        ({"body": b"[]"}, Unintelligible),
        ({"body": b"{}"}, Unintelligible),
        ({"json": {"access_token": 7, "expires_in": 3600}}, Unintelligible),
        ({"json": {"access_token": "at", "expires_in": "soon"}}, Unintelligible),
        ({"json": {"access_token": "at", "client_info": "!"}}, Unintelligible),
        ({"status": 400, "body": b"[" * 100_000}, Unintelligible),
        ({"status": 400, "body": b"{}"}, Unintelligible),
        ({"status": 408}, Broken),
        ({"body": requests.ReadTimeout("slow")}, Unreachable),
    ],
)
def test_what_entra_breaks_does_not_break_msal(
    entra: responses.RequestsMock, reply: dict[str, Any], kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    client = TokenClient(signed_in(entra), oid=OID)
    entra.post(TOKEN, **reply)
    with caplog.at_level(logging.WARNING), pytest.raises(kind) as caught:
        client.silent(PARTNER_CENTER_SCOPES)
    assert "at-secret" not in f"{caplog.text} {caught.value!r}"


# --- What Entra publishes -----------------------------------------------------------------------------------


def test_the_description_of_entra_is_fetched_once_for_all(entra: responses.RequestsMock) -> None:
    for _ in range(3):
        TokenClient().start_flow(REDIRECT, GRAPH_SCOPES)
    assert len(entra.calls) == 1
    tokens.forget_http_cache()
    TokenClient().start_flow(REDIRECT, GRAPH_SCOPES)
    assert len(entra.calls) == 2


def test_the_description_of_entra_is_renewed_each_day(
    entra: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    TokenClient().start_flow(REDIRECT, GRAPH_SCOPES)
    monkeypatch.setattr(tokens, "KEPT", 0.0)
    tokens.forget_http_cache()
    TokenClient().start_flow(REDIRECT, GRAPH_SCOPES)
    TokenClient().start_flow(REDIRECT, GRAPH_SCOPES)
    assert len(entra.calls) == 3


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"status": 400, "json": {"error": "invalid_tenant"}}, Forbidden),
        ({"status": 404, "body": b"<html>"}, NotFound),
        ({"body": b"<html>"}, Unintelligible),
        ({"json": {"issuer": "x"}}, Unintelligible),
        ({"status": 503}, Broken),
        ({"body": requests.ConnectTimeout("x")}, Unreachable),
    ],
)
def test_an_entra_that_does_not_describe_itself(
    wire: responses.RequestsMock, no_waiting: list[float], reply: dict[str, Any], kind: type[Exception]
) -> None:
    wire.get(DISCOVERY, **reply)
    with pytest.raises(kind):
        TokenClient().start_flow(REDIRECT, GRAPH_SCOPES)


def test_a_token_endpoint_elsewhere_is_not_asked(wire: responses.RequestsMock) -> None:
    wire.get(
        DISCOVERY,
        json={
            "issuer": f"{AUTHORITY}/v2.0",
            "authorization_endpoint": f"{AUTHORITY}/authorize",
            "token_endpoint": "https://evil.example/tenant/token",
        },
    )
    client = TokenClient()
    flow = client.start_flow(REDIRECT, GRAPH_SCOPES)
    with pytest.raises(Unreachable) as caught:
        client.finish_flow(flow, {"code": "c", "state": flow["state"]})
    assert not caught.value.sent


# --- The portal's own token ---------------------------------------------------------------------------------


def test_the_portals_own_token_is_shared_by_the_process(entra: responses.RequestsMock) -> None:
    entra.post(TOKEN, json={"access_token": "app", "expires_in": 3600, "token_type": "Bearer"})
    assert tokens.app_only_partner_center() == tokens.app_only_partner_center() == Secret("app")
    assert len(entra.calls) == 2
    assert form(entra.calls[-1])["scope"] == "https://api.partnercenter.microsoft.com/.default"
    assert form(entra.calls[-1])["grant_type"] == "client_credentials"
    tokens.forget_http_cache()
    tokens.app_only_partner_center()
    assert len(entra.calls) == 4


def test_a_registration_without_the_permission_is_refused(entra: responses.RequestsMock) -> None:
    entra.post(TOKEN, status=400, json={"error": "unauthorized_client", "error_description": "AADSTS700016: x"})
    with pytest.raises(Refused) as caught:
        tokens.app_only_partner_center()
    assert caught.value.our_fault
    assert not isinstance(caught.value, SignInAgain)


# --- The client that MSAL gets ------------------------------------------------------------------------------


def test_the_client_of_msal_takes_what_msal_gives(wire: responses.RequestsMock) -> None:
    wire.get(f"{AUTHORITY}/x", body=b'\xef\xbb\xbf{"token_endpoint":1}', headers={"X-One": "1"})
    wire.post(TOKEN, json={"access_token": "at"})
    client = MsalHttp()
    answer = client.get(f"{AUTHORITY}/x", params={"a": "b c"}, headers={"Accept": "x"}, timeout=3)
    assert (answer.status_code, answer.text, answer.headers["X-One"]) == (200, '{"token_endpoint":1}', "1")
    answer.raise_for_status()
    assert str(wire.calls[0].request.url).endswith("/x?a=b+c")
    client.post(TOKEN, data="a=b", headers={"client-request-id": "r-1", "X-None": None})  # type: ignore[dict-item]
    assert wire.calls[1].request.body == b"a=b"
    assert wire.calls[1].request.headers["client-request-id"] == "r-1"
    client.post(TOKEN, data={"a": "b", "none": None}, params={"p": "q"})
    assert wire.calls[2].request.body == b"a=b"
    assert str(wire.calls[2].request.url).endswith("?p=q")
    client.post(TOKEN)
    client.close()


def test_scopes_are_those_of_the_configured_cloud(settings: Any) -> None:
    settings.GRAPH_URL = "https://graph.microsoft.us/v1.0"
    assert tokens.graph_scopes()[0] == "https://graph.microsoft.us/User.Read"
