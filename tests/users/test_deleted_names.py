"""A new user with the name of a deleted one: Restore is offered first."""

from datetime import timedelta

import pytest

from partnerportal import clock
from partnerportal.sandbox import seed
from tests.pages import Page
from users.models import DeletedNames, Operation
from users.tasks import purge_secrets

from .conftest import filled, new_url, newcomer, trail, user_url, users_url

NAME = "maya.lind@contosotrading.onmicrosoft.example"


@pytest.fixture
def deleted(directory):
    user = directory.special("deleted")
    user.upn, user.deleted_at = NAME, clock.now() - timedelta(days=3)
    return user


def test_nothing_is_created_and_the_deleted_users_are_one_click_away(writer, directory, deleted):
    fields = newcomer(writer)
    answer = writer.post(new_url(), fields)
    page = Page(answer)
    assert answer.status_code == 409
    assert f"{deleted.display_name} had the user name {NAME} and was deleted on" in page.words
    assert "Restore that user, choose another name, or say below that a new user is wanted" in page.words
    assert page.href("Show deleted users") == users_url(query="?state=deleted")
    assert page.attributes(id="id_user_name")["aria-invalid"] == "true"
    assert directory.writes() == []
    assert not Operation.objects.exists()
    assert trail() == [("intent", "create user", ""), ("outcome", "create user", "conflict")]
    again = page.form("op_id").fields
    assert (again["op_id"], again["user_name"], again["first_name"]) == (fields["op_id"], "maya.lind", "Maya")


def test_who_says_so_gets_a_new_user(writer, directory, deleted):
    again = Page(writer.post(new_url(), newcomer(writer))).form("op_id").fields
    assert writer.post(new_url(), again | {"despite_deleted": "on"}).status_code == 200
    assert len(directory.named("maya.lind")) == 2


def test_the_name_is_known_though_entra_wrote_the_id_before_it(writer, directory, deleted):
    deleted.upn = deleted.id.replace("-", "") + NAME.upper()
    assert writer.post(new_url(), newcomer(writer)).status_code == 409


def test_a_list_of_deleted_users_that_does_not_come_stops_nobody(writer, sandbox, directory, deleted):
    sandbox.fault("partnercenter", "status", method="GET", path="/users$", status=503, times=0)
    assert writer.post(new_url(), newcomer(writer)).status_code == 200
    assert len(directory.named("maya.lind")) == 2


def test_one_walk_over_the_deleted_users_serves_every_create_of_a_quarter_of_an_hour(writer, directory, move_clock):
    def walks(name):
        assert writer.post(new_url(), newcomer(writer, user_name=name)).status_code == 200
        return len([line for line in directory.asked() if line == "partnercenter GET /v1/customers/…/users"])

    assert [walks(f"maya{number}") for number in range(3)] == [1, 0, 0]
    move_clock(15 * 60)
    assert walks("maya3") == 1
    assert "maya" not in str(list(DeletedNames.objects.values()))
    move_clock(31 * 60)
    purge_secrets()
    assert not DeletedNames.objects.exists()


def test_whom_we_have_deleted_since_the_walk_is_offered_all_the_same(admin, directory, deleted):
    assert admin.post(new_url(), newcomer(admin, user_name="maya1")).status_code == 200
    url = f"{user_url(seed.SPECIAL_USERS['plain'])}delete/"
    name = directory.special("plain").upn
    admin.post(url, filled(admin, url, name=name))
    local, _, domain = name.partition("@")
    answer = admin.post(new_url(), newcomer(admin, user_name=local, domain=domain))
    assert (answer.status_code, f"had the user name {name}" in Page(answer).words) == (409, True)


def test_an_empty_user_name_comes_back_filled_without_a_script(writer):
    answer = writer.post(new_url(), newcomer(writer, last_name="van den Bérg", user_name=""))
    page = Page(answer)
    assert answer.status_code == 422
    assert page.form("op_id").fields["user_name"] == "maya.vandenberg"
    assert "Made from the names. Check it, and send the form again." in page.words
