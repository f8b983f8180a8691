"""Users: create, change, reset, delete, restore (CONTRACT 3.3 to 3.5)."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from partnerportal.sandbox import seed

from .conftest import Asker, parsed

CONTOSO = seed.SPECIAL["contoso"]
USERS = seed.SPECIAL_USERS
INACTIVE = '{"Field":"UserState","Value":"inactive","Operator":"equals"}'


def test_create_answers_200_with_the_password_and_without_links(asker: Asker) -> None:
    response = asker.create("contoso", "nina")
    body = parsed(response)
    assert response.status_code == 200
    assert "Location" not in response.headers
    assert body["passwordProfile"] == {"forceChangePassword": True, "password": "Zebra-4711-cloud"}
    assert "links" not in body
    assert (body["state"], body["userDomainType"]) == ("active", "none")
    again = parsed(asker.partner_center("GET", f"/customers/{CONTOSO}/users/{body['id']}"))
    assert "passwordProfile" not in again
    assert again["displayName"] == "Nina"


def test_names_of_members_are_read_in_any_case(asker: Asker) -> None:
    body = {
        "UserPrincipalName": "pascal@contosotrading.example",
        "DisplayName": "Pascal",
        "PasswordProfile": {"Password": "Zebra-4711-cloud"},
    }
    created = parsed(asker.partner_center("POST", f"/customers/{CONTOSO}/users", json=body))
    assert (created["displayName"], created["passwordProfile"]["password"]) == ("Pascal", "Zebra-4711-cloud")


def test_without_a_password_one_is_made(asker: Asker) -> None:
    assert len(parsed(asker.create("contoso", "otto", passwordProfile=None))["passwordProfile"]["password"]) >= 12


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("userPrincipalName", "nobody"),
        ("userPrincipalName", "a@b@contosotrading.example"),
        ("userPrincipalName", "dot.@contosotrading.example"),
        ("userPrincipalName", "zoë@contosotrading.example"),
        ("userPrincipalName", f"{'x' * 65}@contosotrading.example"),
        ("userPrincipalName", "anna@elsewhere.example"),
        ("userPrincipalName", "anna@fed.contosotrading.example"),
        ("userPrincipalName", "ADELE.vance@contosotrading.example"),
        ("userPrincipalName", ""),
        ("displayName", ""),
        ("usageLocation", "XX"),
        ("usageLocation", "Netherlands"),
        ("passwordProfile", {"password": "short1A"}),
        ("passwordProfile", {"password": "alllowercase"}),
        ("passwordProfile", {"password": "lowerANDupper"}),
        ("passwordProfile", {"password": "Ab1" * 86}),
        ("passwordProfile", {"password": "Pässword-4711"}),
        ("passwordProfile", {"password": "Password1!"}),
        ("passwordProfile", {"password": "Xy-olga-4711"}),
    ],
)
def test_what_entra_would_refuse_is_400_and_3000(asker: Asker, field: str, value: Any) -> None:
    response = asker.create("contoso", "olga", **{field: value})
    assert (response.status_code, response.json()["code"]) == (400, 3000), response.text


def test_a_taken_name_may_be_assumed_to_answer_409(asker: Asker) -> None:
    asker.assume("duplicate_upn_409", True)
    assert asker.create("contoso", "x", userPrincipalName="adele.vance@contosotrading.example").status_code == 409


def test_a_refused_value_may_be_assumed_to_be_told_in_other_ways(asker: Asker) -> None:
    name = {"userPrincipalName": "x@nobody-owns-this.example"}
    asker.assume("validation_code", 800002)
    asker.assume("validation_names", "data")
    told = asker.create("contoso", "x", **name).json()
    assert (told["code"], told["description"], told["data"]) == (800002, "Invalid property", ["userPrincipalName"])
    asker.assume("error_language", "de")
    assert asker.create("contoso", "x", **name).json()["description"] == "Die Anforderung wurde abgelehnt."


def test_a_deleted_users_name_is_free_unless_assumed_otherwise(asker: Asker) -> None:
    name = {"userPrincipalName": "gone.girl@contosotrading.example"}
    asker.assume("deleted_upn_blocks", True)
    assert asker.create("contoso", "x", **name).status_code == 400
    asker.assume("deleted_upn_blocks", False)
    assert asker.create("contoso", "x", **name).status_code == 200


def test_the_same_request_id_creates_once_and_answers_the_same(asker: Asker) -> None:
    request_id = str(uuid.uuid4())
    first, second = (asker.create("contoso", "once", request_id=request_id) for _ in range(2))
    assert first.content == second.content
    assert [entry["replayed"] for entry in asker.journal()] == [False, True]
    other = asker.create("contoso", "once")
    assert other.status_code == 400


def test_twenty_presses_at_once_with_one_id_create_one_user(asker: Asker) -> None:
    request_id = str(uuid.uuid4())
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: asker.create("contoso", "crowd", request_id=request_id), range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({parsed(answer)["id"] for answer in answers}) == 1


def test_replay_belongs_to_caller_and_path_and_may_be_switched_off(asker: Asker) -> None:
    request_id = str(uuid.uuid4())
    assert asker.create("contoso", "mine", request_id=request_id).status_code == 200
    assert asker.create("contoso", "mine", request_id=request_id, by="writer").status_code == 400
    asker.assume("replay_request_id", False)
    assert asker.create("contoso", "mine", request_id=request_id).status_code == 400


def test_a_refused_write_is_not_remembered(asker: Asker) -> None:
    request_id = str(uuid.uuid4())
    assert asker.create("contoso", "late", request_id=request_id, usageLocation="XX").status_code == 400
    assert asker.create("contoso", "late", request_id=request_id).status_code == 200


def test_patch_changes_only_what_is_sent_and_answers_the_whole_user(asker: Asker) -> None:
    body = parsed(asker.patch("contoso", USERS["plain"], usageLocation="se", DisplayName="Adele V."))
    assert (body["usageLocation"], body["displayName"], body["firstName"]) == ("SE", "Adele V.", "Adele")
    assert body["links"]["self"]["uri"].endswith(USERS["plain"])
    assert "passwordProfile" not in body


def test_null_changes_nothing_and_an_empty_text_clears(asker: Asker) -> None:
    body = parsed(asker.patch("contoso", USERS["plain"], firstName=None, phoneNumber=""))
    assert body["firstName"] == "Adele"
    assert "phoneNumber" not in body
    asker.assume("empty_string_clears", False)
    assert parsed(asker.patch("contoso", USERS["plain"], firstName=""))["firstName"] == "Adele"


def test_a_rename_is_checked_like_a_new_name(asker: Asker) -> None:
    taken = asker.patch("contoso", USERS["plain"], userPrincipalName="kim.lee@contosotrading.example")
    assert (taken.status_code, taken.json()["code"]) == (400, 3000)
    same = asker.patch("contoso", USERS["plain"], userPrincipalName="Adele.Vance@contosotrading.example")
    assert parsed(same)["userPrincipalName"] == "Adele.Vance@contosotrading.example"


def test_names_of_a_synced_user_are_read_only_but_not_the_usage_location(asker: Asker) -> None:
    refused = asker.patch("contoso", USERS["synced"], displayName="New")
    assert (refused.status_code, refused.json()["code"]) == (400, 3000)
    assert (
        parsed(asker.patch("contoso", USERS["synced"], usageLocation="DE", displayName="Sinead Synced"))[
            "usageLocation"
        ]
        == "DE"
    )


@pytest.mark.parametrize("suffix", ["", "/resetpassword"])
def test_a_password_is_reset_on_both_paths(asker: Asker, suffix: str) -> None:
    profile = {"password": "Renew456*-zebra", "forceChangePassword": False}
    response = asker.patch("contoso", USERS["plain"], suffix=suffix, passwordProfile=profile)
    assert parsed(response)["passwordProfile"] == profile


def test_delete_leaves_the_list_and_is_found_among_the_inactive(asker: Asker) -> None:
    response = asker.partner_center("DELETE", f"/customers/{CONTOSO}/users/{USERS['plain']}")
    assert (response.status_code, response.content, response.headers["Content-Length"]) == (204, b"", "0")
    assert USERS["plain"] not in {user["id"] for user in asker.every_user("contoso")}
    gone = {user["id"]: user for user in asker.every_user("contoso", filter=INACTIVE)}
    assert gone[USERS["plain"]]["state"] == "inactive"
    assert asker.partner_center("GET", f"/customers/{CONTOSO}/users/{USERS['plain']}").status_code == 404
    assert asker.patch("contoso", USERS["plain"], displayName="Ghost").status_code == 404


def test_userstatus_is_understood_like_userstate(asker: Asker) -> None:
    assert asker.every_user("contoso", filter=INACTIVE) == asker.every_user(
        "contoso", filter=INACTIVE.replace("UserState", "UserStatus")
    )


def test_restore_brings_a_deleted_user_back_as_it_was(asker: Asker) -> None:
    body = parsed(asker.patch("contoso", USERS["deleted"], State="active"))
    assert (body["state"], body["displayName"]) == ("active", "Gona Deleted")
    assert "softDeletionTime" not in body


def test_restore_is_a_conflict_when_the_name_was_given_away(asker: Asker) -> None:
    assert asker.patch("contoso", USERS["deleted_reused"], state="active").status_code == 409
    asker.assume("restore_conflict_409", False)
    assert asker.patch("contoso", USERS["deleted_reused"], state="active").status_code == 400


def test_after_30_days_a_deleted_user_is_gone_for_good(asker: Asker) -> None:
    asker.state("set_clock_offset", seconds=31 * 86400)
    assert asker.every_user("contoso", filter=INACTIVE) == []
    assert asker.patch("contoso", USERS["deleted"], state="active").status_code == 404


def test_while_replication_lags_a_new_user_is_not_found_yet(asker: Asker) -> None:
    asker.state("replication_lag", seconds=60)
    created = parsed(asker.create("contoso", "slow"))
    path = f"/customers/{CONTOSO}/users/{created['id']}"
    assert asker.partner_center("GET", path).status_code == 404
    assert created["id"] not in {user["id"] for user in asker.every_user("contoso")}
    assert asker.create("contoso", "slow").status_code == 400
    asker.state("set_clock_offset", seconds=61)
    assert asker.partner_center("GET", path).status_code == 200
    assert created["id"] in {user["id"] for user in asker.every_user("contoso")}


def test_while_replication_lags_a_change_is_seen_late(asker: Asker) -> None:
    asker.state("replication_lag", seconds=60)
    asker.patch("contoso", USERS["plain"], displayName="Later")
    path = f"/customers/{CONTOSO}/users/{USERS['plain']}"
    assert parsed(asker.partner_center("GET", path))["displayName"] == "Adele Vance"
    asker.state("set_clock_offset", seconds=61)
    assert parsed(asker.partner_center("GET", path))["displayName"] == "Later"
