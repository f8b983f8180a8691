"""The search inside a customer: what is found, what the page says of its age, and who learns nothing of it."""

import pytest
from django.urls import reverse

from partnerportal import clock
from partnerportal.models import AuditEvent
from tests.customers.gdap_reads import grant_of
from tests.pages import Page
from users import find, index
from users.models import IndexedUser, UserIndex

from .conftest import tenant, timeless, user_url, users_url
from .test_index import asked, read


def search_url(key="contoso", text=None):
    return reverse("users-search", args=[tenant(key)]) + ("" if text is None else f"?q={text}")


def ids(answer):
    """The users on a page of the search, in order."""
    return [one["id"][4:] for tag, one in Page(answer).tags if tag == "tr" and one.get("id", "").startswith("row-")]


@pytest.fixture
def indexed(admin):
    """The admin's browser, with Contoso's users read."""
    read()
    return admin


# --- Inside a customer --------------------------------------------------------------------------------------


def test_before_anybody_has_asked_the_page_offers_to_read_and_a_press_does(admin):
    page = Page(admin.get(search_url(text="adele")))
    assert "have not been read for the search" in page.words
    [form] = [form for form in page.forms if "Search all users of this customer" in form.buttons]
    answer = admin.post(form.action, form.fields)
    assert (answer.status_code, answer["Location"]) == (303, search_url(text="adele"))
    waiting = Page(admin.get(answer["Location"]))
    assert "The users are being read: 0 so far." in waiting.words
    assert waiting.attributes(id="found")["hx-trigger"] == "tick from:body"
    assert AuditEvent.objects.filter(action="read users for the search", tenant_id=tenant("contoso")).count() == 2
    index.carry_out(UserIndex.objects.get().pk)
    page = Page(admin.get(answer["Location"]))
    assert "hx-trigger" not in page.attributes(id="found")
    assert "Adele Vance" in page.words


def test_a_second_press_while_it_is_read_asks_nothing_more(admin):
    for _ in range(2):
        assert admin.post(search_url(), {"q": ""}).status_code == 303
    assert AuditEvent.objects.filter(action="read users for the search", kind="intent").count() == 1


@pytest.mark.parametrize("text", ["adele vance", "ADELE", "vance adele", "vanc", "ádèlé", "Adele.Vance@contoso"])
def test_any_part_of_a_name_or_user_name_finds_without_case_or_accents(indexed, directory, text):
    [adele] = [user for user in directory.users().values() if user.display_name == "Adele Vance"]
    assert ids(indexed.get(search_url(text=text))) == [adele.id]


def test_an_id_finds_its_user_however_it_is_written(indexed, directory):
    user = directory.special("plain")
    assert ids(indexed.get(search_url(text=user.id.upper()))) == [user.id]


def test_the_answer_is_what_a_plain_look_at_all_users_would_give(indexed, directory):
    found = ids(indexed.get(search_url(text="contosotrading")))
    assert set(found) == {user.id for user in directory.users().values() if "contosotrading" in user.upn.lower()}
    assert len(found) > 40


def test_a_hit_leads_to_the_live_user_and_the_page_says_how_old_the_copy_is_and_what_is_true(indexed, directory):
    page = Page(indexed.get(search_url(text="adele")))
    [adele] = [user for user in directory.users().values() if user.display_name == "Adele Vance"]
    assert page.href("Adele Vance") == user_url(adele.id)
    assert "48 users, deleted ones among them, read" in page.words
    assert "The live list is the truth" in page.words
    assert page.href("The live list") == users_url()


def test_the_list_stays_the_default_and_leads_to_the_search(indexed):
    page = Page(indexed.get(users_url()))
    assert page.href("Search all") == search_url()
    assert Page(indexed.get(search_url())).attributes(id="q")["autofocus"] == ""


def test_a_deleted_user_is_found_by_the_name_it_had_marked_and_with_the_way_to_restore(admin, signed_in, directory):
    gone = directory.special("deleted")
    gone.upn = f"{gone.id.replace('-', '')}gona.deleted@contosotrading.onmicrosoft.example"
    read()
    answer = admin.get(search_url(text="gona.deleted@contoso"))
    page = Page(answer)
    assert ids(answer) == [gone.id]
    assert f"{gone.display_name} Deleted" in page.words
    assert "gona.deleted@contosotrading.onmicrosoft.example" in page.words
    assert gone.upn not in page.html
    assert page.href(gone.display_name) == ""  # there is no page of a deleted user
    restore = page.href(f"Restore {gone.display_name}")
    assert restore == reverse("user-restore", args=[tenant("contoso"), gone.id])
    assert admin.get(restore).status_code == 200
    assert "Restore" not in [link.words[:7] for link in Page(signed_in("reader").get(search_url(text="gona"))).links]


def test_nobody_found_is_said_with_what_it_means(indexed):
    words = Page(indexed.get(search_url(text="vinyard"))).words
    assert "Nobody matches “vinyard”" in words
    assert "is on the live list alone" in words


@pytest.mark.parametrize("text", ["a", "%", '"', "*", "%00", "%00%00", " "])
def test_what_would_find_everybody_or_nobody_is_no_fault(indexed, text):
    assert indexed.get(search_url(text=text)).status_code == 200


@pytest.mark.parametrize("text", ['" OR "', "NEAR(a b)", "search_text:adele", "ade*", "%25", "a' OR 1=1 --"])
def test_nothing_typed_is_an_operator_of_the_database(indexed, text):
    assert ids(indexed.get(search_url(text=text))) == []


def test_more_than_a_hundred_are_not_all_shown_and_that_is_said(admin):
    read("medium")
    answer = admin.get(search_url("medium", "northwind"))
    assert len(ids(answer)) == find.MOST
    assert "The first 100. Type more of the name to see fewer" in Page(answer).words


def test_typing_brings_the_results_alone(indexed):
    part = Page(indexed.htmx("GET", search_url(text="adele")))
    assert "<html" not in part.html
    assert part.attributes(id="found")
    assert part.html.count("1 user found") >= 2


def test_a_search_asks_no_upstream_once_the_rights_are_known(indexed, directory):
    indexed.get(search_url(text="adele"))
    directory.asked()
    indexed.get(search_url(text="adele"))
    assert directory.asked() == []


def test_an_old_copy_is_searched_and_read_anew_behind_the_page_with_the_sign_in_of_who_searches(
    indexed, signed_in, move_clock
):
    move_clock(UserIndex.FRESH.total_seconds() + 60)
    reader = signed_in("reader")
    page = Page(reader.get(search_url(text="adele")))
    assert "Adele Vance" in page.words
    assert "Until all are here, what was read before is searched." in page.words
    assert UserIndex.objects.get().by == grant_of("reader").operator


def test_a_walk_that_broke_off_is_told_and_not_tried_again_with_every_letter(indexed, sandbox):
    UserIndex.objects.update(read_at=clock.now() - 2 * UserIndex.FRESH)
    sandbox.fault("partnercenter", path="/users$", times=0, kind="status", status=500)
    index.carry_out(asked().pk)
    page = Page(indexed.get(search_url(text="adele")))
    assert "The users could not all be read" in page.words
    assert "Adele Vance" in page.words
    assert not UserIndex.objects.get().open
    assert "Try again" in page.words


def test_names_that_break_careless_pages_stay_text(indexed):
    row = IndexedUser.objects.filter(walk=UserIndex.objects.get().copy)[0]
    row.display_name, row.search_text = "<script>alert(1)</script>", "scripted"
    row.save()
    assert "<script>alert" not in indexed.get(search_url(text="scripted")).content.decode()


# --- Who may --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("persona", ["outsider", "nested"])
def test_who_may_not_see_the_users_cannot_tell_whether_there_is_an_index(admin, signed_in, persona):
    stranger = signed_in(persona)
    url = search_url(text="adele")
    before = stranger.get(url)
    posted = stranger.post(search_url(), {"q": "adele"})
    assert (before.status_code, posted.status_code) == (403, 403)
    assert not UserIndex.objects.exists()
    read()
    after = stranger.get(url)
    assert after.status_code == 403
    assert timeless(after) == timeless(before)
    assert "adele vance" not in after.content.decode().lower()


def test_who_lost_the_role_sees_nothing_a_minute_later(indexed, sandbox, move_clock):
    sandbox.state("terminate_relationship", tenant_id=tenant("contoso"))
    move_clock(62)
    answer = indexed.get(search_url(text="adele"))
    assert answer.status_code == 403
    assert ids(answer) == []


def test_while_graph_is_silent_nobody_searches_for_the_copy_could_not_refuse(indexed, sandbox, move_clock):
    sandbox.fault("graph", kind="status", status=503, times=0)
    move_clock(62)
    answer = indexed.get(search_url(text="adele"))
    assert answer.status_code == 403
    assert "could not check" in Page(answer).words.lower()
