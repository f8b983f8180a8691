"""The customer list with many customers: how long a page takes, against the least it could take and against others.

`python -m benchmarks.lists 100000 1000000` measures on the database of `TEST_DATABASE_URL` and writes JSON.
"""

import json
import logging
import os
import random
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from unittest import mock

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"

import django

django.setup()

from django.core.cache import cache
from django.core.management import call_command
from django.core.paginator import Page
from django.db import connection, transaction

from customers import paging, search, snapshot, tasks
from customers.listing import ListQuery
from customers.models import Customer, GdapGrant, Source
from partnerportal import clock, sessions
from partnerportal.models import Operator, TokenCache
from tests.conftest import Browser

WORDS = """adatum alpine avenue bellows bluebird boulder brook castle city coho contoso fabrikam fourth graphic hollow
humongous kestrel lamna liberty litware lucerne margie munson northwind proseware relecloud school southridge tailspin
trey vineyard wide wingtip woodgrove""".split()
COUNTRIES = (
    ["United Kingdom"] * 5 + ["United States"] * 5 + ["Germany", "France", "Italy", "Spain", "Norway", "Estonia"]
)
GROUPS = [str(uuid.UUID(int=number)) for number in range(1, 21)]
COLUMNS = (
    "key tenant_id name sort_name domain country country_code ap_status owner_email in_partner_center in_avepoint"
    " missing_from listed conflicts gdap_state gdap_ends_at gdap_extends search_text custom_domains seen_domains"
    " plain_name owner_domain"
).split()
EMPTY = {"sqlite": "DELETE FROM customers_customer", "postgresql": "TRUNCATE customers_customer CASCADE"}
SIZE = 50
ROUNDS = 100
SECONDS = 5.0  # that the slower rivals are measured for, at least 3 times


# --- The rows -----------------------------------------------------------------------------------------------


def customers(count: int) -> Iterator[tuple[Any, ...]]:
    """So many customers; the same ones in every run."""
    dice = random.Random(count)
    now = clock.now()
    for number in range(count):
        tenant = str(uuid.UUID(int=dice.getrandbits(128)))
        # Half of them have "group" in their name, ten each "brand4711"; nobody has "zzyzx".
        brand = f"brand{number // 10}"
        name = " ".join([dice.choice(WORDS), dice.choice(WORDS), brand, dice.choice(["group", "limited"])]).title()
        domain = f"{name.replace(' ', '').lower()}{number}.example" if number % 12 else ""
        country = dice.choice(COUNTRIES) if number % 15 else ""
        owner = f"owner{number}@partner.example"
        both, pc = number % 10 > 0, number % 20 > 0
        ends = now + timedelta(days=dice.randrange(1, 700), seconds=dice.randrange(86_400)) if number % 9 else None
        yield (
            tenant, tenant, name, name.lower(), domain, country, "", "Failed" if number % 400 == 1 else "Working",
            owner, both or pc, both or not pc, "", True, "[]", "live" if ends else "none", ends, number % 3 == 0,
            "\n".join([name.lower(), domain, tenant, owner]), "[]", "{}", name.lower(), "partner.example",
        )  # fmt: skip


def fill(count: int) -> None:
    """Put so many customers in place of whatever is there, with the facts and the rights that go with them."""
    GdapGrant.objects.all().delete()
    search.remove(connection)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(EMPTY[connection.vendor])
        names = ", ".join(COLUMNS)
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY customers_customer ({names}) FROM STDIN") as copy:
                for row in customers(count):
                    copy.write_row(row)
        else:
            places = ", ".join("?" * len(COLUMNS))
            rows = ((*row[:15], str(row[15])[:26] if row[15] else None, *row[16:]) for row in customers(count))
            connection.connection.executemany(f"INSERT INTO customers_customer ({names}) VALUES ({places})", rows)
    search.install(connection)  # not before the commit: PostgreSQL has foreign keys to check first
    _grant()
    for name in ("partner_center", "avepoint", "graph"):
        Source.objects.update_or_create(pk=name, defaults={"last_good_at": clock.now(), "rows": count})
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    with transaction.atomic():
        snapshot.changed()
    cache.clear()


def _grant() -> None:
    """Nine of ten customers have given one of three groups a right."""
    tenants = Customer.objects.values_list("tenant_id", flat=True).iterator(chunk_size=5_000)
    grants = (
        GdapGrant(tenant_id=str(tenant), group_id=GROUPS[number % 3], level=1 + (number % 4 > 0))
        for number, tenant in enumerate(tenants)
        if number % 10
    )
    GdapGrant.objects.bulk_create(grants, batch_size=5_000)


def sign_in() -> Browser:
    """A browser whose session stands as after the door."""
    subject = uuid.uuid4()
    operator = Operator.objects.create(
        subject=f"{subject}:{subject}", tid=subject, oid=subject, name="Bench", email="bench@partner.example",
        app_roles=["Portal.Admin"], groups=GROUPS, groups_read_at=clock.now(),
    )  # fmt: skip
    grant = TokenCache.objects.create(operator=operator, sealed=b"")
    browser = Browser()
    browser.force_login(operator, backend="partnerportal.signin.EntraBackend")
    session, now = browser.session, clock.now().timestamp()
    session.update(
        {sessions.GRANT: str(grant.pk), sessions.SIGNED_IN_AT: now, sessions.SEEN_AT: now, sessions.MODE: "sandbox"}
    )
    session.save()
    return browser


# --- Measuring ----------------------------------------------------------------------------------------------


def pages(count: int) -> dict[str, tuple[str, str, str]]:
    """What is measured: the query of ours, of Django's admin, and of django-tables2."""
    last = -(-count // SIZE)
    deep = min(1000, last // 2)
    brand = f"brand{count // 20}"
    return {
        "first page": ("", "", ""),
        "page 1000": (f"page={deep}", f"p={deep}", f"page={deep}"),
        "last page": (f"page={last}", f"p={last}", f"page={last}"),
        "search, many hits": ("q=group", "q=group", "q=group"),
        "search, few hits": (f"q={brand}", f"q={brand}", f"q={brand}"),
        "search, no hits": ("q=zzyzx", "q=zzyzx", "q=zzyzx"),
        "by domain": ("sort=domain", "o=2", "sort=domain"),
        "by country, descending": ("sort=-country", "o=-5", "sort=-country"),
        "one country": ("country=Germany", "country__exact=Germany", "country=Germany"),
    }


def measure(count: int, *, rounds: int = ROUNDS, rivals: bool = True) -> dict[str, Any]:
    """Milliseconds with so many customers: (median, p95, times) of each page, and of the floor.

    "ours" is a page as it is mostly seen, "cold" the same for whoever asks first after the list has changed. They
    take turns with the floor, so that a busy machine slows all of them alike; and so do the rivals with "beside",
    which is ours once more.
    """
    fill(count)
    found: dict[str, Any] = {"customers": count, "database": connection.vendor, "pages": {}}
    asked = pages(count)
    works = {"floor": floor_page()} | {name: get(f"/customers/?size=50&{asked[name][0]}") for name in asked}
    figures = in_turn(works, rounds)
    cold = in_turn({name: _cold(work) for name, work in works.items() if name != "floor"}, max(3, rounds // 5))
    found["floor"] = figures["floor"]
    for name, (_, admin, tables) in asked.items():
        found["pages"][name] = {"ours": figures[name], "cold": cold[name]}
        if rivals:
            others = {
                "beside": works[name],  # again: so that the rivals and we meet the same busy minutes
                "admin": get(f"/others/admin/customers/customer/?{admin}"),
                "tables": get(f"/others/tables/?{tables}"),
            }
            found["pages"][name] |= in_turn(others, rounds, seconds=SECONDS)
    return found


def floor_page() -> Callable[[], object]:
    """The first page with `paging.find` replaced by the least that it can be."""
    least = floor()
    with mock.patch.object(paging, "find", least):
        work = get("/customers/?size=50")

    def page() -> None:
        with mock.patch.object(paging, "find", least):
            work()

    return page


def _cold(work: Callable[[], object]) -> Callable[[], object]:
    def page() -> None:
        cache.clear()
        work()

    return page


def floor() -> Callable[..., paging.Found]:
    """The least that a page can take: 50 rows by primary key, all else known."""
    head = replace(snapshot.head("name", 0), rows_seen=None)
    ids = list(Customer.objects.in_order("name").values_list("pk", flat=True)[:SIZE])

    def found(query: ListQuery, by: Operator, columns: tuple[str, ...] = ()) -> paging.Found:
        rows = paging.addressed(list(paging.shown(Customer.objects.filter(pk__in=ids), columns, by)))
        return paging.Found(Page(rows, 1, paging.Counted(head.facts.total, SIZE)), head)

    return found


def get(url: str) -> Callable[[], object]:
    browser = sign_in()
    answer = browser.get(url)
    assert answer.status_code == 200, (url, answer.status_code)
    return partial(browser.get, url)


def in_turn(works: dict[str, Callable[[], object]], rounds: int, *, seconds: float = 0) -> dict[str, list[float]]:
    """Median, p95 and number of so many rounds of each; with `seconds`, of as many as they allow (at least 3)."""
    times: dict[str, list[float]] = {name: [] for name in works}
    began = time.perf_counter()
    for number in range(rounds):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append((time.perf_counter() - start) * 1000)
        if seconds and number >= 2 and time.perf_counter() - began > seconds:
            break
    return {
        name: [statistics.median(found), sorted(found)[int(len(found) * 0.95)], len(found)]
        for name, found in times.items()
    }


def main() -> None:
    """Measure on this process's database, and throw away what was in it. One line of JSON a size to standard output."""
    logging.disable(logging.CRITICAL)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    call_command("migrate", verbosity=0)
    tasks.somebody_is_here = lambda grant: None  # what follows an answer makes nobody wait, and has no worker here
    short = os.environ.get("BENCH_SHORT") == "1"
    sizes = [int(size) for size in sys.argv[1:]] or [200]
    rounds = 3 if short else ROUNDS
    for size in sizes:
        print(json.dumps(measure(size, rounds=rounds, rivals=short or size == 100_000)), flush=True)


if __name__ == "__main__":
    main()
