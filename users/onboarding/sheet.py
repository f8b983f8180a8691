"""What a file of new users holds, whichever kind it is: a header and rows of text, whole or not at all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from django.conf import settings

MOST_COLUMNS = 190  # each is a field of the form that asks what it means, which may have 200
MERGED = "part of a merged cell"  # why a cell is no text: it shows that of another one


class FileRefused(Exception):
    """Nothing of the file was taken. The sentence says why and what to do; `row` as a spreadsheet counts, 0 = all."""

    def __init__(self, reason: str, row: int = 0) -> None:
        self.reason, self.row = reason, row
        super().__init__(f"Row {row:,}: {reason}" if row else reason)


@dataclass(frozen=True)
class Row:
    """One row of the file. `odd`: column -> why what stands there is no text ("a formula")."""

    number: int
    cells: tuple[str, ...]
    odd: Mapping[int, str] = field(default_factory=dict)

    @property
    def is_blank(self) -> bool:
        return not (any(self.cells) or self.odd)


@dataclass(frozen=True)
class Sheet:
    """A file that was read whole. `told` says what it was taken for: "CSV, UTF-8, separated by semicolons"."""

    columns: tuple[str, ...]  # as they are written; "" for one without a header, which then is empty
    rows: tuple[Row, ...]
    told: str
    hidden: frozenset[int] = frozenset()  # columns that the spreadsheet does not show


def whole(rows: Iterable[Row], told: str, *, exact: bool, hidden: frozenset[int] = frozenset()) -> Sheet:
    """The sheet whose first row names the columns. Raises `FileRefused` for the first thing that is not right.

    `exact`: each row has as many cells as the header; else those at its end may be left out, as workbooks do.
    """
    header: Row | None = None
    kept: list[Row] = []
    size = 0
    for row in rows:
        if row.is_blank or _is_version(row, header, kept):
            continue
        size += _size_of(row)
        if size > settings.ONBOARDING_FILE_LIMIT:
            raise FileRefused(f"The text in this file is more than {megabytes(settings.ONBOARDING_FILE_LIMIT)}.")
        if header is None:
            header = _header(row)
            continue
        if len(kept) == settings.ONBOARDING_ROWS:
            most = f"{settings.ONBOARDING_ROWS:,}"
            raise FileRefused(f"A file may have {most} rows at most, and this is one more. Split the file.", row.number)
        kept.append(_fitted(row, header, exact=exact))
    if header is None:
        raise FileRefused("The file is empty. It needs a header row, and a row below it for each user.")
    if not kept:
        raise FileRefused("There is a header row and nothing below it. Add a row for each user.", header.number)
    return Sheet(header.cells, tuple(kept), told, hidden)


def megabytes(size: int) -> str:
    """A size as people read it."""
    return f"{size / 1024 / 1024:.3g} MB"


def letter(column: int) -> str:
    """What a spreadsheet calls a column: A, B, …, Z, AA."""
    name = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


def _is_version(row: Row, header: Row | None, kept: list[Row]) -> bool:
    """The row that Microsoft's own files have above the header: version:v1.0."""
    return header is None and not kept and row.cells[0].strip().lower().startswith("version:")


def _size_of(row: Row) -> int:
    """Bytes of a row's text. Raises `FileRefused` for more than a row may have."""
    size = sum(len(cell.encode("utf-8", "surrogatepass")) for cell in row.cells)
    if size > settings.ONBOARDING_ROW_LIMIT:
        raise FileRefused(f"This row is longer than {settings.ONBOARDING_ROW_LIMIT // 1024} kB.", row.number)
    return size


def _header(row: Row) -> Row:
    """The header with tidy names. Two columns of one name would hide one of them."""
    for column, words in row.odd.items():
        if words == MERGED:  # has no name, so what stands below it is refused
            continue
        raise FileRefused(f"Column {letter(column)} of the header holds {words}. Type its name.", row.number)
    names = tuple(" ".join(cell.replace("\ufeff", "").split()) for cell in row.cells)
    if len(names) > MOST_COLUMNS:
        raise FileRefused(f"There are {len(names):,} columns. A file may have {MOST_COLUMNS} at most.", row.number)
    seen: dict[str, int] = {}
    for column, name in enumerate(names):
        if name and name.casefold() in seen:
            first = letter(seen[name.casefold()])
            raise FileRefused(
                f"Two columns are named “{shortened(name)}”: {first} and {letter(column)}. Rename or delete one.",
                row.number,
            )
        seen[name.casefold()] = column
    return Row(row.number, names)


def _fitted(row: Row, header: Row, *, exact: bool) -> Row:
    """The row as wide as the header. Raises `FileRefused` for one that is not, or that has a value without a header."""
    width, has = len(header.cells), len(row.cells)
    if exact and has != width:
        raise FileRefused(
            f"This row has {has:,} cell{'s'[: has != 1]}, and the header has {width:,}. "
            "A cell that holds a separator must stand in quotation marks.",
            row.number,
        )
    cells = row.cells + ("",) * (width - has)
    for column, cell in enumerate(cells):
        odd = "" if row.odd.get(column) == MERGED else row.odd.get(column)
        if (cell.strip() or odd) and (column >= width or not header.cells[column]):
            said = f"“{shortened(cell)}”" if cell.strip() else odd
            raise FileRefused(f"There is {said} in column {letter(column)}, which has no header.", row.number)
    return Row(row.number, cells[:width], row.odd)


def shortened(text: str) -> str:
    """What a sentence quotes of a file, which may hold anything."""
    plain = "".join(char if char.isprintable() else "�" for char in text.strip()[:60])
    return plain if len(text.strip()) <= 60 else f"{plain[:57]}…"
