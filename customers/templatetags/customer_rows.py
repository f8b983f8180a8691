"""The rows of the customer list. Written by hand, for a page has hundreds of cells, and a template takes four times as
long to write them (docs/decisions/0027).

All data is escaped here: a cell is made by `format_html`, or of words of ours alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from django import template
from django.utils.safestring import SafeString

from customers import standing
from customers.models import Customer
from partnerportal.templatetags.portal import (
    at_dots,
    day,
    filled,
    icon,
    icon_href,
    in_days,
    person,
    plain,
    short_id,
    visible,
    when,
)

register = template.Library()

LONG = 30  # letters, from which on a country or a status takes two lines rather than the room of the menu
MOST_ROLES = 3  # named in a cell; all of them in its title


@dataclass(frozen=True)
class Look:
    """What all rows of one page have in common."""

    now: datetime
    soon: datetime  # GDAP that ends before this is pointed out
    not_loaded: tuple[str, ...]  # labels of the sources that were never read
    avepoint_loaded: bool
    read_at: Mapping[str, datetime | None]  # source -> when it last came whole


@register.simple_tag
def customer_rows(rows: Iterable[Customer], keys: Sequence[str], look: Look) -> SafeString:
    """The rows with these columns, by the keys of `listing.COLUMNS`."""
    writers = [CELLS[key] for key in keys]
    return _joined(
        "\n".join(['<tr role="row">', *(write(row, look) for write in writers), _actions(row)]) + "</tr>"
        for row in rows
    )


def _joined(parts: Iterable[str]) -> SafeString:
    return SafeString("".join(parts))  # nosec B703 -- each part was escaped where it was made


def _name(row: Customer, _look: Look) -> str:
    domain = filled('<span class="sub">{}</span>', row.domain) if row.domain else ""
    return filled(
        '<th role="rowheader" scope="row"><a href="{}users/">{}</a>{}</th>',
        row.url,  # type: ignore[attr-defined]
        person(row.name),
        domain,
    )


def _domain(row: Customer, _look: Look) -> str:
    return filled('<td role="cell" class="sec any">{}</td>', at_dots(row.domain, 1))  # each more is an element more


def _source(row: Customer, look: Look) -> str:
    to_check = bool(row.to_check)  # type: ignore[attr-defined]
    if row.missing_since:
        words = filled("{}{} {}", icon("alert"), row.missing_words, day(row.missing_since))
        return filled(_SOURCE, "m ", filled('<span class="tag warn">{}</span>', words))
    return _plain_source(row.in_partner_center, row.in_avepoint, to_check, row.source_words, look.not_loaded)


_SOURCE = '<td role="cell" class="{}nw" data-label="Source">{}</td>'


@lru_cache(maxsize=64)
def _plain_source(
    in_partner_center: bool, in_avepoint: bool, to_check: bool, words: str, not_loaded: tuple[str, ...]
) -> str:
    both = in_partner_center and in_avepoint
    if to_check:
        shown = filled('<span class="tag warn" title="{}">{}Check match</span>', words, icon("alert"))
    elif both:
        shown = SafeString("Both")
    else:
        missing = "".join(f", {name} not loaded yet" for name in not_loaded)
        shown = filled('<span class="tag">{}{}</span>', words, missing)
    return filled(_SOURCE, "m " if to_check or not both else "", shown)


def _country(row: Customer, _look: Look) -> str:
    return _plain_country(row.country)


@lru_cache(maxsize=512)
def _plain_country(name: str) -> str:
    return filled('<td role="cell" class="p4 sec{}">{}</td>', " nw" if len(name) < LONG else "", name)


def _access(row: Customer, _look: Look) -> str:
    return _plain_access(row.standing_level)  # type: ignore[attr-defined]


@lru_cache(maxsize=8)
def _plain_access(level: int | None) -> str:
    shown = {
        2: SafeString("Edit users"),
        1: filled('<span class="tag">{}View only</span>', icon("eye")),
        0: filled('<span class="tag">{}None</span>', icon("lock")),
    }
    words = "" if level is None else shown.get(level, "")
    return filled('<td role="cell" class="m nw" data-label="Access">{}</td>', words)


def _gdap(row: Customer, look: Look) -> str:
    return filled('<td role="cell" class="m nw num" data-label="GDAP ends">{}</td>', _gdap_words(row, look))


def _gdap_words(row: Customer, look: Look) -> str:
    state, ends_at = row.gdap_state, row.gdap_ends_at
    if state == "live":
        if ends_at is None:
            return "No end date"
        if ends_at > look.now:
            return _gdap_end(row, ends_at, look)
    if state in ("live", "ended"):
        when = f" {in_days(ends_at)}" if ends_at else ""
        return filled('<span class="tag bad">{}Ended{}</span>', icon("stop"), when)
    return _GDAP_WORDS.get(state, _nothing)()


def _gdap_end(row: Customer, ends_at: datetime, look: Look) -> str:
    if row.gdap_extends:
        return filled("{}{}", day(ends_at), _extends())
    if ends_at < look.soon:
        on = template.defaultfilters.date(ends_at, "j M Y")
        return filled('<span class="tag warn" title="{}">{}{}</span>', on, icon("clock"), in_days(ends_at))
    return day(ends_at)


@lru_cache(maxsize=1)
def _extends() -> SafeString:
    return filled(
        '<svg class="icon inl" role="img" aria-label="extends by itself for six months"><use href="{}"/></svg>',
        icon_href("refresh"),
    )


@lru_cache(maxsize=1)
def _not_approved() -> SafeString:
    return filled('<span class="tag" title="Waiting for the customer’s approval">{}Not approved</span>', icon("clock"))


def _no_relationship() -> SafeString:
    return SafeString('<span class="sec">No relationship</span>')


def _nothing() -> str:
    return ""


_GDAP_WORDS: dict[str, Callable[[], str]] = {"pending": _not_approved, "none": _no_relationship}


def _avepoint(row: Customer, look: Look) -> str:
    return _plain_avepoint(row.in_avepoint, row.ap_status, look.avepoint_loaded)


@lru_cache(maxsize=256)
def _plain_avepoint(in_avepoint: bool, status: str, loaded: bool) -> str:
    shown: str = ""
    if in_avepoint and status == "Failed":
        shown = filled('<span class="tag bad">{}Failed</span>', icon("stop"))
    elif in_avepoint and status == "Working":
        shown = status
    elif in_avepoint and status:
        shown = filled('<span class="tag">{}</span>', person(status))
    elif loaded and not in_avepoint:
        shown = SafeString('<span class="sec">Not in AvePoint</span>')
    css = "m " if in_avepoint and status != "Working" else ""
    css += "nw" if len(status) < LONG else "any"
    return filled('<td role="cell" class="p3 {}" data-label="AvePoint">{}</td>', css, shown)


def _tenant(row: Customer, _look: Look) -> str:
    return filled('<td role="cell" class="p3 nw">{}</td>', short_id(row.tenant_id, "tenant ID"))


def _owner(row: Customer, _look: Look) -> str:
    return filled('<td role="cell" class="p3 sec any">{}</td>', row.owner_email)


def _codes(row: Customer, _look: Look) -> str:
    return filled('<td role="cell" class="p3 any">{}</td>', row.codes)  # type: ignore[attr-defined]


def _tags(row: Customer, _look: Look) -> str:
    return filled('<td role="cell" class="p3 any">{}</td>', row.tags)  # type: ignore[attr-defined]


def _relationship(row: Customer, _look: Look) -> str:
    return filled('<td role="cell" class="p3 any">{}</td>', visible(row.relationship_name or ""))  # type: ignore[attr-defined]


def _roles(row: Customer, _look: Look) -> str:
    names = standing.role_names(row)
    more = len(names) - MOST_ROLES
    words = f"{', '.join(names[:MOST_ROLES])} and {more} more" if more > 0 else ", ".join(names)
    return filled('<td role="cell" class="p3 sec any" title="{}">{}</td>', ", ".join(names), words)


def _users(row: Customer, _look: Look) -> str:
    if not standing.shows_users(row):
        return SafeString('<td role="cell" class="p3 nw num"></td>')
    number = f"{row.users_seen:,}{'' if row.users_seen_all else ' or more'}"
    seen = filled('<span class="sec">{}</span>', when(row.users_seen_at))
    return filled('<td role="cell" class="p3 nw num">{}, {}</td>', number, seen)


def _synced(row: Customer, look: Look) -> str:
    return filled('<td role="cell" class="p3 sec nw">{}</td>', when(row.synced(look.read_at)))


CELLS: dict[str, Callable[[Customer, Look], str]] = {
    "name": _name,
    "domain": _domain,
    "source": _source,
    "country": _country,
    "access": _access,
    "gdap": _gdap,
    "ap": _avepoint,
    "tenant": _tenant,
    "owner": _owner,
    "codes": _codes,
    "tags": _tags,
    "relationship": _relationship,
    "roles": _roles,
    "users": _users,
    "synced": _synced,
}
"""Key of a column -> who writes its cell. For those of `listing.COLUMNS`, each."""


def _actions(row: Customer) -> str:
    """The menu, which fetches what is in it when it is opened."""
    menu = f"{row.url}menu/"  # type: ignore[attr-defined]
    return filled(
        '<td role="cell" class="act"><details class="menu"><summary class="btn quiet sq sm"'
        ' aria-label="Actions for {}">{}</summary><div hx-get="{}" hx-trigger="toggle from:closest details once">'
        '<a href="{}">Show the actions</a></div></details></td>',
        plain(row.name),
        icon("dots"),
        menu,
        menu,
    )
