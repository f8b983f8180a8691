"""Runs over several users, and their rows. The rows are the ledger; a message to a worker is only a nudge."""

import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models, transaction
from django.db.models import Count, Q

from customers.models import Customer
from partnerportal import by_hand, clock
from partnerportal.models import Operator, TokenCache

from .users import Operation, fitting


class OnboardingRun(models.Model):
    """The same kind of write to several users, one row each: from a file, or those that somebody has selected.

    Its number is `pk`; addresses name it by `key`, which is also the `op_id` of the form that made it. `grant` is its
    own copy of the tokens of whoever started it, and goes with the run, with that sign-in, or after eight hours.
    """

    class State(models.TextChoices):
        DRAFT = "draft", "Being checked"
        CHECKED = "checked", "Not started"
        RUNNING = "running", "Running"
        PAUSED = "paused", "Paused"
        WAITING = "waiting", "Waiting for sign-in"
        STOPPING = "stopping", "Stopping"
        STOPPED = "stopped", "Stopped"
        DONE = "done", "Done"

    DRAFT_FOR = timedelta(hours=24)  # then one that was not started is thrown away

    BEFORE = (State.DRAFT, State.CHECKED)  # nothing was sent yet
    HALTED = (State.PAUSED, State.WAITING)
    OPEN = (State.RUNNING, *HALTED, State.STOPPING)
    OVER = (State.STOPPED, State.DONE)

    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    by = models.ForeignKey(Operator, on_delete=models.PROTECT, related_name="runs")
    kind = models.CharField(max_length=12, choices=Operation.Kind)
    title = models.CharField(max_length=200)
    source = models.CharField(max_length=255, blank=True)  # the file's name
    origin = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="followers")  # undone, fixed
    state = models.CharField(max_length=8, choices=State, default=State.DRAFT)
    reason = models.TextField(blank=True)  # why it is paused, waits or was stopped, as the page says it
    grant = models.OneToOneField(TokenCache, null=True, on_delete=models.SET_NULL, related_name="run")
    let_it_finish = models.BooleanField(default=False)  # signing out does not pause it
    notify = models.BooleanField(default=False)  # tell by e-mail when it is over
    notified_at = models.DateTimeField(null=True)  # when that e-mail began to leave
    mailed_at = models.DateTimeField(null=True)  # when the mail server had taken it
    created_at = models.DateTimeField(default=clock.now)
    checked_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    heard_at = models.DateTimeField(null=True)  # set going, or the last sign of a worker: see `hear`
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["state"], name="runs_by_state"),
            models.Index(fields=["by", "-id"], name="runs_by_operator"),
        ]

    def __str__(self) -> str:
        return f"run {self.pk} ({self.state})"

    @property
    def is_open(self) -> bool:
        """Started, and not over."""
        return self.state in self.OPEN

    @property
    def names_until(self) -> datetime | None:
        """When its rows stop naming their users; None while it is not over."""
        over = self.state in self.OVER and self.finished_at
        return self.finished_at + settings.RUNS_KEEP_NAMES if over and self.finished_at else None

    @property
    def unheard_since(self) -> datetime | None:
        """Since when no worker is at work on it, although it has something to do; None while one is.

        It takes as long to say so as it takes until the rows of a worker that has died are taken over.
        """
        works = self.state in (self.State.RUNNING, self.State.STOPPING)
        if not works or self.heard_at is None:  # of one that a version before has started, the next look tells
            return None
        is_silent = abs(clock.now() - self.heard_at) > OnboardingRow.SILENT * settings.RUNS_EVERY
        return self.heard_at if is_silent else None

    def hear(self) -> None:
        """A worker is at a row of it. Written as seldom as beat looks: many rows are carried out meanwhile."""
        now = clock.now()
        if self.heard_at is None or abs(now - self.heard_at) > settings.RUNS_EVERY:
            type(self).objects.filter(pk=self.pk).update(heard_at=now)

    @classmethod
    def forget(cls) -> None:
        """Throw away what was never started, and take the people out of the rows of what ended long ago."""
        now = clock.now()
        with transaction.atomic():
            never_started = cls.objects.filter(state__in=cls.BEFORE, created_at__lt=now - cls.DRAFT_FOR)
            never_started.update(state=cls.State.DRAFT)  # so that nobody starts one while it goes
            never_started.delete()
        ended = cls.objects.filter(state__in=cls.OVER, finished_at__lt=now - settings.RUNS_KEEP_NAMES)
        ended.exclude(source="", title="").update(source="", title="")  # a file may be named after somebody
        old = OnboardingRow.objects.filter(run__in=ended)
        nobody: dict[str, Any] = {"target_name": "", "user_name": "", "creates": "", "fields": {}, "before": {}}
        nobody |= {"typed": {}, "licences": {}, "problems": [], "notes": [], "detail": ""}
        old.exclude(user_name="", target_name="", fields={}, typed={}, detail="").update(**nobody)
        Operation.forget(ended.values("key"))

    def move(self, *, to: State, before: tuple[State, ...], **values: Any) -> bool:
        """Change the state if it still is one of `before`. False: somebody was faster."""
        won = bool(type(self).objects.filter(pk=self.pk, state__in=before).update(state=to, **values))
        if won:
            self.state = to
            for name, value in values.items():
                setattr(self, name, value)
        return won


class OnboardingRow(models.Model):
    """One line of a run: one user, and one operation under the `op_id` that is minted here.

    Whoever works on it holds it: by the fence, which moves with each claim and stands in every write, and by a sign of
    life. Silence is counted in looks of beat and not by a clock, so a clock that jumps gives no row to two workers.
    """

    SILENT = 7  # looks of beat without a sign of life, ten seconds apart: whoever held it has died
    LOST = 3  # looks without an answer to a message: it got lost, and another one goes out
    LONGEST_WAIT = timedelta(hours=1)  # that Microsoft may ask for

    class State(models.TextChoices):  # the words of Operation.State; and not started; and there with other values
        DRAFT = "draft", "Not started"
        QUEUED = "queued", "Queued"
        CHECKED = "checked", "Checked"
        SENT = "sent", "Sent"
        DONE = "done", "Done"
        REFUSED = "refused", "Failed"
        CONFLICT = "conflict", "Already there"
        DIFFERS = "differs", "Differs"
        DENIED = "denied", "No right"
        UNKNOWN = "unknown", "Unknown"
        STOPPED = "stopped", "Stopped"

    OPEN = (State.QUEUED, State.CHECKED, State.SENT)
    FINAL: ClassVar[tuple[State, ...]] = (
        State.DONE,
        State.REFUSED,
        State.CONFLICT,
        State.DIFFERS,
        State.DENIED,
        State.UNKNOWN,  # until somebody looks again
        State.STOPPED,
    )

    run = models.ForeignKey(OnboardingRun, on_delete=models.CASCADE, related_name="rows", db_index=False)
    line = models.PositiveIntegerField()
    customer = models.ForeignKey(Customer, null=True, on_delete=models.PROTECT)  # null: not known yet which
    tenant_id = models.CharField(max_length=36, blank=True)
    target_id = models.CharField(max_length=36, blank=True)
    target_name = models.CharField(max_length=400, blank=True)
    user_name = models.CharField(max_length=400, blank=True)  # as it is shown
    creates = models.CharField(max_length=400, blank=True)  # the user name in small letters, of a create only
    fields = models.JSONField(default=dict)  # what is to be true afterwards; never a password
    before = models.JSONField(default=dict)  # what was true when it was checked
    typed = models.JSONField(default=dict)  # what its line of a file says, and what was mended since: field -> text
    licences = models.JSONField(default=dict)  # SKU id -> name, to be assigned to whom it creates
    force_change = models.BooleanField(default=True)
    problems = models.JSONField(default=list)  # [{"field", "sentence"}] of the check; such a row is not sent
    notes = models.JSONField(default=list)  # likewise, of what is to be looked at and stands in nobody's way
    checked_at = models.DateTimeField(null=True)
    state = models.CharField(max_length=8, choices=State, default=State.DRAFT)
    op_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)  # the MS-RequestId of all its sends
    operation = models.OneToOneField(Operation, null=True, on_delete=models.PROTECT, related_name="row")
    held = models.BooleanField(default=False)  # a worker is at it
    fence = models.PositiveIntegerField(default=0)
    silent = models.PositiveSmallIntegerField(default=0)  # looks of beat since the last sign of life
    nudged = models.BooleanField(default=False)  # a message is under way
    not_before = models.DateTimeField(null=True)  # Microsoft asked for patience, or a look-up waits for replication
    tries = models.PositiveSmallIntegerField(default=0)  # that came to nothing
    code = models.CharField(max_length=60, blank=True)
    detail = models.TextField(blank=True)  # the sentence that the page shows
    correlation_id = models.CharField(max_length=64, blank=True)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["run", "line"]
        constraints = [
            models.UniqueConstraint(fields=["run", "line"], name="one_row_a_line"),
            models.UniqueConstraint(
                fields=["tenant_id", "creates"],
                condition=Q(state__in=["queued", "checked", "sent", "unknown"]) & ~Q(creates=""),
                name="one_open_create_a_user_name",
            ),
        ]
        indexes = [models.Index(fields=["run", "state", "customer"], name="rows_of_a_run")]

    def __str__(self) -> str:
        return f"row {self.line} of run {self.run_id} ({self.state})"

    @property
    def request_id(self) -> str:
        """What Microsoft knows it by."""
        return str(self.op_id)

    @classmethod
    def due(cls, now: datetime) -> models.QuerySet["OnboardingRow"]:
        """Rows that nobody is at and that need not wait; of a run that stops, only what was sent and is undecided."""
        free = Q(held=False) | Q(silent__gte=cls.SILENT)
        ahead = Q(not_before__gt=now + 2 * cls.LONGEST_WAIT)  # by a clock that was put right since
        running = Q(run__state=OnboardingRun.State.RUNNING, state__in=cls.OPEN)
        stopping = Q(run__state=OnboardingRun.State.STOPPING, state=cls.State.SENT)
        return cls.objects.filter(free, Q(not_before=None) | Q(not_before__lte=now) | ahead, running | stopping)

    def is_due(self, now: datetime) -> bool:
        """Whether `due` would find this row, as it was read."""
        if self.held and self.silent < self.SILENT:
            return False
        if self.not_before and now < self.not_before <= now + 2 * self.LONGEST_WAIT:
            return False
        if self.run.state == OnboardingRun.State.STOPPING:
            return self.state == self.State.SENT
        return self.run.state == OnboardingRun.State.RUNNING and self.state in self.OPEN

    @classmethod
    def claim(cls, pk: int) -> Self | None:
        """Take a row that nobody is at. What is returned carries the fence that every later write repeats."""
        found = next(iter(by_hand.read(cls, {"pk": pk}, "run", "run__by", "run__grant", "customer")), None)
        if found is None or not found.is_due(clock.now()):
            return None
        free = {"pk": pk, "fence": found.fence, "held": found.held, "state": found.state}
        taken = {"fence": found.fence + 1, "held": True, "silent": 0, "nudged": False}
        if not by_hand.change(cls, free, taken):
            return None
        for name, value in taken.items():
            setattr(found, name, value)
        return found

    def write(self, *, to_go_on: bool = False, **values: Any) -> bool:
        """Change the row as long as we hold it, which is a sign of life too. False: another worker does.

        `to_go_on`: only while the run is running, too, with the tokens that it had when the row was claimed: whoever
        pauses it or signs out is heard.
        """
        values = fitting(type(self), values)
        of = {"run": {"state": OnboardingRun.State.RUNNING, "grant": self.run.grant_id}} if to_go_on else None
        held = {"pk": self.pk, "fence": self.fence, "held": True}
        won = bool(by_hand.change(type(self), held, {"silent": 0, **values}, of=of))
        if won:
            for name, value in values.items():
                setattr(self, name, value)
        return won

    @classmethod
    def follow(cls, operation: Operation) -> None:
        """A row that its run has left as unknown ends as its operation, which somebody has decided since.

        In the same transaction as that, so that no row says "Unknown" of what is known.
        """
        if operation.undecided:
            return
        state = cls.State(operation.state)
        if state == cls.State.CONFLICT and operation.kind == Operation.Kind.CREATE and operation.target_id:
            state = cls.State.DIFFERS  # a look-up has found another user, and compared the two
        told = {name: getattr(operation, name) for name in ("detail", "target_id", "code", "correlation_id")}
        told |= {"state": state, "operation": operation, "decided_at": clock.now()}
        by_hand.change(cls, {"op_id": operation.op_id, "state": cls.State.UNKNOWN}, told, one_more=("fence",))

    @classmethod
    def counts(cls, run: OnboardingRun) -> dict[str, int]:
        """State -> rows of a run; together they are all of its rows, always."""
        found = cls.objects.filter(run=run).order_by().values_list("state").annotate(Count("pk"))
        return dict(found)
