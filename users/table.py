"""One page of a customer's users, live: the list, the rights and the customer's details, asked side by side."""

import contextvars
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

from django.urls import reverse

from customers import learning
from customers.access import Access, Action, access_to, last_known
from customers.models import Customer
from partnerportal import clock, grants
from partnerportal.http import differing, typed, with_query
from partnerportal.models import Operator, TokenCache
from partnerportal.upstream.errors import Refused, SignInAgain, UpstreamError
from partnerportal.upstream.graph import Graph
from partnerportal.upstream.partner_center import CustomerProfile, CustomerUser, PartnerCenter, UserPage

from . import names, tally, walks

SIZES = (25, 50, 100, 200, 500)
KNOWN_VALUES = {"state": ("active", "deleted"), "sort": ("name", "-name"), "size": tuple(map(str, SIZES))}
HEAD_START = 0.005  # seconds in which calls are under way, before this thread takes the processor for other work
PROFILE_FOR = timedelta(hours=24)  # how long details read by id are good enough

Meanwhile = Callable[[], object] | None


class NoRole(Exception):
    """Graph says that this operator may not see the users here. Carries the access that says why."""

    def __init__(self, access: Access) -> None:
        self.access = access
        super().__init__()


@dataclass(frozen=True)
class TableQuery:
    """What the URL of a users table asks for."""

    state: str = "active"
    sort: str = "name"
    size: int = 25
    cursor: str = ""
    unknown: tuple[tuple[str, str], ...] = ()  # (key, value) of what was asked for and does not exist
    fresh: int = 0  # 1: what is kept of this page does not do

    @classmethod
    def read(cls, params: Mapping[str, str]) -> "TableQuery":
        """Unknown keys are ignored; an unknown value becomes the default, and the page says so."""
        given = {key: typed(params, key) for key in KNOWN_VALUES}
        unknown = tuple((key, value) for key, value in given.items() if value and value not in KNOWN_VALUES[key])
        good = {key: value for key, value in given.items() if value in KNOWN_VALUES[key]}
        return cls(
            state=good.get("state", "active"),
            sort=good.get("sort", "name"),
            size=int(good.get("size", 25)),
            cursor=params.get("cursor", "")[:300],
            unknown=unknown,
            fresh=int("fresh" in params),
        )

    @property
    def deleted(self) -> bool:
        return self.state == "deleted"

    @property
    def descending(self) -> bool:
        return self.sort == "-name"

    def url(self, customer: Customer, view: str = "users", **changes: Any) -> str:
        """The table's URL with these changes; without a cursor it is the first page."""
        wanted = replace(self, **{"cursor": "", "unknown": (), "fresh": 0, **changes})
        return with_query(_address(view, customer.key), differing(vars(wanted), vars(TableQuery())))


@lru_cache(maxsize=256)
def _address(view: str, key: str) -> str:
    return reverse(view, args=[key])  # a page has nine of them, of three kinds


@dataclass(frozen=True)
class Table:
    """What came. Exactly one of `page` and `problem` is there."""

    access: Access
    place: walks.Place
    page: UserPage | None = None
    problem: UpstreamError | None = None
    note: str = ""  # why this is not the page that was asked for

    @property
    def users(self) -> tuple[CustomerUser, ...]:
        """Each once, whatever came."""
        return tuple({user.id: user for user in self.page.users}.values()) if self.page else ()


def load(
    customer: Customer, query: TableQuery, *, by: Operator, grant: TokenCache, meanwhile: Meanwhile = None
) -> Table:
    """One page of users, with the rights beside it: exactly one list call, and none for a page that is kept.

    `meanwhile` is done once, and where something is asked, while it is.
    Raises `NoRole`, and `SignInAgain` when the tokens are worth nothing. Any other failure is in the result.
    """
    tenant_id = customer.tenant_id or ""
    partner_center, graph = grants.partner_center(grant), grants.graph(grant)
    wanted = walks.List(customer, query.deleted, query.descending, query.size)
    note = ""
    try:
        place = walks.find(query.cursor, wanted, by=by, grant=grant)
    except walks.StrangeCursor:
        place, note = walks.Place(), "That page is no longer there. This is the first page again."
    asked_at = clock.now()
    page: Any = None if query.fresh else walks.kept(place)
    was_kept = page is not None
    calls: list[Callable[[], Any]] = [] if was_kept else [lambda: _page(partner_center, tenant_id, query, place)]
    calls += _profile(partner_center, customer)
    access, answers = beside_the_rights(customer, *calls, by=by, graph=graph, meanwhile=meanwhile)
    if access[Action.LIST].no:
        raise NoRole(access)
    page, *profile = [page, *answers] if was_kept else answers
    for details in profile:
        if isinstance(details, CustomerProfile):
            learning.learn(customer, details, clock.now())
    if isinstance(page, Refused) and not isinstance(page, SignInAgain) and place.page > 1 and page.status != 403:
        place, note = walks.Place(), "Partner Center no longer knows that page. This is the first page again."
        asked_at = clock.now()
        (page,) = side_by_side(lambda: _page(partner_center, tenant_id, query, place))
    if isinstance(page, SignInAgain):
        raise page
    if isinstance(page, UpstreamError):
        return Table(access, place, problem=page, note=note)
    if walks.leads_back(place, page.next):
        page, note = replace(page, next=None), "Partner Center gives the same page again, so the list ends here."
    place = walks.remember(place, page, wanted, by=by, grant=grant, asked_at=None if was_kept else asked_at)
    learning.see_domains(customer, domains_of(page.users))
    found = Table(access, place, page, note=note)
    if not (was_kept or query.deleted):
        all_of_them = place.page == 1 and page.next is None
        tally.count(customer, found.users, asked_at=asked_at, are_all=all_of_them)
        if place.page == 1:
            learning.see_users(customer, len(found.users), all_of_them=all_of_them, at=asked_at)
    return found


def look_ahead(customer: Customer, query: TableQuery, *, by: Operator, grant: TokenCache) -> None:
    """Ask for the page that the cursor names and keep it: whoever reads the page before it will want it next.

    It leads no further: the page after it is known once it has been shown. Raises `UpstreamError`, and keeps nothing.
    """
    wanted = walks.List(customer, query.deleted, query.descending, query.size)
    try:
        place = walks.find(query.cursor, wanted, by=by, grant=grant)
    except walks.StrangeCursor:
        return
    if place.walk is None or walks.kept(place):
        return
    partner_center, graph = grants.partner_center(grant), grants.graph(grant)
    asked_at = clock.now()
    ask = [lambda: _page(partner_center, customer.tenant_id or "", query, place)]
    access, answers = beside_the_rights(customer, *ask, by=by, graph=graph)
    if access[Action.LIST].no:
        return
    (page,) = answers
    if isinstance(page, UpstreamError):
        raise page
    walks.keep(place, page, asked_at)


def beside_the_rights(
    customer: Customer, *calls: Callable[[], Any], by: Operator, graph: Graph, meanwhile: Meanwhile = None
) -> tuple[Access, list[Any]]:
    """What the operator may do here, and what the calls brought; nothing when the users may not be seen.

    Who could not see them a moment ago is asked for the rights first, and the calls are made only after a yes.
    `meanwhile` is done in this thread, so that it may use the database.
    Raises `SignInAgain` when Graph's token is worth nothing.
    """

    def rights() -> Access:
        return access_to(customer.tenant_id or "", by=by, graph=graph)

    last = last_known(customer.tenant_id or "", by=by)
    first, after = ((), calls) if last and last[Action.LIST].no else (calls, ())
    *answers, access = side_by_side(*first, rights, meanwhile=meanwhile)
    if isinstance(access, UpstreamError):
        raise access
    return access, [] if after and access[Action.LIST].no else answers + side_by_side(*after)


def side_by_side(*calls: Callable[[], Any], meanwhile: Meanwhile = None) -> list[Any]:
    """Run calls that touch no database in threads, under the request's budget. An UpstreamError is a result."""
    if len(calls) < 2:
        if meanwhile:
            meanwhile()
        return [_caught(call) for call in calls]
    with ThreadPoolExecutor(max_workers=len(calls)) as pool:
        futures = [pool.submit(contextvars.copy_context().run, _caught, call) for call in calls]
        if meanwhile:
            wait(futures, timeout=HEAD_START)
            meanwhile()
        return [future.result() for future in futures]


def _caught(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except UpstreamError as error:
        return error


def _page(partner_center: PartnerCenter, tenant_id: str, query: TableQuery, place: walks.Place) -> UserPage:
    return partner_center.users(
        tenant_id, size=query.size, descending=query.descending, deleted=query.deleted, after=place.token
    )


def _profile(partner_center: PartnerCenter, customer: Customer) -> list[Callable[[], CustomerProfile]]:
    """The call that reads the customer by id, when it is a day since somebody did."""
    read_at = customer.profile_read_at
    if read_at and abs(clock.now() - read_at) < PROFILE_FOR:
        return []
    return [lambda: partner_center.customer(customer.tenant_id or "")]


def domains_of(users: Iterable[CustomerUser]) -> dict[str, str]:
    """The domains of users, and what Microsoft calls them: where it says both of one, federated."""
    found: dict[str, str] = {}
    for user in users:
        domain = names.parted(user.user_principal_name)[1]
        kind = user.domain_type if user.domain_type in _KINDS else ""
        found[domain] = max(found.get(domain, ""), kind, key=_KINDS.index)
    return found


_KINDS = ("", "managed", "federated")  # of domains, by what they weigh; "" where it is not told
