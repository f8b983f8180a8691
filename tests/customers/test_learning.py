"""What a page learns of a customer as it is opened, and that no sync forgets it."""

import pytest

from customers import learning
from customers.models import (
    Customer,
)
from customers.sync import sync_now
from partnerportal.sandbox.seed import SPECIAL
from partnerportal.upstream.partner_center import CustomerProfile

from .rows import NOON, ap, pc, walk

pytestmark = pytest.mark.django_db

ONE = "11111111-1111-4111-8111-111111111111"


def test_a_country_that_was_read_by_id_outlives_the_next_walk():
    walk([pc(ONE, "Munson")])
    learning.learn(Customer.objects.get(), CustomerProfile(ONE, "Munson", "", "PT", ("Munson.example",)), NOON)
    walk([pc(ONE, "Munson & Sons")])
    customer = Customer.objects.get()
    assert (customer.name, customer.country, customer.custom_domains) == (
        "Munson & Sons",
        "Portugal",
        ["munson.example"],
    )
    assert customer.profile_read_at == NOON


def test_avepoints_country_wins_over_the_one_that_was_read_by_id():
    walk([pc(ONE, "Munson")])
    learning.learn(Customer.objects.get(), CustomerProfile(ONE, "Munson", "", "PT"), NOON)
    walk(avepoint=[ap(ONE, "Munson", country="Spain")])
    assert Customer.objects.get().country == "Spain"


def test_learning_of_a_customer_writes_nothing_that_others_have_changed_meanwhile():
    walk([pc(ONE, "Munson")], [ap(ONE, "Munson", status="Working")])
    opened = Customer.objects.get()
    walk([pc(ONE, "Renamed")], [ap(ONE, "Munson", status="Failed")])
    learning.see_domains(Customer.objects.get(), {"fed.example": "federated"})
    learning.learn(opened, CustomerProfile(ONE, "Munson", "", "PT"), NOON)
    customer = Customer.objects.get()
    assert (customer.name, customer.ap_status, customer.country) == ("Renamed", "Failed", "Portugal")
    assert customer.seen_domains == {"fed.example": "federated"}


def test_opening_a_customer_learns_its_country_without_a_call_per_row(signed_in, snapshot, sandbox):
    customer = Customer.objects.get(tenant_id=SPECIAL["pc_only"])
    assert customer.country == ""
    browser = signed_in("admin")
    sandbox.running.journal.clear()
    browser.get("/customers/?size=200")
    assert sandbox.journal() == []
    browser.get(f"/customers/{customer.key}/users/")
    by_id = [line for line in sandbox.journal("partnercenter") if line["path"] == f"/v1/customers/{customer.key}"]
    assert len(by_id) == 1
    sync_now()
    customer.refresh_from_db()
    assert customer.country_code == sandbox.running.cloud.world.customers[customer.key].country


def test_a_federated_domain_stays_federated_until_somebody_says_otherwise():
    walk([pc(ONE, "One")])
    customer = Customer.objects.get()
    learning.see_domains(customer, {"one.example": "", "fed.example": "federated", "not a domain/\x00": ""})
    learning.see_domains(customer, {"fed.example": ""})
    customer.refresh_from_db()
    assert customer.seen_domains == {"one.example": "", "fed.example": "federated"}
    learning.see_domains(customer, {"fed.example": "managed"})
    customer.refresh_from_db()
    assert customer.seen_domains["fed.example"] == "managed"
