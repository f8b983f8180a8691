"""What may be one company: which hints are told, how sure they are, and which are none."""

import pytest
from django.conf import settings

from customers import learning, matches
from customers.models import Customer, MatchDecision, MatchSuggestion
from partnerportal.models import Operator
from partnerportal.upstream.partner_center import CustomerProfile
from tests.customers.rows import NOON, ap, pc, suggestions, tenant, walk

pytestmark = pytest.mark.django_db


# --- Names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Contoso Ltd", "CONTOSO"),
        ("Contoso, S.A.", "Contoso SA"),
        ("Čajovna GmbH & Co. KG", "Cajovna"),
        ("O'Brien Holdings Inc.", "OBrien Holdings"),
        ("Alder  &  Finch LLP", "Alder Finch"),
        ("Straße B.V.", "STRASSE BV"),
        ("Fabrikam AB", "fabrikam-AB"),
    ],
)
def test_legal_forms_punctuation_accents_and_case_make_no_other_name(one, other):
    assert matches.plain(one) == matches.plain(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [("Contoso North", "Contoso South"), ("AB Foods", "Foods"), ("Alpine Ski House", "Alpine Ski"), ("Inc", "Ltd")],
)
def test_other_words_make_another_name(one, other):
    assert matches.plain(one) != matches.plain(other)


def test_a_name_of_signs_alone_is_like_no_other():
    assert matches.plain("***") == ""
    walk([pc(tenant(1), "***")], [ap("a1", "!!!")])
    assert suggestions() == set()


def test_a_name_without_its_legal_form_once_on_either_side_is_of_medium_confidence():
    walk([pc(tenant(1), "Contoso GmbH"), pc(tenant(2), "Other")], [ap("a1", "Contoso")])
    assert suggestions() == {("Contoso GmbH", "Contoso", "name")}
    assert MatchSuggestion.objects.get().confidence == "Medium confidence"


def test_a_name_that_also_a_matched_customer_has_is_not_the_only_one():
    both = tenant(9)
    walk([pc(tenant(1), "Contoso Ltd"), pc(both, "Contoso")], [ap("a1", "Contoso Inc"), ap(both, "Contoso")])
    assert suggestions() == {("Contoso Ltd", "Contoso Inc", "names")}
    assert MatchSuggestion.objects.get().confidence == "Low confidence"


def test_a_name_of_everybody_says_nothing_of_anybody():
    walk([pc(tenant(n), "Test") for n in range(1, 6)], [ap(f"a{n}", "Test") for n in range(5)])
    assert suggestions() == set()


# --- Domains --------------------------------------------------------------------------------------------------


def test_an_owners_domain_once_on_either_side_is_of_high_confidence():
    walk([pc(tenant(1), "Contoso Ltd", "contoso.example")], [ap("a1", "CNT", owner="It@Contoso.Example")])
    assert suggestions() == {("Contoso Ltd", "CNT", "domain")}
    assert MatchSuggestion.objects.get().confidence == "High confidence"


def test_of_two_reasons_the_better_one_is_told():
    walk([pc(tenant(1), "Contoso", "contoso.example")], [ap("a1", "Contoso", owner="it@contoso.example")])
    assert suggestions() == {("Contoso", "Contoso", "domain")}


def test_a_domain_that_two_customers_have_suggests_nothing():
    walk(
        [pc(tenant(1), "One", "shared.example"), pc(tenant(2), "Two", "two.example")],
        [ap("a1", "CNT", owner="it@shared.example")],
    )
    assert suggestions() == {("One", "CNT", "domain")}
    learning.learn(
        Customer.objects.get(tenant_id=tenant(2)), CustomerProfile(tenant(2), "", "", "", ("shared.example",)), NOON
    )
    walk()
    assert suggestions() == set()


def test_one_owner_of_several_avepoint_customers_suggests_none_of_them():
    walk(
        [pc(tenant(1), "One", "one.example")],
        [ap("a1", "First", owner="it@one.example"), ap("a2", "Second", owner="it@one.example")],
    )
    assert suggestions() == set()
    assert Customer.objects.filter(in_avepoint=True).count() == 2  # shown as they are


def test_the_domain_of_our_own_tenant_suggests_nothing_before_anybody_signed_in():
    ours = settings.ENTRA_TENANT_ID
    walk([pc(ours, "Partner Desk", "ourselves.example")], [ap("a1", "Somebody", owner="backup@ourselves.example")])
    assert suggestions() == set()
    assert matches.partner_domains() == {"ourselves.example"}


def test_a_partner_owned_row_is_still_suggested_by_its_name():
    Operator.objects.create(subject="t:o", tid=tenant(7), oid=tenant(8), name="Maya", email="maya@partner.example")
    walk([pc(tenant(1), "Contoso", "partner.example")], [ap("a1", "Contoso", owner="backup@Partner.example")])
    assert suggestions() == {("Contoso", "Contoso", "name")}


# --- What stays, and what goes --------------------------------------------------------------------------------


def test_a_suggestion_that_still_holds_keeps_its_row_and_goes_with_its_reason():
    walk([pc(tenant(1), "One", "one.example")], [ap("a1", "A", owner="it@one.example")])
    first = MatchSuggestion.objects.get().pk
    walk([pc(tenant(1), "One renamed", "one.example")])
    assert MatchSuggestion.objects.get().pk == first
    walk(avepoint=[ap("a1", "A", owner="it@elsewhere.example")])
    assert suggestions() == set()


def test_what_was_kept_apart_is_not_suggested_again(cast):
    MatchDecision.objects.create(
        tenant_id=tenant(1),
        avepoint_id="a1",
        partner_center_name="One",
        avepoint_name="A",
        verdict="apart",
        by=cast("writer"),
    )
    walk([pc(tenant(1), "Same", "one.example")], [ap("A1", "Same", owner="it@one.example")])
    assert suggestions() == set()


def test_masked_and_malformed_ids_are_suggested_like_others():
    masked = "00427fbc-8832-****-***-582fa46ec638"
    walk(
        [pc(tenant(1), "Contoso", "contoso.example")],
        [ap(masked, "CNT", owner="a@contoso.example"), ap("x y", "Contoso")],
    )
    assert suggestions() == {("Contoso", "CNT", "domain"), ("Contoso", "Contoso", "name")}


def test_a_customer_that_left_the_list_is_no_suggestion():
    walk([pc(tenant(1), "Same")], [ap("a1", "Same")])
    Customer.objects.filter(key="ap-a1").update(listed=False)
    matches.suggest()
    assert suggestions() == set()


def test_thousands_of_customers_alone_take_a_few_queries_each_five_hundred(django_assert_max_num_queries):
    many = 3000
    mine = [pc(tenant(n), f"Company {n}", f"company-{n}.example") for n in range(1, many)]
    theirs = [ap(f"a{n}", f"Firm {n}", owner=f"it@company-{n}.example") for n in range(1, many)]
    walk(mine, theirs)
    assert MatchSuggestion.objects.filter(reason="domain").count() == many - 1
    with django_assert_max_num_queries(12 + many // 500 * 3):
        matches.suggest()


def test_when_nobody_is_alone_on_one_side_nothing_is_compared(django_assert_num_queries):
    walk([pc(tenant(1), "One"), pc(tenant(2), "Two")], [ap(tenant(1), "One")])
    with django_assert_num_queries(2):  # nobody is AvePoint's alone; no suggestion is left
        matches.suggest()
