"""One-time links: a password goes to the person it is for without passing through chat, mail or a file.

A link is a random token in an address. Whoever has it sees the password once. Of the token we keep a keyed hash; the
password lies sealed beside it until the link was opened, ran out, was revoked, or was tried with ten wrong passphrases.
"""

import secrets
from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.crypto import salted_hmac
from django.views.decorators.debug import sensitive_variables

from partnerportal import audit, clock, vault
from partnerportal.models import AuditEvent, Operator, TokenCache
from partnerportal.upstream.http import Secret

from . import operations
from .models import HandoverKnock, HandoverLink, Operation

State = HandoverLink.State
Outcome = AuditEvent.Outcome
_SEALED_AS = "hand-over"
_DELETED = "The user was deleted: their password is of no use any more."


NOT_KEPT = "the password is not kept any more"


class NothingToHandOver(Exception):
    """The password is not kept any more, is not theirs any more, or this sign-in may not see it. `str()` says which."""


class Gone(Exception):
    """No such link, or none that is open. Which of the two is nobody's business."""


class WrongPassphrase(Exception):
    """The link stays open. The text is for whoever typed it."""


def make(operation: Operation, *, lasts: timedelta, passphrase: Secret, by: Operator, grant: TokenCache) -> Secret:
    """The token of a new link to the password that this operation has set. It is told this once.

    The older open links to passwords of the same user end: one press too many, or a password that has been replaced.
    """
    return _make(operation, lasts, _kept(passphrase), by=by, grant=grant)


def make_several(
    of: Iterable[Operation], *, lasts: timedelta, passphrase: Secret, by: Operator, grant: TokenCache
) -> dict[int, Secret]:
    """Key of an operation -> token of a new link; left out is whose password is not kept, or not theirs any more.

    They share the passphrase and what is kept of it: to hash it takes long, on purpose.
    """
    made, kept = {}, _kept(passphrase)
    for operation in of:
        try:
            made[operation.pk] = _make(operation, lasts, kept, by=by, grant=grant)
        except NothingToHandOver:
            continue
    return made


def _kept(passphrase: Secret) -> str:
    return make_password(passphrase.reveal()) if passphrase else ""


def _make(operation: Operation, lasts: timedelta, passphrase: str, *, by: Operator, grant: TokenCache) -> Secret:
    if operations.newer_password(operation):  # and a link to that one is not to end for this
        raise NothingToHandOver("a newer password was set for this user since")
    password = operations.password_of(operation, by=by, grant=grant)
    if password is None:
        raise NothingToHandOver(NOT_KEPT)
    token, now = Secret(secrets.token_urlsafe(32)), clock.now()
    link = HandoverLink(operation=operation, token_hash=_hashed(token), created_at=now, expires_at=now + lasts)
    link.sealed_password = vault.seal(_SEALED_AS, str(link.pk), password.reveal())
    link.passphrase = passphrase
    told = (
        f"Works once, until {link.expires_at:%Y-%m-%d %H:%M} UTC, {'with' if passphrase else 'without'} a passphrase."
    )
    with transaction.atomic():
        # Of two presses at once the second waits here, and ends the first; a press on Done has taken the password away.
        kept = Operation.objects.filter(pk=operation.pk, state=Operation.State.DONE).exclude(sealed_password=None)
        if not kept.update(fence=F("fence") + 1):
            raise NothingToHandOver(NOT_KEPT)
        replaced = [one for one in _open_ones().filter(_of_same_user(operation)) if _close_as(State.REVOKED, one)]
        link.save(force_insert=True)
        for older in replaced:  # the trail comes last in a transaction
            _note(older, "revoke hand-over link", "A newer link took its place.", by=by)
        _note(link, "make hand-over link", told, by=by)
    return token


def find(token: Secret) -> HandoverLink | None:
    """The link, if it is open. Unknown and used ones go the same way through here, and take the same time."""
    usable = _open_ones().filter(expires_at__gt=clock.now(), tries__lt=HandoverLink.MOST_TRIES)
    return usable.filter(token_hash=_hashed(token)).first()


@sensitive_variables("password")
def open_once(token: Secret, passphrase: Secret) -> tuple[HandoverLink, Secret]:
    """The link and its password, for the first who asks and for nobody else. Raises `Gone` or `WrongPassphrase`."""
    link = find(token)
    if link is None:
        raise Gone
    if link.passphrase:
        _try(link, passphrase)
    try:
        password = vault.open(_SEALED_AS, str(link.pk), bytes(link.sealed_password or b""))
    except vault.VaultError:
        _end(link, State.CLOSED, "It could not be opened: its key is not in VAULT_KEYS any more.")
        raise Gone from None
    if not _end(link, State.OPENED, "The password was shown, once."):
        raise Gone
    return link, Secret(password)


def revoke(link: HandoverLink, *, by: Operator) -> bool:
    """Close it now. False: it was over already."""
    return _end(link, State.REVOKED, "The link does not work any more; it was not opened.", by=by)


def expire() -> None:
    """End what has run out or is of no use, so that nothing sealed outlives its time; forget who asked how often."""
    now = clock.now()
    for link in _open_ones().filter(expires_at__lte=now):
        _end(link, State.EXPIRED, "Nobody opened it in time.")
    for link in _open_ones().filter(tries__gte=HandoverLink.MOST_TRIES):  # whoever counted the last try has died
        _close(link)
    for link in _open_ones().exclude(operation__target_id=""):
        if operations.newer_password(link.operation):
            _end(link, State.REVOKED, "A newer password was set for this user: this one is of no use any more.")
        elif operations.was_deleted(link.operation):
            _end(link, State.DELETED, _DELETED)
    HandoverKnock.objects.filter(minute__lt=_minute() - 1).delete()


def end_of(user_id: str, tenant_id: str) -> None:
    """A user was deleted just now: nobody is to come with a password of theirs any more."""
    for link in _open_ones().filter(operation__tenant_id=tenant_id, operation__target_id=user_id):
        _end(link, State.DELETED, _DELETED)


def may_knock(address: str) -> bool:
    """Count one more request of this address. False: it had its share of this minute."""
    hashed = salted_hmac("users.HandoverKnock", address, algorithm="sha256").hexdigest()
    row, _ = HandoverKnock.objects.get_or_create(address=hashed, minute=_minute())
    within = HandoverKnock.objects.filter(pk=row.pk, count__lt=settings.HANDOVER_REQUESTS_A_MINUTE)
    return bool(within.update(count=F("count") + 1))


def _try(link: HandoverLink, passphrase: Secret) -> None:
    if not passphrase:
        raise WrongPassphrase("Type the passphrase. Whoever sent you the link tells it to you.")
    # Counted before it is looked at: many at a time are no more tries than one after the other.
    if not _open_ones().filter(pk=link.pk, tries__lt=HandoverLink.MOST_TRIES).update(tries=F("tries") + 1):
        raise Gone
    if check_password(passphrase.reveal(), link.passphrase):
        return
    link.refresh_from_db(fields=["tries"])
    left = HandoverLink.MOST_TRIES - link.tries
    if left <= 0:
        _close(link)
        raise Gone
    raise WrongPassphrase(
        f"That is not the passphrase. After {left} more wrong one{'s' if left > 1 else ''} the link closes for good."
    )


def _close(link: HandoverLink) -> None:
    _end(link, State.CLOSED, f"A wrong passphrase was typed {HandoverLink.MOST_TRIES} times.")


def _end(link: HandoverLink, state: State, detail: str, *, by: Operator | None = None) -> bool:
    """The link is over, its secrets are gone and the trail says so, in one transaction. False: it was over before."""
    with transaction.atomic():
        won = _close_as(state, link)
        if won:
            outcome = Outcome.REFUSED if state == State.CLOSED else Outcome.DONE
            action = "revoke hand-over link" if by else f"hand-over link {state}"
            _note(link, action, detail, by=by or _nobody(link, state), outcome=outcome)
    return won


def _close_as(state: State, link: HandoverLink) -> bool:
    now = clock.now()
    ours = _open_ones().filter(pk=link.pk)
    if state == State.OPENED:
        ours = ours.filter(expires_at__gt=now)
    return bool(ours.update(state=state, sealed_password=None, passphrase="", ended_at=now))


def _open_ones() -> QuerySet[HandoverLink]:
    return HandoverLink.objects.filter(state=State.OPEN).select_related("operation__by", "operation__customer")


def _of_same_user(operation: Operation) -> Q:
    known = Q(operation__tenant_id=operation.tenant_id, operation__target_id=operation.target_id)
    return known if operation.target_id else Q(operation=operation)


def _nobody(link: HandoverLink, state: State) -> Operator:
    """Who opened a link, the portal cannot know. It stands in the trail of whoever made it, but not as their deed."""
    maker = link.operation.by
    name = (
        "The portal"
        if state in {State.EXPIRED, State.REVOKED, State.DELETED}
        else f"Whoever has the link of {maker.name}"
    )
    return Operator(tid=maker.tid, oid=maker.oid, name=name[:200])


def _note(link: HandoverLink, action: str, detail: str, *, by: Operator, outcome: str = Outcome.DONE) -> None:
    operation = link.operation
    subject = audit.Subject(
        action=action,
        tenant_id=operation.tenant_id,
        customer_name=operation.customer.name,
        target_id=operation.target_id,
        target_name=operation.target_name,
    )
    audit.note(subject, audit.Result(outcome=outcome, detail=detail), by=by)


def _hashed(token: Secret) -> str:
    return salted_hmac("users.HandoverLink", token.reveal(), algorithm="sha256").hexdigest()


def _minute() -> int:
    return int(clock.now().timestamp()) // 60
