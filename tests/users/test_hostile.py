"""Answers and requests that once broke a page, lost an outcome, or were believed although they should not be."""

import uuid
from datetime import UTC, datetime

import pytest
from django.contrib.sessions.models import Session
from django.db import OperationalError
from django.urls import reverse

from customers.models import Customer
from partnerportal.models import AuditEvent, Operator, TokenCache
from partnerportal.sandbox import seed
from tests.pages import Page
from users import operations
from users.models import Operation, UserWalk

from .conftest import (
    edit_url,
    filled,
    new_url,
    newcomer,
    operation_url,
    reviewed,
    shown_password,
    tenant,
    trail,
    user_url,
    users_url,
)

ADELE = seed.SPECIAL_USERS["plain"]
WE_DO_NOT_KNOW = "We do not know if Maya Lind was created"


# --- An answer is never lost, whatever it looks like --------------------------------------------------------


def test_a_giant_character_number_in_a_refusal_is_a_refusal(writer, sandbox):
    body = {"code": 3000, "description": f"&#{'9' * 5000};"}
    sandbox.fault("partnercenter", "status", method="POST", path="/users$", status=400, body=body)
    answer = writer.post(new_url(), newcomer(writer))
    assert answer.status_code == 422
    assert Operation.objects.get().state == Operation.State.REFUSED


def test_what_breaks_after_the_answer_is_unknown_and_not_failed(writer, monkeypatch, directory):
    def broken(*_args, **_more):
        raise RuntimeError("a fault of ours")

    writer.post(new_url(), newcomer(writer, user_name="first"))  # whose walk has seen that there is no Maya
    fields = newcomer(writer)
    monkeypatch.setattr("partnerportal.upstream.partner_center.parse", broken)
    answer = writer.post(new_url(), fields)
    monkeypatch.undo()
    assert answer.status_code == 200
    assert WE_DO_NOT_KNOW in Page(answer).words
    (user,) = directory.named("maya.lind")
    assert shown_password(writer.post(operation_url(fields["op_id"]), {"step": "check"})) == user.password


def test_a_database_that_fails_after_the_answer_does_not_say_that_nothing_was_changed(writer, monkeypatch, directory):
    def locked(*_args, **_more):
        raise OperationalError("database is locked")

    fields = newcomer(writer)
    monkeypatch.setattr(operations, "_settle", locked)
    writer.raise_request_exception = False
    answer = writer.post(new_url(), fields)
    monkeypatch.undo()
    assert answer.status_code == 500
    assert "We do not know if it was done. Check before you try again" in Page(answer).words
    assert "Nothing was changed" not in Page(answer).words
    assert len(directory.named("maya.lind")) == 1


@pytest.mark.parametrize("status", [200, 403])
def test_ids_and_codes_of_any_length_are_kept_as_far_as_they_fit(writer, sandbox, status):
    headers = {"MS-CorrelationId": "c" * 120, "Content-Type": "application/json"}
    if status == 200:
        fields = newcomer(writer)
        name = f"{fields['user_name']}@{fields['domain']}"
        body = {"id": str(uuid.uuid4()), "userPrincipalName": name, "displayName": "Maya Lind", "state": "active"}
    else:
        fields, body = newcomer(writer), {"code": "x" * 64, "description": "No."}
    sandbox.fault("partnercenter", "status", method="POST", path="/users$", status=status, headers=headers, body=body)
    answer = writer.post(new_url(), fields)
    assert answer.status_code == {200: 200, 403: 422}[status]
    operation = Operation.objects.get()
    assert operation.state == {200: Operation.State.DONE, 403: Operation.State.DENIED}[status]
    assert len(operation.correlation_id) <= 64


def test_a_name_with_a_nul_is_shown_and_can_be_changed(admin, directory):
    directory.special("plain").display_name = "Adele\x00Vance"
    directory.sandbox.running.cloud.world.customers[seed.SPECIAL["contoso"]].directory._views.clear()
    answer = admin.post(edit_url(ADELE), reviewed(admin, ADELE, phone_number="+00 555 0101"))
    assert "was changed" in Page(answer).words


@pytest.mark.parametrize(
    ("page", "whom", "typed", "state"),
    [
        ("delete", "plain", {"name": "adele.vance@contosotrading.example"}, "done"),
        ("licences", "plain", {"sku": [], "step": "save"}, "done"),
        ("reset", "plain", {}, "refused"),  # the name goes along, and Microsoft takes 256 characters
        ("restore", "deleted", {}, "done"),
    ],
)
def test_a_name_longer_than_its_column_stands_in_the_way_of_no_write(admin, directory, page, whom, typed, state):
    some = directory.special(whom)
    some.display_name = "x" * 500
    url = reverse(f"user-{page}", args=[tenant("contoso"), some.id])
    answer = admin.post(url, filled(admin, url) | typed)
    assert answer.status_code == {"done": 200, "refused": 422}[state]
    told = Operation.objects.get()
    assert (told.state, told.target_name) == (state, "x" * 400)


def test_dates_at_the_end_of_all_dates_break_no_page(admin, directory):
    """DateTime.MaxValue of .NET, which has no date any more in a zone east of UTC, nor 30 days later."""
    never = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    directory.special("plain").synced_at = directory.special("deleted").deleted_at = never
    admin.post("/settings/", {"zone": "Europe/Berlin"})
    restore_url = reverse("user-restore", args=[tenant("contoso"), seed.SPECIAL_USERS["deleted"]])
    for url in (users_url(), user_url(ADELE), users_url(query="?state=deleted"), restore_url):
        answer = admin.get(url)
        assert answer.status_code == 200, url
        assert "9999" not in Page(answer).words


def test_a_name_that_grows_when_it_is_tidied_is_measured_afterwards(writer, directory):
    answer = writer.post(new_url(), newcomer(writer, display_name="\u0958" * 256))
    assert answer.status_code == 422
    assert directory.writes() == []


def test_an_answer_about_somebody_else_is_unknown_and_moves_no_operation(admin, sandbox, directory):
    other = {"id": str(uuid.uuid4()), "userPrincipalName": "x@y.example", "displayName": "X", "state": "active"}
    fields = reviewed(admin, ADELE, phone_number="+00 555 0101")
    sandbox.fault("partnercenter", "status", method="PATCH", status=200, body=other)
    answer = admin.post(edit_url(ADELE), fields)
    assert "We do not know if Adele Vance was changed" in Page(answer).words
    assert Operation.objects.get().target_id == ADELE
    sandbox.fault("partnercenter", "status", method="POST", path="/users$", status=200, body=other)
    assert WE_DO_NOT_KNOW in Page(admin.post(new_url(), newcomer(admin))).words


# --- One form, one write ------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [{"password": "Other-Word-77"}, {"force_change": None}])
def test_a_used_form_with_another_password_is_refused_and_shows_nothing(writer, directory, other):
    fields = newcomer(writer, password_mode="typed", password="First-Word-77")
    assert shown_password(writer.post(new_url(), fields)) == "First-Word-77"
    again = {name: value for name, value in (fields | other).items() if value is not None}
    answer = writer.post(new_url(), again)
    assert answer.status_code == 409
    assert shown_password(answer) == ""
    assert len(directory.writes()) == 1
    assert trail()[-1] == ("outcome", "create user", "denied")
    detail = AuditEvent.objects.filter(kind="outcome")[0].detail
    assert detail == "This form was sent before, with other values or by somebody else."


def test_nobody_sends_more_changes_in_a_minute_than_can_be_typed(admin, directory, settings, move_clock):
    settings.WRITES_A_MINUTE = 1
    assert "was changed" in Page(admin.post(edit_url(ADELE), reviewed(admin, ADELE, phone_number="1"))).words
    fields = newcomer(admin)
    for answer in (
        admin.post(new_url(), fields),
        admin.post(edit_url(ADELE), reviewed(admin, ADELE, phone_number="2")),
    ):
        assert answer.status_code == 429
        assert "You sent more changes within a minute than anybody types." in Page(answer).words
    assert len(directory.writes()) == 1
    move_clock(61)
    assert "Maya Lind was created" in Page(admin.post(new_url(), fields)).words


def test_a_typed_password_of_one_form_opens_in_no_other(admin, directory):
    other = seed.SPECIAL_USERS["no_location"]
    kept = reviewed(admin, ADELE, password_mode="typed", password="First-Word-77")
    fields = filled(admin, edit_url(other)) | {
        "password_mode": "typed",
        "sealed_password": kept["sealed_password"],
        "step": "save",
    }
    answer = admin.post(edit_url(other), fields)
    assert answer.status_code == 422
    assert directory.writes() == []
    assert "First-Word-77" not in answer.content.decode()


def test_a_newer_password_is_not_overwritten_by_an_old_form(admin, sandbox, directory):
    old = reviewed(admin, ADELE, password_mode="typed", password="First-Word-77")
    sandbox.fault("partnercenter", "drop_before", method="PATCH")
    admin.post(edit_url(ADELE), old)
    admin.post(operation_url(old["op_id"]), {"step": "check"})
    admin.post(edit_url(ADELE), reviewed(admin, ADELE, password_mode="typed", password="Second-Word-77"))
    answer = admin.post(operation_url(old["op_id"]), {"step": "send"})
    assert "A newer password was set for this user meanwhile." in Page(answer).words
    assert directory.special("plain").password == "Second-Word-77"


def test_a_password_alone_goes_to_the_page_for_passwords(admin, directory, settings):
    for path, ending in (("resetpassword", "/resetpassword"), ("", ADELE)):
        settings.PARTNER_CENTER_RESET_PATH = path
        admin.post(edit_url(ADELE), reviewed(admin, ADELE, password_mode="made"))
        assert directory.writes()[-1]["path"].endswith(ending)


@pytest.mark.parametrize("step", [{"step": "send"}, {"step": "check"}], ids=["sent again", "checked"])
def test_a_password_whose_key_is_gone_stops_nothing_but_itself(writer, sandbox, directory, step):
    fields = newcomer(writer)
    sandbox.fault("partnercenter", "drop_before", method="POST", path="/users$")
    writer.post(new_url(), fields)
    writer.post(operation_url(fields["op_id"]), {"step": "check"})
    long_ago = {"asked_at": None}  # so that it may be asked again at once
    Operation.objects.update(sealed_password=b"not sealed by any key of ours", **long_ago)
    answer = writer.post(operation_url(fields["op_id"]), step)
    assert answer.status_code == 200
    assert len(directory.writes()) == 1
    stopped = Operation.objects.get().state == Operation.State.STOPPED
    assert stopped == (step["step"] == "send")


# --- Too late by Microsoft's own word -----------------------------------------------------------------------


@pytest.mark.parametrize(("status", "code"), [(412, 0), (400, 2055)])
def test_a_change_that_came_too_late_shows_what_changed(admin, sandbox, directory, status, code):
    fields = reviewed(admin, ADELE, display_name="Adela Vance")

    def meanwhile():
        directory.special("plain").phone = "+00 555 0199"
        directory.sandbox.running.cloud.world.customers[seed.SPECIAL["contoso"]].directory._views.clear()

    said = {"code": code, "description": "Etag is no longer valid"}
    sandbox.fault("partnercenter", "status", method="PATCH", status=status, body=said)
    answer = admin.post(edit_url(ADELE), fields)
    assert answer.status_code == 422
    assert "This user changed since you opened the form." in Page(answer).words
    assert "is taken" not in Page(answer).words
    sandbox.fault("partnercenter", "status", method="PATCH", status=status, body=said)
    fields = reviewed(admin, ADELE, display_name="Adela Vance")
    original = operations.send

    def send(operation, call):
        done = original(operation, call)
        meanwhile()
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "send", send)
        answer = admin.post(edit_url(ADELE), fields)
    assert answer.status_code == 409
    assert "Phone" in Page(answer).words


@pytest.mark.parametrize("names", ["description", "data"])
@pytest.mark.parametrize("code", [3000, 800002])
def test_wherever_microsoft_names_the_property_it_lands_on_its_field(writer, sandbox, names, code):
    sandbox.assume("validation_names", names)
    sandbox.assume("validation_code", code)
    answer = writer.post(new_url(), newcomer(writer, domain="other", other_domain="nobody-owns-this.example"))
    assert answer.status_code == 422
    told = Page(answer).attributes(id="id_user_name" if names == "data" else "id_domain")
    assert told.get("aria-invalid") == "true"


def test_a_refusal_in_another_language_is_quoted_and_nothing_is_made_of_it(writer, sandbox, directory):
    sandbox.assume("error_language", "de")
    directory.special("plain").upn = "maya.lind@contosotrading.onmicrosoft.example"
    answer = writer.post(new_url(), newcomer(writer))
    assert answer.status_code == 422
    assert "Partner Center refused: “Die Anforderung wurde abgelehnt.” Nothing was created." in Page(answer).words


def test_a_wrong_immutable_id_is_not_somebody_elses(writer, sandbox):
    said = {"code": 3000, "description": "The property immutableId is malformed."}
    sandbox.fault("partnercenter", "status", method="POST", path="/users$", status=400, body=said)
    words = Page(writer.post(new_url(), newcomer(writer))).words
    assert "belongs to another user" not in words
    assert "Partner Center refused: “The property immutableId is malformed.”" in words


# --- Refusals are explained and written down ----------------------------------------------------------------


def test_whom_microsoft_refuses_the_users_reads_what_we_know_of_the_rights(signed_in, snapshot):
    answer = signed_in("outsider").get(users_url())
    words = Page(answer).words
    assert answer.status_code == 403
    assert "You may not see the users here" in words
    assert "We could not check your roles (Microsoft Graph shows GDAP relationships to Admin agents only)." in words
    assert "Seeing the users needs Directory Readers or Global Reader or User Administrator." in words
    assert "HTTP 403, code 900150" in words
    assert "Contoso Trading" in words


def test_a_role_that_went_within_the_minute_is_told_as_gone(signed_in, snapshot, sandbox):
    reader = signed_in("reader")
    assert reader.get(users_url()).status_code == 200
    sandbox.state("remove_from_group", persona="reader", group="readers")
    answer = reader.get(users_url())
    assert answer.status_code == 403
    assert "you are not in the group that holds it" in Page(answer).words


def test_a_helpdesk_agent_cannot_be_told_and_may_try(signed_in, snapshot, sandbox):
    """Partner Center lets them in, Graph tells them nothing: the case of most of a partner's staff."""
    sandbox.state("add_to_group", persona="outsider", group="helpdesk_agents")
    sandbox.state("add_to_group", persona="outsider", group="writers")
    outsider = signed_in("outsider")
    assert outsider.get(users_url()).status_code == 200
    assert "Maya Lind was created" in Page(outsider.post(new_url(), newcomer(outsider))).words


def test_a_refusal_before_anything_was_sent_tells_which_fields_were_meant(signed_in, snapshot, sandbox, directory):
    writer = signed_in("writer")
    fields = newcomer(writer)
    sandbox.state("remove_from_group", persona="writer", group="writers")
    assert writer.post(new_url(), fields).status_code == 403
    intent = AuditEvent.objects.filter(kind="intent", action="create user").get()
    assert intent.fields["display_name"] == ["", "Maya Lind"]
    assert intent.fields["password"] == ["not shown", "a new one, not shown"]
    assert directory.writes() == []


@pytest.mark.parametrize("key", ["a" * 200, "a%00b"])
def test_a_refused_form_at_an_address_of_any_kind_is_written_down(signed_in, db, key):
    reader = signed_in("reader")
    answer = reader.post(f"/customers/{key}/users/operations/{uuid.uuid4()}/", {"step": "check"})
    assert answer.status_code == 403
    assert AuditEvent.objects.filter(kind="outcome", action="operation", outcome="denied").exists()


def test_a_challenge_in_the_answer_to_a_write_is_met_by_the_next_sign_in(writer, sandbox):
    import base64
    import json

    claims = json.dumps({"access_token": {"acrs": {"essential": True, "value": "c1"}}})
    challenge = f'Bearer error="insufficient_claims", claims="{base64.b64encode(claims.encode()).decode()}"'
    headers = {"WWW-Authenticate": challenge}
    sandbox.fault("partnercenter", "status", method="POST", path="/users$", status=401, headers=headers, body="")
    writer.post(new_url(), newcomer(writer))
    started = writer.get("/signin/?next=/customers/")
    assert "acrs" in started["Location"]


# --- Signed out in another tab ------------------------------------------------------------------------------


def test_a_sign_in_that_ends_meanwhile_does_not_deny_what_was_done(writer, monkeypatch, directory):
    fields = newcomer(writer)
    original = operations.send

    def send(operation, call):
        done = original(operation, call)
        Session.objects.all().delete()
        TokenCache.objects.all().delete()
        return done

    monkeypatch.setattr(operations, "send", send)
    answer = writer.post(new_url(), fields)
    assert "Nothing was changed" not in Page(answer).words
    assert len(directory.named("maya.lind")) == 1


@pytest.mark.django_db(transaction=True)
def test_a_users_table_whose_sign_in_ends_meanwhile_is_no_fault(admin, monkeypatch):
    original = UserWalk.save

    def save(self, *args, **more):
        TokenCache.objects.all().delete()
        return original(self, *args, **more)

    monkeypatch.setattr(UserWalk, "save", save)
    assert admin.get(users_url("medium")).status_code in (200, 302)


def test_a_walk_that_no_key_opens_begins_anew(admin):
    page = Page(admin.get(users_url("medium")))
    following = page.href("Next")
    assert following
    UserWalk.objects.update(sealed_tokens=b"not sealed by any key of ours")
    answer = admin.get(following)
    assert answer.status_code == 200
    assert "This is the first page again." in Page(answer).words


def test_what_one_form_was_filled_from_opens_in_no_form_of_another_kind(admin, directory):
    """Each keeps other things: taken for another's they would be fields to write, or a fault of ours."""
    pages = {name: f"{user_url(ADELE)}{name}/" for name in ("edit", "delete", "licences", "password")}
    forms = {name: filled(admin, address, step="review") for name, address in pages.items()}
    for name, address in pages.items():
        for other in pages.keys() - {
            name,
            "delete" if name == "password" else "password" if name == "delete" else name,
        }:
            answer = admin.post(address, forms[name] | {"was": forms[other]["was"]})
            assert (answer.status_code, "too old" in Page(answer).words) == (422, True), (name, other)
    assert directory.writes() == []


def test_two_forms_of_one_name_at_the_same_moment_are_one_user(writer, monkeypatch, directory):
    """Both have looked before either was there; the second finds the first's row when it wants to store its own."""
    by, grant = Operator.objects.get(), TokenCache.objects.get()
    customer = Customer.objects.get(tenant_id=tenant("contoso"))
    first, second = newcomer(writer), newcomer(writer, user_name="MAYA.LIND")
    looked = operations.undecided_create

    def at_the_same_moment(*args, **how):
        monkeypatch.setattr(operations, "undecided_create", looked)
        fields = {**second_fields, "user_principal_name": "maya.lind@contosotrading.onmicrosoft.example"}
        operations.begin(
            uuid.UUID(first["op_id"]),
            kind="create",
            by=by,
            grant=grant,
            customer=customer,
            fields=fields,
            target_name="M",
        )

    second_fields = {"display_name": "Maya Lind"}
    monkeypatch.setattr(operations, "undecided_create", at_the_same_moment)
    answer = writer.post(new_url(), second)
    assert "This name was sent before, in another form." in Page(answer).words
    assert directory.writes() == []
