"""What "Go to customer" finds: customers by anything that people paste, audit entries by a request's id, and users
where somebody has them searched (`OTHERS`).

Reads our own tables alone, and few rows of them: it answers while somebody types. Only what `OTHERS` find may have
to be asked of Microsoft first, for some seconds at most.
"""

import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from django.db import connection
from django.db.models import Q, QuerySet
from django.urls import reverse

from partnerportal import audit
from partnerportal.models import AuditEvent, Operator, TokenCache

from . import countries, favourites, standing
from .merge import TENANT_ID
from .models import Customer

MOST = 8  # options in all
RECENT = 5

_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")

Pieces = list[tuple[str, bool]]
"""A text in pieces, each with whether it matches what was typed."""


@dataclass(frozen=True)
class Hit:
    """One option: a customer, or an entry of the audit trail."""

    url: str
    name: Pieces
    note: Pieces  # the default domain, else source, country and owner; of an entry the customer
    access: str = ""  # one of standing.WORDS, "" when we cannot tell


@dataclass(frozen=True)
class Group:
    label: str
    hits: list[Hit]  # empty only where something is not shown
    not_shown: tuple[str, ...] = ()  # the customers of which there is more that could not be shown just now


OTHERS: list[Callable[..., Group | None]] = []
"""What the apps above this one find: asked with the text, `by=` and `grant=`. Each app adds its own when ready."""


def find(text: str, *, by: Operator, grant: TokenCache | None = None) -> list[Group]:
    """The options for what was typed; without a text what is at hand.

    With the `grant` of this person, what has to be asked of Microsoft in their name is found too.
    """
    text = " ".join(text.replace("\x00", " ").split())[:200]
    if not text:
        recent, liked = favourites.at_hand(by, recent=RECENT, most=MOST)
        groups = [("Opened last", recent), ("Favourites", liked)]
    else:
        groups = [("Customers", _customers(text))]
    found = [customer for _label, customers in groups for customer in customers]
    at = standing.of(by, found)
    words = _words(text)
    made = [
        Group(label, [_hit(customer, words, at[customer.pk].words) for customer in customers])
        for label, customers in groups
        if customers
    ]
    if text and grant:
        made += [group for look in OTHERS if (group := look(text, by=by, grant=grant))]
    return made or [Group("Audit trail", entries) for entries in [_entries(text, by=by)] if entries]


def _customers(text: str) -> list[Customer]:
    """Exact ids and domains first, then names that begin so, then what else contains it; each by name, and of the
    same name first the one that has users.
    """
    wanted = text.lower()
    host = wanted.rpartition("@")[2]
    if is_user_name := "@" in wanted and bool(_DOMAIN.fullmatch(host)):
        wanted = host
    found = list(_in_one_query(wanted))
    if is_user_name and not found:  # a domain that only its users told us of; rare, and nothing to look it up by
        seen = Customer.objects.filter(listed=True, seen_domains__has_key=host)
        found = list(seen.order_by("sort_name", "pk")[:MOST])
    folded = countries.fold(wanted)

    def rank(customer: Customer) -> tuple[int, str, bool, int]:
        exact = wanted in (customer.tenant_id, customer.domain)
        how = 0 if exact else 1 if customer.sort_name.startswith(folded) else 2
        return how, customer.sort_name, customer.tenant_id is None, customer.pk

    return sorted({customer.pk: customer for customer in found}.values(), key=rank)[:MOST]


def _in_one_query(wanted: str) -> QuerySet[Customer]:
    """A UNION of short lists: asked for in one order, the database would sort all that the search finds."""
    listed = Customer.objects.filter(listed=True).order_by("sort_name", "pk")
    lists = [listed.filter(_begins(countries.fold(wanted))), listed.search(wanted)]
    if TENANT_ID.fullmatch(wanted):
        lists.append(listed.filter(tenant_id=wanted))
    elif _DOMAIN.fullmatch(wanted):
        lists.append(listed.filter(domain=wanted))
    short = [Customer.objects.filter(pk__in=one.values("pk")[:MOST]).defer("search_text") for one in lists]
    return short[0].union(*short[1:], all=True)


def _begins(folded: str) -> Q:
    """Names that begin so, as a range of the index. Where it ends only SQLite can say, whose order is by code."""
    begins = Q(sort_name__startswith=folded, sort_name__gte=folded)
    return begins & Q(sort_name__lt=folded + "\U0010ffff") if connection.vendor == "sqlite" else begins


def _entries(text: str, *, by: Operator) -> list[Hit]:
    """Entries of the audit trail that carry this request id, as far as `by` may read them."""
    try:
        uuid.UUID(text)
    except ValueError:
        return []
    attempts = AuditEvent.objects.all().named(text).values("attempt")
    found = audit.readable(by).filter(kind=AuditEvent.Kind.INTENT, attempt__in=attempts)[:MOST]
    return [
        Hit(
            reverse("audit-event", args=[event.pk]),
            [(f"{audit.deed(event.action)}: {event.target_name or event.customer_name or event.actor_name}", False)],
            [(event.customer_name, False)],
        )
        for event in found
    ]


def _hit(customer: Customer, words: Sequence[str], access: str) -> Hit:
    note = customer.domain or ", ".join(filter(None, (customer.source_words, customer.country, customer.owner_email)))
    return Hit(reverse("users", args=[customer.key]), pieces(customer.name, words), pieces(note, words), access)


def _words(text: str) -> list[str]:
    return countries.fold(text.rpartition("@")[2] or text).split()


def pieces(text: str, words: Iterable[str]) -> Pieces:
    """The text cut where it matches the folded words. Case and accents do not matter; a mark stays at its letter."""
    folded, origin = "", []
    for index, char in enumerate(text):
        part = countries.fold(f"{char}|")[:-1] if not char.isspace() else " "
        folded += part
        origin += [index] * len(part)
    matching: set[int] = set()
    for word in words:
        start = folded.find(word)
        while start >= 0:
            matching.update(origin[start : start + len(word)])
            start = folded.find(word, start + len(word))
    told = set(origin)
    cut: Pieces = []
    for index, char in enumerate(text):
        same = bool(cut) and (index not in told or (index in matching) == cut[-1][1])
        if same:
            cut[-1] = cut[-1][0] + char, cut[-1][1]
        else:
            cut.append((char, index in matching))
    return cut
