"""What an operator likes, kept on their row: the same in every browser they sign in with."""

import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from typing import Any, Self

from django.db import transaction

from .models import Operator

THEMES = {"": "System", "light": "Light", "dark": "Dark"}
DENSITIES = {"": "Compact", "comfortable": "Comfortable"}  # rows of 36 px, and of 44
SIZES = (25, 50, 100, 200)
SWITCH = {"on": True, "off": False}

_REGIONS = tuple(
    f"{region}/" for region in "Africa America Antarctica Arctic Asia Atlantic Australia Europe Indian Pacific".split()
)  # what else IANA has are old names and offsets


class NoSuchChoice(ValueError):
    """None of the controls offers this. The text says so in a sentence."""


@dataclass(frozen=True)
class Preferences:
    """Each with its default. What is stored and makes no sense (any more) is as if it were not stored."""

    theme: str = ""  # one of THEMES; "" is the system's
    density: str = ""  # one of DENSITIES
    zone: str = "UTC"  # IANA name
    size: int = 25  # rows of the customer list on one page
    shortcuts: bool = True  # the single-key ones
    columns: tuple[str, ...] = ()  # of the customer list, in order; () is the default

    @classmethod
    def of(cls, operator: Operator) -> Self:
        known: dict[str, Any] = {field.name: field.default for field in fields(cls)}
        stored = {name: value for name, value in operator.preferences.items() if name in known}
        if isinstance(stored.get("columns"), list):
            stored["columns"] = tuple(map(str, stored["columns"]))
        return cls(
            **{
                name: value
                for name, value in stored.items()
                if type(value) is type(known[name]) and (name not in _STANDS or _STANDS[name](value))
            }
        )

    @classmethod
    def save(cls, operator: Operator, **changes: Any) -> Self:
        """Store these changes; returns what holds now. What another tab changed a moment ago is no change of ours."""
        with transaction.atomic():
            held = Operator.objects.select_for_update(no_key=True).get(pk=operator.pk)
            wanted = replace(cls.of(held), **changes)
            operator.preferences = asdict(wanted)
            operator.save(update_fields=["preferences"])
        return wanted

    @property
    def zone_words(self) -> str:
        return self.zone.replace("_", " ")

    @property
    def tz(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.zone)


def zones() -> tuple[str, ...]:
    """The time zones to choose from, by name; UTC comes first."""
    return ("UTC", *sorted(name for name in _zones() if name.startswith(_REGIONS)))


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)  # remembers those it has read: this is asked with every request
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


_STANDS: Mapping[str, Callable[[Any], bool]] = {
    "theme": THEMES.__contains__,
    "density": DENSITIES.__contains__,
    "zone": _is_zone,
    "size": SIZES.__contains__,
}


def read(form: Mapping[str, str]) -> dict[str, Any]:
    """The one preference that a form of the settings page sends. Raises `NoSuchChoice`, also for none and for two."""
    known: dict[str, tuple[str, Mapping[str, Any]]] = {
        "theme": ("theme", {name: name for name in THEMES}),
        "density": ("row height", {name: name for name in DENSITIES}),
        "zone": ("time zone", {name: name for name in zones()}),
        "size": ("page size", {str(size): size for size in SIZES}),
        "shortcuts": ("choice for shortcuts", SWITCH),
    }
    sent = {name: value for name, value in form.items() if name in known}
    if len(sent) != 1:
        raise NoSuchChoice("This form names none of the settings, or more than one.")
    ((name, value),) = sent.items()
    words, choices = known[name]
    if value not in choices:
        raise NoSuchChoice(f"There is no {words} “{value[:80]}”.")
    return {name: choices[value]}
