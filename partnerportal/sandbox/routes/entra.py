"""Entra ID over HTTP: discovery, keys, authorize, token, sign-out (ENT: v2-protocols-oidc, v2-oauth2-auth-code)."""

from __future__ import annotations

import base64
import html
import json
import secrets
from typing import Any
from urllib.parse import unquote_plus, urlencode, urlsplit

from .. import entra, seed
from ..cloud import Cloud
from ..entra import EntraError, Grant
from ..tokens import b64url
from ..wire import Request, Response, Routes

routes = Routes()
LOOPBACK = {"127.0.0.1", "localhost", "testserver"}
SESSION_COOKIE = "sb_entra"


def _check_tenant(tenant: str) -> None:
    if tenant.lower() not in (seed.PARTNER_TENANT_ID, seed.PARTNER_DOMAIN):
        raise EntraError("invalid_tenant", 90002, f"Tenant '{tenant}' not found. Check with your administrator.")


def error_response(cloud: Cloud, error: EntraError) -> Response:
    """The body every OAuth error of Entra has; the ids are for support."""
    now = cloud.now()
    trace, correlation = secrets.token_hex(16), secrets.token_hex(16)
    description = (
        f"AADSTS{error.number}: {error.text} Trace ID: {trace} Correlation ID: {correlation} "
        f"Timestamp: {now:%Y-%m-%d %H:%M:%SZ}"
    )
    body = {
        "error": error.error,
        "error_description": description,
        "error_codes": [error.number],
        "timestamp": f"{now:%Y-%m-%d %H:%M:%SZ}",
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": f"https://login.microsoftonline.com/error?code={error.number}",
        **error.more,
    }
    return Response.plain_json(body, error.status, Cache_Control="no-store")


@routes.on("GET", "/{tenant}/v2.0/.well-known/openid-configuration")
def discovery(cloud: Cloud, request: Request, tenant: str) -> Response:
    """Browser pages are on loopback even when the real host was asked: a browser is not rerouted."""
    _check_tenant(tenant)
    here, pages = f"{request.origin}/{tenant}", f"{request.browser_origin}/_/entra/{tenant}"
    return Response.plain_json(
        {
            "token_endpoint": f"{here}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": f"{here}/discovery/v2.0/keys",
            "response_modes_supported": ["query", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": f"{request.origin}/{seed.PARTNER_TENANT_ID}/v2.0",
            "request_uri_parameter_supported": False,
            "authorization_endpoint": f"{pages}/oauth2/v2.0/authorize",
            "end_session_endpoint": f"{pages}/oauth2/v2.0/logout",
            "frontchannel_logout_supported": True,
            "claims_supported": (
                "sub iss aud exp iat auth_time nonce preferred_username name tid ver email oid sid roles".split()
            ),
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
        }
    )


@routes.on("GET", "/{tenant}/discovery/instance")
def instances(cloud: Cloud, request: Request, tenant: str) -> Response:
    """Which authorities are one and the same cloud; MSAL asks before it looks into its cache."""
    host = "login.microsoftonline.com"
    meta = [{"preferred_network": host, "preferred_cache": "login.windows.net",
             "aliases": [host, "login.windows.net", "login.microsoft.com", "sts.windows.net"]}]  # fmt: skip
    here = f"{request.origin}/{seed.PARTNER_TENANT_ID}/v2.0/.well-known/openid-configuration"
    return Response.plain_json({"tenant_discovery_endpoint": here, "api-version": "1.1", "metadata": meta})


@routes.on("GET", "/{tenant}/discovery/v2.0/keys")
def keys(cloud: Cloud, request: Request, tenant: str) -> Response:
    _check_tenant(tenant)
    return Response.plain_json(cloud.key.jwks(f"{request.origin}/{seed.PARTNER_TENANT_ID}/v2.0"))


# -- authorize --------------------------------------------------------------------------------------


def _on_loopback(uri: str) -> bool:
    parts = urlsplit(uri)
    return parts.scheme in ("http", "https") and parts.hostname in LOOPBACK


def _page(title: str, content: str, status: int = 200) -> Response:
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem;color:#1b1b1f;"
        "background:#f6f6f9}main{background:#fff;border:1px solid #d9d9e3;border-radius:12px;padding:1.5rem 2rem}"
        "h1{font-size:1.3rem}button{display:block;width:100%;text-align:left;font:inherit;padding:.6rem .9rem;"
        "margin:.4rem 0;border:1px solid #8a8aa3;border-radius:8px;background:#fff;cursor:pointer}"
        "button:hover,button:focus-visible{background:#eef0ff}small{display:block;color:#4a4a5c}"
    )
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style></head>'
        f"<body><main><h1>{html.escape(title)}</h1>{content}</main></body></html>"
    )
    response = Response.html(text, status)
    response.headers["Cache-Control"] = "no-store"
    return response


def _refusal(number: int, text: str) -> Response:
    """Errors that must not be sent to an unknown address stay on Entra's own page."""
    return _page("Sorry, but we're having trouble signing you in.", f"<p>AADSTS{number}: {html.escape(text)}</p>", 400)


def _cookies(request: Request) -> dict[str, str]:
    pairs = (piece.strip().partition("=") for piece in request.header("Cookie").split(";"))
    return {name: value for name, _, value in pairs if name}


def _send_back(fields: dict[str, str], answer: dict[str, str]) -> Response:
    if fields.get("state"):
        answer["state"] = fields["state"]
    uri = fields["redirect_uri"]
    if fields.get("response_mode") == "form_post":
        inputs = "".join(
            f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
            for name, value in answer.items()
        )
        content = f'<form method="post" action="{html.escape(uri)}">{inputs}<button>Continue</button></form>'
        return _page("Working…", content + "<script>document.forms[0].submit()</script>")
    joint = "&" if urlsplit(uri).query else "?"
    return Response(302, {"Location": f"{uri}{joint}{urlencode(answer)}", "Cache-Control": "no-store"})


def _send_error(fields: dict[str, str], error: str, number: int, text: str) -> Response:
    return _send_back(fields, {"error": error, "error_description": f"AADSTS{number}: {text}"})


@routes.on("GET", "/{tenant}/oauth2/v2.0/authorize")
def authorize(cloud: Cloud, request: Request, tenant: str) -> Response:
    """The page where a person says who they are. `prompt=none` asks the cookie instead of the person.

    Whoever picks the account that is signed in has not said it anew: `auth_time` stays, but for `prompt=login`.
    """
    fields = request.params()
    if problem := _authorize_problem(tenant, fields):
        return problem
    if fields.get("response_type") != "code":
        return _send_error(fields, "unsupported_response_type", 700051, "response_type must be 'code'.")
    try:
        entra.audience_of(fields.get("scope", "").split())
    except EntraError as error:
        return _send_error(fields, error.error, error.number, error.text)
    session = _session(cloud, request)
    signed_in = session.persona if session else ""
    if fields.get("prompt") == "none":
        if signed_in not in cloud.world.personas:
            text = "Session information is not sufficient for single-sign-on."
            return _send_error(fields, "login_required", 50058, text)
        return _sign_in(cloud, request, fields, signed_in, mfa=False)
    return _chooser(cloud, fields, signed_in)


def _session(cloud: Cloud, request: Request) -> entra.Session | None:
    return cloud.entra.sessions.get(_cookies(request).get(SESSION_COOKIE, ""))


def _authorize_problem(tenant: str, fields: dict[str, str]) -> Response | None:
    try:
        _check_tenant(tenant)
    except EntraError as error:
        return _refusal(error.number, error.text)
    if fields.get("client_id") != seed.CLIENT_ID:
        text = f"Application with identifier '{fields.get('client_id', '')}' was not found in the directory."
        return _refusal(700016, text)
    uri = fields.get("redirect_uri", "")
    if not _on_loopback(uri):
        return _refusal(50011, f"The redirect URI '{uri}' does not match the redirect URIs configured: the sandbox "
                        "knows loopback addresses only.")  # fmt: skip
    return None


def _chooser(cloud: Cloud, fields: dict[str, str], signed_in: str) -> Response:
    hint = fields.get("login_hint", "").lower()
    people = sorted(
        cloud.world.personas.values(),
        key=lambda p: hint not in (p.upn.lower(), b64url(f"O.{p.oid}".encode()).lower()),
    )
    buttons = "".join(
        f'<button name="persona" value="{html.escape(p.key)}"><b>{html.escape(p.name)}</b> ({html.escape(p.key)})'
        f"{' · signed in' if p.key == signed_in else ''}"
        f"<small>{html.escape(p.upn)} · {html.escape(p.note)}</small></button>"
        for p in people
    )
    content = (
        "<p>This is the sandbox. No password is asked; nobody here is real.</p>"
        f'<form method="post" action="?{html.escape(urlencode(fields))}">{buttons}'
        '<p><label><input type="checkbox" name="mfa" value="1"> Sign in with a second factor</label></p>'
        '<button name="cancel" value="1">Cancel</button></form>'
    )
    return _page("Pick an account", content)


@routes.on("POST", "/{tenant}/oauth2/v2.0/authorize")
def chosen(cloud: Cloud, request: Request, tenant: str) -> Response:
    fields, form = request.params(), request.form()
    if problem := _authorize_problem(tenant, fields):
        return problem
    if form.get("cancel"):
        return _send_error(fields, "access_denied", 65004, "User declined to consent to access the app.")
    persona = form.get("persona", "")
    if persona not in cloud.world.personas:
        return _refusal(50034, f"The user account '{persona}' does not exist in this directory.")
    return _sign_in(cloud, request, fields, persona, mfa=form.get("mfa") == "1")


def _sign_in(cloud: Cloud, request: Request, fields: dict[str, str], persona: str, *, mfa: bool) -> Response:
    """A code for the application and a session cookie of Entra's own."""
    now = cloud.now().timestamp()
    session = _session(cloud, request)
    if session is None or session.persona != persona or mfa or fields.get("prompt") == "login":
        session = entra.Session(persona, now, secrets.token_urlsafe(16))
    code = f"0.sandbox-code.{secrets.token_urlsafe(32)}"
    cloud.entra.codes[code] = Grant(
        persona,
        fields.get("scope", "").split(),
        mfa or bool(cloud.mfa_at) or "capolids" in fields.get("claims", "") or "mfa" in fields.get("claims", ""),
        session.auth_time,
        session.sid,
        nonce=fields.get("nonce", ""),
        redirect_uri=fields["redirect_uri"],
        challenge=fields.get("code_challenge", ""),
        challenge_method=fields.get("code_challenge_method", "plain"),
        claims=fields.get("claims", ""),
        issued_at=now,
    )
    cookie = _cookies(request).get(SESSION_COOKIE) or secrets.token_urlsafe(16)
    cloud.entra.sessions[cookie] = session
    answer = {"code": code}
    if fields.get("client_info"):
        who = cloud.world.personas[persona]
        answer["client_info"] = b64url(json.dumps({"uid": who.oid, "utid": who.tid}).encode())
    response = _send_back(fields, answer)
    response.headers["Set-Cookie"] = f"{SESSION_COOKIE}={cookie}; Path=/_/entra; HttpOnly; SameSite=Lax"
    return response


@routes.on("GET", "/{tenant}/oauth2/v2.0/logout")
def sign_out(cloud: Cloud, request: Request, tenant: str) -> Response:
    """`end_session_endpoint`: forgets the session, then goes back if the address is one of ours."""
    _check_tenant(tenant)
    cloud.entra.sessions.pop(_cookies(request).get(SESSION_COOKIE, ""), None)
    back = request.params().get("post_logout_redirect_uri", "")
    if back and not _on_loopback(back):
        return _refusal(50011, f"The post-logout redirect URI '{back}' is not registered: loopback addresses only.")
    response = _page("You signed out of your account", "<p>It's a good idea to close all browser windows.</p>")
    if back:
        state = request.params().get("state", "")
        joint = "&" if urlsplit(back).query else "?"
        response = Response(302, {"Location": f"{back}{joint}{urlencode({'state': state})}" if state else back})
    response.headers["Set-Cookie"] = f"{SESSION_COOKIE}=; Path=/_/entra; HttpOnly; SameSite=Lax; Max-Age=0"
    return response


# -- token ------------------------------------------------------------------------------------------


def _check_client(request: Request, form: dict[str, str]) -> None:
    client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    if request.header("Authorization").lower().startswith("basic "):
        try:
            raw = base64.b64decode(request.header("Authorization")[6:]).decode()
        except ValueError:
            raw = ""
        client_id, secret = (unquote_plus(part) for part in raw.partition(":")[::2])
    if client_id != seed.CLIENT_ID:
        text = f"Application with identifier '{client_id}' was not found in the directory."
        raise EntraError("unauthorized_client", 700016, text)
    if assertion := form.get("client_assertion"):
        claims = entra.unsigned_claims(assertion)
        if claims.get("iss") != client_id or claims.get("sub") != client_id:
            raise EntraError("invalid_client", 700027, "The client assertion is not valid.", status=401)
    elif not secret:
        text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
        raise EntraError("invalid_client", 7000218, text, status=401)
    elif not secrets.compare_digest(secret.encode(), seed.CLIENT_SECRET.encode()):
        raise EntraError("invalid_client", 7000215, "Invalid client secret provided.", status=401)


@routes.on("POST", "/{tenant}/oauth2/v2.0/token")
def token(cloud: Cloud, request: Request, tenant: str) -> Response:
    """authorization_code with PKCE, refresh_token (also for a second resource), client_credentials."""
    _check_tenant(tenant)
    form = request.form()
    _check_client(request, form)
    answer: dict[str, Any]
    match form.get("grant_type"):
        case "authorization_code":
            grant = entra.redeem_code(
                cloud, form.get("code", ""), form.get("redirect_uri", ""), form.get("code_verifier", "")
            )
            scopes = form.get("scope", "").split() or grant.scopes
            answer = entra.tokens_for(cloud, grant, scopes, request.origin, id_token="openid" in grant.scopes)
        case "refresh_token":
            grant = entra.use_refresh_token(cloud, form.get("refresh_token", ""))
            scopes = form.get("scope", "").split() or grant.scopes
            answer = entra.tokens_for(cloud, grant, scopes, request.origin, id_token="openid" in scopes)
        case "client_credentials":
            answer = _app_only(cloud, form.get("scope", ""))
        case other:
            raise EntraError("unsupported_grant_type", 70003, f"The app requested an unsupported grant type '{other}'.")
    return Response.plain_json(answer, Cache_Control="no-store")


def _app_only(cloud: Cloud, scope: str) -> dict[str, Any]:
    if not scope.endswith("/.default") or len(scope.split()) != 1:
        text = f"The provided value for scope {scope} is not valid. Client credential flows must have a scope value "
        raise EntraError("invalid_scope", 1002012, text + "with /.default suffixed to the resource identifier.")
    audience = entra.audience_of([scope])
    issuer = f"https://sts.windows.net/{seed.PARTNER_TENANT_ID}/"
    access = entra.app_token(
        cloud, audience, issuer=issuer, subject=seed.APP_OID, tenant=seed.PARTNER_TENANT_ID, roles=[]
    )
    life = int(cloud.assumed["access_token_seconds"])
    return {"token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": access}
