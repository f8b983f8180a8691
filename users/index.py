"""The index of a customer's users: built when somebody asks for it, read anew in the background, dropped when unused.

Partner Center finds nobody by name, so the search looks in a copy of names and ids. A walk with the token of whoever
asked reads all pages of 500, of active users and then of deleted ones, and stores them under its own number; once all
are there, one small update makes that number the copy. A walk that breaks off, is killed, or is overtaken by another
changes nothing of what is searched.
Who may look into it is asked anew for each search: `find.py`.
"""

import logging
from collections.abc import Iterable
from datetime import datetime

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q

from customers import countries, search
from customers.models import Customer
from partnerportal import by_hand, clock
from partnerportal.models import Operator, TokenCache
from partnerportal.upstream.errors import Refused, SignInAgain, UpstreamError
from partnerportal.upstream.partner_center import CustomerUser

from . import everyone, seen_names, table
from .models import IndexedUser, UserIndex

log = logging.getLogger(__name__)

TEXTS = search.Texts("users_indexeduser", "users")
BATCH = 2_000  # rows that are dropped at once, for writers wait meanwhile
SIGNED_OUT = "Whoever asked for it has signed out meanwhile."
NO_ROLE = "Whoever asked for it may no longer see the users here."
OUR_FAULT = "We had a fault while we read the users. The log names it."


class LeaseLost(Exception):
    """Another worker has taken this walk over, or nobody wants it any more."""


def of(customer: Customer) -> UserIndex | None:
    """The index of this customer. Never to be shown to anybody of whom it is not sure that they may see the users."""
    return next(iter(by_hand.read(UserIndex, {"tenant_id": customer.tenant_id}, "by")), None)


def request_walk(customer: Customer, *, by: Operator, grant: TokenCache) -> tuple[UserIndex, bool]:
    """The index, with a walk that is open; True when it is a new one. One whose owner has signed out is replaced."""
    index, _ = UserIndex.objects.get_or_create(tenant_id=customer.tenant_id)
    now = clock.now()
    free = UserIndex.objects.filter(Q(open=False) | Q(grant=None), pk=index.pk)
    asked = {"by": by, "grant": grant, "asked_at": now, "published_at": now, "used_at": now}
    try:
        with transaction.atomic():
            is_new = free.update(open=True, fence=F("fence") + 1, leased_until=None, seen=0, problem="", **asked)
    except IntegrityError:  # signed out meanwhile: there is no token to read with
        is_new = False
    index.refresh_from_db()
    return index, bool(is_new)


# --- The walk -----------------------------------------------------------------------------------------------


def carry_out(index_id: int) -> None:
    """Do a walk from its row alone. Safe to call twice, late, or after a kill: the claim decides."""
    index = UserIndex.claim(index_id)
    if index is None:
        return
    try:
        _walk(index)
    except LeaseLost:
        log.warning("the walk %s over the users of %s was taken over", index.fence, index.tenant_id)
    except SignInAgain:
        _broke_off(index, SIGNED_OUT)
    except table.NoRole:
        _broke_off(index, NO_ROLE)
    except (UpstreamError, everyone.Ended) as error:
        _broke_off(index, str(error))
    except Exception:  # a fault of ours must not leave a walk that is open for ever
        log.exception("the walk over the users of %s broke off", index.tenant_id)
        _broke_off(index, OUR_FAULT)


def _walk(index: UserIndex) -> None:
    """All pages, then the swap. A continuation that Partner Center no longer knows is begun again, once."""
    _drop(index, _left_over(index))
    began = clock.now()
    try:
        names = _read(index)
    except Refused as error:
        if error.status not in (400, 410) or not index.seen:
            raise
        _drop(index, Q(walk=index.fence))  # the two must not be mixed
        index.seen, began = 0, clock.now()
        names = _read(index)
    _swap(index, began)
    if customer := Customer.objects.filter(tenant_id=index.tenant_id).first():
        seen_names.keep(customer, names, began, whole=True)  # a create need not walk once more


def _read(index: UserIndex) -> set[str]:
    """Store all pages. Returns the user names that there are, those of deleted users as they were before."""
    names: set[str] = set()
    if index.grant is None:
        raise everyone.Ended(SIGNED_OUT)
    for deleted in (False, True):
        for page in everyone.pages(index.tenant_id, grant=index.grant, deleted=deleted):
            _store(index, page.users)
            names.update(seen_names.name_of(user) for user in page.users)
    return names


def _store(index: UserIndex, users: Iterable[CustomerUser]) -> None:
    """The rows of a page and how far we are, in one transaction: who has lost the walk stores nothing."""
    rows = [_row(index, user) for user in users]
    index.seen += len(rows)
    with transaction.atomic():
        if not index.write(leased_until=clock.now() + UserIndex.LEASE, seen=index.seen):
            raise LeaseLost
        IndexedUser.objects.bulk_create(rows, ignore_conflicts=True)


def _row(index: UserIndex, user: CustomerUser) -> IndexedUser:
    name = seen_names.former_name(user) if user.is_deleted else user.user_principal_name
    told = (user.display_name, name, user.first_name, user.last_name, user.id)
    display_name, user_name = _fit(user.display_name), _fit(name)
    return IndexedUser(
        index_id=index.pk,
        walk=index.fence,
        user_id=user.id,
        deleted=user.is_deleted,
        display_name=display_name,
        user_principal_name=user_name,
        sort_name=countries.fold(display_name or user_name)[:400],
        search_text=search.stored(map(_fit, told)),
    )


def _fit(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:400]


def _swap(index: UserIndex, began: datetime) -> None:
    """From now on what this walk brought is what is searched; what was there before is dropped behind it."""
    users = IndexedUser.objects.filter(index=index, walk=index.fence).count()
    done = {"copy": index.fence, "users": users, "read_at": began, "seen": users}
    if not index.write(open=False, leased_until=None, problem="", **done):
        raise LeaseLost
    _drop(index, Q(walk__lt=index.fence))
    search.settle(connection, TEXTS)


def _broke_off(index: UserIndex, problem: str) -> None:
    """Close a walk that did not come to its end. The copy of before stays as it is."""
    if index.write(open=False, leased_until=None, problem=problem):
        _drop(index, _left_over(index) | Q(walk=index.fence))


def _left_over(index: UserIndex) -> Q:
    """The rows of earlier walks that never became the copy."""
    return Q(walk__lt=index.fence) & ~Q(walk=index.copy)


def _drop(index: UserIndex, which: Q) -> None:
    """Rows that nobody looks at, some at a time."""
    rows = IndexedUser.objects.filter(which, index=index)
    while some := list(rows.values_list("pk", flat=True)[:BATCH]):
        IndexedUser.objects.filter(pk__in=some).delete()


# --- Housekeeping -------------------------------------------------------------------------------------------


def forget_unused() -> int:
    """Drop every index in which nobody has searched for seven days, and end its walk. Returns how many."""
    unused = UserIndex.objects.filter(used_at__lte=clock.now() - UserIndex.UNUSED)
    found = list(unused)
    for index in found:
        unused.filter(pk=index.pk).update(copy=0, read_at=None, open=False, fence=F("fence") + 1)
        _drop(index, Q())
        unused.filter(pk=index.pk).delete()
    return len(found)
