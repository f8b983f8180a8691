"""The e-mail that says that a run is over: counts and the way back, no name and no secret."""

import logging
from datetime import timedelta

from django.conf import settings
from django.core.mail import EmailMessage
from django.urls import reverse

from partnerportal import clock

from ..models import OnboardingRow, OnboardingRun

log = logging.getLogger(__name__)

RowState = OnboardingRow.State
TRIED_FOR = timedelta(hours=1)  # while the mail server does not take it


def send_due() -> int:
    """One e-mail for each run that is over and whose owner has asked for it. Returns how many went out.

    A run is claimed before its mail leaves, so that it comes once; what the mail server did not take is given back.
    """
    now, sent = clock.now(), 0
    over = OnboardingRun.objects.filter(state__in=OnboardingRun.OVER, finished_at__gt=now - TRIED_FOR)
    for run in over.filter(notify=True, notified_at=None).exclude(by__email="").select_related("by"):
        if not OnboardingRun.objects.filter(pk=run.pk, notified_at=None).update(notified_at=now):
            continue  # another worker has it
        try:
            _mail(run).send()
        except OSError as error:  # smtplib's own are some, too; their text may quote addresses
            log.warning("the mail server did not take the e-mail about run %s: %s", run.pk, type(error).__name__)
            OnboardingRun.objects.filter(pk=run.pk, notified_at=now).update(notified_at=None)
        else:
            sent += 1
    return sent


def _mail(run: OnboardingRun) -> EmailMessage:
    counts = OnboardingRow.counts(run)
    everything, done = sum(counts.values()), counts.get(RowState.DONE, 0)
    ended = "was stopped" if run.state == OnboardingRun.State.STOPPED else "is over"
    subject = f"Run {run.pk} {ended}: {done:,} of {everything:,} done"
    told = "\n".join(f"{count:>7,}  {RowState(state).label}" for state, count in sorted(counts.items()))
    address = settings.PUBLIC_URL + reverse("run", args=[run.key])
    return EmailMessage(subject, f"{told}\n\n{address}\n", to=[run.by.email])
