"""What a person likes of the list (columns, page size), its views and filters, the menu of a row, and the export."""

import csv
import io
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import time_machine
from django.core.management import call_command
from django.db.models import Value
from django.db.models.functions import Concat
from django.urls import reverse
from django.utils.html import escape

from customers import learning, snapshot
from customers.listing import COLUMNS as LIST_COLUMNS
from customers.listing import join, split
from customers.models import Customer, GdapGrant, GdapRelationship, Label, MatchSuggestion, Source
from customers.templatetags.customer_rows import CELLS
from customers.views import export
from partnerportal import clock, csv_out
from partnerportal.models import AuditEvent, Operator
from partnerportal.sandbox.seed import SPECIAL, SPECIAL_NAMES
from tests.conftest import Browser
from tests.customers.hand_made import ROLES
from tests.customers.rows import gdap_was_read
from tests.customers.test_list import LIST, keys, look, names, row_of
from tests.pages import Page

pytestmark = pytest.mark.django_db
COLUMNS = "/customers/columns/"
EXPORT = "/customers/export.csv"


@pytest.fixture
def reader(signed_in, snapshot) -> Browser:
    return signed_in("reader")


@pytest.fixture
def may(reader):
    """`may(level)`: what this person may do at contoso by the snapshot; 0 is nothing."""

    def give(level: int) -> None:
        Operator.objects.update(groups=["g"], groups_read_at=clock.now())
        gdap_was_read()
        GdapGrant.objects.all().delete()
        if level:
            GdapGrant.objects.create(tenant_id=SPECIAL["contoso"], group_id="g", level=level)
        snapshot.changed()

    return give


# --- Views ----------------------------------------------------------------------------------------------------


def test_the_views_tell_how_many_and_lead_there(reader, may):
    may(2)
    page = look(reader)
    total = Customer.objects.count()
    for key, label, count in (
        ("all", "All", total),
        ("needs-attention", "Needs attention", Customer.objects.needing_attention(clock.now()).count()),
        ("no-access", "No access", total - 1),
        ("only-in-one-source", "Only in one source", Customer.objects.in_one_source().count()),
        ("matches-to-check", "Matches to check", Customer.objects.to_check().count()),
    ):
        assert count
        assert f"{label} {count}" in page.words
        there = look(reader, page.href(f"view-{key}"))
        assert f"of {count}" in there.words
        assert there.attributes(id=f"view-{key}")["aria-current"] == "true"
        assert there.href("view-all") == LIST


def test_a_view_is_kept_by_the_filters_and_the_sorting(reader):
    page = look(reader, view="only-in-one-source", size=50)
    assert page.form("q").fields["view"] == "only-in-one-source"
    assert page.href("sort-country") == "/customers/?view=only-in-one-source&sort=country&size=50"
    assert look(reader, view="all").href("sort-country") == "/customers/?sort=country"
    assert "There is no view “mars”. It was left out." in look(reader, view="mars").words


def test_several_values_of_one_filter_are_a_list_with_commas(reader):
    page = look(reader, "/customers/?country=Vietnam,France&size=200")
    wanted = Customer.objects.filter(country__in=["Vietnam", "France"])
    assert len(keys(page)) == wanted.count() > 2
    chip = page.attributes(**{"aria-label": "Remove filter Country: Vietnam"})
    assert chip["href"] == "/customers/?country=France&size=200"
    assert page.form("q").fields["country"] == "Vietnam,France"
    assert "Vietnam,France,Japan" in page.form("q").choices["country"]
    assert "There is no source “pc,mars”" in look(reader, source="pc,mars").words
    assert split("Korea,, Republic of,France") == ("Korea, Republic of", "France")
    assert split(join(("a,b", "c"))) == ("a,b", "c")


# --- Rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "words"), [(2, "Edit users"), (1, "View only"), (0, "None")])
def test_a_row_tells_what_one_may_do_there(reader, may, level, words):
    may(level)
    assert words in row_of(look(reader, q=SPECIAL_NAMES["contoso"]), SPECIAL["contoso"])
    assert keys(look(reader, q="contoso trading", access={2: "edit", 1: "view", 0: "none"}[level]))
    assert not keys(look(reader, q="contoso trading", access={2: "none", 1: "edit", 0: "edit,view"}[level]))


def test_when_we_cannot_tell_the_head_says_so_once_and_the_cells_are_blank(reader):
    page = look(reader)
    assert page.words.count("We cannot tell yet what you may do at these customers") == 1
    assert "Edit users" not in page.html.split("<tbody")[1]


@pytest.mark.parametrize(
    ("state", "days", "extends", "words"),
    [
        ("live", 200, False, "10 Jun 2027"),
        ("live", 11, False, "in 11 days"),
        ("live", 11, True, "extends by itself for six months"),
        ("live", -1, False, "Ended 1 day ago"),
        ("ended", -6, False, "Ended 6 days ago"),
        ("pending", None, False, "Not approved"),
        ("live", None, False, "No end date"),
        ("none", None, False, "No relationship"),
    ],
)
def test_a_row_tells_when_gdap_ends(reader, state, days, extends, words):
    now = datetime(2026, 11, 22, 13, 4, tzinfo=UTC)
    ends = None if days is None else now + timedelta(days=days)
    contoso = Customer.objects.filter(tenant_id=SPECIAL["contoso"])
    contoso.update(gdap_state=state, gdap_ends_at=ends, gdap_extends=extends)
    with time_machine.travel(now, tick=False):
        reader = Browser()
        reader.sign_in("reader")
        row = row_of(look(reader, q=SPECIAL_NAMES["contoso"]), SPECIAL["contoso"])
    cell = row.split('data-label="GDAP ends"')[1].split("</td>")[0]
    assert words in cell
    assert ('class="tag warn"' in cell) == (words == "in 11 days")
    assert ('class="tag bad"' in cell) == words.startswith("Ended")


def test_a_row_that_may_be_another_ones_company_says_so(reader):
    pair = MatchSuggestion.objects.select_related("partner_center")[0]
    assert "Check match" in row_of(look(reader, q=pair.partner_center.tenant_id[:20]), pair.partner_center.key)


def test_the_menu_of_a_row_offers_what_there_is(signed_in, snapshot):
    writer = signed_in("writer")
    path = look(writer, q=SPECIAL_NAMES["contoso"]).href("Show the actions")
    page = Page(writer.htmx("get", path))
    assert page.href("Open users") == f"/customers/{SPECIAL['contoso']}/users/"
    assert page.href("New user") == f"/customers/{SPECIAL['contoso']}/users/new/"
    assert SPECIAL["contoso"] in page.href("Open in Partner Center")
    assert page.href("Open in AvePoint").startswith("https://")
    assert page.attributes(**{"data-copy": SPECIAL["contoso"]})
    assert "<html" not in page.html
    assert "<h1>Actions for" in look(writer, path).html
    assert Page(signed_in("reader").htmx("get", path)).href("New user") == ""


def test_the_menu_of_an_avepoint_customer_has_no_tenant(reader):
    key = Customer.objects.filter(tenant_id=None)[0].key
    page = Page(reader.htmx("get", f"/customers/{key}/menu/"))
    assert "Copy tenant ID" not in page.words
    assert page.href("Open in Partner Center") == ""


# --- Columns and page size ------------------------------------------------------------------------------------


def test_chosen_columns_are_kept_in_their_order_and_nothing_else_changes(reader):
    page = look(reader, "/customers/?q=a&country=Vietnam&sort=-name&size=50")
    form = look(reader, page.href("columns")).form("list")
    assert form.fields["list"] == "q=a&country=Vietnam&sort=-name&size=50"
    chosen = {"list": form.fields["list"], "order": ["tags", "gdap", "country"], "shown": ["country", "gdap", "tags"]}
    answer = reader.post(COLUMNS, chosen | {"step": "apply"})
    assert (answer.status_code, answer["Location"]) == (303, "/customers/?q=a&country=Vietnam&sort=-name&size=50")
    page = look(reader, answer["Location"])
    heads = [" ".join(head.split()) for head in ("Tags", "GDAP ends", "Country")]
    places = [page.html.index(head, page.html.index("<thead")) for head in heads]
    assert places == sorted(places)
    assert "Default domain" not in page.html.split("<thead")[1].split("</thead>")[0]
    again = Browser()
    again.sign_in("reader")
    assert "Tags" in look(again).html.split("<thead")[1].split("</thead>")[0]


def test_every_column_has_a_cell_and_stands_in_the_export():
    assert list(CELLS) == list(LIST_COLUMNS)
    assert list(export.HEADERS) == list(LIST_COLUMNS)


def test_relationship_and_roles_are_those_whose_end_the_row_tells(reader):
    def relationship(name, *roles_of_it, status="active", days=90, **more):
        ends = clock.now() + timedelta(days=days)
        row = dict(id=name, tenant_id=SPECIAL["contoso"], display_name=name, status=status, ends_at=ends, **more)
        GdapRelationship.objects.create(roles=[ROLES[role] for role in roles_of_it], **row)

    GdapRelationship.objects.all().delete()
    relationship("Over", "Directory Readers", status="terminated", days=900)
    relationship("Short <b>", "Directory Readers", days=30)
    address = "/customers/?q=" + SPECIAL_NAMES["contoso"] + "&cols=name,relationship,roles"
    row = row_of(look(reader, address), SPECIAL["contoso"])
    assert "Short &lt;b&gt;" in row
    four = ("User Administrator", "Directory Writers", "License Administrator", "Directory Readers")
    relationship("Helpdesk", *four, days=60)
    row = row_of(look(reader, address), SPECIAL["contoso"])
    assert "Helpdesk" in row
    assert ">Directory Readers, Directory Writers, License Administrator and 1 more<" in row
    assert f'title="{", ".join(sorted(four))}"' in row
    relationship("Extends", "Directory Readers", days=10, extends=True)
    assert "Extends" in row_of(look(reader, address), SPECIAL["contoso"])
    _, told = rows_of(reader.get(EXPORT, {"q": SPECIAL_NAMES["contoso"], "cols": "relationship,roles"}))
    assert told[1:] == ["Extends", "Directory Readers"]


def test_users_are_those_of_the_last_visit_and_told_to_who_may_see_them(reader, may):
    contoso = Customer.objects.get(tenant_id=SPECIAL["contoso"])
    address = "/customers/?q=" + SPECIAL_NAMES["contoso"] + "&cols=name,users"
    may(1)
    assert '<td role="cell" class="p3 nw num"></td>' in row_of(look(reader, address), contoso.key)
    learning.see_users(contoso, 1204, all_of_them=True, at=clock.now() - timedelta(minutes=2))
    row = row_of(look(reader, address), contoso.key)
    assert "1,204, " in row
    assert "2 min ago" in row
    learning.see_users(contoso, 100, all_of_them=False, at=clock.now())
    assert "100 or more, " in row_of(look(reader, address), contoso.key)
    may(0)
    assert "100 or more" not in look(reader, address).html
    _, told = rows_of(reader.get(EXPORT, {"q": SPECIAL_NAMES["contoso"], "cols": "users"}))
    assert told[1:] == ["", "", ""]


def test_a_row_is_as_old_as_the_older_of_its_sources(reader):
    for name, minutes in (("partner_center", 2), ("avepoint", 17)):
        Source.objects.filter(pk=name).update(last_good_at=clock.now() - timedelta(minutes=minutes))
    address = "/customers/?size=200&cols=name,synced"
    page = look(reader, address)
    for pc_too, ap_too, words in ((True, True, "17 min ago"), (True, False, "2 min ago"), (False, True, "17 min ago")):
        one = Customer.objects.listed().filter(in_partner_center=pc_too, in_avepoint=ap_too, key__in=keys(page))[0]
        assert f">{words}</time>" in row_of(page, one.key)


def test_addresses_of_rows_are_those_of_the_routes(reader):
    Customer.objects.filter(in_avepoint=True, in_partner_center=False).update(key=Concat(Value("ap-é %;x&'\""), "pk"))
    page = look(reader, "/customers/?size=200&source=ap")
    rows = Customer.objects.listed().from_source("ap")
    assert rows
    for row in rows:
        assert f'href="{escape(reverse("users", args=[row.key]))}"' in page.html


def test_reset_brings_the_usual_columns_back(reader):
    reader.post(COLUMNS, {"order": ["tags"], "shown": ["tags"], "step": "apply"})
    assert reader.htmx("post", COLUMNS, {"step": "reset"})["HX-Redirect"] == LIST
    assert (
        Operator.objects.get(name="Ines Halloran").preferences["columns"] == ()
        or not Operator.objects.get(name="Ines Halloran").preferences["columns"]
    )
    assert "AvePoint status" in look(reader).html.split("<thead")[1].split("</thead>")[0]


def test_up_and_down_move_a_column_and_keep_nothing_yet(reader):
    order = ["domain", "source", "country"]
    answer = reader.post(COLUMNS, {"order": order, "shown": order, "move": "up:country"})
    assert answer.status_code == 200
    page = Page(answer)
    found = [told["value"] for tag, told in page.tags if told.get("name") == "order"]
    assert found[:3] == ["domain", "country", "source"]
    assert page.attributes(id="up-country").get("autofocus") == ""
    end = Page(reader.post(COLUMNS, {"order": order, "shown": order, "move": "up:domain"}))
    assert [told["value"] for tag, told in end.tags if told.get("name") == "order"][:3] == order
    assert not Operator.objects.get(name="Ines Halloran").preferences.get("columns")


def test_columns_in_the_url_hold_for_that_view_only(reader):
    page = look(reader, "/customers/?cols=name,owner&sort=-name")
    assert "Owner e-mail" in page.html.split("<thead")[1].split("</thead>")[0]
    assert page.href("page-next") == "/customers/?sort=-name&page=2&cols=name%2Cowner"
    assert "Owner e-mail" not in look(reader).html.split("<thead")[1].split("</thead>")[0]
    assert "There is no column “mars”. It was left out." in look(reader, cols="name,mars").words


def test_the_size_of_a_page_is_remembered_and_keeps_the_first_row_on_screen(reader):
    page = look(reader, "/customers/?sort=-name&page=3")
    first = names(page)[0]
    form = page.form("size")
    answer = reader.post(form.action, form.fields | {"size": "50"})
    assert answer["Location"] == "/customers/?sort=-name&page=2&size=50"
    assert first in names(look(reader, answer["Location"]))
    again = Browser()
    again.sign_in("reader")
    page = look(again)
    assert len(keys(page)) == 50
    assert page.href("page-next") == "/customers/?page=2&size=50"


def test_an_address_without_a_size_shows_the_same_page_to_everybody(reader):
    reader.post("/customers/size/", {"size": "50"})
    page = look(reader, "/customers/?page=2")
    assert len(keys(page)) == 25
    assert page.href("sort-country") == "/customers/?sort=country&size=25"


@pytest.mark.parametrize("size", ["26", "", "x", "-25", "٢٥"])
def test_a_size_that_is_none_changes_nothing(reader, size):
    answer = reader.post("/customers/size/", {"size": size, "first": "-3", "list": "\x00=&&%"})
    assert answer["Location"] == LIST
    assert len(keys(look(reader))) == 25


# --- Export ---------------------------------------------------------------------------------------------------


def rows_of(answer) -> list[list[str]]:
    text = b"".join(answer.streaming_content).decode("utf-8")
    assert text.startswith("\ufeff")
    assert all(line.startswith('"') and line.endswith('"') for line in text[1:].rstrip("\r\n").split("\r\n") if line)
    return list(csv.reader(io.StringIO(text[1:])))


def test_the_export_has_the_rows_of_the_list_in_its_order_and_columns(reader):
    page = look(reader, source="both", sort="-country", size=200)
    assert f"Export {len(keys(page))} rows" in page.words
    [link] = [link for link in page.links if link.words.startswith("Export")]
    assert link.href == "/customers/export.csv?source=both&sort=-country&size=200"
    answer = reader.get(link.href)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    header, *rows = rows_of(answer)
    assert header[:5] == ["Customer", "Default domain", "Source", "Country", "Country code"]
    assert len(rows) == len(keys(page))
    plain = Customer.objects.from_source("both").in_order("-country").values_list("country_code", flat=True)
    assert [row[4] for row in rows] == list(plain)


def test_all_columns_can_be_exported_whatever_is_shown(reader):
    contoso = Customer.objects.get(tenant_id=SPECIAL["contoso"])
    Customer.objects.filter(pk=contoso.pk).update(
        gdap_state="live", gdap_ends_at=datetime(2027, 6, 24, 18, 0, tzinfo=UTC), gdap_extends=True
    )
    Label.objects.create(customer=contoso, kind="code", text="=1+1", folded="=1+1")
    header, row = rows_of(reader.get(EXPORT, {"q": SPECIAL_NAMES["contoso"], "cols": "all"}))
    told = dict(zip(header, row, strict=True))
    assert told["GDAP ends"] == "2027-06-24T18:00:00+00:00"
    assert (told["GDAP"], told["GDAP extends by itself"]) == ("Live", "yes")
    assert told["Tenant ID"] == SPECIAL["contoso"]
    assert told["Internal codes"] == "'=1+1"


def test_the_file_is_called_after_the_moment(reader):
    with time_machine.travel(datetime(2026, 11, 22, 13, 4, tzinfo=UTC), tick=False):
        browser = Browser()
        browser.sign_in("reader")
        answer = browser.get(EXPORT, {"q": "contoso"})
    assert answer["Content-Disposition"] == 'attachment; filename="customers-2026-11-22T1304Z.csv"'


def test_an_export_is_told_in_the_audit_trail(reader):
    reader.get(EXPORT, {"country": "Vietnam"})
    event = AuditEvent.objects.filter(action="export customers", kind="outcome").get()
    assert event.outcome == "done"
    assert event.actor_name == "Ines Halloran"
    assert event.fields == {"filter": ["", "country=Vietnam"]}
    assert event.detail == f"Exported {Customer.objects.filter(country='Vietnam').count()} rows"


def test_the_thirty_first_export_of_an_hour_is_refused(reader, monkeypatch):
    monkeypatch.setattr("partnerportal.exports.AN_HOUR", 2)
    for _ in range(2):
        assert reader.get(EXPORT, {"q": "zzyzx"}).status_code == 200
    answer = reader.get(EXPORT)
    assert answer.status_code == 429
    assert "You have exported 2 times in the last hour" in Page(answer).words
    now = clock.now()
    monkeypatch.setattr("partnerportal.exports.clock", SimpleNamespace(now=lambda: now + timedelta(minutes=61)))
    assert reader.get(EXPORT, {"q": "zzyzx"}).status_code == 200


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("=1+1", "'=1+1"),
        ("+44 20", "'+44 20"),
        ("-5", "'-5"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("  =1", "'  =1"),
        ("\u00a0=1", "'\u00a0=1"),
        ("\u200b=1", "'\u200b=1"),
        ("＝1", "'＝1"),
        ("＋1", "'＋1"),
        ("－1", "'－1"),
        ("＠A", "'＠A"),
        ("Contoso = 1", "Contoso = 1"),
        ("", ""),
        (None, ""),
        (7, "7"),
        ("a\x00b", "ab"),
    ],
)
def test_nothing_in_a_csv_file_is_a_formula(text, safe):
    assert csv_out.safe(text) == safe


def test_the_migration_says_what_to_do_without_pg_trgm():
    from importlib import import_module

    migration = import_module("customers.migrations.0002_search")
    assert "CREATE EXTENSION pg_trgm" in migration.NO_EXTENSION
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
