"""Create and add another: the password of the one, and the form for the next."""

from django.urls import reverse

from customers.models import Customer
from partnerportal.models import Operator
from tests.pages import Page
from users import templates
from users.models import UserTemplate

from .conftest import MAYA, filled, new_url, newcomer, shown_password, tenant


def warehouse():
    row = UserTemplate(customer=Customer.objects.get(tenant_id=tenant("contoso")))
    rules = {"usage_location": {"mode": "locked", "value": "IT"}}
    return templates.save(row, name="Warehouse", rules=rules, version=0, by=Operator.objects.first())


def test_the_next_form_keeps_customer_and_template_and_nothing_of_the_person(writer, directory):
    row = warehouse()
    fields = filled(
        writer, f"{new_url()}?template={row.pk}", first_name="Maya", last_name="Lind", user_name="maya.lind"
    )
    answer = writer.post(new_url(), fields | {"then": "another"})
    page = Page(answer)
    (user,) = directory.named("maya.lind")
    assert answer.status_code == 200
    assert shown_password(answer) == user.password
    assert answer["Cache-Control"] == "no-store"
    assert "Maya Lind was created" in page.words
    assert page.title == "Maya Lind created · New user · Contoso Trading · Partner Desk"
    following = page.form("op_id").fields
    assert following["op_id"] != fields["op_id"]
    assert (following["template"], following["usage_location"]) == (str(row.pk), "IT")
    assert not any(following[name] for name in ("first_name", "last_name", "display_name", "user_name", "password"))
    zoe = following | {"first_name": "Zoe", "last_name": "Lind", "user_name": "zoe.lind"}
    assert Page(writer.post(new_url(), zoe)).title == "Zoe Lind created · Partner Desk"
    assert [line["request_id"] for line in directory.writes()] == [fields["op_id"], following["op_id"]]


def test_htmx_gets_it_in_place_of_the_form(writer, directory):
    answer = writer.htmx("POST", new_url(), newcomer(writer, then="another"))
    (user,) = directory.named("maya.lind")
    assert shown_password(answer) == user.password
    assert "<html" not in answer.content.decode()


def test_a_second_press_makes_no_second_user(writer, directory):
    fields = newcomer(writer, then="another")
    passwords = {shown_password(writer.post(new_url(), fields)) for _ in range(2)}
    assert len(directory.named("maya.lind")) == len(passwords) == 1


def test_what_is_wrong_comes_back_as_ever(writer, directory):
    answer = writer.post(new_url(), newcomer(writer, usage_location="", then="another"))
    assert answer.status_code == 422
    assert Page(answer).form("op_id").fields["first_name"] == MAYA["first_name"]


def test_an_outcome_that_nobody_knows_leads_to_no_next_form(writer, sandbox):
    sandbox.fault("partnercenter", "drop_after", method="POST", path="/users")
    page = Page(writer.post(new_url(), newcomer(writer, then="another")))
    assert "We do not know if Maya Lind was created" in page.words
    assert reverse("users", args=[tenant("contoso")])
    assert "op_id" not in {name for form in page.forms for name in form.fields}
