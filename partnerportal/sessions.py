"""How long somebody stays signed in, and what ends it.

The session holds the id of a `TokenCache` row and four facts: since when, last seen, last
proved (or why not), and the mode. No token, no claim, no password. The row is the sign-in: where it is gone, nobody is
signed in.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.base import UpdateError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.dispatch import Signal
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from partnerportal import by_hand, clock
from partnerportal.models import Operator, TokenCache, new_session_salt

GRANT = "grant"
SIGNED_IN_AT = "signed_in_at"
SEEN_AT = "seen_at"
PROVED_AT = "proved_at"  # when the person told Microsoft who they are, because we asked for that; 0 = never
UNPROVED = "unproved"  # one of `UNPROVED_WORDS`, when we asked for that and got none
MODE = "mode"
CHALLENGE = "challenge"

PER_PERSON = 5
JUST_NOW = timedelta(seconds=60)
SEEN_EVERY = timedelta(seconds=30)  # a session is not written anew for every click
SKEW = timedelta(seconds=120)
PROOF_HOLDS = timedelta(minutes=15)
UNPROVED_WORDS = {
    "silent": "Microsoft let you in without asking who you are, so that sign-in proves nothing. Sign in again, and "
    "give your password or your key there.",
    "untold": "Microsoft did not say when you last gave your password or your key, so that sign-in proves nothing. "
    "Whoever runs Partner Desk has to add the optional claim auth_time to its app registration.",
}

renewed = Signal()
"""In one browser, a sign-in took the place of an older one of the same person: `old` and `new`, ids of TokenCache."""


def mode() -> str:
    """A session of the sandbox is worth nothing in production, and the other way round."""
    return "sandbox" if settings.SANDBOX else "production"


def start(
    request: HttpRequest,
    operator: Operator,
    grant: TokenCache,
    *,
    proved_at: datetime | None = None,
    unproved: str = "",
) -> None:
    """Sign `operator` in with a fresh session key. Their oldest sessions end when there are too many.

    `proved_at`: when they told Microsoft who they are, in a sign-in that was to prove it; `unproved`: why it did not.
    """
    replaced = request.session.get(GRANT)
    auth.login(request, operator)
    request.session.set_expiry(None)
    now = clock.now().timestamp()
    request.session.update({GRANT: str(grant.pk), SIGNED_IN_AT: now, SEEN_AT: now, MODE: mode()})
    request.session[PROVED_AT] = proved_at.timestamp() if proved_at else 0
    request.session.pop(UNPROVED, None)
    if unproved:
        request.session[UNPROVED] = unproved
    copies = TokenCache.objects.filter(operator=operator, goes_on=False).exclude(job=None)
    copies.filter(Q(belongs_to=None) | Q(belongs_to=replaced)).update(belongs_to=grant)  # jobs go on with this one
    if replaced:
        _take_over(replaced, grant)
    sign_ins = TokenCache.objects.filter(operator=operator, job=None)
    newest = sign_ins.order_by("-created_at", "-pk")[:PER_PERSON]
    sign_ins.exclude(pk__in=list(newest.values_list("pk", flat=True))).delete()


def _take_over(replaced: str, grant: TokenCache) -> None:
    """End the sign-in that this browser had before. What the same person was at with it goes on with the newer one:
    whoever signs in anew to prove who they are, in another tab perhaps, must not lose a password that was just set.
    """
    with transaction.atomic():
        older = TokenCache.objects.filter(pk=replaced).first()
        if older and older.operator_id == grant.operator_id:
            for link in TokenCache._meta.related_objects:  # noqa: SLF001 -- public, in spite of its name
                if link.related_model is not TokenCache:
                    theirs: QuerySet[Any] = QuerySet(link.related_model).filter(**{link.field.name: older})
                    theirs.update(**{link.field.name: grant})
            renewed.send(sender=TokenCache, old=older.pk, new=grant.pk)
        TokenCache.objects.filter(pk=replaced).delete()


def end(request: HttpRequest) -> None:
    """Forget the tokens, then the session."""
    if grant := request.session.get(GRANT):
        TokenCache.objects.filter(pk=grant).delete()
    auth.logout(request)


def end_all(operator: Operator) -> None:
    """Every sign-in of this person ends with the next request."""
    TokenCache.objects.filter(operator=operator).delete()
    operator.session_salt = new_session_salt()
    operator.save(update_fields=["session_salt"])


def apply_limits(request: HttpRequest) -> None:
    """End the session that is too old or was idle for too long; else remember that it was used."""
    session = request.session
    if GRANT not in session:
        return
    now = clock.now()
    age, idle = (now - datetime.fromtimestamp(session[key], UTC) for key in (SIGNED_IN_AT, SEEN_AT))
    in_time = -SKEW <= age <= settings.SESSION_ABSOLUTE and -SKEW <= idle <= settings.SESSION_IDLE
    if not in_time or session[MODE] != mode():
        if age <= settings.SESSION_ABSOLUTE:  # idle: nobody has signed out, and "you can leave this page"
            TokenCache.objects.filter(belongs_to=session[GRANT]).update(belongs_to=None)
        end(request)
    elif idle >= SEEN_EVERY and not _asked_by_itself(request):
        session[SEEN_AT] = now.timestamp()
        _save_now(request)


def _save_now(request: HttpRequest) -> None:
    """Before the view, not after it: a session that ended meanwhile must not make an answer vanish that was given."""
    try:
        request.session.save()
    except UpdateError:  # signed out in another tab; or the database is busy, and the next click says it again
        if not still_there(request):
            request.session.flush()
            return
    request.session.modified = False


def still_there(request: HttpRequest) -> bool:
    """Whether the row of this session exists, whatever went wrong when it was written."""
    key = request.session.session_key
    return bool(key) and request.session.exists(str(key))


def current_grant(request: HttpRequest) -> TokenCache | None:
    """The sign-in that this request belongs to, None for strangers. Ends a session whose tokens are gone.

    One query brings the operator along, who becomes `request.user` too.
    """
    kept = request.session.get(GRANT)
    if kept is None:
        return None
    grant = next(iter(by_hand.read(TokenCache, {"pk": kept}, "operator")), None)  # for every request: decision 30
    if grant is None or grant.job is not None or not _belongs_to(request, grant.operator):
        TokenCache.objects.filter(pk=kept, job=None).delete()
        end(request)
        return None
    # Where Django's own middleware keeps it, so that `request.user` asks nobody.
    request._cached_user = grant.operator  # type: ignore[attr-defined]  # noqa: SLF001
    return grant


def _belongs_to(request: HttpRequest, operator: Operator) -> bool:
    """What `auth.get_user` asks of a session: this person, our door, and a salt that was not replaced since."""
    session = request.session
    return (
        session.get(auth.SESSION_KEY) == str(operator.pk)
        and session.get(auth.BACKEND_SESSION_KEY) in settings.AUTHENTICATION_BACKENDS
        and constant_time_compare(session.get(auth.HASH_SESSION_KEY, ""), operator.get_session_auth_hash())
    )


def seconds_left(request: HttpRequest) -> int | None:
    """Until this sign-in ends whatever its owner does; None for strangers."""
    since = request.session.get(SIGNED_IN_AT) if hasattr(request, "session") else None
    return None if since is None else int(since + settings.SESSION_ABSOLUTE.total_seconds() - clock.now().timestamp())


def forget_abandoned() -> int:
    """Destroy the tokens of sessions and jobs that ran out without anybody looking. Returns how many rows that took."""
    now = clock.now()
    ran_out = Q(created_at__lt=now - settings.SESSION_ABSOLUTE) | Q(ends_at__lt=now)
    return TokenCache.objects.filter(ran_out).delete()[0]


def just_signed_in(request: HttpRequest) -> bool:
    """Whether the person stood at Microsoft's door a moment ago, so that sending them back would go in circles."""
    since = clock.now() - datetime.fromtimestamp(request.session[SIGNED_IN_AT], UTC)
    return since < JUST_NOW


def proved_lately(request: HttpRequest) -> bool:
    """Whether the person has told Microsoft who they are within the last 15 minutes, not only clicked through."""
    since = clock.now() - datetime.fromtimestamp(request.session.get(PROVED_AT, 0), UTC)
    return -SKEW <= since <= PROOF_HOLDS


def why_unproved(request: HttpRequest) -> str:
    """Why the last sign-in, though it was to prove something, did not; "" when it was not asked to, or did."""
    return UNPROVED_WORDS.get(request.session.get(UNPROVED, ""), "")


def remember_challenge(request: HttpRequest, *, claims: str) -> None:
    """What the next sign-in has to satisfy: a claims challenge, or just a fresh sign-in ("")."""
    request.session[CHALLENGE] = claims


def take_challenge(request: HttpRequest) -> str | None:
    """The claims that the sign-in which starts now must satisfy; None when nothing asked for it."""
    challenge = request.session.pop(CHALLENGE, None)
    return challenge if isinstance(challenge, str) else None


def _asked_by_itself(request: HttpRequest) -> bool:
    """A page's own polling is no sign of life."""
    return request.headers.get("X-Poll") == "1" or request.path_info.endswith(("/session/", "/users/ahead/"))
