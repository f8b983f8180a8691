"""Templates of the form for a new user: what they fill in, what they lock, who may change them."""

import pytest
from django.urls import reverse

from customers.models import Customer
from partnerportal.models import AuditEvent, Operator
from partnerportal.sandbox.seed_licences import BUSINESS_PREMIUM, CLASSROOM, ENTERPRISE_E3, POWER_BI_PRO
from tests.pages import Page
from users import seen_skus, templates
from users.models import Operation, SeenSku, UserTemplate

from .conftest import filled, new_url, newcomer, tenant, user_url, users_url

CUSTOM = "contosotrading.example"
LIST, ALL = "templates", "all-templates"


def contoso():
    return Customer.objects.get(tenant_id=tenant("contoso"))


def url(which, customer="contoso"):
    return reverse("template", args=[tenant(customer), which])


def rule(mode, value=""):
    return {"mode": mode, "value": value}


def keep(*, customer=None, name="", **rules):
    """A template that somebody has made."""
    row = UserTemplate(customer=customer)
    return templates.save(row, name=name, rules=rules, version=0, by=Operator.objects.first())


def sent(browser, template=None, **typed):
    return browser.post(new_url() + (f"?template={template.pk}" if template else ""), newcomer(browser, **typed))


def opened(browser, address, **typed):
    """The fields of the form of a template, with what somebody chooses in it."""
    return Page(browser.get(address)).form("version").fields | typed


def to_remove(answer):
    """The fields of the form that takes a template away."""
    return next(form.fields for form in Page(answer).forms if "Remove template" in form.buttons)


def lines(action):
    """What the audit trail keeps of an action: its fields, with before and after."""
    return [event.fields for event in AuditEvent.objects.filter(action=action, kind="outcome").order_by("id")]


# --- What is filled in --------------------------------------------------------------------------------------


def test_the_nearer_layer_fills_in_and_each_value_says_where_it_is_from(writer):
    keep(
        usage_location=rule("default", "FR"), immutable_id=rule("default", "far"), force_change=rule("default", "false")
    )
    keep(customer=contoso(), usage_location=rule("default", "BE"), domain=rule("default", CUSTOM))
    page = Page(writer.get(new_url()))
    fields = page.form("op_id").fields
    assert (fields["usage_location"], fields["domain"], fields["immutable_id"]) == ("BE", CUSTOM, "far")
    assert "force_change" not in fields
    assert page.words.count("From Contoso Trading’s defaults.") == 2
    assert page.words.count("From the defaults of all customers.") == 2


def test_a_named_template_is_chosen_by_a_link_and_goes_before_both(writer):
    keep(customer=contoso(), usage_location=rule("default", "BE"))
    warehouse = keep(customer=contoso(), name="Warehouse", usage_location=rule("default", "IT"))
    keep(name="Everywhere")
    first = Page(writer.get(new_url()))
    assert first.form("op_id").fields["usage_location"] == "BE"
    assert first.href("Everywhere")
    page = Page(writer.get(first.href("Warehouse")))
    fields = page.form("op_id").fields
    assert (fields["usage_location"], fields["template"]) == ("IT", str(warehouse.pk))
    assert "From the template Warehouse." in page.words


def test_two_templates_of_one_name_are_told_apart(writer):
    theirs, everywhere = keep(customer=contoso(), name="Shop"), keep(name="SHOP")
    keep(name="Office")
    page = Page(writer.get(new_url()))
    assert page.href("Shop").endswith(f"?template={theirs.pk}")
    assert page.href("SHOP (all customers)").endswith(f"?template={everywhere.pk}")
    assert page.href("Office")


def test_the_patterns_of_a_template_make_the_names(writer, directory):
    keep(customer=contoso(), user_name=rule("default", "f.last"), display_name=rule("default", "last, first"))
    page = Page(writer.get(new_url()))
    assert page.attributes(id="id_user_name")["data-pattern"] == "f.last"
    assert page.attributes(id="id_display_name")["data-pattern"] == "last, first"
    again = Page(writer.post(new_url(), newcomer(writer, user_name="", display_name=""))).form("op_id").fields
    assert again["user_name"] == "m.lind"
    assert writer.post(new_url(), again).status_code == 200
    (user,) = directory.named("m.lind")
    assert user.display_name == "Lind, Maya"


def test_the_address_fills_in_known_fields_and_never_a_password(writer):
    query = "?first_name=Zoé&user_name=zoe&usage_location=it&domain=nonsense&password=Secret-77&password_mode=typed&x=1"
    query += "&immutable_id=AAAAAAAAAAAAAAAAAAAAAA==&op_id=00000000-0000-4000-8000-000000000000&despite_deleted=on"
    answer = writer.get(new_url() + query)
    fields = Page(answer).form("op_id").fields
    assert (fields["first_name"], fields["user_name"], fields["usage_location"]) == ("Zoé", "zoe", "IT")
    assert (fields["domain"], fields["password"], fields["password_mode"]) == (
        "contosotrading.onmicrosoft.example",
        "",
        "made",
    )
    assert fields["immutable_id"] == "", "it ties the user for good to whomever the sender of a link names"
    assert "despite_deleted" not in fields
    assert not fields["op_id"].startswith("0000")
    assert "From the address of this page." in Page(answer).words
    assert 'value="Secret-77"' not in answer.content.decode()


def test_a_user_like_another_says_whom_and_opens_no_lock(writer, directory):
    keep(usage_location=rule("locked", "FR"))
    like = directory.special("accented")
    like.usage_location = "IT"
    page = Page(writer.get(f"{new_url()}?like={like.id}&usage_location=DE"))
    assert page.form("op_id").fields["usage_location"] == "FR"
    assert page.form("op_id").fields["domain"] == CUSTOM
    assert f"From {like.display_name}." in page.words


# --- What is locked -----------------------------------------------------------------------------------------

LOCKS = {
    "first_name": ("Maya", "Eve"),
    "display_name": ("last first", "Somebody Else"),
    "domain": (CUSTOM, "contosotrading.onmicrosoft.example"),
    "usage_location": ("NL", "DE"),
    "password_mode": ("made", "typed"),
    "force_change": ("on", "false"),
    "immutable_id": ("", "aGVsbG8="),
}


FIXED = [(name, mode) for name in LOCKS for mode in ("locked", "hidden") if mode in templates.FIELDS[name][1]]


@pytest.mark.parametrize(("name", "mode"), FIXED)
def test_a_tampered_post_is_refused_in_words_and_set_back(writer, directory, name, mode):
    value, other = LOCKS[name]
    keep(customer=contoso(), **{name: rule(mode, value)})
    fields = newcomer(writer, display_name="", first_name="Maya") | {name: other}
    answer = writer.post(new_url(), fields)
    page = Page(answer)
    assert answer.status_code == 422
    assert "is locked by Contoso Trading’s defaults" in page.words
    assert directory.writes() == []
    assert not Operation.objects.exists()
    again = page.form("op_id").fields
    assert again.get(name, "") == ("" if name == "display_name" else value)
    assert writer.post(new_url(), again).status_code == 200


def test_a_lock_holds_though_nothing_is_posted_for_it(writer, directory):
    keep(
        usage_location=rule("hidden", "FR"),
        force_change=rule("locked", "on"),
        display_name=rule("hidden", "last first"),
    )
    page = Page(writer.get(new_url()))
    fields = page.form("op_id").fields
    assert "usage_location" not in fields
    assert "Usage location: France, from the defaults of all customers." in page.words
    fields = {name: value for name, value in fields.items() if name != "force_change"}
    answer = writer.post(new_url(), fields | {"first_name": "Maya", "last_name": "Lind", "user_name": "maya.lind"})
    assert answer.status_code == 200
    (user,) = directory.named("maya.lind")
    assert (user.usage_location, user.force_change, user.display_name) == ("FR", True, "Lind Maya")


def test_what_all_customers_have_locked_no_nearer_template_opens(writer):
    keep(usage_location=rule("locked", "FR"))
    keep(customer=contoso(), usage_location=rule("default", "BE"))
    named = keep(customer=contoso(), name="Warehouse", usage_location=rule("hidden", "IT"))
    found = templates.rules_for(contoso(), named)["usage_location"]
    assert (found.mode, found.value, found.source) == ("locked", "FR", "the defaults of all customers")
    UserTemplate.objects.filter(customer=None).update(rules={"usage_location": rule("hidden", "FR")})
    found = templates.rules_for(contoso(), named)["usage_location"]
    assert (found.mode, found.value) == ("hidden", "FR")


def test_what_is_required_stays_so_in_nearer_templates(writer):
    keep(last_name=rule("required"))
    keep(customer=contoso(), last_name=rule("hidden"))
    assert templates.rules_for(contoso())["last_name"].mode == "required"
    page = Page(sent(writer, last_name=""))
    assert "Enter a value: Last name is required by Contoso Trading’s defaults" in page.words


def test_a_locked_pattern_takes_what_it_makes_and_that_with_a_number(writer, directory):
    keep(user_name=rule("locked", "f.last"))
    refused = Page(sent(writer, user_name="maya"))
    assert (
        "User names are made as f.last by the defaults of all customers. Use m.lind, or that with a num"
        in refused.words
    )
    assert sent(writer, user_name="m.lind7").status_code == 200
    taken = Page(sent(writer, user_name="m.lind7", display_name="Another"))
    assert "Available: m.lind2 m.lind3" in taken.words


def test_a_locked_domain_is_not_got_round_by_a_whole_user_name(writer, directory):
    keep(customer=contoso(), domain=rule("locked", CUSTOM))
    page = Page(sent(writer, user_name="maya@contosotrading.onmicrosoft.example"))
    assert f"The domain is locked by Contoso Trading’s defaults: {CUSTOM}. Type the user name without @" in page.words
    assert directory.writes() == []


def test_a_form_whose_template_was_removed_comes_back_without_it(writer, directory):
    row = keep(customer=contoso(), name="Warehouse", usage_location=rule("locked", "IT"))
    fields = filled(writer, f"{new_url()}?template={row.pk}", first_name="Maya", user_name="maya.lind")
    row.delete()
    answer = writer.post(new_url(), fields)
    page = Page(answer)
    assert answer.status_code == 422
    assert "The template of this form is not there any more, so what it locked is open now." in page.words
    assert directory.writes() == []
    again = page.form("op_id").fields
    assert (again["template"], again["first_name"]) == ("", "Maya")
    assert writer.post(new_url(), again).status_code == 200
    assert writer.get(f"{new_url()}?template={row.pk}").status_code == 409
    assert writer.get(f"{new_url()}?template=x").status_code == 409


def test_what_a_template_says_is_text_wherever_it_stands(writer):
    evil = '"><img src=x onerror=alert(1)>{{ 7 }}'
    row = keep(customer=contoso(), name=evil, first_name=rule("locked", evil), last_name=rule("hidden", evil))
    for address in (f"{new_url()}?template={row.pk}", url(row.pk), reverse(LIST, args=[tenant("contoso")])):
        answer = writer.get(address)
        assert answer.status_code == 200
        html = answer.content.decode()
        assert ("&lt;img src=x" in html, "<img src=x" in html) == (True, False)


def test_the_template_of_another_customer_is_none_here(writer, snapshot):
    other = Customer.objects.exclude(tenant_id=tenant("contoso")).exclude(tenant_id=None).first()
    row = keep(customer=other, name="Warehouse")
    assert writer.get(f"{new_url()}?template={row.pk}").status_code == 409
    assert writer.get(url(row.pk)).status_code == 404


# --- Managing them ------------------------------------------------------------------------------------------


def test_a_template_is_made_changed_and_removed_and_the_trail_has_before_and_after(writer):
    fields = opened(writer, url("new"), name="Warehouse", usage_location_mode="locked", usage_location_value="NL")
    assert writer.post(url("new"), fields | {"step": "save"}).status_code == 303
    row = UserTemplate.objects.get()
    assert (row.name, row.rules, row.customer) == ("Warehouse", {"usage_location": rule("locked", "NL")}, contoso())
    words = Page(writer.get(reverse(LIST, args=[tenant("contoso")]))).words
    assert "Warehouse Usage location: Locked: Netherlands" in words
    fields = opened(writer, url(row.pk), usage_location_mode="default")
    assert writer.post(url(row.pk), fields | {"step": "save"}).status_code == 303
    row.refresh_from_db()
    assert writer.post(url(row.pk), {"step": "remove", "version_shown": row.version}).status_code == 303
    assert not UserTemplate.objects.exists()
    locked, free = "Locked: Netherlands", "Filled in, can be changed: Netherlands"
    assert lines("add template") == [{"name": ["", "Warehouse"], "usage_location": ["", locked]}]
    assert lines("change template") == [{"usage_location": [locked, free]}]
    assert lines("remove template") == [{"usage_location": [free, ""]}]


def test_of_two_who_change_a_template_the_later_is_told_and_loses_nothing(writer):
    row = keep(customer=contoso(), name="Warehouse")
    mine, theirs = opened(writer, url(row.pk)), opened(writer, url(row.pk))
    writer.post(url(row.pk), theirs | {"step": "save", "name": "Store"})
    answer = writer.post(url(row.pk), mine | {"step": "save", "name": "Depot"})
    page = Page(answer)
    assert answer.status_code == 409
    assert "Somebody else changed or removed this template since you opened it. Nothing was saved." in page.words
    assert page.form("version").fields["name"] == "Depot"
    row.refresh_from_db()
    assert row.name == "Store"


@pytest.mark.parametrize("name", ["Warehouse", ""])
def test_a_template_that_was_removed_meanwhile_comes_back_as_typed_and_is_made_anew_when_asked(writer, name):
    row = keep(customer=contoso(), name=name, usage_location=rule("default", "NL"))
    here = url(row.pk if name else "defaults")
    typed = opened(writer, here, usage_location_value="FR") | {"step": "save"}
    templates.remove(row, version=row.version, by=row.changed_by)
    answer = writer.post(here, typed)
    page = Page(answer)
    assert answer.status_code == 409
    assert "Somebody removed this template since you opened it. Nothing was saved" in page.words
    assert not UserTemplate.objects.exists()
    fields = page.form("version").fields
    assert (fields.get("name", ""), fields["usage_location_value"]) == (name, "FR")
    assert writer.post(here, fields | {"step": "save"}).status_code == 303
    assert UserTemplate.objects.get().rules == {"usage_location": rule("default", "FR")}


def test_a_template_is_removed_only_as_it_was_shown(writer):
    row = keep(customer=contoso(), name="Warehouse")
    shown = to_remove(writer.get(url(row.pk)))
    writer.post(url(row.pk), opened(writer, url(row.pk)) | {"step": "save", "name": "Store"})
    answer = writer.post(url(row.pk), shown | {"step": "remove"})
    assert answer.status_code == 409
    assert "Somebody else changed this template since you opened it, so it was not removed." in Page(answer).words
    now = to_remove(answer)
    assert writer.post(url(row.pk), now | {"step": "remove"}).status_code == 303
    assert not UserTemplate.objects.exists()
    assert writer.post(url(row.pk), now | {"step": "remove"}).status_code == 303  # somebody did that already


@pytest.mark.parametrize("name", ["Warehouse", "WÁREHOUSE"])
def test_two_templates_of_one_name_are_not_told_apart(writer, name):
    keep(customer=contoso(), name="Warehouse")
    answer = writer.post(url("new"), {"step": "save", "version": "0", "name": name})
    assert answer.status_code == 409
    assert f"There is a template {name} here already." in Page(answer).words


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"name": ""}, "Enter a name, such as the team or the office it is for"),
        ({"name": "\u0301"}, "Enter a name with letters or numbers in it"),
        ({"usage_location_value": "NL"}, "Choose a rule for the value of Usage location, or take the value out"),
        ({"usage_location_mode": "locked"}, "Choose what Usage location is to be"),
        ({"immutable_id_mode": "default"}, "Choose what Immutable ID is to be"),
        ({"password_mode_mode": "hidden", "password_mode_value": "typed"}, "A password that is typed needs its field."),
        ({"domain_mode": "locked", "domain_value": "elsewhere.example"}, "elsewhere.example"),
    ],
)
def test_a_template_that_nobody_could_fill_is_not_saved(writer, typed, said):
    answer = writer.post(url("new"), {"step": "save", "version": "0", "name": "Warehouse"} | typed)
    assert answer.status_code == 422
    assert said in Page(answer).words
    assert not UserTemplate.objects.exists()


def test_the_defaults_of_a_customer_are_one_set(writer):
    for location in ("NL", "BE"):
        fields = opened(writer, url("defaults"), usage_location_mode="default", usage_location_value=location)
        assert writer.post(url("defaults"), fields | {"step": "save"}).status_code == 303
    assert [row.rules["usage_location"]["value"] for row in UserTemplate.objects.all()] == ["BE"]


def test_a_template_is_made_from_a_user(writer, directory):
    user = directory.special("plain")
    page = Page(writer.get(user_url(user.id)))
    fields = opened(writer, page.href("Make a template"))
    domain = user.upn.partition("@")[2]
    assert (fields["domain_mode"], fields["domain_value"]) == ("default", domain)
    assert fields["usage_location_value"] == user.usage_location
    assert fields["first_name_value"] == fields["name"] == ""
    assert page.href("New user like this") == f"{new_url()}?like={user.id}"


def test_a_template_is_copied_to_another_customer_without_the_domain_it_lacks(admin):
    writer, other = admin, Customer.objects.get(tenant_id=tenant("nested_only"))
    row = keep(customer=contoso(), name="Warehouse", domain=rule("locked", CUSTOM), usage_location=rule("locked", "NL"))
    assert writer.post(url(row.pk), {"step": "copy", "to": other.tenant_id.upper()}).status_code == 303
    copied = UserTemplate.objects.get(customer=other)
    assert (copied.name, copied.rules) == ("Warehouse", {"usage_location": rule("locked", "NL")})
    assert lines("copy template here") == [{"name": ["", "Warehouse"], "usage_location": ["", "Locked: Netherlands"]}]
    again = writer.post(url(row.pk), {"step": "copy", "to": other.tenant_id})
    assert again.status_code == 422
    assert "There is a template Warehouse here already." in Page(again).words
    nobody = Page(writer.post(url(row.pk), {"step": "copy", "to": "nowhere.example"}))
    assert "No customer of Partner Center has the tenant ID or default domain nowhere.example." in nobody.words


def test_who_may_not_create_users_there_changes_no_template_and_copies_none_there(writer):
    row = keep(customer=contoso(), name="Warehouse", usage_location=rule("locked", "NL"))
    answer = writer.post(url(row.pk), {"step": "copy", "to": tenant("nested_only")})
    assert "Nothing was copied." in Page(answer).words
    fields = {"step": "save", "version": "0", "usage_location_mode": "locked", "usage_location_value": "NL"}
    answer = writer.post(url("defaults", "nested_only"), fields)
    assert answer.status_code == 403
    assert "are changed by those who may create users there." in Page(answer).words
    assert UserTemplate.objects.get() == row
    denied = AuditEvent.objects.filter(action="change template", outcome="denied", tenant_id=tenant("nested_only"))
    assert denied.count() == 2


def test_the_templates_of_a_customer_are_shown_to_those_who_may_create_users_there(writer, signed_in):
    row = keep(customer=contoso(), name="Warehouse", first_name=rule("default", "Confidential"))
    stranger = signed_in("nested")  # who may create users at another customer
    lists = reverse(LIST, args=[tenant("contoso")])
    for address in (lists, url(row.pk), url("defaults"), url("new"), url(10**9)):
        answer = stranger.get(address)
        assert answer.status_code == 403, address
        assert "Confidential" not in Page(answer).html
        assert "Warehouse" not in Page(answer).html
    assert "Confidential" in Page(writer.get(lists)).words
    posted = stranger.post(url(row.pk), {"step": "save", "version": "0", "name": "Mine", "last_name_value": "typed"})
    assert (posted.status_code, "typed" in Page(posted).html) == (403, True)
    assert "Warehouse" not in Page(posted).html


@pytest.mark.parametrize(("mode", "status"), [("default", 403), ("locked", 422)])
def test_a_form_that_somebody_sends_without_the_right_shows_no_template(writer, signed_in, mode, status):
    fields = newcomer(writer)
    row = keep(customer=contoso(), name="Warehouse", immutable_id=rule(mode, "Confidential"))
    fields |= {"template": str(row.pk), "immutable_id": ""}
    stranger = signed_in("nested")
    answer = stranger.post(new_url(), fields)
    assert answer.status_code == status
    assert "Confidential" not in Page(answer).html
    assert "Warehouse" not in Page(answer).html
    assert Page(answer).form("op_id").fields["last_name"] == "Lind"  # nothing typed is lost


def test_those_of_all_customers_are_read_by_writers_and_changed_by_an_admin(writer, signed_in):
    words = Page(writer.get(reverse(ALL))).words
    assert "You can read these, not change them." in words
    one = reverse("all-template", args=["defaults"])
    assert "Save template" not in Page(writer.get(one)).words
    assert writer.post(one, {"step": "save", "version": "0"}).status_code == 403
    admin = signed_in("admin")
    fields = opened(admin, one, usage_location_mode="locked", usage_location_value="NL")
    assert "domain_mode" not in fields
    assert admin.post(one, fields | {"step": "save"}).status_code == 303
    assert templates.rules_for(contoso())["usage_location"].value == "NL"


def test_a_row_of_the_table_leads_to_a_user_like_it(writer):
    assert "?like=" in Page(writer.get(users_url())).href("New user like this")


# --- Licences -----------------------------------------------------------------------------------------------

E3, BUSINESS = ENTERPRISE_E3, BUSINESS_PREMIUM


def ticked(page):
    """SKU ids that stand ticked on the form."""
    return {told["value"] for tag, told in page.tags if told.get("name") == "licences" and "checked" in told}


def test_the_licences_of_a_template_are_ticked_and_say_where_they_are_from(writer, directory):
    row = keep(
        customer=contoso(), name="Warehouse", licences=rule("default", f"{E3.part_number} | {BUSINESS.name.upper()}")
    )
    page = Page(writer.get(f"{new_url()}?template={row.pk}"))
    assert ticked(page) == {E3.id, BUSINESS.id}
    assert "From the template Warehouse." in page.words
    assert ticked(Page(writer.get(new_url()))) == set()
    fields = page.form("op_id").fields | {"first_name": "Maya", "last_name": "Lind", "user_name": "maya.lind"}
    answer = writer.post(new_url(), fields | {"usage_location": "NL", "licences": [E3.id]})
    assert f"The licence was assigned: {E3.name}." in Page(answer).words
    (user,) = directory.named("maya.lind")
    assert {licence.sku_id for licence in user.licences} == {E3.id}


def test_a_licence_that_cannot_be_had_is_not_ticked_and_told(writer, directory):
    keep(licences=rule("default", f"Nonsense 9000, {E3.part_number}, {POWER_BI_PRO.name}, {CLASSROOM.name}"))
    page = Page(writer.get(new_url()))
    assert ticked(page) == {E3.id}
    assert f"The customer has no licence “Nonsense 9000”. None left of {POWER_BI_PRO.name}." in page.words
    assert f"{CLASSROOM.name} can only be assigned afterwards. Set by the defaults of all customers." in page.words


def test_locked_licences_are_the_only_ones_whatever_is_posted(writer, directory):
    keep(customer=contoso(), licences=rule("locked", BUSINESS.part_number))
    fields = newcomer(writer)
    answer = writer.post(new_url(), fields | {"licences": [E3.id]})
    page = Page(answer)
    assert answer.status_code == 422
    assert "Licences is locked by Contoso Trading’s defaults" in page.words
    assert (directory.writes(), ticked(page)) == ([], {BUSINESS.id})
    fields.pop("licences", None)  # as a browser leaves out what is disabled
    assert f"The licence was assigned: {BUSINESS.name}." in Page(writer.post(new_url(), fields)).words


def test_hidden_licences_are_assigned_and_named(writer, directory):
    keep(licences=rule("hidden", BUSINESS.part_number))
    page = Page(writer.get(new_url()))
    assert f"Licences: {BUSINESS.name}, from the defaults of all customers." in page.words
    assert not [told for _, told in page.tags if told.get("name") == "licences"]
    assert f"The licence was assigned: {BUSINESS.name}." in Page(writer.post(new_url(), newcomer(writer))).words


def test_a_required_licence_is_asked_for_where_there_is_one(writer, directory):
    keep(licences=rule("required"))
    answer = writer.post(new_url(), newcomer(writer))
    assert "Choose one: Licences are required by the defaults of all customers" in Page(answer).words
    assert directory.writes() == []


def test_who_may_not_assign_licences_creates_all_the_same_and_is_told(writer, sandbox, directory):
    keep(licences=rule("locked", BUSINESS.part_number))
    sandbox.fault("partnercenter", "status", method="GET", path="/subscribedskus$", status=403, times=0)
    page = Page(writer.get(new_url()))
    assert f"Not assigned: {BUSINESS.part_number}, set by the defaults of all customers." in page.words
    assert "Maya Lind was created" in Page(writer.post(new_url(), newcomer(writer))).words


def test_the_licences_of_a_template_are_typed_in_its_form_and_those_of_a_user_suggested(writer, directory):
    user = directory.special("plain")
    held = f"{BUSINESS.name} | {POWER_BI_PRO.name}"
    fields = opened(writer, f"{url('new')}?from={user.id}", name="Like Adele")
    assert (fields["licences_mode"], fields["licences_value"]) == ("default", held)
    assert writer.post(url("new"), fields | {"step": "save"}).status_code == 303
    assert UserTemplate.objects.get().rules["licences"] == rule("default", held)
    assert lines("add template")[0]["licences"][1] == f"Filled in, can be changed: {held}"


def licences_of(browser, address, said):
    """The answer to a template that names these licences."""
    fields = opened(browser, address, name="Warehouse", licences_mode="default", licences_value=said)
    return browser.post(address, fields | {"step": "save"})


def test_a_licence_that_the_customer_does_not_have_is_refused_with_what_is_near(writer):
    answer = licences_of(writer, url("new"), f"{E3.part_number} | Busines Premium")
    words = Page(answer).words
    assert (answer.status_code, UserTemplate.objects.count()) == (422, 0)
    assert f"The customer has no licence “Busines Premium”. Did you mean {BUSINESS.name}" in words
    assert "Busines Premium" in Page(answer).form("version").fields["licences_value"]  # nothing typed is lost
    assert licences_of(writer, url("new"), f"{E3.part_number} | {BUSINESS.name.lower()}").status_code == 303


def test_a_template_of_all_customers_names_what_some_customer_has(admin):
    new = reverse("all-template", args=["new"])
    admin.get(new_url())  # which reads what Contoso has
    answer = licences_of(admin, new, "Enterprise E33")
    assert (answer.status_code, UserTemplate.objects.count()) == (422, 0)
    assert "No customer whose licences were read here has a licence “Enterprise E33”." in Page(answer).words
    assert licences_of(admin, new, E3.part_number).url == reverse(ALL)


def test_where_no_licence_was_read_yet_the_template_is_saved_with_a_warning(admin, writer, sandbox):
    told = "Not seen at any customer yet: Enterprise E33."
    answer = licences_of(admin, reverse("all-template", args=["new"]), "Enterprise E33")
    assert told in Page(admin.get(answer.url)).words
    sandbox.fault("partnercenter", "status", method="GET", path="/subscribedskus$", status=403, times=0)
    answer = licences_of(writer, url("new"), "Enterprise E33")
    assert told in Page(writer.get(answer.url)).words


def test_what_licences_are_called_is_read_once_and_written_when_it_is_new(admin, django_assert_num_queries):
    admin.get(new_url())
    seen = {sku.pk: {"name": sku.name, "part": sku.part} for sku in SeenSku.objects.all()}
    assert seen[E3.id] == {"name": E3.name, "part": E3.part_number}
    with django_assert_num_queries(1):
        seen_skus.learn(seen)
    seen_skus.learn({E3.id: {"name": "Renamed", "part": "E3"}})
    assert SeenSku.objects.get(pk=E3.id).name == "Renamed"
    assert seen_skus.anywhere()["renamed"] == "Renamed"
