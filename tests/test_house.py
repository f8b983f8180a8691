"""Rules of the house that no other tool looks after."""

import ast
import socket
from pathlib import Path

import pytest
from django.conf import settings
from pytest_socket import SocketConnectBlockedError

from scripts import check_tracked

ROOT = Path(settings.BASE_DIR)
PACKAGES = ("partnerportal", "customers", "users")
SOURCES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts
)
LONGEST_FUNCTION = 60  # lines; over 50 wants a second look
LONGEST_FILE = 600  # lines; over 400 wants a second look


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_test_talks_to_another_machine():
    with pytest.raises(SocketConnectBlockedError):
        socket.create_connection(("192.0.2.1", 443), timeout=1)


def test_there_are_no_drawers_without_a_label():
    drawers = {"utils", "helpers", "services", "managers", "common", "core"}
    assert not [name_of(path) for path in SOURCES if path.stem in drawers or drawers & set(path.parts)]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_stay_short(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, node.name


@pytest.mark.parametrize("path", [path for path in SOURCES if path.read_text().strip()], ids=name_of)
def test_every_module_says_what_it_is_for(path):
    if "management" in path.parts and path.name == "__init__.py":
        return
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_nothing_that_must_not_be_committed_is_tracked():
    assert [find for path in check_tracked.tracked() for find in check_tracked.finds_in(path)] == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("see https://py" + "pi.org/simple", "a registry's address"),
        ("https://files.python" + "hosted.org/packages/x", "a registry's address"),
        ("--index" + "-url=file:///x", "a registry's address"),
        ("open('/ro" + "ot/.ssh/config')", "a path of one machine"),
        ("cd /wo" + "rk/main", "a path of one machine"),
        ("/ho" + "me/ann/x", "a path of one machine"),
        ("lies in /wo" + "rk", "a path of one machine"),
        ("eyJ" + "a" * 30 + ".eyJ" + "b" * 30 + "." + "c" * 30, "a JSON Web Token"),
        ("gAAAAA" + "b" * 80, "a sealed value"),
        ("VAULT_KEYS=" + "aB3" * 14 + "x=", "a Fernet key"),
        ("abc8Q~" + "d" * 33, "a client secret of Entra"),
        ("-----BEGIN PRIVATE " + "KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ", "a private key"),
    ],
)
def test_the_tracked_files_check_finds(line, what):
    assert [name for name, pattern in check_tracked.RULES if pattern.search(line)] == [what]


@pytest.mark.parametrize(
    "line", ["https://example.com/root/x", "framework/main", "see ~/.config", "/working", "/home/"]
)
def test_the_tracked_files_check_leaves_alone(line):
    assert [name for name, pattern in check_tracked.RULES if pattern.search(line)] == []
