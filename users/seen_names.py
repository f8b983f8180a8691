"""Which user names a customer has, as one walk showed them: shared by all creates of a quarter of an hour.

Two things hang on it. A name that nobody had just before a create left makes the user whom a look-up finds ours, when
the answer never came. And whoever creates a user with the name of a deleted one may want Restore instead. Partner
Center finds nobody by name, so both take a walk over the active users and then the deleted ones. What is kept of it
are hashes: they tell that a name was not there, and nothing else. Where one may have been, whoever asks walks anew.
"""

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.utils.crypto import salted_hmac

from customers.models import Customer
from partnerportal import by_hand, clock
from partnerportal.upstream.http import budget
from partnerportal.upstream.partner_center import LARGEST_PAGE, CustomerUser, PartnerCenter

from .models import Operation, SeenNames

State = Operation.State
PAGES = 20  # of 500, active and deleted together; a create of a larger customer goes without it
SECONDS = 8.0  # of the request's budget, that the walk may take in all
ENOUGH = 5.0  # seconds after which no further page is asked for
JUST_NOW = timedelta(seconds=10)  # so old may a walk be that serves as somebody else's look-up
LAG = timedelta(minutes=2)  # so long after a write a list may not show it


@dataclass(frozen=True)
class Sight:
    """What is known of a user name: since when nobody had it, if that is sure, and the deleted user who had it."""

    absent_at: datetime | None = None
    deleted: CustomerUser | None = None


def look(customer: Customer, user_name: str, partner_center: PartnerCenter) -> Sight:
    """Whether somebody has or had this name; of several deleted ones the last. Raises an `UpstreamError`."""
    kept = _kept(customer)
    if kept is None or not kept.is_fresh:
        with _one_at_a_time(customer):
            kept = _kept(customer)
            if kept is None or not kept.is_fresh:
                return _look_now(customer, user_name, partner_center)
    if _hashed(customer, user_name) in kept.hashes or _written_here(customer, user_name, since=kept.walked_at - LAG):
        return _look_now(customer, user_name, partner_center)
    return Sight(kept.walked_at if kept.whole else None)  # without the active users it says nothing of these


_walks: dict[int, threading.Lock] = {}


@contextmanager
def _one_at_a_time(customer: Customer) -> Iterator[None]:
    """Of all threads that want the first walk over a customer's names one makes it, and the others wait for what it
    has seen; no longer than a walk takes.
    """
    lock = _walks.setdefault(customer.pk, threading.Lock())
    mine = lock.acquire(timeout=SECONDS)
    try:
        yield
    finally:
        if mine:
            lock.release()


def _kept(customer: Customer) -> SeenNames | None:
    return next(iter(by_hand.read(SeenNames, {"customer": customer})), None)


def _look_now(customer: Customer, user_name: str, partner_center: PartnerCenter) -> Sight:
    began = clock.now()
    seen, deleted, whole = _walk_and_keep(customer, partner_center, began)
    same = [user for user in deleted if name_before(user) == user_name.lower()]
    is_absent = whole and user_name.lower() not in seen
    if is_absent and not _written_here(customer, user_name, since=began - LAG):
        return Sight(began)
    return Sight(None, max(same, key=lambda user: str(user.soft_deleted_at or ""), default=None))


def look_ahead(customer: Customer, partner_center: PartnerCenter) -> None:
    """Walk before anybody asks, unless a walk is fresh: the next create finds it done. Raises an `UpstreamError`."""
    kept = SeenNames.objects.filter(customer=customer).first()
    if not (kept and kept.is_fresh):
        _walk_and_keep(customer, partner_center, clock.now())


def _walk_and_keep(
    customer: Customer, partner_center: PartnerCenter, began: datetime
) -> tuple[set[str], list[CustomerUser], bool]:
    """(the names of all users, in small letters, the deleted ones, whether these are all of both)."""
    with budget(SECONDS):
        active, deleted, whole = _walk(customer, partner_center)
    seen = {name_of(user) for user in (*active, *deleted)}
    keep(customer, seen, began, whole=whole)
    return seen, deleted, whole


def look_up(
    customer: Customer, user_name: str, partner_center: PartnerCenter, *, since: datetime | None
) -> tuple[CustomerUser | None, datetime]:
    """(the user who has this name, active or deleted, when the walk began), for what may have been done at `since`.

    That nobody has it is told by a walk that somebody else has just made, too. Raises an `UpstreamError`.
    """
    kept = SeenNames.objects.filter(customer=customer, whole=True).first()
    is_new = kept and since and since < kept.walked_at and timedelta(0) <= clock.now() - kept.walked_at < JUST_NOW
    if kept and is_new and _hashed(customer, user_name) not in kept.hashes:
        return None, kept.walked_at
    began, seen = clock.now(), set()
    for deleted in (False, True):
        for page in partner_center.all_users(customer.tenant_id or "", deleted=deleted):
            for user in page.users:
                if user.user_principal_name.lower() == user_name.lower():
                    return user, began
                seen.add(name_of(user))
    keep(customer, seen, began, whole=True)
    return None, began


def keep(customer: Customer, seen: Collection[str], began: datetime, *, whole: bool) -> None:
    """Keep what a walk that began then has shown, active users and deleted ones (`name_before`), unless too many."""
    if len(seen) > PAGES * LARGEST_PAGE:
        return
    hashes = sorted({_hashed(customer, name) for name in seen})
    row = SeenNames(customer=customer, hashes=hashes, whole=whole, walked_at=began)
    changing = ["hashes", "whole", "walked_at"]
    SeenNames.objects.bulk_create([row], update_conflicts=True, unique_fields=["customer"], update_fields=changing)


def _walk(customer: Customer, partner_center: PartnerCenter) -> tuple[list[CustomerUser], list[CustomerUser], bool]:
    """(active users, deleted users, whether these are all of both). Active ones that are too many are left out."""
    until, left = time.monotonic() + ENOUGH, PAGES
    found: dict[bool, list[CustomerUser]] = {False: [], True: []}
    whole = True
    for deleted in (False, True):
        for page in partner_center.all_users(customer.tenant_id or "", deleted=deleted):
            found[deleted] += page.users
            left -= 1
            if page.next and (left <= 0 or time.monotonic() > until):
                whole = False
                break
        if not whole and not deleted:
            found[False], left = [], PAGES  # the deleted ones are worth a look all the same
    return found[False], found[True], whole


def _written_here(customer: Customer, user_name: str, *, since: datetime) -> bool:
    """Whether a write of ours, which the walk may not have seen, has given or taken this name."""
    found = by_hand.fetch(Operation, _ABOUT[connection.vendor], 2 * [customer.pk, user_name])
    return any(
        each.sent_at is not None
        and each.sent_at >= since
        and not (each.state in (State.REFUSED, State.CONFLICT, State.DENIED) and each.checked_at is None)  # a sure no
        for each in by_hand.built(Operation, found)
    )


# As `UserNameIn` has it in the two indexes: a run writes thousands of them within a quarter of an hour.
_BOTH = (
    "WHERE id IN (SELECT id FROM users_operation WHERE customer_id = %s AND {0} = UPPER(%s) UNION "
    "SELECT id FROM users_operation WHERE customer_id = %s AND {1} = UPPER(%s))"
)
_ABOUT = {
    "sqlite": _BOTH.format(*(f"UPPER(JSON_EXTRACT({name}, '$.user_principal_name'))" for name in ("fields", "before"))),
    "postgresql": _BOTH.format(*(f"UPPER({name} ->> 'user_principal_name')" for name in ("fields", "before"))),
}


def name_of(user: CustomerUser) -> str:
    """The name that a user has, or had before they were deleted, in small letters."""
    return name_before(user) if user.is_deleted else user.user_principal_name.lower()


def name_before(user: CustomerUser) -> str:
    """The name that a deleted user had, in small letters."""
    return former_name(user).lower()


def former_name(user: CustomerUser) -> str:
    """The name that a deleted user had: Entra puts the object id, without dashes, before it."""
    name, mark = user.user_principal_name, user.id.replace("-", "").lower()
    return name[len(mark) :] if mark and name.lower().startswith(mark) else name


def _hashed(customer: Customer, name: str) -> str:
    about = f"{customer.tenant_id}/{name.lower()}"
    return salted_hmac("users.SeenNames", about, algorithm="sha256").hexdigest()[:32]
