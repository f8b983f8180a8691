"""How gunicorn serves the portal; it reads this file by itself. Anything may be changed on its command line."""

import ctypes
import logging
import os
import signal
import sys
from typing import Any

wsgi_app = "partnerportal.wsgi"
bind = os.environ.get("BIND", "127.0.0.1:8000")
worker_class = "gthread"
workers = int(os.environ.get("WEB_WORKERS", "2"))
threads = 16  # most of a page's time is waiting for Microsoft
timeout = 60  # longer than the 30 s in which a request must have asked all it asks
graceful_timeout = 35
keepalive = 5
max_requests = 5_000
max_requests_jitter = 500
limit_request_line = 8_190
control_socket_disable = True

accesslog = "-"
# %(U)s is the path without the query: sign-in codes, searches and cursors stay out of the log.
access_log_format = (
    '{"at":"%(t)s","logger":"access","method":"%(m)s","path":"%(U)s","status":%(s)s,'
    '"bytes":"%(B)s","seconds":%(L)s,"request_id":"%({x-request-id}o)s"}'
)


def post_worker_init(_worker: Any) -> None:
    """Paths may hold a secret (one-time links): gunicorn's own lines go through the filter that all others do."""
    from partnerportal.log import Redact

    for name in ("gunicorn.access", "gunicorn.error"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(Redact())


def post_fork(_server: Any, _worker: Any) -> None:
    """A worker dies with its master, even when the master was killed outright."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
