"""Graph: GDAP relationships, assignments, groups and $batch (CONTRACT 4)."""

from __future__ import annotations

from typing import Any

import pytest

from partnerportal.sandbox import seed
from partnerportal.sandbox.entra import Grant, tokens_for

from .conftest import Asker

LIST = "/tenantRelationships/delegatedAdminRelationships"
GRAPH_SCOPES = ["User.Read"]
CONTOSO = seed.SPECIAL["contoso"]


def pages(asker: Asker, path: str, **more: Any) -> list[dict[str, Any]]:
    response = asker.graph("GET", path, **more)
    found: list[dict[str, Any]] = []
    while True:
        assert response.status_code == 200, response.text
        body = response.json()
        found += body["value"]
        if "@odata.nextLink" not in body:
            return found
        assert body["@odata.nextLink"].startswith(asker.url)
        headers = {"Authorization": "Bearer sandbox:admin:graph"}
        response = asker.session.get(body["@odata.nextLink"], headers=headers, timeout=20)


def test_relationships_are_paged_and_next_links_keep_the_question(asker: Asker) -> None:
    everything = pages(asker, LIST, params={"$top": 300})
    by_seven = pages(asker, LIST, params={"$top": 7})
    assert [row["id"] for row in by_seven] == [row["id"] for row in everything]
    active = pages(asker, LIST, params={"$top": 7, "$filter": "status eq 'active'"})
    assert {row["status"] for row in active} == {"active"}
    assert len(active) == sum(row["status"] == "active" for row in everything)
    assert {"active", "expired", "terminated", "approvalPending", "expiring"} <= {row["status"] for row in everything}


def test_a_page_holds_at_most_300(asker: Asker) -> None:
    response = asker.graph("GET", LIST, params={"$top": 301})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "Request_BadRequest")


def test_status_and_tenant_may_be_asked_together_or_alone(asker: Asker) -> None:
    tenant = f"customer/tenantId eq '{seed.SPECIAL['union']}'"
    both = pages(asker, LIST, params={"$filter": f"status eq 'active' and {tenant}"})
    assert len(both) == 2
    assert len(pages(asker, LIST, params={"$filter": f"{tenant} and status eq 'expired'"})) == 0
    ended = pages(asker, LIST, params={"$filter": f"customer/tenantId eq '{seed.SPECIAL['past_end']}'"})
    assert [row["status"] for row in ended] == ["active"]
    assert pages(asker, LIST, params={"$filter": f"customer/tenantId eq '{seed.SPECIAL['none']}'"}) == []


@pytest.mark.parametrize(
    "clause", ["displayName eq 'x'", "status ne 'active'", "status eq active", "startswith(a,'b')"]
)
def test_other_filters_are_refused(asker: Asker, clause: str) -> None:
    assert asker.graph("GET", LIST, params={"$filter": clause}).status_code == 400


def test_who_is_no_admin_agent_gets_200_and_nothing(asker: Asker) -> None:
    response = asker.graph("GET", LIST, by="outsider")
    assert (response.status_code, response.json()["value"]) == (200, [])
    relationship = pages(asker, LIST)[0]["id"]
    assert asker.graph("GET", f"{LIST}/{relationship}/accessAssignments", by="outsider").status_code == 404


def test_app_only_may_not_read_relationships(asker: Asker) -> None:
    response = asker.graph("GET", LIST, by="app")
    assert (response.status_code, response.json()["error"]["code"]) == (403, "Authorization_RequestDenied")


def test_assignments_name_group_roles_and_status(asker: Asker) -> None:
    found = pages(asker, LIST, params={"$filter": f"customer/tenantId eq '{seed.SPECIAL['assignment_pending']}'"})
    rows = pages(asker, f"{LIST}/{found[0]['id']}/accessAssignments")
    by_group = {row["accessContainer"]["accessContainerId"]: row for row in rows}
    assert by_group[seed.GROUP_IDS["writers"]]["status"] == "pending"
    roles = by_group[seed.GROUP_IDS["user_admins"]]["accessDetails"]["unifiedRoles"]
    assert {"roleDefinitionId": seed.ROLE["User Administrator"]} in roles


def test_dates_have_seven_fraction_digits_and_are_null_until_active(asker: Asker) -> None:
    live = pages(asker, LIST, params={"$filter": f"customer/tenantId eq '{CONTOSO}'"})[0]
    assert len(live["endDateTime"].partition(".")[2]) == 8
    waiting = pages(asker, LIST, params={"$filter": f"customer/tenantId eq '{seed.SPECIAL['pending']}'"})[0]
    assert (waiting["status"], waiting["endDateTime"], waiting["activatedDateTime"]) == ("approvalPending", None, None)


def test_transitive_groups_hold_the_outer_group_of_a_nested_one(asker: Asker) -> None:
    params = {"$select": "id", "$top": "999"}
    rows = asker.graph("GET", "/me/transitiveMemberOf/microsoft.graph.group", by="nested", params=params).json()[
        "value"
    ]
    assert {seed.GROUP_IDS["nested_admins"], seed.GROUP_IDS["night_shift"]} <= {row["id"] for row in rows}
    assert all("displayName" not in row for row in rows)


def test_counting_groups_wants_the_eventual_header(asker: Asker) -> None:
    path, params = "/me/transitiveMemberOf/microsoft.graph.group", {"$count": "true"}
    assert asker.graph("GET", path, params=params).status_code == 400
    eventual = asker.graph("GET", path, params=params, headers={"ConsistencyLevel": "eventual"}).json()
    assert eventual["@odata.count"] == len(eventual["value"])


def test_check_member_groups_takes_twenty_and_is_transitive(asker: Asker) -> None:
    ids = [seed.GROUP_IDS[f"tier_{number:02d}"] for number in range(1, 21)]
    assert asker.graph("POST", "/me/checkMemberGroups", json={"groupIds": ids}).json()["value"] == []
    assert asker.graph("POST", "/me/checkMemberGroups", json={"groupIds": [*ids, "x"]}).status_code == 400
    mine = [seed.GROUP_IDS["nested_admins"], seed.GROUP_IDS["writers"]]
    answer = asker.graph("POST", "/me/checkMemberGroups", by="nested", json={"groupIds": mine}).json()
    assert answer["value"] == [seed.GROUP_IDS["nested_admins"]]


def test_a_batch_answers_each_call_for_itself(asker: Asker) -> None:
    relationship = pages(asker, LIST)[0]["id"]
    calls = [
        {"id": "a", "method": "GET", "url": f"{LIST}/{relationship}/accessAssignments"},
        {"id": "b", "method": "GET", "url": f"/groups/{seed.GROUP_IDS['writers']}?$select=id,displayName"},
        {"id": "c", "method": "GET", "url": "/groups/00000000-0000-4000-8000-000000000000"},
        {
            "id": "d",
            "method": "POST",
            "url": "/me/checkMemberGroups",
            "body": {"groupIds": [seed.GROUP_IDS["readers"]]},
        },
        {"id": "e", "method": "GET", "url": "/planets"},
    ]
    body = asker.graph("POST", "/$batch", json={"requests": calls}).json()
    answers = {answer["id"]: answer for answer in body["responses"]}
    assert {key: answer["status"] for key, answer in answers.items()} == {
        "a": 200,
        "b": 200,
        "c": 404,
        "d": 200,
        "e": 404,
    }
    assert answers["b"]["body"]["displayName"] == "GDAP Directory Writers"
    too_many = [{"id": str(n), "method": "GET", "url": "/me"} for n in range(21)]
    assert asker.graph("POST", "/$batch", json={"requests": too_many}).status_code == 400


def test_a_wrong_token_is_invalid_authentication_token_with_inner_error(asker: Asker) -> None:
    response = asker.graph("GET", "/me", by="", headers={"Authorization": "Bearer sandbox:admin:partnercenter"})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (401, "InvalidAuthenticationToken")
    assert set(error["innerError"]) == {"date", "request-id", "client-request-id"}
    assert response.headers["request-id"] == error["innerError"]["request-id"]


def test_an_empty_first_page_with_a_next_link_may_be_assumed(asker: Asker) -> None:
    asker.assume("graph_empty_first_page", True)
    asker.assume("graph_page_size", 50)
    first = asker.graph("GET", LIST).json()
    assert (first["value"], "@odata.nextLink" in first) == ([], True)
    found = pages(asker, LIST)
    assert len(found) == len({row["id"] for row in found}) == len(asker.sandbox.cloud.world.relationships)


def test_gdap_customers_are_those_with_a_live_relationship(asker: Asker) -> None:
    ids = {row["tenantId"] for row in pages(asker, "/tenantRelationships/delegatedAdminCustomers")}
    assert CONTOSO in ids
    assert not ids & {seed.SPECIAL[key] for key in ("none", "expired", "past_end", "pending")}


def test_graph_asked_by_its_own_name_links_to_its_own_name(asker: Asker) -> None:
    grant = Grant("admin", GRAPH_SCOPES, mfa=False, auth_time=0, sid="x")
    token = tokens_for(asker.sandbox.cloud, grant, GRAPH_SCOPES, "https://login", id_token=False)["access_token"]
    headers = {"Host": "graph.microsoft.com:443", "Authorization": f"Bearer {token}"}
    body = asker.session.get(f"{asker.url}/v1.0{LIST}?$top=1", headers=headers, timeout=20).json()
    assert body["@odata.nextLink"].startswith("https://graph.microsoft.com/v1.0/tenantRelationships/")
    assert body["@odata.context"].startswith("https://graph.microsoft.com/v1.0/")
