"""The indexes of the list are there after every sync, however a first load into PostgreSQL went."""

import psycopg
import pytest
from django.db import connection

from customers import indexes, merge, snapshot, sync
from customers.models import Customer, SourceName
from tests.customers.rows import ap, pc, tenant, walk

pytestmark = [pytest.mark.django_db, pytest.mark.only_on("postgresql")]


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    monkeypatch.setattr(indexes, "MANY", 50)
    monkeypatch.setattr(snapshot, "FEW", 20)


def there():
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'customers_customer'")
        return dict(cursor.fetchall())


def load(number=60):
    rows = [pc(tenant(n), f"Firm {n}", f"firm{n}.example") for n in range(1, number)]
    return rows, [ap(tenant(n).upper(), f"Firm {n}", country="Germany") for n in range(1, number)]


def test_they_are_set_aside_for_a_first_load_and_made_again_as_they_were():
    before = there()
    indexes.set_aside(100)
    assert {"customers_trigrams", "list_by_name", "alone_in_pc"} <= before.keys() - there().keys()
    assert all("UNIQUE" in told for told in there().values())  # what keeps a key a key stays
    walk(*load())
    assert there() == before
    assert Customer.objects.search("firm 47").get().tenant_id == tenant(47)
    assert Customer.objects.count() == 59


@pytest.mark.parametrize("number", [60, 3], ids=["a large load", "a small one"])
def test_a_first_load_that_dies_has_them_made_by_the_next_sync(monkeypatch, number):
    before = there()
    indexes.set_aside(100)
    with monkeypatch.context() as broken:
        broken.setattr(merge, "_honour_links", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            walk(*load())
    assert there() != before
    assert not Customer.objects.exists()
    walk(*load(number))
    assert there() == before


def test_a_list_that_has_a_customer_keeps_them():
    walk([pc(tenant(1), "One")])
    before = there()
    indexes.set_aside(100)
    assert there() == before


def test_few_rows_are_not_worth_it():
    before = there()
    indexes.set_aside(49)
    assert there() == before


def test_while_somebody_reads_the_list_in_a_transaction_they_stay(monkeypatch):
    monkeypatch.setattr(indexes, "WAIT", "50ms")
    before = there()
    told = connection.get_connection_params()
    with psycopg.connect(**{name: told[name] for name in ("dbname", "user", "host", "port") if name in told}) as reader:
        reader.execute("SELECT 1 FROM customers_customer").fetchall()
        indexes.set_aside(100)
        assert there() == before


def test_whoever_does_not_own_the_table_leaves_them(monkeypatch):
    before = there()
    monkeypatch.setattr(indexes, "_OURS", indexes._OURS.replace("pg_has_role(relowner, 'USAGE')", "false"))
    indexes.set_aside(100)
    assert there() == before
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX list_by_gdap")  # somebody else's decision, and no sync fails for it
    walk(*load())
    assert before.keys() - there().keys() == {"list_by_gdap"}


def test_a_sync_of_many_rows_into_an_empty_list_sets_them_aside(sandbox, monkeypatch):
    monkeypatch.setattr(indexes, "MANY", 10)
    before, seen = there(), []
    really = merge.put_in_place

    def put(*given, **more):
        seen.append(there().keys())
        return really(*given, **more)

    monkeypatch.setattr(merge, "put_in_place", put)
    sync.sync_now()
    assert "customers_trigrams" not in seen[0]
    assert there() == before
    assert Customer.objects.filter(rows__source=SourceName.AVEPOINT).exists()
