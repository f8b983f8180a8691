"""The only way to a customer by its key."""

from django.http import Http404

from partnerportal import by_hand

from .models import Customer, SourceName, SourceRow


def access_customer(key: str) -> Customer:
    """The customer of this key, or of one that it had before. Raises Http404 when it is not in the partner's list."""
    key = key.lower()
    if "\x00" in key:
        raise Http404("no such customer")
    for found in by_hand.read(Customer, {"key": key, "listed": True}):  # for every page of a customer: decision 30
        return found
    # A customer keeps its old addresses when Partner Center comes to know it too, or does so no longer.
    by_avepoint = key.startswith("ap-")
    rows = SourceRow.objects.filter(
        source=SourceName.AVEPOINT if by_avepoint else SourceName.PARTNER_CENTER,
        source_id=key[3:] if by_avepoint else key,
        customer__listed=True,
    )
    for row in rows.select_related("customer"):
        return row.customer
    raise Http404("no such customer")
