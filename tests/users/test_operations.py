"""Write-ahead: what is stored before the first byte leaves, and what is left of it when a process dies on any line."""

import uuid
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import DatabaseError, IntegrityError

from customers.models import Customer
from partnerportal import audit, by_hand, clock
from partnerportal.models import AuditEvent, Operator, TokenCache
from partnerportal.permissions import RoleMissing
from partnerportal.sandbox import seed
from partnerportal.upstream.errors import Broken, Unreachable
from partnerportal.upstream.http import Secret
from partnerportal.upstream.partner_center import CustomerUser, Receipt
from tests.pages import Page
from users import actions, operations
from users.models import Operation, UserWalk
from users.tasks import purge_secrets, settle_lost

from .conftest import MAYA, edit_url, new_url, newcomer, operation_url, reviewed, shown_password, tenant, trail

State = Operation.State
CREATE, PATCH = Operation.Kind.CREATE, Operation.Kind.PATCH
UPN = "maya.lind@contosotrading.onmicrosoft.example"
ADELE = seed.SPECIAL_USERS["plain"]


@pytest.fixture
def who(writer):
    """The writer with the sign-in whose tokens are used, and Contoso."""
    by = Operator.objects.get()
    return SimpleNamespace(
        by=by, grant=TokenCache.objects.get(), customer=Customer.objects.get(tenant_id=tenant("contoso"))
    )


def begun(who, op_id=None, *, name=UPN, **more):
    """A create as it stands when the process dies right after the commit of its intent."""
    fields = {
        "user_principal_name": name,
        "display_name": "Maya Lind",
        "first_name": "Maya",
        "last_name": "Lind",
        "usage_location": "NL",
        "immutable_id": "",
    }
    kept = {
        "kind": CREATE,
        "fields": fields,
        "target_name": "Maya Lind",
        "password": Secret("Tarn-Ivory-58-Kettle-Moss"),
    }
    return operations.begin(op_id or uuid.uuid4(), by=who.by, grant=who.grant, customer=who.customer, **kept, **more)


def receipt(**more):
    user = CustomerUser(id=str(uuid.uuid4()), user_principal_name=UPN, display_name="Maya Lind")
    return Receipt(user, "request", "correlation", 200, **more)


def each_attempt_has_one_outcome():
    intents = list(AuditEvent.objects.filter(kind="intent").values_list("attempt", flat=True))
    outcomes = list(AuditEvent.objects.filter(kind="outcome").values_list("attempt", flat=True))
    return sorted(intents) == sorted(outcomes) and len(set(intents)) == len(intents)


# --- Where a process may die --------------------------------------------------------------------------------


def die(*_args, **_kwargs):
    raise SystemExit("killed")


@pytest.mark.parametrize("line", ["send", "_settle"])
def test_a_process_that_dies_leaves_an_operation_that_can_be_looked_up(
    writer, directory, monkeypatch, move_clock, line
):
    """Killed after CHECKED (nothing left), or after SENT (the answer was there and is lost): TRUST F1 to F3."""
    fields = newcomer(writer)
    with monkeypatch.context() as patched:
        patched.setattr(operations, line, die)
        with pytest.raises(SystemExit):
            writer.post(new_url(), fields)
    operation = Operation.objects.get()
    assert operation.state == {"send": State.CHECKED, "_settle": State.SENT}[line]
    assert len(directory.named("maya.lind")) == {"send": 0, "_settle": 1}[line]
    assert trail() == [("intent", "create user", "")]
    move_clock(61)
    answer = writer.post(new_url(), fields)
    assert "We do not know if Maya Lind was created The portal was interrupted before the answer came." in (
        Page(answer).words
    )
    assert trail() == [("intent", "create user", ""), ("outcome", "create user", "unknown")]
    answer = writer.post(operation_url(fields["op_id"]), {"step": "check"})
    if line == "send":
        assert "is not there." in Page(answer).words
        answer = writer.post(operation_url(fields["op_id"]), {"step": "send"})
    (user,) = directory.named("maya.lind")
    assert shown_password(answer) == user.password
    assert len(directory.writes()) == 1
    assert each_attempt_has_one_outcome()


def test_a_change_whose_process_died_is_looked_up_too(writer, directory, monkeypatch, move_clock):
    fields = reviewed(writer, ADELE, first_name="Adela")
    with monkeypatch.context() as patched:
        patched.setattr(operations, "_settle", die)
        with pytest.raises(SystemExit):
            writer.post(edit_url(ADELE), fields)
    move_clock(61)
    assert "We do not know if Adele Vance was changed" in Page(writer.post(edit_url(ADELE), fields)).words
    answer = writer.post(operation_url(fields["op_id"]), {"step": "check"})
    assert "Adele Vance was changed" in Page(answer).words
    assert len(directory.writes()) == 1


def test_while_the_first_press_may_still_be_on_its_way_nobody_gives_it_up(
    writer, who, monkeypatch, directory, move_clock
):
    monkeypatch.setattr(operations, "PATIENCE", 0.1)
    fields = newcomer(writer)
    begun(who, uuid.UUID(fields["op_id"]))
    move_clock(50)  # of the 60 seconds; the rest is for a slow machine
    answer = writer.post(new_url(), fields)
    assert "We do not know if Maya Lind was created Check before you try again." in Page(answer).words
    for name in ("check", "send"):
        assert "We do not know" in Page(writer.post(operation_url(fields["op_id"]), {"step": name})).words
    assert Operation.objects.get().state == State.CHECKED
    settle_lost()
    assert Operation.objects.get().state == State.CHECKED
    assert directory.writes() == []


def test_the_housekeeping_makes_what_was_interrupted_unknown(who, move_clock):
    checked, sent, done = (begun(who, name=f"{name}@contosotrading.example") for name in ("ann", "bob", "cy"))
    sent.write(state=State.SENT, sent_at=clock.now())
    operations.send(done, receipt)
    move_clock(61)
    settle_lost()
    settle_lost()
    for operation, state in ((checked, State.UNKNOWN), (sent, State.UNKNOWN), (done, State.DONE)):
        operation.refresh_from_db()
        assert operation.state == state
        assert operation.has_password
    assert each_attempt_has_one_outcome()
    details = set(AuditEvent.objects.filter(outcome="unknown").values_list("detail", flat=True))
    assert details == {"The portal was interrupted before the answer came."}


def test_check_again_gives_up_what_is_lost_before_it_looks(writer, who, directory, move_clock):
    operation = begun(who)
    move_clock(61)
    answer = writer.post(operation_url(operation.op_id), {"step": "check"})
    assert "is not there." in Page(answer).words
    assert each_attempt_has_one_outcome()


# --- No act without an intent -------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [(by_hand, "insert"), (audit, "intend")])
def test_what_cannot_be_stored_is_not_sent(writer, monkeypatch, directory, broken):
    fields = newcomer(writer)

    def fail(*_args, **_kwargs):
        raise DatabaseError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(*broken, fail)
        with pytest.raises(DatabaseError):
            writer.post(new_url(), fields)
    assert directory.writes() == []
    assert Operation.objects.count() == 0
    assert trail() == []
    assert writer.post(new_url(), fields).status_code == 200


def test_an_intent_is_there_before_the_first_byte_leaves(who):
    seen = []
    operation = begun(who)

    def call():
        seen.append((Operation.objects.get().state, trail()))
        return receipt()

    operations.send(operation, call)
    assert seen == [(State.SENT, [("intent", "create user", "")])]


def test_the_audit_trail_holds_the_values_and_no_secret(who):
    operation = begun(who)
    intent = AuditEvent.objects.get(action="create user")
    assert intent.fields["display_name"] == ["", "Maya Lind"]
    assert intent.fields["password"] == ["not shown", "a new one, not shown"]
    assert "Tarn" not in str(intent.__dict__)
    assert intent.attempt == operation.attempt


def test_the_app_role_is_asked_wherever_an_action_is_called_from(cast, snapshot, directory):
    reader = cast("reader")
    common = {
        "customer": Customer.objects.get(tenant_id=tenant("contoso")),
        "op_id": uuid.uuid4(),
        "force_change": True,
    }
    directory.asked()
    with pytest.raises(RoleMissing, match=r"needs the app role Portal\.Operator"):
        actions.create_user(fields=MAYA, password=None, by=reader, grant=TokenCache.objects.get(), **common)
    assert directory.asked() == []
    assert Operation.objects.count() == 0


# --- Races --------------------------------------------------------------------------------------------------


def test_of_two_who_send_one_sends(who):
    first = begun(who)
    second = Operation.objects.get(pk=first.pk)
    operations.send(first, receipt)
    operations.send(second, die)  # is not called
    assert (second.state, second.target_id) == (State.DONE, first.target_id)
    assert each_attempt_has_one_outcome()


def test_an_answer_that_comes_after_it_was_given_up_changes_nothing(who):
    operation = begun(who)

    def call():
        operations.give_up(Operation.objects.get(pk=operation.pk))
        return receipt()

    operations.send(operation, call)
    operation.refresh_from_db()
    assert (operation.state, operation.target_id) == (State.UNKNOWN, "")
    assert each_attempt_has_one_outcome()


def test_of_two_who_decide_one_does(who):
    operation = begun(who)
    operations.give_up(operation)
    late = Operation.objects.get(pk=operation.pk)
    assert operations.decide(operation, by=who.by, state=State.DONE, target_id="x")
    assert not operations.decide(late, by=who.by, state=State.UNKNOWN, found_absent=True)
    assert not operations.again(late, by=who.by, grant=who.grant)
    late.refresh_from_db()
    assert (late.state, late.found_absent, late.tries) == (State.DONE, False, 1)
    assert each_attempt_has_one_outcome()


def test_of_two_who_send_again_one_sends(who, directory):
    operation = begun(who)
    operations.give_up(operation)
    actions.check_again(operation, by=who.by, grant=who.grant)
    late = Operation.objects.get(pk=operation.pk)
    actions.send_again(operation, proved=False, by=who.by, grant=who.grant)
    actions.send_again(late, proved=False, by=who.by, grant=who.grant)
    assert len(directory.writes()) == 1
    assert each_attempt_has_one_outcome()


def test_a_number_is_stored_once(who):
    operation = begun(who)
    with pytest.raises(IntegrityError):
        begun(who, operation.op_id)


def test_the_database_itself_refuses_a_second_open_create_of_a_name(who):
    first = begun(who)
    with pytest.raises(IntegrityError):
        begun(who, name=UPN.upper())
    operations.send(first, receipt)
    begun(who)  # Microsoft says what it thinks of it


def test_the_database_itself_refuses_a_second_outcome(who):
    operation = begun(who)
    operations.send(operation, receipt)
    result = audit.Result(outcome="failed")
    with pytest.raises(IntegrityError):
        audit.conclude(operation.attempt, operations.subject(operation), result, by=who.by)


# --- Who sees a password, and until when --------------------------------------------------------------------


def test_a_password_is_shown_to_one_person_in_one_sign_in_after_it_was_set(who, cast):
    operation = begun(who)
    other = SimpleNamespace(by=cast("admin"), grant=TokenCache(operator=who.by))
    assert operations.password_of(operation, by=who.by, grant=who.grant) is None  # not set yet
    operations.send(operation, receipt)
    shown = operations.password_of(operation, by=who.by, grant=who.grant)
    assert shown is not None
    assert shown.reveal() == "Tarn-Ivory-58-Kettle-Moss"
    assert operations.password_of(operation, by=other.by, grant=who.grant) is None
    assert operations.password_of(operation, by=who.by, grant=other.grant) is None
    operations.destroy_password(operation)
    operation.refresh_from_db()
    assert operations.password_of(operation, by=who.by, grant=who.grant) is None


@pytest.mark.parametrize(
    ("state", "decided", "created", "stays"),
    [
        (State.DONE, timedelta(minutes=14), timedelta(minutes=15), True),
        (State.DONE, timedelta(minutes=15, seconds=1), timedelta(minutes=16), False),
        (State.REFUSED, timedelta(), timedelta(minutes=1), False),
        (State.CONFLICT, timedelta(), timedelta(minutes=1), False),
        (State.DENIED, timedelta(), timedelta(minutes=1), False),
        (State.STOPPED, timedelta(), timedelta(minutes=1), False),
        (State.CHECKED, None, timedelta(hours=23), True),
        (State.SENT, None, timedelta(hours=23), True),
        (State.UNKNOWN, None, timedelta(hours=23), True),
        (State.UNKNOWN, None, timedelta(hours=24, minutes=1), False),
        (State.SENT, None, timedelta(hours=24, minutes=1), True),  # `settle_lost` makes it unknown first
    ],
)
def test_no_sealed_password_outlives_its_time(who, state, decided, created, stays):
    operation = begun(who)
    now = clock.now()
    decided_at = now - decided if decided is not None else None
    operation.write(state=state, decided_at=decided_at, created_at=now - created, sent_at=now - created)
    assert Operation.purge_secrets() == (0 if stays else 1)
    operation.refresh_from_db()
    assert operation.has_password is stays


def test_the_housekeeping_forgets_walks_that_nobody_goes_on_with(who):
    now = clock.now()
    for minutes in (5, 29, 32):
        UserWalk.objects.create(
            operator=who.by,
            grant=who.grant,
            customer=who.customer,
            size=25,
            sealed_tokens=b"",
            used_at=now - timedelta(minutes=minutes),
        )
    purge_secrets()
    assert UserWalk.objects.count() == 2
    who.grant.delete()  # signing out ends them, too
    assert UserWalk.objects.count() == 0


# --- What an error means ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "state", "detail"),
    [
        (Unreachable(source="Partner Center", sent=False), State.REFUSED, "Partner Center cannot be reached."),
        (Unreachable(source="Partner Center", took=30), State.UNKNOWN, "Partner Center did not answer in 30 seconds."),
        (
            Broken(source="Partner Center", status=500, description="<h1>secret</h1>"),
            State.UNKNOWN,
            "Partner Center has a fault of its own (500).",
        ),
    ],
)
def test_only_a_sure_no_is_a_no(who, error, state, detail):
    operation = begun(who)

    def call():
        raise error

    operations.send(operation, call)
    operation.refresh_from_db()
    assert (operation.state, operation.detail) == (state, detail)
    assert operation.has_password is (state == State.UNKNOWN)


def test_an_operation_says_what_it_is(who):
    operation = begun(who)
    assert str(operation) == "create Maya Lind (checked)"
    assert operation.undecided
    walk = UserWalk(operator=who.by, grant=who.grant, customer=who.customer)
    assert str(walk) == f"walk through the users of {who.customer.pk}"
    assert MAYA["display_name"] == operation.target_name
