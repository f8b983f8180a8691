"""What people have decided: which rows they join and part, and that no sync undoes it."""

import uuid
from random import shuffle

import pytest

from customers import joining
from customers.models import (
    Customer,
    Favourite,
    Label,
    MatchDecision,
    SourceRow,
    SyncRun,
    Visit,
)
from customers.sync import sync_now
from partnerportal.models import Operator
from partnerportal.upstream import partner_center
from users.models import Operation

from .rows import LATER, NOON, ap, pc, walk

pytestmark = pytest.mark.django_db

ONE = "11111111-1111-4111-8111-111111111111"
TWO = "22222222-2222-4222-8222-222222222222"
THREE = "33333333-3333-4333-8333-333333333333"


@pytest.fixture
def maya(db):
    return Operator.objects.create(subject="t:o", tid=ONE, oid=TWO, name="Maya", email="maya@partner.example")


def decide(by, tenant_id, avepoint_id, verdict="linked"):
    return MatchDecision.objects.create(
        tenant_id=tenant_id, avepoint_id=avepoint_id, verdict=verdict, by=by,
        partner_center_name="mine", avepoint_name="theirs",
    )  # fmt: skip


def avepoint_row(source_id):
    return SourceRow.objects.select_related("customer").get(source="avepoint", source_id=source_id)


def label(customer, text, kind="alias"):
    return Label.objects.create(customer=customer, kind=kind, text=text, folded=text.lower())


def test_joining_tells_the_customer_at_once_and_deletes_the_empty_one():
    walk([pc(ONE, "Contoso Ltd", "contoso.example")], [ap("a1", "CNT", country="Germany", status="Failed")])
    mine = Customer.objects.get(tenant_id=ONE)
    joining.join(avepoint_row("a1"), mine)
    customer = Customer.objects.get()
    assert (customer.pk, customer.key, customer.name) == (mine.pk, ONE, "Contoso Ltd")
    assert (customer.source_words, customer.ap_status, customer.country_code) == ("Both", "Failed", "DE")
    assert Customer.objects.search("cnt").get() == customer
    assert customer.conflicts == ["name"]
    joining.join(avepoint_row("a1"), mine)  # once more does no harm
    assert Customer.objects.count() == 1


def test_joining_brings_labels_favourites_and_visits_without_doubles(maya):
    tom = Operator.objects.create(subject="t:t", tid=ONE, oid=THREE, name="Tom", email="tom@partner.example")
    walk([pc(ONE, "Mine")], [ap("a1", "Theirs")])
    mine, theirs = Customer.objects.get(tenant_id=ONE), Customer.objects.get(key="ap-a1")
    for customer in (mine, theirs):
        label(customer, "Same")
        Favourite.objects.create(operator=maya, customer=customer)
    label(theirs, "X-17", "code")
    label(theirs, "same", "tag")
    Favourite.objects.create(operator=tom, customer=theirs)
    Visit.objects.create(operator=maya, customer=mine, at=NOON)
    Visit.objects.create(operator=maya, customer=theirs, at=LATER[0])
    Visit.objects.create(operator=tom, customer=theirs, at=LATER[1])
    joining.join(avepoint_row("a1"), mine)
    assert set(mine.labels.values_list("kind", "text")) == {("alias", "Same"), ("code", "X-17"), ("tag", "same")}
    assert set(Favourite.objects.values_list("operator", "customer")) == {(maya.pk, mine.pk), (tom.pk, mine.pk)}
    assert set(Visit.objects.values_list("operator", "customer", "at")) == {
        (maya.pk, mine.pk, LATER[0]),
        (tom.pk, mine.pk, LATER[1]),
    }
    assert Customer.objects.search("x-17").get() == mine


def test_a_customer_with_operations_is_unlisted_and_not_deleted(maya):
    walk([pc(ONE, "Mine")], [ap("a1", "Theirs")])
    mine, theirs = Customer.objects.get(tenant_id=ONE), Customer.objects.get(key="ap-a1")
    Operation.objects.create(op_id=uuid.uuid4(), kind="create", by=maya, customer=theirs, tenant_id=TWO)
    joining.join(avepoint_row("a1"), mine)
    theirs.refresh_from_db()
    assert (theirs.listed, theirs.rows.count()) == (False, 0)
    own = joining.part(avepoint_row("a1"))
    assert (own.key, own.listed) == ("ap-a1", True)


def test_parting_gives_the_row_a_customer_of_its_own_at_once():
    walk([pc(ONE, "Mine")], [ap("a1", "Theirs", status="Failed")])
    mine = Customer.objects.get(tenant_id=ONE)
    joining.join(avepoint_row("a1"), mine)
    own = joining.part(avepoint_row("a1"))
    mine.refresh_from_db()
    assert (own.key, own.name, own.source_words, own.ap_status) == ("ap-a1", "Theirs", "AvePoint only", "Failed")
    assert (mine.source_words, mine.ap_status, mine.conflicts) == ("Partner Center only", "", [])


def test_a_row_parts_even_when_partner_center_has_forgotten_the_customer(maya):
    walk([pc(ONE, "Mine")], [ap("a1", "Theirs")])
    decide(maya, ONE, "a1")
    joining.join(avepoint_row("a1"), Customer.objects.get(tenant_id=ONE))
    for at in LATER[:2]:
        walk([], at=at)
    joined = Customer.objects.get()
    assert (joined.key, joined.source_words) == ("ap-a1", "AvePoint only")
    MatchDecision.objects.update(undone_at=NOON, undone_by=maya)
    own = joining.part(avepoint_row("a1"))
    joined.refresh_from_db()
    assert (own.key, own.listed) == ("ap-a1", True)
    assert (joined.key, joined.listed) == (ONE, False)


def test_what_is_joined_by_its_id_is_not_parted():
    walk([pc(ONE, "Mine")], [ap(ONE, "Theirs")])
    with pytest.raises(ValueError, match="the same id"):
        joining.part(avepoint_row(ONE))
    assert Customer.objects.get().source_words == "Both"


@pytest.mark.parametrize("order", ["Partner Center later", "AvePoint later", "both at once"])
def test_a_link_is_honoured_whenever_its_rows_arrive(maya, order):
    decide(maya, ONE, "a1")
    if order == "Partner Center later":
        walk(avepoint=[ap("A1", "Theirs")])
        label(Customer.objects.get(), "Ours")
        walk([pc(ONE, "Mine")])
        assert Customer.objects.search("ours").exists()
    elif order == "AvePoint later":
        walk([pc(ONE, "Mine")])
        walk(avepoint=[ap("A1", "Theirs")])
    else:
        walk([pc(ONE, "Mine")], [ap("A1", "Theirs")])
    customer = Customer.objects.get()
    assert (customer.key, customer.source_words) == (ONE, "Both")


def test_a_row_linked_to_another_tenant_does_not_draw_its_own_tenant_in(maya):
    walk([pc(ONE, "Mine")], [ap(TWO, "Theirs")])
    decide(maya, ONE, TWO)
    walk()
    assert Customer.objects.get().source_words == "Both"
    walk([pc(ONE, "Mine"), pc(TWO, "Another")])
    assert {(c.name, c.tenant_id, c.source_words) for c in Customer.objects.all()} == {
        ("Mine", ONE, "Both"),
        ("Another", TWO, "Partner Center only"),
    }
    MatchDecision.objects.update(undone_at=NOON, undone_by=maya)
    assert joining.part(avepoint_row(TWO)).tenant_id == TWO  # where its id belongs
    assert Customer.objects.get(tenant_id=TWO).source_words == "Both"


def test_of_a_linked_row_and_one_with_the_tenants_id_the_one_with_the_id_is_told(maya):
    walk([pc(ONE, "Mine")], [ap("a1", "Linked", status="Working")])
    decide(maya, ONE, "a1")
    walk(avepoint=[ap("a1", "Linked", status="Working"), ap(ONE.upper(), "By id", status="Failed")])
    customer = Customer.objects.get()
    assert (customer.rows.count(), customer.ap_status) == (3, "Failed")
    assert Customer.objects.search("linked").get() == customer


def test_the_name_that_avepoint_is_said_to_use_is_of_the_same_row_as_all_else(maya, django_assert_num_queries):
    walk([pc(ONE, "Mine")], [ap("0", "Linked"), ap("00", "Linked as well")])  # their ids come before the tenant's
    for linked in ("0", "00"):
        joining.join(avepoint_row(linked), Customer.objects.get(tenant_id=ONE))
    assert Customer.objects.get().avepoint_name == "Linked"
    walk(avepoint=[ap("0", "Linked"), ap("00", "Linked as well"), ap(ONE, "By id")])
    customer = Customer.objects.get()
    with django_assert_num_queries(1):
        assert customer.avepoint_name == "By id"
    for at in LATER[:2]:  # the row with the id is gone
        walk(avepoint=[ap("0", "Linked"), ap("00", "Linked as well")], at=at)
    assert Customer.objects.get().avepoint_name == "Linked"


def test_links_and_labels_survive_ten_syncs_with_shuffled_pages_and_doubled_rows(maya, snapshot, sandbox, monkeypatch):
    monkeypatch.setattr(partner_center, "LARGEST_PAGE", 20)
    sandbox.assume("avepoint_paging", 20)
    world = sandbox.running.cloud.world
    theirs = list(Customer.objects.from_source("ap").order_by("pk")[:2])
    mine = list(Customer.objects.from_source("pc").order_by("pk")[:2])
    linked, apart = zip(mine, theirs, strict=True)
    row = linked[1].rows.get()
    decide(maya, linked[0].key, row.source_id)
    decide(maya, apart[0].key, apart[1].rows.get().source_id, "apart")
    label(linked[0], "Ours"), label(linked[1], "Theirs"), label(apart[1], "Alone")
    joining.join(row, linked[0])
    before = {customer["id"]: customer for customer in Customer.objects.values()}
    for service in ("partnercenter", "avepoint"):
        sandbox.fault(service, "repeat_items", times=0, path="/customers$")
    for _ in range(10):
        pairs = list(world.customers.items())
        shuffle(pairs)
        world.customers.clear()
        world.customers.update(pairs)
        for place, customer in enumerate(world.customers.values(), 1):
            customer.seq = place  # by which the cloud goes on after a page
        shuffle(world.avepoint)
        assert sync_now().state == SyncRun.State.DONE
    assert {customer["id"]: customer for customer in Customer.objects.values()} == before
    assert SourceRow.objects.count() == len(world.customers) + len(world.avepoint)
    assert set(linked[0].labels.values_list("text", flat=True)) == {"Ours", "Theirs"}
    assert Customer.objects.get(pk=apart[1].pk).source_words == "AvePoint only"
    assert list(apart[1].labels.values_list("text", flat=True)) == ["Alone"]
    assert MatchDecision.objects.filter(undone_at=None).count() == 2
