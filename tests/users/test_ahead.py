"""Pages that are kept for a minute: the next one, asked for while one is read, and those just shown."""

import json
from datetime import timedelta

import pytest
from django.urls import reverse

from partnerportal import clock, vault
from partnerportal.models import TokenCache
from partnerportal.sandbox import seed
from tests.pages import Page
from users.models import KeptPage, Operation, UserWalk
from users.tasks import purge_secrets

from .conftest import new_url, newcomer, tenant, users_url
from .test_table import Part, lists, look, rows

POLL = {"X-Poll": "1"}


def ahead_of(page: Part) -> str:
    """What portal.js asks for 300 ms after this page came; "" when nothing follows."""
    return page.page.attributes(id="table").get("data-ahead", "")


def ask_ahead(browser, page, status=204):
    answer = browser.get(ahead_of(page), headers=POLL)
    assert (answer.status_code, answer.content) == (status, b"")


@pytest.fixture
def first(admin, directory):
    """Page 1 of `medium`; what it asked is forgotten."""
    page = look(admin, users_url("medium"))
    directory.asked()
    return page


# --- How often Partner Center is asked ----------------------------------------------------------------------


def test_the_next_page_is_asked_for_once_and_then_shown_without_asking(admin, first, directory):
    ask_ahead(admin, first)
    ask_ahead(admin, first)
    assert len(directory.asked()) == 1
    second = look(admin, first.href("page-next"))
    assert directory.asked() == []
    everybody = sorted(directory.users("medium").values(), key=lambda user: (user.display_name.casefold(), user.id))
    assert rows(second) == [user.id for user in everybody if not user.deleted_at][25:50]


def test_all_pages_ahead_are_all_pages_and_no_call_more(admin, directory):
    page = look(admin, users_url("medium", "?size=200"))
    seen = [rows(page)]
    while ahead_of(page):
        ask_ahead(admin, page)
        page = look(admin, page.href("page-next"))
        seen.append(rows(page))
    assert [len(part) for part in seen] == [200, 200, 200, 200, 200, 185]
    assert len({user for part in seen for user in part}) == 1185
    assert len(lists(directory.asked())) == 6


def test_previous_shows_what_was_shown_a_moment_ago_without_asking(admin, first, directory):
    second = look(admin, first.href("page-next"))
    third = look(admin, second.href("page-next"))
    directory.asked()
    assert rows(look(admin, third.href("page-previous"))) == rows(second)
    back = look(admin, second.href("page-previous"))
    assert rows(back) == rows(first)
    assert directory.asked() == []
    assert not back.href("page-previous")


def test_the_address_of_page_one_for_the_browsers_back_asks_nobody(admin, first, directory):
    here = first.page.attributes(id="table")["data-here"]
    assert rows(look(admin, here)) == rows(first)
    assert directory.asked() == []
    assert first.href("page-next").partition("?")[0] == here.partition("?")[0]


def test_that_address_is_page_one_for_anybody_else_too(first, signed_in):
    page = look(signed_in("reader"), first.page.attributes(id="table")["data-here"])
    assert rows(page) == rows(first)
    assert "no longer there" not in page.words


@pytest.mark.parametrize(
    ("link", "headers", "queries"),
    [("page-next", {"HX-Request": "true"}, 6), ("data-here", {}, 10)],
    ids=["next, the table alone", "back, the whole page"],
)
def test_a_page_that_is_kept_takes_few_questions_to_the_database(
    admin, first, django_assert_max_num_queries, link, headers, queries
):
    ask_ahead(admin, first)
    url = first.href(link) if link == "page-next" else first.page.attributes(id="table")[link]
    with django_assert_max_num_queries(queries):
        assert admin.get(url, headers=headers).status_code == 200


def test_an_address_without_a_cursor_always_asks(admin, first, directory):
    look(admin, users_url("medium"))
    assert len(directory.asked()) == 1


@pytest.mark.parametrize("header", ["max-age=0", "no-cache"])
def test_reload_asks_anew(admin, first, directory, header):
    second = first.href("page-next")
    look(admin, second)
    directory.asked()
    assert admin.get(second, headers={"Cache-Control": header}).status_code == 200
    assert len(directory.asked()) == 1


def test_refresh_asks_anew_and_leads_to_the_same_address(admin, first, directory):
    second = look(admin, first.href("page-next"))
    directory.users("medium")[rows(second)[0]].usage_location = "MT"
    directory.sandbox.running.cloud.world.customers[tenant("medium")].directory._views.clear()
    directory.asked()
    answer = admin.get(second.href("Refresh"))
    assert (answer.status_code, answer["Location"]) == (302, first.href("page-next"))
    assert len(directory.asked()) == 1
    assert "Malta" in look(admin, answer["Location"]).words
    assert directory.asked() == []


# --- For how long -------------------------------------------------------------------------------------------


def test_a_kept_page_is_shown_for_a_minute_and_then_never_again(admin, first, directory, move_clock):
    ask_ahead(admin, first)
    directory.asked()
    move_clock(57)
    look(admin, first.href("page-next"))
    assert not lists(directory.asked())
    move_clock(61)
    look(admin, first.href("page-next"))
    assert len([line for line in directory.asked() if line.endswith("/users")]) == 1


def test_time_begins_before_the_question_and_showing_a_page_does_not_lengthen_it(admin, first, move_clock):
    ask_ahead(admin, first)
    asked_at = KeptPage.objects.get(page=2).asked_at
    move_clock(50)
    look(admin, first.href("page-next"))
    assert KeptPage.objects.get(page=2).asked_at == asked_at


def test_beat_destroys_what_is_too_old(admin, first, move_clock):
    ask_ahead(admin, first)
    purge_secrets()
    assert KeptPage.objects.count() == 2
    move_clock(61)
    purge_secrets()
    assert KeptPage.objects.count() == 0
    assert UserWalk.objects.count() == 1


@pytest.mark.parametrize("broken", ["Operation.purge_secrets", "links.expire", "OnboardingRun.forget"])
def test_what_beat_cannot_destroy_keeps_none_of_the_rest(admin, first, move_clock, monkeypatch, caplog, broken):
    def fails():
        raise OverflowError("date value out of range")

    monkeypatch.setattr(f"users.tasks.{broken}", fails)
    ask_ahead(admin, first)
    move_clock(61)
    purge_secrets()
    assert KeptPage.objects.count() == 0
    assert "date value out of range" in caplog.text


def test_a_write_of_ours_makes_everybodys_kept_pages_worthless(admin, directory, signed_in):
    reader = signed_in("reader")
    mine, theirs = look(admin, users_url()), look(reader, users_url())
    ask_ahead(admin, mine)
    ask_ahead(reader, theirs)
    directory.asked()
    assert "was created" in Page(admin.post(new_url(), newcomer(admin, display_name="Aaron First"))).words
    directory.asked()
    for browser, page in ((admin, mine), (reader, theirs)):
        look(browser, page.href("page-next"))
        assert "partnercenter GET /v1/customers/…/users" in directory.asked()


def test_an_answer_that_was_under_way_during_a_write_is_worthless_too(admin, first, directory, cast):
    ask_ahead(admin, first)
    page = KeptPage.objects.get(page=2)
    walk = UserWalk.objects.get()
    Operation.objects.create(
        op_id=seed.SPECIAL["contoso"],
        kind="patch",
        by=walk.operator,
        customer=walk.customer,
        tenant_id=walk.customer.tenant_id,
        sent_at=page.asked_at - timedelta(seconds=1),
        decided_at=page.asked_at,
        state="done",
    )
    directory.asked()
    admin.get(first.href("page-next"))
    assert len([line for line in directory.asked() if line.endswith("/users")]) == 1
    Operation.objects.all().delete()


# --- Whose --------------------------------------------------------------------------------------------------


def test_a_kept_page_belongs_to_one_sign_in_and_goes_with_it(admin, first, signed_in, directory):
    ask_ahead(admin, first)
    other = signed_in("admin")
    assert "no longer there" in look(other, first.href("page-next")).words
    assert other.get(ahead_of(first), headers=POLL).status_code == 204
    grant = UserWalk.objects.order_by("used_at")[0].grant_id
    admin.post("/signout/")
    assert not TokenCache.objects.filter(pk=grant).exists()
    assert not KeptPage.objects.filter(walk__grant_id=grant).exists()


def test_kept_pages_are_sealed_for_their_place(admin, first):
    ask_ahead(admin, first)
    one, two = KeptPage.objects.order_by("page")
    with pytest.raises(vault.WrongPlace):
        vault.open("page", f"{one.walk_id}.1", bytes(two.sealed))
    users, token = json.loads(vault.open("page", f"{two.walk_id}.2", bytes(two.sealed)))
    assert len(users) == 25
    for secret in (token, users[0]["user_principal_name"]):
        assert secret.encode() not in bytes(two.sealed)


def test_a_page_that_does_not_open_is_asked_for_again(admin, first, directory):
    ask_ahead(admin, first)
    KeptPage.objects.update(sealed=b"x")
    directory.asked()
    assert len(rows(look(admin, first.href("page-next")))) == 25
    assert len(directory.asked()) == 1


def test_rights_are_checked_for_a_kept_page_as_for_any(admin, first, sandbox, move_clock, directory):
    ask_ahead(admin, first)
    sandbox.state("terminate_relationship", tenant_id=tenant("medium"))
    move_clock(59)
    KeptPage.objects.update(asked_at=clock.now())
    move_clock(62)
    directory.asked()
    assert admin.get(first.href("page-next")).status_code == 403
    assert not lists(directory.asked())


def test_nobody_looks_ahead_where_they_may_not_look(admin, first, sandbox, move_clock):
    sandbox.state("terminate_relationship", tenant_id=tenant("medium"))
    move_clock(62)
    ask_ahead(admin, first)
    assert not KeptPage.objects.filter(page=2).exists()


# --- When it does not work ----------------------------------------------------------------------------------


THROTTLED = {"kind": "throttle", "per_second": 0, "retry_after": 57}


@pytest.mark.parametrize("kind", [THROTTLED, {"kind": "status", "status": 500}])
def test_a_trouble_is_told_nobody_and_asks_the_browser_to_stop(admin, first, sandbox, kind):
    sandbox.fault("partnercenter", path="/users$", times=0, **kind)
    ask_ahead(admin, first, status=202)
    assert not KeptPage.objects.filter(page=2).exists()
    sandbox.no_faults()
    assert len(rows(look(admin, first.href("page-next")))) == 25


def test_looking_ahead_leads_one_page_ahead_and_no_further(admin, first):
    ask_ahead(admin, first)
    walk = UserWalk.objects.get()
    tokens = json.loads(vault.open("walk", str(walk.pk), bytes(walk.sealed_tokens)))
    assert len(tokens) == 1
    answer = admin.get(ahead_of(first).replace(".2%3A", ".3%3A"), headers=POLL)
    assert answer.status_code == 204
    assert set(KeptPage.objects.values_list("page", flat=True)) == {1, 2}


def test_there_is_nothing_ahead_of_the_last_page(admin):
    assert not ahead_of(look(admin, users_url("one_user")))
    assert not KeptPage.objects.exists()


def test_looking_ahead_keeps_no_session_alive(admin, first, move_clock):
    for minutes in (10, 20, 29):
        move_clock(minutes * 60)
        admin.get(ahead_of(first))
    move_clock(31 * 60)
    assert admin.get(reverse("customers")).status_code == 302
