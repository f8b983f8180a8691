"""Where a customer's users are and which domains they have, as far as the portal has seen: counts, and no names.

Microsoft has no such figures. Each page of the users table is counted as it comes, and the largest page of a day is
kept; what was created or moved from here since is counted from the operations. It orders choices, and is never shown.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from customers import countries
from customers.models import Customer
from partnerportal import by_hand, clock
from partnerportal.upstream.partner_center import CustomerUser

from . import names
from .models import Operation, UserTally

MOST_OPERATIONS = 500  # the newest; more would not change the order


@dataclass(frozen=True)
class Tally:
    """Usage location -> users, and domain -> users. What was not seen counts nothing."""

    locations: Counter[str] = field(default_factory=Counter)
    domains: Counter[str] = field(default_factory=Counter)

    def add(self, user_name: str, location: str) -> None:
        """Count a user. What is no country and no domain is left out: a customer's directory may hold anything."""
        domain = names.parted(user_name)[1]
        self.locations.update({location.upper()} & countries.names().keys())
        self.domains.update([domain] if names.DOMAIN.fullmatch(domain) else [])


NOTHING_SEEN = Tally()


def of(customer: Customer) -> Tally:
    """What is known of the users of this customer; no upstream is asked."""
    kept = UserTally.objects.filter(customer=customer).first()
    known = Tally(Counter(kept.locations), Counter(kept.domains)) if kept else Tally()
    for fields in _set_here(customer, since=kept.counted_at if kept else None):
        known.add(fields.get("user_principal_name", ""), fields.get("usage_location", ""))
    return known


def _set_here(customer: Customer, since: datetime | None) -> Iterable[dict[str, Any]]:
    """The fields of the writes to this customer that are done: those that the counted page did not show yet."""
    done = Operation.objects.filter(customer=customer, state=Operation.State.DONE)
    if since:
        done = done.filter(decided_at__gt=since)
    return done.order_by("-pk").values_list("fields", flat=True)[:MOST_OPERATIONS]


def count(customer: Customer, users: Sequence[CustomerUser], *, asked_at: datetime, are_all: bool) -> None:
    """Keep the figures of a page, unless a larger one is known that is less than a day old.

    A page that shows them all (`are_all`) is always better than what is known.
    """
    kept = next(iter(by_hand.read(UserTally, {"customer": customer})), None)
    if kept and not (are_all or len(users) > kept.users or abs(clock.now() - kept.counted_at) >= UserTally.FOR):
        return
    page = Tally()
    for user in users:
        page.add(user.user_principal_name, user.usage_location)
    row = UserTally(
        customer=customer,
        locations=dict(page.locations),
        domains=dict(page.domains),
        users=len(users),
        counted_at=asked_at,
    )
    changing = ["locations", "domains", "users", "counted_at"]
    UserTally.objects.bulk_create([row], update_conflicts=True, unique_fields=["customer"], update_fields=changing)
