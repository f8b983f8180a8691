"""Rows as a walk brings them, and a walk that puts them in place: for tests that need no cloud."""

from datetime import UTC, datetime, timedelta

from customers import merge, places, snapshot
from customers.models import GRAPH, Customer, ListAnchor, MatchSuggestion, Snapshot, Source, SourceName
from partnerportal import clock
from partnerportal.upstream.avepoint import AvePointCustomer
from partnerportal.upstream.partner_center import CustomerRow

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = [NOON + timedelta(minutes=15 * times) for times in range(1, 6)]


def tenant(number):
    """A tenant id of our own."""
    return f"{number:08x}-1111-4111-8111-{number:012x}"


def pc(tenant_id, name="", domain=""):
    return merge.from_partner_center(CustomerRow(tenant_id, name, domain, "reseller"))


def ap(given_id, name="", *, owner="", status="Working", country=""):
    return merge.from_avepoint(AvePointCustomer(given_id, name, owner, status, country))


def walk(partner_center=None, avepoint=None, *, at=NOON, minutes=0, **more):
    """Put complete walks in place; a source that is left out was not walked."""
    walks = {SourceName.PARTNER_CENTER: partner_center, SourceName.AVEPOINT: avepoint}
    rows = {source: rows for source, rows in walks.items() if rows is not None}
    merge.swap(rows, at + timedelta(minutes=minutes), **more)


def gdap_was_read():
    """As after a first read of the snapshot: what is not in it, is not there."""
    Source.objects.update_or_create(name=GRAPH, defaults={"last_good_at": clock.now()})


def suggestions():
    return {
        (suggestion.partner_center.name, suggestion.avepoint.name, suggestion.reason)
        for suggestion in MatchSuggestion.objects.select_related("partner_center", "avepoint")
    }


def sources():
    """Key -> which sources tell of the customer, for those that are in the list."""
    return {customer.key: customer.source_words for customer in Customer.objects.filter(listed=True)}


def kept():
    """The facts as they are stored; pages count for themselves where no source was ever read."""
    return snapshot.Facts.of(Snapshot.objects.get().facts)


def known_rows():
    """Where the known rows say that they stand, and where they do."""
    said, true = set(), set()
    anchors = list(ListAnchor.objects.all())
    held = places.held({known.values[-1] for known in anchors})
    for sort in [*places.SORTS, *(f"-{key}" for key in places.SORTS)]:
        in_order = list(Customer.objects.listed().in_order(sort).values_list("pk", flat=True))
        for known in (known for known in anchors if known.sort == sort):
            pk = known.values[-1]
            said.add((sort, known.place, pk, repr(known.values)))
            now = held[sort.removeprefix("-")].get(pk, [])
            true.add((sort, in_order.index(pk), pk, repr([places._plain(value) for value in now])))
    return said, true
