"""Directory roles of a customer's users, and who may see and give them (CONTRACT 3.1, 3.6)."""

from __future__ import annotations

import pytest

from partnerportal.sandbox import directory_roles, seed
from partnerportal.sandbox.seed_gdap import ROLE
from partnerportal.sandbox.seed_licences import BUSINESS_PREMIUM, GLOBAL_ADMINISTRATOR

from .conftest import Asker, parsed

CONTOSO = seed.SPECIAL["contoso"]
USERS = seed.SPECIAL_USERS
ROOT = f"/customers/{CONTOSO}"
HELPDESK = directory_roles.IDS["Helpdesk Administrator"]
MEMBERS = f"{ROOT}/directoryroles/{HELPDESK}/usermembers"


def hold(asker: Asker, *names: str) -> None:
    """From now on every group that has a role at contoso has these and no others."""
    (relationship,) = asker.sandbox.cloud.relationships_of(CONTOSO)
    relationship.roles = tuple(ROLE.values())
    for assignment in relationship.assignments:
        assignment.roles = tuple(ROLE[name] for name in names)


def test_the_administrator_is_told_under_the_old_name(asker: Asker) -> None:
    answer = parsed(asker.partner_center("GET", f"{ROOT}/users/{USERS['duplicate_a']}/directoryroles"))
    assert set(answer) == {"totalCount", "items", "attributes"}
    assert [(item["name"], item["id"]) for item in answer["items"]] == [("Company Administrator", GLOBAL_ADMINISTRATOR)]
    nobody = parsed(asker.partner_center("GET", f"{ROOT}/users/{USERS['plain']}/directoryroles"))
    assert (nobody["totalCount"], nobody["items"]) == (0, [])
    assert asker.partner_center("GET", f"{ROOT}/users/{USERS['deleted']}/directoryroles").status_code == 404


def test_every_customer_with_people_has_an_administrator(asker: Asker) -> None:
    for customer in asker.sandbox.cloud.world.customers.values():
        living = [user for user in customer.directory.users.values() if user.deleted_at is None]
        assert not living or any(GLOBAL_ADMINISTRATOR in user.roles for user in living), customer.name


def test_the_roles_there_are(asker: Asker) -> None:
    items = parsed(asker.partner_center("GET", f"{ROOT}/directoryroles", by="reader"))["items"]
    assert {item["id"]: item["name"] for item in items} == directory_roles.NAMES


def test_members_come_in_pages(asker: Asker) -> None:
    for key in ("plain", "quotes"):
        asker.state("set_directory_roles", tenant_id=CONTOSO, user_id=USERS[key], roles=[HELPDESK])
    first = parsed(asker.partner_center("GET", f"{MEMBERS}?size=2", by="reader"))
    token = first["links"]["next"]["headers"][0]["value"]
    headers = {"MS-ContinuationToken": token}
    second = parsed(asker.partner_center("GET", f"{MEMBERS}?seekOperation=Next", by="reader", headers=headers))
    assert [item["id"] for item in first["items"]] == [USERS["plain"], USERS["accented"]]
    assert [item["id"] for item in second["items"]] == [USERS["quotes"]]
    assert "next" not in second["links"]


def test_a_role_is_given_once_and_taken_once(asker: Asker) -> None:
    hold(asker, "Privileged Role Administrator")
    given = [asker.partner_center("POST", MEMBERS, json={"Id": USERS["plain"]}) for _ in range(2)]
    assert [answer.status_code for answer in given] == [201, 400]
    path = f"{MEMBERS}/{USERS['plain']}"
    assert [asker.partner_center("DELETE", path).status_code for _ in range(2)] == [204, 404]
    nobody = asker.partner_center("POST", MEMBERS, json={"Id": "x"})
    assert (nobody.status_code, nobody.json()["code"]) == (404, 60002)


def test_a_role_that_is_none_is_not_found(asker: Asker) -> None:
    path = f"{ROOT}/directoryroles/{USERS['plain']}/usermembers"
    answer = asker.partner_center("GET", path, by="reader")
    assert (answer.status_code, answer.json()["code"]) == (404, 1000)


READS = frozenset({"skus", "licences", "roles_of_user", "roles", "members"})
TABLE = [
    ("Directory Readers", READS),
    ("Global Reader", frozenset({"skus", "roles_of_user", "members"})),
    ("Directory Writers", frozenset({"licences", "members", "assign"})),
    ("User Administrator", frozenset({"skus", "licences", "roles_of_user", "assign"})),
    ("License Administrator", frozenset({"skus", "licences", "assign"})),
    ("Privileged Role Administrator", frozenset({"members", "give"})),
    ("Privileged Authentication Administrator", frozenset()),
    ("Helpdesk Administrator", frozenset()),
]


def outcomes(asker: Asker, by: str = "admin") -> dict[str, int]:
    """Each call's code of refusal, or 0."""
    one = f"{ROOT}/users/{USERS['plain']}"
    calls = {
        "skus": asker.partner_center("GET", f"{ROOT}/subscribedskus", by=by),
        "licences": asker.partner_center("GET", f"{one}/licenses", by=by),
        "roles_of_user": asker.partner_center("GET", f"{one}/directoryroles", by=by),
        "roles": asker.partner_center("GET", f"{ROOT}/directoryroles", by=by),
        "members": asker.partner_center("GET", MEMBERS, by=by),
        "assign": asker.partner_center(
            "POST", f"{one}/licenseupdates", by=by, json={"licensesToAssign": [{"skuId": BUSINESS_PREMIUM.id}]}
        ),
        "give": asker.partner_center("POST", MEMBERS, by=by, json={"id": USERS["plain"]}),
    }
    return {name: 0 if answer.ok else answer.json()["code"] for name, answer in calls.items()}


@pytest.mark.parametrize(("role", "allowed"), TABLE)
def test_what_each_role_allows(asker: Asker, role: str, allowed: frozenset[str]) -> None:
    hold(asker, role)
    assert {name for name, code in outcomes(asker).items() if code == 0} == allowed
    assert set(outcomes(asker).values()) <= {0, 900308, 3000}  # 3000: the role was given a moment ago


@pytest.mark.parametrize(("by", "code"), [("app", 900329), ("outsider", 900150)])
def test_neither_apps_nor_those_outside_the_agents_may(asker: Asker, by: str, code: int) -> None:
    assert set(outcomes(asker, by).values()) == {code}


@pytest.mark.parametrize("suffix", ["", "/resetpassword"])
def test_administrators_may_be_assumed_to_be_protected(asker: Asker, suffix: str) -> None:
    profile = {"password": "Zebra-4711-cloud"}
    lead = USERS["duplicate_a"]
    assert asker.patch("contoso", lead, suffix=suffix, passwordProfile=profile).status_code == 200
    asker.assume("administrators_protected", True)
    refused = asker.patch("contoso", lead, suffix=suffix, passwordProfile=profile)
    assert (refused.status_code, refused.json()["code"]) == (403, 900308)
    assert asker.partner_center("DELETE", f"{ROOT}/users/{lead}").status_code == 403
    assert asker.patch("contoso", USERS["plain"], suffix=suffix, passwordProfile=profile).status_code == 200
    hold(asker, "Privileged Authentication Administrator")
    assert asker.patch("contoso", lead, suffix=suffix, passwordProfile=profile).status_code == 200
