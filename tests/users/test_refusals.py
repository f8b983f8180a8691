"""What Partner Center refused, in our words and on the field it is about (DESIGN section 8)."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from users import refusals
from users.forms import FEDERATED
from users.models import Operation
from users.passwords import TOO_WEAK

State = Operation.State


def refused(
    detail: str = "", *, status: int | None = 400, code: str = "3000", state: str = State.REFUSED, kind: str = "create"
) -> refusals.Refusal:
    fields = {"user_principal_name": "ann@contoso.example"} if kind == "create" else {"first_name": "Ann"}
    before = {} if kind == "create" else {"user_principal_name": "ann@contoso.example"}
    return refusals.explain(
        Operation(kind=kind, state=state, status=status, code=code, detail=detail, fields=fields, before=before)
    )


# (status, code, state, what Microsoft said, field, our words)
CASES = [
    (409, "3000", State.CONFLICT, "Taken.", "user_name", "The user name ann@contoso.example is taken. Choose another"),
    (
        400,
        "3000",
        State.CONFLICT,
        "Another object with the same value for property userPrincipalName already exists.",
        "user_name",
        "The user name ann@contoso.example is taken. Choose another",
    ),
    (
        400,
        "3000",
        State.CONFLICT,
        "Another object with the same value for property immutableId already exists.",
        "immutable_id",
        "This immutable ID belongs to another user",
    ),
    (
        400,
        "3000",
        State.REFUSED,
        "The specified password does not comply with password complexity requirements.",
        "password",
        f"Microsoft refused this password. {TOO_WEAK}",
    ),
    (
        400,
        "3000",
        State.REFUSED,
        "The domain portion of the userPrincipalName property is a federated domain.",
        "domain",
        FEDERATED.format(domain="contoso.example"),
    ),
    (
        400,
        "3000",
        State.REFUSED,
        "The domain portion of the userPrincipalName property is invalid. Use one of the verified domain names.",
        "domain",
        "contoso.example is not a verified domain of this customer. Choose another",
    ),
    (400, "3000", State.REFUSED, "Property usageLocation is invalid.", "usage_location", "Choose a usage location"),
    (
        400,
        "3000",
        State.REFUSED,
        "Property userPrincipalName is invalid.",
        "user_name",
        "Partner Center refused: “Property userPrincipalName is invalid.” Nothing was created.",
    ),
    (
        400,
        "3000",
        State.REFUSED,
        "Property displayName is too long.",
        "display_name",
        "Partner Center refused: “Property displayName is too long.” Nothing was created.",
    ),
    (
        400,
        "800002",
        State.REFUSED,
        "Invalid request input",
        "",
        "Partner Center refused: “Invalid request input”. Nothing was created.",
    ),
    (
        400,
        "400",
        State.REFUSED,
        "Bad.",
        "",
        "Partner Center refused: “Bad.” Nothing was created.",
    ),
    (
        403,
        "900308",
        State.DENIED,
        "Insufficient privileges.",
        "",
        "Microsoft says that your role here does not allow this: “Insufficient privileges.” Nothing was created.",
    ),
    (
        403,
        "20002",
        State.DENIED,
        "No relationship between caller and account.",
        "",
        "Your company has no relationship with this customer any more. Nothing was created.",
    ),
    (
        404,
        "60003",
        State.REFUSED,
        "Tenant not found",
        "",
        "This customer is not in your Partner Center. Nothing was created.",
    ),
    (
        404,
        "20003",
        State.REFUSED,
        "Subscription with ID x not found",
        "",
        "This customer does not have that licence any more. Nothing was created.",
    ),
    (
        400,
        "60012",
        State.REFUSED,
        "We're sorry, it looks like you've run out of licenses.",
        "",
        "No licences of this kind are left. Buy more, or take one from somebody. Nothing was created.",
    ),
    (
        400,
        "900316",
        State.REFUSED,
        "Partner token isn't allowed in license management calls",
        "",
        "Partners may not manage licences here. The customer’s own admin centre can. Nothing was created.",
    ),
    (
        400,
        "3000",
        State.REFUSED,
        "License assignment cannot be done while usageLocation is not set.",
        "usage_location",
        "Choose a usage location",
    ),
    (
        403,
        "900309",
        State.DENIED,
        "Blocked.",
        "",
        "A sign-in rule of the customer or of us blocked this (Conditional Access). Nothing was created.",
    ),
    (
        403,
        "900329",
        State.DENIED,
        "App only.",
        "",
        "We had a fault: Partner Center does not accept our registration. Nothing was created.",
    ),
    (
        401,
        "900421",
        State.REFUSED,
        "MFA is required for this request.",
        "",
        "Partner Center asks you to sign in again with a second factor. Nothing was created.",
    ),
    (401, "", State.REFUSED, "", "", "Partner Center asks you to sign in again. Nothing was created."),
    (
        429,
        "429",
        State.REFUSED,
        "Partner Center asked us to slow down until 13:05:12 UTC.",
        "",
        "Partner Center asked us to slow down until 13:05:12 UTC. Nothing was created. Send it again then.",
    ),
    (
        None,
        "",
        State.REFUSED,
        "Partner Center cannot be reached.",
        "",
        "Partner Center cannot be reached. Nothing was created.",
    ),
]


@pytest.mark.parametrize(("status", "code", "state", "said", "field", "sentence"), CASES)
def test_a_refusal_stands_on_its_field_in_our_words(status, code, state, said, field, sentence):
    assert refused(said, status=status, code=code, state=state) == refusals.Refusal(field, sentence)


def test_a_refused_change_says_that_nothing_was_changed():
    assert refused("Odd.", kind="patch").sentence == "Partner Center refused: “Odd.” Nothing was changed."
    gone = refused("User object ID is not found", status=404, code="60002", kind="patch")
    assert gone.sentence == (
        "This user is no longer in this customer. Someone may have deleted it. Nothing was changed."
    )


def test_a_conflict_of_a_change_that_left_the_name_alone_is_not_about_the_name():
    conflict = refused("The resource has changed.", status=412, code="2055", state=State.CONFLICT, kind="patch")
    told = "This user changed since you opened the form. Nothing was changed. Open the form again"
    assert conflict == refusals.Refusal("", told)


def test_a_federated_user_who_keeps_their_name_is_told_of_in_microsofts_words():
    said = "Unable to reset the password of a federated user."
    told = refused(said, kind="patch")
    assert told == refusals.Refusal("", f"Partner Center refused: “{said}” Nothing was changed.")


def test_a_change_that_came_too_late_is_not_a_taken_name():
    conflict = refused("The resource has changed.", status=412, code="2055", state=State.CONFLICT)
    assert conflict.field == ""


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("Another object with the same value for property userPrincipalName already exists.", True),
        ("The user name is already in use.", True),
        ("USERPRINCIPALNAME ALREADY EXISTS", True),
        ("Another object with the same value for property immutableId already exists.", False),
        ("Property userPrincipalName is invalid.", False),
        ("The specified password must not contain the user name.", False),
        ("", False),
    ],
)
def test_only_a_taken_name_counts_as_one(said, taken):
    assert refusals.name_is_taken(said) is taken


@given(
    st.text(max_size=200),
    st.sampled_from([None, 400, 401, 403, 404, 409, 412, 415, 429]),
    st.sampled_from(["", "400", "2032", "3000", "60002", "900421", "ÿ"]),
    st.sampled_from([State.REFUSED, State.CONFLICT, State.DENIED]),
    st.sampled_from(["create", "patch"]),
)
def test_whatever_microsoft_says_there_is_a_sentence(said, status, code, state, kind):
    refusal = refused(said, status=status, code=code, state=state, kind=kind)
    assert refusal.sentence
    assert "{" not in refusal.sentence or "{" in said


def test_the_details_for_support_hold_all_numbers():
    from users.templatetags.people import for_support

    operation = Operation(
        kind="create", status=400, code="3000", detail="Odd.", decided_at=datetime(2026, 11, 23, 13, tzinfo=UTC),
        correlation_id="c-1", op_id="0b0c5e2e-0000-4000-8000-000000000000", tenant_id="t-1",
    )  # fmt: skip
    assert for_support(operation).splitlines() == [
        "Action: Create user",
        "Tenant ID: t-1",
        "Answer: HTTP 400, code 3000",
        "Microsoft said: Odd.",
        "MS-RequestId: 0b0c5e2e-0000-4000-8000-000000000000",
        "MS-CorrelationId: c-1",
        "Time: 2026-11-23 13:00:00 UTC",
    ]
