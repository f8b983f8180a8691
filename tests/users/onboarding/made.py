"""Files of new users, made by hand: CSV in any encoding, and workbooks as spreadsheets write them."""

import zipfile
from html import escape
from io import BytesIO
from typing import Any

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"

HEADER = ("Vorname", "Nachname", "Benutzername", "Land")
STARTERS = (
    ("Jürgen", "Groß", "juergen.gross", "Deutschland"),
    ("Zoë", "Østergård", "zoe.ostergard", "Denmark"),
    ("Anna", "van den Berg", "anna.berg", "NL"),
)


def csv(*rows: tuple[str, ...], separator: str = ";", encoding: str = "utf-8", end: str = "\r\n") -> bytes:
    """The rows as a spreadsheet saves them, without quotation marks."""
    return "".join(separator.join(row) + end for row in rows).encode(encoding)


def cell(place: str, value: Any) -> str:
    """A cell with an inline text, a number, or the XML that a test wants there."""
    if isinstance(value, str) and value.startswith("<c"):
        return value.replace("<c", f'<c r="{place}"', 1)
    if isinstance(value, int | float):
        return f'<c r="{place}"><v>{value}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'


def sheet(*rows: tuple[Any, ...]) -> str:
    """The rows as the part of a workbook that holds a sheet."""
    lines = ""
    for number, row in enumerate(rows, start=1):
        cells = "".join(cell(f"{chr(65 + column)}{number}", value) for column, value in enumerate(row))
        lines += f'<row r="{number}">{cells}</row>'
    return f'<?xml version="1.0"?><worksheet xmlns="{MAIN}"><sheetData>{lines}</sheetData></worksheet>'


STYLES = (
    f'<styleSheet xmlns="{MAIN}"><numFmts><numFmt numFmtId="164" formatCode="[$-407]d. mmm yyyy"/></numFmts>'
    '<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>'
    '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="2"/></cellXfs></styleSheet>'
)


def parts_of(*rows: tuple[Any, ...], shared: tuple[str, ...] = (), hidden: bool = False) -> dict[str, str]:
    """The parts of a workbook with one sheet, or with a hidden one before it."""
    first = '<sheet name="Old" sheetId="9" state="hidden" r:id="rId9"/>' if hidden else ""
    texts = "".join(f"<si><t>{escape(text)}</t></si>" for text in shared)
    return {
        "[Content_Types].xml": "<Types/>",
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}"><sheets>{first}'
        '<sheet name="Starters" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}">'
        f'<Relationship Id="rId1" Type="{RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/styles.xml": STYLES,
        "xl/sharedStrings.xml": f'<sst xmlns="{MAIN}">{texts}</sst>',
        "xl/worksheets/sheet1.xml": sheet(*rows),
    }


def zipped(parts: dict[str, str | bytes], *, packed: int = zipfile.ZIP_DEFLATED) -> bytes:
    into = BytesIO()
    with zipfile.ZipFile(into, "w", packed) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return into.getvalue()


def workbook(*rows: tuple[Any, ...], **more: Any) -> bytes:
    return zipped({**parts_of(*rows, **more)})
