"""What the sources said, how old it is, and the syncs that keep it fresh."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from django.db import models
from django.db.models import Q

from partnerportal import clock
from partnerportal.models import Operator, TokenCache
from partnerportal.upstream import avepoint

from .customers import Customer
from .upstreams import GRAPH, LABELS, SourceName

LEASE = timedelta(seconds=60)
NOBODY_YET = (
    "Microsoft Graph shows GDAP relationships to Admin agents only. They are read when one of them signs in here."
)


class Short(NamedTuple):
    """Something of which a walk found far too few."""

    what: str  # "rows" or "assignments"
    word: str
    found: int
    accepted: int | None  # how many of them a Portal.Admin has called right

    @property
    def in_words(self) -> str:
        return f"{self.found:,} {self.word}{'' if self.found == 1 else 's'}"


class Source(models.Model):
    """How well one upstream is known: when it last answered, with how many rows, and what went wrong since."""

    STALE_AFTER = timedelta(minutes=30)
    VERY_OLD_AFTER = timedelta(hours=24)

    name = models.CharField(max_length=20, primary_key=True, choices=[*LABELS.items()])
    last_good_at = models.DateTimeField(null=True)
    last_tried_at = models.DateTimeField(null=True)
    took = models.FloatField(null=True)  # seconds of the last complete walk
    rows = models.PositiveIntegerField(default=0)
    quarantined = models.PositiveIntegerField(default=0)
    problem = models.TextField(blank=True)  # the last error in words; empty while all is well
    # A walk that found under half of what was there waits here for a Portal.Admin, see `shortage.py`.
    short_rows = models.PositiveIntegerField(null=True)  # how many it found, if those were too few
    short_assignments = models.PositiveIntegerField(null=True)  # the same of GDAP's access assignments
    accepted_rows = models.PositiveIntegerField(null=True)  # a Portal.Admin has said that so few are right
    accepted_assignments = models.PositiveIntegerField(null=True)
    accepted_by = models.ForeignKey(Operator, null=True, on_delete=models.SET_NULL)
    accepted_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.label

    @property
    def label(self) -> str:
        return LABELS.get(self.name, self.name)

    @property
    def is_configured(self) -> bool:
        """Whether it is asked at all. What it told before AvePoint's settings were taken away stays in the list."""
        return self.name != SourceName.AVEPOINT or avepoint.configured()

    @property
    def short(self) -> list[Short]:
        """What the last walk found far too few of; empty while there is nothing to ask a Portal.Admin."""
        listed = "relationship" if self.name == GRAPH else "customer"
        found = []
        if self.short_rows is not None:
            found.append(Short("rows", listed, self.short_rows, self.accepted_rows))
        if self.short_assignments is not None:
            words = ("assignments", "access assignment")
            found.append(Short(*words, self.short_assignments, self.accepted_assignments))
        return found

    @property
    def silent(self) -> bool:
        """Whether it does not answer. A short walk has a problem and is an answer; and Graph was not asked for GDAP in
        earnest before somebody came who is shown it.
        """
        return bool(self.problem) and not self.short and self.problem != NOBODY_YET

    @property
    def answered(self) -> bool:
        """Whether a Portal.Admin has called all of it right."""
        return all(one.accepted is not None for one in self.short)

    @property
    def age(self) -> timedelta | None:
        """How old our copy is; None while there is none."""
        return clock.now() - self.last_good_at if self.last_good_at else None

    @property
    def stale(self) -> bool:
        return (age := self.age) is None or age > self.STALE_AFTER

    @property
    def very_old(self) -> bool:
        """Old enough to be said on the page even if nothing went wrong."""
        return (age := self.age) is not None and age > self.VERY_OLD_AFTER

    @classmethod
    def named(cls, name: str) -> Self:
        return cls.objects.get_or_create(pk=name)[0]

    @classmethod
    def telling(cls, customer: Customer, of: Iterable[Self] | None = None) -> list[Self]:
        """The sources that tell of this customer, Partner Center first; `of` all sources, where they are read."""
        names = [name for name in SourceName if getattr(customer, f"in_{name.value}")]
        found = cls.objects.filter(pk__in=names) if of is None else (source for source in of if source.pk in names)
        return sorted(found, key=lambda source: source.pk, reverse=True)


class SourceRow(models.Model):
    """What one source says about one customer, as it said it last."""

    source = models.CharField(max_length=20, choices=SourceName)
    source_id = models.CharField(max_length=120)  # folded: the tenant id, or AvePoint's id in lower case
    given_id = models.CharField(max_length=120)  # as it came
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="rows")
    name = models.CharField(max_length=400, blank=True)
    domain = models.CharField(max_length=255, blank=True)
    country = models.CharField(max_length=120, blank=True)
    owner_email = models.CharField(max_length=320, blank=True)
    status = models.CharField(max_length=120, blank=True)
    relationship = models.CharField(max_length=40, blank=True)
    first_seen_at = models.DateTimeField(default=clock.now)
    missing_since = models.DateTimeField(null=True)  # the first complete walk without it
    gone_at = models.DateTimeField(null=True)  # the second complete walk that agreed; it no longer counts

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "source_id"], name="one_row_a_source_id")]

    def __str__(self) -> str:
        return f"{self.source}:{self.source_id}"

    @property
    def key(self) -> str:
        """What the customer's key is as long as only this source knows it."""
        return key_of(self.source, self.source_id)


def key_of(source: str, source_id: str) -> str:
    return source_id if source == SourceName.PARTNER_CENTER else f"ap-{source_id}"


class _Named(Protocol):
    @property
    def source(self) -> str: ...
    @property
    def source_id(self) -> str: ...


RowT = TypeVar("RowT", bound=_Named)


def avepoint_row(rows: Iterable[RowT], tenant_id: str | None) -> RowT | None:
    """AvePoint's row of a customer; of several (a linked one, later one with the tenant's id) the one with the id."""
    found = [row for row in rows if row.source == SourceName.AVEPOINT]
    if len(found) > 1:
        found.sort(key=lambda row: row.source_id)
    return next((row for row in found if row.source_id == tenant_id), found[0] if found else None)


class SyncRun(models.Model):
    """One walk over the customer lists. The row is the truth; a message to the worker is only a nudge."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    open = models.BooleanField(null=True, default=True)  # True while queued or running, then null: one at most
    requested_by = models.ForeignKey(Operator, null=True, on_delete=models.SET_NULL)
    grant = models.ForeignKey(TokenCache, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(default=clock.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    published_at = models.DateTimeField(default=clock.now)
    leased_until = models.DateTimeField(null=True)
    fence = models.PositiveIntegerField(default=0)
    rows_seen = models.PositiveIntegerField(default=0)
    pages_seen = models.PositiveIntegerField(default=0)
    cancelled_by = models.ForeignKey(Operator, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["open"], name="one_customer_sync_at_a_time")]

    def __str__(self) -> str:
        return f"sync {self.pk} {self.state}"

    @classmethod
    def due(cls, now: datetime) -> models.QuerySet["SyncRun"]:
        """Open runs that no worker holds."""
        ahead = Q(leased_until__gt=now + 2 * LEASE)  # by a clock that was put right since
        return cls.objects.filter(open=True).filter(Q(leased_until=None) | Q(leased_until__lt=now) | ahead)

    @classmethod
    def claim(cls, pk: int) -> "SyncRun | None":
        """Take a run that nobody holds. The returned run carries the fence that every later write repeats."""
        now = clock.now()
        run = cls.due(now).filter(pk=pk).first()
        if run is None:
            return None
        won = (
            cls.due(now)
            .filter(pk=pk, fence=run.fence)
            .update(state=cls.State.RUNNING, fence=run.fence + 1, leased_until=now + LEASE, started_at=now)
        )
        if not won:
            return None
        run.refresh_from_db()
        return run

    def write(self, **values: Any) -> bool:
        """Change the row as long as we still hold it. False means that another worker has taken over."""
        held = type(self).objects.filter(pk=self.pk, fence=self.fence, open=True)
        return bool(held.update(**values))

    def beat(self, rows_seen: int, pages_seen: int = 0) -> bool:
        """Say that we are alive and how far we are; False as in `write`."""
        return self.write(leased_until=clock.now() + LEASE, rows_seen=rows_seen, pages_seen=pages_seen)

    @classmethod
    def cancel(cls, pk: int, by: Operator) -> bool:
        """Close an open run, whoever holds it: its next write fails. False when it had ended before."""
        closed = {"state": cls.State.CANCELLED, "open": None, "finished_at": clock.now(), "cancelled_by": by}
        return bool(cls.objects.filter(pk=pk, open=True).update(**closed))


class KnownStretch(models.Model):
    """Rows of a source that its last whole list brought one after the other, and which are as it told them then: what
    begins with the same bytes need not be read again. A sync writes them anew; to delete them costs nothing but time.
    """

    source = models.CharField(max_length=20, choices=SourceName)
    mark = models.BinaryField(max_length=16)  # see `paging.Familiar`
    rows = models.BinaryField()  # the primary keys of their `SourceRow`s, four bytes each

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "mark"], name="one_known_stretch_a_mark")]

    def __str__(self) -> str:
        return f"{self.source}:{bytes(self.mark).hex()}"


class StagedRow(models.Model):
    """A row that a sync under way has read. Nothing but the sync looks at it; the swap turns it into a `SourceRow`."""

    # Written by the hundred thousand: the constraint below finds a run's rows, and nobody else writes here.
    run = models.ForeignKey(SyncRun, on_delete=models.CASCADE, db_index=False, db_constraint=False)
    source = models.CharField(max_length=20)
    source_id = models.CharField(max_length=120)
    given_id = models.CharField(max_length=120)
    name = models.CharField(max_length=400, blank=True)
    domain = models.CharField(max_length=255, blank=True)
    country = models.CharField(max_length=120, blank=True)
    owner_email = models.CharField(max_length=320, blank=True)
    status = models.CharField(max_length=120, blank=True)
    relationship = models.CharField(max_length=40, blank=True)

    class Meta:
        # A page that comes twice brings each row once. In the order in which the swap reads them.
        constraints = [models.UniqueConstraint(fields=["run", "source_id", "source"], name="one_staged_row_an_id")]

    def __str__(self) -> str:
        return f"{self.source}:{self.source_id}"
