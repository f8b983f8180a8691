"""Faults on order: each kind does what its line in faults.py says, as often as asked and no oftener."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

import pytest
import requests

from partnerportal.sandbox import seed

from .conftest import Asker, parsed

BOM = b"\xef\xbb\xbf"
PLAIN = seed.SPECIAL_USERS["plain"]


def rename(asker: Asker, name: str = "Changed") -> requests.Response:
    return asker.patch("contoso", PLAIN, displayName=name)


def name_now(asker: Asker) -> str:
    body = parsed(asker.partner_center("GET", f"/customers/{seed.SPECIAL['contoso']}/users/{PLAIN}"))
    return str(body["displayName"])


def test_a_status_comes_as_ordered_once_and_without_effect(asker: Asker) -> None:
    asker.fault(
        service="partnercenter",
        method="PATCH",
        path="/users/",
        kind="status",
        status=503,
        headers={"Retry-After": "7"},
        body={"a": 1},
    )
    response = rename(asker)
    assert (response.status_code, response.headers["Retry-After"], response.json()) == (503, "7", {"a": 1})
    assert name_now(asker) == "Adele Vance"
    assert rename(asker).status_code == 200


def test_zero_times_means_until_cleared(asker: Asker) -> None:
    asker.fault(service="partnercenter", path="/customers$", kind="status", times=0)
    assert [asker.partner_center("GET", "/customers").status_code for _ in range(3)] == [500, 500, 500]
    assert asker.control("GET", "faults").json()[0]["hits"] == 3
    asker.control("DELETE", "faults")
    assert asker.partner_center("GET", "/customers").status_code == 200


def test_a_fault_meets_only_its_service_method_path_query_persona_and_header(asker: Asker) -> None:
    asker.fault(service="graph", kind="status", times=0)
    asker.fault(service="partnercenter", method="POST", kind="status", times=0)
    asker.fault(service="partnercenter", path="^/v1/elsewhere", kind="status", times=0)
    asker.fault(service="partnercenter", query="size=99", kind="status", times=0)
    asker.fault(service="partnercenter", persona="reader", kind="status", times=0)
    asker.fault(service="partnercenter", header="MS-ContinuationToken", kind="status", times=0)
    assert asker.partner_center("GET", "/customers").status_code == 200
    assert asker.partner_center("GET", "/customers", by="reader").status_code == 500
    assert asker.partner_center("GET", "/customers?size=99").status_code == 500


def test_skip_lets_the_first_calls_through(asker: Asker) -> None:
    asker.fault(service="partnercenter", kind="status", skip=2)
    assert [asker.partner_center("GET", "/customers").status_code for _ in range(4)] == [200, 200, 500, 200]


def test_a_fault_with_a_share_meets_that_part_of_the_calls(asker: Asker) -> None:
    asker.fault(service="partnercenter", kind="status", times=0, share=0.5)
    statuses = [asker.partner_center("GET", "/customers").status_code for _ in range(60)]
    assert 5 < statuses.count(500) < 55  # outside of that in one of 10^11 runs


def test_slow_waits_and_then_answers_as_usual(asker: Asker) -> None:
    asker.fault(service="partnercenter", kind="slow", seconds=0.3)
    started = time.monotonic()
    assert rename(asker).status_code == 200
    assert time.monotonic() - started >= 0.3


def test_other_callers_are_served_while_one_waits(asker: Asker) -> None:
    asker.fault(service="partnercenter", kind="slow", seconds=5)
    with pytest.raises(requests.Timeout):
        asker.partner_center("GET", "/customers", timeout=0.2)
    started = time.monotonic()
    assert asker.partner_center("GET", "/customers").status_code == 200
    assert time.monotonic() - started < 2


def test_drip_sends_a_little_at_a_time(asker: Asker) -> None:
    asker.fault(service="partnercenter", kind="drip", bytes=400, seconds=0.05)
    started = time.monotonic()
    assert asker.partner_center("GET", "/customers?size=2").status_code == 200
    assert time.monotonic() - started > 0.2


@pytest.mark.parametrize(("kind", "name"), [("drop_before", "Adele Vance"), ("drop_after", "Changed")])
def test_a_dropped_connection_with_and_without_effect(asker: Asker, kind: str, name: str) -> None:
    asker.fault(service="partnercenter", method="PATCH", kind=kind)
    with pytest.raises(requests.ConnectionError):
        rename(asker)
    entry = asker.journal()[-1]
    assert (entry["status"], entry["fault"]) == (None, kind)
    assert name_now(asker) == name


def test_fail_after_does_the_thing_and_says_500_and_the_same_id_then_tells_the_truth(asker: Asker) -> None:
    asker.fault(service="partnercenter", method="POST", kind="fail_after")
    request_id = "0b8a4c1e-8d0f-4d43-9d0c-6f1c5a2f7e11"
    assert asker.create("contoso", "ghost", request_id=request_id).status_code == 500
    assert parsed(asker.create("contoso", "ghost", request_id=request_id))["displayName"] == "Ghost"
    names = [user["displayName"] for user in asker.every_user("contoso")]
    assert names.count("Ghost") == 1


def test_truncate_promises_more_than_it_sends(asker: Asker) -> None:
    asker.fault(service="partnercenter", kind="truncate")
    connection = http.client.HTTPConnection("127.0.0.1", asker.sandbox.port, timeout=5)
    connection.request(
        "GET", "/_/partnercenter/v1/customers", headers={"Authorization": "Bearer sandbox:admin:partnercenter"}
    )
    with pytest.raises(http.client.IncompleteRead):
        connection.getresponse().read()
    connection.close()


def test_an_honest_truncation_is_json_cut_short(asker: Asker) -> None:
    asker.fault(service="partnercenter", kind="truncate", honest=True)
    response = asker.partner_center("GET", "/customers")
    assert int(response.headers["Content-Length"]) == len(response.content)
    with pytest.raises(ValueError):
        parsed(response)


def test_html_in_place_of_json(asker: Asker) -> None:
    asker.fault(service="partnercenter", kind="html", status=502)
    response = asker.partner_center("GET", "/customers")
    assert (response.status_code, response.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert "Bad Gateway" in response.text


@pytest.mark.parametrize("kind", ["bad_json", "empty"])
def test_a_200_that_is_no_json(asker: Asker, kind: str) -> None:
    asker.fault(service="partnercenter", method="PATCH", kind=kind)
    response = rename(asker)
    assert response.status_code == 200
    with pytest.raises(ValueError):
        parsed(response)
    assert name_now(asker) == "Changed"


def test_no_bom_takes_only_the_mark_away(asker: Asker) -> None:
    asker.fault(service="partnercenter", kind="no_bom")
    response = asker.partner_center("GET", "/customers")
    assert response.content.startswith(b'{"totalCount"')
    assert response.json()["items"]


@pytest.mark.parametrize("fresh", [False, True])
def test_loop_is_page_one_for_ever(asker: Asker, fresh: bool) -> None:
    asker.fault(service="partnercenter", kind="loop", times=0, fresh=fresh)
    tokens: list[str] = []
    ids: list[list[str]] = []
    headers: dict[str, str] = {}
    for _ in range(3):
        response = asker.partner_center(
            "GET", f"/customers/{seed.SPECIAL['contoso']}/users?seekOperation=Next&size=5", headers=headers
        )
        body = parsed(response)
        tokens.append(body["links"]["next"]["headers"][0]["value"])
        ids.append([user["id"] for user in body["items"]])
        headers = {"MS-ContinuationToken": tokens[-1]}
    assert ids[0] == ids[1] == ids[2]
    assert len(set(tokens)) == (3 if fresh else 1)


@pytest.mark.parametrize(("service", "path"), [("graph", "/me/transitiveMemberOf"), ("avepoint", "/partner/customers")])
def test_loop_works_where_links_are_followed(asker: Asker, service: str, path: str) -> None:
    asker.fault(service=service, kind="loop", times=0)
    first = asker.ask(service, "GET", path).json()
    bearer = {"Authorization": f"Bearer sandbox:admin:{service}"}
    second = asker.session.get(first["@odata.nextLink"], headers=bearer, timeout=20).json()
    assert second["value"] == first["value"]
    assert second["@odata.nextLink"] == first["@odata.nextLink"]


def test_throttle_lets_some_calls_a_second_through(asker: Asker) -> None:
    asker.fault(
        service="partnercenter", kind="throttle", per_second=2, times=0, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"
    )
    answers = [asker.partner_center("GET", "/customers/x") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [400, 400, 429, 429]
    assert answers[-1].headers["Retry-After"] == "Wed, 21 Oct 2026 07:28:00 GMT"
    time.sleep(1.05)
    assert asker.partner_center("GET", "/customers/x").status_code == 400


def test_huge_packed_deep_and_bare_answers(asker: Asker) -> None:
    asker.fault(service="partnercenter", kind="huge", megabytes=30, gzip=True)
    response = asker.partner_center("GET", "/customers", stream=True)
    assert int(response.headers["Content-Length"]) < 100_000
    response.close()
    asker.fault(service="partnercenter", kind="deep")
    with pytest.raises(RecursionError):
        asker.partner_center("GET", "/customers").json()
    asker.fault(service="partnercenter", kind="bare_string")
    assert asker.partner_center("GET", "/customers").json() == "Customer tagging denied."
    asker.fault(service="partnercenter", kind="expired_token")
    assert asker.partner_center("GET", "/customers").status_code == 401


def test_pages_with_repeated_or_incomplete_items(asker: Asker) -> None:
    asker.fault(service="partnercenter", kind="repeat_items")
    ids = [customer["id"] for customer in parsed(asker.partner_center("GET", "/customers?size=3"))["items"]]
    assert (len(ids), len(set(ids))) == (6, 3)
    asker.fault(service="partnercenter", kind="null_items", members=["id", "companyProfile"])
    items = parsed(asker.partner_center("GET", "/customers?size=3"))["items"]
    assert ["id" in item for item in items] == [False, True, False]


@pytest.mark.parametrize("service", ["entra", "gdap"])
def test_faults_reach_every_service(asker: Asker, service: str) -> None:
    asker.fault(service=service, kind="status", status=500, body="<b>broken</b>")
    path = {"entra": f"/_/entra/{seed.PARTNER_TENANT_ID}/oauth2/v2.0/token", "gdap": "/_/gdap-auth/api/Auth"}[service]
    response = asker.session.post(asker.url + path, timeout=20)
    assert (response.status_code, response.text) == (500, "<b>broken</b>")


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "meteor"},
        {},
        {"kind": "status", "service": "moon"},
        {"kind": "status", "colour": "red"},
        {"kind": "status", "path": "("},
        {"kind": "status", "share": 1.5},
        "status",
    ],
)
def test_a_fault_nobody_could_mean_is_refused_and_none_of_its_list_is_kept(asker: Asker, spec: Any) -> None:
    response = asker.control("POST", "faults", [{"kind": "status"}, spec])
    assert response.status_code == 400
    assert json.loads(response.text)["error"]
    assert asker.control("GET", "faults").json() == []
