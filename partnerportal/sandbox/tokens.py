"""Keys and tokens: what Entra signs and what each service reads out of a bearer token (CONTRACT 1.2, 7)."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

GRAPH_AUDIENCE = "https://graph.microsoft.com"
PARTNER_CENTER_AUDIENCE = "https://api.partnercenter.microsoft.com"
AVEPOINT_AUDIENCE = "https://graph.avepointonlineservices.com"
GDAP_AUDIENCE = "https://gdapbridge360.azurewebsites.net"

AUDIENCES = {
    "graph": GRAPH_AUDIENCE,
    "partnercenter": PARTNER_CENTER_AUDIENCE,
    "avepoint": AVEPOINT_AUDIENCE,
    "gdap": GDAP_AUDIENCE,
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever a bearer token speaks for. `problem` says why the token is worth nothing."""

    oid: str = ""
    tid: str = ""
    persona: str = ""
    audience: str = ""
    app_only: bool = False
    mfa: bool = False
    problem: str = ""


NOBODY = Caller(problem="missing")


class SigningKey:
    """One RSA key for a process; it outlives `reset`, so that signed-in browsers stay signed in."""

    def __init__(self) -> None:
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._public = self._private.public_key()
        self.kid = secrets.token_urlsafe(16)
        self._seen: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self._private, algorithm="RS256", headers={"kid": self.kid, "x5t": self.kid})

    def read(self, token: str) -> dict[str, Any] | None:
        """The claims of a token of ours, expired or not; None for anything else."""
        with self._lock:
            if token in self._seen:
                return self._seen[token]
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public,
                algorithms=["RS256"],
                options={"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.PyJWTError:
            return None
        with self._lock:
            if len(self._seen) > 5000:
                self._seen.clear()
            self._seen[token] = claims
        return claims

    def jwks(self, issuer: str) -> dict[str, Any]:
        """The public half as Entra publishes it: RS256, use sig, with the issuer it serves."""
        numbers = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._public))
        key = {
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": numbers["n"],
            "e": numbers["e"],
            "issuer": issuer,
        }
        return {"keys": [key]}


def b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
