"""Coverage measures while the tests of what is guarded run, and stands still during all others."""

from collections.abc import Generator
from typing import Any

import coverage
import pytest

from scripts.run_tests import GUARDS

OWN_TESTS = tuple(f"tests/{path}" for path in GUARDS)


def pytest_collection_finish(session: pytest.Session) -> None:
    """pytest-cov has measured until here, for importing the tests imports what is guarded. In a process of xdist it
    measures twice, and the outer one would go on when the inner one stops.
    """
    while measuring := coverage.Coverage.current():
        measuring.stop()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    if not item.nodeid.startswith(OWN_TESTS):
        return (yield)
    measuring = item.config.pluginmanager.getplugin("_cov").cov_controller
    measuring.resume()
    try:
        return (yield)
    finally:
        measuring.pause()
