"""AvePoint and the GDAP API of seed 000 (CONTRACT 5 and 6)."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from partnerportal.sandbox import seed

from .conftest import Asker

FORM = {
    "client_id": seed.AVEPOINT_CLIENT_ID,
    "client_secret": seed.AVEPOINT_CLIENT_SECRET,
    "scope": "partner.customers.read.all",
    "grant_type": "client_credentials",
}
SYNC = {"partnerId": seed.PARTNER_TENANT_ID, "email": "maya.okafor@partnerdesk.example"}


def avepoint_token(asker: Asker, **changed: str) -> requests.Response:
    return asker.session.post(f"{asker.url}/_/avepoint-identity/connect/token", data={**FORM, **changed}, timeout=20)


def avepoint(asker: Asker, **more: Any) -> requests.Response:
    return asker.ask("avepoint", "GET", "/partner/customers", **more)


def test_client_credentials_buy_a_token_that_only_avepoint_takes(asker: Asker) -> None:
    answer = avepoint_token(asker).json()
    assert (answer["expires_in"], answer["token_type"], answer["scope"]) == (
        3600,
        "Bearer",
        "partner.customers.read.all",
    )
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    assert avepoint(asker, by="", headers=headers).status_code == 200
    assert asker.partner_center("GET", "/customers", by="", headers=headers).json()["code"] == "900420"
    entry = asker.journal()[-1]
    assert entry["audience"] == "https://graph.avepointonlineservices.com"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_id": "wrong"}, "invalid_client"),
        ({"scope": "everything"}, "invalid_scope"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
def test_wrong_credentials_buy_nothing(asker: Asker, changed: dict[str, str], error: str) -> None:
    response = avepoint_token(asker, **changed)
    assert (response.status_code, response.json()["error"]) == (400, error)


def test_a_graph_token_is_refused(asker: Asker) -> None:
    response = avepoint(asker, by="", headers={"Authorization": "Bearer sandbox:admin:graph"})
    assert (response.status_code, set(response.json()["error"])) == (401, {"code", "message"})
    assert response.headers["request-id"]


def test_most_ids_are_tenant_ids_some_in_upper_case_some_masked_some_strange(asker: Asker) -> None:
    rows = {row["id"]: row for row in avepoint(asker).json()["value"]}
    tenants = set(asker.sandbox.cloud.world.customers)
    equal = [row_id for row_id in rows if row_id.lower() in tenants]
    assert 0.75 < len(equal) / len(rows) < 0.95
    assert seed.SPECIAL["upper_id"].upper() in rows
    assert seed.SPECIAL["contoso"] in rows
    assert set(seed.AVEPOINT_ONLY) <= set(rows)
    assert sum("*" in row_id for row_id in rows) >= 3
    assert seed.SPECIAL["pc_only"] not in {row_id.lower() for row_id in rows}
    names = [row["organization"] for row in rows.values()]
    assert names.count("Blue Yonder Airlines") == 2
    assert names.count("Southridge Video") == 2
    assert rows[seed.SPECIAL["partner_owner"]]["ownerEmail"].endswith("@partnerdesk.example")
    assert rows[seed.SPECIAL["unknown_status"]]["jobStatus"] == "Recalculating entitlements"


@pytest.mark.parametrize(("body", "said"), [("text", b"Failed."), ("empty", b"")])
def test_an_error_may_be_assumed_to_have_another_body(asker: Asker, body: str, said: bytes) -> None:
    asker.assume("avepoint_error_body", body)
    response = avepoint(asker, by="", headers={"Authorization": "Bearer sandbox:admin:graph"})
    assert (response.status_code, response.content) == (401, said)


def test_no_id_is_a_tenant_id_when_that_is_assumed(asker: Asker) -> None:
    asker.assume("avepoint_id_is_tenant_id", False)
    ids = {row["id"].lower() for row in avepoint(asker).json()["value"]}
    assert not ids & set(asker.sandbox.cloud.world.customers)


@pytest.mark.parametrize("name", ["@odata.nextLink", "nextLink"])
def test_paging_may_be_assumed_under_either_name(asker: Asker, name: str) -> None:
    whole = avepoint(asker).json()["value"]
    asker.assume("avepoint_paging", 20)
    asker.assume("avepoint_next_link", name)
    found, body = [], avepoint(asker).json()
    while True:
        found += body["value"]
        if name not in body:
            break
        body = asker.session.get(
            body[name], headers={"Authorization": "Bearer sandbox:app:avepoint"}, timeout=20
        ).json()
    assert found == whole


def test_one_avepoint_customer_by_id(asker: Asker) -> None:
    contoso = asker.ask("avepoint", "GET", f"/partner/customers/{seed.SPECIAL['contoso']}").json()
    assert contoso["organization"] == "Contoso Trading"
    assert asker.ask("avepoint", "GET", "/partner/customers/none").status_code == 404


# -- the GDAP API ----------------------------------------------------------------------------------------------------


def gdap(asker: Asker, method: str, path: str, **more: Any) -> requests.Response:
    return asker.ask("gdap", method, path, **more)


@pytest.mark.parametrize("path", ["Auth", "AuthService"])
def test_name_and_password_buy_a_token_and_the_journal_hides_the_password(asker: Asker, path: str) -> None:
    params = {"username": seed.GDAP_API_USERNAME, "password": seed.GDAP_API_PASSWORD}
    answer = asker.session.post(f"{asker.url}/_/gdap-auth/api/{path}", params=params, timeout=20)
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert gdap(asker, "POST", "/SynchronizePartnerCustomers", by="", headers=headers, params=SYNC).status_code == 200
    assert seed.GDAP_API_PASSWORD not in asker.control("GET", "journal").text


def test_every_refusal_is_401_and_the_word_null(asker: Asker) -> None:
    graph = {"Authorization": "Bearer sandbox:admin:graph"}
    wrong = {"username": seed.GDAP_API_USERNAME, "password": "wrong"}
    answers = [
        asker.session.post(f"{asker.url}/_/gdap-auth/api/Auth", params=wrong, timeout=20),
        gdap(asker, "POST", "/SynchronizePartnerCustomers", by="", params=SYNC),
        gdap(asker, "POST", "/SynchronizePartnerCustomers", params={**SYNC, "partnerId": seed.FOREIGN_TENANT_ID}),
        gdap(asker, "GET", "/Customers", params={"providerId": seed.FOREIGN_TENANT_ID}),
        gdap(asker, "POST", "/SynchronizePartnerCustomers", by="", headers=graph, params=SYNC),
    ]
    assert [(answer.status_code, answer.content) for answer in answers] == [(401, b"null")] * 5


def test_the_fixed_token_is_taken_by_this_service_alone(asker: Asker) -> None:
    headers = {"Authorization": f"Bearer {seed.GDAP_API_TOKEN}"}
    assert gdap(asker, "GET", "/Customers", by="", headers=headers, params={"providerId": seed.PARTNER_TENANT_ID}).ok
    assert asker.partner_center("GET", "/customers", by="", headers=headers).status_code == 401


@pytest.mark.parametrize("path", ["/Customers", "/ListCustomers"])
def test_an_accepted_sync_is_seen_in_the_list_some_seconds_later(asker: Asker, path: str) -> None:
    def rows() -> list[dict[str, Any]]:
        answer = gdap(asker, "GET", path, params={"providerId": seed.PARTNER_TENANT_ID})
        found: list[dict[str, Any]] = answer.json()["CurrentEntitiesSynced"]
        return found

    before = rows()
    assert {row["Timestamp"] for row in before} == {None}
    accepted = gdap(asker, "POST", "/SynchronizePartnerCustomers", params=SYNC)
    assert accepted.json() == {"Result": "Accepted", "Message": "Your customers will be synchronized now."}
    assert rows() == before
    asker.state("set_clock_offset", seconds=6)
    after = rows()
    assert None not in {row["Timestamp"] for row in after}
    assert len(after) == len(asker.sandbox.cloud.world.customers) > len(before)
    asker.assume("gdap_sync_status", 202)
    assert gdap(asker, "POST", "/SynchronizePartnerCustomers", params=SYNC).status_code == 202
    asker.assume("gdap_repeat", 429)
    assert gdap(asker, "POST", "/SynchronizePartnerCustomers", params=SYNC).headers["Retry-After"] == "60"
