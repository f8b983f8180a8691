"""Lists in pages: not to be led astray, round in a circle or on for ever (TRUST T19, T20, F25, F26)."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar
from urllib.parse import urljoin, urlsplit

from django.conf import settings

from partnerportal.upstream.http import Answer, origin_of
from partnerportal.upstream.payload import unintelligible

RowT = TypeVar("RowT")


def same_resource(link: str, url: str) -> str:
    """`link` as an absolute URL if it leads to the origin and path of `url`, else ""; `:443` in it is fine."""
    absolute = joined(url, link)
    if not origin_of(absolute) or origin_of(absolute) != origin_of(url):
        return ""
    return absolute if urlsplit(absolute).path == urlsplit(url).path else ""


def joined(base: str, link: str) -> str:
    """A link as an absolute URL; "" for what is none."""
    try:
        return urljoin(base, link)
    except ValueError:  # half an IPv6 address, for one
        return ""


class LoopGuard:
    """Stops a walk over pages that goes in a circle or does not end: `go_on` before each further page."""

    def __init__(self, limit: int | None = None) -> None:
        self._limit = settings.UPSTREAM_PAGE_LIMIT if limit is None else limit
        self._seen: set[str] = set()

    def go_on(self, mark: str, answer: Answer) -> None:
        """`mark` is what tells the next page from all others: its token or its address. Raises Unintelligible."""
        if mark in self._seen or len(self._seen) + 1 >= self._limit:
            raise unintelligible(answer)
        self._seen.add(mark)


class Rows(Generic[RowT]):
    """Reads the pages of a list. A row may come twice: the list may be too long to remember every id.

    A row that cannot be read (its id above all) is counted in `quarantined`: the list is then not complete. A page
    without one readable row is Unintelligible.
    """

    def __init__(self, read: Callable[[object], RowT | None]) -> None:
        self.quarantined = 0
        self._read = read

    def of(self, answer: Answer, page: Sequence[object]) -> tuple[RowT, ...]:
        readable = tuple(row for row in map(self._read, page) if row is not None)
        if page and not readable:
            raise unintelligible(answer)
        self.quarantined += len(page) - len(readable)
        return readable
