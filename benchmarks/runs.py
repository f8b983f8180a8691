"""`python -m benchmarks.runs`: runs of creates by real workers over a real broker, on `TEST_DATABASE_URL`.

Every answer of the pretend Partner Center takes 150 ms longer, and it lets `RATE` requests a second through for each
customer, in any second; the portal is set 3 % below, so that an answer that comes early by a hair breaks no limit.

- *one*: a run in one customer, beside the least time that the limit allows, and how many requests were answered 429;
- *ten*: the same in each of ten customers at once;
- *lifted*: as many rows in four customers, without a limit, by 1, 2 and 4 workers of one thread each, as far as there
  are cores: on fewer, more workers tell how long they wait for each other. `BENCH_RUN_WORKERS` says otherwise.

Prints a line of JSON. `BENCH_SHORT=1` only shows that it works. `BENCH_RUN` is the rows of a customer, `BENCH_RUN_RATE`
the limit: ten customers at ten a second want more than two cores.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
os.environ["TEST_QUEUE"] = f"bench-{uuid.uuid4()}"

import django

django.setup()

import requests
from django.conf import settings
from django.core.management import call_command

from benchmarks.cloud import LATENCY, cloud, signed_in
from benchmarks.figures import Figure
from customers import sync
from customers.access import Action, access_to
from customers.models import Customer
from partnerportal import grants
from partnerportal.models import Pace, TokenCache
from tests.faults import impatient_celery
from users import tasks
from users.models import OnboardingRow, OnboardingRun, Operation
from users.onboarding import steering

__all__ = ["impatient_celery"]  # the queue that we knock at

SHORT = os.environ.get("BENCH_SHORT") == "1"
ROWS = int(os.environ.get("BENCH_RUN", "6" if SHORT else "1000"))
RATE = float(os.environ.get("BENCH_RUN_RATE", "10"))
CUSTOMERS = 2 if SHORT else 10
CORES = len(os.sched_getaffinity(0))
WORKERS = [
    int(count)
    for count in os.environ.get("BENCH_RUN_WORKERS", "1 2" if SHORT else "1 2 4").split()
    if "BENCH_RUN_WORKERS" in os.environ or SHORT or int(count) <= CORES
]
BELOW = 0.97  # of the limit, for the portal's own pace
PATIENCE = 30 * 60  # seconds for one run
CELERY = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "tests.faults.impatient_celery"]
QUIET = ["--loglevel", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"]


def main() -> None:
    """The figures of all steps."""
    warnings.filterwarnings("ignore", message=".*response_mode.*")  # MSAL's advice, see pyproject.toml
    logging.disable(logging.CRITICAL)
    call_command("migrate", verbosity=0)
    with cloud():
        sync.sync_now()
        _, grant = signed_in("admin")
        where = Customer.objects.filter(listed=True, in_partner_center=True, domain__endswith=".onmicrosoft.example")
        graph = grants.graph(grant)
        may = (
            customer
            for customer in where.exclude(tenant_id=None).order_by("pk")
            if access_to(customer.tenant_id or "", by=grant.operator, graph=graph)[Action.CREATE].yes
        )
        customers = list(islice(may, CUSTOMERS))
        found: dict[str, Any] = {"rows": ROWS, "rate": RATE, "customers": CUSTOMERS, "cores": CORES}
        paced = f"{RATE * BELOW},{2 * RATE * CUSTOMERS}"  # the pretend cloud knows no limit for all together
        limited(customers, RATE)
        with workers(2, threads=2 * CUSTOMERS, rates=paced) as processes:
            busy = [processor_time(processes)]
            found["one"] = one_run(customers[:1], grant)
            busy.append(processor_time(processes))
            found["ten"] = one_run(customers, grant)
            busy.append(processor_time(processes))
            found["one"]["ms a row"] = 1000 * (busy[1] - busy[0]) / ROWS
            found["ten"]["ms a row"] = 1000 * (busy[2] - busy[1]) / ROWS / CUSTOMERS
            found["memory"] = max(peak_of(process) for process in processes)
        limited(customers, None)
        for count in WORKERS:
            with workers(count, threads=1, rates="100000,100000"):
                found[f"lifted {count}"] = one_run(customers[:4], grant, rows=max(ROWS // 4, 2))
    print(json.dumps(found | {"figures": [asdict(figure) for figure in figures(found)]}))


def limited(customers: list[Customer], rate: float | None) -> None:
    """What the pretend Partner Center lets through for each customer; all its answers are late."""
    url = f"{settings.SANDBOX_URL}/_sandbox/faults"
    requests.delete(url, timeout=5).raise_for_status()
    slow = [{"service": "partnercenter", "kind": "slow", "seconds": LATENCY, "times": 0}]
    throttled = [
        {"service": "partnercenter", "kind": "throttle", "path": each.tenant_id, "per_second": rate, "times": 0}
        for each in (customers if rate else [])
    ]
    requests.post(url, json=throttled + slow, timeout=5).raise_for_status()


@contextmanager
def workers(count: int, *, threads: int, rates: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many workers, and beat; ready, and killed afterwards."""
    environment = os.environ | {"TEST_RATES": rates, "PYTHONUNBUFFERED": "1"}
    worker = [*CELERY, "worker", "--pool", "threads", "--concurrency", str(threads), *QUIET]
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="partner-desk-bench-") as folder:
        logs = [Path(folder) / f"worker-{number}.log" for number in range(count)]
        try:
            for log in logs:
                with log.open("wb") as output:
                    named = [*worker, "--hostname", log.stem]
                    processes.append(subprocess.Popen(named, env=environment, stdout=output, stderr=output))
            beat = [*CELERY, "beat", "--pidfile=", "--loglevel", "ERROR", "--schedule", f"{folder}/beat"]
            nowhere = subprocess.DEVNULL
            processes.append(subprocess.Popen(beat, env=environment, stdout=nowhere, stderr=nowhere))
            until = time.monotonic() + PATIENCE
            while not all(" ready." in log.read_text(errors="replace") for log in logs):
                assert time.monotonic() < until, "the workers did not start"
                time.sleep(0.1)
            yield processes[:count]
        finally:
            for process in processes:
                process.kill()
                process.wait()


def one_run(customers: list[Customer], grant: TokenCache, rows: int = ROWS) -> dict[str, float]:
    """Seconds from the start of a run with so many rows a customer to its end, and what Partner Center was asked."""
    Pace.objects.all().delete()
    requests.delete(f"{settings.SANDBOX_URL}/_sandbox/journal", timeout=5)
    last = _last_line()
    run = prepared(customers, grant, rows)
    began = time.monotonic()
    assert steering.start(run, by=run.by, grant=grant)
    tasks.deliver(run)
    while OnboardingRun.objects.get(pk=run.pk).is_open:
        assert time.monotonic() - began < PATIENCE, OnboardingRow.counts(run)
        time.sleep(0.1)
    seconds = time.monotonic() - began
    assert OnboardingRow.counts(run) == {"done": rows * len(customers)}, OnboardingRow.counts(run)
    statuses = [line["status"] for line in _journal(last) if line["service"] == "partnercenter"]
    return {"seconds": seconds, "asked": len(statuses), "throttled": statuses.count(429)}


def prepared(customers: list[Customer], grant: TokenCache, rows: int) -> OnboardingRun:
    """A run as the check of a file leaves it; its rows take turns among the customers."""
    run = OnboardingRun.objects.create(
        by=grant.operator, kind=Operation.Kind.CREATE, title="Bench", state=OnboardingRun.State.CHECKED
    )
    made = []
    for line in range(rows * len(customers)):
        customer = customers[line % len(customers)]
        upn = f"bench{run.pk}.{line}@{customer.domain}"
        fields = {"user_principal_name": upn, "display_name": f"Bench {line}", "usage_location": "NL"}
        about = {"customer": customer, "tenant_id": customer.tenant_id, "target_name": f"Bench {line}"}
        made.append(OnboardingRow(run=run, line=line + 1, fields=fields, creates=upn, user_name=upn, **about))
    OnboardingRow.objects.bulk_create(made, batch_size=500)
    return run


def _last_line() -> int:
    return max((line["seq"] for line in _journal(0)), default=0)


def _journal(after: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = requests.get(
        f"{settings.SANDBOX_URL}/_sandbox/journal", params={"after": after}, timeout=30
    ).json()
    return found


def processor_time(processes: list[subprocess.Popen[bytes]]) -> float:
    """Seconds that these have computed so far; a busy machine makes them wait, and compute no more."""
    ticks = 0
    for process in processes:
        said = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(said[11]) + int(said[12])  # of itself, and of the kernel for it
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_of(process: subprocess.Popen[bytes]) -> float:
    """The most memory that a process has had, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def figures(found: dict[str, Any]) -> list[Figure]:
    """Against the limits of issue 5."""
    least = found["rows"] / found["rate"]
    one, ten = found["one"], found["ten"]
    made = [
        Figure("one customer; of the limit's minimum", one["seconds"] / least, 1.05),
        Figure("one customer: answered 429", 100 * one["throttled"] / one["asked"], 1, "%"),
        Figure("ten customers at once; of one alone", ten["seconds"] / one["seconds"], 1.1),
        Figure("ten customers: answered 429", 100 * ten["throttled"] / ten["asked"], 1, "%"),
    ]
    for count, limit in ((2, 1.8), (4, 3)):
        if (many := found.get(f"lifted {count}")) and (alone := found.get("lifted 1")):
            times = alone["seconds"] / many["seconds"]
            made.append(Figure(f"no limit, {count} workers; times one worker", times, limit, least=True))
    return made


if __name__ == "__main__":
    main()
