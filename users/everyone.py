"""Every user of a customer, live: all pages, with the token of the operator who wants them.

For what takes longer than a request: before each page it is looked whether that sign-in is still there, and once a
minute whether its owner may still see users here (TRUST G13).
"""

import time
from collections.abc import Iterator

from django.conf import settings

from customers.access import FRESH_FOR, Action, access_to
from partnerportal import grants
from partnerportal.models import TokenCache
from partnerportal.upstream.errors import Throttled
from partnerportal.upstream.http import budget, remaining
from partnerportal.upstream.partner_center import UserPage
from partnerportal.upstream.patience import patiently

from .table import NoRole

PATIENCE = 2  # pauses before one page that Partner Center may ask for
LONGEST_PAUSE = 20.0  # seconds; a longer one ends the walk
LONGEST_WALK = 1800.0  # seconds


class Ended(Exception):
    """The walk could not come to its end for a reason of ours, which is a sentence."""


def pages(tenant_id: str, *, grant: TokenCache, deleted: bool = False) -> Iterator[UserPage]:
    """Page after page, of at most 500. Raises `Ended`, `NoRole` or an `UpstreamError`; all that came is good then."""
    rights = _Rights(tenant_id, grant)
    with budget(settings.UPSTREAM_BUDGET):
        client = grants.partner_center(grant)
    began, after = time.monotonic(), None
    walk = client.all_users(tenant_id, deleted=deleted)

    def ask() -> UserPage | None:
        nonlocal walk
        rights.check()
        try:
            return next(walk, None)
        except Throttled:
            walk = client.all_users(tenant_id, deleted=deleted, after=after)  # on from where it was
            raise

    while page := patiently(ask, pauses=PATIENCE, longest=min(LONGEST_PAUSE, remaining())):
        yield page
        after = page.next
        if time.monotonic() - began > LONGEST_WALK:
            raise Ended("Partner Center did not come to the end of the list in half an hour.")


class _Rights:
    """What must go on being true while the pages come. What we cannot tell, Partner Center decides with each page."""

    def __init__(self, tenant_id: str, grant: TokenCache) -> None:
        self._tenant_id, self._grant, self._checked_at = tenant_id, grant, float("-inf")

    def check(self) -> None:
        if not TokenCache.objects.filter(pk=self._grant.pk).exists():
            raise Ended("The sign-in that read it has ended.")
        if time.monotonic() - self._checked_at < FRESH_FOR.total_seconds():
            return
        with budget(settings.UPSTREAM_BUDGET):
            access = access_to(self._tenant_id, by=self._grant.operator, graph=grants.graph(self._grant))
        if access[Action.LIST].no:
            raise NoRole(access)
        self._checked_at = time.monotonic()
