"""The one clock of the portal: sessions, leases, limits and ages all ask here."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.utils import timezone

FURTHEST = 50 * 365 * 86_400.0  # seconds that the sandbox's clock may be moved: dates end somewhere


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
        # Not by a Path, which takes longer to make than the file to read: a page asks twenty times.
        with open(settings.CLOCK_OFFSET_FILE, encoding="utf-8") as file:  # noqa: PTH123
            seconds = float(file.read().strip() or 0)
    except (OSError, ValueError):
        return timedelta()
    return timedelta(seconds=seconds) if abs(seconds) <= FURTHEST else timedelta()
