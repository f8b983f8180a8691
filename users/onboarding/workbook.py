"""The first sheet of a workbook (.xlsx), read in a stream with what Python brings: zipfile and expat.

No library of the trade: those build the whole workbook, and follow what a hostile one says. Here a document type or an
entity ends the reading, what is unpacked is counted, and of the shared texts only those are kept that a cell names.
ECMA-376 part 1, chapter 18 says what the parts hold; chapter 18.8.30 which number formats are dates.
"""

import re
import zipfile
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from posixpath import join, normpath
from typing import Any
from xml.parsers import expat

from django.conf import settings

from .sheet import MERGED, MOST_COLUMNS, FileRefused, Row, Sheet, letter, megabytes, whole

WORKBOOK = "xl/workbook.xml"
_DEPTH = 32  # elements within each other; a sheet needs a dozen
_PARTS = 2_000  # files in the archive
_CHUNK = 64 * 1024
_LONGEST_TOKEN = 512 * 1024  # bytes of one tag; a parser keeps it whole
_MOST_CELLS = 400_000
_LAST_ROW = 1_048_576  # that a spreadsheet has
_CELL = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_DATES = frozenset([*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)])
_NOT_DATE = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.')  # of a format: quoted, escaped, colours, fillers
# The first section of a format, made of zeros and of signs that stand as they are: 00000, 000\-00\-0000, "P"0000.
_PADDED = re.compile(r'(?:0|"[^"]*"|\\.|[-/+(): ])+')
_SHOWN = re.compile(r'"([^"]*)"|\\(.)|(.)')
_FILLER = re.compile(r"\[[^\]]*\]|_.|\*.")  # of a format: colours and languages, blanks of a width, what fills up
_POSITIVE = re.compile(r'(?:"[^"]*"|\\.|[^;])*')  # numbers below zero have a section of their own
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")  # a character as ST_Xstring writes it (ECMA-376 part 1, 22.9.2.19)
_LONGEST = 255  # characters of a format, as spreadsheets have it: each cell may be as long
_NAMED = 5  # hidden rows that a refusal names
_BROKEN = "The workbook is damaged. Open it in Excel, save it again, or save it as CSV UTF-8."
_FORMULA, _ERROR, _DATE = "a formula", "an error of the spreadsheet", "a date"

Attributes = dict[str, str]


class _Stop(Exception):
    """Enough of this part was read."""


def read(data: bytes) -> Sheet:
    """The first sheet that is not hidden. Raises `FileRefused`."""
    archive = _Archive(data)
    sheets = _Sheets()
    archive.parse(WORKBOOK, sheets)
    if not sheets.visible:
        raise FileRefused(_BROKEN)
    name, relation = sheets.visible[0]
    links = _Relations()
    archive.parse("xl/_rels/workbook.xml.rels", links)
    target = links.targets.get(relation, "")
    styles = _Styles()
    if "xl/styles.xml" in archive.names:
        archive.parse("xl/styles.xml", styles)
    cells = _Cells(styles)
    archive.parse(normpath(join("/xl", target)).lstrip("/"), cells)
    if cells.hidden_rows:
        raise _hides_rows(cells.hidden_rows)
    texts = _SharedTexts(cells.wanted)
    if cells.wanted:
        archive.parse("xl/sharedStrings.xml", texts)
    others = len(sheets.visible) - 1
    told = f"Excel workbook, sheet “{name}”" + (f"; {others} other{'s'[: others != 1]} not read" if others else "")
    return whole(_rows(cells.rows, texts.found), told, exact=False, hidden=frozenset(cells.hidden_columns))


def _hides_rows(rows: list[int]) -> FileRefused:
    """Rows that a filter or a person hides are not seen by whoever sends the file, so nobody meant to create them."""
    named = ", ".join(f"{number:,}" for number in rows[:_NAMED]) + (", …" if len(rows) > _NAMED else "")
    return FileRefused(
        f"The sheet hides {len(rows):,} row{'s'[: len(rows) != 1]} with content: {named}. Clear the filter or unhide "
        "what is to be read too, or copy the rows that you see into a new workbook."
    )


class _Archive:
    """The parts of the archive, unpacked in pieces, all of them together no more than allowed."""

    def __init__(self, data: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(BytesIO(data))
            parts = self._zip.infolist()
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError):
            raise FileRefused(_BROKEN) from None
        self._left: int = settings.ONBOARDING_UNPACKED_LIMIT
        if sum(part.file_size for part in parts) > self._left or len(parts) > _PARTS:
            raise self._too_large()
        self.names = {part.filename for part in parts}

    def parse(self, name: str, reader: "_Reader") -> None:
        """Send a part through a reader. Raises `FileRefused` for what is missing, damaged, too large or hostile."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
        parser.CharacterDataHandler = reader.text
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _hostile  # before any entity is followed
        try:
            self._feed(parser, name)
        except _Stop:
            return
        except (KeyError, expat.ExpatError, zipfile.BadZipFile, ValueError, EOFError, OSError):
            raise FileRefused(_BROKEN) from None
        except (RuntimeError, NotImplementedError):  # with a password, or packed in an unusual way
            raise FileRefused("The workbook cannot be unpacked: it may have a password. Save it without.") from None
        except Exception as error:
            if type(error).__module__ == "zlib":
                raise FileRefused(_BROKEN) from None
            raise

    def _feed(self, parser: expat.XMLParserType, name: str) -> None:
        fed = 0
        for piece in self._pieces(name):
            parser.Parse(piece, False)
            fed += len(piece)
            if fed - parser.CurrentByteIndex > _LONGEST_TOKEN:
                raise FileRefused(_BROKEN)
        parser.Parse(b"", True)

    def _pieces(self, name: str) -> Iterator[bytes]:
        part = self._zip.getinfo(name)
        if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise NotImplementedError
        with self._zip.open(part) as opened:
            while piece := opened.read(_CHUNK):
                self._left -= len(piece)  # counted anew: what the archive says of itself may be a lie
                if self._left < 0:
                    raise self._too_large()
                yield piece

    @staticmethod
    def _too_large() -> FileRefused:
        most = megabytes(settings.ONBOARDING_UNPACKED_LIMIT)
        return FileRefused(f"Unpacked, the workbook is larger than {most}. Copy the rows into a new one.")


def _hostile(*_declared: Any) -> None:
    raise FileRefused("The workbook declares a document type, which none has. Save the rows as CSV UTF-8.")


# --- What each part tells -----------------------------------------------------------------------------------


class _Reader:
    """Takes the elements of one part as they come; names without their namespace."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self.pieces: list[str] = []  # of the text under way
        self._room: int = settings.ONBOARDING_FILE_LIMIT * 2  # characters

    def keep(self, text: str) -> None:
        """Add to the text under way. Raises `FileRefused` when all texts together are too long."""
        self._room -= len(text)
        if self._room < 0:
            most = megabytes(settings.ONBOARDING_FILE_LIMIT)
            raise FileRefused(f"The text in this file is more than {most}.")
        self.pieces.append(text)

    def start(self, name: str, attributes: Attributes) -> None:
        self.path.append(name.rpartition(" ")[2])
        if len(self.path) > _DEPTH:
            raise FileRefused(_BROKEN)
        self.opened(self.path[-1], attributes)

    def end(self, _name: str) -> None:
        self.closed(self.path[-1])
        self.path.pop()

    def text(self, text: str) -> None:
        """Characters within the element at the end of `path`."""

    def opened(self, name: str, attributes: Attributes) -> None:
        """An element begins."""

    def closed(self, name: str) -> None:
        """An element ends."""


class _Sheets(_Reader):
    """The sheets in the order of their tabs, without the hidden ones: (name, relation)."""

    def __init__(self) -> None:
        super().__init__()
        self.visible: list[tuple[str, str]] = []

    def opened(self, name: str, attributes: Attributes) -> None:
        if name == "sheet" and attributes.get("state", "visible") == "visible":
            relation = next((value for key, value in attributes.items() if key.endswith("relationships id")), "")
            self.visible.append((attributes.get("name", "")[:40], relation))


class _Relations(_Reader):
    """Where the parts of the workbook lie: relation -> path."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: dict[str, str] = {}

    def opened(self, name: str, attributes: Attributes) -> None:
        if name == "Relationship" and attributes.get("TargetMode", "Internal") == "Internal":
            self.targets[attributes.get("Id", "")] = attributes.get("Target", "")


class _Styles(_Reader):
    """The numbers of the cell styles that show a number as a date or a time, or with zeros before it."""

    def __init__(self) -> None:
        super().__init__()
        self.dates: set[int] = set()
        self.padded: dict[int, str] = {}  # style -> the format: 00000
        self._formats = set(_DATES)
        self._padded: dict[int, str] = {}
        self._style = 0

    def opened(self, name: str, attributes: Attributes) -> None:
        if name == "numFmt":
            shape = _NOT_DATE.sub("", attributes.get("formatCode", "")).lower()
            positive = _POSITIVE.match(_FILLER.sub("", attributes.get("formatCode", "")))
            if set(shape) & set("ymdhs") and "general" not in shape:
                self._formats.add(int(attributes["numFmtId"]))
            elif positive and _is_padded(positive[0]):
                self._padded[int(attributes["numFmtId"])] = positive[0]
        elif name == "xf" and self.path[-2:-1] == ["cellXfs"]:
            number = int(attributes.get("numFmtId", 0))
            if number in self._formats:
                self.dates.add(self._style)
            elif number in self._padded:
                self.padded[self._style] = self._padded[number]
            self._style += 1


@dataclass
class _Line:
    """A row as the sheet has it. A cell is a text, or the number of a shared one."""

    number: int
    cells: dict[int, str | int] = field(default_factory=dict)
    odd: dict[int, str] = field(default_factory=dict)


class _Cells(_Reader):
    """The rows of a sheet that hold anything, and which shared texts they name."""

    def __init__(self, styles: _Styles) -> None:
        super().__init__()
        self.rows: list[_Line] = []
        self.wanted: set[int] = set()
        self.hidden_rows: list[int] = []
        self.hidden_columns: set[int] = set()
        self._styles = styles
        self._line, self._is_hidden = _Line(0), False
        self._column, self._kind, self._style = -1, "", 0
        self._has_formula = False
        self._count = self._covered = 0
        self._is_past = False  # the cells; what is merged stands behind them

    def opened(self, name: str, attributes: Attributes) -> None:
        if self._is_past:
            if name == "mergeCell":
                self._cover(attributes.get("ref", ""))
            return
        match name:
            case "col" if _hides(attributes, "width"):
                first, last = max(int(attributes["min"]), 1), min(int(attributes["max"]), MOST_COLUMNS)
                self.hidden_columns |= set(range(first - 1, last))
            case "row":
                number = int(attributes.get("r", self._line.number + 1))
                if not self._line.number < number <= _LAST_ROW:
                    raise FileRefused(_BROKEN)
                self._line, self._column = _Line(number), -1
                self._is_hidden = _hides(attributes, "ht")
            case "c":
                column = _place(attributes["r"])[1] if "r" in attributes else self._column + 1
                if column <= self._column:  # a second one would hide the first
                    raise FileRefused(_BROKEN)
                self._column = column
                self._kind, self._style = attributes.get("t", "n"), int(attributes.get("s", 0))
                self._has_formula, self.pieces = False, []
            case "f":
                self._has_formula = True

    def text(self, text: str) -> None:
        if not self._is_past and (self.path[-1] == "v" or (self.path[-1] == "t" and "rPh" not in self.path)):
            self.keep(text)

    def closed(self, name: str) -> None:
        if self._is_past:
            if name == "mergeCells":
                raise _Stop
        elif name == "c":
            self._store("".join(self.pieces))
        elif name == "row" and (self._line.cells or self._line.odd):
            self.rows.append(self._line)
            if self._is_hidden:
                self.hidden_rows.append(self._line.number)
            # One more than may be: `whole` counts them and says so, with the row.
            if len(self.rows) > settings.ONBOARDING_ROWS + 3:
                raise _Stop
        elif name == "sheetData":
            self._is_past = True

    def _cover(self, place: str) -> None:
        """The cells of a merged range that are in rows with content: each shows what only the first one holds."""
        first, _, last = place.partition(":")
        (top, left), (bottom, right) = (_place(corner) for corner in (first, last or first))
        if left >= MOST_COLUMNS:
            return
        begin, end = (
            find(self.rows, row, key=lambda line: line.number)
            for find, row in ((bisect_left, top), (bisect_right, bottom))
        )
        for line in self.rows[begin:end]:
            for column in range(left, min(right + 1, MOST_COLUMNS)):
                self._covered += 1
                if self._covered > _MOST_CELLS:  # overlapping ones without end
                    raise FileRefused(f"More than {_MOST_CELLS:,} cells of the sheet are merged. Unmerge them.")
                if (line.number, column) != (top, left):
                    line.odd[column] = MERGED

    def _store(self, value: str) -> None:
        if self._kind in ("inlineStr", "str"):
            value = _unescaped(value)
        if not (value.strip() or self._has_formula):
            return
        self._count += 1
        if self._column >= MOST_COLUMNS or self._count > _MOST_CELLS:
            raise FileRefused(
                f"There is something in column {letter(self._column)}. A sheet may have {MOST_COLUMNS} columns and "
                f"{_MOST_CELLS:,} filled cells at most.",
                self._line.number,
            )
        if odd := self._oddness():
            self._line.odd[self._column] = odd
        elif self._kind == "s":
            self.wanted.add(int(value))
            self._line.cells[self._column] = int(value)
        elif self._kind == "b":
            self._line.cells[self._column] = "yes" if value.strip() == "1" else "no"
        else:
            padded = self._styles.padded.get(self._style, "")
            self._line.cells[self._column] = _number(value, padded) if self._kind == "n" else value

    def _oddness(self) -> str:
        if self._has_formula:
            return _FORMULA
        if self._kind == "e":
            return _ERROR
        is_date = self._kind == "d" or (self._kind == "n" and self._style in self._styles.dates)
        return _DATE if is_date else ""


class _SharedTexts(_Reader):
    """The texts that cells name by number; all others are passed over."""

    def __init__(self, wanted: set[int]) -> None:
        super().__init__()
        self.found: dict[int, str] = {}
        self._wanted, self._last = wanted, max(wanted, default=-1)
        self._number = 0

    def text(self, text: str) -> None:
        if self._number in self._wanted and self.path[-1] == "t" and "rPh" not in self.path:
            self.keep(text)

    def closed(self, name: str) -> None:
        if name != "si":
            return
        if self._number in self._wanted:
            self.found[self._number] = _unescaped("".join(self.pieces))
            self.pieces = []
        self._number += 1
        if self._number > self._last:
            raise _Stop


def _unescaped(text: str) -> str:
    """The text that was meant: Maya for Maya_x000D_, but for the line break; _x000D_ for _x005F_x000D_."""
    if not _ESCAPED.search(text):
        return text
    meant = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    try:
        meant = meant.encode("utf-16-le", "surrogatepass").decode("utf-16-le")  # two escapes may be one character
    except UnicodeDecodeError:
        meant = "\x00"
    if "\x00" in meant:
        raise FileRefused("A cell holds an escape, such as _x0000_, that stands for no character. Type its text anew.")
    return meant


def _place(cell: str) -> tuple[int, int]:
    """B7 -> (7, 1): the row as the sheet has it, the column from 0. Raises ValueError."""
    found = _CELL.fullmatch(cell)
    if found is None:
        raise ValueError("no place of a cell")
    column = 0
    for char in found[1]:
        column = column * 26 + ord(char) - ord("A") + 1
    return int(found[2]), column - 1


def _hides(attributes: Attributes, size: str) -> bool:
    """Whether a row or a column cannot be seen: it is hidden, or has no height or width."""
    return attributes.get("hidden") in ("1", "true") or float(attributes.get(size, 1)) == 0


def _number(value: str, padded: str = "") -> str:
    """A number as a person would have typed it: 12 for 12.0; one that is none stays as it is.

    `padded`: the format that shows it with zeros before it. They belong to it: 00123 is no 123 where it names somebody.
    """
    try:
        number = float(value)
    except ValueError:
        return value
    if not number.is_integer() or abs(number) >= 1e15:
        return value
    return _shown(int(number), padded) if padded and number >= 0 else str(int(number))


def _is_padded(form: str) -> bool:
    return len(form) <= _LONGEST and bool(_PADDED.fullmatch(form)) and _zeros(form) > 1


def _zeros(padded: str) -> int:
    """How many digits a format shows at least; zeros in quotation marks are none."""
    return sum(char == "0" for _, _, char in _SHOWN.findall(padded))


def _shown(number: int, padded: str) -> str:
    """12 as the format shows it: 00012 with 00000, 00-12 with 00"-"00."""
    digits = str(number).zfill(_zeros(padded))
    more = len(digits) - _zeros(padded)  # digits than zeros: they stand before the first
    shown, rest = "", iter(digits[more:])
    for quoted, escaped, char in _SHOWN.findall(padded):
        if char == "0":
            shown, more = shown + digits[:more] + next(rest), 0
        else:
            shown += quoted or escaped or char
    return shown


def _rows(lines: list[_Line], texts: dict[int, str]) -> Iterator[Row]:
    for line in lines:
        width = max([*line.cells, *line.odd], default=-1) + 1
        cells = ["" for _ in range(width)]
        for column, value in line.cells.items():
            if isinstance(value, int) and value not in texts:
                raise FileRefused(_BROKEN)
            cells[column] = texts[value] if isinstance(value, int) else value
        yield Row(line.number, tuple(cells), line.odd)
