"""The queue of matches, one pair, all at once and the history, as somebody sees them and presses their buttons."""

import re

import pytest

from customers import decisions
from customers.models import Customer, MatchDecision, MatchSuggestion
from partnerportal.models import AuditEvent
from tests.customers.rows import ap, pc, sources, tenant, walk
from tests.pages import Page

pytestmark = pytest.mark.django_db
QUEUE = "/matches/"
LINKED, APART = MatchDecision.Verdict.LINKED, MatchDecision.Verdict.APART


@pytest.fixture
def queue():
    """Two pairs of a domain, one of a name, and two that share one name."""
    walk(
        [
            pc(tenant(1), "Contoso Ltd", "contoso.example"),
            pc(tenant(2), "Fabrikam", "fabrikam.example"),
            pc(tenant(3), "Named GmbH"),
            pc(tenant(4), "Twin"),
            pc(tenant(5), "Twin"),
        ],
        [
            ap("a1", "CNT Group", owner="it@contoso.example", country="Germany"),
            ap("a2", "Fabrikam", owner="it@fabrikam.example"),
            ap("a3", "Named"),
            ap("a4****", "Twin", status="Finished with exception"),
        ],
    )


def look(browser, path=QUEUE, **query):
    answer = browser.get(path, query)
    assert answer.status_code == 200, answer.status_code
    return Page(answer)


def card_of(page, mine, theirs):
    """The HTML of a pair's card."""
    found = page.html.split(f"/matches/{mine}/{theirs}/decide/")[0]
    return found.rpartition("<article")[2]


def press(browser, n=1, verdict="linked", htmx=False, **more):
    path = f"/matches/{tenant(n)}/a{n}/decide/"
    data = {"verdict": verdict, **more}
    return browser.htmx("post", path, data) if htmx else browser.post(path, data)


# --- What stands there ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("queue")
def test_the_queue_shows_each_pair_side_by_side_the_surest_first(signed_in):
    page = look(signed_in("writer"))
    assert re.findall(r'-title">(.*?)</h2>', page.html)[0].count("Contoso Ltd") == 1
    order = [page.words.index(words) for words in ("High confidence", "Medium confidence", "Low confidence")]
    assert order == sorted(order)
    for words in ("Contoso Ltd", "CNT Group", "it@contoso.example", "Germany", "a4****", "Finished with exception"):
        assert words in page.words
    assert "To check 5" in page.words


@pytest.mark.usefixtures("queue")
def test_equal_parts_are_marked_and_different_ones_are_not(signed_in):
    page = look(signed_in("writer"))
    first = card_of(page, tenant(1), "a1")
    assert first.count("<mark>") == 2  # the domain on either side
    assert first.count("Same</span></td>") == 1  # its row alone: the names differ
    second = card_of(page, tenant(2), "a2")
    assert second.count("Same</span></td>") == 2


@pytest.mark.usefixtures("queue")
def test_a_name_that_is_not_unique_is_told_as_such_and_not_confirmed_in_bulk(signed_in):
    browser = signed_in("writer")
    page = look(browser)
    assert "Same name, but not the only one of that name" in page.words
    assert "Confirm all 2 whose domain is unique on both sides" in page.words
    preview = look(browser, "/matches/confirm/")
    assert "Contoso Ltd" in preview.words
    assert "Twin" not in preview.words
    assert "Named" not in preview.words


@pytest.mark.usefixtures("queue")
def test_one_alone_is_not_called_all(signed_in, monkeypatch):
    monkeypatch.setattr("customers.decisions.MOST_AT_ONCE", 1)
    words = look(signed_in("writer")).words
    assert "Confirm the 1 whose domain is unique on both sides" in words


@pytest.mark.usefixtures("queue")
def test_a_reader_sees_the_queue_without_buttons(signed_in):
    browser = signed_in("reader")
    page = look(browser)
    assert "Contoso Ltd" in page.words
    assert not [form for form in page.forms if "verdict" in str(form.buttons)]
    assert "Confirm all" not in page.words
    assert press(browser).status_code == 403
    assert not MatchDecision.objects.exists()


@pytest.mark.usefixtures("queue")
def test_the_queue_filters_by_reason_and_a_page_past_the_end_is_the_last(signed_in):
    browser = signed_in("writer")
    assert "1–2 of 2" in look(browser, why="domain").words
    assert "1–5 of 5" in look(browser, why="nonsense").words
    answer = browser.get(QUEUE, {"page": "7", "why": "domain"})
    assert (answer.status_code, answer["Location"]) == (303, "/matches/?why=domain")


def test_many_pairs_take_pages_and_few_queries(signed_in, django_assert_max_num_queries):
    walk(
        [pc(tenant(n), f"Company {n}", f"c{n}.example") for n in range(1, 25)],
        [ap(f"a{n}", f"Firm {n}", owner=f"it@c{n}.example") for n in range(1, 25)],
    )
    browser = signed_in("writer")
    with django_assert_max_num_queries(14):  # signing in takes the most of them
        page = look(browser, page="3")
    assert "21–24 of 24" in page.words
    assert page.html.count("<article") == 4


@pytest.mark.usefixtures("snapshot")
def test_the_pretend_cloud_has_pairs_and_none_of_the_partners_own(signed_in):
    page = look(signed_in("writer"))
    assert page.html.count("<article") >= 1
    assert "partnerdesk.example" not in page.html.split("<main")[1]


def test_an_empty_queue_says_so(signed_in):
    assert "Nothing to check" in look(signed_in("reader")).words
    assert "Nothing has been decided yet" in look(signed_in("reader"), show="decided").words


def test_an_owner_of_ours_is_recognised(signed_in):
    browser = signed_in("writer")
    walk([pc(tenant(1), "Contoso", "partnerdesk.example")], [ap("a1", "Contoso", owner="backup@partnerdesk.example")])
    page = look(browser)
    assert "Our own domain: it says nothing" in page.words
    assert "Medium confidence" in page.words  # for its name
    assert "This is our own domain" in look(browser, "/customers/ap-a1/details/").words


def test_a_domain_is_ours_from_the_first_sign_in_and_not_from_the_next_sync(signed_in):
    walk([pc(tenant(1), "Contoso", "partnerdesk.example")], [ap("a1", "CNT", owner="backup@partnerdesk.example")])
    assert MatchSuggestion.objects.count() == 1
    browser = signed_in("writer")
    assert "Nothing to check" in look(browser).words
    assert "Nothing to confirm" in look(browser, "/matches/confirm/").words
    assert "It may be" not in look(browser, "/customers/ap-a1/details/").words


# --- Deciding ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("queue")
def test_without_javascript_a_decision_leads_back_to_its_page_and_says_what_was_done(signed_in):
    browser = signed_in("writer")
    answer = press(browser, page="1")
    assert (answer.status_code, answer["Location"]) == (303, QUEUE)
    assert "Contoso Ltd and CNT Group: linked. 4 left to check." in look(browser).words
    assert sources()[tenant(1)] == "Both"


@pytest.mark.usefixtures("queue")
def test_with_htmx_the_card_is_replaced_and_the_count_is_said(signed_in):
    browser = signed_in("writer")
    before = look(browser)
    card = re.search(r'<article class="card" id="(pair-\d+-\d+)"', before.html)[1]
    page = Page(press(browser, htmx=True))
    assert page.html.count("<article") == 1
    assert card in page.ids
    assert "Linked by Tom Reyes" in page.words
    assert "4 left to check" in page.words
    assert page.attributes(id="to-check")["hx-swap-oob"] == "true"
    assert page.attributes(id=card)["data-focus-next"] == f"#{card} ~ [data-open]"
    assert "data-open" not in page.attributes(id=card)


@pytest.mark.usefixtures("queue")
def test_undo_in_the_card_opens_it_again(signed_in):
    browser = signed_in("writer")
    press(browser, verdict="apart", htmx=True)
    pk = MatchDecision.objects.get().pk
    page = Page(browser.htmx("post", f"/matches/decisions/{pk}/undo/"))
    assert "undecided again. 5 left to check." in page.words
    assert "Keep apart" in page.words
    assert MatchSuggestion.objects.count() == 5


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize("htmx", [True, False])
def test_who_comes_second_gets_a_409_with_who_decided_what(signed_in, cast, htmx):
    browser = signed_in("writer")
    decisions.decide(tenant(1), "a1", APART, by=cast("admin"))
    answer = press(browser, htmx=htmx)
    page = Page(answer)
    assert answer.status_code == 409
    assert "Maya Okafor kept Contoso Ltd and CNT Group apart at" in page.words
    assert "Kept apart by Maya Okafor" in page.words
    if htmx:
        assert answer["HX-Retarget"].startswith("#pair-")
        assert answer["HX-Push-Url"] == "false"
    assert MatchDecision.objects.count() == 1
    assert sources()[tenant(1)] == "Partner Center only"


@pytest.mark.usefixtures("queue")
def test_a_second_press_does_nothing_more(signed_in):
    browser = signed_in("writer")
    assert press(browser, htmx=True).status_code == 200
    assert press(browser, htmx=True).status_code == 409
    assert MatchDecision.objects.count() == 1
    assert AuditEvent.objects.filter(action="link customers", kind="intent").count() == 1


@pytest.mark.usefixtures("queue")
def test_a_stale_page_whose_customer_is_linked_elsewhere_is_told_so(signed_in, cast):
    decisions.decide(tenant(4), "a4****", LINKED, by=cast("admin"))
    browser = signed_in("writer")
    answer = browser.post(f"/matches/{tenant(5)}/a4****/decide/", {"verdict": "linked"})
    assert answer.status_code == 409
    assert "Maya Okafor linked Twin and Twin at" in Page(answer).words


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize("path", [f"/matches/{tenant(1)}/nobody/", f"/matches/{tenant(99)}/a1/", "/matches/x%00/a1/"])
def test_a_pair_of_what_no_source_told_does_not_exist(signed_in, path):
    browser = signed_in("writer")
    assert browser.get(path).status_code == 404
    assert browser.post(f"{path}decide/", {"verdict": "linked"}).status_code == 404
    assert press(browser, verdict="maybe").status_code == 404


@pytest.mark.usefixtures("queue")
def test_a_pair_nobody_suggested_can_be_looked_at_and_linked(signed_in):
    browser = signed_in("writer")
    page = look(browser, f"/matches/{tenant(3)}/A1/")
    assert "Put side by side by hand" in page.words
    assert browser.post(f"/matches/{tenant(3)}/a1/decide/", {"verdict": "linked"}).status_code == 303
    assert sources()[tenant(3)] == "Both"
    assert MatchDecision.objects.get().reason == ""


@pytest.mark.usefixtures("queue")
def test_a_pair_of_which_one_has_vanished_is_neither_shown_nor_linked(signed_in, cast):
    decided = decisions.decide(tenant(2), "a2", APART, by=cast("admin"))
    for minutes in (15, 30):
        walk([pc(tenant(5), "Twin")], minutes=minutes)
    browser = signed_in("writer")
    assert browser.get(f"/matches/{tenant(1)}/a1/").status_code == 404
    answer = browser.post(f"/matches/{tenant(1)}/a1/decide/", {"verdict": "linked"})
    assert answer.status_code == 409
    assert "One of the two is in no source any more. Nothing was done." in Page(answer).words
    assert "a1-link" not in answer.content.decode()
    assert list(MatchDecision.objects.all()) == [decided]
    assert "Kept apart by Maya Okafor" in look(browser, f"/matches/{tenant(2)}/a2/").words
    undone = Page(browser.htmx("post", f"/matches/decisions/{decided.pk}/undo/"))
    assert "These two cannot be linked. One of them is in no source any more." in undone.words


# --- All at once, and the history -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("queue")
def test_all_pairs_of_a_domain_are_linked_by_the_preview_and_undone_by_one_button(signed_in):
    browser = signed_in("writer")
    form = look(browser, "/matches/confirm/").form("seen")
    assert "Link 2 pairs" in form.buttons
    answer = browser.post("/matches/confirm/", form.fields)
    assert (answer.status_code, answer["Location"]) == (303, "/matches/?show=decided")
    assert list(sources().values()).count("Both") == 2
    page = look(browser, QUEUE, show="decided")
    assert "2 pairs linked. 3 left to check." in page.words
    undo = next(form for form in page.forms if "Undo all 2 decided together" in form.buttons)
    assert browser.post(undo.action, undo.fields).status_code == 303
    page = look(browser, QUEUE, show="decided")
    assert "2 decisions undone. 5 left to check." in page.words
    assert page.words.count("undone by Tom Reyes") == 2
    assert "Both" not in sources().values()


@pytest.mark.usefixtures("queue")
def test_a_list_that_is_confirmed_again_after_it_was_undone_links_nothing_and_says_so(signed_in):
    browser = signed_in("writer")
    form = look(browser, "/matches/confirm/").form("seen")
    browser.post("/matches/confirm/", form.fields)
    browser.post(f"/matches/batches/{form.fields['batch']}/undo/")
    answer = browser.post("/matches/confirm/", form.fields)
    page = Page(answer)
    assert answer.status_code == 409
    assert re.search(
        r"Nothing was linked\. You confirmed this list before, and Tom Reyes undid that at \d\d:\d\d UTC on", page.words
    )
    assert "Link 2 pairs" in page.form("seen").buttons
    assert "Both" not in sources().values()
    assert browser.post("/matches/confirm/", page.form("seen").fields).status_code == 303
    assert list(sources().values()).count("Both") == 2


@pytest.mark.usefixtures("queue")
def test_a_list_of_which_a_part_was_undone_tells_what_still_holds(signed_in):
    browser = signed_in("writer")
    form = look(browser, "/matches/confirm/").form("seen")
    browser.post("/matches/confirm/", form.fields)
    browser.post(f"/matches/decisions/{MatchDecision.objects.order_by('pk')[0].pk}/undo/")
    browser.post("/matches/confirm/", form.fields)
    assert "1 pair linked." in look(browser, QUEUE, show="decided").words


@pytest.mark.usefixtures("queue")
def test_a_preview_that_is_out_of_date_links_nothing_and_shows_the_list_as_it_is(signed_in, cast):
    browser = signed_in("writer")
    form = look(browser, "/matches/confirm/").form("seen")
    decisions.decide(tenant(1), "a1", APART, by=cast("admin"))
    answer = browser.post("/matches/confirm/", form.fields)
    page = Page(answer)
    assert answer.status_code == 409
    assert "Nothing was linked." in page.words
    assert "The last decision is of Maya Okafor" in page.words
    assert "Link 1 pair" in page.form("seen").buttons
    assert "Both" not in sources().values()
    assert browser.post("/matches/confirm/", {"seen": "x", "batch": "no id"}).status_code == 404


@pytest.mark.usefixtures("queue")
def test_undoing_what_somebody_undid_says_who(signed_in, cast):
    browser = signed_in("writer")
    press(browser)
    decision = MatchDecision.objects.get()
    decisions.undo(MatchDecision.objects.filter(pk=decision.pk), by=cast("admin"))
    for path in (f"/matches/decisions/{decision.pk}/undo/", f"/matches/batches/{decision.batch}/undo/"):
        answer = browser.post(path)
        assert answer.status_code == 409
        assert "Maya Okafor undid this at" in Page(answer).words
    assert Customer.objects.filter(key="ap-a1").exists()


@pytest.mark.usefixtures("queue")
def test_names_from_upstream_are_shown_as_text(signed_in):
    name = "<script>alert(1)</script>\u202eevil"
    walk(avepoint=[ap("a1", name, owner="it@contoso.example")])
    browser = signed_in("writer")
    page = look(browser)
    assert "<script>alert(1)" not in page.html
    assert "U+202E" in page.words
    press(browser)
    assert "U+202E" in look(browser, show="decided").words
