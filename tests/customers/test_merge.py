"""Two lists become one: what joins two rows, what stays apart, and what survives the next walk."""

import uuid
from datetime import UTC, datetime, timedelta
from random import shuffle

import pytest

from customers import countries, matches, merge, snapshot, staging
from customers.models import (
    Customer,
    Favourite,
    Label,
    MatchDecision,
    MatchSuggestion,
    SourceName,
    SourceRow,
    SyncRun,
    Visit,
)
from customers.sync import sync_now
from partnerportal.models import Operator
from partnerportal.sandbox import seed
from partnerportal.sandbox.seed import SPECIAL, SPECIAL_NAMES
from partnerportal.upstream import partner_center
from partnerportal.upstream.avepoint import AvePointCustomer
from partnerportal.upstream.partner_center import CustomerProfile, CustomerRow
from users.models import Operation

pytestmark = pytest.mark.django_db

ONE = "11111111-1111-4111-8111-111111111111"
TWO = "22222222-2222-4222-8222-222222222222"
THREE = "33333333-3333-4333-8333-333333333333"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def pc(tenant_id, name="", domain=""):
    return merge.from_partner_center(CustomerRow(tenant_id, name, domain, "reseller"))


def ap(given_id, name="", *, owner="", status="Working", country=""):
    return merge.from_avepoint(AvePointCustomer(given_id, name, owner, status, country))


def walk(partner_center=None, avepoint=None, *, at=NOON, **more):
    """Put complete walks in place; a source that is left out was not walked."""
    walks = {SourceName.PARTNER_CENTER: partner_center, SourceName.AVEPOINT: avepoint}
    merge.swap({source: rows for source, rows in walks.items() if rows is not None}, at, **more)


def suggestions():
    return {
        (suggestion.partner_center.name, suggestion.avepoint.name, suggestion.reason)
        for suggestion in MatchSuggestion.objects.select_related("partner_center", "avepoint")
    }


# --- What joins two rows ------------------------------------------------------------------------------------


def test_rows_with_the_same_tenant_id_are_one_customer():
    walk([pc(ONE, "Contoso Ltd", "contoso.example")], [ap(ONE, "Contoso Backup", country="Germany", status="Failed")])
    customer = Customer.objects.get()
    assert (customer.key, customer.tenant_id, customer.name) == (ONE, ONE, "Contoso Ltd")
    assert (customer.domain, customer.country, customer.country_code) == ("contoso.example", "Germany", "DE")
    assert (customer.ap_status, customer.source_words) == ("Failed", "Both")


@pytest.mark.parametrize("first", ["both at once", "Partner Center first", "AvePoint first"])
def test_the_case_of_avepoints_id_and_the_order_of_the_walks_do_not_matter(first):
    tenant_id = "abcdefab-cdef-4abc-8def-abcdefabcdef"
    mine, theirs = [pc(tenant_id, "Alpine")], [ap(tenant_id.upper(), "Alpine")]
    if first == "both at once":
        walk(mine, theirs)
    elif first == "Partner Center first":
        walk(mine)
        walk(avepoint=theirs)
    else:
        walk(avepoint=theirs)
        walk(mine)
    assert Customer.objects.get().source_words == "Both"
    assert SourceRow.objects.get(source="avepoint").given_id == tenant_id.upper()


def test_nothing_is_ever_joined_by_name_domain_or_mail():
    walk([pc(ONE, "Contoso", "contoso.example")], [ap(TWO, "Contoso", owner="it@contoso.example")])
    assert {(c.key, c.source_words) for c in Customer.objects.all()} == {
        (ONE, "Partner Center only"),
        (f"ap-{TWO}", "AvePoint only"),
    }


def test_ids_that_merely_look_alike_stay_apart():
    masked = f"{ONE[:14]}****-***-{ONE[24:]}"
    walk([pc(ONE, "Best")], [ap(masked, "Best"), ap(f" {ONE}", "Best"), ap(ONE.replace("-", ""), "Best")])
    assert Customer.objects.count() == 4
    assert Customer.objects.get(key=ONE).source_words == "Partner Center only"
    assert Customer.objects.get(key=f"ap-{masked}").tenant_id is None


def test_rows_of_one_source_with_one_name_stay_rows():
    walk([pc(ONE, "Blue Yonder"), pc(TWO, "Blue Yonder")], [ap("a1", "Blue Yonder"), ap("a2", "Blue Yonder")])
    assert Customer.objects.filter(name="Blue Yonder").count() == 4


def test_the_sandbox_list_is_merged_by_tenant_id_alone(snapshot, sandbox):
    world = sandbox.running.cloud.world
    told = {row.told_id.lower() for row in world.avepoint}
    assert Customer.objects.from_source("both").count() == len(told & set(world.customers))
    assert Customer.objects.from_source("pc").count() == len(set(world.customers) - told)
    assert Customer.objects.from_source("ap").count() == len(told - set(world.customers))
    assert Customer.objects.get(tenant_id=SPECIAL["upper_id"]).source_words == "Both"
    assert Customer.objects.get(tenant_id=SPECIAL["masked_id"]).source_words == "Partner Center only"
    for given in seed.AVEPOINT_ONLY:
        assert Customer.objects.get(key=f"ap-{given.lower()}").source_words == "AvePoint only"
    assert Customer.objects.filter(name=SPECIAL_NAMES["duplicate_a"]).count() == 4


def test_without_tenant_ids_from_avepoint_every_row_stands_alone(sandbox):
    sandbox.assume("avepoint_id_is_tenant_id", False)
    sync_now()
    assert Customer.objects.from_source("both").count() == 0
    world = sandbox.running.cloud.world
    assert Customer.objects.count() == len(world.customers) + len(world.avepoint)


# --- What survives the next walk ----------------------------------------------------------------------------


def test_primary_keys_and_first_seen_survive_every_walk(snapshot, sandbox):
    before = dict(Customer.objects.values_list("key", "pk"))
    rows = dict(SourceRow.objects.values_list("pk", "first_seen_at"))
    sync_now()
    assert dict(Customer.objects.values_list("key", "pk")) == before
    assert dict(SourceRow.objects.values_list("pk", "first_seen_at")) == rows


def test_a_customer_that_partner_center_comes_to_know_keeps_its_row_and_gets_the_tenants_key():
    walk([], [ap(ONE, "Newcomer", country="Vietnam")])
    before = Customer.objects.get()
    assert before.key == f"ap-{ONE}"
    walk([pc(ONE, "Newcomer GmbH", "newcomer.example")])
    after = Customer.objects.get()
    assert (after.pk, after.key, after.name, after.country) == (before.pk, ONE, "Newcomer GmbH", "Vietnam")


def test_the_old_address_of_such_a_customer_leads_to_the_new_one(signed_in, sandbox):
    browser = signed_in("admin")
    walk([], [ap(SPECIAL["contoso"].upper(), "Contoso")])
    assert browser.get(f"/customers/ap-{SPECIAL['contoso']}/users/").status_code == 200
    walk([pc(SPECIAL["contoso"], "Contoso Trading")])
    answer = browser.get(f"/customers/ap-{SPECIAL['contoso']}/", follow=True)
    assert answer.redirect_chain[-1][0] == f"/customers/{SPECIAL['contoso']}/users/"
    answer = browser.get(f"/customers/ap-{SPECIAL['contoso'].upper()}/users/")
    assert (answer.status_code, answer["Location"]) == (302, f"/customers/{SPECIAL['contoso']}/users/")


def test_what_a_source_tells_anew_is_taken_over_and_a_change_of_the_other_is_kept():
    walk([pc(ONE, "Old Name", "old.example")], [ap(ONE, "Old", status="Working", country="Germany")])
    walk([pc(ONE, "New Name", "new.example")])
    walk(avepoint=[ap(ONE, "Old", status="Failed", country="Deutschland?")])
    customer = Customer.objects.get()
    assert (customer.name, customer.domain, customer.ap_status) == ("New Name", "new.example", "Failed")
    assert (customer.country, customer.country_code) == ("Deutschland?", "")
    assert Customer.objects.search("new.example").exists()
    assert not Customer.objects.search("old.example").exists()


LATER = [NOON + timedelta(minutes=15 * times) for times in range(1, 6)]


def test_a_row_is_missing_with_the_first_complete_walk_without_it_and_gone_with_the_second():
    walk([pc(ONE, "Stays"), pc(TWO, "Goes")], [])
    walk(avepoint=[], at=LATER[0])  # Partner Center did not answer: nothing is known to be gone
    assert not Customer.objects.exclude(missing_since=None).exists()
    walk([pc(ONE, "Stays")], at=LATER[1])
    going = Customer.objects.get(tenant_id=TWO)
    assert (going.listed, going.missing_since, going.missing_words) == (True, LATER[1], "Not in Partner Center since")
    walk([pc(ONE, "Stays")], at=LATER[2])
    gone = Customer.objects.get(pk=going.pk)
    row = SourceRow.objects.get(source_id=TWO)
    assert (gone.listed, gone.key, row.missing_since, row.gone_at) == (False, TWO, LATER[1], LATER[2])
    walk([pc(ONE, "Stays")], at=LATER[3])
    assert SourceRow.objects.get(source_id=TWO).gone_at == LATER[2]
    stays = Customer.objects.get(tenant_id=ONE)
    assert (stays.listed, stays.missing_since) == (True, None)


def test_a_customer_that_was_gone_comes_back_as_the_same_one():
    walk([pc(ONE, "Comes and goes")])
    before = Customer.objects.get()
    for at in LATER[:3]:
        walk([], at=at)
    assert not Customer.objects.get().listed
    walk([pc(ONE, "Back again")], at=LATER[3])
    after = Customer.objects.get()
    assert (after.pk, after.key, after.name, after.listed, after.missing_since) == (
        before.pk,
        ONE,
        "Back again",
        True,
        None,
    )
    row = SourceRow.objects.get()
    assert (row.missing_since, row.gone_at, row.first_seen_at) == (None, None, NOON)


def test_a_row_that_is_absent_every_other_time_never_goes():
    walk([pc(ONE, "Flickers"), pc(TWO, "Stays")])
    for at in range(3):
        walk([pc(TWO, "Stays")], at=LATER[at])
        walk([pc(ONE, "Flickers"), pc(TWO, "Stays")], at=LATER[at + 1])
    assert Customer.objects.get(tenant_id=ONE).missing_since is None


def test_a_customer_gone_from_one_source_is_the_other_ones_alone():
    walk([pc(ONE, "Mine", "mine.example"), pc(TWO, "Also")], [ap(ONE, "Theirs"), ap(TWO, "Also")])
    primary_key = Customer.objects.get(tenant_id=ONE).pk
    for at in LATER[:2]:
        walk([pc(TWO, "Also")], [ap(ONE, "Theirs")], at=at)
    first, second = Customer.objects.get(pk=primary_key), Customer.objects.get(tenant_id=TWO)
    assert (first.key, first.tenant_id, first.name, first.domain) == (f"ap-{ONE}", None, "Theirs", "")
    assert (first.source_words, first.missing_since, first.listed) == ("AvePoint only", None, True)
    assert (second.source_words, second.ap_status, second.listed) == ("Partner Center only", "", True)
    walk([pc(ONE, "Mine", "mine.example"), pc(TWO, "Also")], at=LATER[2])
    again = Customer.objects.get(pk=primary_key)
    assert (again.key, again.tenant_id, again.source_words) == (ONE, ONE, "Both")


def test_the_address_of_a_customer_that_left_partner_center_leads_to_what_is_left(signed_in, sandbox):
    browser = signed_in("admin")
    walk([pc(ONE, "Mine")], [ap(ONE, "Theirs")])
    for at in LATER[:2]:
        walk([], at=at)
    answer = browser.get(f"/customers/{ONE}/users/")
    assert (answer.status_code, answer["Location"]) == (302, f"/customers/ap-{ONE}/users/")
    for at in LATER[2:4]:
        walk(avepoint=[], at=at)
    assert browser.get(f"/customers/{ONE}/users/").status_code == 404
    assert browser.get(f"/customers/ap-{ONE}/users/").status_code == 404


def test_a_sync_that_finds_nothing_new_says_so_to_nobody(monkeypatch):
    said = []
    monkeypatch.setattr(snapshot, "changed", lambda: said.append(1))
    rows = [pc(ONE, "One"), pc(TWO, "Two")], [ap(ONE, "One")]
    walk(*rows)
    walk(*rows)
    assert len(said) == 1
    walk([pc(ONE, "One"), pc(TWO, "Two, renamed")], rows[1])
    assert len(said) == 2


def test_many_rows_in_any_order_come_and_go_in_pieces(monkeypatch):
    monkeypatch.setattr(staging, "BATCH", 7)
    monkeypatch.setattr(merge, "BATCH", 7)
    ids = [str(uuid.uuid4()) for _ in range(50)]
    mine, theirs = [pc(one, f"Mine {one}") for one in ids[:40]], [ap(one.upper(), f"Theirs {one}") for one in ids[10:]]
    walk(mine, theirs)
    assert Customer.objects.count() == 50
    assert Customer.objects.from_source("both").count() == 30
    assert Customer.objects.get(tenant_id=ids[20]).name == f"Mine {ids[20]}"
    before = dict(Customer.objects.values_list("pk", "key"))
    for at in LATER[:2]:
        shuffle(mine), shuffle(theirs)
        walk([row for row in mine if row.source_id in ids[:20]], theirs + theirs[:9], at=at)
    assert Customer.objects.filter(listed=True).count() == 50
    assert SourceRow.objects.filter(gone_at=LATER[1]).count() == 20
    walk(mine, theirs, at=LATER[2])
    assert dict(Customer.objects.values_list("pk", "key")) == before


def test_missing_since_is_cleared_when_the_row_comes_back():
    walk([pc(ONE, "Comes and goes")])
    primary_key = Customer.objects.get().pk
    walk([], at=NOON + timedelta(minutes=15))
    walk([pc(ONE, "Comes and goes")], at=NOON + timedelta(minutes=30))
    customer = Customer.objects.get()
    assert (customer.pk, customer.missing_since, customer.missing_from) == (primary_key, None, "")


def test_a_customer_that_one_of_two_sources_lost_says_which():
    walk([pc(ONE, "Both")], [ap(ONE, "Both")])
    walk(avepoint=[], at=LATER[0])
    customer = Customer.objects.get()
    assert (customer.missing_words, customer.missing_since) == ("Not in AvePoint since", LATER[0])
    walk([], at=LATER[1])
    customer.refresh_from_db()
    assert (customer.missing_words, customer.missing_since) == ("Not seen since", LATER[1])
    assert customer.tenant_id == ONE


def test_two_partial_walks_take_nobody_away():
    walk([pc(ONE, "One"), pc(TWO, "Two")])
    walk([pc(ONE, "One")], at=LATER[0])
    for at in LATER[1:3]:
        walk([pc(ONE, "One")], at=at, partial={SourceName.PARTNER_CENTER})
    two = Customer.objects.get(tenant_id=TWO)
    assert (two.listed, two.missing_since) == (True, LATER[0])


def test_a_walk_with_unreadable_rows_calls_nothing_missing_but_brings_the_rest():
    walk([pc(ONE, "One"), pc(TWO, "Two")])
    walk([pc(ONE, "One, renamed"), pc(THREE, "Three")], partial={SourceName.PARTNER_CENTER})
    assert sorted(Customer.objects.values_list("name", flat=True)) == ["One, renamed", "Three", "Two"]
    assert not Customer.objects.exclude(missing_since=None).exists()


def test_a_broken_swap_leaves_everything_as_it_was(monkeypatch):
    walk([pc(ONE, "Before")])

    def fail():
        raise RuntimeError("the last step")

    monkeypatch.setattr(matches, "compare", fail)
    with pytest.raises(RuntimeError):
        walk([pc(ONE, "After"), pc(TWO, "New")])
    assert list(Customer.objects.values_list("name", flat=True)) == ["Before"]


# --- Where the sources differ -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "theirs", "country", "conflicts"),
    [
        ("Čajovna", "CAJOVNA", "Germany", []),
        ("Contoso Ltd", "Contoso Backup", "Germany", ["name"]),
        ("Contoso", "contoso", "France", ["country"]),
        ("Contoso Ltd", "Contoso Backup", "France", ["name", "country"]),
        ("Contoso", "Contoso", "", []),
        ("Contoso", "Contoso", "Deutschland", ["country"]),
        ("", "Contoso", "de", []),  # a name that is not told is no other name
        ("Contoso", "", "GERMANY", []),
    ],
)
def test_what_the_sources_say_differently_is_kept_as_a_conflict(mine, theirs, country, conflicts):
    walk([pc(ONE, mine, "contoso.example")], [ap(ONE, theirs, country=country)])
    merge.learn(Customer.objects.get(), CustomerProfile(ONE, "", "", "DE"), NOON)
    assert Customer.objects.get().conflicts == conflicts
    walk([pc(ONE, mine, "contoso.example")], [ap(ONE, theirs, country=country, status="Failed")])
    assert Customer.objects.get().conflicts == conflicts


def test_a_conflict_ends_with_the_difference():
    walk([pc(ONE, "Contoso Ltd")], [ap(ONE, "Contoso")])
    assert Customer.objects.get().conflicts == ["name"]
    walk([pc(ONE, "Contoso")])
    assert Customer.objects.get().conflicts == []


# --- What people have decided -------------------------------------------------------------------------------


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
    merge.join(avepoint_row("a1"), mine)
    customer = Customer.objects.get()
    assert (customer.pk, customer.key, customer.name) == (mine.pk, ONE, "Contoso Ltd")
    assert (customer.source_words, customer.ap_status, customer.country_code) == ("Both", "Failed", "DE")
    assert Customer.objects.search("cnt").get() == customer
    assert customer.conflicts == ["name"]
    merge.join(avepoint_row("a1"), mine)  # once more does no harm
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
    merge.join(avepoint_row("a1"), mine)
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
    merge.join(avepoint_row("a1"), mine)
    theirs.refresh_from_db()
    assert (theirs.listed, theirs.rows.count()) == (False, 0)
    own = merge.part(avepoint_row("a1"))
    assert (own.key, own.listed) == ("ap-a1", True)


def test_parting_gives_the_row_a_customer_of_its_own_at_once():
    walk([pc(ONE, "Mine")], [ap("a1", "Theirs", status="Failed")])
    mine = Customer.objects.get(tenant_id=ONE)
    merge.join(avepoint_row("a1"), mine)
    own = merge.part(avepoint_row("a1"))
    mine.refresh_from_db()
    assert (own.key, own.name, own.source_words, own.ap_status) == ("ap-a1", "Theirs", "AvePoint only", "Failed")
    assert (mine.source_words, mine.ap_status, mine.conflicts) == ("Partner Center only", "", [])


def test_a_row_parts_even_when_partner_center_has_forgotten_the_customer(maya):
    walk([pc(ONE, "Mine")], [ap("a1", "Theirs")])
    decide(maya, ONE, "a1")
    merge.join(avepoint_row("a1"), Customer.objects.get(tenant_id=ONE))
    for at in LATER[:2]:
        walk([], at=at)
    joined = Customer.objects.get()
    assert (joined.key, joined.source_words) == ("ap-a1", "AvePoint only")
    MatchDecision.objects.update(undone_at=NOON, undone_by=maya)
    own = merge.part(avepoint_row("a1"))
    joined.refresh_from_db()
    assert (own.key, own.listed) == ("ap-a1", True)
    assert (joined.key, joined.listed) == (ONE, False)


def test_what_is_joined_by_its_id_is_not_parted():
    walk([pc(ONE, "Mine")], [ap(ONE, "Theirs")])
    with pytest.raises(ValueError, match="the same id"):
        merge.part(avepoint_row(ONE))
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
    assert merge.part(avepoint_row(TWO)).tenant_id == TWO  # where its id belongs
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
        merge.join(avepoint_row(linked), Customer.objects.get(tenant_id=ONE))
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
    merge.join(row, linked[0])
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


# --- Countries ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "code", "name"),
    [
        ("Germany", "DE", "Germany"),
        ("VIET NAM", "VN", "Vietnam"),
        ("Korea, Republic of", "KR", "South Korea"),
        ("cote d'ivoire", "CI", "Côte d'Ivoire"),
        ("USA", "US", "United States"),
        ("UK", "GB", "United Kingdom"),
        ("Macau", "MO", "Macao"),
        ("de", "DE", "Germany"),
    ],
)
def test_avepoints_country_names_become_codes(told, code, name):
    walk([], [ap("x", "Somewhere", country=told)])
    customer = Customer.objects.get()
    assert (customer.country_code, customer.country) == (code, name)


def test_every_country_of_the_sandbox_is_known(snapshot):
    assert not Customer.objects.from_source("ap").filter(country_code="").exists()
    assert countries.name_of("XX") == "XX"


def test_a_country_nobody_knows_is_shown_as_it_was_told():
    walk([], [ap("x", "Atlantis Ltd", country="Atlantis")])
    customer = Customer.objects.get()
    assert (customer.country, customer.country_code) == ("Atlantis", "")


def test_a_country_that_was_read_by_id_outlives_the_next_walk():
    walk([pc(ONE, "Munson")])
    merge.learn(Customer.objects.get(), CustomerProfile(ONE, "Munson", "", "PT", ("Munson.example",)), NOON)
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
    merge.learn(Customer.objects.get(), CustomerProfile(ONE, "Munson", "", "PT"), NOON)
    walk(avepoint=[ap(ONE, "Munson", country="Spain")])
    assert Customer.objects.get().country == "Spain"


def test_learning_of_a_customer_writes_nothing_that_others_have_changed_meanwhile():
    walk([pc(ONE, "Munson")], [ap(ONE, "Munson", status="Working")])
    opened = Customer.objects.get()
    walk([pc(ONE, "Renamed")], [ap(ONE, "Munson", status="Failed")])
    merge.see_domains(Customer.objects.get(), {"fed.example": "federated"})
    merge.learn(opened, CustomerProfile(ONE, "Munson", "", "PT"), NOON)
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
    merge.see_domains(customer, {"one.example": "", "fed.example": "federated", "not a domain/\x00": ""})
    merge.see_domains(customer, {"fed.example": ""})
    customer.refresh_from_db()
    assert customer.seen_domains == {"one.example": "", "fed.example": "federated"}
    merge.see_domains(customer, {"fed.example": "managed"})
    customer.refresh_from_db()
    assert customer.seen_domains["fed.example"] == "managed"


# --- Suggestions --------------------------------------------------------------------------------------------


def test_one_equal_name_on_each_side_is_kept_as_a_suggestion():
    walk([pc(ONE, "Čajovna"), pc(TWO, "Other")], [ap("a1", "CAJOVNA")])
    assert suggestions() == {("Čajovna", "CAJOVNA", "name")}


def test_a_name_that_stands_twice_on_a_side_is_told_as_such():
    walk([pc(ONE, "Twin"), pc(TWO, "Twin")], [ap("a1", "Twin"), ap("a2", "Single")])
    assert suggestions() == {("Twin", "Twin", "names")}
    walk([pc(ONE, "Twin"), pc(TWO, "Other")])
    assert suggestions() == {("Twin", "Twin", "name")}


def test_the_owners_domain_suggests_the_customer_that_has_it():
    walk([pc(ONE, "Contoso Ltd", "contoso.example")], [ap("a1", "CNT Group", owner="It@Contoso.Example")])
    assert suggestions() == {("Contoso Ltd", "CNT Group", "domain")}


def test_a_custom_domain_that_was_read_by_id_suggests_as_well():
    walk([pc(ONE, "Contoso Ltd", "contoso.onmicrosoft.example")], [ap("a1", "CNT", owner="it@contoso.example")])
    assert suggestions() == set()
    merge.learn(Customer.objects.get(tenant_id=ONE), CustomerProfile(ONE, "", "", "", ("contoso.example",)), NOON)
    walk()
    assert suggestions() == {("Contoso Ltd", "CNT", "domain")}


def test_an_owner_domain_of_several_rows_suggests_nothing_even_when_the_others_are_matched():
    walk(
        [pc(ONE, "The partner itself", "partner.example"), pc(TWO, "Known")],
        [ap(TWO, "Known too", owner="backup@partner.example"), ap("a1", "Unknown", owner="backup@partner.example")],
    )
    assert suggestions() == set()


def test_the_domain_of_our_own_staff_suggests_nothing():
    Operator.objects.create(subject="t:o", tid=ONE, oid=TWO, name="Maya", email="maya@Partner.example")
    walk([pc(ONE, "The partner itself", "partner.example")], [ap("a1", "Somebody", owner="backup@partner.example")])
    assert suggestions() == set()


def test_partner_owned_rows_of_the_sandbox_suggest_nothing(snapshot, sandbox):
    partner_owned = Customer.objects.filter(owner_email__endswith=f"@{seed.PARTNER_DOMAIN}")
    assert partner_owned.exists()
    assert not MatchSuggestion.objects.filter(avepoint__in=partner_owned).exists()


def test_a_matched_customer_is_no_suggestion_and_a_suggestion_goes_with_its_reason():
    walk([pc(ONE, "Contoso", "contoso.example")], [ap("a1", "Contoso", owner="it@contoso.example")])
    assert suggestions() == {("Contoso", "Contoso", "domain")}
    walk(avepoint=[ap("a1", "Contoso", owner="it@elsewhere.example")])
    assert suggestions() == {("Contoso", "Contoso", "name")}
    first = MatchSuggestion.objects.get().pk
    walk(avepoint=[ap("a1", "Contoso", owner="it@elsewhere.example", status="Failed")])
    assert MatchSuggestion.objects.get().pk == first
    walk(avepoint=[ap("a1", "Renamed", owner="it@elsewhere.example"), ap(ONE, "Contoso")])
    assert suggestions() == set()


# --- Awkward rows -------------------------------------------------------------------------------------------


def test_awkward_names_arrive_whole(snapshot):
    for key in ("script", "rtl", "quotes", "accents", "long_name", "formula"):
        assert Customer.objects.get(tenant_id=SPECIAL[key]).name == SPECIAL_NAMES[key]
    assert Customer.objects.search("ubergrosse ete").get().tenant_id == SPECIAL["accents"]
    assert Customer.objects.search("النخيل").get().tenant_id == SPECIAL["rtl"]


def test_texts_that_no_column_takes_are_cut_and_do_not_stop_the_sync():
    endless = "x" * 5000
    walk(
        [pc(ONE, f"Nul\x00l {endless}", f"{endless}.example")],
        [ap("a1", endless, owner=endless, status=endless, country=endless)],
    )
    mine, theirs = Customer.objects.get(tenant_id=ONE), Customer.objects.get(key="ap-a1")
    assert mine.name == f"Nul\N{REPLACEMENT CHARACTER}l {endless}"[:400]
    assert (len(mine.domain), len(theirs.name), len(theirs.ap_status)) == (255, 400, 120)


def test_a_customer_without_a_name_is_called_by_its_domain_or_its_id():
    walk([pc(ONE, "  ", "contoso.example"), pc(TWO)], [ap("a1", "")])
    assert set(Customer.objects.values_list("name", flat=True)) == {"contoso.example", TWO, "a1"}


@pytest.mark.parametrize("given", ["a/b", "a\nb", "a\x00b", "x" * 111, "İ" * 60, ""])
def test_an_avepoint_id_that_cannot_stand_in_an_address_is_no_customer(given):
    assert ap(given, "Strange") is None


@pytest.mark.parametrize("given", ["00427fbc-8832-****-***-582fa46ec638", "a?b#c%d", "ä ö", "..", "ap-x"])
def test_any_other_avepoint_id_has_an_address_that_leads_to_it(given, signed_in):
    walk([], [ap(given, "Strange")])
    browser = signed_in("admin")
    page = browser.get("/customers/")
    link = page.content.decode().split('scope="row"><a href="')[1].split('"')[0]
    answer = browser.get(link)
    assert answer.status_code == 200
    assert "is not in Partner Center" in answer.content.decode()
