"""Licences and directory roles: what each method asks, byte for byte, and what it makes of the answer."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
import requests
import responses

from partnerportal.upstream import roles
from partnerportal.upstream.errors import (
    Broken,
    Forbidden,
    NotFound,
    Refused,
    Unintelligible,
    Unreachable,
    UpstreamError,
)
from partnerportal.upstream.http import Secret
from partnerportal.upstream.licences import DirectoryRole, Licence, SubscribedSku
from partnerportal.upstream.partner_center import PartnerCenter

from .conftest import PARTNER_CENTER, TENANT, USER, body, sent_text

ROOT = f"{PARTNER_CENTER}/v1/customers/{TENANT}"
SKUS, LICENCES = f"{ROOT}/subscribedskus", f"{ROOT}/users/{USER}/licenses"
UPDATES, ROLES = f"{ROOT}/users/{USER}/licenseupdates", f"{ROOT}/users/{USER}/directoryroles"
EMS, POWER_BI = "efccb6f7-5641-4e0e-bd10-b4976e1bf68e", "f8a1db68-be16-40ed-86d5-cb42ce701560"
OP = UUID("b1317092-f087-471e-a637-f66523b2b94c")


@pytest.fixture
def client(token: Secret) -> PartnerCenter:
    return PartnerCenter(token)


def product(**more: Any) -> dict[str, Any]:
    return {"id": EMS.upper(), "name": "Security E3", "skuPartNumber": "EMS", "licenseGroupId": "group1", **more}


def sku(units: tuple[int, int, int] = (5, 1, 4), **more: Any) -> dict[str, Any]:
    total, consumed, available = units
    told = {"availableUnits": available, "consumedUnits": consumed, "totalUnits": total}
    return {**told, "productSku": product(), "capabilityStatus": "Enabled", "servicePlans": [], **more}


def collection(*items: Any, **more: Any) -> bytes:
    """Lists of this kind have no links."""
    return body({"totalCount": len(items), "items": items, **more, "attributes": {"objectType": "Collection"}})


def updated(*sku_ids: str, **more: Any) -> bytes:
    told = {"licensesToAssign": [{"skuId": each} for each in sku_ids], "licenseWarnings": []}
    return body({**told, **more, "attributes": {"objectType": "LicenseUpdate"}})


# --- Reading ------------------------------------------------------------------------------------------------


def test_subscribed_skus_are_asked_for_both_groups_in_one_call(
    wire: responses.RequestsMock, client: PartnerCenter
) -> None:
    wire.get(SKUS, body=collection(sku()))
    assert client.subscribed_skus(TENANT) == (SubscribedSku(EMS, "Security E3", "EMS", "group1", 5, 1, 4, "Enabled"),)
    (call,) = wire.calls
    assert parse_qs(urlsplit(str(call.request.url)).query) == {"licenseGroupIds": ["Group1", "Group2"]}


def test_none_left_goes_by_what_can_be_assigned_now(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    rows = [sku((3, 2, 1)), sku((3, 3, 0)), sku((3, 0, 0), suspendedUnits=3), sku((3, 4, -1))]
    wire.get(SKUS, body=collection(*rows))
    assert [each.none_left for each in client.subscribed_skus(TENANT)] == [False, True, True, True]


@pytest.mark.parametrize("row", [sku(availableUnits="many"), sku(totalUnits=None), sku(consumedUnits=1.5)])
def test_units_that_are_no_numbers_are_not_guessed(
    wire: responses.RequestsMock, client: PartnerCenter, row: dict[str, Any]
) -> None:
    wire.get(SKUS, body=collection(sku(), row))
    with pytest.raises(Unintelligible):
        client.subscribed_skus(TENANT)


def test_a_product_without_a_name_is_called_by_its_part_number(
    wire: responses.RequestsMock, client: PartnerCenter
) -> None:
    nameless = {"id": EMS, "skuPartNumber": "EMS"}
    wire.get(SKUS, body=collection(sku(productSku=nameless)))
    wire.get(LICENCES, body=collection({"productSku": product(name=None, licenseGroupId=2)}))
    assert client.subscribed_skus(TENANT)[0].name == "EMS"
    assert client.licences(TENANT, USER) == (Licence(EMS, "EMS", "EMS", "group2"),)


def test_licences_of_a_user_are_asked_for_both_groups(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.get(LICENCES, body=collection({"productSku": product(), "servicePlans": [{"id": "no guid"}]}))
    assert client.licences(TENANT, USER) == (Licence(EMS, "Security E3", "EMS", "group1"),)
    query = parse_qs(urlsplit(str(wire.calls[0].request.url)).query)
    assert query == {"licenseGroupIds": ["Group1", "Group2"]}


def test_directory_roles_go_by_id_and_have_the_name_of_today(
    wire: responses.RequestsMock, client: PartnerCenter
) -> None:
    unknown = "00000000-0000-4000-8000-000000000001"
    rows = [
        {"id": roles.USER_ADMINISTRATOR.upper(), "name": "User Account Administrator"},
        {"id": roles.DIRECTORY_READERS, "name": "Directory Readers"},
        {"id": unknown, "name": "Knight of the Cloud"},
        {"id": unknown},
    ]
    wire.get(ROLES, body=collection(*rows))
    held = client.directory_roles(TENANT, USER)
    assert [role.name for role in held] == ["User Administrator", "Directory Readers", "Knight of the Cloud", unknown]
    assert [role.administers for role in held] == [True, False, True, True]
    assert held[0] == DirectoryRole(roles.USER_ADMINISTRATOR, "User Administrator")


Read = Callable[[PartnerCenter], object]
READS: list[tuple[str, Read]] = [
    (SKUS, lambda client: client.subscribed_skus(TENANT)),
    (LICENCES, lambda client: client.licences(TENANT, USER)),
    (ROLES, lambda client: client.directory_roles(TENANT, USER)),
]


@pytest.mark.parametrize(("url", "read"), READS)
def test_an_empty_list_is_an_answer(wire: responses.RequestsMock, client: PartnerCenter, url: str, read: Read) -> None:
    wire.get(url, body=collection())
    assert read(client) == ()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"<html>",
        collection({}),
        collection({"id": "no guid"}),
        collection(sku(productSku={"id": "no guid"})),
        collection(links={"next": {"uri": "/v1/more", "method": "GET"}}),
        collection(continuationToken="AQ=="),
    ],
)
@pytest.mark.parametrize(("url", "read"), READS)
def test_half_a_list_or_none_is_unintelligible(
    wire: responses.RequestsMock, client: PartnerCenter, url: str, read: Read, payload: bytes
) -> None:
    """Whoever read half the roles of an administrator would take it for somebody else."""
    wire.get(url, body=payload)
    with pytest.raises(Unintelligible):
        read(client)


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(403, 900308, Forbidden), (404, 60002, NotFound), (404, 60003, NotFound)]
)
@pytest.mark.parametrize(("url", "read"), READS)
def test_a_refused_read_keeps_its_code(
    wire: responses.RequestsMock,
    client: PartnerCenter,
    url: str,
    read: Read,
    status: int,
    code: int,
    kind: type[UpstreamError],
) -> None:
    wire.get(url, status=status, body=json.dumps({"code": code, "description": "No."}))
    with pytest.raises(kind) as caught:
        read(client)
    assert caught.value.code == str(code)


# --- Writing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201])
def test_an_update_says_what_to_give_and_what_to_take(
    wire: responses.RequestsMock, client: PartnerCenter, status: int
) -> None:
    headers = {"MS-RequestId": str(OP), "MS-CorrelationId": "c-1"}
    wire.post(UPDATES, status=status, body=updated(EMS.upper()), headers=headers)
    receipt = client.update_licences(TENANT, USER, assign=[EMS.upper()], remove=[POWER_BI], request_id=OP)
    assert json.loads(sent_text(wire.calls[0])) == {
        "licensesToAssign": [{"skuId": EMS}],
        "licensesToRemove": [POWER_BI],
        "attributes": {"objectType": "LicenseUpdate"},
    }
    assert wire.calls[0].request.headers["MS-RequestId"] == str(OP)
    assert (receipt.user, receipt.status, receipt.warnings) == (None, status, ())
    assert (receipt.request_id, receipt.correlation_id) == (str(OP), "c-1")


def test_taking_alone_names_nothing_to_give(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    wire.post(UPDATES, status=201, body=updated(licensesToAssign=None))
    client.update_licences(TENANT, USER, remove=[EMS], request_id=OP)
    sent = json.loads(sent_text(wire.calls[0]))
    assert (sent["licensesToAssign"], sent["licensesToRemove"]) == (None, [EMS])


def test_warnings_are_told_whatever_their_shape(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    warnings = ["A plan waits.", {"code": "X", "message": "Mail\nstays."}, {"code": "X"}, 7, ["?"], ""]
    wire.post(UPDATES, status=201, body=updated(EMS, licenseWarnings=warnings))
    wire.post(UPDATES, status=201, body=updated(EMS, licenseWarnings="none"))
    receipts = [client.update_licences(TENANT, USER, assign=[EMS], request_id=OP) for _ in range(2)]
    assert [receipt.warnings for receipt in receipts] == [("A plan waits.", "Mail stays."), ()]


def test_an_update_of_nothing_or_of_no_sku_is_not_sent(wire: responses.RequestsMock, client: PartnerCenter) -> None:
    with pytest.raises(ValueError, match="Nothing to change"):
        client.update_licences(TENANT, USER, request_id=OP)
    with pytest.raises(ValueError, match="Not a GUID"):
        client.update_licences(TENANT, USER, assign=["EMS"], request_id=OP)
    assert len(wire.calls) == 0


@pytest.mark.parametrize("payload", [b"", b"{}", b"<html>", updated(), updated(POWER_BI), updated(EMS, POWER_BI)])
def test_an_answer_about_other_licences_is_not_believed(
    wire: responses.RequestsMock, client: PartnerCenter, payload: bytes
) -> None:
    wire.post(UPDATES, status=201, body=payload)
    with pytest.raises(Unintelligible) as caught:
        client.update_licences(TENANT, USER, assign=[EMS], request_id=OP)
    assert caught.value.ambiguous


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, 60012, Refused),
        (400, 3000, Refused),
        (400, 900316, Refused),
        (404, 20003, NotFound),
        (403, 900308, Forbidden),
    ],
)
def test_a_refused_update_is_a_sure_no(
    wire: responses.RequestsMock, client: PartnerCenter, status: int, code: int, kind: type[UpstreamError]
) -> None:
    wire.post(UPDATES, status=status, body=json.dumps({"code": code, "description": "No."}))
    with pytest.raises(kind) as caught:
        client.update_licences(TENANT, USER, assign=[EMS], request_id=OP)
    assert (type(caught.value), caught.value.code, caught.value.ambiguous) == (kind, str(code), False)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [({"body": requests.ReadTimeout("slow")}, Unreachable), ({"status": 500, "body": b""}, Broken)],
)
def test_an_update_that_may_have_happened_is_sent_once_and_ambiguous(
    wire: responses.RequestsMock, client: PartnerCenter, answer: dict[str, Any], kind: type[UpstreamError]
) -> None:
    wire.post(UPDATES, **answer)
    with pytest.raises(kind) as caught:
        client.update_licences(TENANT, USER, assign=[EMS], request_id=OP)
    assert caught.value.ambiguous
    assert len(wire.calls) == 1
