"""Uploads and checks, looked at by somebody who wants them to go wrong."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from customers.models import Customer
from partnerportal import clock
from partnerportal.sessions import PROVED_AT
from tests.pages import Page
from users.models import OnboardingRun, WaitingFile

from ..conftest import tenant
from .made import csv as made
from .test_check import CONTOSO, HEADER, NEW, mend, page_of, problems, sent, upload

ANN = ("Ann", "Lee", "ann.lee", "DE", "", "")
BEN = ("Ben", "Low", "ben.low", "DE", "", "")


def proved(browser):
    session = browser.session
    session[PROVED_AT] = clock.now().timestamp()
    session.save()
    return browser


def start_form(browser, run):
    """What the button of the page sends, as the page stands now."""
    fields = next(form.fields for form in page_of(browser, run).forms if "walk" in form.fields)
    return fields | {"step": "start"}


# --- What was seen is what is started -----------------------------------------------------------------------


def test_a_page_made_before_the_rows_were_changed_elsewhere_starts_nothing(admin):
    run = sent(proved(admin), ANN)
    old = start_form(admin, run)
    mend(admin, run, cell_2_user_name="somebody.else")
    answer = admin.post(reverse("run-check", args=[run.key]), old)
    assert answer.status_code == 409
    assert "Nothing was started" in Page(answer).words
    run.refresh_from_db()
    assert run.state == OnboardingRun.State.CHECKED
    assert admin.post(reverse("run-check", args=[run.key]), start_form(admin, run)).status_code == 303
    run.refresh_from_db()
    assert run.state == OnboardingRun.State.RUNNING


def test_a_start_that_names_no_check_or_another_one_starts_nothing(admin):
    run = sent(proved(admin), ANN)
    url, form = reverse("run-check", args=[run.key]), start_form(admin, run)
    for walk in ({}, {"walk": ""}, {"walk": str(int(form["walk"]) + 1)}):
        answer = admin.post(url, {name: value for name, value in form.items() if name != "walk"} | walk)
        assert (answer.status_code, "Nothing was started" in Page(answer).words) == (409, True)
    run.checking.delete()
    assert admin.post(url, form).status_code == 409
    run.refresh_from_db()
    assert (run.state, run.grant) == (OnboardingRun.State.CHECKED, None)


def test_a_file_without_a_row_that_can_go_is_not_started(admin):
    run = sent(proved(admin), ("Ann", "Lee", "ann lee", "DE", "", ""))
    walk = {"step": "start", "walk": str(run.checking.fence)}
    assert "There is no row to be sent." in Page(admin.post(reverse("run-check", args=[run.key]), walk)).words
    run.refresh_from_db()
    assert run.state == OnboardingRun.State.CHECKED


def test_a_form_that_comes_back_with_another_file_is_refused_and_not_taken_for_the_first(admin):
    fields = Page(admin.get(CONTOSO)).form("op_id").fields
    first, second = made(HEADER, ANN), made(HEADER, BEN)
    assert admin.post(NEW, fields | {"file": SimpleUploadedFile("a.csv", first)}).status_code == 303
    answer = admin.post(NEW, fields | {"file": SimpleUploadedFile("a.csv", second)})
    assert answer.status_code == 409
    assert admin.post(NEW, fields | {"file": SimpleUploadedFile("a.csv", first)}).status_code == 303
    assert OnboardingRun.objects.count() == 1


def test_what_columns_mean_pressed_twice_and_otherwise_makes_one_run(admin):
    asked = upload(admin, made(("E-Mail", "Name"), ("a@contosotrading.example", "Ann Lee")), url=CONTOSO)["Location"]
    fields = Page(admin.get(asked)).form("column-0").fields
    late = fields | {"column-0": "user_name", "column-1": "first_name"}
    file = WaitingFile.objects.get()
    assert admin.post(asked, fields | {"column-0": "user_name", "column-1": "display_name"}).status_code == 303
    file.save(force_insert=True)  # the other press had read it before it went
    assert admin.post(asked, late).status_code == 303
    assert [row.typed.get("display_name") for row in OnboardingRun.objects.get().rows.all()] == ["Ann Lee"]


# --- Whom a row means ---------------------------------------------------------------------------------------


def test_of_two_customers_with_one_name_none_is_taken_however_many_have_the_name_in_theirs(admin):
    known = Customer.objects.get(tenant_id=tenant("contoso"))
    for number in range(60):
        name = "Muster" if number in (49, 59) else f"Muster {number:02} Holding"
        tenant_id = f"00000000-0000-4000-8000-0000000000{number:02}"
        Customer.objects.create(
            key=tenant_id, tenant_id=tenant_id, name=name, sort_name=name.lower(), search_text=name.lower()
        )
    run = sent(admin, (*ANN[:5], "Muster"), (*BEN[:5], known.name.upper()), url=NEW)
    assert problems(run)[2].startswith("2 customers are named “Muster”.")
    assert run.rows.get(line=2).customer is None
    assert run.rows.get(line=3).customer == known


@pytest.mark.parametrize("said", ["x" * 60_000, "a b c " * 10_000, "Ünknöwn " * 5_000, "- " * 400])
def test_a_customer_of_any_length_is_told_to_be_none_and_stops_no_check(admin, said):
    run = sent(admin, (*ANN[:5], said), BEN)
    assert run.state == OnboardingRun.State.CHECKED
    assert problems(run)[2].startswith("No customer has the tenant ID, domain or name")
    assert len(problems(run)[2]) < 500
    assert problems(run)[3] == ""


# --- Who may see it -----------------------------------------------------------------------------------------


def test_the_list_names_no_customer_that_is_not_the_partners_any_more(admin):
    run = sent(admin, ANN)
    customer = Customer.objects.get(tenant_id=tenant("contoso"))
    assert customer.name in Page(admin.get(reverse("runs"))).words
    Customer.objects.filter(pk=customer.pk).update(listed=False)
    assert admin.get(reverse("run", args=[run.key])).status_code == 404
    words = Page(admin.get(reverse("runs"))).words
    assert customer.name not in words
    assert f"Run {run.pk}" not in words
