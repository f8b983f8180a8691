"""The list of one-time links: what became of each, revoked in place, and never a secret."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from customers.models import Customer
from partnerportal import clock, vault
from partnerportal.models import AuditEvent, Operator, TokenCache
from partnerportal.upstream.http import Secret
from tests.conftest import Browser
from tests.pages import Page
from users import links
from users.models import HandoverLink, Operation

pytestmark = pytest.mark.django_db

PASSWORD = "Never-In-A-List-77"


def left_by(persona: Browser, name: str, *, minutes: int = 60) -> str:
    """The token of a link that whoever is signed in there has made for somebody of this name."""
    grant = _grant_of(persona)
    op_id = uuid.uuid4()
    done = Operation.objects.create(
        op_id=op_id,
        kind=Operation.Kind.CREATE,
        state=Operation.State.DONE,
        by=grant.operator,
        session=grant.pk,
        customer=Customer.objects.order_by("pk")[0],
        target_id=str(uuid.uuid4()),
        target_name=name,
        sets_password=True,
        sealed_password=vault.seal("operation", str(op_id), PASSWORD),
        decided_at=clock.now(),
    )
    token = links.make(done, lasts=timedelta(minutes=minutes), passphrase=Secret(""), by=grant.operator, grant=grant)
    return token.reveal()


def _grant_of(browser: Browser) -> TokenCache:
    me = Page(browser.get("/settings/")).words
    by = next(one for one in Operator.objects.all() if one.name in me)
    return TokenCache.objects.filter(operator=by).select_related("operator")[0]


def shown(browser: Browser, query: str = "") -> str:
    answer: Any = browser.get(f"/links/{query}")
    assert answer.status_code == 200
    return Page(answer).words


def test_the_list_tells_for_whom_until_when_and_what_became_of_each(writer, move_clock):
    token = left_by(writer, "Maya Lind")
    left_by(writer, "Owen Prys-Jones", minutes=10)
    left_by(writer, "Adele Vance")
    links.open_once(Secret(token), Secret(""))
    move_clock(15 * 60)  # and beat has not come by
    words = shown(writer)
    assert [words.count(said) for said in ("Open until", "Ran out unopened", "Opened")] == [1, 2, 2]  # once as a choice
    assert "Owen Prys-Jones" not in shown(writer, "?state=open")
    assert "Adele Vance" in shown(writer, "?state=open")
    assert "Owen Prys-Jones" in shown(writer, "?state=expired")
    assert "No link is in this state" in shown(writer, "?state=revoked")


def test_no_password_and_no_address_of_a_link_stands_in_the_list(writer):
    token = left_by(writer, "Maya Lind")
    html = writer.get("/links/").content.decode()
    assert "Maya Lind" in html
    assert not [secret for secret in (token, PASSWORD, HandoverLink.objects.get().token_hash) if secret in html]


def test_a_link_is_revoked_where_it_is_listed_and_a_second_press_says_that_it_was_over(writer):
    token = left_by(writer, "Maya Lind")
    form = Page(writer.get("/links/")).form("link").fields
    answer = writer.post("/links/", form)
    assert "The link for Maya Lind was revoked" in Page(answer).words
    assert Browser().post(f"/handover/{token}/").status_code == 404
    assert "was over before you revoked it" in Page(writer.post("/links/", form)).words
    entry = AuditEvent.objects.filter(kind="outcome")[0]
    assert (entry.actor_name, entry.action, entry.outcome) == ("Tom Reyes", "revoke hand-over link", "done")


def test_a_portal_admin_sees_and_revokes_everybodys_and_others_their_own_alone(writer, signed_in):
    left_by(writer, "Maya Lind")
    admin = signed_in("admin")
    left_by(admin, "Adele Vance")
    of_admin = HandoverLink.objects.get(operation__target_name="Adele Vance")
    assert "Adele Vance" not in shown(writer, "?whose=all")
    assert writer.post("/links/?whose=all", {"link": str(of_admin.pk)}).status_code == 404
    assert "Maya Lind" not in shown(admin)
    words = shown(admin, "?whose=all")
    assert "Maya Lind" in words
    assert "Tom Reyes" in words
    of_writer = HandoverLink.objects.get(operation__target_name="Maya Lind")
    assert admin.post("/links/?whose=all", {"link": str(of_writer.pk)}).status_code == 200
    of_writer.refresh_from_db()
    assert (of_writer.state, of_writer.sealed_password) == (HandoverLink.State.REVOKED, None)
