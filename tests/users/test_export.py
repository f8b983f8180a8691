"""The export of a customer's users: all of them, live, harmless in a spreadsheet, and honest about its end."""

import csv
import io

import pytest
from django.urls import reverse

from partnerportal import clock, exports
from partnerportal.models import AuditEvent, Operator
from partnerportal.sandbox import seed
from partnerportal.upstream.partner_center import CustomerUser, PartnerCenter, UserPage
from tests.pages import Page
from users import export

from .conftest import tenant, users_url


def export_url(key="contoso", query=""):
    return reverse("users-export", args=[tenant(key)]) + query


def lines(answer):
    """The rows of the file, its header first."""
    assert answer.status_code == 200, Page(answer).words
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text)))


def ids(answer):
    return [row[-1] for row in lines(answer)[1:]]


def trail():
    """(kind, outcome, detail) of the exports, oldest first."""
    events = AuditEvent.objects.filter(action="export users").order_by("id")
    return list(events.values_list("kind", "outcome", "detail"))


def test_all_pages_stand_in_the_file_each_user_once_as_the_operator_sees_them(admin, directory, sandbox):
    found = ids(admin.get(export_url("medium")))
    assert len(found) == len(set(found))
    assert set(found) == {user.id for user in directory.users("medium").values() if not user.deleted_at}
    asked = [line for line in sandbox.journal("partnercenter") if line["path"].endswith("/users")]
    assert len(asked) == 3
    assert {line["subject"] for line in asked} == {seed.PERSONA_OIDS["admin"]}
    assert trail() == [("intent", "", ""), ("outcome", "done", "Exported 1,185 users.")]


def test_deleted_users_are_exported_from_their_own_list(admin, directory):
    rows = lines(admin.get(export_url(query="?state=deleted")))
    deleted = {user.id for user in directory.users().values() if user.deleted_at}
    assert {row[-1] for row in rows[1:]} == deleted
    assert all(row[4] == "deleted" and row[8][:2] == "20" for row in rows[1:])


def test_the_page_links_to_the_export_of_the_list_that_it_shows(admin):
    assert Page(admin.get(users_url())).href("Export") == export_url()
    assert Page(admin.get(users_url(query="?state=deleted&size=50"))).href("Export") == export_url(
        query="?state=deleted"
    )


def test_formulas_are_text_and_times_are_iso(admin, monkeypatch):
    user = CustomerUser(
        "00000001-0000-4000-8000-000000000000",
        "=cmd@x.example",
        "+HYPERLINK(1)",
        last_directory_sync=clock.now().replace(2026, 3, 1, 10, 0, 0, 0),
    )
    monkeypatch.setattr(PartnerCenter, "all_users", lambda *_, **__: iter([UserPage((user,))]))
    [_, row] = lines(admin.get(export_url()))
    assert row[:2] == ["'+HYPERLINK(1)", "'=cmd@x.example"]
    assert row[7] == "2026-03-01T10:00:00+00:00"


def test_an_export_that_breaks_off_says_so_in_its_last_line_and_in_the_trail(admin, sandbox):
    sandbox.fault("partnercenter", path="/users$", query="seekOperation", kind="status", status=500, times=0)
    rows = lines(admin.get(export_url("medium")))
    assert len(rows) == 502
    assert rows[-1][0].startswith("NOT COMPLETE: 500 users are above, and there are more. Partner Center")
    (_, outcome, detail) = trail()[-1]
    assert outcome == "failed"
    assert detail.startswith("Exported 500 users. Partner Center")


def test_signing_out_ends_it_before_the_next_page(admin):
    answer = admin.get(export_url("medium"))
    admin.post("/signout/")
    rows = lines(answer)
    assert len(rows) == 502
    assert "The sign-in that read it has ended." in rows[-1][0]


def test_a_browser_that_goes_away_is_in_the_trail(admin):
    answer = admin.get(export_url())
    stream = iter(answer.streaming_content)
    for _ in range(3):
        next(stream)
    for close in answer._resource_closers:  # as `close()`, which would close the test's database as well
        close()
    del stream
    assert trail()[-1][1] == "failed"
    assert "did not wait for the end" in trail()[-1][2]


def test_a_first_page_that_does_not_come_is_a_page_and_not_a_file(admin, sandbox):
    sandbox.fault("partnercenter", path="/users$", kind="status", status=500, times=0)
    answer = admin.get(export_url())
    assert (answer.status_code, answer["Content-Type"][:9]) == (502, "text/html")
    assert trail()[-1][:2] == ("outcome", "failed")


@pytest.mark.parametrize("persona", ["outsider", "nested"])
def test_who_may_not_see_the_users_gets_the_reason_and_no_file(admin, signed_in, persona):
    answer = signed_in(persona).get(export_url())
    assert (answer.status_code, answer["Content-Type"][:9]) == (403, "text/html")
    assert "done" not in [outcome for _, outcome, _ in trail()]


def test_no_intent_means_nothing_is_asked(admin, sandbox, monkeypatch):
    admin.get(users_url())
    before = len(sandbox.journal("partnercenter"))

    def full(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr(export.audit, "intend", full)
    with pytest.raises(OSError, match="disk"):
        admin.get(export_url())
    assert len(sandbox.journal("partnercenter")) == before


def test_thirty_exports_an_hour_of_whatever_and_no_more(admin):
    by = Operator.objects.get()
    for number in range(30):
        action = exports.USERS if number % 2 else "export customers"
        export.audit.note(export.audit.Subject(action=action), export.audit.Result(outcome="done"), by=by)
    answer = admin.get(export_url())
    assert answer.status_code == 429
    assert "Nothing was exported" in Page(answer).words
