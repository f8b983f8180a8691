"""What the portal keeps of users: intended writes, passwords on their way, walks, templates, names to search."""

import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.apps import apps
from django.db import models
from django.db.models import Exists, OuterRef, Q

from customers.models import Customer
from partnerportal import by_hand, clock
from partnerportal.models import Operator, TokenCache


def fitting(model: type[models.Model], values: dict[str, Any]) -> dict[str, Any]:
    """What upstream says as the columns take it: an answer is never lost for being too long."""
    return {
        name: value.replace("\x00", "")[: getattr(model, name).field.max_length] if isinstance(value, str) else value
        for name, value in values.items()
    }


class UserNameIn(models.Func):
    """The user name in a column of `fields` or `before`, in capitals; NULL where there is none."""

    function = ""
    output_field = models.TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "UPPER(JSON_EXTRACT(%(expressions)s, '$.user_principal_name'))"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "UPPER(%(expressions)s ->> 'user_principal_name')"
        return self.as_sql(compiler, connection, template=template, **context)


class Operation(models.Model):
    """One write to a customer's directory, stored before its first byte leaves.

    `op_id` is minted with the form and sent as MS-RequestId, so a second press is the same operation.
    """

    LOST_AFTER = timedelta(seconds=60)  # sent, and no word since: the process that sent it has died
    SEEN_AFTER = timedelta(minutes=2)  # 30 s to send, a minute until Microsoft shows it, 30 s to look it up
    SHOWN_FOR = timedelta(minutes=15)  # how long the same answer, password included, can be had again
    UNDONE_WITHIN = timedelta(minutes=15)
    SEALED_FOR = timedelta(hours=24)  # how long the password of an unknown outcome is kept for a resend
    PAUSES = (timedelta(seconds=5), timedelta(seconds=60))  # the shortest and the longest between two look-ups by hand

    class Kind(models.TextChoices):
        CREATE = "create", "Create user"
        PATCH = "patch", "Change user"
        RESET = "reset", "Reset password"
        DELETE = "delete", "Delete user"
        RESTORE = "restore", "Restore user"
        LICENCES = "licences", "Change licences"

    class State(models.TextChoices):
        QUEUED = "queued", "Queued"
        CHECKED = "checked", "Checked"
        SENT = "sent", "Sent"
        DONE = "done", "Done"
        REFUSED = "refused", "Failed"
        CONFLICT = "conflict", "Already there"
        DENIED = "denied", "No right"
        UNKNOWN = "unknown", "Unknown"
        STOPPED = "stopped", "Stopped"

    DEEDS: ClassVar[dict[Kind, str]] = {  # completes "Maya Lind was …"
        Kind.CREATE: "created",
        Kind.RESET: "given a new password",
        Kind.DELETE: "deleted",
        Kind.RESTORE: "restored",
        Kind.LICENCES: "given other licences",
    }
    UNDECIDED = (State.QUEUED, State.CHECKED, State.SENT, State.UNKNOWN)

    op_id = models.UUIDField(unique=True)
    kind = models.CharField(max_length=12, choices=Kind)
    state = models.CharField(max_length=10, choices=State, default=State.CHECKED)
    by = models.ForeignKey(Operator, on_delete=models.PROTECT)
    session = models.UUIDField(null=True)  # the sign-in that may see the password
    job = models.UUIDField(null=True, db_index=True)  # the key of the run that sent it; null: a form did
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT)
    tenant_id = models.CharField(max_length=36)
    target_id = models.CharField(max_length=36, blank=True)
    target_name = models.CharField(max_length=400, blank=True)
    fields = models.JSONField(default=dict)  # what is to be true afterwards; never a password
    before = models.JSONField(default=dict)  # what was true, for a change
    sets_password = models.BooleanField(default=False)
    sealed_password = models.BinaryField(null=True)  # until it was shown, refused, or is too old
    force_change = models.BooleanField(default=True)
    attempt = models.UUIDField(default=uuid.uuid4)  # the audit intent of the latest send
    tries = models.PositiveSmallIntegerField(default=1)  # 0: it waits for another one
    created_at = models.DateTimeField(default=clock.now)
    seen_absent_at = models.DateTimeField(null=True)  # of a create: a complete walk that began then had not this name
    sent_at = models.DateTimeField(null=True)
    decided_at = models.DateTimeField(null=True)
    asked_at = models.DateTimeField(null=True)  # when a person last had it looked up, whatever came of that
    checked_at = models.DateTimeField(null=True)  # last look-up after an unknown outcome
    found_absent = models.BooleanField(default=False)  # what that look-up said
    status = models.PositiveSmallIntegerField(null=True)
    code = models.CharField(max_length=60, blank=True)
    detail = models.TextField(blank=True)
    correlation_id = models.CharField(max_length=64, blank=True)
    open_name = models.CharField(max_length=400, blank=True)  # the user name of a create that is not decided yet
    fence = models.PositiveIntegerField(default=0)

    # Of the answer that this process has just had, never stored: a challenge for the next sign-in, and when to go on.
    claims = ""
    retry_at: datetime | None = None

    class Meta:
        indexes = [
            models.Index(fields=["state", "sent_at"]),
            models.Index(fields=["tenant_id", "target_id"]),
            models.Index(fields=["customer", "sent_at"], name="operations_lately"),
            models.Index(fields=["by", "asked_at"], name="operations_asked_about"),
            models.Index("customer", UserNameIn("fields"), name="operations_giving_a_name"),
            models.Index("customer", UserNameIn("before"), name="operations_taking_a_name"),
        ]
        constraints = [
            # Of two that are under way nobody could tell which has made the user, so whose password it is.
            models.UniqueConstraint(
                fields=["customer", "open_name"], condition=~Q(open_name=""), name="one_open_create_a_name"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.target_name} ({self.state})"

    @property
    def deed(self) -> str:
        """What is done to the user, as a page tells it."""
        return self.DEEDS.get(self.Kind(self.kind), "changed")

    @property
    def user_name(self) -> str:
        """Whom it is about, by the name under which they sign in when it is done."""
        return str(self.fields.get("user_principal_name") or self.before.get("user_principal_name", ""))

    @property
    def undecided(self) -> bool:
        return self.state in self.UNDECIDED

    @property
    def names_nobody(self) -> bool:
        """Whether what it says of a person was taken out of it, with the rows of its run."""
        return self.job is not None and not self.fields

    @classmethod
    def forget(cls, runs: Any) -> None:
        """Take the people out of what runs with these keys have sent: also the tries before the last, and licences.

        What nobody knows the outcome of keeps its name: without it nobody could find out, or give it up.
        """
        sent = cls.objects.filter(job__in=runs).exclude(state__in=cls.UNDECIDED)
        nobody: dict[str, Any] = {"target_name": "", "fields": {}, "before": {}, "detail": ""}
        sent.exclude(**nobody).update(**nobody, sealed_password=None)

    @property
    def lost(self) -> bool:
        """Sent by a process that did not live to write down the answer, or whose clock was ahead by that much."""
        in_flight = self.state in {self.State.CHECKED, self.State.SENT}
        return in_flight and abs(clock.now() - (self.sent_at or self.created_at)) > self.LOST_AFTER

    @property
    def was_too_late(self) -> bool:
        """Refused because the user had changed since it was read (CONTRACT 1.4: 412, or code 2055)."""
        return self.state == self.State.CONFLICT and (self.status == 412 or self.code == "2055")

    @property
    def has_password(self) -> bool:
        return self.sealed_password is not None

    @property
    def may_go_again(self) -> bool:
        """A look-up has found that it had no effect, and what is to be sent is still there."""
        whole = self.has_password or not self.sets_password
        return self.state == self.State.UNKNOWN and self.found_absent and whole

    @property
    def may_be_ours(self) -> bool:
        """A look-up has found the user whom this create was to make, and nobody had seen the name absent before."""
        return self.kind == self.Kind.CREATE and self.state == self.State.UNKNOWN and self.target_id != ""

    @property
    def may_be_given_up(self) -> bool:
        """A look-up has found that it had no effect, so late that Microsoft would have shown one."""
        if not self.may_go_again or self.sent_at is None or self.checked_at is None:
            return False
        return self.checked_at - self.sent_at >= self.SEEN_AFTER

    @property
    def ask_again_at(self) -> datetime | None:
        """When a person may have it looked up again; None: now.

        Microsoft shows most of it soon, so the pause is half of the time that has passed since it was sent.
        """
        if self.asked_at is None or self.sent_at is None or self.asked_at < self.sent_at:
            return None
        shortest, longest = self.PAUSES
        at = self.asked_at + min(max((self.asked_at - self.sent_at) / 2, shortest), longest)
        return at if clock.now() < at <= clock.now() + longest else None  # further ahead: by a clock that was put right

    @property
    def is_due(self) -> bool:
        """It has waited for another one, which is done, and was never sent. See `queued.py`."""
        return self.state == self.State.QUEUED and self.target_id != ""

    def write(self, **values: Any) -> bool:
        """Change the row if nobody else has since we read it; the fence moves on. False: somebody has."""
        if values.get("state", self.state) not in self.UNDECIDED:
            values["open_name"] = ""
        values = fitting(type(self), values)
        held = {"pk": self.pk, "fence": self.fence}
        won = bool(by_hand.change(type(self), held, {"fence": self.fence + 1, **values}))
        if won:
            self.fence += 1
            for name, value in values.items():
                setattr(self, name, value)
        return won

    @classmethod
    def purge_secrets(cls) -> int:
        """Destroy every sealed password whose time is over. Returns how many."""
        now = clock.now()
        # Of a run nobody has seen it yet; a link may be made from it for a day. Its row may not know its operation yet.
        rows = apps.get_model("users.OnboardingRow").objects
        by_hand = ~Exists(rows.filter(op_id=OuterRef("op_id")))
        shown = Q(by_hand, state=cls.State.DONE, decided_at__lt=now - cls.SHOWN_FOR)
        shown |= Q(state=cls.State.DONE, decided_at__lt=now - cls.SEALED_FOR)
        settled = Q(state__in=[cls.State.REFUSED, cls.State.CONFLICT, cls.State.DENIED, cls.State.STOPPED])
        forgotten = Q(state=cls.State.UNKNOWN, sent_at__lt=now - cls.SEALED_FOR)
        sealed = cls.objects.exclude(sealed_password=None)
        return sealed.filter(shown | settled | forgotten).update(sealed_password=None)


class HandoverLink(models.Model):
    """A password on its way to the person it is for: shown once to whoever has the link, then gone.

    The link's token stands nowhere; here is its keyed hash. What is sealed is there while the link is open.
    """

    MOST_TRIES = 10  # at the passphrase; then the link closes

    class State(models.TextChoices):
        OPEN = "open", "Open"
        OPENED = "opened", "Opened"
        EXPIRED = "expired", "Ran out unopened"
        REVOKED = "revoked", "Revoked unopened"
        CLOSED = "closed", "Closed unopened"
        DELETED = "deleted", "Ended unopened, for the user was deleted"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="links")
    token_hash = models.CharField(max_length=64, unique=True)
    sealed_password = models.BinaryField(null=True)
    passphrase = models.CharField(max_length=128, blank=True)  # as Django's hashers keep it; "" = none is asked for
    tries = models.PositiveSmallIntegerField(default=0)
    state = models.CharField(max_length=7, choices=State, default=State.OPEN)
    created_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)  # opened, ran out, revoked or closed

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["state", "expires_at"], name="handover_links_to_expire")]

    def __str__(self) -> str:
        return f"hand-over link of operation {self.operation_id} ({self.state})"

    @property
    def is_open(self) -> bool:
        """Whether it can still be opened; beat may not have come by yet."""
        return self.state == self.State.OPEN and clock.now() < self.expires_at


class HandoverKnock(models.Model):
    """How often one address asked for hand-over pages within one minute. The address is hashed with a key."""

    address = models.CharField(max_length=64)
    minute = models.BigIntegerField()
    count = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["address", "minute"], name="one_count_an_address_and_minute")]

    def __str__(self) -> str:
        return f"{self.count} within minute {self.minute}"


class UserWalk(models.Model):
    """One operator's way through the users table of one customer. Holds the continuation tokens, sealed.

    The page gets a signed cursor that names walk and page; the tokens themselves never leave the server.
    """

    IDLE = timedelta(minutes=30)
    USED_EVERY = timedelta(seconds=30)  # it is not written anew for every page

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    operator = models.ForeignKey(Operator, on_delete=models.CASCADE)
    grant = models.ForeignKey(TokenCache, on_delete=models.CASCADE)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE)
    deleted = models.BooleanField(default=False)
    descending = models.BooleanField(default=False)
    size = models.PositiveSmallIntegerField()
    sealed_tokens = models.BinaryField()  # of pages 2, 3, …
    used_at = models.DateTimeField(default=clock.now)

    def __str__(self) -> str:
        return f"walk through the users of {self.customer_id}"


class KeptPage(models.Model):
    """A page of a walk as Partner Center gave it, sealed, for going on and back. Never shown after `FOR`.

    It goes with its walk, so with the sign-in. A write of ours to that customer makes it worthless (`walks.kept`).
    """

    FOR = timedelta(seconds=60)

    walk = models.ForeignKey(UserWalk, on_delete=models.CASCADE)
    page = models.PositiveIntegerField()
    asked_at = models.DateTimeField()  # before the question left, so that nothing in it is older
    sealed = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["walk", "page"], name="one_kept_page_a_place")]
        indexes = [models.Index(fields=["asked_at"])]

    def __str__(self) -> str:
        return f"page {self.page} of a {self.walk}"


class UserTally(models.Model):
    """How many users of a customer have each usage location and each domain, as one page of them showed it. No names.

    See `tally.py`, which writes and reads it.
    """

    FOR = timedelta(hours=24)  # how long the largest page seen is better than a newer, smaller one

    customer = models.OneToOneField(Customer, on_delete=models.CASCADE)
    locations = models.JSONField(default=dict)  # code -> users
    domains = models.JSONField(default=dict)  # domain in small letters -> users
    users = models.PositiveIntegerField()  # how many were counted
    counted_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.users} users of {self.customer_id}"


class SeenNames(models.Model):
    """The user names of a customer, active and deleted, as one walk showed them: hashed with a key.

    See `seen_names.py`, which writes and reads it.
    """

    FOR = timedelta(minutes=15)

    customer = models.OneToOneField(Customer, on_delete=models.CASCADE)
    hashes = models.JSONField(default=list)
    whole = models.BooleanField(default=False)  # all of them; else these are of deleted users alone
    walked_at = models.DateTimeField()  # when the walk began, so that nothing in it is older

    def __str__(self) -> str:
        return f"{len(self.hashes)} user names of {self.customer_id}"

    @property
    def is_fresh(self) -> bool:
        """Whether it may still say that a name was not there."""
        return timedelta(0) <= clock.now() - self.walked_at < self.FOR


class SeenSku(models.Model):
    """What a kind of licence is called that some customer has. See `seen_skus.py`, which writes and reads it."""

    sku_id = models.CharField(max_length=36, primary_key=True)
    name = models.CharField(max_length=200)
    part = models.CharField(max_length=100, blank=True)  # its part number

    def __str__(self) -> str:
        return self.name


class UserTemplate(models.Model):
    """What the form for a new user is filled with, and what of it is fixed. See `templates.py`.

    Without a customer it is for all of them; without a name it is the defaults, of which there is one set.
    """

    customer = models.ForeignKey(Customer, null=True, on_delete=models.CASCADE)
    name = models.CharField(max_length=60, blank=True)
    folded = models.CharField(max_length=200, blank=True)  # the name without case and accents
    rules = models.JSONField(default=dict)  # field -> {"mode", "value"}
    version = models.PositiveIntegerField(default=0)  # moves on with each change, so that the later of two is told
    changed_at = models.DateTimeField(default=clock.now)
    changed_by = models.ForeignKey(Operator, on_delete=models.PROTECT)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer", "folded"], name="one_template_a_name"),
            models.UniqueConstraint(
                fields=["folded"], condition=Q(customer__isnull=True), name="one_template_a_name_for_all"
            ),
        ]

    def __str__(self) -> str:
        return self.name or "Defaults"


class UserIndex(models.Model):
    """The copy of a customer's users in which the search looks, and the walk that brings the next one.

    At most one walk of a customer is open. Its number is the fence: each row carries that of the walk which brought
    it, and `copy` says which walk came whole. Rows of any other are never looked at. See `index.py`.
    """

    FRESH = timedelta(hours=1)  # an older copy is read anew when somebody searches in it
    UNUSED = timedelta(days=7)  # then it is dropped
    LEASE = timedelta(minutes=3)  # longer than a page may take, with the pauses that Partner Center may ask for
    NUDGE_AGAIN = timedelta(minutes=1)
    AFTER_FAILURE = timedelta(minutes=5)

    tenant_id = models.CharField(max_length=36, unique=True)  # whose users these are, whichever row the customer has
    copy = models.PositiveIntegerField(default=0)  # 0: no walk has come whole yet
    users = models.PositiveIntegerField(default=0)
    read_at = models.DateTimeField(null=True)  # when that walk began, so nothing in it is older
    used_at = models.DateTimeField(default=clock.now, db_index=True)
    # The walk under way, or how the last one ended
    open = models.BooleanField(default=False)
    by = models.ForeignKey(Operator, null=True, on_delete=models.SET_NULL)
    grant = models.ForeignKey(TokenCache, null=True, on_delete=models.SET_NULL)  # null: signed out, and the walk ends
    asked_at = models.DateTimeField(default=clock.now)
    published_at = models.DateTimeField(default=clock.now)
    leased_until = models.DateTimeField(null=True)
    fence = models.PositiveIntegerField(default=0)
    seen = models.PositiveIntegerField(default=0)
    problem = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"index of the users of {self.tenant_id}"

    @property
    def is_old(self) -> bool:
        """Whether it should be read anew, unless that is under way or has just failed."""
        now = clock.now()
        tried_in_vain = self.problem and abs(now - self.asked_at) < self.AFTER_FAILURE
        return self.read_at is not None and abs(now - self.read_at) > self.FRESH and not (self.open or tried_in_vain)

    @classmethod
    def due(cls, now: datetime) -> models.QuerySet["UserIndex"]:
        """Open walks that no worker holds."""
        ahead = Q(leased_until__gt=now + 2 * cls.LEASE)  # by a clock that was put right since
        return cls.objects.filter(open=True).filter(Q(leased_until=None) | Q(leased_until__lt=now) | ahead)

    @classmethod
    def claim(cls, pk: int) -> Self | None:
        """Take a walk that nobody holds, under a number that no walk had before."""
        now = clock.now()
        found = cls.due(now).filter(pk=pk).first()
        if found is None:
            return None
        mine = cls.due(now).filter(pk=pk, fence=found.fence)
        if not mine.update(fence=found.fence + 1, leased_until=now + cls.LEASE, seen=0):
            return None
        return cls.objects.select_related("by", "grant__operator").filter(pk=pk, fence=found.fence + 1).first()

    def write(self, **values: Any) -> bool:
        """Change the row as long as we hold the walk. False: another worker does, or it was dropped."""
        held = type(self).objects.filter(pk=self.pk, fence=self.fence, open=True)
        return bool(held.update(**values))

    def use(self) -> None:
        """Somebody has searched in it. Written once an hour: a letter more is no new search."""
        now = clock.now()
        if now - self.used_at > timedelta(hours=1):
            type(self).objects.filter(pk=self.pk).update(used_at=now)


class IndexedUser(models.Model):
    """A user as one walk found them: the names, the id, and whether deleted. Never the truth, which is upstream."""

    index = models.ForeignKey(UserIndex, on_delete=models.CASCADE, db_index=False)  # the constraint below has it
    walk = models.PositiveIntegerField()
    user_id = models.CharField(max_length=36)
    deleted = models.BooleanField(default=False)
    display_name = models.CharField(max_length=400)
    user_principal_name = models.CharField(max_length=400)
    sort_name = models.CharField(max_length=400)
    search_text = models.TextField()

    class Meta:
        # A page that comes twice brings each user once. Migration 0005 adds the indexes of the search.
        constraints = [models.UniqueConstraint(fields=["index", "walk", "user_id"], name="one_indexed_user_a_walk")]
        indexes = [models.Index(fields=["index", "walk", "sort_name"], name="indexed_users_in_order")]

    def __str__(self) -> str:
        return self.display_name
