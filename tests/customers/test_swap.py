"""What a walk brings, compared with what we know: only what is new or different is stored and counted."""

import random
from itertools import pairwise

import pytest
from django.db import connection

from customers import matches, merge, places, snapshot, staging
from customers.models import Customer, ListAnchor, SourceName, SourceRow, StagedRow, SyncRun
from partnerportal.upstream.paging import Stretch
from tests.customers.rows import NOON, ap, kept, known_rows, pc, suggestions, tenant, walk

pytestmark = pytest.mark.django_db
PC = SourceName.PARTNER_CENTER


@pytest.fixture
def run():
    return SyncRun.objects.create(state=SyncRun.State.DONE, open=None)


def stretch(*rows, mark=b""):
    return Stretch(mark, len(rows), rows)


def staged(run, *pages, source=PC):
    """(names that were stored, how many different rows came)"""
    roll = staging.RollCall(source)
    for page in pages:
        staging.stage(run, [stretch(*page)], roll)
    names = list(StagedRow.objects.filter(source=source).order_by("source_id").values_list("name", flat=True))
    return names, staging.count(run, roll)


def test_what_is_as_we_know_it_is_not_stored(run):
    rows = [pc(tenant(1), 'Ünïcode "quoted" \\ and\ttabs', "one.example"), pc(tenant(2), "Two")]
    walk(rows, [ap("A1", "Ünïcode/slash", owner="it@one.example", country="Côte d'Ivoire")])
    assert staged(run, rows) == ([], 2)
    theirs = [ap("A1", "Ünïcode/slash", owner="it@one.example", country="Côte d'Ivoire")]
    assert staged(run, theirs, source=SourceName.AVEPOINT) == ([], 1)


def test_what_is_different_or_new_is_stored_and_all_of_it_is_counted_once(run):
    walk([pc(tenant(1), "One"), pc(tenant(2), "Two")])
    page = [pc(tenant(1), "One"), pc(tenant(2), "Two, renamed"), pc(tenant(3), "Three")]
    assert staged(run, page, page) == (["Two, renamed", "Three"], 3)


@pytest.mark.parametrize("apart", [False, True], ids=["on one page", "on two pages"])
@pytest.mark.parametrize(
    ("first", "second", "stored"),
    [("Known", "Other", []), ("Other", "Known", ["Other"]), ("Other", "Third", ["Other"])],
)
def test_of_two_rows_with_one_id_the_first_counts(run, first, second, stored, apart):
    walk([pc(tenant(1), "Known")])
    rows = [pc(tenant(1), first), pc(tenant(1), second)]
    pages = [[row] for row in rows] if apart else [rows]
    if first == "Other" and second == "Known" and not apart:
        stored = [] if connection.vendor == "sqlite" else stored  # either is told; the other comes with the next sync
    assert staged(run, *pages) == (stored, 1)


def test_of_two_new_rows_with_one_id_the_first_counts(run):
    page = [pc(tenant(1), "First"), pc(tenant(1), "Second")]
    assert staged(run, page, page[1:]) == (["First"], 1)


def test_a_row_that_was_missing_is_stored_again_though_nothing_in_it_changed(run):
    walk([pc(tenant(1), "One"), pc(tenant(2), "Two")])
    walk([pc(tenant(1), "One")])
    assert staged(run, [pc(tenant(1), "One"), pc(tenant(2), "Two")]) == (["Two"], 2)


def test_a_country_that_was_read_by_id_does_not_make_a_row_different(run):
    walk([pc(tenant(1), "One")])
    SourceRow.objects.update(country="DE")
    assert staged(run, [pc(tenant(1), "One")]) == ([], 1)


def test_a_list_that_nobody_is_in_has_no_known_rows():
    walk([pc(tenant(1), "One")])
    for minutes in (15, 30):
        walk([], minutes=minutes)
    snapshot.changed()
    assert known_rows() == (set(), set())
    assert kept().total == 0


def test_an_order_in_which_nobody_has_a_value_is_that_of_the_names_whichever_is_noted_first(monkeypatch):
    monkeypatch.setattr(ListAnchor, "EVERY", 2)
    walk([pc(tenant(n), f"Firm {n}", f"firm{n}.example") for n in range(1, 8)])
    for sorts in (places.SORTS, ("gdap", "name"), ("gdap",)):
        ListAnchor.objects.filter(sort__in=("gdap", "-gdap")).delete()
        snapshot.changed(sorts=sorts)
        said, true = known_rows()
        assert said == true
        assert len([place for sort, place, *_ in said if sort == "-gdap"]) == 4


def indexes():
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE tbl_name LIKE 'customers_%%' ORDER BY name")
        else:
            cursor.execute("SELECT indexname, indexdef FROM pg_indexes ORDER BY indexname")
        return cursor.fetchall()


def many(numbers, suffix=""):
    mine = [pc(tenant(n), f"Bäckerei {n}{suffix}", f"firm{n}.example") for n in numbers]
    return mine, [ap(f"a{n}", f"Firm {n}{suffix}", owner=f"it@firm{n}.example") for n in numbers]


def test_a_large_first_sync_leaves_the_indexes_as_they_were_and_all_of_it_is_found(monkeypatch):
    monkeypatch.setattr(snapshot, "FEW", 50)
    before = indexes()
    walk(*many(range(1, 101)))
    assert indexes() == before
    assert Customer.objects.search("backerei 77").get().tenant_id == tenant(77)
    assert Customer.objects.search("fi").count() == 200
    assert kept() == snapshot.count()
    walk(*many(range(1, 101), " renamed"))  # by the triggers again
    assert Customer.objects.search("renamed 77").count() == 2
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            for name in ("customers_trigrams", "customers_words"):
                cursor.execute(f"INSERT INTO {name}({name}, rank) VALUES ('integrity-check', 1)")


def test_a_large_first_sync_that_breaks_leaves_everything_as_it_was(monkeypatch):
    monkeypatch.setattr(snapshot, "FEW", 50)
    walk([pc(tenant(1), "Before")])
    before = indexes()
    monkeypatch.setattr(merge, "_honour_links", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        walk(*many(range(1, 101)))
    assert indexes() == before
    assert Customer.objects.search("before").get().name == "Before"
    assert not StagedRow.objects.exists()


@pytest.mark.only_on("postgresql")  # SQLite goes by its indexes anyhow
def test_a_large_first_sync_has_its_rows_counted_before_they_are_compared(monkeypatch):
    """Else it plans for the first 500, and compares each with each of the others: minutes where there are thousands."""
    monkeypatch.setattr(snapshot, "FEW", 50)
    told = []

    def suggest():
        with connection.cursor() as cursor:
            cursor.execute("SELECT reltuples FROM pg_class WHERE oid = 'customers_customer'::regclass")
            told.extend(cursor.fetchone())

    monkeypatch.setattr(matches, "suggest", suggest)
    walk(*many(range(1, 1001)))
    assert told == [Customer.objects.count()] == [2000]


@pytest.mark.parametrize("seed", range(3))
def test_a_sync_that_changes_little_counts_and_numbers_as_if_it_counted_all(monkeypatch, seed):
    monkeypatch.setattr(ListAnchor, "EVERY", 4)
    monkeypatch.setattr(ListAnchor, "WIDEST", 16)
    mine, theirs = many(range(1, 41))
    theirs += [ap(tenant(n), f"Bäckerei {n}", country="Germany") for n in range(1, 20)]
    walk(mine, theirs)
    noted, note = [], places.note
    monkeypatch.setattr(places, "note", lambda total, empty, keys: (noted.extend(keys), note(total, empty, keys)))
    dice = random.Random(seed)
    for step in range(8):
        mine, theirs = changed(dice, mine, step), changed(dice, theirs, step)
        walk(mine, theirs, minutes=step)
        assert kept() == snapshot.count()
        said, true = known_rows()
        assert said == true
        assert suggestions() == anew()
        assert widest() <= 16
    assert len(noted) < 16  # of 8 times 6


def widest():
    """The most places between two known rows, over all orders."""
    ends = [0, kept().total]
    ways = [
        sorted([*ends, *ListAnchor.objects.filter(sort=f"{sign}{key}").values_list("place", flat=True)])
        for key in places.SORTS
        for sign in ("", "-")
    ]
    return max(after - before for way in ways for before, after in pairwise(way))


def test_many_syncs_that_bring_names_in_one_spot_leave_no_page_far_from_a_known_row(monkeypatch):
    monkeypatch.setattr(ListAnchor, "EVERY", 4)
    monkeypatch.setattr(ListAnchor, "WIDEST", 16)
    mine, theirs = many(range(1, 41))
    walk(mine, theirs)
    for step in range(6):
        mine = [*mine, *(pc(tenant(100 + 10 * step + n), f"Bäckerei 20 {step} {n}") for n in range(10))]
        walk(mine)
        assert widest() <= 16
        said, true = known_rows()
        assert said == true


def changed(dice, rows, step):
    """Some are renamed, some leave, some come (back)."""
    rows = [row for row in rows if dice.random() > 0.05]
    rows = [row._replace(name=f"{row.name[:12]} {dice.choice('abc')}") if dice.random() < 0.1 else row for row in rows]
    new = pc(tenant(500 + step), f"New {step % 3}", f"firm{step}.example")
    return [*rows, new] if rows[0].relationship else [*rows, ap(f"new{step}", f"New {step % 3}", country="Italy")]


def anew():
    """The suggestions as they are when none was known."""
    from customers import matches
    from customers.models import MatchSuggestion

    known = list(MatchSuggestion.objects.all())
    MatchSuggestion.objects.all().delete()
    matches.suggest()
    found = suggestions()
    MatchSuggestion.objects.all().delete()
    MatchSuggestion.objects.bulk_create(known)
    return found


def test_what_is_gone_from_both_walks_is_counted_away():
    walk(*many(range(1, 11)))
    for minutes in (15, 30):
        walk(*many(range(2, 11)), at=NOON, minutes=minutes)
    assert kept() == snapshot.count()
    assert kept().total == 18
