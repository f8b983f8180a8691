"""What was typed, judged by shape alone."""

import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customers.models import Customer
from users import forms, passwords
from users.new_forms import NewUserForm

CONTOSO = Customer(
    key="contoso",
    name="Contoso",
    domain="contoso.example",
    custom_domains=["contoso.example", "shop.example"],
    seen_domains={"fed.example": "federated", "old.example": "", "shop.example": ""},
    country_code="NL",
)
WAS = {
    "display_name": "Ann Other",
    "first_name": "Ann",
    "last_name": "Other",
    "user_principal_name": "ann@contoso.example",
    "usage_location": "NL",
    "phone_number": "",
}
TYPED = {
    "op_id": str(uuid.uuid4()),
    "first_name": "Ann",
    "last_name": "Other",
    "display_name": "Ann Other",
    "user_name": "ann",
    "domain": "contoso.example",
    "usage_location": "NL",
    "password_mode": "made",
}


def new(**typed: Any) -> NewUserForm:
    return NewUserForm({**TYPED, **typed}, customer=CONTOSO)


def edit(held: dict[str, str] | None = None, /, **typed: Any) -> forms.EditUserForm:
    was = {**WAS, **(held or {})}
    local, _, domain = was["user_principal_name"].rpartition("@")
    data = {**TYPED, **was, "user_name": local, "domain": domain.lower(), "password_mode": "keep"}
    return forms.EditUserForm({**data, "was": forms.before_image(was), **typed}, customer=CONTOSO, owner="7/adele")


def problems(form: forms.UserForm) -> dict[str, list[str]]:
    return {name: [str(each) for each in said] for name, said in form.errors.items()}


# --- A new user ---------------------------------------------------------------------------------------------


def test_a_whole_form_gives_the_fields_of_a_user():
    form = new(first_name="  Ann ", force_change="on")
    assert problems(form) == {}
    assert form.user_fields == {
        "user_principal_name": "ann@contoso.example",
        "display_name": "Ann Other",
        "first_name": "Ann",
        "last_name": "Other",
        "usage_location": "NL",
        "immutable_id": "",
    }
    assert form.typed_password is None
    assert form.cleaned_data["force_change"]


def test_names_make_the_display_name():
    form = new(display_name="")
    assert form.is_valid()
    assert form.user_fields["display_name"] == "Ann Other"


def test_no_name_at_all_asks_for_one():
    form = new(display_name="", first_name=" ", last_name="")
    assert problems(form) == {"display_name": ["Enter a display name, or a first and last name"]}


def test_a_bad_first_name_is_told_once():
    form = new(display_name="", first_name="An\x07n", last_name="")
    assert problems(form) == {"first_name": ["Take out the characters that cannot be seen"]}


def test_names_are_composed_but_never_changed_otherwise():
    form = new(first_name="Zoe\u0308", last_name="ﬁ＠")
    assert form.is_valid()
    assert form.user_fields["first_name"] == "Zo\u00eb"
    assert form.user_fields["last_name"] == "ﬁ＠"


@pytest.mark.parametrize("name", ["a\x00b", "a\nb", "a\x1fb", "a\x7fb", "a\tb"])
def test_control_characters_are_refused_in_names(name):
    assert "display_name" in new(display_name=name).errors


@pytest.mark.parametrize(
    ("typed", "field"),
    [({"first_name": "x" * 65}, "first_name"), ({"display_name": "x" * 257}, "display_name")],
)
def test_names_have_microsofts_lengths(typed, field):
    assert list(new(**typed).errors) == [field]


def test_the_usage_location_is_asked_for():
    assert problems(new(usage_location="")) == {"usage_location": ["Choose a usage location"]}
    assert list(new(usage_location="ZZZ").errors) == ["usage_location"]


def test_a_pasted_user_name_is_split_at_its_at_sign():
    form = new(user_name="Ann.Other@SHOP.example", domain="contoso.example")
    assert form.is_valid()
    assert form.user_fields["user_principal_name"] == "Ann.Other@shop.example"


def test_another_domain_can_be_typed():
    form = new(domain="other", other_domain=" Brand.New.Example ")
    assert form.is_valid()
    assert form.user_fields["user_principal_name"] == "ann@brand.new.example"
    assert list(new(domain="other", other_domain="").errors) == ["other_domain"]
    assert list(new(domain="other", other_domain="nodots").errors) == ["other_domain"]
    assert list(new(domain="").errors) == ["domain"]


@pytest.mark.parametrize(
    "typed",
    [
        {"user_name": "ann\uff20contoso.example"},
        {"user_name": "\ufb01ona"},
        {"user_name": "ann\uff20contoso.example@contoso.example"},
    ],
)
def test_look_alike_user_names_are_refused_not_normalised(typed):
    assert list(new(**typed).errors) == ["user_name"]


@pytest.mark.parametrize("domain", ["\u212aontoso.example", "contos\u043e.example", "contoso\uff0eexample"])
def test_look_alike_domains_are_refused_not_normalised(domain):
    assert list(new(user_name=f"ann@{domain}").errors) == ["domain"]
    assert list(new(domain="other", other_domain=domain).errors) == ["other_domain"]
    assert list(new(domain=domain).errors) == ["domain"]


def test_a_federated_domain_is_refused_before_anything_is_sent():
    sentence = forms.FEDERATED.format(domain="fed.example")
    assert problems(new(domain="fed.example")) == {"domain": [sentence]}
    assert problems(new(user_name="ann@FED.example")) == {"domain": [sentence]}
    assert problems(new(domain="other", other_domain="fed.example")) == {"domain": [sentence]}


def test_a_user_name_has_113_characters_at_most():
    domain = "d" * 40 + ".example"
    assert problems(new(user_name="x" * 64, domain="other", other_domain=domain)) == {}
    longest = "d" * 41 + ".example"
    assert list(new(user_name="x" * 64, domain="other", other_domain=longest).errors) == ["other_domain"]


def test_a_typed_password_is_judged_and_handed_on():
    form = new(password_mode="typed", password="Correct-horse-7")
    assert form.is_valid()
    assert form.typed_password.reveal() == "Correct-horse-7"
    assert problems(new(password_mode="typed", password="weak")) == {
        "password": ["Use 8 to 256 letters, numbers and signs of a plain keyboard"]
    }
    assert problems(new(password_mode="typed", password="lowercase")) == {"password": [passwords.TOO_WEAK]}
    assert "contain the user name" in str(new(password_mode="typed", password="Xann-1234").errors)


def test_a_password_keeps_its_blanks():
    form = new(password_mode="typed", password=" Correct 7 ")
    assert form.is_valid()
    assert form.typed_password.reveal() == " Correct 7 "


def test_a_form_never_shows_a_typed_password():
    form = new(password_mode="typed", password="Correct-horse-7", user_name="")
    assert "Correct-horse-7" not in str(form)
    assert "Correct-horse-7" not in repr(form.typed_password)


def test_a_form_without_its_number_says_so():
    for op_id in ("", "seven"):
        assert problems(new(op_id=op_id)) == {"op_id": [forms.TOO_OLD]}


# --- What can be chosen -------------------------------------------------------------------------------------


def test_the_default_domain_comes_first_and_federated_ones_cannot_be_chosen():
    form = NewUserForm(customer=CONTOSO)
    assert forms.domain_choices(CONTOSO) == [
        ("contoso.example", "contoso.example (default)"),
        ("shop.example", "shop.example"),
        ("fed.example", "fed.example (federated: create this user in the customer’s own directory)"),
        ("old.example", "old.example"),
        ("other", "Other domain…"),
    ]
    html = str(form["domain"])
    assert html.count("disabled") == 1
    assert '<option value="fed.example" disabled>' in html


def test_the_best_domain_is_the_first_that_is_not_federated():
    assert forms.best_domain(CONTOSO) == "contoso.example"
    assert forms.best_domain(Customer(domain="f.example", seen_domains={"f.example": "federated"})) == ""
    seen = {"f.example": "federated", "g.example": ""}
    assert forms.best_domain(Customer(domain="f.example", seen_domains=seen)) == "g.example"


def test_the_customers_own_country_comes_first():
    choices = forms.location_choices(CONTOSO)
    assert choices[:2] == [
        ("", "Choose a country or region"),
        ("NL", "Netherlands (this customer’s country)"),
    ]
    assert [code for code, _ in choices].count("NL") == 1
    assert forms.location_choices(Customer())[1][1] == "Afghanistan"


# --- A change -----------------------------------------------------------------------------------------------


def test_a_form_as_it_came_changes_nothing():
    form = edit()
    assert form.is_valid()
    assert form.changes == {}
    assert not form.wants_password


def test_only_what_was_typed_anew_is_a_change():
    form = edit(first_name="Anna", phone_number="+1 555", user_name="anna", domain="shop.example")
    assert form.is_valid()
    assert form.changes == {
        "first_name": "Anna",
        "phone_number": "+1 555",
        "user_principal_name": "anna@shop.example",
    }
    assert form.before == WAS


def test_a_field_can_be_emptied():
    form = edit({"phone_number": "+1"}, phone_number="", usage_location="")
    assert form.is_valid()
    assert form.changes == {"phone_number": "", "usage_location": ""}


@pytest.mark.parametrize(
    "was",
    [
        {"display_name": "  Wide   Space  "},
        {"last_name": "Zoe\u0308"},
        {"user_principal_name": "Ann.Other@Contoso.Example"},
        {"user_principal_name": "ann_partner.example#EXT#@contoso.example"},
        {"user_principal_name": "ann+test@contoso.example"},
        {"user_principal_name": ".odd..name.@contoso.example"},
        {"user_principal_name": "ann@fed.example"},
        {"user_principal_name": "ann@a-domain-that-is-far-longer-than-forty-eight-characters.example"},
        {"usage_location": "XK"},
        {"usage_location": ""},
        {"first_name": "", "last_name": ""},
    ],
)
def test_what_microsoft_holds_already_is_neither_judged_nor_a_change(was):
    form = edit(was, phone_number="+7")
    assert problems(form) == {}
    assert form.changes == {"phone_number": "+7"}


def test_an_odd_name_is_judged_as_soon_as_it_is_touched():
    odd = {"user_principal_name": "ann+test@contoso.example"}
    assert list(edit(odd, user_name="ann+test2").errors) == ["user_name"]


def test_another_case_of_a_user_name_is_a_change():
    form = edit(user_name="Ann")
    assert form.is_valid()
    assert form.changes == {"user_principal_name": "Ann@contoso.example"}


def test_nobody_moves_into_a_federated_domain_but_those_in_it_may_get_another_name():
    assert list(edit(domain="fed.example").errors) == ["domain"]
    form = edit({"user_principal_name": "ann@fed.example"}, user_name="anna")
    assert form.is_valid()
    assert form.changes == {"user_principal_name": "anna@fed.example"}


@pytest.mark.parametrize("was", ["", "nonsense", "eyJhIjoxfQ:1abcde:xxxx", forms.before_image(WAS)[:-1] + "_"])
def test_a_before_image_that_we_did_not_sign_is_refused(was):
    assert problems(edit(was=was)) == {"was": [forms.TOO_OLD]}


def test_a_typed_password_goes_through_the_review_page_sealed():
    form = edit(password_mode="typed", password="Correct-horse-7")
    assert form.is_valid()
    sealed = form.sealed_for_review()
    assert "Correct" not in sealed
    saved = edit(password_mode="typed", sealed_password=sealed)
    assert saved.is_valid()
    assert saved.typed_password.reveal() == "Correct-horse-7"
    assert saved.sealed_for_review() != ""


@pytest.mark.parametrize(
    ("first", "said"), [("Мария", "Type a user name in Latin letters"), ("Maya", "Enter a user name")]
)
def test_names_without_latin_letters_propose_nothing_and_it_is_said(first, said):
    assert problems(new(first_name=first, last_name="", user_name=""))["user_name"] == [said]


def test_a_sealed_password_goes_into_the_next_write_of_the_same_form():
    form = edit(password_mode="typed", password="Correct-horse-7")
    assert form.is_valid()
    following = str(uuid.uuid4())
    saved = edit(password_mode="typed", sealed_password=form.sealed_for_review(following), op_id=following)
    assert saved.is_valid()
    assert saved.typed_password.reveal() == "Correct-horse-7"


@pytest.mark.parametrize("how", ["other customer", "other user or operator", "other write", "nonsense", "cut"])
def test_a_sealed_password_that_is_not_this_forms_is_refused(how):
    form = edit(password_mode="typed", password="Correct-horse-7")
    assert form.is_valid()
    sealed = form.sealed_for_review()
    data = {**form.data, "sealed_password": sealed, "password": ""}
    fabrikam = Customer(key="fabrikam", custom_domains=["contoso.example"])
    others = {
        "other customer": forms.EditUserForm(data, customer=fabrikam, owner="7/adele"),
        "other user or operator": forms.EditUserForm(data, customer=CONTOSO, owner="8/adele"),
        "other write": forms.EditUserForm(data | {"op_id": str(uuid.uuid4())}, customer=CONTOSO, owner="7/adele"),
    }
    if how in others:
        assert problems(others[how])["sealed_password"] == [forms.TOO_OLD]
    else:
        sealed = {"nonsense": "nonsense", "cut": sealed[:-4]}[how]
        assert problems(edit(password_mode="typed", sealed_password=sealed))["sealed_password"] == [forms.TOO_OLD]


def test_a_password_is_left_alone_unless_asked_for():
    form = edit(password="Correct-horse-7")
    assert form.is_valid()
    assert not form.wants_password
    assert form.typed_password is None
    assert form.sealed_for_review() == ""
    made = edit(password_mode="made")
    assert made.is_valid()
    assert made.wants_password
    assert made.typed_password is None


# --- Nonsense -----------------------------------------------------------------------------------------------

ANYTHING = dict.fromkeys(
    (*NewUserForm.base_fields, *forms.EditUserForm.base_fields),
    st.text(max_size=300),
)


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional=ANYTHING))
def test_whatever_is_typed_gets_an_answer(typed):
    for form in (new(**typed), edit(**typed)):
        if form.is_valid():
            assert form.cleaned_data["user_principal_name"].isascii()
            local, _, domain = form.cleaned_data["user_principal_name"].rpartition("@")
            assert local
            assert domain not in forms.federated_domains(CONTOSO)
        else:
            assert all(said for said in form.errors.values())
