"""The wire of Partner Center: CONTRACT 1.4 to 1.6 and 2.2, and the traps that live there."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from partnerportal.sandbox import seed

from .conftest import Asker, parsed

BOM = b"\xef\xbb\xbf"
CONTOSO = seed.SPECIAL["contoso"]


def test_a_success_begins_with_a_byte_order_mark_that_the_length_counts(asker: Asker) -> None:
    response = asker.partner_center("GET", "/customers", params={"size": 3})
    assert response.content.startswith(BOM + b"{")
    assert int(response.headers["Content-Length"]) == len(response.content)
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    with pytest.raises(requests.JSONDecodeError):
        response.json()


def test_an_error_has_no_byte_order_mark_and_a_numeric_code(asker: Asker) -> None:
    response = asker.partner_center("GET", f"/customers/{CONTOSO}/users/nobody@contoso.example")
    assert response.status_code == 404
    assert not response.content.startswith(BOM)
    assert response.json()["code"] == 60002
    assert set(response.json()) == {"code", "description", "data", "source"}


def test_bodies_are_compact_and_leave_nulls_out(asker: Asker) -> None:
    response = asker.partner_center("GET", f"/customers/{CONTOSO}/users/{seed.SPECIAL_USERS['no_location']}")
    assert b": " not in response.content
    assert b"null" not in response.content
    assert "usageLocation" not in parsed(response)


def test_both_ids_are_echoed(asker: Asker) -> None:
    ids = {
        "MS-RequestId": "5ce66de5-eea9-486f-a11c-c852aa3d1502",
        "MS-CorrelationId": "a2a912ee-d595-47e2-97ae-1b0ae1efa13d",
    }
    response = asker.partner_center("GET", "/customers", headers=ids)
    assert {name: response.headers[name] for name in ids} == ids
    assert response.headers["MS-CV"].endswith(".0")
    assert response.headers["MS-ServerId"]


def test_missing_ids_are_made_up_by_the_server_also_on_errors(asker: Asker) -> None:
    response = asker.partner_center("GET", "/customers/nonsense")
    assert response.status_code == 400
    assert len(response.headers["MS-RequestId"]) == 36
    assert len(response.headers["MS-CorrelationId"]) == 36


def test_the_next_link_names_the_token_as_a_header_and_the_count_is_the_pages(asker: Asker) -> None:
    body = parsed(asker.users("medium", size=25))
    assert body["totalCount"] == 25 == len(body["items"])
    following = body["links"]["next"]
    assert following["uri"] == f"/v1/customers/{seed.SPECIAL['medium']}/users?size=25&seekOperation=Next"
    assert [header["key"] for header in following["headers"]] == ["MS-ContinuationToken"]
    assert body["continuationToken"] == following["headers"][0]["value"]


def test_a_token_in_the_query_does_nothing_and_page_one_comes_again(asker: Asker) -> None:
    first = parsed(asker.users("medium", size=25, SortField="DisplayName", SortDirection="Ascending"))
    token = first["links"]["next"]["headers"][0]["value"]
    again = parsed(
        asker.users(
            "medium", **{"size": 25, "SortField": "DisplayName", "seekOperation": "Next", "MS-ContinuationToken": token}
        )
    )
    assert [user["id"] for user in again["items"]] == [user["id"] for user in first["items"]]


def test_all_pages_together_are_everybody_once(asker: Asker) -> None:
    found = [user["id"] for user in asker.every_user("medium", size=500)]
    assert len(found) == len(set(found))
    gone = asker.every_user("medium", size=500, filter='{"Field":"UserState","Value":"Inactive","Operator":"equals"}')
    assert len(found) + len(gone) == 1200
    assert {user["state"] for user in gone} == {"inactive"}
    assert all(user["softDeletionTime"] for user in gone)


def test_a_page_keeps_its_sort_although_the_seek_names_none(asker: Asker) -> None:
    names = [
        u["displayName"].casefold()
        for u in asker.every_user("medium", size=200, SortField="DisplayName", SortDirection="Descending")
    ]
    assert names == sorted(names, reverse=True)


@pytest.mark.parametrize("name", ["SortField", "sortField", "sortOption.sortField", "SORTOPTION.SORTFIELD"])
def test_query_names_are_read_in_any_case_and_with_the_old_prefix(asker: Asker, name: str) -> None:
    asked: dict[str, Any] = {"SIZE": 500, name: "displayname"}
    names = [user["displayName"].casefold() for user in parsed(asker.users("contoso", **asked))["items"]]
    assert names == sorted(names)


def test_an_unknown_sort_field_is_refused(asker: Asker) -> None:
    response = asker.users("contoso", SortField="shoeSize")
    assert (response.status_code, response.json()["code"]) == (400, 2000)
    assert asker.users("contoso", SortField="UserPrincipalName").status_code == 200
    asker.assume("other_sort_fields", False)
    assert asker.users("contoso", SortField="UserPrincipalName").status_code == 400


@pytest.mark.parametrize(("size", "rows"), [("1", 1), ("0", 100), ("", 100), ("500", 500), ("5000", 500)])
def test_page_sizes(asker: Asker, size: str, rows: int) -> None:
    assert parsed(asker.users("medium", size=size))["totalCount"] == rows


@pytest.mark.parametrize("size", ["-1", "ten", "1.5"])
def test_a_size_that_is_no_number_is_refused(asker: Asker, size: str) -> None:
    assert asker.users("medium", size=size).status_code == 400


def test_a_size_over_500_may_be_assumed_to_be_refused(asker: Asker) -> None:
    asker.assume("oversize_page", "refuse")
    assert asker.users("medium", size=501).status_code == 400


def test_a_strange_or_stale_token_is_refused(asker: Asker) -> None:
    seek = {"seekOperation": "Next"}
    path = f"/customers/{seed.SPECIAL['medium']}/users"
    for token in ("AQAAAA==", "nonsense", ""):
        response = asker.partner_center("GET", path, params=seek, headers={"MS-ContinuationToken": token})
        assert response.status_code == (400 if token else 200)
    headers = {"MS-ContinuationToken": parsed(asker.users("medium"))["continuationToken"]}
    assert asker.partner_center("GET", path, params=seek, headers=headers).status_code == 200
    unasked = parsed(asker.partner_center("GET", path, headers=headers))
    assert unasked["items"] == parsed(asker.users("medium"))["items"]
    elsewhere = asker.partner_center("GET", f"/customers/{CONTOSO}/users", params=seek, headers=headers)
    assert elsewhere.status_code == 400
    asker.state("set_clock_offset", seconds=3600)
    assert asker.partner_center("GET", path, params=seek, headers=headers).status_code == 400
    asker.assume("continuation_refusal", 410)
    assert asker.partner_center("GET", path, params=seek, headers=headers).status_code == 410


def test_tokens_may_be_assumed_to_work_once_only(asker: Asker) -> None:
    asker.assume("continuation_once", True)
    token = parsed(asker.users("medium"))["continuationToken"]
    path = f"/customers/{seed.SPECIAL['medium']}/users"
    answers = [
        asker.partner_center("GET", path, params={"seekOperation": "Next"}, headers={"MS-ContinuationToken": token})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 400]


@pytest.mark.parametrize(
    ("where", "in_links", "in_body"), [("links", True, False), ("body", False, True), ("both", True, True)]
)
def test_where_the_token_is_told_is_switchable(asker: Asker, where: str, in_links: bool, in_body: bool) -> None:
    asker.assume("continuation_in", where)
    body = parsed(asker.users("medium"))
    assert ("next" in body["links"], "continuationToken" in body) == (in_links, in_body)


def test_the_link_prefix_is_switchable(asker: Asker) -> None:
    asker.assume("link_prefix", "")
    body = parsed(asker.users("medium"))
    assert body["links"]["next"]["uri"].startswith("/customers/")
    assert body["items"][0]["links"]["self"]["uri"].startswith("/customers/")


def test_put_is_not_a_verb_here(asker: Asker) -> None:
    path = f"/customers/{CONTOSO}/users/{seed.SPECIAL_USERS['plain']}"
    assert asker.partner_center("PUT", path, json={}).status_code == 405


def test_a_write_without_json_is_refused(asker: Asker) -> None:
    path = f"/customers/{CONTOSO}/users"
    assert asker.partner_center("POST", path, data="a=b", headers={"Content-Type": "text/plain"}).status_code == 415
    broken = asker.partner_center("POST", path, data="{", headers={"Content-Type": "application/json"})
    assert (broken.status_code, broken.json()["code"]) == (400, 800002)


def test_who_wants_xml_is_told_no(asker: Asker) -> None:
    assert asker.partner_center("GET", "/customers", headers={"Accept": "application/xml"}).status_code == 406


def test_customers_are_found_by_the_start_of_name_or_domain_in_any_case(asker: Asker) -> None:
    for field, value in (("CompanyName", "cONTOSO"), ("domain", "contosotr")):
        condition = json.dumps({"Operator": "starts_with", "Value": value, "Field": field})
        body = parsed(asker.partner_center("GET", "/customers", params={"size": 0, "filter": condition}))
        assert [customer["id"] for customer in body["items"]] == [CONTOSO]
    contains = json.dumps({"Field": "CompanyName", "Value": "toso", "Operator": "substring"})
    response = asker.partner_center("GET", "/customers", params={"filter": contains})
    assert (response.status_code, response.json()["code"]) == (400, 2000)


def test_the_list_tells_less_of_a_customer_than_the_customer_itself(asker: Asker) -> None:
    condition = json.dumps({"Field": "CompanyName", "Value": "Contoso", "Operator": "starts_with"})
    row = parsed(asker.partner_center("GET", "/customers", params={"filter": condition}))["items"][0]
    assert set(row) == {"id", "companyProfile", "relationshipToPartner", "links", "attributes"}
    assert "address" not in row["companyProfile"]
    detail = parsed(asker.partner_center("GET", f"/customers/{CONTOSO.upper()}"))
    assert detail["companyProfile"]["address"]["country"]
    assert "contosotrading.example" in detail["customDomains"]
    unreachable = parsed(asker.partner_center("GET", f"/customers/{seed.SPECIAL['none']}"))
    assert "address" not in unreachable["companyProfile"]
    assert "customDomains" not in unreachable
    profile = parsed(asker.partner_center("GET", f"/customers/{CONTOSO}/profiles/company"))
    assert profile == detail["companyProfile"]


def test_more_than_the_limit_of_requests_for_one_customer_is_429_in_either_shape(asker: Asker) -> None:
    asker.assume("customer_rate_limit", 3)
    path = f"/customers/{CONTOSO}"
    assert [asker.partner_center("GET", path).status_code for _ in range(4)] == [200, 200, 200, 429]
    gateway = asker.partner_center("GET", path)
    assert set(gateway.json()) == {"statusCode", "message"}
    assert 0 < int(gateway.headers["Retry-After"]) <= 61
    asker.assume("throttle_body", "fault")
    assert "description" in asker.partner_center("GET", path).json()
    assert asker.partner_center("GET", f"/customers/{seed.SPECIAL['big']}").status_code == 200


def test_a_trailing_slash_and_a_trailing_blank_are_tolerated_as_the_sdk_sends_them(asker: Asker) -> None:
    user_id = seed.SPECIAL_USERS["plain"]
    assert asker.partner_center("GET", f"/customers/{CONTOSO}/users/").status_code == 200
    assert asker.partner_center("GET", f"/customers/{CONTOSO}/users/{user_id}%20").status_code == 200
