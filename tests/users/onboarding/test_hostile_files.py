"""Files that want to do harm, or were damaged: none is taken in part, none ends in anything but a refusal in words."""

import tracemalloc
import zipfile
from collections.abc import Iterator
from io import BytesIO

import pytest

from users.onboarding import columns, files
from users.onboarding.sheet import FileRefused

from .made import HEADER, MAIN, STARTERS, csv, parts_of, workbook, zipped


@pytest.fixture(autouse=True)
def _small_limits(settings):
    """A fiftieth of everything, so that the files can be small."""
    settings.ONBOARDING_UNPACKED_LIMIT = 1_000_000
    settings.ONBOARDING_FILE_LIMIT = 100_000
    settings.ONBOARDING_ROWS = 50


GOOD_CSV = csv(HEADER, *STARTERS)
GOOD_BOOK = workbook(HEADER, *STARTERS)
SHEET = "xl/worksheets/sheet1.xml"
Case = tuple[str, bytes, str]


def rows_of(data: bytes, name: str) -> list[dict[str, str]]:
    sheet = files.read(data, name)
    reading = columns.read(sheet)
    return [dict(line.typed) for line in columns.lines(sheet, reading.meaning)]


WHOLE = rows_of(GOOD_CSV, "a.csv")


def damaged() -> Iterator[Case]:
    """Good files with something put in, taken out or changed, wherever it hurts."""
    places = range(3, len(GOOD_CSV), 7)
    for place in places:
        for what, put in (("NUL", b"\x00"), ("CR", b"\r"), ("quote", b'"'), ("separator", b";"), ("bad byte", b"\x81")):
            yield f"{what} at {place}", GOOD_CSV[:place] + put + GOOD_CSV[place:], "a.csv"
    for place in range(1, len(GOOD_BOOK), len(GOOD_BOOK) // 40):
        yield f"workbook cut at {place}", GOOD_BOOK[:place], "a.xlsx"
        flipped = bytearray(GOOD_BOOK)
        flipped[place] ^= 0x55
        yield f"workbook changed at {place}", bytes(flipped), "a.xlsx"


def refused() -> Iterator[Case]:
    """What has nothing good in it."""
    for begins in (
        b"\xd0\xcf\x11\xe0",
        b"%PDF-1",
        b"\x1f\x8b\x08",
        b"7z\xbc\xaf",
        b"Rar!",
        b"\x89PNG",
        b"MZ\x90",
        b"<html>",
    ):
        yield f"begins with {begins!r}", begins + b"\x01" * 500, "a.csv"
    yield "UTF-32", "User name\na.b\n".encode("utf-32"), "a.csv"
    yield "UTF-16 of odd length", "User name\na.b\n".encode("utf-16")[:-1], "a.csv"
    yield "half a surrogate", "User name\n".encode("utf-16-le") + b"\x00\xd8\n\x00", "a.csv"
    yield "an archive of nothing", zipped({}), "a.xlsx"
    yield "an archive with a password", _with_password(GOOD_BOOK), "a.xlsx"
    yield "packed otherwise", zipped({**parts_of(HEADER, *STARTERS)}, packed=zipfile.ZIP_LZMA), "a.xlsx"
    yield "many parts", zipped({**parts_of(HEADER), **{f"{n}": "" for n in range(2_100)}}), "a.xlsx"
    yield "a bomb that says so", zipped({**parts_of(HEADER, *STARTERS), "bomb": b"0" * 1_100_000}), "a.xlsx"
    yield "a bomb that lies", _that_lies(), "a.xlsx"
    for part in parts_of(HEADER):
        if part not in ("[Content_Types].xml", "xl/styles.xml", "xl/sharedStrings.xml"):
            yield (
                f"without {part}",
                zipped({k: v for k, v in parts_of(HEADER, *STARTERS).items() if k != part}),
                "a.xlsx",
            )
    for name, xml in _documents():
        for part in ("xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/styles.xml", SHEET):
            yield f"{name} as {part}", zipped({**parts_of(HEADER, *STARTERS), part: xml}), "a.xlsx"
    for name, places in (("no place", "A"), ("merged without end", "A1:GR50")):
        cells = f'<mergeCell ref="{places}"/>' * 2_000
        xml = parts_of(HEADER, *STARTERS * 16)[SHEET].replace("</sheetData>", f"</sheetData><mergeCells>{cells}")
        xml = xml.replace("</worksheet>", "</mergeCells></worksheet>")
        yield f"merged cells: {name}", zipped({**parts_of(HEADER), SHEET: xml}), "a.xlsx"
    for name, inner in _sheets():
        xml = f'<worksheet xmlns="{MAIN}"><sheetData>{inner}</sheetData></worksheet>'
        yield name, zipped({**parts_of(HEADER), SHEET: xml}), "a.xlsx"


def _documents() -> Iterator[tuple[str, str]]:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    yield "a billion laughs", f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]><x>&l11;</x>'
    yield "an entity that is a file", '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/hostname">]><x>&f;</x>'
    yield "a document type elsewhere", '<!DOCTYPE x SYSTEM "http://example.com/x.dtd"><x/>'
    yield "no XML", "User name,Country"
    yield "half a document", "<x><y>"
    yield "deep nesting", "<x>" * 5_000 + "</x>" * 5_000
    yield "an endless tag", f'<x a="{"a" * 900_000}"/>'


def _sheets() -> Iterator[tuple[str, str]]:
    row = '<row r="1"><c r="A1" t="inlineStr"><is><t>User name</t></is></c></row>'
    yield "rows that go back", f'{row}<row r="1"><c r="A1" t="s"><v>0</v></c></row>'
    yield "a row of no number", f'{row}<row r="x"/>'
    yield "a cell of no place", f'{row}<row r="2"><c r="2A"><v>1</v></c></row>'
    yield "a text that nobody shares", f'{row}<row r="2"><c r="A2" t="s"><v>7</v></c></row>'
    yield "a text before the first", f'{row}<row r="2"><c r="A2" t="s"><v>-1</v></c></row>'
    yield "a number of 5,000 digits", f'{row}<row r="2"><c r="A2" t="s"><v>{"9" * 5_000}</v></c></row>'
    yield "far to the right", f'{row}<row r="2"><c r="XFD2"><v>1</v></c></row>'
    yield "formulas without end", f'{row}<row r="2">{"<c><f/></c>" * 3_000}</row>'
    yield "a text without end", f'{row}<row r="2"><c t="inlineStr"><is><t>{"a" * 300_000}</t></is></c></row>'
    yield "too many rows", row + "".join(f"<row><c><v>{n}</v></c></row>" for n in range(51))


def _with_password(data: bytes) -> bytes:
    """The flag of an encrypted part, in both places where it stands."""
    told = bytearray(data)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := told.find(mark, place + 1)) >= 0:
            told[place + flags] |= 1
    return bytes(told)


def _that_lies() -> bytes:
    """An archive whose sheet says that it is small."""
    honest = zipped({**parts_of(HEADER), SHEET: b"<x>" + b"0" * 1_100_000})
    with zipfile.ZipFile(BytesIO(honest)) as archive:
        size = archive.getinfo(SHEET).file_size
    return honest.replace(size.to_bytes(4, "little"), (900_000).to_bytes(4, "little"))


def outcome(data: bytes, name: str) -> tuple[str, int]:
    """Why it was refused, or how many rows were taken."""
    try:
        return "", len(rows_of(data, name))
    except FileRefused as refusal:
        return str(refusal), 0


def test_no_hostile_file_is_taken_in_part_and_none_breaks_anything():
    cases = [*damaged(), *refused()]
    assert len(cases) >= 200
    for name, data, file_name in cases:
        said, rows = outcome(data, file_name)
        if said:
            assert 10 < len(said) < 400, name
            assert said.isprintable(), name
        else:  # it hit nothing that matters: a note of the archive, one letter of a name
            assert rows == len(WHOLE), name


def test_what_has_nothing_good_in_it_is_always_refused():
    for name, data, file_name in refused():
        with pytest.raises(FileRefused):
            pytest.fail(f"{name}: {len(rows_of(data, file_name))} rows were taken")


def test_a_workbook_is_read_in_a_fraction_of_what_it_unpacks_to():
    texts = "".join(f"<si><t>{n % 97:09}</t></si>" for n in range(38_000))
    cells = ('<c t="s"><v>7</v></c>',) * 4
    book = zipped({**parts_of(HEADER, cells), "xl/sharedStrings.xml": f"<sst>{texts}</sst>"})
    assert len(texts) > 800_000
    del texts
    tracemalloc.start()
    try:
        files.read(book, "a.xlsx")
        assert tracemalloc.get_traced_memory()[1] < 600_000
    finally:
        tracemalloc.stop()
