"""kill -9 of the worker in the middle of a GDAP read, a restart, and the snapshot is a complete one or none."""

import sys

from tests.conftest import Cloud
from tests.faults.test_worker_killed import BEAT, PATIENCE, WORKER, Desk, on_files

__all__ = ["on_files"]  # a fixture

# What a sign-in and the first page after it do, on a new database.
PREPARE = """
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from customers import tasks
from django.core.cache import cache
from partnerportal.models import TokenCache
from tests.conftest import Browser
from tests.faults import impatient_celery
Browser().sign_in("admin")
cache.clear()
tasks.somebody_is_here(TokenCache.objects.select_related("operator").get())
"""


def test_a_read_whose_worker_is_killed_in_mid_walk_ends_complete(on_files: Desk, sandbox: Cloud) -> None:
    desk = on_files
    sandbox.fault("graph", "slow", seconds=90, times=0, path="batch", skip=1)
    prepared = desk.start([sys.executable, "-c", PREPARE], "prepare.log")
    assert prepared.wait(PATIENCE) == 0, desk.said("prepare.log")
    desk.start(BEAT, "beat.log")

    def row() -> tuple[object, ...]:
        [found] = desk.query("SELECT state, fence FROM customers_gdapread")
        return found

    worker = desk.start(WORKER, "worker-1.log")
    desk.until(lambda: len(sandbox.journal("graph", "POST")) >= 2, "the worker is among the assignments")
    assert row() == ("running", 1)
    desk.kill(worker)
    sandbox.no_faults()
    assert desk.query("SELECT count(*) FROM customers_gdaprelationship") == [(0,)]

    desk.start(WORKER, "worker-2.log")
    desk.until(lambda: "customers.tasks.republish_due[" in desk.said("worker-2.log"), "beat is heard")
    assert row() == ("running", 1)  # the dead worker's lease still counts
    desk.move_clock(61)
    desk.until(lambda: row()[0] != "running", "the read has ended")
    assert row() == ("done", 2)
    world = sandbox.running.cloud.world
    assert desk.query("SELECT count(*) FROM customers_gdaprelationship") == [(len(world.relationships),)]
    assert desk.query("SELECT count(*) FROM customers_gdapgrant")[0][0] > 100
    assert "Traceback" not in desk.said("worker-2.log")
