"""The one clock of the portal: sessions, leases, limits and ages all ask here."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone


def now() -> datetime:
    """The time in UTC; in sandbox mode moved by the seconds that stand in `CLOCK_OFFSET_FILE`, if any."""
    return datetime.now(UTC) + _offset()


def told(at: datetime, form: str) -> str:
    """An instant in a sentence, in the zone of the person who reads it: `told(at, "%H:%M %Z")`."""
    return timezone.localtime(at).strftime(form)


def _offset() -> timedelta:
    if not (settings.SANDBOX and settings.CLOCK_OFFSET_FILE):
        return timedelta()
    try:
        return timedelta(seconds=float(Path(settings.CLOCK_OFFSET_FILE).read_text(encoding="utf-8").strip() or 0))
    except (OSError, ValueError):
        return timedelta()
