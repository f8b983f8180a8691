"""The two that are asked with the portal's own credentials: AvePoint and the GDAP API."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import responses

from partnerportal import clock
from partnerportal.upstream import avepoint, gdap_api
from partnerportal.upstream.avepoint import AvePoint, AvePointCustomer
from partnerportal.upstream.errors import Broken, Forbidden, SignInAgain, Unintelligible
from partnerportal.upstream.gdap_api import GdapApi, GdapCustomer
from partnerportal.upstream.http import Secret

from .conftest import TENANT, customer_pages, sent_text

LIST = "https://graph.avepointonlineservices.com/partner/customers"
TOKEN = "https://identity.avepointonlineservices.com/connect/token"
GDAP = "https://gdapbridge360.azurewebsites.net/api/"
AUTH = "https://gdapauthservice.azurewebsites.net/api/Auth"


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"id-{number}*",
        "organization": "AvePoint test",
        "ownerEmail": "a@avepoint.example",
        "jobStatus": "Working",
        "countryOrRegion": "Vietnam",
        **more,
    }


# --- AvePoint -----------------------------------------------------------------------------------------------


@pytest.fixture
def client(token: Secret) -> AvePoint:
    return AvePoint(token)


def test_customers_of_avepoint(wire: responses.RequestsMock, client: AvePoint) -> None:
    wire.get(LIST, json={"value": [row(1), row(2, jobStatus=5), {"id": "bare"}]})
    (found,) = list(customer_pages(client))
    assert found[0] == AvePointCustomer("id-1*", "AvePoint test", "a@avepoint.example", "Working", "Vietnam")
    assert found[1].job_status == "5"
    assert found[2] == AvePointCustomer("bare", "", "", "", "")
    assert wire.calls[0].request.headers["Authorization"] == "Bearer the-access-token"


@pytest.mark.parametrize("name", ["@odata.nextLink", "nextLink"])
def test_a_next_page_of_avepoint_is_followed(wire: responses.RequestsMock, client: AvePoint, name: str) -> None:
    wire.get(LIST, json={"value": [row(1)], name: f"{LIST}?$skip=1"})
    wire.get(LIST, json={"value": [row(1), row(2), {}], name: "?$skip=2"})
    wire.get(LIST, json={"value": []})
    assert [one.id for page in customer_pages(client) for one in page] == ["id-1*", "id-1*", "id-2*"]
    assert client.quarantined == 1
    assert [call.request.url for call in wire.calls] == [LIST, f"{LIST}?$skip=1", f"{LIST}?$skip=2"]


@pytest.mark.parametrize(
    "link",
    [f"{LIST}?$skip=1", "https://evil.example/partner/customers", "/partner/services", "http:" + LIST[6:]],
)
def test_a_next_page_in_a_circle_or_elsewhere_is_not_followed(
    wire: responses.RequestsMock, client: AvePoint, link: str
) -> None:
    wire.get(LIST, json={"value": [row(1)], "nextLink": link})
    with pytest.raises(Unintelligible):
        list(customer_pages(client))


@pytest.mark.parametrize("payload", [b"{}", b'{"value":[{"Id":"1"}]}', b"null", b"<html>", b'{"value":null}'])
def test_a_list_of_avepoint_that_is_none_is_unintelligible(
    wire: responses.RequestsMock, client: AvePoint, payload: bytes
) -> None:
    wire.get(LIST, body=payload)
    with pytest.raises(Unintelligible):
        list(customer_pages(client))


def test_a_token_of_avepoint_is_fetched_once(wire: responses.RequestsMock, settings: Any) -> None:
    settings.AVEPOINT_CLIENT_ID, settings.AVEPOINT_CLIENT_SECRET = "app", "s3cret-s3cret"
    wire.post(TOKEN, json={"access_token": "jwt-1", "expires_in": 3600, "token_type": "Bearer"})
    assert avepoint.fetch_token() == avepoint.fetch_token() == Secret("jwt-1")
    assert len(wire.calls) == 1
    assert dict(parse_qsl(sent_text(wire.calls[0]))) == {
        "client_id": "app",
        "client_secret": "s3cret-s3cret",
        "scope": "partner.customers.read.all",
        "grant_type": "client_credentials",
    }
    avepoint.forget_token()
    avepoint.fetch_token()
    assert len(wire.calls) == 2


@pytest.mark.parametrize(("expires_in", "moves", "calls"), [(3600, 3240, 1), (3600, 3360, 2), (60, 0, 2), (-1, 0, 2)])
def test_a_token_of_avepoint_is_renewed_in_time(
    wire: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch, expires_in: int, moves: int, calls: int
) -> None:
    wire.post(TOKEN, json={"access_token": "jwt", "expires_in": expires_in})
    avepoint.fetch_token()
    later = clock.now() + timedelta(seconds=moves)
    monkeypatch.setattr(clock, "now", lambda: later)
    avepoint.fetch_token()
    assert len(wire.calls) == calls


def test_a_refused_token_is_forgotten_and_signs_nobody_out(wire: responses.RequestsMock, client: AvePoint) -> None:
    wire.post(TOKEN, json={"access_token": "jwt"})
    avepoint.fetch_token()
    wire.get(LIST, status=401)
    with pytest.raises(Forbidden) as caught:
        list(customer_pages(client))
    assert not isinstance(caught.value, SignInAgain)
    assert caught.value.our_fault
    assert str(caught.value) == "AvePoint did not accept the portal's registration, or its secret has ended."
    avepoint.fetch_token()
    assert len([call for call in wire.calls if call.request.url == TOKEN]) == 2


def test_a_refused_secret_of_avepoint_says_so_without_it(wire: responses.RequestsMock, settings: Any) -> None:
    settings.AVEPOINT_CLIENT_SECRET = "s3cret-s3cret"
    wire.post(TOKEN, status=400, json={"error": "invalid_client", "error_description": "s3cret-s3cret is wrong"})
    with pytest.raises(Forbidden) as caught:
        avepoint.fetch_token()
    assert caught.value.code == "invalid_client"
    assert "s3cret" not in f"{caught.value!r} {vars(caught.value)}"


@pytest.mark.parametrize(
    "payload", [b"null", b'{"access_token":""}', b'{"access_token":"a b"}', b'{"access_token":"a\\r\\nX: y"}', b"{}"]
)
def test_a_token_unfit_for_a_header_is_none(wire: responses.RequestsMock, payload: bytes) -> None:
    wire.post(TOKEN, body=payload)
    with pytest.raises(Unintelligible):
        avepoint.fetch_token()


def test_avepoint_is_configured_by_id_and_secret(settings: Any) -> None:
    settings.AVEPOINT_CLIENT_ID, settings.AVEPOINT_CLIENT_SECRET = "app", "secret"
    assert avepoint.configured()
    settings.AVEPOINT_CLIENT_ID = ""
    assert not avepoint.configured()


# --- The GDAP API -------------------------------------------------------------------------------------------


@pytest.fixture
def with_token(settings: Any) -> None:
    settings.GDAP_API_TOKEN = "fixed-token"


@pytest.fixture
def with_password(settings: Any) -> None:
    settings.GDAP_API_TOKEN = ""
    settings.GDAP_API_USERNAME, settings.GDAP_API_PASSWORD = "desk", "p&ss word"


def query(wire: responses.RequestsMock, number: int = -1) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(str(wire.calls[number].request.url)).query))


@pytest.mark.usefixtures("with_token")
@pytest.mark.parametrize("status", [200, 202])
def test_a_sync_is_asked_for(wire: responses.RequestsMock, status: int, caplog: pytest.LogCaptureFixture) -> None:
    said = "Your customers will be synchronized now."
    wire.post(f"{GDAP}SynchronizePartnerCustomers", status=status, json={"Result": "Accepted", "Message": said})
    with caplog.at_level(logging.INFO):
        assert GdapApi().synchronize(TENANT.upper(), "maya+1@partner.example") == said
    assert query(wire) == {"partnerId": TENANT, "email": "maya+1@partner.example"}
    assert not wire.calls[0].request.body
    assert wire.calls[0].request.headers["Authorization"] == "Bearer fixed-token"
    assert "maya" not in caplog.text


@pytest.mark.usefixtures("with_token")
def test_a_refused_sync_signs_nobody_out(wire: responses.RequestsMock) -> None:
    wire.post(f"{GDAP}SynchronizePartnerCustomers", status=401, body=b"null")
    with pytest.raises(Forbidden) as caught:
        GdapApi().synchronize(TENANT, "a@b.example")
    assert str(caught.value) == "The GDAP API refused: its token or permission is missing or has ended."
    assert not isinstance(caught.value, SignInAgain)


@pytest.mark.usefixtures("with_token")
@pytest.mark.parametrize("payload", [b"null", b"{}", b"<html>", b""])
def test_a_sync_that_says_something_else_may_have_begun(wire: responses.RequestsMock, payload: bytes) -> None:
    wire.post(f"{GDAP}SynchronizePartnerCustomers", body=payload)
    with pytest.raises(Unintelligible) as caught:
        GdapApi().synchronize(TENANT, "a@b.example")
    assert caught.value.ambiguous


@pytest.mark.usefixtures("with_password")
def test_a_password_buys_a_token_once(wire: responses.RequestsMock, caplog: pytest.LogCaptureFixture) -> None:
    wire.post(AUTH, json={"access_token": "bought"})
    wire.post(f"{GDAP}SynchronizePartnerCustomers", json={"Result": "Accepted"})
    api = GdapApi()
    with caplog.at_level(logging.INFO):
        assert api.synchronize(TENANT, "a@b.example") == ""
        api.synchronize(TENANT, "a@b.example")
    assert query(wire, 0) == {"username": "desk", "password": "p&ss word"}
    assert [call.request.headers.get("Authorization") for call in wire.calls] == [
        None,
        "Bearer bought",
        "Bearer bought",
    ]
    assert "p&ss" not in caplog.text
    assert "p%26ss" not in caplog.text


@pytest.mark.usefixtures("with_password")
def test_a_refused_password_is_told_like_a_refused_token(wire: responses.RequestsMock) -> None:
    wire.post(AUTH, status=401, body=b"null")
    with pytest.raises(Forbidden) as caught:
        GdapApi().customers(TENANT)
    assert caught.value.our_fault


@pytest.mark.usefixtures("with_token")
def test_what_was_synchronised_so_far(wire: responses.RequestsMock) -> None:
    synced = [
        {"TenantDomain": "c.example", "CompanyName": "C", "RowKey": TENANT.upper(), "Timestamp": None, "ETag": {}},
        {"RowKey": TENANT, "Timestamp": "2026-11-23T13:05:12Z"},
        {"RowKey": "<customer tenant guid>"},
        {},
        None,
    ]
    wire.get(f"{GDAP}Customers", json={"CurrentEntitiesSynced": synced})
    assert GdapApi().customers(TENANT) == (
        GdapCustomer(TENANT, "C", "c.example", None),
        GdapCustomer(TENANT, "", "", datetime(2026, 11, 23, 13, 5, 12, tzinfo=UTC)),
    )
    assert query(wire) == {"providerId": TENANT}


@pytest.mark.usefixtures("with_token")
def test_a_broken_gdap_api_is_broken(wire: responses.RequestsMock, no_waiting: list[float]) -> None:
    wire.get(f"{GDAP}Customers", status=503)
    with pytest.raises(Broken):
        GdapApi().customers(TENANT)


def test_the_gdap_api_is_configured_by_a_token_or_by_a_password(settings: Any) -> None:
    settings.GDAP_API_TOKEN = settings.GDAP_API_USERNAME = settings.GDAP_API_PASSWORD = ""
    assert not gdap_api.configured()
    settings.GDAP_API_USERNAME = "desk"
    assert not gdap_api.configured()
    settings.GDAP_API_PASSWORD = "x"
    assert gdap_api.configured()
    settings.GDAP_API_PASSWORD, settings.GDAP_API_TOKEN = "", "t"
    assert gdap_api.configured()
