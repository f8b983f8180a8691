"""`make bench`: the lists, the users pages, the access check and the sync, on SQLite and PostgreSQL.

Each is measured by processes of its own. Prints ratios, for those hold on another machine too, each with its limit, and
writes all figures to `var/bench.json`. `BENCH_SHORT=1` only shows that it works, in seconds.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import sync
from benchmarks.databases import kinds, new_database, on
from benchmarks.figures import Figure, show

ROOT = Path(__file__).resolve().parent.parent
SHORT = os.environ.get("BENCH_SHORT") == "1"
SIZES = os.environ.get("BENCH_SIZES", "300" if SHORT else "10000 100000 1000000").split()
SYNC_SIZES = os.environ.get("BENCH_SYNC_SIZES", str(sync.SHORT if SHORT else sync.RATED)).split()
PARTS = os.environ.get("BENCH_PARTS", "access users runs sync lists").split()
OUT = Path(os.environ.get("BENCH_OUT", ROOT / "var" / "bench.json"))

Run = dict[str, Any]
RIVALS = {"admin": "Django's admin", "tables": "django-tables2"}
FASTER = {  # how many times as long a rival has to take
    "first page": 5,
    "last page": 10,
    "search, many hits": 10,
    "search, few hits": 25,
    "search, no hits": 25,
}
MANY_HITS_ON_POSTGRESQL = (5, 8)  # times the floor, and growth; all others: 2 and 1.5


def main() -> None:
    """All parts, or those that `BENCH_PARTS` names. What is known is written after each, for all of it takes hours."""
    measured: dict[str, Callable[[], tuple[Any, list[Figure]]]] = {
        "access": access,
        "users": users,
        "runs": runs_of_rows,
        "sync": syncs,
        "lists": lists,
    }
    found: dict[str, Any] = {"figures": []}
    for part in PARTS:
        found[part], figures = measured[part]()
        found["figures"] += [{"part": part} | figure.json() for figure in figures]
        OUT.parent.mkdir(parents=True, exist_ok=True)
        OUT.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if SHORT:
        print("It works. Whether a figure holds says nothing with so little data.")
    print(f"All figures: {OUT}")


def access() -> tuple[Run, list[Figure]]:
    """The access check; it has to do with no database."""
    found = json.loads(_said("", "benchmarks.access"))
    figures = [Figure(**one) for one in found["figures"]]
    show("The access check, each answer of Graph 150 ms later", figures)
    return found["steps"], figures


def users() -> tuple[list[Run], list[Figure]]:
    """The pages of a customer's users, on each database."""
    runs, all_figures = [], []
    for kind in kinds(short=SHORT):
        with new_database(kind) as url:
            found = json.loads(_said(url, "benchmarks.users"))
        figures = [Figure(**one) for one in found["figures"]]
        show(f"{kind}: users pages, each upstream answer 150 ms later", figures)
        runs.append({"database": kind, "steps": found["steps"]})
        all_figures += figures
    return runs, all_figures


def runs_of_rows() -> tuple[list[Run], list[Figure]]:
    """Runs over several users, on each database."""
    runs, all_figures = [], []
    for kind in kinds(short=SHORT):
        with new_database(kind) as url:
            found = json.loads(_said(url, "benchmarks.runs"))
        figures = [Figure(**one) for one in found.pop("figures")]
        show(f"{kind}: runs of {found['rows']:,} users a customer, {found['rate']:g} requests a second", figures)
        computed = f"{found['one']['ms a row']:.0f} ms a row, of ten customers {found['ten']['ms a row']:.0f} ms"
        print(f"{found['cores']} cores. Processor time of the workers: {computed}. Most memory of one: ", end="")
        print(f"{found['memory']:.0f} MB.", flush=True)
        runs.append({"database": kind, **found})
        all_figures += figures
    return runs, all_figures


def syncs() -> tuple[list[Run], list[Figure]]:
    """The sync, on each database."""
    runs, all_figures = [], []
    for kind in kinds(short=SHORT):
        found = sync.measure(kind, tuple(map(int, SYNC_SIZES)))
        figures = sync.figures(found)
        show(f"{kind}: the sync", figures)
        runs += found
        all_figures += figures
    return runs, all_figures


def lists() -> tuple[list[Run], list[Figure]]:
    """The customer list at all sizes, on each database."""
    all_runs, all_figures = [], []
    for kind in kinds(short=SHORT):
        with new_database(kind) as url:
            runs = [json.loads(line) for line in _said(url, "benchmarks.lists", *SIZES).splitlines()]
        figures = list_figures(runs)
        print(table(runs))
        show(f"{kind}: the customer list", figures)
        all_runs += runs
        all_figures += figures
    return all_runs, all_figures


def _said(url: str, module: str, *arguments: str) -> str:
    """What a process of its own prints; what it is at comes to our standard error."""
    sync.say(" ".join([module, *arguments, url.partition(":")[0]]))
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, env=on(url), stdout=subprocess.PIPE, text=True, check=True).stdout


# --- The lists ----------------------------------------------------------------------------------------------


def list_figures(runs: list[Run]) -> list[Figure]:
    """Against the floor and the rivals at 100,000 customers, and the largest list against the smallest."""
    rated, made = _rated(runs), []
    for name, page in rated["pages"].items():
        many = name == "search, many hits" and rated["database"] == "postgresql"
        most, growth = MANY_HITS_ON_POSTGRESQL if many else (2, 1.5)
        made.append(Figure(f"{name}; of the floor", page["ours"][0] / rated["floor"][0], most))
        for rival in RIVALS if name in FASTER and "beside" in page else ():
            times = page[rival][0] / page["beside"][0]
            made.append(Figure(f"{name}: {RIVALS[rival]}; of ours", times, FASTER[name], least=True))
        if len(runs) > 1:
            sizes = f"{runs[0]['customers']:,} to {runs[-1]['customers']:,}"
            made.append(Figure(f"{name}: growth, {sizes}", _growth(runs, name), growth))
    return made


def _rated(runs: list[Run]) -> Run:
    return next((run for run in runs if run["customers"] == 100_000), runs[-1])


def _growth(runs: list[Run], name: str) -> float:
    """Of a page against its floor, so that it says nothing of how busy the machine was in between."""
    first, last = (run["pages"][name]["ours"][0] / run["floor"][0] for run in (runs[0], runs[-1]))
    return float(last / first)


def table(runs: list[Run]) -> str:
    """Ratios of medians: against the floor, against the rivals, and the largest against the smallest list."""
    rated = _rated(runs)
    least = rated["floor"][0]
    lines = [
        f"{rated['database']}, {rated['customers']:,} customers; the floor is {least:.1f} ms",
        f"{'':<24}{'ms':>8}{'p95':>8}{'x floor':>9}{'first':>9}{'admin /':>9}{'tables /':>9}{'growth':>8}",
    ]
    for name, page in rated["pages"].items():
        ours, p95, _ = page["ours"]
        rivals = "".join(
            f"{page[rival][0] / page['beside'][0]:>9.1f}" if rival in page else f"{'':>9}" for rival in RIVALS
        )
        lines.append(
            f"{name:<24}{ours:>8.1f}{p95:>8.1f}{ours / least:>9.2f}{page['cold'][0] / least:>9.2f}"
            f"{rivals}{_growth(runs, name):>8.2f}"
        )
    lines.append(
        "first: for whoever asks first after the list has changed, against the floor. admin, tables: how many times as"
        f" long they take. growth: {runs[-1]['customers']:,} against {runs[0]['customers']:,} customers, each against"
        " its floor."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
