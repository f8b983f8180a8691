"""What a customer has, asked for its rows: rights first, then domains, users and licences. It touches no database but
for its turn (`pace.py`), so several customers are asked side by side.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TypeVar

from customers.access import Access, Action, access_to
from partnerportal import clock
from partnerportal.models import Operator
from partnerportal.upstream.errors import Forbidden, SignInAgain, UpstreamError
from partnerportal.upstream.graph import Graph
from partnerportal.upstream.licences import SubscribedSku
from partnerportal.upstream.partner_center import CustomerProfile, CustomerUser, PartnerCenter, UserPage
from partnerportal.upstream.patience import patiently

from ..licensing import skus_of

NAME_PAGES = 20  # of 500 users each, active or deleted, in which names are looked for
PATIENCE = 3  # pauses before one call that Microsoft may ask for
LONGEST_PAUSE = 20.0  # seconds; a longer one ends the check of that customer

T = TypeVar("T")


@dataclass(frozen=True)
class Answers:
    """What upstream told of one customer. `error`: what ended the asking."""

    access: Access | None = None
    profile: CustomerProfile | None = None
    active: tuple[CustomerUser, ...] = ()
    deleted: tuple[CustomerUser, ...] = ()
    whole: bool = True
    skus: tuple[SubscribedSku, ...] | None = None
    walked_at: datetime | None = None  # when the walk over the users began
    error: UpstreamError | None = None


def ask(tenant_id: str, *, licences: bool, by: Operator, graph: Graph, partner_center: PartnerCenter) -> Answers:
    """Everything that the rows of one customer are judged by. Who may create nobody there is asked for no more.

    Raises `SignInAgain`; any other `UpstreamError` is in the answers.
    """
    access = _patiently(lambda: access_to(tenant_id, by=by, graph=graph))
    if not access[Action.CREATE].yes:
        return Answers(access)
    try:
        profile = _patiently(lambda: partner_center.customer(tenant_id))
        began = clock.now()
        active, all_active = _users(partner_center, tenant_id, deleted=False)
        deleted, all_deleted = _users(partner_center, tenant_id, deleted=True)
        with_skus = licences and access[Action.LICENCES].yes
        skus = _patiently(lambda: skus_of(partner_center, tenant_id)) if with_skus else None
    except SignInAgain:
        raise
    except UpstreamError as error:
        return Answers(access, error=error)
    return Answers(access, profile, active, deleted, all_active and all_deleted, skus, began)


def _users(partner_center: PartnerCenter, tenant_id: str, *, deleted: bool) -> tuple[tuple[CustomerUser, ...], bool]:
    """The users of the first pages, and whether these are all. Directory Writers may create whom they may not see."""
    found: list[CustomerUser] = []
    page = None
    try:
        for page in islice(_pages(partner_center, tenant_id, deleted=deleted), NAME_PAGES):
            found += page.users
    except Forbidden:
        return (), False
    return tuple(found), page is None or page.next is None


def _pages(partner_center: PartnerCenter, tenant_id: str, *, deleted: bool) -> Iterator[UserPage]:
    """Page after page; after a pause that Microsoft has asked for, on from where it was."""
    after = None
    while True:
        page = _patiently(
            lambda after=after: next(partner_center.all_users(tenant_id, deleted=deleted, after=after))  # type: ignore[misc]
        )
        yield page
        after = page.next
        if after is None:
            return


def _patiently(call: Callable[[], T]) -> T:
    return patiently(call, pauses=PATIENCE, longest=LONGEST_PAUSE)
