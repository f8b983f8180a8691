"""Signing in through the real MSAL, and what Entra refuses (CONTRACT 7)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import msal
import pytest
import requests

from partnerportal.sandbox import seed

from .conftest import Asker, parsed

REDIRECT = "http://127.0.0.1:8000/signin/callback/"
GRAPH_SCOPES = ["User.Read", "GroupMember.Read.All", "DelegatedAdminRelationship.Read.All"]
PARTNER_CENTER_SCOPES = ["https://api.partnercenter.microsoft.com/user_impersonation"]
AUTHORITY = f"https://login.microsoftonline.com/{seed.PARTNER_TENANT_ID}"


class Rerouted(requests.Session):
    """What `UPSTREAM_ROUTES` does: the real host's name, the sandbox's address."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port, self.trust_env = port, False

    def request(self, method: Any, url: Any, *args: Any, **more: Any) -> requests.Response:
        parts = urlsplit(url)
        headers = {**(more.pop("headers", None) or {}), "Host": parts.netloc}
        target = f"http://127.0.0.1:{self.port}{parts.path}" + (f"?{parts.query}" if parts.query else "")
        more["headers"] = headers
        return super().request(method, target, *args, **more)


class SignIn:
    def __init__(self, asker: Asker, web: Rerouted) -> None:
        self.asker, self.web = asker, web
        self.app = self.new_app()
        self.flow: dict[str, Any] = {}

    def new_app(self, **more: Any) -> msal.ConfidentialClientApplication:
        settings: dict[str, Any] = {"client_credential": seed.CLIENT_SECRET, "authority": AUTHORITY, **more}
        return msal.ConfidentialClientApplication(seed.CLIENT_ID, http_client=self.web, **settings)

    def start(self, scopes: list[str] | None = None, **more: Any) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.flow = self.app.initiate_auth_code_flow(scopes or GRAPH_SCOPES, redirect_uri=REDIRECT, **more)
        return str(self.flow["auth_uri"])

    def choose(self, address: str, **form: str) -> requests.Response:
        return self.asker.session.post(address, data=form, allow_redirects=False, timeout=20)

    def callback(self, persona: str, **more: Any) -> dict[str, str]:
        form = {"persona": persona, **({"mfa": "1"} if more.pop("mfa", False) else {})}
        response = self.choose(self.start(**more), **form)
        assert response.status_code == 302, response.text
        return returned(response)

    def tokens(self, persona: str, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.app.acquire_token_by_auth_code_flow(self.flow_of(persona, **more), self.last)
        return answer

    def flow_of(self, persona: str, **more: Any) -> dict[str, Any]:
        self.last = self.callback(persona, **more)
        return self.flow

    def silent(self, scopes: list[str], **more: Any) -> dict[str, Any]:
        account = self.app.get_accounts()[0]
        answer: dict[str, Any] = self.app.acquire_token_silent_with_error(scopes, account, **more)
        return answer

    def partner_center(self, token: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return self.web.get("https://api.partnercenter.microsoft.com/v1/customers?size=1", headers=headers, timeout=20)


def returned(response: requests.Response) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(response.headers["Location"]).query).items()}


@pytest.fixture
def sign_in(asker: Asker) -> Iterator[SignIn]:
    with Rerouted(asker.sandbox.port) as web:
        yield SignIn(asker, web)


def test_discovery_names_the_real_host_and_the_browsers_pages_on_loopback(asker: Asker, sign_in: SignIn) -> None:
    told = sign_in.web.get(f"{AUTHORITY}/v2.0/.well-known/openid-configuration").json()
    assert told["issuer"] == f"{AUTHORITY}/v2.0"
    assert told["token_endpoint"] == f"{AUTHORITY}/oauth2/v2.0/token"
    assert told["jwks_uri"] == f"{AUTHORITY}/discovery/v2.0/keys"
    pages = f"http://127.0.0.1:{asker.sandbox.port}/_/entra/{seed.PARTNER_TENANT_ID}/oauth2/v2.0"
    assert (told["authorization_endpoint"], told["end_session_endpoint"]) == (f"{pages}/authorize", f"{pages}/logout")
    direct = asker.session.get(
        f"{asker.url}/_/entra/{seed.PARTNER_TENANT_ID}/v2.0/.well-known/openid-configuration"
    ).json()
    assert direct["token_endpoint"].startswith(f"{asker.url}/_/entra/")


def test_a_person_signs_in_and_the_id_token_holds_what_entra_promises(sign_in: SignIn) -> None:
    answer = sign_in.tokens("admin")
    keys = jwt.PyJWKSet.from_dict(sign_in.web.get(f"{AUTHORITY}/discovery/v2.0/keys").json())
    key = keys[jwt.get_unverified_header(answer["id_token"])["kid"]]
    claims = jwt.decode(
        answer["id_token"], key, algorithms=["RS256"], audience=seed.CLIENT_ID, issuer=f"{AUTHORITY}/v2.0"
    )
    assert claims["oid"] == seed.PERSONA_OIDS["admin"]
    assert claims["tid"] == seed.PARTNER_TENANT_ID
    assert claims["roles"] == ["Portal.Admin"]
    assert claims["preferred_username"] == claims["email"] == "maya.okafor@partnerdesk.example"
    assert {"nonce", "iat", "nbf", "exp", "login_hint", "name", "sub", "sid"} <= set(claims)
    assert claims["ver"] == "2.0"
    assert "amr" not in claims


def test_roles_are_absent_when_there_are_none(sign_in: SignIn) -> None:
    assert "roles" not in sign_in.tokens("norole")["id_token_claims"]


def test_foreign_looks_like_admin_but_is_of_another_tenant(sign_in: SignIn) -> None:
    claims = sign_in.tokens("foreign")["id_token_claims"]
    assert (claims["name"], claims["email"]) == ("Maya Okafor", "maya.okafor@partnerdesk.example")
    assert claims["tid"] == seed.FOREIGN_TENANT_ID
    assert claims["oid"] != seed.PERSONA_OIDS["admin"]
    assert claims["iss"] == f"https://login.microsoftonline.com/{seed.FOREIGN_TENANT_ID}/v2.0"


def test_one_refresh_token_serves_graph_and_partner_center_each_with_its_own_audience(sign_in: SignIn) -> None:
    graph = sign_in.tokens("admin")
    partner_center = sign_in.silent(PARTNER_CENTER_SCOPES)
    assert sign_in.partner_center(partner_center["access_token"]).status_code == 200
    wrong = sign_in.partner_center(graph["access_token"])
    assert (wrong.status_code, wrong.json()["code"]) == (401, "900420")
    headers = {"Authorization": f"Bearer {partner_center['access_token']}"}
    at_graph = sign_in.web.get("https://graph.microsoft.com/v1.0/me", headers=headers)
    assert at_graph.json()["error"]["code"] == "InvalidAuthenticationToken"
    assert sign_in.silent(PARTNER_CENTER_SCOPES)["access_token"] == partner_center["access_token"]


def test_a_code_works_once(sign_in: SignIn) -> None:
    flow = dict(sign_in.flow_of("admin"))
    assert "access_token" in sign_in.app.acquire_token_by_auth_code_flow(flow, sign_in.last)
    again = sign_in.app.acquire_token_by_auth_code_flow(flow, sign_in.last)
    assert again["error_description"].startswith("AADSTS54005")


def test_a_wrong_verifier_is_refused(sign_in: SignIn) -> None:
    flow = {**sign_in.flow_of("admin"), "code_verifier": "x" * 43}
    answer = sign_in.app.acquire_token_by_auth_code_flow(flow, sign_in.last)
    assert answer["error"] == "invalid_grant"
    assert "AADSTS501481" in answer["error_description"]


def test_a_code_is_bound_to_its_redirect_uri_and_dies_after_ten_minutes(asker: Asker, sign_in: SignIn) -> None:
    flow = {**sign_in.flow_of("admin"), "redirect_uri": "http://127.0.0.1:8000/elsewhere/"}
    assert "AADSTS500112" in sign_in.app.acquire_token_by_auth_code_flow(flow, sign_in.last)["error_description"]
    flow = sign_in.flow_of("admin")
    asker.state("set_clock_offset", seconds=601)
    assert "AADSTS70008" in sign_in.app.acquire_token_by_auth_code_flow(flow, sign_in.last)["error_description"]


@pytest.mark.parametrize(
    ("more", "number"),
    [({"client_credential": "wrong"}, "AADSTS7000215")],
)
def test_a_wrong_secret_is_refused(sign_in: SignIn, more: dict[str, Any], number: str) -> None:
    sign_in.app = sign_in.new_app(**more)
    answer = sign_in.tokens("admin")
    assert (answer["error"], answer["error_description"].split(":")[0]) == ("invalid_client", number)


def test_who_cancels_comes_back_with_access_denied(sign_in: SignIn) -> None:
    answer = returned(sign_in.choose(sign_in.start(), cancel="1"))
    assert answer["error"] == "access_denied"
    assert answer["state"] == sign_in.flow["state"]


def test_the_page_is_a_plain_form_with_a_button_for_each_persona_and_no_script(sign_in: SignIn) -> None:
    page = sign_in.asker.session.get(sign_in.start(), timeout=20).text
    assert set(re.findall(r'name="persona" value="(\w+)"', page)) == set(seed.PERSONA_OIDS)
    assert "<script" not in page


def test_a_login_hint_puts_that_person_first(sign_in: SignIn) -> None:
    page = sign_in.asker.session.get(sign_in.start(login_hint="ines.halloran@partnerdesk.example"), timeout=20).text
    assert re.findall(r'name="persona" value="(\w+)"', page)[0] == "reader"


def test_prompt_none_needs_a_session_and_then_needs_nobody(sign_in: SignIn) -> None:
    first = sign_in.asker.session.get(sign_in.start(prompt="none"), allow_redirects=False, timeout=20)
    assert returned(first)["error"] == "login_required"
    sign_in.tokens("reader")
    second = sign_in.asker.session.get(sign_in.start(prompt="none"), allow_redirects=False, timeout=20)
    answer = sign_in.app.acquire_token_by_auth_code_flow(sign_in.flow, returned(second))
    assert answer["id_token_claims"]["oid"] == seed.PERSONA_OIDS["reader"]


def test_auth_time_moves_only_when_somebody_says_anew_who_they_are(asker: Asker, sign_in: SignIn) -> None:
    asks = '{"id_token": {"auth_time": {"essential": true}}}'

    def auth_time(asker: Asker, minutes: int, **more: Any) -> Any:
        asker.state("set_clock_offset", seconds=60 * minutes)
        back = returned(sign_in.choose(sign_in.start(**more), persona="reader"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = sign_in.app.acquire_token_by_auth_code_flow(sign_in.flow, back)
        return answer["id_token_claims"].get("auth_time")

    first = auth_time(asker, 0, claims_challenge=asks)
    assert auth_time(asker, 1, claims_challenge=asks) == first
    assert auth_time(asker, 2, claims_challenge=asks, prompt="login") >= first + 119
    assert auth_time(asker, 3) is None, "the claim is given to those who ask"


def test_addresses_off_loopback_are_refused_on_entras_own_page(asker: Asker, sign_in: SignIn) -> None:
    address = sign_in.start().replace("127.0.0.1%3A8000", "evil.example")
    response = asker.session.get(address, allow_redirects=False, timeout=20)
    assert response.status_code == 400
    assert "AADSTS50011" in response.text
    base = f"{asker.url}/_/entra/{seed.PARTNER_TENANT_ID}/oauth2/v2.0/logout?post_logout_redirect_uri="
    assert asker.session.get(base + "https://evil.example/", allow_redirects=False, timeout=20).status_code == 400
    back = asker.session.get(base + "http://localhost:8000/signin/", allow_redirects=False, timeout=20)
    assert (back.status_code, back.headers["Location"]) == (302, "http://localhost:8000/signin/")


def test_signing_out_ends_the_session(asker: Asker, sign_in: SignIn) -> None:
    sign_in.tokens("reader")
    asker.session.get(f"{asker.url}/_/entra/{seed.PARTNER_TENANT_ID}/oauth2/v2.0/logout", timeout=20)
    answer = asker.session.get(sign_in.start(prompt="none"), allow_redirects=False, timeout=20)
    assert returned(answer)["error"] == "login_required"


def test_a_strange_client_or_tenant_is_refused(asker: Asker, sign_in: SignIn) -> None:
    address = sign_in.start()
    strange = address.replace(seed.CLIENT_ID, "00000000-0000-4000-8000-000000000000")
    assert "AADSTS700016" in asker.session.get(strange, timeout=20).text
    other = asker.session.get(address.replace(seed.PARTNER_TENANT_ID, seed.FOREIGN_TENANT_ID), timeout=20)
    assert "AADSTS90002" in other.text
    response = sign_in.web.get(
        f"https://login.microsoftonline.com/{seed.FOREIGN_TENANT_ID}/v2.0/.well-known/openid-configuration"
    )
    assert (response.status_code, response.json()["error"]) == (400, "invalid_tenant")


def test_expired_access_tokens_are_401_and_the_refresh_token_still_serves(asker: Asker, sign_in: SignIn) -> None:
    sign_in.tokens("admin")
    token = sign_in.silent(PARTNER_CENTER_SCOPES)["access_token"]
    asker.state("expire_tokens")
    assert sign_in.partner_center(token).status_code == 401
    fresh = sign_in.silent(PARTNER_CENTER_SCOPES, force_refresh=True)["access_token"]
    assert sign_in.partner_center(fresh).status_code == 200
    asker.state("set_clock_offset", seconds=3700)
    assert sign_in.partner_center(fresh).status_code == 401


def test_a_revoked_refresh_token_is_invalid_grant(asker: Asker, sign_in: SignIn) -> None:
    sign_in.tokens("writer")
    asker.state("revoke_refresh_token", persona="writer")
    answer = sign_in.silent(PARTNER_CENTER_SCOPES)
    assert answer["error"] == "invalid_grant"
    assert answer["error_description"].startswith("AADSTS50173")


def test_required_mfa_refuses_old_tokens_at_both_doors_until_the_person_signs_in_anew(
    asker: Asker, sign_in: SignIn
) -> None:
    sign_in.tokens("admin")
    token = sign_in.silent(PARTNER_CENTER_SCOPES)["access_token"]
    asker.state("require_mfa", on=True)
    refused = sign_in.partner_center(token)
    assert (refused.status_code, refused.json()["code"]) == (401, "900421")
    answer = sign_in.silent(PARTNER_CENTER_SCOPES, force_refresh=True)
    assert answer["error"] == "interaction_required"
    assert "AADSTS50076" in answer["error_description"]
    assert "capolids" in answer["claims"]
    sign_in.tokens("admin", claims_challenge=answer["claims"])
    fresh = sign_in.silent(PARTNER_CENTER_SCOPES, force_refresh=True)["access_token"]
    assert sign_in.partner_center(fresh).status_code == 200


def test_mfa_may_be_wanted_by_partner_center_alone(asker: Asker, sign_in: SignIn) -> None:
    sign_in.tokens("admin")
    asker.state("require_mfa", on=True, at="partnercenter")
    token = sign_in.silent(PARTNER_CENTER_SCOPES)["access_token"]
    assert sign_in.partner_center(token).json()["code"] == "900421"
    sign_in.tokens("admin", mfa=True)
    token = sign_in.silent(PARTNER_CENTER_SCOPES, force_refresh=True)["access_token"]
    assert sign_in.partner_center(token).status_code == 200


def test_missing_consent_is_aadsts65001(asker: Asker, sign_in: SignIn) -> None:
    sign_in.tokens("admin")
    asker.assume("missing_consent", "partnercenter")
    assert "AADSTS65001" in sign_in.silent(PARTNER_CENTER_SCOPES)["error_description"]
    answer = sign_in.silent(["Mail.Read"])
    assert "AADSTS65001" in answer["error_description"]


def test_app_only_tokens_list_customers_and_nothing_else(sign_in: SignIn) -> None:
    token = sign_in.app.acquire_token_for_client(["https://api.partnercenter.microsoft.com/.default"])["access_token"]
    assert sign_in.partner_center(token).status_code == 200
    headers = {"Authorization": f"Bearer {token}"}
    users = f"https://api.partnercenter.microsoft.com/v1/customers/{seed.SPECIAL['contoso']}/users"
    assert sign_in.web.get(users, headers=headers).json()["code"] == 900329


def test_changed_app_roles_are_in_the_next_id_token(asker: Asker, sign_in: SignIn) -> None:
    asker.state("set_app_roles", persona="reader", roles=["Portal.Operator"])
    assert sign_in.tokens("reader")["id_token_claims"]["roles"] == ["Portal.Operator"]


def test_a_sandbox_bearer_is_worth_nothing_at_the_real_hosts_name(sign_in: SignIn) -> None:
    assert sign_in.partner_center("sandbox:admin:partnercenter").status_code == 401


def test_a_token_signed_by_somebody_else_is_worth_nothing(sign_in: SignIn) -> None:
    forged = jwt.encode({"oid": seed.PERSONA_OIDS["admin"], "aud": "https://api.partnercenter.microsoft.com"}, "k" * 32)
    assert sign_in.partner_center(forged).status_code == 401


def test_signed_in_people_stay_signed_in_over_a_reset(asker: Asker, sign_in: SignIn) -> None:
    sign_in.tokens("admin")
    asker.control("POST", "reset", {"profile": "demo"})
    token = sign_in.silent(PARTNER_CENTER_SCOPES)["access_token"]
    assert parsed(sign_in.partner_center(token))["totalCount"] == 1


def test_the_journal_never_shows_what_was_secret(asker: Asker, sign_in: SignIn) -> None:
    answer = sign_in.tokens("admin")
    sign_in.silent(PARTNER_CENTER_SCOPES)
    text = asker.control("GET", "journal").text
    for secret in (
        seed.CLIENT_SECRET,
        answer["access_token"],
        answer["refresh_token"],
        sign_in.last["code"],
        answer["id_token"],
    ):
        assert secret not in text
    entries = [entry for entry in asker.journal() if entry["path"].endswith("/token")]
    assert entries[0]["body"]["client_secret"] == "<redacted>"
    assert entries[0]["body"]["grant_type"] == "authorization_code"
