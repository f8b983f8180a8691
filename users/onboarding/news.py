"""The e-mail that says that a run is over: counts and the way back, no name and no secret.

A run is claimed before its mail leaves (`notified_at`), and marked when the mail server has taken it (`mailed_at`).
Who dies in between leaves a claim without a mark: nobody can tell then, so nothing is sent again by itself, and the
page of the run says so.
"""

import contextlib
import logging
import smtplib
from datetime import timedelta

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.urls import reverse

from partnerportal import clock

from ..models import OnboardingRow, OnboardingRun

log = logging.getLogger(__name__)

RowState = OnboardingRow.State
TRIED_FOR = timedelta(hours=1)  # while the mail server does not take it
UNDER_WAY = timedelta(minutes=2)  # longer than a mail server may be silent; then whoever sent it has died

COMING, SENT, NOT_TAKEN, UNKNOWN = "coming", "sent", "not taken", "unknown"


class NotTaken(Exception):
    """The mail was surely not sent. Whether somebody has got it is open after any other failure."""


def send_due() -> int:
    """One e-mail for each run that is over and whose owner has asked for it. Returns how many went out."""
    over = OnboardingRun.objects.filter(state__in=OnboardingRun.OVER, finished_at__gt=clock.now() - TRIED_FOR)
    waiting = over.filter(notify=True, notified_at=None).exclude(by__email="").select_related("by")
    return sum(send(run) for run in waiting)


def send(run: OnboardingRun) -> bool:
    """Send it now, unless it went out or somebody else is at it. False: it did not, or nobody knows."""
    now = clock.now()
    known = OnboardingRun.objects.filter(pk=run.pk, mailed_at=None)
    if not known.filter(notified_at=run.notified_at).update(notify=True, notified_at=now):
        return False
    ours = known.filter(notified_at=now)
    try:
        _hand_over(_mail(run))
    except NotTaken as error:  # its text may quote addresses
        log.warning("the mail server did not take the e-mail about run %s: %s", run.pk, type(error.__cause__).__name__)
        ours.update(notified_at=None)
        return False
    except OSError as error:
        log.warning("nobody knows if the e-mail about run %s went out: %s", run.pk, type(error).__name__)
        return False
    return bool(ours.update(mailed_at=clock.now()))


def how_it_went(run: OnboardingRun) -> str:
    """What is known of the e-mail of a run: coming, sent, not taken, unknown; "" when none is wanted."""
    now = clock.now()
    if not run.notify or not run.by.email:
        return ""
    if run.mailed_at:
        return SENT
    if run.notified_at:
        return COMING if abs(now - run.notified_at) < UNDER_WAY else UNKNOWN
    ended_lately = run.finished_at is None or run.finished_at > now - TRIED_FOR
    return COMING if run.is_open or ended_lately else NOT_TAKEN


def _hand_over(mail: EmailMessage) -> None:
    """Raises `NotTaken`, or another OSError when the mail server fell silent after it had heard us."""
    connection = get_connection()
    try:
        connection.open()  # what breaks in here has sent nothing
    except OSError as error:
        raise NotTaken from error
    try:
        connection.send_messages([mail])
    except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused, ValueError) as error:
        raise NotTaken from error
    finally:
        with contextlib.suppress(OSError):
            connection.close()


def _mail(run: OnboardingRun) -> EmailMessage:
    counts = OnboardingRow.counts(run)
    everything, done = sum(counts.values()), counts.get(RowState.DONE, 0)
    ended = "was stopped" if run.state == OnboardingRun.State.STOPPED else "is over"
    subject = f"Run {run.pk} {ended}: {done:,} of {everything:,} done"
    told = "\n".join(f"{count:>7,}  {RowState(state).label}" for state, count in sorted(counts.items()))
    address = settings.PUBLIC_URL + reverse("run", args=[run.key])
    return EmailMessage(subject, f"{told}\n\n{address}\n", to=[run.by.email])
