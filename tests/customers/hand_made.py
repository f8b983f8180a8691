"""Facts about rights as Graph would tell them, made by hand."""

from datetime import UTC, datetime, timedelta

from customers.access import Facts
from partnerportal.upstream import roles
from partnerportal.upstream.graph import Assignment, Relationship

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TENANT = "11111111-1111-4111-8111-111111111111"
ROLES = {name: role for role, name in roles.NAMES.items()}
USER_ADMIN, WRITERS, READERS = ROLES["User Administrator"], ROLES["Directory Writers"], ROLES["Directory Readers"]


def relationship(
    name="Helpdesk", *, status="active", days=400, changed=None, extends=False, granted=tuple(roles.NAMES)
):
    """A relationship that ends, and was last `changed`, in so many days; None: not told."""
    ends, modified = (None if count is None else NOW + timedelta(days=count) for count in (days, changed))
    return Relationship(f"id of {name}", name, TENANT, status, ends, extends, frozenset(granted), modified_at=modified)


def assignment(*granted, group="mine", status="active"):
    return Assignment(f"{group} {status}", status, group, frozenset(granted or roles.NAMES))


def facts(*pairs, mine=("mine",), **more):
    """`facts((relationship, assignment, …), …)`."""
    return Facts(
        NOW,
        tuple(pair[0] for pair in pairs),
        {pair[0].id: tuple(pair[1:]) for pair in pairs},
        frozenset(mine),
        {"mine": "My group", "theirs": "Their group"},
        sees_others=True,
        **more,
    )
