"""Customers and their users as Partner Center tells them (CONTRACT 2 and 3): what callers see, and the payloads.

The calls themselves are methods of `partner_center.PartnerCenter`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from partnerportal.upstream.http import Secret
from partnerportal.upstream.payload import Guid, moment

# --- What callers see ---------------------------------------------------------------------------------------


class CustomerRow(msgspec.Struct, frozen=True):
    """A customer as the list has it. `id` is its tenant id; `relationship` an open word, usually "reseller"."""

    id: str
    name: str
    domain: str
    relationship: str


@dataclass(frozen=True, slots=True)
class CustomerProfile:
    """A customer read by id. `country` is ISO 3166-1 alpha-2, "" without access to the customer's directory."""

    id: str
    name: str
    domain: str
    country: str = ""
    custom_domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CustomerUser:
    """A person in a customer's directory. `state` is "active" or "inactive", `domain_type` "managed" and so on."""

    id: str
    user_principal_name: str
    display_name: str
    first_name: str = ""
    last_name: str = ""
    usage_location: str = ""
    immutable_id: str = ""
    phone_number: str = ""
    state: str = "active"
    domain_type: str = "none"
    last_directory_sync: datetime | None = None
    soft_deleted_at: datetime | None = None

    @property
    def is_deleted(self) -> bool:
        return self.state.lower() == "inactive" or self.soft_deleted_at is not None

    @property
    def is_synced(self) -> bool:
        """The customer's own directory is the master: Partner Center refuses most changes."""
        return self.last_directory_sync is not None


@dataclass(frozen=True, slots=True)
class UserPage:
    """One page of users; `next` is the continuation token of the page after it, None on the last."""

    users: tuple[CustomerUser, ...]
    next: Secret | None = None


# --- What Partner Center writes -----------------------------------------------------------------------------


class _Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Only the members that we use; others, `passwordProfile` first of all, end here."""


class _Header(_Wire, frozen=True):
    key: str = ""
    value: str = ""


class _Link(_Wire, frozen=True):
    uri: str = ""
    headers: tuple[_Header, ...] = ()


class Links(_Wire, frozen=True):
    next: _Link | None = None


class Collection(_Wire, frozen=True):
    items: list[Any]
    links: Links | None = None
    continuation_token: str = ""


class _Address(_Wire, frozen=True):
    country: str = ""


class _Company(_Wire, frozen=True):
    company_name: str = ""
    domain: str = ""
    address: _Address = _Address()


class Customer(_Wire, frozen=True):
    id: Guid
    company_profile: _Company = _Company()
    relationship_to_partner: str | int = ""
    custom_domains: tuple[str, ...] = ()

    def row(self) -> CustomerRow:
        company = self.company_profile
        return CustomerRow(self.id.lower(), company.company_name, company.domain, str(self.relationship_to_partner))

    def profile(self) -> CustomerProfile:
        company = self.company_profile
        country = company.address.country.strip().upper()
        return CustomerProfile(
            self.id.lower(),
            company.company_name,
            company.domain,
            country if len(country) == 2 and country.isascii() and country.isalpha() else "",
            self.custom_domains,
        )


class User(_Wire, frozen=True):
    id: Guid
    user_principal_name: str
    display_name: str = ""
    first_name: str = ""
    last_name: str = ""
    usage_location: str = ""
    immutable_id: str = ""
    phone_number: str = ""
    state: str | int = "active"
    user_domain_type: str | int = "none"
    last_directory_sync_time: str = ""
    soft_deletion_time: str = ""

    def user(self) -> CustomerUser:
        return CustomerUser(
            id=self.id.lower(),
            user_principal_name=self.user_principal_name,
            display_name=self.display_name,
            first_name=self.first_name,
            last_name=self.last_name,
            usage_location=self.usage_location.upper(),  # some tools have written it in small letters
            immutable_id=self.immutable_id,
            phone_number=self.phone_number,
            state=_STATES.get(str(self.state), str(self.state)),
            domain_type=_DOMAIN_TYPES.get(str(self.user_domain_type), str(self.user_domain_type)),
            last_directory_sync=moment(self.last_directory_sync_time),
            soft_deleted_at=moment(self.soft_deletion_time),
        )


# The swagger declares enums as int32 (CONTRACT 1.5).
_STATES = {"0": "active", "1": "inactive"}
_DOMAIN_TYPES = {"0": "none", "1": "managed", "2": "federated"}


class Customers(_Wire, frozen=True):
    """A page whose rows are still to be read."""

    items: list[msgspec.Raw]
    links: Links | None = None
    continuation_token: str = ""


class Users(_Wire, frozen=True):
    items: tuple[User, ...]
    links: Links | None = None
    continuation_token: str = ""
