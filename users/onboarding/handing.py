"""What comes after a run of new users: a one-time link for each, made when its owner asks for it.

Until then the passwords lie sealed with the operations, for a day after each user was created.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.urls import reverse

from partnerportal import clock
from partnerportal.models import Operator, TokenCache
from partnerportal.upstream.http import Secret

from .. import links, operations
from ..models import HandoverLink, OnboardingRow, OnboardingRun, Operation

MOST = 500  # links of one press: each is a transaction of its own, and all of them stand in one answer


@dataclass(frozen=True)
class Waiting:
    """How many new users still need a link, how many have one that nobody has opened, and when the first ones end."""

    without: int
    unopened: int
    until: datetime | None

    @property
    def count(self) -> int:
        return self.without + self.unopened


@dataclass(frozen=True)
class Slip:
    """A new user and the address at which their password waits."""

    row: OnboardingRow
    address: str
    until: datetime


def waiting(run: OnboardingRun, rows: QuerySet[OnboardingRow]) -> Waiting:
    """What its owner can still hand over. `rows`: those that may be seen."""
    kept = _kept(run, rows).annotate(linked=Exists(_open_links()))
    unopened, without = Count("pk", filter=Q(linked=True)), Count("pk", filter=Q(linked=False))
    found = kept.aggregate(unopened=unopened, without=without, first=Min("operation__decided_at"))
    until = found["first"] + Operation.SEALED_FOR if found["first"] else None
    return Waiting(found["without"], found["unopened"], until)


def make(
    run: OnboardingRun,
    rows: QuerySet[OnboardingRow],
    *,
    lasts: timedelta,
    passphrase: Secret,
    anew: bool,
    by: Operator,
    grant: TokenCache,
) -> list[Slip]:
    """New links for the next `MOST` who have none; `anew`: also in the place of those that nobody has opened."""
    kept = _kept(run, rows).annotate(last=Max("operation__links__created_at"))
    if not anew:
        kept = kept.filter(~Exists(_open_links()))
    found = list(kept.order_by(F("last").asc(nulls_first=True), "line")[:MOST])
    until = clock.now() + lasts
    written = (row.operation for row in found if row.operation)
    made = links.make_several(written, lasts=lasts, passphrase=passphrase, by=by, grant=grant)
    slips = [
        Slip(row, _address(made[row.operation_id]), until)
        for row in found
        if row.operation_id and row.operation_id in made
    ]
    return sorted(slips, key=lambda slip: slip.row.line)


def by_row(slips: list[Slip]) -> Mapping[int, Slip]:
    """Row's key -> its slip."""
    return {slip.row.pk: slip for slip in slips}


def _kept(run: OnboardingRun, rows: QuerySet[OnboardingRow]) -> QuerySet[OnboardingRow]:
    """Rows of created users who were not deleted since, whose password is there and is still the newest, and that no
    link has shown yet: those for whom `links.make_several` makes one.
    """
    young = clock.now() - Operation.SEALED_FOR
    done = rows.filter(run=run, state=OnboardingRow.State.DONE, operation__decided_at__gt=young)
    fate = Subquery(operations.fate(OuterRef("tenant_id"), OuterRef("target_id")))
    done = done.annotate(fate=fate).filter(Q(fate=None) | Q(fate=Operation.Kind.RESTORE))
    opened = HandoverLink.objects.filter(operation=OuterRef("operation"), state=HandoverLink.State.OPENED)
    done = done.filter(~Exists(opened), ~Exists(_newer_passwords()), operation__state=Operation.State.DONE)
    return done.exclude(operation__sealed_password=None)


def _newer_passwords() -> QuerySet[Operation]:
    """What `operations.newer_password` finds for the operation of a row."""
    since = Coalesce(OuterRef("operation__sent_at"), OuterRef("operation__created_at"))
    later = operations.passwords_since(since, OuterRef("tenant_id"), OuterRef("target_id"))
    return later.exclude(pk=OuterRef("operation"))


def _open_links() -> QuerySet[HandoverLink]:
    now = clock.now()
    return HandoverLink.objects.filter(
        operation=OuterRef("operation"), state=HandoverLink.State.OPEN, expires_at__gt=now
    )


def _address(token: Secret) -> str:
    return f"{settings.PUBLIC_URL}{reverse('handover', args=[token.reveal()])}"
