"""Licences: units that move with assignments, and what stands in their way (CONTRACT 3.6)."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from partnerportal.sandbox import seed
from partnerportal.sandbox.seed_licences import BUSINESS_PREMIUM, CLASSROOM, ENTERPRISE_E3, POWER_BI_PRO, VISIO

from .conftest import Asker, parsed

CONTOSO = seed.SPECIAL["contoso"]
USERS = seed.SPECIAL_USERS
PLAIN, WITHOUT = USERS["plain"], USERS["duplicate_a"]
PATH = f"/customers/{CONTOSO}/users"


def update(
    asker: Asker, user_id: str, assign: Any = None, remove: Any = None, *, by: str = "admin", request_id: str = ""
) -> requests.Response:
    wanted = [{"skuId": sku} if isinstance(sku, str) else sku for sku in assign or []]
    body = {"licensesToAssign": wanted or None, "licensesToRemove": remove}
    headers = {"MS-RequestId": request_id or str(uuid.uuid4())}
    return asker.partner_center("POST", f"{PATH}/{user_id}/licenseupdates", by=by, json=body, headers=headers)


def held(asker: Asker, user_id: str) -> list[str]:
    both = {"licenseGroupIds": ["Group1", "Group2"]}
    answer = parsed(asker.partner_center("GET", f"{PATH}/{user_id}/licenses", params=both))
    return [item["productSku"]["id"] for item in answer["items"]]


def units(asker: Asker, sku_id: str) -> tuple[int, int, int]:
    """(total, consumed, available)."""
    answer = parsed(asker.partner_center("GET", f"/customers/{CONTOSO}/subscribedskus"))
    row = next(item for item in answer["items"] if item["productSku"]["id"] == sku_id)
    return row["totalUnits"], row["consumedUnits"], row["availableUnits"]


def code(answer: requests.Response) -> tuple[int, int]:
    return answer.status_code, answer.json()["code"]


def test_the_seed_has_a_licence_with_none_left_some_free_one_suspended_and_a_second_group(asker: Asker) -> None:
    assert units(asker, POWER_BI_PRO.id) == (2, 2, 0)
    assert units(asker, ENTERPRISE_E3.id) == (5, 2, 3)
    assert units(asker, VISIO.id) == (3, 0, 0)
    total, consumed, available = units(asker, BUSINESS_PREMIUM.id)
    assert total == consumed + available
    assert consumed > 10
    skus = parsed(asker.partner_center("GET", f"/customers/{CONTOSO}/subscribedskus"))
    assert set(skus) == {"totalCount", "items", "attributes"}
    assert CLASSROOM.id not in {item["productSku"]["id"] for item in skus["items"]}
    second = asker.partner_center("GET", f"/customers/{CONTOSO}/subscribedskus?LicenseGroupIds=GROUP2")
    assert [item["productSku"]["licenseGroupId"] for item in parsed(second)["items"]] == ["group2"]


def test_who_bought_nothing_has_an_empty_list(asker: Asker) -> None:
    answer = asker.partner_center("GET", f"/customers/{seed.SPECIAL['one_user']}/subscribedskus")
    assert parsed(answer) == {"totalCount": 0, "items": [], "attributes": {"objectType": "Collection"}}


def test_a_licence_group_that_does_not_exist_is_refused(asker: Asker) -> None:
    assert code(asker.partner_center("GET", f"/customers/{CONTOSO}/subscribedskus?licenseGroupIds=group3")) == (400, 0)


def test_units_move_with_assignments(asker: Asker) -> None:
    answer = update(asker, WITHOUT, [ENTERPRISE_E3.id.upper()])
    assert answer.status_code == 201
    assert parsed(answer)["licensesToAssign"] == [{"skuId": ENTERPRISE_E3.id}]
    assert ENTERPRISE_E3.id in held(asker, WITHOUT)
    assert units(asker, ENTERPRISE_E3.id) == (5, 3, 2)
    removed = update(asker, WITHOUT, remove=[ENTERPRISE_E3.id])
    assert parsed(removed)["licensesToRemove"] == [ENTERPRISE_E3.id]
    assert ENTERPRISE_E3.id not in held(asker, WITHOUT)
    assert units(asker, ENTERPRISE_E3.id) == (5, 2, 3)


def test_plans_may_be_excluded_and_assigning_again_takes_no_second_unit(asker: Asker) -> None:
    first, *others = [plan.id for plan in ENTERPRISE_E3.plans]
    answer = update(asker, WITHOUT, [{"SkuId": ENTERPRISE_E3.id, "ExcludedPlans": [first]}])
    assert parsed(answer)["licensesToAssign"] == [{"excludedPlans": [first], "skuId": ENTERPRISE_E3.id}]
    licences = parsed(asker.partner_center("GET", f"{PATH}/{WITHOUT}/licenses"))["items"]
    plans = next(item for item in licences if item["productSku"]["id"] == ENTERPRISE_E3.id)["servicePlans"]
    assert [plan["id"] for plan in plans] == others
    asker.state("set_units", tenant_id=CONTOSO, sku="EMS", units=3)
    assert update(asker, WITHOUT, [ENTERPRISE_E3.id]).status_code == 201
    assert units(asker, ENTERPRISE_E3.id) == (3, 3, 0)


def test_the_last_unit_goes_to_one_of_ten_at_once(asker: Asker) -> None:
    asker.state("set_units", tenant_id=CONTOSO, sku=ENTERPRISE_E3.id, units=3)
    users = [row["id"] for row in asker.every_user("contoso") if row.get("usageLocation")]
    without = [user for user in users if ENTERPRISE_E3.id not in held(asker, user)][:10]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda user: update(asker, user, [ENTERPRISE_E3.id]), without))
    assert sorted(answer.status_code for answer in answers) == [201] + [400] * 9
    assert units(asker, ENTERPRISE_E3.id) == (3, 3, 0)


@pytest.mark.parametrize("sku", [POWER_BI_PRO.id, VISIO.id])
def test_none_left_and_suspended_are_the_same_refusal(asker: Asker, sku: str) -> None:
    assert code(update(asker, WITHOUT, [sku])) == (400, 60012)


def test_a_refused_update_does_nothing_at_all(asker: Asker) -> None:
    before = held(asker, PLAIN)
    assert code(update(asker, PLAIN, [VISIO.id], [BUSINESS_PREMIUM.id])) == (400, 60012)
    assert held(asker, PLAIN) == before


def test_one_is_taken_for_another_in_one_request(asker: Asker) -> None:
    assert update(asker, PLAIN, [ENTERPRISE_E3.id], [BUSINESS_PREMIUM.id]).status_code == 201
    assert BUSINESS_PREMIUM.id not in held(asker, PLAIN)
    assert ENTERPRISE_E3.id in held(asker, PLAIN)


def test_a_licence_needs_a_usage_location_but_taking_one_away_does_not(asker: Asker) -> None:
    nowhere = USERS["no_location"]
    refused = update(asker, nowhere, [ENTERPRISE_E3.id])
    assert code(refused) == (400, 3000)
    assert "usageLocation" in refused.json()["description"]
    asker.patch("contoso", nowhere, usageLocation="NL")
    assert update(asker, nowhere, [ENTERPRISE_E3.id]).status_code == 201


NOT_BOUGHT = "00000000-0000-4000-8000-00000000abcd"


@pytest.mark.parametrize(
    ("assign", "remove", "answer"),
    [
        (None, None, (400, 800002)),
        ([{"excludedPlans": []}], None, (400, 800002)),
        ([{"skuId": ENTERPRISE_E3.id, "excludedPlans": "all"}], None, (400, 800002)),
        ([7], None, (400, 800002)),
        (None, "EMS", (400, 800002)),
        ([NOT_BOUGHT], None, (400, 3000)),
        (None, [NOT_BOUGHT], (400, 3000)),
        ([ENTERPRISE_E3.id, ENTERPRISE_E3.id], None, (400, 3000)),
        ([BUSINESS_PREMIUM.id], [BUSINESS_PREMIUM.id], (400, 3000)),
        ([ENTERPRISE_E3.id, CLASSROOM.id], None, (400, 3000)),
        ([{"skuId": ENTERPRISE_E3.id, "excludedPlans": [NOT_BOUGHT]}], None, (400, 3000)),
        (None, [ENTERPRISE_E3.id], (400, 3000)),
    ],
)
def test_what_makes_no_sense_is_refused(asker: Asker, assign: Any, remove: Any, answer: tuple[int, int]) -> None:
    assert code(update(asker, WITHOUT, assign, remove)) == answer


def test_the_assumed_answers_may_be_others(asker: Asker) -> None:
    asker.assume("unknown_sku", "404")
    assert code(update(asker, WITHOUT, [NOT_BOUGHT])) == (404, 20003)
    asker.assume("remove_absent_licence_refused", False)
    assert update(asker, WITHOUT, remove=[ENTERPRISE_E3.id]).status_code == 201


def test_the_same_request_id_assigns_once_and_answers_the_same(asker: Asker) -> None:
    request_id = str(uuid.uuid4())
    first, second = (update(asker, WITHOUT, [ENTERPRISE_E3.id], request_id=request_id) for _ in range(2))
    assert first.content == second.content
    assert [entry["replayed"] for entry in asker.journal()] == [False, True]
    assert asker.journal()[0]["body"]["licensesToAssign"] == [{"skuId": ENTERPRISE_E3.id}]


def test_faults_meet_the_new_paths(asker: Asker) -> None:
    asker.fault(service="partnercenter", path="/licenseupdates$", kind="fail_after")
    asker.fault(service="partnercenter", path="/subscribedskus$", kind="status", status=503)
    assert update(asker, WITHOUT, [ENTERPRISE_E3.id]).status_code == 500
    assert asker.partner_center("GET", f"/customers/{CONTOSO}/subscribedskus").status_code == 503
    assert units(asker, ENTERPRISE_E3.id) == (5, 3, 2)


def test_while_replication_lags_units_are_gone_before_anybody_sees_it(asker: Asker) -> None:
    asker.state("replication_lag", seconds=60)
    asker.state("set_units", tenant_id=CONTOSO, sku="EMS", units=3)
    assert update(asker, WITHOUT, [ENTERPRISE_E3.id]).status_code == 201
    assert ENTERPRISE_E3.id not in held(asker, WITHOUT)
    assert units(asker, ENTERPRISE_E3.id) == (3, 2, 1)
    assert code(update(asker, USERS["duplicate_b"], [ENTERPRISE_E3.id])) == (400, 60012)
    asker.state("set_clock_offset", seconds=61)
    assert ENTERPRISE_E3.id in held(asker, WITHOUT)
    assert units(asker, ENTERPRISE_E3.id) == (3, 3, 0)


def test_a_second_write_within_the_lag_does_not_undo_the_first(asker: Asker) -> None:
    asker.state("replication_lag", seconds=60)
    update(asker, WITHOUT, [ENTERPRISE_E3.id])
    asker.patch("contoso", WITHOUT, displayName="Kim the First")
    asker.patch("contoso", WITHOUT, phoneNumber="+31 20 555")
    asker.state("set_clock_offset", seconds=61)
    found = parsed(asker.partner_center("GET", f"{PATH}/{WITHOUT}"))
    assert (found["displayName"], found["phoneNumber"]) == ("Kim the First", "+31 20 555")
    assert ENTERPRISE_E3.id in held(asker, WITHOUT)


def test_who_is_created_or_deleted_within_the_lag_gets_no_licence(asker: Asker) -> None:
    asker.state("replication_lag", seconds=60)
    created = parsed(asker.create("contoso", "brandnew"))["id"]
    assert code(update(asker, created, [ENTERPRISE_E3.id])) == (404, 60002)
    asker.partner_center("DELETE", f"{PATH}/{WITHOUT}")
    assert code(update(asker, WITHOUT, [ENTERPRISE_E3.id])) == (404, 60002)


def test_a_deleted_user_frees_its_licences_and_gets_them_back(asker: Asker) -> None:
    before = held(asker, PLAIN)
    assert POWER_BI_PRO.id in before
    asker.partner_center("DELETE", f"{PATH}/{PLAIN}")
    assert asker.partner_center("GET", f"{PATH}/{PLAIN}/licenses").status_code == 404
    assert units(asker, POWER_BI_PRO.id) == (2, 1, 1)
    assert asker.patch("contoso", PLAIN, state="active").status_code == 200
    assert held(asker, PLAIN) == before
    assert units(asker, POWER_BI_PRO.id) == (2, 2, 0)


def test_a_licence_that_somebody_took_meanwhile_does_not_come_back(asker: Asker) -> None:
    asker.patch("contoso", USERS["deleted"], state="active")
    assert held(asker, USERS["deleted"]) == [ENTERPRISE_E3.id]


def test_restored_users_may_be_assumed_to_come_back_without_licences(asker: Asker) -> None:
    asker.assume("restored_user_licences", False)
    asker.patch("contoso", USERS["deleted"], state="active")
    assert held(asker, USERS["deleted"]) == []
