"""The search for users across customers: each person finds them where they may read, and learns of no other."""

import pytest

from customers.access import Access, Action, Answer, Verdict
from customers.gdap import reading
from customers.models import Customer, GdapGrant, Source
from partnerportal import clock
from partnerportal.models import Operator, TokenCache
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


def find(text, by):
    return across.find(text, by=by, grant=TokenCache.objects.filter(operator=by).latest("created_at"))


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
    grant = TokenCache.objects.get(operator=by)
    assert across.find("adele vance", by=by, grant=grant)
    with django_assert_num_queries(1):
        assert across.find("adele vance", by=by, grant=grant)


def test_a_directory_writer_alone_may_edit_and_not_list_so_finds_nobody(everywhere, cast):
    by = cast("outsider")
    Operator.objects.filter(pk=by.pk).update(groups=["writers"], groups_read_at=clock.now())
    by.refresh_from_db()
    GdapGrant.objects.create(tenant_id=tenant("contoso"), group_id="writers", level=GdapGrant.Level.EDIT)
    assert find("adele vance", by) is None
    GdapGrant.objects.create(tenant_id=tenant("contoso"), group_id="writers", level=GdapGrant.Level.VIEW)
    group = find("adele vance", by)
    assert (group.hits, group.not_shown) == ([], ("Contoso Trading",)), "Graph tells them nothing, so nobody is shown"


@pytest.mark.parametrize("old", ["groups", "snapshot", "never", "ended"])
def test_rights_that_are_too_old_to_prove_anything_prove_nothing(everywhere, old):
    by = groups_of("admin")
    assert find("adele vance", by)
    long_ago = clock.now() - 5 * UserIndex.FRESH
    if old == "groups":
        by.groups_read_at = long_ago
    elif old == "never":
        by.groups_read_at = None
    elif old == "snapshot":
        Source.objects.filter(pk="graph").update(last_good_at=long_ago)
    else:
        GdapGrant.objects.update(ends_at=long_ago)
    assert find("adele vance", by) is None


def test_a_walk_that_has_not_come_whole_is_not_searched(everywhere):
    by = groups_of("admin")
    UserIndex.objects.filter(tenant_id=tenant("contoso")).update(copy=0)
    assert find("adele vance", by) is None


def test_a_customer_that_left_the_list_takes_its_users_out_of_the_search(everywhere):
    by = groups_of("admin")
    Customer.objects.filter(pk=customer().pk).update(listed=False)
    assert find("adele vance", by) is None


def test_two_letters_look_for_customers_alone(everywhere):
    assert find("ad", groups_of("admin")) is None


def test_a_hit_is_a_use_so_the_index_stays(everywhere):
    before = clock.now() - UserIndex.UNUSED
    UserIndex.objects.update(used_at=before)
    find("adele vance", groups_of("admin"))
    assert UserIndex.objects.get(tenant_id=tenant("contoso")).used_at > before


# --- What the snapshot says is not enough -------------------------------------------------------------------


def test_whoever_has_just_left_the_group_finds_nobody_though_the_snapshot_still_has_them_in_it(
    everywhere, sandbox, signed_in, move_clock
):
    browser = signed_in("writer")
    groups_of("writer")
    assert seen_by(browser, "adele vance") == {tenant("contoso")}
    sandbox.state("remove_from_group", persona="writer", group="writers")
    move_clock(61)
    assert seen_by(browser, "adele vance") == set()
    assert "not shown" not in Page(browser.get(GO, {"q": "adele vance"})).words


def test_while_graph_is_silent_customers_are_found_and_their_users_are_not_named(everywhere, sandbox, move_clock):
    groups_of("admin")
    move_clock(61)  # since the walk that made the index has asked
    sandbox.fault("graph", "status", status=503, path=".*", times=0)
    page = Page(everywhere.get(GO, {"q": "contoso"}))
    assert any(link.href == users_url() for link in page.links)
    assert "Users of 1 customer not shown" in page.words
    assert "Adele" not in page.words
    said = Page(everywhere.htmx("GET", GO, {"q": "adele vance"})).words
    assert (
        "Users of 1 customer not shown, for we could not check just now if you may see them: Contoso Trading." in said
    )
    assert everywhere.get(GO, {"q": "adele vance", "open": "1"}).status_code == 200


def test_the_best_hits_are_checked_first_and_twenty_customers_at_most(everywhere, monkeypatch):
    by, asked = groups_of("admin"), []
    group_id = GdapGrant.objects.filter(tenant_id=tenant("contoso"), level=GdapGrant.Level.VIEW).first().group_id
    ids = [f"00000000-0000-4000-8000-{number:012}" for number in range(30)]
    for number, one in enumerate(ids):
        Customer.objects.create(key=one, tenant_id=one, name=f"Company {number}", sort_name="company", listed=True)
        GdapGrant.objects.create(tenant_id=one, group_id=group_id, level=GdapGrant.Level.VIEW)
        index = UserIndex.objects.create(tenant_id=one, copy=1)
        IndexedUser.objects.create(
            index=index,
            walk=1,
            user_id=one,
            sort_name=f"{number:02}",
            search_text="zebedee",
            display_name="Zebedee",
            user_principal_name="z@z.example",
        )

    def answers(*yes, otherwise=Answer.NO):
        def access_to(tenant_id, **_how):
            asked.append(tenant_id)
            answer = Answer.YES if ids.index(tenant_id) in yes else otherwise
            return Access(clock.now(), {Action.LIST: Verdict(Action.LIST, answer)})

        asked.clear()
        monkeypatch.setattr(across, "access_to", access_to)
        return find("zebedee", by)

    assert (len(answers(*range(30)).hits), sorted(asked)) == (5, ids[:5])
    found = answers(0, 1, 2, 3, 7)
    assert (len(found.hits), found.not_shown, set(asked)) == (5, (), set(ids[:8]))
    found = answers(25)
    assert (found.hits, len(found.not_shown), len(asked)) == ([], 10, 20)
    found = answers(otherwise=Answer.CANNOT_TELL)
    assert (found.hits, len(found.not_shown), len(asked)) == ([], 30, 5), "Graph is silent, so it is left alone"
