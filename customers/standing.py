"""What an operator may do at many customers at once, by the snapshot: for lists, filters and counts.

A courtesy: before a write, `access.py` asks Graph itself.
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.core.cache import cache
from django.db import connection
from django.db.models import Exists, IntegerField, OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL

from partnerportal import clock
from partnerportal.models import Operator
from partnerportal.upstream import roles

from .models import GRAPH, Customer, CustomerQuerySet, GdapGrant, Source

WORDS = {"edit": "Edit users", "view": "View only", "none": "None"}
"""Value in URLs -> what the column says."""
LEVELS = {GdapGrant.Level.EDIT.value: "edit", GdapGrant.Level.VIEW.value: "view", 0: "none"}
REMEMBERED = 60  # seconds that a count may be older than the list
PROOF_FOR = timedelta(hours=1)  # so old may be what lets somebody find, where Microsoft is asked before they see


@dataclass(frozen=True)
class Standing:
    """One of `WORDS`; "" when we cannot tell."""

    level: str = ""

    @property
    def words(self) -> str:
        return WORDS.get(self.level, "")


def known(operator: Operator) -> bool:
    """Whether the groups of this person and the snapshot were ever read; else we cannot tell."""
    return operator.groups_read_at is not None and _was_read()


def _was_read() -> bool:
    """Whether there has ever been a snapshot of GDAP. A yes is remembered for an hour."""
    if cache.get("gdap-was-read"):
        return True
    was_read = Source.objects.filter(name=GRAPH).exclude(last_good_at=None).exists()
    if was_read:
        cache.set("gdap-was-read", True, 3600)
    return was_read


def beside(found: CustomerQuerySet, operator: Operator) -> CustomerQuerySet:
    """The customers with `standing_level`: see `LEVELS`; None when we cannot tell."""
    sql, told = level(operator)
    return found.annotate(standing_level=RawSQL(sql, told, IntegerField()))  # noqa: S611  # nosec B611 -- see `level`


def level(operator: Operator) -> tuple[str, list[object]]:
    """`standing_level` of a row of customers as SQL without any text of others, and its parameters."""
    if not known(operator):
        return "CAST(NULL AS integer)", []
    if not operator.groups:
        return "0", []
    groups = [*map(str, operator.groups)]
    now = connection.ops.adapt_datetimefield_value(clock.now())
    return _LEVEL.format(", ".join(["%s"] * len(groups))), [*groups, now]


# By hand: each row of each page has it, and Django took longer to write it than the database to answer the page.
_LEVEL = """
    COALESCE((
        SELECT MAX(level) FROM customers_gdapgrant mine
        WHERE mine.tenant_id = customers_customer.tenant_id AND mine.group_id IN ({})
            AND (mine.ends_at IS NULL OR mine.ends_at > %s)
    ), 0)"""


def shows_users(row: Customer) -> bool:
    """Whether this person may learn how many users there are, and somebody has seen. For rows from `beside`."""
    return bool(row.standing_level) and row.users_seen is not None  # type: ignore[attr-defined]


def role_names(row: Customer) -> list[str]:
    """What the customer has granted the partner, for rows with `relationship_roles`."""
    return sorted(roles.NAMES.get(role, role) for role in row.relationship_roles or ())  # type: ignore[attr-defined]


def of(operator: Operator, customers: Iterable[Customer]) -> dict[int, Standing]:
    """Customer id -> standing, for the rows of one page, in one query."""
    wanted = Customer.objects.filter(pk__in=[customer.pk for customer in customers])
    return {row.pk: Standing(LEVELS.get(row.standing_level, "")) for row in beside(wanted, operator)}  # type: ignore[attr-defined]


def at(found: CustomerQuerySet, operator: Operator, level: str) -> CustomerQuerySet:
    """Those of the customers where this person stands so. Nobody, while we cannot tell."""
    return among(found, operator, [level])


def among(found: CustomerQuerySet, operator: Operator, levels: Collection[str]) -> CustomerQuerySet:
    """Those of the customers where this person stands in one of these ways. Nobody, while we cannot tell."""
    if not known(operator):
        return found.none()
    mine = _mine(operator).filter(tenant_id=OuterRef("tenant_id"))
    any_right, edits = Exists(mine), Exists(mine.filter(level=GdapGrant.Level.EDIT))
    wanted = Q()
    if "edit" in levels:
        wanted |= Q(edits)
    if "view" in levels:
        wanted |= Q(any_right) & ~Q(edits)
    if "none" in levels:
        wanted |= ~Q(any_right)
    return found.filter(wanted)


def without_access(operator: Operator, generation: int, total: int, *, may_count: bool = True) -> int | None:
    """How many of the `total` listed customers this person may do nothing at; None when we cannot tell.

    Counted once for each generation of the list and set of groups, and at most once a minute; with `may_count` off,
    only what is remembered.
    """
    if not known(operator):
        return None
    groups = hashlib.sha256("\n".join(sorted(map(str, operator.groups))).encode()).hexdigest()
    key, now = f"no-access:{groups}", clock.now().timestamp()
    remembered = cache.get(key)
    if remembered and (remembered[0] == generation or 0 <= now - remembered[1] < REMEMBERED):
        return int(remembered[2])
    if not may_count:
        return None
    # Those with a right are counted, for a database finds what is there faster than what is not.
    tenants = _mine(operator).values("tenant_id")
    counted = total - Customer.objects.listed().filter(tenant_id__in=tenants).count()
    cache.set(key, (generation, now, counted), 3600)
    return counted


def reading_users(operator: Operator) -> QuerySet[GdapGrant]:
    """The grants by which this person may see users, to be joined with what only such people may find. No more than a
    sieve: whoever shows a name asks `access.py` first.

    Level "view" and no other: who is a Directory Writer alone edits users and may not list them. Nobody has any while
    their groups or the snapshot are too old to prove it.
    """
    now = clock.now()
    read_at = operator.groups_read_at
    if read_at is None or now - read_at > PROOF_FOR:
        return GdapGrant.objects.none()
    fresh = Source.objects.filter(pk=GRAPH, last_good_at__gt=now - PROOF_FOR)
    return _mine(operator).filter(Exists(fresh), level=GdapGrant.Level.VIEW)


def _mine(operator: Operator) -> QuerySet[GdapGrant]:
    """The grants of this person's groups that have not ended."""
    lasting = Q(ends_at=None) | Q(ends_at__gt=clock.now())
    return GdapGrant.objects.filter(lasting, group_id__in=operator.groups)
