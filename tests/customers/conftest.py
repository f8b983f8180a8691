"""What the tests of the customers app have in common."""

from collections.abc import Iterator

import pytest

from customers import sync
from partnerportal.upstream import avepoint


@pytest.fixture(autouse=True)
def as_after_a_start() -> Iterator[None]:
    """What the process remembers of the two sources is forgotten."""
    yield
    avepoint.forget_token()
    sync.app_only_refused.clear()
