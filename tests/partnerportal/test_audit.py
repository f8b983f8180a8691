"""The audit trail: what goes in, and who may read it."""

import csv
import io
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction

from partnerportal import audit, clock
from partnerportal.audit_pages import AuditQuery
from partnerportal.models import AuditEvent, Operator
from tests.conftest import without_token
from tests.pages import Page

SUBJECT = audit.Subject(
    action="patch user",
    tenant_id="5a8e1c8a-0000-4000-8000-000000000001",
    customer_name="Contoso <Trading>",
    target_id="u-1",
    target_name="Zoë",
    fields={"displayName": ("Zoe", "Zoë"), "password": (None, None)},
)


@pytest.fixture
def writer(cast):
    return cast("writer")


def entries():
    return AuditEvent.objects.exclude(action="sign in")


# --- In -----------------------------------------------------------------------------------------------------


def test_an_intent_then_its_outcome(writer):
    attempt = audit.intend(SUBJECT, by=writer)
    audit.conclude(attempt, SUBJECT, audit.Result(outcome="done", milliseconds=41, code="x" * 99), by=writer)
    intent, outcome = entries().order_by("id")
    assert (intent.kind, intent.outcome, outcome.kind, outcome.outcome) == ("intent", "", "outcome", "done")
    assert intent.attempt == outcome.attempt == attempt
    assert (intent.actor_oid, intent.actor_tid) == (str(writer.oid), str(writer.tid))
    assert outcome.code == "x" * 60
    assert "patch user" in str(outcome)


def test_one_outcome_an_attempt(writer):
    attempt = audit.intend(SUBJECT, by=writer)
    audit.conclude(attempt, SUBJECT, audit.Result(outcome="done"), by=writer)
    with pytest.raises(IntegrityError), transaction.atomic():
        audit.conclude(attempt, SUBJECT, audit.Result(outcome="failed"), by=writer)
    with pytest.raises(IntegrityError), transaction.atomic():
        audit.intend(SUBJECT, by=writer, attempt=attempt)


def test_nothing_is_ever_changed(writer):
    audit.note(SUBJECT, audit.Result(outcome="done"), by=writer)
    event = AuditEvent.objects.first()
    for change in (event.save, event.delete, AuditEvent.objects.all().delete, AuditEvent.objects.all().update):
        with pytest.raises(TypeError):
            change()


def test_the_trail_outlives_the_person(writer):
    audit.note(SUBJECT, audit.Result(outcome="done"), by=writer)
    writer.delete()
    assert entries().first().actor_name == "Tom Reyes"


# --- Out ----------------------------------------------------------------------------------------------------


def note(operator, outcome="done", **changes):
    audit.note(audit.Subject(**({**vars(SUBJECT), **changes})), audit.Result(outcome=outcome), by=operator)


def rows(answer):
    return [event.action for event in answer.context["page"]]


def test_an_admin_sees_all_others_their_own(signed_in, cast):
    for persona in ("admin", "writer", "reader"):
        note(cast(persona), action=f"by {persona}")
    seen = {persona: set(rows(signed_in(persona).get("/audit/"))) - {"sign in"} for persona in ("admin", "writer")}
    assert seen == {"admin": {"by admin", "by writer", "by reader"}, "writer": {"by writer"}}


def test_somebody_elses_entry_looks_like_none(signed_in, writer):
    note(writer)
    entry = entries().get(kind="intent")
    browser = signed_in("reader")
    theirs, none = browser.get(f"/audit/{entry.pk}/"), browser.get("/audit/99999999/")
    assert theirs.status_code == none.status_code == 404
    assert without_token(theirs) == without_token(none)
    assert signed_in("admin").get(f"/audit/{entry.pk}/").status_code == 200


def test_an_outcome_is_no_entry_of_its_own(signed_in, writer):
    note(writer)
    assert signed_in("admin").get(f"/audit/{entries().get(kind='outcome').pk}/").status_code == 404


def test_a_role_of_one_tenant_shows_nothing_of_the_same_oid_in_another(signed_in, writer):
    note(Operator(tid=uuid.uuid4(), oid=writer.oid, name="Somebody"), action="elsewhere")
    assert "elsewhere" not in rows(signed_in("writer").get("/audit/"))


def test_two_of_one_name_in_two_tenants_are_told_apart(signed_in, writer):
    elsewhere = uuid.uuid4()
    note(Operator(tid=elsewhere, oid=uuid.uuid4(), name=writer.name), action="elsewhere")
    note(writer)
    words = Page(signed_in("admin").get("/audit/")).words
    assert words.count("of another tenant") == 1
    assert f"{writer.name} of another tenant, {str(elsewhere)[:8]}" in words


def test_gdap_is_written_as_everywhere(signed_in, writer):
    note(writer, action="gdap sync")
    page = Page(signed_in("admin").get("/audit/"))
    assert "GDAP sync" in page.words
    assert "Gdap" not in page.words


def test_an_entry_about_a_run_leads_there(signed_in, writer):
    key = str(uuid.uuid4())
    note(writer, action="run started", target_id=key, target_name="run 2")
    entry = entries().get(kind="intent", action="run started")
    assert Page(signed_in("admin").get(f"/audit/{entry.pk}/")).href("Run 2") == f"/onboarding/{key}/"


def test_a_state_and_the_immutable_id_are_words(signed_in, writer):
    note(writer, fields={"state": ["active", "deleted"], "immutable_id": ["", "x"]})
    words = Page(signed_in("admin").get(f"/audit/{entries().get(kind='intent', actor_oid=writer.oid).pk}/")).words
    assert "State Active Deleted Immutable ID Not set x" in words


def test_the_entry_tells_all_and_escapes_it(signed_in, writer):
    attempt = audit.intend(SUBJECT, by=writer)
    result = audit.Result(
        outcome="refused",
        detail="Partner Center refused: “no”",
        status=403,
        code="900308",
        upstream_request_id="ms-request",
        correlation_id="ms-correlation",
        milliseconds=1234,
    )
    audit.conclude(attempt, SUBJECT, result, by=writer)
    text = signed_in("writer").get(f"/audit/{entries().get(kind='intent').pk}/").content.decode()
    for words in ("Zoe", "Zoë", "900308", "ms-request", "ms-correlation", "1,234 ms", "Refused", "“no”", "Sandbox"):
        assert words in text, words
    assert "Contoso &lt;Trading&gt;" in text
    assert "<Trading>" not in text


def test_an_open_attempt_says_so(signed_in, writer):
    audit.intend(SUBJECT, by=writer)
    browser = signed_in("writer")
    assert "Not concluded" in browser.get("/audit/").content.decode()
    assert "Not concluded" in browser.get(f"/audit/{entries().get().pk}/").content.decode()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"a", "b", "c", "open"}),
        ("?action=a", {"a"}),
        ("?outcome=refused", {"b"}),
        ("?outcome=open", {"open"}),
        ("?outcome=nonsense", {"a", "b", "c", "open"}),
        ("?customer=fabrikam", {"c"}),
        ("?customer=5A8E1C8A-0000-4000-8000-000000000001", {"a", "b", "open"}),
        ("?customer=5a8e", set()),
        ("?who=reyes", {"a", "b", "open"}),
        ("?who=x%00y", set()),
        ("?from=2000-01-01", {"a", "b", "c", "open", "old"}),
        ("?to=2001-01-05", {"old"}),
        ("?from=2001-01-04&to=2001-01-05", set()),
        ("?from=yesterday&to=2001-13-77", {"a", "b", "c", "open"}),
        ("?actor_name__contains=x&page=x&page=%C2%B2", {"a", "b", "c", "open"}),
    ],
)
def test_filters(signed_in, cast, writer, monkeypatch, query, found):
    note(writer, action="a")
    note(writer, "refused", action="b")
    note(cast("reader"), action="c", customer_name="Fabrikam", tenant_id="")
    audit.intend(audit.Subject(**({**vars(SUBJECT), "action": "open"})), by=writer)
    monkeypatch.setattr(audit.clock, "now", lambda: datetime(2001, 1, 2, 3, tzinfo=UTC))
    note(writer, action="old")
    monkeypatch.undo()
    assert set(rows(signed_in("admin").get(f"/audit/{query}"))) - {"sign in"} == found


def test_pages_of_fifty_newest_first(signed_in, writer):
    for number in range(70):
        note(writer, action=f"n{number}")
    browser = signed_in("writer")
    first, second = browser.get("/audit/"), browser.get("/audit/?page=2")
    assert len(rows(first)) == 50
    assert rows(first)[1] == "n69"  # after the sign-in
    assert rows(second)[-2] == "n0"
    last = browser.get("/audit/?page=7")
    assert (last.status_code, last["Location"]) == (303, "/audit/?page=2")
    assert browser.htmx("get", "/audit/?page=7")["HX-Redirect"] == "/audit/?page=2"


def test_htmx_gets_the_table_alone(signed_in):
    answer = signed_in("writer").htmx("get", "/audit/")
    text = answer.content.decode()
    assert text.lstrip().startswith('<section class="card" id="table"')
    assert "<html" not in text
    assert 'hx-swap-oob="innerHTML">1 entry' in text


def test_nothing_yet_and_nothing_found(signed_in, move_clock):
    browser = signed_in("writer")
    assert "Nothing matches" in browser.get("/audit/?customer=nobody").content.decode()
    assert "Clear filters" in browser.get("/audit/?customer=nobody").content.decode()


def test_last_week_is_the_default(signed_in, writer, monkeypatch):
    real = clock.now()
    monkeypatch.setattr(audit.clock, "now", lambda: real - timedelta(days=7, minutes=1))
    note(writer, action="eight days ago")
    monkeypatch.undo()
    assert "eight days ago" not in rows(signed_in("writer").get("/audit/"))


def test_the_address_leaves_defaults_out():
    assert AuditQuery().url() == "/audit/"
    assert AuditQuery(who="x", from_="2026-01-02").url(page=3) == "/audit/?who=x&from=2026-01-02&page=3"


def test_few_queries_however_many_rows(signed_in, writer, django_assert_max_num_queries):
    for number in range(50):
        note(writer, action=f"n{number}")
    browser = signed_in("admin")
    with django_assert_max_num_queries(10):
        browser.get("/audit/")


def test_a_last_page_of_none(signed_in, db):
    browser = signed_in("reader")
    AuditEvent.objects.none()
    answer = browser.get("/audit/?to=2001-01-01")
    assert answer.status_code == 200
    assert rows(answer) == []


def test_what_an_address_asks_for_and_does_not_exist_is_said(signed_in, db):
    answer = signed_in("reader").get("/audit/?outcome=foo&from=yesterday&to=9999-12-31&sort=x")
    text = answer.content.decode()
    assert answer.status_code == 200
    for said in ("There is no outcome “foo”.", "There is no from “yesterday”.", "There is no to “9999-12-31”."):
        assert said in text
    assert "There is no sort" not in text


# --- Out ----------------------------------------------------------------------------------------------------


def exported(browser, query=""):
    answer = browser.get(f"/audit/export.csv{query}")
    assert answer.status_code == 200
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def test_the_file_has_the_rows_of_the_page_with_what_became_of_them(signed_in, writer, cast):
    audit.intend(audit.Subject(action="left open"), by=writer)
    told = audit.Result(outcome="refused", detail="=no", status=403, code="900308", correlation_id="ms-c")
    audit.note(SUBJECT, told, by=writer)
    audit.note(audit.Subject(action="of somebody else"), audit.Result(outcome="done"), by=cast("reader"))
    browser = signed_in("admin")
    [row] = exported(browser, "?outcome=refused")
    assert (row["Who"], row["Action"], row["Outcome"], row["Reason"]) == (
        *("Tom Reyes", "patch user", "Refused", "'=no"),  # a spreadsheet does not carry it out
    )
    assert (row["Target ID"], row["Status"], row["Code"], row["MS-CorrelationId"]) == ("u-1", "403", "900308", "ms-c")
    assert row["Changes"] == "displayName: Zoe → Zoë; password: None → None"
    assert datetime.fromisoformat(row["Time"]).tzinfo
    assert [row["Action"] for row in exported(browser, "?outcome=open")] == ["left open"]
    everything = [row["Action"] for row in exported(browser)]
    assert everything[:2] == ["export audit trail"] * 2  # those before it
    assert {"left open", "patch user", "of somebody else"} <= set(everything)
    mine = exported(signed_in("writer"))
    assert {row["Who"] for row in mine} == {"Tom Reyes"}


def test_the_file_is_told_in_the_trail_and_offered_with_its_number(signed_in, writer):
    audit.note(SUBJECT, audit.Result(outcome="done"), by=writer)
    browser = signed_in("writer")
    answer = browser.get("/audit/?action=patch+user")
    assert Page(answer).href("Export 1 row") == "/audit/export.csv?action=patch+user"
    assert len(exported(browser, "?action=patch+user")) == 1
    event = AuditEvent.objects.filter(action="export audit trail", kind="outcome").get()
    assert (event.detail, event.fields) == ("Exported 1 entry", {"filter": ["", "action=patch+user"]})


def test_a_file_of_many_entries_is_made_in_pieces(signed_in, writer, monkeypatch):
    monkeypatch.setattr("partnerportal.audit_pages.CHUNK", 2)
    for number in range(5):
        audit.note(audit.Subject(action=f"a{number}"), audit.Result(outcome="done"), by=writer)
    rows = [row for row in exported(signed_in("writer")) if row["Action"].startswith("a")]
    assert [(row["Action"], row["Outcome"]) for row in rows] == [(f"a{n}", "Done") for n in (4, 3, 2, 1, 0)]
