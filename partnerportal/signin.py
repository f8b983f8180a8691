"""The door: sign-in with Microsoft Entra, and the way out.

The flow (state, nonce, PKCE verifier, where to go next) waits sealed in the session of the browser that started it,
for ten minutes and for one use. A failed sign-in is told by a page of its own: the callback's address holds a code,
so it is left at once whatever happens.
"""

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.conf import settings
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import Resolver404, resolve, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_GET, require_http_methods

from partnerportal import audit, clock, grants, identity, permissions, problems, rates, sessions, vault
from partnerportal.http import AnyRequest
from partnerportal.identity import Claims
from partnerportal.models import AuditEvent, Operator
from partnerportal.upstream import tokens
from partnerportal.upstream.errors import SignInAgain, UpstreamError
from partnerportal.upstream.tokens import TokenClient

logger = logging.getLogger(__name__)

FLOWS = "flows"
FLOW_LIVES = timedelta(minutes=10)
MOST_FLOWS = 5  # a browser may start in several tabs
FAILURE = "signin_failure"
LONGEST_NEXT = 512  # characters

SIGN_IN = audit.Subject(action="sign in")
SIGN_OUT = audit.Subject(action="sign out")


class EntraBackend(BaseBackend):
    """Operators come from verified ID tokens, and from nowhere else."""

    def authenticate(
        self, request: HttpRequest | None, claims: Claims | None = None, **_credentials: Any
    ) -> Operator | None:
        """Whom the claims speak of. A name and a password speak of nobody."""
        return operator_of(claims) if isinstance(claims, Claims) else None

    def get_user(self, user_id: Any) -> Operator | None:
        """The operator of a session."""
        return Operator.objects.filter(pk=user_id).first()


def operator_of(claims: Claims) -> Operator:
    """The operator with this (tid, oid), made at the first sign-in and brought up to date at each."""
    now = clock.now()
    operator, _ = Operator.objects.update_or_create(
        tid=claims.tid,
        oid=claims.oid,
        defaults={
            "subject": f"{claims.tid}:{claims.oid}",
            "name": claims.name,
            "email": claims.email,
            "app_roles": list(claims.roles),
            "roles_read_at": now,
            "roles_asked_at": now,
        },
    )
    return operator


# --- The way in ---------------------------------------------------------------------------------------------


@require_GET
@login_not_required
def begin(request: HttpRequest) -> HttpResponse:
    """Start a sign-in, or tell what became of the last one."""
    if "failed" in request.GET:
        return _card(request, request.session.get(FAILURE) or {})
    if again_at := rates.start_sign_in(request):
        return _too_many(request, again_at)
    challenge = sessions.take_challenge(request)
    claims = tokens.SAY_WHEN if challenge == "" else challenge
    try:
        flow = TokenClient().start_flow(
            _our(reverse("signin-callback")), tokens.GRAPH_SCOPES, prompt=_prompt(request, challenge), claims=claims
        )
    except UpstreamError as error:
        logger.warning("a sign-in could not be started: %s", error)
        return _card(request, _failure(_whose(error)))
    _remember(request, flow, local_page(request, request.GET.get("next", "")))
    return HttpResponseRedirect(flow["auth_uri"])


def _too_many(request: HttpRequest, again_at: datetime) -> HttpResponse:
    """429, and when the way in is open again. Whoever is in stays in, and a sign-in under way goes on."""
    wait, next_step = problems.try_again_at(again_at)
    context = {
        "state": "failed",
        "title": "Too many sign-ins were started",
        "body": f"Your network has started {settings.SIGN_IN_STARTS_A_MINUTE} within a minute, which is the most, "
        f"so this one was not. Nothing else is affected. {next_step}",
        "signin_url": request.get_full_path(),
    }
    response = render(request, "signin/card.html", context, status=429)
    response["Retry-After"] = str(wait)
    return response


def _prompt(request: HttpRequest, challenge: str | None) -> str | None:
    """Microsoft signs people in silently where it knows them. Not where that would only repeat what went wrong."""
    if challenge == "":
        return "login"
    return "select_account" if request.session.pop(FAILURE, None) else None


def local_page(request: HttpRequest, wanted: str) -> str:
    """`wanted` if it is a page of ours that one may be led to, by a GET; else the start page."""
    start = reverse("home")
    if not wanted.startswith("/") or len(wanted) > LONGEST_NEXT or not wanted.isprintable():
        return start
    if not url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=not settings.SANDBOX):
        return start
    try:
        view = resolve(urlsplit(wanted).path).func
    except Resolver404:
        return start
    answers = getattr(view, "login_required", True) and not getattr(view, "post_only", False)
    return wanted if answers else start


@sensitive_variables("flow")
def _remember(request: HttpRequest, flow: dict[str, Any], next_page: str) -> None:
    now = clock.now()
    kept = request.session.get(FLOWS, {}).items()
    young = [(key, flow) for key, flow in kept if now - datetime.fromtimestamp(flow["at"], UTC) <= FLOW_LIVES]
    newest = sorted(young, key=lambda pair: float(pair[1]["at"]))[-MOST_FLOWS + 1 :]
    key = _key(flow["state"])
    sealed = vault.seal("flow", key, json.dumps({"flow": flow, "next": next_page}))
    request.session[FLOWS] = dict(newest) | {key: {"at": now.timestamp(), "sealed": sealed.decode()}}
    if sessions.GRANT not in request.session:
        request.session.set_expiry(2 * int(FLOW_LIVES.total_seconds()))


@sensitive_variables("state", "flow")
def _take(request: HttpRequest, state: str) -> tuple[dict[str, Any], str, datetime] | None:
    """The flow of this state, where it leads and when it began; None when it is unknown here, used, or too old.

    Used up at once.
    """
    kept = request.session.get(FLOWS, {}).pop(_key(state), None)
    if kept is None:
        return None
    request.session.modified = True
    request.session.save()
    began = datetime.fromtimestamp(kept["at"], UTC)
    if abs(clock.now() - began) > FLOW_LIVES:
        return None
    try:
        flow = json.loads(vault.open("flow", _key(state), kept["sealed"].encode()))
    except vault.VaultError:
        return None
    return flow["flow"], flow["next"], began


def _key(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()


@require_GET
@login_not_required
@sensitive_variables()
def callback(request: HttpRequest) -> HttpResponse:
    """Entra sends the browser back. Whatever comes of it, the address with the code is left with a 303."""
    taken = _take(request, request.GET.get("state", ""))
    if taken is None:
        return _failed(request, "expired")
    flow, next_page, began = taken
    client = TokenClient()
    try:
        result = client.finish_flow(flow, request.GET.dict())
        if "error" in result:
            return _failed(request, _why(result), code=_code(result))
        claims = identity.verify(result.get("id_token", ""), nonce=flow["nonce"])
    except SignInAgain:
        return _failed(request, "expired")
    except UpstreamError as error:
        logger.warning("a sign-in could not be finished: %s", error)
        return _failed(request, _whose(error))
    except identity.NotGenuine as error:
        logger.warning("an ID token was refused: %s", error)
        return _failed(request, "other")
    except identity.WrongTenant as error:
        _note_refusal(error.claims, "tenant")
        return _failed(request, "tenant")
    if not claims.roles:
        _note_refusal(claims, "norole")
        return _failed(request, "norole")
    return _let_in(request, claims, client.state, next_page, _proof(flow, claims, began))


def _proof(flow: dict[str, Any], claims: Claims, began: datetime) -> dict[str, Any]:
    """What a sign-in that was to prove who this is has proved, for `sessions.start`.

    The address with `prompt=login` goes through the browser, where anybody may take that out. So it is the signed
    `auth_time` that counts: they told Entra who they are after we had asked. Without one there is no proof.
    """
    if "login" not in parse_qs(urlsplit(flow["auth_uri"]).query).get("prompt", []):
        return {}
    if claims.proved_at is None:
        logger.warning("Entra gave no auth_time: the app registration needs it as an optional claim of ID tokens")
        return {"unproved": "untold"}
    return {"proved_at": claims.proved_at} if claims.proved_at >= began - sessions.SKEW else {"unproved": "silent"}


@sensitive_variables("state")
def _let_in(request: HttpRequest, claims: Claims, state: str, next_page: str, proof: dict[str, Any]) -> HttpResponse:
    operator = operator_of(claims)
    sessions.start(request, operator, grants.save_new(operator, state), **proof)
    audit.note(SIGN_IN, audit.Result(outcome=AuditEvent.Outcome.DONE), by=operator)
    return _see_other(next_page)


# --- The way out --------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@login_not_required
def sign_out(request: AnyRequest) -> HttpResponse:
    """POST ends the session and offers Microsoft's own sign-out. GET is where that one leads back to.

    A link and no redirect: `form-action` would hold for the whole chain of redirects of a form.
    """
    grant = request.grant
    if request.method == "GET":
        return redirect("home") if grant else render(request, "signin/card.html", {"state": "signed_out"})
    if grant:
        audit.note(SIGN_OUT, audit.Result(outcome=AuditEvent.Outcome.DONE), by=grant.operator)
    sessions.end(request)
    request.grant = None
    response = render(request, "signin/signed_out.html", {"entra_signout_url": _entra_signout_url()})
    response.delete_cookie(settings.CSRF_COOKIE_NAME, samesite="Lax")
    response["Clear-Site-Data"] = '"cache", "storage"'
    return response


def _entra_signout_url() -> str:
    try:
        page = identity.discovery().end_session_endpoint
    except UpstreamError:
        page = ""
    page = page or f"{settings.ENTRA_AUTHORITY}/{settings.ENTRA_TENANT_ID}/oauth2/v2.0/logout"
    return f"{page}?{urlencode({'post_logout_redirect_uri': _our(reverse('signout'))})}"


@require_GET
@login_not_required
def session(request: AnyRequest) -> HttpResponse:
    """Am I still signed in? 204 or 401; asking keeps nothing alive."""
    return HttpResponse(status=204 if request.grant else 401)


# --- What can go wrong --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """How one kind of failure is told. `copy_text` is for whoever can help; `{…}` are our own settings."""

    status: int
    title: str
    body: str
    copy_text: str = ""


FAILURES = {
    "expired": Failure(
        400,
        "Start again",
        "This sign-in was started too long ago, in another browser, or was used already. Nothing happened.",
    ),
    "consent": Failure(
        403,
        "Consent is missing",
        "Partner Desk may not act in your name yet. An administrator of your tenant consents once, for everybody.",
        "Partner Desk needs admin consent. Open this page as an administrator and accept: "
        "{authority}/{tenant}/adminconsent?client_id={client}",
    ),
    "tenant": Failure(
        403,
        "This account is of another tenant",
        "Sign in with an account of the tenant {tenant}. Choose “Use another account” at Microsoft.",
    ),
    "norole": Failure(
        403,
        "You have no role in Partner Desk",
        "Microsoft knows you, but you have none of the app roles {roles}. {contact} can grant one.",
        "I need one of the app roles {roles} of the enterprise application Partner Desk ({client}).",
    ),
    "conditions": Failure(
        403,
        "Microsoft did not let you in",
        "Your organisation asks for more, for instance a second factor or a managed device. "
        "Try again and follow what Microsoft asks, or show the code to your administrator.",
        "Sign-in to Partner Desk ({client}) was refused by multi-factor authentication or Conditional Access: {code}.",
    ),
    "unreachable": Failure(
        503,
        "Microsoft did not answer",
        "Microsoft Entra did not answer in time. Nothing happened. Try again in a minute.",
    ),
    "setup": Failure(
        502,
        "Microsoft does not accept how Partner Desk is set up",
        "Signing in cannot work before the app registration is mended. Show the code to who runs Partner Desk.",
        "Entra refuses the registration of Partner Desk ({client}): {code}. See “Connect a real tenant” in its README.",
    ),
    "certificate": Failure(
        502,
        "Partner Desk cannot read its certificate",
        "So Microsoft was not asked, and nothing happened. Signing in cannot work before that is mended. "
        "Tell whoever runs Partner Desk.",
        "The file that ENTRA_CLIENT_CERTIFICATE of Partner Desk ({client}) names cannot be read. Check the path, and "
        "that the file belongs to the user that Partner Desk runs as (mode 600).",
    ),
    "other": Failure(
        403,
        "Sign-in did not work",
        "Microsoft, or a check of ours, refused it. Try again; if it stays so, show this to who runs Partner Desk.",
    ),
}

_NUMBERS = {
    "consent": {65001, 65004, 65005, 90008, 90094, 90095},
    "tenant": {50020, 50034, 50177, 50178, 51004, 90072},
    "norole": {50105},
    "conditions": {50005, 50072, 50074, 50076, 50079, 50097, 50131, 50158},  # and all of 53…
    "setup": {50011, 70001, 90002, 500011, 500113, 650057, 700016, 700027, 7000215, 7000218, 7000222},
    "expired": {54005, 70000, 70008, 501481, 9002313},
    "unreachable": {90033, 90036},
}
_WORDS = {
    "access_denied": "consent",
    "consent_required": "consent",
    "interaction_required": "conditions",
    "login_required": "conditions",
    "invalid_client": "setup",
    "unauthorized_client": "setup",
    "server_error": "unreachable",
    "temporarily_unavailable": "unreachable",
}


def _number(result: dict[str, Any]) -> int:
    """The AADSTS number; 0 when none is told. All else of the description is Entra's, with trace ids and names."""
    found = re.match(r"AADSTS(\d{4,8})\b", str(result.get("error_description", "")))
    codes = result.get("error_codes")
    if isinstance(codes, list) and codes and isinstance(codes[0], int):
        return codes[0]
    return int(found[1]) if found else 0


def _why(result: dict[str, Any]) -> str:
    number = _number(result)
    if str(number).startswith("53"):
        return "conditions"
    for why, numbers in _NUMBERS.items():
        if number in numbers:
            return why
    return _WORDS.get(str(result.get("suberror")), _WORDS.get(str(result.get("error")), "other"))


def _whose(error: UpstreamError) -> str:
    """Why Entra could not be asked: for its sake, or for ours."""
    if error.code == tokens.NO_CERTIFICATE:
        return "certificate"
    return "setup" if error.our_fault else "unreachable"


def _code(result: dict[str, Any]) -> str:
    number = _number(result)
    return f"AADSTS{number}" if number else ""


def _failure(why: str, code: str = "") -> dict[str, str]:
    return {"why": why, "code": code, "at": f"{clock.now():%H:%M:%S UTC}"}


def _failed(request: HttpRequest, why: str, code: str = "") -> HttpResponse:
    """Leave the callback's address, and tell the rest on the card."""
    logger.info("a sign-in failed: %s %s", why, code)
    if not request.session.is_empty():  # who has started none here leaves no row: nobody counts how often they come
        request.session[FAILURE] = _failure(why, code)
        if sessions.GRANT not in request.session:  # strangers leave nothing that lasts
            request.session.set_expiry(2 * int(FLOW_LIVES.total_seconds()))
    return _see_other(f"{reverse('signin')}?failed")


def _card(request: HttpRequest, failure: dict[str, str]) -> HttpResponse:
    told = FAILURES[failure.get("why", "expired")]
    names = {
        "authority": settings.ENTRA_AUTHORITY,
        "tenant": settings.ENTRA_TENANT_ID,
        "client": settings.ENTRA_CLIENT_ID,
        "roles": ", ".join(permissions.ROLES),
        "contact": settings.ACCESS_CONTACT[:1].upper() + settings.ACCESS_CONTACT[1:],
        "code": failure.get("code") or "no code was told",
    }
    context = {
        "state": "failed",
        "title": told.title,
        "body": told.body.format(**names),
        "detail": " at ".join(part for part in (failure.get("code"), failure.get("at")) if part),
        "copy_text": told.copy_text.format(**names),
    }
    return render(request, "signin/card.html", context, status=told.status)


def _note_refusal(claims: Claims, why: str) -> None:
    """Somebody whom Entra vouches for was not let in. No operator is made of them."""
    somebody = Operator(tid=claims.tid, oid=claims.oid, name=claims.name, email=claims.email)
    detail = FAILURES[why].title
    audit.note(SIGN_IN, audit.Result(outcome=AuditEvent.Outcome.DENIED, detail=detail, status=403), by=somebody)


def _our(path: str) -> str:
    return f"{settings.PUBLIC_URL}{path}"


def _see_other(url: str) -> HttpResponse:
    response = HttpResponseRedirect(url)
    response.status_code = 303
    return response
