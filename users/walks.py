"""First, Previous, Next through a table that upstream only seeks through.

Partner Center gives a continuation token with each page, forward only. A walk keeps them, sealed, so that Previous
can send an earlier one again. URLs carry a signed cursor: which walk, which page. For a minute it keeps the pages
themselves too: the ones just shown, and the one after, which the browser has asked for meanwhile.
"""

import json
import uuid
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from django.core import signing
from django.db import IntegrityError, transaction

from customers.models import Customer
from partnerportal import by_hand, clock, vault
from partnerportal.models import Operator, TokenCache
from partnerportal.upstream.http import Secret
from partnerportal.upstream.partner_center import CustomerUser, UserPage

from .models import KeptPage, UserWalk

_SIGNER = signing.Signer(salt="users.cursor")


class StrangeCursor(Exception):
    """The cursor is not ours, too old, somebody else's or of another list."""


@dataclass(frozen=True)
class List:
    """Which list is walked: whose users, which of them, in what order, how many a page."""

    customer: Customer
    deleted: bool
    descending: bool
    size: int


@dataclass(frozen=True)
class Place:
    """A page within a walk; page 1 needs no walk."""

    page: int = 1
    walk: UserWalk | None = None

    @property
    def token(self) -> Secret | None:
        """The continuation token that leads to this page; None for the first."""
        return Secret(_tokens(self.walk)[self.page - 2]) if self.walk and self.page > 1 else None

    def cursor(self, page: int) -> str:
        """What stands in the URL of another page of this walk; "" when there is none.

        The first page has one too: it leads back to the page that was shown, an address without a cursor asks anew.
        """
        return _SIGNER.sign(f"{self.walk.pk}.{page}") if self.walk else ""


def find(cursor: str, of: List, *, by: Operator, grant: TokenCache) -> Place:
    """The place that a cursor names. Raises `StrangeCursor`: page 1 is the answer then, and a word about it."""
    if not cursor:
        return Place()
    page = ""
    try:
        walk_id, page = _SIGNER.unsign(cursor).split(".")
        (walk,) = by_hand.read(UserWalk, {"pk": uuid.UUID(walk_id)})  # ValueError: it is gone
        place = Place(int(page), walk)
        is_there = _may_go_on(walk, of, by, grant) and place.page - 2 < len(_tokens(walk))
    except (signing.BadSignature, ValueError, vault.VaultError):
        is_there = False
    if is_there:
        return place
    if page == "1":
        return Place()  # which is there without a walk
    raise StrangeCursor


def _may_go_on(walk: UserWalk, of: List, by: Operator, grant: TokenCache) -> bool:
    """Whether this is their own walk, of this sign-in and over this very list, and was used lately."""
    whose = (walk.operator_id, walk.grant_id) == (by.pk, grant.pk)
    which = (walk.customer_id, walk.deleted, walk.descending, walk.size)
    same = which == (of.customer.pk, of.deleted, of.descending, of.size)
    return whose and same and walk.used_at > clock.now() - UserWalk.IDLE


def leads_back(place: Place, next_token: Secret | None) -> bool:
    """Whether a token leads to a page of this walk that was there before: a list that goes round in a circle."""
    if place.walk is None or next_token is None:
        return False
    return next_token.reveal() in _tokens(place.walk)[: place.page - 1]


def remember(
    place: Place, page: UserPage, of: List, *, by: Operator, grant: TokenCache, asked_at: datetime | None
) -> Place:
    """Keep the token of the page after this one. Starts the walk when page 1 turns out not to be the last.

    What another tab knows of the pages behind it stays. `asked_at`: when the page was asked for, to keep it too; None
    for one that is kept.
    """
    if page.next is None and place.walk is None:
        return place
    here = Place(place.page, place.walk or UserWalk(operator=by, grant=grant, **vars(of)))
    try:
        with transaction.atomic() if asked_at else nullcontext():  # one commit for both
            if not _go_on(here, page.next):
                return Place(place.page)
            if asked_at:
                _keep(here, page, asked_at, is_first=place.walk is None)
    except IntegrityError:  # signed out in another tab meanwhile: there is nobody left to walk on
        return Place(place.page)
    return here


def _go_on(place: Place, next_token: Secret | None) -> bool:
    """Store where the walk leads and that it is used; False when it is gone. Writes nothing that was just written."""
    walk, now = place.walk, clock.now()
    if walk is None:
        return False
    tokens = known = _tokens(walk)
    if next_token is not None:
        tokens = [*known[: place.page - 1], next_token.reveal(), *known[place.page :]]
    if tokens != known:
        walk.sealed_tokens = vault.seal("walk", str(walk.pk), json.dumps(tokens))
    elif timedelta(0) <= now - walk.used_at < UserWalk.USED_EVERY:
        return True
    walk.used_at = now
    if walk._state.adding:  # noqa: SLF001 -- Django's documented place for it
        by_hand.insert(walk)  # for every first page: decision 30
        return True
    rows = UserWalk.objects.filter(pk=walk.pk)
    return bool(rows.update(sealed_tokens=walk.sealed_tokens, used_at=walk.used_at))


def kept(place: Place) -> UserPage | None:
    """The page as it came less than a minute ago, unless somebody here has sent a write to that customer since."""
    if place.walk is None:
        return None
    now = clock.now()
    told = by_hand.adapted(KeptPage, {"walk": place.walk, "page": place.page, "asked_at": now})
    since = by_hand.adapted(KeptPage, {"asked_at": now - KeptPage.FOR})
    rows = by_hand.fetch(KeptPage, _KEPT, [*told, *since, place.walk.customer_id])
    if not rows:
        return None
    (found,) = by_hand.built(KeptPage, rows)
    try:
        users, token = json.loads(vault.open("page", _name(place), bytes(found.sealed)))
        return UserPage(msgspec.convert(users, tuple[CustomerUser, ...]), Secret(token) if token else None)
    except (vault.VaultError, ValueError):  # the keys or the program changed within the minute
        return None


# By hand, for Django takes longer to write it than the database to answer it.
_KEPT = """
    WHERE walk_id = %s AND page = %s AND asked_at <= %s AND asked_at > %s AND NOT EXISTS (
        SELECT 1 FROM users_operation written
        WHERE written.customer_id = %s
            AND (written.sent_at >= users_keptpage.asked_at OR written.decided_at >= users_keptpage.asked_at)
    )"""


def keep(place: Place, page: UserPage, asked_at: datetime) -> None:
    """Keep the page of this place, sealed, in place of what was kept there."""
    with suppress(IntegrityError), transaction.atomic():  # signed out meanwhile: walk and pages are gone
        _keep(place, page, asked_at)


def _keep(place: Place, page: UserPage, asked_at: datetime, *, is_first: bool = False) -> None:
    what = [msgspec.to_builtins(page.users), page.next.reveal() if page.next else None]
    sealed = vault.seal("page", _name(place), json.dumps(what))
    row = KeptPage(walk=place.walk, page=place.page, asked_at=asked_at, sealed=sealed)
    if is_first:  # of its walk, so that none is in its place
        by_hand.insert(row)
        return
    KeptPage.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["walk", "page"], update_fields=["asked_at", "sealed"]
    )


def _name(place: Place) -> str:
    """What a kept page is sealed for: it opens nowhere else."""
    return f"{place.walk.pk if place.walk else ''}.{place.page}"


def _tokens(walk: UserWalk) -> list[str]:
    if not walk.sealed_tokens:
        return []
    return list(json.loads(vault.open("walk", str(walk.pk), bytes(walk.sealed_tokens))))
