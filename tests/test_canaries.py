"""No password, passphrase or link anywhere it must not be: a portal is run, its traces are swept (TRUST G7)."""

import base64
import json
import re
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import pytest
import requests
from django.core import signing

from partnerportal.sandbox.server import RunningSandbox
from scripts.throwaway import Portal, running_portal, signed_in_cookies
from tests.pages import Page
from tests.settings import free_port
from tests.users.conftest import MAYA, operation_url, tenant

TYPED = 'Kanari/7+"Vogel"&%Tinte'  # differs in each encoding
PASSPHRASE = 'Grüne Wiese / 42 + "Blau"'
WRONG = "Rote Wiese / 17 + Falsch"
USERS = f"/customers/{tenant('contoso')}/users/"


def encodings(secret: str) -> Iterator[bytes]:
    """A secret as it may lie about: plain, base64 wherever it begins in it, URL, JSON, hex."""
    plain = secret.encode()
    yield plain
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + plain)
        inner = whole[(0, 2, 3)[before] : len(whole) // 4 * 4 - 4]  # without the signs that neighbours have a part in
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))
    yield quote(secret, safe="").encode()
    yield quote_plus(secret).encode()
    yield json.dumps(secret)[1:-1].encode()
    yield plain.hex().encode()
    yield plain.hex().upper().encode()


@dataclass
class Story:
    """Somebody's browser, which remembers all pages but those that are there to show a secret."""

    url: str
    session: requests.Session = field(default_factory=requests.Session)
    pages: dict[str, bytes] = field(default_factory=dict)

    def get(self, path: str) -> Page:
        answer = self.session.get(self.url + path, timeout=30)
        self.pages[f"page {answer.status_code} {path}"] = answer.content + str(answer.headers).encode()
        return Page(answer.text)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> requests.Response:
        """Not remembered: the one answer that shows a secret comes so."""
        headers = {"Origin": self.url, "X-CSRFToken": self.session.cookies.get("pd_csrf") or "", **headers}
        return self.session.post(self.url + path, fields, headers=headers, allow_redirects=False, timeout=30)

    def create(self, user_name: str, **typed: str) -> tuple[str, str]:
        """The address of the operation, and the password."""
        fields = self.get(f"{USERS}new/").form("op_id").fields | MAYA | {"user_name": user_name} | typed
        shown = self.post(f"{USERS}new/", fields)
        assert shown.status_code == 200, Page(shown.text).words
        return operation_url(fields["op_id"]), shown_in(shown, "new-password")

    def link(self, operation: str, passphrase: str = "") -> str:
        """The path of a link to this operation's password, asked for as htmx does."""
        asked = {"step": "link", "hours": "24", "passphrase": passphrase}
        return urlsplit(shown_in(self.post(operation, asked, **{"HX-Request": "true"}), "link-address")).path


def shown_in(answer: requests.Response, element: str) -> str:
    """What stands in one of the boxes that show a secret."""
    found = re.search(rf'<textarea [^>]*id="{element}"[^>]*>([^<]+)</textarea>', answer.text)
    assert found, Page(answer.text).words
    return unescape(found[1])


def hand_over(portal: Portal) -> tuple[dict[str, str], dict[str, bytes]]:
    """The story: created, handed over with and without a passphrase, opened, revoked, left open. (secrets, pages)"""
    staff, stranger = Story(portal.url), Story(portal.url)
    for cookie in signed_in_cookies(portal.url, "admin"):
        staff.session.cookies.set(cookie["name"], cookie["value"], domain="127.0.0.1")
    operations, passwords = zip(
        staff.create("canary.made"),
        staff.create("canary.typed", password_mode="typed", password=TYPED),
        staff.create("canary.left"),
        strict=True,
    )
    assert passwords[1] == TYPED
    opened, revoked, left = (
        staff.link(operations[0], PASSPHRASE),
        staff.link(operations[1]),
        staff.link(operations[2]),
    )
    open_it(stranger, opened, passwords[0])
    revoke_it(staff, operations[1])
    for path in (opened, revoked, left, f"{opened}more/", opened.rstrip("/")):
        stranger.get(path)
    said = {"csp-report": {"document-uri": f"{portal.url}{left}", "violated-directive": "img-src"}}
    assert requests.post(f"{portal.url}/csp-report/", json=said, timeout=10).status_code == 204
    for operation in operations:
        staff.post(operation, {"step": "done"})
        staff.get(operation)
    for path in ("/", "/customers/", "/audit/", USERS, "/customers/export.csv", "/settings/", "/nowhere/"):
        staff.get(path)
    for number in re.findall(r"/audit/(\d+)/", staff.pages["page 200 /audit/"].decode()):
        staff.get(f"/audit/{number}/")
    secrets = {f"password {n}": password for n, password in enumerate(passwords)}
    secrets |= {f"token {n}": path.split("/")[2] for n, path in enumerate((opened, revoked, left))}
    return secrets | {"passphrase": PASSPHRASE, "wrong passphrase": WRONG}, staff.pages | stranger.pages


def open_it(stranger: Story, path: str, password: str) -> None:
    """Looked at, tried with a wrong passphrase, opened, and asked for once more."""
    stranger.get(path)
    for what, passphrase, status in (("wrong", WRONG, 422), ("right", PASSPHRASE, 200), ("once more", PASSPHRASE, 404)):
        answer = stranger.post(path, {"passphrase": passphrase})
        assert answer.status_code == status
        if status == 200:
            assert shown_in(answer, "password") == password
        else:
            stranger.pages[f"passphrase, {what}"] = answer.content


def revoke_it(staff: Story, operation: str) -> None:
    page = Page(staff.session.get(staff.url + operation, timeout=30).text)  # still shows the password
    assert staff.post(operation, page.form("link").fields | {"step": "revoke"}).status_code == 200


def traces(*folders: Path) -> dict[str, bytes]:
    """Every file: database and write-ahead log, logs, the broker's folder, temporary files; and sessions in clear."""
    files = [
        path for folder in folders for path in folder.rglob("*") if path.is_file() and "staticfiles" not in path.parts
    ]
    found = {str(path.name): path.read_bytes() for path in files}
    with closing(sqlite3.connect(folders[0] / "portal.sqlite3")) as database:
        for number, (data,) in enumerate(database.execute("SELECT session_data FROM django_session")):
            packed = data.split(":")[0]
            unpacked = signing.b64_decode(packed.lstrip(".").encode())
            found[f"session {number}"] = zlib.decompress(unpacked) if packed.startswith(".") else unpacked
        found["dump of the database"] = "\n".join(database.iterdump()).encode()
    return found


def hits(secrets: dict[str, str], found: dict[str, bytes]) -> list[str]:
    return [
        f"{what} in {where}"
        for what, secret in secrets.items()
        for where, content in found.items()
        if any(form in content for form in encodings(secret))
    ]


@pytest.mark.parametrize("secret", [TYPED, PASSPHRASE, "Walnut-Harbour-42-Velvet"])
def test_the_sweep_finds_what_it_looks_for(secret):
    told: dict[str, Any] = {"before": "x", "said": secret}
    forms = {
        "plain": secret,
        "json": json.dumps(told),
        "url": quote(secret, safe=""),
        "form": f"a=1&b={quote_plus(secret)}",
        "hex": secret.encode().hex(),
        **{f"base64 {n}": base64.b64encode(("x" * n + secret + "y" * n).encode()).decode() for n in range(7)},
        **{f"url base64 {n}": base64.urlsafe_b64encode(("?" * n + secret).encode()).decode() for n in range(7)},
    }
    for name, text in forms.items():
        assert hits({"it": secret}, {name: f"…{text}…".encode()}) == [f"it in {name}"]
    assert hits({"it": secret}, {"nothing": b"x" * 500}) == []


def test_no_secret_is_left_after_create_and_hand_over(
    running_cloud: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_cloud.cloud.reset("demo")
    running_cloud.faults.clear()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with running_portal(port=free_port(), cloud=running_cloud.url) as portal:
        portal.work()
        with closing(sqlite3.connect(portal.folder / "portal.sqlite3", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM users_operation").fetchone()  # the log keeps all that comes after
            secrets, pages = hand_over(portal)
            found = traces(portal.folder, tmp_path)
        assert {"web.log", "worker.log", "beat.log", "portal.sqlite3", "portal.sqlite3-wal"} <= set(found)
        assert b"users_handoverlink" in found["dump of the database"]
        assert b"/handover/[hidden]" in found["web.log"]  # it was written, and masked
        assert (portal.folder / "broker" / "messages").is_dir()
        assert len(pages) > 20
    assert hits(secrets, found | pages) == []
