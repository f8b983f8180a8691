"""The figures of the overview: how many customers there are of each kind, and when their GDAP relationships end.

Read from our own tables only, counted by the database, and kept for a minute as long as the list does not change.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django.apps import apps
from django.core.cache import cache
from django.db.models import Case, Count, Exists, F, IntegerField, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Concat
from django.utils import timezone

from partnerportal.models import Operator

from .. import matches
from ..access import SOON
from ..models import Customer, GdapRelationship, GdapState, MatchDecision, MatchSuggestion, Snapshot, Source
from ..models.customers import gdap_ends_soon

WEEKS = 52
DAYS = 14
KEPT_FOR = 60  # seconds
LIVE = ("active", "expiring")  # what Graph calls a relationship that still stands


@dataclass(frozen=True)
class Week:
    """The relationships that end in one week, Monday to Sunday in the reader's zone."""

    monday: date
    soon: int = 0  # within 30 days, and not extending by themselves
    later: int = 0  # not extending by themselves either
    extends: int = 0

    @property
    def sunday(self) -> date:
        return self.monday + timedelta(days=6)

    @property
    def ends(self) -> int:
        """How many come to an end: those that extend do not."""
        return self.soon + self.later


@dataclass(frozen=True)
class Day:
    """The users that were to be created on one day."""

    day: date
    created: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Figures:
    """What the overview tells of the whole list, for everybody alike."""

    at: datetime  # when it was counted
    customers: int
    sources: dict[str, int]  # "both", "pc", "ap", as the list's filter calls them
    statuses: dict[str, int]  # AvePoint status -> customers, the most frequent first; "" is none told
    countries: dict[str, int]  # the same for countries
    ended: int  # customers without a relationship since some day of this month
    ending: int  # customers whose last one ends within 30 days and does not extend, as the list has them
    matches: int  # pairs that nobody has decided about
    weeks: tuple[Week, ...]  # 52, from the current one on
    beyond: int  # relationships that end after those weeks, or never

    @property
    def relationships(self) -> int:
        """How many stand."""
        return sum(week.ends + week.extends for week in self.weeks) + self.beyond


def sources() -> tuple[list[Source], int]:
    """What is known of each source that is configured, and the generation of the list; in one query."""
    generation = Subquery(Snapshot.objects.values("generation")[:1])
    known: list[Any] = list(Source.objects.annotate(generation=generation).order_by("-name"))
    generation_now = next((source.generation for source in known), None) or 0
    return [source for source in known if source.is_configured], generation_now


def figures(now: datetime, generation: int) -> Figures:
    """The figures as of now, or as of less than a minute ago: then nothing in the list has changed since."""
    today, zone = timezone.localdate(now), timezone.get_current_timezone_name()
    key = f"overview:{generation}:{today}:{zone.replace(' ', '_')}"
    known: Figures | None = cache.get(key)
    if known is None:
        known = _count(now)
        cache.set(key, known, KEPT_FOR)
    return known


def created(now: datetime, by: Operator | None = None) -> list[Day]:
    """The last 14 days, the oldest first: users that were created, by this operator or by anybody."""
    # By name: the users app stands above this one.
    operation = apps.get_model("users", "Operation")
    state = operation.State
    failed = (state.REFUSED, state.CONFLICT, state.DENIED)
    first = timezone.localdate(now) - timedelta(days=DAYS - 1)
    starts = [_midnight(first + timedelta(days=n)) for n in range(DAYS + 1)]
    sent: QuerySet[Any] = operation.objects.filter(kind=operation.Kind.CREATE, sent_at__gte=starts[0])
    sent = sent.filter(state__in=[state.DONE, *failed])
    if by:
        sent = sent.filter(by=by)
    days = [Counter[str]() for _ in range(DAYS)]
    for slot, ended, count in _grouped(sent.annotate(slot=_slot("sent_at", starts)), "slot", "state"):
        if slot < DAYS:
            days[slot]["created" if ended == state.DONE else "failed"] += count
    return [Day(first + timedelta(days=n), **day) for n, day in enumerate(days)]


def unknown(by: Operator) -> list[Any]:
    """The operations of this person that nobody knows the outcome of, newest first; at most 100.

    Not those at a customer that no source lists any more: nothing can be looked up there. The audit trail has them.
    """
    operation = apps.get_model("users", "Operation")
    there = {"customer__listed": True, "customer__tenant_id__isnull": False}
    mine = operation.objects.filter(state=operation.State.UNKNOWN, by=by, **there).select_related("customer")
    return list(mine.order_by("-sent_at")[:100])


# --- Counting ---------------------------------------------------------------------------------------------------


def _count(now: datetime) -> Figures:
    groups = _customer_groups(now)
    weeks, beyond = _weeks(now)

    def having(**wanted: Any) -> int:
        return sum(count for group, count in groups if wanted.items() <= group.items())

    return Figures(
        at=now,
        customers=having(),
        sources={
            "both": having(in_partner_center=True, in_avepoint=True),
            "pc": having(in_partner_center=True, in_avepoint=False),
            "ap": having(in_partner_center=False, in_avepoint=True),
        },
        statuses=_frequent((group["ap_status"], count) for group, count in groups if group["in_avepoint"]),
        countries=_frequent((group["country"], count) for group, count in groups),
        ended=having(ended=True),
        ending=having(ending=True),
        matches=_undecided().count(),
        weeks=weeks,
        beyond=beyond,
    )


def _customer_groups(now: datetime) -> list[tuple[dict[str, Any], int]]:
    """All that is counted of customers, in one pass over them: (what they have in common, how many)."""
    columns = ("in_partner_center", "in_avepoint", "ap_status", "country", "ended", "ending")
    month = _midnight(timezone.localdate(now).replace(day=1))
    lasting = Q(gdap_state=GdapState.LIVE, gdap_extends=False)  # as of our copy, which may be older than its end
    over = lasting | Q(gdap_state=GdapState.ENDED)
    ended = Case(When(over, gdap_ends_at__gte=month, gdap_ends_at__lte=now, then=Value(True)), default=Value(False))
    ending = Case(When(gdap_ends_soon(now), then=Value(True)), default=Value(False))  # by the days of the list
    listed = Customer.objects.filter(listed=True).annotate(ended=ended, ending=ending)
    return [(dict(zip(columns, row, strict=False)), row[-1]) for row in _grouped(listed, *columns)]


def _weeks(now: datetime) -> tuple[tuple[Week, ...], int]:
    """The relationships that stand, by the week they end; and how many end later than all of these."""
    today = timezone.localdate(now)
    monday = today - timedelta(days=today.weekday())
    starts = [_midnight(monday + timedelta(weeks=n)) for n in range(WEEKS + 1)]
    soon = Case(
        When(extends=True, then=Value("extends")),
        When(ends_at__lt=_midnight(today + timedelta(days=SOON + 1)), then=Value("soon")),
        default=Value("later"),
    )
    stand = GdapRelationship.objects.filter(Q(ends_at=None) | Q(ends_at__gt=now), status__in=LIVE, gone_at=None)
    weeks, beyond = [Counter[str]() for _ in range(WEEKS)], 0
    for slot, kind, count in _grouped(stand.annotate(slot=_slot("ends_at", starts), how=soon), "slot", "how"):
        if slot < WEEKS:
            weeks[slot][kind] += count
        else:
            beyond += count
    return tuple(Week(monday + timedelta(weeks=n), **week) for n, week in enumerate(weeks)), beyond


def _undecided() -> QuerySet[MatchSuggestion]:
    """The pairs of the page behind it of which nobody has said that they are one, or are not."""
    decided = MatchDecision.objects.filter(undone_at=None, tenant_id=OuterRef("partner_center__tenant_id"))
    same = decided.annotate(key=Concat(Value("ap-"), F("avepoint_id"))).filter(key=OuterRef("avepoint__key"))
    return matches.to_check().filter(~Exists(same))


def _slot(column: str, starts: Sequence[datetime]) -> Case:
    """The number of the span that an instant lies in; each ends where the next one starts, the last start ends it all.

    Spans that the database compares, for it knows nothing of the reader's zone. After the last one, or without an
    instant: one number more.
    """
    within = When(**{f"{column}__lt": starts[-1]}, then=_within(column, starts, 0))
    return Case(within, default=Value(len(starts) - 1), output_field=IntegerField())


def _within(column: str, starts: Sequence[datetime], first: int) -> Case | Value:
    """As `_slot`, for an instant before the last start; halves the spans, for a long CASE is slow on many rows."""
    if len(starts) == 2:
        return Value(first)
    middle = len(starts) // 2
    before = When(**{f"{column}__lt": starts[middle]}, then=_within(column, starts[: middle + 1], first))
    return Case(before, default=_within(column, starts[middle:], first + middle))


def _grouped(rows: QuerySet[Any], *columns: str) -> Any:
    """(value of each column, how many rows have these), one after the other."""
    return rows.order_by().values(*columns).annotate(count=Count("pk")).values_list(*columns, "count")


def _frequent(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Value -> sum of its counts, the greatest first, equal ones by name."""
    sums = Counter[str]()
    for value, count in pairs:
        sums[value] += count
    return dict(sorted(sums.items(), key=lambda pair: (-pair[1], pair[0])))


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
