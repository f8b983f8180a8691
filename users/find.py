"""Users found by name, user name or id in the index of one customer.

The caller has asked Microsoft whether the operator may see these users, as for the live list.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from customers import search

from .index import TEXTS
from .models import IndexedUser, UserIndex

SHORTEST = 2  # characters inside a customer
MOST = 100  # users on the page of a search


@dataclass(frozen=True)
class Found:
    """What a search brought, in the order of the names."""

    users: Sequence[IndexedUser] = ()
    are_more: bool = False


def inside(index: UserIndex, text: str) -> Found:
    """The users of one customer whose names or id have every word of the text."""
    if not search.words(text) or len(text) < SHORTEST:
        return Found()
    rows = IndexedUser.objects.filter(search.condition(text, of=TEXTS), index=index, walk=index.copy)
    found = list(rows.defer("search_text").order_by("sort_name", "pk")[: MOST + 1])
    return Found(found[:MOST], are_more=len(found) > MOST)
