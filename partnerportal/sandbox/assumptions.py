"""Every answer of the sandbox that nothing public proves: the [A] rows of CONTRACT, in one table.

Each may be switched while the sandbox runs: `POST /_sandbox/state {"op": "assume", "name": …, "value": …}`.
A client must not depend on any of them. `reset` puts the defaults back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Assumption:
    default: Any
    choices: tuple[Any, ...]
    """Values allowed; empty: any value of the default's type."""
    meaning: str


def _flag(default: bool, meaning: str) -> Assumption:
    return Assumption(default, (True, False), meaning)


ASSUMPTIONS: dict[str, Assumption] = {
    # Partner Center, transport (CONTRACT 1)
    "link_prefix": Assumption("/v1", ("/v1", ""), "2.2: link uris start with /v1 (since 2021) or not (before)"),
    "replay_request_id": _flag(True, "1.4: a repeated MS-RequestId of a write replays its stored 2xx answer"),
    "auth_error_body": Assumption("empty", ("empty", "json"), "1.6: 401 of the auth layer has no body, or code 400"),
    "customer_rate_limit": Assumption(0, (), "1.7: requests a minute and customer, 0 = off (Microsoft says 500)"),
    "throttle_body": Assumption(
        "gateway", ("gateway", "fault"), "1.6: 429 says statusCode/message or code/description"
    ),
    "error_language": Assumption("en", ("en", "de"), "1.4: descriptions are English, or in the language of X-Locale"),
    "mfa_text": Assumption(
        "MFA is required for this request.",
        ("MFA is required for this request.", ""),
        "1.3: the description beside 401/900421",
    ),
    "content_type_required": _flag(True, "1.4: a write without application/json is 415"),
    # Partner Center, lists (CONTRACT 2.2, 3.2)
    "oversize_page": Assumption("clamp", ("clamp", "refuse"), "2.2: size over 500 is clamped, or 400/2000"),
    "continuation_in": Assumption("both", ("both", "links", "body"), "2.2: where the continuation token is told"),
    "continuation_seconds": Assumption(1800, (), "2.2: how long a continuation token lives"),
    "continuation_once": _flag(False, "2.2: a continuation token may be used only once"),
    "continuation_refusal": Assumption(400, (400, 410), "2.2: status for a stale or strange continuation token"),
    "other_sort_fields": _flag(True, "3.2: UserPrincipalName may be sorted by; everything else is 400/2000"),
    "app_only_customers": Assumption("allow", ("allow", "403", "401"), "1.2: app-only customer list and by id"),
    # Partner Center, users (CONTRACT 3.3 to 3.5)
    "duplicate_upn_409": _flag(False, "3.5: a taken user name answers 409 instead of 400/3000"),
    "deleted_upn_blocks": _flag(False, "3.5: a deleted user's name cannot be given to another"),
    "validation_code": Assumption(3000, (3000, 800002), "3.5: code of a value that Entra does not accept"),
    "validation_names": Assumption("description", ("description", "data"), "3.5: where the property is named"),
    "restore_conflict_409": _flag(True, "3.4: restoring a user whose name was reused: 409, else 400/3000"),
    "empty_string_clears": _flag(True, "3.4: '' in a PATCH clears first name, last name and phone, else is ignored"),
    "deleted_user_readable": _flag(False, "3.4: GET by id of a deleted user answers 200 instead of 404/60002"),
    "directory_writers_reset": _flag(False, "TRUST 1.3: Directory Writers may set a password by PATCH"),
    "synced_password_writeback": _flag(True, "3.3: passwords of synced users may be reset"),
    "administrators_protected": _flag(
        False, "3.1: a User Administrator may not reset or delete an administrator (403/900308)"
    ),
    # Partner Center, licences (CONTRACT 3.4, 3.6)
    "restored_user_licences": _flag(True, "3.4: a restored user has those licences again that are still free"),
    "unknown_sku": Assumption("400", ("400", "404"), "3.6: a licence the customer has not: 400/3000 or 404/20003"),
    "remove_absent_licence_refused": _flag(True, "3.6: taking a licence that the user has not is 400/3000"),
    "password_profile_in_lists": _flag(False, "TRUST 1.3: list items carry passwordProfile (without password)"),
    # GDAP and Graph (CONTRACT 4)
    "expiring_grants": _flag(False, "4.2: a relationship whose status is `expiring` still grants roles"),
    "graph_page_size": Assumption(100, (), "4.5: items a page where the caller gives no $top"),
    "graph_empty_first_page": _flag(False, "4.5: page one is empty and has a nextLink"),
    # AvePoint (CONTRACT 5)
    "avepoint_id_is_tenant_id": _flag(
        True, "5: AvePoint's id is the tenant id (for 85 % of the demo rows), else never"
    ),
    "avepoint_paging": Assumption(0, (), "5: items a page with a nextLink, 0 = all on one page"),
    "avepoint_next_link": Assumption("@odata.nextLink", ("@odata.nextLink", "nextLink"), "5: the next link's name"),
    "avepoint_error_body": Assumption("json", ("json", "text", "empty"), "5: the body of an error"),
    # GDAP API (CONTRACT 6)
    "gdap_repeat": Assumption("accept", ("accept", 429), "6: a second sync while one is outstanding"),
    "gdap_sync_seconds": Assumption(5, (), "6: seconds until an accepted sync is visible in Customers"),
    "gdap_sync_status": Assumption(200, (200, 202), "6: status of an accepted sync"),
    # Entra (CONTRACT 7)
    "auth_time": Assumption(
        "asked", ("asked", "always", "never"), "7: ID tokens carry auth_time: where `claims` asks, always, or never"
    ),
    "access_token_seconds": Assumption(3600, (), "7: life of an access token"),
    "refresh_token_once": _flag(False, "7: a refresh token dies when it is used (Entra lets it live)"),
    "mfa_error": Assumption(
        "interaction_required", ("interaction_required", "invalid_grant"), "7: `error` beside AADSTS50076"
    ),
    "missing_consent": Assumption("", ("", "graph", "partnercenter"), "7: AADSTS65001 for this resource"),
}


def checked(name: str, value: Any) -> Any:
    """The value as the table wants it; ValueError names what would have been right."""
    if name not in ASSUMPTIONS:
        raise ValueError(f"no assumption is called {name!r}; there are: {', '.join(sorted(ASSUMPTIONS))}")
    row = ASSUMPTIONS[name]
    if row.choices:
        for choice in row.choices:
            if value is choice or (not isinstance(choice, bool) and str(value) == str(choice)):
                return choice
        raise ValueError(f"{name} is one of {list(row.choices)}, not {value!r}")
    if isinstance(value, bool) and name == "customer_rate_limit":
        return 500 if value else 0
    if isinstance(value, bool) and name == "avepoint_paging":
        return 20 if value else 0
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{name} is a number from 0 up, not {value!r}")
    return value
