"""Metatests: they walk the URLconf, so a new view cannot forget who may see it."""

import copy
import re
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from partnerportal.permissions import Permission
from partnerportal.urls import PUBLIC
from tests.conftest import Browser
from tests.matrix import ACTORS, MATRIX, OTHERS, STAFF, UNKNOWN, put_in_place

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


def test_what_answers_a_post_alone_says_so():
    """No sign-in leads there: it would end in a 405."""
    closed = {name for name in set(ROUTES) - PUBLIC if MATRIX[name].get["admin"] == 405}
    assert {name for name, entry in ROUTES.items() if hasattr(entry.callback, "post_only")} == closed


def test_every_route_has_a_row():
    assert set(ROUTES) == set(MATRIX), "add a Row to tests/matrix.py"


# Each actor comes in once and asks for every row; what a row has changed is undone before the next one.


@pytest.fixture
def entered(sandbox, db):
    """`entered("writer")`: a browser of that actor, who is not the first to come in."""

    def enter(actor):
        put_in_place()
        Browser().sign_in("admin")
        browser = Browser()
        if actor != "stranger":
            browser.sign_in(actor)
        return browser

    return enter


@contextmanager
def undone(browser):
    """Afterwards the database, the browser's cookies and what is remembered are as they were."""
    cookies = copy.deepcopy(browser.cookies)
    start = transaction.savepoint()  # not `atomic`, within which all requests would be one transaction
    yield
    transaction.savepoint_rollback(start)
    browser.cookies = cookies
    cache.clear()
    browser.has_looked()


def answers(browser, name, row, methods):
    """The answers by method: what only looks comes before what may change something."""
    found = {}
    with undone(browser):
        for method in methods:
            path = reverse(name, kwargs=row.arguments())
            send = getattr(browser, method.lower())
            found[method] = send(path, row.data()) if method == "POST" else send(path)
    return found


def statuses(found):
    return {method: answer.status_code for method, answer in found.items()}


@pytest.mark.parametrize("actor", ACTORS)
def test_every_route_answers_every_actor_as_its_row_says(actor, entered):
    browser, wrong = entered(actor), []
    for name, row in MATRIX.items():
        found = answers(browser, name, row, ("GET", "HEAD", "POST"))
        got = statuses(found)
        head = 405 if got["HEAD"] == 405 else row.get[actor]
        if got != {"GET": row.get[actor], "HEAD": head, "POST": row.post[actor]}:
            wrong.append((name, got))
        for answer in found.values():
            if answer.status_code == 302 and actor not in STAFF:
                assert answer["Location"].startswith(("/signin/?next=", "http://127.0.0.1:")), name
    assert not wrong


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("rows", [OTHERS, UNKNOWN], ids=["others", "unknown"])
def test_what_is_somebody_elses_or_not_there_is_answered_as_its_row_says(rows, actor, entered):
    browser, wrong = entered(actor), []
    for name, row in rows.items():
        got = statuses(answers(browser, name, row, ("GET", "POST")))
        if got != {"GET": row.get[actor], "POST": row.post[actor]}:
            wrong.append((name, got))
    assert not wrong


@pytest.mark.django_db
def test_other_methods_are_closed(signed_in):
    admin, stranger = signed_in("admin"), Browser()
    for name, row in MATRIX.items():
        path = reverse(name, kwargs=row.arguments())
        for method in ("put", "patch", "delete", "options", "trace"):
            assert getattr(admin, method)(path).status_code == 405, (name, method)
            expected = 405 if name in PUBLIC else 401
            assert getattr(stranger, method)(path).status_code == expected, (name, method)


@pytest.mark.django_db
def test_htmx_of_a_stranger_is_never_redirected(visitor):
    for name in sorted(set(MATRIX) - PUBLIC):
        path = reverse(name, kwargs=MATRIX[name].arguments())
        for method in ("get", "post"):
            answer = visitor.htmx(method, path)
            assert answer.status_code == 401, (name, method)
            assert answer["HX-Retarget"] == "#dialog", (name, method)
