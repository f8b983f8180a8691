"""What the database knows of the head and the frame around a customer's users.

Each is read once, and only where it is shown: a table that is swapped has no head. The live list has all of it read
while Partner Center is asked, so that nobody waits for it.
"""

from functools import cached_property

from customers import favourites
from customers.models import Customer, Source
from partnerportal import by_hand, nav
from partnerportal.http import OperatorRequest

from .models import Operation

State = Operation.State

# By hand, as all that every page of users asks (decision 30). What is queued to be created has no user yet.
_UNDECIDED = f"""
    WHERE customer_id = %s AND by_id = %s AND state IN ({", ".join(["%s"] * len(Operation.UNDECIDED))})
        AND NOT (state = %s AND target_id = '')
    ORDER BY id DESC LIMIT 5"""


class Around:
    """Of one request, at the pages of one customer."""

    def __init__(self, request: OperatorRequest, customer: Customer) -> None:
        self._by, self._customer = request.user, customer

    def read(self) -> None:
        """All of it, now."""
        _ = self.sources, self.is_favourite, self.undecided, self.gdap_ends_soon

    @cached_property
    def sources(self) -> list[Source]:
        """All sources: the head tells the ages of some, the foot of the rail those of all."""
        return by_hand.built(Source, by_hand.fetch(Source, "", []))

    @cached_property
    def is_favourite(self) -> bool:
        return favourites.has(self._customer, by=self._by)

    @cached_property
    def undecided(self) -> list[Operation]:
        """One's own writes here of which nobody knows yet what became: found again though their tab is closed."""
        rows = by_hand.fetch(
            Operation, _UNDECIDED, [self._customer.pk, self._by.pk, *Operation.UNDECIDED, State.QUEUED]
        )
        found = by_hand.built(Operation, rows)
        return [each for each in found if each.state == State.UNKNOWN or each.is_due or each.lost]

    @cached_property
    def gdap_ends_soon(self) -> int:
        return nav.gdap_ends_soon()
