"""The customer list as pages: search, filters, sorting, paging, and the one true URL of each."""

import re

import pytest

from customers import merge, sync
from customers.models import Customer, SourceName, SyncRun
from partnerportal import clock
from partnerportal.models import TokenCache
from partnerportal.sandbox.seed import SPECIAL, SPECIAL_NAMES
from tests.conftest import Browser
from tests.pages import Page

pytestmark = pytest.mark.django_db
LIST = "/customers/"
ONE = "11111111-1111-4111-8111-111111111111"
TWO = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def reader(signed_in, snapshot) -> Browser:
    return signed_in("reader")


def look(browser, path=LIST, **query):
    answer = browser.get(path, query)
    assert answer.status_code == 200, (answer.status_code, answer.get("Location"))
    return Page(answer)


def keys(page):
    """The customers of the table, in order."""
    return re.findall(r'scope="row"><a href="/customers/([^/"]+)/users/"', page.html)


def names(page):
    return [" ".join(name.split()) for name in re.findall(r'scope="row"><a [^>]+><bdi[^>]*>(.*?)</bdi>', page.html)]


def row_of(page, key):
    """The table row of a customer, as HTML."""
    return page.html.split(f'/customers/{key}/users/"')[1].split("</tr>")[0]


# --- What stands there ----------------------------------------------------------------------------------------


def test_the_first_page_asks_no_upstream_and_shows_twenty_five(reader, sandbox):
    sandbox.running.journal.clear()
    page = look(reader)
    assert len(keys(page)) == 25
    assert f"1–25 of {Customer.objects.count()}" in page.words
    assert page.title.startswith("Customers (page 1 of ")
    assert "Partner Center less than a minute old" in page.words
    assert sandbox.journal() == []


def test_every_customer_stands_on_exactly_one_page(reader):
    found, page = [], look(reader, size=50)
    found += keys(page)
    while page.href("page-next"):
        page = look(reader, page.href("page-next"))
        found += keys(page)
    known = Customer.objects.order_by("sort_name", "id").values_list("key", flat=True)
    assert [key.replace("%2A", "*") for key in found] == list(known)


def test_the_row_tells_domain_source_country_and_status(reader):
    row = row_of(look(reader, q=SPECIAL_NAMES["unknown_status"]), SPECIAL["unknown_status"])
    customer = Customer.objects.get(tenant_id=SPECIAL["unknown_status"])
    for words in (customer.domain, "Both", customer.country, "Recalculating entitlements"):
        assert words in row


def test_a_customer_of_one_source_says_which(reader):
    row = row_of(look(reader, q=SPECIAL_NAMES["pc_only"]), SPECIAL["pc_only"])
    assert "Partner Center only" in row
    assert "Not in AvePoint" in row
    page = look(reader, source="ap", q="Southridge Video")
    assert len(keys(page)) == 2
    assert page.words.count("AvePoint only") >= 2


def test_names_are_escaped_and_isolated(reader):
    page = look(reader, size=200)
    assert "<script>alert" not in page.html
    assert "&lt;script&gt;alert(&#x27;Sandbox&#x27;)&lt;/script&gt; Ltd" in page.html
    assert f'<bdi dir="auto">{SPECIAL_NAMES["rtl"]}</bdi>' in page.html
    assert "O&#x27;Neil &quot;Quick&quot; &amp; Sons" in page.html
    assert SPECIAL_NAMES["long_name"] in page.html


def test_a_search_that_is_a_script_comes_back_as_text(reader):
    page = look(reader, q='"><script>alert(1)</script>', sort="-domain", country="<img src=x>", ap="'><b>")
    assert "<script>alert(1)" not in page.html
    assert "<img src=x>" not in page.html
    assert "<b>" not in page.html.split('id="table"')[1].split("</section>")[0]


def test_hidden_characters_in_names_are_shown(signed_in):
    merge.swap({SourceName.PARTNER_CENTER: [merge.Seen(ONE, ONE, "Con\u202etoso\u200b")]}, clock.now())
    page = look(signed_in("reader"))
    assert "U+202E" in page.html
    assert "\u202e" not in page.html


# --- Search ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("CONTOSO trad", "contoso"),
        ("trading contoso", "contoso"),
        ("cajovna ubergrosse", "accents"),
        ("o'neil", "quotes"),
        ("النخيل", "rtl"),
        ("contosotrading.onmicrosoft", "contoso"),
        (SPECIAL["masked_id"][:20], "masked_id"),
        (SPECIAL["masked_id"][-12:].upper(), "masked_id"),
    ],
)
def test_a_search_finds_by_name_domain_and_tenant_id(reader, text, key):
    assert SPECIAL[key] in keys(look(reader, q=text))


def test_a_search_that_matches_nothing_says_so_and_offers_a_way_out(reader):
    page = look(reader, q="vinyard")
    assert "No customer matches “vinyard”" in page.words
    assert page.href("Clear search") == LIST
    page = look(reader, q="contoso", source="ap")
    assert "1 matches without the filters." in page.words
    assert page.href("Clear filters") == "/customers/?q=contoso"


@pytest.mark.parametrize("text", ["%", "_", "\\", "'", "a" * 5000, "\x00", "%00", "x " * 300, "🎉", "\ud7ff"])
def test_any_text_can_be_searched_for(reader, text):
    look(reader, q=text)


def test_a_percent_sign_is_no_wildcard(reader):
    assert keys(look(reader, q="cont%so")) == []
    assert keys(look(reader, q="cont_so")) == []


@pytest.mark.parametrize(
    "text", [SPECIAL["contoso"], f" {SPECIAL['contoso'].upper()} ", "ContosoTrading.onmicrosoft.example"]
)
def test_a_pasted_tenant_id_or_domain_leads_to_the_customer(reader, text):
    answer = reader.get(LIST, {"q": text})
    assert (answer.status_code, answer["Location"]) == (302, f"/customers/{SPECIAL['contoso']}/")


def test_while_typing_it_leads_nowhere(reader):
    answer = reader.htmx("get", LIST, {"q": SPECIAL["contoso"]})
    assert answer.status_code == 200
    assert keys(Page(answer)) == [SPECIAL["contoso"]]


def test_a_tenant_id_that_nobody_has_is_a_search_like_any_other(reader):
    assert keys(look(reader, q=SPECIAL["not_ours"])) == []


def test_a_domain_of_two_customers_leads_to_neither(signed_in):
    seen = [merge.Seen(tenant_id, tenant_id, "Twin", "contoso.example") for tenant_id in (ONE, TWO)]
    merge.swap({SourceName.PARTNER_CENTER: seen}, clock.now())
    assert keys(look(signed_in("reader"), q="contoso.example")) == [ONE, TWO]


# --- Filters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "rule"),
    [
        ({"source": "both"}, {"in_partner_center": True, "in_avepoint": True}),
        ({"source": "pc"}, {"in_partner_center": True, "in_avepoint": False}),
        ({"source": "ap"}, {"in_partner_center": False, "in_avepoint": True}),
        ({"country": "Vietnam"}, {"country": "Vietnam"}),
        ({"ap": "Failed"}, {"ap_status": "Failed"}),
        ({"ap": "Failed", "source": "both"}, {"ap_status": "Failed", "in_partner_center": True}),
    ],
)
def test_a_filter_shows_those_and_no_others(reader, query, rule):
    page = look(reader, **query, size=200)
    wanted = set(Customer.objects.filter(**rule).values_list("key", flat=True))
    assert wanted
    assert {key.replace("%2A", "*") for key in keys(page)} == wanted


def test_what_is_applied_is_shown_and_can_be_taken_away(reader):
    page = look(reader, source="pc", country="Vietnam", ap="Failed", q="a", sort="-name", size=50)
    assert page.href("Clear all") == "/customers/?q=a&sort=-name&size=50"
    chip = page.attributes(**{"aria-label": "Remove filter Source: Partner Center only"})
    assert chip["href"] == "/customers/?q=a&country=Vietnam&ap=Failed&sort=-name&size=50"
    form = page.form("country")
    assert form.fields == {
        "q": "a",
        "source": "pc",
        "country": "Vietnam",
        "access": "",
        "ap": "Failed",
        "sort": "-name",
        "size": "50",
    }


def test_the_filters_offer_what_there_is(reader):
    form = look(reader).form("ap")
    assert set(form.choices["country"]) == {"", *Customer.objects.exclude(country="").values_list("country", flat=True)}
    assert "Recalculating entitlements" in form.choices["ap"]
    assert form.action == LIST


# --- Order ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", ["name", "domain", "country", "ap"])
def test_both_directions_keep_empty_values_last(reader, sort):
    column = {"name": "sort_name", "ap": "ap_status"}.get(sort, sort)
    for direction in ("", "-"):
        page = look(reader, sort=f"{direction}{sort}", size=200)
        by_key = {customer.key: getattr(customer, column) for customer in Customer.objects.all()}
        values = [by_key[key.replace("%2A", "*")] for key in keys(page)]
        filled = [value for value in values if value]
        assert values == [*filled, *[""] * (len(values) - len(filled))]
        groups = list(dict.fromkeys(filled))
        assert len(groups) == len(set(filled)), "equal values stand together"
        expected = Customer.objects.in_order(f"{direction}{sort}").values_list(column, flat=True)
        assert values == list(expected)


def test_the_order_is_told_to_screen_readers_and_turned_round_by_its_header(reader):
    page = look(reader)
    assert page.href("sort-name") == "/customers/?sort=-name"
    assert page.attributes(**{"aria-sort": "ascending"})
    page = look(reader, "/customers/?sort=-name&page=2")
    assert page.href("sort-name") == LIST
    assert page.href("sort-country") == "/customers/?sort=country"
    assert page.attributes(**{"aria-sort": "descending"})


def test_names_are_in_order_whatever_their_case_and_accents(signed_in):
    told = ["Zebra", "éclair", "Ebony", "Eden", "apple", "Ærø"]
    seen = [merge.Seen(f"{n}{ONE[1:]}", "x", name) for n, name in enumerate(told)]
    merge.swap({SourceName.PARTNER_CENTER: seen}, clock.now())
    assert names(look(signed_in("reader"))) == ["Ærø", "apple", "Ebony", "éclair", "Eden", "Zebra"]


# --- Pages ----------------------------------------------------------------------------------------------------


def test_a_page_past_the_end_leads_to_the_last_one(reader):
    last = -(-Customer.objects.count() // 25)
    answer = reader.get("/customers/?sort=-name&page=999")
    assert (answer.status_code, answer["Location"]) == (303, f"/customers/?sort=-name&page={last}")
    answer = reader.get("/customers/?q=contoso&page=2")
    assert (answer.status_code, answer["Location"]) == (303, "/customers/?q=contoso")
    answer = reader.htmx("get", "/customers/?page=999")
    assert answer["HX-Redirect"] == f"/customers/?page={last}"


def test_the_links_of_the_pages_keep_the_question(reader):
    page = look(reader, "/customers/?q=a&source=both&sort=-name&size=25&page=1&unheard=of")
    assert page.href("page-next") == "/customers/?q=a&source=both&sort=-name&page=2"
    page = look(reader, page.href("page-next"))
    assert page.href("page-previous") == "/customers/?q=a&source=both&sort=-name"


def test_the_size_of_a_page_can_be_chosen(reader):
    page = look(reader, size=50, q="a")
    assert len(keys(page)) <= 50
    sizes = page.attributes(id="size")
    assert sizes["name"] == "size"
    assert 'value="200"' in page.html


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("source=mars", "There is no source “mars”. It was left out."),
        ("sort=users", "There is no sort “users”. It was left out."),
        ("sort=--name", "There is no sort “--name”. It was left out."),
        ("page=-1", "There is no page “-1”. It was left out."),
        ("page=0", "There is no page “0”. It was left out."),
        ("page=1e3", "There is no page “1e3”. It was left out."),
        ("page=99999999999999999999", "There is no page “99999999999999999999”. It was left out."),
        ("page=²", "There is no page “²”. It was left out."),
        ("size=26", "There is no size “26”. It was left out."),
        ("size=<script>", "There is no size “<script>”. It was left out."),
    ],
)
def test_an_unknown_value_is_answered_with_the_list_and_a_notice(reader, query, words):
    page = look(reader, f"{LIST}?{query}&q=contoso")
    assert words in page.words
    assert keys(page) == [SPECIAL["contoso"]]
    assert page.href("sort-country") == "/customers/?q=contoso&sort=country"


def test_an_unknown_key_is_ignored(reader):
    page = look(reader, "/customers/?cols=name&unknown=x&q=contoso&q=contoso")
    assert "There is no" not in page.words
    assert keys(page) == [SPECIAL["contoso"]]


# --- htmx and without it --------------------------------------------------------------------------------------


def test_htmx_gets_the_table_alone(reader):
    answer = reader.htmx("get", "/customers/?q=contoso")
    html = answer.content.decode()
    assert html.lstrip().startswith('<section class="card" id="table"')
    assert "<html" not in html
    assert '<div id="live" hx-swap-oob="innerHTML">1 customer, page 1 of 1</div>' in html
    assert {"HX-Request", "HX-History-Restore-Request", "Cookie"} <= set(answer["Vary"].split(", "))
    assert answer["Cache-Control"] == "no-store"


def test_a_history_restore_gets_the_whole_page(reader):
    answer = reader.get(LIST, headers={"HX-Request": "true", "HX-History-Restore-Request": "true"})
    assert "<html" in answer.content.decode()
    assert not answer.has_header("HX-Push-Url")
    assert "HX-Request" in reader.get(LIST)["Vary"]


def test_the_address_bar_gets_the_url_without_what_is_empty(reader):
    query = "/customers/?q=a&source=&country=&ap=Failed&page=1"
    answer = reader.htmx("get", query)
    assert answer["HX-Push-Url"] == "/customers/?q=a&ap=Failed"
    typing = reader.get(query, headers={"HX-Request": "true", "HX-Trigger-Name": "q"})
    assert typing["HX-Replace-Url"] == "/customers/?q=a&ap=Failed"
    assert not typing.has_header("HX-Push-Url")


def test_every_control_works_without_javascript(reader):
    page = look(reader)
    for link in page.links:
        assert link.href not in ("", "#"), link
    assert page.form("q").action == LIST
    assert 'class="btn no-js"' in page.html
    answer = reader.get(LIST, page.form("q").fields | {"q": "contoso"})
    assert keys(Page(answer)) == [SPECIAL["contoso"]]


@pytest.mark.parametrize("query", ["", "?q=a", "?q=contoso&source=ap", "?sort=-country&size=200"])
def test_a_page_takes_few_queries_whatever_it_shows(reader, query, django_assert_max_num_queries):
    with django_assert_max_num_queries(5):
        look(reader, f"{LIST}{query}")


# --- Refresh --------------------------------------------------------------------------------------------------


def test_refresh_asks_for_a_sync_and_keeps_the_list_as_it_was(reader):
    page = look(reader, "/customers/?q=a&sort=-name&page=2")
    form = page.form("query")
    answer = reader.post(form.action, form.fields)
    assert (answer.status_code, answer["Location"]) == (303, "/customers/?q=a&sort=-name")
    run = SyncRun.objects.get(open=True)
    assert run.requested_by.name == "Ines Halloran"
    assert run.grant == TokenCache.objects.get()
    page = look(reader)
    assert "A sync is under way" in page.words


def test_refresh_twice_is_one_run(reader):
    reader.post("/customers/refresh/")
    reader.post("/customers/refresh/", {"query": "\x00=&&%%%"})
    assert SyncRun.objects.filter(open=True).count() == 1


def test_a_refresh_by_htmx_is_led_by_its_own_header(reader):
    assert reader.htmx("post", "/customers/refresh/")["HX-Redirect"] == LIST


def test_the_page_can_ask_how_far_the_sync_is(reader):
    run, _ = sync.request_sync()
    held = SyncRun.claim(run.pk)
    held.beat(12_345)
    answer = reader.htmx("get", "/customers/refresh/")
    assert (answer.status_code, Page(answer).words) == (200, "A sync is under way: 12,345 rows so far")
    held.write(state=SyncRun.State.DONE, open=None, finished_at=held.started_at)
    answer = reader.htmx("get", "/customers/refresh/")
    assert answer.status_code == 286
    assert "The last sync ended just now. Show the list as it is now" in Page(answer).words
    assert Page(answer).href("Show the list as it is now") == LIST


def test_a_source_that_did_not_answer_the_sync_is_named_as_soon_as_it_ends(reader, sandbox):
    sandbox.fault("avepoint", "status", status=503, times=0)
    sync.sync_now()
    words = Page(reader.htmx("get", "/customers/refresh/")).words
    assert "The last sync ended just now. AvePoint is not answering Show the list as it is now" in words
    assert "The last sync ended, AvePoint is not answering" in words  # read out
    assert "Partner Center" not in words


def test_the_address_of_the_progress_is_no_page(reader):
    answer = reader.get("/customers/refresh/")
    assert (answer.status_code, answer["Location"]) == (302, LIST)


# --- Nothing there --------------------------------------------------------------------------------------------


def test_before_the_first_sync_there_is_a_button(signed_in):
    page = look(signed_in("reader"))
    assert "No customers yet" in page.words
    assert "Nothing has been read from Partner Center and AvePoint so far." in page.words
    [form] = [form for form in page.forms if "Sync now" in form.buttons]
    assert form.action == "/customers/refresh/"
    assert "not loaded yet" in page.words


def test_sources_that_answered_with_none_are_quoted(signed_in, sandbox):
    sandbox.running.cloud.reset("empty")
    sync.sync_now()
    page = look(signed_in("reader"))
    assert "Partner Center and AvePoint answered with none." in page.words
    assert any("Sync now" in form.buttons for form in page.forms)


def test_sources_that_never_answered_are_no_empty_list(signed_in, sandbox):
    for service in ("partnercenter", "avepoint"):
        sandbox.fault(service, "drop_before", times=0)
    sync.sync_now()
    page = look(signed_in("reader"))
    assert "The sources did not answer so far, see above." in page.words
    assert "Partner Center has not been read yet." in page.words
    assert "AvePoint has not been read yet." in page.words


# --- Addresses of customers -----------------------------------------------------------------------------------


def test_the_address_of_a_customer_leads_to_its_users(reader):
    answer = reader.get(f"/customers/{SPECIAL['contoso'].upper()}/")
    assert (answer.status_code, answer["Location"]) == (302, f"/customers/{SPECIAL['contoso']}/users/")


@pytest.mark.parametrize("key", [SPECIAL["not_ours"], "ap-nobody", "ap-", "x", "%00", "ap-%00", "%F0%28", "a" * 3000])
def test_an_address_of_nobody_is_no_page(reader, key):
    assert reader.get(f"/customers/{key}/").status_code == 404
