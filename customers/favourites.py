"""The customers that an operator keeps at hand, and those they opened last."""

import contextlib
from typing import Any

from django.db import IntegrityError, models, transaction
from django.db.models import F, Value

from partnerportal import by_hand, clock
from partnerportal.models import Operator

from . import snapshot
from .find import access_customer
from .models import Customer, Favourite, Visit

VISITS = 20  # kept a person


def has(customer: Customer, *, by: Operator) -> bool:
    """Whether this is a favourite of theirs."""
    return bool(by_hand.read(Favourite, {"operator": by, "customer": customer}))


def keep(customer: Customer, *, by: Operator) -> None:
    """Make it a favourite; once is enough."""
    with transaction.atomic():
        snapshot.hold()  # somebody may just have made it one with another, which is then the one to keep
        Favourite.objects.get_or_create(operator=by, customer=access_customer(customer.key))


def drop(customer: Customer, *, by: Operator) -> None:
    """No favourite (any more)."""
    Favourite.objects.filter(operator=by, customer=customer).delete()


def visited(customer: Customer, *, by: Operator) -> None:
    """Remember that they opened this customer just now, and forget what is too long ago.

    Mostly they have been here before, which is one small update.
    """
    if by_hand.change(Visit, {"operator": by, "customer": customer}, {"at": clock.now()}):
        return
    with contextlib.suppress(IntegrityError):  # somebody made it one with another just now; the next visit counts
        Visit.objects.bulk_create(
            [Visit(operator=by, customer=customer, at=clock.now())],
            update_conflicts=True,
            unique_fields=["operator", "customer"],
            update_fields=["at"],
        )
    newest = Visit.objects.filter(operator=by).order_by("-at", "-pk")[:VISITS]
    Visit.objects.filter(operator=by).exclude(pk__in=newest.values("pk")).delete()


def at_hand(by: Operator, *, recent: int, most: int) -> tuple[list[Customer], list[Customer]]:
    """(the last opened, newest first; the other favourites by name), `most` in all. One query."""
    listed = Customer.objects.filter(listed=True).defer("search_text")
    opened = listed.filter(visit__operator=by).annotate(opened_at=F("visit__at"))
    liked = listed.filter(favourite__operator=by).annotate(opened_at=Value(None, models.DateTimeField(null=True)))
    found: list[Any] = list(opened.union(liked, all=True))  # a customer, with `opened_at`
    newest = sorted((one for one in found if one.opened_at), key=lambda one: one.opened_at, reverse=True)[:recent]
    others = [one for one in found if one.opened_at is None and one not in newest]
    return newest, sorted(others, key=lambda one: (one.sort_name, one.pk))[: most - len(newest)]
