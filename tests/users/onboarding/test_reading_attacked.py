"""Files that take long to read, or say two things of one place."""

import contextlib
import time

import pytest

from users.onboarding import columns, csv, files
from users.onboarding.sheet import FileRefused

from .made import HEADER, STARTERS, cell, parts_of, sheet, zipped
from .made import csv as made

SHEET = "xl/worksheets/sheet1.xml"


@pytest.mark.parametrize(
    "data",
    [
        b"first name," + b"[" * 60_000 + b"\na,b\n",
        b"a," * 1_000_000 + b"\n",
        b"first name,last name\nAnn,Lee\n" + b"\n" * 1_000_000,
        b"first name,last name\nAnn,Lee\n" + b",\r\n" * 500_000,
    ],
    ids=["brackets", "one line", "empty lines", "empty rows"],
)
def test_a_file_takes_no_longer_than_its_size_asks_for(data):
    began = time.process_time()
    with contextlib.suppress(FileRefused):
        columns.read(files.read(data, "a.csv"))
    assert time.process_time() - began < 5


def test_a_line_with_nothing_but_a_blank_is_no_row():
    read = csv.read(b"First name;Last name\r\nAnn;Lee\r\n \r\n\t ; \r\nBen;Low\r\n")
    assert [row.number for row in read.rows] == [2, 5]


def test_account_enabled_is_not_read_as_its_opposite():
    own = csv.read(made(("Name", "Block sign in (Yes/No) [accountEnabled] Required"), ("Ann", "No")))
    assert columns.read(own).meaning["blocked"] == 1
    plain = csv.read(made(("Name", "accountEnabled"), ("Ann", "True")))
    assert "blocked" not in columns.read(plain).meaning


ROWS = (HEADER, *STARTERS)


@pytest.mark.parametrize(
    "part",
    [
        sheet(*ROWS).replace('<row r="4">', '<row r="3000000000">'),
        sheet(*ROWS).replace('<row r="4">', '<row r="99999999999999999999">'),
        sheet(*ROWS).replace(cell("B3", "Østergård"), cell("B3", "Smith") + cell("B3", "Østergård")),
        sheet(*ROWS).replace(cell("B3", "Østergård"), cell("B3", "Østergård") + cell("A3", "Anna")),
    ],
    ids=["row 3,000,000,000", "row without end", "two cells in one place", "a cell that goes back"],
)
def test_a_workbook_that_says_two_things_of_one_place_or_has_rows_that_none_has_is_refused(part):
    assert part != sheet(*ROWS)
    with pytest.raises(FileRefused):
        files.read(zipped({**parts_of(*ROWS), SHEET: part}), "a.xlsx")
