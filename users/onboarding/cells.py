"""What people write in cells: countries and yes or no, in the five languages of the headers."""

import gettext
from difflib import get_close_matches
from functools import cache

import pycountry

from customers import countries

_LANGUAGES = ("de", "fr", "es", "nl")
_YES = frozenset("yes y true 1 on x ja j wahr oui o vrai si s verdadero waar".split())
_NO = frozenset("no n false 0 off nein falsch non faux falso nee onwaar".split())


def country_of(text: str) -> str:
    """The two-letter code of a country by its code or its name; "" when nobody knows it."""
    return countries.code_of(text) or _by_foreign_name().get(countries.fold(text), "")


def country_meant(text: str) -> str:
    """The English name of the country that somebody may have wanted to write; "" when none is near."""
    known = _by_foreign_name() | {countries.fold(name): code for code, name in countries.names().items()}
    near = get_close_matches(countries.fold(text), known, n=1, cutoff=0.75)
    return countries.name_of(known[near[0]]) if near else ""


def yes_or_no(text: str) -> bool | None:
    """What a cell says; None for what is neither."""
    said = countries.fold(text)
    return True if said in _YES else False if said in _NO else None


@cache
def _by_foreign_name() -> dict[str, str]:
    """Folded name -> code, as the translations of ISO's list have it."""
    found: dict[str, str] = {}
    for language in _LANGUAGES:
        translation = gettext.translation("iso3166-1", pycountry.LOCALES_DIR, languages=[language], fallback=True)
        for country in pycountry.countries:
            for attribute in ("name", "common_name"):
                if name := getattr(country, attribute, ""):
                    found.setdefault(countries.fold(translation.gettext(name)), country.alpha_2)
    return found
