"""The settings of the tests with a short deadline: an answer that is late is late within seconds."""

import os

from tests.settings import *  # noqa: F403

UPSTREAM_BUDGET = float(os.environ["TEST_DEADLINE"])  # seconds, of 30
UPSTREAM_RIGHTS_BUDGET = UPSTREAM_BUDGET / 2  # of 8
