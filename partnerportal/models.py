"""What all apps share: the operator, the sealed tokens of a sign-in, and the audit trail."""

import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models
from django.db.models import OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils.crypto import salted_hmac

from partnerportal import clock

if TYPE_CHECKING:
    from partnerportal.upstream.tokens import TokenClient


def new_session_salt() -> str:
    """A random value; every session of an operator ends when theirs is replaced."""
    return uuid.uuid4().hex


class Operator(AbstractBaseUser):
    """One of the partner's staff. Who they are is (`tid`, `oid`); name and e-mail are for display only."""

    password = None  # type: ignore[assignment]  # nobody signs in here with a password
    subject = models.CharField(max_length=73, unique=True)  # "<tid>:<oid>", what Django calls the user name
    tid = models.UUIDField()
    oid = models.UUIDField()
    name = models.CharField(max_length=200)
    email = models.CharField(max_length=320)
    app_roles = models.JSONField(default=list)  # as the last ID token said
    roles_read_at = models.DateTimeField(default=clock.now)
    roles_asked_at = models.DateTimeField(default=clock.now)  # the last try; a silent Entra is not asked on every page
    session_salt = models.CharField(max_length=32, default=new_session_salt)
    created_at = models.DateTimeField(default=clock.now)
    preferences = models.JSONField(default=dict)  # partnerportal/preferences.py says what may stand here
    groups = models.JSONField(default=list)  # ids of all groups, nested ones too, as Graph told this person last
    groups_read_at = models.DateTimeField(null=True)

    USERNAME_FIELD = "subject"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    is_active = True  # Entra says who is, not a column

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tid", "oid"], name="operator_identity")]

    def __str__(self) -> str:
        return self.name

    @property
    def initials(self) -> str:
        """One or two capitals for the account menu, "MO" for Maya Okafor."""
        words = self.name.split()
        return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper()

    def get_session_auth_hash(self) -> str:
        """Changes with `session_salt`, so that replacing the salt ends every session of this operator."""
        return salted_hmac("partnerportal.Operator.session", self.session_salt, algorithm="sha256").hexdigest()

    def get_session_auth_fallback_hash(self) -> Any:
        """None: a rotated SECRET_KEY ends all sessions."""
        return iter(())


class TokenCache(models.Model):
    """The sealed MSAL cache of one sign-in. The session holds its id; signing out deletes the row.

    A job that goes on in the background has a copy of its own, which no session can name. It goes with the sign-in
    that it belongs to, unless its owner has told it to finish without one.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    operator = models.ForeignKey(Operator, on_delete=models.CASCADE, related_name="grants")
    sealed = models.BinaryField()
    created_at = models.DateTimeField(default=clock.now)
    updated_at = models.DateTimeField(default=clock.now)
    fence = models.PositiveIntegerField(default=0)  # a writer that lost a race does not overwrite newer tokens
    job = models.UUIDField(null=True, unique=True)  # the one job that a copy is for; null: a sign-in
    belongs_to = models.ForeignKey("self", null=True, on_delete=models.CASCADE, related_name="copies")
    goes_on = models.BooleanField(default=False)  # without a sign-in that it belongs to
    ends_at = models.DateTimeField(null=True)  # of a copy

    tokens: "TokenClient | None" = None  # what `sealed` holds, once grants.py has opened it

    def __str__(self) -> str:
        return str(self.pk)


class SignInStart(models.Model):
    """A sign-in that was started, for the limit of an address (`rates.py`). Says nothing of who; gone in a minute."""

    address = models.CharField(max_length=64)
    at = models.DateTimeField(default=clock.now)

    class Meta:
        indexes = [models.Index(fields=["address", "-at"], name="sign_in_starts")]

    def __str__(self) -> str:
        return f"{self.address} at {self.at:%H:%M:%S}"


class Pace(models.Model):
    """When the next request may go to one customer, or to all of them together (`pace.py`). One row each."""

    LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

    key = models.CharField(max_length=36, primary_key=True)  # the tenant id, or `pace.ALL`
    next_at = models.DateTimeField(default=LONG_AGO)  # all before it are taken
    resumes_at = models.DateTimeField(default=LONG_AGO)  # until then Microsoft has asked for patience
    slow_until = models.DateTimeField(default=LONG_AGO)  # until then it goes slower

    def __str__(self) -> str:
        return f"{self.key} from {self.next_at:%H:%M:%S}"


class AppendOnly(models.QuerySet["AuditEvent"]):
    """Rows go in and stay as they are."""

    def attempts(self, ended: str | None = None) -> Self:
        """One row an attempt: the intent, with `result` as its outcome says ("" while there is none).

        With `ended`, only those with this result.
        """
        outcome = AuditEvent.objects.filter(attempt=OuterRef("attempt"), kind=AuditEvent.Kind.OUTCOME)
        found = self.filter(kind=AuditEvent.Kind.INTENT).annotate(
            result=Coalesce(Subquery(outcome.values("outcome")[:1]), Value(""))
        )
        return found if ended is None else found.filter(result=ended)

    def by(self, operator: Operator) -> Self:
        """What this operator did."""
        return self.filter(actor_tid=str(operator.tid), actor_oid=str(operator.oid))

    def about(self, text: str) -> Self:
        """Rows of the customer that is called so, or has this tenant id."""
        return self.filter(Q(customer_name__icontains=text) | Q(tenant_id__iexact=text))

    def named(self, request_id: str) -> Self:
        """Rows with this id, with hyphens or without: ours (X-Request-ID), MS-RequestId or MS-CorrelationId."""
        ids = {request_id}
        with suppress(ValueError):
            ids |= {str(uuid.UUID(request_id)), uuid.UUID(request_id).hex}
        return self.filter(Q(request_id__in=ids) | Q(upstream_request_id__in=ids) | Q(correlation_id__in=ids))

    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError("Audit events are never changed.")

    def delete(self) -> NoReturn:
        raise TypeError("Audit events are never deleted.")


class AuditEvent(models.Model):
    """One line of the audit trail: what somebody is about to do (intent), or what became of it (outcome).

    People and objects stand here as values, not as foreign keys: the trail outlives what it tells of.
    """

    class Kind(models.TextChoices):
        INTENT = "intent"
        OUTCOME = "outcome"

    class Outcome(models.TextChoices):
        DONE = "done", "Done"
        DENIED = "denied", "No right"
        CONFLICT = "conflict", "Conflict"
        REFUSED = "refused", "Refused"
        FAILED = "failed", "Failed"
        UNKNOWN = "unknown", "Unknown"

    seq = models.BigIntegerField(db_index=True)  # its place in the chain, from 1; `chain.py` says it
    previous = models.CharField(max_length=64)  # the hash of the row before
    hash = models.CharField(max_length=64)
    attempt = models.UUIDField()  # ties an outcome to its intent
    kind = models.CharField(max_length=7, choices=Kind)
    at = models.DateTimeField(default=clock.now)
    mode = models.CharField(max_length=10)  # sandbox or production
    actor_tid = models.CharField(max_length=36)
    actor_oid = models.CharField(max_length=36)
    actor_name = models.CharField(max_length=200)
    action = models.CharField(max_length=40)
    tenant_id = models.CharField(max_length=120, blank=True)
    customer_name = models.CharField(max_length=400, blank=True)
    target_id = models.CharField(max_length=120, blank=True)
    target_name = models.CharField(max_length=400, blank=True)
    fields = models.JSONField(default=dict)  # name -> [before, after]; never a secret
    outcome = models.CharField(max_length=10, choices=Outcome, blank=True)
    detail = models.TextField(blank=True)  # the sentence that the person was shown
    status = models.PositiveSmallIntegerField(null=True)
    code = models.CharField(max_length=60, blank=True)
    request_id = models.CharField(max_length=64, blank=True)  # ours, X-Request-ID
    upstream_request_id = models.CharField(max_length=64, blank=True)  # MS-RequestId
    correlation_id = models.CharField(max_length=64, blank=True)  # MS-CorrelationId
    milliseconds = models.PositiveIntegerField(null=True)

    content = ""  # the hash of all this but the first three, once `chain_check` has made it

    objects = AppendOnly.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["attempt", "kind"], name="one_intent_and_one_outcome_an_attempt")
        ]
        indexes = [
            models.Index(fields=["kind", "-id"], name="audit_newest"),
            models.Index(fields=["actor_oid", "kind", "-id"], name="audit_by_actor"),
            models.Index(fields=["tenant_id", "kind", "-id"], name="audit_by_customer"),
            # Each for itself: somebody pastes one of the three into "Go to customer".
            models.Index(fields=["request_id"], name="audit_by_request"),
            models.Index(fields=["upstream_request_id"], name="audit_by_upstream_request"),
            models.Index(fields=["correlation_id"], name="audit_by_correlation"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor_name} {self.action} {self.outcome or self.kind}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Audit events are never changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Audit events are never deleted.")


class AuditHead(models.Model):
    """The end of the audit trail's chain. One row: whoever adds to the trail moves it on first (`chain.py`)."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    count = models.BigIntegerField(default=0)  # rows in the chain
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)  # of the last row
    broken = models.TextField(blank=True)  # why writes to customers are stopped; "" while they are not
    accepted_at = models.DateTimeField(null=True)  # the last break: the database may have been put back then

    def __str__(self) -> str:
        return f"{self.count} {self.hash}"
