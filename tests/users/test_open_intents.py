"""What a start finds without an end (TRUST F39): listed, made unknown, and looked up before anything goes again."""

import json
import logging
import uuid

import pytest
from django.core.management import call_command

from partnerportal import audit, clock
from partnerportal.models import AuditEvent, AuditHead
from partnerportal.sandbox import seed
from users import open_intents, operations, tasks
from users.models import OnboardingRow, Operation
from users.onboarding import delivery

from .runs import Worker, checked, customer, newcomers, sign_in_of, start, states

EXPORT = audit.Subject(action="export users", tenant_id=seed.SPECIAL["contoso"], fields={"state": ("", "active")})


@pytest.fixture
def worker(monkeypatch):
    found = Worker()
    monkeypatch.setattr("users.tasks.carry_out_row.delay", found.put)
    monkeypatch.setattr("users.tasks.carry_out_row.apply_async", found.put_by)
    monkeypatch.setattr("users.tasks.SHIFT", 0)  # each message is one row
    return found


def begun(state):
    """A create of somebody whose process died at once."""
    grant = sign_in_of("admin")
    fields = {"user_principal_name": f"{state}@contosotrading.example", "display_name": "Ann", "usage_location": "NL"}
    how = {"kind": Operation.Kind.CREATE, "by": grant.operator, "grant": grant, "customer": customer()}
    operation = operations.begin(uuid.uuid4(), fields=fields, target_name="Ann", **how)
    operation.write(state=state)
    return operation


def test_a_start_lists_what_is_undecided_and_concludes_what_nobody_will_tell_any_more(admin, move_clock, caplog):
    sent, unknown = begun("sent"), begun("unknown")
    attempt = audit.intend(EXPORT, by=sent.by)
    move_clock(3601)
    fresh = audit.intend(EXPORT, by=sent.by)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            tasks.tell_what_is_open()
    sent.refresh_from_db()
    assert sent.state == Operation.State.UNKNOWN
    for operation in (sent, unknown):
        assert str(operation.op_id) in caplog.text
    ended = AuditEvent.objects.filter(kind="outcome")
    assert ended.get(attempt=attempt).outcome == "unknown"
    assert ended.get(attempt=sent.attempt).outcome == "unknown"
    assert not ended.filter(attempt=fresh).exists()


def test_the_command_lists_them_for_machines(admin, capsys):
    operation = begun("unknown")
    call_command("open_intents", "--json")
    told = json.loads(capsys.readouterr().out)
    [left] = told["undecided"]
    assert (left["request_id"], left["state"], left["what"]) == (str(operation.op_id), "unknown", "Create user")
    assert "look-up" in told["what_to_do"]


def test_a_database_that_is_gone_does_not_keep_a_worker_from_starting(monkeypatch, caplog):
    def gone():
        raise tasks.DatabaseError

    monkeypatch.setattr(open_intents, "at_start", gone)
    tasks.tell_what_is_open()
    assert "could not be looked for" in caplog.text


@pytest.mark.parametrize("honoured", [True, False])
def test_after_an_old_copy_was_put_back_a_queued_row_is_looked_up_before_it_is_sent(
    admin, directory, worker, sandbox, honoured
):
    """Without the look-up a replayed answer would be taken for a user with a password that nobody has set."""
    sandbox.assume("replay_request_id", honoured)
    run = checked()
    newcomers(run, "anna", "bert")
    start(run)
    worker.messages += delivery.due(run)
    worker.take()
    password = directory.named("anna")[0].password
    lost = list(Operation.objects.all())
    as_it_was = {"state": OnboardingRow.State.QUEUED, "operation": None, "target_id": "", "decided_at": None}
    run.rows.filter(line=1).update(**as_it_was)
    Operation.objects.all().delete()
    AuditHead.objects.update(accepted_at=clock.now())  # what `audit_accept` writes, once somebody has said so
    worker.drain(run)
    assert states(run) == ["conflict", "done"]
    row = run.rows.get(line=1)
    assert "Then set a new password: the first one is lost." in row.detail
    [anna] = directory.named("anna")
    assert (row.target_id, anna.password) == (anna.id, password)
    assert len(directory.writes()) == 2
    Operation.objects.bulk_create(lost)  # for the fixture that compares all writes with them
