"""`make test`: the suite on SQLite, with coverage where it guards, then all but the browser tests on PostgreSQL."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORES = os.cpu_count() or 1
# Whoever is done takes tests from the other: some take a hundred times as long as most.
PYTEST = [sys.executable, "-m", "pytest", "--dist", "worksteal", "-q"]
# Where a missed branch is a missed danger: each on its own must reach 95 %.
GUARDED = {
    "upstream/": "partnerportal/upstream/*",
    "access.py": "customers/access.py",
    "actions.py": "users/actions.py",
    "links.py": "users/links.py",
    "handover.py": "users/handover.py",
    "signin.py": "partnerportal/signin.py",
    "vault.py": "partnerportal/vault.py",
}
BRANCH_GATE = 95
# The tests of what is guarded. Only these are measured: measuring makes a test take half as long again.
GUARDS = (
    *("upstream", "partnerportal/test_signin.py", "partnerportal/test_vault.py"),
    *("customers/test_access.py", "customers/test_access_asked.py"),
    *(
        f"users/test_{name}.py"
        for name in ("create", "change", "unknown", "deleting", "resetting", "licensing", "handover")
    ),
)
# The second run has nothing to add to these: they need no database, bring their own, or judge what comes before it.
WITHOUT_DATABASE = (
    *("sandbox", "upstream", "test_look.py", "test_start_up.py", "test_demo.py", "test_house.py", "test_interface.py"),
    *("customers/test_access.py", "customers/test_charts.py", "customers/test_explain.py"),
    "partnerportal/test_every_view.py",  # who is let in is judged before a query of the page's own
    *("users/test_forms.py", "users/test_names.py", "users/test_passwords.py"),
    *("users/onboarding/test_reading.py", "users/onboarding/test_hostile_files.py"),
    *("faults/test_worker_killed.py", "faults/test_gdap_reader_killed.py", "test_bench.py", "test_canaries.py"),
    *("partnerportal/test_identity.py", "partnerportal/test_log.py", "partnerportal/test_vault.py"),
)


def main() -> None:
    """All runs and the gate; ends with 1 when anything failed."""
    print("— SQLite, what is guarded —", flush=True)
    measured = [f"--cov={files.removesuffix('/*').removesuffix('.py').replace('/', '.')}" for files in GUARDED.values()]
    guards = [f"tests/{path}" for path in GUARDS]
    failed = run(["-m", "not torture", *guards, *measured, "--cov-report="], "sqlite")
    failed |= gate()
    print("— SQLite, all others —", flush=True)
    others = [f"--ignore=tests/{path}" for path in GUARDS]
    failed |= run(["-m", "not torture", *others], "sqlite")
    failed |= on_postgres()
    sys.exit(failed)


def on_postgres() -> int:
    """The second run, or the line that says why there is none."""
    from tests.requirements_plugin import POSTGRES_URL, answers

    print("— PostgreSQL —", flush=True)
    if answers(POSTGRES_URL):
        once = [f"--ignore=tests/{folder}" for folder in WITHOUT_DATABASE]
        return run(["-m", "not browser and not torture", *once], "postgres", waiting=CORES)
    print(f"Skipped: nothing answers at {POSTGRES_URL}. Install and start it: apt-get install postgresql", flush=True)
    return int(os.environ.get("REQUIRE_ALL") == "1")


def gate() -> int:
    """Branch coverage of the guarded files, each on its own."""
    failed = 0
    for name, files in GUARDED.items():
        command = [sys.executable, "-m", "coverage", "report", f"--include={files}", f"--fail-under={BRANCH_GATE}"]
        report = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        lines = report.stdout.strip().splitlines() or report.stderr.strip().splitlines() or ["no report"]
        if report.returncode:
            failed = 1
            print(f"Branch coverage of {name} is under {BRANCH_GATE} %:\n{report.stdout}{report.stderr}", flush=True)
        else:
            print(f"Branch coverage of {name:<11} {total(lines)}", flush=True)
    return failed


def total(lines: list[str]) -> str:
    return next((line.split()[-1] for line in lines if line.startswith("TOTAL")), lines[-1])


def run(arguments: list[str], database: str, waiting: int = 1) -> int:
    """1 when the run failed, whatever its own number was. So many processes more than processors keep these busy:
    many tests wait for another process, and on PostgreSQL nearly all do.
    """
    processes = os.environ.get("TEST_PROCESSES") or str(CORES + waiting)
    command = [*PYTEST, "-n", processes, *arguments]
    return int(
        subprocess.run(command, cwd=ROOT, env=os.environ | {"TEST_DATABASE": database}, check=False).returncode != 0
    )


if __name__ == "__main__":
    main()
