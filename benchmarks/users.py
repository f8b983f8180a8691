"""`python -m benchmarks.users`: the first page of a customer's users, then Next and Back, on `TEST_DATABASE_URL`.

Every answer of the pretend cloud takes 150 ms longer. In each round one after the other, through the whole middleware:

- *call*: one page of users as our client asks Partner Center for it, and nothing else;
- *rights cold*, *rights warm*: the first page, asked anew each time;
- *next*: the second page, as htmx asks for it, after the page has asked ahead. That request goes out when the first
  page has been read for 0.3 seconds; who presses Next while it is under way waits for it, and is not measured here;
- *back*: the first page again, as the browser's Back asks for it.

Then a customer with 10,000 users: *large call* and *large page* as above, and the search in their index, whole pages
with *many* hits (the first 100 are shown), *few* and *no*, against the *floor* of the list (`benchmarks.lists`).

Prints a line of JSON. `BENCH_SHORT=1` only shows that it works.
"""

import json
import logging
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from html import unescape
from typing import Any
from urllib.parse import urlencode

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django

django.setup()

from django.core.cache import cache
from django.core.management import call_command
from django.urls import reverse

from benchmarks import lists
from benchmarks.cloud import cloud, signed_in, slow
from benchmarks.figures import Figure, summary, timed
from customers import access, sync
from customers.models import Customer
from partnerportal import grants
from partnerportal.models import TokenCache
from partnerportal.sandbox.seed import GROUP_IDS, SPECIAL
from tests.conftest import Browser
from users import index
from users.models import IndexedUser

ROUNDS = 3 if os.environ.get("BENCH_SHORT") == "1" else 100
TENANT = SPECIAL["medium"]  # 1,185 users, 25 a page
LARGE = SPECIAL["big"]  # 10,000
MOST = 2  # times the floor of the list that a search may take


def main() -> None:
    """The figures of all steps."""
    warnings.filterwarnings("ignore", message=".*response_mode.*")  # MSAL's advice, see pyproject.toml
    logging.disable(logging.CRITICAL)
    call_command("migrate", verbosity=0)
    with cloud():
        sync.sync_now()
        browser, grant = signed_in("admin")
        graph = grants.graph(grant)
        access.remember_names(graph.group_names(GROUP_IDS.values()))  # as the snapshot brings them
        for tenant in (TENANT, LARGE):
            browser.get(reverse("users", args=[tenant]))  # reads the customer by id, which is done once a day
        searches = indexed(browser, grant)
        slow("graph", "partnercenter")
        rounds = [one_round(browser, grant) | {each: timed(searches[each]) for each in searches} for _ in range(ROUNDS)]
    found = {step: summary([times[step] for times in rounds]) for step in rounds[0]}
    print(json.dumps({"steps": found, "figures": [asdict(figure) for figure in figures(found)]}))


def one_round(browser: Browser, grant: TokenCache) -> dict[str, float]:
    """Milliseconds of each step; they take turns, so that a busy machine slows all alike."""
    client = grants.partner_center(grant)
    forget_rights(grant)
    first = Step(browser, reverse("users", args=[TENANT]))
    warm = Step(browser, reverse("users", args=[TENANT]))
    ahead = Step(browser, warm.address("data-ahead"), headers={"X-Poll": "1"})
    following = Step(browser, warm.address("href", 'id="page-next"'), headers={"HX-Request": "true"})
    back = Step(browser, warm.address("data-here"))
    return {
        "call": timed(lambda: client.users(TENANT, size=25, descending=False, deleted=False)),
        "rights cold": first.took,
        "rights warm": warm.took,
        "ahead": ahead.took,
        "next": following.took,
        "back": back.took,
    }


def indexed(browser: Browser, grant: TokenCache) -> dict[str, Callable[[], object]]:
    """What is measured at the large customer, once its users have been read for the search."""
    row, _ = index.request_walk(Customer.objects.get(tenant_id=LARGE), by=grant.operator, grant=grant)
    index.carry_out(row.pk)
    name, *others = IndexedUser.objects.filter(walk=row.fence + 1).values_list("display_name", flat=True)
    assert len(others) > 9_000, "the users were not read"
    client = grants.partner_center(grant)
    page, search = reverse("users", args=[LARGE]), reverse("users-search", args=[LARGE])
    works: dict[str, Callable[[], object]] = {
        "large call": lambda: client.users(LARGE, size=25, descending=False, deleted=False),
        "large page": partial(Step, browser, page),
        "floor": lists.floor_page(),
    }
    for hits, text in (("many", "an"), ("few", name), ("no", "zzyzx")):
        works[f"search, {hits}"] = partial(Step, browser, f"{search}?{urlencode({'q': text})}")
    return works


def forget_rights(grant: TokenCache) -> None:
    """As when this person opens this customer for the first time."""
    key = access._memo_key(TENANT, grant.operator)  # noqa: SLF001 -- nobody else has to forget
    assert cache.delete(key), "the rights are no longer kept where this looks for them"
    cache.delete(f"{key}:last")


class Step:
    """A request, how long it took, and the addresses in its answer."""

    def __init__(self, browser: Browser, url: str, headers: dict[str, str] | None = None) -> None:
        answer: Any = None

        def ask() -> None:
            nonlocal answer
            answer = browser.get(url, headers=headers)

        self.took = timed(ask)
        assert answer.status_code in (200, 204), (url, answer.status_code)
        self.html = answer.content.decode()

    def address(self, attribute: str, beside: str = "") -> str:
        """The value of an attribute, in a tag that has `beside` before it."""
        found = re.search(rf'<[^>]*{beside}[^>]* {attribute}="([^"]+)"', self.html)
        assert found, attribute
        return unescape(found[1])


def figures(found: dict[str, list[float]]) -> list[Figure]:
    call, floor = found["call"][0], found["floor"][0]
    return [
        Figure("first page, rights warm; of one upstream call", found["rights warm"][0] / call, 1.1),
        Figure("first page, rights cold; of one upstream call", found["rights cold"][0] / call, 2.4),
        Figure("Next, asked for ahead after 0.3 s of reading", found["next"][0], 15, "ms"),
        Figure("Back", found["back"][0], 15, "ms"),
        Figure(
            "first page of 10,000 users; of one upstream call", found["large page"][0] / found["large call"][0], 1.1
        ),
        *(
            Figure(f"search among 10,000, {hits} hits; of the list's floor", found[f"search, {hits}"][0] / floor, MOST)
            for hits in ("many", "few", "no")
        ),
    ]


if __name__ == "__main__":
    main()
