"""Files of new users on their way to a run: columns that somebody has to explain, and the check of the rows."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Q

from customers.models import Customer
from partnerportal import clock
from partnerportal.models import Operator, TokenCache

from .runs import OnboardingRun


class WaitingFile(models.Model):
    """The rows of a file whose columns are not clear, sealed, until their sender has said what they mean."""

    FOR = timedelta(minutes=30)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    by = models.ForeignKey(Operator, on_delete=models.CASCADE)
    customer = models.ForeignKey(Customer, null=True, on_delete=models.CASCADE)  # from whose page it was sent
    name = models.CharField(max_length=255)
    sealed = models.BinaryField()
    created_at = models.DateTimeField(default=clock.now, db_index=True)

    def __str__(self) -> str:
        return f"a file that waits for its columns ({self.pk})"


class ColumnMeaning(models.Model):
    """What one operator has said that a header means; "" for a column that is not used."""

    operator = models.ForeignKey(Operator, on_delete=models.CASCADE)
    header = models.CharField(max_length=100)  # folded, as `columns.folded` does it
    field = models.CharField(max_length=20, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["operator", "header"], name="one_meaning_a_header")]

    def __str__(self) -> str:
        return f"{self.header}: {self.field}"


class OnboardingCheck(models.Model):
    """The dry run of a run that has not started: one walk over its customers, by one worker at a time. See `check.py`.

    What it finds stands in the rows. A walk reads with the sign-in of whoever asked, and ends with it.
    """

    FRESH = timedelta(minutes=15)  # an older check is made anew before the run starts
    LEASE = timedelta(minutes=3)  # longer than 5,000 rows of one customer take to be judged
    NUDGE_AGAIN = timedelta(seconds=30)

    run = models.OneToOneField(OnboardingRun, on_delete=models.CASCADE, related_name="checking")
    grant = models.ForeignKey(TokenCache, null=True, on_delete=models.SET_NULL)
    open = models.BooleanField(default=False)
    customers = models.PositiveIntegerField(default=0)  # to be asked about in this walk
    done = models.PositiveIntegerField(default=0)
    problem = models.TextField(blank=True)  # why the last walk broke off
    published_at = models.DateTimeField(default=clock.now)
    leased_until = models.DateTimeField(null=True)
    fence = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"check of run {self.run_id}"

    @property
    def unheard_since(self) -> datetime | None:
        """Since when no worker has taken this open walk or gone on with it; None while one is at it, or may be."""
        if not self.open:
            return None
        free_since = max(self.published_at, self.leased_until or self.published_at)
        if clock.now() - free_since <= 3 * self.NUDGE_AGAIN:  # else a worker had knocked again by now
            return None
        return max(self.published_at, self.leased_until - self.LEASE if self.leased_until else self.published_at)

    @classmethod
    def due(cls, now: datetime) -> models.QuerySet["OnboardingCheck"]:
        """Open walks that no worker holds."""
        free = Q(leased_until=None) | Q(leased_until__lt=now) | Q(leased_until__gt=now + 2 * cls.LEASE)
        return cls.objects.filter(free, open=True)

    @classmethod
    def claim(cls, pk: int) -> "OnboardingCheck | None":
        """Take a walk that nobody holds. Every later write repeats the fence."""
        now = clock.now()
        found = cls.due(now).filter(pk=pk).select_related("run__by", "grant__operator").first()
        if found is None:
            return None
        held = cls.due(now).filter(pk=pk, fence=found.fence)
        if not held.update(fence=found.fence + 1, leased_until=now + cls.LEASE):
            return None
        found.fence += 1
        return found

    def write(self, **values: Any) -> bool:
        """Change the walk as long as it is ours. False: another worker has it, or a new one was asked for."""
        won = bool(type(self).objects.filter(pk=self.pk, fence=self.fence, open=True).update(**values))
        if won:
            for name, value in values.items():
                setattr(self, name, value)
        return won
