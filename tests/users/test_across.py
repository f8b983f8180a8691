"""The search for users across customers: each person finds them where they may read, and learns of no other."""

import pytest

from customers.gdap import reading
from customers.models import Customer, GdapGrant, Source
from partnerportal import clock
from partnerportal.models import Operator
from tests.customers.gdap_reads import grant_of, read_as
from tests.pages import Page
from users import across
from users.models import IndexedUser, UserIndex

from .conftest import tenant, timeless, users_url
from .test_index import customer, read

GO = "/go/"


@pytest.fixture
def everywhere(admin):
    """The admin's browser; Contoso's and `nested_only`'s users are read, and so is the GDAP snapshot."""
    read_as("admin")
    for key in ("contoso", "nested_only"):
        read(key)
    return admin


def groups_of(persona):
    reading.read_groups(str(grant_of(persona).pk))
    return Operator.objects.get(pk=grant_of(persona).operator_id)


def seen_by(browser, text):
    """The users that "Go to customer" offers, by the customer of their address."""
    links = [link.href for link in Page(browser.get(GO, {"q": text})).links]
    return {href.split("/")[2] for href in links if "/users/" in href and not href.endswith("/users/")}


def test_users_of_every_indexed_customer_stand_below_the_customers_with_theirs(everywhere):
    page = Page(everywhere.get(GO, {"q": "adele vance"}))
    assert page.words.count("Users") >= 1
    assert "Adele Vance" in page.words
    assert "Contoso Trading" in page.words
    option = Page(everywhere.htmx("GET", GO, {"q": "adele vance"})).attributes(role="option")
    assert option["href"].startswith(users_url())


@pytest.mark.parametrize(
    ("persona", "expected"),
    [
        ("admin", {"contoso", "nested_only"}),
        ("writer", {"contoso"}),
        ("reader", {"contoso"}),
        ("nested", {"nested_only"}),
        ("outsider", set()),
    ],
)
def test_each_person_finds_users_where_they_may_read_them_and_nowhere_else(everywhere, signed_in, persona, expected):
    browser = signed_in(persona)
    groups_of(persona)
    seen = seen_by(browser, ".example")
    IndexedUser.objects.filter(index__tenant_id=tenant("contoso")).update(sort_name="zzz")
    seen |= seen_by(browser, ".example")
    assert seen == {tenant(key) for key in expected}


def test_to_an_outsider_the_page_is_the_same_with_and_without_an_index(everywhere, signed_in):
    outsider = signed_in("outsider")
    groups_of("outsider")
    with_index = outsider.get(GO, {"q": "adele vance"})
    UserIndex.objects.all().delete()
    assert timeless(with_index) == timeless(outsider.get(GO, {"q": "adele vance"}))


def test_rights_and_rows_are_one_query(everywhere, django_assert_num_queries):
    by = groups_of("admin")
    with django_assert_num_queries(1):
        assert across.find("adele vance", by=by)


def test_a_directory_writer_alone_may_edit_and_not_list_so_finds_nobody(everywhere, cast):
    by = cast("outsider")
    Operator.objects.filter(pk=by.pk).update(groups=["writers"], groups_read_at=clock.now())
    by.refresh_from_db()
    GdapGrant.objects.create(tenant_id=tenant("contoso"), group_id="writers", level=GdapGrant.Level.EDIT)
    assert across.find("adele vance", by=by) is None
    GdapGrant.objects.create(tenant_id=tenant("contoso"), group_id="writers", level=GdapGrant.Level.VIEW)
    assert across.find("adele vance", by=by)


@pytest.mark.parametrize("old", ["groups", "snapshot", "never", "ended"])
def test_rights_that_are_too_old_to_prove_anything_prove_nothing(everywhere, old):
    by = groups_of("admin")
    assert across.find("adele vance", by=by)
    long_ago = clock.now() - 5 * UserIndex.FRESH
    if old == "groups":
        by.groups_read_at = long_ago
    elif old == "never":
        by.groups_read_at = None
    elif old == "snapshot":
        Source.objects.filter(pk="graph").update(last_good_at=long_ago)
    else:
        GdapGrant.objects.update(ends_at=long_ago)
    assert across.find("adele vance", by=by) is None


def test_a_walk_that_has_not_come_whole_is_not_searched(everywhere):
    by = groups_of("admin")
    UserIndex.objects.filter(tenant_id=tenant("contoso")).update(copy=0)
    assert across.find("adele vance", by=by) is None


def test_a_customer_that_left_the_list_takes_its_users_out_of_the_search(everywhere):
    by = groups_of("admin")
    Customer.objects.filter(pk=customer().pk).update(listed=False)
    assert across.find("adele vance", by=by) is None


def test_two_letters_look_for_customers_alone(everywhere):
    assert across.find("ad", by=groups_of("admin")) is None


def test_a_hit_is_a_use_so_the_index_stays(everywhere):
    before = clock.now() - UserIndex.UNUSED
    UserIndex.objects.update(used_at=before)
    across.find("adele vance", by=groups_of("admin"))
    assert UserIndex.objects.get(tenant_id=tenant("contoso")).used_at > before
