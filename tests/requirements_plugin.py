"""What a test needs from this machine: skipped where it is absent, with a line that says what to install.

`REQUIRE_ALL=1` turns those skips into failures; CI sets it.
"""

import os
import shutil
import socket
from functools import cache
from urllib.parse import urlsplit

import pytest

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/test")
AMQP_URL = os.environ.get("TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")
REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
# The shell is the same Chromium without a window, which saves a quarter of the time.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM", "") or next(filter(None, map(shutil.which, BROWSERS)), "")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Judges the markers `browser`, `postgres`, `amqp` and `redis`."""
    for marker in ("browser", "postgres", "amqp", "redis"):
        if item.get_closest_marker(marker) and (missing := what_is_missing(marker)):
            if os.environ.get("REQUIRE_ALL") == "1":
                pytest.fail(f"REQUIRE_ALL=1, but {missing}", pytrace=False)
            pytest.skip(missing)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Judges the marker `only_on`: a test of one database alone is left out on the other, not skipped."""
    elsewhere = [item for item in items if (mark := item.get_closest_marker("only_on")) and not is_on(*mark.args)]
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]


def is_on(vendor: str) -> bool:
    """Whether the tests run on this database, "sqlite" or "postgresql"."""
    from django.db import connection

    return connection.vendor == vendor


@cache
def what_is_missing(marker: str) -> str:
    """The sentence to skip with; empty when nothing is missing."""
    if marker == "browser":
        return "" if CHROMIUM else "there is no Chromium here. Install it: apt-get install chromium-headless-shell"
    url, package = {
        "postgres": (POSTGRES_URL, "postgresql"),
        "amqp": (AMQP_URL, "rabbitmq-server"),
        "redis": (REDIS_URL, "redis-server"),
    }[marker]
    return "" if answers(url) else f"nothing answers at {url}. Install and start it: apt-get install {package}"


def answers(url: str) -> bool:
    """Whether somebody listens at the host and port of `url`."""
    parts = urlsplit(url)
    port = parts.port or {"postgres": 5432, "amqp": 5672, "redis": 6379}[parts.scheme]
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True
