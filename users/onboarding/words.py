"""What a run, its rows and its counts are called on pages and in files."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from django.conf import settings
from django.db.models import Count, Q

from partnerportal import clock

from ..models import OnboardingRow, OnboardingRun, Operation

State = OnboardingRow.State
Kind = Operation.Kind

DONE = {
    Kind.CREATE: "Created",
    Kind.PATCH: "Changed",
    Kind.LICENCES: "Changed",
    Kind.DELETE: "Deleted",
    Kind.RESTORE: "Restored",
}
VERBS = {
    Kind.CREATE: "Create",
    Kind.PATCH: "Change",
    Kind.LICENCES: "Change",
    Kind.DELETE: "Delete",
    Kind.RESTORE: "Restore",
}


@dataclass(frozen=True)
class Word:
    """A state in a word, with the colour and the shape that say the same. Normal values have neither."""

    text: str
    kind: str = ""
    icon: str = ""


def of_row(row: OnboardingRow, kind: str, now: datetime) -> Word:
    """How a row of a run of this kind stands."""
    if row.state in row.OPEN and row.not_before and row.not_before > now:
        return Word("Waiting", "warn", "clock")
    match row.state:
        case State.DONE:
            return Word(DONE[Kind(kind)], "ok", "check")
        case State.CONFLICT:
            return Word("Already there" if kind == Kind.CREATE else "Not as checked", "warn", "skip")
        case State.DIFFERS:
            return Word("Differs", "warn", "alert")
        case State.REFUSED:
            return Word("Failed", "bad", "stop")
        case State.DENIED:
            return Word("No right", "bad", "lock")
        case State.UNKNOWN:
            return Word("Unknown", "warn", "alert")
        case State.STOPPED:
            return Word("Not sent", "", "pause")
        case State.SENT:
            return Word("Being sent", "info", "refresh")
    return Word(State(row.state).label)


def fix_of(row: OnboardingRow, kind: str) -> str:
    """What to do about a row that did not come to a good end; "" where there is nothing to do."""
    match row.state:
        case State.CONFLICT if kind == Kind.CREATE and row.target_id:
            return "Nothing is to be done."
        case State.DIFFERS:
            return "For the same person, change the user who is there. For somebody else, choose another user name."
        case State.CONFLICT if kind == Kind.CREATE:
            return "Compare the user who is there. For somebody else, choose another user name."
        case State.CONFLICT:
            return "Look at the user as they are now, and select them again."
        case State.DENIED:
            return f"Ask {settings.ACCESS_CONTACT} for the role, then press Try again on the page of the run."
        case State.UNKNOWN:
            return "Press Try again on the page of the run: it is looked up before anything is sent."
        case State.STOPPED if row.problems:  # of users who were ticked, the reason says all
            return "Press Fix on the page of the run, and mend the row there." if row.typed else ""
        case State.REFUSED | State.STOPPED:
            return "Mend what the reason names, then press Try again on the page of the run."
    return ""


@dataclass(frozen=True)
class Tile:
    """A count that is a filter."""

    key: str
    words: str
    which: Q
    icon: str = ""
    always: bool = False


def tiles(kind: str, now: datetime) -> list[Tile]:
    """Every row is in just one of them, but for the first, which has them all."""
    waits = Q(state__in=OnboardingRow.OPEN, not_before__gt=now)
    return [
        Tile("", "All rows", Q(), always=True),
        Tile("done", DONE[Kind(kind)], Q(state=State.DONE), "check", always=True),
        Tile("there", "Already there" if kind == Kind.CREATE else "Not as checked", Q(state=State.CONFLICT), "skip"),
        Tile("differs", "Differs", Q(state=State.DIFFERS), "alert"),
        Tile("failed", "Failed", Q(state=State.REFUSED), "stop", always=True),
        Tile("denied", "No right", Q(state=State.DENIED), "lock"),
        Tile("unknown", "Unknown", Q(state=State.UNKNOWN), "alert"),
        Tile("stopped", "Not sent", Q(state=State.STOPPED), "pause"),
        Tile("waiting", "Waiting", waits, "clock"),
        Tile("queued", "Queued", Q(state__in=(State.DRAFT, *OnboardingRow.OPEN)) & ~waits, "refresh"),
    ]


def counted(run: OnboardingRun) -> dict[str, int]:
    """Key of a tile -> its rows."""
    found = tiles(run.kind, clock.now())
    counts = {tile.key or "all": Count("pk", filter=tile.which) if tile.key else Count("pk") for tile in found}
    return dict(OnboardingRow.objects.filter(run=run).aggregate(**counts))


LAST = 100  # rows by whose pace the rest is told
TELLING = 10  # so many have to be through before they tell anything
IDLE = timedelta(minutes=1)  # a longer gap between two rows was a pause, or Microsoft asked for patience


def time_left(run: OnboardingRun, left: int) -> str:
    """About how long it still takes, at the pace of the last rows that were sent; "" while too few of them tell.

    The rows without an operation took no time. The newest operations are read along their index, however long the run.
    """
    sent = run.rows.filter(operation__isnull=False, decided_at__isnull=False).order_by("-operation_id")
    times = sorted(at for at in sent.values_list("decided_at", flat=True)[:LAST] if at) if left else []
    gaps = [gap for earlier, later in pairwise(times) if (gap := later - earlier) < IDLE]
    if len(gaps) < TELLING - 1:
        return ""
    seconds = sum(gaps, timedelta()).total_seconds() / len(gaps) * left
    if seconds < 60:
        return "Less than a minute left"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"About {minutes} minute{'s' if minutes > 1 else ''} left"
    return f"About {minutes // 60} h {minutes % 60} min left"
