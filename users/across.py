"""Users found across all customers, for "Go to customer".

Two checks stand before a name. The GDAP snapshot and the person's groups are joined in the query that searches, so that
nobody is told of a row, of a count or of an index where they may not read; that may be an hour old. So of each customer
with a hit Graph is asked too, as for the live list: a name is shown after a *yes* of the last 60 seconds (TRUST T4).
"""

from collections.abc import Mapping, Sequence
from functools import partial

from django.db.models import Exists, F, OuterRef, Subquery
from django.urls import reverse

from customers import countries, goto, search, standing
from customers.access import Action, Answer, access_to
from customers.models import Customer
from partnerportal import grants
from partnerportal.models import Operator, TokenCache
from partnerportal.upstream.errors import UpstreamError
from partnerportal.upstream.http import budget
from partnerportal.upstream.together import all_of

from .index import TEXTS
from .models import IndexedUser

SHORTEST = 3  # characters; two would be found nearly everywhere
MOST = 5
LOOKED_AT = 100  # users among whom those are looked for who may be shown
CUSTOMERS = 20  # of which Graph is asked for one search
SECONDS = 3.0  # for all of them: somebody is typing


def find(text: str, *, by: Operator, grant: TokenCache) -> goto.Group | None:
    """For "Go to customer": users of all customers where `by` may read users, as links to them. One query, and Graph.

    Their customer stands beside them; one whose customer left the list is not found. A customer that has hits and whose
    rights could not be checked is named, and its users are not.
    """
    if len(text) < SHORTEST or not search.words(text):
        return None
    customer = Customer.objects.filter(listed=True, tenant_id=OuterRef("index__tenant_id"))
    mine = standing.reading_users(by).filter(tenant_id=OuterRef("index__tenant_id"))
    rows = IndexedUser.objects.filter(search.condition(text, of=TEXTS), Exists(mine), walk=F("index__copy"))
    rows = rows.filter(deleted=False)  # a customer's own search has them, and says so
    rows = rows.annotate(
        customer_name=Subquery(customer.values("name")[:1]), customer_key=Subquery(customer.values("key")[:1])
    ).exclude(customer_key=None)
    found = list(rows.select_related("index").defer("search_text").order_by("sort_name", "pk")[:LOOKED_AT])
    told = _may_read(found, by=by, grant=grant)
    shown = [row for row in found if told.get(_tenant(row)) is Answer.YES][:MOST]
    for index in {row.index_id: row.index for row in shown}.values():
        index.use()
    words = countries.fold(text).split()
    hits = [
        goto.Hit(
            reverse("user", args=[row.customer_key, row.user_id]),
            goto.pieces(row.display_name or row.user_principal_name, words),
            goto.pieces(f"{row.customer_name}: {row.user_principal_name}", words),
        )
        for row in shown
    ]
    not_asked = Answer.YES if len(shown) == MOST else Answer.CANNOT_TELL  # there was no need to
    open_ones = [row for row in found if told.get(_tenant(row), not_asked) is Answer.CANNOT_TELL]
    not_shown = tuple({_tenant(row): row.customer_name for row in open_ones}.values())
    return goto.Group("Users", hits, not_shown) if hits or not_shown else None


def _may_read(found: Sequence[IndexedUser], *, by: Operator, grant: TokenCache) -> dict[str, Answer]:
    """Tenant id -> whether the operator may see users there, by Graph or the memo of the last 60 seconds.

    Asked until enough users may be shown, the best hits first: side by side, of `CUSTOMERS` at most, within `SECONDS`.
    What did not come by then is *cannot tell*.
    """
    told: dict[str, Answer] = {}
    try:
        with budget(SECONDS):
            graph = grants.graph(grant) if found else None
            while graph and (tenants := _to_ask(found, told)):
                asked = all_of(*(partial(access_to, tenant, by=by, graph=graph) for tenant in tenants))
                told |= {tenant: access[Action.LIST].answer for tenant, access in zip(tenants, asked, strict=True)}
                if len(told) >= MOST and set(told.values()) == {Answer.CANNOT_TELL}:
                    return told  # it is Graph that is silent: no more of that at each letter
    except UpstreamError:  # no token to ask with; whoever goes on to a customer is told
        return told
    return told


def _to_ask(found: Sequence[IndexedUser], told: Mapping[str, Answer]) -> list[str]:
    """The customers of the best hits that may still turn out to be shown, as far as nobody was asked about them."""
    hopeful = [row for row in found if told.get(_tenant(row), Answer.YES) is Answer.YES][:MOST]
    return [each for each in dict.fromkeys(map(_tenant, hopeful)) if each not in told][: CUSTOMERS - len(told)]


def _tenant(row: IndexedUser) -> str:
    return row.index.tenant_id
