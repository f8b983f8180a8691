"""Microsoft Partner Center: customers and the users in their directories (CONTRACT 1 to 3).

https://learn.microsoft.com/partner-center/developer/ — each method names its page. All methods raise the tree of
errors.py; writes are never retried here, and what they raise says `ambiguous` when the write may have happened.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from django.conf import settings

from partnerportal.upstream import directory
from partnerportal.upstream import licences as wire
from partnerportal.upstream.directory import CustomerProfile, CustomerRow, CustomerUser, UserPage
from partnerportal.upstream.http import Answer, Call, Secret, origin_of, send
from partnerportal.upstream.paging import NOTHING_YET, Familiar, LoopGuard, Rows, Stretch, joined
from partnerportal.upstream.payload import expect, guid, ids, parse, parse_well, unintelligible

__all__ = ["CustomerProfile", "CustomerRow", "CustomerUser", "NewUser", "PartnerCenter", "Receipt", "UserPage"]

SOURCE = "Partner Center"
LARGEST_PAGE = 500
SORTS = ("DisplayName", "UserPrincipalName")
_DELETED = json.dumps({"Field": "UserState", "Value": "Inactive", "Operator": "equals"}, separators=(",", ":"))
_BOTH_GROUPS = (("licenseGroupIds", "Group1"), ("licenseGroupIds", "Group2"))  # unasked, only the first comes
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_TOKEN_HEADER = "MS-ContinuationToken"  # noqa: S105 (a header's name)  # nosec B105

# What update_user may change, and how Partner Center names it.
CHANGEABLE = {
    "display_name": "displayName",
    "first_name": "firstName",
    "last_name": "lastName",
    "user_principal_name": "userPrincipalName",
    "usage_location": "usageLocation",
    "phone_number": "phoneNumber",
}


# --- What a write takes and gives ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """A user to create. The user name, the display name and the password are needed, the rest may be ""."""

    user_principal_name: str
    display_name: str
    password: Secret
    force_change: bool = True
    first_name: str = ""
    last_name: str = ""
    usage_location: str = ""
    immutable_id: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A write that was done. The ids are Microsoft's (MS-RequestId, MS-CorrelationId), else the ones we sent."""

    user: CustomerUser | None
    request_id: str
    correlation_id: str
    status: int
    warnings: tuple[str, ...] = ()  # in Microsoft's words; only licences have any


# --- The client ---------------------------------------------------------------------------------------------


class PartnerCenter:
    """Asks as the one whom the token belongs to: an operator, or our registration for the customer list alone."""

    def __init__(self, token: Secret) -> None:
        self._token = token
        self.quarantined = 0  # rows of the last `customers()` without a usable id

    # Customers

    def customers(self, familiar: Familiar = NOTHING_YET) -> Iterator[list[Stretch[CustomerRow]]]:
        """All customers, in pages of 500. Page "Get a list of customers". A row without a usable id is counted in
        `quarantined`, not fatal; a page without one usable row is Unintelligible. A row may come twice.
        """
        rows = Rows(directory.Customer, directory.Customer.row)
        guard = LoopGuard(settings.CUSTOMER_PAGE_LIMIT)
        after: Secret | None = None
        while True:
            answer = self._get("/customers", ("size", str(LARGEST_PAGE)), after=after)
            page, found = _customers(answer, rows, familiar)
            after = _next_token(answer, "/customers", page.links, page.continuation_token)
            self.quarantined = rows.quarantined
            yield found
            if after is None:
                return
            guard.go_on(after.reveal(), answer)

    def customer(self, tenant_id: str) -> CustomerProfile:
        """Page "Get a customer by ID". Counts towards 500 a minute per customer: never once per row of a list."""
        return parse(self._get(f"/customers/{guid(tenant_id)}"), directory.Customer).profile()

    # Reading users

    def users(
        self,
        tenant_id: str,
        *,
        size: int = 25,
        sort: str = "DisplayName",
        descending: bool = False,
        deleted: bool = False,
        after: Secret | None = None,
    ) -> UserPage:
        """One page, by exactly one GET. Page "Get a list of all user accounts for a customer"; deleted ones: "View
        deleted users for a customer". `after` is the `next` of the page before, with the same other arguments.
        """
        if not 1 <= size <= LARGEST_PAGE or sort not in SORTS:
            raise ValueError("A page has 1 to 500 users, in an order that Partner Center knows")
        order = (("SortField", sort), ("SortDirection", "Descending" if descending else "Ascending"))
        return self._users(tenant_id, size, order, deleted, after)[0]

    def all_users(
        self, tenant_id: str, *, deleted: bool = False, page_limit: int | None = None, after: Secret | None = None
    ) -> Iterator[UserPage]:
        """Every user, in pages of 500; from the page that `after` leads to. Raises Unintelligible when the pages go in
        a circle or do not end (UPSTREAM_PAGE_LIMIT). No other way to find a user by name exists.
        """
        guard = LoopGuard(page_limit)
        while True:
            page, answer = self._users(tenant_id, LARGEST_PAGE, (), deleted, after)
            yield page
            after = page.next
            if after is None:
                return
            guard.go_on(after.reveal(), answer)

    def _users(
        self, tenant_id: str, size: int, order: tuple[tuple[str, str], ...], deleted: bool, after: Secret | None
    ) -> tuple[UserPage, Answer]:
        path = f"/customers/{guid(tenant_id)}/users"
        query = (("size", str(size)), *order, *([("filter", _DELETED)] if deleted else []))
        answer = self._get(path, *query, after=after)
        page = parse(answer, directory.Users)
        after = _next_token(answer, path, page.links, page.continuation_token)
        return UserPage(tuple(user.user() for user in page.items), after), answer

    def user(self, tenant_id: str, user_id: str) -> CustomerUser:
        """Page "Get a user account by ID"."""
        return parse(self._get(_user_path(tenant_id, user_id)), directory.User).user()

    # Writing users

    def create_user(self, tenant_id: str, new: NewUser, *, request_id: UUID) -> Receipt:
        """Page "Create user accounts for a customer". Answers 200 (not 201) and repeats the password, which is
        dropped here. `request_id` is the MS-RequestId: the same one again after an ambiguous failure, never a new one.
        """
        body = {
            "userPrincipalName": new.user_principal_name,
            "displayName": new.display_name,
            "firstName": new.first_name,
            "lastName": new.last_name,
            "usageLocation": new.usage_location,
            "immutableId": new.immutable_id,
        }
        return self._write(
            "POST",
            f"/customers/{guid(tenant_id)}/users",
            {name: value for name, value in body.items() if value} | _password(new.password, new.force_change),
            request_id,
            lambda user: user.user_principal_name.lower() == new.user_principal_name.lower(),
            expected=(200, 201),
        )

    def update_user(
        self,
        tenant_id: str,
        user_id: str,
        changes: Mapping[str, str],
        *,
        password: Secret | None = None,
        force_change: bool = True,
        request_id: UUID,
    ) -> Receipt:
        """Page "Update user accounts for a customer". Sends only `changes` (names of CHANGEABLE) and, if given, the
        password; "" clears a field as far as Partner Center lets it.
        """
        if not changes and password is None:
            raise ValueError("Nothing to change")
        unknown = set(changes) - set(CHANGEABLE)
        if unknown:
            raise ValueError(f"Partner Center cannot change {', '.join(sorted(unknown))}")
        body: dict[str, Any] = {CHANGEABLE[name]: value for name, value in changes.items()}
        if password is not None:
            body |= _password(password, force_change)
        return self._write("PATCH", _user_path(tenant_id, user_id), body, request_id, _is(user_id))

    def reset_password(
        self, tenant_id: str, user_id: str, password: Secret, *, force_change: bool, request_id: UUID
    ) -> Receipt:
        """Page "Reset user password for a customer"; PARTNER_CENTER_RESET_PATH names its path or the one of 2021."""
        path = f"{_user_path(tenant_id, user_id)}/{settings.PARTNER_CENTER_RESET_PATH}".rstrip("/")
        return self._write("PATCH", path, _password(password, force_change), request_id, _is(user_id))

    def delete_user(self, tenant_id: str, user_id: str, *, request_id: UUID) -> Receipt:
        """Page "Delete user accounts for a customer": 204. Kept for 30 days as deleted, then gone for good. NotFound
        for somebody who is deleted already. A 200 is a gateway's page, and no word of Partner Center's.
        """
        return self._write("DELETE", _user_path(tenant_id, user_id), None, request_id, _is(user_id), expected=(204,))

    def restore_user(self, tenant_id: str, user_id: str, *, request_id: UUID) -> Receipt:
        """Page "Restore a user for a customer": the other fields return by themselves. Conflict when the user name was
        given away meanwhile, NotFound after 30 days.
        """
        is_back = _is(user_id)
        return self._write(
            "PATCH",
            _user_path(tenant_id, user_id),
            {"state": "active"},
            request_id,
            lambda user: is_back(user) and not user.is_deleted,
        )

    # Licences and directory roles

    def subscribed_skus(self, tenant_id: str) -> tuple[wire.SubscribedSku, ...]:
        """All that the customer has bought, of both licence groups, with the units left. Page "Get a list of available
        licenses by license group". Forbidden without a reader role, User or License Administrator.
        """
        return wire.skus_in(self._get(f"/customers/{guid(tenant_id)}/subscribedskus", *_BOTH_GROUPS))

    def licences(self, tenant_id: str, user_id: str) -> tuple[wire.Licence, ...]:
        """What a user holds, of both licence groups. Page "Get licenses assigned to a user by license group".
        NotFound for a deleted user. Forbidden for a Global Reader, who may see the users.
        """
        return wire.licences_in(self._get(f"{_user_path(tenant_id, user_id)}/licenses", *_BOTH_GROUPS))

    def update_licences(
        self,
        tenant_id: str,
        user_id: str,
        *,
        assign: Iterable[str] = (),
        remove: Iterable[str] = (),
        request_id: UUID,
    ) -> Receipt:
        """Page "Assign licenses to a user": 201. `assign` and `remove` are ids of SKUs of one
        licence group; only what the user has not is to be assigned. Refused with code 60012 when none are left, with
        3000 for want of a usage location; NotFound with 60002 for the user, with 20003 for a SKU nobody bought.
        """
        assign, remove = [guid(sku) for sku in assign], [guid(sku) for sku in remove]
        if not assign and not remove:
            raise ValueError("Nothing to change")
        path = f"{_user_path(tenant_id, user_id)}/licenseupdates"
        answer = self._send("POST", path, request_id, json=wire.update(assign, remove))
        expect(answer, 200, 201)
        return Receipt(None, *ids(answer), answer.status, wire.warnings_in(answer, assign))

    def directory_roles(self, tenant_id: str, user_id: str) -> tuple[wire.DirectoryRole, ...]:
        """The roles of a user in the customer's directory: an administrator has one that `administers`. Page "Get user
        roles for a customer". NotFound for a deleted user. Forbidden without a reader role or User Administrator.
        """
        return wire.roles_in(self._get(f"{_user_path(tenant_id, user_id)}/directoryroles"))

    # How it is said

    def _get(self, path: str, *query: tuple[str, str], after: Secret | None = None) -> Answer:
        """A 200 answer to a GET. With `after` the token goes into its header, where alone it works (trap 2)."""
        headers = {}
        if after is not None:
            if not _TOKEN.fullmatch(after.reveal()):
                raise ValueError("Not a continuation token")
            headers[_TOKEN_HEADER] = after.reveal()
            query = (*query, ("seekOperation", "Next"))
        answer = self._send("GET", path, uuid4(), params=query, headers=headers)
        expect(answer, 200)
        return answer

    def _write(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        request_id: UUID,
        is_about: Callable[[CustomerUser], bool],
        *,
        expected: tuple[int, ...] = (200,),
    ) -> Receipt:
        """An answer about somebody else than was asked for is not believed: it is Unintelligible."""
        if body is not None:
            body = body | {"attributes": {"objectType": "CustomerUser"}}
        answer = self._send(method, path, request_id, json=body)
        expect(answer, *expected)
        user = None if body is None else parse(answer, directory.User).user()
        if user is not None and not is_about(user):
            raise unintelligible(answer)
        return Receipt(user, *ids(answer), answer.status)

    def _send(
        self,
        method: str,
        path: str,
        request_id: UUID,
        *,
        params: tuple[tuple[str, str], ...] = (),
        headers: Mapping[str, str] | None = None,
        json: dict[str, Any] | None = None,
    ) -> Answer:
        correlation_id = str(uuid4())
        return send(
            Call(
                source=SOURCE,
                method=method,
                url=f"{settings.PARTNER_CENTER_URL}/v1{path}",
                params=params,
                headers={
                    "MS-RequestId": str(request_id),
                    "MS-CorrelationId": correlation_id,
                    "X-Locale": "en-US",
                    **(headers or {}),
                },
                json=json,
                token=self._token,
                request_id=str(request_id),
                correlation_id=correlation_id,
            )
        )


def _is(user_id: str) -> Callable[[CustomerUser], bool]:
    return lambda user: user.id.lower() == user_id.lower()


def _user_path(tenant_id: str, user_id: str) -> str:
    return f"/customers/{guid(tenant_id)}/users/{guid(user_id)}"


def _password(password: Secret, force_change: bool) -> dict[str, Any]:
    return {"passwordProfile": {"password": password, "forceChangePassword": force_change}}


def _customers(
    answer: Answer, rows: Rows[directory.Customer, CustomerRow], familiar: Familiar
) -> tuple[directory.Customers | directory.Collection, list[Stretch[CustomerRow]]]:
    """A page of the list, and its rows."""
    page = parse_well(answer, directory.Customers)
    found = rows.well(page.items, familiar) if page else None
    if page and found is not None:
        return page, found
    strictly = parse(answer, directory.Collection)
    return strictly, rows.one_by_one(answer, strictly.items)


def _next_token(answer: Answer, path: str, links: directory.Links | None, continuation_token: str) -> Secret | None:
    """The token of the next page; None on the last. It stands in the headers of `links.next`, in the body, or in
    both (CONTRACT 2.2). A link that leads elsewhere, or a token unfit for a header, is Unintelligible.
    """
    following = links.next if links is not None else None
    if following is None and not continuation_token:
        return None
    token = continuation_token
    if following is not None:
        if not _same_list(following.uri, path):
            raise unintelligible(answer)
        named = (header.value for header in following.headers if header.key.lower() == _TOKEN_HEADER.lower())
        token = next(named, continuation_token)
    if not _TOKEN.fullmatch(token):
        raise unintelligible(answer)
    return Secret(token)


def _same_list(uri: str, path: str) -> bool:
    """Does the link lead to the list at `path`? It may be relative or absolute, with or without /v1 (trap 4)."""
    base = f"{settings.PARTNER_CENTER_URL}/v1"
    absolute = joined(base, uri)
    if not origin_of(absolute):
        return False
    prefix = urlsplit(base).path.removesuffix("/v1")
    found = urlsplit(absolute).path.removeprefix(prefix).removeprefix("/v1").rstrip("/").lower()
    return origin_of(absolute) == origin_of(base) and found == path
