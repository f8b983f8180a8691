"""The users table: one live page at a time, First, Previous and Next, and what nobody gets to see."""

import re
import threading
import uuid
from datetime import datetime, timedelta
from functools import cached_property
from html import unescape

import pytest
from django.urls import reverse

from customers.models import Customer
from customers.tasks import read_groups
from partnerportal import clock, vault
from partnerportal.sandbox import seed
from partnerportal.upstream.partner_center import CustomerUser
from tests.customers.gdap_reads import grant_of, read_as
from tests.pages import Page
from users import table, walks
from users.models import KeptPage, UserWalk
from users.tasks import purge_secrets

from .conftest import edit_url, new_url, newcomer, tenant, user_url, users_url

GONE = "That page is no longer there. This is the first page again."
REFUSED = "Partner Center no longer knows that page. This is the first page again."


class Part:
    """A page, or the table alone, taken apart no more than needed: some of them are long."""

    def __init__(self, answer):
        self.html = answer.content.decode()

    @cached_property
    def page(self):
        return Page(self.html)

    @property
    def words(self):
        return self.page.words

    def href(self, link):
        found = re.search(rf'<a [^>]*id="{link}"[^>]* href="([^"]*)"', self.html)
        return unescape(found[1]) if found else self.page.href(link) if not link.startswith("page-") else ""


def rows(page):
    """The ids of the users on a page, in order."""
    return re.findall(r'<tr role="row" id="row-([0-9a-f-]{36})"', page.html)


def lists(asked):
    return [line for line in asked if re.fullmatch(r"partnercenter GET /v1/customers/[^/]+/users", line)]


def look(browser, url):
    answer = browser.get(url)
    assert answer.status_code == 200, Page(answer).words
    return Part(answer)


def walk(browser, url, link):
    """All pages from `url` along `link`, as htmx fetches them."""
    while url:
        answer = browser.htmx("GET", url)
        assert answer.status_code == 200, Page(answer).words
        yield (page := Part(answer))
        url = page.href(link)


# --- How often upstream is asked ----------------------------------------------------------------------------


def test_a_cold_page_asks_for_the_list_once_and_for_rights_and_profile_beside_it(admin, directory):
    directory.asked()
    look(admin, users_url())
    asked = [line for line in directory.asked() if not line.startswith("entra")]
    assert sorted(asked) == [
        "graph GET /v1.0/me/transitiveMemberOf/microsoft.graph.group",
        "graph GET /v1.0/tenantRelationships/delegatedAdminRelationships",
        "graph POST /v1.0/$batch",
        "partnercenter GET /v1/customers/…",
        "partnercenter GET /v1/customers/…/users",
    ]


def test_a_warm_page_asks_for_the_list_alone(admin, directory):
    first = look(admin, users_url())
    directory.asked()
    look(admin, first.href("page-next"))
    assert directory.asked() == ["partnercenter GET /v1/customers/…/users"]


@pytest.mark.parametrize(("service", "path"), [("partnercenter", "/users$"), ("graph", "Relationships$")])
def test_rights_and_list_are_asked_side_by_side(admin, sandbox, service, path):
    sandbox.fault(service, "slow", path=path, seconds=0.6)
    look(admin, users_url())
    arrived = {}
    for line in sandbox.journal():
        arrived.setdefault((line["service"], line["method"], line["path"].rpartition("/")[2]), line["at"])
    slow = arrived["partnercenter", "GET", "users"], arrived["graph", "GET", "delegatedAdminRelationships"]
    apart = abs(datetime.fromisoformat(slow[0]) - datetime.fromisoformat(slow[1]))
    assert apart < timedelta(seconds=0.6)


def test_what_the_page_takes_of_the_database_is_read_while_microsoft_is_asked():
    read = threading.Event()
    answers = table.side_by_side(lambda: read.wait(20), lambda: "rights", meanwhile=read.set)
    assert answers == [True, "rights"]


@pytest.mark.parametrize("calls", [[], [lambda: "rights"], [lambda: "page", lambda: "rights"]])
def test_it_is_read_once_whatever_is_asked(calls):
    done = []
    assert table.side_by_side(*calls, meanwhile=lambda: done.append("read")) == [call() for call in calls]
    assert done == ["read"]


def test_a_right_is_asked_again_after_a_minute(admin, directory, move_clock):
    look(admin, users_url())
    move_clock(59)
    directory.asked()
    look(admin, users_url())
    assert not [line for line in directory.asked() if "graph" in line]
    move_clock(61)
    look(admin, users_url())
    assert [line for line in directory.asked() if "delegatedAdminRelationships" in line]


def test_the_customer_is_read_by_id_once_a_day(admin, directory, move_clock, signed_in):
    customer = Customer.objects.get(tenant_id=tenant("contoso"))
    assert customer.profile_read_at is None
    page = look(admin, users_url())
    customer.refresh_from_db()
    assert customer.custom_domains[:2] == ["contosotrading.onmicrosoft.example", "contosotrading.example"]
    assert "United States" in page.words
    directory.asked()
    look(signed_in("reader"), users_url())
    assert "partnercenter GET /v1/customers/…" not in directory.asked()
    move_clock(24 * 3600 + 1)
    look(signed_in("admin"), users_url())
    assert "partnercenter GET /v1/customers/…" in directory.asked()


def test_a_customer_read_before_a_clock_was_put_right_is_read_anew(admin, directory):
    look(admin, users_url())
    Customer.objects.update(profile_read_at=clock.now() + timedelta(days=2))
    directory.asked()
    look(admin, users_url())
    assert "partnercenter GET /v1/customers/…" in directory.asked()


def test_a_profile_that_does_not_come_is_no_reason_to_show_no_users(admin, sandbox):
    sandbox.fault("partnercenter", "status", path=f"/customers/{tenant('contoso')}$", times=0)
    assert len(rows(look(admin, users_url()))) == 25


def test_federated_domains_are_learned_from_the_users_seen(admin):
    look(admin, users_url(query="?size=100"))
    customer = Customer.objects.get(tenant_id=tenant("contoso"))
    assert customer.seen_domains["fed.contosotrading.example"] == "federated"
    assert customer.seen_domains["contosotrading.example"] == ""


def test_a_domain_that_is_managed_again_is_open_for_new_users_again(admin, directory, sandbox):
    fed = "fed.contosotrading.example"
    look(admin, users_url(query="?size=100"))
    assert admin.post(new_url(), newcomer(admin, domain=fed)).status_code == 422
    sandbox.running.cloud.world.customers[tenant("contoso")].federated_domains = []
    for user in directory.users().values():
        user.domain_type = "managed"
    look(admin, users_url(query="?size=100&fresh=1"))
    assert Customer.objects.get(tenant_id=tenant("contoso")).seen_domains[fed] == "managed"
    assert admin.post(new_url(), newcomer(admin, domain=fed)).status_code == 200


def test_a_domain_is_federated_where_some_of_its_users_are_told_so():
    told = ("managed", "federated", "cloud9", "managed")
    users = [CustomerUser(str(n), f"u{n}@Both.example", "U", domain_type=each) for n, each in enumerate(told)]
    users += [CustomerUser("9", "u9@one.example", "U"), CustomerUser("8", "u8@two.example", "U", domain_type="managed")]
    assert table.domains_of(users) == {"both.example": "federated", "one.example": "", "two.example": "managed"}


# --- Forward and back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "pages"), [(25, 48), (50, 24), (100, 12), (200, 6), (500, 3)])
def test_next_leads_through_all_users_once(admin, directory, size, pages):
    query = "" if size == 25 else f"?size={size}"
    seen = [rows(page) for page in walk(admin, users_url("medium", query), "page-next")]
    assert [len(page) for page in seen[:-1]] == [size] * (pages - 1)
    everybody = [user for user in directory.users("medium").values() if not user.deleted_at]
    everybody.sort(key=lambda user: (user.display_name.casefold(), user.id))
    assert [user_id for page in seen for user_id in page] == [user.id for user in everybody]
    assert len(lists(directory.asked())) == pages


@pytest.mark.parametrize("query", ["?size=200", "?sort=-name&size=200"])
def test_previous_leads_back_over_the_same_pages(admin, query):
    forward = list(walk(admin, users_url("medium", query), "page-next"))
    back = list(walk(admin, forward[-1].href("page-previous"), "page-previous"))
    assert [rows(page) for page in back] == [rows(page) for page in reversed(forward[:-1])]
    assert [bool(page.href("page-first")) for page in back] == [True] * (len(back) - 1) + [False]
    assert rows(look(admin, forward[-1].href("page-first"))) == rows(forward[0])


def test_the_other_direction_is_the_other_way_round(admin):
    page = look(admin, users_url("medium", "?size=500"))
    up = [user_id for page in walk(admin, users_url("medium", "?size=500"), "page-next") for user_id in rows(page)]
    turned = page.href("sort-name")
    assert turned.endswith("?sort=-name&size=500")
    assert [user_id for page in walk(admin, turned, "page-next") for user_id in rows(page)] == up[::-1]
    assert look(admin, turned).href("sort-name") == users_url("medium", "?size=500")
    assert 'aria-sort="descending"' in look(admin, turned).html


def test_the_foot_says_where_we_are(admin):
    pages = list(walk(admin, users_url("medium", "?size=500"), "page-next"))
    assert ["1–500, more to come" in pages[0].words, "501–1,000, more to come" in pages[1].words] == [True, True]
    assert "1,001–1,185" in pages[2].words
    assert "more to come" not in pages[2].words
    assert "(page 2)" in look(admin, pages[0].href("page-next")).page.title


def test_deleted_users_stand_on_their_own_list(admin):
    page = look(admin, look(admin, users_url()).href("Deleted"))
    assert set(rows(page)) == {seed.SPECIAL_USERS["deleted"], seed.SPECIAL_USERS["deleted_reused"]}
    assert not page.href("Edit")
    assert "Deleted" in page.words
    assert look(admin, users_url("one_user", "?state=deleted")).words.count("has no deleted users") == 1


def test_no_users_is_said_and_leads_on(admin):
    page = look(admin, users_url("no_users"))
    assert "Empty Harbour Shipping has no users Partner Center answered with none. Create the first one" in page.words
    assert page.href("New user") == new_url("no_users")
    assert page.html.count(new_url("no_users")) == 1
    assert page.href("Export") == ""
    assert look(admin, users_url()).href("Export")


@pytest.mark.parametrize("query", ["?size=26", "?size=x", "?size=501", "?sort=upn&state=nobody&page=7", "?size=٢٥"])
def test_nonsense_in_the_address_becomes_the_default(admin, query):
    assert len(rows(look(admin, users_url("medium", query)))) == 25


def test_two_tabs_walk_without_losing_each_others_pages(admin):
    pages = list(walk(admin, users_url("medium", "?size=200"), "page-next"))
    second, fifth = pages[0].href("page-next"), pages[3].href("page-next")
    assert rows(look(admin, second)) == rows(pages[1])
    assert rows(look(admin, fifth)) == rows(pages[4])


def test_htmx_gets_the_table_alone(admin):
    page = look(admin, users_url())
    answer = admin.htmx("GET", page.href("page-next"))
    part = Page(answer)
    assert answer.status_code == 200
    assert rows(part) == rows(look(admin, page.href("page-next")))
    assert "<html" not in part.html
    assert "Users 26–46" in part.words
    assert "HX-Request" in answer["Vary"]


# --- Cursors ------------------------------------------------------------------------------------------------


def first_again(browser, url, sentence=GONE):
    """The answer to a cursor that is of no use: page 1, and a word about it."""
    page = look(browser, url)
    assert sentence in page.words
    assert not page.href("page-previous")
    return page


@pytest.fixture
def cursor(admin):
    """The query of page 2 of `medium`, 200 a page."""
    return look(admin, users_url("medium", "?size=200")).href("page-next").partition("?")[2]


def test_a_tampered_cursor_leads_to_the_first_page(admin, cursor):
    url = users_url("medium", f"?{cursor}")
    signed = cursor.partition("cursor=")[2]
    for strange in (signed[:-1] + "_", signed.replace(".2%3A", ".3%3A"), "nonsense", signed.partition("%3A")[0], "%00"):
        page = first_again(admin, url.replace(signed, strange))
        assert len(rows(page)) == 200


def test_a_cursor_is_the_operators_own(cursor, signed_in, directory):
    directory.asked()
    page = first_again(signed_in("reader"), users_url("medium", f"?{cursor}"))
    assert rows(page) == rows(look(signed_in("reader"), users_url("medium", "?size=200")))


def test_a_cursor_belongs_to_one_sign_in(cursor, signed_in):
    first_again(signed_in("admin"), users_url("medium", f"?{cursor}"))


def test_a_cursor_belongs_to_one_customer(admin, cursor, directory):
    directory.asked()
    page = first_again(admin, users_url("big", f"?{cursor}"))
    assert not set(rows(page)) & set(directory.users("medium"))


@pytest.mark.parametrize("change", [("size=200", "size=100"), ("size=200", "size=200&sort=-name"), ("size=200", "size=200&state=deleted")])  # fmt: skip # noqa: E501
def test_a_cursor_belongs_to_one_list(admin, cursor, change):
    first_again(admin, users_url("medium", f"?{cursor.replace(*change)}"))


def test_each_use_keeps_a_walk_alive_for_half_an_hour(admin, cursor, move_clock, sandbox):
    sandbox.assume("continuation_seconds", 7200)
    url = users_url("medium", f"?{cursor}")
    move_clock(20 * 60)
    assert look(admin, url).href("page-previous")
    move_clock(35 * 60)
    look(admin, reverse("customers"))  # keeps the session alive, not the walk
    move_clock(49 * 60)
    assert look(admin, url).href("page-previous")
    move_clock(81 * 60)
    assert UserWalk.objects.count() == 1
    purge_secrets()
    assert UserWalk.objects.count() == 0


def test_a_walk_that_nobody_went_on_with_is_over(admin, cursor, move_clock):
    move_clock(20 * 60)
    look(admin, reverse("customers"))  # keeps the session alive, not the walk
    move_clock(31 * 60)
    first_again(admin, users_url("medium", f"?{cursor}"))


def test_the_last_page_keeps_a_walk_alive_too(admin, move_clock, sandbox):
    sandbox.assume("continuation_seconds", 7200)
    last = list(walk(admin, users_url("medium", "?size=500"), "page-next"))[-1]
    url = look(admin, last.href("page-previous")).href("page-next")
    move_clock(29 * 60)
    look(admin, url)
    move_clock(57 * 60)
    assert look(admin, url).href("page-previous")


def test_a_page_that_a_walk_does_not_know_is_not_there(admin, cursor):
    walk_id = UserWalk.objects.get().pk
    signed = walks.Place(2, UserWalk(pk=walk_id)).cursor(3)
    first_again(admin, users_url("medium", f"?size=200&cursor={signed}"))


def test_the_continuation_token_never_leaves_the_server(admin, cursor):
    kept = UserWalk.objects.get()
    tokens = vault.open("walk", str(kept.pk), bytes(kept.sealed_tokens))
    assert len(tokens) > 50
    token = tokens.strip('[]"')
    for page in walk(admin, users_url("medium", "?size=500"), "page-next"):
        assert token not in page.html
        assert "MS-ContinuationToken" not in page.html
    assert token.encode() not in bytes(kept.sealed_tokens)


def test_a_lost_page_comes_with_the_address_of_the_first(admin, cursor):
    answer = admin.htmx("GET", users_url("medium", f"?{cursor}x"))
    assert GONE in Page(answer).words
    assert answer["HX-Push-Url"] == users_url("medium", "?size=200")


# --- When Partner Center forgets ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 410])
def test_previous_with_a_used_token_leads_to_the_first_page_and_says_so(admin, sandbox, status):
    sandbox.assume("continuation_once", True)
    sandbox.assume("continuation_refusal", status)
    third = list(walk(admin, users_url("medium", "?size=500"), "page-next"))[2]
    KeptPage.objects.all().delete()  # as after a minute
    page = first_again(admin, third.href("page-previous"), REFUSED)
    assert len(rows(page)) == 500
    assert rows(look(admin, page.href("page-next")))


def test_a_token_that_got_too_old_leads_to_the_first_page_and_says_so(admin, sandbox, cursor, move_clock):
    sandbox.assume("continuation_seconds", 60)
    move_clock(61)
    first_again(admin, users_url("medium", f"?{cursor}"), REFUSED)


def test_the_same_page_for_ever_ends_the_list(admin, sandbox):
    sandbox.fault("partnercenter", "loop", path="/users$", times=0)
    pages = list(walk(admin, users_url("medium", "?size=500"), "page-next"))
    assert len(pages) == 2
    assert "Partner Center gives the same page again, so the list ends here." in pages[1].words


@pytest.mark.parametrize(
    ("kind", "more", "status", "words"),
    [
        ("status", {"status": 503}, 502, "Partner Center has a fault of its own (503). Nothing was changed."),
        ("drop_before", {}, 504, "Partner Center broke the connection off before it had answered. Nothing was"),
        ("html", {}, 502, "Partner Center gave an answer that we cannot read. Nothing was changed."),
        ("throttle", {"per_second": 0, "retry_after": 57}, 429, "Partner Center asked us to slow down Nothing was"),
    ],
)  # fmt: skip
def test_when_page_two_fails_page_one_stays_and_the_notice_says_why(admin, sandbox, kind, more, status, words):
    url = look(admin, users_url()).href("page-next")
    sandbox.fault("partnercenter", kind, path="/users$", times=0, **more)
    answer = admin.htmx("GET", url)
    assert answer.status_code == status
    assert answer["HX-Retarget"] == "#notice"
    assert answer["HX-Reswap"] == "innerHTML"
    assert answer["HX-Push-Url"] == "false"
    assert words in Page(answer).words
    assert not rows(Page(answer))
    sandbox.no_faults()
    assert len(rows(Page(admin.htmx("GET", url)))) == 21


@pytest.mark.parametrize(
    ("told", "least", "most"),
    [("57", 50, 57), ("9999999", 3_500, 3_600), ("", 25, 30), ("soon", 25, 30), ("-5", 25, 30)],
)
def test_how_long_to_wait_is_passed_on_within_reason(admin, sandbox, told, least, most):
    url = look(admin, users_url()).href("page-next")
    headers = {"Retry-After": told} if told else {}
    sandbox.fault("partnercenter", "status", status=429, headers=headers, path="/users$", times=0, body="")
    answer = admin.htmx("GET", url)
    assert answer.status_code == 429
    assert least <= int(answer["Retry-After"]) <= most
    assert re.search(r"Try again at \d\d:\d\d:\d\d UTC, in \d+ seconds\.", Page(answer).words)


def test_how_long_to_wait_is_told_in_the_persons_own_time(admin, sandbox):
    url = look(admin, users_url()).href("page-next")
    admin.post("/settings/", {"zone": "Asia/Kathmandu"})
    sandbox.fault(
        "partnercenter", "status", status=429, headers={"Retry-After": "57"}, path="/users$", times=0, body=""
    )
    words = Page(admin.htmx("GET", url)).words
    assert re.search(r"slow down Nothing was changed\. Try again at \d\d:\d\d:\d\d \+0545, in", words), words


def test_whoever_comes_twice_is_shown_once(admin, sandbox):
    once = rows(look(admin, users_url("one_user")))
    sandbox.fault("partnercenter", "repeat_items", path="/users$", times=0)
    page = look(admin, users_url("one_user"))
    assert rows(page) == once
    assert "1–1" in page.words


def test_a_whole_page_keeps_its_head_when_its_table_fails(admin, sandbox):
    sandbox.fault("partnercenter", "status", status=500, path="/users$", times=0)
    answer = admin.get(users_url())
    page = Page(answer)
    assert answer.status_code == 200
    assert "Contoso Trading" in page.words
    assert "You can edit users here (User Administrator)." in page.words
    assert "Partner Center has a fault of its own (500). No users can be shown. Nothing was changed." in page.words
    assert page.href("Try again") == users_url()


def test_a_whole_page_keeps_its_head_when_it_has_to_wait_and_goes_on_by_itself_once(admin, sandbox):
    slow = {"status": 429, "headers": {"Retry-After": "57"}, "path": "/users$", "times": 0, "body": ""}
    sandbox.fault("partnercenter", "status", **slow)
    answer = admin.get(users_url())
    page = Page(answer)
    assert answer.status_code == 429
    assert answer["Refresh"] == answer["Retry-After"]
    assert 50 <= int(answer["Refresh"]) <= 57
    assert "You can edit users here (User Administrator)." in page.words
    assert page.words.count("asked us to slow down") == 1
    assert re.search(r"This goes on by itself at \d\d:\d\d:\d\d UTC, in 5\d seconds\.", page.words)
    assert page.href("Try again") == ""
    answer = admin.get(users_url())
    page = Page(answer)
    assert (answer.status_code, "Refresh" in answer) == (429, False)
    assert re.search(r"Nothing was changed\. Try again at \d\d:\d\d:\d\d UTC, in 5\d seconds\.", page.words)
    assert page.href("Try again") == users_url()
    sandbox.no_faults()
    assert rows(look(admin, users_url()))


def test_nobody_is_left_waiting_for_an_hour(admin, sandbox):
    slow = {"status": 429, "headers": {"Retry-After": "3600"}, "path": "/users$", "times": 0, "body": ""}
    sandbox.fault("partnercenter", "status", **slow)
    answer = admin.get(users_url())
    assert (answer.status_code, "Refresh" in answer) == (429, False)


def test_a_page_of_one_user_goes_on_by_itself_too(admin, sandbox):
    sandbox.fault("partnercenter", "status", status=429, headers={"Retry-After": "57"}, times=0, body="")
    url = user_url(seed.SPECIAL_USERS["plain"])
    answer = admin.get(url)
    words = Page(answer).words
    assert (answer.status_code, "Refresh" in answer) == (429, True)
    assert words.count("asked us to slow down") == 2  # title and heading
    assert "This goes on by itself at" in words
    answer = admin.get(url)
    assert "Refresh" not in answer
    assert Page(answer).href("Try again") == url


def test_what_partner_center_says_of_a_customer_it_no_longer_knows_is_quoted(admin, sandbox):
    del sandbox.running.cloud.world.customers[tenant("contoso")]
    answer = admin.get(users_url())
    assert answer.status_code == 404
    assert "Partner Center refused: “Tenant not found”" in Page(answer).words


def test_a_second_factor_that_is_missing_leads_to_sign_in_again(admin, sandbox, move_clock):
    move_clock(61)  # not right after a sign-in: that would go in circles
    sandbox.state("require_mfa", on=True, at="partnercenter")
    answer = admin.get(users_url())
    assert (answer.status_code, answer["Location"]) == (302, f"/signin/?next={users_url().replace('/', '%2F')}")
    answer = admin.htmx("GET", users_url())
    assert answer.status_code == 401
    assert answer["HX-Retarget"] == "#dialog"


@pytest.mark.parametrize("name", ["users", "user-new", "user", "user-edit"])
def test_a_sign_in_that_graph_no_longer_takes_leads_to_sign_in_again(admin, sandbox, move_clock, name):
    move_clock(61)
    sandbox.fault("graph", "expired_token", times=0)
    more = [seed.SPECIAL_USERS["plain"]] if name in ("user", "user-edit") else []
    answer = admin.get(reverse(name, args=[tenant("contoso"), *more]))
    assert answer.status_code == 302
    assert answer["Location"].startswith("/signin/?next=")


# --- Who may see what ---------------------------------------------------------------------------------------

REASONS = [
    ("writer", "writer_none", "you are not in the group that holds it (GDAP Helpdesk Tier 1)"),
    ("admin", "none", "Your company has no GDAP relationship with Proseware."),
    ("admin", "expired", "Your access to Bellows College ended on"),
    ("admin", "terminated", "Your access to Coho Winery ended on"),
    ("admin", "past_end", "Your access to Lucerne Publishing ended on"),
    ("admin", "pending", "The customer has not yet approved the GDAP relationship"),
    ("writer", "nested_only", "you are not in the group that holds it"),
    ("writer", "writer_only_dw", "The customer has granted"),
]


@pytest.mark.parametrize(("persona", "customer", "reason"), REASONS)
def test_who_has_no_role_gets_the_reason_instead_of_a_table(signed_in, snapshot, directory, persona, customer, reason):
    browser = signed_in(persona)
    answer = browser.get(users_url(customer))
    page = Page(answer)
    assert answer.status_code == 403
    assert "You may not see the users here" in page.words
    assert reason in page.words
    assert "That needs the Directory Readers or Global Reader or User Administrator role." in page.words
    assert not rows(page)
    directory.asked()
    assert browser.get(users_url(customer)).status_code == 403
    assert not [line for line in directory.asked() if line.startswith("partnercenter")]


def test_who_gets_a_role_sees_the_users_a_minute_later(writer, sandbox, move_clock):
    assert writer.get(users_url("writer_none")).status_code == 403
    sandbox.state("add_to_group", persona="writer", group="user_admins")
    move_clock(61)
    assert rows(look(writer, users_url("writer_none")))


def test_who_may_create_users_but_not_list_them_is_led_to_the_form(writer):
    page = Page(writer.get(users_url("writer_only_dw")))
    assert "You may not see the users here" in page.words
    assert page.href("New user") == new_url("writer_only_dw")
    assert writer.get(new_url("writer_only_dw")).status_code == 200
    assert Page(writer.get(users_url("nested_only"))).href("New user") == ""


def test_who_loses_a_role_sees_no_users_a_minute_later(writer, sandbox, move_clock):
    look(writer, users_url())
    sandbox.state("remove_from_group", persona="writer", group="writers")
    sandbox.state("terminate_relationship", tenant_id=tenant("contoso"))
    move_clock(61)
    assert writer.get(users_url()).status_code == 403


def test_outsiders_are_told_microsofts_words(signed_in, snapshot, directory):
    answer = signed_in("outsider").get(users_url())
    assert answer.status_code == 403
    page = Page(answer)
    assert "“The supplied role does not have the rights to perform the requested operation”. We could not" in page.words
    assert len(lists(directory.asked())) == 1
    [asked_for] = [
        told["data-copy"] for _, told in page.tags if "I need to see the users in" in told.get("data-copy", "")
    ]
    assert "What is missing: we could not check" in asked_for


def test_an_outsider_hears_the_same_from_every_page_of_a_customer(signed_in, snapshot):
    """What colleagues' tokens have read of GDAP says no, in the list too; Graph says nothing; Microsoft decides."""
    signed_in("admin")
    read_as("admin")
    outsider = signed_in("outsider")
    read_groups(str(grant_of("outsider").pk))
    no = "says no. The customer has granted User Administrator to your company, but you are not in the group that holds"
    page = Page(outsider.get(users_url()))
    assert no in page.words
    [asked_for] = [
        told["data-copy"] for _, told in page.tags if "I need to see the users in" in told.get("data-copy", "")
    ]
    assert "Group: GDAP Helpdesk Tier 1" in asked_for
    words = Page(outsider.get(new_url())).words
    assert no in words
    assert "You can try; Microsoft decides." in words
    words = Page(outsider.get(reverse("customer-access", args=[tenant("contoso")]))).words
    assert "Create users No, by our copy User Administrator You are not in the group" in words


def test_when_the_rights_cannot_be_told_microsoft_decides(admin, sandbox):
    sandbox.fault("graph", "status", status=503, times=0)
    page = look(admin, users_url())
    assert len(rows(page)) == 25
    assert re.search(
        r"We could not check your roles \(Microsoft Graph .+\)\. You can try; Microsoft decides\.", page.words
    )
    assert page.href("New user") == new_url()


@pytest.mark.parametrize("persona", ["admin", "writer", "reader", "nested", "outsider"])
def test_a_tenant_that_is_not_the_partners_is_like_one_that_does_not_exist(signed_in, snapshot, directory, persona):
    browser = signed_in(persona)
    directory.asked()
    answers = []
    for key in (tenant("not_ours"), str(uuid.uuid4()), tenant("contoso")[:-1] + "x", "contoso", "ap-nobody"):
        for name, more in (("users", []), ("user-new", []), ("user", [uuid.uuid4()]), ("user-edit", [uuid.uuid4()])):
            answer = browser.get(reverse(name, args=[key, *more]))
            assert answer.status_code == 404
            answers.append(Page(answer).words)
    assert len(set(answers)) == 1
    assert directory.asked() == []


def test_the_address_knows_a_tenant_id_in_capitals(admin):
    answer = admin.get(reverse("users", args=[tenant("contoso").upper()]))
    assert (answer.status_code, answer["Location"]) == (302, users_url())


def test_a_customer_that_only_avepoint_knows_has_no_users_to_show(admin, directory):
    customer = Customer.objects.get(in_partner_center=False, key__contains="00427fbc")
    directory.asked()
    page = look(admin, reverse("users", args=[customer.key]))
    assert f"{customer.name} is not in Partner Center Only AvePoint knows this customer (owner" in page.words
    assert directory.asked() == []
    for name, more in (("user-new", []), ("user", [uuid.uuid4()]), ("user-edit", [uuid.uuid4()])):
        assert admin.get(reverse(name, args=[customer.key, *more])).status_code == 404


def test_who_may_not_change_users_finds_no_way_to_do_it(signed_in, snapshot):
    page = look(signed_in("reader"), users_url())
    assert "You can look at these users but not change them." in page.words
    assert (
        "Your app role in Partner Desk is Portal.Reader; creating or changing users needs Portal.Operator."
        in page.words
    )
    assert not page.href("New user")
    assert not page.href("Edit")
    dead = [told for _, told in page.page.tags if told.get("aria-disabled") == "true"]
    assert {told["aria-describedby"] for told in dead} == {"rolebar"}
    assert "rolebar" in page.page.ids


def test_a_role_that_ends_soon_is_said(admin):
    words = look(admin, users_url("expiring")).words
    assert re.search(r"You can create and change users here until \d+ \w+ \d{4}, in 1[12] days\.", words)
    assert "It does not extend by itself; an Admin agent can turn that on." in words


# --- Names that break careless pages ------------------------------------------------------------------------


@pytest.mark.parametrize("customer", ["script", "rtl", "quotes", "accents", "long_name", "formula"])
def test_customers_with_hostile_names_are_shown_as_text(admin, customer):
    page = look(admin, users_url(customer))
    assert seed.SPECIAL_NAMES[customer] in page.words
    assert "<script>alert" not in page.html
    assert not [told for tag, told in page.page.tags if tag == "script" and "src" not in told]


def test_users_with_hostile_names_are_shown_as_text(admin, directory):
    page = look(admin, users_url(query="?size=100"))
    for key in ("script", "rtl", "quotes", "formula", "emoji", "very_long"):
        name = directory.users()[seed.SPECIAL_USERS[key]].display_name
        assert " ".join(name.split()) in page.words
    assert "<script>alert" not in page.html
    assert "<b>Mallory" not in page.html
    for _, told in page.page.tags:
        assert not [name for name in told if name.startswith("on")]
    detail = look(admin, user_url(seed.SPECIAL_USERS["script"]))
    assert "<img src=x" not in detail.html
    assert "<img src=x onerror=alert(1)>" in detail.words


POLYGLOTS = [
    '"><svg onload=alert(1)>',
    "'><script>alert(1)</script>",
    "javascript:alert(1)//",
    "{{ 7|add:7 }}{% debug %}",
    "</title><script>alert(1)</script>",
    "</textarea><img src=x onerror=alert(1)>",
    "<!--<script>alert(1)",
    "' hx-get='/audit/' hx-trigger='load' x='",
    '" hx-on:click="alert(1)" x="',
    "\u202egnp.exe",
    "\u0000\u0007bell",
    "a\u2028b\u2029c",
    "&lt;b&gt;already escaped&lt;/b&gt;",
    "<style>*{display:none}</style>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content=0>",
]


def test_no_name_gets_out_of_its_place(admin, directory):
    plain = directory.users()[seed.SPECIAL_USERS["plain"]]
    pages = users_url(query="?size=100"), user_url(plain.id), edit_url(plain.id)
    allowed = {tag for url in pages for tag, _ in look(admin, url).page.tags}
    for name in POLYGLOTS:
        plain.display_name, plain.first_name, plain.phone = name, name[:64], name
        directory.sandbox.running.cloud.world.customers[tenant("contoso")].directory._views.clear()
        for url in pages:
            page = look(admin, url)
            assert {tag for tag, _ in page.page.tags} <= allowed | {
                "dl",
                "dt",
                "dd",
                "h2",
                "ul",
                "aside",
                "fieldset",
                "legend",
            }
            for _, told in page.page.tags:
                assert not [attribute for attribute in told if attribute.startswith(("on", "hx-on"))]
                assert told.get("hx-get", "/customers/").startswith(("/customers/", "/shortcuts/", "/go/"))
            assert "\u202e" not in page.words.partition("Skip to main content")[2]


def test_what_an_address_asks_for_and_does_not_exist_is_said(admin):
    words = Page(admin.get(users_url(query="?state=gone&sort=age&size=30&cols=all"))).words
    for said in ("There is no state “gone”.", "There is no sort “age”.", "There is no size “30”."):
        assert said in words
    assert "cols" not in words
