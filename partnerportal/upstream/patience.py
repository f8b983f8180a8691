"""Asking again when an upstream asks to slow down (429), for work in the background that has the time."""

import time
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings

from partnerportal import clock

from .errors import Throttled
from .http import budget

T = TypeVar("T")


def patiently(ask: Callable[[], T], *, pauses: int, longest: float, go_on: Callable[[], bool] = lambda: True) -> T:
    """What `ask` returns, which is asked again after each pause that the upstream wants; each try has a whole budget.

    Raises the `Throttled` that wants one pause more than `pauses`, or one of over `longest` seconds, or that comes when
    `go_on` says no; and whatever else `ask` raises.
    """
    while True:
        try:
            with budget(settings.UPSTREAM_BUDGET):
                return ask()
        except Throttled as error:
            pause = (error.retry_at - clock.now()).total_seconds()
            pauses -= 1
            if pauses < 0 or pause > longest or not go_on():
                raise
            time.sleep(max(pause, 0.1))
