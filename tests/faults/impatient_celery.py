"""The portal's Celery with a queue of its own, and a beat that looks for lost runs every second, and on request starts
one as often.
"""

import ctypes
import os
import signal
import sys
from datetime import timedelta

from partnerportal.celery import app

__all__ = ["app"]

if sys.platform == "linux":  # nothing that a test starts outlives it, whatever becomes of pytest
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)

app.conf.task_default_queue = os.environ["TEST_QUEUE"]
if os.environ.get("TEST_SYNC_AT_ONCE"):
    app.conf.beat_schedule["start a sync when one is due"]["schedule"] = timedelta(seconds=1)
app.conf.beat_schedule["publish again what is due or whose lease ran out"]["schedule"] = timedelta(seconds=1)
