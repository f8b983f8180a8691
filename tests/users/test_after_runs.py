"""What comes after a run: passwords handed over by links, the results, the e-mail, the list, and what is forgotten."""

import csv
import io
import re
import smtplib
import uuid
from datetime import timedelta

import pytest
from django.core.mail.backends.locmem import EmailBackend
from django.urls import reverse

from partnerportal import clock, vault
from partnerportal.models import AuditEvent
from partnerportal.upstream.http import Secret
from tests.conftest import Browser
from tests.pages import Page
from users import links, operations
from users.models import HandoverLink, OnboardingRow, OnboardingRun, Operation
from users.onboarding import delivery, news, steering, words
from users.onboarding import run as engine
from users.tasks import purge_secrets, tell_of_runs

from .conftest import operation_url
from .runs import Kind, RowState, State, checked, newcomers, sign_in_of, start

PASSWORD = "Of-The-Row-Of-"  # + its user's first name
LINK = re.compile(r"http[s]?://[^\s\"<]+/handover/[\w-]+/")


def after(*names, persona="admin", **more):
    """A run that is over and has created users of these names, each with a password that nobody has seen."""
    now = clock.now()
    run = checked(persona, finished_at=now, **more)
    OnboardingRun.objects.filter(pk=run.pk).update(state=State.DONE, started_at=now)
    newcomers(run, *names)
    for row in run.rows.all():
        operation = Operation.objects.create(
            op_id=row.op_id,
            kind=Kind.CREATE,
            state=Operation.State.DONE,
            by=run.by,
            session=None,
            customer=row.customer,
            tenant_id=row.tenant_id,
            target_id=str(row.op_id),
            target_name=row.target_name,
            sets_password=True,
            sealed_password=vault.seal("operation", str(row.op_id), PASSWORD + row.target_name),
            created_at=now,
            decided_at=now,
        )
        run.rows.filter(pk=row.pk).update(state=RowState.DONE, operation=operation, target_id=operation.target_id)
    return OnboardingRun.objects.get(pk=run.pk)


def set_anew(row, **when):
    """A password that was set by hand for the user of a row; `when` it was sent and decided."""
    about = {"customer": row.customer, "tenant_id": row.tenant_id, "target_id": row.target_id, "by": row.run.by}
    about |= {"kind": Kind.RESET, "state": Operation.State.DONE, "sets_password": True}
    return Operation.objects.create(op_id=uuid.uuid4(), **about, **when)


def links_url(run):
    return reverse("run-handover", args=[run.key])


def test_the_page_of_links_stands_below_its_run_and_onboarding(signed_in, snapshot):
    admin = signed_in("admin")
    run = after("anna")
    page = Page(admin.get(links_url(run)))
    assert page.href("Run") == reverse("run", args=[run.key])
    assert "Onboarding Run Hand over" in page.words


def made(browser, run, step="slips", **more):
    return browser.post(links_url(run), {"step": step, "hours": "24", **more})


def opened(address):
    """What a stranger reads who opens a link."""
    return Page(Browser().post(address)).words


def table(answer):
    """The rows of a file, by the name of their user."""
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    assert PASSWORD not in text
    return {row["Name"]: row for row in csv.DictReader(io.StringIO(text))}


# --- Links --------------------------------------------------------------------------------------------------


def test_each_new_user_gets_a_slip_with_a_link_that_shows_the_password_once(admin):
    run = after("anna", "bert")
    assert "2 new passwords to hand over" in Page(admin.get(reverse("run", args=[run.key]))).words
    answer = made(admin, run)
    assert PASSWORD not in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    first, second = LINK.findall(answer.content.decode())
    assert f"{PASSWORD}Anna" in opened(first)
    assert "This link does not work" in opened(first)
    assert f"{PASSWORD}Bert" in opened(second)
    assert "to hand over" not in Page(admin.get(reverse("run", args=[run.key]))).words


def test_the_results_file_has_a_link_for_whom_it_was_made_and_is_no_second_way_to_it(admin):
    run = after("anna", "bert")
    run.rows.create(line=3, target_name="Cleo", state=RowState.REFUSED, detail="The domain is not verified.")
    found = table(made(admin, run, "file"))
    assert f"{PASSWORD}Anna" in opened(found["Anna"]["One-time link"])
    assert (found["Cleo"]["One-time link"], found["Cleo"]["Reason"]) == ("", "The domain is not verified.")
    assert "Try again" in found["Cleo"]["Fix"]
    assert "One-time link" not in table(admin.get(reverse("run-results", args=[run.key])))["Anna"]
    assert made(admin, run, "file").status_code == 409  # all have one, and a second press ends none of them
    again = table(made(admin, run, "file", anew="on"))
    assert again["Anna"]["One-time link"] == ""  # hers was opened
    assert "This link does not work" in opened(found["Bert"]["One-time link"])
    assert f"{PASSWORD}Bert" in opened(again["Bert"]["One-time link"])


def test_only_whoever_started_the_run_makes_links(signed_in, snapshot):
    writer, admin = signed_in("writer"), signed_in("admin")
    run = after("anna", persona="writer")
    assert writer.get(links_url(run)).status_code == 200
    assert "to hand over" not in Page(admin.get(reverse("run", args=[run.key]))).words
    assert [admin.get(links_url(run)).status_code, made(admin, run).status_code] == [404, 404]
    assert not HandoverLink.objects.exists()


def test_after_a_day_and_after_a_newer_password_there_is_nothing_to_hand_over(admin):
    late, replaced = after("anna"), after("bert")
    Operation.objects.filter(row__run=late).update(decided_at=clock.now() - timedelta(hours=24, minutes=1))
    set_anew(replaced.rows.get(), sent_at=clock.now(), decided_at=clock.now())
    assert "Nothing to hand over" in Page(admin.get(links_url(late))).words
    assert [made(admin, run).status_code for run in (late, replaced)] == [409, 409]
    assert not HandoverLink.objects.exists()


def test_whose_password_was_replaced_is_not_counted_and_stands_in_nobodys_way(admin, monkeypatch):
    monkeypatch.setattr("users.onboarding.handing.MOST", 1)  # links of one press
    run = after("anna", "bert")
    later = clock.now() + timedelta(seconds=1)
    set_anew(run.rows.get(line=1), sent_at=later, created_at=later, decided_at=later)
    url = reverse("run", args=[run.key])
    assert "1 new password to hand over" in Page(admin.get(url)).words
    (address,) = LINK.findall(made(admin, run).content.decode())
    assert f"{PASSWORD}Bert" in opened(address)
    refused = made(admin, run)
    assert (refused.status_code, "has had a newer password since" in Page(refused).words) == (409, True)
    assert "without a link" not in Page(refused).words
    assert "to hand over" not in Page(admin.get(url)).words


def test_a_password_that_was_sent_before_and_decided_after_a_row_is_no_newer_one(admin):
    run = after("anna")
    now = clock.now()
    Operation.objects.filter(row__run=run).update(sent_at=now)
    before = now - timedelta(seconds=1)
    set_anew(run.rows.get(), sent_at=before, created_at=before, decided_at=now + timedelta(seconds=1))
    assert "1 new password to hand over" in Page(admin.get(reverse("run", args=[run.key]))).words


def test_whom_an_undo_has_deleted_gets_no_link_and_the_link_they_had_ends_with_the_reason(
    admin, directory, monkeypatch
):
    monkeypatch.setattr("users.tasks.carry_out_row.delay", lambda _row: None)
    run = checked()
    newcomers(run, "anna", "bert", "cleo")
    start(run)
    for row in run.rows.all():
        engine.carry_out(row.pk)
    delivery.finish(run)
    page = Page(made(admin, run))
    addresses = LINK.findall(page.html)
    opened(addresses[0])
    undoing = steering.undo(OnboardingRun.objects.get(pk=run.pk), by=run.by)
    undoing.rows.filter(line=3).delete()  # cleo stays
    for row in start(undoing).rows.all():
        engine.carry_out(row.pk)
    assert [bool(directory.named(name)[0].deleted_at) for name in ("anna", "bert", "cleo")] == [True, True, False]
    ended = {link.operation.target_name: link.state for link in HandoverLink.objects.all()}
    assert ended == {"Anna": "opened", "Bert": "deleted", "Cleo": "open"}
    assert not HandoverLink.objects.get(state="deleted").sealed_password
    assert "Ended unopened, for the user was deleted" in Page(admin.get(reverse("links"))).words
    assert AuditEvent.objects.filter(detail__startswith="The user was deleted", actor_name="The portal").count() == 1
    assert "1 new password to hand over" in Page(admin.get(reverse("run", args=[run.key]))).words
    assert len(LINK.findall(made(admin, run, anew="on").content.decode())) == 1
    bert = run.rows.get(line=2)
    answer = admin.post(operation_url(bert.op_id), {"step": "link", "hours": "24"})
    assert "No link was made: the user was deleted" in Page(answer).words
    assert bert.operation.links.count() == 1

    about = {"customer": bert.customer, "tenant_id": bert.tenant_id, "target_id": bert.target_id, "by": run.by}
    Operation.objects.create(op_id=uuid.uuid4(), kind=Kind.RESTORE, state="done", decided_at=clock.now(), **about)
    assert "2 new passwords to hand over" in Page(admin.get(reverse("run", args=[run.key]))).words


def test_a_link_ends_also_when_only_a_look_up_has_found_the_delete(admin):
    run = after("anna")
    made(admin, run)
    row = run.rows.get()
    about = {"customer": row.customer, "tenant_id": row.tenant_id, "target_id": row.target_id, "by": run.by}
    found = Operation.objects.create(op_id=uuid.uuid4(), kind=Kind.DELETE, state="unknown", **about)
    purge_secrets()
    assert HandoverLink.objects.get().is_open
    operations.decide(found, by=run.by, state=Operation.State.DONE)
    purge_secrets()
    assert HandoverLink.objects.get().state == "deleted"


def test_a_passphrase_is_hashed_once_for_all_and_each_link_asks_for_it(admin, monkeypatch):
    run, hashed = after("anna", "bert"), []
    slow = links.make_password
    monkeypatch.setattr(links, "make_password", lambda text: hashed.append(text) or slow(text))
    assert made(admin, run, passphrase="short").status_code == 422
    addresses = LINK.findall(made(admin, run, passphrase="our little secret").content.decode())
    assert (len(addresses), len(hashed)) == (2, 1)
    token = Secret(addresses[0].rstrip("/").rpartition("/")[2])
    with pytest.raises(links.WrongPassphrase):
        links.open_once(token, Secret("another one"))
    assert links.open_once(token, Secret("our little secret"))[1].reveal() == f"{PASSWORD}Anna"


def test_a_press_makes_so_many_links_and_the_next_one_goes_on(admin, monkeypatch):
    monkeypatch.setattr("users.onboarding.handing.MOST", 2)
    run = after("anna", "bert", "cleo")
    first = made(admin, run)
    assert len(LINK.findall(first.content.decode())) == 2
    assert "1 user still without a link" in Page(first).words
    assert "Cleo" in Page(made(admin, run)).words
    assert HandoverLink.objects.filter(state=HandoverLink.State.OPEN).count() == 3


# --- E-mail -------------------------------------------------------------------------------------------------


def test_the_end_of_a_run_is_mailed_once_with_counts_and_the_way_back_and_no_name(admin, mailoutbox):
    run, quiet = after("anna", notify=True, source="anna.csv"), after("bert")
    for _ in range(2):
        tell_of_runs()
    assert [mail.to for mail in mailoutbox] == [[run.by.email]]
    told = mailoutbox[0].subject + mailoutbox[0].body
    assert mailoutbox[0].subject == f"Run {run.pk} is over: 1 of 1 done"
    assert reverse("run", args=[run.key]) in told
    assert not [word for word in ("anna", PASSWORD, "Starters", str(quiet.key)) if word.lower() in told.lower()]


def failing(error):
    """A mail server that breaks with this when it is handed a mail."""

    def send_messages(_self, _messages):
        raise error

    return send_messages


def told_of(browser, run):
    """What the page says of the e-mail."""
    return Page(browser.get(reverse("run", args=[run.key]))).words


def test_what_the_mail_server_does_not_take_goes_later_and_not_for_ever(admin, mailoutbox, monkeypatch):
    run = after("anna", notify=True)
    with monkeypatch.context() as broken:
        refused = smtplib.SMTPRecipientsRefused({"anna@contoso.example": (450, b"later")})
        broken.setattr(EmailBackend, "send_messages", failing(refused))
        tell_of_runs()
        broken.setattr(EmailBackend, "open", lambda self: failing(ConnectionRefusedError())(self, ()))
        tell_of_runs()
    assert "within a minute" in told_of(admin, run)
    OnboardingRun.objects.update(finished_at=clock.now() - timedelta(minutes=61))
    tell_of_runs()
    assert mailoutbox == []
    assert "The e-mail did not go out" in told_of(admin, run)
    admin.post(reverse("run", args=[run.key]), {"step": "mail"})
    assert len(mailoutbox) == 1
    assert f"An e-mail went to {run.by.email}" in told_of(admin, run)


@pytest.mark.parametrize("error", [smtplib.SMTPServerDisconnected("bye"), TimeoutError(), SystemExit()])
def test_a_mail_that_may_have_gone_out_is_not_sent_again_by_itself_and_the_page_says_so(
    admin, mailoutbox, monkeypatch, move_clock, error
):
    """SystemExit: the process died after the mail had left, and before that was written down."""
    run = after("anna", notify=True)
    with monkeypatch.context() as broken:
        broken.setattr(EmailBackend, "send_messages", failing(error))
        if isinstance(error, SystemExit):
            with pytest.raises(SystemExit):
                tell_of_runs()
        else:
            tell_of_runs()
    move_clock(130)
    tell_of_runs()
    assert mailoutbox == []
    assert "We do not know if the e-mail went out" in told_of(admin, run)
    for _ in range(2):
        admin.post(reverse("run", args=[run.key]), {"step": "mail"})
    assert len(mailoutbox) == 1
    assert "An e-mail went to" in told_of(admin, run)


def test_two_workers_send_one_mail_and_rows_tried_again_bring_another(admin, mailoutbox, monkeypatch):
    monkeypatch.setattr("users.tasks.carry_out_row.delay", lambda _row: None)
    run = after("anna", notify=True)
    found = [OnboardingRun.objects.select_related("by").get(pk=run.pk) for _ in range(2)]
    assert [news.send(each) for each in found] == [True, False]
    run.rows.update(state=RowState.REFUSED)
    run.refresh_from_db()
    assert steering.try_again(run, by=run.by, grant=sign_in_of("admin")) == 1
    run.rows.update(state=RowState.REFUSED)
    assert delivery.finish(run)
    tell_of_runs()
    assert len(mailoutbox) == 2


@pytest.mark.parametrize("over", [State.DONE, State.STOPPED])
def test_trying_again_where_nothing_is_to_be_tried_changes_nothing_and_says_so(admin, mailoutbox, monkeypatch, over):
    monkeypatch.setattr("partnerportal.sessions.proved_lately", lambda _request: True)
    run = after("anna", notify=True)
    tell_of_runs()
    OnboardingRun.objects.filter(pk=run.pk).update(state=over, finished_at=clock.now() - timedelta(days=3))
    before, trail = OnboardingRun.objects.values().get(), AuditEvent.objects.count()
    answer = admin.post(reverse("run", args=[run.key]), {"step": "again"})
    assert (answer.status_code, "No row was tried again" in Page(answer).words) == (409, True)
    tell_of_runs()
    assert (OnboardingRun.objects.values().get(), AuditEvent.objects.count()) == (before, trail)
    assert len(mailoutbox) == 1


def test_the_second_of_two_presses_on_try_again_finds_the_rows_under_way(admin, monkeypatch):
    monkeypatch.setattr("partnerportal.sessions.proved_lately", lambda _request: True)
    monkeypatch.setattr("users.tasks.carry_out_row.delay", lambda _row: None)
    run = after("anna", "bert")
    run.rows.filter(line=2).update(state=RowState.REFUSED)
    answers = [admin.post(reverse("run", args=[run.key]), {"step": "again"}) for _ in range(2)]
    assert [(answer.status_code, answer["Location"]) for answer in answers] == [
        (303, reverse("run", args=[run.key]))
    ] * 2
    run.refresh_from_db()
    assert (run.state, run.rows.get(line=2).state) == (State.RUNNING, RowState.QUEUED)


def test_who_has_watched_a_run_is_told_on_the_page_when_it_ends(admin):
    run = after("anna", "bert")
    run.rows.filter(line=2).update(state=RowState.REFUSED)
    url = reverse("run", args=[run.key])
    ended = admin.get(f"{url}?said=running3", headers={"HX-Request": "true", "X-Poll": "1"})
    assert ended.status_code == 286
    assert "is over. 1 of 2 rows came to a good end; 1 failed." in Page(ended).words
    assert "came to a good end" not in told_of(admin, run)  # who comes later reads it in the head


def test_the_mail_is_asked_for_with_the_start_or_later_and_by_the_owner_only(signed_in, snapshot, monkeypatch):
    monkeypatch.setattr("partnerportal.sessions.proved_lately", lambda _request: True)
    monkeypatch.setattr("users.tasks.carry_out_row.delay", lambda _row: None)
    writer, admin = signed_in("writer"), signed_in("admin")
    run = checked("writer")
    newcomers(run, "anna")
    writer.post(reverse("run-check", args=[run.key]), {"step": "start", "notify": "1"})
    url = reverse("run", args=[run.key])
    assert f"An e-mail goes to {run.by.email}" in Page(writer.get(url)).words
    assert admin.post(url, {"step": "hush"}).status_code == 403
    asked = [OnboardingRun.objects.get().notify]
    for step in ("hush", "notify"):
        writer.post(url, {"step": step})
        asked.append(OnboardingRun.objects.get().notify)
    assert asked == [True, False, True]


# --- The list, and what is forgotten ------------------------------------------------------------------------


def test_the_list_is_narrowed_by_kind_words_and_person(signed_in, snapshot):
    writer, admin = signed_in("writer"), signed_in("admin")
    theirs = after("anna", persona="writer", source="october.csv")
    own = checked("admin", Kind.DELETE)

    def listed(browser, query):
        words = Page(browser.get(reverse("runs") + query)).words
        return [run.pk for run in (theirs, own) if f"Run {run.pk}" in words]

    both = [theirs.pk, own.pk]
    assert [listed(admin, query) for query in ("", "?kind=delete", "?q=OCTOBER", f"?q={own.pk}", "?whose=mine")] == [
        both,
        [own.pk],
        [theirs.pk],
        [own.pk],
        [own.pk],
    ]
    assert listed(writer, "") == listed(writer, "?whose=everybody") == [theirs.pk]
    assert "No run matches" in Page(admin.get(reverse("runs") + "?kind=restore")).words
    OnboardingRun.objects.all().delete()
    page = Page(admin.get(reverse("runs")))
    assert "No runs yet Bring new users from a file, with the button above. Or tick several users" in page.words
    assert len([told for _, told in page.tags if "primary" in told.get("class", "").split()]) == 1


def test_names_go_from_a_run_when_the_setting_says_and_the_page_says_when(admin, settings):
    settings.RUNS_KEEP_NAMES = timedelta(days=10)
    run = after("anna", source="anna-lind.csv")
    last = run.finished_at + timedelta(days=10)
    assert f"name nobody after {last:%-d %b %Y}" in Page(admin.get(reverse("run", args=[run.key]))).words
    assert "10 days after its end" in Page(admin.get(reverse("runs"))).words
    for days, kept in ((9, ("anna-lind.csv", "Anna")), (11, ("", ""))):
        OnboardingRun.objects.update(finished_at=clock.now() - timedelta(days=days))
        purge_secrets()
        assert (OnboardingRun.objects.get().source, run.rows.get().target_name) == kept
    assert "anna" not in Page(admin.get(reverse("run", args=[run.key]))).words.lower()


def decide(run, *seconds):
    """The rows of a run were decided so many seconds after now, one after the other."""
    now = clock.now()
    for row, at in zip(run.rows.order_by("line"), seconds, strict=True):
        run.rows.filter(pk=row.pk).update(decided_at=now + timedelta(seconds=at))


def test_the_time_left_is_told_by_rows_that_were_sent_and_not_by_those_that_took_no_time(admin):
    run = after(*(f"n{number}" for number in range(12)))
    decide(run, *range(12))  # one a second
    for line in range(13, 113):
        run.rows.create(line=line, state=RowState.STOPPED, decided_at=clock.now())
    assert words.time_left(run, 600) == "About 10 minutes left"
    assert words.time_left(run, 59) == "Less than a minute left"
    assert words.time_left(run, 0) == ""


def test_a_pause_is_no_part_of_the_time_left(admin):
    run = after(*(f"n{number}" for number in range(12)))
    hours = 10 * 3600
    decide(run, *range(10), hours, hours + 1)
    assert words.time_left(run, 600) == "About 10 minutes left"


def test_fewer_than_ten_rows_that_were_sent_tell_no_time_left(admin):
    run = after(*(f"n{number}" for number in range(10)))
    decide(run, *range(10))
    assert words.time_left(run, 600) == "About 10 minutes left"
    run.rows.filter(line=4).update(decided_at=None)  # it is looked up again
    assert words.time_left(run, 600) == ""


def test_the_time_left_goes_by_the_last_hundred_rows_and_is_one_query(admin, django_assert_num_queries):
    run = after(*(f"n{number}" for number in range(130)))
    decide(run, *(at * 50 for at in range(29)), *(29 * 50 + at for at in range(101)))  # slow first, then one a second
    waiting = [OnboardingRow(run=run, line=line, state=RowState.QUEUED) for line in range(131, 731)]
    OnboardingRow.objects.bulk_create(waiting)
    OnboardingRun.objects.filter(pk=run.pk).update(state=State.RUNNING)
    with django_assert_num_queries(1):
        assert words.time_left(run, len(waiting)) == "About 10 minutes left"
    assert "About 10 minutes left" in Page(admin.get(reverse("run", args=[run.key]))).words


@pytest.mark.parametrize("kind", words.VERBS)
def test_whatever_did_not_end_well_says_what_to_do_and_what_did_says_nothing(kind):
    told = {state: words.fix_of(OnboardingRow(state=state), kind) for state in OnboardingRow.FINAL}
    assert [state for state, fix in told.items() if not fix] == [RowState.DONE]
