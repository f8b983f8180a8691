"""The seed's groups and GDAP relationships: who holds which role where, and through what (CONTRACT 4)."""

from __future__ import annotations

import hashlib
import random
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from .directory import Assignment, Customer, Relationship

# Role template ids, CONTRACT 4.3.
ROLE: Final = {
    "User Administrator": "fe930be7-5e62-47db-91af-98c3a49a38b1",
    "Directory Writers": "9360feb5-f418-4baa-8175-e2a00bac4301",
    "Directory Readers": "88d8e3e3-8f55-4a1e-953a-9b9898b8876b",
    "Global Reader": "f2ef992c-3afb-46b9-b7cf-a126ee74c451",
    "License Administrator": "4d6ac14f-3453-41d0-bef9-a3e0c569773a",
    "Helpdesk Administrator": "729827e3-9c14-49f7-bb1b-9608f156bbb8",
    "Privileged Authentication Administrator": "7be44c8a-adaf-4e2a-84d6-ab2649e08a13",
    "Privileged Role Administrator": "e8611ab8-c189-46e8-94e1-60213ab1f814",
}
USER_ADMIN, WRITERS, READERS = ROLE["User Administrator"], ROLE["Directory Writers"], ROLE["Directory Readers"]
LICENSES, GLOBAL_READER = ROLE["License Administrator"], ROLE["Global Reader"]
CEILING = (USER_ADMIN, WRITERS, READERS, GLOBAL_READER, LICENSES, ROLE["Privileged Authentication Administrator"])

_NAMESPACE = b"partner desk seed"


@lru_cache(maxsize=1024)  # all of the demo, which is planted anew at each reset
def stable_id(*parts: str) -> str:
    """The same id for the same words; `uuid5` would take most of the start of 20,000 customers."""
    digest = hashlib.blake2b(" ".join(parts).encode(), digest_size=16, key=_NAMESPACE).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:]}"


GROUP_NAMES: Final = {
    "admin_agents": "AdminAgents",
    "helpdesk_agents": "HelpdeskAgents",
    "sales_agents": "SalesAgents",
    "user_admins": "GDAP Helpdesk Tier 1",
    "writers": "GDAP Directory Writers",
    "readers": "GDAP Read-only baseline",
    "nested_admins": "GDAP Consolidated Messenger",
    "night_shift": "Night shift",
    "empty": "GDAP Nobody yet",
    **{f"tier_{number:02d}": f"GDAP Litware tier {number:02d}" for number in range(1, 46)},
}
GROUP_IDS: Final = {key: stable_id("group", key) for key in GROUP_NAMES}

_ADMIN_GRANT = ("user_admins", (USER_ADMIN, LICENSES))
_WRITER_GRANT = ("writers", (WRITERS, READERS))
_READER_GRANT = ("readers", (READERS,))
Grant = tuple[str, tuple[str, ...]]


def _relationship(
    customer: Customer,
    label: str,
    grants: list[Grant],
    now: datetime,
    *,
    ends_in: float = 400,
    status: str = "active",
    roles: tuple[str, ...] = CEILING,
    auto_extend: str = "PT0S",
) -> Relationship:
    # Graph wants the name unique and at most 50 long.
    name = f"{label[:30]} {customer.id[:8]}"
    ends = now + timedelta(days=ends_in)
    live_once = status not in ("approvalPending", "created")
    made = Relationship(
        f"{stable_id('relationship', customer.id, label)}-{customer.id}",
        name,
        customer.id,
        customer.name,
        roles,
        status,
        ends - timedelta(days=730, minutes=2) if live_once else now - timedelta(days=4),
        ends - timedelta(days=730) if live_once else None,
        ends if live_once else None,
        auto_extend=auto_extend,
    )
    for group, granted in grants:
        created = made.activated or made.created
        made.assignments.append(
            Assignment(
                stable_id("assignment", made.id, group),
                GROUP_IDS[group],
                granted,
                created=created,
                modified=created + timedelta(minutes=7),
            )
        )
    return made


def relationships_for(
    customer: Customer, key: str, *, writes: bool, now: datetime, rng: random.Random
) -> list[Relationship]:
    """The relationships of one customer; `key` is its special case or empty."""
    grants: list[Grant] = [_ADMIN_GRANT]
    if writes:
        grants.append(_WRITER_GRANT)
    if key not in ("nested_only", "writer_none") and (key or rng.random() < 0.85):
        grants.append(_READER_GRANT)
    special = _special(customer, key, grants, now)
    if special is not None:
        return special
    extend = "P180D" if rng.random() < 0.5 else "PT0S"
    made = [_relationship(customer, "Helpdesk Tier 1", grants, now, ends_in=rng.randrange(60, 700), auto_extend=extend)]
    if not key and rng.random() < 0.15:
        made.append(_relationship(customer, "Onboarding 2024", [_ADMIN_GRANT], now, ends_in=-90, status="expired"))
    return made


_ENDED: Final = {"expired": ("expired", -7.0), "terminated": ("terminated", -20.0), "past_end": ("active", -1.0)}
_MORE: Final[dict[str, Grant]] = {
    "readonly": ("writers", (READERS,)),
    "writer_only_dw": ("writers", (WRITERS,)),
    "nested_only": ("nested_admins", (USER_ADMIN,)),
    "assignment_pending": _WRITER_GRANT,
    "assignment_gone": _WRITER_GRANT,
}
"""What one relationship of these customers grants beside the usual."""


def _special(customer: Customer, key: str, grants: list[Grant], now: datetime) -> list[Relationship] | None:
    """The relationships of a special customer; None: the usual ones."""
    usual = "Helpdesk Tier 1"
    if key in _ENDED:
        status, days = _ENDED[key]
        return [_relationship(customer, usual, [*grants, _WRITER_GRANT], now, status=status, ends_in=days)]
    if key == "expiring":
        return [_relationship(customer, usual, grants, now, ends_in=11)]
    if key in _MORE:
        made = _relationship(customer, usual, [*grants, _MORE[key]], now)
        if key.startswith("assignment_"):
            made.assignments[-1].status = "pending" if key == "assignment_pending" else "deleting"
        return [made]
    match key:
        case "none":
            return []
        case "pending":
            return [_relationship(customer, usual, [], now, status="approvalPending")]
        case "ceiling":
            low: list[Grant] = [(group, (READERS,)) for group in ("user_admins", "writers", "readers")]
            return [_relationship(customer, "Read-only baseline", low, now, roles=(READERS, GLOBAL_READER))]
        case "union":
            reads: Grant = ("writers", (READERS,))
            second = _relationship(customer, "Project Directory", [("writers", (WRITERS,))], now, ends_in=80)
            return [_relationship(customer, usual, [*grants, reads], now), second]
        case "many_groups":
            tiers: list[Grant] = [
                (f"tier_{number:02d}", (USER_ADMIN,) if number == 45 else (READERS,)) for number in range(1, 46)
            ]
            return [_relationship(customer, "Tiers", tiers, now)]
        case "status_expiring":
            old = _relationship(customer, "Old helpdesk", [_WRITER_GRANT], now, status="expiring", ends_in=0.5)
            return [_relationship(customer, usual, grants, now), old]
    return None
