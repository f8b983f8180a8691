"""App roles live in ID tokens only, so they are as old as the last one. At most 15 minutes, TRUST T4 says."""

import logging
from datetime import timedelta

from django.db import OperationalError
from django.db.models import Q
from django.http import HttpRequest, HttpResponse

from partnerportal import audit, clock, grants, identity, problems, sessions
from partnerportal.models import AuditEvent, Operator, TokenCache
from partnerportal.problems import Problem
from partnerportal.upstream.errors import SignInAgain, UpstreamError
from partnerportal.upstream.http import budget

logger = logging.getLogger(__name__)

MAX_AGE = timedelta(minutes=15)
ASK_AGAIN_AFTER = timedelta(seconds=60)
SECONDS = 8.0  # of the request's budget


class NoRoleLeft(Exception):
    """The person has no app role any more; every session and job of theirs has been ended."""


NO_ROLE_LEFT = Problem(
    status=403,
    title="You have no role in Partner Desk any more",
    reason="Your app role was taken away, so you were signed out. Nothing was changed.",
)
CANNOT_CHECK = Problem(
    status=503,
    title="We could not check your roles",
    reason="Microsoft Entra did not answer. Nothing was changed, and what you typed is still here.",
    next_step="Try again in a minute. Looking at pages works meanwhile.",
)


def check(request: HttpRequest, grant: TokenCache) -> HttpResponse | None:
    """Read the roles again when they are too old. None = go on; else the answer that stands in the way.

    While Entra or our own database does not answer, pages can be looked at with the roles we know; nothing can be
    changed.
    """
    if not is_old(grant.operator):
        return None
    try:
        return _asked(request, grant)
    except OperationalError:  # whoever is not let in any more could not be signed out, and sees nothing all the same
        logger.exception("the database does not answer")
        return problems.answer(request, problems.busy(unsafe=False))


def _asked(request: HttpRequest, grant: TokenCache) -> HttpResponse | None:
    operator, unsafe = grant.operator, request.method not in ("GET", "HEAD")
    try:
        if not (_is_our_turn(operator) or unsafe):
            return None
        is_known = read_again(grant)
    except OperationalError:
        logger.exception("the roles of operator %s could not be kept", operator.pk)
        return problems.answer(request, problems.busy(unsafe=False)) if unsafe else None
    except SignInAgain as error:
        logger.info("Entra wants the operator %s to sign in again: %s", operator.pk, error.code)
        return _out(request, claims=error.claims)
    except (identity.NotGenuine, identity.WrongTenant) as error:
        logger.warning("the fresh ID token of operator %s fails: %s", operator.pk, error)
        return _out(request)
    except UpstreamError as error:
        logger.warning("the roles of operator %s could not be read: %s", operator.pk, error)
        return problems.answer(request, CANNOT_CHECK) if unsafe else None
    except NoRoleLeft:
        sessions.end(request)
        request.grant = None  # type: ignore[attr-defined]
        return problems.answer(request, NO_ROLE_LEFT)
    return problems.answer(request, CANNOT_CHECK) if unsafe and not is_known else None


def read_again(grant: TokenCache) -> bool:
    """Read the app roles anew. False: Entra gave no fresh ID token, and nothing is known anew.

    Raises `NoRoleLeft` once all sessions and jobs of the person are ended, `NotGenuine`, and an `UpstreamError`.
    """
    operator = grant.operator
    with budget(SECONDS):
        claims = grants.ask_who(grant)
    if clock.now() - claims.issued_at > MAX_AGE:
        logger.warning("Entra gave no fresh ID token for operator %s", operator.pk)
        return False
    if not claims.roles:
        _end_all(operator)
        raise NoRoleLeft
    operator.app_roles, operator.roles_read_at = list(claims.roles), clock.now()
    operator.save(update_fields=["app_roles", "roles_read_at"])
    return True


def is_old(operator: Operator) -> bool:
    """Whether the app roles that we know may not be true any more."""
    return abs(clock.now() - operator.roles_read_at) > MAX_AGE


def _end_all(operator: Operator) -> None:
    """All sessions of this person end, in every browser."""
    operator.app_roles = []
    operator.save(update_fields=["app_roles"])
    sessions.end_all(operator)
    result = audit.Result(outcome=AuditEvent.Outcome.DENIED, detail=NO_ROLE_LEFT.title, status=403)
    audit.note(audit.Subject(action="app role lost"), result, by=operator)


def _is_our_turn(operator: Operator) -> bool:
    """Of all pages that are loaded in one minute, one asks; else a silent Entra would slow down every page."""
    now = clock.now()
    ahead = Q(roles_asked_at__gt=now + ASK_AGAIN_AFTER)  # by a clock that was put right since
    mine = Operator.objects.filter(Q(roles_asked_at__lte=now - ASK_AGAIN_AFTER) | ahead, pk=operator.pk)
    return bool(mine.update(roles_asked_at=now))


def _out(request: HttpRequest, *, claims: str = "") -> HttpResponse:
    sessions.end(request)
    request.grant = None  # type: ignore[attr-defined]
    if claims:
        sessions.remember_challenge(request, claims=claims)
    return problems.sign_in_again(request)
