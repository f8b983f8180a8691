"""A file that somebody has sent becomes a sheet. What it is, its first bytes say, and not its name."""

from pathlib import PurePath

from django.conf import settings

from . import csv, workbook
from .sheet import FileRefused, Sheet, megabytes, shortened

_TEXTS = frozenset({".csv", ".tsv", ".txt"})
_WORKBOOKS = frozenset({".xlsx", ".xlsm"})
_KINDS = (  # first bytes -> what they begin
    (b"\xd0\xcf\x11\xe0", "an old Excel file, or a workbook with a password"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "an archive"),
    (b"7z\xbc\xaf", "an archive"),
    (b"Rar!", "an archive"),
    (b"BZh", "an archive"),
    (b"\xfd7zXZ", "an archive"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"{\\rtf", "a text document"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
)
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<table", b"<script")


def read(data: bytes, name: str) -> Sheet:
    """The sheet in a file of this name. Raises `FileRefused`; then nothing of it was taken."""
    if len(data) > settings.ONBOARDING_FILE_LIMIT:
        most = megabytes(settings.ONBOARDING_FILE_LIMIT)
        raise FileRefused(f"The file is {megabytes(len(data))}. It may have {most} at most. Split it.")
    if data.startswith(b"PK"):
        return _of_archive(data, PurePath(name).suffix.lower())
    if kind := _kind(data):
        raise FileRefused(_no_csv(data, f"it looks like {kind}"))
    if PurePath(name).suffix.lower() in _WORKBOOKS:
        raise FileRefused(
            f"The file is named {shortened(name)}, and is no workbook. If it is a text with separators, name it .csv."
        )
    return csv.read(data)


def _of_archive(data: bytes, suffix: str) -> Sheet:
    """A workbook under its own name. Under the name of a text it is refused: somebody took it for something else."""
    looks_like_one = workbook.WORKBOOK.encode() in data
    if suffix in _TEXTS or not looks_like_one:
        raise FileRefused(_no_csv(data, f"it looks like an {'Excel workbook' if looks_like_one else 'archive'}"))
    return workbook.read(data)


def _kind(data: bytes) -> str:
    for begins, kind in _KINDS:
        if data.startswith(begins):
            return kind
    return "a web page" if data.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(_PAGES) else ""


def _no_csv(data: bytes, looks: str) -> str:
    begins = shortened(data[:5].decode("latin-1"))[:5]
    begins = "PK" if data.startswith(b"PK") else begins
    return f"The file must be a CSV with a header row. This one starts with “{begins}”: {looks}. Save it as CSV UTF-8"
