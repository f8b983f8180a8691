"""Lists in pages: not to be led astray, round in a circle or on for ever (TRUST T19, T20, F25, F26)."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import urljoin, urlsplit

import msgspec
from django.conf import settings

from partnerportal.upstream.http import Answer, origin_of
from partnerportal.upstream.payload import parse_row, unintelligible

RowT = TypeVar("RowT")
WireT = TypeVar("WireT")


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


class Stretch(NamedTuple, Generic[RowT]):
    """So many rows of a list, one after the other. One that is `Familiar` is not read: its `mark` says which rows."""

    mark: bytes  # of their bytes; b"" where it must not be remembered
    number: int
    rows: tuple[RowT, ...]


@dataclass(frozen=True)
class Familiar:
    """The stretches of a list that whoever reads it knows from the last time, by their marks.

    Of a long list nearly all comes as it came before, and to read it is most of the work.
    """

    marks: Collection[bytes] = ()
    salt: bytes = b""  # 64 bytes at most: with another one nothing is familiar

    LENGTH = 50  # rows of a stretch: so many are read for one that changed

    def mark(self, rows: Sequence[msgspec.Raw]) -> bytes:
        """16 bytes that no other rows have, however somebody chooses them."""
        return blake2b(b",".join(rows), digest_size=16, key=self.salt).digest()


NOTHING_YET = Familiar()


class Rows(Generic[WireT, RowT]):
    """Reads the pages of a list. A row may come twice: the list may be too long to remember every id.

    A row that cannot be read (its id above all) is counted in `quarantined`: the list is then not complete. A page
    without one readable row is Unintelligible.
    """

    def __init__(self, wanted: type[WireT], row: Callable[[WireT], RowT]) -> None:
        self.quarantined = 0
        self._wanted = wanted
        self._row = row
        self._decode = msgspec.json.Decoder(list[wanted]).decode  # type: ignore[valid-type]

    def well(self, page: Sequence[msgspec.Raw], familiar: Familiar) -> list[Stretch[RowT]] | None:
        """The page, straight from its bytes and without what is familiar; None when any other row is not as it should
        be, so that `one_by_one` is to judge it (see `payload.parse_well`).
        """
        try:
            return [
                self._stretch(page[start : start + familiar.LENGTH], familiar)
                for start in range(0, len(page), familiar.LENGTH)
            ]
        except (ValueError, RecursionError):
            return None

    def _stretch(self, rows: Sequence[msgspec.Raw], familiar: Familiar) -> Stretch[RowT]:
        mark = familiar.mark(rows)
        if mark in familiar.marks:
            return Stretch(mark, len(rows), ())
        return Stretch(mark, len(rows), tuple(map(self._row, self._decode(b"[%b]" % b",".join(rows)))))

    def one_by_one(self, answer: Answer, page: Sequence[object]) -> list[Stretch[RowT]]:
        """A page of which some rows may be unreadable, as one stretch that is not to be remembered."""
        readable = [row for row in (parse_row(row, self._wanted) for row in page) if row is not None]
        if page and not readable:
            raise unintelligible(answer)
        self.quarantined += len(page) - len(readable)
        return [Stretch(b"", len(readable), tuple(map(self._row, readable)))]
