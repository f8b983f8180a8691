"""One-time links: opened once, by POST, in time, with the passphrase; and telling a stranger nothing."""

import re
import threading
import time
import unicodedata
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.urls import reverse

from partnerportal import clock, vault
from partnerportal.models import AuditEvent
from tests.conftest import Browser
from tests.pages import Page
from tests.users.conftest import (
    edit_url,
    filled,
    new_url,
    newcomer,
    operation_url,
    reviewed,
    shown_password,
    tenant,
    trail,
)
from users import handover, links, operations, tasks
from users.models import HandoverKnock, HandoverLink, Operation

pytestmark = pytest.mark.django_db

State = HandoverLink.State
RIGHT = "blue whale, green tea"


@pytest.fixture(autouse=True)
def quick_to_hash(settings: Any) -> None:
    """Which hasher it is, one test asks; the others need not wait half a second a try."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def created(browser: Browser, **typed: str) -> tuple[Operation, str]:
    """A new user, and the password that was shown."""
    answer = browser.post(new_url(), newcomer(browser, **typed))
    assert answer.status_code == 200, Page(answer).words
    return Operation.objects.latest("pk"), shown_password(answer)


def ask_for_link(browser: Browser, operation: Operation, **typed: str) -> Any:
    return browser.post(operation_url(operation.op_id), {"step": "link", "hours": "24", "passphrase": "", **typed})


def address_in(answer: Any) -> str:
    """The path of the link that a page shows; "" when it shows none."""
    found = re.search(r'<textarea [^>]*id="link-address"[^>]*>([^<]*)</textarea>', answer.content.decode())
    return urlsplit(unescape(found[1])).path if found else ""


def handed_over(browser: Browser, **typed: str) -> tuple[str, str]:
    """A new user's link, and the password behind it."""
    operation, password = created(browser)
    answer = ask_for_link(browser, operation, **typed)
    assert answer.status_code == 200, Page(answer).words
    return address_in(answer), password


def told(answer: Any) -> str:
    """The password that the public page shows; "" when it shows none."""
    found = re.search(r'<textarea [^>]*id="password"[^>]*>([^<]*)</textarea>', answer.content.decode())
    return unescape(found[1]) if found else ""


def the_link() -> HandoverLink:
    return HandoverLink.objects.get()


def is_destroyed(link: HandoverLink) -> bool:
    return link.sealed_password is None and link.passphrase == ""


def last_entries(count: int = 1) -> list[tuple[str, str, str]]:
    """The newest outcomes of the audit trail, newest first: (who, action, outcome)."""
    newest = AuditEvent.objects.filter(kind="outcome")[:count]
    return [(event.actor_name, event.action, event.outcome) for event in newest]


# --- Making it ----------------------------------------------------------------------------------------------


def test_a_link_shows_the_password_once_to_somebody_without_a_sign_in(writer):
    address, password = handed_over(writer)
    stranger = Browser(enforce_csrf_checks=True)

    before = stranger.get(address)
    assert before.status_code == 200
    assert told(before) == ""
    opened = stranger.post(address)
    assert (opened.status_code, told(opened)) == (200, password)
    again = stranger.post(address)
    assert (again.status_code, told(again)) == (404, "")
    assert (the_link().state, is_destroyed(the_link())) == (State.OPENED, True)
    assert not stranger.cookies


def test_the_link_is_shown_once_and_the_token_is_stored_nowhere(writer):
    operation, _ = created(writer)
    answer = ask_for_link(writer, operation)
    token = address_in(answer).split("/")[2]
    assert len(token) >= 43
    assert address_in(writer.get(operation_url(operation.op_id))) == ""
    link = the_link()
    assert token not in str(vars(link))
    assert bytes(link.sealed_password or b"").startswith(b"gAAAAA")
    assert "no-store" in answer["Cache-Control"]
    assert "It is kept, sealed, until its link is opened or ends." in Page(answer).words


def test_a_password_set_by_a_change_can_be_handed_over_too(admin, directory):
    user = directory.special("plain")
    url = edit_url(user.id)
    answer = admin.post(url, reviewed(admin, user.id, password_mode="made"))
    operation = Operation.objects.latest("pk")
    address = address_in(ask_for_link(admin, operation))
    assert told(Browser().post(address)) == shown_password(answer) != ""


def test_without_a_password_there_is_nothing_to_hand_over(writer):
    operation, _ = created(writer)
    writer.post(operation_url(operation.op_id), {"step": "done"})
    answer = ask_for_link(writer, operation)
    assert "No link was made: the password is not kept any more." in Page(answer).words
    assert not HandoverLink.objects.exists()


def test_after_15_minutes_no_link_can_be_made_but_one_that_is_there_still_works(writer, move_clock):
    operation, password = created(writer)
    address = address_in(ask_for_link(writer, operation))
    move_clock(16 * 60)
    tasks.purge_secrets()
    assert "No link was made" in Page(ask_for_link(writer, operation)).words
    assert told(Browser().post(address)) == password


def test_the_operation_of_somebody_else_gives_no_link(writer, signed_in):
    operation, _ = created(writer)
    assert ask_for_link(signed_in("admin"), operation).status_code == 404
    assert "No link was made" in Page(ask_for_link(signed_in("writer"), operation)).words  # another sign-in
    assert not HandoverLink.objects.exists()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"hours": "169"}, "Choose one of the times in the list"),
        ({"passphrase": "short"}, "Make it 6 characters or longer"),
    ],
)
def test_a_form_that_makes_no_sense_makes_no_link(writer, typed, words):
    operation, password = created(writer)
    answer = ask_for_link(writer, operation, **typed)
    assert answer.status_code == 422
    assert shown_password(answer) == password  # nothing is lost
    assert Page(answer).title.startswith("Error: ")
    assert "No link was made: fix 1 field" in Page(answer).words
    assert 'aria-invalid="true"' in answer.content.decode()
    assert not HandoverLink.objects.exists()
    assert words in answer.content.decode()


@pytest.mark.parametrize("hours", [1, 4, 24, 72, 168])
def test_it_works_from_one_hour_to_seven_days(writer, hours):
    handed_over(writer, hours=str(hours))
    assert the_link().expires_at - the_link().created_at == timedelta(hours=hours)


def test_a_second_link_ends_the_first(writer):
    operation, password = created(writer)
    first, second = (address_in(ask_for_link(writer, operation)) for _ in range(2))
    assert Browser().post(first).status_code == 404
    assert told(Browser().post(second)) == password
    assert HandoverLink.objects.filter(state=State.REVOKED, sealed_password=None).count() == 1


def test_a_link_to_a_newer_password_ends_the_one_to_the_older(admin, directory):
    user = directory.special("plain")
    url = edit_url(user.id)
    addresses = []
    for _ in range(2):
        admin.post(url, reviewed(admin, user.id, password_mode="made"))
        addresses.append(address_in(ask_for_link(admin, Operation.objects.latest("pk"))))
    assert [Browser().get(address).status_code for address in addresses] == [404, 200]


def test_a_newer_password_without_a_link_ends_it_too(admin, directory):
    user = directory.special("plain")
    admin.post(edit_url(user.id), reviewed(admin, user.id, password_mode="made"))
    address = address_in(ask_for_link(admin, Operation.objects.latest("pk")))
    tasks.purge_secrets()
    assert Browser().get(address).status_code == 200
    admin.post(edit_url(user.id), reviewed(admin, user.id, password_mode="made"))
    tasks.purge_secrets()
    assert Browser().get(address).status_code == 404
    assert is_destroyed(the_link())
    assert last_entries() == [("The portal", "hand-over link revoked", "done")]


def test_a_link_leaves_those_of_other_users_alone(writer):
    first, _ = handed_over(writer)
    operation, _ = created(writer, user_name="other.person")
    ask_for_link(writer, operation)
    assert Browser().get(first).status_code == 200


# --- The public page ----------------------------------------------------------------------------------------


def test_previews_do_not_burn_it(writer):
    address, password = handed_over(writer)
    for agent in ("facebookexternalhit/1.1", "Slackbot-LinkExpanding 1.0", "SkypeUriPreview Preview/0.5"):
        for method in ("get", "head"):
            assert getattr(Browser(), method)(address, headers={"user-agent": agent}).status_code == 200
    assert told(Browser().post(address)) == password


def test_a_stranger_learns_who_sent_it_and_no_more(writer):
    address, password = handed_over(writer)
    page = Page(Browser().get(address))
    operation = Operation.objects.get()
    assert operation.by.name in page.words
    assert "for M.L." in page.words
    secret = (password, "Maya Lind", "maya.lind", operation.customer.name, operation.tenant_id, operation.target_id)
    assert not [word for word in secret if word in page.html]
    assert page.title == "One-time link · Partner Desk"
    opened = Browser().post(address).content.decode()
    assert not [word for word in secret[1:] if word in opened]


def test_the_answers_are_kept_by_nobody(writer):
    address, _ = handed_over(writer)
    for answer in (Browser().get(address), Browser().post(address), Browser().post(address)):
        assert answer["Referrer-Policy"] == "no-referrer"
        assert answer["X-Robots-Tag"] == "noindex, nofollow"
        assert answer["Cache-Control"] == "no-store"
        assert answer["Content-Security-Policy"] == Browser().get("/nowhere/")["Content-Security-Policy"]
        assert not answer.cookies
        assert address not in answer.content.decode()


def test_unknown_opened_expired_revoked_and_closed_look_the_same(writer, move_clock, django_assert_num_queries):
    operation, _ = created(writer)
    addresses = {}
    for state in (State.OPENED, State.REVOKED, State.CLOSED, State.EXPIRED):
        addresses[state] = address_in(ask_for_link(writer, operation))
        if state == State.EXPIRED:
            move_clock(25 * 3600)  # and beat has not come by
        else:
            HandoverLink.objects.filter(state=State.OPEN).update(state=state)
    Browser().get("/handover/another/")
    for method in ("get", "post"):
        pages = []
        for address in ("/handover/unknown/", *addresses.values()):
            with django_assert_num_queries(3):  # two for the address that asks, one for the link
                answer = getattr(Browser(), method)(address)
            assert answer.status_code == 404
            headers = {name: value for name, value in answer.items() if name != "X-Request-ID"}
            pages.append((answer.content, headers))
        assert all(page == pages[0] for page in pages)
    assert "This link does not work" in pages[0][0].decode()


@pytest.mark.django_db(transaction=True)
def test_of_many_who_open_it_at_once_one_sees_it(writer):
    address, password = handed_over(writer)
    barrier, seen = threading.Barrier(8), []

    def open_it() -> None:
        barrier.wait()
        try:
            seen.append(told(Browser().post(address)))
        finally:
            connection.close()

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [""] * 7 + [password]
    assert AuditEvent.objects.filter(kind="outcome", action="hand-over link opened").count() == 1


def test_no_link_is_made_of_a_password_that_was_replaced_and_the_one_of_the_newer_stays(admin):
    operation, _ = created(admin)
    url = reverse("user-reset", args=[tenant("contoso"), operation.target_id])
    newer = shown_password(admin.post(url, filled(admin, url)))
    reset = Operation.objects.latest("pk")
    address = address_in(ask_for_link(admin, reset))
    answer = ask_for_link(admin, operation)
    assert "No link was made: a newer password was set for this user since." in Page(answer).words
    assert told(Browser().post(address)) == newer


def test_of_a_create_that_is_found_out_after_a_reset_the_newer_password_and_its_link_stay(
    admin, sandbox, directory, move_clock
):
    fields = newcomer(admin)
    sandbox.fault("partnercenter", "drop_after", method="POST", path="/users$")
    admin.post(new_url(), fields)
    sandbox.no_faults()
    [maya] = directory.named("maya.lind")
    move_clock(60)
    url = reverse("user-reset", args=[tenant("contoso"), maya.id])
    newer = shown_password(admin.post(url, filled(admin, url)))
    address = address_in(ask_for_link(admin, Operation.objects.get(kind="reset")))
    move_clock(120)
    found_out = admin.post(operation_url(fields["op_id"]), {"step": "check"})
    assert Operation.objects.get(op_id=fields["op_id"]).state == "done"
    assert shown_password(found_out) == ""
    assert "A newer password was set for this user since." in Page(found_out).words
    tasks.purge_secrets()
    assert told(Browser().post(address)) == newer == directory.named("maya.lind")[0].password


def test_who_signs_in_anew_in_another_tab_still_hands_over_whom_they_have_just_created(admin):
    operation, _ = created(admin)
    admin.sign_in("admin")
    here = admin.get(operation_url(str(operation.op_id)))
    answer = admin.post(operation_url(str(operation.op_id)), {"step": "link", "hours": "24"})
    assert told(Browser().post(address_in(answer))) == shown_password(here) != ""


def test_another_person_who_signs_in_on_the_same_screen_sees_no_password_of_the_one_before(admin):
    operation, _ = created(admin)
    admin.sign_in("writer")
    assert admin.get(operation_url(str(operation.op_id))).status_code == 404
    admin.sign_in("admin")
    assert shown_password(admin.get(operation_url(str(operation.op_id)))) == ""


def test_the_page_of_an_older_password_does_not_show_it_any_more(admin):
    operation, _ = created(admin)
    here = operation_url(str(operation.op_id))
    assert shown_password(admin.get(here))
    url = reverse("user-reset", args=[tenant("contoso"), operation.target_id])
    admin.post(url, filled(admin, url))
    assert shown_password(admin.get(here)) == ""


def test_no_link_is_made_of_a_password_that_done_destroys_meanwhile(writer, monkeypatch):
    """Between our look at the password and the link, another tab has pressed Done: then it is gone for good."""
    operation, _ = created(writer)
    password_of = operations.password_of

    def done_is_faster(*of, **more):
        found = password_of(*of, **more)
        operations.destroy_password(operation)
        return found

    monkeypatch.setattr(operations, "password_of", done_is_faster)
    answer = ask_for_link(writer, operation)
    assert "No link was made: the password is not kept any more." in Page(answer).words
    assert not HandoverLink.objects.exists()


def test_the_slower_of_two_finds_it_gone(writer, monkeypatch):
    """The other one opened it between our look and our claim."""
    address, _ = handed_over(writer)
    find = links.find

    def find_and_lose(token):
        link = find(token)
        HandoverLink.objects.update(state=State.OPENED)
        return link

    monkeypatch.setattr(links, "find", find_and_lose)
    answer = Browser().post(address)
    assert (answer.status_code, told(answer)) == (404, "")


def test_it_ends_with_the_portals_clock(writer, move_clock):
    address, _ = handed_over(writer, hours="1")
    move_clock(3590)
    assert Browser().get(address).status_code == 200
    move_clock(3601)
    assert Browser().get(address).status_code == 404
    assert told(Browser().post(address)) == ""
    assert not is_destroyed(the_link())
    tasks.purge_secrets()
    assert (the_link().state, is_destroyed(the_link())) == (State.EXPIRED, True)
    assert last_entries() == [("The portal", "hand-over link expired", "done")]
    tasks.purge_secrets()
    assert AuditEvent.objects.filter(kind="outcome", action="hand-over link expired").count() == 1


def test_a_link_whose_key_is_gone_closes(writer, settings):
    address, _ = handed_over(writer)
    settings.VAULT_KEYS = ["x" * 43 + "="]
    assert Browser().post(address).status_code == 404
    assert (the_link().state, is_destroyed(the_link())) == (State.CLOSED, True)


def test_what_was_sealed_for_one_link_does_not_open_in_another(writer):
    first, _ = handed_over(writer)
    sealed = the_link().sealed_password
    operation, _ = created(writer, user_name="other.person")
    second = address_in(ask_for_link(writer, operation))
    HandoverLink.objects.filter(operation=operation).update(sealed_password=sealed)
    assert Browser().post(second).status_code == 404
    assert Browser().get(first).status_code == 200
    with pytest.raises(vault.VaultError):
        vault.open("operation", str(operation.op_id), bytes(sealed))


# --- The passphrase -----------------------------------------------------------------------------------------


def test_the_passphrase_is_asked_for_and_blanks_around_it_do_not_count(writer):
    address, password = handed_over(writer, passphrase=f" {RIGHT}")
    assert "Passphrase" in Page(Browser().get(address)).words
    missing = Browser().post(address)
    assert (missing.status_code, the_link().tries) == (422, 0)
    assert "Type the passphrase." in Page(missing).words
    wrong = Browser().post(address, {"passphrase": "red whale"})
    assert (wrong.status_code, told(wrong)) == (422, "")
    assert "That is not the passphrase. After 9 more wrong ones the link closes for good." in Page(wrong).words
    assert told(Browser().post(address, {"passphrase": f"{RIGHT}  "})) == password


def test_a_passphrase_is_the_same_however_its_accents_are_written(writer):
    composed = "ré" * 64
    address, password = handed_over(writer, passphrase=composed)
    decomposed = unicodedata.normalize("NFD", composed)
    page = Page(Browser().get(address))
    assert int(page.attributes(id="passphrase")["maxlength"]) >= len(decomposed) > len(composed) == 128
    assert told(Browser().post(address, {"passphrase": f"  {decomposed} "})) == password


def test_the_passphrase_is_kept_as_passwords_are(writer, settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    address, password = handed_over(writer, passphrase=RIGHT)
    assert the_link().passphrase.startswith("pbkdf2_sha256$")
    assert told(Browser().post(address, {"passphrase": RIGHT})) == password


def test_ten_wrong_passphrases_close_it(writer):
    address, _ = handed_over(writer, passphrase=RIGHT)
    answers = [Browser().post(address, {"passphrase": f"wrong {n}"}).status_code for n in range(10)]
    assert answers == [422] * 9 + [404]
    assert told(Browser().post(address, {"passphrase": RIGHT})) == ""
    assert (the_link().state, is_destroyed(the_link())) == (State.CLOSED, True)
    name = Operation.objects.get().by.name
    assert last_entries() == [(f"Whoever has the link of {name}", "hand-over link closed", "refused")]
    assert AuditEvent.objects.filter(kind="outcome")[0].detail == "A wrong passphrase was typed 10 times."


def test_the_tenth_try_may_still_be_right(writer):
    address, password = handed_over(writer, passphrase=RIGHT)
    for n in range(9):
        Browser().post(address, {"passphrase": f"wrong {n}"})
    assert told(Browser().post(address, {"passphrase": RIGHT})) == password


def test_a_try_is_counted_before_it_is_looked_at(writer, monkeypatch):
    """Else many at a time would be many more than ten; and one whose process dies would be free."""
    address, _ = handed_over(writer, passphrase=RIGHT)
    monkeypatch.setattr(links, "check_password", lambda *_: 1 / 0)
    for _ in range(10):
        with pytest.raises(ZeroDivisionError):
            Browser().post(address, {"passphrase": RIGHT})
    assert Browser().get(address).status_code == 404
    assert Browser().post(address, {"passphrase": RIGHT}).status_code == 404
    tasks.purge_secrets()
    assert (the_link().state, is_destroyed(the_link())) == (State.CLOSED, True)


def test_a_link_that_closes_while_the_passphrase_is_typed_is_gone(writer, monkeypatch):
    address, _ = handed_over(writer, passphrase=RIGHT)
    find = links.find

    def find_and_lose(token):
        link = find(token)
        HandoverLink.objects.update(state=State.CLOSED)
        return link

    monkeypatch.setattr(links, "find", find_and_lose)
    assert Browser().post(address, {"passphrase": RIGHT}).status_code == 404
    assert the_link().tries == 0


# --- Revoking, and what the maker sees ----------------------------------------------------------------------


def test_it_can_be_revoked(writer):
    address, _ = handed_over(writer)
    operation = Operation.objects.get()
    page = Page(writer.get(operation_url(operation.op_id)))
    form = page.form("link")
    assert ("step", "revoke") in form.buttons.values()
    answer = writer.post(form.action, form.fields | {"step": "revoke"})
    assert "Revoked unopened" in Page(answer).words
    assert Browser().post(address).status_code == 404
    assert is_destroyed(the_link())
    assert last_entries() == [(operation.by.name, "revoke hand-over link", "done")]
    assert (
        "It was over before you revoked it." in Page(writer.post(form.action, form.fields | {"step": "revoke"})).words
    )


@pytest.mark.parametrize("wanted", ["", "no-uuid", "11111111-1111-4111-8111-111111111111"])
def test_what_is_no_link_of_this_operation_cannot_be_revoked(writer, wanted):
    handed_over(writer)
    url = operation_url(Operation.objects.get().op_id)
    assert writer.post(url, {"step": "revoke", "link": wanted}).status_code == 404


def test_the_links_of_others_cannot_be_revoked(writer, signed_in):
    handed_over(writer)
    url = operation_url(Operation.objects.get().op_id)
    assert signed_in("admin").post(url, {"step": "revoke", "link": str(the_link().pk)}).status_code == 404
    assert the_link().state == State.OPEN


def test_when_it_was_opened_is_told_to_its_maker(writer, move_clock):
    address, _ = handed_over(writer)
    operation = Operation.objects.get()
    Browser().post(address)
    at = f"Opened {clock.told(the_link().ended_at, '%-d %b %Y, %H:%M')}"
    assert at in Page(writer.get(operation_url(operation.op_id))).words
    history = Page(writer.get(f"{new_url().removesuffix('new/')}{operation.target_id}/history/"))
    assert at in history.words
    assert history.href("Open") == operation_url(operation.op_id)
    who, action, outcome = last_entries()[0]
    assert (who, action, outcome) == (f"Whoever has the link of {operation.by.name}", "hand-over link opened", "done")
    assert ("outcome", "make hand-over link", "done") in trail()
    listed = Page(writer.get("/audit/")).words
    assert "Hand-over link opened" in listed


def test_the_trail_holds_no_secret(writer):
    address, password = handed_over(writer, passphrase=RIGHT)
    Browser().post(address, {"passphrase": "not this one"})
    Browser().post(address, {"passphrase": RIGHT})
    secret = (password, RIGHT, "not this one", address.split("/")[2])
    for event in AuditEvent.objects.all():
        assert not [word for word in secret if word in str(vars(event))]


# --- Rates --------------------------------------------------------------------------------------------------


def test_an_address_may_ask_30_times_a_minute(writer, move_clock):
    address, password = handed_over(writer)
    to_the_next_minute = 60 - time.time() % 60  # so that all of it happens within one
    move_clock(to_the_next_minute)
    for _ in range(30):
        assert Browser().get("/handover/guess/", REMOTE_ADDR="192.0.2.7").status_code == 404
    for asked in ("/handover/guess/", address):
        refused = Browser().post(asked, REMOTE_ADDR="192.0.2.7")
        assert (refused.status_code, refused["Retry-After"]) == (429, "60")
        assert "Too many tries" in Page(refused).words
    assert Browser().get(address, REMOTE_ADDR="192.0.2.8").status_code == 200
    move_clock(to_the_next_minute + 60)
    assert told(Browser().post(address, REMOTE_ADDR="192.0.2.7")) == password


def test_counts_are_forgotten_and_hold_no_address(visitor, move_clock):
    Browser().get("/handover/guess/", REMOTE_ADDR="192.0.2.7")
    assert "192.0.2" not in str(vars(HandoverKnock.objects.get()))
    move_clock(180)
    tasks.purge_secrets()
    assert not HandoverKnock.objects.exists()


@pytest.mark.parametrize(
    ("name", "initials"),
    [
        ("Maya Lind", "M.L."),
        ("Jan van den Berg", "J.B."),
        ("madonna", "M."),
        ("王秀英", "王."),
        ("", ""),
        ("<b> 1", ""),
    ],
)
def test_initials_are_all_that_is_told(name, initials):
    assert handover._initials(Operation(target_name=name)) == initials
