"""What the portal has seen of a customer's users orders what can be chosen; Microsoft is asked for none of it."""

from collections import Counter
from datetime import timedelta

import pytest

from customers import countries, learning
from customers.models import Customer
from partnerportal import clock
from partnerportal.upstream.partner_center import CustomerUser
from tests.pages import Page
from users import forms, tally
from users.models import UserTally

from .conftest import edit_url, new_url, newcomer, tenant, users_url

DEFAULT, CUSTOM = "contosotrading.onmicrosoft.example", "contosotrading.example"


def contoso():
    return Customer.objects.get(tenant_id=tenant("contoso"))


def groups(answer):
    """The labels of the groups of a select's options."""
    return [told["label"] for tag, told in Page(answer).tags if tag == "optgroup"]


def people(*locations, domain=CUSTOM):
    return [
        CustomerUser(str(number), f"u{number}@{domain}", f"User {number}", usage_location=location)
        for number, location in enumerate(locations)
    ]


def counted(*locations, at=None, are_all=False, domain=CUSTOM):
    tally.count(contoso(), people(*locations, domain=domain), asked_at=at or clock.now(), are_all=are_all)
    return tally.of(contoso())


def test_the_first_page_tells_the_customer_list_how_many_users_there_are(writer, directory):
    active = [user for user in directory.users().values() if not user.deleted_at]
    writer.get(users_url(query="?size=500"))
    seen = contoso()
    assert (seen.users_seen, seen.users_seen_all) == (len(active), True)
    assert seen.users_seen_at
    writer.get(users_url(query="?state=deleted&size=25"))
    assert contoso().users_seen == len(active)
    page = Page(writer.get(users_url(query="?size=25")))
    assert (contoso().users_seen, contoso().users_seen_all) == (25, False)
    writer.get(page.href("page-next"))
    assert (contoso().users_seen, contoso().users_seen_all) == (25, False)


def test_the_same_number_is_told_anew_once_a_minute_and_another_one_at_once(snapshot):
    at = clock.now()
    for number, seconds, told in ((25, 0, 0), (25, 30, 0), (25, 61, 61), (24, 62, 62)):
        learning.see_users(contoso(), number, all_of_them=False, at=at + timedelta(seconds=seconds))
        assert (contoso().users_seen, contoso().users_seen_at) == (number, at + timedelta(seconds=told))


# --- In the form --------------------------------------------------------------------------------------------


def test_the_locations_of_users_that_were_seen_come_after_the_customers_own(writer, directory):
    moved = ["IT", "NL", "NL", "DE", "FR", "AT", "AT", "AT", "BE"]
    here = [user for user in directory.users().values() if user.usage_location == "US" and not user.deleted_at]
    for user, location in zip(here, moved, strict=False):
        user.usage_location = location
    expected = ["AT", "NL", "BE", "FR", "DE"]  # three, two, and of those with one the first by name
    writer.get(users_url(query="?size=100"))
    for url in (new_url(), edit_url(next(iter(directory.users())))):
        answer = writer.get(url)
        choices = list(Page(answer).form("op_id").choices["usage_location"])
        assert groups(answer) == [forms.MOST_USED, forms.ALL_OTHERS]
        assert choices[: 2 + len(expected)] == ["", "US", *expected]
        assert len(choices) == len(set(choices)) == len(countries.names()) + 1


def test_where_nothing_was_seen_the_countries_stand_in_their_plain_order(writer):
    answer = writer.get(new_url())
    assert groups(answer) == []
    assert list(Page(answer).form("op_id").choices["usage_location"])[:3] == ["", "US", "AF"]


def test_the_form_that_comes_back_has_the_same_order(writer):
    writer.get(users_url(query="?size=100"))
    before = Page(writer.get(new_url())).form("op_id").choices
    answer = writer.post(new_url(), newcomer(writer, user_name=""))
    assert answer.status_code == 422
    assert Page(answer).form("op_id").choices == before


def test_what_was_seen_costs_no_call_more(writer, directory):
    writer.get(new_url())
    directory.asked()
    writer.get(new_url())
    without = directory.asked()
    writer.get(users_url(query="?size=100"))
    directory.asked()
    writer.get(new_url())
    assert sorted(directory.asked()) == sorted(without)  # side by side, in any order


def test_the_domain_with_more_users_comes_first_but_for_the_default_one(writer):
    customer = contoso()
    customer.custom_domains = ["a.example", "b.example", "c.example"]
    customer.domain = DEFAULT
    seen = tally.Tally(domains=Counter({"b.example": 3, "c.example": 7}))
    domains = [value for value, _ in forms.domain_choices(customer, "", seen)]
    assert domains == [DEFAULT, "c.example", "b.example", "a.example", "other"]


# --- What is counted ----------------------------------------------------------------------------------------


def test_a_smaller_page_does_not_replace_a_larger_one_of_the_same_day(writer):
    counted("IT", "IT", "FR")
    assert counted("DE").locations == {"IT": 2, "FR": 1}


def test_a_larger_page_replaces_a_smaller_one(writer):
    counted("DE")
    assert counted("IT", "FR").locations == {"IT": 1, "FR": 1}


def test_a_page_that_shows_all_users_replaces_any(writer):
    counted("IT", "IT", "FR")
    assert counted("DE", are_all=True).locations == {"DE": 1}
    assert UserTally.objects.count() == 1


def test_a_page_of_yesterday_gives_way(writer):
    counted("IT", "IT", "FR", at=clock.now() - timedelta(hours=25))
    assert counted("DE").locations == {"DE": 1}


@pytest.mark.parametrize("location", ["ZZ", "\x00", "Italy", "I" * 5000, "", "<b>"])
def test_what_is_no_country_and_no_domain_is_not_kept(writer, location):
    found = counted(location, "it", domain="\x00evil")
    assert found.locations == {"IT": 1}
    assert found.domains == {}


def test_no_name_of_anybody_is_kept(writer, directory):
    writer.get(users_url(query="?size=100"))
    row = UserTally.objects.get()
    assert row.users == sum(1 for user in directory.users().values() if not user.deleted_at)
    assert set(row.locations) <= set(countries.names())
    assert all("@" not in domain for domain in row.domains)


def test_the_list_of_deleted_users_is_not_counted(writer):
    writer.get(users_url(query="?size=100&state=deleted"))
    assert not UserTally.objects.exists()


def test_who_was_created_after_the_count_counts_too(writer):
    counted("FR", are_all=True)
    writer.post(new_url(), newcomer(writer, usage_location="NL", domain=CUSTOM))
    found = tally.of(contoso())
    assert found.locations == {"FR": 1, "NL": 1}
    assert found.domains == {CUSTOM: 2}


def test_who_was_created_before_the_count_counts_once(writer):
    writer.post(new_url(), newcomer(writer, usage_location="NL", domain=CUSTOM))
    assert tally.of(contoso()).locations == {"NL": 1}
    assert counted("NL", "FR", are_all=True).locations == {"NL": 1, "FR": 1}


def test_a_create_that_was_refused_counts_nothing(writer):
    writer.post(new_url(), newcomer(writer, user_name="adele.vance", domain=CUSTOM))
    assert tally.of(contoso()) == tally.NOTHING_SEEN


# --- One domain ---------------------------------------------------------------------------------------------


@pytest.fixture
def one_domain(sandbox):
    """Contoso has its default domain alone."""
    cloud = sandbox.running.cloud.world.customers[tenant("contoso")]
    assert cloud.directory.users, "who is made when somebody first looks, with the domains of then"
    cloud.custom_domains, cloud.federated_domains = [], []


def test_one_domain_is_text_and_is_what_is_sent(writer, directory, one_domain):
    answer = writer.get(new_url())
    form = Page(answer).form("op_id")
    assert form.fields["domain"] == DEFAULT
    assert "domain" not in form.choices
    assert "other_domain" not in form.fields
    assert f"@{DEFAULT} For another domain, type the whole user name with its @." in Page(answer).words
    assert Page(answer).attributes(id="id_user_name")["aria-describedby"].split()[0] in Page(answer).ids
    writer.post(new_url(), newcomer(writer))
    (user,) = directory.named("maya.lind")
    assert user.upn == f"maya.lind@{DEFAULT}"


def test_beside_one_domain_another_is_typed_with_the_name_and_judged_there(writer, one_domain):
    for typed, said in (
        ("maya.lind@elsewhere.example", "elsewhere.example is not a verified domain of this customer. Choose another"),
        ("maya.lind@nodots", "Enter a domain such as contoso.com, 48 characters at most"),
    ):
        answer = writer.post(new_url(), newcomer(writer, user_name=typed))
        page = Page(answer)
        assert answer.status_code == 422
        assert page.href(said) == "#id_user_name"
        assert page.form("op_id").fields["user_name"] == typed
        assert page.form("op_id").fields["domain"] == DEFAULT


def test_a_domain_that_was_seen_at_a_user_makes_it_a_choice_again(writer, one_domain):
    writer.get(users_url(query="?size=100"))
    assert CUSTOM in Page(writer.get(new_url())).form("op_id").choices["domain"]


def test_before_partner_center_told_of_the_domains_one_that_is_known_may_not_be_the_only_one(writer, sandbox):
    sandbox.fault("partnercenter", "status", status=503, path=f"/customers/{tenant('contoso')}$", times=0)
    assert list(Page(writer.get(new_url())).form("op_id").choices["domain"]) == [DEFAULT, "other"]


def test_one_domain_that_is_federated_can_be_seen_but_not_chosen(admin):
    admin.get(users_url("federated"))
    choices = Page(admin.get(new_url("federated"))).form("op_id").choices["domain"]
    assert list(choices.values()) == [False, True]


def test_another_domain_that_was_typed_is_still_there_when_one_is_known(writer, one_domain):
    fields = newcomer(writer, domain="other", other_domain="elsewhere.example")
    again = Page(writer.post(new_url(), fields)).form("op_id")
    assert (again.fields["domain"], again.fields["other_domain"]) == ("other", "elsewhere.example")


def test_whoever_is_in_a_federated_domain_keeps_it_when_the_form_comes_back(admin, directory):
    erica = next(user for user in directory.users().values() if user.upn.endswith("@fed.contosotrading.example"))
    admin.get(users_url(query="?size=100"))  # sees that it is federated
    url = edit_url(erica.id)
    fields = Page(admin.get(url)).form("op_id").fields
    answer = admin.post(url, fields | {"user_name": "not allowed", "step": "review"})
    assert answer.status_code == 422
    form = Page(answer).form("op_id")
    assert form.fields["domain"] == "fed.contosotrading.example"
    assert form.choices["domain"]["fed.contosotrading.example"], "a browser would not send an option that is off"
