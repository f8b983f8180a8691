"""The details of a customer: where each field comes from, what differs, its match, and the labels of people."""

import threading

import pytest
from django.db import connections
from django.utils.http import urlencode

from customers import decisions, labels, learning
from customers.models import Customer, Label, MatchDecision, Source
from partnerportal import clock
from partnerportal.models import AuditEvent
from partnerportal.upstream.partner_center import CustomerProfile
from tests.conftest import without_token
from tests.customers.rows import NOON, ap, pc, tenant, walk
from tests.pages import Page, as_read

pytestmark = pytest.mark.django_db
ONE = tenant(1)
DETAILS = f"/customers/{ONE}/details/"


@pytest.fixture
def customer():
    """Told of by both sources, which call it differently; read minutes ago."""
    for name in ("partner_center", "avepoint"):
        Source.objects.update_or_create(name=name, defaults={"last_good_at": clock.now()})
    walk(
        [pc(ONE, "Contoso Ltd", "contoso.example")],
        [ap(ONE.upper(), "CNT Group", owner="it@cnt.example", country="Deutschland", status="Working")],
    )
    return Customer.objects.get()


@pytest.fixture
def alone():
    """Known to AvePoint only."""
    walk([pc(ONE, "Contoso Ltd", "contoso.example")], [ap("Own*1", "CNT Group", owner="it@cnt.example")])
    return Customer.objects.get(key="ap-own*1")


def look(browser, path=DETAILS, **query):
    answer = browser.get(path, query)
    assert answer.status_code == 200, answer.status_code
    return Page(answer)


def row_of(page, field):
    """The words of a field's row."""
    cells = page.html.split(f'scope="row">{field}</th>')[1].split("</tr>")[0]
    return Page(f"<p>{cells}</p>").words


# --- Where it comes from --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("customer")
def test_every_field_names_its_source_and_what_is_shown(signed_in):
    page = look(signed_in("reader"))
    assert "Partner Center, just now" in page.words
    assert "AvePoint, just now" in page.words
    assert row_of(page, "Name").startswith("Contoso Ltd CNT Group Contoso Ltd")
    assert row_of(page, "Default domain") == "contoso.example contoso.example"
    assert row_of(page, "Owner e-mail") == "it@cnt.example it@cnt.example"
    assert row_of(page, "AvePoint status") == "Working Working"
    assert ONE.upper() in page.html  # as AvePoint tells it
    assert "Not seen since" not in page.words


@pytest.mark.usefixtures("customer")
def test_names_and_countries_that_differ_are_a_conflict_with_the_reason(signed_in, customer):
    learning.learn(customer, CustomerProfile(ONE, "", "", "FR", ("shop.example",)), NOON)
    walk(avepoint=[ap(ONE, "CNT Group", country="Germany")])
    page = look(signed_in("reader"))
    assert "Sources differ" in row_of(page, "Name")
    assert "Partner Center’s is shown" in row_of(page, "Name")
    assert row_of(page, "Country").startswith("France Germany Germany Sources differ")
    assert row_of(page, "Other domains") == "shop.example shop.example"
    assert page.words.count("Sources differ") == 2


@pytest.mark.usefixtures("customer")
def test_equal_values_are_no_conflict_whatever_their_case(signed_in):
    walk(avepoint=[ap(ONE, "CONTOSO LTD")])
    page = look(signed_in("reader"))
    assert "Sources differ" not in page.words
    assert "AvePoint calls it" not in page.words


@pytest.mark.usefixtures("customer")
def test_the_head_of_its_pages_hints_at_the_other_name(signed_in):
    page = look(signed_in("reader"))
    assert "AvePoint calls it CNT Group" in page.words
    assert page.href("AvePoint calls it CNT Group") == DETAILS


@pytest.mark.usefixtures("customer")
def test_a_row_that_left_a_source_says_since_when(signed_in):
    walk(avepoint=[], minutes=15)
    page = look(signed_in("reader"))
    assert row_of(page, "Not seen since") == "23 Nov 2026, 12:15:00 UTC"


@pytest.mark.usefixtures("customer")
def test_its_pages_elsewhere_are_plain_links(signed_in):
    page = look(signed_in("reader"))
    assert page.href("Open in Partner Center") == f"https://partner.microsoft.com/dashboard/v2/customers/{ONE}/account"
    assert page.attributes(href=page.href("Open in Partner Center"))["rel"] == "noopener"
    assert page.attributes(href=page.href("Open AvePoint"))["rel"] == "noopener"


def test_a_customer_of_avepoint_alone_has_details_and_its_id_in_the_head(signed_in, alone):
    Source.objects.update_or_create(name="avepoint", defaults={"last_good_at": clock.now()})
    browser = signed_in("reader")
    for path in ("/customers/ap-own*1/details/", "/customers/ap-own*1/users/"):
        page = look(browser, path)
        assert "AvePoint own*1" in page.words, path
        assert "AvePoint, just now" in page.words, path
    assert page.href("Details") == "/customers/ap-own*1/details/"
    assert "Only AvePoint knows this customer." in look(browser, "/customers/ap-own*1/details/").words
    assert alone.avepoint_id == "own*1"


def test_an_old_address_leads_to_the_details_of_the_linked_customer(signed_in, cast, alone):
    decisions.decide(ONE, alone.avepoint_id, MatchDecision.Verdict.LINKED, by=cast("writer"))
    answer = signed_in("reader").get("/customers/ap-own*1/details/")
    assert (answer.status_code, answer["Location"]) == (302, DETAILS)


# --- Its match ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("alone")
def test_a_link_says_who_made_it_and_can_be_undone_here(signed_in, cast):
    decisions.decide(ONE, "own*1", MatchDecision.Verdict.LINKED, by=cast("admin"))
    browser = signed_in("writer")
    page = look(browser)
    assert "Linked by Maya Okafor, just now" in page.words
    form = next(form for form in page.forms if "Undo link" in form.buttons)
    assert browser.post(form.action, form.fields).status_code == 303
    assert "Only Partner Center knows this customer." in look(browser).words
    assert "Undo link" not in look(signed_in("reader")).words


def test_what_it_may_be_and_what_it_was_kept_apart_from_is_told(signed_in, cast):
    walk(
        [pc(ONE, "Contoso", "contoso.example"), pc(tenant(2), "Same")],
        [ap("a1", "Same"), ap("a2", "CNT", owner="x@contoso.example")],
    )
    decisions.decide(tenant(2), "a1", MatchDecision.Verdict.APART, by=cast("admin"))
    browser = signed_in("writer")
    page = look(browser)
    assert "It may be CNT of AvePoint" in page.words
    assert page.href("Compare") == f"/matches/{ONE}/a2/"
    assert "Kept apart from Same by Maya Okafor" in look(browser, "/customers/ap-a1/details/").words
    assert "Kept apart from Same by Maya Okafor" in look(browser, f"/customers/{tenant(2)}/details/").words


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("typed", [ONE.upper(), " Contoso.example "])
def test_a_row_without_a_hint_is_put_beside_a_customer_by_hand(signed_in, typed):
    answer = signed_in("writer").get("/customers/ap-own*1/details/", {"beside": typed})
    assert (answer.status_code, answer["Location"]) == (302, f"/matches/{ONE}/own*1/")


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("typed", ["nowhere.example", tenant(9), "\x00"])
def test_what_partner_center_does_not_have_is_told(signed_in, typed):
    page = look(signed_in("writer"), "/customers/ap-own*1/details/", beside=typed)
    assert "No customer of Partner Center has the tenant ID or default domain" in page.words


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("typed", [ONE, "contoso.example"])
def test_a_customer_that_vanished_from_partner_center_is_put_beside_nothing(signed_in, typed):
    for minutes in (15, 30):
        walk([], minutes=minutes)
    page = look(signed_in("writer"), "/customers/ap-own*1/details/", beside=typed)
    assert "No customer of Partner Center has the tenant ID or default domain" in page.words


# --- Labels ---------------------------------------------------------------------------------------------------


def add(browser, text, kind="alias", htmx=False, key=ONE):
    path, data = f"/customers/{key}/labels/", {"kind": kind, "text": text}
    return browser.htmx("post", path, data) if htmx else browser.post(path, data)


@pytest.mark.usefixtures("customer")
def test_a_label_is_found_by_the_search_at_once_and_until_it_is_removed(signed_in):
    browser = signed_in("writer")
    for kind, text in (("alias", "Göteborg Depot"), ("code", "ERP-4711"), ("code", "CRM 9"), ("tag", "Retail")):
        answer = add(browser, text, kind)
        assert (answer.status_code, answer["Location"]) == (303, f"{DETAILS}#labels")
    for words in ("goteborg", "erp-4711", "CRM 9", "RETAIL"):
        assert Customer.objects.search(words).count() == 1, words
    page = look(browser)
    assert "Göteborg Depot" in page.words
    form = next(form for form in page.forms if form.action.endswith("/remove/"))
    assert browser.post(form.action, form.fields).status_code == 303
    assert Customer.objects.search("goteborg").count() == 0
    assert Label.objects.count() == 3


@pytest.mark.usefixtures("customer")
def test_each_change_is_audited(signed_in):
    browser = signed_in("writer")
    add(browser, "ERP-1", "code")
    browser.post(f"/customers/{ONE}/labels/{Label.objects.get().pk}/remove/")
    events = AuditEvent.objects.filter(kind="intent", action__contains="internal code").order_by("id")
    assert [(event.action, event.tenant_id, event.fields) for event in events] == [
        ("add internal code", ONE, {"internal_code": ["", "ERP-1"]}),
        ("remove internal code", ONE, {"internal_code": ["ERP-1", ""]}),
    ]


@pytest.mark.usefixtures("customer")
@pytest.mark.parametrize("htmx", [True, False])
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Type an alias first."),
        ("  ", "Type an alias first."),
        ("x" * 81, "This has 81 characters. Use 80 or fewer."),
        ("two\nlines", "This holds a character that cannot be seen"),
        ("tab\there", "This holds a character that cannot be seen"),
        ("over\u202eride", "This holds a character that cannot be seen"),
        ("nul\x00", "This holds a character that cannot be seen"),
        ("KNOWN  älias", "Known Alias is there already."),
    ],
)
def test_what_cannot_be_a_label_is_told_with_what_was_typed(signed_in, text, sentence, htmx):
    browser = signed_in("writer")
    add(browser, "Known Alias")
    answer = add(browser, text, htmx=htmx)
    page = Page(answer)
    assert answer.status_code == 422
    assert sentence in page.words
    assert page.attributes(id="add-alias")["aria-invalid"] == "true"
    assert page.attributes(id="add-alias")["value"] == as_read(text)
    assert ("<html" in page.html) is not htmx
    assert Label.objects.count() == 1


def test_labels_are_kept_composed_and_without_double_blanks(customer, cast):
    label = labels.add(customer, Label.Kind.TAG, "  Cafe\u0301   Nord ", by=cast("writer"))
    assert (label.text, label.folded) == ("Café Nord", "cafe nord")
    labels.add(customer, Label.Kind.ALIAS, "Café Nord", by=cast("writer"))  # another kind is another word


def test_twenty_of_a_kind_are_enough(customer, signed_in, cast):
    for number in range(labels.MOST):
        labels.add(customer, Label.Kind.TAG, f"tag {number}", by=cast("writer"))
    browser = signed_in("writer")
    assert "has 20 tags, and more do not fit" in Page(add(browser, "one more", "tag")).words
    assert add(browser, "an alias").status_code == 303


@pytest.mark.usefixtures("customer")
def test_with_htmx_only_the_labels_come_back_and_the_change_is_said(signed_in):
    browser = signed_in("writer")
    page = Page(add(browser, "Depot", htmx=True))
    assert "<html" not in page.html
    assert {"labels", "live"} <= page.ids
    assert "Depot added." in page.words
    assert "autofocus" in page.attributes(id="add-alias")
    label = Label.objects.get()
    assert "Depot removed." in Page(browser.htmx("post", f"/customers/{ONE}/labels/{label.pk}/remove/")).words
    assert "It was removed before." in Page(browser.htmx("post", f"/customers/{ONE}/labels/{label.pk}/remove/")).words


@pytest.mark.usefixtures("customer")
def test_a_label_is_removed_only_from_its_own_customer(signed_in, cast):
    walk([pc(tenant(2), "Other")], partial={"partner_center"})
    label = labels.add(Customer.objects.get(key=tenant(2)), Label.Kind.TAG, "theirs", by=cast("writer"))
    assert signed_in("writer").post(f"/customers/{ONE}/labels/{label.pk}/remove/").status_code == 303
    assert Label.objects.filter(pk=label.pk).exists()
    assert add(signed_in("writer"), "x", "colour").status_code == 404


def test_a_reader_sees_labels_without_forms(customer, signed_in, cast):
    labels.add(customer, Label.Kind.CODE, "ERP-7", by=cast("writer"))
    browser = signed_in("reader")
    page = look(browser)
    assert "ERP-7" in page.words
    assert not [form for form in page.forms if "/labels/" in form.action]
    assert add(browser, "mine").status_code == 403
    assert Label.objects.count() == 1


def test_a_label_of_a_customer_that_only_avepoint_knows_is_found_too(alone, signed_in):
    browser = signed_in("writer")
    assert add(browser, "Depot", key=alone.key).status_code == 303
    assert Customer.objects.search("depot").get() == alone
    assert AuditEvent.objects.get(kind="intent", action="add alias").target_id == "own*1"


def test_names_from_upstream_and_of_people_are_shown_as_text(signed_in, cast):
    walk([pc(ONE, "<b>Bold</b>")], [ap(ONE, "<i>\u202eevil")])
    labels.add(Customer.objects.get(), Label.Kind.ALIAS, '"><script>x</script>', by=cast("writer"))
    page = look(signed_in("writer"))
    for text in ("<b>Bold", "<i>", "<script>x"):
        assert text not in page.html
    assert "U+202E" in page.words


@pytest.mark.django_db(transaction=True)
def test_two_people_who_add_the_same_label_at_once_add_it_once(cast):
    walk([pc(ONE, "Contoso")])
    customer, people, told = Customer.objects.get(), [cast("writer"), cast("admin")], []
    barrier = threading.Barrier(2)

    def press(operator):
        barrier.wait()
        try:
            told.append(labels.add(customer, Label.Kind.TAG, "Depot", by=operator).text)
        except labels.LabelRefused as refused:
            told.append(str(refused))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=press, args=[operator]) for operator in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["Depot", "Depot is there already. Accents and capitals make no difference."]


@pytest.mark.usefixtures("customer")
def test_the_page_asks_no_upstream_and_few_queries(signed_in, sandbox, django_assert_max_num_queries):
    browser = signed_in("writer")
    sandbox.running.journal.clear()
    with django_assert_max_num_queries(20):
        first = browser.get(DETAILS)
    assert sandbox.journal() == []
    assert without_token(first) == without_token(browser.get(f"{DETAILS}?{urlencode({'strange': 'key'})}"))
