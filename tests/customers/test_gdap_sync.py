"""The customer sync of the GDAP API: asked once, by administrators, and watched until its effect is seen."""

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connection

from customers import tasks
from customers.gdap import api_sync
from customers.models import GdapSync
from partnerportal import audit, clock
from partnerportal.models import AuditEvent, Operator
from partnerportal.upstream.errors import UpstreamError
from tests.conftest import Browser
from tests.pages import Page

pytestmark = pytest.mark.django_db
PATH = "/gdap/sync/"
State = GdapSync.State


@pytest.fixture
def admin(signed_in) -> Browser:
    return signed_in("admin")


def press(browser, op_id=""):
    """Open the page and press the button; `op_id` instead of the form's own one."""
    fields = Page(browser.get(PATH)).form("op_id").fields
    return browser.post(PATH, fields | ({"op_id": str(op_id)} if op_id else {}))


def sent(sandbox):
    return [line for line in sandbox.journal("gdap", "POST") if line["path"].endswith("SynchronizePartnerCustomers")]


def second_admin(sandbox, signed_in):
    sandbox.state("set_app_roles", persona="writer", roles=["Portal.Admin"])
    return signed_in("writer")


def told(kind="outcome"):
    return AuditEvent.objects.filter(action="gdap sync", kind=kind)


# --- Asking ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("persona", ["reader", "writer", "nested", "outsider"])
def test_only_administrators_of_the_portal_may_ask(signed_in, sandbox, persona):
    browser = signed_in(persona)
    for answer in (browser.get(PATH), browser.post(PATH, {"op_id": str(uuid.uuid4())})):
        assert answer.status_code == 403
        assert "Portal.Admin" in Page(answer).words
    assert sandbox.journal("gdap") == []
    assert not GdapSync.objects.exists()


def test_one_press_is_one_request_with_the_operators_address(admin, sandbox):
    answer = press(admin)
    assert (answer.status_code, answer["Location"]) == (303, PATH)
    [line] = sent(sandbox)
    assert "email=maya.okafor%40partnerdesk.example" in line["query"].replace("@", "%40")
    assert "partnerId=" in line["query"]
    found = GdapSync.objects.get()
    assert (found.state, found.by.name, found.message) == (
        State.REQUESTED,
        "Maya Okafor",
        "Your customers will be synchronized now.",
    )


def test_the_page_then_says_when_and_who_gets_the_mail(admin):
    press(admin)
    words = Page(admin.get(PATH)).words
    at = GdapSync.objects.get().requested_at
    assert (
        f"Sync requested at {at:%H:%M}. The GDAP API gives no progress; "
        "it sends an e-mail to maya.okafor@partnerdesk.example when it is done."
    ) in words
    assert not any("op_id" in form.fields for form in Page(admin.get(PATH)).forms)


@pytest.mark.parametrize("status", [200, 202])
def test_both_ways_to_accept_are_accepted(admin, sandbox, status):
    sandbox.assume("gdap_sync_status", status)
    assert press(admin).status_code == 303
    assert GdapSync.objects.get().state == State.REQUESTED


def test_intent_and_outcome_stand_in_the_audit_trail(admin):
    press(admin)
    found = GdapSync.objects.get()
    assert told("intent").get().attempt == found.op_id
    outcome = told().get()
    assert (outcome.attempt, outcome.outcome, outcome.actor_name) == (found.op_id, "done", "Maya Okafor")
    assert outcome.detail == "Your customers will be synchronized now."


# --- Twice ----------------------------------------------------------------------------------------------------


def test_a_second_press_of_the_same_form_says_who_and_when_and_sends_nothing(admin, sandbox):
    fields = Page(admin.get(PATH)).form("op_id").fields
    admin.post(PATH, fields)
    answer = admin.post(PATH, fields)
    at = GdapSync.objects.get().requested_at
    assert answer.status_code == 409
    assert f"Already requested at {at:%H:%M} by Maya Okafor." in Page(answer).words
    assert len(sent(sandbox)) == 1


def test_a_second_press_by_somebody_else_says_who_and_when_and_sends_nothing(admin, sandbox, signed_in):
    other = second_admin(sandbox, signed_in)
    fields = Page(other.get(PATH)).form("op_id").fields
    press(admin)
    answer = other.post(PATH, fields)
    assert answer.status_code == 409
    assert "by Maya Okafor." in Page(answer).words
    assert "Already requested at" in Page(other.get(PATH)).words
    assert (len(sent(sandbox)), GdapSync.objects.count(), told("intent").count()) == (1, 1, 1)


def test_htmx_gets_the_answer_in_place(admin, sandbox):
    fields = Page(admin.get(PATH)).form("op_id").fields
    assert admin.htmx("post", PATH, fields)["HX-Redirect"] == PATH
    answer = admin.htmx("post", PATH, fields)
    assert (answer.status_code, answer["HX-Retarget"], answer["HX-Reswap"]) == (409, "#gdap", "outerHTML")
    assert answer["HX-Push-Url"] == "false"
    assert "<html" not in answer.content.decode()


def test_a_form_that_was_sent_long_ago_is_not_sent_again(admin, sandbox, move_clock):
    fields = Page(admin.get(PATH)).form("op_id").fields
    admin.post(PATH, fields)
    tasks.watch_gdap_sync()
    GdapSync.objects.update(state=State.SEEN, requested_at=clock.now() - timedelta(hours=1))
    answer = admin.post(PATH, fields)
    assert answer.status_code == 409
    assert "This form was sent before. Nothing was requested." in Page(answer).words
    assert len(sent(sandbox)) == 1


@pytest.mark.parametrize("op_id", ["", "1", "x" * 500, "\x00"])
def test_a_form_without_its_number_is_no_form(admin, sandbox, op_id):
    assert admin.post(PATH, {"op_id": op_id}).status_code == 404
    assert sent(sandbox) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("same", [True, False], ids=["same form", "two forms"])
def test_two_presses_at_the_same_moment_send_one_request(sandbox, cast, same):
    by = cast("admin")
    sandbox.running.journal.clear()
    one = uuid.uuid4()
    op_ids = [one, one if same else uuid.uuid4()]
    start, answers = threading.Barrier(2), []

    def work(op_id):
        start.wait()
        try:
            answers.append(api_sync.request_sync(by=by, op_id=op_id).state)
        except api_sync.AlreadyRequested:
            answers.append("already")
        finally:
            connection.close()

    presses = [threading.Thread(target=work, args=[op_id]) for op_id in op_ids]
    for thread in presses:
        thread.start()
    for thread in presses:
        thread.join()
    assert sorted(answers) == ["already", "requested"]
    assert len(sent(sandbox)) == 1
    assert (told("intent").count(), told().count()) == (1, 1)


# --- Refused, silent, not configured --------------------------------------------------------------------------


def test_its_401_is_about_the_portal_and_signs_nobody_out(admin, sandbox):
    fields = Page(admin.get(PATH)).form("op_id").fields
    sandbox.fault("gdap", "status", status=401, body="null", times=0, path="Synchronize")
    answer = admin.post(PATH, fields)
    assert answer.status_code == 502
    words = Page(answer).words
    assert "The sync was not requested. The GDAP API refused: its token or permission is missing or has ended." in words
    assert admin.get("/session/").status_code == 204
    found = GdapSync.objects.get()
    assert (found.state, found.open, found.rows_before) == (State.REFUSED, None, {})
    assert found.before  # the list was read, and its copy served nobody any more
    assert told().get().outcome == "refused"


def test_after_a_refusal_it_can_be_asked_again_at_once(admin, sandbox):
    sandbox.fault("gdap", "status", status=401, body="null", path="Synchronize")
    answer = press(admin)
    again = Page(answer).form("op_id").fields
    assert admin.post(PATH, again).status_code == 303
    assert GdapSync.objects.filter(state=State.REQUESTED).count() == 1
    assert len(sent(sandbox)) == 2


def test_a_bad_password_of_ours_is_a_refusal_as_well(admin, sandbox, settings):
    settings.GDAP_API_PASSWORD = "wrong"
    answer = press(admin)
    assert answer.status_code == 502
    assert "The GDAP API refused" in Page(answer).words
    assert sent(sandbox) == []
    assert admin.get("/session/").status_code == 204


@pytest.mark.parametrize(
    ("missing", "value"), [("GDAP_API_USERNAME", ""), ("GDAP_API_PASSWORD", ""), ("GDAP_API_AUTH_URL", "")]
)
def test_not_configured_says_so_and_sends_nothing(admin, sandbox, settings, missing, value):
    setattr(settings, missing, value)
    page = Page(admin.get(PATH))
    assert "The GDAP API is not configured" in page.words
    assert "GDAP_API_TOKEN" in page.words
    answer = admin.post(PATH, {"op_id": str(uuid.uuid4())})
    assert "The GDAP API is not configured" in Page(answer).words
    assert answer.status_code == 409
    assert sandbox.journal("gdap") == []
    assert not GdapSync.objects.exists()


@pytest.mark.parametrize(
    "fault",
    [{"kind": "drop_after"}, {"kind": "fail_after"}, {"kind": "html"}, {"kind": "slow", "seconds": 5, "after": True}],
    ids=lambda fault: fault["kind"],
)
def test_when_no_answer_comes_we_say_that_we_do_not_know(admin, sandbox, settings, fault):
    settings.UPSTREAM_BUDGET = 2.0
    fields = Page(admin.get(PATH)).form("op_id").fields
    sandbox.fault("gdap", path="Synchronize", times=0, **fault)
    answer = admin.post(PATH, fields)
    assert answer.status_code == 502
    words = Page(answer).words
    assert "We do not know if the request of" in words
    assert "was not requested" not in words
    found = GdapSync.objects.get()
    assert (found.state, found.open) == (State.UNKNOWN, True)
    assert found.rows_before  # its effect may yet be seen
    assert told().get().outcome == "unknown"
    assert len(sent(sandbox)) == 1  # never repeated by the transport
    assert admin.post(PATH, {"op_id": str(uuid.uuid4())}).status_code == 409
    assert len(sent(sandbox)) == 1


def test_a_list_that_does_not_come_leaves_time_for_the_request(admin, sandbox, monkeypatch):
    monkeypatch.setattr(api_sync, "LOOK_BEFORE", 0.5)
    sandbox.fault("gdap", "slow", seconds=5, times=0, path="/Customers")
    assert press(admin).status_code == 303
    assert GdapSync.objects.get().before == ""


def test_a_portal_that_died_while_asking_blocks_until_the_request_is_given_up(cast, sandbox, monkeypatch, move_clock):
    by = cast("admin")

    def die(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(api_sync.GdapApi, "synchronize", die)
    with pytest.raises(KeyboardInterrupt):
        api_sync.request_sync(by=by, op_id=uuid.uuid4())
    monkeypatch.undo()
    assert GdapSync.objects.get().state == State.SENT
    assert told("intent").count() == 1
    with pytest.raises(api_sync.AlreadyRequested):
        api_sync.request_sync(by=by, op_id=uuid.uuid4())
    move_clock(31 * 60)
    tasks.watch_gdap_sync()
    assert api_sync.request_sync(by=by, op_id=uuid.uuid4()).state == State.REQUESTED


# --- Watching it ----------------------------------------------------------------------------------------------


def request(by: Operator) -> GdapSync:
    return api_sync.request_sync(by=by, op_id=uuid.uuid4())


def test_its_effect_is_seen(cast, sandbox, move_clock):
    request(cast("admin"))
    tasks.watch_gdap_sync()
    assert GdapSync.objects.get().state == State.REQUESTED
    move_clock(6)
    tasks.watch_gdap_sync()
    found = GdapSync.objects.get()
    assert found.state == State.SEEN
    assert abs(found.seen_at - clock.now()) < timedelta(seconds=5)


def test_an_unknown_request_that_arrived_is_seen_as_well(cast, sandbox, move_clock):
    sandbox.fault("gdap", "drop_after", path="Synchronize")
    with pytest.raises(UpstreamError):
        request(cast("admin"))
    move_clock(6)
    tasks.watch_gdap_sync()
    assert GdapSync.objects.get().state == State.SEEN


def test_what_nobody_sees_is_given_up_after_half_an_hour(cast, sandbox, move_clock):
    sandbox.assume("gdap_sync_seconds", 999_999)
    request(cast("admin"))
    move_clock(29 * 60)
    tasks.watch_gdap_sync()
    assert GdapSync.objects.get().state == State.REQUESTED
    move_clock(30 * 60 + 5)
    tasks.watch_gdap_sync()
    assert GdapSync.objects.get().state == State.TIMED_OUT


def test_a_request_whose_sender_died_gets_its_outcome_in_the_trail(cast, move_clock):
    by = cast("admin")
    op_id = uuid.uuid4()
    GdapSync.objects.create(op_id=op_id, by=by, email=by.email)
    audit.intend(audit.Subject(action="gdap sync"), by=by, attempt=op_id)
    move_clock(31 * 60)
    tasks.watch_gdap_sync()
    assert GdapSync.objects.get().state == State.TIMED_OUT
    outcome = AuditEvent.objects.get(attempt=op_id, kind="outcome")
    assert (outcome.outcome, outcome.detail) == ("unknown", "The portal was interrupted before the answer came.")


def test_a_gdap_api_that_does_not_answer_is_no_sign_of_success(cast, sandbox, move_clock):
    request(cast("admin"))
    move_clock(60)
    sandbox.fault("gdap", "status", status=500, times=0)
    tasks.watch_gdap_sync()
    assert GdapSync.objects.get().state == State.REQUESTED
    sandbox.no_faults()
    tasks.watch_gdap_sync()
    assert GdapSync.objects.get().state == State.SEEN


def test_done_but_younger_than_fifteen_minutes_still_blocks(cast, sandbox, move_clock):
    by = cast("admin")
    request(by)
    move_clock(14 * 60)
    tasks.watch_gdap_sync()
    assert GdapSync.objects.get().state == State.SEEN
    with pytest.raises(api_sync.AlreadyRequested):
        request(by)
    move_clock(15 * 60 + 5)
    assert request(by).state == State.REQUESTED
    assert len(sent(sandbox)) == 2


@pytest.mark.parametrize("state", [State.SENT, State.REQUESTED, State.SEEN])
def test_a_request_from_before_a_clock_was_put_right_blocks_nobody(cast, state):
    by = cast("admin")
    made = GdapSync.objects.create(op_id=uuid.uuid4(), by=by, state=state, requested_at=clock.now() + timedelta(days=1))
    audit.intend(audit.Subject(action="gdap sync"), by=by, attempt=made.op_id)
    tasks.watch_gdap_sync()
    assert request(by).state == State.REQUESTED


def test_older_than_fifteen_minutes_but_neither_done_nor_given_up_still_blocks(cast, sandbox, move_clock):
    sandbox.assume("gdap_sync_seconds", 999_999)
    by = cast("admin")
    request(by)
    move_clock(29 * 60)
    tasks.watch_gdap_sync()
    with pytest.raises(api_sync.AlreadyRequested):
        request(by)
    move_clock(31 * 60)
    tasks.watch_gdap_sync()
    assert request(by).state == State.REQUESTED


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.SEEN, "Its customer list changed at"),
        (State.TIMED_OUT, "No change was seen in 30 minutes."),
        (State.UNKNOWN, "We do not know if the request of"),
    ],
)
def test_the_page_tells_each_state(admin, state, words):
    press(admin)
    GdapSync.objects.update(state=state, seen_at=clock.now())
    page = Page(admin.get(PATH))
    assert words in page.words
    assert "Past requests" in page.words
    assert str(state.label) in page.words


def test_past_requests_are_listed_with_who_and_when(admin, sandbox, signed_in, move_clock):
    press(admin)
    GdapSync.objects.update(state=State.SEEN, seen_at=clock.now(), requested_at=clock.now() - timedelta(minutes=20))
    press(second_admin(sandbox, signed_in))
    words = Page(admin.get(PATH)).words
    assert words.count("Maya Okafor") >= 1
    assert "Already requested at" in words
    assert "by Tom Reyes." in words
    assert GdapSync.objects.count() == 2
    assert [str(each) for each in GdapSync.objects.all()] == [
        f"GDAP sync {each.requested_at:%Y-%m-%d %H:%M} {each.state}" for each in GdapSync.objects.all()
    ]


# --- The cockpit ----------------------------------------------------------------------------------------------


def test_what_changed_in_its_customer_list_is_told(admin, sandbox, move_clock):
    world = sandbox.running.cloud.world
    went = next(iter(world.gdap))
    press(admin)
    found = GdapSync.objects.get()
    known = len(world.gdap)
    assert len(found.rows_before) == known
    del world.gdap[went]
    changed = next(iter(world.gdap.values()))
    changed.company = "Renamed & Co"
    came = [one for one in world.customers.values() if one.id not in world.gdap and one.id != went]
    world.customers.pop(went)
    move_clock(6)
    tasks.watch_gdap_sync()
    found.refresh_from_db()
    told = found.observed
    assert (told["appeared"], told["changed"], told["went"]) == (len(came), 1, 1)
    assert told["again"] == known - 2
    assert told["names"]["changed"] == ["Renamed & Co"]
    assert set(told["names"]["appeared"]) <= {one.name for one in came}
    assert found.rows_before == {}
    page = Page(admin.get(f"{PATH}{found.op_id}/"))
    for words in ("By Maya Okafor", "Its customer list changed", "Done.", "Renamed & Co", f"Appeared {len(came)}"):
        assert words in page.words


def test_no_more_than_twenty_names_of_a_kind():
    rows = [api_sync.GdapCustomer(f"tenant {number:03}", f"Customer {number}", "", None) for number in range(300)]
    told = api_sync.difference({}, rows)
    assert (told["appeared"], len(told["names"]["appeared"])) == (300, 20)
    assert api_sync.difference(api_sync.small(rows), rows[::-1]) == {
        "again": 0, "appeared": 0, "changed": 0, "went": 0, "names": {"appeared": [], "changed": [], "went": []}
    }  # fmt: skip


def test_a_request_has_a_page_of_its_own_and_the_history_leads_there(admin, signed_in, sandbox, move_clock):
    sandbox.assume("gdap_sync_seconds", 999_999)
    press(admin)
    found = GdapSync.objects.get()
    page = Page(admin.get(Page(admin.get(PATH)).href("just now")))
    assert "No change of its customer list was seen so far" in page.words
    assert "We give up" in page.words
    assert page.attributes(id="progress")["hx-trigger"] == "tick from:body"
    move_clock(30 * 60 + 5)
    tasks.watch_gdap_sync()
    answer = signed_in("admin").htmx("get", f"{PATH}{found.op_id}/")
    assert answer.status_code == 286
    assert "Given up" in Page(answer).words


def test_a_request_that_nobody_made_has_no_page(admin):
    assert admin.get(f"{PATH}{uuid.uuid4()}/").status_code == 404
