"""Metatests: they walk the URLconf, so a new view cannot forget who may see it."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from django.conf import settings
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from partnerportal.permissions import Permission
from partnerportal.urls import PUBLIC
from tests.conftest import Browser
from tests.matrix import ACTORS, MATRIX, OTHERS, STAFF, UNKNOWN

INTERFACE = Path(settings.BASE_DIR).parent / "shared" / "INTERFACE.md"


def patterns(resolver=None):
    for entry in (resolver or get_resolver()).url_patterns:
        if isinstance(entry, URLResolver):
            yield from patterns(entry)
        else:
            yield entry


ROUTES: dict[str, URLPattern] = {entry.name or str(entry.pattern): entry for entry in patterns()}


def is_public(entry):
    return not getattr(entry.callback, "login_required", True)


def test_every_route_has_a_name():
    assert all(entry.name for entry in patterns())


def test_what_is_public_is_listed():
    assert {name for name, entry in ROUTES.items() if is_public(entry)} == PUBLIC


@pytest.mark.skipif(not INTERFACE.exists(), reason="INTERFACE.md lies beside the project, not in it")
def test_the_interface_says_what_is_public():
    section = INTERFACE.read_text().split("## URLs of the portal")[1].split("these need no sign-in")[0]
    promised = set(re.findall(r"`(/[a-z-]+/?(?:callback/)?(?:<token>/)?)`", section))
    addresses = {reverse(name) for name in PUBLIC - {"handover"}} | {reverse("handover", args=["<token>"])}
    assert {unquote(address) for address in addresses} == promised


@pytest.mark.parametrize("name", sorted(set(ROUTES) - PUBLIC))
def test_every_view_names_its_permission(name):
    assert isinstance(getattr(ROUTES[name].callback, "permission", None), Permission)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_view_asks_for_none(name):
    assert not hasattr(ROUTES[name].callback, "permission")


def test_every_route_has_a_row():
    assert set(ROUTES) == set(MATRIX), "add a Row to tests/matrix.py"


def actor_enters(actor):
    browser = Browser()
    if actor != "stranger":
        browser.sign_in(actor)
    return browser


def ask(row, name, methods, actor):
    """The answers by method, to one who comes in once: what only looks comes before what may change something."""
    Browser().sign_in("admin")  # somebody else, who came before
    browser = actor_enters(actor)
    answers = {}
    for method in methods:
        path = reverse(name, kwargs=row.arguments())
        send = getattr(browser, method.lower())
        answers[method] = send(path, row.data()) if method == "POST" else send(path)
    return answers


def statuses(answers):
    return {method: answer.status_code for method, answer in answers.items()}


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("name", sorted(MATRIX))
@pytest.mark.usefixtures("sandbox")
@pytest.mark.django_db
def test_own(name, actor):
    row = MATRIX[name]
    answers = ask(row, name, ("GET", "HEAD", "POST"), actor)
    got = statuses(answers)
    head = 405 if got["HEAD"] == 405 else row.get[actor]
    assert got == {"GET": row.get[actor], "HEAD": head, "POST": row.post[actor]}
    for answer in answers.values():
        if answer.status_code == 302 and actor not in STAFF:
            assert answer["Location"].startswith(("/signin/?next=", "http://127.0.0.1:"))


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize(
    ("name", "row"),
    [*((name, row) for name, row in OTHERS.items()), *((name, row) for name, row in UNKNOWN.items())],
    ids=[*(f"{name}-others" for name in OTHERS), *(f"{name}-unknown" for name in UNKNOWN)],
)
@pytest.mark.usefixtures("sandbox")
@pytest.mark.django_db
def test_others_and_unknown(name, row, actor):
    answers = ask(row, name, ("GET", "POST"), actor)
    assert statuses(answers) == {"GET": row.get[actor], "POST": row.post[actor]}


@pytest.mark.parametrize("name", sorted(MATRIX))
@pytest.mark.django_db
def test_other_methods_are_closed(name, signed_in):
    path = reverse(name, kwargs=MATRIX[name].arguments())
    admin, stranger = signed_in("admin"), Browser()
    for method in ("put", "patch", "delete", "options", "trace"):
        assert getattr(admin, method)(path).status_code == 405, method
        assert getattr(stranger, method)(path).status_code == (405 if name in PUBLIC else 401), method


@pytest.mark.parametrize("name", sorted(set(MATRIX) - PUBLIC))
@pytest.mark.django_db
def test_htmx_of_a_stranger_is_never_redirected(name, visitor):
    path = reverse(name, kwargs=MATRIX[name].arguments())
    for method in ("get", "post"):
        answer = visitor.htmx(method, path)
        assert answer.status_code == 401
        assert answer["HX-Retarget"] == "#dialog"
