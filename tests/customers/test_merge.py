"""Two lists become one: what joins two rows, what stays apart, and what survives the next walk."""

import uuid
from datetime import timedelta
from random import shuffle

import pytest

from customers import countries, learning, matches, merge, snapshot, staging
from customers.gdap import relationships
from customers.models import (
    Customer,
    GdapRelationship,
    MatchSuggestion,
    SourceName,
    SourceRow,
)
from customers.sync import sync_now
from partnerportal import clock
from partnerportal.models import Operator
from partnerportal.sandbox import seed
from partnerportal.sandbox.seed import SPECIAL, SPECIAL_NAMES
from partnerportal.upstream.partner_center import CustomerProfile

from .rows import LATER, NOON, ap, gdap_was_read, kept, known_rows, pc, suggestions, walk

pytestmark = pytest.mark.django_db

ONE = "11111111-1111-4111-8111-111111111111"
TWO = "22222222-2222-4222-8222-222222222222"
THREE = "33333333-3333-4333-8333-333333333333"


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


def test_a_customer_that_left_partner_center_has_no_gdap_until_it_comes_back():
    there = [pc(ONE, "Mine"), pc(TWO, "Also")]
    walk(there, [ap(ONE, "Theirs")])
    gdap_was_read()
    in_ten_days = clock.now() + timedelta(days=10)
    for tenant_id in (ONE, TWO):
        GdapRelationship.objects.create(
            id=tenant_id, tenant_id=tenant_id, display_name="Helpdesk", status="active", ends_at=in_ten_days
        )
    assert relationships.retell()
    snapshot.changed()
    assert kept().gdap_ends_soon == 2
    for at in LATER[:2]:
        walk([pc(TWO, "Also")], [ap(ONE, "Theirs")], at=at)
    left, stays = Customer.objects.get(key=f"ap-{ONE}"), Customer.objects.get(key=TWO)
    assert (left.gdap_state, left.gdap_ends_at, left.gdap_extends) == ("", None, False)
    assert (stays.gdap_state, stays.gdap_ends_at) == ("live", in_ten_days)
    assert (kept().gdap_ends_soon, kept().empty["gdap"]) == (1, 1)
    walk(there, [ap(ONE, "Theirs")], at=LATER[2])
    back = Customer.objects.get(key=ONE)
    assert (back.pk, back.gdap_state, back.gdap_ends_at) == (left.pk, "live", in_ten_days)
    assert (kept().gdap_ends_soon, kept().empty["gdap"]) == (2, 0)
    said, true = known_rows()
    assert said == true


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
    learning.learn(Customer.objects.get(), CustomerProfile(ONE, "", "", "DE"), NOON)
    assert Customer.objects.get().conflicts == conflicts
    walk([pc(ONE, mine, "contoso.example")], [ap(ONE, theirs, country=country, status="Failed")])
    assert Customer.objects.get().conflicts == conflicts


def test_a_conflict_ends_with_the_difference():
    walk([pc(ONE, "Contoso Ltd")], [ap(ONE, "Contoso")])
    assert Customer.objects.get().conflicts == ["name"]
    walk([pc(ONE, "Contoso")])
    assert Customer.objects.get().conflicts == []


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
    learning.learn(Customer.objects.get(tenant_id=ONE), CustomerProfile(ONE, "", "", "", ("contoso.example",)), NOON)
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
