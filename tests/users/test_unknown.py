"""Answers that may hide a success: never "failed", looked up by name, sent again only when a look-up found nothing."""

import re
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from partnerportal import clock
from tests.pages import Page
from users import operations
from users.models import Operation, SeenNames
from users.onboarding.run import carry_out
from users.tasks import purge_secrets

from .conftest import new_url, newcomer, operation_url, shown_password, tenant, trail
from .runs import checked, newcomers, start, states

WE_DO_NOT_KNOW = "We do not know if Maya Lind was created"
DID_IT = [
    ("drop_after", {}, "Partner Center broke the connection off before it had answered."),
    ("fail_after", {}, "Partner Center has a fault of its own (500)."),
    ("fail_after", {"status": 503, "body": "<h1>Sorry</h1>"}, "Partner Center has a fault of its own (503)."),
    ("truncate", {}, "Partner Center broke the connection off before it had answered."),
    ("truncate", {"honest": True}, "Partner Center gave an answer that we cannot read."),
    ("bad_json", {}, "Partner Center gave an answer that we cannot read."),
    ("empty", {}, "Partner Center gave an answer that we cannot read."),
    ("empty", {"status": 204}, "Partner Center gave an answer that we cannot read."),
    ("html", {"effect": True}, "Partner Center gave an answer that we cannot read."),
]
DID_NOT = [
    ("drop_before", {}, "Partner Center broke the connection off before it had answered."),
    ("status", {"status": 500}, "Partner Center has a fault of its own (500)."),
    ("status", {"status": 408}, "Partner Center has a fault of its own (408)."),
    ("status", {"status": 302, "headers": {"Location": "https://evil.example/"}}, "an answer that we cannot read."),
    ("html", {}, "Partner Center gave an answer that we cannot read."),
    ("html", {"status": 502}, "Partner Center has a fault of its own (502)."),
    ("deep", {}, "Partner Center gave an answer that we cannot read."),
    ("huge", {"megabytes": 25}, "Partner Center gave an answer that we cannot read."),
]


def pressed(browser, sandbox, kind="drop_after", **more):
    """A create whose answer goes wrong: the fields of its form, and the answer to the press."""
    fields = newcomer(browser)
    if kind:
        sandbox.fault("partnercenter", kind, method="POST", path="/users$", **more)
    return fields, browser.post(new_url(), fields)


def step(browser, fields, name):
    return browser.post(operation_url(fields["op_id"]), {"step": name})


def buttons(answer):
    return [words for form in Page(answer).forms for words, (name, _) in form.buttons.items() if name == "step"]


# --- Never "failed" -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "more", "why"), DID_IT + DID_NOT)
def test_an_answer_that_may_hide_a_success_is_unknown(writer, sandbox, directory, kind, more, why):
    fields, answer = pressed(writer, sandbox, kind, **more)
    page = Page(answer)
    assert answer.status_code == 200
    assert WE_DO_NOT_KNOW in page.words
    assert f"{why} Check before you try again." in page.words
    assert buttons(answer) == ["Check again"]
    for word in ("failed", "was not created", "Sorry", "Bad Gateway"):
        assert word not in page.words
    assert shown_password(answer) == ""
    operation = Operation.objects.get()
    assert operation.state == Operation.State.UNKNOWN
    assert operation.has_password
    assert trail() == [("intent", "create user", ""), ("outcome", "create user", "unknown")]
    assert len(directory.named("maya.lind")) == (1 if (kind, more, why) in DID_IT else 0)
    assert len(directory.writes()) == 1  # the transport did not try again
    assert fields["op_id"] == str(operation.op_id)


def test_an_answer_that_takes_too_long_is_unknown(writer, sandbox, settings, directory):
    fields = newcomer(writer)
    settings.UPSTREAM_BUDGET = 1.0
    sandbox.fault("partnercenter", "slow", method="POST", path="/users$", seconds=1.5)
    answer = writer.post(new_url(), fields)
    assert WE_DO_NOT_KNOW in Page(answer).words
    assert "Partner Center did not answer in 1 second. Check before you try again." in Page(answer).words
    settings.UPSTREAM_BUDGET = 30.0
    until = time.monotonic() + 5
    while not directory.named("maya.lind") and time.monotonic() < until:
        time.sleep(0.05)
    (user,) = directory.named("maya.lind")
    assert shown_password(step(writer, fields, "check")) == user.password


def test_a_dripping_answer_is_unknown(writer, sandbox, settings):
    settings.UPSTREAM_BUDGET = 1.0
    _, answer = pressed(writer, sandbox, "drip", seconds=0.3)
    assert WE_DO_NOT_KNOW in Page(answer).words


def test_the_same_form_sent_again_shows_the_same_uncertainty(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox)
    answer = writer.post(new_url(), fields)
    assert WE_DO_NOT_KNOW in Page(answer).words
    assert buttons(answer) == ["Check again"]
    assert len(directory.writes()) == 1


# --- Check again --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "more", "why"), DID_IT)
def test_a_look_up_finds_what_was_created_and_the_password_is_shown(writer, sandbox, directory, kind, more, why):
    fields, _ = pressed(writer, sandbox, kind, **more)
    answer = step(writer, fields, "check")
    (user,) = directory.named("maya.lind")
    assert answer.status_code == 200
    assert "Maya Lind was created" in Page(answer).words
    assert shown_password(answer) == user.password
    assert Page(answer).href("Open user").endswith(f"/{user.id}/")
    assert trail()[2:] == [("intent", "check create user", ""), ("outcome", "check create user", "done")]
    assert shown_password(writer.post(new_url(), fields)) == user.password
    assert len(directory.writes()) == 1


def test_a_look_up_finds_a_name_in_whatever_case_microsoft_writes_it(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox)
    (user,) = directory.named("maya.lind")
    user.upn = user.upn.replace("maya.lind", "Maya.Lind").upper()
    user.usage_location = "nl"
    directory.sandbox.running.cloud.world.customers[tenant("contoso")].directory._views.clear()
    assert "Maya Lind was created" in Page(step(writer, fields, "check")).words


@pytest.mark.parametrize(("kind", "more", "why"), DID_NOT)
def test_a_look_up_that_finds_nothing_offers_to_send_it_again(writer, sandbox, directory, kind, more, why):
    fields, _ = pressed(writer, sandbox, kind, **more)
    answer = step(writer, fields, "check")
    words = Page(answer).words
    assert WE_DO_NOT_KNOW in words
    assert f"{fields['user_name']}@{fields['domain']} is not there." in words
    assert "Microsoft can need a minute, so check once more before you send it again." in words
    assert buttons(answer) == ["Check again", "Send it again"]
    assert "was not created" not in words
    assert trail()[2:] == [("intent", "check create user", ""), ("outcome", "check create user", "unknown")]


def test_a_user_with_other_values_is_somebody_else(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox)
    (user,) = directory.named("maya.lind")
    user.display_name = "Maya Lindgren"
    answer = step(writer, fields, "check")
    words = Page(answer).words
    assert "There is a user with this name already" in words
    assert "was not created" not in words  # it may well be this one
    assert f"There is a user {user.upn}, but with other values: Maya Lindgren." in words
    assert Page(answer).href("Open the form again") == new_url()
    assert Page(answer).href("Open this user").endswith(f"/{user.id}/")
    operation = Operation.objects.get()
    assert (operation.state, operation.sealed_password) == (Operation.State.CONFLICT, None)
    assert trail()[-1] == ("outcome", "check create user", "conflict")


def test_a_deleted_user_of_the_same_name_is_not_ours(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox, "drop_before")
    directory.special("deleted").upn = "maya.lind@contosotrading.onmicrosoft.example"
    answer = step(writer, fields, "check")
    assert "is not there, but a deleted user had that name." in Page(answer).words
    assert "Maya Lind was created" in Page(step(writer, fields, "send")).words


def test_a_look_up_that_fails_leaves_everything_as_it_was(writer, sandbox, move_clock):
    fields, _ = pressed(writer, sandbox)
    sandbox.fault("partnercenter", "status", method="GET", path="/users$", times=0)
    answer = step(writer, fields, "check")
    words = Page(answer).words
    assert answer.status_code == 200
    assert WE_DO_NOT_KNOW in words
    assert "We could not find out. Partner Center has a fault of its own (500)." in words
    assert buttons(answer) == ["Check again"]
    assert Operation.objects.get().checked_at is None
    sandbox.no_faults()
    move_clock(61)
    assert "Maya Lind was created" in Page(step(writer, fields, "check")).words


def test_a_look_up_that_goes_in_a_circle_ends(writer, sandbox):
    fields, _ = pressed(writer, sandbox, "drop_before")
    sandbox.fault("partnercenter", "loop", method="GET", path="/users$", times=0)
    assert (
        "We could not find out. Partner Center gave an answer that we cannot read."
        in Page(step(writer, fields, "check")).words
    )


def test_a_look_up_without_a_sign_in_asks_for_one(writer, sandbox, move_clock):
    fields, _ = pressed(writer, sandbox)
    move_clock(61)
    sandbox.state("require_mfa", on=True, at="partnercenter")
    answer = writer.htmx("POST", operation_url(fields["op_id"]), {"step": "check"})
    assert (answer.status_code, answer["HX-Retarget"]) == (401, "#dialog")


def test_a_look_up_walks_at_500_a_page(admin, sandbox, directory):
    fields = newcomer(admin, "medium")
    sandbox.fault("partnercenter", "drop_before", method="POST", path="/users$")
    admin.post(new_url("medium"), fields)
    directory.asked()
    admin.post(operation_url(fields["op_id"], "medium"), {"step": "check"})
    asked = [line for line in directory.asked() if line.startswith("partnercenter")]
    assert len(asked) == 4  # three pages of active users, one of deleted ones


def test_htmx_gets_the_outcome_in_place(writer, sandbox):
    fields, _ = pressed(writer, sandbox)
    answer = writer.htmx("POST", operation_url(fields["op_id"]), {"step": "check"})
    assert "<html" not in answer.content.decode()
    assert shown_password(answer)


def test_a_password_that_was_found_by_another_sign_in_is_not_shown_there(writer, sandbox, signed_in):
    fields, _ = pressed(writer, sandbox)
    other = signed_in("writer")
    answer = step(other, fields, "check")
    assert "Maya Lind was created" in Page(answer).words
    assert shown_password(answer) == ""
    assert shown_password(writer.post(new_url(), fields))


def test_done_does_not_destroy_a_password_that_may_have_to_go_again(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox, "drop_before")
    step(writer, fields, "done")
    assert Operation.objects.get().has_password
    step(writer, fields, "check")
    assert "Maya Lind was created" in Page(step(writer, fields, "send")).words


# --- How often ----------------------------------------------------------------------------------------------


def test_a_second_look_up_within_moments_is_not_made_and_the_page_says_when_it_can_be(
    writer, sandbox, directory, move_clock
):
    fields, _ = pressed(writer, sandbox, "drop_before")
    assert "You can check again from" in Page(step(writer, fields, "check")).words
    directory.asked()
    answer = writer.htmx("POST", operation_url(fields["op_id"]), {"step": "check"})
    assert (answer.status_code, answer["HX-Retarget"]) == (429, "#form-area")
    told = re.search(r"This was looked up just now\. Check again after (\d\d:\d\d:\d\d)\.", Page(answer).words)
    assert told
    assert told[1] == f"{timezone.localtime(Operation.objects.get().asked_at + timedelta(seconds=5)):%H:%M:%S}"
    assert WE_DO_NOT_KNOW in Page(answer).words
    assert directory.asked() == []
    move_clock(6)
    assert step(writer, fields, "check").status_code == 200


@pytest.mark.parametrize(
    ("sent", "asked", "wait"),
    [(0, 0, 5), (20, 0, 10), (70, 10, 20), (86_400, 0, 60), (86_400, 59, 1), (86_400, 61, 0), (0, -3600, 0)],
)
def test_the_older_it_is_the_longer_is_the_pause_but_never_over_a_minute(monkeypatch, sent, asked, wait):
    """Seconds since it was sent, seconds since it was looked up (less than none: by a clock that was put right)."""
    now = clock.now()
    monkeypatch.setattr("partnerportal.clock.now", lambda: now)
    sent_at, asked_at = (now - timedelta(seconds=ago) for ago in (sent, asked))
    again_at = Operation(sent_at=sent_at, asked_at=asked_at).ask_again_at
    assert (again_at or now) - now == timedelta(seconds=wait)


def test_what_was_sent_again_can_be_looked_up_at_once(writer, sandbox):
    fields, _ = pressed(writer, sandbox, "drop_before")
    step(writer, fields, "check")
    sandbox.fault("partnercenter", "drop_before", method="POST", path="/users$")
    step(writer, fields, "send")
    assert step(writer, fields, "check").status_code == 200


def test_a_look_up_that_found_nothing_out_counts_too(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox)
    sandbox.fault("partnercenter", "status", method="GET", path="/users$", status=404)
    step(writer, fields, "check")
    directory.asked()
    assert step(writer, fields, "check").status_code == 429
    assert directory.asked() == []


def test_nobody_has_very_much_looked_up_within_a_minute(writer, sandbox, directory, monkeypatch, move_clock):
    monkeypatch.setattr(operations, "MOST_LOOK_UPS", 1)
    forms = []
    for name in ("maya1", "maya2"):
        forms.append(newcomer(writer, user_name=name))
        sandbox.fault("partnercenter", "drop_before", method="POST", path="/users$")
        writer.post(new_url(), forms[-1])
    step(writer, forms[0], "check")
    answer = step(writer, forms[1], "check")
    assert answer.status_code == 429
    at = Operation.objects.get(op_id=forms[0]["op_id"]).asked_at + timedelta(minutes=1)
    told = f"You had 1 changes looked up within a minute. Check again after {timezone.localtime(at):%H:%M:%S}."
    assert told in Page(answer).words
    move_clock(61)
    assert step(writer, forms[1], "check").status_code == 200


def test_of_two_presses_at_once_one_looks_up(writer, sandbox):
    pressed(writer, sandbox)
    first, second = Operation.objects.get(), Operation.objects.get()
    operations.take_look_up(first)
    with pytest.raises(operations.TooSoon, match=r"This is being looked up\. Check again after \d\d:"):
        operations.take_look_up(second)


# --- Send again ---------------------------------------------------------------------------------------------


def test_nothing_is_sent_again_before_a_look_up_found_nothing(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox, "drop_before")
    answer = step(writer, fields, "send")
    assert WE_DO_NOT_KNOW in Page(answer).words
    assert len(directory.writes()) == 1


def test_it_goes_again_under_the_same_number_with_the_same_password(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox, "drop_before")
    kept = bytes(Operation.objects.get().sealed_password)
    step(writer, fields, "check")
    answer = step(writer, fields, "send")
    assert "Maya Lind was created" in Page(answer).words
    first, second = directory.writes()
    assert first["request_id"] == second["request_id"] == fields["op_id"]
    assert first["correlation_id"] != second["correlation_id"]
    assert first["body"] == second["body"]
    assert bytes(Operation.objects.get().sealed_password) == kept
    (user,) = directory.named("maya.lind")
    assert shown_password(answer) == user.password
    assert trail() == [
        ("intent", "create user", ""),
        ("outcome", "create user", "unknown"),
        ("intent", "check create user", ""),
        ("outcome", "check create user", "unknown"),
        ("intent", "create user", ""),
        ("outcome", "create user", "done"),
    ]
    assert Operation.objects.get().tries == 2


def test_what_is_done_is_not_sent_again(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox)
    step(writer, fields, "check")
    for name in ("send", "check", "send"):
        assert "Maya Lind was created" in Page(step(writer, fields, name)).words
    assert len(directory.writes()) == 1


@pytest.mark.parametrize("replays", [True, False])
def test_what_microsoft_shows_late_is_not_taken_for_somebody_else(writer, sandbox, directory, replays, move_clock):
    sandbox.assume("replay_request_id", replays)
    sandbox.state("replication_lag", seconds=60)
    fields, _ = pressed(writer, sandbox)
    (user,) = directory.named("maya.lind")
    password = user.password
    assert "is not there." in Page(step(writer, fields, "check")).words
    answer = step(writer, fields, "send")
    if not replays:  # "taken", and still not to be seen
        assert WE_DO_NOT_KNOW in Page(answer).words
        assert "is not there." in Page(answer).words
        move_clock(61)
        answer = step(writer, fields, "check")
    assert "Maya Lind was created" in Page(answer).words
    (user,) = directory.named("maya.lind")
    assert shown_password(answer) == user.password == password
    assert len(directory.writes()) == 2


def test_taken_by_somebody_else_meanwhile_is_told_as_that(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox, "drop_before")
    step(writer, fields, "check")
    directory.special("plain").upn = f"maya.lind@{fields['domain']}"
    answer = step(writer, fields, "send")
    assert "There is a user with this name already" in Page(answer).words
    assert "but with other values: Adele Vance." in Page(answer).words
    assert Operation.objects.get().sealed_password is None


def test_a_second_uncertain_answer_is_uncertain_again(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox, "drop_before")
    step(writer, fields, "check")
    sandbox.fault("partnercenter", "fail_after", method="POST", path="/users$")
    answer = step(writer, fields, "send")
    assert WE_DO_NOT_KNOW in Page(answer).words
    assert buttons(answer) == ["Check again"]  # the old look-up counts no more
    (user,) = directory.named("maya.lind")
    assert shown_password(step(writer, fields, "check")) == user.password


def test_it_goes_again_no_more_often_than_a_person_presses(writer, sandbox, directory, settings, move_clock):
    settings.WRITES_A_MINUTE = 3
    fields, _ = pressed(writer, sandbox, "drop_before")
    for _ in range(2):
        step(writer, fields, "check")
        sandbox.fault("partnercenter", "drop_before", method="POST", path="/users$")
        step(writer, fields, "send")
    move_clock(50)
    step(writer, fields, "check")
    answer = writer.htmx("POST", operation_url(fields["op_id"]), {"step": "send"})
    assert (answer.status_code, answer["HX-Retarget"]) == (429, "#form-area")
    words = Page(answer).words
    assert "It was not sent again. You sent more changes within a minute than anybody types." in words
    assert WE_DO_NOT_KNOW in words
    assert len(directory.writes()) == 3
    assert Operation.objects.get().may_go_again  # nothing of it is lost
    assert trail()[-1] == ("outcome", "create user", "denied")
    assert writer.post(new_url(), newcomer(writer, user_name="other")).status_code == 429  # it counts for the others
    move_clock(61)
    sandbox.no_faults()
    assert "Maya Lind was created" in Page(step(writer, fields, "send")).words


SURE_NO = [
    {"status": 400, "body": {"code": 3000, "description": "Odd."}},
    {"status": 403, "body": {"code": 900308, "description": "Odd."}},
    {"status": 401, "body": {"code": 900421, "description": "Odd."}},
    {"status": 429, "headers": {"Retry-After": "60"}, "body": {"code": 429, "description": "Odd."}},
]


@pytest.mark.parametrize("refusal", SURE_NO, ids=lambda refusal: str(refusal["status"]))
def test_a_sure_no_to_the_second_try_is_no_word_about_the_first(writer, sandbox, directory, refusal, move_clock):
    """The first try did it, and Microsoft shows it late: the password that was set must not be lost."""
    sandbox.state("replication_lag", seconds=60)
    fields, _ = pressed(writer, sandbox, "fail_after")
    step(writer, fields, "check")
    sandbox.fault("partnercenter", "status", method="POST", **refusal)
    answer = step(writer, fields, "send")
    words = Page(answer).words
    assert WE_DO_NOT_KNOW in words
    assert "This time it was refused: “Odd.” What became of the first try is not known." in words
    for word in ("was not created", "Nothing was created"):
        assert word not in words
    assert Operation.objects.get().has_password
    assert buttons(answer) == ["Check again"]
    move_clock(61)
    (user,) = directory.named("maya.lind")
    assert shown_password(step(writer, fields, "check")) == user.password


def test_what_is_given_up_frees_its_name(writer, sandbox, directory, move_clock):
    fields, _ = pressed(writer, sandbox, "drop_before")
    assert "We do not know" in Page(step(writer, fields, "stop")).words  # not before a look-up
    move_clock(121)
    assert buttons(step(writer, fields, "check")) == ["Check again", "Send it again", "Give it up"]
    answer = step(writer, fields, "stop")
    assert "Maya Lind was not created Given up after a look-up found nothing." in Page(answer).words
    assert Operation.objects.get().sealed_password is None
    assert trail()[-1] == ("outcome", "check create user", "failed")
    again = newcomer(writer)
    assert "Maya Lind was created" in Page(writer.post(new_url(), again)).words


def test_what_microsoft_may_not_show_yet_is_not_given_up(writer, sandbox, directory, move_clock):
    """The user would come up later, called "not created", with a password that nobody knows."""
    sandbox.state("replication_lag", seconds=60)
    fields, _ = pressed(writer, sandbox, "drop_after")
    move_clock(59)
    assert buttons(step(writer, fields, "check")) == ["Check again", "Send it again"]
    assert WE_DO_NOT_KNOW in Page(step(writer, fields, "stop")).words
    assert Operation.objects.get().has_password
    move_clock(121)
    (user,) = directory.named("maya.lind")
    assert shown_password(step(writer, fields, "check")) == user.password


# --- Two forms, one name ------------------------------------------------------------------------------------


def test_a_second_form_for_the_same_name_shows_the_first_while_nobody_knows(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox)
    answer = writer.post(new_url(), newcomer(writer))
    assert WE_DO_NOT_KNOW in Page(answer).words
    assert "This name was sent before, in another form." in Page(answer).words
    assert len(directory.writes()) == 1
    assert Operation.objects.count() == 1
    assert fields["op_id"] in answer.content.decode()


def test_a_name_that_somebody_else_has_under_way_is_told_with_who_and_when(writer, admin, sandbox, directory):
    pressed(writer, sandbox)
    answer = admin.post(new_url(), newcomer(admin))
    assert answer.status_code == 409
    assert "Tom Reyes sent a user with this name on" in Page(answer).words
    assert shown_password(answer) == ""
    assert len(directory.writes()) == 1


def test_of_two_forms_pressed_at_the_same_moment_one_is_sent(writer, admin, sandbox, directory, monkeypatch):
    """Both ask whether the name is under way before either is stored. Else, with both answers lost, whoever looks
    the user up first would be shown a password that was never set.
    """
    mine, theirs = newcomer(writer), newcomer(admin)
    look = operations.undecided_create
    answers = []

    def too_early(customer, user_name, *, but):
        found = look(customer, user_name, but=but)
        if not answers:  # nobody yet: and now the other one presses
            answers.append(None)
            sandbox.fault("partnercenter", "drop_after", method="POST", path="/users$")
            answers[0] = writer.post(new_url(), mine)
        return found

    monkeypatch.setattr(operations, "undecided_create", too_early)
    answer = admin.post(new_url(), theirs)
    assert answer.status_code == 409
    assert "Tom Reyes sent a user with this name on" in Page(answer).words
    assert WE_DO_NOT_KNOW in Page(answers[0]).words
    (user,) = directory.named("maya.lind")
    assert shown_password(step(writer, mine, "check")) == user.password
    assert len(directory.writes()) == 1
    assert "The user name maya.lind@" in Page(admin.post(new_url(), theirs)).words


def test_whom_another_form_has_made_is_not_ours(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox, "drop_before")
    other = {"user_principal_name": "other@x.example"}
    Operation.objects.update(fields={**Operation.objects.get().fields, **other}, open_name=other["user_principal_name"])
    second = newcomer(writer)
    password = shown_password(writer.post(new_url(), second))
    mine = {**Operation.objects.get(op_id=second["op_id"]).fields}
    Operation.objects.filter(op_id=fields["op_id"]).update(fields=mine)
    answer = step(writer, fields, "check")
    assert "There is a user with this name already" in Page(answer).words
    assert shown_password(answer) == ""
    (user,) = directory.named("maya.lind")
    assert user.password == password


def test_a_look_up_says_that_it_was_one(writer, sandbox):
    fields, _ = pressed(writer, sandbox)
    words = Page(step(writer, fields, "check")).words
    assert "Found by looking it up: the answer to the create never came." in words
    assert "If somebody else made this user in the meantime, the password below was never set." in words


# --- Found again --------------------------------------------------------------------------------------------


def test_an_unknown_write_is_found_again_on_the_users_page_and_at_its_address(writer, admin, sandbox):
    fields, _ = pressed(writer, sandbox)
    users = f"/customers/{tenant('contoso')}/users/"
    page = Page(writer.get(users))
    assert "We do not know if Maya Lind was created." in page.words
    assert page.href("Check") == operation_url(fields["op_id"])
    answer = writer.get(page.href("Check"))
    assert buttons(answer) == ["Check again"]
    assert "We do not know" not in Page(admin.get(users)).words
    assert admin.get(operation_url(fields["op_id"])).status_code == 404
    step(writer, fields, "check")
    assert "We do not know" not in Page(writer.get(users)).words


def test_who_lost_the_right_meanwhile_does_not_send_it_again(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox, "drop_before")
    step(writer, fields, "check")
    sandbox.state("remove_from_group", persona="writer", group="writers")
    answer = step(writer, fields, "send")
    assert "It was not sent again. The customer has granted" in Page(answer).words
    assert len(directory.writes()) == 1
    assert trail()[-1] == ("outcome", "create user", "denied")
    sandbox.state("set_app_roles", persona="writer", roles=["Portal.Reader"])
    writer.sign_in("writer")
    assert step(writer, fields, "send").status_code == 403
    assert len(directory.writes()) == 1


def test_the_sign_in_that_sends_it_again_sees_the_password(writer, sandbox, signed_in, directory):
    fields, _ = pressed(writer, sandbox, "drop_before")
    other = signed_in("writer")
    step(other, fields, "check")
    answer = step(other, fields, "send")
    (user,) = directory.named("maya.lind")
    assert shown_password(answer) == user.password
    assert shown_password(writer.post(new_url(), fields)) == ""


# --- After a day --------------------------------------------------------------------------------------------


def a_day_later():
    """The portal's clock cannot run so far while somebody is signed in, so the operation gets older instead."""
    Operation.objects.update(sent_at=clock.now() - timedelta(hours=24, seconds=1))
    SeenNames.objects.all().delete()  # which is kept for a quarter of an hour
    purge_secrets()
    assert Operation.objects.get().sealed_password is None


def test_the_password_of_an_unknown_create_is_kept_for_a_day(writer, sandbox, move_clock):
    pressed(writer, sandbox, "drop_before")
    Operation.objects.update(sent_at=clock.now() - timedelta(hours=23, minutes=59))
    purge_secrets()
    assert Operation.objects.get().has_password
    a_day_later()


def test_after_a_day_it_does_not_go_again(writer, sandbox, directory, move_clock):
    fields, _ = pressed(writer, sandbox, "drop_before")
    step(writer, fields, "check")
    a_day_later()
    answer = writer.post(new_url(), fields)
    assert buttons(answer) == ["Check again"]
    step(writer, fields, "send")
    assert len(directory.writes()) == 1
    move_clock(61)
    words = Page(step(writer, fields, "check")).words
    assert "Maya Lind was not created A day later there is no user maya.lind@" in words
    assert Operation.objects.get().state == Operation.State.STOPPED


def left_behind(writer, sandbox, kind):
    """A create of the writer's, half a year ago, that nobody has looked up."""
    fields, _ = pressed(writer, sandbox, kind)
    sandbox.no_faults()
    then = clock.now() - timedelta(days=180)
    Operation.objects.update(created_at=then, sent_at=then)
    SeenNames.objects.all().delete()
    purge_secrets()
    return Operation.objects.get(op_id=fields["op_id"])


def test_a_name_whose_author_is_gone_is_free_for_whoever_wants_it_next(writer, admin, sandbox, directory):
    older = left_behind(writer, sandbox, "drop_before")
    assert shown_password(admin.post(new_url(), newcomer(admin)))
    older.refresh_from_db()
    assert (older.state, older.detail.startswith("A day later there is no user maya.lind@")) == ("stopped", True)
    assert len(directory.named("maya.lind")) == 1
    assert ("outcome", "check create user", "failed") in trail()


def test_whom_a_create_has_made_whose_author_is_gone_is_there_and_not_made_twice(writer, admin, sandbox, directory):
    older = left_behind(writer, sandbox, "drop_after")
    answer = admin.post(new_url(), newcomer(admin))
    assert answer.status_code == 422  # the name is taken, by whom the writer had created
    older.refresh_from_db()
    assert (older.state, len(directory.named("maya.lind"))) == ("done", 1)


def test_a_run_too_gets_a_name_whose_author_is_gone(writer, admin, sandbox, directory):
    left_behind(writer, sandbox, "drop_before")
    run = checked()
    newcomers(run, "maya.lind")
    start(run)
    carry_out(run.rows.get().pk)
    assert (states(run), len(directory.named("maya.lind"))) == (["done"], 1)


def test_after_a_day_a_look_up_still_finds_who_was_created(writer, sandbox):
    fields, _ = pressed(writer, sandbox)
    a_day_later()
    answer = step(writer, fields, "check")
    assert "Maya Lind was created" in Page(answer).words
    assert "The password was shown in the answer to whoever set it, and only there." in Page(answer).words
