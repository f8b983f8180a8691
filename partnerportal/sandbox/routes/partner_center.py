"""Partner Center over HTTP: customers and their users (CONTRACT 1 to 3; D: partner-center/developer)."""

from __future__ import annotations

import itertools
from typing import Any

from ..cloud import DELETE_ROLES, READ_ROLES, RESET_ROLES, WRITE_ROLES, Cloud
from ..directory import Customer, User
from ..refusal import Refused
from ..wire import Request, Response, Routes
from .partner_center_wire import Walk, body_of, handle, link, success

__all__ = ["handle", "routes"]

routes = Routes(any_case=True)


# -- customers --------------------------------------------------------------------------------------


def company_profile(cloud: Cloud, customer: Customer, *, whole: bool) -> dict[str, Any]:
    profile: dict[str, Any] = {
        "tenantId": customer.id,
        "domain": customer.domain,
        "companyName": customer.name,
    }
    if whole:
        profile["address"] = {
            "country": customer.country,
            "region": "sandbox",
            "city": customer.city,
            "addressLine1": "1 Sandbox Way",
            "postalCode": "00000",
            "phoneNumber": "5550100",
        }
        profile["email"] = f"office@{customer.domain}"
    profile["links"] = {"self": link(cloud, f"/customers/{customer.id}/profiles/company")}
    profile["attributes"] = {"objectType": "CustomerCompanyProfile"}
    return profile


def customer_row(cloud: Cloud, customer: Customer) -> dict[str, Any]:
    """A customer as the list has it: nothing of address, domains or delegated access (CONTRACT 2.4)."""
    return {
        "id": customer.id,
        "companyProfile": company_profile(cloud, customer, whole=False),
        "relationshipToPartner": customer.relationship,
        "links": {"self": link(cloud, f"/customers/{customer.id}")},
        "attributes": {"objectType": "Customer"},
    }


def customer_detail(cloud: Cloud, customer: Customer) -> dict[str, Any]:
    reachable = any(cloud.live(relationship) for relationship in cloud.relationships_of(customer.id))
    billing = {
        "id": f"b{customer.id[1:]}",
        "firstName": "Accounts",
        "lastName": "Payable",
        "email": f"billing@{customer.domain}",
        "culture": "en-US",
        "language": "en",
        "companyName": customer.name,
        "defaultAddress": {
            "country": customer.country,
            "city": customer.city,
            "state": "SB",
            "addressLine1": "1 Sandbox Way",
            "postalCode": "00000",
            "firstName": "Accounts",
            "lastName": "Payable",
            "phoneNumber": "5550100",
        },
        "links": {"self": link(cloud, f"/customers/{customer.id}/profiles/billing")},
        "attributes": {"etag": f"-{int(customer.id[:8], 16)}", "objectType": "CustomerBillingProfile"},
    }
    detail: dict[str, Any] = {
        "id": customer.id,
        "commerceId": f"c{customer.id[1:]}",
        "companyProfile": company_profile(cloud, customer, whole=reachable),
        "billingProfile": billing,
        "relationshipToPartner": customer.relationship,
    }
    if customer.delegated_access is not None:
        detail["allowDelegatedAccess"] = customer.delegated_access
    if reachable:
        detail["customDomains"] = [customer.domain, *customer.custom_domains]
    detail["links"] = {"self": link(cloud, f"/customers/{customer.id}")}
    detail["attributes"] = {"objectType": "Customer"}
    return detail


@routes.on("GET", "/v1/customers")
def list_customers(cloud: Cloud, request: Request) -> Response:
    """D:get-a-list-of-customers, D:get-a-customer-by-name. App+User or app only."""
    cloud.check_partner_center(request.caller, app_only=True)
    walk = Walk(cloud, request, "/customers", 500)
    condition = walk.condition()
    after = int(walk.after[0]) if walk.after else 0
    found: list[Customer] = []
    for customer in itertools.islice(cloud.world.customers.values(), after, None):
        if cloud.listed("partnercenter", customer.id) and _matches(customer, condition):
            found.append(customer)
            if len(found) > walk.size:
                break
    last = (found[walk.size - 1].seq, "") if len(found) > walk.size else None
    return walk.collection([customer_row(cloud, customer) for customer in found[: walk.size]], last)


def _matches(customer: Customer, condition: dict[str, str]) -> bool:
    if not condition:
        return True
    name, value = condition.get("field", "").lower(), condition.get("value", "").lower()
    operator = condition.get("operator", "").lower()
    if operator not in ("starts_with", "equals"):
        raise Refused(400, 2000, "Customer search only allows starts with and equals operation.")
    if name in ("indirectreseller", "indirectcloudsolutionprovider"):
        return False
    if name not in ("companyname", "domain"):
        raise Refused(400, 2000, f"The provided value '{condition.get('field', '')}' is not a valid search field.")
    actual = (customer.name if name == "companyname" else customer.domain).lower()
    return actual == value if operator == "equals" else actual.startswith(value)


@routes.on("GET", "/v1/customers/{customer_id}")
def get_customer(cloud: Cloud, request: Request, customer_id: str) -> Response:
    """D:get-a-customer-by-id. App+User or app only."""
    cloud.check_partner_center(request.caller, app_only=True)
    return success(customer_detail(cloud, cloud.customer(customer_id)))


@routes.on("GET", "/v1/customers/{customer_id}/profiles/company")
def get_company_profile(cloud: Cloud, request: Request, customer_id: str) -> Response:
    """D:get-a-customer-s-company-profile."""
    cloud.check_partner_center(request.caller)
    customer = cloud.customer(customer_id)
    reachable = any(cloud.live(relationship) for relationship in cloud.relationships_of(customer.id))
    return success(company_profile(cloud, customer, whole=reachable))


# -- users ------------------------------------------------------------------------------------------


def user_payload(
    cloud: Cloud, customer: Customer, user: User, *, password: bool = False, links: bool = True
) -> dict[str, Any]:
    """CONTRACT 3.3, in the order real answers have; null members are left out."""
    deleted = user.deleted_at
    members: dict[str, Any] = {
        "usageLocation": user.usage_location or None,
        "id": user.id,
        "userPrincipalName": user.upn,
        "firstName": user.first_name or None,
        "lastName": user.last_name or None,
        "displayName": user.display_name,
        "immutableId": user.immutable_id or None,
        "phoneNumber": user.phone or None,
        "passwordProfile": None,
        "lastDirectorySyncTime": f"{user.synced_at:%Y-%m-%dT%H:%M:%SZ}" if user.synced_at else None,
        "userDomainType": user.domain_type,
        "state": "inactive" if deleted else "active",
        "softDeletionTime": f"{deleted:%Y-%m-%dT%H:%M:%S}.{deleted.microsecond:06d}1Z" if deleted else None,
    }
    if password:
        members["passwordProfile"] = {"forceChangePassword": user.force_change, "password": user.password}
    elif cloud.assumed["password_profile_in_lists"]:
        members["passwordProfile"] = {"forceChangePassword": user.force_change}
    payload = {name: value for name, value in members.items() if value is not None}
    if links:
        payload["links"] = {"self": link(cloud, f"/customers/{customer.id}/users/{user.id}")}
    payload["attributes"] = {"objectType": "CustomerUser"}
    return payload


def opened(cloud: Cloud, request: Request, customer_id: str, roles: frozenset[str]) -> Customer:
    """The customer, if the caller may do this there. App+User only."""
    cloud.check_partner_center(request.caller)
    customer = cloud.customer(customer_id)
    cloud.require_role(request.caller, customer, roles)
    return customer


@routes.on("GET", "/v1/customers/{customer_id}/users")
def list_users(cloud: Cloud, request: Request, customer_id: str) -> Response:
    """Seed 003; D:get-a-list-of-all-user-accounts-for-a-customer, D:view-a-deleted-user."""
    customer = opened(cloud, request, customer_id, READ_ROLES)
    walk = Walk(cloud, request, f"/customers/{customer.id}/users", 100)
    deleted = _wants_deleted(walk.condition())
    sort = walk.walk["sort"].lower()
    allowed = {"", "displayname"} | ({"userprincipalname"} if cloud.assumed["other_sort_fields"] else set())
    if sort not in allowed:
        raise Refused(400, 2000, f"The provided value '{walk.walk['sort']}' is not a valid SortField.")
    direction = walk.walk["direction"].lower()
    if direction not in ("", "ascending", "descending"):
        raise Refused(400, 2000, f"The provided value '{walk.walk['direction']}' is not a valid SortDirection.")
    rows, last = customer.directory.page(
        deleted=deleted,
        sort=sort,
        descending=bool(sort) and direction == "descending",
        after=walk.after,
        size=walk.size,
        now=cloud.now(),
    )
    return walk.collection([user_payload(cloud, customer, user) for user in rows], last)


def _wants_deleted(condition: dict[str, str]) -> bool:
    """Deleted users are found only by UserState (docs) or UserStatus (the self link the server sent)."""
    if not condition:
        return False
    field, value = condition.get("field", "").lower(), condition.get("value", "").lower()
    if field not in ("userstate", "userstatus") or condition.get("operator", "").lower() not in ("equals", "equal"):
        raise Refused(400, 2000, "User search only allows UserState and the equals operation.")
    if value not in ("active", "inactive"):
        raise Refused(400, 0, f"The provided value '{condition.get('value', '')}' is not a valid UserState.")
    return value == "inactive"


@routes.on("GET", "/v1/customers/{customer_id}/users/{user_id}")
def get_user(cloud: Cloud, request: Request, customer_id: str, user_id: str) -> Response:
    """D:get-a-user-account-by-id. A deleted user is not found ([A])."""
    customer = opened(cloud, request, customer_id, READ_ROLES)
    user = cloud.user(customer, user_id, deleted=cloud.assumed["deleted_user_readable"])
    return success(user_payload(cloud, customer, user))


@routes.on("POST", "/v1/customers/{customer_id}/users")
def create_user(cloud: Cloud, request: Request, customer_id: str) -> Response:
    """Seed 002: 200 rather than 201, without links, and with the password."""
    customer = opened(cloud, request, customer_id, WRITE_ROLES)
    user = cloud.create_user(customer, body_of(request))
    return success(user_payload(cloud, customer, user, password=True, links=False))


@routes.on("PATCH", "/v1/customers/{customer_id}/users/{user_id}")
def patch_user(cloud: Cloud, request: Request, customer_id: str, user_id: str) -> Response:
    """Seed 001; also restore (`state: active`) and the 2021 form of a password reset (CONTRACT 3.1, 3.4)."""
    cloud.check_partner_center(request.caller)
    customer = cloud.customer(customer_id)
    fields = body_of(request)
    reset = isinstance(fields.get("passwordprofile"), dict)
    others = {name for name, value in fields.items() if value is not None} - {"passwordprofile", "attributes", "id"}
    if reset:
        may = RESET_ROLES | WRITE_ROLES if cloud.assumed["directory_writers_reset"] else RESET_ROLES
        cloud.require_role(request.caller, customer, frozenset(may))
    if others - {"links"} or not reset:
        cloud.require_role(request.caller, customer, WRITE_ROLES)
    state = str(fields.get("state") or "").lower()
    if state not in ("", "active"):
        raise Refused(400, 3000, "Property state is invalid: use DELETE to delete a user.")
    user = cloud.user_to_change(customer, user_id, deleted=state == "active")
    if reset:
        cloud.protect_administrator(request.caller, customer, user)
    if user.deleted_at is not None:
        return success(user_payload(cloud, customer, cloud.restore_user(customer, user)))
    changed = cloud.change_user(customer, user, fields)
    return success(user_payload(cloud, customer, changed, password=reset))


@routes.on("PATCH", "/v1/customers/{customer_id}/users/{user_id}/resetpassword")
def reset_password(cloud: Cloud, request: Request, customer_id: str, user_id: str) -> Response:
    """L:reset-user-password-for-a-customer, the current page's path."""
    may = RESET_ROLES | WRITE_ROLES if cloud.assumed["directory_writers_reset"] else RESET_ROLES
    customer = opened(cloud, request, customer_id, frozenset(may))
    fields = body_of(request)
    if not isinstance(fields.get("passwordprofile"), dict):
        raise Refused(400, 800002, "Invalid request input")
    user = cloud.user_to_change(customer, user_id)
    cloud.protect_administrator(request.caller, customer, user)
    changed = cloud.change_user(customer, user, {"passwordprofile": fields["passwordprofile"]})
    return success(user_payload(cloud, customer, changed, password=True))


@routes.on("DELETE", "/v1/customers/{customer_id}/users/{user_id}")
def delete_user(cloud: Cloud, request: Request, customer_id: str, user_id: str) -> Response:
    """D:delete-user-accounts-for-a-customer. User Administrator only."""
    customer = opened(cloud, request, customer_id, DELETE_ROLES)
    user = cloud.user_to_change(customer, user_id)
    cloud.protect_administrator(request.caller, customer, user)
    cloud.delete_user(customer, user)
    return Response(204)
