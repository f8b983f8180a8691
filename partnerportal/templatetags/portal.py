"""Words, times, names and icons as every page writes them. All data is escaped here; nothing is marked safe unread."""

import base64
import hashlib
import html
import unicodedata
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from django import template
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.paginator import Page
from django.forms import BoundField, CheckboxInput, RadioSelect, Select
from django.http import QueryDict
from django.template import loader
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString

from partnerportal import audit, clock

register = template.Library()
register.filter("deed", audit.deed)


def filled(form: str, *pieces: object) -> SafeString:
    """`format_html` by position, for rows with hundreds of cells: it asks for no lazy texts, which halves its time."""
    safe = [piece if isinstance(piece, SafeString) else html.escape(str(piece)) for piece in pieces]
    return SafeString(form.format(*safe))  # nosec B703 -- each piece was escaped just now, or where it was made


# --- Icons and files ----------------------------------------------------------------------------------------


@register.simple_tag
def icon(name: str, label: str = "") -> SafeString:
    """A symbol of the sprite: `{% icon "alert" %}`; with a label it is read out, without one it is decoration."""
    if label:
        return format_html(
            '<svg class="icon" role="img" aria-label="{}"><title>{}</title><use href="{}"/></svg>',
            label,
            label,
            icon_href(name),
        )
    return _decoration(name)


@lru_cache(maxsize=256)  # two dozen stand on each page
def _decoration(name: str) -> SafeString:
    return format_html('<svg class="icon" aria-hidden="true"><use href="{}"/></svg>', icon_href(name))


@register.simple_tag
def icon_href(name: str) -> str:
    """The address of a symbol, for the rare `<svg>` that has classes of its own."""
    return f"{static('icons.svg')}#i-{name}"


@register.filter
def notice_kind(value: str) -> str:
    """One of our four kinds, also from the tag of a Django message."""
    return {"success": "ok", "warning": "warn", "error": "bad"}.get(value, value or "info")


@register.filter
def notice_icon(kind: str) -> str:
    """The shape that goes with a kind of notice."""
    return {"ok": "check", "warn": "alert", "bad": "stop"}.get(kind, "info")


@register.simple_tag
def integrity(path: str) -> str:
    """The `integrity` value of a static script: `<script … integrity="{% integrity 'portal.js' %}">`."""
    found = finders.find(path)
    if not isinstance(found, str):
        raise template.TemplateSyntaxError(f"There is no static file {path}.")
    return _digest(found, Path(found).stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _digest(found: str, _changed: int) -> str:  # `_changed` only makes the cache notice an edited file
    digest = hashlib.sha384(Path(found).read_bytes()).digest()
    return f"sha384-{base64.b64encode(digest).decode()}"


@register.simple_tag
def once(name: str) -> SafeString:
    """A partial that says the same to everybody on every page, so that a process writes it once."""
    return _written(name) if settings.DEBUG else _kept(name)


def _written(name: str) -> SafeString:
    return loader.render_to_string(name)  # without a context: nothing of a person or a page can stay in it


_kept = lru_cache(maxsize=16)(_written)


# --- Times --------------------------------------------------------------------------------------------------


def _local(value: datetime) -> datetime:
    """The instant in the zone that the rail's foot names."""
    return timezone.localtime(value if timezone.is_aware(value) else value.replace(tzinfo=UTC))


def _date_words(value: date, *, year: bool = True) -> str:
    words = f"{value.day} {value:%b}"
    return f"{words} {value.year}" if year else words


def _full(moment: datetime) -> str:
    return f"{_date_words(moment)}, {moment:%H:%M:%S} {moment.tzname()}"


def _time_element(moment: datetime, words: str) -> SafeString:
    return filled(
        '<time datetime="{}" title="{}">{}</time>', moment.isoformat(timespec="seconds"), _full(moment), words
    )


@register.filter
def when(value: datetime | None) -> SafeString | str:
    """When something happened: "2 min ago", today "13:04", this year "22 Nov, 13:04", else "22 Nov 2025"."""
    if not value:
        return ""
    moment, now = _local(value), _local(clock.now())
    passed = now - moment
    if timedelta() <= passed < timedelta(hours=1):
        minutes = int(passed.total_seconds() // 60)
        words = f"{minutes} min ago" if minutes else "just now"
    elif moment.date() == now.date():
        words = f"{moment:%H:%M}"
    elif moment.year == now.year:
        words = f"{_date_words(moment, year=False)}, {moment:%H:%M}"
    else:
        words = _date_words(moment)
    return _time_element(moment, words)


@register.filter
def at_time(value: datetime | None) -> SafeString | str:
    """The absolute time with seconds, for requests and for what goes on by itself: "13:05:12"."""
    if not value:
        return ""
    moment = _local(value)
    return _time_element(moment, f"{moment:%H:%M:%S}")


@register.filter
def full_time(value: datetime | None) -> SafeString | str:
    """All of it, for detail pages: "22 Nov 2026, 13:04:18 UTC"."""
    if not value:
        return ""
    moment = _local(value)
    return _time_element(moment, _full(moment))


@register.filter
def day(value: date | datetime | None) -> SafeString | str:
    """A day: "3 Dec 2026"; of an instant the day in our zone."""
    if not value:
        return ""
    if isinstance(value, datetime):
        moment = _local(value)
        return _time_element(moment, _date_words(moment))
    return filled('<time datetime="{}">{}</time>', value.isoformat(), _date_words(value))


@register.filter
def in_days(value: date | datetime | None) -> str:
    """How far an end is, by calendar: "in 11 days", "today at 18:00", "6 days ago"; the date beyond 30 days."""
    if not value:
        return ""
    moment = _local(value) if isinstance(value, datetime) else None
    end = moment.date() if moment else value
    days = (end - _local(clock.now()).date()).days
    if days == 0:
        return f"today at {moment:%H:%M}" if moment else "today"
    if abs(days) > 30:
        return _date_words(end)
    unit = "day" if abs(days) == 1 else "days"
    return f"in {days} {unit}" if days > 0 else f"{-days} {unit} ago"


@register.filter
def age(value: datetime | timedelta | None) -> str:
    """How old something is: "1 h 12 min", "2 days 3 h", "less than a minute"."""
    if value is None:
        return ""
    passed = value if isinstance(value, timedelta) else clock.now() - _local(value)
    minutes = max(0, int(passed.total_seconds() // 60))
    if not minutes:
        return "less than a minute"
    days, hours, minutes = minutes // 1440, minutes % 1440 // 60, minutes % 60
    if days:
        parts = [f"{days} day{'s' if days > 1 else ''}", f"{hours} h" if hours else ""]
    else:
        parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]
    return " ".join(part for part in parts if part)


@register.filter
def number(value: int | float | None) -> str:
    """A count with separators: "1,284"."""
    return "" if value is None else f"{value:,}"


# --- Names and ids ------------------------------------------------------------------------------------------

_JOINERS = {0x200C, 0x200D}  # Persian, Indic scripts and emoji need these inside names


def _hidden(char: str) -> bool:
    """Whether the character cannot be seen and could make a name look like another one."""
    return unicodedata.category(char) in {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"} and ord(char) not in _JOINERS


@register.filter
def visible(value: object) -> SafeString:
    """The text, escaped, with control characters and direction overrides shown by their number."""
    text = "" if value is None else str(value)
    if text.isprintable() or not any(map(_hidden, text)):
        return conditional_escape(text)
    return format_html_join(
        "",
        "{}",
        (
            (
                format_html(
                    '<span class="ctl" title="{}">{}</span>',
                    unicodedata.name(char, "control character").lower(),
                    f"U+{ord(char):04X}",
                )
                if _hidden(char)
                else char,
            )
            for char in text
        ),
    )


@register.filter
def plain(value: object) -> str:
    """The text for an attribute, such as a label: what is hidden in it by its number."""
    text = str(value or "")
    return text if text.isprintable() else "".join(f"U+{ord(char):04X}" if _hidden(char) else char for char in text)


@register.filter
def person(value: object) -> SafeString | str:
    """A name of a person or a company, in any script: isolated, and with nothing hidden in it."""
    if value is None or value == "":
        return ""  # so that `|default:"Not set"` works
    return filled('<bdi dir="auto">{}</bdi>', visible(value))


@register.filter
def upn(value: object, breaks: str = "") -> SafeString | str:
    """A user name: the part before the at sign dark, the domain grey.

    It may break before the at sign; with `breaks` "dots" behind each dot too, where a column is narrow.
    """
    if not value:
        return ""
    local, at, domain = str(value).partition("@")
    if not at:
        return filled('<bdi dir="ltr">{}</bdi>', visible(local))
    shown = at_dots if breaks == "dots" else visible
    return filled('<bdi dir="ltr">{}<wbr><span class="sec">@{}</span></bdi>', shown(local), shown(domain))


@register.filter
def at_dots(value: object, most: int = -1) -> SafeString:
    """A domain or a user name that may break behind its dots, or the first few of them, rather than in a word."""
    pieces = ("" if value is None else str(value)).split(".", most)
    return SafeString(".<wbr>".join(map(visible, pieces)))  # nosec B703 -- each piece was escaped just now


@register.filter
def short_id(value: object, label: str = "ID") -> SafeString | str:
    """An id, shortened in the middle, with a button that copies all of it: `{{ id|short_id:"tenant ID" }}`."""
    text = "" if value is None else str(value)
    if not text:
        return ""
    short = text if len(text) <= 20 else f"{text[:13]}…{text[-4:]}"
    return filled(
        '<span class="id"><code title="{}">{}</code>{}</span>',
        text,
        visible(short),
        copy_button(text, label=f"Copy {label}"),
    )


@register.simple_tag
def copy_button(value: object, label: str = "Copy", words: str = "", css: str = "") -> SafeString:
    """A button that copies exactly the value; an icon, or with words: `{% copy_button text words="Copy details" %}`.

    `css`: "btn" where it stands beside buttons that are not small.
    """
    css = f"{css or ('btn sm' if words else 'btn quiet sq sm')} needs-js"
    name = "" if words else filled(' aria-label="{}"', label)
    return filled(
        '<button type="button" class="{}" data-copy="{}"{}>{}{}</button>', css, value, name, icon("copy"), words
    )


# --- Forms and pages ----------------------------------------------------------------------------------------


@register.simple_tag
def control(field: BoundField, label: str = "", css: str = "", described_by: str = "") -> SafeString:
    """The input or select of a form field with our classes, tied to its hint and its error."""
    widget = field.field.widget
    if isinstance(widget, CheckboxInput | RadioSelect):
        house = "check"
    else:
        house = "select" if isinstance(widget, Select) else "input"
    own = widget.attrs.get("class", "")
    attrs: dict[str, str | bool] = {"class": " ".join(word for word in (house, css, own) if word)}
    if "autocomplete" not in widget.attrs:
        attrs["autocomplete"] = "off"
    if label:
        attrs["aria-label"] = label
    parts = [
        described_by,
        f"{field.auto_id}_helptext" if field.help_text else "",
        f"{field.auto_id}_error" if field.errors else "",
    ]
    if tied := " ".join(part for part in parts if part):
        attrs["aria-describedby"] = tied
    if field.errors:
        attrs["aria-invalid"] = "true"
    return SafeString(field.as_widget(attrs=attrs))  # nosec B703 -- Django's widgets escape what they show


@register.filter
def options(choices: Iterable[tuple[object, object, bool]]) -> SafeString:
    """The options of a select, from (value, words, whether it is chosen)."""
    marked = ((value, _SELECTED if chosen else "", words) for value, words, chosen in choices)
    return format_html_join("", '<option value="{}"{}>{}</option>', marked)


_SELECTED = SafeString(" selected")


@register.filter
def number_options(choices: Iterable[int], size: int) -> SafeString:
    """The same of numbers, of which one is the current one."""
    return options((choice, choice, choice == size) for choice in choices)


@register.simple_tag
def sort_header(
    name: str,
    label: str,
    url: str = "",
    direction: str = "",
    css: str = "",
    as_of: datetime | None = None,
) -> SafeString:
    """A column header. `name`: short and stable, for the id. `url`: the list sorted by it; "" when it cannot be.

    `direction`: "ascending", "descending" or "" when another column sorts. `css`: classes of the cell, as "p4" or "r".
    `as_of`: set when the column's source is stale. htmx replaces `#table`.
    """
    shown: str = label
    if url:
        arrow = _ARROWS.get(direction)
        shown = format_html(
            '<a id="sort-{}" href="{}" hx-get="{}" hx-target="#table" hx-swap="outerHTML" hx-push-url="true">{}{}</a>',
            name, url, url, label, format_html(" {}", icon(arrow)) if arrow else "",
        )  # fmt: skip
    return format_html(
        '<th role="columnheader" scope="col"{}{}>{}{}</th>',
        format_html(' class="{}"', css) if css else "",
        format_html(' aria-sort="{}"', direction) if direction else "",
        shown,
        format_html('<span class="asof">{}as of {}</span>', icon("clock"), when(as_of)) if as_of else "",
    )


_ARROWS = {"ascending": "asc", "descending": "desc"}


@register.simple_tag
def page_query(query: QueryDict, page: int) -> str:
    """The query string of another page of the same list; the first page goes without a number."""
    wanted = query.copy()
    if page > 1:
        wanted["page"] = str(page)  # where it stood, if it did
    else:
        wanted.pop("page", None)
    return f"?{wanted.urlencode()}" if wanted else ""


@register.filter
def page_numbers(page: Page[Any]) -> list[int | None]:
    """The numbers to show: the first, the last, and the current one with its neighbours; None is a gap."""
    last, here = page.paginator.num_pages, page.number
    shown = sorted({1, last, *range(max(1, here - 1), min(last, here + 1) + 1)})
    numbers: list[int | None] = []
    for found in shown:
        before = numbers[-1] if numbers else None
        if before is not None and found - before == 2:
            numbers.append(before + 1)
        elif before is not None and found - before > 2:
            numbers.append(None)
        numbers.append(found)
    return numbers
