"""Partner Center: what each method asks, byte for byte, and what it makes of the answer."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import pytest
import requests
import responses

from partnerportal.upstream.errors import Conflict, Forbidden, NotFound, Refused, Unintelligible, Unreachable, quoted
from partnerportal.upstream.http import Secret
from partnerportal.upstream.partner_center import (
    CustomerProfile,
    CustomerRow,
    CustomerUser,
    NewUser,
    PartnerCenter,
)

from .conftest import PARTNER_CENTER, TENANT, USER, body, customer_pages

CUSTOMERS = f"{PARTNER_CENTER}/v1/customers"
USERS = f"{CUSTOMERS}/{TENANT}/users"
ONE = f"{USERS}/{USER}"
OP = UUID("b1317092-f087-471e-a637-f66523b2b94c")


@pytest.fixture
def client(token: Secret) -> PartnerCenter:
    return PartnerCenter(token)


def user(number: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": f"a45f1416-3300-4f65-9e8d-{number:012}",
        "userPrincipalName": f"user{number}@contoso.example",
        "displayName": f"User {number}",
        "userDomainType": "none",
        "state": "active",
        **more,
    }


def customer(number: int, **more: Any) -> dict[str, Any]:
    key = f"b44bb1fb-c595-45b0-9e09-{number:012}"
    return {
        "id": key,
        "companyProfile": {"tenantId": key, "domain": f"c{number}.example", "companyName": f"Customer {number}"},
        "relationshipToPartner": "reseller",
        **more,
    }


def page(items: list[Any], after: str | None = None, uri: str = "/v1/customers?size=500&seekOperation=Next") -> bytes:
    links: dict[str, Any] = {"self": {"uri": "/x", "method": "GET", "headers": []}}
    if after is not None:
        links["next"] = {
            "uri": uri,
            "method": "GET",
            "headers": [{"key": "MS-ContinuationToken", "value": after}],
        }
    return body({"totalCount": len(items), "items": items, "links": links, "attributes": {"objectType": "Collection"}})


def users_page(items: list[Any], after: str | None = None) -> bytes:
    return page(items, after, f"/customers/{TENANT}/users?size=500&seekOperation=Next")


def asked(wire: responses.RequestsMock, number: int = -1) -> tuple[str, str, dict[str, str], Any]:
    """(method, path, query, body) of a request."""
    request = wire.calls[number].request
    parts = urlsplit(str(request.url))
    sent = request.body
    text = sent.decode() if isinstance(sent, bytes) else sent
    return str(request.method), parts.path, dict(parse_qsl(parts.query)), json.loads(text) if text else None


# --- Customers ----------------------------------------------------------------------------------------------


def test_customers_are_walked_page_by_page_with_the_token_in_its_header(
    wire: responses.RequestsMock, client: PartnerCenter
) -> None:
    wire.get(CUSTOMERS, body=page([customer(1), customer(2)], "AQ=="))
    wire.get(CUSTOMERS, body=page([customer(3)]))
    pages = list(customer_pages(client))
    assert [[row.name for row in rows] for rows in pages] == [["Customer 1", "Customer 2"], ["Customer 3"]]
    assert pages[1][0] == CustomerRow("b44bb1fb-c595-45b0-9e09-000000000003", "Customer 3", "c3.example", "reseller")
    first, second = (call.request for call in wire.calls)
    assert first.url == f"{CUSTOMERS}?size=500"
    assert second.url == f"{CUSTOMERS}?size=500&seekOperation=Next"
    assert "MS-ContinuationToken" not in first.headers
    assert second.headers["MS-ContinuationToken"] == "AQ=="
    assert second.headers["Authorization"] == "Bearer the-access-token"
    assert UUID(second.headers["MS-RequestId"]) != UUID(first.headers["MS-RequestId"])
    assert str(UUID(second.headers["MS-CorrelationId"])) == second.headers["MS-CorrelationId"]
    assert second.headers["X-Locale"] == "en-US"
    assert "MS-Contract-Version" not in second.headers


@pytest.mark.parametrize(
    "uri",
    [
        "/v1/customers?size=500&seekOperation=Next",
        "/customers?size=500&amp;seekOperation=Next",
        "https://api.partnercenter.microsoft.com/v1/customers?size=500",
        "https://api.partnercenter.microsoft.com:443/v1/customers?size=2?seekOperation=Next",
        "/v1/customers/?x",
        "/v1/Customers",
    ],
)
def test_a_next_link_is_taken_with_and_without_its_prefix(
    wire: responses.RequestsMock, client: PartnerCenter, uri: str
) -> None:
    wire.get(CUSTOMERS, body=page([customer(1)], "AQ==", uri))
    wire.get(CUSTOMERS, body=page([customer(2)]))
    assert sum(len(rows) for rows in customer_pages(client)) == 2


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/v1/customers",
        "//evil.example/v1/customers",
        "http://api.partnercenter.microsoft.com/v1/customers",
        "https://api.partnercenter.microsoft.com:444/v1/customers",
        "https://x@api.partnercenter.microsoft.com/v1/customers",
        "/v1/agreements",
        f"/v1/customers/{TENANT}/users",
        "/v1/v1/customers",
        "/v1/customers/../agreements",
        "/v1/customers/%2e%2e/agreements",
        "",
        "javascript:alert(1)",
    ],
)
def test_a_next_link_that_leads_elsewhere_ends_the_walk(
    wire: responses.RequestsMock, client: PartnerCenter, uri: str
) -> None:
    wire.get(CUSTOMERS, body=page([customer(1)], "AQ==", uri))
    with pytest.raises(Unintelligible):
        list(customer_pages(client))
    assert len(wire.calls) == 1


def test_a_next_link_of_another_customer_ends_the_walk(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.get(USERS, body=page([user()], "AQ==", f"/v1/customers/{USER}/users?size=500"))
    with pytest.raises(Unintelligible):
        list(client.all_users(TENANT))


@pytest.mark.parametrize("after", ["", "a b", "a\r\nEvil: 1", "é", "x" * 4097])
def test_a_token_unfit_for_a_header_ends_the_walk(
    wire: responses.RequestsMock, client: PartnerCenter, after: str
) -> None:
    wire.get(CUSTOMERS, body=page([customer(1)], after))
    with pytest.raises(Unintelligible):
        list(customer_pages(client))


def test_the_token_may_stand_in_the_body(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    linked = {
        "items": [customer(1)],
        "links": {"next": {"uri": "/v1/customers", "headers": [{"key": "X", "value": "y"}]}},
        "continuationToken": "in-body",
    }
    wire.get(CUSTOMERS, body=body(linked))
    wire.get(CUSTOMERS, body=body({"items": [customer(2)], "continuationToken": "no-links"}))
    wire.get(CUSTOMERS, body=body({"items": [customer(3)], "links": {"self": {}}, "continuationToken": "no-next"}))
    wire.get(CUSTOMERS, body=body({"items": [customer(4)], "links": {}, "continuationToken": ""}))
    assert sum(len(rows) for rows in customer_pages(client)) == 4
    assert wire.calls[1].request.headers["MS-ContinuationToken"] == "in-body"
    assert wire.calls[2].request.headers["MS-ContinuationToken"] == "no-links"
    assert wire.calls[3].request.headers["MS-ContinuationToken"] == "no-next"


def test_a_walk_in_a_circle_is_stopped(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.get(CUSTOMERS, body=page([customer(1)], "A"))
    wire.get(CUSTOMERS, body=page([customer(2)], "B"))
    wire.get(CUSTOMERS, body=page([customer(3)], "A"))
    with pytest.raises(Unintelligible):
        list(customer_pages(client))
    assert len(wire.calls) == 3


def test_a_walk_that_does_not_end_is_stopped(
    wire: responses.RequestsMock, client: PartnerCenter, settings: Any
) -> None:
    settings.CUSTOMER_PAGE_LIMIT = 5
    for number in range(7):
        wire.get(CUSTOMERS, body=page([customer(number)], f"T{number}"))
    with pytest.raises(Unintelligible):
        list(customer_pages(client))
    assert len(wire.calls) == 5


def test_pages_that_overlap_give_a_customer_again(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.get(CUSTOMERS, body=page([customer(1), customer(2)], "A"))
    wire.get(CUSTOMERS, body=page([customer(2), customer(3), customer(3)]))
    assert [row.name[-1] for rows in customer_pages(client) for row in rows] == [
        "1",
        "2",
        "2",
        "3",
        "3",
    ]  # the sync stores each once


def test_rows_without_a_usable_id_are_counted(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    bad: list[Any] = [{"companyProfile": {}}, {"id": None}, {"id": "1"}, {"id": 7}, None, "x", customer(9, id="")]
    wire.get(CUSTOMERS, body=page([customer(1), *bad]))
    assert [len(rows) for rows in customer_pages(client)] == [1]
    assert client.quarantined == len(bad)


def test_a_page_without_one_usable_row_is_unintelligible(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.get(CUSTOMERS, body=page([{"tenant": 1}]))
    with pytest.raises(Unintelligible):
        list(customer_pages(client))


def test_an_empty_list_is_an_answer(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.get(CUSTOMERS, body=page([]))
    assert list(customer_pages(client)) == [()]


@pytest.mark.parametrize("payload", [b"{}", b'{"items":null}', b'{"items":{}}', b"[]", b"<html></html>", b""])
def test_a_list_that_is_none_is_unintelligible(
    wire: responses.RequestsMock, client: PartnerCenter, payload: bytes
) -> None:
    wire.get(CUSTOMERS, body=payload)
    with pytest.raises(Unintelligible):
        next(customer_pages(client))


def test_an_unknown_relationship_survives(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    rows = [customer(1, relationshipToPartner="newKind"), customer(2, relationshipToPartner=3), {"id": TENANT.upper()}]
    wire.get(CUSTOMERS, body=page(rows))
    found = next(customer_pages(client))
    assert [row.relationship for row in found] == ["newKind", "3", ""]
    assert found[2] == CustomerRow(TENANT, "", "", "")


def test_a_customer_by_id(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.get(
        f"{CUSTOMERS}/{TENANT}",
        body=body(
            {
                "id": TENANT,
                "companyProfile": {"companyName": "Contoso", "domain": "c.example", "address": {"country": "us"}},
                "customDomains": ["c.example", "d.example"],
            }
        ),
    )
    assert client.customer(TENANT) == CustomerProfile(TENANT, "Contoso", "c.example", "US", ("c.example", "d.example"))


@pytest.mark.parametrize("address", [{}, {"country": "United States"}, {"country": "1ß"}, None])
def test_a_customer_without_a_known_country_has_none(
    wire: responses.RequestsMock, client: PartnerCenter, address: Any
) -> None:
    wire.get(f"{CUSTOMERS}/{TENANT}", body=body({"id": TENANT, "companyProfile": {"address": address}}))
    assert client.customer(TENANT) == CustomerProfile(TENANT, "", "")


# --- Reading users ------------------------------------------------------------------------------------------


def test_a_page_of_users_is_one_call(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.get(USERS, body=users_page([user(1), user(2)], "NEXT"))
    found = client.users(TENANT)
    assert len(wire.calls) == 1
    assert wire.calls[0].request.url == f"{USERS}?size=25&SortField=DisplayName&SortDirection=Ascending"
    assert [one.display_name for one in found.users] == ["User 1", "User 2"]
    assert found.next == Secret("NEXT")


def test_the_next_page_keeps_size_order_and_filter(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.get(USERS, body=users_page([user(1)]))
    found = client.users(TENANT.upper(), size=500, descending=True, deleted=True, after=Secret("TOKEN"))
    assert found.next is None
    _, path, query, _ = asked(wire)
    assert path == f"/v1/customers/{TENANT}/users"
    assert query == {
        "size": "500",
        "SortField": "DisplayName",
        "SortDirection": "Descending",
        "filter": '{"Field":"UserState","Value":"Inactive","Operator":"equals"}',
        "seekOperation": "Next",
    }
    assert wire.calls[0].request.headers["MS-ContinuationToken"] == "TOKEN"
    assert "TOKEN" not in str(wire.calls[0].request.url)


@pytest.mark.parametrize(
    "wrong",
    [{"size": 0}, {"size": 501}, {"sort": "Password"}, {"sort": "DisplayName&x=1"}, {"after": Secret("a\nb")}],
)
def test_what_partner_center_does_not_know_is_not_asked(
    wire: responses.RequestsMock, client: PartnerCenter, wrong: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"page|token"):
        client.users(TENANT, **wrong)
    assert len(wire.calls) == 0


def test_only_guids_get_into_a_path(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    asks = [
        lambda: client.customer("../agreements"),
        lambda: client.users("x"),
        lambda: client.user(TENANT, "maya@contoso.example"),
        lambda: client.delete_user(TENANT, "..%2f", request_id=OP),
    ]
    for ask in asks:
        with pytest.raises(ValueError, match="Not a GUID"):
            ask()
    assert len(wire.calls) == 0


def test_all_users_are_walked_in_the_largest_pages(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.get(USERS, body=users_page([user(1)], "A"))
    wire.get(USERS, body=users_page([user(2)]))
    pages = list(client.all_users(TENANT, deleted=True))
    assert [one.id[-1] for found in pages for one in found.users] == ["1", "2"]
    assert asked(wire)[2]["size"] == "500"
    assert "SortField" not in asked(wire)[2]
    assert "Inactive" in asked(wire)[2]["filter"]


def test_a_walk_over_users_is_stopped_too(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.get(USERS, body=users_page([user(1)], "A"))
    with pytest.raises(Unintelligible):
        list(client.all_users(TENANT))
    assert len(wire.calls) == 2
    with pytest.raises(Unintelligible):
        list(client.all_users(TENANT, page_limit=1))


def test_a_user_has_what_we_use_and_nothing_else(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.get(
        ONE,
        body=body(
            user(
                7,
                id=USER.upper(),
                firstName="Maya",
                lastName="Lind",
                usageLocation="SE",
                immutableId="abc==",
                phoneNumber="+46",
                state="inactive",
                userDomainType="federated",
                lastDirectorySyncTime="2017-01-20T00:33:34Z",
                softDeletionTime="2017-01-21T00:33:34.1234567Z",
                passwordProfile={"password": "abCD123*", "forceChangePassword": True},
            )
        ),
    )
    found = client.user(TENANT, USER)
    assert found == CustomerUser(
        id=USER,
        user_principal_name="user7@contoso.example",
        display_name="User 7",
        first_name="Maya",
        last_name="Lind",
        usage_location="SE",
        immutable_id="abc==",
        phone_number="+46",
        state="inactive",
        domain_type="federated",
        last_directory_sync=datetime(2017, 1, 20, 0, 33, 34, tzinfo=UTC),
        soft_deleted_at=datetime(2017, 1, 21, 0, 33, 34, 123456, tzinfo=UTC),
    )
    assert found.is_deleted
    assert found.is_synced
    assert "abCD123*" not in repr(found)


def test_enums_may_be_numbers_or_new_words(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    rows = [user(1, state=1, userDomainType=2), user(2, state="frozen", userDomainType="cloud9"), user(3, state=9)]
    wire.get(USERS, body=users_page(rows))
    first, second, third = client.users(TENANT).users
    assert (first.state, first.domain_type, first.is_deleted, first.is_synced) == ("inactive", "federated", True, False)
    assert (second.state, second.domain_type, second.is_deleted) == ("frozen", "cloud9", False)
    assert third.state == "9"


@pytest.mark.parametrize("row", [{"userPrincipalName": "a@b"}, user(id=""), user(id="7"), user(userPrincipalName=None)])
def test_a_user_without_an_id_or_a_name_makes_the_page_unintelligible(
    wire: responses.RequestsMock, client: PartnerCenter, row: Any
) -> None:
    wire.get(USERS, body=users_page([user(1), row]))
    with pytest.raises(Unintelligible):
        client.users(TENANT)


# --- Writing users ------------------------------------------------------------------------------------------

NEW = NewUser(
    user_principal_name="maya@contoso.example",
    display_name="Maya Lind",
    password=Secret("abCD123*xyz"),
    first_name="Maya",
    usage_location="SE",
)


@pytest.mark.parametrize("status", [200, 201])
def test_create_sends_what_is_given_and_drops_the_password_of_the_answer(
    wire: responses.RequestsMock, client: PartnerCenter, status: int
) -> None:
    echo = user(
        1,
        userPrincipalName="Maya@Contoso.example",
        passwordProfile={"password": "abCD123*xyz", "forceChangePassword": True},
    )
    wire.post(USERS, body=body(echo), status=status, headers={"MS-RequestId": str(OP), "MS-CorrelationId": "c-1"})
    receipt = client.create_user(TENANT, NEW, request_id=OP)
    assert asked(wire) == (
        "POST",
        f"/v1/customers/{TENANT}/users",
        {},
        {
            "userPrincipalName": "maya@contoso.example",
            "displayName": "Maya Lind",
            "firstName": "Maya",
            "usageLocation": "SE",
            "passwordProfile": {"password": "abCD123*xyz", "forceChangePassword": True},
            "attributes": {"objectType": "CustomerUser"},
        },
    )
    assert wire.calls[0].request.headers["MS-RequestId"] == str(OP)
    assert wire.calls[0].request.headers["Content-Type"] == "application/json"
    assert (receipt.status, receipt.request_id, receipt.correlation_id) == (status, str(OP), "c-1")
    assert receipt.user is not None
    assert receipt.user.user_principal_name == "Maya@Contoso.example"
    assert "abCD123*xyz" not in f"{receipt!r} {NEW!r}"


def test_an_answer_about_somebody_else_is_not_believed(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.post(USERS, body=body(user(1, userPrincipalName="other@contoso.example")))
    wire.patch(ONE, body=body(user(1)))
    with pytest.raises(Unintelligible) as created:
        client.create_user(TENANT, NEW, request_id=OP)
    with pytest.raises(Unintelligible) as changed:
        client.update_user(TENANT, USER, {"display_name": "M"}, request_id=OP)
    assert created.value.ambiguous
    assert changed.value.ambiguous


@pytest.mark.parametrize("payload", [b"", b"{}", b"null", b'{"id":"', b"<html>", body({"id": USER})])
def test_a_create_whose_answer_cannot_be_read_may_have_happened(
    wire: responses.RequestsMock, client: PartnerCenter, payload: bytes
) -> None:
    wire.post(USERS, body=payload)
    with pytest.raises(Unintelligible) as caught:
        client.create_user(TENANT, NEW, request_id=OP)
    assert caught.value.ambiguous
    assert caught.value.request_id == str(OP)


@pytest.mark.parametrize("status", [202, 204, 302])
def test_a_create_with_another_success_is_not_taken_for_done(
    wire: responses.RequestsMock, client: PartnerCenter, status: int
) -> None:
    wire.post(USERS, status=status)
    with pytest.raises(Unintelligible):
        client.create_user(TENANT, NEW, request_id=OP)


def test_a_create_that_gets_no_answer_is_sent_once_and_ambiguous(
    wire: responses.RequestsMock, client: PartnerCenter
) -> None:
    wire.post(USERS, body=requests.ReadTimeout("slow"))
    with pytest.raises(Unreachable) as caught:
        client.create_user(TENANT, NEW, request_id=OP)
    assert caught.value.ambiguous
    assert len(wire.calls) == 1


def test_a_taken_name_is_a_conflict_and_says_no_password(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    said = "Another object with the same value for property userPrincipalName already exists. (abCD123*xyz)"
    wire.post(USERS, status=400, body=json.dumps({"code": 3000, "description": said}))
    with pytest.raises(Conflict) as caught:
        client.create_user(TENANT, NEW, request_id=OP)
    assert "userPrincipalName" in caught.value.description
    assert "abCD123*xyz" not in f"{caught.value} {vars(caught.value)}"
    assert not caught.value.ambiguous


def test_update_sends_only_what_changed(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.patch(ONE, body=body(user(1, id=USER)))
    receipt = client.update_user(TENANT, USER, {"usage_location": "IT", "phone_number": ""}, request_id=OP)
    assert asked(wire) == (
        "PATCH",
        f"/v1/customers/{TENANT}/users/{USER}",
        {},
        {"usageLocation": "IT", "phoneNumber": "", "attributes": {"objectType": "CustomerUser"}},
    )
    assert receipt.user is not None
    assert receipt.request_id == str(OP)


def test_update_may_carry_a_password(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.patch(ONE, body=body(user(1, id=USER)))
    client.update_user(
        TENANT,
        USER,
        {"display_name": "M", "first_name": "M", "last_name": "L", "user_principal_name": "m@c.example"},
        password=Secret("pw"),
        force_change=False,
        request_id=OP,
    )
    assert asked(wire)[3] == {
        "displayName": "M",
        "firstName": "M",
        "lastName": "L",
        "userPrincipalName": "m@c.example",
        "passwordProfile": {"password": "pw", "forceChangePassword": False},
        "attributes": {"objectType": "CustomerUser"},
    }


@pytest.mark.parametrize("changes", [{}, {"state": "active"}, {"id": USER}, {"displayName": "x"}])
def test_update_sends_nothing_that_it_should_not(
    wire: responses.RequestsMock, client: PartnerCenter, changes: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="change"):
        client.update_user(TENANT, USER, changes, request_id=OP)
    assert len(wire.calls) == 0


@pytest.mark.parametrize(("setting", "path"), [("resetpassword", f"{ONE}/resetpassword"), ("", ONE)])
def test_reset_takes_the_path_of_the_settings(
    wire: responses.RequestsMock, client: PartnerCenter, settings: Any, setting: str, path: str
) -> None:
    settings.PARTNER_CENTER_RESET_PATH = setting
    wire.patch(path, body=body(user(1, id=USER, passwordProfile={"password": "pw-9876"})))
    receipt = client.reset_password(TENANT, USER, Secret("pw-9876"), force_change=True, request_id=OP)
    assert asked(wire)[3] == {
        "passwordProfile": {"password": "pw-9876", "forceChangePassword": True},
        "attributes": {"objectType": "CustomerUser"},
    }
    assert "pw-9876" not in repr(receipt)


def test_delete_has_no_body_and_gives_no_user(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.delete(ONE, status=204)
    receipt = client.delete_user(TENANT, USER, request_id=OP)
    assert (receipt.user, receipt.status) == (None, 204)
    assert asked(wire)[3] is None


def test_a_page_that_answers_a_delete_is_no_word_about_it(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.delete(ONE, status=200, body="<h1>Sorry</h1>")
    with pytest.raises(Unintelligible):
        client.delete_user(TENANT, USER, request_id=OP)


def test_restore_sets_the_state_alone(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.patch(ONE, body=body(user(1, id=USER)))
    client.restore_user(TENANT, USER, request_id=OP)
    assert asked(wire)[3] == {"state": "active", "attributes": {"objectType": "CustomerUser"}}


@pytest.mark.parametrize("answer", [user(1), user(1, id=USER, state="inactive")])
def test_a_restore_that_answers_with_somebody_else_or_with_a_deleted_user_is_not_believed(
    wire: responses.RequestsMock, client: PartnerCenter, answer: dict[str, Any]
) -> None:
    wire.patch(ONE, body=body(answer))
    with pytest.raises(Unintelligible) as caught:
        client.restore_user(TENANT, USER, request_id=OP)
    assert caught.value.ambiguous


@pytest.mark.parametrize("status", [400, 409])
def test_a_restore_whose_name_was_given_away_is_a_conflict(
    wire: responses.RequestsMock, client: PartnerCenter, status: int
) -> None:
    said = "Another object with the same value for property userPrincipalName already exists."
    wire.patch(ONE, status=status, body=json.dumps({"code": 3000, "description": said}))
    with pytest.raises(Conflict):
        client.restore_user(TENANT, USER, request_id=OP)


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (403, {"code": 900308, "description": "Insufficient privileges to complete the operation."}, Forbidden),
        (404, {"code": 60002, "description": "User object ID is not found"}, NotFound),
        (400, {"code": 3000, "description": "Invalid property usageLocation"}, Refused),
    ],
)
def test_a_refused_write_is_a_sure_no(
    wire: responses.RequestsMock, client: PartnerCenter, status: int, said: dict[str, Any], kind: type[Exception]
) -> None:
    wire.patch(ONE, status=status, body=json.dumps(said))
    with pytest.raises(kind) as caught:
        client.update_user(TENANT, USER, {"usage_location": "XX"}, request_id=OP)
    assert isinstance(caught.value, Refused)
    assert not caught.value.ambiguous
    assert str(caught.value) == f"Partner Center refused: {quoted(said['description'])}"


def test_a_national_cloud_is_a_setting(wire: responses.RequestsMock, client: PartnerCenter, settings: Any) -> None:
    settings.PARTNER_CENTER_URL = "https://partner.partnercenterapi.microsoftonline.cn"
    root = "https://partner.partnercenterapi.microsoftonline.cn/v1/customers"
    wire.get(root, body=page([customer(1)], "A"))
    wire.get(root, body=page([customer(2)]))
    assert sum(len(rows) for rows in customer_pages(client)) == 2
