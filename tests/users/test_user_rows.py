"""The rows of users are written by hand: nothing of a user gets out of its place, and each right has its action."""

import uuid
from datetime import timedelta
from itertools import zip_longest

import pytest
from django.template import Context
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customers.models import Customer
from partnerportal import clock
from partnerportal.upstream.partner_center import CustomerUser
from tests.pages import Page, as_read
from users.models import IndexedUser
from users.templatetags.user_rows import found_rows, user_rows

from .test_table import POLYGLOTS

ID = str(uuid.UUID(int=7))
KEY = str(uuid.UUID(int=8))
RIGHTS = ("may_several", "may_change", "may_reset", "may_create", "may_delete", "may_restore")
ANY = st.text(max_size=40) | st.sampled_from(POLYGLOTS)


def written(rows, *users, **may):
    """The rows as a page has them, for somebody with these rights."""
    return Page(str(rows(Context({"customer": Customer(key=KEY), **dict.fromkeys(RIGHTS, False), **may}), users)))


def live(name="Maya Lind", user_name="maya@contoso.example", **more):
    return CustomerUser(id=ID, display_name=name, user_principal_name=user_name, **more)


def found(name="Maya Lind", user_name="maya@contoso.example", **more):
    return IndexedUser(user_id=ID, display_name=name, user_principal_name=user_name, **more)


def frame(page):
    """The tags in order, each with the names of its attributes; not those that show a hidden character."""
    return [(tag, sorted(told)) for tag, told in page.tags if told.get("class") != "ctl"]


def labels(page):
    return [told["aria-label"] for _, told in page.tags if "aria-label" in told]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(ANY, ANY, ANY, ANY, ANY, st.booleans())
def test_whatever_a_user_is_called_the_row_has_the_same_tags_and_says_it(name, upn, location, state, domain, deleted):
    may = dict.fromkeys(RIGHTS, True)
    gone_at = clock.now() if deleted else None
    state = "blocked" if state.lower() in ("active", "inactive") else state  # which are shown in other words
    domain = "" if domain == "federated" else domain
    name, upn, location = f"N{name}", f"u{upn}@x", f"L{location}"  # nobody without one
    hostile = live(name, upn, usage_location=location, state=state, domain_type=domain, soft_deleted_at=gone_at)
    plain = live(usage_location="NL", state="blocked", soft_deleted_at=gone_at)
    page = written(user_rows, hostile, **may)
    assert frame(page) == frame(written(user_rows, plain, **may))
    in_index = written(found_rows, found(name, upn, deleted=deleted), **may)
    assert frame(in_index) == frame(written(found_rows, found(deleted=deleted), **may))
    assert f"Select {as_read(name)}" in labels(page)
    if not deleted:
        for shown in (page, in_index):
            assert f"Actions for {as_read(name)}" in labels(shown)
            assert {told["data-copy"] for _, told in shown.tags if "data-copy" in told} == {as_read(upn), ID}


HOME = f"/customers/{KEY}/users/{ID}/"
NEW = f"/customers/{KEY}/users/new/?like={ID}"


@pytest.mark.parametrize(
    ("rows", "user", "actions"),
    [
        (user_rows, live(), {"may_change": "edit/", "may_delete": "delete/", "may_create": NEW}),
        (user_rows, live(state="inactive"), {"may_restore": "restore/"}),
        (found_rows, found(), {"may_change": "edit/", "may_reset": "password/", "may_create": NEW}),
        (found_rows, found(deleted=True), {"may_restore": "restore/"}),
    ],
    ids=["live", "deleted", "found", "found and deleted"],
)
def test_each_right_has_its_action_and_no_other(rows, user, actions):
    home = [] if "may_restore" in actions else [HOME]
    for right in RIGHTS:
        action = actions.get(right)
        addresses = [link.href for link in written(rows, user, **{right: True}).links if link.href]
        assert addresses == [*home, *([action if action == NEW else HOME + action] if action else [])]


def test_only_who_may_act_on_several_can_tick_them():
    assert "Select Maya Lind" not in labels(written(user_rows, live()))
    assert "Select Maya Lind" in labels(written(user_rows, live(), may_several=True))


def test_states_locations_and_directories_are_told_in_words():
    synced_at = clock.now() - timedelta(minutes=5)
    users = [
        live(usage_location="NL"),
        live(usage_location="XX", last_directory_sync=synced_at),
        live(domain_type="federated", state="blocked"),
        live(soft_deleted_at=synced_at),
    ]
    words = ("Active Netherlands Cloud", "Active XX On-premises 5 min ago", "Blocked Not set Federated", "Deleted")
    for user, said in zip_longest(users, words):
        assert f"maya@contoso.example {said}" in written(user_rows, user).words


def test_a_found_user_without_a_name_can_be_opened_all_the_same():
    links = written(found_rows, found(name="")).links
    assert ("No name", HOME) in [(link.words, link.href) for link in links]
