"""What the tests of files share."""

import pytest

from users.onboarding import check


@pytest.fixture(autouse=True)
def _one_after_the_other(monkeypatch):
    """A thread sees nothing of the transaction in which a test runs; tests/browser has them with a real worker."""
    monkeypatch.setattr(check, "side_by_side", lambda calls: [call() for call in calls])
