"""Files that people take away: how often one person may, and by which name the audit trail tells of each."""

from datetime import timedelta

from django.http import HttpResponse

from partnerportal import clock, problems
from partnerportal.http import OperatorRequest
from partnerportal.models import AuditEvent

CUSTOMERS, GDAP, USERS = "export customers", "export gdap", "export users"
RUN, AUDIT = "export run", "export audit trail"
ALL = (CUSTOMERS, GDAP, USERS, RUN, AUDIT)
AN_HOUR = 30  # exports of one person


def too_many(request: OperatorRequest) -> HttpResponse | None:
    """The refusal for who has had 30 exports in the last hour, of whatever."""
    since = clock.now() - timedelta(hours=1)
    mine = AuditEvent.objects.by(request.user).filter(kind=AuditEvent.Kind.INTENT, action__in=ALL)
    mine = mine.filter(at__gte=since)
    times = list(mine.order_by("-id").values_list("at", flat=True)[:AN_HOUR])
    if len(times) < AN_HOUR:
        return None
    again = times[-1] + timedelta(hours=1)
    return problems.answer(
        request,
        problems.Problem(
            status=429,
            title=f"You have exported {AN_HOUR} times in the last hour",
            reason="Nothing was exported. The list itself works as always.",
            next_step=f"The next export works at {again:%H:%M:%S} UTC.",
        ),
    )
