"""Licences chosen with a new user: what the form offers, and two outcomes of which neither hides the other."""

import uuid

import pytest
from django.urls import reverse

from customers import countries
from customers.access import Facts, Verdict, judge
from customers.models import Customer
from partnerportal import clock
from partnerportal.models import Operator
from partnerportal.sandbox.seed_licences import BUSINESS_PREMIUM, CLASSROOM, ENTERPRISE_E3, POWER_BI_PRO
from partnerportal.upstream.errors import Forbidden, Unreachable
from tests.pages import Page
from users import actions, first_licences
from users.models import Operation
from users.new_forms import NewUserForm

from .conftest import new_url, newcomer, operation_url, shown_password, tenant, trail, users_url

State = Operation.State
CREATED = [("intent", "create user", ""), ("outcome", "create user", "done")]
ASSIGNED = [("intent", "change licences", ""), ("outcome", "change licences", "done")]


def wish(browser, *products, **typed):
    """Maya Lind's form with these licences ticked."""
    return newcomer(browser) | {"licences": [product.id for product in products], **typed}


def follower(fields):
    """The number under which the licences of this form go."""
    return str(uuid.uuid5(uuid.UUID(fields["op_id"]), "licences"))


def licences_of_maya(directory):
    (user,) = directory.named("maya.lind")
    return {licence.sku_id for licence in user.licences}


# --- On the form --------------------------------------------------------------------------------------------

CONTOSO = Customer(key="contoso", name="Contoso", domain="contoso.example", tenant_id=tenant("contoso"))
OFFER = first_licences.Offer(
    {
        "a": {"name": "Premium", "group": "group1", "left": 1200},
        "b": {"name": "Basic", "group": "group1", "left": 0},
        "c": {"name": "Classroom", "group": "group2", "left": 5},
    }
)


def errors(*licences, offer=None, **typed):
    typed = {"first_name": "Ann", "user_name": "ann", "domain": "contoso.example", "usage_location": "NL", **typed}
    data = {**typed, "op_id": str(uuid.uuid4()), "licences": list(licences)}
    form = NewUserForm(data | {"offer": OFFER.signed(CONTOSO) if offer is None else offer}, customer=CONTOSO)
    return form.errors.get_json_data() and {name: str(said[0]) for name, said in form.errors.items()}


SALES = "Dynamics 365 Sales, Field Service and Customer Service Partner Sandbox"


@pytest.mark.parametrize(
    ("said", "named"),
    [
        (f"{SALES} | Power BI Pro", [SALES, "Power BI Pro"]),
        (f"Power BI Pro|{SALES}|", ["Power BI Pro", SALES]),
        (SALES, [SALES]),
        ("Power BI Pro; E3, F1", ["Power BI Pro", "E3", "F1"]),
    ],
)
def test_a_bar_beside_a_licence_leaves_the_commas_of_its_name_alone(said, named):
    assert first_licences.parted(said, {countries.fold(SALES)}) == named


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_of_two_licences_of_one_name_the_one_with_units_left_is_meant(order):
    left = {"a": 3, "b": 0}
    told = {each: {"name": "Office 365 E3", "part": each, "group": "group1", "left": left[each]} for each in order}
    assert first_licences.Offer(told).preset("Office 365 E3") == first_licences.Preset(("a",))


def test_a_licence_that_may_be_chosen_is_wanted_under_its_name():
    assert OFFER.choices == [("b", "Basic (none left)"), ("c", "Classroom (5 left)"), ("a", "Premium (1,200 left)")]
    assert not errors("a")
    assert not errors(offer="")  # who chooses none needs no offer


@pytest.mark.parametrize(
    ("licences", "more", "field", "words"),
    [
        (["a"], {"usage_location": ""}, "usage_location", "Choose a usage location: Microsoft assigns no licence with"),
        (["a", "b"], {}, "licences", "None left of Basic. Take the tick away"),
        (["a", "c"], {}, "licences", "Microsoft assigns these licences only one after the other."),
        (["d"], {}, "licences", "This form is too old, or came in pieces. Open it again"),
        (["a"], {"offer": "made up"}, "licences", "This form is too old, or came in pieces. Open it again"),
        (["a"], {"offer": OFFER.signed(Customer(key="x"))}, "licences", "This form is too old, or came in pieces."),
    ],
)
def test_a_licence_that_cannot_be_assigned_is_refused_on_its_field(licences, more, field, words):
    found = errors(*licences, **more)
    assert list(found) == [field]
    assert words in found[field]


def test_who_may_not_assign_is_told_so_and_nothing_is_asked():
    operator = Operator(app_roles=["Portal.Operator"])
    nobody_knows = judge(Facts(clock.now(), problem="Graph did not answer"), clock.now())
    ask = {"access": nobody_knows, "partner_center": None}  # which would break at the first question
    offer = first_licences.offer(CONTOSO, by=operator, **ask)
    assert offer.problem.startswith("You cannot assign licences here. We could not check your roles (Graph did not")
    assert first_licences.offer(CONTOSO, by=Operator(app_roles=["Portal.Reader"]), **ask) == first_licences.NOTHING


def test_who_may_not_see_what_is_free_is_told_which_role_would(monkeypatch):
    class Closed:
        def subscribed_skus(self, _tenant_id):
            raise Forbidden(source="Partner Center", status=403)

    monkeypatch.setattr(Verdict, "tried", True)
    access = judge(Facts(clock.now()), clock.now())
    by = Operator(app_roles=["Portal.Operator"])
    offer = first_licences.offer(CONTOSO, access, by=by, partner_center=Closed())
    assert offer.problem.startswith("We cannot see which licences are free: that needs Directory Readers,")


def test_without_the_stock_the_form_is_there_and_says_why_no_licence_is(admin, sandbox):
    sandbox.fault("partnercenter", "status", method="GET", path="/subscribedskus", status=503, times=0)
    page = Page(admin.get(new_url()))
    assert "We could not read which licences are free." in page.words
    assert "The user is created without a licence; one can be assigned afterwards." in page.words
    assert "user_name" in page.form("op_id").fields


# --- Created and assigned -----------------------------------------------------------------------------------


def test_what_was_chosen_is_assigned_once_however_often_the_form_is_sent(admin, directory):
    page = Page(admin.get(new_url()))
    assert "Power BI Pro (none left)" in page.words
    assert "disabled" in page.attributes(name="licences", value=POWER_BI_PRO.id)
    assert "disabled" not in page.attributes(name="licences", value=ENTERPRISE_E3.id)
    fields = wish(admin, BUSINESS_PREMIUM, ENTERPRISE_E3)
    answer = admin.post(new_url(), fields)
    words = Page(answer).words
    assert "Maya Lind was created" in words
    assert "The licences were assigned: Enterprise Mobility + Security E3, Microsoft 365 Business Premium." in words
    assert shown_password(answer) == directory.named("maya.lind")[0].password
    assert Page(admin.post(new_url(), fields)).words == words
    assert licences_of_maya(directory) == {BUSINESS_PREMIUM.id, ENTERPRISE_E3.id}
    assert [line["request_id"] for line in directory.writes()] == [fields["op_id"], follower(fields)]
    assert trail() == CREATED + ASSIGNED
    answer = admin.post(new_url(), fields | {"licences": [BUSINESS_PREMIUM.id]})
    assert answer.status_code == 409  # the same form with other licences is another wish
    assert len(directory.writes()) == 2


@pytest.mark.parametrize("then", ["", "another"])
def test_the_last_licence_that_somebody_else_took_hides_nothing_of_the_user(admin, sandbox, directory, then):
    fields = wish(admin, ENTERPRISE_E3, then=then)
    sandbox.state("set_units", tenant_id=tenant("contoso"), sku=ENTERPRISE_E3.id, units=0)
    answer = admin.post(new_url(), fields)
    page = Page(answer)
    (user,) = directory.named("maya.lind")
    assert answer.status_code == 200
    assert "Maya Lind was created" in page.words
    assert "The licence was refused: none left." in page.words
    assert shown_password(answer) == user.password
    assert page.href("Assign licences") == reverse("user-licences", args=[tenant("contoso"), user.id])
    assert user.licences == ()
    if then:
        assert "Enterprise Mobility + Security E3 (none left)" in page.words  # the next form was opened anew
        assert page.form("op_id").fields["op_id"] != fields["op_id"]


def test_licences_wait_until_it_is_known_whether_the_user_was_created(admin, sandbox, directory):
    fields = wish(admin, ENTERPRISE_E3)
    sandbox.fault("partnercenter", "drop_after", method="POST", path="/users")
    words = Page(admin.post(new_url(), fields)).words
    assert "We do not know if Maya Lind was created" in words
    assert "The licence was not sent: that waits until this is known." in words
    assert "They wait until it is known" in Page(admin.get(operation_url(follower(fields)))).words
    assert licences_of_maya(directory) == set()
    answer = admin.post(operation_url(fields["op_id"]), {"step": "check"})
    assert "The licence was assigned: Enterprise Mobility + Security E3." in Page(answer).words
    assert licences_of_maya(directory) == {ENTERPRISE_E3.id}
    assert trail().count(ASSIGNED[1]) == 1


def test_who_was_not_created_gets_no_licence_and_the_form_keeps_the_tick(admin, directory):
    fields = wish(admin, ENTERPRISE_E3, user_name="adele.vance", domain="contosotrading.example")
    answer = admin.post(new_url(), fields)
    assert answer.status_code == 422
    assert "checked" in Page(answer).attributes(name="licences", value=ENTERPRISE_E3.id)
    waiting = Operation.objects.get(op_id=follower(fields))
    assert (waiting.state, waiting.detail) == (State.STOPPED, "The user was not created.")
    assert len(directory.writes()) == 1


def die(*_args, **_kwargs):
    raise SystemExit("killed")


def test_a_process_that_dies_after_the_create_loses_no_licence(admin, directory, monkeypatch):
    fields = wish(admin, CLASSROOM)
    with monkeypatch.context() as patched:
        patched.setattr(first_licences, "follow", die)
        with pytest.raises(SystemExit):
            admin.post(new_url(), fields)
    assert "The licences of Maya Lind were not assigned yet." in Page(admin.get(users_url())).words
    answer = admin.post(new_url(), fields)
    assert "The licence was assigned: Minecraft Education." in Page(answer).words
    assert shown_password(answer) == directory.named("maya.lind")[0].password
    assert "not assigned yet" not in Page(admin.get(users_url())).words
    assert [line["request_id"] for line in directory.writes()] == [fields["op_id"], follower(fields)]


def test_a_create_that_is_given_up_says_so_and_takes_its_licences_with_it(admin, sandbox, directory, move_clock):
    fields = wish(admin, ENTERPRISE_E3)
    sandbox.fault("partnercenter", "drop_before", method="POST", path="/users$")
    admin.post(new_url(), fields)
    sandbox.no_faults()
    move_clock(200)
    assert "Give it up" in Page(admin.post(operation_url(fields["op_id"]), {"step": "check"})).words
    answers = [
        admin.post(operation_url(fields["op_id"]), {"step": "stop"}),
        admin.get(operation_url(fields["op_id"])),
        admin.post(new_url(), fields),  # the same form, sent once more
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert all("Maya Lind was not created" in Page(answer).words for answer in answers)
    assert set(Operation.objects.values_list("kind", "state")) == {("create", "stopped"), ("licences", "stopped")}
    assert directory.named("maya.lind") == []
    words = first_licences.in_words(Operation.objects.get(op_id=fields["op_id"]))
    assert words == "The licence was not assigned: the user was not created."


@pytest.mark.parametrize("step", ["send", "stop"])
def test_what_was_not_sent_is_found_again_and_sent_or_given_up(admin, sandbox, directory, step):
    fields = wish(admin, ENTERPRISE_E3)
    sandbox.fault("graph", "status", status=503, times=0)  # a create may be tried on a guess, licences may not
    page = Page(admin.post(new_url(), fields))
    assert "Maya Lind was created" in page.words
    assert "The licence was not assigned yet. We could not check your roles" in page.words
    where = page.href("Assign the licence")
    assert where == operation_url(follower(fields))
    assert "The licences of Maya Lind were not assigned yet" in Page(admin.get(where)).words
    assert "It was not sent. We could not check" in Page(admin.post(where, {"step": "send"})).words
    sandbox.no_faults()
    admin.post(where, {"step": step})
    assert licences_of_maya(directory) == ({ENTERPRISE_E3.id} if step == "send" else set())
    words = Page(admin.get(operation_url(fields["op_id"]))).words
    assert ("The licence was assigned:" if step == "send" else "The licence was not assigned. Given up") in words


def test_whatever_stands_in_the_way_of_the_licences_the_password_is_shown(admin, directory, monkeypatch):
    in_the_way = [actions.TooFast(), Unreachable(source="Microsoft Graph", sent=False)]

    def refuse(*_args, **_kwargs):
        raise in_the_way.pop()

    monkeypatch.setattr(actions, "send_again", refuse)
    fields = wish(admin, ENTERPRISE_E3)
    for words in ("Microsoft Graph cannot be reached.", actions.TOO_FAST):
        answer = admin.post(new_url(), fields)
        assert shown_password(answer) == directory.named("maya.lind")[0].password
        assert f"The licence was not assigned yet. {words}" in Page(answer).words
