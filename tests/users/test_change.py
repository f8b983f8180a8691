"""A change: form, review, save. Only what changed is sent, and nobody else's change is lost."""

import re
import uuid
from pathlib import Path

import pytest
import requests

from customers.models import Customer
from partnerportal import clock
from partnerportal.models import AuditEvent
from partnerportal.sandbox import seed
from tests.pages import Page
from users import forms
from users.models import Operation

from .conftest import (
    MAYA,
    edit_url,
    filled,
    new_url,
    newcomer,
    operation_url,
    reviewed,
    shown_password,
    tenant,
    trail,
    user_url,
    users_url,
)
from .test_create import at_once, same_browser

ADELE = seed.SPECIAL_USERS["plain"]
CUSTOM = "contosotrading.example"
NOT_KNOWN = "We do not know if Adele Vance was changed"


def save(browser, user_id=ADELE, customer="contoso", **typed):
    """From the form over the review to the answer of the save."""
    return browser.post(edit_url(user_id, customer), reviewed(browser, user_id, customer, **typed))


def step(browser, fields, name):
    return browser.post(operation_url(fields["op_id"]), {"step": name})


def buttons(answer):
    return [words for form in Page(answer).forms for words, (name, _) in form.buttons.items() if name == "step"]


def somebody_else_changes(sandbox, user_id=ADELE, **members):
    """Through Partner Center itself, as another tool would."""
    answer = requests.patch(
        f"{sandbox.url}/_/partnercenter/v1/customers/{tenant('contoso')}/users/{user_id}",
        json={**members, "attributes": {"objectType": "CustomerUser"}},
        headers={"Authorization": "Bearer sandbox:admin:partnercenter"},
        timeout=5,
    )
    assert answer.status_code == 200
    # It is no write of ours, so the check of the audit trail must not ask for its intent.
    sandbox.running.journal._entries.pop()


# --- One user -----------------------------------------------------------------------------------------------


def test_the_first_sign_in_is_not_asked_about_while_the_password_stays(admin):
    """What is ticked for a new password reads as the user's own state otherwise; the rule needs no script."""
    html = admin.get(edit_url(ADELE)).content.decode()
    tick = r'<div class="field">\s*<label><input[^>]*name="force_change"'
    assert re.search(rf'value="keep"[^>]* checked.*</fieldset>\s*{tick}', html, re.DOTALL)
    css = Path("static/portal.css").read_text("utf-8")
    assert '.field:has([value="keep"]:checked) + .field { display: none; }' in css


def test_one_user_is_shown_as_partner_center_knows_them_now(admin, directory):
    directory.special("plain").phone = "+31 20 555"
    page = Page(admin.get(user_url(ADELE)))
    for words in (
        "Adele Vance",
        "adele.vance@contosotrading.example",
        "+31 20 555",
        "United States",
        "Cloud",
        "Active",
    ):
        assert words in page.words
    assert page.href("Edit user") == edit_url(ADELE)
    assert page.href("New user like this") == f"{new_url()}?like={ADELE}"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("synced", "On-premises, last synced"),
        ("federated", "Federated"),
        ("immutable", "aW1tdXRhYmxl"),
        ("no_location", "Usage location Not set"),
    ],
)
def test_what_is_special_about_a_user_is_shown(admin, key, words):
    assert words in Page(admin.get(user_url(seed.SPECIAL_USERS[key]))).words


def test_a_user_who_is_not_there_is_gone_whoever_they_are(admin, directory):
    other = next(iter(directory.users("medium")))
    answers = []
    for nobody in (uuid.uuid4(), seed.SPECIAL_USERS["deleted"], other):
        for url in (user_url(nobody), edit_url(nobody)):
            answer = admin.get(url)
            assert answer.status_code == 404
            answers.append(Page(answer).words)
    assert len(set(answers)) == 1
    assert "This user is not in Contoso Trading" in answers[0]


def test_who_may_not_look_is_told_why_and_only_the_rights_are_asked(signed_in, snapshot, directory):
    nested = signed_in("nested")
    for url in (user_url(ADELE), edit_url(ADELE)):
        answer = nested.get(url)
        assert answer.status_code == 403
        assert "you are not in the group that holds it" in Page(answer).words
        assert "Adele" not in Page(answer).words
    directory.asked()
    nested.get(user_url(ADELE))
    assert not [line for line in directory.asked() if line.startswith("partnercenter")]


def test_who_may_write_but_not_look_cannot_fill_the_form(writer, directory):
    user_id = next(iter(directory.users("writer_only_dw")))
    answer = writer.get(edit_url(user_id, "writer_only_dw"))
    assert answer.status_code == 403
    assert "You may not see the users here" in Page(answer).words


@pytest.mark.parametrize(("kind", "status"), [("drop_before", 504), ("status", 502), ("html", 502)])
def test_a_user_who_does_not_come_is_an_error_in_words(admin, sandbox, kind, status):
    sandbox.fault("partnercenter", kind, path=f"/users/{ADELE}$", times=0)
    for url in (user_url(ADELE), edit_url(ADELE)):
        answer = admin.get(url)
        assert answer.status_code == status
        assert "Nothing was changed." in Page(answer).words


# --- The whole way ------------------------------------------------------------------------------------------


def test_the_form_is_filled_from_a_fresh_read(writer, directory):
    directory.special("plain").first_name = "Adelheid"
    fields = filled(writer, edit_url(ADELE))
    assert {name: fields[name] for name in ("first_name", "user_name", "domain", "usage_location", "phone_number")} == {
        "first_name": "Adelheid",
        "user_name": "adele.vance",
        "domain": CUSTOM,
        "usage_location": "US",
        "phone_number": "+00 555 0100",
    }
    assert fields["op_id"] != filled(writer, edit_url(ADELE))["op_id"]


def test_the_review_shows_field_now_and_after_for_what_changes_alone(writer, directory):
    fields = filled(writer, edit_url(ADELE), first_name="Adela", usage_location="IT", phone_number="")
    directory.asked()
    answer = writer.post(edit_url(ADELE), fields | {"step": "review"})
    page = Page(answer)
    assert page.title.startswith("Check before saving · Adele Vance")
    assert (
        "Field Now After First name Adele Adela Usage location United States Italy Phone +00 555 0100 Not set"
        in page.words
    )
    assert "3 fields not changed." in page.words
    assert "In Contoso Trading (contosotrading.onmicrosoft.example, tenant" in page.words
    assert page.form("op_id").fields["op_id"] == fields["op_id"]
    assert list(page.form("op_id").buttons) == ["Save 3 changes in Contoso Trading", "Back to editing"]
    assert not [line for line in directory.asked() if line.startswith("partnercenter")]
    assert Operation.objects.count() == 0


def test_only_changed_fields_are_sent(writer, directory):
    answer = save(writer, first_name=" Adela ", usage_location="IT", phone_number="")
    assert answer.status_code == 200
    (sent,) = directory.writes()
    assert sent["path"] == f"/v1/customers/{tenant('contoso')}/users/{ADELE}"
    assert sent["body"] == {
        "firstName": "Adela",
        "usageLocation": "IT",
        "phoneNumber": "",
        "attributes": {"objectType": "CustomerUser"},
    }
    adele = directory.special("plain")
    assert (adele.first_name, adele.usage_location, adele.phone, adele.last_name) == ("Adela", "IT", "", "Vance")
    words = Page(answer).words
    assert "Adele Vance was changed" in words
    assert "First name Adela Usage location Italy Phone Not set Done" in words.replace("  ", " ")


def test_a_new_user_name_and_every_other_field_can_be_changed(admin, directory):
    typed = {**MAYA, "domain": "contosotrading.onmicrosoft.example", "phone_number": "+1", "usage_location": "FR"}
    assert save(admin, **typed).status_code == 200
    (sent,) = directory.writes()
    assert sent["body"] == {
        "displayName": "Maya Lind",
        "firstName": "Maya",
        "lastName": "Lind",
        "userPrincipalName": "maya.lind@contosotrading.onmicrosoft.example",
        "usageLocation": "FR",
        "phoneNumber": "+1",
        "attributes": {"objectType": "CustomerUser"},
    }


def test_the_user_is_read_again_right_before_the_save(writer, directory):
    fields = reviewed(writer, ADELE, first_name="Adela")
    directory.asked()
    writer.post(edit_url(ADELE), fields)
    asked = directory.asked()
    assert asked[-2:] == [
        f"partnercenter GET /v1/customers/…/users/{ADELE}",
        f"partnercenter PATCH /v1/customers/…/users/{ADELE}",
    ]
    assert asked[0].startswith("graph GET")  # the rights, asked anew


def test_the_trail_tells_before_and_after_of_each_changed_field(writer, directory):
    save(writer, first_name="Adela")
    intent, outcome = AuditEvent.objects.filter(action="change user").order_by("id")
    assert intent.fields == {"first_name": ["Adele", "Adela"]}
    assert (intent.target_id, intent.target_name, intent.tenant_id) == (ADELE, "Adele Vance", tenant("contoso"))
    assert (outcome.outcome, outcome.status) == ("done", 200)
    assert outcome.upstream_request_id == directory.writes()[0]["request_id"]


def test_nothing_changed_is_said(writer, directory):
    for name in ("review", "save"):
        answer = writer.post(edit_url(ADELE), filled(writer, edit_url(ADELE)) | {"step": name})
        assert answer.status_code == 422
        assert "You changed nothing." in Page(answer).words
    assert directory.writes() == []


def test_a_name_with_odd_blanks_is_not_a_change(admin, directory):
    user_id = seed.SPECIAL_USERS["spaces"]
    answer = save(admin, user_id, phone_number="+7")
    assert answer.status_code == 200
    assert directory.writes()[0]["body"] == {"phoneNumber": "+7", "attributes": {"objectType": "CustomerUser"}}
    assert directory.users()[user_id].display_name == "  Wide   Space  "


@pytest.mark.parametrize(
    "key",
    [
        "accented",
        "quotes",
        "rtl",
        "script",
        "very_long",
        "formula",
        "emoji",
        "no_names",
        "long_upn",
        "federated",
        "no_location",
    ],
)
def test_everybody_however_odd_can_be_changed(admin, directory, key):
    user_id = seed.SPECIAL_USERS[key]
    answer = save(admin, user_id, phone_number="+7 999")
    assert answer.status_code == 200, Page(answer).words
    assert directory.users()[user_id].phone == "+7 999"
    assert list(directory.writes()[0]["body"]) == ["phoneNumber", "attributes"]


def test_back_to_editing_keeps_what_was_typed(writer, directory):
    fields = reviewed(writer, ADELE, first_name="Adela", last_name="Vans")
    answer = writer.post(edit_url(ADELE), fields | {"step": "edit"})
    again = Page(answer).form("op_id").fields
    assert answer.status_code == 200
    assert (again["first_name"], again["last_name"], again["op_id"]) == ("Adela", "Vans", fields["op_id"])
    assert again["was"] == fields["was"]
    assert writer.post(edit_url(ADELE), again | {"step": "review"}).status_code == 200


def test_what_is_wrong_is_told_and_everything_typed_kept(writer, directory):
    fields = filled(writer, edit_url(ADELE), user_name="adèle", first_name="Adela")
    answer = writer.post(edit_url(ADELE), fields | {"step": "review"})
    page = Page(answer)
    assert answer.status_code == 422
    assert "The user was not changed: fix 1 field" in page.words
    assert page.form("op_id").fields["first_name"] == "Adela"
    assert page.form("op_id").fields["op_id"] == fields["op_id"]


def test_htmx_gets_each_step_in_place(writer, directory):
    fields = filled(writer, edit_url(ADELE), first_name="Adela")
    review = writer.htmx("POST", edit_url(ADELE), fields | {"step": "review"})
    assert "<html" not in review.content.decode()
    saved = writer.htmx("POST", edit_url(ADELE), Page(review).form("op_id").fields | {"step": "save"})
    assert "Adele Vance was changed" in Page(saved).words
    assert "<html" not in saved.content.decode()


# --- Passwords ----------------------------------------------------------------------------------------------


def test_a_password_is_sent_when_asked_for_and_shown_once(admin, directory):
    answer = save(admin, password_mode="made")
    adele = directory.special("plain")
    assert shown_password(answer) == adele.password
    (sent,) = directory.writes()
    assert sent["body"] == {
        "passwordProfile": {"password": "<redacted>", "forceChangePassword": True},
        "attributes": {"objectType": "CustomerUser"},
    }
    intent = AuditEvent.objects.get(action="reset password", kind="intent")
    assert intent.fields == {"password": ["not shown", "a new one, not shown"]}


def test_the_review_says_that_there_will_be_a_new_password(admin):
    fields = filled(admin, edit_url(ADELE), password_mode="typed", password="Correct-horse-7", first_name="Adela")
    answer = admin.post(edit_url(ADELE), fields | {"step": "review"})
    page = Page(answer)
    assert "First name Adele Adela Password Not shown New temporary password" in page.words
    assert "Save 2 changes in Contoso Trading" in page.words
    assert "Correct-horse-7" not in page.html


def test_a_typed_password_comes_through_the_review(admin, directory):
    answer = save(admin, password_mode="typed", password="Correct-horse-7", first_name="Adela")
    assert directory.special("plain").password == shown_password(answer) == "Correct-horse-7"
    assert len(directory.writes()) == 1


def test_a_password_that_need_not_be_changed(admin, directory):
    fields = filled(admin, edit_url(ADELE), password_mode="made")
    del fields["force_change"]
    review = Page(admin.post(edit_url(ADELE), fields | {"step": "review"})).form("op_id").fields
    admin.post(edit_url(ADELE), review | {"step": "save"})
    assert directory.special("plain").force_change is False


def test_a_changed_sealed_password_is_refused(admin, directory):
    fields = reviewed(admin, ADELE, password_mode="typed", password="Correct-horse-7")
    answer = admin.post(edit_url(ADELE), fields | {"sealed_password": fields["sealed_password"][:-3]})
    assert answer.status_code == 422
    assert forms.TOO_OLD in Page(answer).words
    assert directory.writes() == []


def test_directory_writers_are_not_offered_a_password_and_told_why(writer):
    page = Page(writer.get(edit_url(ADELE)))
    assert "password_mode" not in page.form("op_id").fields
    assert (
        "Setting a password here needs User Administrator or Privileged Authentication Administrator."
    ) in page.words


@pytest.mark.parametrize("mode", ["made", "typed"])
def test_a_password_by_directory_writers_is_refused_with_the_whole_save_before_any_call(writer, directory, mode):
    fields = filled(writer, edit_url(ADELE), first_name="Adela", password_mode=mode, password="Correct-horse-7")
    review = Page(writer.post(edit_url(ADELE), fields | {"step": "review"})).form("op_id").fields
    directory.asked()
    answer = writer.post(edit_url(ADELE), review | {"step": "save"})
    assert answer.status_code == 403
    words = Page(answer).words
    assert "The user was not changed" in words
    assert "Setting a password here needs User Administrator or Privileged Authentication Administrator." in words
    assert Page(answer).form("op_id").fields["first_name"] == "Adela"
    assert not [line for line in directory.asked() if line.startswith("partnercenter")]
    assert directory.special("plain").first_name == "Adele"
    assert trail() == [("intent", "change user", ""), ("outcome", "change user", "denied")]
    assert Operation.objects.count() == 0


def test_a_password_is_not_set_on_a_guess(admin, sandbox, directory):
    fields = reviewed(admin, ADELE, password_mode="made")
    sandbox.fault("graph", "status", status=503, times=0)
    answer = admin.post(edit_url(ADELE), fields)
    assert answer.status_code == 403
    assert "We could not check your roles (" in Page(answer).words
    assert "this is not done on a guess." in Page(answer).words
    assert directory.writes() == []


def test_a_plain_change_goes_to_microsoft_when_the_rights_cannot_be_told(admin, sandbox, directory):
    sandbox.fault("graph", "status", status=503, times=0)
    page = Page(admin.get(edit_url(ADELE)))
    assert "We could not check your roles (" in page.words
    assert "password_mode" not in page.form("op_id").fields
    assert save(admin, first_name="Adela").status_code == 200
    assert directory.special("plain").first_name == "Adela"


# --- Somebody else was faster -------------------------------------------------------------------------------


def test_a_change_meanwhile_is_shown_per_field_and_nothing_is_saved(admin, sandbox, directory):
    fields = reviewed(admin, ADELE, first_name="Adela", phone_number="+1", usage_location="IT")
    somebody_else_changes(sandbox, firstName="Adelheid", lastName="Vans", usageLocation="IT")
    answer = admin.post(edit_url(ADELE), fields)
    page = Page(answer)
    assert answer.status_code == 409
    assert (
        "Adele Vance changed since you opened this form. Nothing was saved. Choose which values to keep." in page.words
    )
    assert "First name Adele Keep Adelheid Use Adela" in page.words
    assert "Last name Vance Vans" in page.words
    assert "Usage location United States Italy" in page.words
    assert [name for name in page.form("was").fields if name.startswith("keep_")] == ["keep_first_name"]
    assert page.form("was").fields["op_id"] != fields["op_id"]
    assert directory.writes() == []
    assert directory.special("plain").first_name == "Adelheid"
    assert page.href("Start from the new version") == edit_url(ADELE)
    assert Operation.objects.count() == 0


@pytest.mark.parametrize(
    ("choice", "first_name", "body"),
    [("mine", "Adela", {"firstName": "Adela", "phoneNumber": "+1"}), ("theirs", "Adelheid", {"phoneNumber": "+1"})],
)
def test_one_chooses_whose_value_stays(admin, sandbox, directory, choice, first_name, body):
    fields = reviewed(admin, ADELE, first_name="Adela", phone_number="+1")
    somebody_else_changes(sandbox, firstName="Adelheid", lastName="Vans")
    conflict = Page(admin.post(edit_url(ADELE), fields)).form("was").fields
    assert conflict["keep_first_name"] == "theirs"  # nothing is overwritten by just going on
    review = admin.post(edit_url(ADELE), conflict | {"keep_first_name": choice, "step": "review"})
    assert review.status_code == 200, Page(review).words
    answer = admin.post(edit_url(ADELE), Page(review).form("op_id").fields | {"step": "save"})
    assert answer.status_code == 200
    adele = directory.special("plain")
    assert (adele.first_name, adele.last_name, adele.phone) == (first_name, "Vans", "+1")
    assert directory.writes()[0]["body"] == {**body, "attributes": {"objectType": "CustomerUser"}}


@pytest.mark.parametrize("choice", ["mine", "theirs"])
def test_one_chooses_between_two_user_names(admin, sandbox, directory, choice):
    fields = reviewed(admin, ADELE, user_name="adela", phone_number="+1")
    somebody_else_changes(sandbox, userPrincipalName="adelheid@contosotrading.onmicrosoft.example")
    conflict = Page(admin.post(edit_url(ADELE), fields)).form("was").fields
    review = admin.post(edit_url(ADELE), conflict | {"keep_user_principal_name": choice, "step": "review"})
    admin.post(edit_url(ADELE), Page(review).form("op_id").fields | {"step": "save"})
    upn = {"mine": f"adela@{CUSTOM}", "theirs": "adelheid@contosotrading.onmicrosoft.example"}[choice]
    assert (directory.special("plain").upn, directory.special("plain").phone) == (upn, "+1")


def test_a_name_that_was_changed_meanwhile_is_not_changed_back(admin, sandbox, directory):
    fields = reviewed(admin, ADELE, phone_number="+1")
    somebody_else_changes(sandbox, userPrincipalName="adelheid@contosotrading.onmicrosoft.example")
    conflict = Page(admin.post(edit_url(ADELE), fields)).form("was").fields
    review = admin.post(edit_url(ADELE), conflict | {"step": "review"})
    admin.post(edit_url(ADELE), Page(review).form("op_id").fields | {"step": "save"})
    assert directory.writes()[0]["body"] == {"phoneNumber": "+1", "attributes": {"objectType": "CustomerUser"}}


@pytest.mark.parametrize("mode", ["made", "typed"])
def test_a_password_survives_a_conflict(admin, sandbox, directory, mode):
    fields = reviewed(admin, ADELE, password_mode=mode, password="Correct-horse-7")
    somebody_else_changes(sandbox, lastName="Vans")
    conflict = Page(admin.post(edit_url(ADELE), fields))
    assert "Go on with these values" in conflict.words
    review = admin.post(edit_url(ADELE), conflict.form("was").fields | {"step": "review"})
    answer = admin.post(edit_url(ADELE), Page(review).form("op_id").fields | {"step": "save"})
    adele = directory.special("plain")
    assert shown_password(answer) == adele.password
    assert adele.last_name == "Vans"
    assert (adele.password == "Correct-horse-7") is (mode == "typed")


def test_of_two_browsers_that_edit_one_user_the_second_loses_nothing(writer, admin, directory):
    first = reviewed(writer, ADELE, first_name="Adela", phone_number="+1")
    second = reviewed(admin, ADELE, first_name="Adelheid", usage_location="IT")
    assert "Adele Vance was changed" in Page(writer.post(edit_url(ADELE), first)).words
    conflict = Page(admin.post(edit_url(ADELE), second))
    assert "First name Adele Keep Adela Use Adelheid" in conflict.words
    assert len(directory.writes()) == 1
    chosen = conflict.form("was").fields | {"keep_first_name": "mine", "step": "review"}
    review = Page(admin.post(edit_url(ADELE), chosen)).form("op_id").fields
    assert "Adele Vance was changed" in Page(admin.post(edit_url(ADELE), review | {"step": "save"})).words
    adele = directory.special("plain")
    assert (adele.first_name, adele.phone, adele.usage_location) == ("Adelheid", "+1", "IT")


def test_a_second_change_meanwhile_is_a_second_conflict(admin, sandbox, directory):
    fields = reviewed(admin, ADELE, phone_number="+1")
    somebody_else_changes(sandbox, lastName="Vans")
    conflict = Page(admin.post(edit_url(ADELE), fields)).form("was").fields
    review = Page(admin.post(edit_url(ADELE), conflict | {"step": "review"})).form("op_id").fields
    somebody_else_changes(sandbox, lastName="Vance")
    assert admin.post(edit_url(ADELE), review | {"step": "save"}).status_code == 409
    assert directory.writes() == []


def test_htmx_gets_the_conflict_in_place_of_the_form(admin, sandbox):
    fields = reviewed(admin, ADELE, first_name="Adela")
    somebody_else_changes(sandbox, firstName="Adelheid")
    answer = admin.htmx("POST", edit_url(ADELE), fields)
    assert answer.status_code == 409
    assert (answer["HX-Retarget"], answer["HX-Reswap"]) == ("#form-area", "outerHTML")


def test_a_user_who_is_gone_meanwhile_is_said_to_be(admin, sandbox, directory):
    fields = reviewed(admin, ADELE, first_name="Adela")
    del directory.users()[ADELE]
    answer = admin.post(edit_url(ADELE), fields)
    assert answer.status_code == 404
    assert "This user is not in Contoso Trading" in Page(answer).words
    assert directory.writes() == []


def test_a_user_of_another_tenant_is_gone_and_nothing_is_written(admin, directory):
    elsewhere = next(iter(directory.users("medium")))
    fields = reviewed(admin, ADELE, first_name="Adela")
    answer = admin.post(edit_url(elsewhere), fields)
    assert answer.status_code == 404
    assert directory.writes() == []


def test_the_form_of_one_user_does_not_change_another(admin, directory):
    fields = reviewed(admin, ADELE, first_name="Adela")
    other = seed.SPECIAL_USERS["accented"]
    answer = admin.post(edit_url(other), fields)
    assert answer.status_code == 409
    assert directory.writes() == []


@pytest.mark.parametrize("how", ["cut", "nonsense", "other key", "empty"])
def test_a_before_image_that_was_tampered_with_is_refused(admin, directory, how):
    fields = reviewed(admin, ADELE, first_name="Adela")
    was = {
        "cut": fields["was"][:-2],
        "nonsense": "nonsense",
        "other key": fields["was"].replace(":", ":x"),
        "empty": "",
    }
    answer = admin.post(edit_url(ADELE), fields | {"was": was[how]})
    assert answer.status_code == 422
    assert forms.TOO_OLD in Page(answer).words
    assert directory.writes() == []
    nothing = admin.post(edit_url(ADELE), fields | {"was": was[how], "keep_first_name": "theirs"})
    assert nothing.status_code == 422


def test_fields_that_are_not_in_the_form_change_nothing(admin, directory):
    fields = reviewed(admin, ADELE, first_name="Adela")
    more = {"keep_id": "theirs", "keep_state": "theirs", "state": "inactive", "immutable_id": "x", "id": "y"}
    assert admin.post(edit_url(ADELE), fields | more).status_code == 200
    assert directory.writes()[0]["body"] == {"firstName": "Adela", "attributes": {"objectType": "CustomerUser"}}


# --- What Microsoft refuses ---------------------------------------------------------------------------------


def test_a_synced_user_is_announced_and_microsofts_refusal_is_quoted(admin, directory):
    user_id = seed.SPECIAL_USERS["synced"]
    assert "This user comes from an on-premises directory." in Page(admin.get(edit_url(user_id))).words
    answer = save(admin, user_id, first_name="Anna")
    assert answer.status_code == 422
    words = Page(answer).words
    assert "Partner Center refused: “Unable to update the specified properties for on-premises mastered" in words
    assert "Nothing was changed." in words
    assert Page(answer).form("op_id").fields["first_name"] == "Anna"


def test_a_taken_user_name_is_said_on_the_field_and_free_ones_are_proposed(admin, directory):
    fields = reviewed(admin, ADELE, user_name="kim.lee")
    answer = admin.post(edit_url(ADELE), fields)
    page = Page(answer)
    assert answer.status_code == 422
    assert f"The user name kim.lee@{CUSTOM} is taken. Choose another" in page.words
    assert "Available: a.vance avance" in page.words  # kim.lee2 is taken, too
    assert page.form("op_id").fields["op_id"] != fields["op_id"]
    assert trail()[-1] == ("outcome", "change user", "conflict")


def test_nobody_is_moved_into_a_federated_domain(admin, directory):
    answer = save(admin, domain="fed.contosotrading.example")
    assert "fed.contosotrading.example is federated." in Page(answer).words
    assert Customer.objects.get(tenant_id=tenant("contoso")).seen_domains["fed.contosotrading.example"] == "federated"


def test_a_usage_location_in_small_letters_is_one_and_stays_as_it_is(admin, directory):
    directory.special("plain").usage_location = "de"
    fields = filled(admin, edit_url(ADELE), first_name="Adela")
    assert fields["usage_location"] == "DE"
    page = Page(admin.post(edit_url(ADELE), fields | {"step": "review"}))
    assert "First name Adele Adela" in page.words
    assert "Usage location" not in page.words
    assert admin.post(edit_url(ADELE), page.form("op_id").fields | {"step": "save"}).status_code == 200
    (sent,) = directory.writes()
    assert {name for name in sent["body"] if name != "attributes"} == {"firstName"}


def test_a_refused_password_of_a_federated_user_closes_no_domain(admin, directory, sandbox):
    said = "Unable to reset the password of a federated user."
    sandbox.fault("partnercenter", "status", method="PATCH", status=400, body={"code": 3000, "description": said})
    answer = save(admin, password_mode="made")
    assert answer.status_code == 422
    assert said in Page(answer).words
    assert "choose another domain" not in Page(answer).words
    assert "federated" not in Customer.objects.get(tenant_id=tenant("contoso")).seen_domains.values()
    assert admin.post(new_url(), newcomer(admin, domain=CUSTOM)).status_code == 200


def test_a_right_that_was_lost_meanwhile_keeps_what_was_typed(writer, sandbox, directory):
    fields = reviewed(writer, ADELE, first_name="Adela")
    sandbox.state("remove_from_group", persona="writer", group="writers")
    answer = writer.post(edit_url(ADELE), fields)
    assert answer.status_code == 403
    assert "you are not in the group that holds it" in Page(answer).words
    assert Page(answer).form("op_id").fields["first_name"] == "Adela"
    assert directory.writes() == []


def test_a_read_that_fails_before_the_save_sends_nothing_and_keeps_what_was_typed(writer, sandbox, directory):
    fields = reviewed(writer, ADELE, first_name="Adela")
    sandbox.fault("partnercenter", "drop_before", method="GET", path=f"/users/{ADELE}$", times=0)
    answer = writer.post(edit_url(ADELE), fields)
    page = Page(answer)
    assert answer.status_code == 504
    assert "The user was not changed Partner Center broke the connection off before it had answered." in page.words
    assert "We do not know" not in page.words
    assert page.form("op_id").fields["first_name"] == "Adela"
    assert page.form("op_id").fields["op_id"] == fields["op_id"]
    assert directory.writes() == []


def test_a_sign_in_that_is_over_keeps_the_review_behind_the_dialog(writer, sandbox, directory, move_clock):
    fields = reviewed(writer, ADELE, first_name="Adela")
    move_clock(61)
    sandbox.state("require_mfa", on=True, at="partnercenter")
    answer = writer.htmx("POST", edit_url(ADELE), fields)
    assert (answer.status_code, answer["HX-Retarget"]) == (401, "#dialog")
    assert Operation.objects.count() == 0
    writer.sign_in("writer", mfa=True)
    assert writer.post(edit_url(ADELE), fields).status_code == 200
    assert len(directory.writes()) == 1


def test_readers_and_those_without_a_role_change_nothing(signed_in, snapshot, directory, admin):
    fields = reviewed(admin, ADELE, first_name="Adela")
    for persona in ("reader", "nested"):
        browser = signed_in(persona)
        directory.asked()
        assert browser.post(edit_url(ADELE), fields).status_code == 403
        assert not [line for line in directory.asked() if line.startswith("partnercenter")]
        assert trail()[-1] == ("outcome", "change user", "denied")
    assert Page(signed_in("reader").get(edit_url(ADELE))).words.count("You may not change users here") == 1
    assert directory.writes() == []


def test_outsiders_changes_are_refused_with_microsofts_words(signed_in, snapshot, directory, admin):
    fields = reviewed(admin, ADELE, first_name="Adela")
    answer = signed_in("outsider").post(edit_url(ADELE), fields)
    assert answer.status_code == 403
    assert "The supplied role does not have the rights to perform the requested operation" in Page(answer).words
    assert directory.writes() == []  # refused at the reading that comes before each write


# --- Numbers (op_id) ----------------------------------------------------------------------------------------


def test_the_same_save_sent_again_shows_the_same_answer(admin, directory):
    fields = reviewed(admin, ADELE, first_name="Adela", password_mode="made")
    answers = [admin.post(edit_url(ADELE), fields) for _ in range(2)]
    assert {shown_password(answer) for answer in answers} == {directory.special("plain").password}
    assert len(directory.writes()) == 1


@pytest.mark.parametrize("changed", [{"first_name": "Other"}, {"password_mode": "made"}, {"last_name": "More"}])
def test_a_number_is_good_for_the_change_it_was_sent_with(admin, directory, changed):
    fields = reviewed(admin, ADELE, first_name="Adela")
    admin.post(edit_url(ADELE), fields)
    answer = admin.post(edit_url(ADELE), fields | changed)
    assert answer.status_code == 409
    assert "This form was used already" in Page(answer).words
    assert len(directory.writes()) == 1


def test_a_number_belongs_to_one_user_and_one_kind_of_form(admin, directory):
    fields = reviewed(admin, ADELE, first_name="Adela")
    admin.post(edit_url(ADELE), fields)
    assert admin.post(edit_url(seed.SPECIAL_USERS["accented"]), fields).status_code == 409
    answer = admin.post(new_url(), {**MAYA, "domain": CUSTOM, "op_id": fields["op_id"], "usage_location": "NL"})
    assert answer.status_code == 409
    assert len(directory.writes()) == 1


def test_a_number_is_the_operators_own(admin, writer, directory):
    fields = reviewed(writer, ADELE, first_name="Adela")
    writer.post(edit_url(ADELE), fields)
    answer = admin.post(edit_url(ADELE), fields)
    assert answer.status_code == 409
    assert "Adela" not in Page(answer).words


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("slow", ["PATCH", "GET"])
def test_two_presses_at_the_same_time_change_once_and_show_the_same_page(admin, sandbox, directory, slow):
    fields = reviewed(admin, ADELE, first_name="Adela", password_mode="made")
    # With one slow GET, the second press reads the user after the first one has changed it.
    sandbox.fault("partnercenter", "slow", method=slow, path=f"/users/{ADELE}$", seconds=0.7)
    tabs = [same_browser(admin) for _ in range(2)]
    answers = at_once(*(lambda tab=tab: tab.post(edit_url(ADELE), fields) for tab in tabs))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert {shown_password(answer) for answer in answers} == {directory.special("plain").password}
    assert len(directory.writes()) == 1


# --- Uncertain answers --------------------------------------------------------------------------------------


def uncertain(browser, sandbox, kind="drop_after", **typed):
    fields = reviewed(browser, ADELE, **typed)
    sandbox.fault("partnercenter", kind, method="PATCH")
    return fields, browser.post(edit_url(ADELE), fields)


@pytest.mark.parametrize("kind", ["drop_after", "fail_after", "truncate", "bad_json", "empty"])
def test_an_uncertain_change_is_looked_up_and_found_done(writer, sandbox, directory, kind):
    fields, answer = uncertain(writer, sandbox, kind, first_name="Adela", phone_number="")
    assert answer.status_code == 200
    assert NOT_KNOWN in Page(answer).words
    assert buttons(answer) == ["Check again"]
    assert NOT_KNOWN in Page(writer.post(edit_url(ADELE), fields)).words
    found = step(writer, fields, "check")
    assert "Adele Vance was changed" in Page(found).words
    assert len(directory.writes()) == 1
    assert trail()[-1] == ("outcome", "check change user", "done")


@pytest.mark.parametrize("kind", ["drop_before", "status", "html"])
def test_an_uncertain_change_that_never_happened_goes_again_under_its_number(writer, sandbox, directory, kind):
    fields, _ = uncertain(writer, sandbox, kind, first_name="Adela")
    answer = step(writer, fields, "check")
    assert "Nothing has changed yet." in Page(answer).words
    assert buttons(answer) == ["Check again", "Send it again"]
    answer = step(writer, fields, "send")
    assert "Adele Vance was changed" in Page(answer).words
    assert {line["request_id"] for line in directory.writes()} == {fields["op_id"]}
    assert directory.special("plain").first_name == "Adela"


def test_a_change_does_not_go_again_over_somebody_elses(writer, sandbox, directory):
    fields, _ = uncertain(writer, sandbox, "drop_before", first_name="Adela")
    step(writer, fields, "check")
    somebody_else_changes(sandbox, lastName="Vans")
    answer = step(writer, fields, "send")
    assert "Adele Vance was not changed Somebody else has changed this user meanwhile." in Page(answer).words
    assert len(directory.writes()) == 1
    assert Page(answer).href("Open the form again") == edit_url(ADELE)


def test_a_change_that_turned_out_done_meanwhile_does_not_go_again(writer, sandbox, directory):
    fields, _ = uncertain(writer, sandbox, "drop_before", first_name="Adela")
    step(writer, fields, "check")
    somebody_else_changes(sandbox, firstName="Adela")
    assert "Adele Vance was changed" in Page(step(writer, fields, "send")).words
    assert len(directory.writes()) == 1


def test_a_user_who_went_meanwhile_was_not_changed(writer, sandbox, directory):
    fields, _ = uncertain(writer, sandbox, "drop_before", first_name="Adela")
    del directory.users()[ADELE]
    assert "Adele Vance was not changed This user is gone." in Page(step(writer, fields, "check")).words


def test_a_read_that_fails_leaves_a_change_unknown(writer, sandbox, directory):
    fields, _ = uncertain(writer, sandbox, "drop_before", first_name="Adela")
    step(writer, fields, "check")
    sandbox.fault("partnercenter", "status", method="GET", times=0)
    answer = step(writer, fields, "send")
    assert "We could not find out. Partner Center has a fault of its own (500)." in Page(answer).words
    assert len(directory.writes()) == 1


@pytest.mark.parametrize("kind", ["drop_after", "drop_before"])
def test_a_password_cannot_be_read_back_and_the_same_one_may_go_again(admin, sandbox, directory, kind):
    fields, _ = uncertain(admin, sandbox, kind, password_mode="made")
    answer = step(admin, fields, "check")
    assert "Whether the password was set cannot be read back." in Page(answer).words
    assert "The fields are saved." not in Page(answer).words
    before = directory.special("plain").password
    answer = step(admin, fields, "send")
    after = directory.special("plain").password
    assert shown_password(answer) == after
    assert before in ("", after)
    assert [line["request_id"] for line in directory.writes()] == [fields["op_id"]] * 2


def test_fields_that_are_saved_are_said_to_be_when_the_password_is_uncertain(admin, sandbox):
    fields, _ = uncertain(admin, sandbox, "drop_after", first_name="Adela", password_mode="made")
    words = Page(step(admin, fields, "check")).words
    assert "The fields are saved. Whether the password was set cannot be read back." in words


def test_a_password_does_not_go_again_without_the_right_to_set_it(admin, sandbox, directory):
    fields, _ = uncertain(admin, sandbox, "drop_before", password_mode="made", first_name="Adela")
    step(admin, fields, "check")
    sandbox.state("remove_from_group", persona="admin", group="user_admins")
    sandbox.state("add_to_group", persona="admin", group="writers")
    assert "It was not sent again." in Page(step(admin, fields, "send")).words
    assert len(directory.writes()) == 1


@pytest.mark.parametrize("kind", ["drop_after", "drop_before"])
def test_after_a_day_a_password_has_to_be_set_anew(admin, sandbox, directory, kind, move_clock):
    fields, _ = uncertain(admin, sandbox, kind, password_mode="made", first_name="Adela")
    step(admin, fields, "check")
    Operation.objects.update(sealed_password=None)
    step(admin, fields, "send")
    assert len(directory.writes()) == 1
    move_clock(61)
    words = Page(step(admin, fields, "check")).words
    if kind == "drop_after":
        assert "It is not kept any more: set a new one." in words
        assert NOT_KNOWN in words
    else:
        assert "Adele Vance was not changed A day later nothing has changed." in words
    assert "Send it again" not in words


def test_the_customer_is_named_where_it_matters(admin):
    for customer in ("script", "quotes"):
        user_id = seed_user(admin, customer)
        page = Page(
            admin.post(
                edit_url(user_id, customer),
                filled(admin, edit_url(user_id, customer), phone_number="+5") | {"step": "review"},
            )
        )
        assert f"Save 1 change in {seed.SPECIAL_NAMES[customer]}" in page.form("op_id").buttons


def seed_user(browser, customer):
    """The id of somebody in this customer."""
    return next(
        told["id"][4:]
        for tag, told in Page(browser.get(users_url(customer))).tags
        if told.get("id", "").startswith("row-")
    )


def test_what_the_answer_does_not_show_as_sent_is_told(writer, sandbox, directory):
    """An empty value may be ignored (CONTRACT 3.4): "changed" alone would be a false yes."""
    sandbox.assume("empty_string_clears", False)
    answer = writer.post(edit_url(ADELE), reviewed(writer, ADELE, phone_number=""))
    assert directory.special("plain").phone != ""
    told = "Microsoft said yes, but its answer shows another phone number than was sent."
    assert told in Page(answer).words
    assert "Microsoft said yes" not in Page(writer.post(edit_url(ADELE), reviewed(writer, ADELE, first_name="A"))).words


def test_a_404_that_is_not_about_the_user_decides_nothing_and_destroys_no_password(admin, sandbox):
    fields, _ = uncertain(admin, sandbox, "drop_before", password_mode="made", first_name="Adela")
    sandbox.fault("partnercenter", "status", method="GET", path=f"/users/{ADELE}$", status=404, body="<h1>Gateway</h1>")
    assert "We could not find out." in Page(step(admin, fields, "check")).words
    operation = Operation.objects.get()
    assert (operation.state, operation.has_password) == (Operation.State.UNKNOWN, True)


def test_a_deleted_user_is_not_changed_though_microsoft_still_shows_them(writer, sandbox, directory):
    sandbox.assume("deleted_user_readable", True)
    fields = reviewed(writer, ADELE, first_name="Adela")
    directory.special("plain").deleted_at = clock.now()
    assert writer.post(edit_url(ADELE), fields).status_code == 404
    assert writer.get(edit_url(ADELE)).status_code == 404
    assert directory.writes() == []


@pytest.mark.parametrize("url", [user_url(ADELE), edit_url(ADELE)])
def test_a_404_of_a_gateway_is_no_word_about_the_user(writer, sandbox, url):
    sandbox.fault("partnercenter", "status", method="GET", path=f"/users/{ADELE}$", status=404, body="<h1>Gateway</h1>")
    words = Page(writer.get(url)).words
    assert "Partner Center did not find this." in words
    assert "This user is not in" not in words
