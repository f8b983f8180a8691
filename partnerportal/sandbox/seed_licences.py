"""What the seed's customers have bought, who holds it, and who their administrators are (CONTRACT 3.6).

=================  ==================================================================================================
product            at every customer with two users or more
=================  ==================================================================================================
BUSINESS_PREMIUM   more units than people; every second of those who have a usage location holds one
POWER_BI_PRO       two units, both taken: **none left**
ENTERPRISE_E3      at every second customer, and at contoso: some free
VISIO              contoso: three units, all **suspended** because nobody paid
CLASSROOM          contoso: five units in licence **group 2**, all free
=================  ==================================================================================================

The first living person of a customer's directory is its Company Administrator, as Partner Center still calls a Global
Administrator. At contoso that is somebody else: see `seed_people.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from .directory import Customer, Licence, Product, ServicePlan, Subscription, User
from .directory_roles import IDS
from .seed_gdap import stable_id

# Ids are those of the contract's samples where they have them, and invented where they have none.
_RIGHTS = ServicePlan(
    "6c57d4b6-3b23-47a5-9bc9-69f17b4947b3", "RMS_S_PREMIUM", "Azure Information Protection Premium P1"
)
_INTUNE = ServicePlan("c1ec4a95-1f05-45b3-a911-aa3fa01094f5", "INTUNE_A", "Microsoft Intune A Direct")
_SIGN_IN = ServicePlan("41781fb2-bc02-4b7c-bd55-b576c07bb09d", "AAD_PREMIUM", "Azure Active Directory Premium P1")
_FOUNDATION = ServicePlan(
    "113feb6c-3fe4-4440-bddc-54d774bf0318", "EXCHANGE_S_FOUNDATION", "Exchange Foundation", for_tenant=True
)
_REPORTS = ServicePlan("70d33638-9c74-4d01-bfd3-562de28bd4ba", "BI_AZURE_P2", "Power BI Pro")
_MAIL = ServicePlan(stable_id("plan", "mail"), "EXCHANGE_S_STANDARD", "Exchange Online (Plan 1)")
_DRAWING = ServicePlan(stable_id("plan", "visio"), "VISIO_CLIENT_SUBSCRIPTION", "Visio")
_CLASSROOM = ServicePlan(stable_id("plan", "minecraft"), "MINECRAFT_EDUCATION_EDITION", "Minecraft Education")

BUSINESS_PREMIUM: Final = Product(
    stable_id("sku", "spb"), "SPB", "Microsoft 365 Business Premium", (_MAIL, _INTUNE, _SIGN_IN)
)
POWER_BI_PRO: Final = Product(
    "f8a1db68-be16-40ed-86d5-cb42ce701560", "POWER_BI_PRO", "Power BI Pro", (_FOUNDATION, _REPORTS)
)
ENTERPRISE_E3: Final = Product(
    "efccb6f7-5641-4e0e-bd10-b4976e1bf68e", "EMS", "Enterprise Mobility + Security E3", (_RIGHTS, _INTUNE, _SIGN_IN)
)
VISIO: Final = Product(stable_id("sku", "visio"), "VISIOCLIENT", "Visio Plan 2", (_DRAWING,))
CLASSROOM: Final = Product(stable_id("sku", "minecraft"), "MEE_FACULTY", "Minecraft Education", (_CLASSROOM,), "group2")

GLOBAL_ADMINISTRATOR: Final = IDS["Company Administrator"]


def bought_by(customer: Customer, size: int, *, everything: bool = False) -> tuple[Subscription, ...]:
    """What a customer of this size has; `everything` is for contoso."""
    if size < 2:
        return ()
    found = [Subscription(BUSINESS_PREMIUM, size + 5), Subscription(POWER_BI_PRO, 2)]
    if everything or int(customer.id[:2], 16) % 2:
        found.append(Subscription(ENTERPRISE_E3, 5))
    if everything:
        found += [Subscription(VISIO, 0, suspended=3), Subscription(CLASSROOM, 5)]
    return tuple(found)


def equip(customer: Customer, users: list[User]) -> list[User]:
    """The same people, with the licences that they hold and an administrator among them."""
    holds: dict[str, tuple[Licence, ...]] = {}
    may_hold = [user.id for user in users if user.usage_location and user.deleted_at is None]
    for product, holders in (
        (BUSINESS_PREMIUM, may_hold[::2]),
        (POWER_BI_PRO, may_hold[:2]),
        (ENTERPRISE_E3, may_hold[1:3]),
    ):
        if any(each.product is product for each in customer.subscriptions):
            for user_id in holders:
                holds[user_id] = (*holds.get(user_id, ()), Licence(product.id))
    first = next((user.id for user in users if user.deleted_at is None), "")
    appointed = any(user.roles for user in users)
    return [
        replace(
            user,
            licences=holds.get(user.id, user.licences),
            roles=(GLOBAL_ADMINISTRATOR,) if user.id == first and not appointed else user.roles,
        )
        for user in users
    ]
