"""What was done to a user from here, and the way back from the last change."""

import uuid

import pytest
from django.urls import reverse

from partnerportal.sandbox import seed
from tests.pages import Page
from users.models import Operation

from .conftest import edit_url, reviewed, tenant, trail, user_url

ADELE = seed.SPECIAL_USERS["plain"]


def history_url(user_id=ADELE):
    return reverse("user-history", args=[tenant("contoso"), user_id])


def undo_url():
    return reverse("user-undo", args=[tenant("contoso"), ADELE])


def change(browser, **typed):
    return browser.post(edit_url(ADELE), reviewed(browser, ADELE, **typed))


def undo_form(browser):
    """The fields of the undo form; None where nothing can be undone."""
    forms = [form for form in Page(browser.get(history_url())).forms if form.action == undo_url()]
    return forms[0].fields if forms else None


def test_the_history_tells_fields_before_and_after_actor_and_ids(admin):
    change(admin, first_name="Adela", password_mode="made")
    page = Page(admin.get(history_url()))
    assert Page(admin.get(user_url(ADELE))).href("History") == history_url()
    assert "Change user: Done" in page.words
    assert "First name Adele Adela Password Not shown A new one, not shown" in page.words
    assert "By Maya Okafor" in page.words
    assert "Correlation" in page.words
    assert "The password stays the new one." in page.words


def test_what_others_did_is_for_the_admin_to_see(admin, writer):
    change(admin, first_name="Adela")
    assert "Adela" not in Page(writer.get(history_url())).words
    assert undo_form(writer) is None
    change(writer, last_name="Vans")
    assert "Vans" in Page(admin.get(history_url())).words


def test_the_last_change_is_undone_by_a_new_one(writer, directory):
    change(writer, first_name="Adela", phone_number="")
    fields = undo_form(writer)
    answer = writer.post(undo_url(), fields)
    assert "Adele Vance was changed" in Page(answer).words
    adele = directory.special("plain")
    assert (adele.first_name, adele.phone) == ("Adele", "+00 555 0100")
    _, sent = directory.writes()
    assert sent["request_id"] == fields["op_id"]
    assert {name for name in sent["body"] if name != "attributes"} == {"firstName", "phoneNumber"}
    assert trail()[-2:] == [("intent", "change user", ""), ("outcome", "change user", "done")]
    writer.post(undo_url(), fields)  # a second press
    assert len(directory.writes()) == 2


def test_nothing_is_undone_over_the_change_of_somebody_else(writer, directory):
    change(writer, first_name="Adela")
    fields = undo_form(writer)
    directory.special("plain").last_name = "Other"
    answer = writer.post(undo_url(), fields)
    assert answer.status_code == 409
    assert "somebody has changed this user since" in Page(answer).words
    assert len(directory.writes()) == 1


def test_nothing_is_undone_after_a_quarter_of_an_hour_or_another_change(writer, directory, move_clock):
    change(writer, first_name="Adela")
    fields = undo_form(writer)
    change(writer, first_name="Adelheid")
    assert writer.post(undo_url(), fields).status_code == 409
    newest = undo_form(writer)
    move_clock(15 * 60 + 1)
    assert undo_form(writer) is None
    assert "This cannot be undone any more" in Page(writer.post(undo_url(), newest)).words
    assert len(directory.writes()) == 2


def test_a_first_usage_location_is_not_undone_for_nobody_can_take_it_away(writer, directory):
    nora = seed.SPECIAL_USERS["no_location"]
    writer.post(edit_url(nora), reviewed(writer, nora, usage_location="NL"))
    page = Page(writer.get(history_url(nora)))
    undo = reverse("user-undo", args=[tenant("contoso"), nora])
    assert [form for form in page.forms if form.action == undo] == []
    why = "This cannot be undone: Microsoft lets nobody take a usage location away once there is one."
    assert why in page.words
    answer = writer.post(undo, {"operation": Operation.objects.get().op_id, "op_id": uuid.uuid4()})
    assert (answer.status_code, why in Page(answer).words) == (409, True)
    assert len(directory.writes()) == 1
    writer.post(edit_url(nora), reviewed(writer, nora, usage_location="BE"))
    assert [form.action for form in Page(writer.get(history_url(nora))).forms].count(undo) == 1


@pytest.mark.parametrize("fields", [{}, {"operation": "x", "op_id": "y"}])
def test_an_undo_of_nothing_is_no_page(writer, fields):
    assert writer.post(undo_url(), fields).status_code == 404


def test_a_right_that_ended_undoes_nothing(admin, sandbox, directory):
    change(admin, first_name="Adela")
    fields = undo_form(admin)
    sandbox.state("remove_from_group", persona="admin", group="user_admins")
    answer = admin.post(undo_url(), fields)
    assert answer.status_code == 403
    assert "It was not undone." in Page(answer).words
    assert len(directory.writes()) == 1


def test_an_undo_under_the_number_of_another_write_of_ones_own_is_refused(writer, directory):
    other = seed.SPECIAL_USERS["accented"]
    fields = reviewed(writer, other, first_name="Zora")
    writer.post(edit_url(other), fields)
    change(writer, first_name="Adela")
    answer = writer.post(undo_url(), undo_form(writer) | {"op_id": fields["op_id"]})
    assert (answer.status_code, len(directory.writes())) == (409, 2)


def test_an_undo_under_the_number_of_somebody_elses_write_is_refused(writer, admin, directory):
    change(admin, last_name="Vance-Roe")
    theirs = Operation.objects.get()
    change(writer, first_name="Adela")
    answer = writer.post(undo_url(), undo_form(writer) | {"op_id": str(theirs.op_id)})
    assert answer.status_code == 409
    assert "Vance-Roe" not in Page(answer).words
    assert len(directory.writes()) == 2
