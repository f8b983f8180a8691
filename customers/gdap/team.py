"""Who of the people known to the portal can do what at which customer, by the GDAP snapshot.

Their groups are those of their last visit: good enough to know whom to ask, for nothing else.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from partnerportal import clock
from partnerportal.models import Operator
from partnerportal.permissions import Permission, may

from ..access import NEEDED, Action
from ..models import GdapAssignment

Holders = dict[Action, set[str]]
"""Action -> the groups whose members may do it."""


@dataclass(frozen=True)
class Member:
    """One of the staff, with the groups of their last visit."""

    operator: Operator
    groups: frozenset[str]
    writes: bool  # their app role lets them change users

    @classmethod
    def of(cls, operator: Operator) -> "Member":
        return cls(operator, frozenset(operator.groups), may(operator, Permission.WRITE_USERS))

    def can(self, action: Action, holders: Holders) -> bool:
        """Whether GDAP and the app role both say yes."""
        in_portal = self.writes or action is Action.LIST
        return in_portal and not self.groups.isdisjoint(holders.get(action, ()))

    @property
    def read_at(self) -> datetime | None:
        return self.operator.groups_read_at


def members() -> list[Member]:
    """Everybody whose groups are known and who still has an app role, by name."""
    known = Operator.objects.filter(groups_read_at__isnull=False).order_by("name")
    return [member for member in map(Member.of, known) if may(member.operator, Permission.VIEW)]


def holders(tenant_ids: Collection[str]) -> dict[str, Holders]:
    """Tenant -> which groups may do what there now, in one query: the rule of access.py without a person."""
    now = clock.now()
    live = Q(relationship__ends_at=None) | Q(relationship__ends_at__gt=now)
    rows = GdapAssignment.objects.filter(
        live,
        relationship__tenant_id__in=tenant_ids,
        relationship__status="active",
        relationship__gone_at=None,
        status="active",
    ).values_list("relationship__tenant_id", "group_id", "roles", "relationship__roles")
    found: dict[str, Holders] = defaultdict(lambda: defaultdict(set))
    for tenant_id, group_id, roles, ceiling in rows:
        for action, enough in NEEDED.items():
            if not set(roles).intersection(ceiling).isdisjoint(enough):
                found[tenant_id][action].add(group_id)
    return found


def who_can(action: Action, groups: Holders, team: Iterable[Member]) -> list[Member]:
    """Those of the team who can do it where these groups hold the roles."""
    return [member for member in team if member.can(action, groups)]
