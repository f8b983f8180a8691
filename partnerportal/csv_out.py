"""CSV files for people: what a spreadsheet opens, and nothing in it that a spreadsheet would carry out (TRUST T18)."""

import csv
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from django.http import StreamingHttpResponse

from . import clock

BOM = "\ufeff"
# A sign that begins a formula, also in full width, also behind blanks of any kind.
_BLANKS = r"[\s\u0000-\u0020\u00a0\ufeff\u200b-\u200f\u2060]*"
_FORMULA = re.compile(_BLANKS + r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20\u2212\ufe62\ufe63\ufe66\ufe6b]")


def safe(value: object) -> str:
    """The value as text; what a spreadsheet could take for a formula begins with an apostrophe.

    Instants are ISO 8601 with their offset.
    """
    if value is None:
        return ""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat(timespec="seconds")
    text = str(value).replace("\x00", "")
    return f"'{text}" if text[:1] in ("\t", "\r", "\n") or _FORMULA.match(text) else text


def as_it_was(text: str) -> str:
    """A text of a file that came from here, without the apostrophe that `safe` has put before it."""
    return text[1:] if text[:1] == "'" and safe(text[1:]) == text else text


class _Line:
    """What `csv.writer` writes into: hands each line back."""

    def write(self, text: str) -> str:
        return text


def lines(header: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """The file, line by line: UTF-8 with a byte order mark, every value quoted."""
    writer = csv.writer(_Line(), quoting=csv.QUOTE_ALL)
    yield BOM + str(writer.writerow([safe(name) for name in header]))
    for row in rows:
        yield str(writer.writerow([safe(value) for value in row]))


def download(subject: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> StreamingHttpResponse:
    """The answer that the browser saves as `customers-2026-11-22T1304Z.csv`, sent as it is made."""
    response = StreamingHttpResponse(lines(header, rows), content_type="text/csv; charset=utf-8")
    subject = re.sub(r"[^A-Za-z0-9.-]", "_", subject)  # a domain is what another directory says
    response["Content-Disposition"] = f'attachment; filename="{subject}-{clock.now():%Y-%m-%dT%H%MZ}.csv"'
    return response
