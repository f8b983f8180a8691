"""The things of the pretend cloud: people, customers, relationships, rows of the other vendors. Data only."""

from __future__ import annotations

import bisect
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta


@dataclass(slots=True)
class Persona:
    """One of the partner's staff who may sign in."""

    key: str
    name: str
    upn: str
    oid: str
    tid: str
    app_roles: list[str]
    note: str


@dataclass(slots=True)
class Group:
    """A security group of the partner's tenant; members are persona oids and ids of nested groups."""

    id: str
    key: str
    name: str
    members: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """A part of a product, such as Exchange in an office suite."""

    id: str
    service: str
    name: str
    for_tenant: bool = False


@dataclass(frozen=True, slots=True)
class Product:
    """What can be bought and assigned; its id is the SKU (CONTRACT 3.6)."""

    id: str
    part_number: str
    name: str
    plans: tuple[ServicePlan, ...]
    group: str = "group1"


@dataclass(frozen=True, slots=True)
class Subscription:
    """So many units of a product that a customer has bought; suspended ones cannot be assigned."""

    product: Product
    active: int
    suspended: int = 0


@dataclass(frozen=True, slots=True)
class Licence:
    """A unit in the hands of a user, with the plans of it that are switched off."""

    sku_id: str
    excluded: tuple[str, ...] = ()


@dataclass(slots=True)
class User:
    """A person in a customer's directory (CONTRACT 3.3)."""

    id: str
    seq: int
    upn: str
    display_name: str
    first_name: str = ""
    last_name: str = ""
    usage_location: str = ""
    phone: str = ""
    immutable_id: str = ""
    domain_type: str = "none"
    synced_at: datetime | None = None
    deleted_at: datetime | None = None
    password: str = ""
    force_change: bool = False
    licences: tuple[Licence, ...] = ()
    """A deleted user's are what it had."""
    roles: tuple[str, ...] = ()
    """Directory roles by template id, see directory_roles.py."""
    before: User | None = None
    """What readers still see until `settles_at` while replication lags; None: nothing at all."""
    settles_at: datetime | None = None

    def seen(self, now: datetime) -> User | None:
        """This user as a reader sees it now."""
        if self.settles_at is not None and now < self.settles_at:
            return self.before
        return self


SortKey = tuple[str | int, str]


class Directory:
    """The users of one customer. They are made when somebody first looks: 20,000 customers start quickly."""

    def __init__(self, build: Callable[[], Iterable[User]]) -> None:
        self._build = build
        self._users: dict[str, User] | None = None
        self._views: dict[tuple[str, bool], list[SortKey]] = {}
        self._unsettled: set[str] = set()
        self._next_seq = 0

    @property
    def users(self) -> dict[str, User]:
        if self._users is None:
            self._users = {user.id: user for user in self._build()}
            self._next_seq = max((user.seq for user in self._users.values()), default=0) + 1
        return self._users

    def get(self, user_id: str, now: datetime) -> User | None:
        user = self.users.get(user_id.lower())
        shown = user.seen(now) if user else None
        return None if shown is None or purged(shown, now) else shown

    def put(self, user: User, now: datetime, lag: float) -> None:
        """Store a new or changed user; readers see it after `lag` seconds."""
        old = self.users.get(user.id)
        if lag > 0:
            user.before = old.seen(now) if old else None
            user.settles_at = now + timedelta(seconds=lag)
            self._unsettled.add(user.id)
        else:
            user.before, user.settles_at = None, None
            self._unsettled.discard(user.id)
        self.users[user.id] = user
        self._views.clear()

    def new_seq(self) -> int:
        self.users  # noqa: B018 - numbers go on where the seed stopped
        self._next_seq += 1
        return self._next_seq

    def page(
        self, *, deleted: bool, sort: str, descending: bool, after: SortKey | None, size: int, now: datetime
    ) -> tuple[list[User], SortKey | None]:
        """One page, and the key of its last row when there are more behind it."""
        keys = self._view(sort, deleted, now)
        if descending:
            end = len(keys) if after is None else bisect.bisect_left(keys, after)
            start = max(0, end - size)
            chosen, more = list(reversed(keys[start:end])), start > 0
        else:
            start = 0 if after is None else bisect.bisect_right(keys, after)
            chosen, more = keys[start : start + size], start + size < len(keys)
        rows = [seen for _, user_id in chosen if (seen := self.users[user_id].seen(now)) is not None]
        return rows, chosen[-1] if more else None

    def _view(self, sort: str, deleted: bool, now: datetime) -> list[SortKey]:
        self._unsettled -= {i for i in self._unsettled if self._settled(i, now)}
        if not self._unsettled and (sort, deleted) in self._views and not deleted:
            return self._views[sort, deleted]
        keys: list[SortKey] = []
        for user in self.users.values():
            shown = user.seen(now) if user.settles_at else user
            if shown is not None and (shown.deleted_at is not None) == deleted and not purged(shown, now):
                keys.append((sort_value(shown, sort), shown.id))
        keys.sort()
        if not self._unsettled:
            self._views[sort, deleted] = keys
        return keys

    def _settled(self, user_id: str, now: datetime) -> bool:
        user = self.users[user_id]
        if user.settles_at is not None and now < user.settles_at:
            return False
        user.before, user.settles_at = None, None
        self._views.clear()
        return True


def purged(user: User, now: datetime) -> bool:
    """Deleted users leave for good after 30 days (CONTRACT 3.4)."""
    return user.deleted_at is not None and now - user.deleted_at > timedelta(days=30)


def sort_value(user: User, sort: str) -> str | int:
    if sort == "displayname":
        return user.display_name.casefold()
    if sort == "userprincipalname":
        return user.upn.casefold()
    return user.seq


@dataclass(slots=True)
class Customer:
    """A tenant the partner sells to. Its id is the tenant id (CONTRACT 2.1)."""

    id: str
    name: str
    domain: str
    country: str
    city: str
    directory: Directory
    custom_domains: list[str] = field(default_factory=list)
    federated_domains: list[str] = field(default_factory=list)
    subscriptions: tuple[Subscription, ...] = ()
    relationship: str = "reseller"
    delegated_access: bool | None = None
    seq: int = 0

    @property
    def domains(self) -> set[str]:
        return {d.lower() for d in (self.domain, *self.custom_domains)}


@dataclass(slots=True)
class Assignment:
    id: str
    group_id: str
    roles: tuple[str, ...]
    status: str = "active"
    created: datetime | None = None
    modified: datetime | None = None


@dataclass(slots=True)
class Relationship:
    """A GDAP relationship (CONTRACT 4.2). Its roles are the ceiling, not what a person holds."""

    id: str
    name: str
    tenant_id: str
    customer_name: str
    roles: tuple[str, ...]
    status: str
    created: datetime
    activated: datetime | None
    ends: datetime | None
    duration: str = "P730D"
    auto_extend: str = "PT0S"
    assignments: list[Assignment] = field(default_factory=list)

    @property
    def modified(self) -> datetime:
        """When its status last changed, as the printed example has it."""
        ended = self.ends if self.status == "terminated" else None
        return ended or self.activated or self.created

    def with_status(self, status: str, now: datetime) -> Relationship:
        return replace(self, status=status, ends=now)


@dataclass(slots=True)
class AvePointRow:
    own_id: str
    tenant_id: str
    """The Microsoft tenant behind the row; empty where there is none."""
    told_id: str
    """What the row calls its id while `avepoint_id_is_tenant_id` holds."""
    organization: str
    owner_email: str
    job_status: str
    country: str


@dataclass(slots=True)
class GdapRow:
    tenant_id: str
    domain: str
    company: str
    contact: str
    first_name: str
    last_name: str
    synced_at: datetime | None = None


@dataclass(slots=True)
class World:
    """Everything that `reset` makes anew."""

    profile: str
    personas: dict[str, Persona]
    groups: dict[str, Group]
    customers: dict[str, Customer]
    strangers: set[str]
    """Tenants that exist and are not the partner's: 403/20002 rather than 404/60003."""
    relationships: dict[str, Relationship]
    avepoint: list[AvePointRow]
    gdap: dict[str, GdapRow]
    by_tenant: dict[str, list[Relationship]] | None = None
    """Relationships by tenant id, made when first needed; None after a change of the list."""


def guid(rng: random.Random) -> str:
    bits = f"{rng.getrandbits(128):032x}"
    return f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"
