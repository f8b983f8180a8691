"""Licences of a user: assigned and taken away in one go, reviewed, and never called failed when nobody knows."""

import re

import pytest
from django.urls import reverse

from partnerportal.models import AuditEvent
from partnerportal.sandbox import seed
from partnerportal.sandbox.directory import Licence
from partnerportal.sandbox.seed_licences import BUSINESS_PREMIUM, CLASSROOM, ENTERPRISE_E3, POWER_BI_PRO
from tests.pages import Page

from .conftest import filled, operation_url, tenant, trail, user_url

ADELE, NORA, KIM, ERICA = (seed.SPECIAL_USERS[key] for key in ("plain", "no_location", "duplicate_b", "federated"))


def licences_url(user_id=ADELE):
    return reverse("user-licences", args=[tenant("contoso"), user_id])


def held(directory, key="plain"):
    return {licence.sku_id for licence in directory.special(key).licences}


def wish(browser, *products, user_id=ADELE, step="save"):
    """The fields of the form with just these licences ticked, and the answer to it."""
    fields = filled(browser, licences_url(user_id)) | {"sku": [product.id for product in products], "step": step}
    return fields, browser.post(licences_url(user_id), fields)


def step(browser, fields, name):
    return browser.post(operation_url(fields["op_id"]), {"step": name})


def test_the_page_tells_what_the_user_has_what_is_left_and_what_is_not(admin):
    page = Page(admin.get(licences_url(KIM)))
    assert re.search(r"Enterprise Mobility \+ Security E3 \(\d left\)", page.words)
    assert "None left: Power BI Pro, Visio Plan 2." in page.words
    assert Page(admin.get(user_url(ADELE))).href("Change licences") == licences_url()
    assert "Microsoft 365 Business Premium, Power BI Pro" in Page(admin.get(user_url(ADELE))).words


def test_the_users_page_tells_the_directory_roles(admin, sandbox):
    assert "Directory roles Global Administrator" in Page(admin.get(user_url(seed.SPECIAL_USERS["duplicate_a"]))).words
    assert "Directory roles None" in Page(admin.get(user_url(ADELE))).words
    for path in ("/directoryroles", "/licenses"):
        sandbox.fault("partnercenter", "status", method="GET", path=path, status=403)
    words = Page(admin.get(user_url(ADELE))).words
    assert "Licences We could not see them. Directory roles We could not see them." in words


def test_one_save_assigns_and_takes_away(admin, directory):
    assert held(directory) == {BUSINESS_PREMIUM.id, POWER_BI_PRO.id}
    _, review = wish(admin, BUSINESS_PREMIUM, ENTERPRISE_E3, step="review")
    words = Page(review).words
    assert "Enterprise Mobility + Security E3 Not assigned Assigned Power BI Pro Assigned Not assigned" in words
    assert "Save 2 changes" in words
    assert directory.writes() == []
    fields, answer = wish(admin, BUSINESS_PREMIUM, ENTERPRISE_E3)
    assert "Adele Vance was given other licences" in Page(answer).words
    assert held(directory) == {BUSINESS_PREMIUM.id, ENTERPRISE_E3.id}
    (sent,) = directory.writes()
    assert sent["request_id"] == fields["op_id"]
    assert sent["body"]["licensesToRemove"] == [POWER_BI_PRO.id]
    assert trail() == [("intent", "change licences", ""), ("outcome", "change licences", "done")]
    assert AuditEvent.objects.get(kind="outcome", action="change licences").fields == {
        "licences": [
            "Microsoft 365 Business Premium, Power BI Pro",
            "Microsoft 365 Business Premium, Enterprise Mobility + Security E3",
        ]
    }


def test_the_save_button_of_the_review_sends_what_it_shows(admin, directory):
    _, review = wish(admin, BUSINESS_PREMIUM, step="review")
    admin.post(licences_url(), Page(review).form("op_id").fields | {"step": "save"})
    assert held(directory) == {BUSINESS_PREMIUM.id}


def test_a_usage_location_is_asked_for_on_the_field(admin, directory):
    assert "No usage location is set." in Page(admin.get(licences_url(NORA))).words
    _, answer = wish(admin, ENTERPRISE_E3, user_id=NORA)
    assert answer.status_code == 422
    assert "Microsoft assigns no licence without a usage location." in Page(answer).words
    assert 'id="id_sku_error"' in answer.content.decode()
    assert directory.writes() == []


@pytest.mark.parametrize(
    ("products", "words"),
    [
        ((BUSINESS_PREMIUM, POWER_BI_PRO), "You changed nothing."),
        ((BUSINESS_PREMIUM, CLASSROOM), "Microsoft changes these licences only one after the other."),
    ],
)
def test_what_cannot_be_sent_in_one_go_is_told_before(admin, directory, products, words):
    _, answer = wish(admin, *products)
    assert words in Page(answer).words
    assert directory.writes() == []


def test_the_last_licence_that_somebody_else_took_is_told_as_that(admin, directory):
    fields = filled(admin, licences_url()) | {"sku": [ENTERPRISE_E3.id], "step": "save"}
    for user in list(directory.users().values())[5:15]:
        user.licences = (Licence(ENTERPRISE_E3.id),)
    answer = admin.post(licences_url(), fields)
    assert answer.status_code == 422
    assert "No licences of this kind are left. Buy more, or take one from somebody. Nothing was" in Page(answer).words
    assert held(directory) == {BUSINESS_PREMIUM.id, POWER_BI_PRO.id}


def test_licences_that_changed_meanwhile_are_not_overwritten(admin, directory):
    fields = filled(admin, licences_url()) | {"sku": [], "step": "save"}
    directory.special("plain").licences = (Licence(ENTERPRISE_E3.id),)
    answer = admin.post(licences_url(), fields)
    assert answer.status_code == 409
    assert "The licences changed meanwhile." in Page(answer).words
    assert directory.writes() == []


def test_who_may_not_see_what_is_free_may_take_away(writer, sandbox, directory):
    sandbox.fault("partnercenter", "status", method="GET", path="/subscribedskus", status=403, times=0)
    assert "We cannot see which licences are free." in Page(writer.get(licences_url())).words
    _, answer = wish(writer, BUSINESS_PREMIUM)
    assert "Adele Vance was given other licences" in Page(answer).words
    assert held(directory) == {BUSINESS_PREMIUM.id}


def test_a_part_that_was_done_is_told_as_a_part(admin, sandbox, directory):
    fields = filled(admin, licences_url()) | {"sku": [ENTERPRISE_E3.id], "step": "save"}
    sandbox.fault("partnercenter", "drop_before", method="POST", path="/licenseupdates")
    admin.post(licences_url(), fields)
    directory.special("plain").licences = (Licence(ENTERPRISE_E3.id), Licence(POWER_BI_PRO.id))
    words = Page(step(admin, fields, "check")).words
    assert "Only a part is as it was wanted. Not done: Power BI Pro." in words
