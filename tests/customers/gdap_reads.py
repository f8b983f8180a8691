"""How tests bring the GDAP snapshot about: a sign-in through the door, and one read with its token."""

from collections.abc import Callable

from customers.gdap import reading
from customers.models import GRAPH, GdapRead, Source
from partnerportal.models import TokenCache
from partnerportal.sandbox.seed import PERSONA_OIDS

Reads = Callable[..., GdapRead]


def grant_of(persona: str) -> TokenCache:
    """The newest sign-in of that persona."""
    found = TokenCache.objects.filter(operator__oid=PERSONA_OIDS[persona]).select_related("operator")
    return found.order_by("-created_at")[0]


def read_as(persona: str) -> GdapRead:
    """One read with the token of somebody who is signed in, as the worker does it."""
    grant = grant_of(persona)
    read, is_new = reading.request_read(by=grant.operator, grant=grant)
    assert is_new
    reading.carry_out(read.pk)
    read.refresh_from_db()
    return read


def source() -> Source:
    return Source.objects.get(pk=GRAPH)
