"""Licences and the subscriptions they are taken from: rules without HTTP (CONTRACT 3.6).

Nothing is stored twice: how many units are consumed is counted from the users who hold them, so that a deleted user
frees a licence and a restored one takes it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .directory import Customer, Licence, User
from .refusal import Refused

if TYPE_CHECKING:
    from .cloud import Cloud

GROUPS = ("group1", "group2")
NONE_LEFT = "We&#39;re sorry, it looks like you've run out of licenses. Buy more licenses, and then try again."


def consumed(cloud: Cloud, customer: Customer) -> Counter[str]:
    """Units in use by SKU, as readers see it: while replication lags, the figure of before."""
    now = cloud.now()
    shown = (user.seen(now) for user in customer.directory.users.values())
    return _held_by(user for user in shown if user is not None)


def _held_by(users: Iterable[User]) -> Counter[str]:
    return Counter(licence.sku_id for user in users if user.deleted_at is None for licence in user.licences)


def update(cloud: Cloud, customer: Customer, user: User, fields: dict[str, Any]) -> list[Licence]:
    """POST …/licenseupdates: all of it or nothing. Returns what was assigned.

    Assigning what the user has already changes its excluded plans and takes no further unit.
    """
    assign = [_assignment(item) for item in _items(fields, "licensestoassign")]
    remove = [str(item).lower() for item in _items(fields, "licensestoremove")]
    if not assign and not remove:
        raise Refused(400, 800002, "Invalid request input")
    _check_products(cloud, customer, assign, remove)
    held = {licence.sku_id: licence for licence in user.licences}
    for sku_id in remove:
        if held.pop(sku_id, None) is None and cloud.assumed["remove_absent_licence_refused"]:
            raise Refused(400, 3000, "User does not have a corresponding license.")
    if assign and not user.usage_location:
        raise Refused(400, 3000, "License assignment cannot be done while usageLocation is not set.")
    taken = _held_by(customer.directory.users.values())
    for licence in assign:
        if licence.sku_id not in held and _left(customer, licence.sku_id, taken) <= 0:
            raise _none_left(customer, licence.sku_id)
        held[licence.sku_id] = licence
    changed = replace(user, before=None, settles_at=None, licences=tuple(held.values()))
    customer.directory.put(changed, cloud.now(), cloud.lag)
    return assign


def still_free(customer: Customer, user: User) -> tuple[Licence, ...]:
    """Of the licences that a deleted user had, those that nobody has taken meanwhile."""
    taken = _held_by(customer.directory.users.values())
    return tuple(licence for licence in user.licences if _left(customer, licence.sku_id, taken) > 0)


def _items(fields: dict[str, Any], name: str) -> list[Any]:
    found = fields.get(name)
    if found is not None and not isinstance(found, list):
        raise Refused(400, 800002, "Invalid request input")
    return found or []


def _assignment(item: Any) -> Licence:
    if not isinstance(item, dict):
        raise Refused(400, 800002, "Invalid request input")
    named = {str(name).lower(): value for name, value in item.items()}
    excluded = named.get("excludedplans") or []
    if not isinstance(named.get("skuid"), str) or not isinstance(excluded, list):
        raise Refused(400, 800002, "Invalid request input")
    return Licence(named["skuid"].lower(), tuple(str(plan).lower() for plan in excluded))


def _check_products(cloud: Cloud, customer: Customer, assign: list[Licence], remove: list[str]) -> None:
    """Only what the customer has bought, of one licence group, and without plans that are not part of it."""
    bought = {subscription.product.id: subscription.product for subscription in customer.subscriptions}
    wanted = [*(licence.sku_id for licence in assign), *remove]
    if strange := next((sku_id for sku_id in wanted if sku_id not in bought), ""):
        if cloud.assumed["unknown_sku"] == "404":
            raise Refused(404, 20003, f"Subscription with ID {strange} not found")
        raise Refused(400, 3000, f"License {strange} does not correspond to a valid company License.")
    if len(set(wanted)) < len(wanted):
        raise Refused(400, 3000, "A license is named twice in this request.")
    if len({bought[sku_id].group for sku_id in wanted}) > 1:
        raise Refused(400, 3000, "Licenses of only one license group can be changed in a request.")
    for licence in assign:
        if set(licence.excluded) - {plan.id for plan in bought[licence.sku_id].plans}:
            raise Refused(400, 3000, "A plan to exclude is not part of the license.")


def _left(customer: Customer, sku_id: str, taken: Counter[str]) -> int:
    subscription = next((each for each in customer.subscriptions if each.product.id == sku_id), None)
    return subscription.active - taken[sku_id] if subscription else 0


def _none_left(customer: Customer, sku_id: str) -> Refused:
    data = (
        f"LicenseQuotaExceededException : Subscription with Account {customer.id} and SKU {sku_id} does not have any "
        "available licenses left."
    )
    return Refused(400, 60012, NONE_LEFT, data=(data,))
