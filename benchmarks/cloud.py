"""A pretend cloud as far away as the real one: in a process of its own, each answer later by 150 ms."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from django.conf import settings

from partnerportal import grants
from partnerportal.models import TokenCache
from tests.conftest import Browser

LATENCY = 0.15  # seconds


@contextmanager
def cloud() -> Iterator[None]:
    """Runs, and is near, until `slow` is called. In a process of its own, so that its work is not ours."""
    command = [sys.executable, "-m", "partnerportal.sandbox.server", "--port", str(settings.SANDBOX_PORT)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said = process.stdout.readline() if process.stdout else ""
        assert said, "the pretend cloud did not start"
        yield
    finally:
        process.kill()
        process.wait()


def slow(*services: str) -> None:
    """Every answer of these comes later from now on."""
    faults = [{"service": service, "kind": "slow", "seconds": LATENCY, "times": 0} for service in services]
    requests.post(f"{settings.SANDBOX_URL}/_sandbox/faults", json=faults, timeout=5).raise_for_status()


def signed_in(persona: str) -> tuple[Browser, TokenCache]:
    """Somebody who came through the real door, and their tokens, of which none has to be asked for any more."""
    browser = Browser()
    browser.sign_in(persona)
    grant = TokenCache.objects.select_related("operator").latest("created_at")
    grants.graph(grant)
    grants.partner_center(grant)
    return browser, grant
