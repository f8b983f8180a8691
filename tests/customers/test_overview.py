"""The overview: its figures against rows made by hand, and its page by persona and by what is known so far."""

import re
import uuid
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from customers import matches
from customers import snapshot as the_list
from customers.models import (
    GRAPH,
    NOBODY_YET,
    Customer,
    GdapRelationship,
    MatchDecision,
    MatchSuggestion,
    Reason,
    Source,
    SourceName,
    SyncRun,
)
from customers.overview import figures as overview
from customers.overview.needs import needs
from partnerportal import audit, clock
from partnerportal.models import Operator
from partnerportal.sandbox.seed import SPECIAL
from tests.pages import Page
from users.models import Operation

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 13, 4, tzinfo=UTC)  # a Sunday
MONDAY = date(2026, 11, 16)


def count(now=NOW):
    """The figures, counted afresh."""
    cache.clear()
    return overview.figures(now, overview.sources()[1])


def customer(name="Contoso", *, source="both", **more):
    key = str(uuid.uuid4())
    where = {"in_partner_center": source != "ap", "in_avepoint": source != "pc"}
    return Customer.objects.create(key=key, tenant_id=key, name=name, sort_name=name.lower(), **where, **more)


def relationship(days, *, extends=False, status="active", **more):
    """One that ends so many days after NOW; None: without an end."""
    ends = None if days is None else NOW + timedelta(days=days)
    return GdapRelationship.objects.create(
        id=str(uuid.uuid4()),
        tenant_id="t",
        display_name="Helpdesk",
        status=status,
        ends_at=ends,
        extends=extends,
        **more,
    )


def operation(by, whose, *, state=Operation.State.DONE, at=None, **more):
    kind = more.pop("kind", Operation.Kind.CREATE)
    return Operation.objects.create(
        op_id=uuid.uuid4(), kind=kind, state=state, by=by, customer=whose, tenant_id=whose.key, sent_at=at, **more
    )


@pytest.fixture
def somebody():
    def made(name="Maya Okafor"):
        oid = uuid.uuid4()
        return Operator.objects.create(subject=f"t:{oid}", tid=uuid.uuid4(), oid=oid, name=name, email="m@example")

    return made


# --- Figures of customers -------------------------------------------------------------------------------------


def test_customers_are_counted_by_source_status_and_country():
    for n in range(3):
        customer(f"Both {n}", country="Vietnam", ap_status="Working")
    customer("Failed", country="Germany", ap_status="Failed")
    customer("Only here", source="pc")
    customer("Only there", source="ap", country="Germany", ap_status="Working")
    customer("Gone", country="Vietnam", ap_status="Failed", listed=False)
    found = count()
    assert found.customers == 6
    assert found.sources == {"both": 4, "pc": 1, "ap": 1}
    assert list(found.statuses.items()) == [("Working", 4), ("Failed", 1)]
    assert list(found.countries.items()) == [("Vietnam", 3), ("Germany", 2), ("", 1)]


@pytest.mark.parametrize(
    ("state", "days", "extends", "ended", "ending"),
    [
        ("live", 1, False, 0, 1),
        ("live", 30, False, 0, 1),  # "in 30 days", by calendar
        ("live", 31, False, 0, 0),
        ("live", 1, True, 0, 0),
        ("live", None, False, 0, 0),
        ("live", -1, False, 1, 0),  # our copy is older than the end
        ("live", -1, True, 0, 0),
        ("ended", -1, False, 1, 0),
        ("ended", -21, False, 1, 0),  # 1 November
        ("ended", -22, False, 0, 0),  # October is another month
        ("ended", None, False, 0, 0),
        ("none", None, False, 0, 0),
        ("pending", None, False, 0, 0),
        ("", None, False, 0, 0),
    ],
)
def test_gdap_that_ended_or_ends_soon_is_counted_by_customer(state, days, extends, ended, ending):
    ends = None if days is None else NOW + timedelta(days=days)
    customer(gdap_state=state, gdap_ends_at=ends, gdap_extends=extends)
    found = count()
    assert (found.ended, found.ending) == (ended, ending)


@pytest.mark.parametrize(
    ("ends", "ending"),
    [
        (datetime(2026, 11, 21, 23, 59, tzinfo=UTC), 0),
        (datetime(2026, 11, 22, 0, 1, tzinfo=UTC), 1),  # ended this morning: in that list until midnight
        (datetime(2026, 12, 22, 23, 30, tzinfo=UTC), 1),  # in Athens it is the 31st day
        (datetime(2026, 12, 23, 0, 30, tzinfo=UTC), 0),  # in New York it is the 30th
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Athens", "America/New_York"])
def test_gdap_that_ends_soon_is_counted_by_the_days_of_the_list_behind_it(ends, ending, zone):
    customer(gdap_state="live", gdap_ends_at=ends)
    with timezone.override(ZoneInfo(zone)):
        assert count().ending == Customer.objects.listed().gdap_ends_soon(NOW).count() == ending


def test_a_pair_counts_until_somebody_has_decided(somebody):
    mine, theirs = customer(source="pc"), Customer.objects.create(key="ap-7", name="Contoso", sort_name="contoso")
    MatchSuggestion.objects.create(partner_center=mine, avepoint=theirs, reason="name")
    assert count().matches == 1
    decision = MatchDecision.objects.create(
        tenant_id=mine.tenant_id, avepoint_id="7", verdict=MatchDecision.Verdict.APART, by=somebody()
    )
    assert count().matches == 0
    decision.undone_at = NOW
    decision.save()
    assert count().matches == 1


def test_a_pair_of_our_own_domain_counts_neither_here_nor_on_its_page(somebody):
    mine = customer(source="pc", domain="partner.example")
    theirs = Customer.objects.create(key="ap-7", name="Contoso", sort_name="contoso", owner_domain="partner.example")
    MatchSuggestion.objects.create(partner_center=mine, avepoint=theirs, reason=Reason.DOMAIN)
    assert count().matches == matches.to_check().count() == 1
    Operator.objects.filter(pk=somebody().pk).update(email="maya@partner.example")  # a sign-in makes it ours
    assert count().matches == matches.to_check().count() == 0


# --- Figures of GDAP ------------------------------------------------------------------------------------------


def test_relationships_stand_in_the_week_they_end():
    relationship(0.2)  # later today, in the week that is nearly over
    relationship(1)
    relationship(1, extends=True)
    relationship(40)
    relationship(40, extends=True)
    found = count()
    assert len(found.weeks) == 52
    assert found.weeks[0] == overview.Week(MONDAY, soon=1)
    assert found.weeks[1] == overview.Week(MONDAY + timedelta(weeks=1), soon=1, extends=1)
    assert found.weeks[6] == overview.Week(MONDAY + timedelta(weeks=6), later=1, extends=1)
    assert (found.relationships, found.beyond) == (5, 0)
    assert [week.monday.weekday() for week in found.weeks] == [0] * 52


def test_day_30_is_soon_and_day_31_is_not_even_in_one_week():
    relationship(30)  # 22 December, a Tuesday
    relationship(31)
    assert count().weeks[5] == overview.Week(date(2026, 12, 21), soon=1, later=1)


@pytest.mark.parametrize("slot", [0, 1, 2, 25, 26, 27, 50, 51])
def test_the_first_and_the_last_moment_of_a_week_are_in_it(slot):
    monday = datetime(2026, 11, 16, tzinfo=UTC) + timedelta(weeks=slot)
    for ends in (max(monday, NOW + timedelta(seconds=1)), monday + timedelta(weeks=1, microseconds=-1)):
        relationship(0, extends=True)
        GdapRelationship.objects.filter(ends_at=NOW).update(ends_at=ends)
    assert [week.extends for week in count().weeks] == [2 if n == slot else 0 for n in range(52)]


def test_what_no_longer_stands_is_not_shown():
    relationship(-1)  # "active", but its end has passed
    relationship(5, status="terminated")
    relationship(5, status="approvalPending")
    relationship(5, gone_at=NOW)
    relationship(5, status="expiring")
    relationship(5, missing_since=NOW)  # gone only once two reads agree
    found = count()
    assert (found.relationships, found.weeks[1].soon) == (2, 2)


def test_what_ends_after_a_year_or_never_is_told_apart():
    relationship(400)
    relationship(None)
    found = count()
    assert (found.relationships, found.beyond) == (2, 2)
    assert not any(week.ends for week in found.weeks)


def test_weeks_begin_at_midnight_where_the_reader_is():
    relationship(7)  # Sunday, 13:04 UTC: in Auckland it is Monday, 02:04
    assert [week.monday for week in count().weeks if week.soon] == [date(2026, 11, 23)]
    with timezone.override(ZoneInfo("Pacific/Auckland")):
        assert [week.monday for week in count().weeks if week.soon] == [date(2026, 11, 30)]


# --- Users created --------------------------------------------------------------------------------------------


def test_users_are_counted_by_the_day_they_were_created(somebody):
    maya, tom, contoso = somebody(), somebody("Tom Reyes"), customer()
    state = Operation.State
    operation(maya, contoso, at=NOW)
    operation(tom, contoso, at=NOW)
    operation(maya, contoso, at=NOW, state=state.REFUSED)
    operation(maya, contoso, at=NOW - timedelta(days=13), state=state.DENIED)
    operation(maya, contoso, at=NOW - timedelta(days=13), state=state.CONFLICT)
    operation(maya, contoso, at=NOW - timedelta(days=14))  # too long ago
    operation(maya, contoso, at=NOW, state=state.UNKNOWN)
    operation(maya, contoso, at=NOW, kind=Operation.Kind.PATCH)
    days = overview.created(NOW)
    assert (len(days), days[0].day, days[-1].day) == (14, date(2026, 11, 9), date(2026, 11, 22))
    assert days[-1] == overview.Day(date(2026, 11, 22), created=2, failed=1)
    assert days[0] == overview.Day(date(2026, 11, 9), failed=2)
    assert sum(day.created + day.failed for day in days) == 5
    assert overview.created(NOW, tom)[-1] == overview.Day(date(2026, 11, 22), created=1)


# --- Remembering ----------------------------------------------------------------------------------------------


def test_figures_are_remembered_until_the_list_changes():
    Source.objects.create(name=SourceName.PARTNER_CENTER)
    customer()
    assert count().customers == 1
    customer("Another")
    with CaptureQueriesContext(connection) as queries:
        assert overview.figures(NOW, overview.sources()[1]).customers == 1
    assert len(queries) == 1
    the_list.changed()
    assert overview.figures(NOW, overview.sources()[1]).customers == 2


def test_a_new_day_is_counted_anew():
    customer(gdap_state="live", gdap_ends_at=NOW + timedelta(days=31))
    assert count().ending == 0
    assert overview.figures(NOW + timedelta(days=1), overview.sources()[1]).ending == 1


# --- The work queue -------------------------------------------------------------------------------------------


def test_the_queue_has_no_row_for_what_is_not_there():
    assert needs(count(), [], []) == []


def test_each_need_says_how_many_and_leads_there():
    found = replace(count(), ended=3, ending=21, matches=8, statuses={"Working": 9, "Failed": 5})
    rows = needs(found, [], [])
    assert [(row.count, row.verb) for row in rows] == [(3, "Review"), (21, "Review"), (8, "Compare"), (5, "See")]
    assert rows[0].words == "Customers whose GDAP relationship ended this month. You have no access there."
    assert rows[1].url == "/customers/?view=gdap30"
    assert rows[3].url == "/customers/?ap=Failed"
    (row,) = needs(replace(count(), statuses={"Failed": 1}), [], [])
    assert row.words == "Customer reports “Failed” in AvePoint."


def test_sources_that_do_not_answer_or_ask_for_a_decision():
    silent = Source(name=SourceName.AVEPOINT, problem="AvePoint answered 503.")
    short = Source(name=SourceName.PARTNER_CENTER, problem="Listed 120 customers …", short_rows=120)
    fine = Source(name=GRAPH, last_good_at=NOW)
    decide, look = needs(count(), [silent, short, fine], [])
    unread = Source(name=GRAPH, problem=NOBODY_YET)  # it answered; nobody was here whom it shows GDAP
    assert needs(count(), [unread], []) == []
    assert decide.words.startswith("Found far fewer customers than before: Partner Center (120).")
    assert look.words == "Source does not answer: AvePoint."


def test_the_queue_tells_customers_relationships_and_assignments_apart():
    lists = [Source(name=name, problem="…", short_rows=3) for name in SourceName]
    graph = Source(name=GRAPH, problem="…", short_rows=5, short_assignments=1200)
    rows = needs(count(), [*lists, graph], [])
    assert [(row.count, row.words.partition(". ")[0]) for row in rows] == [
        (2, "Found far fewer customers than before: Partner Center (3), AvePoint (3)"),
        (1, "Found far fewer relationships than before: GDAP (5)"),
        (1, "Found far fewer access assignments than before: GDAP (1,200)"),
    ]


def test_many_unknown_operations_share_a_row(somebody):
    maya, contoso = somebody(), customer()
    for n in range(5):
        operation(maya, contoso, state=Operation.State.UNKNOWN, at=NOW, target_name=f"User {n}")
    operation(somebody("Tom Reyes"), contoso, state=Operation.State.UNKNOWN, at=NOW)
    rows = needs(count(), [], overview.unknown(maya))
    assert [row.count for row in rows] == [1, 1, 1, 2]
    assert rows[-1].url == "/audit/?outcome=unknown"


# --- The page -------------------------------------------------------------------------------------------------


def look(browser):
    answer = browser.get("/")
    assert answer.status_code == 200
    return Page(answer)


def mine(page):
    """The part of the page that is ours: without bar and rail."""
    return Page(page.html.split('<main class="main"')[1].split("</main>")[0])


@pytest.fixture
def gdap_read():
    """A GDAP snapshot that was read just now."""
    return Source.objects.create(name=GRAPH, last_good_at=clock.now())


def ends_in(days, **more):
    return relationship((clock.now() - NOW) / timedelta(days=1) + days, **more)


def test_the_page_tells_the_figures_and_asks_no_upstream(signed_in, snapshot, sandbox):
    browser = signed_in("reader")
    sandbox.running.journal.clear()
    page = look(browser)
    assert page.title == "Overview · Partner Desk"
    both = Customer.objects.filter(in_partner_center=True, in_avepoint=True).count()
    assert f"Both: {both}" in page.words
    assert f"{Customer.objects.count()} customers" in page.words
    assert sandbox.journal() == []
    assert browser.get("/").context["nav"][0].current
    assert not browser.get("/customers/").context["nav"][0].current


def test_every_link_leads_to_a_page(signed_in, snapshot, gdap_read):
    browser = signed_in("admin")
    ends_in(3)
    ends_in(70, extends=True)
    operator, found = Operator.objects.get(), Customer.objects.filter(in_partner_center=True)[0]
    operation(operator, found, at=clock.now())
    operation(operator, found, at=clock.now(), state=Operation.State.UNKNOWN, target_name="Maya Lind")
    Customer.objects.filter(pk=found.pk).update(gdap_state="live", gdap_ends_at=clock.now() + timedelta(days=3))
    links = {link.href for link in mine(look(browser)).links if link.href}
    assert {"/customers/?view=gdap30", "/customers/?source=both", "/customers/?ap=Failed"} <= links
    assert any(link.startswith("/customers/?country=") for link in links)
    assert any(link.startswith("/audit/?action=create+user&from=") for link in links)
    answers = {link: browser.get(link, follow=True).status_code for link in links if "/users/" not in link}
    assert set(answers.values()) == {200}, answers


def test_a_bar_says_what_its_list_shows(signed_in, snapshot):
    browser = signed_in("reader")
    for link in mine(look(browser)).links:
        if link.href.startswith(("/customers/?country=", "/customers/?ap=", "/customers/?source=")) and link.words:
            shown = int(re.search(r"\d+", link.words)[0])
            assert f"of {shown}" in Page(browser.get(link.href)).words, link


def test_a_week_says_what_its_list_shows(signed_in, snapshot, gdap_read):
    for days in (3, 40, 40, 200):
        ends_in(days)
        ends_in(days, extends=True)
    browser = signed_in("reader")
    weeks = [link for link in mine(look(browser)).links if link.words.startswith("Week of")]
    assert [re.findall(r"(\d+) e", link.words) for link in weeks] == [["1", "1"], ["2", "2"], ["1", "1"]]
    for link in weeks:
        if link.href:  # there is a page of GDAP relationships
            shown = sum(map(int, re.findall(r"(\d+) e", link.words)))
            assert f"of {shown}" in Page(browser.get(link.href)).words, link


def test_many_countries_and_statuses_share_a_bar(signed_in):
    for n in range(12):
        for m in range(13 - n):
            customer(f"{n} {m}", country=f"Land {n:02}", ap_status=f"State {n:02}")
    customer("No country", source="pc")
    customer("One of ninety", country="Land 00", ap_status="Failed")
    page = mine(look(signed_in("reader")))
    assert [link.words for link in page.links if link.href.startswith("/customers/?country=")] == [
        *(f"Land {n:02} {13 - n + (n == 0)}" for n in range(8))
    ]
    assert page.href("Other, 4 countries 14") == "/customers/?sort=country"
    assert page.href("Other, 8 statuses : 44") == "/customers/?sort=ap"
    assert page.href("Failed : 1") == "/customers/?ap=Failed"  # rare, and still by name
    assert "1 without a country" in page.words


def test_one_country_more_than_fits_is_no_other(signed_in):
    for n in range(9):
        customer(country=f"Land {n}")
    assert "Other" not in mine(look(signed_in("reader"))).words


def test_months_stand_under_the_week_in_which_they_begin(signed_in, snapshot, gdap_read):
    ends_in(3)
    labels = signed_in("reader").get("/").context["gdap"]["chart"].labels
    assert 11 <= len(labels) <= 13
    assert sum(word.startswith("Jan ") for _, word in labels) == 1
    places = [float(place[:-1]) for place, _ in labels]
    assert all(after - before > 5 for before, after in pairwise(places))
    assert places[-1] < 97


def test_the_weeks_are_a_chart_and_a_table(signed_in, snapshot, gdap_read):
    ends_in(3)
    ends_in(3, extends=True)
    ends_in(500)
    page = mine(look(signed_in("reader")))
    assert (
        "3 active relationships (a customer may have several), 1 of them without an end in the next 12 months."
        in page.words
    )
    week = re.search(r'aria-label="Week of ([^:]+): 1 end, 1 extend by themselves"', page.html)
    assert week
    table = page.html.split("<details>")[1]
    assert week[1] in table
    assert table.count('role="row"') == 2  # the header, and the one week in which something ends
    assert "1 of 3 end within 30 days and do not extend by themselves. Most end in the week of" in page.html


def test_gdap_that_was_never_read_is_no_empty_chart(signed_in, snapshot):
    page = mine(look(signed_in("reader")))
    assert "Not read yet. It comes with the first person inside Admin agents who signs in." in page.words
    assert "Show as a table" not in page.words


def test_a_stale_source_says_so_in_its_card_and_keeps_its_picture(signed_in, snapshot, gdap_read):
    ends_in(3)
    Source.objects.filter(name=SourceName.AVEPOINT).update(
        last_good_at=clock.now() - timedelta(minutes=72), problem="AvePoint answered 503."
    )
    Source.objects.filter(name=GRAPH).update(last_good_at=clock.now() - timedelta(hours=3))
    page = mine(look(signed_in("reader")))
    by_country = page.html.split('id="countries"')[1].split("</section>")[0]
    assert "AvePoint is not answering, 1 h 12 min old" in by_country
    assert "United Kingdom" in by_country
    assert "GDAP 3 h old" in page.words
    assert "Partner Center less" not in page.words  # which is fresh
    assert "Source does not answer: AvePoint." in page.words
    assert 'aria-label="Week of' in page.html


def test_avepoint_that_is_not_configured_is_said_once(signed_in, snapshot, settings):
    browser = signed_in("reader")
    settings.AVEPOINT_CLIENT_ID = ""
    page = mine(look(browser))
    assert page.words.count("AvePoint is not configured") == 1
    assert "Status in AvePoint" not in page.words


def test_nothing_needs_anybody(signed_in):
    Source.objects.create(name=SourceName.PARTNER_CENTER, last_good_at=clock.now())
    customer()
    page = look(signed_in("reader"))
    assert re.search(r"Nothing needs you\. Last checked \d\d:\d\d\.", page.words)


def test_no_customers_is_a_blank_slate_with_one_button(signed_in):
    browser = signed_in("reader")
    page = look(browser)
    assert "Nothing has been read from Partner Center and AvePoint so far." in page.words
    assert "Customers by source" not in page.words
    form = next(form for form in page.forms if "Sync now" in form.buttons)
    assert browser.post(form.action, form.fields).status_code == 303
    assert "A sync is under way" in look(browser).words
    SyncRun.objects.update(open=None)
    Source.objects.update_or_create(name=SourceName.PARTNER_CENTER, defaults={"last_good_at": clock.now()})
    assert "The sources answered with none." in look(browser).words


def test_the_latest_changes_are_ones_own_or_for_an_admin_everybodys(signed_in, snapshot, cast):
    reader, writer = cast("reader"), cast("writer")
    for by in (reader, writer):
        subject = audit.Subject(action="change user", customer_name="Contoso", target_name=f"Changed by {by.name}")
        audit.note(subject, audit.Result(outcome="refused"), by=by)
    page = mine(look(signed_in("reader")))
    assert f"Change user: Changed by {reader.name}, Contoso" in page.words
    assert "Refused" in page.words
    assert writer.name not in page.words
    assert "Sign in" not in page.words
    assert "Users created by you, last 14 days" in page.words
    page = mine(look(signed_in("admin")))
    assert f"Changed by {writer.name}" in page.words
    assert f"Changed by {reader.name}" in page.words
    assert "Users created, last 14 days" in page.words


def test_an_unknown_outcome_of_ones_own_needs_one(signed_in, snapshot, cast):
    found = Customer.objects.filter(in_partner_center=True)[0]
    operation(cast("writer"), found, at=clock.now(), state=Operation.State.UNKNOWN, target_name="Maya <Lind>")
    page = look(signed_in("writer"))
    assert f"We do not know if Maya <Lind> was created, {found.name}." in page.words
    assert f'href="/customers/{found.key}/users/"' in page.html
    assert "We do not know if" not in look(signed_in("admin")).words


def test_what_can_be_looked_up_nowhere_needs_nobody(signed_in, snapshot, cast):
    found = Customer.objects.filter(in_partner_center=True)[0]
    operation(cast("writer"), found, at=clock.now(), state=Operation.State.UNKNOWN, target_name="Maya Lind")
    where = reverse("operation", args=[found.key, Operation.objects.get().op_id])
    browser = signed_in("writer")
    assert "We do not know if" in look(browser).words
    for gone in ({"listed": False}, {"listed": True, "tenant_id": None}):
        Customer.objects.filter(pk=found.pk).update(**gone)
        assert browser.get(where).status_code == 404
        assert "We do not know if" not in look(browser).words


def test_what_upstreams_named_is_shown_as_text(signed_in):
    customer(country="<script>\u202eLand", ap_status='"><b>Odd\u200b')
    page = mine(look(signed_in("reader")))
    assert "<script>" not in page.html
    assert "<b>Odd" not in page.html
    assert "\u202e" not in page.html
    assert "U+202E" in page.html


def test_few_queries_and_the_same_number_for_many_customers(signed_in, snapshot, gdap_read):
    browser = signed_in("admin")
    browser.get("/")
    ends_in(3)
    the_list.changed()
    with CaptureQueriesContext(connection) as cold:
        browser.get("/")
    with CaptureQueriesContext(connection) as warm:
        browser.get("/")
    assert len(cold) <= 13
    assert len(warm) == len(cold) - 5  # customers, weeks, pairs, and whose domains are ours


def test_the_pages_of_a_customer_stand_beside_a_source_of_no_customers(signed_in, snapshot, gdap_read):
    assert signed_in("admin").get(f"/customers/{SPECIAL['contoso']}/users/").status_code == 200
