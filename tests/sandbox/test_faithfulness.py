"""Is the sandbox like the real thing? It answers the requests of the recordings with the same shape.

Reads `../shared/contract/recordings` beside the repository; skipped where that is absent.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import requests

from partnerportal.sandbox import seed, seed_licences

from .conftest import Asker, parsed

RECORDINGS = Path(__file__).parents[3] / "shared" / "contract" / "recordings"
DOCS = RECORDINGS / "docs-examples"
CONTOSO, PLAIN = seed.SPECIAL["contoso"], seed.SPECIAL_USERS["plain"]

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not beside this repository")

Paths = dict[str, str]


def shape(value: Any, path: str = "") -> Paths:
    """Each member's path and JSON type; items of lists are merged, nulls left out."""
    if isinstance(value, dict):
        found: Paths = {path: "object"}
        for name, item in value.items():
            if item is not None:
                found |= shape(item, f"{path}.{name}")
        return found
    if isinstance(value, list):
        found = {path: "list"}
        for item in value:
            found |= shape(item, f"{path}[]")
        return found
    return {path: "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__}


def recording(folder: str, name: str) -> Any:
    return json.loads((RECORDINGS / folder / name).read_text(encoding="utf-8-sig"))


def assert_same_shape(ours: Any, theirs: Any, *, more: str = "$^", fewer: str = "$^") -> None:
    """`more`: paths we may have beside; `fewer`: paths of the sample that we may lack."""
    own, told = shape(ours), shape(theirs)
    both = own.keys() & told.keys()
    assert {path: own[path] for path in both} == {path: told[path] for path in both}
    assert [path for path in own.keys() - told.keys() if not re.search(more, path)] == []
    assert [path for path in told.keys() - own.keys() if not re.search(fewer, path)] == []


def spoken(name: str) -> tuple[str, str, dict[str, str], str]:
    """Method, path, headers and body of a printed request, addressed to one of our customers and users."""
    text = (DOCS / f"{name}.request.http").read_text().replace("\r\n", "\n")
    # Some samples have no blank line before the body.
    head, brace, body = text.partition("\n{")
    lines, body = head.splitlines(), brace.strip() + body
    method, address, _ = lines[0].split(" ")
    path = address.removeprefix("https://api.partnercenter.microsoft.com").removeprefix("/v1")
    guid = r"([0-9a-f]{8}-[0-9a-f-]{27}|<[a-z-]+>)"
    path = re.sub(rf"/customers/{guid}", f"/customers/{CONTOSO}", path)
    path = re.sub(rf"/users/{guid}", f"/users/{PLAIN}", path)
    headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    for name_ in ("Authorization", "Host", "Content-Length", "Connection"):
        headers.pop(name_, None)
    if body.strip():
        headers.setdefault("Content-Type", "application/json")
        # The hand-made samples leave two names without quotes.
        body = re.sub(r'(?<!")\b(password|forceChangePassword)\b(?!")', r'"\1"', body)
    return method, path, headers, body


def replay(asker: Asker, name: str, body: str | None = None) -> requests.Response:
    method, path, headers, printed = spoken(name)
    sent = (printed if body is None else body).encode()
    return asker.partner_center(method, path, headers=headers, data=sent or None)


def printed_headers(name: str) -> set[str]:
    head = (DOCS / f"{name}.response.http").read_text().replace("\r\n", "\n").partition("{")[0]
    return {line.partition(":")[0] for line in head.splitlines()[1:] if ":" in line}


def assert_same_frame(response: requests.Response, request_name: str, response_name: str) -> None:
    """Status, header names, echoed ids, and the byte order mark where there is a body."""
    first = (DOCS / f"{response_name}.response.http").read_text().splitlines()[0]
    assert response.status_code == int(first.split(" ")[1]), response.text
    assert printed_headers(response_name) <= set(response.headers)
    sent = spoken(request_name)[2]
    for name in ("MS-RequestId", "MS-CorrelationId"):
        assert response.headers[name] == sent[name]
    assert response.content[:3] == (b"\xef\xbb\xbf" if response.status_code != 204 else b"")


LISTS = ".continuationToken|links.next"
OPTIONAL_USER = r"\.(immutableId|phoneNumber|lastDirectorySyncTime|usageLocation|firstName|lastName)$"
PROFILE_LINKS = r"\.links"


def test_the_list_of_users(asker: Asker) -> None:
    name = "get-a-list-of-all-user-accounts-for-a-customer"
    response = replay(asker, f"{name}.01")
    assert_same_frame(response, f"{name}.01", f"{name}.02")
    sample = recording("docs-examples", f"{name}.02.response.json")
    assert_same_shape(parsed(response), sample, more=OPTIONAL_USER)


def test_members_of_a_user_come_in_the_order_of_real_traffic(asker: Asker) -> None:
    sample = recording("docs-examples", "get-a-list-of-all-user-accounts-for-a-customer.02.response.json")
    ours = parsed(asker.partner_center("GET", f"/customers/{CONTOSO}/users/{seed.SPECIAL_USERS['accented']}"))
    assert list(ours) == list(sample["items"][0])


def test_creating_a_user(asker: Asker) -> None:
    name = "create-user-accounts-for-a-customer"
    body = spoken(f"{name}.01")[3]
    for old, new in (
        ("country/region code", "US"),
        ("userid@domain.onmicrosoft.com", "userid@contosotrading.example"),
        ("abCD123*", "abCD123*-zebra"),
    ):
        body = body.replace(old, new)
    response = replay(asker, f"{name}.01", body)
    assert_same_frame(response, f"{name}.01", f"{name}.02")
    assert_same_shape(parsed(response), recording("docs-examples", f"{name}.02.response.json"))


def test_changing_a_user(asker: Asker) -> None:
    name = "update-user-accounts-for-a-customer"
    response = replay(asker, f"{name}.01", spoken(f"{name}.01")[3].replace("new country/region code", "SE"))
    assert_same_frame(response, f"{name}.01", f"{name}.02")
    assert_same_shape(parsed(response), recording("docs-examples", f"{name}.02.response.json"), more=OPTIONAL_USER)


def test_resetting_a_password(asker: Asker) -> None:
    name = "reset-user-password-for-a-customer"
    body = spoken(f"{name}.01")[3].replace("Renew456*", "Renew456*-zebra")
    response = replay(asker, f"{name}.01", body)
    assert_same_frame(response, f"{name}.01", f"{name}.02")
    assert_same_shape(parsed(response), recording("docs-examples", f"{name}.02.response.json"), more=OPTIONAL_USER)


def test_deleting_and_restoring_a_user(asker: Asker) -> None:
    deleted = replay(asker, "delete-user-accounts-for-a-customer.01")
    assert_same_frame(deleted, "delete-user-accounts-for-a-customer.01", "delete-user-accounts-for-a-customer.02")
    name = "restore-a-user-for-a-customer"
    response = replay(asker, f"{name}.01")
    assert_same_frame(response, f"{name}.01", f"{name}.02")
    assert_same_shape(parsed(response), recording("docs-examples", f"{name}.02.response.json"), more=OPTIONAL_USER)


POWER_BI = seed_licences.POWER_BI_PRO.id


def test_the_subscribed_skus(asker: Asker) -> None:
    name = "get-a-list-of-available-licenses"
    response = replay(asker, f"{name}.01")
    assert_same_frame(response, f"{name}.01", f"{name}.02")
    sample = recording("docs-examples", f"{name}.02.response.json")
    assert_same_shape(parsed(response), sample)
    ours = {item["productSku"]["id"]: item for item in parsed(response)["items"]}
    for told in sample["items"]:
        item = ours[told["productSku"]["id"]]
        assert list(item) == list(told)
        assert item["productSku"] == told["productSku"]


def test_the_licences_of_a_user(asker: Asker) -> None:
    name = "check-which-licenses-are-assigned-to-a-user"
    response = replay(asker, f"{name}.01")
    assert_same_frame(response, f"{name}.01", f"{name}.02")
    sample = recording("docs-examples", f"{name}.02.response.json")
    assert_same_shape(parsed(response), sample)
    assert list(parsed(response)["items"][0]) == list(sample["items"][0])


def test_assigning_a_licence_and_finding_none_left(asker: Asker) -> None:
    """The printed request wants the very licence of which the seed has none left."""
    name = "assign-licenses-to-a-user"
    taking = {"licensesToRemove": [POWER_BI], "attributes": {"objectType": "LicenseUpdate"}}
    path = f"/customers/{CONTOSO}/users/{PLAIN}/licenseupdates"
    assert asker.partner_center("POST", path, json=taking).status_code == 201
    response = replay(asker, f"{name}.01")
    assert_same_frame(response, f"{name}.01", f"{name}.02")
    assert parsed(response) == recording("docs-examples", f"{name}.02.response.json")
    other = path.replace(PLAIN, seed.SPECIAL_USERS["duplicate_a"])
    refused = asker.partner_center("POST", other, json={"LicensesToAssign": [{"SkuId": POWER_BI}]})
    sample = recording("live-errors", "60012-no-licences-left.json")
    their_customer = sample["data"][0].partition("Account ")[2].partition(" ")[0]
    sample["data"] = [sample["data"][0].replace(their_customer, CONTOSO)]
    assert (refused.status_code, refused.json()) == (400, sample)


def test_the_directory_roles_of_a_user(asker: Asker) -> None:
    name = "get-user-roles-for-a-customer"
    sample = recording("docs-examples", f"{name}.02.response.json")
    roles = [item["id"] for item in sample["items"]]
    asker.state("set_directory_roles", tenant_id=CONTOSO, user_id=PLAIN, roles=roles)
    response = replay(asker, f"{name}.01")
    assert_same_frame(response, f"{name}.01", f"{name}.02")
    assert parsed(response) == sample


def test_giving_a_directory_role_and_taking_it(asker: Asker) -> None:
    (relationship,) = asker.sandbox.cloud.relationships_of(CONTOSO)
    own = seed.ROLE["Privileged Role Administrator"]
    relationship.roles = (*relationship.roles, own)
    relationship.assignments[0].roles = (own,)
    name = "set-user-roles-for-a-customer"
    body = spoken(f"{name}.01")[3].replace("a9ef48bb-8758-4590-a312-d4a47bfaded4", PLAIN)
    response = replay(asker, f"{name}.01", body)
    assert_same_frame(response, f"{name}.01", f"{name}.02")
    sample = recording("docs-examples", f"{name}.02.response.json")
    assert_same_shape(parsed(response), sample)
    assert list(parsed(response)) == list(sample)
    # The printed removal has the customer's id for the user's, and blanks behind the ids.
    path = f"/customers/{CONTOSO}%20/directoryroles/{sample['roleId']}/usermembers/{PLAIN}%20"
    assert asker.partner_center("DELETE", path).status_code == 204
    assert asker.partner_center("DELETE", path).status_code == 404


def test_a_customer_by_id(asker: Asker) -> None:
    name = "get-a-customer-by-id"
    asker.sandbox.cloud.world.customers[CONTOSO].delegated_access = True
    response = replay(asker, f"{name}.01")
    assert_same_frame(response, f"{name}.01", f"{name}.02")
    assert_same_shape(parsed(response), recording("docs-examples", f"{name}.02.response.json"))


def test_customers_by_name_although_the_real_answer_had_another_request_id(asker: Asker) -> None:
    name = "get-a-customer-by-name"
    response = replay(asker, f"{name}.02")
    assert_same_frame(response, f"{name}.02", f"{name}.03")
    body = parsed(response)
    assert [row["companyProfile"]["companyName"] for row in body["items"]] == ["Contoso Trading"]
    assert_same_shape(body, recording("docs-examples", f"{name}.03.response.json"))


def test_the_list_of_customers(asker: Asker) -> None:
    name = "get-a-list-of-customers"
    response = replay(asker, f"{name}.01")
    assert_same_frame(response, f"{name}.01", f"{name}.02")
    sample = recording("docs-examples", f"{name}.02.response.json")
    assert_same_shape(parsed(response), sample, more=rf"{LISTS}|{PROFILE_LINKS}")
    assert parsed(response)["links"]["self"]["uri"] == sample["links"]["self"]["uri"]


@pytest.mark.parametrize("path", sorted((RECORDINGS / "ps-raw-http").glob("*.json")), ids=lambda path: path.stem)
def test_headers_are_those_of_recorded_traffic(asker: Asker, path: Path) -> None:
    ours = asker.partner_center("GET", "/customers?size=1").headers
    looks = {
        "MS-CV": r"[\w+/=-]{16}\.0",
        "MS-ServerId": r"[0-9A-Z]{6,9}",
        "Request-Context": r"appId=cid-v1:[0-9a-f-]{36}",
        "Date": r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT",
        "Content-Length": r"\d+",
        "Content-Type": r"application/json(; charset=utf-8)?",
    }
    for exchange in json.loads(path.read_text(encoding="utf-8-sig")):
        told = {name: values[0] for name, values in exchange["ResponseHeaders"].items()}
        assert told.keys() - {"X-Locale"} <= set(ours)
        for name, look in looks.items():
            assert re.fullmatch(look, ours[name]), name
            assert name not in told or re.fullmatch(look, told[name]), name


def test_errors_have_the_shape_of_live_ones(asker: Asker) -> None:
    stranger = asker.partner_center("GET", f"/customers/{seed.SPECIAL['not_ours']}/users")
    sample = recording("live-errors", "20002-no-relationship.json")
    assert stranger.status_code == 403
    assert stranger.json() == sample
    operator = asker.partner_center("GET", '/customers?filter={"Field":"Domain","Value":"x","Operator":"contains"}')
    sample = recording("live-errors", "2000-search-operator.json")
    assert (operator.status_code, operator.json()["description"]) == (400, sample["description"])
    assert operator.json().keys() == sample.keys()
    audience = asker.partner_center("GET", "/customers", by="", headers={"Authorization": "Bearer sandbox:admin:graph"})
    assert_same_shape(audience.json(), recording("live-errors", "900420-audience.RECONSTRUCTED.json"))
    asker.assume("customer_rate_limit", 1)
    answers = [asker.partner_center("GET", f"/customers/{CONTOSO}") for _ in range(2)]
    sample = recording("live-errors", "apim-429.json")
    assert_same_shape(answers[1].json(), sample)
    assert re.sub(r"\d+", "57", answers[1].json()["message"]) == sample["message"]


GRAPH = "/tenantRelationships/delegatedAdminRelationships"


def test_graphs_relationships(asker: Asker) -> None:
    ours = asker.graph("GET", GRAPH, params={"$top": 300, "$filter": "status eq 'active'"}).json()
    assert_same_shape(
        ours,
        recording("graph-docs", "delegatedAdminRelationships.list.json"),
        fewer="indirectProvider|isPartnerConsent|refers",
    )


def test_graphs_assignments(asker: Asker) -> None:
    where = {"$filter": f"customer/tenantId eq '{CONTOSO}'"}
    relationship = asker.graph("GET", GRAPH, params=where).json()["value"][0]["id"]
    ours = asker.graph("GET", f"{GRAPH}/{relationship}/accessAssignments").json()
    assert_same_shape(ours, recording("graph-docs", "accessAssignments.list.json"))


def test_graphs_customers(asker: Asker) -> None:
    ours = asker.graph("GET", "/tenantRelationships/delegatedAdminCustomers?$top=300").json()
    assert_same_shape(ours, recording("graph-docs", "delegatedAdminCustomers.list.json"))


def test_graphs_group_check(asker: Asker) -> None:
    ours = asker.graph("POST", "/me/checkMemberGroups", json={"groupIds": [seed.GROUP_IDS["user_admins"]]}).json()
    assert_same_shape(ours, recording("graph-docs", "checkMemberGroups.json"), fewer=r"^\._request")


def test_every_status_in_the_seed_is_one_that_graph_has(asker: Asker) -> None:
    schema = (RECORDINGS / "graph-docs" / "gdap-types.edmx-excerpt.xml").read_text()
    relationships = asker.sandbox.cloud.world.relationships.values()
    for status in {r.status for r in relationships} | {a.status for r in relationships for a in r.assignments}:
        assert f'<Member Name="{status}"' in schema


def test_avepoint(asker: Asker) -> None:
    ours = asker.ask("avepoint", "GET", "/partner/customers").json()
    sample = recording("avepoint-appxite", "avepoint.partner-customers.json")
    assert_same_shape(ours, sample)
    assert ours["@odata.context"] == sample["@odata.context"]
    form = {
        "client_id": seed.AVEPOINT_CLIENT_ID,
        "client_secret": seed.AVEPOINT_CLIENT_SECRET,
        "scope": "partner.customers.read.all",
        "grant_type": "client_credentials",
    }
    token = asker.session.post(f"{asker.url}/_/avepoint-identity/connect/token", data=form, timeout=20).json()
    assert_same_shape(token, recording("avepoint-appxite", "avepoint.token.json"), fewer=r"^\._request")


def test_the_gdap_api(asker: Asker) -> None:
    params = {"partnerId": seed.PARTNER_TENANT_ID, "email": "a@partnerdesk.example"}
    accepted = asker.ask("gdap", "POST", "/SynchronizePartnerCustomers", params=params)
    assert accepted.json() == recording("avepoint-appxite", "appxite.sync.ok.json")
    refused = asker.ask("gdap", "POST", "/SynchronizePartnerCustomers", by="", params=params)
    assert refused.json() == recording("avepoint-appxite", "appxite.401.json")
    ours = asker.ask("gdap", "GET", "/Customers", params={"providerId": seed.PARTNER_TENANT_ID}).json()
    assert_same_shape(ours, recording("avepoint-appxite", "appxite.customers.json"))
