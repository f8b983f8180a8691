"""Pages of the customer list against a plain sort and a plain filter: the same rows, whichever way they were found."""

import gzip
import random
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customers import paging, snapshot, standing, tasks
from customers.listing import ListQuery
from customers.models import GRAPH, Customer, GdapGrant, Label, ListAnchor, MatchSuggestion, Snapshot, Source
from partnerportal import clock
from partnerportal.models import Operator
from tests.conftest import Browser
from tests.customers.rows import gdap_was_read
from tests.customers.test_list import keys, look
from tests.pages import Page

pytestmark = pytest.mark.django_db
SORTS = [f"{sign}{key}" for key in Customer.objects.all().SORTS for sign in ("", "-")]
NAMES = [
    "Zebra",
    "éclair",
    "Eden",
    "apple",
    "Ærø",
    "æble",
    "Łódź",
    "contoso",
    "Contoso",
    "CONTOSO",
    "النخيل",
    "咖啡",
    "ß",
    "",
]


def tenant(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def plant(count: int, seed: int = 1) -> None:
    """Customers with ties, empty values and names in several scripts; every tenth is no longer listed."""
    dice = random.Random(seed)
    now = clock.now()
    Customer.objects.bulk_create(
        [
            Customer(
                key=tenant(number),
                tenant_id=tenant(number) if number % 6 else None,
                name=(name := f"{dice.choice(NAMES)} {dice.choice(NAMES)}".strip()) or "-",
                sort_name=name.casefold(),
                domain=dice.choice(["", "", f"d{dice.randrange(9)}.example"]),
                country=dice.choice(["", "Germany", "France", "Estonia"]),
                ap_status=dice.choice(["", "Working", "Failed"]),
                in_partner_center=number % 6 > 0,
                in_avepoint=number % 5 > 0 or number % 6 == 0,
                missing_since=now if number % 17 == 0 else None,
                listed=number % 10 > 0,
                gdap_state=dice.choice(["live", "ended", "none"]),
                gdap_ends_at=dice.choice([None, now + timedelta(days=dice.randrange(1, 9)), now + timedelta(days=90)]),
                gdap_extends=number % 2 == 0,
                search_text=f"{name.casefold()}\nd{number}.example",
            )
            for number in range(count)
        ]
    )
    for name in ("partner_center", "avepoint"):
        Source.objects.create(name=name, last_good_at=now)
    snapshot.changed()


@pytest.fixture
def few_anchors(monkeypatch):
    """A known row at every 7th place, so that small lists have many."""
    monkeypatch.setattr(ListAnchor, "EVERY", 7)


@pytest.fixture
def somebody(db):
    gdap_was_read()
    subject = "11111111-1111-4111-8111-111111111111"
    return Operator.objects.create(
        subject=f"{subject}:{subject}", tid=subject, oid=subject, name="A", groups=["g1"], groups_read_at=clock.now()
    )


def ids(query: ListQuery, by: Operator) -> list[int]:
    return [row.pk for row in paging.find(query, by).page]


# --- The same rows as a plain sort ----------------------------------------------------------------------------


@pytest.mark.parametrize("sort", SORTS)
def test_every_page_of_every_order_is_what_a_plain_sort_gives(few_anchors, somebody, sort):
    plant(203)
    plain = list(Customer.objects.listed().in_order(sort).values_list("pk", flat=True))
    for size in (25, 50, 200):
        for number in range(-(-len(plain) // size)):
            shown = ids(ListQuery(sort=sort, page=number + 1, size=size), somebody)
            assert shown == plain[number * size : (number + 1) * size], (size, number + 1)


@pytest.mark.parametrize("key", Customer.objects.all().SORTS)
def test_turned_round_is_the_exact_reverse_but_for_the_empty_values(somebody, key):
    plant(150)
    up = list(Customer.objects.listed().in_order(key))
    down = list(Customer.objects.listed().in_order(f"-{key}"))
    column = Customer.objects.all().SORTS[key][0]
    filled = [row.pk for row in up if getattr(row, column) not in ("", None) or key in ("name", "source")]
    assert [row.pk for row in up][: len(filled)] == filled
    assert [row.pk for row in down][: len(filled)] == filled[::-1]
    assert {row.pk for row in down[len(filled) :]} == {row.pk for row in up[len(filled) :]}


@pytest.mark.parametrize(
    ("groups", "levels"),
    [(["g1", "g2"], {0, 1, 2}), ([], {0}), (None, {None})],
    ids=["in groups", "in none", "not read"],
)
def test_rows_that_are_read_by_hand_say_what_the_orm_reads(somebody, groups, levels):
    plant(40)
    somebody.groups, somebody.groups_read_at = groups or [], None if groups is None else clock.now()
    for number, group, level, minutes in [(1, "g1", 1, 9), (2, "g2", 2, 9), (3, "g1", 2, -9), (4, "other", 2, 9)]:
        ends_at = clock.now() + timedelta(minutes=minutes)
        GdapGrant.objects.create(tenant_id=tenant(number), group_id=group, level=level, ends_at=ends_at)
    one, other = Customer.objects.listed()[3:5]
    MatchSuggestion.objects.create(partner_center=one, avepoint=other, reason="name")
    every = [row.pk for row in Customer.objects.all()]
    listed = Customer.objects.listed()
    reader = paging.Reader(ListQuery(), somebody, snapshot.head("name", 0))
    by_hand, by_orm = reader._by_id(every), reader._in_order(listed)
    assert [told(row) for row in by_hand] == [told(row) for row in by_orm]
    assert 0 < len(by_hand) < len(every)
    assert {row.standing_level for row in by_hand} == levels
    assert sum(bool(row.to_check) for row in by_hand) == 2


def told(row):
    unread = row.get_deferred_fields()
    shown = {
        field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields if field.attname not in unread
    }
    return unread, shown, row.standing_level, bool(row.to_check)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_page_of_any_question_is_what_a_plain_filter_gives(few_anchors, somebody, data):
    if not Customer.objects.exists():
        plant(160)
        MatchSuggestion.objects.create(
            partner_center_id=Customer.objects.listed()[3].pk,
            avepoint_id=Customer.objects.listed()[8].pk,
            reason="name",
        )
        for number in range(0, 160, 3):
            GdapGrant.objects.create(tenant_id=tenant(number), group_id="g1", level=1 + number % 2)
    query = ListQuery(
        view=data.draw(st.sampled_from(["", "needs-attention", "gdap30", "no-access", "matches-to-check"])),
        q=data.draw(st.sampled_from(["", "contoso", "d1", "ex", "e", "zz", "éclair zebra"])),
        source=data.draw(st.sampled_from(["", "both", "pc", "pc,ap"])),
        country=data.draw(st.sampled_from(["", "Germany", "Germany,France", "Nowhere"])),
        access=data.draw(st.sampled_from(["", "edit", "view,none"])),
        ap=data.draw(st.sampled_from(["", "Failed"])),
        sort=data.draw(st.sampled_from(SORTS)),
        page=data.draw(st.integers(1, 4)),
    )
    plain = query.found(somebody, clock.now()).search(query.q, walking=True).in_order(query.sort)
    expected = list(plain.values_list("pk", flat=True))
    for _ in range(2):  # as the first one who asks, and with all remembered
        found = paging.find(query, somebody).page
        assert found.paginator.count == len(expected)
        assert [row.pk for row in found] == expected[(query.page - 1) * 25 : query.page * 25]


@pytest.mark.parametrize("query", [{"q": "example"}, {"source": "both"}, {"view": "needs-attention"}, {"q": "e"}])
def test_many_rows_are_found_from_either_end(monkeypatch, few_anchors, somebody, query):
    monkeypatch.setattr(paging, "MANY", 20)
    monkeypatch.setattr("customers.search.MANY", 20)
    plant(240)
    for sort in ("name", "-domain"):
        asked = ListQuery(**query, sort=sort)
        plain = list(asked.found(somebody, clock.now()).search(asked.q).in_order(sort).values_list("pk", flat=True))
        assert len(plain) > 60
        for number in range(-(-len(plain) // 25)):
            shown = ids(ListQuery(**query, sort=sort, page=number + 1), somebody)
            assert shown == plain[number * 25 : (number + 1) * 25], (sort, number + 1)


def test_a_list_without_known_rows_or_facts_is_still_right(somebody):
    plant(120)
    plain = list(Customer.objects.listed().in_order("-gdap").values_list("pk", flat=True))
    ListAnchor.objects.all().delete()
    assert ids(ListQuery(sort="-gdap", page=3), somebody) == plain[50:75]
    Snapshot.objects.all().delete()
    assert ids(ListQuery(sort="-gdap", page=3), somebody) == plain[50:75]


def test_the_known_rows_are_used_and_found_in_the_index(few_anchors, somebody):
    plant(203)
    with CaptureQueriesContext(connection) as asked:
        ids(ListQuery(sort="-domain", page=2), somebody)
    [page] = [query["sql"] for query in asked.captured_queries if "standing_level" in query["sql"]]
    assert "<= (" in page
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {page}")
            plan = "\n".join(str(line[-1]) for line in cursor.fetchall())
        assert "USING INDEX list_by_domain ((domain,sort_name)<" in plan or "list_by_domain (domain" in plan, plan


# --- The facts ------------------------------------------------------------------------------------------------


def test_the_facts_are_what_counting_gives(somebody):
    plant(203)
    listed, now = Customer.objects.listed(), clock.now()
    facts = snapshot.Facts.of(Snapshot.objects.get().facts)
    assert facts is not None
    assert facts.total == listed.count()
    assert facts.sources == {name: listed.from_source(name).count() for name in ("both", "pc", "ap")}
    assert facts.countries == {name: listed.filter(country=name).count() for name in ("Estonia", "France", "Germany")}
    assert facts.statuses == {name: listed.filter(ap_status=name).count() for name in ("Failed", "Working")}
    assert facts.empty["gdap"] == listed.filter(gdap_ends_at=None).count()
    assert facts.attention == listed.needing_attention(now).count() > 0
    assert facts.gdap_ends_soon == listed.gdap_ends_soon(now).count() > 0


def test_a_change_that_moves_no_row_leaves_the_known_rows_alone(somebody):
    plant(30)
    before = list(ListAnchor.objects.order_by("pk").values_list("pk", flat=True))
    generation = Snapshot.objects.get().generation
    snapshot.changed(sorts=(), counts=False)
    assert list(ListAnchor.objects.order_by("pk").values_list("pk", flat=True)) == before
    assert Snapshot.objects.get().generation == generation + 1
    Customer.objects.listed().update(country="Italy")
    snapshot.changed(sorts=("country",))
    assert snapshot.Facts.of(Snapshot.objects.get().facts).countries == {"Italy": 27}
    assert ids(ListQuery(sort="-country"), somebody)[0] == Customer.objects.listed().in_order("-country")[0].pk


def test_what_was_remembered_of_a_list_ends_with_it(somebody):
    plant(60)
    query = ListQuery(q="d1.example")
    assert len(ids(query, somebody)) == 1
    Customer.objects.filter(search_text__contains="d2.example").update(search_text="d1.example too")
    snapshot.changed()
    assert len(ids(query, somebody)) == 2


@pytest.mark.parametrize(
    ("text", "expected", "queries"),
    [
        ("q=zzyzx", 0, 1),  # the head of the page; that nobody was found is remembered
        ("q=zzyzx&country=Germany", 0, 1),
        ("q=d7.example", 1, 2),
        ("q=d7.example&page=2", 1, 1),
    ],
)
def test_a_search_that_was_made_before_asks_for_the_rows_it_shows_and_nothing_else(
    somebody, django_assert_num_queries, text, expected, queries
):
    plant(9)
    snapshot.changed()
    query = ListQuery.read(QueryDict(text).dict())
    paging.find(query, somebody)
    with django_assert_num_queries(queries):
        found = paging.find(query, somebody)
        assert found.page.paginator.count == expected
        assert len(list(found.page)) == (expected if query.page == 1 else 0)


def test_what_ends_within_thirty_days_is_told_by_the_calendar(somebody):
    now = clock.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for number, (ends, extends) in enumerate(
        [
            (midnight + timedelta(days=31, seconds=-1), False),
            (midnight + timedelta(days=31), False),
            (midnight + timedelta(days=5), True),
            (midnight, False),
            (midnight - timedelta(seconds=1), False),
        ]
    ):
        Customer.objects.create(key=f"k{number}", name="A", gdap_state="live", gdap_ends_at=ends, gdap_extends=extends)
    soon = Customer.objects.gdap_ends_soon(now)
    assert sorted(soon.values_list("key", flat=True)) == ["k0", "k3"]
    assert sorted(Customer.objects.needing_attention(now).values_list("key", flat=True)) == ["k0", "k3", "k4"]


# --- Standing -------------------------------------------------------------------------------------------------


def test_standing_is_told_of_each_row_and_filtered_by(somebody):
    for number, (group, level, ends) in enumerate(
        [("g1", 2, None), ("g1", 1, None), ("other", 2, None), ("g1", 2, clock.now() - timedelta(seconds=1))]
    ):
        Customer.objects.create(key=tenant(number), tenant_id=tenant(number), name="A", in_partner_center=True)
        GdapGrant.objects.create(tenant_id=tenant(number), group_id=group, level=level, ends_at=ends)
    GdapGrant.objects.create(tenant_id=tenant(0), group_id="g1", level=1)
    Customer.objects.create(key="ap-1", name="A", in_avepoint=True)
    rows = list(Customer.objects.order_by("pk"))
    told = standing.of(somebody, rows)
    assert [told[row.pk].level for row in rows] == ["edit", "view", "none", "none", "none"]
    assert told[rows[0].pk].words == "Edit users"
    for level in ("edit", "view", "none"):
        wanted = {row.pk for row in rows if told[row.pk].level == level}
        assert set(standing.at(Customer.objects.all(), somebody, level).values_list("pk", flat=True)) == wanted
    assert standing.without_access(somebody, 1, 5) == 3


@pytest.mark.parametrize("unread", ["groups", "snapshot"])
def test_while_nobody_has_read_groups_or_snapshot_nothing_is_claimed(somebody, unread):
    if unread == "groups":
        somebody.groups_read_at = None
    else:
        Source.objects.filter(name=GRAPH).update(last_good_at=None)
    row = Customer.objects.create(key=tenant(1), tenant_id=tenant(1), name="A")
    assert standing.of(somebody, [row])[row.pk].level == ""
    assert not standing.at(Customer.objects.all(), somebody, "none").exists()
    assert standing.without_access(somebody, 1, 1) is None


def test_the_count_of_what_one_may_not_is_made_once_a_minute(somebody, monkeypatch, django_assert_num_queries):
    Customer.objects.create(key=tenant(1), tenant_id=tenant(1), name="A")
    assert standing.without_access(somebody, 1, 1, may_count=False) is None
    assert standing.without_access(somebody, 1, 1) == 1
    with django_assert_num_queries(0):
        assert standing.without_access(somebody, 2, 99) == 1
        assert standing.without_access(somebody, 2, 99, may_count=False) == 1
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(seconds=61))
    assert standing.without_access(somebody, 2, 99) == 99


# --- Budgets --------------------------------------------------------------------------------------------------


@pytest.fixture
def reader(signed_in, snapshot) -> Browser:
    Operator.objects.update(groups=["g1"], groups_read_at=clock.now())
    gdap_was_read()
    return signed_in("reader")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?page=3&sort=-domain",
        "?sort=-domain&size=200",
        "?q=a",
        "?q=zzyzx",
        "?q=contoso&source=ap",
        "?q=no.such.domain",
        "?country=Vietnam",
        "?country=Vietnam,Germany&sort=-domain",
        "?view=needs-attention",
        "?view=no-access&sort=gdap",
        "?access=none&ap=Failed",
        "?cols=name,codes,tags,access&q=e",
        "?cols=name,relationship,roles,users,synced",
    ],
)
def test_a_page_takes_at_most_five_queries_even_for_whoever_asks_first(
    reader, query, django_assert_max_num_queries, monkeypatch
):
    for many in (2_000, 3):
        monkeypatch.setattr(paging, "MANY", many)
        monkeypatch.setattr("customers.search.MANY", many)
        cache.clear()
        reader.get("/me/")  # the look at the GDAP snapshot, which is tested below, is done with
        for _ in range(2):
            with django_assert_max_num_queries(5):
                look(reader, f"/customers/{query}")


@pytest.mark.parametrize("query", ["", "?q=a", "?view=no-access&sort=gdap"])
def test_a_page_that_sets_off_a_look_at_the_gdap_snapshot_has_taken_its_five_queries_before(reader, query, monkeypatch):
    cache.clear()
    taken = []
    monkeypatch.setattr(tasks, "somebody_is_here", lambda grant: taken.append(len(asked)))
    with CaptureQueriesContext(connection) as asked:
        look(reader, f"/customers/{query}")
    assert taken == [len(asked)]  # the look came after all of them
    assert len(asked) <= 5


def test_a_fragment_of_25_rows_and_a_page_of_50_are_light(reader):
    fragment = reader.htmx("get", "/customers/?sort=-name").content
    assert len(keys(Page(fragment.decode()))) == 25
    assert len(gzip.compress(fragment)) <= 7_000
    page = look(reader, "/customers/?size=50")
    assert len(gzip.compress(page.html.encode())) <= 12_000
    assert len(page.tags) <= 1_500


def test_labels_shown_in_columns_come_with_the_rows(reader):
    row = Customer.objects.listed().in_order("name")[0]
    Label.objects.create(customer=row, kind="code", text="ACME-1", folded="acme-1")
    Label.objects.create(customer=row, kind="tag", text="vip", folded="vip")
    words = look(reader, "/customers/?cols=name,codes,tags").words
    assert "ACME-1" in words
    assert "vip" in words
