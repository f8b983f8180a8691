"""What one walk over all names tells before a create leaves: nobody had the name, or a deleted user had it.

Only a user whose name was seen absent is ours when a look-up finds it; of a deleted one Restore is offered first.
"""

from datetime import timedelta

import pytest

from customers.models import Customer
from partnerportal import clock, grants
from partnerportal.sandbox import seed
from tests.customers.gdap_reads import grant_of
from tests.pages import Page
from users import index, seen_names
from users.models import Operation, SeenNames
from users.tasks import look_through_names, purge_secrets

from .conftest import filled, new_url, newcomer, operation_url, shown_password, tenant, trail, user_url, users_url
from .test_unknown import WE_DO_NOT_KNOW, buttons, pressed, step

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


def test_one_walk_over_all_users_serves_every_create_of_a_quarter_of_an_hour(writer, directory, move_clock):
    def walks(name):
        assert writer.post(new_url(), newcomer(writer, user_name=name)).status_code == 200
        return len([line for line in directory.asked() if line == "partnercenter GET /v1/customers/…/users"])

    assert [walks(f"maya{number}") for number in range(3)] == [2, 0, 0]
    move_clock(15 * 60)
    assert walks("maya3") == 2
    assert "maya" not in str(list(SeenNames.objects.values()))
    move_clock(31 * 60)
    purge_secrets()
    assert not SeenNames.objects.exists()


def lists(directory):
    return [line for line in directory.asked() if line == "partnercenter GET /v1/customers/…/users"]


def test_of_a_customer_with_more_users_than_a_page_the_walk_begins_with_the_form(
    writer, directory, monkeypatch, django_capture_on_commit_callbacks
):
    told = []
    monkeypatch.setattr("users.tasks.look_through_names.delay", lambda *ids: told.append(ids))
    fields = newcomer(writer)
    assert told == []  # nobody has seen how many there are
    assert writer.get(users_url()).status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        fields = newcomer(writer)
    directory.asked()
    look_through_names(*told[0])
    assert len(lists(directory)) == 2  # the active users, and the deleted ones
    look_through_names(*told[0])  # it comes twice: the walk is fresh
    assert lists(directory) == []
    assert writer.post(new_url(), fields).status_code == 200
    assert lists(directory) == []
    assert Operation.objects.get().seen_absent_at == SeenNames.objects.get().walked_at


def test_a_walk_that_nobody_waits_for_fails_in_silence_and_not_with_a_sign_in_that_has_ended(
    writer, sandbox, directory
):
    customer, grant = Customer.objects.get(tenant_id=tenant("contoso")), grant_of("writer")
    sandbox.fault("partnercenter", "status", method="GET", path="/users$", times=0)
    names = customer.pk, str(grant.pk)
    look_through_names(*names)
    grant.delete()
    directory.asked()
    look_through_names(*names)
    assert (lists(directory), SeenNames.objects.exists()) == ([], False)


def test_the_walk_of_the_search_serves_the_creates_too(admin, directory):
    grant = grant_of("admin")
    found, _ = index.request_walk(Customer.objects.get(tenant_id=tenant("contoso")), by=grant.operator, grant=grant)
    index.carry_out(found.pk)
    directory.asked()
    assert admin.post(new_url(), newcomer(admin)).status_code == 200
    assert lists(directory) == []
    assert Operation.objects.get().seen_absent_at


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


# --- Seen absent --------------------------------------------------------------------------------------------


@pytest.fixture
def too_many(monkeypatch):
    """As if the customer had more users than are looked through."""
    walk = seen_names._walk
    monkeypatch.setattr(seen_names, "_walk", lambda *of: ([], walk(*of)[1], False))


def made_elsewhere(directory, fields):
    """Somebody else has made the very user that this form asks for."""
    user = directory.special("plain")
    user.upn, user.display_name = f"{fields['user_name']}@{fields['domain']}", fields["display_name"]
    user.first_name, user.last_name = fields["first_name"], fields["last_name"]
    user.usage_location = fields["usage_location"]
    return user


def test_before_a_create_leaves_all_names_are_looked_through_active_ones_first(writer, sandbox, directory):
    fields, before = newcomer(writer), clock.now()
    writer.post(new_url(), fields)
    lines = [line for line in sandbox.journal("partnercenter") if line["path"].endswith("/users")]
    asked = [(line["method"], "Inactive" in str(line["query"]), "500" in str(line["query"])) for line in lines]
    assert asked == [("GET", False, True), ("GET", True, True), ("POST", False, False)]
    assert before < Operation.objects.get().seen_absent_at < clock.now()


def test_a_form_that_opens_looks_nothing_through(writer, directory):
    directory.asked()
    newcomer(writer)
    assert [line for line in directory.asked() if line.endswith("/users")] == []


def test_whose_name_was_seen_absent_is_ours_and_the_page_says_when(writer, sandbox, directory):
    fields, _ = pressed(writer, sandbox)
    words = Page(step(writer, fields, "check")).words
    assert "Maya Lind was created" in words
    assert "Nobody had this user name at " in words


def test_who_was_there_before_is_not_claimed_though_every_value_is_the_same(writer, sandbox, directory):
    made_elsewhere(directory, newcomer(writer))
    fields, _ = pressed(writer, sandbox, "status", status=500)
    assert Operation.objects.get().seen_absent_at is None
    answer = step(writer, fields, "check")
    words = Page(answer).words
    assert WE_DO_NOT_KNOW in words
    assert "with these very values. Nobody had looked if that name was free before it was sent" in words
    assert buttons(answer) == ["It is the one I created", "It is somebody else’s", "Check again"]
    assert Page(answer).href("Open this user") == user_url(directory.special("plain").id)
    assert shown_password(answer) == ""
    assert trail()[-1] == ("outcome", "check create user", "unknown")


def test_what_is_said_to_be_somebody_elses_is_a_conflict_and_its_password_is_gone(writer, sandbox, directory):
    made_elsewhere(directory, newcomer(writer))
    fields, _ = pressed(writer, sandbox, "status", status=500)
    step(writer, fields, "theirs")  # nobody has found anybody yet
    assert Operation.objects.get().state == Operation.State.UNKNOWN
    step(writer, fields, "check")
    answer = step(writer, fields, "theirs")
    assert "There is a user with this name already" in Page(answer).words
    operation = Operation.objects.get()
    assert (operation.state, operation.sealed_password) == (Operation.State.CONFLICT, None)
    assert trail()[-1] == ("outcome", "check create user", "conflict")


def test_a_customer_with_too_many_users_gets_its_user_and_an_unknown_one_waits_for_a_person(
    writer, sandbox, directory, too_many
):
    assert writer.post(new_url(), newcomer(writer, user_name="maya1")).status_code == 200
    assert len(directory.named("maya1")) == 1
    fields, _ = pressed(writer, sandbox, "drop_after")
    assert {operation.seen_absent_at for operation in Operation.objects.all()} == {None}
    answer = step(writer, fields, "check")
    assert WE_DO_NOT_KNOW in Page(answer).words
    assert shown_password(answer) == ""
    answer = step(writer, fields, "ours")
    (user,) = directory.named("maya.lind")
    assert "Maya Lind was created" in Page(answer).words
    assert "Nobody had this user name at" not in Page(answer).words
    assert shown_password(answer) == user.password
    assert trail()[-1] == ("outcome", "check create user", "done")


def test_a_deleted_namesake_is_found_though_there_are_too_many_users(writer, directory, deleted, too_many):
    assert writer.post(new_url(), newcomer(writer)).status_code == 409
    assert directory.writes() == []


def test_a_look_up_that_found_nothing_has_seen_the_name_absent(writer, sandbox, directory, too_many):
    fields, _ = pressed(writer, sandbox, "drop_before")
    step(writer, fields, "check")
    sandbox.fault("partnercenter", "drop_after", method="POST", path="/users$")
    assert WE_DO_NOT_KNOW in Page(step(writer, fields, "send")).words
    (user,) = directory.named("maya.lind")
    assert shown_password(step(writer, fields, "check")) == user.password


def test_a_walk_that_may_not_show_our_own_write_yet_says_nothing_of_that_name(admin, sandbox, move_clock):
    sandbox.state("replication_lag", seconds=60)
    assert shown_password(admin.post(new_url(), newcomer(admin)))
    customer, client = Operation.objects.get().customer, grants.partner_center(grant_of("admin"))
    assert seen_names.look(customer, NAME, client).absent_at is None
    assert seen_names.look(customer, "somebody.else@x.example", client).absent_at


def test_more_than_twenty_pages_are_not_looked_through(admin, directory, monkeypatch):
    monkeypatch.setattr(seen_names, "PAGES", 2)  # of the three that this customer has
    directory.asked()
    assert shown_password(admin.post(new_url("medium"), newcomer(admin, "medium")))
    assert len([line for line in directory.asked() if line.startswith("partnercenter GET") and "users" in line]) == 3
    assert Operation.objects.get().seen_absent_at is None
    assert admin.post(new_url("medium"), newcomer(admin, "medium", user_name="maya2")).status_code == 200
    assert [line for line in directory.asked() if line.startswith("partnercenter GET") and "users" in line] == []


def test_one_look_up_serves_all_who_look_just_then(writer, sandbox, directory, move_clock):
    forms = []
    for name in ("maya1", "maya2"):
        fields = newcomer(writer, user_name=name)
        sandbox.fault("partnercenter", "drop_before", method="POST", path="/users$")
        writer.post(new_url(), fields)
        forms.append(fields)
    move_clock(31)
    directory.asked()

    def walks(fields):
        answer = writer.post(operation_url(fields["op_id"]), {"step": "check"})
        assert "is not there." in Page(answer).words
        return len([line for line in directory.asked() if line == "partnercenter GET /v1/customers/…/users"])

    assert [walks(forms[0]), walks(forms[1])] == [2, 0]
    move_clock(60)
    assert walks(forms[1]) == 2  # who asks once more wants to know anew
