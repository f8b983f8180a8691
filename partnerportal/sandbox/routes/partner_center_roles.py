"""Partner Center over HTTP: directory roles and who holds them (CONTRACT 3.1, 3.6). App+User only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .. import directory_roles
from ..cloud import MEMBER_READ_ROLES, MEMBER_WRITE_ROLES, READ_ROLES, ROLE_LIST_ROLES, Cloud, text_of
from ..directory import Customer, User
from ..refusal import Refused
from ..wire import Request, Response, Routes
from .partner_center import opened
from .partner_center_wire import Walk, body_of, success, whole_list

routes = Routes(any_case=True)


@routes.on("GET", "/v1/customers/{customer_id}/directoryroles")
def list_roles(cloud: Cloud, request: Request, customer_id: str) -> Response:
    """L:dap-api-impact: Directory Readers only."""
    opened(cloud, request, customer_id, ROLE_LIST_ROLES)
    return whole_list([_role(role_id) for role_id in directory_roles.NAMES])


@routes.on("GET", "/v1/customers/{customer_id}/users/{user_id}/directoryroles")
def list_roles_of_user(cloud: Cloud, request: Request, customer_id: str, user_id: str) -> Response:
    """D:get-user-roles-for-a-customer."""
    customer = opened(cloud, request, customer_id, READ_ROLES)
    return whole_list([_role(role_id) for role_id in cloud.user(customer, user_id).roles])


@routes.on("GET", "/v1/customers/{customer_id}/directoryroles/{role_id}/usermembers")
def list_members(cloud: Cloud, request: Request, customer_id: str, role_id: str) -> Response:
    """Those who hold a role, in pages like those of users."""
    customer = opened(cloud, request, customer_id, MEMBER_READ_ROLES)
    role_id = _known(role_id)
    walk = Walk(cloud, request, f"/customers/{customer.id}/directoryroles/{role_id}/usermembers", 100)
    after = int(walk.after[0]) if walk.after else 0
    found = [user for user in _members(cloud, customer, role_id) if user.seq > after]
    shown = found[: walk.size]
    last = (shown[-1].seq, "") if len(found) > walk.size else None
    return walk.collection([_member(user, role_id) for user in shown], last)


@routes.on("POST", "/v1/customers/{customer_id}/directoryroles/{role_id}/usermembers")
def add_member(cloud: Cloud, request: Request, customer_id: str, role_id: str) -> Response:
    """D:set-user-roles-for-a-customer: 201. Who holds the role already is 400/3000 [A]."""
    customer = opened(cloud, request, customer_id, MEMBER_WRITE_ROLES)
    role_id = _known(role_id)
    user = cloud.user_to_change(customer, text_of(body_of(request), "id"))
    if role_id in user.roles:
        raise Refused(400, 3000, "One or more added object references already exist for the property members.")
    changed = replace(user, before=None, settles_at=None, roles=(*user.roles, role_id))
    customer.directory.put(changed, cloud.now(), cloud.lag)
    return success(_member(changed, role_id), 201)


@routes.on("DELETE", "/v1/customers/{customer_id}/directoryroles/{role_id}/usermembers/{user_id}")
def remove_member(cloud: Cloud, request: Request, customer_id: str, role_id: str, user_id: str) -> Response:
    """D:remove-customer-user-from-a-role."""
    customer = opened(cloud, request, customer_id, MEMBER_WRITE_ROLES)
    role_id = _known(role_id)
    user = cloud.user_to_change(customer, user_id)
    if role_id not in user.roles:
        raise Refused(404, 1000, "Not found")
    left = tuple(held for held in user.roles if held != role_id)
    customer.directory.put(replace(user, before=None, settles_at=None, roles=left), cloud.now(), cloud.lag)
    return Response(204)


def _known(role_id: str) -> str:
    if role_id.lower() not in directory_roles.NAMES:
        raise Refused(404, 1000, "Not found")
    return role_id.lower()


def _members(cloud: Cloud, customer: Customer, role_id: str) -> list[User]:
    shown = (user.seen(cloud.now()) for user in customer.directory.users.values())
    holders = (user for user in shown if user is not None and user.deleted_at is None and role_id in user.roles)
    return sorted(holders, key=lambda user: user.seq)


def _role(role_id: str) -> dict[str, Any]:
    return {"name": directory_roles.NAMES[role_id], "id": role_id, "attributes": {"objectType": "DirectoryRole"}}


def _member(user: User, role_id: str) -> dict[str, Any]:
    return {
        "displayName": user.display_name,
        "userPrincipalName": user.upn,
        "roleId": role_id,
        "id": user.id,
        "attributes": {"objectType": "UserMember"},
    }
