"""Housekeeping of what all apps share."""

from importlib import import_module

from celery import shared_task
from django.conf import settings

from partnerportal import chain_check, pace, rates, sessions


@shared_task
def forget_abandoned_sessions() -> None:
    """Nobody signs out by closing a laptop: tokens and sessions that ran out are destroyed here."""
    sessions.forget_abandoned()
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()


@shared_task
def forget_sign_in_starts() -> None:
    """Addresses from which somebody started a sign-in are kept no longer than the limit needs them."""
    rates.forget()


@shared_task
def forget_paces() -> None:
    """The table of paces does not grow with the customers that ever had a run."""
    pace.forget()


@shared_task
def verify_audit() -> None:
    """All of the audit trail is looked at; what is found stops the writes to customers, and is in the log."""
    chain_check.verify()
