"""Users found across all customers, for "Go to customer".

The GDAP snapshot and the person's groups are joined in the query that searches, so that nobody is told of a row, of a
count or of an index where they may not read.
"""

from django.db.models import Exists, F, OuterRef, Subquery
from django.urls import reverse

from customers import countries, goto, search, standing
from customers.models import Customer
from partnerportal.models import Operator

from .index import TEXTS
from .models import IndexedUser

SHORTEST = 3  # characters; two would be found nearly everywhere
MOST = 5


def find(text: str, *, by: Operator) -> goto.Group | None:
    """For "Go to customer": users of all customers where `by` may read users, as links to them. One query.

    Their customer stands beside them; one whose customer left the list is not found.
    """
    if len(text) < SHORTEST or not search.words(text):
        return None
    customer = Customer.objects.filter(listed=True, tenant_id=OuterRef("index__tenant_id"))
    mine = standing.reading_users(by).filter(tenant_id=OuterRef("index__tenant_id"))
    rows = IndexedUser.objects.filter(search.condition(text, of=TEXTS), Exists(mine), walk=F("index__copy"))
    rows = rows.annotate(
        customer_name=Subquery(customer.values("name")[:1]), customer_key=Subquery(customer.values("key")[:1])
    ).exclude(customer_key=None)
    found = list(rows.select_related("index").defer("search_text").order_by("sort_name", "pk")[:MOST])
    for index in {row.index_id: row.index for row in found}.values():
        index.use()
    words = countries.fold(text).split()
    hits = [
        goto.Hit(
            reverse("user", args=[row.customer_key, row.user_id]),
            goto.pieces(row.display_name or row.user_principal_name, words),
            goto.pieces(f"{row.customer_name}: {row.user_principal_name}", words),
        )
        for row in found
    ]
    return goto.Group("Users", hits) if hits else None
