"""A process that takes uploads as a web worker does, and says by how many MB each made it grow at the most.

Run by test_memory.py. Bodies come piece by piece, as from a socket, so that all memory in it is the portal's.
"""

import json
import re
import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.test import RequestFactory

from tests.conftest import Browser
from tests.users.onboarding.made import HEADER, STARTERS, parts_of

NEW = "/onboarding/new/"
MB = 1024 * 1024
EDGE = "edge-of-the-parts"


class Body(RawIOBase):
    """What a browser sends, made as it is read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.rest = pieces, b""

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self.rest) < size:
            piece = next(self.pieces, b"")
            if not piece:
                break
            self.rest += piece
        found, self.rest = (self.rest, b"") if size < 0 else (self.rest[:size], self.rest[size:])
        return found


def parts(fields: dict[str, str], name: str, file: Iterator[bytes]) -> Iterator[bytes]:
    for key, value in fields.items():
        yield f'--{EDGE}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
    yield f'--{EDGE}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    yield from file
    yield f"\r\n--{EDGE}--\r\n".encode()


def csv_of(size: int) -> Iterator[bytes]:
    """So many bytes of starters."""
    yield (";".join(HEADER) + "\n").encode()
    row = ";".join(("Jürgen" * 20, "Groß" * 20, "j.gross", "Deutschland")).encode() + b"\n"
    for _ in range(size // len(row)):
        yield row


def book_of(size: int) -> bytes:
    """A workbook of a few kilobytes with one starter and so many bytes of texts that no cell names."""
    text = f"<si><t>{'Juergen ' * 4}</t></si>".encode()
    into = BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts_of(HEADER, STARTERS[0]).items():
            with archive.open(name, "w") as part:
                head, end, tail = content.partition("</sst>")
                part.write(head.encode())
                for _ in range(size // len(text) // 1000 if end else 0):
                    part.write(text * 1000)
                part.write(f"{end}{tail}".encode())
    return into.getvalue()


def memory(name: str) -> float:
    """VmRSS: now. VmHWM: at the most since it was reset. In MB."""
    [kilobytes] = re.findall(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(kilobytes) / 1024


def upload(browser: Browser, application: Any, name: str, file: Iterator[bytes], size: int) -> list[float]:
    """Status of the answer, and the most memory that the process had meanwhile."""
    page = browser.get(NEW).content.decode()
    fields = dict(re.findall(r'<input type="hidden" name="(op_id|csrfmiddlewaretoken)" value="([^"]+)"', page))
    head = sum(map(len, parts(fields, name, iter(()))))
    statuses: list[str] = []
    environ = RequestFactory().get(NEW, headers={"cookie": browser.cookies.output(header="", sep=";")}).environ
    environ |= {
        "HTTP_HOST": urlsplit(settings.PUBLIC_URL).netloc,
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": f"multipart/form-data; boundary={EDGE}",
        "CONTENT_LENGTH": str(head + size),
        "wsgi.input": Body(parts(fields, name, file)),
    }
    Path("/proc/self/clear_refs").write_text("5")
    for _ in application(environ, lambda status, _headers, _error=None: statuses.append(status)):
        pass
    return [int(statuses[0][:3]), memory("VmHWM")]


def main() -> None:
    """A line of JSON: what was sent -> [status, MB]."""
    call_command("migrate", verbosity=0)
    browser = Browser()
    browser.sign_in("admin")
    application = get_wsgi_application()
    limit = settings.ONBOARDING_FILE_LIMIT
    small = list(csv_of(1000))
    upload(browser, application, "a.csv", iter(small), sum(map(len, small)))  # what is imported by the first one
    before = memory("VmRSS")
    whole, nearly, bomb = list(csv_of(limit - 1000)), book_of(49 * MB), book_of(60 * MB)
    sent = {
        "50 MB": ("a.csv", csv_of(50 * MB), sum(map(len, csv_of(50 * MB)))),
        "5 MB of rows": ("a.csv", iter(whole), sum(map(len, whole))),
        "a workbook of 49 MB": ("a.xlsx", iter([nearly]), len(nearly)),
        "a workbook of 60 MB": ("a.xlsx", iter([bomb]), len(bomb)),
    }
    answered = {what: upload(browser, application, *how) for what, how in sent.items()}
    sys.stdout.write(json.dumps({what: (status, peak - before) for what, (status, peak) in answered.items()}) + "\n")
