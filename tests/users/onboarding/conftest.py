"""What the tests of files share."""

import pytest

from partnerportal import pace
from partnerportal.upstream.http import paced
from users.onboarding import check


@pytest.fixture(autouse=True)
def _one_after_the_other(monkeypatch):
    """A thread sees nothing of the transaction in which a test runs; tests/browser has them with a real worker."""

    def in_this_thread(calls, _meanwhile):
        with paced(pace):
            return [call() for call in calls]

    monkeypatch.setattr(check, "side_by_side", in_this_thread)
