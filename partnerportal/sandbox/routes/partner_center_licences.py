"""Partner Center over HTTP: licences and the subscriptions behind them (CONTRACT 3.6). App+User only."""

from __future__ import annotations

from typing import Any

from .. import licences
from ..cloud import LICENCE_READ_ROLES, LICENCE_WRITE_ROLES, SKU_READ_ROLES, Cloud
from ..directory import Licence, Product, Subscription
from ..refusal import Refused
from ..wire import Request, Response, Routes
from .partner_center import opened
from .partner_center_wire import body_of, success, whole_list

routes = Routes(any_case=True)


@routes.on("GET", "/v1/customers/{customer_id}/subscribedskus")
def list_subscribed_skus(cloud: Cloud, request: Request, customer_id: str) -> Response:
    """D:get-a-list-of-available-licenses, and …-by-license-group. The list has no links."""
    customer = opened(cloud, request, customer_id, SKU_READ_ROLES)
    groups = _groups(request)
    in_use = licences.consumed(cloud, customer)
    return whole_list(
        [
            _subscribed_sku(each, in_use[each.product.id])
            for each in customer.subscriptions
            if each.product.group in groups
        ]
    )


@routes.on("GET", "/v1/customers/{customer_id}/users/{user_id}/licenses")
def list_licences(cloud: Cloud, request: Request, customer_id: str, user_id: str) -> Response:
    """D:check-which-licenses-are-assigned-to-a-user. A deleted user is not found."""
    customer = opened(cloud, request, customer_id, LICENCE_READ_ROLES)
    user, groups = cloud.user(customer, user_id), _groups(request)
    bought = {each.product.id: each.product for each in customer.subscriptions}
    held = ((licence, bought[licence.sku_id]) for licence in user.licences)
    return whole_list([_licence(licence, product) for licence, product in held if product.group in groups])


@routes.on("POST", "/v1/customers/{customer_id}/users/{user_id}/licenseupdates")
def update_licences(cloud: Cloud, request: Request, customer_id: str, user_id: str) -> Response:
    """D:assign-licenses-to-a-user: 201, and what was assigned once more."""
    customer = opened(cloud, request, customer_id, LICENCE_WRITE_ROLES)
    fields = body_of(request)
    assigned = licences.update(cloud, customer, cloud.user_to_change(customer, user_id), fields)
    told: dict[str, Any] = {"licensesToAssign": [_assigned(licence) for licence in assigned]}
    if removed := fields.get("licensestoremove"):
        told["licensesToRemove"] = removed
    return success({**told, "licenseWarnings": [], "attributes": {"objectType": "LicenseUpdate"}}, 201)


def _groups(request: Request) -> list[str]:
    """Named `Group1` in the query and `group1` in the body; without the parameter only the first."""
    asked = [name.lower() for name in request.values("licenseGroupIds")] or ["group1"]
    if strange := next((name for name in asked if name not in licences.GROUPS), ""):
        raise Refused(400, 0, f"The provided value '{strange}' is not a valid LicenseGroupId.")
    return asked


# -- as it is told, in the order of real traffic ----------------------------------------------------


def _subscribed_sku(subscription: Subscription, in_use: int) -> dict[str, Any]:
    status = "Suspended" if subscription.suspended else "Enabled"
    return {
        "availableUnits": max(0, subscription.active - in_use),
        "activeUnits": subscription.active,
        "consumedUnits": in_use,
        "suspendedUnits": subscription.suspended,
        "totalUnits": subscription.active + subscription.suspended,
        "warningUnits": 0,
        "productSku": _product_sku(subscription.product, target={"targetType": "User"}),
        "servicePlans": _plans(subscription.product, status),
        "capabilityStatus": status,
        "attributes": {"objectType": "SubscribedSku"},
    }


def _licence(licence: Licence, product: Product) -> dict[str, Any]:
    return {
        "servicePlans": _plans(product, "Assigned", but=licence.excluded),
        "productSku": _product_sku(product, target={}),
        "attributes": {"objectType": "License"},
    }


def _assigned(licence: Licence) -> dict[str, Any]:
    excluded = {"excludedPlans": list(licence.excluded)} if licence.excluded else {}
    return {**excluded, "skuId": licence.sku_id}


def _product_sku(product: Product, *, target: dict[str, str]) -> dict[str, str]:
    told = {"id": product.id, "name": product.name, "skuPartNumber": product.part_number}
    return {**told, **target, "licenseGroupId": product.group}


def _plans(product: Product, status: str, but: tuple[str, ...] = ()) -> list[dict[str, str]]:
    return [
        {
            "displayName": plan.name,
            "serviceName": plan.service,
            "id": plan.id,
            "capabilityStatus": status,
            "targetType": "Tenant" if plan.for_tenant else "User",
        }
        for plan in product.plans
        if plan.id not in but
    ]
