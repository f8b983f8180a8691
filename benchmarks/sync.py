"""The sync against a stub of both sources: `python -m benchmarks.sync [--database postgres] [--short] [SIZE …]`.

Each figure comes from a fresh process, so that its peak of memory is its own. Ratios are within one run:

- *floor*: fetching the same pages side by side and `json.loads`, nothing else;
- *first load*, *0.1 % changed*: a whole sync of ours, from its row to its end;
- *naive*: `update_or_create` for each row, on a sample, and scaled.

Says on standard error what it is at. Of a size beyond 100,000 only the peak of memory is measured.
"""

import argparse
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.databases import new_database, on
from benchmarks.figures import Figure, show

PORT = int(os.environ.get("BENCH_STUB_PORT", "8549"))
LATENCY = 0.150  # seconds a page
SAMPLE = 2_000  # rows of each source for the naive loop
RATED = 100_000  # rows of each source; of more than these only the peak of memory is looked at
SHORT = 600  # rows: two pages


def measure(database: str, sizes: tuple[int, ...] = (RATED,)) -> list[dict[str, Any]]:
    """One dict for each size: seconds and the peak of memory. `database` is "sqlite" or "postgres"."""
    with stub():
        return [_measure(database, size) for size in sizes]


def _measure(database: str, size: int) -> dict[str, Any]:
    found: dict[str, Any] = {"database": database, "customers": size}
    if size > RATED:
        return found | _in_a_process(database, "peak", size, 0.0)
    for what in ("floor", "ours", "naive"):
        found |= _in_a_process(database, what, size, 0.0)
    slow: dict[str, float] = {}
    for what in ("floor", "ours"):
        slow |= _in_a_process(database, what, size, LATENCY)
    return found | {"150 ms a page": slow}


def _in_a_process(database: str, what: str, size: int, seconds: float) -> dict[str, float]:
    """What a fresh process finds, on a database of its own, with pages that take so many seconds."""
    say(f"{database}, {size:,} + {size:,} rows{', 150 ms a page' if seconds else ''}: {what}")
    _tell(size=size, seconds=seconds, changes=0)
    with new_database(database) as url:
        command = [sys.executable, "-m", "benchmarks.sync", "--inside", what, "--seconds", str(seconds), str(size)]
        answer = subprocess.run(
            command, env=on(url) | {"BENCH_STUB_PORT": str(PORT)}, stdout=subprocess.PIPE, text=True, check=True
        )
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found


def say(words: str) -> None:
    """What it is at: all of it takes minutes."""
    print(f"{time.strftime('%H:%M:%S')}  {words}", file=sys.stderr, flush=True)


# --- The stub -----------------------------------------------------------------------------------------------


@contextmanager
def stub() -> Iterator[None]:
    """The stub in a process of its own, which ends with us."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.stub", str(PORT)], stdin=subprocess.PIPE)
    try:
        _tell_patiently()
        yield
    finally:
        process.kill()
        process.wait()


def _tell(**state: Any) -> None:
    body = json.dumps(state).encode()
    urlopen(Request(f"http://127.0.0.1:{PORT}/_set", data=body), timeout=10).read()


def _tell_patiently() -> None:
    until = time.monotonic() + 20
    while True:
        try:
            return _tell(size=1, seconds=0.0, changes=0)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


# --- Inside a process of its own ------------------------------------------------------------------------------


def inside(what: str, size: int, seconds: float) -> dict[str, float]:
    """What one fresh process measures."""
    if what == "floor":
        _make_pages(seconds)
        return {"floor": statistics.median(timed(f"fetched, {number} of 3", floor) for number in (1, 2, 3))}
    _set_up()
    from django.db import transaction

    from customers.sync import sync_now

    if what == "naive":
        sample = min(size, SAMPLE)
        _tell(size=sample)
        with transaction.atomic():  # else it would wait for the disk after each row, which is not what is compared
            took = timed(f"{sample:,} rows of each source", naive)
        return {"naive": took * size / sample}
    found = {"first": timed("first load", sync_now)}
    again = []
    for times in (1,) if what == "peak" else (1, 2, 3):
        _tell(changes=times)
        _make_pages(seconds)
        again.append(timed(f"0.1 % changed, the {times}. time", sync_now))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**found, "changed": statistics.median(again), "peak": peak}


def _make_pages(seconds: float) -> None:
    """Let the stub make its pages, at once."""
    _tell(seconds=0.0)
    floor()
    _tell(seconds=seconds)


def timed(words: str, work: Callable[[], object]) -> float:
    """Seconds; says them."""
    began = time.perf_counter()
    work()
    took = time.perf_counter() - began
    say(f"    {words}: {took:.1f} s")
    return took


def floor() -> None:
    """Fetch both lists side by side and parse their pages."""
    walks = [threading.Thread(target=walk) for walk in (_fetch_partner_center, _fetch_avepoint)]
    for walk in walks:
        walk.start()
    for walk in walks:
        walk.join()


def _fetch_partner_center() -> None:
    import requests

    session = requests.Session()
    headers: dict[str, str] = {}
    while True:
        answer = session.get(f"http://127.0.0.1:{PORT}/v1/customers?size=500", headers=headers, timeout=30)
        page = json.loads(answer.content.decode("utf-8-sig"))
        following = page["links"].get("next")
        if not following:
            return
        headers = {"MS-ContinuationToken": following["headers"][0]["value"]}


def _fetch_avepoint() -> None:
    import requests

    session, url = requests.Session(), "/partner/customers"
    while url:
        page = json.loads(session.get(f"http://127.0.0.1:{PORT}{url}", timeout=30).content)
        url = "/partner" + page["@odata.nextLink"].partition("/partner")[2] if "@odata.nextLink" in page else ""


def naive() -> None:
    """What one writes first: a query or four for every row of every walk."""
    from customers import merge
    from customers.models import Customer, SourceName, SourceRow
    from partnerportal.upstream.avepoint import AvePoint
    from partnerportal.upstream.http import Secret
    from partnerportal.upstream.partner_center import PartnerCenter

    token = Secret("bench")
    mine = map(merge.from_partner_center, _rows(PartnerCenter(token).customers()))
    theirs = map(merge.from_avepoint, _rows(AvePoint(token).customers()))
    rows = [*((SourceName.PARTNER_CENTER, row) for row in mine), *((SourceName.AVEPOINT, row) for row in theirs)]
    for source, row in rows:
        if row is None:
            continue
        told = row._asdict()
        key = told.pop("source_id")
        known = {"name": row.name, "sort_name": row.name.lower(), "domain": row.domain, "search_text": row.name}
        customer, _ = Customer.objects.update_or_create(key=key, defaults=known)
        SourceRow.objects.update_or_create(source=source, source_id=key, defaults={**told, "customer": customer})


def _rows(pages: Iterator[Any]) -> Iterator[Any]:
    return (row for page in pages for stretch in page for row in stretch.rows)


def _set_up() -> None:
    """Django on the database that we were given, as in production, with both sources led to the stub."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    from partnerportal.upstream import avepoint, tokens
    from partnerportal.upstream.http import Secret

    logging.disable(logging.CRITICAL)
    options = connection.settings_dict["OPTIONS"]
    if "init_command" in options:  # the tests do not wait for the disk; we do
        options["init_command"] = options["init_command"].replace("PRAGMA synchronous=OFF;", "")
    for origin in (settings.PARTNER_CENTER_URL, settings.AVEPOINT_URL):
        settings.UPSTREAM_ROUTES[origin] = f"http://127.0.0.1:{PORT}"
    tokens.app_only_partner_center = lambda: Secret("bench")
    avepoint.fetch_token = lambda: Secret("bench")
    call_command("migrate", verbosity=0)


# --- The figures ----------------------------------------------------------------------------------------------


def figures(found: list[dict[str, Any]]) -> list[Figure]:
    """Of the sizes of one database, with the limits of the issue."""
    made: list[Figure] = []
    for one in found:
        size = f"{one['customers']:,}"
        if "floor" in one:
            slow, floor = one["150 ms a page"], one["floor"]
            made += [
                Figure(f"first load of {size}, 150 ms a page; of the floor", slow["first"] / slow["floor"], 1.3),
                Figure("0.1 % changed, 150 ms a page; of the floor", slow["changed"] / slow["floor"], 1.05),
                Figure(f"first load of {size}; of the floor", one["first"] / floor, 15),
                Figure("0.1 % changed; of the floor", one["changed"] / floor, 1.8),
                Figure("the naive loop; of the first load", one["naive"] / one["first"], 8, least=True),
            ]
        made.append(Figure(f"peak of memory, {size}", one["peak"], 180, "MB"))
    if len(found) > 1:  # the probe went from 142 to 174 MB and was called flat
        growth = found[-1]["peak"] / found[0]["peak"]
        made.append(Figure(f"peak of memory, {found[-1]['customers']:,}; of {found[0]['customers']:,}", growth, 1.25))
    return made


def main() -> None:
    """The command line, and what the processes of their own are started with."""
    parser = argparse.ArgumentParser(prog="benchmarks.sync", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--short", action="store_true", help="only whether it works")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--inside", choices=("floor", "ours", "naive", "peak"), help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("sizes", nargs="*", type=int)
    asked = parser.parse_args()
    if asked.inside:
        print(json.dumps(inside(asked.inside, asked.sizes[0], asked.seconds)))
        return
    found = measure(asked.database, tuple(asked.sizes) or ((SHORT,) if asked.short else (RATED,)))
    print(json.dumps(found, indent=1)) if asked.json else show(f"{asked.database}: the sync", figures(found))


if __name__ == "__main__":
    main()
