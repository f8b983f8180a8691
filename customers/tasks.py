"""Background work on customers. A message is only a nudge: the rows say what is due, and a claim who does it."""

from celery import shared_task
from django.db import transaction
from django.db.models import Q

from partnerportal import clock
from partnerportal.models import TokenCache

from . import sync
from .gdap import api_sync, reading
from .models import GdapRead, SyncRun


@shared_task
def sync_customers(run_id: int) -> None:
    """Carry out one sync run."""
    sync.carry_out(run_id)


def start_sync(run: SyncRun) -> None:
    """Nudge the worker once the row is committed. A nudge that is lost, or that a broker who is gone never takes, is
    made good by `republish_due`.
    """
    transaction.on_commit(lambda: sync_customers.delay(run.pk), robust=True)


@shared_task
def start_due_sync() -> None:
    """Every 15 minutes: ask for a sync, unless one is under way."""
    run, is_new = sync.request_sync()
    if is_new:
        start_sync(run)


@shared_task
def read_gdap(read_id: int) -> None:
    """Carry out one read of the GDAP snapshot."""
    reading.carry_out(read_id)


@shared_task
def read_groups(grant_id: str) -> None:
    """Read the groups of the operator of one sign-in."""
    reading.read_groups(grant_id)


def start_read(read: GdapRead) -> None:
    """Nudge the worker once the row is committed, as `start_sync`."""
    transaction.on_commit(lambda: read_gdap.delay(read.pk), robust=True)


def somebody_is_here(grant: TokenCache) -> None:
    """Whoever is at work keeps the GDAP snapshot and their own groups fresh. Asks no upstream itself."""
    due = reading.look(grant)
    if due.read:
        start_read(due.read)
    if due.groups:
        transaction.on_commit(lambda: read_groups.delay(str(grant.pk)), robust=True)


@shared_task
def republish_due() -> None:
    """Nudge again for what nobody holds: a message was lost, or a worker died and its lease ran out."""
    now = clock.now()
    ahead = Q(published_at__gt=now + sync.NUDGE_AGAIN)  # by a clock that was put right since
    lost = Q(published_at__lt=now - sync.NUDGE_AGAIN) | ahead
    for run in SyncRun.due(now).filter(lost):
        if SyncRun.objects.filter(pk=run.pk, published_at=run.published_at).update(published_at=now):
            sync_customers.delay(run.pk)
    for read in GdapRead.due(now).filter(lost):
        if GdapRead.objects.filter(pk=read.pk, published_at=read.published_at).update(published_at=now):
            read_gdap.delay(read.pk)


@shared_task
def watch_gdap_sync() -> None:
    """Look whether a customer sync that was asked of the GDAP API has had its effect."""
    api_sync.look()
