"""The work queue of the overview: what needs the person in front of the screen, and where to go for it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from ..models import Source
from .figures import Figures

NAMED = 3  # operations that get a row each; the others share one


@dataclass(frozen=True)
class Need:
    """One row: a shape, how many, the sentence about them, and the verb that leads there."""

    kind: str  # "bad" or "warn"
    icon: str
    count: int
    words: str
    verb: str
    url: str
    operation: Any = None  # instead of words, for names come from upstream


def address(name: str, query: Mapping[str, str] | None = None, **arguments: Any) -> str:
    """Where a page is, with a query; "" while there is no such page."""
    try:
        path = reverse(name, kwargs=arguments or None)
    except NoReverseMatch:
        return ""
    return f"{path}?{urlencode(query)}" if query else path


def needs(figures: Figures, sources: Iterable[Source], unknown: Iterable[Any]) -> list[Need]:
    """The queue, without what is not there. `unknown`: this person's operations without a known outcome."""
    rows = [*_of_customers(figures), *_of_sources(sources), *_of_operations(list(unknown))]
    return [row for row in rows if row.count]


def _of_customers(figures: Figures) -> list[Need]:
    month = timezone.localdate(figures.at).replace(day=1).isoformat()
    failed = figures.statuses.get("Failed", 0)
    return [
        Need(
            "bad",
            "stop",
            figures.ended,
            f"{_customers(figures.ended)} whose GDAP relationship ended this month. You have no access there.",
            "Review",
            address("gdap", {"ends": "ended", "from": month}),
        ),
        Need(
            "warn",
            "clock",
            figures.ending,
            f"{_customers(figures.ending)} whose GDAP relationship ends within 30 days and does not extend by itself.",
            "Review",
            address("customers", {"view": "gdap30"}),
        ),
        Need(
            "warn",
            "alert",
            figures.matches,
            f"{'Pair' if figures.matches == 1 else 'Pairs'} of customers may be the same company in both sources.",
            "Compare",
            address("matches"),
        ),
        Need(
            "warn",
            "alert",
            failed,
            f"{_customers(failed)} report{'s' if failed == 1 else ''} “Failed” in AvePoint.",
            "See",
            address("customers", {"ap": "Failed"}),
        ),
    ]


def _of_sources(sources: Iterable[Source]) -> list[Need]:
    known = list(sources)
    short: dict[str, list[str]] = defaultdict(list)
    for source in known:
        for one in source.short:
            short[one.word].append(f"{source.label} ({one.found:,})")
    silent = [source for source in known if source.silent]
    names = ", ".join(source.label for source in silent)
    many = "Sources do" if len(silent) > 1 else "Source does"
    return [
        *(
            Need(
                "bad",
                "stop",
                len(listed),
                f"Found far fewer {word}s than before: {', '.join(listed)}. A Portal.Admin decides if that is right.",
                "Decide",
                address("sources"),
            )
            for word, listed in short.items()
        ),
        Need("bad", "stop", len(silent), f"{many} not answer: {names}.", "Look", address("sources")),
    ]


def _of_operations(unknown: list[Any]) -> list[Need]:
    """The newest by name; the others in one row that leads to the audit trail."""
    rest = len(unknown) - NAMED
    words = f"More of your changes have an unknown outcome{', at least' if rest + NAMED >= 100 else ''}."
    return [
        *(Need("warn", "clock", 1, "", "Check", _place_of(one), one) for one in unknown[:NAMED]),
        Need("warn", "clock", max(rest, 0), words, "Review", address("audit", {"outcome": "unknown"})),
    ]


def _place_of(operation: Any) -> str:
    """The user that it is about; the users of the customer while the user has no id."""
    key = operation.customer.key
    if operation.target_id:
        return address("user", key=key, user_id=operation.target_id)
    return address("users", key=key)


def _customers(count: int) -> str:
    return "Customer" if count == 1 else "Customers"
