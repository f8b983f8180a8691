"""A new password on its own page: by whom, for whom, shown once; an administrator's only by somebody who proves it."""

import pytest
from django.urls import reverse

from partnerportal.models import AuditEvent
from partnerportal.sandbox import seed
from tests.pages import Page

from .conftest import edit_url, filled, operation_url, reviewed, shown_password, tenant, trail, user_url

ADELE, KIM, ZOE = (seed.SPECIAL_USERS[key] for key in ("plain", "duplicate_a", "accented"))
KIMS_NAME = "kim.lee@contosotrading.example"
ASKED = "For that, Microsoft must have asked for your password or key within the last 15 minutes, and you type the"


def reset_url(user_id=ADELE):
    return reverse("user-reset", args=[tenant("contoso"), user_id])


def reset(browser, user_id=ADELE, **typed):
    fields = filled(browser, reset_url(user_id), **typed)
    return fields, browser.post(reset_url(user_id), fields)


def prove(browser, **how):
    """Sign in anew, as the page of an administrator asks for."""
    url = Page(browser.get(reset_url(KIM))).href("Sign in again to go on")
    assert "prompt=login" in browser.get(url)["Location"]
    browser.get(reset_url(KIM))  # asks for it again: the first one was given up
    assert browser.sign_in("admin", **how)["Location"] == "/"


def unanswered(browser, sandbox, user_id, **typed):
    """A reset whose answer got lost before Microsoft had read it, looked up since; the address of its operation."""
    fields = filled(browser, reset_url(user_id), **typed)
    sandbox.fault("partnercenter", "drop_before", method="PATCH")
    browser.post(reset_url(user_id), fields)
    browser.post(operation_url(fields["op_id"]), {"step": "check"})
    return operation_url(fields["op_id"])


def test_a_password_is_made_sent_and_shown_once(admin, directory):
    assert Page(admin.get(user_url(ADELE))).href("Reset password") == reset_url()
    fields, answer = reset(admin)
    assert "Adele Vance was given a new password" in Page(answer).words
    assert shown_password(answer) == directory.special("plain").password
    (sent,) = directory.writes()
    assert sent["path"].endswith(f"/{ADELE}/resetpassword")
    assert sent["body"]["passwordProfile"] == {"password": "<redacted>", "forceChangePassword": True}
    assert sent["request_id"] == fields["op_id"]
    assert trail() == [("intent", "reset password", ""), ("outcome", "reset password", "done")]
    admin.post(operation_url(fields["op_id"]), {"step": "done"})
    assert shown_password(admin.post(reset_url(), fields)) == ""
    assert len(directory.writes()) == 1


def test_a_directory_writer_may_not_reset_and_is_told_why(writer, directory):
    answer = writer.get(reset_url())
    assert answer.status_code == 403
    assert "You may not reset passwords here" in Page(answer).words
    needs = "That needs the User Administrator or Privileged Authentication Administrator role."
    assert needs in Page(answer).words


@pytest.mark.parametrize("path", ["delete", "password"])
def test_a_form_that_a_directory_writer_sends_all_the_same_reaches_nobody(admin, writer, directory, path):
    url = f"{user_url(ADELE)}{path}/"
    fields = filled(admin, url, name="adele.vance@contosotrading.example")
    answer = writer.post(url, fields)
    assert answer.status_code == 403
    assert "No relationship" in Page(answer).words or "not in the group" in Page(answer).words
    assert directory.writes() == []
    assert trail()[-1][2] == "denied"


def test_an_administrators_password_needs_a_fresh_sign_in_and_the_name(admin, directory, move_clock):
    page = Page(admin.get(reset_url(KIM)))
    assert "An administrator: Global Administrator" in page.words
    assert [form for form in page.forms if "op_id" in form.fields] == []
    prove(admin)
    _, answer = reset(admin, KIM, name="kim.lee")
    assert answer.status_code == 422
    assert directory.writes() == []
    _, answer = reset(admin, KIM, name=KIMS_NAME)
    assert shown_password(answer) == directory.special("duplicate_a").password != ""
    move_clock(15 * 60 + 1)
    assert Page(admin.get(reset_url(KIM))).href("Sign in again to go on")


def test_a_form_for_somebody_without_power_resets_no_administrator(admin, directory):
    fields = filled(admin, reset_url())
    directory.special("plain").roles = directory.special("duplicate_a").roles
    answer = admin.post(reset_url(), fields)
    assert answer.status_code == 403
    assert ASKED in Page(answer).words
    assert directory.writes() == []
    assert trail() == [("intent", "reset password", ""), ("outcome", "reset password", "denied")]
    assert "Global Administrator" in AuditEvent.objects.get(kind="outcome", action="reset password").detail


def test_the_edit_form_is_no_way_round(admin, directory):
    prove(admin)
    answer = admin.post(edit_url(ZOE), reviewed(admin, ZOE, password_mode="made", first_name="Zoe"))
    assert answer.status_code == 403
    assert "Set the password on its own page: Reset password." in Page(answer).words
    assert directory.writes() == []


def test_roles_that_may_not_be_seen_are_taken_for_power(admin, sandbox):
    sandbox.fault("partnercenter", "status", method="GET", path="/directoryroles", status=403)
    assert "An administrator: roles that we may not see" in Page(admin.get(reset_url())).words


# --- What proves that it is them ----------------------------------------------------------------------------


def test_whoever_takes_prompt_out_of_the_address_has_proved_nothing(admin, move_clock):
    move_clock(600)  # since the owner of this browser told Microsoft who they are
    prove(admin, without="prompt")
    page = Page(admin.get(reset_url(KIM)))
    assert "Microsoft let you in without asking who you are" in page.words
    assert page.href("Sign in again to go on")
    assert [form for form in page.forms if "op_id" in form.fields] == []
    prove(admin)
    assert "op_id" in Page(admin.get(reset_url(KIM))).form("name").fields


@pytest.mark.parametrize("without", ["claims", ""])
def test_without_a_word_of_when_it_was_a_sign_in_works_and_proves_nothing(admin, sandbox, directory, without):
    if not without:
        sandbox.assume("auth_time", "never")
    fields = filled(admin, reset_url(), name="adele.vance@contosotrading.example")
    directory.special("plain").roles = directory.special("duplicate_a").roles
    prove(admin, without=without)
    assert "optional claim auth_time" in Page(admin.get(reset_url(KIM))).words
    assert admin.post(reset_url(), fields).status_code == 403
    assert directory.writes() == []


def test_an_administrators_password_goes_again_only_with_a_new_proof(admin, sandbox, directory, move_clock):
    prove(admin)
    url = unanswered(admin, sandbox, KIM, name=KIMS_NAME)
    move_clock(15 * 60 + 1)
    page = Page(admin.post(url, {"step": "send", "name": KIMS_NAME}))
    assert ASKED in page.words
    admin.get(page.href("Sign in again to go on"))
    admin.post(url, {"step": "send"})  # asks for it again: the first one was given up
    assert admin.sign_in("admin")["Location"] == "/"
    for typed in ("", "kim.lee"):
        page = Page(admin.post(url, {"step": "send", "name": typed}))
        assert ASKED in page.words
    assert len(directory.writes()) == 1
    assert page.attributes(name="name")["form"] == page.attributes(action=url)["id"]
    answer = admin.post(url, {"step": "send", "name": KIMS_NAME})
    assert shown_password(answer) == directory.special("duplicate_a").password != ""


def test_who_has_become_an_administrator_meanwhile_is_one_when_it_goes_again(admin, sandbox, directory):
    url = unanswered(admin, sandbox, ADELE)
    directory.special("plain").roles = directory.special("duplicate_a").roles
    assert ASKED in Page(admin.post(url, {"step": "send"})).words
    assert len(directory.writes()) == 1
    assert trail()[-1] == ("outcome", "reset password", "denied")


@pytest.mark.parametrize(("page", "method"), [("user-reset", "PATCH"), ("user-delete", "DELETE")])
def test_a_refusal_that_names_a_federated_user_is_quoted_on_the_page_that_asked(
    admin, directory, sandbox, page, method
):
    url = reverse(page, args=[tenant("contoso"), ADELE])
    fields = filled(admin, url, name="adele.vance@contosotrading.example")
    said = "Unable to change a federated user."
    sandbox.fault("partnercenter", "status", method=method, status=400, body={"code": 3000, "description": said})
    answer = admin.post(url, fields)
    assert answer.status_code == 422
    assert f"Partner Center refused: “{said}” Nothing was changed." in Page(answer).words
