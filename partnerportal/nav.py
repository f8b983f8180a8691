"""What stands around every page: the rail, the freshness of the sources, the theme, who is signed in."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.apps import apps
from django.conf import settings
from django.http import HttpRequest

from partnerportal import by_hand, clock, sessions
from partnerportal.models import Operator
from partnerportal.permissions import Permission, may
from partnerportal.preferences import THEMES, Preferences

ITEMS = (
    ("Overview", "/", "grid", Permission.VIEW),
    ("Customers", "/customers/", "building", Permission.VIEW),
    ("Onboarding", "/onboarding/", "upload", Permission.WRITE_USERS),
    ("GDAP", "/gdap/", "shield", Permission.VIEW),
    ("GDAP sync", "/gdap/sync/", "refresh", Permission.SYNC_GDAP),
    ("Audit trail", "/audit/", "list", Permission.AUDIT_OWN),
)

KEYS = {"/": "go", "/customers/": "gc", "/gdap/": "gg", "/audit/": "ga"}
"""Address -> the keys that lead there, pressed one after the other."""


@dataclass(frozen=True)
class Item:
    """One line of the rail."""

    label: str
    url: str
    icon: str
    current: bool
    keys: str = ""


@dataclass(frozen=True)
class Freshness:
    """How old our copy of one source is, for the foot of the rail."""

    label: str
    at: datetime | None
    words: str
    stale: bool
    silent: bool  # it does not answer, however young the copy


def chrome(request: HttpRequest) -> dict[str, Any]:
    """The context processor. Also serves error pages, which may come before anybody is known."""
    operator = _operator(request)
    likes = Preferences.of(operator) if operator else Preferences(theme=_theme_at_the_door(request))
    return {
        "operator": operator,
        "hands_over": operator is not None and may(operator, Permission.WRITE_USERS),
        "nav": _items(request, operator) if operator else [],
        "freshness": _freshness if operator else [],  # asked for only where the rail is drawn
        "gdap_ends_soon": gdap_ends_soon if operator else 0,  # likewise, beside its item
        "sandbox": settings.SANDBOX,
        "likes": likes,
        "themes": THEMES,
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
        "session_left": sessions.seconds_left(request) if operator else None,
    }


def _theme_at_the_door(request: HttpRequest) -> str:
    """What the person liked who was last signed in with this browser."""
    wanted = request.COOKIES.get(settings.THEME_COOKIE_NAME, "")
    return wanted if wanted in THEMES else ""


def _operator(request: HttpRequest) -> Operator | None:
    """Somebody whose sign-in still stands; a session alone is not enough."""
    grant = getattr(request, "grant", None)
    return grant.operator if grant else None


def _items(request: HttpRequest, operator: Operator) -> list[Item]:
    open_at = [url for _, url, _, _ in ITEMS if request.path == url or (url != "/" and request.path.startswith(url))]
    here = max(open_at, key=len, default="")
    return [
        Item(label, url, icon, url == here, KEYS.get(url, ""))
        for label, url, icon, permission in ITEMS
        if may(operator, permission)
    ]


def _freshness() -> list[Freshness]:
    # By name: the customers app stands above this one.
    return freshness_of(apps.get_model("customers", "Source").objects.all())


def freshness_of(sources: Iterable[Any]) -> list[Freshness]:
    """The foot's lines about these sources; a page that has read them already hands them over as `freshness`."""
    return [
        Freshness(
            source.label, source.last_good_at, "not loaded yet", source.stale or bool(source.problem), source.silent
        )
        for source in sorted(sources, key=lambda source: source.pk, reverse=True)
        if source.is_configured
    ]


def gdap_ends_soon() -> int:
    """For the rail: customers whose GDAP ends in 30 days and does not extend, as the list knew it today."""
    found = by_hand.read(apps.get_model("customers", "Snapshot"), {"pk": 1})
    facts = (found[0].facts if found else None) or {}
    return int(facts.get("gdap_ends_soon", 0)) if facts.get("day") == f"{clock.now():%Y-%m-%d}" else 0
