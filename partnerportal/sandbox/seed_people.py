"""The awkward people of the customer `contoso`: every one has broken somebody's page once."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Final

from . import people
from .directory import Customer, Licence, User
from .directory_roles import IDS
from .seed_licences import ENTERPRISE_E3, GLOBAL_ADMINISTRATOR, POWER_BI_PRO, equip

_NAMESPACE = uuid.UUID("0d9d3b51-64b5-4d0e-8f8b-7a5f6b9f2c11")
_KEYS = (
    "plain accented quotes rtl script very_long no_location synced federated deleted deleted_reused reused long_upn "
    "no_names duplicate_a duplicate_b formula emoji spaces immutable"
).split()

HELPERS: Final = (IDS["Helpdesk Administrator"], IDS["User Account Administrator"])
SPECIAL_USERS: Final = {key: str(uuid.uuid5(_NAMESPACE, key)) for key in _KEYS}
"""Users of `contoso` by what is odd about them. `duplicate_a` is the administrator, `accented` helps people, and
`deleted` had two licences, of which only one can be had again."""


def awkward_people(customer: Customer, now: datetime) -> list[User]:
    custom = customer.custom_domains[0]
    made: list[User] = []

    def add(key: str, local: str, display: str, first: str = "", last: str = "", **more: object) -> None:
        user = User(SPECIAL_USERS[key], len(made) + 1, f"{local}@{custom}", display, first, last, customer.country)
        for name, value in more.items():
            setattr(user, name, value)
        made.append(user)

    add("plain", "adele.vance", "Adele Vance", "Adele", "Vance", phone="+00 555 0100")
    add("accented", "zoe.sorensen", "Zoë Sørensen-Čapek", "Zoë", "Sørensen-Čapek", roles=HELPERS)
    add("quotes", "sean.o'brien", 'Seán "Skip" O\'Brien & Co', "Seán", "O'Brien")
    add("rtl", "layla.haddad", "ليلى حدّاد", "ليلى", "حدّاد")
    add("script", "mallory", "<script>alert(1)</script><b>Mallory</b>", "<img src=x onerror=alert(1)>", "Mallory")
    long_name = "Maximilian-Alexander Bartholomew Christopherson " * 5
    add("very_long", "max.christopherson", long_name.strip()[:256], "Maximilian-Alexander", "Christopherson")
    add("no_location", "nowhere.man", "Nora Nowhere", "Nora", "Nowhere", usage_location="")
    add("synced", "sync.ed", "Sinead Synced", "Sinead", "Synced", synced_at=people.SEED_DAY, immutable_id="c3luY2Vk")
    add("federated", "fed.erica", "Erica Federated", "Erica", "Federated", domain_type="federated")
    made[-1].upn = f"erica@{customer.federated_domains[0]}"
    add("deleted", "gone.girl", "Gona Deleted", "Gona", "Deleted", deleted_at=now - timedelta(days=3))
    made[-1].licences = (Licence(ENTERPRISE_E3.id), Licence(POWER_BI_PRO.id))
    add("deleted_reused", "sam.same", "Sam Same (old)", "Sam", "Same", deleted_at=now - timedelta(days=9))
    add("reused", "sam.same", "Sam Same", "Sam", "Same")
    add("long_upn", "l" + "o" * 56 + "ng.name", "Long User Name", "Long", "Name")
    add("no_names", "scanner", "Scanner 3rd floor")
    add("duplicate_a", "kim.lee", "Kim Lee", "Kim", "Lee", roles=(GLOBAL_ADMINISTRATOR,))
    add("duplicate_b", "kim.lee2", "Kim Lee", "Kim", "Lee")
    add("formula", "formula", "=1+1", "@SUM(A1:A9)", "+4711")
    add("emoji", "party", "Party 🎉 Planner 👩‍👩‍👧", "Party", "Planner")
    add("spaces", "spaces", "  Wide   Space  ", "Wide", "Space")
    add("immutable", "imma", "Imma Table", "Imma", "Table", immutable_id="aW1tdXRhYmxl")
    for user in people.users(customer.id, 28, customer.domain, custom, customer.country, today=now):
        user.seq += len(_KEYS)
        made.append(user)
    return equip(customer, made)
