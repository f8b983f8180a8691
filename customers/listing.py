"""What the URL of the customer list asks for. Which rows answer it: `paging.py`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict
from django.urls import reverse

from partnerportal.http import differing, typed, with_query
from partnerportal.models import Operator
from partnerportal.preferences import SIZES, Preferences

from . import standing
from .models import Customer, CustomerQuerySet

SIZE = SIZES[0]
SOURCES = {"both": "Both", "pc": "Partner Center only", "ap": "AvePoint only"}
VIEWS = {
    "": "All",
    "needs-attention": "Needs attention",
    "gdap30": "GDAP ends in 30 days",
    "no-access": "No access",
    "only-in-one-source": "Only in one source",
    "matches-to-check": "Matches to check",
}


@dataclass(frozen=True)
class Column:
    """A column of the list."""

    label: str
    css: str = ""  # p3 and p4 hide it on narrower screens
    sorts: bool = True


COLUMNS = {
    "name": Column("Customer"),
    "domain": Column("Default domain", "dom"),
    "source": Column("Source"),
    "country": Column("Country", "p4"),
    "access": Column("Your access", sorts=False),  # another order for every person
    "gdap": Column("GDAP ends"),
    "ap": Column("AvePoint status", "p3"),
    "tenant": Column("Tenant ID", "p3", sorts=False),
    "owner": Column("Owner e-mail", "p3", sorts=False),
    "codes": Column("Internal codes", "p3", sorts=False),
    "tags": Column("Tags", "p3", sorts=False),
    "relationship": Column("Relationship name", "p3", sorts=False),
    "roles": Column("GDAP roles", "p3", sorts=False),
    "users": Column("Users", "p3", sorts=False),
    "synced": Column("Synced", "p3", sorts=False),
}
"""Key in URLs and preferences -> column. The first one is the row's header and always there."""
USUAL = ("name", "domain", "source", "country", "access", "gdap", "ap")


def columns_of(keys: tuple[str, ...]) -> tuple[str, ...]:
    """These columns as far as they exist, the row's header first; the usual ones when there are none."""
    known = tuple(key for key in dict.fromkeys(keys) if key in COLUMNS and key != "name")
    return ("name", *known) if known or "name" in keys else USUAL


# What each key of the list's URL may say; the others are free text.
KNOWN_VALUES = {
    "view": re.compile("all|" + "|".join(filter(None, VIEWS))),
    "source": re.compile(f"({'|'.join(SOURCES)})(,({'|'.join(SOURCES)}))*"),
    "access": re.compile(f"({'|'.join(standing.WORDS)})(,({'|'.join(standing.WORDS)}))*"),
    "sort": re.compile(f"-?({'|'.join(CustomerQuerySet.SORTS)})"),
    "page": re.compile("0*[1-9][0-9]{0,5}"),
    "size": re.compile("|".join(map(str, SIZES))),
}


def split(text: str) -> tuple[str, ...]:
    """The values of a list with commas; two commas are one that belongs to a value."""
    found = (value.replace(",,", ",").strip() for value in re.split("(?<!,),(?!,)", text))
    return tuple(dict.fromkeys(value for value in found if value))


def join(values: tuple[str, ...]) -> str:
    """The opposite of `split`."""
    return ",".join(value.replace(",", ",,") for value in values)


@dataclass(frozen=True)
class ListQuery:
    """What the URL of the customer list asks for. Defaults are left out of URLs, keys have a fixed order.

    Several values of one key are a list with commas: `country=Germany,France`.
    """

    view: str = ""
    q: str = ""
    source: str = ""
    country: str = ""
    access: str = ""
    ap: str = ""
    sort: str = "name"
    page: int = 1
    size: int = SIZE
    cols: str = ""
    unknown: tuple[tuple[str, str], ...] = ()  # (key, value) of what was asked for and does not exist
    usual_size: int = SIZE  # what this person sees where the URL says nothing

    @classmethod
    def read(cls, params: Mapping[str, str], liked: Preferences | None = None) -> "ListQuery":
        """Unknown keys are ignored; an unknown value becomes the default, and the page says so.

        A URL with a page and no size was made with the default size, whatever this person likes.
        """
        keys = [key for key in vars(cls()) if key not in ("unknown", "usual_size")]
        given = {key: typed(params, key) for key in keys}
        unknown = {
            key: given[key] for key, known in KNOWN_VALUES.items() if given[key] and not known.fullmatch(given[key])
        }
        if strange := [key for key in split(given["cols"]) if key not in COLUMNS]:
            unknown["column"] = join(tuple(strange))
        good = {key: value for key, value in given.items() if value and key not in unknown}
        usual = liked.size if liked and liked.size in SIZES else SIZE
        return cls(
            view=good.get("view", "").replace("all", ""),
            **{key: join(split(good.get(key, ""))) for key in ("source", "country", "access", "ap")},
            q=good.get("q", ""),
            sort=good.get("sort", "name"),
            page=int(good.get("page", 1)),
            size=int(good.get("size", SIZE if "page" in good else usual)),
            cols=join(tuple(key for key in split(given["cols"]) if key in COLUMNS)),
            unknown=tuple(unknown.items()),
            usual_size=usual,
        )

    def params(self, **changes: Any) -> QueryDict:
        """The query string with these changes; whatever changes, page 1 comes unless a page is asked for."""
        return QueryDict(urlencode(self._differing(changes)))

    def _differing(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        # Without a ListQuery for each: a page has a dozen of these addresses.
        wanted = {**vars(self), "page": 1, **changes}
        left_out = {**_USUALLY, "unknown": wanted["unknown"], "usual_size": wanted["usual_size"]}
        if wanted["usual_size"] != SIZE:
            left_out["size"] = None  # another person would see other pages at this address
        return differing(wanted, left_out)

    def url(self, **changes: Any) -> str:
        return self.address("customers", **changes)

    def address(self, name: str, **changes: Any) -> str:
        """The address of this route with this question."""
        return with_query(_path(name), self._differing(changes))

    # --- The rows ---

    def found(self, by: Operator, now: datetime) -> CustomerQuerySet:
        """The matching customers but for the search, in no order."""
        rows = Customer.objects.listed()
        match self.view:
            case "needs-attention":
                rows = rows.needing_attention(now)
            case "gdap30":
                rows = rows.gdap_ends_soon(now)
            case "no-access":
                rows = standing.at(rows, by, "none")
            case "only-in-one-source":
                rows = rows.in_one_source()
            case "matches-to-check":
                rows = rows.to_check()
        if self.source:
            rows = rows.from_source(*split(self.source))
        if self.country:
            rows = rows.filter(country__in=split(self.country))
        if self.ap:
            rows = rows.filter(ap_status__in=split(self.ap))
        return standing.among(rows, by, split(self.access)) if self.access else rows

    # --- What the page says of it ---

    @property
    def chips(self) -> list[tuple[str, str]]:
        """(what is applied, the URL without it), one for each value."""
        words: tuple[tuple[str, str, dict[str, str]], ...] = (
            ("source", "Source", SOURCES),
            ("country", "Country", {}),
            ("access", "Your access", standing.WORDS),
            ("ap", "AvePoint status", {}),
        )
        return [
            (f"{label}: {names.get(value, value)}", self.without(key, value))
            for key, label, names in words
            for value in split(getattr(self, key))
        ]

    def without(self, key: str, value: str) -> str:
        """The URL without this one value."""
        return self.url(**{key: join(tuple(other for other in split(getattr(self, key)) if other != value))})

    def without_filters(self) -> "ListQuery":
        return replace(self, view="", source="", country="", access="", ap="", page=1)

    @property
    def filtered(self) -> bool:
        return bool(self.view or self.source or self.country or self.access or self.ap)

    @property
    def whole(self) -> bool:
        """Whether every listed customer is asked for."""
        return not (self.filtered or self.q)


@cache
def _path(name: str) -> str:
    """The path of a route without arguments; it never changes, and a page asks for a dozen."""
    return reverse(name)


_USUALLY = vars(ListQuery())
"""What stands in no address, for it is so anyway."""
