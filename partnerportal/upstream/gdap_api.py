"""The "GDAP API" of seed 000: AppXite GDAP Bridge 360 (CONTRACT 6).

https://support.appxite.com — asked with the portal's own token. It answers `null` with 401 for a bad token and for
missing rights alike, so that is Forbidden and says both; it never signs an operator out.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings

from partnerportal.upstream.http import Answer, Call, Secret, send
from partnerportal.upstream.payload import BearerToken, Guid, expect, guid, moment, parse, parse_row, plain

SOURCE = "the GDAP API"
_OURS = "The GDAP API refused: its token or permission is missing or has ended."


@dataclass(frozen=True, slots=True)
class GdapCustomer:
    """A customer that the GDAP API has synchronised; `timestamp` is when, if it says so."""

    tenant_id: str
    name: str
    domain: str
    timestamp: datetime | None


class _Accepted(msgspec.Struct, frozen=True, rename="pascal"):
    result: str
    message: str = ""


class _Customer(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    row_key: Guid
    company_name: str = ""
    tenant_domain: str = ""
    timestamp: str = ""


class _Customers(msgspec.Struct, frozen=True, rename="pascal"):
    current_entities_synced: list[Any]


class _Token(msgspec.Struct, frozen=True):
    access_token: BearerToken


def configured() -> bool:
    return bool(
        settings.GDAP_API_TOKEN
        or (settings.GDAP_API_AUTH_URL and settings.GDAP_API_USERNAME and settings.GDAP_API_PASSWORD)
    )


class GdapApi:
    """Gets its token when it is first asked something, and keeps it no longer than it lives itself."""

    def __init__(self) -> None:
        self._kept: Secret | None = None

    def synchronize(self, partner_id: str, email: str) -> str:
        """Asks for a sync of all customers; what it says to that. It runs in the background, without any progress,
        and an e-mail to `email` tells its end. Article 5960403161756; 200 and 202 are both taken.
        """
        query = (("partnerId", guid(partner_id)), ("email", email))
        answer = self._send("POST", "SynchronizePartnerCustomers", query)
        expect(answer, 200, 202, ours=_OURS)
        return plain(parse(answer, _Accepted).message, answer.secrets)

    def customers(self, provider_id: str) -> tuple[GdapCustomer, ...]:
        """Article 5960730069788: what was synchronised so far. Rows without a tenant id are left out."""
        answer = self._send("GET", "Customers", (("providerId", guid(provider_id)),))
        expect(answer, 200, ours=_OURS)
        rows = (parse_row(row, _Customer) for row in parse(answer, _Customers).current_entities_synced)
        return tuple(
            GdapCustomer(row.row_key.lower(), row.company_name, row.tenant_domain, moment(row.timestamp))
            for row in rows
            if row is not None
        )

    def sign_in(self) -> None:
        """Get the token, so that what goes wrong here is told apart from what was asked with it."""
        self._token()

    def _send(self, method: str, path: str, query: tuple[tuple[str, str], ...]) -> Answer:
        url = f"{settings.GDAP_API_URL}{path}"
        return send(Call(source=SOURCE, method=method, url=url, params=query, token=self._token()))

    def _token(self) -> Secret:
        """Article 5960601596060: the password goes in the query string, which is why none is ever logged."""
        if settings.GDAP_API_TOKEN:
            return Secret(settings.GDAP_API_TOKEN)
        if self._kept is None:
            query = (
                ("username", settings.GDAP_API_USERNAME),
                ("password", Secret(settings.GDAP_API_PASSWORD)),
            )
            answer = send(Call(source=SOURCE, method="POST", url=settings.GDAP_API_AUTH_URL, params=query))
            expect(answer, 200, ours=_OURS)
            self._kept = Secret(parse(answer, _Token).access_token)
        return self._kept
