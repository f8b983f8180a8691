"""Tokens from Microsoft Entra by MSAL, over our own transport and without any database (CONTRACT 7).

One `TokenClient` serves one operator: it is made from what `state` gave last time, and `changed` tells when to keep
the new `state` (sealed, elsewhere). A token is for one service alone: Graph's never goes to Partner Center.
"""

import contextlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msal
from django.conf import settings
from msal.exceptions import MsalError

from partnerportal.upstream.errors import Refused, SignInAgain, Unintelligible, UpstreamError
from partnerportal.upstream.http import Answer, Call, Secret, origin_of, send
from partnerportal.upstream.payload import checked_claims, decode, expect, plain, refusal, unintelligible

SOURCE = "Microsoft Entra"
NO_CERTIFICATE = "certificate"  # the code of an error of ours, which Entra was not asked about
_NO_CERTIFICATE = (
    "The portal's certificate cannot be read, so it cannot ask Microsoft Entra for anything. Tell whoever runs Partner "
    "Desk that ENTRA_CLIENT_CERTIFICATE must name a file that it can read."
)
KEPT = 24 * 3600.0  # seconds that Entra's public description and keys are kept, as MSAL does

# At DEBUG MSAL prints tokens (TRUST T12).
logging.getLogger("msal").setLevel(logging.WARNING)


def graph_scopes() -> list[str]:
    """What we ask of Microsoft Graph when somebody signs in."""
    root = origin_of(settings.GRAPH_URL)
    return [f"{root}/{name}" for name in ("User.Read", "GroupMember.Read.All", "DelegatedAdminRelationship.Read.All")]


GRAPH_SCOPES = graph_scopes()
PARTNER_CENTER_SCOPES = [settings.PARTNER_CENTER_SCOPE]


# --- What Entra publishes, kept for all ---------------------------------------------------------------------
# MSAL can share such a cache, too, but each of its clients guards it with a lock of its own; and it would go on
# refusing an operator for a minute after the reason is gone.

_kept_lock = threading.Lock()
_kept: dict[str, tuple[float, Answer]] = {}
_app_tokens: dict[str, Any] = {}


def _get(url: str) -> Answer:
    """A GET without a token; a 200 is kept for KEPT seconds."""
    with _kept_lock:
        until, answer = _kept.get(url, (0.0, None))
    if answer is not None and until > time.monotonic():
        return answer
    answer = send(Call(source=SOURCE, method="GET", url=url))
    if answer.status == 200:
        with _kept_lock:
            _kept[url] = (time.monotonic() + KEPT, answer)
    return answer


def forget_http_cache() -> None:
    """Ask Entra anew for all that is kept in this process, the portal's own tokens included."""
    with _kept_lock:
        _kept.clear()
        _app_tokens.clear()


class MsalHttp:
    """The HTTP client that MSAL is given. It raises our errors for what MSAL cannot read: 429, 5xx, not JSON."""

    def get(
        self, url: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None, **_: Any
    ) -> "MsalAnswer":
        answer = _get(url if not params else f"{url}?{urlencode(params)}")
        expect(answer, 200, ours="Microsoft Entra does not know the tenant in the settings.")
        return MsalAnswer(answer)

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> "MsalAnswer":
        form = body = None
        if isinstance(data, Mapping):
            form = [(name, _guarded(name, value)) for name, value in data.items() if value is not None]
        elif data:
            body = data.encode()
        call = Call(
            source=SOURCE,
            method="POST",
            url=url,
            params=tuple((params or {}).items()),
            headers={name: value for name, value in (headers or {}).items() if value},
            form=form,
            body=body,
            request_id=(headers or {}).get("client-request-id", ""),
        )
        return MsalAnswer(send(call))

    def close(self) -> None:
        """The connections are shared and stay open."""


class MsalAnswer:
    """An answer in the shape that MSAL expects."""

    def __init__(self, answer: Answer) -> None:
        if answer.status in (408, 429) or answer.status >= 500:
            raise refusal(answer)
        try:
            said = decode(answer.body)
        except ValueError:
            said = None
        # MSAL would write a body that it cannot read into the log, and take a token answer without a token for none.
        wanted = ("access_token", "jwks_uri", "token_endpoint") if answer.status == 200 else ("error",)
        if not isinstance(said, dict) or not any(name in said for name in wanted):
            raise unintelligible(answer)
        self.status_code = answer.status
        self.headers = dict(answer.headers)
        self.text = answer.body.decode("utf-8-sig")

    def raise_for_status(self) -> None:
        """A 5xx has been raised already; MSAL reads a 4xx itself."""


_SECRET_FIELDS = frozenset({"client_secret", "client_assertion", "refresh_token", "code", "code_verifier"})


def _guarded(name: str, value: object) -> str | Secret:
    return Secret(str(value)) if name in _SECRET_FIELDS else str(value)


# --- One operator's tokens ----------------------------------------------------------------------------------

SAY_WHEN = json.dumps({"id_token": {"auth_time": {"essential": True}}})
"""The claims request for a sign-in that has to prove something: when did the person tell Entra who they are?"""


class TokenClient:
    """The tokens of one operator. With `oid`, tokens of anybody else in the cache are refused (TRUST T11).

    Making one asks nobody; the first method that needs Entra does. Raises the tree of errors.py.
    """

    def __init__(self, cache_state: str | None = None, *, oid: str | None = None) -> None:
        self._oid = oid.lower() if oid else None
        self._cache = msal.SerializableTokenCache()
        if cache_state:
            with contextlib.suppress(ValueError):  # unreadable: as if there were no tokens
                self._cache.deserialize(cache_state)

    @property
    def changed(self) -> bool:
        """Are there tokens that the last `state` has not?"""
        return bool(self._cache.has_state_changed)

    @property
    def state(self) -> str:
        """All tokens as text, to be sealed. Reading it sets `changed` back."""
        return str(self._cache.serialize())

    # Signing in

    def start_flow(
        self,
        redirect_uri: str,
        scopes: Sequence[str],
        prompt: str | None = None,
        claims: str | None = None,
        login_hint: str | None = None,
    ) -> dict[str, Any]:
        """The flow to keep on the server for 10 minutes; its `auth_uri` is for the browser. State, nonce and PKCE
        are in it. `claims` is the JSON of a claims challenge.
        """
        flow = self._ask(
            lambda app: app.initiate_auth_code_flow(
                list(scopes),
                redirect_uri=redirect_uri,
                prompt=prompt,
                claims_challenge=claims or None,
                login_hint=login_hint,
                response_mode="query",
            )
        )
        return dict(flow)

    def finish_flow(self, flow: Mapping[str, Any], params: Mapping[str, str]) -> dict[str, Any]:
        """What the flow ended with: `id_token` and `id_token_claims`, or `error` and so on. The tokens themselves
        stay in `state`. MSAL does not check the ID token's signature: identity.py does.

        Raises SignInAgain (code "flow") when `params` do not belong to this flow, or its ID token not to this sign-in.
        """
        result: Any = None
        with contextlib.suppress(ValueError, RuntimeError):  # MSAL's words hold states and claims
            result = self._ask(
                lambda app: app.acquire_token_by_auth_code_flow(dict(flow), dict(params)),
                expected=(ValueError, RuntimeError),
            )
        if not isinstance(result, dict):
            raise SignInAgain(source=SOURCE, code="flow")
        return {name: result[name] for name in _RESULT if name in result}

    # Tokens

    def silent(self, scopes: Sequence[str], force_refresh: bool = False, claims: str | None = None) -> Secret:
        """An access token without asking the operator. SignInAgain carries the AADSTS code, the suberror in `data`
        and the claims challenge; Refused with `our_fault` is about our registration.
        """

        def question(app: Any) -> Any:
            accounts = [account for account in app.get_accounts() if self._is_ours(account)]
            if len(accounts) != 1:
                raise SignInAgain(source=SOURCE, code="no_account", sent=False)
            return app.acquire_token_silent_with_error(
                list(scopes), accounts[0], force_refresh=force_refresh, claims_challenge=claims or None
            )

        result = self._ask(question)
        if result is None:
            raise SignInAgain(source=SOURCE, code="no_token", sent=False)
        told = result.get("id_token_claims")
        if isinstance(told, dict) and self._oid and str(told.get("oid", self._oid)).lower() != self._oid:
            raise SignInAgain(source=SOURCE, code="wrong_account")
        return _token(result)

    # How MSAL is asked

    def _is_ours(self, account: Mapping[str, Any]) -> bool:
        return self._oid is None or str(account.get("local_account_id", "")).lower() == self._oid

    def _ask(self, question: Callable[[Any], Any], *, expected: tuple[type[Exception], ...] = ()) -> Any:
        return _ask_msal(self._cache, question, expected)


def app_only_partner_center() -> Secret:
    """A token of our registration itself for Partner Center, shared by the whole process.

    For reading the customer list, never for writing (TRUST T15). Raises Refused when the registration may not.
    """
    scope = f"{origin_of(settings.PARTNER_CENTER_URL)}/.default"
    with _kept_lock:
        cache = _app_tokens.setdefault(settings.ENTRA_CLIENT_ID, msal.TokenCache())
    return _token(_ask_msal(cache, lambda app: app.acquire_token_for_client([scope]), ()))


def _ask_msal(cache: Any, question: Callable[[Any], Any], expected: tuple[type[Exception], ...]) -> Any:
    """What `question` gets from MSAL. MSAL takes an answer apart without checks, so whatever breaks in there is
    Unintelligible, without MSAL's words.
    """
    try:
        app = msal.ConfidentialClientApplication(
            settings.ENTRA_CLIENT_ID,
            client_credential=_credential(),
            authority=f"{settings.ENTRA_AUTHORITY}/{settings.ENTRA_TENANT_ID}",
            instance_discovery=False,
            client_capabilities=["CP1"],
            token_cache=cache,
            http_client=MsalHttp(),
        )
        return question(app)
    except UpstreamError:
        raise
    except expected:
        raise
    except (MsalError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError, RuntimeError):
        pass
    raise Unintelligible(source=SOURCE)


def _credential() -> str | dict[str, str]:
    """The certificate (a PEM file with the key and the certificate) where there is one, else the secret.

    Raises Refused with `our_fault` for a file that cannot be read; `checks.py` lets none such start.
    """
    if not settings.ENTRA_CLIENT_CERTIFICATE:
        return str(settings.ENTRA_CLIENT_SECRET)
    try:
        pem = Path(settings.ENTRA_CLIENT_CERTIFICATE).read_text(encoding="ascii")
    except (OSError, ValueError):
        pem = ""
    if not pem:  # raised out here, so that no context carries the path
        raise Refused(source=SOURCE, code=NO_CERTIFICATE, sent=False, our_fault=True, sentence=_NO_CERTIFICATE)
    return {"private_key": pem, "public_certificate": pem}


# --- Reading what Entra says --------------------------------------------------------------------------------

_RESULT = (
    "id_token",
    "id_token_claims",
    "error",
    "suberror",
    "error_codes",
    "error_description",
    "claims",
    "correlation_id",
)

# The operator can mend these by signing in; all others are about our registration (RFC 6749 5.2, OpenID Connect).
_SIGN_IN_ERRORS = frozenset({"invalid_grant", "interaction_required", "login_required", "consent_required"})


def _token(result: Any) -> Secret:
    """The access token of a result, or the error that stands in its place."""
    if isinstance(result, dict) and isinstance(token := result.get("access_token"), str) and token:
        return Secret(token)
    if isinstance(result, dict) and isinstance(result.get("error"), str):
        raise _refused(result)
    raise Unintelligible(source=SOURCE)


def _refused(result: Mapping[str, Any]) -> Refused:
    said = str(result.get("error_description", ""))
    found = _AADSTS.search(said)
    trace = _TRACE.search(said)
    suberror = plain(str(result.get("suberror") or ""), (), 64)
    signs_in = result["error"] in _SIGN_IN_ERRORS
    return (SignInAgain if signs_in else Refused)(
        source=SOURCE,
        status=400,
        code=found[0] if found else plain(result["error"], (), 64),
        description=plain(_TRACE.split(said)[0]),
        data=(suberror,) if suberror else (),
        request_id=trace[1] if trace else "",
        correlation_id=plain(str(result.get("correlation_id", "")), (), 64),
        claims=checked_claims(str(result.get("claims") or "")),
        our_fault=not signs_in,
    )


_AADSTS = re.compile(r"AADSTS\d{4,8}")
_TRACE = re.compile(r"\s*Trace ID: ([0-9a-fA-F-]{36})\b")
