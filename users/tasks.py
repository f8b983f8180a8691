"""Background work on users: what was interrupted becomes unknown, no password outlives its time, and the index."""

import logging
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from celery import shared_task
from celery.signals import worker_ready
from django.db import DatabaseError, transaction
from django.db.models import Q, QuerySet

from customers.models import Customer
from partnerportal import clock, grants, pace
from partnerportal.models import Operator, TokenCache
from partnerportal.upstream.errors import UpstreamError

from . import index, links, open_intents, seen_names
from .models import (
    KeptPage,
    OnboardingCheck,
    OnboardingRow,
    OnboardingRun,
    Operation,
    SeenNames,
    UserIndex,
    UserWalk,
    WaitingFile,
)
from .onboarding import check, delivery, news, run

log = logging.getLogger(__name__)


@shared_task
def purge_secrets() -> None:
    """Every minute: destroy passwords and links whose time is over, what was kept of walks, and old runs.

    Each for itself: what cannot be done with one of them is in the log, and keeps none of the others.
    """
    for purge in (Operation.purge_secrets, links.expire, OnboardingRun.forget, *(rows.delete for rows in _over())):
        try:
            purge()
        except Exception:
            log.exception("not everything could be purged whose time is over")


def _over() -> Iterator[QuerySet[Any]]:
    """What was kept for a while that is over."""
    now = clock.now()
    yield SeenNames.objects.filter(walked_at__lte=now - SeenNames.FOR)
    yield KeptPage.objects.filter(asked_at__lte=now - KeptPage.FOR)
    yield UserWalk.objects.filter(used_at__lt=now - UserWalk.IDLE - timedelta(minutes=1))
    yield WaitingFile.objects.filter(created_at__lte=now - WaitingFile.FOR)


@shared_task
def settle_lost() -> None:
    """Every minute: an operation whose sender died is unknown, and somebody may check it."""
    open_intents.settle_lost()


@worker_ready.connect
def tell_what_is_open(**_signal: Any) -> None:
    """At every start of a worker. What stands in its way must not keep the worker from its work."""
    try:
        open_intents.at_start()
    except DatabaseError:
        log.exception("open intents could not be looked for")


@shared_task
def look_through_names(customer_id: int, grant_id: str) -> None:
    """Walk over the names of a customer while somebody fills in the form for a new user."""
    customer = Customer.objects.filter(pk=customer_id).first()
    grant = TokenCache.objects.select_related("operator").filter(pk=grant_id).first()
    if customer is None or grant is None:  # signed out meanwhile
        return
    try:
        seen_names.look_ahead(customer, grants.partner_center(grant))
    except UpstreamError as error:  # the create asks again, and says what is wrong
        log.info("the user names could not be looked through ahead: %s", error)


def prepare_create(customer: Customer, *, grant: TokenCache) -> None:
    """The form for a new user was opened: of a customer with more users than a page, the walk begins now."""
    if customer.users_seen_all is False:
        transaction.on_commit(lambda: look_through_names.delay(customer.pk, str(grant.pk)), robust=True)


@shared_task
def read_users(index_id: int) -> None:
    """Carry out one walk for the index of a customer's users."""
    index.carry_out(index_id)


def start_reading(customer: Customer, *, by: Operator, grant: TokenCache) -> UserIndex:
    """Ask for a walk, unless one is open, and nudge the worker; a nudge that is lost is made good by `keep_index`."""
    found, is_new = index.request_walk(customer, by=by, grant=grant)
    if is_new:
        transaction.on_commit(lambda: read_users.delay(found.pk), robust=True)
    return found


def _lost(now: datetime, patience: timedelta) -> Q:
    """Whose message went out so long ago that it got lost, or so far ahead that a clock was put right since."""
    return Q(published_at__lt=now - patience) | Q(published_at__gt=now + patience)


@shared_task
def keep_index() -> None:
    """Every minute: nudge again for walks that nobody holds, and drop what nobody has searched for a week."""
    now = clock.now()
    for found in UserIndex.due(now).filter(_lost(now, UserIndex.NUDGE_AGAIN)):
        if UserIndex.objects.filter(pk=found.pk, published_at=found.published_at).update(published_at=now):
            read_users.delay(found.pk)
    index.forget_unused()


@shared_task
def check_rows(check_id: int) -> None:
    """Carry out one walk of the check of a run."""
    check.carry_out(check_id)


def start_checking(run: OnboardingRun, *, grant: TokenCache, everything: bool = False) -> OnboardingCheck:
    """Ask for the rows of a run to be checked, and nudge the worker; `keep_checks` makes a lost nudge good."""
    found = check.request(run, grant=grant, everything=everything)
    transaction.on_commit(lambda: check_rows.delay(found.pk), robust=True)
    return found


def start_editing(run: OnboardingRun, typed: Mapping[int, Mapping[str, str]], *, grant: TokenCache) -> OnboardingCheck:
    """Change cells (line -> field -> text) and have their customers' rows checked anew. Raises `check.Started`."""
    found = check.edit(run, typed, grant=grant)
    transaction.on_commit(lambda: check_rows.delay(found.pk), robust=True)
    return found


@shared_task
def keep_checks() -> None:
    """Every half minute: nudge again for checks that nobody holds."""
    now = clock.now()
    for found in OnboardingCheck.due(now).filter(_lost(now, OnboardingCheck.NUDGE_AGAIN)):
        if OnboardingCheck.objects.filter(pk=found.pk, published_at=found.published_at).update(published_at=now):
            check_rows.delay(found.pk)


SHIFT = 5.0  # seconds at most that a worker stays in a lane before other work may come in between


@shared_task
def carry_out_row(row_id: int) -> None:
    """Attempts at the rows of a lane, one after the other; then a knock for the next. The last one closes the run."""
    until = time.monotonic() + SHIFT * (1 - row_id % 7 / 14)  # lanes that began together do not all end together
    following: int | None = row_id
    with grants.kept_open():
        while following is not None:
            following = _carry_out_one(following, until)
            if following is not None and time.monotonic() >= until:
                carry_out_row.delay(following)
                return


def _carry_out_one(row_id: int, until: float) -> int | None:
    """One attempt at one row. Returns the next of its lane, marked as if a message for it were under way."""
    row = run.carry_out(row_id)
    if row is None:  # not now: whoever finds that it is due knocks again
        OnboardingRow.objects.filter(pk=row_id, held=False).update(nudged=False)
        _knock_later(pk=row_id)
        return None
    waits = row.not_before is not None and pace.full_until(row.tenant_id)  # so would all others of this customer
    following = None if waits else delivery.next_in_lane(row, ahead=time.monotonic() < until)
    if following is None and not _knock_later(run=row.run_id, customer=row.customer_id):
        delivery.finish(row.run)
    return following


def deliver(started: OnboardingRun) -> None:
    """Knock for the rows of a run once what was changed is stored; a knock that is lost is made good by `keep_runs`."""
    transaction.on_commit(lambda: _knock(delivery.due(started)), robust=True)


@shared_task
def keep_runs() -> None:
    """Every ten seconds: rows whose worker or message was lost go out again, and runs that are over are closed."""
    _knock(delivery.look())


@shared_task
def tell_of_runs() -> None:
    """Every minute: the e-mails about runs that are over."""
    news.send_due()


def _knock_later(**which: Any) -> bool:
    """For a row that waits for less than beat's next look. Without it, each short wait would take as long as that."""
    if found := delivery.next_to_wait_for(**which):
        row_id, seconds = found
        carry_out_row.apply_async((row_id,), countdown=seconds)
    return bool(found)


def _knock(row_ids: list[int]) -> None:
    for row_id in row_ids:
        carry_out_row.delay(row_id)
