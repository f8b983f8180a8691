"""AvePoint Elements: the customers whose data the partner backs up (CONTRACT 5).

https://learn.avepoint.com — with our own registration and the scope `partner.customers.read.all`; never anybody's
token, and never anything but reading. A 401 here is about our registration, so no operator is signed out by it.
"""

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.conf import settings

from partnerportal import clock
from partnerportal.upstream.http import Answer, Call, Secret, send
from partnerportal.upstream.paging import NOTHING_YET, Familiar, LoopGuard, Rows, Stretch, same_resource
from partnerportal.upstream.payload import BearerToken, NonEmpty, expect, parse, parse_well, unintelligible

SOURCE = "AvePoint"
SPARE = timedelta(minutes=5)  # a token is renewed so long before it ends
_OURS = "AvePoint did not accept the portal's registration, or its secret has ended."
LONGEST = 24 * 3600  # seconds that we believe a token to last


class AvePointCustomer(msgspec.Struct, frozen=True):
    """`id` is AvePoint's own, opaque, and only sometimes the tenant id; `country` a name, `job_status` an open word."""

    id: str
    organization: str
    owner_email: str
    job_status: str
    country: str


class _Customer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: NonEmpty
    organization: str = ""
    owner_email: str = ""
    job_status: str | int = ""
    country_or_region: str = ""

    def customer(self) -> AvePointCustomer:
        return AvePointCustomer(
            self.id, self.organization, self.owner_email, str(self.job_status), self.country_or_region
        )


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    value: list[Any]
    odata_next: str = msgspec.field(name="@odata.nextLink", default="")
    plain_next: str = msgspec.field(name="nextLink", default="")


class _Customers(msgspec.Struct, frozen=True, kw_only=True):
    """A page whose rows are still to be read."""

    value: list[msgspec.Raw]
    odata_next: str = msgspec.field(name="@odata.nextLink", default="")
    plain_next: str = msgspec.field(name="nextLink", default="")


class _Token(msgspec.Struct, frozen=True, kw_only=True):
    access_token: BearerToken
    expires_in: int = 3600


class AvePoint:
    """Asks as our registration; the token is that of `fetch_token`."""

    def __init__(self, token: Secret) -> None:
        self._token = token
        self.quarantined = 0  # rows of the last `customers()` without a usable id

    def customers(self, familiar: Familiar = NOTHING_YET) -> Iterator[list[Stretch[AvePointCustomer]]]:
        """Page "All customers". The list may be partial by AvePoint's configuration. No paging is documented, but a
        next link is followed where there is one. Rows without an id are counted in `quarantined`; one may come twice.
        """
        url = link = f"{settings.AVEPOINT_URL}/partner/customers"
        rows = Rows(_Customer, _Customer.customer)
        guard = LoopGuard(settings.CUSTOMER_PAGE_LIMIT)
        while True:
            answer = send(Call(source=SOURCE, method="GET", url=link, token=self._token))
            if answer.status == 401:
                forget_token()
            expect(answer, 200, ours=_OURS)
            page, found = _customers(answer, rows, familiar)
            self.quarantined = rows.quarantined
            yield found
            following = page.odata_next or page.plain_next
            if not following:
                return
            link = same_resource(following, url)
            if not link:
                raise unintelligible(answer)
            guard.go_on(link, answer)


def _customers(
    answer: Answer, rows: Rows[_Customer, AvePointCustomer], familiar: Familiar
) -> tuple[_Customers | _Page, list[Stretch[AvePointCustomer]]]:
    """A page of the list, and its rows."""
    page = parse_well(answer, _Customers)
    found = rows.well(page.value, familiar) if page else None
    if page and found is not None:
        return page, found
    strictly = parse(answer, _Page)
    return strictly, rows.one_by_one(answer, strictly.value)


# --- Our own token ------------------------------------------------------------------------------------------

_lock = threading.Lock()
_tokens: dict[tuple[str, str, str], tuple[Secret, datetime]] = {}


def configured() -> bool:
    return bool(settings.AVEPOINT_CLIENT_ID and settings.AVEPOINT_CLIENT_SECRET)


def fetch_token() -> Secret:
    """Page "Get the access token" (client credentials); kept in this process until 5 minutes before its end."""
    key = (settings.AVEPOINT_TOKEN_URL, settings.AVEPOINT_CLIENT_ID, settings.AVEPOINT_SCOPE)
    with _lock:
        kept = _tokens.get(key)
    if kept and kept[1] > clock.now():
        return kept[0]
    answer = send(
        Call(
            source=SOURCE,
            method="POST",
            url=settings.AVEPOINT_TOKEN_URL,
            form=(
                ("client_id", settings.AVEPOINT_CLIENT_ID),
                ("client_secret", Secret(settings.AVEPOINT_CLIENT_SECRET)),
                ("scope", settings.AVEPOINT_SCOPE),
                ("grant_type", "client_credentials"),
            ),
        )
    )
    expect(answer, 200, ours=_OURS)
    found = parse(answer, _Token)
    token = Secret(found.access_token)
    lasts = timedelta(seconds=min(max(found.expires_in, 0), LONGEST))
    with _lock:
        _tokens[key] = (token, clock.now() + lasts - SPARE)
    return token


def forget_token() -> None:
    """The next `fetch_token` asks again."""
    with _lock:
        _tokens.clear()
