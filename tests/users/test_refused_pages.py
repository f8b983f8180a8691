"""Every refusal of CONTRACT 3.5, as the form shows it: on its field, in words, with code and request id beside it."""

import json
from typing import Any

import pytest

from partnerportal.sandbox import seed
from tests.pages import Page
from tests.users.conftest import edit_url, new_url, newcomer, reviewed

pytestmark = pytest.mark.django_db

NAME = "maya.lind@contosotrading.onmicrosoft.example"
DOMAIN = NAME.partition("@")[2]
SYNCED = "Unable to update the specified properties for on-premises mastered Directory Sync objects."

# What stands in 3.5: (HTTP, code, Microsoft's sentence, the field it belongs to or "", our words)
CREATES = [
    (
        400,
        "3000",
        "Another object with the same value for property userPrincipalName already exists.",
        "user_name",
        f"The user name {NAME} is taken. Choose another",
    ),
    (409, "3000", "Conflict.", "user_name", f"The user name {NAME} is taken. Choose another"),
    (400, "3000", "Property userPrincipalName is invalid.", "user_name", "Property userPrincipalName is invalid."),
    (
        400,
        "3000",
        "The domain portion of the userPrincipalName property is invalid. Use one of the verified domain names.",
        "domain",
        f"{DOMAIN} is not a verified domain of this customer. Choose another",
    ),
    (
        400,
        "3000",
        "The specified password does not comply with password complexity requirements.",
        "password",
        "Microsoft refused this password.",
    ),
    (400, "3000", "Property usageLocation is invalid.", "usage_location", "Choose a usage location"),
    (404, "60003", "Tenant not found", "", "This customer is not in your Partner Center."),
    (400, "900118", "The customer id is not a GUID.", "", "The customer id is not a GUID."),
    (403, "20002", "No relationship.", "", "Your company has no relationship with this customer any more."),
    (403, "900308", "Insufficient privileges.", "", "Microsoft says that your role here does not allow this"),
    # Last, for the domain is remembered to be federated and cannot be chosen afterwards.
    (400, "3000", "The domain is a federated domain.", "domain", f"{DOMAIN} is federated."),
]
CHANGES = [
    (400, "3000", SYNCED, "", SYNCED),
    (404, "60002", "User object ID is not found", "", "This user is no longer in this customer."),
]


def assert_lands(answer: Any, status: int, code: str, field: str, words: str, op_id: str) -> None:
    """The sentence is in the summary and, where it has one, on its field; the numbers stand beside the form."""
    page = Page(answer)
    assert page.title.startswith("Error: "), (code, page.words)
    summary = page.words.partition("Nothing was ")[0] if field else page.words
    assert words in summary, (words, page.words)
    if field:
        assert page.words.count(words) >= 2
        assert page.attributes(id=f"id_{field}").get("aria-invalid") == "true"
        assert next(link.href for link in page.links if words in link.words) == f"#id_{field}"
    assert f"HTTP {status}, code {code}" in page.words
    assert f'data-copy="{op_id}"' in page.html  # the whole request id, one press away


def test_every_refusal_of_a_create_lands_where_it_belongs(writer, sandbox):
    fields = newcomer(writer)
    for status, code, said, field, words in CREATES:
        body = json.dumps({"code": int(code), "description": said, "data": [], "source": "PartnerFD"})
        sandbox.fault("partnercenter", "status", method="POST", path="/users$", status=status, body=body)
        answer = writer.post(new_url(), fields)
        assert_lands(answer, status, code, field, words, fields["op_id"])
        again = Page(answer).form("op_id").fields
        assert again["op_id"] != fields["op_id"]  # it was answered, so what is sent next is another write
        fields = {**fields, "op_id": again["op_id"]}


def test_every_refusal_of_a_change_lands_where_it_belongs(admin, sandbox):
    user_id = seed.SPECIAL_USERS["plain"]
    for status, code, said, field, words in CHANGES:
        fields = reviewed(admin, user_id, first_name="Adela")
        body = json.dumps({"code": int(code), "description": said, "data": [], "source": "PartnerFD"})
        sandbox.fault("partnercenter", "status", method="PATCH", path="/users/", status=status, body=body)
        assert_lands(admin.post(edit_url(user_id), fields), status, code, field, words, fields["op_id"])
