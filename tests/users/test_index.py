"""The index of a customer's users: read whole or not at all, by one worker at a time, and dropped when unused."""

from datetime import timedelta

import pytest
from django.db import connection

from customers.models import Customer
from partnerportal import clock
from partnerportal.models import TokenCache
from partnerportal.upstream.partner_center import CustomerUser, PartnerCenter, UserPage
from tests.customers.gdap_reads import grant_of
from users import everyone, index
from users.models import IndexedUser, UserIndex
from users.tasks import keep_index, start_reading

from .conftest import tenant


def customer(key="contoso"):
    return Customer.objects.get(tenant_id=tenant(key))


def asked(key="contoso", persona="admin"):
    """A walk that somebody has asked for and nobody has begun."""
    grant = grant_of(persona)
    found, is_new = index.request_walk(customer(key), by=grant.operator, grant=grant)
    assert is_new
    return found


def read(key="contoso", persona="admin"):
    """One walk, as the worker does it."""
    found = asked(key, persona)
    index.carry_out(found.pk)
    found.refresh_from_db()
    return found


def copy_of(found):
    """The ids of the users in which the search looks."""
    return set(IndexedUser.objects.filter(index=found, walk=found.copy).values_list("user_id", flat=True))


def active(directory, key="contoso"):
    return {user.id for user in directory.users(key).values() if not user.deleted_at}


def everybody(directory, key="contoso"):
    """The ids of all users, deleted ones too."""
    return set(directory.users(key))


# --- A walk -------------------------------------------------------------------------------------------------


def test_all_users_are_read_in_pages_of_five_hundred_as_the_operator(admin, directory, sandbox):
    found = read("medium")
    assert copy_of(found) == everybody(directory, "medium")
    assert (found.users, found.open, found.problem) == (1200, False, "")
    lists = [line for line in sandbox.journal("partnercenter") if line["path"].endswith("/users")]
    assert len(lists) == 4  # three pages of active users, one of deleted ones
    assert {line["subject"] for line in lists} == {str(found.by.oid)}


@pytest.mark.only_on("postgresql")
def test_postgresql_knows_at_once_how_many_users_there_are_to_search_in(admin):
    read("medium")
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE oid = 'users_indexeduser'::regclass")
        assert cursor.fetchone() == (1200,)


def test_names_and_ids_are_kept_and_nothing_else(admin, directory):
    read()
    assert {field.name for field in IndexedUser._meta.get_fields()} == {
        *("id", "index", "walk", "user_id", "deleted", "display_name", "user_principal_name"),
        *("sort_name", "search_text"),
    }
    person = directory.special("plain")
    row = IndexedUser.objects.get(user_id=person.id)
    assert (row.display_name, row.user_principal_name) == (person.display_name, person.upn)


def test_a_second_walk_replaces_the_first_and_leaves_no_row_of_it(admin, directory, sandbox):
    first = read()
    before = copy_of(first)
    gone = directory.users().pop(directory.special("plain").id)  # for good
    sandbox.running.cloud.world.customers[tenant("contoso")].directory._views.clear()
    second = read()
    assert second.copy > first.copy
    assert copy_of(second) == everybody(directory) == before - {gone.id}
    assert set(IndexedUser.objects.values_list("walk", flat=True)) == {second.copy}


@pytest.mark.parametrize("pages_before", [0, 1, 2])
def test_a_walk_that_breaks_off_leaves_the_copy_of_before(admin, monkeypatch, pages_before):
    before = read("medium")
    kept = copy_of(before)

    def broken(self, *args, **kwargs):
        whole = all_users(self, *args, **kwargs)
        for _ in range(pages_before):
            yield next(whole)
        raise everyone.Ended("It broke off.")

    all_users = PartnerCenter.all_users
    monkeypatch.setattr(PartnerCenter, "all_users", broken)
    after = read("medium")
    assert (after.problem, after.open, after.copy, after.read_at) == (
        "It broke off.",
        False,
        before.copy,
        before.read_at,
    )
    assert copy_of(after) == kept
    assert IndexedUser.objects.count() == len(kept)


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 500}, {"kind": "status", "status": 403}])
def test_what_upstream_says_is_told_and_the_copy_stays(admin, sandbox, fault):
    before = read()
    sandbox.fault("partnercenter", path="/users$", times=0, **fault)
    after = read()
    assert after.problem
    assert (after.copy, after.open) == (before.copy, False)
    assert len(copy_of(after)) == before.users


def test_a_short_pause_that_partner_center_asks_for_is_kept_and_the_walk_goes_on(admin, sandbox, monkeypatch):
    slept = []
    monkeypatch.setattr("partnerportal.upstream.patience.time.sleep", slept.append)
    sandbox.fault("partnercenter", path="/users$", kind="throttle", per_second=0, retry_after=5, times=1)
    assert read("medium").users == 1200
    assert len(slept) == 1
    assert 0 < slept[0] < 10


def test_a_long_pause_ends_the_walk(admin, sandbox):
    sandbox.fault("partnercenter", path="/users$", kind="throttle", per_second=0, retry_after=300, times=0)
    assert "slow down" in read().problem


def test_a_continuation_that_is_no_longer_known_begins_the_walk_again_once(admin, sandbox):
    sandbox.fault("partnercenter", path="/users$", query="seekOperation", kind="status", status=400, times=1)
    found = read("medium")
    assert (found.users, found.problem) == (1200, "")
    sandbox.fault("partnercenter", path="/users$", query="seekOperation", kind="status", status=400, times=0)
    assert read("medium").problem
    assert IndexedUser.objects.count() == 1200


def test_a_page_that_comes_twice_brings_each_user_once(admin, monkeypatch):
    page = UserPage(
        tuple(CustomerUser(f"{n:08}-0000-4000-8000-000000000000", f"u{n}@x.example", "U") for n in range(3))
    )
    monkeypatch.setattr(PartnerCenter, "all_users", lambda *_, **__: iter([page, page]))
    assert read().users == 3


def test_names_that_no_column_takes_are_made_to_fit(admin, monkeypatch):
    page = UserPage((CustomerUser("00000001-0000-4000-8000-000000000000", "u" * 9000, "a\x00b" * 900),))
    monkeypatch.setattr(PartnerCenter, "all_users", lambda *_, **__: iter([page]))
    assert read().users == 1
    assert IndexedUser.objects.get().display_name.startswith("a�b")


# --- One worker at a time -----------------------------------------------------------------------------------


def test_two_who_ask_get_one_walk(admin, signed_in):
    found = asked()
    signed_in("reader")
    other = grant_of("reader")
    same, is_new = index.request_walk(customer(), by=other.operator, grant=other)
    assert (same.pk, is_new, same.by_id) == (found.pk, False, found.by_id)


def test_a_walk_that_a_worker_holds_is_nobody_elses(admin):
    found = asked()
    assert UserIndex.claim(found.pk)
    assert UserIndex.claim(found.pk) is None


def test_a_worker_that_was_overtaken_stores_nothing_more_and_the_two_are_not_mixed(admin, directory, move_clock):
    """The first one stalls after a page (F8); the second does the whole walk; the first wakes up."""
    found = asked("medium")
    first = UserIndex.claim(found.pk)
    pages = everyone.pages(first.tenant_id, grant=first.grant)
    index._store(first, next(pages).users)
    move_clock(UserIndex.LEASE.total_seconds() + 1)
    index.carry_out(found.pk)
    found.refresh_from_db()
    with pytest.raises(index.LeaseLost):
        index._store(first, next(pages).users)
    with pytest.raises(index.LeaseLost):
        index._swap(first, clock.now())
    index._broke_off(first, "too late")
    found.refresh_from_db()
    assert (found.copy > first.fence, found.problem, found.users) == (True, "", 1200)
    assert copy_of(found) == everybody(directory, "medium")
    assert IndexedUser.objects.count() == 1200


def test_what_a_killed_worker_has_left_is_never_searched_and_goes_with_the_next_walk(admin, move_clock):
    found = asked("medium")
    dead = UserIndex.claim(found.pk)
    index._store(dead, next(everyone.pages(dead.tenant_id, grant=dead.grant)).users)
    found.refresh_from_db()
    assert copy_of(found) == set()
    move_clock(UserIndex.LEASE.total_seconds() + 1)
    index.carry_out(found.pk)
    assert not IndexedUser.objects.filter(walk=dead.fence).exists()


def test_a_fault_of_ours_closes_the_walk(admin, monkeypatch):
    monkeypatch.setattr(index, "_row", lambda *_: 1 / 0)
    found = read()
    assert (found.open, found.problem) == (False, index.OUR_FAULT)


# --- Whose token --------------------------------------------------------------------------------------------


def test_signing_out_ends_the_walk_before_the_next_page(admin, sandbox):
    found = asked("medium")
    claimed = UserIndex.claim(found.pk)
    pages = everyone.pages(claimed.tenant_id, grant=claimed.grant)
    next(pages)
    admin.post("/signout/")
    with pytest.raises(everyone.Ended):
        next(pages)


def test_a_walk_whose_owner_has_signed_out_is_closed_or_taken_over_by_who_asks_next(admin, signed_in):
    found = asked()
    TokenCache.objects.all().delete()
    index.carry_out(found.pk)
    found.refresh_from_db()
    assert (found.open, found.problem) == (False, index.SIGNED_OUT)
    signed_in("admin")
    stuck = asked()
    TokenCache.objects.all().delete()
    signed_in("reader")
    assert asked(persona="reader").fence > stuck.fence
    index.carry_out(found.pk)
    found.refresh_from_db()
    assert (found.users, found.problem) == (48, "")


def test_who_lost_the_role_meanwhile_reads_nobody(admin, sandbox, move_clock):
    found = asked()
    sandbox.state("terminate_relationship", tenant_id=tenant("contoso"))
    move_clock(62)
    index.carry_out(found.pk)
    found.refresh_from_db()
    assert found.problem == index.NO_ROLE
    assert not IndexedUser.objects.exists()


# --- Beat ---------------------------------------------------------------------------------------------------


@pytest.fixture
def nudged(monkeypatch):
    """The walks that a worker is told of."""
    told = []
    monkeypatch.setattr("users.tasks.read_users.delay", told.append)
    return told


def test_asking_tells_the_worker_once_after_the_commit(admin, nudged, django_capture_on_commit_callbacks):
    grant = grant_of("admin")
    with django_capture_on_commit_callbacks(execute=True):
        found = start_reading(customer(), by=grant.operator, grant=grant)
        assert nudged == []
        start_reading(customer(), by=grant.operator, grant=grant)
    assert nudged == [found.pk]


def test_a_lost_message_is_made_good_after_a_minute(admin, nudged, move_clock):
    found = asked()
    keep_index()
    assert nudged == []
    move_clock(61)
    keep_index()
    keep_index()
    assert nudged == [found.pk]


def test_a_walk_from_before_a_clock_was_put_right_holds_nobody_up(admin, nudged):
    found = asked()
    assert UserIndex.claim(found.pk)  # and dies
    ahead = clock.now() + timedelta(days=1)
    UserIndex.objects.update(leased_until=ahead, published_at=ahead)
    keep_index()
    keep_index()
    assert nudged == [found.pk]
    index.carry_out(found.pk)
    found.refresh_from_db()
    assert (found.open, found.copy, found.is_old) == (False, found.fence, False)
    found.read_at = ahead
    assert found.is_old


def test_an_index_in_which_nobody_searched_for_seven_days_is_dropped(admin, move_clock):
    found = read()
    other = read("one_user")
    move_clock(timedelta(days=7).total_seconds() - 60)
    keep_index()
    assert UserIndex.objects.count() == 2
    other.use()
    move_clock(timedelta(days=7).total_seconds() + 60)
    keep_index()
    assert list(UserIndex.objects.values_list("tenant_id", flat=True)) == [other.tenant_id]
    assert not IndexedUser.objects.filter(index_id=found.pk).exists()


def test_a_walk_into_an_index_that_was_dropped_stores_nothing(admin, move_clock):
    claimed = UserIndex.claim(asked().pk)
    UserIndex.objects.update(used_at=clock.now() - UserIndex.UNUSED)
    keep_index()
    with pytest.raises(index.LeaseLost):
        index._store(claimed, [])
    assert not IndexedUser.objects.exists()
