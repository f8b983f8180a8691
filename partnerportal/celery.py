"""Background work: `celery -A partnerportal worker` and `celery -A partnerportal beat`.

Messages carry ids only. The rows in the database say what is to be done; a message is no more than a knock on
the door, so one that is lost, late or doubled does no harm on any broker.
"""

import logging
import logging.config
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.exceptions import Reject
from celery.signals import setup_logging, task_postrun, task_prerun
from celery.worker import state as of_worker
from django.conf import settings
from django.db import close_old_connections

from . import checks, log, upgrades

logger = logging.getLogger(__name__)

os.umask(0o077)  # what we write is for us alone
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "partnerportal.settings")

checks.refuse_unsafe_start()  # Celery does not run Django's checks, and imports our code before its first signal


def configuration() -> dict[str, Any]:
    """Celery's settings. A function, so that importing this module needs no settings of ours."""
    url = settings.CELERY_BROKER_URL
    broker = {"broker_url": url, "broker_transport_options": transport_options(url, settings.VAR_DIR / "broker")}
    if url.startswith("filesystem:"):
        broker |= {"broker_url": "filesystem://localhost/", "broker_transport": "partnerportal.broker:Transport"}
    return broker | {
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        # A broker that is gone must not hold up the page: the row is stored, and beat knocks again.
        "task_publish_retry": False,
        "broker_connection_timeout": 3,
        "broker_connection_retry_on_startup": True,
        # Nobody watches workers over the broker; without these it carries our messages only.
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_redirect_stdouts": False,
        # Celery closes the database before and after every task, and PostgreSQL takes longer to open it than a row of a
        # run takes. How long a connection lasts is in the settings: see `begin_with_a_good_connection`.
        "CELERY_DB_REUSE_MAX": sys.maxsize,
        "enable_utc": True,
        "timezone": "UTC",
        "beat_schedule_filename": str(settings.VAR_DIR / "beat-schedule"),
        "beat_schedule": {
            "start a sync when one is due": every(settings.SYNC_EVERY, "customers.tasks.start_due_sync"),
            "publish again what is due or whose lease ran out": every(
                settings.REPUBLISH_EVERY, "customers.tasks.republish_due"
            ),
            "look whether a GDAP sync is done": every(settings.REPUBLISH_EVERY, "customers.tasks.watch_gdap_sync"),
            "make operations whose sender died unknown": every(settings.PURGE_EVERY, "users.tasks.settle_lost"),
            "keep runs over several users going": every(settings.RUNS_EVERY, "users.tasks.keep_runs"),
            "keep the index of users going, and drop what is unused": every(
                settings.REPUBLISH_EVERY, "users.tasks.keep_index"
            ),
            "keep the checks of files going": every(settings.REPUBLISH_EVERY, "users.tasks.keep_checks"),
            "tell by e-mail which runs are over": every(timedelta(minutes=1), "users.tasks.tell_of_runs"),
            "destroy passwords that were shown or ran out": every(settings.PURGE_EVERY, "users.tasks.purge_secrets"),
            "destroy the tokens of sessions that ran out": every(
                settings.PURGE_EVERY, "partnerportal.tasks.forget_abandoned_sessions"
            ),
            "verify the audit trail": every(settings.AUDIT_VERIFY_EVERY, "partnerportal.tasks.verify_audit"),
            "forget the pace of customers that nobody asks about": every(
                timedelta(hours=1), "partnerportal.tasks.forget_paces"
            ),
            "forget from where sign-ins were started": every(
                settings.PURGE_EVERY, "partnerportal.tasks.forget_sign_in_starts"
            ),
        },
    }


def every(interval: timedelta, task: str) -> dict[str, Any]:
    """A line of beat's schedule. The message expires with its interval: a day without a worker leaves no pile."""
    return {"task": task, "schedule": interval, "options": {"expires": interval.total_seconds()}}


def transport_options(broker_url: str, folder: Path) -> dict[str, Any]:
    """What each kind of broker needs so that a dead worker's message comes back soon."""
    scheme = broker_url.partition("://")[0]
    if scheme == "filesystem":
        inbox, control = folder / "messages", folder / "exchanges"
        for path in (inbox, control):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return {
            "data_folder_in": str(inbox),
            "data_folder_out": str(inbox),
            "control_folder": str(control),
            "polling_interval": 0.25,  # seconds
        }
    if scheme.startswith("redis"):
        # The timeout is longer than the longest task: what is still worked on must not come a second time.
        return {"visibility_timeout": 3600, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    return {"confirm_publish": True}


class OfThisVersion(Task):  # type: ignore[misc]  # Celery has no types
    """A task that an old worker gives back: what it would write may not fit the tables of a newer version (F38)."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Carried out by a worker, or called by us, which asks nothing."""
        if not self.request.called_directly and upgrades.is_left_behind():
            logger.error("the database is of a newer version than this worker, which ends: start the new one")
            of_worker.should_stop = os.EX_OK  # once what it has in its hands is done
            raise Reject("the worker is too old", requeue=True)
        return super().__call__(*args, **kwargs)


app = Celery("partnerportal", task_cls=OfThisVersion)
app.set_default()  # so that shared_task finds it from every thread of the web
app.add_defaults(configuration)
app.autodiscover_tasks()


@setup_logging.connect
def log_as_settings_say(**_kwargs: Any) -> None:
    """Celery would set up a log of its own, without our filters."""
    logging.config.dictConfig(settings.LOGGING)


@task_prerun.connect
def begin_with_a_good_connection(**_kwargs: Any) -> None:
    """As Django does before every request."""
    close_old_connections()


@task_prerun.connect
def name_the_task_in_the_log(task_id: str, **_kwargs: Any) -> None:
    """Lines of a task carry its id where those of a page carry the request's."""
    log.request_id.set(task_id)


@task_postrun.connect
def forget_the_task(**_kwargs: Any) -> None:
    """The thread serves another task next."""
    log.request_id.set("")
