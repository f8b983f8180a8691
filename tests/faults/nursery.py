"""A process that has imported the portal and becomes a worker, beat or the web by a fork: a new one costs no start-up.

What it bears is a process of its own, with its own connections, and is killed like any other. It reads orders from
standard input, one a line (`{"log": …, "argv": [module, …]}`), and answers each with the process id. `"memory"`: so
many bytes more than it has at its birth, and no more.
"""

import ctypes
import json
import os
import resource
import runpy
import signal
import sys
from importlib import import_module
from pathlib import Path

import celery.apps.beat
import celery.apps.worker
import celery.bin.celery
import celery.concurrency.thread
import django

from tests.faults.impatient_celery import app

django.setup()
import_module("gunicorn.app.wsgiapp")
app.loader.import_default_modules()

import django.core.management.commands.migrate
import kombu.transport.pyamqp

import partnerportal.broker
import partnerportal.urls
import partnerportal.wsgi

__all__ = ["celery", "django", "kombu", "partnerportal"]  # imported so that nobody has to later


def become(log: str, argv: list[str], memory: int = 0) -> None:
    """In the child: `python -m` these words, in a session of its own that ends with the nursery."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor, of in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
        os.dup2(descriptor, of)
    if memory:  # as `ulimit -v` does
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory,) * 2)
    sys.argv = argv
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


def main() -> None:
    """Until there are no more orders."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are buried by the kernel
    for line in sys.stdin:
        order = json.loads(line)
        if not (child := os.fork()):
            become(**order)
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
