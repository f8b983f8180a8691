"""The GDAP page: tiles and filters, who can do what where, what changed since yesterday, and the export."""

import csv
import io
import random
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from customers import access, tasks
from customers.gdap import reading
from customers.gdap.listing import GdapQuery, tiles
from customers.models import Customer, GdapChange, GdapRead, GdapRelationship
from partnerportal import clock
from partnerportal.models import AuditEvent
from partnerportal.sandbox.seed import SPECIAL, SPECIAL_NAMES
from partnerportal.upstream import roles
from tests.customers.gdap_reads import grant_of, read_as
from tests.customers.rows import NOON
from tests.pages import Page

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("snapshot")]
PATH = "/gdap/"


@pytest.fixture
def admin(signed_in):
    """An administrator, after a read."""
    browser = signed_in("admin")
    read_as("admin")
    return browser


def look(browser, query=""):
    answer = browser.get(PATH + query)
    assert answer.status_code == 200, answer
    return Page(answer)


def customers_of(page):
    rows = re.findall(r'<th role="rowheader" scope="row"[^>]*>(.*?)</th>', page.html, re.DOTALL)
    return [Page(row).words for row in rows]


def tile(page, words):
    [link] = [link for link in page.links if link.words.startswith(words) and "?" in link.href]
    return link


def every(browser, query):
    """The customers of all pages."""
    found, number = [], 1
    while True:
        page = look(browser, f"{query}{'&' if '?' in query else '?'}page={number}")
        found += customers_of(page)
        if not page.href("page-next"):
            return found
        number += 1


# --- The list -------------------------------------------------------------------------------------------------


def test_what_ends_first_stands_on_top(admin):
    page = look(admin)
    assert customers_of(page)[0] in (SPECIAL_NAMES["expiring"], SPECIAL_NAMES["status_expiring"])
    ends = [row.ends_at for row in GdapRelationship.objects.exclude(ends_at=None).order_by("ends_at")]
    assert ends
    for words in ("Fourth Coffee", "Helpdesk Tier 1", "4 more", "GDAP Helpdesk Tier 1", "in 11 days"):
        assert words in page.words


def test_ended_ones_are_behind_their_tile(admin):
    assert SPECIAL_NAMES["expired"] not in every(admin, "")
    ended = every(admin, "?ends=ended")
    for key in ("expired", "past_end", "terminated"):
        assert SPECIAL_NAMES[key] in ended
    assert SPECIAL_NAMES["pending"] not in ended
    assert SPECIAL_NAMES["pending"] in every(admin, "")


@pytest.mark.parametrize("status", ["terminated", "terminating", "expired", "active", "expiring"])
def test_of_ended_ones_the_last_stands_on_top_by_the_day_on_which_they_really_ended(monkeypatch, signed_in, status):
    GdapRelationship.objects.all().delete()
    now, dice = clock.now(), random.Random(status)
    for number in range(30):
        at, changed = (
            None if dice.random() < 0.2 else now + timedelta(days=dice.choice([-300, -20, -3, 2, 90]), hours=number)
            for _ in range(2)
        )
        GdapRelationship.objects.create(
            id=f"{number:02}", display_name="Helpdesk", status=status, ends_at=at, modified_at=changed
        )
    rows = list(GdapQuery(ends="ended").rows())
    ended = [access.ended_at(row.told, now) for row in rows]
    assert rows
    assert [row.end for row in rows] == ended
    told = [at for at in ended if at]
    assert ended == sorted(told, reverse=True) + [None] * (len(ended) - len(told))
    day = f"{now - timedelta(days=4):%Y-%m-%d}"
    late = GdapQuery.read({"ends": "ended", "from": day}).rows()
    assert {row.pk for row in late} == {
        row.pk for row, at in zip(rows, ended, strict=True) if at and f"{at:%Y-%m-%d}" >= day
    }


def test_what_was_ended_early_is_shown_and_exported_with_the_day_on_which_it_ended(admin):
    one = GdapRelationship.objects.get(tenant_id=SPECIAL["terminated"])
    one.ends_at, one.modified_at = clock.now() + timedelta(days=300), datetime(2026, 3, 4, 12, tzinfo=UTC)
    one.save()
    page = look(admin, f"?ends=ended&customer={SPECIAL_NAMES['terminated']}".replace(" ", "+"))
    assert "4 Mar 2026" in page.words
    text = b"".join(admin.get("/gdap/export.csv?ends=ended")).decode("utf-8-sig")
    assert [row["Ends"][:10] for row in csv.DictReader(io.StringIO(text)) if row["Tenant ID"] == one.tenant_id] == [
        "2026-03-04"
    ]


@pytest.mark.parametrize(
    ("words", "query"),
    [("Ended", "?ends=ended"), ("7 days", "?ends=7"), ("30 days", "?ends=30"), ("90 days", "?ends=90"),
     ("Later", "?ends=later"), ("Not extending", "?auto=no")],
)  # fmt: skip
def test_each_tile_counts_what_is_behind_it(admin, words, query):
    found = tile(look(admin), words)
    assert found.href == PATH + query
    assert found.words == f"{words} {len(every(admin, query))}"
    assert tile(look(admin, f"{query}&customer=a"), "90 days" if words != "90 days" else "7 days")
    assert look(admin, query).attributes(**{"aria-current": "true"})["href"] == PATH


def test_a_tile_leads_to_what_it_counts_whatever_else_is_filtered(admin):
    filters = f"?customer=contoso+trading&role={roles.USER_ADMINISTRATOR}&from=2026-01-01"
    found = tile(look(admin, filters), "30 days")
    assert found.words == f"30 days {len(every(admin, found.href.removeprefix(PATH)))}"
    assert every(admin, f"{filters}&ends=30") == []


def test_a_tile_counts_by_the_day_of_its_reader(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOON)
    late = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)  # in Athens the next day has begun
    GdapRelationship.objects.create(id="late", display_name="Helpdesk", status="active", ends_at=late)
    for zone, count in (("UTC", 1), ("Europe/Athens", 0), ("UTC", 1)):
        with timezone.override(ZoneInfo(zone)):
            counts = {one["words"]: one["count"] for one in tiles(GdapQuery())}
            assert counts["7 days"] == GdapQuery(ends="7").rows().count() == count


def test_days_are_counted_by_calendar(admin):
    one = GdapRelationship.objects.get(tenant_id=SPECIAL["expiring"])
    today = timezone.localtime(clock.now()).replace(hour=0, minute=0, second=0, microsecond=0)
    for at, within in ((today + timedelta(days=8, seconds=-1), True), (today + timedelta(days=8), False)):
        GdapRelationship.objects.filter(pk=one.pk).update(ends_at=at)
        assert (SPECIAL_NAMES["expiring"] in every(admin, "?ends=7")) is within


def test_an_end_at_the_end_of_all_dates_is_none(admin, sandbox):
    """DateTime.MaxValue of .NET, which has no date any more in a zone east of UTC."""
    name = SPECIAL_NAMES["expiring"]
    [one] = sandbox.running.cloud.relationships_of(SPECIAL["expiring"])
    one.ends = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    admin.post("/settings/", {"zone": "Europe/Berlin"})
    read_as("admin")
    assert GdapRelationship.objects.get(pk=one.id).ends_at is None
    assert name in every(admin, "?ends=later")
    assert name not in every(admin, "?ends=30")


def test_filters_by_extension_customer_role_and_dates(admin):
    standing = GdapQuery().rows().exclude(status="approvalPending").count()
    assert len(every(admin, "?auto=yes")) + len(every(admin, "?auto=no")) == standing
    assert {row.extends for row in GdapQuery(auto="yes").rows()} == {True}
    assert every(admin, "?customer=fourth+coff") == [SPECIAL_NAMES["expiring"]]
    assert every(admin, f"?customer={SPECIAL['expiring']}") == [SPECIAL_NAMES["expiring"]]
    assert every(admin, "?customer=project+directory") == [SPECIAL_NAMES["union"]]
    without = every(admin, f"?role={roles.USER_ADMINISTRATOR}")
    assert SPECIAL_NAMES["ceiling"] not in without
    assert SPECIAL_NAMES["ceiling"] in every(admin, f"?role={roles.GLOBAL_READER}")
    end = timezone.localtime(GdapRelationship.objects.get(tenant_id=SPECIAL["expiring"]).ends_at).date()
    assert SPECIAL_NAMES["expiring"] in every(admin, f"?from={end}&to={end}")
    assert SPECIAL_NAMES["expiring"] not in every(admin, f"?from={end + timedelta(days=1)}")
    assert SPECIAL_NAMES["expired"] in every(admin, f"?ends=ended&from={end - timedelta(days=30)}")


@pytest.mark.parametrize(
    "query", ["?ends=never", "?auto=x&role=1&page=0", "?from=2026-13-40", "?from=0001-01-01", "?page=99"]
)
def test_nonsense_in_the_url_is_left_out(admin, query):
    answer = admin.get(PATH + query, follow=True)
    assert answer.status_code == 200
    assert Page(answer).words.count("Helpdesk Tier 1") > 5


def test_filters_are_chips_and_the_url_alone_rebuilds_the_list(admin):
    page = look(admin, "?ends=30&auto=no")
    assert "Ends within 30 days" in page.words
    assert "Does not extend by itself" in page.words
    part = admin.htmx("get", f"{PATH}?ends=30&auto=no&customer=&role=")
    assert part["HX-Push-Url"] == f"{PATH}?ends=30&auto=no"
    assert "<html" not in part.content.decode()
    assert customers_of(Page(part)) == customers_of(page)


def test_nothing_matches(admin):
    assert "No relationship matches" in look(admin, "?customer=vinyard").words


def test_before_the_first_read_the_page_says_how_it_comes(signed_in):
    page = look(signed_in("admin"))
    assert "Nothing has been read yet" in page.words
    assert "Not read yet" in page.words


def test_relationships_and_customers_are_told_apart(admin, snapshot):
    page = look(admin)
    ending = len(Customer.objects.listed().gdap_ends_soon(timezone.now()))
    assert ending
    assert f"The tiles count relationships. The {ending} beside GDAP in the menu counts customers" in page.words


def test_before_anything_can_have_changed_the_page_says_since_when_it_was_read(admin):
    assert (
        "Nothing changed since the first read GDAP was read for the first time just now."
        in look(admin, "?view=changes").words
    )
    GdapRelationship.objects.update(first_seen_at=clock.now() - timedelta(days=3))
    assert "Nothing changed since yesterday" in look(admin, "?view=changes").words


def test_microsofts_facts_are_told(admin):
    words = look(admin).words
    assert "two years at most" in words
    assert "six more months" in words
    assert "30 days, 7 days and 1 day before" in words


def test_a_source_that_failed_is_told_with_the_age(admin, sandbox, move_clock):
    sandbox.fault("graph", "status", status=503, times=0)
    move_clock(120)
    read_as("admin")
    words = look(admin).words
    assert "The relationships are 2 min old. Microsoft Graph has a fault of its own (503)." in words
    assert "Helpdesk Tier 1" in words


def test_a_page_asks_no_upstream_and_few_questions(admin, sandbox, django_assert_max_num_queries):
    look(admin)
    sandbox.running.journal.clear()
    with django_assert_max_num_queries(16):
        look(admin)
    assert sandbox.journal() == []


def test_the_page_of_the_rail_is_the_one_that_is_open(admin):
    page = look(admin)
    current = [told["href"] for _, told in page.tags if told.get("aria-current") == "page" and "href" in told]
    assert current == ["/gdap/", "/gdap/"]  # the rail and the view
    page = Page(admin.get("/gdap/sync/"))
    current = [told["href"] for _, told in page.tags if told.get("aria-current") and "href" in told]
    assert current == ["/gdap/sync/"]


# --- Who can do what ------------------------------------------------------------------------------------------


def cells(page, name):
    [row] = [row for row in page.html.split("<tr")[1:] if f">{name}</bdi>" in row]
    found = re.findall(r'<td role="cell" class="m nw" data-label="([^"]+)">(.*?)</td>', row, re.DOTALL)
    return {label: Page(html) for label, html in found}


@pytest.fixture
def team(admin, signed_in):
    for persona in ("writer", "reader", "nested"):
        signed_in(persona)
        tasks.read_groups(str(grant_of(persona).pk))
    return admin


def test_the_matrix_tells_for_me_and_for_the_team(team, signed_in):
    row = cells(look(team, "?view=matrix&customer=contoso"), "Contoso Trading")
    assert list(row) == [
        "See the users", "Create users", "Change users", "Reset passwords", "Delete users", "Restore users",
        "Assign licences",
    ]  # fmt: skip
    create = row["Create users"]
    assert [told.get("aria-label") for _, told in create.tags if told.get("role") == "img"] == ["You can"]
    assert "2 Maya Okafor" in create.words
    assert "Tom Reyes" in create.words
    assert "Ines Halloran" in row["See the users"].words
    assert "Tom Reyes" not in row["Delete users"].words
    mine = cells(look(signed_in("nested"), "?view=matrix&customer=contoso"), "Contoso Trading")
    assert "You cannot." in mine["Create users"].words


def test_the_matrix_shows_no_filter_that_it_does_not_apply(admin):
    filters = f"ends=7&auto=yes&role={roles.USER_ADMINISTRATOR}&from=2026-01-01&to=2027-01-01"
    page = look(admin, f"?view=matrix&customer=contoso&page=1&{filters}")
    assert customers_of(page) == customers_of(look(admin, "?view=matrix&customer=contoso"))
    assert re.findall(r'class="chip">([^<]+)', page.html) == ["Customer: contoso"]
    [tab] = [link for link in look(admin, f"?customer=contoso&{filters}").links if link.words == "Who can do what"]
    assert tab.href == f"{PATH}?view=matrix&customer=contoso"
    kept = [link.href for link in page.links if link.words in ("Relationships", "Changes since yesterday")]
    assert kept == [f"{PATH}?customer=contoso", f"{PATH}?view=changes&customer=contoso"]


def test_an_app_role_that_only_looks_counts_in_the_matrix(team, sandbox, signed_in):
    sandbox.state("add_to_group", persona="reader", group="user_admins")
    reader = signed_in("reader")
    tasks.read_groups(str(grant_of("reader").pk))
    row = cells(look(reader, "?view=matrix&customer=contoso"), "Contoso Trading")
    assert "Ines Halloran" in row["See the users"].words
    assert "Ines Halloran" not in row["Create users"].words


def test_the_rights_of_a_page_of_the_matrix_are_one_query(team, django_assert_num_queries):
    from customers.gdap import team as people

    tenants = list(Customer.objects.exclude(tenant_id=None).values_list("tenant_id", flat=True)[:25])
    with django_assert_num_queries(1):
        assert len(people.holders(tenants)) > 10


def test_the_matrix_agrees_with_the_clouds_own_rule(team, sandbox):
    from customers.access import NEEDED
    from customers.gdap import team as people

    cloud = sandbox.running.cloud
    staff = people.members()
    assert [member.operator.name for member in staff] == [
        "Ines Halloran",
        "Jonas Lindqvist",
        "Maya Okafor",
        "Tom Reyes",
    ]
    held = people.holders(list(cloud.world.customers))
    for tenant_id in cloud.world.customers:
        for member in staff:
            mine = cloud.roles(str(member.operator.oid), tenant_id)
            for action, enough in NEEDED.items():
                by_groups = not member.groups.isdisjoint(held.get(tenant_id, {}).get(action, ()))
                assert by_groups == bool(mine & set(enough)), (tenant_id, member.operator.name, action)


# --- What changed ---------------------------------------------------------------------------------------------


def test_what_changed_since_yesterday(admin, sandbox):
    assert "Nothing changed since" in look(admin, "?view=changes").words
    sandbox.state("terminate_relationship", tenant_id=SPECIAL["contoso"])
    read_as("admin")
    old = GdapChange.objects.first()
    GdapChange.objects.create(
        at=clock.now() - timedelta(days=3),
        tenant_id=old.tenant_id,
        relationship_id="x",
        display_name="Long ago",
        kind="new",
    )
    page = look(admin, "?view=changes")
    assert customers_of(page)[0] == "Contoso Trading"
    assert "Ended" in page.words
    assert "Long ago" not in page.words
    assert f"Changes since yesterday{GdapChange.objects.count() - 1}" in page.words


# --- Try now --------------------------------------------------------------------------------------------------


def test_try_now_asks_for_a_read_with_ones_own_token(admin, monkeypatch, django_capture_on_commit_callbacks):
    published = []
    monkeypatch.setattr(tasks.read_gdap, "delay", published.append)
    with django_capture_on_commit_callbacks(execute=True):
        answer = admin.post("/gdap/refresh/")
    assert (answer.status_code, answer["Location"]) == (303, PATH)
    made = GdapRead.objects.get(open=True)
    assert (made.by.name, published) == ("Maya Okafor", [made.pk])
    assert "A read is under way" in look(admin).words
    admin.post("/gdap/refresh/")
    assert GdapRead.objects.filter(open=True).count() == 1
    assert admin.htmx("get", "/gdap/refresh/").status_code == 200
    reading.carry_out(made.pk)
    answer = admin.htmx("get", "/gdap/refresh/")
    assert answer.status_code == 286
    assert "The last read ended" in Page(answer).words


# --- Export ---------------------------------------------------------------------------------------------------


def rows_of(answer):
    text = b"".join(answer.streaming_content).decode()
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text.lstrip("\ufeff"))))


def test_the_export_has_the_rows_of_the_page_and_is_written_down(admin):
    answer = admin.get("/gdap/export.csv?ends=30")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert re.search(r'filename="gdap-\d{4}-\d{2}-\d{2}T\d{4}Z.csv"', answer["Content-Disposition"])
    header, *rows = rows_of(answer)
    assert header[:3] == ["Customer", "Tenant ID", "Relationship"]
    assert [row[0] for row in rows] == every(admin, "?ends=30")
    [fourth] = [row for row in rows if row[0] == "Fourth Coffee"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", fourth[5])
    assert "User Administrator" in fourth[7]
    assert fourth[9] == "GDAP Helpdesk Tier 1"
    event = AuditEvent.objects.get(action="export gdap", kind="outcome")
    assert event.detail == f"Exported {len(rows)} GDAP relationships."
    assert event.target_name == "ends=30"


def test_no_cell_of_the_export_is_a_formula(admin):
    GdapRelationship.objects.filter(tenant_id=SPECIAL["expiring"]).update(display_name="=cmd|'/c calc'!A1")
    _, *rows = rows_of(admin.get("/gdap/export.csv?ends=30"))
    assert "'=cmd|'/c calc'!A1" in [row[2] for row in rows]
    assert not [cell for row in rows for cell in row if cell[:1] in ("=", "+", "-", "@", "\t")]


def test_thirty_exports_an_hour_are_for_both_lists_together(admin):
    for number in range(30):
        path = "/gdap/export.csv" if number % 2 else "/customers/export.csv"
        assert admin.get(path).status_code == 200
    assert admin.get("/gdap/export.csv").status_code == 429


def test_who_left_every_source_is_not_named_as_a_customer(admin):
    Customer.objects.filter(tenant_id=SPECIAL["expiring"]).update(listed=False)
    page = look(admin, "?view=matrix&customer=Fourth")
    assert "Fourth Coffee" not in customers_of(page)
