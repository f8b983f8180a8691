"""What stands in the pretend cloud when it starts, the same every time.

Signing in and the other credentials are the constants below. Nobody and nothing here is real; every domain ends in
`.example`. `reset` puts all of it back.

Personas (`PERSONA_OIDS`; the partner's tenant is `PARTNER_TENANT_ID`):

==========  ===============  ============  ==================================================================
key         app roles        Admin agent   rights at customers
==========  ===============  ============  ==================================================================
admin       Portal.Admin     yes           User Administrator wherever a live relationship includes it
writer      Portal.Operator  yes           Directory Writers + Readers at WRITER_CUSTOMERS, nothing elsewhere,
                                           but for the special cases below
reader      Portal.Reader    yes           Directory Readers at most customers
nested      Portal.Operator  yes           User Administrator at `nested_only` alone, through a nested group
outsider    Portal.Operator  **no**        Graph lists nothing (200); Partner Center answers 403/900150
norole      none             no            -
foreign     Portal.Admin     (other tid)   admin's name and e-mail, tenant FOREIGN_TENANT_ID
==========  ===============  ============  ==================================================================

Special customers of `demo`: `SPECIAL[key]` is the tenant id, `SPECIAL_NAMES[key]` the name.

==================  ===========================================================================================
key                 what is special
==================  ===========================================================================================
contoso             the main one: 48 people incl. every awkward one (SPECIAL_USERS), a custom and a federated domain,
                    and every kind of licence (`seed_licences.py`)
big, medium         10,000 and 1,200 users; admin edits, writer edits `medium`, reader reads both
expiring            admin's only relationship ends in 11 days and does not extend by itself; writer edits too
expired             relationship status `expired`, 7 days ago
terminated          relationship status `terminated`
past_end            status still `active`, endDateTime yesterday: nobody has a role
pending             only a relationship waiting for the customer's approval
none                no GDAP relationship at all
ceiling             live relationship without User Administrator and Directory Writers: admin and writer only read
readonly            writer has Directory Readers alone; admin edits
writer_only_dw      writer has Directory Writers and no reader role: may write, may not list
writer_none         live relationship, writer is in no group of it
nested_only         `nested` is User Administrator here and nowhere else (group in group)
assignment_pending  writer's assignment is `pending`: not yet
assignment_gone     writer's assignment is `deleting`: no longer
union               two live relationships; writer's Readers come from one, Writers from the other
many_groups         45 assignments to 45 groups (two and more chunks of checkMemberGroups); admin is in the last
status_expiring     a relationship with status `expiring` beside a live one
no_users, one_user  0 users and 1 user
synced, federated   everybody synced from on premises; default domain federated
script, rtl, quotes, accents, long_name, formula      names that break careless pages
pc_only             no row at AvePoint
upper_id            AvePoint tells the tenant id in upper case
masked_id           AvePoint tells an id with `*` in it
duplicate_a/_b      two customers, and two AvePoint rows of one organisation name, neither with a tenant id
partner_owner       the AvePoint owner's e-mail is the partner's own domain
unknown_status      an AvePoint jobStatus nobody has heard of
not_ours            a tenant that exists but is not the partner's: 403/20002 (in no list)
==================  ===========================================================================================

Rows only AvePoint has: `AVEPOINT_ONLY` (ids as told).
"""

from __future__ import annotations

import random
import uuid
from datetime import datetime, timedelta
from typing import Final

from . import people
from .directory import (
    AvePointRow,
    Customer,
    Directory,
    GdapRow,
    Group,
    Persona,
    Relationship,
    User,
    World,
    guid,
)
from .seed_gdap import GROUP_IDS, GROUP_NAMES, ROLE, relationships_for
from .seed_licences import bought_by, equip
from .seed_people import SPECIAL_USERS, awkward_people

__all__ = ["GROUP_IDS", "ROLE", "SPECIAL_USERS", "build", "special_id"]

# The partner's tenant and the app registrations. `make demo` writes them into var/demo.env.
PARTNER_TENANT_ID: Final = "7d0f4c1e-52a9-4f6b-8e3d-91c2b7a64f05"
PARTNER_DOMAIN: Final = "partnerdesk.example"
CLIENT_ID: Final = "c1b6e2a4-3f58-4d07-9a1c-6e8f0b2d7435"
CLIENT_SECRET: Final = "sandbox-entra-client-secret"  # noqa: S105 - opens nothing but this sandbox
AVEPOINT_CLIENT_ID: Final = "5a9c0e77-8d21-4b3f-b6a4-2f1e7c90d836"
AVEPOINT_CLIENT_SECRET: Final = "sandbox-avepoint-client-secret"  # noqa: S105
GDAP_API_USERNAME: Final = "gdap-api@partnerdesk.example"
GDAP_API_PASSWORD: Final = "sandbox-gdap-api-password"  # noqa: S105
GDAP_API_TOKEN: Final = "sandbox-gdap-api-token"  # noqa: S105
FOREIGN_TENANT_ID: Final = "e4a81f36-0c7d-4b92-a5f1-38d6c20e9b74"
APP_OID: Final = "2b8d6f10-94ce-4a57-8f03-b1d75e6c3a92"
"""The object id of the registration's service principal: whom an app-only token speaks for."""

PERSONA_OIDS: Final = {
    "admin": "10000000-aaaa-4000-8000-0000000000a1",
    "writer": "10000000-aaaa-4000-8000-0000000000b2",
    "reader": "10000000-aaaa-4000-8000-0000000000c3",
    "nested": "10000000-aaaa-4000-8000-0000000000d4",
    "outsider": "10000000-aaaa-4000-8000-0000000000e5",
    "norole": "10000000-aaaa-4000-8000-0000000000f6",
    "foreign": "90000000-bbbb-4000-8000-0000000000a7",
}
_PERSONAS: Final[tuple[tuple[str, str, str, list[str], str], ...]] = (
    ("admin", "Maya Okafor", "maya.okafor", ["Portal.Admin"], "Admin agent; User Administrator everywhere"),
    ("writer", "Tom Reyes", "tom.reyes", ["Portal.Operator"], "Directory Writers on some customers, nothing on others"),
    ("reader", "Ines Halloran", "ines.halloran", ["Portal.Reader"], "Directory Readers at most customers"),
    ("nested", "Jonas Lindqvist", "jonas.lindqvist", ["Portal.Operator"], "User Administrator at one customer, nested"),
    ("outsider", "Priya Raman", "priya.raman", ["Portal.Operator"], "not an Admin agent: Graph shows nothing"),
    ("norole", "Felix Adeyemi", "felix.adeyemi", [], "right tenant, no app role"),
    ("foreign", "Maya Okafor", "maya.okafor", ["Portal.Admin"], "admin's name and e-mail, another tenant"),
)

_NAMESPACE = uuid.UUID("6f4e1b0a-2f3c-4f61-9f1d-0d5c7a1e8b42")


def special_id(key: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"customer {key}"))


SPECIAL_NAMES: Final = {
    "contoso": "Contoso Trading",
    "big": "Tailspin Industries",
    "medium": "Northwind Foods",
    "expiring": "Fourth Coffee",
    "expired": "Bellows College",
    "terminated": "Coho Winery",
    "past_end": "Lucerne Publishing",
    "pending": "Margie's Travel",
    "none": "Proseware",
    "ceiling": "Woodgrove Insurance",
    "readonly": "Wingtip Toys",
    "writer_only_dw": "Wide World Importers",
    "writer_none": "Trey Research",
    "nested_only": "Consolidated Messenger",
    "assignment_pending": "VanArsdel Mobility",
    "assignment_gone": "Relecloud Networks",
    "union": "Fabrikam Residences",
    "many_groups": "Litware Holdings",
    "status_expiring": "Humongous Insurance",
    "no_users": "Empty Harbour Shipping",
    "one_user": "Solo Studio",
    "synced": "Graphic Design Institute",
    "federated": "School of Fine Art",
    "script": "<script>alert('Sandbox')</script> Ltd",
    "rtl": "شركة النخيل للتجارة",
    "quotes": 'O\'Neil "Quick" & Sons',
    "accents": "Čajovna Übergröße à l'Été",
    "long_name": "The Honourable and Ancient Company of Makers of Very Long Names and Even Longer Signs of the Eastern "
    "Provinces, the Islands and All Dependent Territories, Incorporated by Charter",
    "formula": '=HYPERLINK("http://evil.example","Invoice")',
    "pc_only": "Munson's Pickles",
    "upper_id": "Alpine Ski House",
    "masked_id": "Best For You Organics",
    "duplicate_a": "Blue Yonder Airlines",
    "duplicate_b": "Blue Yonder Airlines",
    "partner_owner": "City Power & Light",
    "unknown_status": "Nod Publishers",
}
SPECIAL: Final = {key: special_id(key) for key in (*SPECIAL_NAMES, "not_ours")}

WRITER_EXTRA: Final = (
    "contoso", "medium", "expiring", "quotes", "accents", "one_user", "no_users", "federated",
    "script", "formula", "upper_id", "masked_id",
)  # fmt: skip
"""Special customers where `writer` edits, beside the plain ones."""
WRITER_CUSTOMERS: Final = 16
"""So many plain customers, first by name, let `writer` edit."""

AVEPOINT_ONLY: Final = (
    "00427fbc-8832-****-***-582fa46ec638",
    "0088e14d-5275-****-***-bcb9fc33ebdb",
    "77e4dde9-9b3f-4b6c-9d0f-25705db15101",
)

_SIZES = {"big": 10_000, "medium": 1_200, "no_users": 0, "one_user": 1, "synced": 32, "federated": 18}
_JOB_STATUS = ("Working", "Working", "Working", "Finished with exception", "Failed", "Waiting for configuration")


def build(profile: str, now: datetime) -> World:
    """The world of `demo`, `large` or `empty`, planted at `now`."""
    if profile not in ("demo", "large", "empty"):
        raise ValueError(f"no profile is called {profile!r}; there are demo, large and empty")
    world = World(profile, _personas(), _groups(), {}, set(), {}, [], {})
    if profile == "empty":
        return world
    rng = random.Random(f"partner desk {profile}")  # noqa: S311 - invented data, not secrets
    customers = _special_customers(now) if profile == "demo" else []
    taken = {customer.name for customer in customers}
    plain = [_plain_customer(rng, taken, now) for _ in range(28 if profile == "demo" else 20_000)]
    customers += plain
    # Partner Center sorts customers by nothing in particular; so do we.
    rng.shuffle(customers)
    for seq, customer in enumerate(customers, 1):
        customer.seq = seq
        world.customers[customer.id] = customer
    world.strangers = {SPECIAL["not_ours"]}
    special_of = {SPECIAL[key]: key for key in SPECIAL_NAMES}
    edits = {c.id for c in sorted(plain, key=lambda c: c.name)[:WRITER_CUSTOMERS]}
    edits |= {SPECIAL[key] for key in WRITER_EXTRA}
    for customer in customers:
        key = special_of.get(customer.id, "")
        for relationship in relationships_for(customer, key, writes=customer.id in edits, now=now, rng=rng):
            world.relationships[relationship.id] = relationship
        if key != "pc_only":
            world.avepoint.append(_avepoint_row(customer, key, rng))
        if rng.random() < 0.9:
            world.gdap[customer.id] = gdap_row(customer)
    if profile == "demo":
        world.relationships.update(_unclaimed(now))
        world.avepoint += _avepoint_only(rng)
        rng.shuffle(world.avepoint)
    return world


def _personas() -> dict[str, Persona]:
    found = {}
    for key, name, local, roles, note in _PERSONAS:
        tenant = FOREIGN_TENANT_ID if key == "foreign" else PARTNER_TENANT_ID
        found[key] = Persona(key, name, f"{local}@{PARTNER_DOMAIN}", PERSONA_OIDS[key], tenant, list(roles), note)
    return found


def _groups() -> dict[str, Group]:
    groups = {GROUP_IDS[key]: Group(GROUP_IDS[key], key, GROUP_NAMES[key]) for key in GROUP_IDS}
    members = {
        "admin_agents": ("admin", "writer", "reader", "nested"),
        "user_admins": ("admin",),
        "writers": ("writer",),
        "readers": ("reader",),
        "night_shift": ("nested",),
        "tier_45": ("admin",),
    }
    for key, personas in members.items():
        groups[GROUP_IDS[key]].members |= {PERSONA_OIDS[persona] for persona in personas}
    groups[GROUP_IDS["nested_admins"]].members.add(GROUP_IDS["night_shift"])
    return groups


def _special_customers(now: datetime) -> list[Customer]:
    made = []
    for index, (key, name) in enumerate(SPECIAL_NAMES.items()):
        code, _, city = people.COUNTRIES[index % len(people.COUNTRIES)]
        label = people.slug(name) if key not in ("rtl", "script", "formula", "duplicate_b") else f"customer-{index}"
        domain, custom = f"{label}.onmicrosoft.example", f"{label}.example"
        size = _SIZES.get(key, 15 + (index * 37) % 66)
        customer = Customer(special_id(key), name, domain, code, city, Directory(list), [custom])
        customer.directory = _directory(customer, size, now, synced=key == "synced")
        if key == "contoso":
            customer.federated_domains = ["fed.contosotrading.example"]
            customer.custom_domains += customer.federated_domains
            customer.subscriptions = bought_by(customer, 48, everything=True)
            customer.directory = Directory(lambda customer=customer: awkward_people(customer, now))  # type: ignore[misc]
        elif key == "federated":
            customer.custom_domains = []
            customer.federated_domains = [domain]
            customer.directory = _directory(customer, size, now)
        if key == "status_expiring":
            customer.relationship = "advisor"
        customer.delegated_access = None if index % 4 else False
        made.append(customer)
    return made


def _plain_customer(rng: random.Random, taken: set[str], now: datetime) -> Customer:
    name = people.company_name(rng, taken)
    code, _, city = rng.choice(people.COUNTRIES)
    label = people.slug(name)
    custom = [f"{label}.example"] if rng.random() < 0.7 else []
    customer = Customer(guid(rng), name, f"{label}.onmicrosoft.example", code, city, Directory(list), custom)
    customer.directory = _directory(customer, rng.choice((0, 15, 18, 23, 27, 31, 36, 42, 55, 64, 80)), now)
    return customer


def _directory(customer: Customer, size: int, now: datetime, *, synced: bool = False) -> Directory:
    custom = customer.custom_domains[0] if customer.custom_domains else ""
    customer.subscriptions = bought_by(customer, size)
    domain_type = "federated" if customer.domain in customer.federated_domains else "none"

    def build_users() -> list[User]:
        made = list(
            people.users(customer.id, size, customer.domain, custom, customer.country, today=now, synced=synced)
        )
        for user in made:
            user.domain_type = domain_type
        return equip(customer, made)

    return Directory(build_users)


def _country(code: str) -> str:
    return next(name for known, name, _ in people.COUNTRIES if known == code)


def _avepoint_row(customer: Customer, key: str, rng: random.Random) -> AvePointRow:
    own_id = guid(rng)
    dice = rng.random()
    told = customer.id if key or dice < 0.85 else own_id
    if key == "upper_id" or (not key and dice < 0.03):
        told = customer.id.upper()
    elif key == "masked_id":
        told = f"{own_id[:14]}****-***-{own_id[24:]}"
    elif key in ("duplicate_a", "duplicate_b", "long_name", "formula", "none", "one_user"):
        told = own_id
    owner = f"owner@{min(customer.domains)}"
    if key == "partner_owner":
        owner = f"backup@{PARTNER_DOMAIN}"
    status = "Recalculating entitlements" if key == "unknown_status" else rng.choice(_JOB_STATUS)
    return AvePointRow(own_id, customer.id, told, customer.name, owner, status, _country(customer.country))


def _avepoint_only(rng: random.Random) -> list[AvePointRow]:
    names = ("Southridge Video", "Southridge Video", "Northwind Traders HN test")
    return [
        AvePointRow(told, "", told, name, f"owner{index}@southridge.example", rng.choice(_JOB_STATUS), "Vietnam")
        for index, (told, name) in enumerate(zip(AVEPOINT_ONLY, names, strict=True))
    ]


def gdap_row(customer: Customer) -> GdapRow:
    """A customer as the GDAP API lists it (CONTRACT 6)."""
    given = people.GIVEN[int(customer.id[:4], 16) % len(people.GIVEN)]
    family = people.FAMILY[int(customer.id[4:8], 16) % len(people.FAMILY)]
    contact = f"{given}.{family}@{customer.domain}".lower()
    return GdapRow(customer.id, customer.domain, customer.name, contact, given, family)


def _unclaimed(now: datetime) -> dict[str, Relationship]:
    """A request nobody has approved: it names no customer yet."""
    made = Relationship(
        "0c5e7a90-7c4b-4f8d-9a1e-5d3b2c1f0e98-7d0f4c1e-52a9-4f6b-8e3d-91c2b7a64f05",
        "Invitation without customer",
        "",
        "",
        (ROLE["Directory Readers"],),
        "approvalPending",
        now - timedelta(days=3),
        None,
        None,
    )
    return {made.id: made}
