"""Entra's memory and its rules: codes, refresh tokens, sessions, and what stands in a token (CONTRACT 7)."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import seed
from .tokens import GRAPH_AUDIENCE, PARTNER_CENTER_AUDIENCE, b64url

if TYPE_CHECKING:
    from .cloud import Cloud
    from .directory import Persona

RESERVED = ("openid", "profile", "offline_access", "email")
CONSENTED = {
    GRAPH_AUDIENCE: (
        "User.Read",
        "GroupMember.Read.All",
        "DelegatedAdminRelationship.Read.All",
        "CrossTenantInformation.ReadBasic.All",
        "Directory.Read.All",
    ),
    PARTNER_CENTER_AUDIENCE: ("user_impersonation",),
}
"""Delegated permissions the registration has, with admin consent."""
PARTNER_CENTER_APP = "fa3d9a0c-3fb0-42cc-9193-47c7ecd2edbd"


class EntraError(Exception):
    """An OAuth error as Entra says it: `error`, and a text that begins with AADSTS and a number."""

    def __init__(self, error: str, number: int, text: str, *, status: int = 400, **more: str) -> None:
        super().__init__(text)
        self.error, self.number, self.text, self.status, self.more = error, number, text, status, more


@dataclass(slots=True)
class Grant:
    """What a person has allowed: behind a code, then behind its refresh tokens."""

    persona: str
    scopes: list[str]
    mfa: bool
    auth_time: float
    sid: str
    nonce: str = ""
    redirect_uri: str = ""
    challenge: str = ""
    challenge_method: str = ""
    claims: str = ""
    issued_at: float = 0.0
    revoked: bool = False

    @property
    def asks_when(self) -> bool:
        """Whether the claims request of the sign-in names `auth_time` for the ID token (OpenID Connect 5.5)."""
        try:
            return "auth_time" in json.loads(self.claims or "{}")["id_token"]
        except (KeyError, TypeError, ValueError):
            return False


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in at Entra itself, in one browser. `auth_time`: when they last said who they are."""

    persona: str
    auth_time: float
    sid: str


@dataclass(slots=True)
class EntraState:
    """Survives `reset`, so that people stay signed in; `expire_tokens` and `revoke_refresh_token` end it."""

    generation: int = 0
    codes: dict[str, Grant] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    refresh: dict[str, Grant] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)


def audience_of(scopes: list[str]) -> str:
    """One resource per request: Graph, unless a scope names another (CONTRACT 7)."""
    named = {scope.rpartition("/")[0] for scope in scopes if "/" in scope}
    named = {PARTNER_CENTER_AUDIENCE if resource == PARTNER_CENTER_APP else resource for resource in named}
    if any("/" not in scope and scope not in RESERVED for scope in scopes):
        named.add(GRAPH_AUDIENCE)
    if len(named) > 1:
        raise EntraError("invalid_request", 28000, "Provided value for the input parameter scope is not valid: it "
                         "contains more than one resource.")  # fmt: skip
    audience = named.pop() if named else GRAPH_AUDIENCE
    if audience not in CONSENTED:
        raise EntraError("invalid_resource", 500011, f"The resource principal named {audience} was not found.")
    return audience


def check_scopes(cloud: Cloud, scopes: list[str], audience: str) -> None:
    short = "graph" if audience == GRAPH_AUDIENCE else "partnercenter"
    wanted = {scope.rpartition("/")[2] for scope in scopes} - {*RESERVED, ".default"}
    known = {name.lower() for name in CONSENTED[audience]}
    if cloud.assumed["missing_consent"] == short or {name.lower() for name in wanted} - known:
        text = f"The user or administrator has not consented to use the application with ID '{seed.CLIENT_ID}'."
        raise EntraError("invalid_grant", 65001, text, suberror="consent_required")


def redeem_code(cloud: Cloud, code: str, redirect_uri: str, verifier: str) -> Grant:
    """Codes are single-use, short-lived, and bound to the redirect URI and to PKCE's verifier."""
    state = cloud.entra
    if code in state.spent:
        text = "OAuth2 Authorization code was already redeemed, please retry with a new valid code."
        raise EntraError("invalid_grant", 54005, text)
    grant = state.codes.pop(code, None)
    if grant is None:
        raise EntraError("invalid_grant", 9002313, "Invalid request. Request is malformed or invalid.")
    state.spent.add(code)
    if cloud.now().timestamp() - grant.issued_at > 600:
        raise EntraError("invalid_grant", 70008, "The provided authorization code has expired.")
    if redirect_uri != grant.redirect_uri:
        text = f"The reply address '{redirect_uri}' does not match the reply address of the authorization request."
        raise EntraError("invalid_client", 500112, text, status=401)
    if grant.challenge:
        if not verifier:
            raise EntraError("invalid_grant", 501481, "The Code_Verifier is missing.")
        digest = b64url(hashlib.sha256(verifier.encode()).digest())
        if (digest if grant.challenge_method == "S256" else verifier) != grant.challenge:
            text = "The Code_Verifier does not match the code_challenge supplied in the authorization request."
            raise EntraError("invalid_grant", 501481, text)
    elif verifier:
        raise EntraError("invalid_grant", 501481, "A Code_Verifier was sent for a request without code_challenge.")
    return grant


def use_refresh_token(cloud: Cloud, token: str) -> Grant:
    grant = cloud.entra.refresh.get(token)
    if grant is None:
        raise EntraError("invalid_grant", 9002313, "Invalid request. Request is malformed or invalid.")
    if grant.revoked or grant.persona not in cloud.world.personas:
        text = "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might "
        raise EntraError("invalid_grant", 50173, text + "have changed or reset their password.", suberror="bad_token")
    if cloud.now().timestamp() - grant.issued_at > 90 * 86400:
        raise EntraError("invalid_grant", 700082, "The refresh token has expired due to inactivity.")
    if cloud.assumed["refresh_token_once"]:
        del cloud.entra.refresh[token]
    return grant


def check_mfa(cloud: Cloud, grant: Grant, audience: str) -> None:
    """Conditional access asks for a second factor at token time (AADSTS50076)."""
    if "token" in cloud.mfa_at and not grant.mfa:
        text = (
            "Due to a configuration change made by your administrator, or because you moved to a new location, you "
            f"must use multi-factor authentication to access '{audience}'."
        )
        claims = {"access_token": {"capolids": {"essential": True, "values": ["c4b7f0de-5a1b-4c0a-9b0e-2f9a51e3d7aa"]}}}
        error = str(cloud.assumed["mfa_error"])
        raise EntraError(error, 50076, text, suberror="basic_action", claims=json.dumps(claims))


def tokens_for(cloud: Cloud, grant: Grant, scopes: list[str], authority: str, *, id_token: bool) -> dict[str, Any]:
    """The token answer to a person's grant; `authority` is how the asker reaches Entra."""
    persona = cloud.world.personas.get(grant.persona)
    if persona is None:
        raise EntraError("invalid_grant", 50034, "The user account does not exist in this directory.")
    audience = audience_of(scopes)
    check_scopes(cloud, scopes, audience)
    check_mfa(cloud, grant, audience)
    now = cloud.now().timestamp()
    life = int(cloud.assumed["access_token_seconds"])
    access = {
        **_stamp(cloud, now, life),
        "aud": audience,
        "iss": f"https://sts.windows.net/{persona.tid}/",
        "ver": "1.0",
        "amr": ["pwd", "mfa"] if grant.mfa else ["pwd"],
        "appid": seed.CLIENT_ID,
        "appidacr": "1",
        "idtyp": "user",
        "name": persona.name,
        "oid": persona.oid,
        "scp": " ".join(CONSENTED[audience]),
        "sid": grant.sid,
        "sub": pairwise(persona, audience),
        "tid": persona.tid,
        "unique_name": persona.upn,
        "upn": persona.upn,
    }
    names = [f"{audience}/{name}" for name in CONSENTED[audience]]
    answer: dict[str, Any] = {
        "token_type": "Bearer",
        "scope": " ".join([*(scope for scope in RESERVED if scope in scopes), *names]),
        "expires_in": life,
        "ext_expires_in": life,
        "access_token": cloud.key.sign(access),
        "client_info": b64url(json.dumps({"uid": persona.oid, "utid": persona.tid}).encode()),
    }
    if "offline_access" in scopes:
        answer["refresh_token"] = token = f"0.sandbox.{secrets.token_urlsafe(48)}"
        cloud.entra.refresh[token] = Grant(
            grant.persona, scopes, grant.mfa, grant.auth_time, grant.sid, issued_at=now
        )  # fmt: skip
    if id_token:
        answer["id_token"] = cloud.key.sign(id_claims(cloud, grant, persona, authority, now))
    return answer


def id_claims(cloud: Cloud, grant: Grant, persona: Persona, authority: str, now: float) -> dict[str, Any]:
    """ENT: id-token-claims-reference. `roles` is absent when there are none; v2 id tokens have no `amr`."""
    claims: dict[str, Any] = {
        **_stamp(cloud, now, 3600),
        "aud": seed.CLIENT_ID,
        "iss": f"{authority}/{persona.tid}/v2.0",
        "email": persona.upn,
        "login_hint": b64url(f"O.{persona.oid}".encode()),
        "name": persona.name,
        "oid": persona.oid,
        "preferred_username": persona.upn,
        "sid": grant.sid,
        "sub": pairwise(persona, seed.CLIENT_ID),
        "tid": persona.tid,
        "ver": "2.0",
    }
    if grant.nonce:
        claims["nonce"] = grant.nonce
    told = cloud.assumed["auth_time"]
    if told == "always" or (told == "asked" and grant.asks_when):
        claims["auth_time"] = int(grant.auth_time)
    if persona.app_roles:
        claims["roles"] = list(persona.app_roles)
    return claims


def app_token(cloud: Cloud, audience: str, *, issuer: str, subject: str, tenant: str, roles: list[str]) -> str:
    """An app-only token: no person, no `scp`, no `upn`."""
    now = cloud.now().timestamp()
    claims = {
        **_stamp(cloud, now, int(cloud.assumed["access_token_seconds"])),
        "aud": audience,
        "iss": issuer,
        "idtyp": "app",
        "oid": subject,
        "sub": subject,
        "who": "app",
        "ver": "1.0",
    }
    if tenant:
        claims |= {"tid": tenant, "appid": seed.CLIENT_ID}
    if roles:
        claims["roles"] = roles
    return cloud.key.sign(claims)


def pairwise(persona: Persona, audience: str) -> str:
    """`sub` differs from application to application, so it identifies nobody across them."""
    return b64url(hashlib.sha256(f"{persona.tid}{persona.oid}{audience}".encode()).digest())


def _stamp(cloud: Cloud, now: float, life: int) -> dict[str, Any]:
    uti = f"{cloud.entra.generation}-{secrets.token_urlsafe(12)}"
    return {"iat": int(now), "nbf": int(now), "exp": int(now) + life, "uti": uti}


def unsigned_claims(token: str) -> dict[str, Any]:
    """What a client assertion says. Its certificate is not known here, so its signature is not judged."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
