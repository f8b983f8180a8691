"""The audit trail as a chain: what is done to it is found, stops the writes, and is accepted by a person only."""

import json
import logging
import threading
from importlib import import_module

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection, connections

from partnerportal import audit, chain, chain_check
from partnerportal.models import AuditEvent, AuditHead, Operator
from partnerportal.sandbox import seed
from partnerportal.tasks import verify_audit
from tests.pages import Page
from tests.users.conftest import edit_url, new_url, newcomer, reviewed, users_url

DONE = audit.Result(outcome="done")


@pytest.fixture
def maya(db):
    """An administrator who has signed in once, and a trail of six entries."""
    tid = "5a8e1c8a-0000-4000-8000-000000000001"
    by = Operator.objects.create(
        tid=tid, oid=tid, name="Maya", email="maya@partner.example", app_roles=["Portal.Admin"]
    )
    for name in ("Ann", "Bob", "Zoë"):
        note(by, name)
    return by


def note(by, name):
    audit.note(audit.Subject(action="patch user", target_name=name, fields={"city": ("", ["ö", 1, None])}), DONE, by=by)


def sql(statement, *values):
    """Past all that is ours, as somebody at the database would."""
    with connection.cursor() as cursor:
        cursor.execute(statement.replace("EVENTS", "partnerportal_auditevent"), values)


def found():
    return [(one.kind, one.first, one.last) for one in chain_check.verify().findings]


def rechain(seq):
    """Write down the hash that an entry would have had; what somebody would do who has read our code."""
    event = AuditEvent.objects.get(seq=seq)
    hashed = chain.joined(event.previous, seq, chain.digest(event))
    sql("UPDATE EVENTS SET hash = %s WHERE seq = %s", hashed, seq)


def kept_is(count):
    """As if this host had kept the head when there were so many entries."""
    chain.keep(chain.Head(count, chain.hash_at(count)), "")


# --- What is done to it ---------------------------------------------------------------------------------------


def test_a_trail_that_nobody_touched_is_whole(maya):
    report = chain_check.verify()
    assert (report.whole, report.entries, report.head.seq, report.accepted) == (True, 6, 6, 0)
    assert list(AuditEvent.objects.order_by("id").values_list("seq", flat=True)) == [1, 2, 3, 4, 5, 6]
    chain_check.must_hold()


def altered():
    sql("UPDATE EVENTS SET target_name = 'Eve' WHERE seq = 3")


def swapped_places():
    sql("UPDATE EVENTS SET seq = 7 - seq WHERE seq IN (2, 5)")


def deleted():
    sql("DELETE FROM EVENTS WHERE seq IN (3, 4)")


def truncated():
    sql("DELETE FROM EVENTS WHERE seq > 4")


def replaced():
    altered()
    rechain(3)


def added():
    event = AuditEvent.objects.get(seq=6)
    event.pk, event.seq, event.previous, event.kind = None, 7, event.hash, "other"
    event.hash = chain.joined(event.previous, 7, chain.digest(event))
    AuditEvent.objects.bulk_create([event])


@pytest.mark.parametrize(
    ("tamper", "findings"),
    [
        (altered, [("altered", 3, 3)]),
        (swapped_places, [("swapped", 2, 2), ("swapped", 5, 5)]),
        (deleted, [("deleted", 3, 4)]),
        (truncated, [("truncated", 5, 6)]),
        (replaced, [("replaced", 3, 3)]),
        (added, [("added", 7, 7)]),
    ],
)
def test_what_was_done_is_found_and_told_with_what_to_do(maya, capsys, tamper, findings):
    tamper()
    assert found() == findings
    with pytest.raises(SystemExit) as ended:
        call_command("audit_verify", "--json")
    told = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1
    assert (told["whole"], [one["kind"] for one in told["findings"]]) == (False, [kind for kind, *_ in findings])
    assert "audit_accept" in told["what_to_do"]
    assert told["stopped"] == told["findings"][0]["what"]


def test_a_last_entry_that_was_replaced_with_its_hash_is_not_what_the_head_says(maya):
    sql("UPDATE EVENTS SET target_name = 'Eve' WHERE seq = 6")
    rechain(6)
    assert found() == [("replaced", 6, 6)]


def test_whoever_rewrites_the_whole_chain_and_its_head_is_found_by_the_head_beside_the_database(maya):
    kept_is(6)
    line = (settings.VAR_DIR / "audit-head").read_text()
    sql("DELETE FROM EVENTS WHERE seq > 4")
    AuditHead.objects.update(count=4, hash=chain.hash_at(4))
    assert found() == [("truncated", 5, 6)]
    note(maya, "somebody goes on")
    note(maya, "and on")
    assert found() == [("replaced", 6, 6)]
    chain.keep(chain.Head(8, chain.hash_at(8)), chain.hash_at(7))
    assert (settings.VAR_DIR / "audit-head").read_text() == line, "evidence was overwritten"


def test_a_head_of_the_log_can_be_compared(maya, capsys):
    head = f"6 {chain.hash_at(6)}"
    call_command("audit_verify", "--head", head)
    assert "The audit trail is whole" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        call_command("audit_verify", "--head", head.replace("6 ", "7 "))
    assert "truncated: Entry 7 was written" in capsys.readouterr().out
    with pytest.raises(CommandError, match="Give the two values"):
        call_command("audit_verify", "--head", "seven")


def test_a_head_that_was_taken_away_is_told_for_good(maya):
    AuditHead.objects.all().delete()
    with pytest.raises(chain_check.Broken, match="head of the chain was taken out"):
        chain_check.must_hold()
    note(maya, "goes on")
    assert chain_check.verify().stopped


def test_the_hourly_look_stops_the_writes_and_cries_once(maya, caplog):
    altered()
    for _ in range(2):
        verify_audit()
    assert [line.message for line in caplog.records if line.levelno == logging.CRITICAL] == [
        "the audit trail is broken: Entry 3 was altered after it was written."
    ]
    assert chain_check.told_stopped() == "Entry 3 was altered after it was written."


# --- What follows ---------------------------------------------------------------------------------------------


def test_a_broken_chain_stops_a_create_before_anything_leaves_and_reading_goes_on(snapshot, signed_in, sandbox):
    browser = signed_in("writer")
    fields = newcomer(browser)
    note(Operator.objects.get(), "Ann")
    sql("UPDATE EVENTS SET actor_name = 'Nobody' WHERE target_name = 'Ann' AND kind = 'intent'")
    answer = browser.post(new_url(), fields)
    assert answer.status_code == 503
    for words in ("was altered after it was written", "reading goes on", "manage.py audit_verify", "maya.lind"):
        assert words in answer.content.decode(), words
    assert [line for line in sandbox.journal("partnercenter") if line["method"] != "GET"] == []
    assert browser.get(users_url()).status_code == browser.get("/audit/").status_code == 200
    refused = AuditEvent.objects.get(action="create user", kind="outcome")
    assert (refused.outcome, refused.detail[:17]) == ("refused", "Nothing was sent.")
    ready = browser.get("/readyz")
    assert (ready.status_code, b"changes to customers are stopped" in ready.content) == (200, True)


def test_a_change_that_a_broken_chain_stops_comes_back_as_it_was_typed(snapshot, signed_in, sandbox):
    browser = signed_in("admin")
    fields = reviewed(browser, seed.SPECIAL_USERS["plain"], last_name="Stopped")
    note(Operator.objects.get(), "Ann")
    sql("UPDATE EVENTS SET actor_name = 'Nobody' WHERE target_name = 'Ann' AND kind = 'intent'")
    answer = browser.post(edit_url(seed.SPECIAL_USERS["plain"]), fields)
    assert answer.status_code == 503
    for words in ("was altered after it was written", 'value="Stopped"'):
        assert words in answer.content.decode(), words
    assert [line for line in sandbox.journal("partnercenter") if line["method"] != "GET"] == []


def test_a_break_is_accepted_by_an_admin_with_a_reason_and_the_next_one_is_found_all_the_same(maya, capsys):
    kept_is(6)
    truncated()
    with pytest.raises(CommandError, match="Nobody with the e-mail"):
        call_command("audit_accept", "--by", "eve@partner.example", "--reason", "because")
    with pytest.raises(CommandError, match="--reason is empty"):
        call_command("audit_accept", "--by", maya.email, "--reason", " ")
    call_command("audit_accept", "--by", maya.email, "--reason", "Restored the backup of Monday.")
    chain.forget_kept()  # in a test no transaction ends
    assert "Changes to customers go on" in capsys.readouterr().out
    chain_check.must_hold()
    report = chain_check.verify()
    assert (report.whole, report.accepted) == (True, 1)
    last = AuditEvent.objects.order_by("-seq").first()
    assert (last.action, last.actor_name, last.seq) == (chain_check.ACCEPTED, "Maya", 8)
    assert "Restored the backup of Monday." in last.detail
    with pytest.raises(CommandError, match="nothing to accept"):
        call_command("audit_accept", "--by", maya.email, "--reason", "again")
    altered()
    assert found() == [("altered", 3, 3)]
    with pytest.raises(chain_check.Broken):
        chain_check.must_hold()


# --- Many at once ---------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_eight_who_write_at_once_leave_one_chain_and_its_head_beside_the_database():
    by = Operator(tid="5a8e1c8a-0000-4000-8000-000000000001", oid="5a8e1c8a-0000-4000-8000-000000000002", name="Maya")

    def write():
        try:
            for turn in range(5):
                note(by, f"user {turn}")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = chain_check.verify()
    assert (report.whole, report.entries, report.head.seq) == (True, 80, 80)
    assert chain.kept() == report.head


@pytest.mark.django_db(transaction=True)
def test_an_accepted_break_lets_the_head_beside_the_database_go():
    by = Operator.objects.create(
        tid="5a8e1c8a-0000-4000-8000-000000000001", oid="5a8e1c8a-0000-4000-8000-000000000002", name="Maya"
    )
    for name in ("Ann", "Bob"):
        note(by, name)
    sql("DELETE FROM EVENTS")
    AuditHead.objects.all().delete()
    assert found() == [("truncated", 1, 4)]
    chain_check.accept(chain_check.verify(), "An empty database, on purpose.", by=by)
    assert chain_check.verify().whole
    assert chain.kept() == chain.Head(2, chain.hash_at(2))


@pytest.mark.django_db(transaction=True)
def test_what_was_written_before_there_was_a_chain_is_chained_by_the_migration():
    by = Operator(tid="5a8e1c8a-0000-4000-8000-000000000001", oid="5a8e1c8a-0000-4000-8000-000000000002", name="Maya")
    for name in ("Ann", "Zoë"):
        note(by, name)
    before = list(AuditEvent.objects.values_list("seq", "previous", "hash"))
    sql("UPDATE EVENTS SET seq = 0, previous = '', hash = ''")
    AuditHead.objects.all().delete()
    chain.forget_kept()
    migration = import_module("partnerportal.migrations.0004_audit_chain")
    with connection.schema_editor() as editor:
        migration.chain_all(apps, editor)
    assert list(AuditEvent.objects.values_list("seq", "previous", "hash")) == before
    assert chain_check.verify().whole


def test_the_page_of_the_trail_says_what_a_break_means_and_what_to_do_until_it_is_accepted(signed_in):
    writer, admin = signed_in("writer"), signed_in("admin")
    assert "not whole" not in Page(admin.get("/audit/")).words
    sql("UPDATE EVENTS SET actor_name = 'Nobody' WHERE seq = 2")
    chain_check.verify()
    words = Page(admin.get("/audit/")).words
    assert "changes to customers are stopped. Entry 2 was altered after it was written." in words
    assert "manage.py audit_accept" in words
    told = Page(writer.get("/audit/")).words
    assert "changes to customers are stopped" in told
    assert "Entry 2" not in told  # what others did is not theirs to read
    by = Operator.objects.get(oid=seed.PERSONA_OIDS["admin"])
    chain_check.accept(chain_check.verify(), "A test.", by=by)
    assert "not whole" not in Page(admin.get("/audit/")).words
