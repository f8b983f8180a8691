"""The settings of the tests with a short deadline and a beat in a hurry: what is late is late within seconds."""

import os
from datetime import timedelta

from tests.settings import *  # noqa: F403

UPSTREAM_BUDGET = float(os.environ["TEST_DEADLINE"])  # seconds, of 30
UPSTREAM_RIGHTS_BUDGET = UPSTREAM_BUDGET / 2  # of 8
if "TEST_LOOKS_EVERY" in os.environ:  # seconds between two looks of beat at runs, of 10
    RUNS_EVERY = timedelta(seconds=float(os.environ["TEST_LOOKS_EVERY"]))
    PURGE_EVERY = 6 * RUNS_EVERY
