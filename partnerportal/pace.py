"""How fast runs, and the checks before them, ask Partner Center: a pace for each customer, and one for all together
(decision 26).

The database plans, for all workers on all machines: a conditional update takes the next moment of a pace, and whoever
has taken it waits for it. Nothing is held meanwhile, so a worker that dies loses its own moment and no more. Clocks
that differ make it slower, never faster.
"""

import logging
import re
import time
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q

from partnerportal import by_hand, clock
from partnerportal.models import Pace
from partnerportal.upstream.errors import Throttled
from partnerportal.upstream.http import LONGEST_RETRY_AFTER, Call

logger = logging.getLogger(__name__)

ALL = "all"  # the key of the pace of all customers together
PATIENCE = timedelta(seconds=2)  # that a worker sits with a row in its hands before it has begun
LONGEST = timedelta(seconds=5)  # and in the middle of one
LATE = timedelta(milliseconds=20)  # after its moment: two calls so close together may break a limit
SLOW_FOR = timedelta(minutes=1)  # each 429 makes the pace a step slower, for one minute more
# A single one may be a call that came early by a hair. If another follows within its minute, the limit is lower.
STEPS = (1.0, 0.98, 0.5, 0.25, 0.125)
UNTOLD = 5.0  # seconds, when a 429 does not say how long
KEPT = timedelta(days=1)  # after its last use
AHEAD = timedelta(seconds=2 * LONGEST_RETRY_AFTER)  # further away: by a clock that was put right since

_CUSTOMER = re.compile(r"/customers/([0-9a-f-]{36})(?:/|$)", re.IGNORECASE)


def turn(call: Call) -> None:
    """Return when a call to Partner Center may go; others may go at once. Raises `Throttled`, and nothing was sent."""
    if not call.url.startswith(settings.PARTNER_CENTER_URL):
        return
    if _came_late(call, _moment(call)):  # once: on a busy machine all come late
        _came_late(call, _moment(call, of_all=False))


def _moment(call: Call, *, of_all: bool = True) -> datetime:
    """When this call may go; the moment is its own from now on. Raises `Throttled` when that is not soon.

    `of_all`: in the pace of all customers as well.
    """
    key, now = _key_of(call), clock.now()
    paces = _rows(key)
    if (at := _soonest(paces, now)) - now > LONGEST:
        raise _not_now(call, at)
    at = _take(ALL, now, paces[ALL]) if of_all or key == ALL else now
    return at if key == ALL else _take(key, now, paces[key], earliest=at)


def _came_late(call: Call, at: datetime) -> bool:
    """Wait for the moment; whether it was over when we woke up, and is better left unused."""
    if (wait := at - clock.now()) > timedelta(0):
        time.sleep(wait.total_seconds())
        key = _key_of(call)
        resumes_at = _ahead(_rows(key)[key].resumes_at, clock.now())
        if resumes_at > clock.now():  # another one was told so meanwhile
            raise _not_now(call, resumes_at)
    return clock.now() - at > LATE


def full_until(tenant_id: str) -> datetime | None:
    """When a row of this customer is worth taking up; None: now."""
    now = clock.now()
    at = _soonest(_rows(tenant_id.lower()), now)
    return at if at - now > PATIENCE else None


def slow_down(call: Call, seconds: float | None) -> None:
    """After a 429: no turn before that time, and a slower pace for a while. Of several at the same time one counts."""
    now = clock.now()
    key = _key_of(call)
    pace = _rows(key)[key]
    until = now + timedelta(seconds=max(UNTOLD if seconds is None else seconds, 1.0))
    told = Pace.objects.filter(pk=pace.pk, resumes_at=pace.resumes_at)
    if _ahead(pace.resumes_at, now) > now:
        told.filter(resumes_at__lt=until).update(resumes_at=until)
        return
    slow_until = until + SLOW_FOR * min(_step(pace, now) + 1, len(STEPS) - 1)
    if told.update(resumes_at=until, slow_until=slow_until):
        logger.warning("Partner Center asked to slow down for %s", pace.pk)


def forget() -> int:
    """Paces that nobody has used for a day, and that slow nobody down. Returns how many.

    Whoever takes a turn meanwhile finds its row gone, and begins another.
    """
    now = clock.now()
    ahead = Q(next_at__gt=now - KEPT) | Q(resumes_at__gt=now - KEPT) | Q(slow_until__gt=now - KEPT)
    return Pace.objects.exclude(ahead).exclude(pk=ALL).delete()[0]


def _key_of(call: Call) -> str:
    found = _CUSTOMER.search(call.url)
    return found[1].lower() if found else ALL


def _rows(key: str) -> dict[str, Pace]:
    """This pace and that of all, by their keys."""
    while len(found := {pace.key: pace for pace in by_hand.read(Pace, {"key": [key, ALL]})}) < len({key, ALL}):
        Pace.objects.bulk_create([Pace(key=each) for each in {key, ALL} - found.keys()], ignore_conflicts=True)
    return found


def _soonest(paces: Mapping[str, Pace], now: datetime) -> datetime:
    """When a call could go that asks now, as far as it can be told without taking a turn."""
    return max(_free(pace, now) for pace in paces.values())


def _take(key: str, now: datetime, pace: Pace, earliest: datetime | None = None) -> datetime:
    """The next moment of this pace, which from now on nobody else gets. `pace`: as it was read a moment ago."""
    to_one, to_all = settings.PARTNER_CENTER_RATES
    while True:
        at = max(_free(pace, now), earliest or now)
        rate = (to_all if key == ALL else to_one) * STEPS[_step(pace, at)]
        taken = at + timedelta(seconds=1 / rate)
        if by_hand.change(Pace, {"key": key, "next_at": pace.next_at}, {"next_at": taken}):
            return at
        pace = _rows(key)[key]


def _free(pace: Pace, now: datetime) -> datetime:
    return max(_ahead(pace.next_at, now), _ahead(pace.resumes_at, now))


def _step(pace: Pace, now: datetime) -> int:
    """Which of `STEPS` it is at: one for each minute that is left, begun or whole."""
    left = _ahead(pace.slow_until, now) - max(now, _ahead(pace.resumes_at, now))
    return min(max(-(-left // SLOW_FOR), 0), len(STEPS) - 1)


def _ahead(at: datetime, now: datetime) -> datetime:
    """A moment that is still to come, else now."""
    return at if now < at < now + AHEAD else now


def _not_now(call: Call, until: datetime) -> Throttled:
    return Throttled(
        source=call.source,
        status=429,
        request_id=call.request_id,
        correlation_id=call.correlation_id,
        sent=False,
        retryable=True,
        retry_at=until,
    )
