"""What tells a process that it was left behind by an upgrade. Its worker ends: faults/test_workers_struck.py."""

import pytest
from django.db.migrations.recorder import MigrationRecorder

from partnerportal import upgrades


@pytest.mark.parametrize(
    ("app", "name", "left_behind"),
    [
        ("users", "9999_newer", True),
        ("users", "0001_squashed_since", False),  # older ones that are not there any more are no matter
        ("users", "helper", False),
        ("sessions", "9999_of_django", False),
    ],
)
def test_only_a_newer_migration_of_ours_says_that_a_process_is_left_behind(db, app, name, left_behind):
    assert not upgrades.is_left_behind()
    MigrationRecorder.Migration.objects.create(app=app, name="zz_without_a_number")
    MigrationRecorder.Migration.objects.create(app=app, name=name)
    assert upgrades.is_left_behind() == left_behind
