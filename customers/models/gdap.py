"""Our copy of the GDAP relationships, and the customer syncs asked of the GDAP API."""

from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Q

from partnerportal import clock
from partnerportal.models import Operator, TokenCache
from partnerportal.upstream.graph import Assignment, Relationship


class GdapState(models.TextChoices):
    """What a customer's GDAP relationships amount to."""

    LIVE = "live", "Live"
    PENDING = "pending", "Waiting for approval"
    ENDED = "ended", "Ended"
    NONE = "none", "No relationship"


class GdapRelationship(models.Model):
    """A relationship as Graph told it. `roles` is the ceiling that the customer granted to the partner."""

    id = models.CharField(max_length=120, primary_key=True)
    tenant_id = models.CharField(max_length=36, db_index=True)
    customer_name = models.CharField(max_length=400, blank=True)  # Graph's copy; may be stale
    display_name = models.CharField(max_length=200)
    status = models.CharField(max_length=40)
    created_at = models.DateTimeField(null=True)
    activated_at = models.DateTimeField(null=True)
    modified_at = models.DateTimeField(null=True)
    ends_at = models.DateTimeField(null=True, db_index=True)
    extends = models.BooleanField(default=False)
    roles = models.JSONField(default=list)  # role template ids, sorted
    first_seen_at = models.DateTimeField(default=clock.now)
    missing_since = models.DateTimeField(null=True)  # the first complete walk without it
    gone_at = models.DateTimeField(null=True)  # the second one that agreed

    def __str__(self) -> str:
        return self.display_name

    @property
    def told(self) -> Relationship:
        """As Graph told it, for access.py."""
        return Relationship(
            id=self.id,
            display_name=self.display_name,
            tenant_id=self.tenant_id,
            status=self.status,
            ends_at=self.ends_at,
            auto_extends=self.extends,
            roles=frozenset(self.roles),
            customer_name=self.customer_name,
            created_at=self.created_at,
            activated_at=self.activated_at,
            modified_at=self.modified_at,
        )


class GdapAssignment(models.Model):
    """Roles of a relationship that the members of one security group have."""

    relationship = models.ForeignKey(GdapRelationship, on_delete=models.CASCADE, related_name="assignments")
    assignment_id = models.CharField(max_length=120)
    status = models.CharField(max_length=40)
    group_id = models.CharField(max_length=36, db_index=True)
    roles = models.JSONField(default=list)
    created_at = models.DateTimeField(null=True)
    modified_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["relationship", "assignment_id"], name="one_assignment_a_relationship")
        ]

    def __str__(self) -> str:
        return f"{self.relationship_id} -> {self.group_id}"

    @property
    def told(self) -> Assignment:
        """As Graph told it, for access.py."""
        return Assignment(
            self.assignment_id, self.status, self.group_id, frozenset(self.roles), self.created_at, self.modified_at
        )


class SecurityGroup(models.Model):
    """A group of the partner's tenant that holds assignments, and what it is called."""

    id = models.CharField(max_length=36, primary_key=True)
    name = models.CharField(max_length=256, blank=True)

    def __str__(self) -> str:
        return self.name or self.id


class GdapGrant(models.Model):
    """What the members of one group may do at one customer: the snapshot, made ready for the list's one query."""

    class Level(models.IntegerChoices):
        VIEW = 1, "View only"
        EDIT = 2, "Edit users"

    tenant_id = models.CharField(max_length=36)
    group_id = models.CharField(max_length=36)
    level = models.PositiveSmallIntegerField(choices=Level)
    ends_at = models.DateTimeField(null=True)  # after this it is worth nothing
    extends = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "group_id", "level"], name="one_grant_a_group_and_level")
        ]
        indexes = [models.Index(fields=["group_id", "level", "tenant_id"])]

    def __str__(self) -> str:
        return f"{self.group_id} at {self.tenant_id}: {self.level}"


class GdapChange(models.Model):
    """What a snapshot found different from the one before."""

    class Kind(models.TextChoices):
        NEW = "new", "New relationship"
        ENDED = "ended", "Ended"
        STATUS = "status", "Status changed"
        ENDS = "ends", "End date changed"
        EXTENDS = "extends", "Extension changed"
        ROLES = "roles", "Roles changed"
        GROUPS = "groups", "Groups changed"
        GONE = "gone", "No longer listed"

    at = models.DateTimeField(default=clock.now, db_index=True)
    tenant_id = models.CharField(max_length=36)
    relationship_id = models.CharField(max_length=120)
    display_name = models.CharField(max_length=200)
    kind = models.CharField(max_length=8, choices=Kind)
    before = models.CharField(max_length=400, blank=True)  # in words
    after = models.CharField(max_length=400, blank=True)

    def __str__(self) -> str:
        return f"{self.display_name}: {self.kind}"


class GdapRead(models.Model):
    """One read of the GDAP snapshot with the token of somebody inside Admin agents. At most one at a time."""

    LEASE = timedelta(seconds=60)

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        EMPTY = "empty"  # Graph showed nothing: somebody outside Admin agents, so nothing was replaced

    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    open = models.BooleanField(null=True, default=True)
    by = models.ForeignKey(Operator, null=True, on_delete=models.SET_NULL)
    grant = models.ForeignKey(TokenCache, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(default=clock.now)
    published_at = models.DateTimeField(default=clock.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    leased_until = models.DateTimeField(null=True)
    fence = models.PositiveIntegerField(default=0)
    rows_seen = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["open"], name="one_gdap_read_at_a_time")]

    def __str__(self) -> str:
        return f"GDAP read {self.pk} {self.state}"

    @classmethod
    def due(cls, now: datetime) -> models.QuerySet["GdapRead"]:
        """Open reads that no worker holds."""
        ahead = Q(leased_until__gt=now + 2 * cls.LEASE)  # by a clock that was put right since
        return cls.objects.filter(open=True).filter(Q(leased_until=None) | Q(leased_until__lt=now) | ahead)

    @classmethod
    def claim(cls, pk: int) -> "GdapRead | None":
        """Take a read that nobody holds. The returned row carries the fence that every later write repeats."""
        now = clock.now()
        read = cls.due(now).filter(pk=pk).first()
        if read is None:
            return None
        won = (
            cls.due(now)
            .filter(pk=pk, fence=read.fence)
            .update(state=cls.State.RUNNING, fence=read.fence + 1, leased_until=now + cls.LEASE, started_at=now)
        )
        if not won:
            return None
        read.refresh_from_db()
        return read

    def write(self, **values: Any) -> bool:
        """Change the row as long as we still hold it. False means that another worker has taken over."""
        held = type(self).objects.filter(pk=self.pk, fence=self.fence, open=True)
        return bool(held.update(**values))

    def beat(self, rows_seen: int) -> bool:
        """Say that we are alive and how far we are; False as in `write`."""
        return self.write(leased_until=clock.now() + self.LEASE, rows_seen=rows_seen)


class GdapSync(models.Model):
    """A customer sync asked of the GDAP API, which tells nobody when it is done: we look for its effect."""

    BLOCKS = timedelta(minutes=15)
    TIMES_OUT = timedelta(minutes=30)

    class State(models.TextChoices):
        SENT = "sent", "Sent, no answer yet"
        REQUESTED = "requested", "Requested"
        SEEN = "seen", "Done"
        TIMED_OUT = "timed_out", "No change seen in 30 minutes"
        REFUSED = "refused", "Refused"
        UNKNOWN = "unknown", "Unknown"

    op_id = models.UUIDField(unique=True)
    state = models.CharField(max_length=10, choices=State, default=State.SENT)
    open = models.BooleanField(null=True, default=True)  # True while it blocks a second request, then null
    by = models.ForeignKey(Operator, on_delete=models.PROTECT)
    email = models.CharField(max_length=320)
    requested_at = models.DateTimeField(default=clock.now)
    seen_at = models.DateTimeField(null=True)
    before = models.CharField(max_length=64, blank=True)  # fingerprint of the GDAP API's list just before
    rows_before = models.JSONField(default=dict)  # that list, small: tenant id -> [digest, when it was synchronised]
    observed = models.JSONField(default=dict)  # what was different afterwards, by gdap.difference
    message = models.TextField(blank=True)

    class Meta:
        ordering = ["-requested_at"]
        constraints = [models.UniqueConstraint(fields=["open"], name="one_gdap_sync_at_a_time")]

    def __str__(self) -> str:
        return f"GDAP sync {self.requested_at:%Y-%m-%d %H:%M} {self.state}"

    @property
    def times_out_at(self) -> datetime:
        """When we stop looking for its effect."""
        return self.requested_at + self.TIMES_OUT

    @property
    def settled(self) -> bool:
        """Seen done, refused, or timed out."""
        return self.state in {self.State.SEEN, self.State.REFUSED, self.State.TIMED_OUT}

    def may_reopen(self, now: datetime) -> bool:
        """Whether the next request may go: settled, and (but for a refusal) 15 minutes old."""
        old_enough = abs(now - self.requested_at) >= self.BLOCKS or self.state == self.State.REFUSED
        return self.settled and old_enough
