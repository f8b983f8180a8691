"""The look: budgets, files that a strict Content-Security-Policy can serve, and what the template tags write."""

import base64
import gzip
import hashlib
import re
import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from django import forms
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.paginator import Paginator
from django.http import QueryDict
from django.template import Context, Template
from django.template.loader import get_template, render_to_string

from partnerportal.templatetags import portal

STATIC = Path(settings.BASE_DIR, "static")
TEMPLATES = Path(settings.BASE_DIR, "templates")
HTMX = Path(str(finders.find("django_htmx/htmx-2.min.js")))
DESIGN = Path(settings.BASE_DIR).parent / "shared" / "design" / "DESIGN.md"
OURS = [
    STATIC / "portal.css",
    STATIC / "portal.js",
    STATIC / "keys.js",
    STATIC / "polls.js",
    STATIC / "user_form.js",
    STATIC / "zone.js",
    STATIC / "icons.svg",
]
PAGES = sorted(TEMPLATES.rglob("*.html"))
NOW = datetime(2026, 11, 22, 13, 4, 18, tzinfo=UTC)


@pytest.fixture
def at_lunch():
    with time_machine.travel(NOW, tick=False):
        yield


def weight(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 9))


def rendered(source: str, **context: object) -> str:
    return Template("{% load portal %}" + source).render(Context(context))


# --- Budgets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "limit"), [("portal.css", 10_000), ("portal.js", 5_000), ("icons.svg", 3_000)])
def test_each_file_stays_within_its_budget(name: str, limit: int) -> None:
    assert weight(STATIC / name) <= limit


def test_all_scripts_together_stay_within_22_kb() -> None:
    assert weight(STATIC / "portal.js") + weight(HTMX) <= 22_000


def test_the_font_that_every_page_loads_stays_within_50_kb() -> None:
    assert (STATIC / "fonts" / "inter-latin-wght-normal.woff2").stat().st_size <= 50_000


def test_the_fonts_are_those_whose_checksums_are_written_down() -> None:
    readme = (STATIC / "fonts" / "README.md").read_text(encoding="utf-8")
    written = dict(reversed(line.split()) for line in re.findall(r"^[0-9a-f]{64} +\S+$", readme, re.MULTILINE))
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (STATIC / "fonts").iterdir()
        if path.name != "README.md"
    }
    assert found == written


# --- Nothing that the policy would stop ---------------------------------------------------------------------


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_a_static_file_loads_nothing_from_elsewhere_and_evaluates_nothing(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|data:|javascript:|\beval\(|new Function|\bstyle\s*=|\.style\b", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", text)
    assert not re.search(r"(local|session)Storage(?!\.clear\(\))|indexedDB", text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_a_template_has_no_inline_style_script_or_handler(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle\s*=|\son[a-z]+\s*=|hx-on|javascript:|js:|href=\"#\"", text)
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", text)


def test_every_page_that_asks_by_itself_brings_the_script_that_ticks() -> None:
    texts = [path.read_text(encoding="utf-8") for path in PAGES]
    asking = [text for text in texts if 'hx-trigger="tick' in text]
    assert len(asking) > 5
    assert all("{% static 'polls.js' %}" in text for text in asking)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_no_link_hides_a_refusal_behind_a_download(path: Path) -> None:
    """With `download` a browser shows a page that says no as a download that was cancelled."""
    assert not re.search(r"<a\b[^>]*\sdownload\b", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_a_template_does_not_beg_or_exclaim(path: Path) -> None:
    words = re.sub(r"{#.*?#}|{%.*?%}|<[^>]*>", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not re.search(r"\b(please|sorry|invalid|oops|error occurred)\b", words, re.IGNORECASE)
    assert "!" not in words.replace("! # ^ ~", "").replace("!doctype", "")


@pytest.mark.parametrize("path", sorted((TEMPLATES / "partials").glob("*.html")), ids=lambda path: path.name)
def test_a_partial_begins_by_saying_what_it_takes(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("{# ")


def test_htmx_gets_the_configuration_of_the_design() -> None:
    meta = re.search(
        r"<meta name=\"htmx-config\".*?'>", (TEMPLATES / "base.html").read_text(encoding="utf-8"), re.DOTALL
    )
    assert meta
    if not DESIGN.exists():
        pytest.skip("the design is not here to compare with")
    assert meta[0] in DESIGN.read_text(encoding="utf-8")


# --- Icons --------------------------------------------------------------------------------------------------


def test_the_sprite_is_well_formed_and_each_symbol_has_a_name_of_its_own() -> None:
    symbols = ET.parse(STATIC / "icons.svg").findall("{http://www.w3.org/2000/svg}symbol")
    names = [symbol.get("id", "") for symbol in symbols]
    assert len(names) == len(set(names)) > 20
    assert all(re.fullmatch(r"i-[a-z]+", name) for name in names)
    assert {symbol.get("viewBox") for symbol in symbols} == {"0 0 16 16"}


def test_every_icon_that_a_page_names_is_in_the_sprite() -> None:
    sprite = (STATIC / "icons.svg").read_text(encoding="utf-8")
    sources = [path.read_text(encoding="utf-8") for path in PAGES]
    sources.append(Path(portal.__file__).read_text(encoding="utf-8"))
    named = set(
        re.findall(
            r"{% icon(?:_href)? [\"']([a-z]+)[\"']|\bicon(?:_name)?=\"([a-z]+)\"|icon\(\"([a-z]+)\"", " ".join(sources)
        )
    )
    wanted = {name for found in named for name in found if name}
    assert len(wanted) > 10
    assert not {name for name in wanted if f'id="i-{name}"' not in sprite}


def test_an_icon_is_decoration_unless_it_has_a_label() -> None:
    assert 'aria-hidden="true"' in portal.icon("alert")
    assert 'role="img" aria-label="Look &quot;here&quot;"' in portal.icon("alert", 'Look "here"')


# --- Integrity ----------------------------------------------------------------------------------------------


def test_the_integrity_of_a_script_is_that_of_the_file_that_is_served() -> None:
    digest = base64.b64encode(hashlib.sha384((STATIC / "portal.js").read_bytes()).digest()).decode()
    assert portal.integrity("portal.js") == f"sha384-{digest}"


def test_a_script_that_is_not_there_is_a_fault_of_the_template() -> None:
    with pytest.raises(Exception, match=r"no-such\.js"):
        portal.integrity("no-such.js")


# --- Times --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (NOW - timedelta(seconds=59), "just now"),
        (NOW - timedelta(minutes=2, seconds=30), "2 min ago"),
        (NOW - timedelta(minutes=59, seconds=59), "59 min ago"),
        (NOW - timedelta(hours=1), "12:04"),
        (NOW + timedelta(minutes=5), "13:09"),
        (NOW - timedelta(days=1), "21 Nov, 13:04"),
        (datetime(2026, 1, 3, 9, 5, tzinfo=UTC), "3 Jan, 09:05"),
        (datetime(2025, 11, 22, 13, 4, tzinfo=UTC), "22 Nov 2025"),
    ],
)
@pytest.mark.usefixtures("at_lunch")
def test_when_is_relative_for_an_hour_then_as_short_as_it_can_be(moment: datetime, words: str) -> None:
    assert portal.when(moment).endswith(f">{words}</time>")


@pytest.mark.usefixtures("at_lunch")
def test_a_time_carries_its_zone_and_its_whole_value() -> None:
    assert portal.when(NOW) == (
        '<time datetime="2026-11-22T13:04:18+00:00" title="22 Nov 2026, 13:04:18 UTC">just now</time>'
    )
    assert ">13:04:18</time>" in portal.at_time(NOW)
    assert ">22 Nov 2026, 13:04:18 UTC</time>" in portal.full_time(NOW)


@pytest.mark.parametrize(
    "write", [portal.when, portal.at_time, portal.full_time, portal.day, portal.in_days, portal.age]
)
def test_a_time_that_is_not_known_is_blank(write) -> None:
    assert write(None) == ""


def test_a_day_has_its_month_as_a_word() -> None:
    assert portal.day(date(2026, 12, 3)) == '<time datetime="2026-12-03">3 Dec 2026</time>'
    assert ">3 Dec 2026</time>" in portal.day(datetime(2026, 12, 3, 18, tzinfo=UTC))


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (datetime(2026, 12, 3, 1, tzinfo=UTC), "in 11 days"),
        (datetime(2026, 11, 23, 0, 1, tzinfo=UTC), "in 1 day"),
        (datetime(2026, 11, 22, 18, tzinfo=UTC), "today at 18:00"),
        (date(2026, 11, 22), "today"),
        (date(2026, 11, 16), "6 days ago"),
        (date(2026, 12, 22), "in 30 days"),
        (date(2026, 12, 23), "23 Dec 2026"),
    ],
)
@pytest.mark.usefixtures("at_lunch")
def test_an_end_is_counted_in_calendar_days(end: date, words: str) -> None:
    assert portal.in_days(end) == words


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (timedelta(seconds=20), "less than a minute"),
        (timedelta(minutes=12), "12 min"),
        (timedelta(hours=1, minutes=12), "1 h 12 min"),
        (timedelta(hours=2), "2 h"),
        (timedelta(days=1, hours=3), "1 day 3 h"),
        (timedelta(days=2), "2 days"),
        (timedelta(seconds=-5), "less than a minute"),
    ],
)
@pytest.mark.usefixtures("at_lunch")
def test_an_age_is_told_in_its_two_largest_units(passed: timedelta, words: str) -> None:
    assert portal.age(passed) == words
    assert portal.age(NOW - passed) == words


def test_numbers_have_separators() -> None:
    assert (portal.number(1284), portal.number(None), portal.number(0)) == ("1,284", "", "0")


# --- Names and ids ------------------------------------------------------------------------------------------


def test_a_name_is_isolated_and_escaped() -> None:
    assert portal.person("<b>Zoë</b>") == '<bdi dir="auto">&lt;b&gt;Zoë&lt;/b&gt;</bdi>'
    assert rendered('{{ name|person|default:"Not set" }}', name="") == "Not set"


@pytest.mark.parametrize(
    ("char", "shown"), [("\u202e", "U+202E"), ("\x07", "U+0007"), ("\u200b", "U+200B"), ("\n", "U+000A")]
)
def test_what_hides_in_a_name_is_shown(char: str, shown: str) -> None:
    html = portal.person(f"Maya{char}<i>")
    assert char not in html
    assert f">{shown}</span>&lt;i&gt;" in html


def test_the_joiners_that_scripts_need_stay() -> None:
    assert "\u200c" in portal.person("می\u200cرود")


def test_a_user_name_has_a_quiet_domain() -> None:
    assert portal.upn("maya<@contoso.example") == (
        '<bdi dir="ltr">maya&lt;<wbr><span class="sec">@contoso.example</span></bdi>'
    )
    assert portal.upn("maya.b@c<.example", "dots") == (
        '<bdi dir="ltr">maya.<wbr>b<wbr><span class="sec">@c&lt;.<wbr>example</span></bdi>'
    )
    assert portal.upn("maya") == '<bdi dir="ltr">maya</bdi>'
    assert portal.upn(None) == ""


def test_a_domain_may_break_behind_its_dots_and_stays_text():
    assert portal.at_dots("shop.<b>.example") == "shop.<wbr>&lt;b&gt;.<wbr>example"
    assert portal.at_dots("shop.contoso.example", 1) == "shop.<wbr>contoso.example"
    assert portal.at_dots(None) == ""


def test_an_id_is_cut_in_the_middle_and_copied_whole() -> None:
    html = portal.short_id("7b1f3c9e-52d4-48d1-a2c3-0123456ba41e", "tenant ID")
    assert ">7b1f3c9e-52d4…a41e</code>" in html
    assert 'data-copy="7b1f3c9e-52d4-48d1-a2c3-0123456ba41e" aria-label="Copy tenant ID"' in html
    assert portal.short_id(None) == ""


def test_a_copied_value_cannot_leave_its_attribute() -> None:
    assert 'data-copy="&quot;&gt;&lt;script&gt;"' in portal.copy_button('"><script>', words="Copy details")
    assert 'class="btn needs-js"' in portal.copy_button("a", words="Copy", css="btn")


# --- Forms --------------------------------------------------------------------------------------------------


class Sample(forms.Form):
    name = forms.CharField(help_text="As on the door")
    country = forms.ChoiceField(choices=[("", "Choose"), ("GB", "United Kingdom")], required=False)
    agreed = forms.BooleanField(required=False)


def test_a_control_is_tied_to_its_hint_and_its_error() -> None:
    html = portal.control(Sample({"name": ""})["name"], css="mono")
    assert 'class="input mono"' in html
    assert 'aria-invalid="true"' in html
    assert 'aria-describedby="id_name_helptext id_name_error"' in html


def test_a_field_shows_label_hint_error_control_in_this_order() -> None:
    html = render_to_string("partials/field.html", {"field": Sample({"name": ""})["name"]})
    places = [html.index(part) for part in ("<label", "id_name_helptext", "id_name_error", "<input")]
    assert places == sorted(places)
    assert "(optional)" not in html
    assert "(optional)" in render_to_string("partials/field.html", {"field": Sample()["country"]})


def test_the_error_summary_leads_to_each_field_with_the_same_words() -> None:
    html = render_to_string(
        "partials/error_summary.html",
        {"heading": "The user was not created: fix 1 field", "errors": [("id_upn", "Enter a user <name>")]},
    )
    assert '<a href="#id_upn">Enter a user &lt;name&gt;</a>' in html
    assert 'role="alert" tabindex="-1" autofocus' in html


# --- Lists --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pages", "here", "numbers"),
    [
        (1, 1, [1]),
        (52, 1, [1, 2, None, 52]),
        (52, 3, [1, 2, 3, 4, None, 52]),
        (52, 4, [1, 2, 3, 4, 5, None, 52]),
        (52, 26, [1, None, 25, 26, 27, None, 52]),
        (52, 52, [1, None, 51, 52]),
        (3, 2, [1, 2, 3]),
    ],
)
def test_the_page_numbers_are_the_first_the_last_and_the_neighbours(pages: int, here: int, numbers: list[int]) -> None:
    assert portal.page_numbers(Paginator(range(pages * 25), 25).page(here)) == numbers


def test_the_first_page_goes_without_a_number() -> None:
    query = QueryDict("q=a%26b&page=7")
    assert portal.page_query(query, 1) == "?q=a%26b"
    assert portal.page_query(query, 2) == "?q=a%26b&page=2"
    assert portal.page_query(QueryDict(""), 1) == ""


def test_every_paging_link_is_a_real_address_with_a_name_that_stays(rf) -> None:
    request = rf.get("/customers/", {"q": "a", "page": "2000"})
    context = {"page": Paginator(range(100_000), 25).page(2000), "request": request, "sizes": [25, 50], "size": 25}
    html = render_to_string("partials/numbered_pages.html", context)
    assert 'id="page-1999" href="/customers/?q=a&amp;page=1999" hx-get="/customers/?q=a&amp;page=1999"' in html
    assert 'id="page-next"' in html
    assert 'id="page-previous"' in html
    assert '<b class="num">49,976–50,000</b> of <b class="num">100,000</b>' in html
    assert '<input type="hidden" name="q" value="a">' in html


def test_only_the_sorted_column_says_so() -> None:
    assert "aria-sort" not in portal.sort_header("name", "Customer", "?sort=-name")
    html = portal.sort_header("name", "Customer", "?sort=-name", "ascending")
    assert 'aria-sort="ascending"><a id="sort-name" href="?sort=-name"' in html


def test_what_stands_in_a_header_and_in_a_select_is_escaped() -> None:
    assert "<b>" not in portal.sort_header("name", "<b>", '?q="><b>')
    assert portal.options([("<b>", "A & B", True)]) == '<option value="&lt;b&gt;" selected>A &amp; B</option>'


# --- Pages that must always come ----------------------------------------------------------------------------


def test_the_500_page_needs_no_request_and_no_database() -> None:
    html = get_template("500.html").render({"request_id": "b1317092"})
    assert "We had a fault" in html
    assert "b1317092" in html
    assert 'class="rail"' not in html


def test_a_page_without_anybody_signed_in_has_no_rail_and_no_account() -> None:
    html = render_to_string("signin/card.html", {"state": "start", "sandbox": True})
    assert "Sign in with Microsoft" in html
    assert ">Sandbox</span>" in html
    assert 'id="rail"' not in html
    assert 'id="account"' not in html


def test_a_failed_sign_in_names_the_code_and_shows_no_form() -> None:
    html = render_to_string("signin/card.html", {"state": "failed", "title": "No role", "detail": "AADSTS50076, 13:04"})
    assert "AADSTS50076, 13:04" in html
    assert "<form" not in html
