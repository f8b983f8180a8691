"""The search against a plain filter: the same rows, whatever is typed."""

import re
from importlib import import_module
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from customers import merge, paging, search, telling
from customers.listing import ListQuery
from customers.models import Customer, Label, SourceName
from partnerportal import clock
from tests.customers.test_list import keys, look, names
from tests.customers.test_paging import somebody, tenant  # noqa: F401
from users.models import IndexedUser, UserIndex

pytestmark = pytest.mark.django_db

TOLD = [
    "Čajovna Übergröße s.r.o.", "O'Neil \"Quick\" & Sons", "شركة النخيل", "咖啡店", "100% Organic", "snake_case Ltd",
    "back\\slash", "A-B-C", "NEAR the AND OR NOT", "col:umn *star^", "Æther Øre Łódź", "x", "(brackets) [square]",
    "trailing - dash",
    "an–be “zo”", "🎉an party", "l’andere·be", "trailing\u200ban",
    "İstanbul ıı", "-- DROP TABLE;", "ﬁle ﬂow", "Contoso Trading", "Consolidated Contoso",
]  # fmt: skip
CORPUS = [
    "%",
    "_",
    "\\",
    "'",
    '"',
    '""',
    "*",
    "con*",
    "^con",
    "NOT",
    "AND",
    "OR",
    "NEAR",
    "NEAR(a b)",
    "col:",
    "search_text:con",
    "-",
    "--",
    ";",
    "(",
    ")",
    "[",
    "a AND b",
    "\x00",
    "con\x00toso",
    "a\x00",
    "%00",
    "🎉",
    "🎉an",
    "an",
    "be",
    "–",
    "–be",
    "an–be",
    "“zo”",
    "l’an",
    "l’andere",
    "\u200ban",
    "ﬁ",
    "fi",
    "ubergrosse",
    "UBER",
    "ø",
    "aether",
    "النخيل",
    "咖啡",
    "咖",
    "s.r",
    "s.r.o",
    "o'n",
    "c",
    "co",
    "con",
    "cont",
    "so",
    "tr",
    "ab",
    "b",
    "&",
    "100%",
    "snake_",
    "k_c",
    "slash",
    "istanbul",
    "ı",
    "*star^",
    "contoso trading",
    "trading contoso",
    "cont con c",
    "c t",
    "x y z",
    "::",
    "d1",
]


@pytest.fixture
def told(db):
    seen = [merge.Seen(tenant(n), tenant(n), name, f"d{n}.example") for n, name in enumerate(TOLD)]
    merge.swap({SourceName.PARTNER_CENTER: seen}, clock.now())


def plainly(text: str) -> set[int]:
    """Those that match, told by Python alone."""
    words = search.words(text)
    return {
        customer.pk
        for customer in Customer.objects.all()
        if all(
            re.search(rf"(?<![^\W_]){re.escape(word)}", customer.search_text)
            if len(word) < 3 and word.isalnum()
            else word in customer.search_text
            for word in words
        )
    }


def assert_all_ways_agree(text: str) -> None:
    expected = plainly(text)
    assert set(Customer.objects.search(text).values_list("pk", flat=True)) == expected
    assert set(Customer.objects.search(text, walking=True).values_list("pk", flat=True)) == expected
    assert set(search.few(text) or []) == expected


@pytest.mark.parametrize("text", CORPUS)
def test_whatever_is_typed_is_looked_for_as_it_stands(told, text):
    assert_all_ways_agree(text)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text("abcdeostnr .-'\"%_\\*^:()&øéß–’🎉\x00", max_size=8),
        st.sampled_from(TOLD).flatmap(lambda name: st.slices(len(name)).map(lambda part: name[part])),
    )
)
@example('"con" OR "x"')
def test_every_way_of_searching_finds_the_same(told, text):
    assert_all_ways_agree(text)


def test_one_or_two_characters_begin_a_word(told):
    found = Customer.objects.search("co").values_list("name", flat=True)
    assert set(found) == {"Contoso Trading", "Consolidated Contoso", "col:umn *star^"}
    assert set(Customer.objects.search("so").values_list("name", flat=True)) == {'O\'Neil "Quick" & Sons'}
    assert set(Customer.objects.search("toso").values_list("name", flat=True)) == {
        "Contoso Trading",
        "Consolidated Contoso",
    }


@pytest.mark.parametrize(
    "sign",
    [
        "–",
        "’",
        "“",
        "·",
        "、",
        "🎉",
        "€",
        "\u200b",
        "\u3000",
        "\x85",
        "\u2028",
        "—\u2028",
        "❤️",
        "™️",
        "1\u20e3",
        "_",
        "/",
        "\t",
        "\x7f",
    ],
)
def test_a_word_begins_after_every_sign(told, sign):
    merge.swap({SourceName.PARTNER_CENTER: [merge.Seen(tenant(1), tenant(1), f"xx{sign}qy", "")]}, clock.now())
    for text in ("qy", "q", f"xx{sign}qy", f"{sign}q"):
        assert tenant(1) in Customer.objects.search(text).values_list("tenant_id", flat=True), text
    assert not Customer.objects.search("y").filter(tenant_id=tenant(1)).exists()


def together(text):
    """As it was stored before."""
    return text.replace("– ", "–").replace("🎉 ", "🎉")


def test_what_was_stored_before_words_stood_apart_is_found_after_the_migration(told):
    as_stored_now = dict(Customer.objects.values_list("pk", "search_text"))
    for customer in Customer.objects.all():
        customer.search_text = together(customer.search_text)
        customer.save()
    assert dict(Customer.objects.values_list("pk", "search_text")) != as_stored_now
    search.put_apart(Customer.objects, at_once=2)
    assert dict(Customer.objects.values_list("pk", "search_text")) == as_stored_now
    assert list(Customer.objects.search("be zo").values_list("name", flat=True)) == ["an–be “zo”"]


@pytest.mark.parametrize(
    ("name", "model"),
    [("customers.migrations.0005_words_apart", Customer), ("users.migrations.0020_words_apart", IndexedUser)],
)
def test_both_migrations_put_their_own_texts_apart(told, name, model):
    if model is IndexedUser:
        index = UserIndex.objects.create(tenant_id=tenant(1), copy=1)
        IndexedUser.objects.create(index=index, walk=1, user_id="u", sort_name="a", search_text="anna–li")
    else:
        Customer.objects.filter(name="x").update(search_text="anna–li")
    import_module(name).put_apart(apps, SimpleNamespace(connection=connection))
    assert model.objects.filter(search_text="anna– li").count() == 1


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("text", ["co", "c", "contoso"])
def test_postgresql_can_answer_a_word_of_any_length_by_its_index(told, text):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "customers_trigrams" in Customer.objects.filter(search.condition(text)).explain()


@pytest.mark.parametrize("kind", ["alias", "code", "tag"])
def test_labels_are_found(told, kind):
    customer = Customer.objects.get(name="x")
    Label.objects.create(customer=customer, kind=kind, text="Grüne Wiese 77", folded="grune wiese 77")
    telling.retell({customer.pk})
    assert list(Customer.objects.search("wiese grun")) == [customer]
    assert list(Customer.objects.search("77")) == [customer]


def test_custom_domains_are_found(told):
    customer = Customer.objects.get(name="x")
    customer.custom_domains = ["brand-new.example"]
    customer.save()
    telling.retell({customer.pk})
    assert list(Customer.objects.search("brand-new.exa")) == [customer]


def test_the_index_follows_whatever_changes_the_text(told):
    customer = Customer.objects.get(name="x")
    Customer.objects.filter(pk=customer.pk).update(search_text="quartz")
    assert list(Customer.objects.search("quartz")) == [customer]
    Customer.objects.bulk_create(
        [Customer(pk=customer.pk, key=customer.key, name="x", search_text="feldspar")],
        update_conflicts=True,
        unique_fields=["pk"],
        update_fields=["search_text"],
    )
    assert not Customer.objects.search("quartz").exists()
    assert list(Customer.objects.search("feldspar")) == [customer]
    assert list(Customer.objects.search("fe")) == [customer]
    customer.rows.all().delete()
    customer.delete()
    assert not Customer.objects.search("feldspar").exists()


def test_the_indexes_that_a_changed_table_lost_are_made_anew(told):
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER customers_search_insert")
    Customer.objects.create(key="late", name="Late", search_text="feldspar")
    call_command("migrate", verbosity=0)
    assert Customer.objects.search("feldspar").count() == 1
    Customer.objects.create(key="later", name="Later", search_text="feldspar")
    assert Customer.objects.search("feldspar").count() == 2


def test_the_index_of_the_search_can_be_taken_away_and_made_again(told):
    search.remove(connection)
    search.install(connection)
    assert Customer.objects.search("contoso").count() == 2


def test_who_is_no_longer_listed_is_not_found(told, somebody):  # noqa: F811
    Customer.objects.filter(name="x").update(listed=False, search_text="quartz")
    page = paging.find(ListQuery(q="quartz"), somebody).page
    assert (page.paginator.count, list(page)) == (0, [])


def test_the_page_says_how_many_were_found_and_shows_them(told, signed_in):
    page = look(signed_in("reader"), q="contoso")
    assert names(page) == ["Consolidated Contoso", "Contoso Trading"]
    assert "Export 2 rows" in page.words
    assert len(keys(page)) == 2
