"""Microsoft Graph: relationships, assignments in batches, groups; and what happens when a part of it fails."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import requests
import responses

from partnerportal.upstream import roles
from partnerportal.upstream.errors import Broken, Forbidden, SignInAgain, Throttled, Unintelligible, Unreachable
from partnerportal.upstream.graph import Assignment, Graph, Relationship
from partnerportal.upstream.http import Secret

from .conftest import GRAPH, TENANT, sent_text

RELATIONSHIPS = f"{GRAPH}/tenantRelationships/delegatedAdminRelationships"
GROUPS = [f"227a2f44-2682-4831-a021-{number:012}" for number in range(60)]


@pytest.fixture
def graph(token: Secret) -> Graph:
    return Graph(token)


def relationship(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "@odata.etag": "W/x",
        "id": f"rel-{number}",
        "displayName": f"Relationship {number}",
        "customer": {"tenantId": TENANT.upper(), "displayName": "Contoso"},
        "accessDetails": {"unifiedRoles": [{"roleDefinitionId": roles.USER_ADMINISTRATOR.upper()}]},
        "status": "active",
        "autoExtendDuration": "P180D",
        "createdDateTime": "2025-02-08T09:00:00Z",
        "activatedDateTime": "2025-02-10T11:24:42Z",
        "lastModifiedDateTime": "2025-03-01T08:00:00Z",
        "endDateTime": "2027-02-10T11:24:42.3148266Z",
        **more,
    }


def assignment(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": f"ass-{number}",
        "status": "active",
        "accessContainer": {"accessContainerId": GROUPS[number].upper(), "accessContainerType": "securityGroup"},
        "accessDetails": {"unifiedRoles": [{"roleDefinitionId": roles.DIRECTORY_READERS}]},
        **more,
    }


def test_relationships_of_one_customer(wire: responses.RequestsMock, graph: Graph) -> None:
    wire.get(RELATIONSHIPS, json={"value": [relationship()]})
    assert graph.relationships(TENANT.upper(), status="active") == (
        Relationship(
            id="rel-1",
            display_name="Relationship 1",
            tenant_id=TENANT,
            status="active",
            ends_at=datetime(2027, 2, 10, 11, 24, 42, 314826, tzinfo=UTC),
            auto_extends=True,
            roles=frozenset({roles.USER_ADMINISTRATOR}),
            customer_name="Contoso",
            created_at=datetime(2025, 2, 8, 9, tzinfo=UTC),
            activated_at=datetime(2025, 2, 10, 11, 24, 42, tzinfo=UTC),
            modified_at=datetime(2025, 3, 1, 8, tzinfo=UTC),
        ),
    )
    request = wire.calls[0].request
    assert dict(parse_qsl(urlsplit(str(request.url)).query)) == {
        "$filter": f"status eq 'active' and customer/tenantId eq '{TENANT}'",
        "$top": "300",
    }
    assert request.headers["Authorization"] == "Bearer the-access-token"
    assert request.headers["client-request-id"]


def test_relationships_of_all_customers_over_several_pages(wire: responses.RequestsMock, graph: Graph) -> None:
    wire.get(RELATIONSHIPS, json={"value": [], "@odata.nextLink": f"{RELATIONSHIPS}?$skiptoken=a%2Fb'c"})
    wire.get(RELATIONSHIPS, json={"value": [relationship(2)], "@odata.nextLink": f"{RELATIONSHIPS}?$skiptoken=2"})
    wire.get(RELATIONSHIPS, json={"value": [relationship(3)]})
    assert [one.id for one in graph.relationships(top=5)] == ["rel-2", "rel-3"]
    assert [call.request.url for call in wire.calls] == [
        f"{RELATIONSHIPS}?$top=5",
        f"{RELATIONSHIPS}?$skiptoken=a%2Fb'c",
        f"{RELATIONSHIPS}?$skiptoken=2",
    ]


@pytest.mark.parametrize("duration", ["", "P0D", "PT0S", None])
def test_a_relationship_without_an_extension_ends(wire: responses.RequestsMock, graph: Graph, duration: Any) -> None:
    row = relationship(autoExtendDuration=duration, endDateTime=None, customer=None, status="unknownFutureValue")
    wire.get(RELATIONSHIPS, json={"value": [row]})
    (found,) = graph.relationships()
    assert (found.auto_extends, found.ends_at, found.tenant_id) == (False, None, "")
    assert found.status == "unknownFutureValue"


def test_a_quote_in_a_filter_is_doubled(wire: responses.RequestsMock, graph: Graph) -> None:
    wire.get(RELATIONSHIPS, json={"value": []})
    graph.relationships(status="x' or 'a' eq 'a")
    assert "status eq 'x'' or ''a'' eq ''a'" in unquote(str(wire.calls[0].request.url))
    with pytest.raises(ValueError, match="Not a GUID"):
        graph.relationships("x' or true")


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/v1.0/tenantRelationships/delegatedAdminRelationships?$skiptoken=1",
        "https://graph.microsoft.com/v1.0/users?$skiptoken=1",
        "https://graph.microsoft.com/beta/tenantRelationships/delegatedAdminRelationships?$skiptoken=1",
        "https://graph.microsoft.com:8443/v1.0/tenantRelationships/delegatedAdminRelationships?$skiptoken=1",
    ],
)
def test_a_next_link_that_leads_elsewhere_is_not_followed(
    wire: responses.RequestsMock, graph: Graph, link: str
) -> None:
    wire.get(RELATIONSHIPS, json={"value": [relationship()], "@odata.nextLink": link})
    with pytest.raises(Unintelligible):
        graph.relationships()
    assert len(wire.calls) == 1


def test_a_next_link_in_a_circle_is_stopped(wire: responses.RequestsMock, graph: Graph) -> None:
    wire.get(RELATIONSHIPS, json={"value": [relationship()], "@odata.nextLink": f"{RELATIONSHIPS}?$skiptoken=1"})
    with pytest.raises(Unintelligible):
        graph.relationships()
    assert len(wire.calls) == 2


@pytest.mark.parametrize("row", [{"displayName": "x"}, {"id": ""}, relationship(customer={"tenantId": "x"}), None, 7])
def test_a_relationship_that_cannot_be_read_is_not_passed_over(
    wire: responses.RequestsMock, graph: Graph, row: Any
) -> None:
    wire.get(RELATIONSHIPS, json={"value": [row]})
    with pytest.raises(Unintelligible):
        graph.relationships()


def test_any_relationship_looks_at_one(wire: responses.RequestsMock, graph: Graph) -> None:
    wire.get(RELATIONSHIPS, json={"value": [relationship()]})
    assert graph.any_relationship()
    assert str(wire.calls[0].request.url).endswith("?$top=1")


def test_an_empty_list_is_no_relationship(wire: responses.RequestsMock, graph: Graph) -> None:
    wire.get(RELATIONSHIPS, json={"value": []})
    assert not graph.any_relationship()


# --- Every relationship, for the snapshot -------------------------------------------------------------------


def test_pages_of_relationships_bring_each_once_and_count_what_cannot_be_read(
    wire: responses.RequestsMock, graph: Graph
) -> None:
    next_page = f"{RELATIONSHIPS}?$skiptoken=2"
    wire.get(RELATIONSHIPS, json={"value": [relationship(1), {"id": ""}], "@odata.nextLink": next_page})
    wire.get(RELATIONSHIPS, json={"value": [relationship(1), relationship(2)]})
    pages = list(graph.relationship_pages())
    assert [[one.id for one in page.rows] for page in pages] == [["rel-1"], ["rel-2"]]
    assert [page.unreadable for page in pages] == [1, 0]


def test_a_page_without_one_readable_row_fails(wire: responses.RequestsMock, graph: Graph) -> None:
    wire.get(RELATIONSHIPS, json={"value": [{"identity": "rel-1"}, None]})
    with pytest.raises(Unintelligible):
        list(graph.relationship_pages())


def test_assignments_that_cannot_be_read_are_counted_where_that_is_asked_for(
    wire: responses.RequestsMock, graph: Graph
) -> None:
    body = {"value": [assignment(1), assignment(2, accessContainer=None)]}
    wire.add_callback("POST", f"{GRAPH}/$batch", batch(lambda url: {"status": 200, "body": body}))
    found = graph.assignments_counted(["rel-1"])["rel-1"]
    assert ([one.id for one in found.rows], found.unreadable) == (["ass-1"], 1)
    with pytest.raises(Unintelligible):
        graph.assignments(["rel-1"])


def test_since_when_an_assignment_is_as_it_is(wire: responses.RequestsMock, graph: Graph) -> None:
    made, changed = "2026-11-20T10:00:00.1234567Z", "2026-11-20T10:07:00Z"
    rows = [assignment(1, createdDateTime=made, lastModifiedDateTime=changed), assignment(2, createdDateTime=made)]
    wire.add_callback("POST", f"{GRAPH}/$batch", batch(lambda url: {"status": 200, "body": {"value": rows}}))
    first, second = graph.assignments(["rel-1"])["rel-1"]
    assert first.since == datetime(2026, 11, 20, 10, 7, tzinfo=UTC)
    assert second.since == datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)


# --- Batches ------------------------------------------------------------------------------------------------


def batch(answer: Callable[[str], dict[str, Any] | None]) -> Callable[[requests.PreparedRequest], tuple[int, Any, str]]:
    """A $batch that answers each URL by `answer`, in the wrong order."""

    def callback(request: requests.PreparedRequest) -> tuple[int, Any, str]:
        parts = json.loads(request.body or b"")["requests"]
        assert len(parts) <= 20
        assert all(part["method"] == "GET" for part in parts)
        found = [(part["id"], answer(part["url"])) for part in reversed(parts)]
        return 200, {}, json.dumps({"responses": [{"id": key, **said} for key, said in found if said is not None]})

    return callback


def test_assignments_come_twenty_relationships_at_a_time(wire: responses.RequestsMock, graph: Graph) -> None:
    wire.add_callback(
        "POST",
        f"{GRAPH}/$batch",
        batch(
            lambda url: {"status": 200, "body": {"value": [assignment(int(url.split("/")[-2].rsplit("-", 1)[1]) % 60)]}}
        ),
    )
    found = graph.assignments([f"rel-{number}" for number in range(45)])
    assert len(found) == 45
    assert len(wire.calls) == 3
    assert found["rel-7"] == (Assignment("ass-7", "active", GROUPS[7], frozenset({roles.DIRECTORY_READERS})),)
    batches = [json.loads(sent_text(call))["requests"] for call in wire.calls]  # side by side, so in any order
    assert sorted(len(asked) for asked in batches) == [5, 20, 20]
    assert {asked[0]["url"] for asked in batches} == {
        f"/tenantRelationships/delegatedAdminRelationships/rel-{number}/accessAssignments" for number in (0, 20, 40)
    }


def test_no_relationship_asks_nothing(wire: responses.RequestsMock, graph: Graph) -> None:
    assert graph.assignments([]) == {}
    assert graph.group_names([]) == {}
    assert len(wire.calls) == 0


def test_an_id_cannot_climb_out_of_its_path(wire: responses.RequestsMock, graph: Graph) -> None:
    wire.add_callback("POST", f"{GRAPH}/$batch", batch(lambda url: {"status": 200, "body": {"value": []}}))
    assert graph.assignments(["../../users?x"]) == {"../../users?x": ()}
    assert "/..%2F..%2Fusers%3Fx/accessAssignments" in json.loads(sent_text(wire.calls[0]))["requests"][0]["url"]


def test_further_pages_inside_a_batch_are_followed(wire: responses.RequestsMock, graph: Graph) -> None:
    more = f"{RELATIONSHIPS}/rel-1/accessAssignments?$skiptoken=2"
    wire.add_callback(
        "POST",
        f"{GRAPH}/$batch",
        batch(lambda url: {"status": 200, "body": {"value": [assignment(1)], "@odata.nextLink": more}}),
    )
    wire.get(more, json={"value": [assignment(2)]})
    assert [one.id for one in graph.assignments(["rel-1"])["rel-1"]] == ["ass-1", "ass-2"]


def test_a_further_page_of_another_relationship_is_not_followed(wire: responses.RequestsMock, graph: Graph) -> None:
    more = f"{RELATIONSHIPS}/rel-9/accessAssignments?$skiptoken=2"
    wire.add_callback(
        "POST", f"{GRAPH}/$batch", batch(lambda url: {"status": 200, "body": {"value": [], "@odata.nextLink": more}})
    )
    with pytest.raises(Unintelligible):
        graph.assignments(["rel-1"])


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"status": 403, "body": {"error": {"code": "Authorization_RequestDenied", "message": "m"}}}, Forbidden),
        ({"status": 429, "headers": {"Retry-After": "17", "X": 7}, "body": None}, Throttled),
        ({"status": 500}, Broken),
        ({"status": 401}, SignInAgain),
        ({"status": 200, "body": None}, Unintelligible),
        ({"status": 200, "body": {"value": [{}]}}, Unintelligible),
        ({"status": "200"}, Unintelligible),
        ({}, Unintelligible),
        (None, Unintelligible),
    ],
)
def test_a_part_of_a_batch_that_fails_fails_the_whole(
    wire: responses.RequestsMock, graph: Graph, part: dict[str, Any] | None, kind: type[Exception]
) -> None:
    wire.add_callback(
        "POST", f"{GRAPH}/$batch", batch(lambda url: part if "rel-2" in url else {"status": 200, "body": {"value": []}})
    )
    with pytest.raises(kind):
        graph.assignments(["rel-1", "rel-2"])


@pytest.mark.parametrize("status", [400, 404, 500])
def test_without_a_batch_each_is_asked_for_itself(wire: responses.RequestsMock, graph: Graph, status: int) -> None:
    wire.post(f"{GRAPH}/$batch", status=status)
    for number in (1, 2):
        wire.get(f"{RELATIONSHIPS}/rel-{number}/accessAssignments", json={"value": [assignment(number)]})
    found = graph.assignments(["rel-1", "rel-2"])
    assert {key: [one.id for one in value] for key, value in found.items()} == {"rel-1": ["ass-1"], "rel-2": ["ass-2"]}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"status": 401}, SignInAgain),
        ({"status": 429, "headers": {"Retry-After": "60"}}, Throttled),
        ({"body": b"<html>"}, Unintelligible),
        ({"body": requests.ReadTimeout("slow")}, Unreachable),
    ],
)
def test_some_failures_of_a_batch_are_not_worth_asking_for_each(
    wire: responses.RequestsMock, graph: Graph, no_waiting: list[float], reply: dict[str, Any], kind: type[Exception]
) -> None:
    wire.post(f"{GRAPH}/$batch", **reply)
    with pytest.raises(kind):
        graph.assignments(["rel-1"])


# --- Groups -------------------------------------------------------------------------------------------------


def test_group_ids_are_guids(graph: Graph) -> None:
    with pytest.raises(ValueError, match="Not a GUID"):
        graph.group_names(["x/../y"])


def test_names_are_asked_twenty_at_a_time(wire: responses.RequestsMock, graph: Graph) -> None:
    wire.add_callback(
        "POST",
        f"{GRAPH}/$batch",
        batch(lambda url: {"status": 200, "body": {"id": url.split("/")[2].split("?")[0], "displayName": "G"}}),
    )
    assert graph.group_names([*GROUPS, GROUPS[0].upper()]) == dict.fromkeys(GROUPS, "G")
    assert sorted(len(json.loads(sent_text(call))["requests"]) for call in wire.calls) == [20, 20, 20]


def test_a_question_that_only_reads_is_asked_again(
    wire: responses.RequestsMock, graph: Graph, no_waiting: list[float]
) -> None:
    wire.post(f"{GRAPH}/$batch", status=503)
    wire.add_callback("POST", f"{GRAPH}/$batch", batch(lambda url: {"status": 200, "body": {"value": []}}))
    assert graph.assignments(["rel-1"]) == {"rel-1": ()}
    assert len(wire.calls) == 2


def test_all_groups_of_the_operator(wire: responses.RequestsMock, graph: Graph) -> None:
    url = f"{GRAPH}/me/transitiveMemberOf/microsoft.graph.group"
    named = {"id": GROUPS[0].upper(), "displayName": "GDAP Helpdesk"}
    wire.get(url, json={"value": [named], "@odata.nextLink": f"{url}?$skiptoken=1"})
    wire.get(url, json={"value": [{"id": GROUPS[1]}]})
    assert graph.transitive_groups() == {GROUPS[0]: "GDAP Helpdesk", GROUPS[1]: ""}
    assert str(wire.calls[0].request.url).endswith("?$select=id%2CdisplayName&$top=999")


@pytest.mark.parametrize("row", [{"displayName": "x"}, {"id": "x"}, None])
def test_a_group_that_cannot_be_read_is_not_passed_over(wire: responses.RequestsMock, graph: Graph, row: Any) -> None:
    wire.get(f"{GRAPH}/me/transitiveMemberOf/microsoft.graph.group", json={"value": [{"id": GROUPS[0]}, row]})
    with pytest.raises(Unintelligible):
        graph.transitive_groups()


def test_groups_that_are_not_shown_have_no_name(wire: responses.RequestsMock, graph: Graph) -> None:
    said: dict[str, dict[str, Any]] = {
        GROUPS[0]: {"status": 200, "body": {"id": GROUPS[0], "displayName": "GDAP Helpdesk"}},
        GROUPS[1]: {"status": 404, "body": {"error": {"code": "Request_ResourceNotFound"}}},
        GROUPS[2]: {"status": 403},
    }
    wire.add_callback("POST", f"{GRAPH}/$batch", batch(lambda url: said[url.split("/")[2].split("?")[0]]))
    assert graph.group_names(GROUPS[:3]) == {GROUPS[0]: "GDAP Helpdesk"}
    said[GROUPS[2]] = {"status": 500}
    with pytest.raises(Broken):
        graph.group_names(GROUPS[:3])


def test_every_role_has_a_name_and_an_id_of_its_own() -> None:
    constants = {name: value for name, value in vars(roles).items() if name.isupper() and isinstance(value, str)}
    assert len(constants) == 15
    assert set(constants.values()) == set(roles.NAMES)
    for name, value in constants.items():
        assert roles.NAMES[value].upper().replace(" ", "_") == name
