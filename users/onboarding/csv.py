"""A CSV file as a sheet. Every row is one line: a quotation mark that stays open must swallow no row after it.

What cannot be told for sure is refused, with the row: a wrong guess would be a user with a wrong name.
"""

import codecs
import csv
import re
from collections.abc import Iterator

from django.conf import settings

from . import columns
from .sheet import MOST_COLUMNS, FileRefused, Row, Sheet, whole

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_MARKS = (  # UTF-32 begins like UTF-16, and then has NULs
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_LONE_CR = re.compile(r"\r(?!\n)")
_UTF_8_LETTER = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_SAVE_AS = "Save the file as CSV UTF-8."
# What a spreadsheet leaves in a CSV file where it could not calculate.
_ERROR = re.compile(r"#(N/A|NV|REF!|BEZUG!|NAME\?|VALUE!|WERT!|DIV/0!|NUM!|ZAHL!|NULL!|SPILL!)", re.IGNORECASE)


def read(data: bytes) -> Sheet:
    """The sheet in the file. Raises `FileRefused`."""
    text, encoding = _decoded(data)
    if "\x00" in text:
        raise FileRefused(f"There is a NUL, which no text has. {_SAVE_AS}", _row_at(text, text.index("\x00")))
    if lone := _LONE_CR.search(text):
        raise FileRefused(
            f"There is a carriage return without a line feed, so rows cannot be told apart. {_SAVE_AS}",
            _row_at(text, lone.start()),
        )
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    separator, first = _separator(lines)
    told = f"CSV, {encoding}, separated by {SEPARATORS[separator]}"
    return whole(_rows(lines, separator, first), told, exact=True)


def _decoded(data: bytes) -> tuple[str, str]:
    """The text, and what its encoding is called. Raises `FileRefused` for what is neither."""
    for mark, codec, name in _MARKS:
        if data.startswith(mark):
            return _strictly(data[len(mark) :], codec, name), name
    if codec := _utf_16_without_mark(data):
        return _strictly(data, codec, "UTF-16"), "UTF-16"
    try:
        return data.decode("utf-8"), "UTF-8"
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
    if _UTF_8_LETTER.search(data):
        raise FileRefused(f"One part of the file is UTF-8 and another is not. {_SAVE_AS}", row)
    return _strictly(data, "cp1252", "Windows-1252"), "Windows-1252"


def _strictly(data: bytes, codec: str, name: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        row = data[: error.start].decode(codec, "ignore").count("\n") + 1
        raise FileRefused(f"There is a character that {name} does not have. {_SAVE_AS}", row) from None


def _utf_16_without_mark(data: bytes) -> str:
    """The byte order of a text whose every other byte is mostly NUL; "" for any other."""
    sample = data[:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if odd > len(sample) * 0.3 and not even:
        return "utf-16-le"
    return "utf-16-be" if even > len(sample) * 0.3 and not odd else ""


def _row_at(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _separator(lines: list[str]) -> tuple[str, int]:
    """What separates the cells, and the line with which the rows begin.

    As the first line says (sep=;), or the one with which most of the header is known.
    """
    for number, line in enumerate(lines):
        if not line or len(line) > settings.ONBOARDING_ROW_LIMIT:
            continue
        plain = line.strip().lstrip("\ufeff").lower().rstrip(",;\t")
        if plain == "sep=" and line.strip()[4:5] in SEPARATORS:
            return line.strip()[4:5], number + 1
        if line.lower().startswith("sep=\t"):
            return "\t", number + 1
        if plain and not plain.startswith("version:"):
            return max(SEPARATORS, key=lambda each: _known(line, each)), 0
    return ",", 0


def _known(line: str, separator: str) -> tuple[int, int]:
    try:
        cells = _cells(line, separator)
    except csv.Error:
        return 0, 0
    return sum(columns.is_known(cell) for cell in cells[:MOST_COLUMNS]), len(cells)


def _rows(lines: list[str], separator: str, first: int) -> Iterator[Row]:
    blanks = f"{separator} \t\u00a0"
    for number, line in enumerate(lines[first:], start=first + 1):
        if len(line) > settings.ONBOARDING_ROW_LIMIT:
            raise FileRefused(f"This row is longer than {settings.ONBOARDING_ROW_LIMIT // 1024} kB.", number)
        if not line.strip(blanks):  # of these a spreadsheet may write a million below the last row
            continue
        try:
            cells = _cells(line, separator)
        except csv.Error:
            raise FileRefused(
                "A quotation mark is opened and not closed in its row, or closed too early. Within a cell in quotation "
                "marks write two for one, and leave out line breaks.",
                number,
            ) from None
        odd = {column: words for column, cell in enumerate(cells) if (words := _oddness(cell))}
        yield Row(number, tuple(cells), odd)


def _cells(line: str, separator: str) -> list[str]:
    """The cells of one line, [""] for an empty one. Raises `csv.Error`."""
    return next(csv.reader([line], delimiter=separator, strict=True), [""]) or [""]


def _oddness(cell: str) -> str:
    """Why a cell is no text that somebody typed; "" when it is."""
    text = cell.strip()
    if text.startswith("="):
        return "a formula"
    return "an error of the spreadsheet" if _ERROR.fullmatch(text) else ""
