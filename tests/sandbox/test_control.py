"""The sandbox's own doors, exactly as INTERFACE.md has them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from partnerportal.sandbox import seed
from partnerportal.sandbox.assumptions import ASSUMPTIONS

from .conftest import Asker, parsed


def test_personas_say_who_may_sign_in(asker: Asker) -> None:
    personas = {persona["key"]: persona for persona in asker.control("GET", "personas").json()}
    assert list(personas) == ["admin", "writer", "reader", "nested", "outsider", "norole", "foreign"]
    for key, persona in personas.items():
        assert set(persona) == {"key", "name", "upn", "oid", "tid", "app_roles", "admin_agent", "note"}
        assert persona["oid"] == seed.PERSONA_OIDS[key]
    assert {key for key, persona in personas.items() if persona["admin_agent"]} == {
        "admin",
        "writer",
        "reader",
        "nested",
    }
    assert (personas["foreign"]["name"], personas["foreign"]["upn"]) == (
        personas["admin"]["name"],
        personas["admin"]["upn"],
    )


def test_the_journal_tells_what_was_asked_and_answered(asker: Asker) -> None:
    before = asker.journal()
    ids = {
        "MS-RequestId": "5ce66de5-eea9-486f-a11c-c852aa3d1502",
        "MS-CorrelationId": "a2a912ee-d595-47e2-97ae-1b0ae1efa13d",
    }
    path = f"/customers/{seed.SPECIAL['contoso']}/users"
    profile = {"password": "Zebra-4711-cloud", "forceChangePassword": True}
    asker.partner_center("POST", path, by="writer", json={"displayName": "N", "passwordProfile": profile}, headers=ids)
    assert before == []
    (entry,) = asker.journal()
    assert {
        "seq",
        "at",
        "service",
        "method",
        "path",
        "query",
        "subject",
        "audience",
        "request_id",
        "correlation_id",
        "body",
        "status",
    } <= set(entry)
    assert (entry["service"], entry["method"], entry["path"]) == ("partnercenter", "POST", f"/v1{path}")
    assert (entry["subject"], entry["persona"]) == (seed.PERSONA_OIDS["writer"], "writer")
    assert entry["audience"] == "https://api.partnercenter.microsoft.com"
    assert (entry["request_id"], entry["correlation_id"]) == tuple(ids.values())
    assert entry["status"] == 400
    assert entry["body"]["passwordProfile"] == {"password": "<redacted>", "forceChangePassword": True}


def test_the_journal_goes_on_after_a_number(asker: Asker) -> None:
    for _ in range(3):
        asker.partner_center("GET", "/customers?size=1")
    entries = asker.journal()
    assert [entry["seq"] for entry in asker.journal(entries[0]["seq"])] == [entry["seq"] for entry in entries[1:]]
    assert asker.journal(entries[-1]["seq"]) == []
    asker.control("POST", "reset", {"profile": "demo"})
    asker.partner_center("GET", "/customers?size=1")
    assert asker.journal()[0]["seq"] > entries[-1]["seq"]


def test_reset_is_fast_and_forgets_everything(asker: Asker) -> None:
    asker.create("contoso", "gone")
    asker.fault(kind="status", times=0)
    asker.assume("link_prefix", "")
    asker.state("set_clock_offset", seconds=99999)
    asker.state("set_app_roles", persona="reader", roles=[])
    started = time.monotonic()
    answer = asker.control("POST", "reset", {"profile": "demo"}).json()
    assert time.monotonic() - started < 0.5
    assert answer == {"profile": "demo", "customers": len(asker.sandbox.cloud.world.customers)}
    assert "gone" not in str(asker.every_user("contoso"))
    assert parsed(asker.users("contoso"))["links"]["self"]["uri"].startswith("/v1/")
    assert asker.sandbox.cloud.world.personas["reader"].app_roles == ["Portal.Reader"]


def test_empty_has_no_customers_anywhere_but_its_people(asker: Asker) -> None:
    asker.control("POST", "reset", {"profile": "empty"})
    assert parsed(asker.partner_center("GET", "/customers"))["items"] == []
    assert asker.ask("avepoint", "GET", "/partner/customers").json()["value"] == []
    assert asker.graph("GET", "/tenantRelationships/delegatedAdminRelationships").json()["value"] == []
    answer = asker.ask("gdap", "GET", "/Customers", params={"providerId": seed.PARTNER_TENANT_ID})
    assert answer.json() == {"CurrentEntitiesSynced": []}
    assert len(asker.control("GET", "personas").json()) == 7


@pytest.mark.parametrize("source", ["partnercenter", "avepoint", "graph", "gdap"])
def test_a_source_may_forget_half_its_customers(asker: Asker, source: str) -> None:
    def count() -> int:
        match source:
            case "partnercenter":
                return len(parsed(asker.partner_center("GET", "/customers"))["items"])
            case "avepoint":
                return len(asker.ask("avepoint", "GET", "/partner/customers").json()["value"])
            case "graph":
                path = "/tenantRelationships/delegatedAdminRelationships?$top=300"
                return len(asker.graph("GET", path).json()["value"])
        answer = asker.ask("gdap", "GET", "/Customers", params={"providerId": seed.PARTNER_TENANT_ID})
        return len(answer.json()["CurrentEntitiesSynced"])

    whole = count()
    asker.state("hide_customers", source=source, fraction=0.5)
    assert 0.25 * whole < count() < 0.75 * whole
    asker.state("hide_customers", source=source, fraction=1)
    assert count() == 0
    asker.state("hide_customers", source=source, fraction=0)
    assert count() == whole


def test_graph_may_forget_some_access_assignments_and_keep_the_relationships(asker: Asker) -> None:
    path = "/tenantRelationships/delegatedAdminRelationships"
    ids = [row["id"] for row in asker.graph("GET", f"{path}?$top=300").json()["value"]]

    def count() -> int:
        return sum(len(asker.graph("GET", f"{path}/{one}/accessAssignments").json()["value"]) for one in ids[:60])

    whole = count()
    asker.state("hide_customers", source="assignments", fraction=0.5)
    assert 0.2 * whole < count() < 0.8 * whole
    assert [row["id"] for row in asker.graph("GET", f"{path}?$top=300").json()["value"]] == ids
    asker.state("hide_customers", source="assignments", fraction=0)
    assert count() == whole


@pytest.mark.parametrize(
    "payload",
    [
        {"op": "explode"},
        {},
        [],
        {"op": "assume", "name": "unheard_of", "value": 1},
        {"op": "assume", "name": "link_prefix", "value": "/v9"},
        {"op": "assume", "name": "gdap_sync_seconds", "value": "soon"},
        {"op": "terminate_relationship"},
        {"op": "terminate_relationship", "tenant_id": "nobody"},
        {"op": "add_to_group", "persona": "nobody", "group": "writers"},
        {"op": "add_to_group", "persona": "admin", "group": "no such group"},
        {"op": "hide_customers", "source": "moon", "fraction": 1},
        {"op": "set_clock_offset", "seconds": "soon"},
        {"op": "set_units", "tenant_id": seed.SPECIAL["contoso"], "sku": "NOT_BOUGHT", "units": 1},
        {"op": "set_units", "tenant_id": "nobody", "sku": "SPB", "units": 1},
        {
            "op": "set_directory_roles",
            "tenant_id": seed.SPECIAL["contoso"],
            "user_id": seed.SPECIAL_USERS["plain"],
            "roles": ["Company Administrator"],
        },
    ],
)
def test_an_operation_that_makes_no_sense_is_refused_with_a_reason(asker: Asker, payload: Any) -> None:
    response = asker.control("POST", "state", payload)
    assert response.status_code == 400
    assert response.json()["error"]


def test_one_relationship_may_be_ended_and_changed_by_its_id(asker: Asker) -> None:
    tenant = seed.SPECIAL["union"]
    writes = next(r for r in asker.sandbox.cloud.relationships_of(tenant) if r.name.startswith("Project"))
    asker.state("terminate_relationship", tenant_id=tenant, relationship_id=writes.id)
    assert asker.partner_center("GET", f"/customers/{tenant}/users", by="writer").status_code == 200
    assert asker.partner_center("POST", f"/customers/{tenant}/users", by="writer", json={}).status_code == 403
    asker.state("set_relationship", relationship_id=writes.id, status="active", ends_in_days=3)
    assert asker.partner_center("POST", f"/customers/{tenant}/users", by="writer", json={}).status_code == 400
    asker.state("set_assignment", relationship_id=writes.id, group="writers", status="pending")
    assert asker.partner_center("POST", f"/customers/{tenant}/users", by="writer", json={}).status_code == 403


def test_every_assumption_takes_its_default_and_its_choices(asker: Asker) -> None:
    for name, row in ASSUMPTIONS.items():
        for value in (*row.choices, row.default):
            assert asker.state("assume", name=name, value=value)["value"] == value
    shown = asker.control("GET", "state").json()
    assert shown["assumed"] == {name: row.default for name, row in ASSUMPTIONS.items()}
    assert shown["special"] == seed.SPECIAL


@pytest.mark.parametrize(
    "path", ["/_/partnercenter/v1/planets", "/_/moon/v1", "/v1/customers", "/_sandbox/unknown", "/favicon.ico"]
)
def test_an_unknown_path_is_a_404_that_names_itself(asker: Asker, path: str) -> None:
    response = asker.session.get(asker.url + path, timeout=20)
    assert response.status_code == 404
    assert "sandbox has no route for GET" in response.json()["error"]
    assert path.rpartition("/")[2] in response.json()["error"]


def test_an_unknown_host_is_a_404_that_names_itself(asker: Asker) -> None:
    response = asker.session.get(f"{asker.url}/v1/customers", headers={"Host": "evil.example"}, timeout=20)
    assert (response.status_code, "evil.example/v1/customers" in response.json()["error"]) == (404, True)


def test_one_hosts_paths_do_not_answer_at_another(asker: Asker) -> None:
    for host, path in (
        ("graph.microsoft.com", "/partner/customers"),
        ("graph.avepointonlineservices.com", "/connect/token"),
    ):
        response = asker.session.post(asker.url + path, headers={"Host": host}, timeout=20)
        assert response.status_code in (401, 404)
        assert "access_token" not in response.text
