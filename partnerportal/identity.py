"""Who somebody is: what Entra's ID token says, once every check of it has passed.

MSAL 1.39 decodes ID tokens and checks neither signature nor issuer; these checks are ours (TRUST 1.3, T7, T8).
"""

import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import jwt
import msgspec
from django.conf import settings

from partnerportal import clock
from partnerportal.permissions import ROLES
from partnerportal.upstream import payload
from partnerportal.upstream.http import Call, send
from partnerportal.upstream.tokens import SOURCE

SKEW = 120  # seconds
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class NotGenuine(Exception):
    """The ID token fails a check. The text names the check and never a claim."""


class WrongTenant(Exception):
    """Signed by Entra and meant for us, but of another tenant. `.claims` says who it was."""

    def __init__(self, claims: "Claims") -> None:
        self.claims = claims
        super().__init__("an ID token of another tenant")


@dataclass(frozen=True, kw_only=True)
class Claims:
    """The verified part of an ID token that we use. Who it is: `tid` and `oid`; the rest is for display."""

    tid: str
    oid: str
    name: str
    email: str
    roles: tuple[str, ...]  # those of the portal
    issued_at: datetime
    proved_at: datetime | None = None  # `auth_time`: when they told Entra who they are; None where it does not say


def verify(token: str, *, nonce: str | None) -> Claims:
    """The claims of an ID token for us, by our tenant. `nonce` is the flow's; None for a refreshed token.

    Raises `NotGenuine`, `WrongTenant`, or an `UpstreamError` when Entra's keys cannot be had.
    """
    said = _signed_for_us(token)
    _check_times(said)
    if nonce is not None:
        # MSAL keeps the nonce and sends its hash.
        expected = hashlib.sha256(nonce.encode()).hexdigest()
        if not hmac.compare_digest(expected.encode(), str(said.get("nonce", "")).encode()):
            raise NotGenuine("nonce")
    claims = _claims(said)
    if said.get("iss") != f"{settings.ENTRA_AUTHORITY}/{claims.tid}/v2.0":
        raise NotGenuine("issuer")
    if claims.tid != settings.ENTRA_TENANT_ID:
        raise WrongTenant(claims)
    return claims


def _signed_for_us(token: str) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
        if header.get("alg") != "RS256" or not isinstance(header.get("kid"), str):
            raise NotGenuine("algorithm or key id")
        return jwt.decode(
            token,
            _key(header["kid"]),
            algorithms=["RS256"],
            audience=settings.ENTRA_CLIENT_ID,
            # Times are checked by our own clock, which the sandbox may move.
            options={
                "require": ["exp", "nbf", "iat", "aud", "iss"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except jwt.PyJWTError as error:
        raise NotGenuine(type(error).__name__) from None


def _check_times(said: dict[str, Any]) -> None:
    now = clock.now().timestamp()
    exp, nbf = (_seconds(said[name]) for name in ("exp", "nbf"))
    if now > exp + SKEW:
        raise NotGenuine("expired")
    if now < nbf - SKEW:
        raise NotGenuine("not valid yet: is this machine's clock right?")


def _seconds(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**40:
        raise NotGenuine("times")
    return value


def _claims(said: dict[str, Any]) -> Claims:
    tid, oid = str(said.get("tid", "")).lower(), str(said.get("oid", "")).lower()
    if not _GUID.fullmatch(tid) or not _GUID.fullmatch(oid):
        raise NotGenuine("tid or oid")
    roles = said.get("roles", [])
    email = _words(said.get("preferred_username") or said.get("email") or "", 320)
    return Claims(
        tid=tid,
        oid=oid,
        name=_words(said.get("name") or email or oid, 200),
        email=email,
        roles=tuple(role for role in ROLES if isinstance(roles, list) and role in roles),
        issued_at=datetime.fromtimestamp(_seconds(said["iat"]), UTC),
        proved_at=datetime.fromtimestamp(_seconds(said["auth_time"]), UTC) if "auth_time" in said else None,
    )


def _words(told: object, longest: int) -> str:
    """What somebody is called, as a column takes it: PostgreSQL refuses a NUL, and no database half a character."""
    text = str(told).encode(errors="replace").decode()
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:longest]


# --- What Entra publishes -----------------------------------------------------------------------------------

KEPT = 24 * 3600.0  # seconds; Microsoft asks to look for new keys at least once a day
_T = TypeVar("_T")


class Discovery(msgspec.Struct, frozen=True):
    """The part of our tenant's OpenID configuration that we use. `end_session_endpoint` is for the browser."""

    jwks_uri: str
    end_session_endpoint: str = ""


class _Jwks(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


def discovery() -> Discovery:
    """Our tenant's OpenID configuration. Raises an `UpstreamError` when Entra does not answer."""
    tenant = f"{settings.ENTRA_AUTHORITY}/{settings.ENTRA_TENANT_ID}"
    return _published(f"{tenant}/v2.0/.well-known/openid-configuration", Discovery)


def _key(kid: str) -> jwt.PyJWK:
    """Entra's signing key of that id. Keys are rolled over, so an unknown one makes us look once more."""
    for fresh in (False, True):
        for key in _published(discovery().jwks_uri, _Jwks, fresh=fresh).keys:
            if key.get("kid") == kid and key.get("kty") == "RSA":
                return jwt.PyJWK(key, algorithm="RS256")
    raise NotGenuine("unknown key")


_kept: dict[str, tuple[float, Any]] = {}


def _published(url: str, wanted: type[_T], *, fresh: bool = False) -> _T:
    """A public document of Entra's, kept for a day, in this process only: whoever writes it decides who may enter."""
    read_at, document = _kept.get(url, (0.0, None))
    if fresh or not isinstance(document, wanted) or time.monotonic() - read_at > KEPT:
        answer = send(Call(source=SOURCE, method="GET", url=url))
        payload.expect(answer, 200)
        document = payload.parse(answer, wanted)
        _kept[url] = (time.monotonic(), document)
    return document


def forget_published() -> None:
    """As after a start (tests)."""
    _kept.clear()
