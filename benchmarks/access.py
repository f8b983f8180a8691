"""`python -m benchmarks.access`: the access check, cold, against the slowest single Graph call of it.

Every answer of the pretend Graph takes 150 ms longer, as an answer from far away does. Prints a line of JSON.
`BENCH_SHORT=1` only shows that it works.
"""

import json
import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django

django.setup()

from django.core.management import call_command

from benchmarks.cloud import cloud, signed_in, slow
from benchmarks.figures import Figure, summary, timed
from customers import access
from partnerportal import grants
from partnerportal.sandbox.seed import GROUP_IDS, SPECIAL
from partnerportal.upstream.graph import Graph

ROUNDS = 3 if os.environ.get("BENCH_SHORT") == "1" else 100
CASES = {"may": ("admin", "contoso"), "may not": ("nested", "contoso"), "no relationship": ("admin", "none")}
LIMIT = 2.2


def main() -> None:
    """The figures of each case."""
    warnings.filterwarnings("ignore", message=".*response_mode.*")  # MSAL's advice, see pyproject.toml
    logging.disable(logging.CRITICAL)
    call_command("migrate", verbosity=0)
    with cloud():
        graphs = {persona: grants.graph(signed_in(persona)[1]) for persona in ("admin", "nested")}
        access.remember_names(graphs["admin"].group_names(GROUP_IDS.values()))  # as the snapshot brings them
        slow("graph")
        found = {name: measure(graphs[persona], SPECIAL[key]) for name, (persona, key) in CASES.items()}
    print(json.dumps({"steps": found, "figures": [asdict(figure) for figure in figures(found)]}))


def measure(graph: Graph, tenant_id: str) -> dict[str, Any]:
    """Milliseconds of the check and of each of its calls, in turn, and how it compares with the slowest call."""
    ids = [one.id for one in graph.relationships(tenant_id)]
    works: dict[str, Callable[[], object]] = {
        "check": lambda: access.ask(graph, tenant_id),
        "relationships": lambda: graph.relationships(tenant_id),
        "groups": graph.transitive_groups,
    }
    if ids:
        works["assignments"] = lambda: graph.assignments(ids)
    else:  # the check asks that where there is nothing to assign
        works["any relationship"] = graph.any_relationship
    rounds = [{name: timed(work) for name, work in works.items()} for _ in range(ROUNDS)]
    found: dict[str, Any] = {name: summary([times[name] for times in rounds]) for name in works}
    check, *calls = (median for median, *_ in found.values())
    return found | {"ratio": check / max(calls)}


def figures(found: dict[str, dict[str, Any]]) -> list[Figure]:
    return [Figure(f"cold, {case}; of the slowest of its calls", row["ratio"], LIMIT) for case, row in found.items()]


if __name__ == "__main__":
    main()
