"""What the tests of the users app have in common: addresses, forms that were filled, and a look into the cloud."""

import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest
from django.urls import reverse

from partnerportal.models import AuditEvent
from partnerportal.sandbox import seed
from partnerportal.sandbox.directory import User
from tests.conftest import Browser, Cloud, without_token
from tests.pages import Page
from users.models import Operation

MAYA = {
    "first_name": "Maya",
    "last_name": "Lind",
    "display_name": "Maya Lind",
    "user_name": "maya.lind",
    "usage_location": "NL",
}


def tenant(customer: str) -> str:
    return seed.SPECIAL[customer]


def users_url(customer: str = "contoso", query: str = "") -> str:
    return reverse("users", args=[tenant(customer)]) + query


def new_url(customer: str = "contoso") -> str:
    return reverse("user-new", args=[tenant(customer)])


def user_url(user_id: str, customer: str = "contoso") -> str:
    return reverse("user", args=[tenant(customer), user_id])


def edit_url(user_id: str, customer: str = "contoso") -> str:
    return reverse("user-edit", args=[tenant(customer), user_id])


def operation_url(op_id: Any, customer: str = "contoso") -> str:
    return reverse("operation", args=[tenant(customer), op_id])


def filled(browser: Browser, url: str, **typed: str) -> dict[str, str]:
    """The fields of the form at `url` as it comes, with what somebody types into it."""
    answer: Any = browser.get(url)
    assert answer.status_code == 200, Page(answer).words
    return Page(answer).form("op_id").fields | typed


def newcomer(browser: Browser, customer: str = "contoso", **typed: str) -> dict[str, str]:
    """A new user's form, filled with Maya Lind."""
    return filled(browser, new_url(customer), **MAYA) | typed


def reviewed(browser: Browser, user_id: str, customer: str = "contoso", **typed: str) -> dict[str, str]:
    """The fields of the review page of a change, ready to be saved."""
    fields = filled(browser, edit_url(user_id, customer), **typed)
    answer: Any = browser.post(edit_url(user_id, customer), fields | {"step": "review"})
    assert answer.status_code == 200, Page(answer).words
    return Page(answer).form("op_id").fields | {"step": "save"}


class Directory:
    """A look into the cloud, past all its interfaces."""

    def __init__(self, sandbox: Cloud) -> None:
        self.sandbox = sandbox
        self._seen = 0

    def users(self, customer: str = "contoso") -> dict[str, User]:
        return self.sandbox.running.cloud.world.customers[tenant(customer)].directory.users

    def named(self, local: str, customer: str = "contoso") -> list[User]:
        """All users whose user name begins like this, before the at sign."""
        return [user for user in self.users(customer).values() if user.upn.partition("@")[0] == local]

    def special(self, key: str) -> User:
        """One of the awkward users of Contoso."""
        return self.users()[seed.SPECIAL_USERS[key]]

    def writes(self) -> list[dict[str, Any]]:
        """What was sent to Partner Center to be changed since the test began."""
        return [line for line in self.sandbox.journal("partnercenter") if line["method"] != "GET"]

    def asked(self) -> list[str]:
        """What was asked since the last look, as "service method path", Contoso's tenant id left out."""
        fresh = [line for line in self.sandbox.journal() if line["seq"] > self._seen]
        self._seen = max([self._seen, *(line["seq"] for line in fresh)])
        said = [f"{line['service']} {line['method']} {line['path']}" for line in fresh]
        return [line.replace(tenant("contoso"), "…") for line in said]


@pytest.fixture(autouse=True)
def every_write_was_intended(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: nothing was sent to be changed whose intent was not in the audit trail before (TRUST G15)."""
    if "snapshot" not in request.fixturenames:
        yield
        return
    request.getfixturevalue("snapshot")
    sandbox: Cloud = request.getfixturevalue("sandbox")
    yield
    for line in Directory(sandbox).writes():
        operation = Operation.objects.get(op_id=line["request_id"])
        assert line["path"].startswith(f"/v1/customers/{operation.tenant_id}/")
        assert line["subject"] == str(operation.by.oid)
        intents = AuditEvent.objects.filter(kind="intent", tenant_id=operation.tenant_id, actor_oid=line["subject"])
        assert intents.filter(action=operation.get_kind_display().lower(), at__lte=line["at"]).exists()


@pytest.fixture
def directory(sandbox: Cloud) -> Directory:
    return Directory(sandbox)


def trail() -> list[tuple[str, str, str]]:
    """The audit trail of users, oldest first: (kind, action, outcome)."""
    events = AuditEvent.objects.exclude(action__in=("sign in", "sign out")).order_by("id")
    return list(events.values_list("kind", "action", "outcome"))


def shown_password(answer: Any) -> str:
    """The password that a page shows; "" when it shows none."""
    found = re.search(r'<textarea [^>]*id="new-password"[^>]*>([^<]*)</textarea>', answer.content.decode())
    return unescape(found[1]) if found else ""


def timeless(answer: Any) -> str:
    """A page, to be compared with the same one a moment later: without its token, and how long the sign-in lasts."""
    return re.sub(r'-left="\d+"', "", without_token(answer))


@pytest.fixture
def writer(signed_in: Callable[..., Browser], snapshot: None) -> Browser:
    """A signed-in Directory Writer of Contoso, with the customers in the database."""
    return signed_in("writer")


@pytest.fixture
def admin(signed_in: Callable[..., Browser], snapshot: None) -> Browser:
    """A signed-in User Administrator of all customers, with the customers in the database."""
    return signed_in("admin")
