"""Licences and directory roles as Partner Center tells them (CONTRACT 3.6): what callers see, and the payloads.

The calls themselves are methods of `partner_center.PartnerCenter`. A unit is one licence for one user.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from partnerportal.upstream import roles
from partnerportal.upstream.http import Answer
from partnerportal.upstream.payload import Guid, parse, parse_row, plain, unintelligible

# --- What callers see ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SubscribedSku:
    """A kind of licence that the customer has bought.

    Of `total` units `consumed` are with users, and `available` can be assigned now: neither holds suspended ones.
    `status` is an open word, usually "Enabled". Only licences of one `group` can be changed in one request.
    """

    id: str
    name: str
    part_number: str
    group: str
    total: int
    consumed: int
    available: int
    status: str

    @property
    def none_left(self) -> bool:
        return self.available < 1


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence that a user holds."""

    sku_id: str
    name: str
    part_number: str
    group: str


@dataclass(frozen=True, slots=True)
class DirectoryRole:
    """A role that a user holds in the customer's directory, under the name that Entra uses today."""

    id: str
    name: str

    @property
    def administers(self) -> bool:
        """Whether it gives more power than to look. A role that we do not know does."""
        return self.id not in roles.HARMLESS


# --- What Partner Center writes -----------------------------------------------------------------------------


class _Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Only the members that we use."""


class _ProductSku(_Wire, frozen=True):
    id: Guid
    name: str = ""
    sku_part_number: str = ""
    license_group_id: str | int = "group1"

    @property
    def told(self) -> tuple[str, str, str, str]:
        group = str(self.license_group_id).lower()
        return self.id.lower(), self.name or self.sku_part_number, self.sku_part_number, _GROUPS.get(group, group)


_GROUPS = {"1": "group1", "2": "group2"}  # the swagger declares enums as int32 (CONTRACT 1.5)


class _SubscribedSku(_Wire, frozen=True):
    product_sku: _ProductSku
    total_units: int
    consumed_units: int
    available_units: int
    capability_status: str | int = ""

    def sku(self) -> SubscribedSku:
        units = self.total_units, self.consumed_units, self.available_units
        return SubscribedSku(*self.product_sku.told, *units, str(self.capability_status))


class _Licence(_Wire, frozen=True):
    product_sku: _ProductSku

    def licence(self) -> Licence:
        return Licence(*self.product_sku.told)


class _Role(_Wire, frozen=True):
    id: Guid
    name: str = ""

    def role(self) -> DirectoryRole:
        """Named by its id, for Partner Center goes on with old names ("User Account Administrator")."""
        role_id = self.id.lower()
        return DirectoryRole(role_id, roles.NAMES.get(role_id) or self.name or role_id)


class _Links(_Wire, frozen=True):
    next: Any = None


RowT = TypeVar("RowT")


class _Whole(_Wire, Generic[RowT], frozen=True):
    items: tuple[RowT, ...]
    links: _Links = _Links()
    continuation_token: str = ""


class _Assigned(_Wire, frozen=True):
    sku_id: str


class _Update(_Wire, frozen=True):
    licenses_to_assign: tuple[_Assigned, ...] = ()
    license_warnings: Any = ()


class _Warning(_Wire, frozen=True):
    message: str


# --- From one to the other ----------------------------------------------------------------------------------


def skus_in(answer: Answer) -> tuple[SubscribedSku, ...]:
    """The rows of "Get a list of available licenses by license group"."""
    return tuple(row.sku() for row in _rows(answer, _Whole[_SubscribedSku]))


def licences_in(answer: Answer) -> tuple[Licence, ...]:
    """The rows of "Get licenses assigned to a user by license group"."""
    return tuple(row.licence() for row in _rows(answer, _Whole[_Licence]))


def roles_in(answer: Answer) -> tuple[DirectoryRole, ...]:
    """The rows of "Get user roles for a customer"."""
    return tuple(row.role() for row in _rows(answer, _Whole[_Role]))


def _rows(answer: Answer, wanted: type[_Whole[RowT]]) -> tuple[RowT, ...]:
    """The rows of a list that has no pages. One that goes on all the same is Unintelligible: whoever read half the
    roles of an administrator would take it for somebody else.
    """
    found = parse(answer, wanted)
    if found.links.next is not None or found.continuation_token:
        raise unintelligible(answer)
    return found.items


def update(assign: Iterable[str], remove: Iterable[str]) -> dict[str, Any]:
    """The body of "Assign licenses to a user"."""
    return {
        "licensesToAssign": [{"skuId": sku_id} for sku_id in assign] or None,
        "licensesToRemove": list(remove) or None,
        "attributes": {"objectType": "LicenseUpdate"},
    }


def warnings_in(answer: Answer, assign: Iterable[str]) -> tuple[str, ...]:
    """What Partner Center adds to an update that it made. An answer about other licences than `assign` is not believed.

    No warning is public, so that their shape decides nothing: one that cannot be read is left out.
    """
    made = parse(answer, _Update)
    if {row.sku_id.lower() for row in made.licenses_to_assign} != set(assign):
        raise unintelligible(answer)
    told = made.license_warnings if isinstance(made.license_warnings, list) else []
    return tuple(text for text in map(_words, told) if text)


def _words(row: object) -> str:
    if isinstance(row, str):
        return plain(row)
    warning = parse_row(row, _Warning)
    return plain(warning.message) if warning else ""
