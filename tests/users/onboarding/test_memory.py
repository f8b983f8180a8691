"""How much memory an upload takes, of a process of its own that takes it through the whole portal."""

import json
import os
import subprocess
import sys

import pytest
from django.conf import settings

CHILD = "import django; django.setup(); from tests.users.onboarding import upload_peak; upload_peak.main()"
MOST = 150  # MB; issue 5, acceptance 6


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_an_upload_of_50_mb_makes_the_process_grow_by_less_than_150_mb(sandbox, tmp_path):
    asked = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD],
        cwd=settings.BASE_DIR,
        env=os.environ | {"VAR_DIR": str(tmp_path), "TEST_DATABASE_URL": f"sqlite:///{tmp_path / 'portal.sqlite3'}"},
        umask=0o077,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert asked.returncode == 0, asked.stderr[-3000:]
    found = json.loads(asked.stdout.splitlines()[-1])
    sys.stdout.write("".join(f"{what}: {status}, {grew:.1f} MB\n" for what, (status, grew) in found.items()))
    assert {what: status for what, (status, _) in found.items()} == {
        "50 MB": 413,
        "5 MB of rows": 422,  # more than 5,000
        "a workbook of 49 MB": 303,
        "a workbook of 60 MB": 422,
    }
    assert max(grew for _, grew in found.values()) < MOST
