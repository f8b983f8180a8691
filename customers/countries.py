"""Countries and regions: the two-letter codes that Microsoft wants, and the names that people read."""

import unicodedata
from functools import cache, lru_cache

import pycountry


@cache
def names() -> dict[str, str]:
    """ISO 3166-1 alpha-2 code -> English name, sorted by name."""
    found = {country.alpha_2: getattr(country, "common_name", country.name) for country in pycountry.countries}
    found |= _SHORTER
    return dict(sorted(found.items(), key=lambda pair: fold(pair[1])))


def name_of(code: str) -> str:
    """The name of a code; what is no code comes back as it is."""
    return names().get(code.upper(), code)


@cache
def code_of(text: str) -> str:
    """The code of a country given as a name or a code, in any case; "" when nobody knows it."""
    if text.upper() in names():
        return text.upper()
    return _by_name().get(fold(text), "")


def fold(text: str) -> str:
    """Text for comparing and searching: no case, no accents."""
    if text.isascii():
        return text.lower().strip()
    return _folded(text)


@lru_cache(maxsize=1024)  # a name is folded three times while its customer is told
def _folded(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char)).translate(_BARE).casefold().strip()


# Letters that look like others with an accent, but are none to Unicode.
_BARE = str.maketrans({"ø": "o", "đ": "d", "ð": "d", "ł": "l", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"})


@cache
def _by_name() -> dict[str, str]:
    found: dict[str, str] = {}
    for country in pycountry.countries:
        for attribute in ("name", "common_name", "official_name"):
            if name := getattr(country, attribute, ""):
                found[fold(name)] = country.alpha_2
    return found | {fold(name): code for code, name in _SHORTER.items()} | _ALSO_CALLED


# What ISO writes backwards or with a comma, as people say it.
_SHORTER = {
    "BO": "Bolivia",
    "BQ": "Caribbean Netherlands",
    "CD": "Democratic Republic of the Congo",
    "FM": "Micronesia",
    "IR": "Iran",
    "KP": "North Korea",
    "KR": "South Korea",
    "LA": "Laos",
    "MD": "Moldova",
    "PS": "Palestine",
    "RU": "Russia",
    "SY": "Syria",
    "TR": "Türkiye",
    "TW": "Taiwan",
    "TZ": "Tanzania",
    "VA": "Vatican City",
    "VE": "Venezuela",
    "VG": "British Virgin Islands",
    "VI": "U.S. Virgin Islands",
    "VN": "Vietnam",
}
_ALSO_CALLED = {
    "great britain": "GB",
    "uk": "GB",
    "usa": "US",
    "united states of america": "US",
    "holland": "NL",
    "the netherlands": "NL",
    "czech republic": "CZ",
    "turkey": "TR",
    "ivory coast": "CI",
    "macau": "MO",
    "cape verde": "CV",
    "swaziland": "SZ",
    "macedonia": "MK",
    "republic of korea": "KR",
    "korea": "KR",
}
