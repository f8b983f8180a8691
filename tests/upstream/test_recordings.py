"""Every sample of the contract that a client of ours can meet is read (their README says where each is from)."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import responses

from partnerportal.upstream import avepoint
from partnerportal.upstream.avepoint import AvePoint
from partnerportal.upstream.errors import Forbidden, Refused, SignInAgain, Throttled, UpstreamError
from partnerportal.upstream.gdap_api import GdapApi
from partnerportal.upstream.graph import Graph
from partnerportal.upstream.http import Answer, Secret
from partnerportal.upstream.partner_center import NewUser, PartnerCenter
from partnerportal.upstream.payload import decode, expect, refusal

from .conftest import BOM, GRAPH, TENANT, USER, customer_pages, sent_text
from .test_payload import answer

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "contract" / "recordings"
pytestmark = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="the recordings of the contract are not beside this repository (../shared)"
)

SAMPLES = sorted(RECORDINGS.rglob("*.json")) if RECORDINGS.is_dir() else []
PC = "https://api.partnercenter.microsoft.com/v1"


def sample(name: str) -> bytes:
    return (RECORDINGS / name).read_bytes()


def http_body(name: str) -> bytes:
    """The body of a printed exchange, as Partner Center would have sent it: behind a BOM."""
    printed = sample(name)
    return BOM + printed[printed.index(b"{") :]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_every_sample_is_json_that_we_read(path: Path) -> None:
    decode(path.read_bytes())
    decode(BOM + path.read_bytes())


def test_the_raw_recordings_are_read_as_they_came() -> None:
    found = 0
    for path in (RECORDINGS / "ps-raw-http").glob("*.json"):
        for exchange in json.loads(path.read_bytes()):
            decode(BOM + exchange["ResponseBody"].encode())
            found += 1
    assert found >= 5


@pytest.mark.parametrize("name", ["get-a-list-of-customers.02", "get-a-customer-by-name.03"])
def test_the_lists_of_customers(wire: responses.RequestsMock, token: Secret, name: str) -> None:
    wire.get(f"{PC}/customers", body=http_body(f"docs-examples/{name}.response.http"))
    rows = [row for page in customer_pages(PartnerCenter(token)) for row in page]
    assert len(rows) >= 2
    assert {row.relationship for row in rows} == {"reseller"}
    assert all(row.name and row.domain for row in rows)


def test_the_customer_by_id(wire: responses.RequestsMock, token: Secret) -> None:
    wire.get(f"{PC}/customers/{TENANT}", body=http_body("docs-examples/get-a-customer-by-id.02.response.http"))
    found = PartnerCenter(token).customer(TENANT)
    assert (found.name, found.country, found.custom_domains) == ("1kl as kjk", "US", ("abcdefgh1234.ccsctp.net",))


def test_the_list_of_users(wire: responses.RequestsMock, token: Secret) -> None:
    name = "docs-examples/get-a-list-of-all-user-accounts-for-a-customer.02.response.http"
    wire.get(f"{PC}/customers/{TENANT}/users", body=http_body(name))
    page = PartnerCenter(token).users(TENANT)
    assert [user.usage_location for user in page.users] == ["US", ""]
    assert page.next is None


def test_the_writes(wire: responses.RequestsMock, token: Secret) -> None:
    root = f"{PC}/customers/{TENANT}/users"
    created, updated, reset = (
        http_body(f"docs-examples/{name}-for-a-customer.02.response.http")
        for name in ("create-user-accounts", "update-user-accounts", "reset-user-password")
    )
    changed, renewed = (str(json.loads(answer)["id"]) for answer in (updated, reset))
    wire.post(root, body=created)
    wire.patch(f"{root}/{changed}", body=updated)
    wire.patch(f"{root}/{renewed}/resetpassword", body=reset)
    wire.delete(f"{root}/{USER}", status=204)
    client = PartnerCenter(token)
    name = json.loads(created)["userPrincipalName"]
    new = NewUser(user_principal_name=name, display_name="User name", password=Secret("abCD123*"))
    receipts = [
        client.create_user(TENANT, new, request_id=uuid4()),
        client.update_user(TENANT, changed, {"usage_location": "AX"}, request_id=uuid4()),
        client.reset_password(TENANT, renewed, Secret("Renew456*"), force_change=False, request_id=uuid4()),
        client.delete_user(TENANT, USER, request_id=uuid4()),
    ]
    assert [receipt.user is not None for receipt in receipts] == [True, True, True, False]
    assert not any(password in repr(receipts) for password in ("abCD123*", "Renew456*"))


def test_the_restored_user(wire: responses.RequestsMock, token: Secret) -> None:
    url = f"{PC}/customers/{TENANT}/users/{USER}"
    wire.patch(url, body=http_body("docs-examples/restore-a-user-for-a-customer.02.response.http"))
    receipt = PartnerCenter(token).restore_user(TENANT, USER, request_id=uuid4())
    assert receipt.user is not None
    assert not receipt.user.is_deleted
    printed = json.loads(sample("docs-examples/restore-a-user-for-a-customer.01.request.json"))
    sent = json.loads(sent_text(wire.calls[0]))
    assert sent["state"] == printed["State"]
    assert sent["attributes"]["objectType"] == printed["Attributes"]["ObjectType"]


def error_answer(name: str, status: int) -> Answer:
    return answer(status, sample(f"live-errors/{name}.json"))


@pytest.mark.parametrize(
    ("name", "status", "kind", "code", "words"),
    [
        ("2000-search-operator", 400, Refused, "2000", "Customer search only allows starts with and equals operation."),
        ("20002-no-relationship", 403, Forbidden, "20002", "No relationship between caller and account."),
        ("60012-no-licences-left", 400, Refused, "60012", "We're sorry, it looks like you've run out of licenses."),
        ("900420-audience.RECONSTRUCTED", 401, Refused, "900420", "The audience 'https://graph.windows.net'"),
        ("900421-mfa.RECONSTRUCTED", 401, SignInAgain, "900421", "MFA is required for this request."),
        ("apim-429", 429, Throttled, "", "Rate limit is exceeded. Try again in 57 seconds."),
    ],
)
def test_the_errors_that_were_seen_live(
    name: str, status: int, kind: type[UpstreamError], code: str, words: str
) -> None:
    error = refusal(error_answer(name, status))
    assert type(error) is kind
    assert error.code == code
    assert error.description.startswith(words)


def test_the_licences(wire: responses.RequestsMock, token: Secret) -> None:
    client, root = PartnerCenter(token), f"{PC}/customers/{TENANT}"
    folder = "docs-examples"
    wire.get(f"{root}/subscribedskus", body=http_body(f"{folder}/get-a-list-of-available-licenses.02.response.http"))
    mobility, reports = client.subscribed_skus(TENANT)
    assert (mobility.name, mobility.part_number) == ("Enterprise Mobility + Security E3", "EMS")
    assert (mobility.total, mobility.consumed, mobility.available, mobility.none_left) == (5, 1, 4, False)
    assert (reports.total, reports.consumed, reports.available, reports.none_left) == (1, 1, 0, True)
    held = http_body(f"{folder}/check-which-licenses-are-assigned-to-a-user.02.response.http")
    wire.get(f"{root}/users/{USER}/licenses", body=held)
    assert [licence.sku_id for licence in client.licences(TENANT, USER)] == [mobility.id]
    updates, answer_ = f"{root}/users/{USER}/licenseupdates", f"{folder}/assign-licenses-to-a-user.02.response.http"
    wire.post(updates, status=201, body=http_body(answer_))
    assert client.update_licences(TENANT, USER, assign=[reports.id], request_id=uuid4()).status == 201
    wire.post(updates, status=400, body=sample("live-errors/60012-no-licences-left.json"))
    with pytest.raises(Refused) as refused:
        client.update_licences(TENANT, USER, assign=[reports.id], request_id=uuid4())
    assert (type(refused.value), refused.value.code) == (Refused, "60012")
    assert refused.value.description.startswith("We're sorry, it looks like you've run out of licenses.")
    assert reports.id in refused.value.data[0]


def test_the_directory_roles(wire: responses.RequestsMock, token: Secret) -> None:
    body = http_body("docs-examples/get-user-roles-for-a-customer.02.response.http")
    wire.get(f"{PC}/customers/{TENANT}/users/{USER}/directoryroles", body=body)
    held = PartnerCenter(token).directory_roles(TENANT, USER)
    assert [role.name for role in held] == ["Helpdesk Administrator", "User Administrator"]


def test_a_restored_user(wire: responses.RequestsMock, token: Secret) -> None:
    body = http_body("docs-examples/restore-a-user-for-a-customer.02.response.http")
    wire.patch(f"{PC}/customers/{TENANT}/users/{USER}", body=body)
    back = PartnerCenter(token).restore_user(TENANT, USER, request_id=uuid4()).user
    assert back is not None
    assert (back.display_name, back.is_deleted) == ("Ferdinand", False)


def test_what_graph_prints(wire: responses.RequestsMock, token: Secret) -> None:
    relationships = json.loads(sample("graph-docs/delegatedAdminRelationships.list.json"))
    wire.get(f"{GRAPH}/tenantRelationships/delegatedAdminRelationships", json=relationships)
    found = Graph(token).relationships()
    assert [one.status for one in found] == ["active", "terminated", "approvalPending"]
    assert [one.auto_extends for one in found] == [True, False, False]
    assert found[2].ends_at is None
    assert len(found[2].roles) == 9
    assignments = json.loads(sample("graph-docs/accessAssignments.list.json"))
    batch = {"responses": [{"id": "0", "status": 200, "headers": {}, "body": assignments}]}
    wire.post(f"{GRAPH}/$batch", json=batch)
    (both,) = Graph(token).assignments([found[0].id]).values()
    assert [len(one.roles) for one in both] == [4, 4]


def test_what_avepoint_and_appxite_print(wire: responses.RequestsMock, token: Secret, settings: Any) -> None:
    settings.GDAP_API_TOKEN = "t"
    folder = "avepoint-appxite"
    wire.get(
        "https://graph.avepointonlineservices.com/partner/customers",
        body=sample(f"{folder}/avepoint.partner-customers.json"),
    )
    (rows,) = list(customer_pages(AvePoint(token)))
    assert [row.country for row in rows] == ["Vietnam", "Vietnam", "United States"]
    root = "https://gdapbridge360.azurewebsites.net/api/"
    wire.get(f"{root}Customers", body=sample(f"{folder}/appxite.customers.json"))
    assert GdapApi().customers(TENANT) == ()  # its ids are placeholders
    wire.post(f"{root}SynchronizePartnerCustomers", body=sample(f"{folder}/appxite.sync.ok.json"))
    assert GdapApi().synchronize(TENANT, "a@b.example") == "Your customers will be synchronized now."
    with pytest.raises(Forbidden):
        expect(answer(401, sample(f"{folder}/appxite.401.json")), 200, ours="x")


def test_the_token_of_avepoint(wire: responses.RequestsMock) -> None:
    wire.post(
        "https://identity.avepointonlineservices.com/connect/token",
        body=sample("avepoint-appxite/avepoint.token.json"),
    )
    assert avepoint.fetch_token().reveal() == "<JWT>"
