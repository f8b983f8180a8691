"""Who may do what where: tokens, MFA, staff role and GDAP (CONTRACT 1.2, 1.3, 3.1, 4.4)."""

from __future__ import annotations

import pytest

from partnerportal.sandbox import seed

from .conftest import Asker, parsed

USERS = seed.SPECIAL_USERS


def outcome(asker: Asker, action: str, customer: str, by: str) -> object:
    """`True`, or the code of the refusal, for a call that would otherwise succeed or find no user."""
    nobody = "00000000-0000-4000-8000-000000000000"
    path = f"/customers/{seed.SPECIAL[customer]}/users"
    if action == "list":
        response = asker.partner_center("GET", path, by=by)
    elif action == "create":
        response = asker.partner_center("POST", path, by=by, json={})
    elif action == "patch":
        response = asker.partner_center("PATCH", f"{path}/{nobody}", by=by, json={"displayName": "x"})
    elif action == "reset":
        body = {"passwordProfile": {"password": "Zebra-4711-cloud"}}
        response = asker.partner_center("PATCH", f"{path}/{nobody}/resetpassword", by=by, json=body)
    elif action == "reset_2021":
        body = {"passwordProfile": {"password": "Zebra-4711-cloud"}}
        response = asker.partner_center("PATCH", f"{path}/{nobody}", by=by, json=body)
    elif action == "restore":
        response = asker.partner_center("PATCH", f"{path}/{nobody}", by=by, json={"state": "active"})
    else:
        response = asker.partner_center("DELETE", f"{path}/{nobody}", by=by)
    if response.status_code in (200, 204):
        return True
    code = response.json()["code"]
    return True if code in (60002, 3000) else code


ACTIONS = ("list", "create", "patch", "reset", "reset_2021", "delete", "restore")
ALL = frozenset(ACTIONS)
WRITER = frozenset({"list", "create", "patch", "restore"})
NONE: frozenset[str] = frozenset()
TABLE = [
    ("admin", "contoso", ALL),
    ("writer", "contoso", WRITER),
    ("reader", "contoso", frozenset({"list"})),
    ("nested", "contoso", NONE),
    ("nested", "nested_only", ALL),
    ("writer", "nested_only", NONE),
    ("writer", "writer_none", NONE),
    ("writer", "writer_only_dw", WRITER - {"list"}),
    ("writer", "readonly", frozenset({"list"})),
    ("admin", "readonly", ALL),
    ("admin", "ceiling", frozenset({"list"})),
    ("writer", "union", WRITER),
    ("writer", "assignment_pending", NONE),
    ("writer", "assignment_gone", NONE),
    ("admin", "many_groups", ALL),
    ("writer", "status_expiring", NONE),
    ("admin", "expiring", ALL),
    *((("admin", customer, NONE)) for customer in ("expired", "terminated", "past_end", "pending", "none")),
]


@pytest.mark.parametrize(("by", "customer", "allowed"), TABLE)
def test_the_role_table(asker: Asker, by: str, customer: str, allowed: frozenset[str]) -> None:
    found = {action: outcome(asker, action, customer, by) for action in ACTIONS}
    assert found == {action: True if action in allowed else 900308 for action in ACTIONS}


def test_admin_is_user_administrator_at_every_plain_customer(asker: Asker) -> None:
    cloud = asker.sandbox.cloud
    special = set(seed.SPECIAL.values())
    for customer in cloud.world.customers.values():
        if customer.id not in special:
            assert seed.ROLE["User Administrator"] in cloud.roles(seed.PERSONA_OIDS["admin"], customer.id)


def test_nested_has_a_role_at_exactly_one_customer(asker: Asker) -> None:
    cloud = asker.sandbox.cloud
    where = [c for c in cloud.world.customers if cloud.roles(seed.PERSONA_OIDS["nested"], c)]
    assert where == [seed.SPECIAL["nested_only"]]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("by", ["outsider", "norole"])
def test_who_is_no_admin_agent_is_refused_by_the_staff_role(asker: Asker, by: str, action: str) -> None:
    assert outcome(asker, action, "contoso", by) == 900150


def test_the_other_tenants_person_is_no_partner(asker: Asker) -> None:
    response = asker.partner_center("GET", "/customers", by="foreign")
    assert (response.status_code, response.json()["code"]) == (403, 2006)


@pytest.mark.parametrize("action", ACTIONS)
def test_app_only_is_refused_for_users(asker: Asker, action: str) -> None:
    assert outcome(asker, action, "contoso", "app") == 900329


@pytest.mark.parametrize(("value", "status"), [("allow", 200), ("403", 403), (401, 401)])
def test_app_only_customers_are_switchable(asker: Asker, value: object, status: int) -> None:
    asker.assume("app_only_customers", value)
    assert asker.partner_center("GET", "/customers", by="app").status_code == status
    assert asker.partner_center("GET", f"/customers/{seed.SPECIAL['contoso']}", by="app").status_code == status


def test_another_services_token_is_a_wrong_audience_with_a_code_in_text(asker: Asker) -> None:
    headers = {"Authorization": "Bearer sandbox:admin:graph"}
    response = asker.partner_center("GET", "/customers", by="", headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "900420")
    journal = asker.journal()
    assert journal[-1]["audience"] == "https://graph.microsoft.com"


@pytest.mark.parametrize(
    "authorization", ["", "Bearer nonsense", "Basic abc", "Bearer ", "Bearer sandbox:nobody:graph"]
)
def test_no_token_is_401_without_a_body(asker: Asker, authorization: str) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    response = asker.partner_center("GET", "/customers", by="", headers=headers)
    assert (response.status_code, response.content) == (401, b"")
    assert response.headers["WWW-Authenticate"]
    assert response.headers["MS-RequestId"]


def test_the_body_of_an_authentication_refusal_is_switchable(asker: Asker) -> None:
    asker.assume("auth_error_body", "json")
    assert asker.partner_center("GET", "/customers", by="").json()["code"] == 400


def test_unknown_strange_and_misspelt_customers(asker: Asker) -> None:
    def answer(customer_id: str) -> tuple[int, int]:
        response = asker.partner_center("GET", f"/customers/{customer_id}/users")
        return response.status_code, response.json()["code"]

    assert answer("not-a-guid") == (400, 900118)
    assert answer("00000000-0000-4000-8000-000000000000") == (404, 60003)
    assert answer(seed.SPECIAL["not_ours"]) == (403, 20002)


def test_a_terminated_relationship_takes_rights_away_at_once_and_restore_gives_them_back(asker: Asker) -> None:
    tenant = seed.SPECIAL["contoso"]
    asker.state("terminate_relationship", tenant_id=tenant)
    assert outcome(asker, "list", "contoso", "admin") == 900308
    asker.state("restore_relationship", tenant_id=tenant)
    assert outcome(asker, "list", "contoso", "admin") is True


def test_leaving_a_group_takes_rights_away_at_once(asker: Asker) -> None:
    asker.state("remove_from_group", persona="writer", group="GDAP Directory Writers")
    assert outcome(asker, "create", "contoso", "writer") == 900308
    asker.state("add_to_group", persona="writer", group="user_admins")
    assert outcome(asker, "delete", "contoso", "writer") is True
    asker.state("remove_from_group", persona="writer", group="Admin agents")
    assert outcome(asker, "list", "contoso", "writer") == 900150


def test_the_clock_ends_a_relationship(asker: Asker) -> None:
    asker.state("set_clock_offset", seconds=12 * 86400)
    assert outcome(asker, "list", "expiring", "admin") == 900308


def test_an_assignment_gives_nothing_that_the_relationship_lacks(asker: Asker) -> None:
    (relationship,) = asker.sandbox.cloud.relationships_of(seed.SPECIAL["contoso"])
    roles = [seed.ROLE["Directory Readers"], seed.ROLE["Directory Writers"]]
    asker.state("set_relationship", relationship_id=relationship.id, roles=roles)
    assert outcome(asker, "list", "contoso", "admin") == 900308
    assert outcome(asker, "create", "contoso", "writer") is True


def test_who_may_only_reset_passwords_may_not_change_a_name_along_with_one(asker: Asker) -> None:
    (relationship,) = asker.sandbox.cloud.relationships_of(seed.SPECIAL["contoso"])
    for assignment in relationship.assignments:
        assignment.roles = (seed.ROLE["Privileged Authentication Administrator"],)
    profile = {"password": "Zebra-4711-cloud"}
    assert asker.patch("contoso", USERS["plain"], passwordProfile=profile).status_code == 200
    assert asker.patch("contoso", USERS["plain"], passwordProfile=profile, displayName="X").status_code == 403


def test_directory_writers_may_be_assumed_to_reset(asker: Asker) -> None:
    asker.assume("directory_writers_reset", True)
    assert outcome(asker, "reset_2021", "contoso", "writer") is True


def test_a_change_with_a_password_needs_both_rights_and_does_nothing_without(asker: Asker) -> None:
    profile = {"password": "Zebra-4711-cloud"}
    response = asker.patch("contoso", USERS["plain"], by="writer", displayName="Half", passwordProfile=profile)
    assert response.json()["code"] == 900308
    path = f"/customers/{seed.SPECIAL['contoso']}/users/{USERS['plain']}"
    assert parsed(asker.partner_center("GET", path))["displayName"] == "Adele Vance"


def test_mfa_is_asked_for_and_told_on_request(asker: Asker) -> None:
    response = asker.partner_center("GET", "/customers", headers={"ValidateMfa": "true"})
    assert response.headers["isMfaCompliant"] == "true"
    asker.state("require_mfa", on=True)
    assert asker.partner_center("GET", "/customers").status_code == 200
    assert asker.partner_center("GET", "/customers", by="app").status_code == 200
