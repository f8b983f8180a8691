"""Linking, keeping apart and undoing: what becomes of the two customers, and what no sync takes back."""

import random
import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connections

from customers import decisions, favourites, labels, learning, places, snapshot
from customers.find import access_customer
from customers.models import (
    Customer,
    Favourite,
    Label,
    ListAnchor,
    MatchDecision,
    MatchSuggestion,
    Reason,
    Snapshot,
    SourceRow,
    Visit,
)
from customers.views import details, goto
from partnerportal import clock
from partnerportal.models import AuditEvent
from partnerportal.upstream.partner_center import CustomerProfile
from tests.customers.rows import NOON, ap, kept, known_rows, pc, sources, suggestions, tenant, walk
from users.models import Operation

pytestmark = pytest.mark.django_db
ONE, TWO = tenant(1), tenant(2)
LINKED, APART = MatchDecision.Verdict.LINKED, MatchDecision.Verdict.APART


@pytest.fixture
def by(cast):
    return cast("writer")


@pytest.fixture
def pair():
    """One company, told of by both sources under different ids, beside one that both know."""
    walk(
        [pc(ONE, "Contoso Ltd", "contoso.example"), pc(TWO, "Known")],
        [ap("Own-1", "CNT", owner="it@contoso.example", country="Germany"), ap(TWO, "Known")],
    )


def acts():
    """The audit trail's intents of this subject, oldest first."""
    found = AuditEvent.objects.filter(kind="intent", fields__has_key="match").order_by("id")
    return [(event.action, event.tenant_id, event.target_id, event.fields["match"]) for event in found]


# --- Linking ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("pair")
def test_a_link_makes_one_customer_of_two_at_once(by):
    before = Customer.objects.get(key=ONE).pk
    decisions.decide(ONE, "own-1", LINKED, by=by)
    customer = Customer.objects.get(key=ONE)
    assert (customer.pk, customer.source_words, customer.country) == (before, "Both", "Germany")
    assert sources() == {ONE: "Both", TWO: "Both"}
    assert suggestions() == set()
    assert Customer.objects.search("cnt").get() == customer


@pytest.mark.usefixtures("pair")
def test_the_old_address_leads_to_the_customer_it_was_linked_to(by):
    decisions.decide(ONE, "own-1", LINKED, by=by)
    assert access_customer("ap-own-1").key == access_customer("ap-OWN-1").key == ONE


@pytest.mark.usefixtures("pair")
def test_a_decision_is_kept_and_audited_with_names_and_ids(by):
    decision = decisions.decide(ONE, "own-1", LINKED, by=by)
    assert (decision.partner_center_name, decision.avepoint_name) == ("Contoso Ltd", "CNT")
    assert (decision.reason, decision.by, decision.undone_at) == ("domain", by, None)
    assert acts() == [("link customers", ONE, "own-1", ["", "Linked"])]
    event = AuditEvent.objects.get(kind="intent", action="link customers")
    assert (event.customer_name, event.target_name, event.actor_oid) == ("Contoso Ltd", "CNT", str(by.oid))
    assert AuditEvent.objects.get(kind="outcome", attempt=event.attempt).outcome == "done"


@pytest.mark.usefixtures("pair")
def test_what_people_had_put_on_the_other_customer_comes_along_once(by, cast):
    other = cast("reader")
    mine, theirs = Customer.objects.get(key=ONE), Customer.objects.get(key="ap-own-1")
    for customer, text in ((mine, "Shared"), (theirs, "SHARED"), (theirs, "Only theirs")):
        labels.add(customer, Label.Kind.ALIAS, text, by=by)
    for operator, customer in ((by, mine), (by, theirs), (other, theirs)):
        Favourite.objects.create(operator=operator, customer=customer)
        Visit.objects.create(
            operator=operator, customer=customer, at=NOON if customer == mine else NOON.replace(hour=15)
        )
    decisions.decide(ONE, "own-1", LINKED, by=by)
    assert set(Label.objects.values_list("customer", "text")) == {(mine.pk, "Shared"), (mine.pk, "Only theirs")}
    assert set(Favourite.objects.values_list("operator", "customer")) == {(by.pk, mine.pk), (other.pk, mine.pk)}
    assert {(v.operator_id, v.customer_id, v.at.hour) for v in Visit.objects.all()} == {
        (by.pk, mine.pk, 15),
        (other.pk, mine.pk, 15),
    }
    assert Customer.objects.search("only theirs").get() == mine


@pytest.mark.usefixtures("pair")
def test_a_customer_that_history_needs_is_unlisted_instead_of_deleted(by):
    theirs = Customer.objects.get(key="ap-own-1")
    Operation.objects.create(op_id=uuid.uuid4(), kind="create", by=by, customer=theirs, tenant_id=tenant(5))
    decisions.decide(ONE, "own-1", LINKED, by=by)
    theirs.refresh_from_db()
    assert not theirs.listed
    assert access_customer("ap-own-1").key == ONE
    decisions.undo(MatchDecision.objects.all(), by=by)
    assert access_customer("ap-own-1").source_words == "AvePoint only"


@pytest.mark.usefixtures("pair")
def test_what_is_not_alone_cannot_be_linked(by):
    walk([pc(tenant(3), "Third")])
    with pytest.raises(decisions.Undecided, match="belongs to another customer"):
        decisions.decide(tenant(3), TWO, LINKED, by=by)
    with pytest.raises(decisions.Undecided, match="one customer already"):
        decisions.decide(TWO, TWO, LINKED, by=by)
    with pytest.raises(decisions.Undecided, match="in no source"):
        decisions.decide(ONE, "never-heard-of", LINKED, by=by)
    assert not MatchDecision.objects.exists()
    assert acts() == []


# --- Keeping apart, and taking it back ----------------------------------------------------------------------------


@pytest.mark.usefixtures("pair")
def test_a_pair_kept_apart_stays_two_and_is_not_suggested_again(by):
    decisions.decide(ONE, "own-1", APART, by=by)
    walk([pc(ONE, "Contoso Ltd", "contoso.example"), pc(TWO, "Known")], minutes=15)
    assert sources() == {ONE: "Partner Center only", "ap-own-1": "AvePoint only", TWO: "Both"}
    assert suggestions() == set()


@pytest.mark.usefixtures("pair")
def test_undoing_a_link_gives_the_row_a_customer_of_its_own_and_the_pair_its_place(by, cast):
    decision = decisions.decide(ONE, "own-1", LINKED, by=by)
    admin = cast("admin")
    decisions.undo(MatchDecision.objects.filter(pk=decision.pk), by=admin)
    assert sources() == {ONE: "Partner Center only", "ap-own-1": "AvePoint only", TWO: "Both"}
    assert suggestions() == {("Contoso Ltd", "CNT", "domain")}
    assert access_customer("ap-own-1").source_words == "AvePoint only"
    decision.refresh_from_db()
    assert decision.undone_by == admin
    assert acts()[-1] == ("undo match decision", ONE, "own-1", ["Linked", ""])


@pytest.mark.usefixtures("pair")
def test_what_was_undone_can_be_decided_again_and_the_history_stays(by):
    for verdict in (LINKED, APART, LINKED):
        decisions.decide(ONE, "own-1", verdict, by=by)
        if verdict != LINKED or MatchDecision.objects.count() == 1:
            decisions.undo(MatchDecision.objects.filter(undone_at=None), by=by)
    assert list(MatchDecision.objects.order_by("pk").values_list("verdict", flat=True)) == ["linked", "apart", "linked"]
    assert sources()[ONE] == "Both"


@pytest.mark.usefixtures("pair")
def test_undoing_twice_tells_who_was_first(by, cast):
    decision = decisions.decide(ONE, "own-1", LINKED, by=by)
    decisions.undo(MatchDecision.objects.filter(pk=decision.pk), by=cast("admin"))
    with pytest.raises(decisions.Undecided, match=f"{cast('admin').name} undid this at "):
        decisions.undo(MatchDecision.objects.filter(pk=decision.pk), by=by)
    assert len(acts()) == 2


def test_a_row_whose_own_tenant_came_meanwhile_goes_there_when_its_link_is_undone(by):
    walk([pc(ONE, "Contoso")], [ap(TWO, "Contoso")])
    decisions.decide(ONE, TWO, LINKED, by=by)
    walk([pc(ONE, "Contoso"), pc(TWO, "Contoso Two")], minutes=15)
    assert sources() == {ONE: "Both", TWO: "Partner Center only"}  # what a person said comes before an equal id
    decisions.undo(MatchDecision.objects.all(), by=by)
    assert sources() == {ONE: "Partner Center only", TWO: "Both"}


# --- Two at once ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("pair")
def test_who_comes_second_is_told_who_decided_what(by, cast):
    decisions.decide(ONE, "own-1", APART, by=by)
    for verdict in (LINKED, APART):
        with pytest.raises(decisions.Undecided, match=f"{by.name} kept Contoso Ltd and CNT apart at "):
            decisions.decide(ONE, "own-1", verdict, by=cast("admin"))
    assert MatchDecision.objects.count() == 1


def test_a_customer_is_linked_to_one_row_only(by):
    walk([pc(ONE, "Same"), pc(TWO, "Same")], [ap("a1", "Same"), ap("a2", "Same")])
    decisions.decide(ONE, "a1", LINKED, by=by)
    for mine, theirs in ((ONE, "a2"), (TWO, "a1")):
        with pytest.raises(decisions.Undecided, match=f"{by.name} linked Same and Same at "):
            decisions.decide(mine, theirs, LINKED, by=by)
    assert suggestions() == {("Same", "Same", "names")}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verdicts", [(LINKED, LINKED), (LINKED, APART)])
def test_of_two_people_at_once_one_wins_and_nothing_is_half_done(verdicts, cast):
    people = cast("writer"), cast("admin")
    walk([pc(ONE, "Contoso", "contoso.example")], [ap("a1", "CNT", owner="it@contoso.example")])
    barrier = threading.Barrier(2)
    told = []

    def press(operator, verdict):
        barrier.wait()
        try:
            told.append(decisions.decide(ONE, "a1", verdict, by=operator).verdict)
        except decisions.Undecided as first:
            told.append(str(first))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=press, args=pressed) for pressed in zip(people, verdicts, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (held,) = MatchDecision.objects.all()
    assert sorted(len(word) > 10 for word in told) == [False, True]
    assert any("Nothing more was done." in word and held.by.name in word for word in told)
    assert sources() == (
        {ONE: "Both"} if held.verdict == LINKED else {ONE: "Partner Center only", "ap-a1": "AvePoint only"}
    )
    assert len(acts()) == 1


# --- While somebody works on one of the two ---------------------------------------------------------------------


@pytest.fixture
def linked_meanwhile(monkeypatch, by):
    """`linked_meanwhile(module)`: as soon as a view there has looked its customer up, somebody links the pair."""

    def after_a_look(module):
        look_up = module.access_customer

        def look_up_just_before(key):
            found = look_up(key)
            if not MatchDecision.objects.exists():
                decisions.decide(ONE, "own-1", LINKED, by=by)
            return found

        monkeypatch.setattr(module, "access_customer", look_up_just_before)

    return after_a_look


@pytest.fixture
def writer(signed_in, pair):
    return signed_in("writer")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_needed", [False, True])
def test_a_label_that_is_added_while_its_customer_is_linked_stands_on_the_one_it_became(
    writer, by, linked_meanwhile, is_needed
):
    theirs = Customer.objects.get(key="ap-own-1")
    if is_needed:  # by its history, so that it is unlisted and not deleted
        Operation.objects.create(op_id=uuid.uuid4(), kind="create", by=by, customer=theirs, tenant_id=tenant(5))
    linked_meanwhile(details)
    answer = writer.htmx("post", "/customers/ap-own-1/labels/", {"kind": "tag", "text": "north"})
    assert answer.status_code == 200
    assert list(Label.objects.values_list("customer__key", "text")) == [(ONE, "north")]
    assert f"/customers/{ONE}/labels/{Label.objects.get().pk}/remove/" in answer.content.decode()
    assert Customer.objects.search("north").get().key == ONE


@pytest.mark.django_db(transaction=True)
def test_a_label_that_came_along_with_its_customer_can_still_be_removed(writer, by, linked_meanwhile):
    label = labels.add(Customer.objects.get(key="ap-own-1"), Label.Kind.TAG, "north", by=by)
    linked_meanwhile(details)
    answer = writer.htmx("post", f"/customers/ap-own-1/labels/{label.pk}/remove/")
    assert "north removed." in answer.content.decode()
    assert not Label.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_favourite_that_is_kept_while_it_is_linked_is_the_one_it_became(writer, linked_meanwhile):
    linked_meanwhile(goto)
    assert writer.htmx("post", "/customers/ap-own-1/favourite/", {"on": "1"}).status_code == 200
    assert Favourite.objects.get().customer.key == ONE


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("pair")
def test_opening_a_customer_while_it_is_linked_is_no_fault(by):
    theirs = Customer.objects.get(key="ap-own-1")
    decisions.decide(ONE, "own-1", LINKED, by=by)
    favourites.visited(theirs, by=by)
    assert not Visit.objects.exists()


# --- All at once ----------------------------------------------------------------------------------------------------


@pytest.fixture
def many():
    """Three pairs of a domain, one of a name."""
    walk(
        [*(pc(tenant(n), f"Company {n}", f"c{n}.example") for n in range(1, 4)), pc(tenant(4), "Named")],
        [*(ap(f"a{n}", f"Firm {n}", owner=f"it@c{n}.example") for n in range(1, 4)), ap("a4", "Named")],
    )


@pytest.mark.usefixtures("many")
def test_all_pairs_of_a_domain_are_linked_in_one_go_and_undone_in_one(by):
    batch = uuid.uuid4()
    assert decisions.confirm(decisions.fingerprint(decisions.confirmable()), batch, by=by) == 3
    assert list(sources().values()).count("Both") == 3
    assert suggestions() == {("Named", "Named", "name")}
    assert set(MatchDecision.objects.values_list("batch", flat=True)) == {batch}
    assert decisions.undo(MatchDecision.objects.filter(batch=batch), by=by) == 3
    assert "Both" not in sources().values()
    assert len(suggestions()) == 4
    assert len(acts()) == 6


@pytest.mark.usefixtures("many")
def test_a_list_that_changed_since_the_preview_links_nothing(by):
    seen = decisions.fingerprint(decisions.confirmable())
    decisions.decide(tenant(2), "a2", APART, by=by)
    with pytest.raises(decisions.Stale, match=f"The last decision is of {by.name}"):
        decisions.confirm(seen, uuid.uuid4(), by=by)
    assert "Both" not in sources().values()


def test_a_domain_with_two_rows_is_for_a_person_to_look_at_and_holds_nothing_else_up(by):
    walk(
        [pc(tenant(1), "Company 1", "c1.example"), pc(tenant(2), "Company 2", "c2.example")],
        [ap("a1", "Firm 1", owner="it@c1.example"), ap("a2", "Firm", owner="it@c2.example")],
    )
    twin = Customer.objects.get(in_avepoint=True, name="Firm 1")
    two = Customer.objects.get(key=tenant(2))
    MatchSuggestion.objects.create(partner_center=two, avepoint=twin, reason=Reason.DOMAIN)
    assert not decisions.confirmable()
    MatchSuggestion.objects.filter(partner_center=two, avepoint=twin).delete()
    assert decisions.confirm(decisions.fingerprint(decisions.confirmable()), uuid.uuid4(), by=by) == 2


@pytest.mark.usefixtures("many")
def test_the_facts_of_the_list_are_counted_after_the_decision(by):
    decisions.confirm(decisions.fingerprint(decisions.confirmable()), uuid.uuid4(), by=by)
    assert kept() == snapshot.count()
    decisions.decide(tenant(4), "a4", LINKED, by=by)
    assert kept() == snapshot.count()
    decisions.undo(MatchDecision.objects.all(), by=by)
    assert kept() == snapshot.count()


# --- Counts and places by the difference ------------------------------------------------------------------------


def crowd():
    """Half of them may be a pair; some have no domain, no country or no end of GDAP."""
    numbers = range(1, 31)
    walk(
        [pc(tenant(n), f"Firm {n % 7} {n}", f"f{n}.example" if n % 3 else "") for n in numbers],
        [
            *(ap(tenant(n), f"Firm {n}", country=["Germany", "France", ""][n % 3]) for n in range(1, 12)),
            *(ap(f"a{n}", f"Firma {n}", owner=f"x@f{n}.example", country=["Italy", ""][n % 2]) for n in range(12, 31)),
        ],
    )
    for customer in Customer.objects.all()[::4]:
        customer.gdap_state, customer.gdap_ends_at = "live", clock.now() + timedelta(days=customer.pk % 50)
        customer.save()
    mine = Customer.objects.get(key=tenant(14))
    theirs = Customer.objects.filter(name__in=["Firma 15", "Firma 16"])
    MatchSuggestion.objects.bulk_create(  # so that one decision takes others out of the queue
        MatchSuggestion(partner_center=mine, avepoint=other, reason=Reason.NAMES) for other in theirs
    )
    snapshot.changed()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_decided_counts_and_known_rows_are_what_counting_all_would_give(by, monkeypatch, seed):
    monkeypatch.setattr(ListAnchor, "EVERY", 4)
    monkeypatch.setattr(ListAnchor, "WIDEST", 16)
    crowd()
    noted, note = [], places.note
    monkeypatch.setattr(places, "note", lambda total, empty, keys: (noted.extend(keys), note(total, empty, keys)))
    dice = random.Random(seed)
    acts = [LINKED, APART, "undo", "country"] * 4
    dice.shuffle(acts)
    for act in acts:
        held = MatchDecision.objects.filter(undone_at=None).order_by("pk")
        if act == "country":
            about = dice.choice(Customer.objects.listed().filter(in_partner_center=True).order_by("key"))
            learning.learn(
                about, CustomerProfile(about.tenant_id, "", "", dice.choice(["PT", "DE", "IT"])), clock.now()
            )
        elif act == "undo":
            if held:
                decisions.undo(MatchDecision.objects.filter(pk=dice.choice(held).pk), by=by)
        elif waiting := list(MatchSuggestion.objects.order_by("pk").select_related("partner_center", "avepoint")):
            pair = dice.choice(waiting)
            decisions.decide(pair.partner_center.tenant_id, pair.avepoint.avepoint_id, act, by=by)
        assert kept() == snapshot.count(), act
        said, true = known_rows()
        assert said == true, act
    assert len(said) > 60
    assert len(noted) < 16  # of 16 times 6: an order is noted anew when two known rows are too far apart


@pytest.mark.usefixtures("pair")
def test_what_was_counted_yesterday_is_counted_anew(by, move_clock):
    before = Snapshot.objects.get()
    move_clock(86_400)
    decisions.decide(ONE, "own-1", APART, by=by)
    assert kept() == snapshot.count()
    assert kept().day != before.facts["day"]
    assert Snapshot.objects.get().generation > before.generation


@pytest.mark.usefixtures("pair")
def test_a_refused_decision_leaves_counts_and_generation_alone(by):
    before = Snapshot.objects.values().get()
    with pytest.raises(decisions.Undecided):
        decisions.decide(ONE, "nobody", LINKED, by=by)
    assert Snapshot.objects.values().get() == before


@pytest.mark.usefixtures("many")
def test_a_second_press_links_nothing_more(by):
    seen, batch = decisions.fingerprint(decisions.confirmable()), uuid.uuid4()
    assert decisions.confirm(seen, batch, by=by) == 3
    walk(
        [pc(tenant(9), "Late", "late.example")],
        [ap("a9", "Late", owner="it@late.example")],
        partial={"partner_center", "avepoint"},
    )
    assert decisions.confirm(seen, batch, by=by) == 3
    assert MatchDecision.objects.count() == 3


@pytest.mark.usefixtures("many")
def test_what_was_undone_by_itself_is_left_when_the_rest_is_undone(by, cast):
    batch = uuid.uuid4()
    decisions.confirm(decisions.fingerprint(decisions.confirmable()), batch, by=by)
    decisions.undo(MatchDecision.objects.filter(avepoint_id="a2"), by=cast("admin"))
    assert decisions.undo(MatchDecision.objects.filter(batch=batch), by=by) == 2
    assert MatchDecision.objects.get(avepoint_id="a2").undone_by == cast("admin")


# --- Acceptance 4: what ten syncs leave alone -----------------------------------------------------------------------


def test_links_kept_pairs_and_aliases_survive_ten_syncs_with_shuffled_and_doubled_rows(by):
    dice = random.Random(4)
    mine = [pc(tenant(n), f"Company {n}", f"c{n}.example") for n in range(1, 31)]
    theirs = [ap(f"Own-{n}", f"Company {n}", owner=f"it@c{n}.example") for n in range(1, 31)]
    walk(mine, theirs)
    for n in range(1, 11):
        decisions.decide(tenant(n), f"own-{n}", LINKED, by=by)
    for n in range(11, 21):
        decisions.decide(tenant(n), f"own-{n}", APART, by=by)
    for n in (1, 11, 21):
        labels.add(Customer.objects.get(key=tenant(n)), Label.Kind.ALIAS, f"Nick{n}name", by=by)
    labels.add(Customer.objects.get(key="ap-own-12"), Label.Kind.CODE, "ERP 12", by=by)

    def picture():
        """All that people have decided and written, and what the list makes of it."""
        return (
            sources(),
            suggestions(),
            dict(Customer.objects.values_list("key", "pk")),
            set(MatchDecision.objects.filter(undone_at=None).values_list("tenant_id", "avepoint_id", "verdict")),
            set(Label.objects.values_list("customer__key", "kind", "text")),
            dict(SourceRow.objects.values_list("source_id", "customer__key")),
        )

    before = picture()
    assert list(before[0].values()).count("Both") == 10
    for round_ in range(1, 11):
        pages = [[*rows, *dice.sample(rows, 12)] for rows in (mine, theirs)]  # a page that comes twice
        for rows in pages:
            dice.shuffle(rows)
        walk(*pages, minutes=15 * round_)
        assert picture() == before, f"sync {round_}"
        assert Customer.objects.search(f"nick{(1, 11, 21)[round_ % 3]}name").count() == 1


def test_a_link_survives_that_one_side_leaves_for_good_and_comes_back(by):
    mine, theirs = [pc(ONE, "Contoso"), pc(TWO, "Other")], [ap("a1", "CNT"), ap("a2", "Else")]
    walk(mine, theirs)
    decisions.decide(ONE, "a1", LINKED, by=by)
    for minutes in (15, 30, 45):
        walk(mine[1:], theirs, minutes=minutes)
    assert sources()["ap-a1"] == "AvePoint only"
    walk(mine, theirs, minutes=60)
    assert sources() == {ONE: "Both", TWO: "Partner Center only", "ap-a2": "AvePoint only"}


def test_a_link_joins_rows_that_are_new_to_us(by):
    MatchDecision.objects.create(
        tenant_id=ONE, avepoint_id="a1", partner_center_name="Contoso", avepoint_name="CNT", verdict=LINKED, by=by
    )
    walk([pc(ONE, "Contoso")], [ap("a1", "CNT")])
    assert sources() == {ONE: "Both"}
