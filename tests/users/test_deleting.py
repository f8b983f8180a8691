"""Deleting a user and bringing one back: asked twice, done once, and never called failed when nobody knows."""

import pytest
from django.urls import reverse

from partnerportal.models import AuditEvent
from partnerportal.sandbox import seed
from tests.pages import Page

from .conftest import filled, operation_url, tenant, trail, user_url, users_url

ADELE, GONA, OLD_SAM = (seed.SPECIAL_USERS[key] for key in ("plain", "deleted", "deleted_reused"))
NAME = "adele.vance@contosotrading.example"
NOT_KNOWN = "We do not know if Adele Vance was deleted"


def delete_url(user_id=ADELE):
    return reverse("user-delete", args=[tenant("contoso"), user_id])


def restore_url(user_id=GONA):
    return reverse("user-restore", args=[tenant("contoso"), user_id])


def deleted(browser, name=NAME):
    """The fields of the confirmed page, and the answer to it."""
    fields = filled(browser, delete_url(), name=name)
    return fields, browser.post(delete_url(), fields)


def restored(browser, user_id=GONA):
    fields = filled(browser, restore_url(user_id))
    return fields, browser.post(restore_url(user_id), fields)


def step(browser, fields, name):
    return browser.post(operation_url(fields["op_id"]), {"step": name})


def buttons(answer):
    return [words for form in Page(answer).forms for words, (name, _) in form.buttons.items() if name == "step"]


# --- Delete -------------------------------------------------------------------------------------------------


def test_a_user_is_deleted_after_the_name_was_typed(admin, directory):
    words = Page(admin.get(delete_url())).words
    assert "their licences are free for others at once" in words
    assert "Microsoft keeps the user for 30 days" in words
    fields, answer = deleted(admin, NAME.upper())
    assert "Adele Vance was deleted" in Page(answer).words
    assert Page(answer).href("Restore user") == restore_url(ADELE)
    assert directory.special("plain").deleted_at
    (sent,) = directory.writes()
    assert (sent["method"], sent["request_id"]) == ("DELETE", fields["op_id"])
    assert trail() == [("intent", "delete user", ""), ("outcome", "delete user", "done")]
    told = AuditEvent.objects.get(action="delete user", kind="outcome")
    assert (told.fields, told.target_id) == ({"state": ["active", "deleted"]}, ADELE)


@pytest.mark.parametrize("typed", ["", "Adele Vance", NAME[:-1]])
def test_nothing_is_deleted_while_the_name_is_not_typed(admin, directory, typed):
    _, answer = deleted(admin, typed)
    assert answer.status_code == 422
    assert f"Type the user name as it stands here: {NAME}" in Page(answer).words
    assert "The user was not deleted: fix 1 field" in Page(answer).words
    assert directory.writes() == []


def test_a_form_sent_twice_deletes_once(admin, directory):
    fields, _ = deleted(admin)
    assert "Adele Vance was deleted" in Page(admin.post(delete_url(), fields)).words
    assert len(directory.writes()) == 1


def test_the_form_of_one_user_does_not_delete_another(admin, directory):
    fields = filled(admin, delete_url(), name=NAME)
    answer = admin.post(delete_url(seed.SPECIAL_USERS["reused"]), fields)
    assert "This form is too old" in Page(answer).words
    assert directory.writes() == []


def test_a_user_who_has_another_name_by_now_is_not_deleted(admin, directory):
    fields = filled(admin, delete_url(), name=NAME)
    directory.special("plain").upn = "adele.new@contosotrading.example"
    answer = admin.post(delete_url(), fields)
    assert answer.status_code == 409
    assert "it is adele.new@contosotrading.example now" in Page(answer).words
    assert directory.writes() == []
    assert trail()[-1] == ("outcome", "delete user", "conflict")


def test_a_directory_writer_may_not_delete_and_is_told_why(writer, directory):
    answer = writer.get(delete_url())
    assert answer.status_code == 403
    assert "You may not delete users here" in Page(answer).words
    assert "That needs the User Administrator role." in Page(answer).words
    assert "Delete" not in [link.words for link in Page(writer.get(user_url(ADELE))).links]


def test_a_right_that_ended_meanwhile_deletes_nothing(admin, sandbox, directory):
    fields = filled(admin, delete_url(), name=NAME)
    sandbox.state("remove_from_group", persona="admin", group="user_admins")
    answer = admin.post(delete_url(), fields)
    assert answer.status_code == 403
    assert "The user was not deleted" in Page(answer).words
    assert directory.writes() == []
    assert trail() == [("intent", "delete user", ""), ("outcome", "delete user", "denied")]


def test_a_user_somebody_else_has_deleted_is_gone(admin, directory):
    fields = filled(admin, delete_url(), name=NAME)
    deleted(admin)
    answer = admin.post(delete_url(), fields)
    assert answer.status_code == 404
    assert len(directory.writes()) == 1


def test_a_second_delete_of_whom_the_first_has_deleted_is_not_called_failed(admin, sandbox, directory, move_clock):
    sandbox.assume("replay_request_id", False)
    sandbox.state("replication_lag", seconds=60)
    fields = filled(admin, delete_url(), name=NAME)
    sandbox.fault("partnercenter", "drop_after", method="DELETE")
    admin.post(delete_url(), fields)
    step(admin, fields, "check")
    answer = step(admin, fields, "send")
    assert NOT_KNOWN in Page(answer).words
    assert "What became of the first try is not known." in Page(answer).words
    move_clock(61)
    assert "Adele Vance was deleted" in Page(step(admin, fields, "check")).words


# --- Restore ------------------------------------------------------------------------------------------------


def test_a_user_is_restored_from_the_deleted_tab(writer, directory):
    tab = Page(writer.get(users_url(query="?state=deleted")))
    assert tab.href("Restore Gona Deleted") == restore_url()
    assert "Kept until" in Page(writer.get(restore_url())).words
    fields, answer = restored(writer)
    assert "Gona Deleted was restored" in Page(answer).words
    assert Page(answer).href("Open user") == user_url(GONA)
    assert directory.special("deleted").deleted_at is None
    (sent,) = directory.writes()
    assert (sent["method"], sent["request_id"]) == ("PATCH", fields["op_id"])
    assert sent["body"]["state"] == "active"
    assert trail() == [("intent", "restore user", ""), ("outcome", "restore user", "done")]


@pytest.mark.parametrize("as_409", [True, False])
def test_a_name_that_was_given_away_keeps_its_old_owner_deleted(admin, sandbox, directory, as_409):
    sandbox.assume("restore_conflict_409", as_409)
    _, answer = restored(admin, OLD_SAM)
    words = Page(answer).words
    assert answer.status_code == 422
    assert "The user name sam.same@contosotrading.example belongs to somebody else now" in words
    assert "Give that user another name first, then restore this one." in words
    assert directory.special("deleted_reused").deleted_at
    assert trail()[-1] == ("outcome", "restore user", "conflict")


def test_who_is_not_deleted_cannot_be_restored(admin, directory):
    assert admin.get(restore_url(ADELE)).status_code == 404
    fields = filled(admin, restore_url())
    restored(admin)
    assert admin.post(restore_url(), fields).status_code == 404
    assert len(directory.writes()) == 1


def test_who_is_in_neither_list_is_not_restored_on_a_guess(admin, sandbox, directory):
    fields = filled(admin, restore_url())
    sandbox.fault("partnercenter", "drop_before", method="PATCH")
    admin.post(restore_url(), fields)
    del directory.users()[GONA]
    directory.sandbox.running.cloud.world.customers[tenant("contoso")].directory._views.clear()
    answer = step(admin, fields, "check")
    assert "neither among the active users nor among the deleted ones" in Page(answer).words
    assert buttons(answer) == ["Check again"]
