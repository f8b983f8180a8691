"""`make test`: the suite on SQLite, with coverage of what guards, then all but the browser tests on PostgreSQL.

Whatever failed stands once more in the last lines: often these are all that is left of a long log.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORES = os.cpu_count() or 1
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
# A test that waits for a browser or a worker can lose its race on a machine that is busy with the others. So many may
# try again, alone; what passes then is named in the last lines as well, so that nobody overlooks it.
SECOND_CHANCES = 3
# Of these files few tests reach a branch that no test of the others reaches.
OF_THEIR_OWN = {
    "create": (
        "two_presses_at_the_same_time",
        "a_missing_second_factor_can_be_shown_in_another_tab",
        "when_entra_gives_no_token",
    ),
    "change": (
        *("two_presses_at_the_same_time", "a_deleted_user_is_not_changed", "a_read_that_fails"),
        *("a_number_belongs_to_one_user", "a_password_cannot_be_read_back"),
    ),
    "unknown": (
        *("a_run_too_gets_a_name_whose_author_is_gone", "taken_by_somebody_else_meanwhile"),
        *("nobody_has_very_much_looked_up", "what_is_given_up_frees_its_name"),
        "a_second_form_for_the_same_name",
    ),
}
# The tests of what is guarded. Only these are measured (tests/measuring_plugin.py): measuring makes a test take half as
# long again.
GUARDS = (
    *("upstream/", "partnerportal/test_signin.py", "partnerportal/test_vault.py"),
    *("customers/test_access.py", "customers/test_access_asked.py"),
    *(
        f"users/test_{name}.py"
        for name in (
            *("deleting", "resetting", "licensing", "handover", "seen_names"),
            *("link_list", "operations", "hostile", "first_licences", "after_runs"),
        )
    ),
    *(f"users/test_{file}.py::test_{name}" for file, names in OF_THEIR_OWN.items() for name in names),
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


@dataclass
class Told:
    """What the last lines say, in the order in which it went wrong."""

    failures: list[str] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)


def main() -> None:
    """All runs and the gate; ends with 1 when anything failed."""
    told = Told()
    guarded = [f"--cov={files.removesuffix('/*').removesuffix('.py').replace('/', '.')}" for files in GUARDED.values()]
    measuring = ["-p", "tests.measuring_plugin", *guarded, "--cov-report="]
    run("SQLite", ["-m", "not torture", *measuring], "sqlite", told)
    gate(told)
    on_postgres(told)
    for line in told.alone:
        print(f"Passed only alone: {line}", flush=True)
    for line in told.failures:
        print(line, flush=True)
    sys.exit(bool(told.failures))


def on_postgres(told: Told) -> None:
    """The second run, or the line that says why there is none."""
    from tests.requirements_plugin import POSTGRES_URL, answers

    if answers(POSTGRES_URL):
        once = [f"--ignore=tests/{folder}" for folder in WITHOUT_DATABASE]
        run("PostgreSQL", ["-m", "not browser and not torture", *once], "postgres", told, waiting=CORES)
        return
    missing = (
        f"No run on PostgreSQL: nothing answers at {POSTGRES_URL}. Install and start it: apt-get install postgresql"
    )
    if os.environ.get("REQUIRE_ALL") == "1":
        told.failures.append(missing)
    else:
        print(missing, flush=True)


def gate(told: Told) -> None:
    """Branch coverage of the guarded files, each on its own."""
    for name, files in GUARDED.items():
        command = [sys.executable, "-m", "coverage", "report", f"--include={files}", f"--fail-under={BRANCH_GATE}"]
        report = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        lines = report.stdout.strip().splitlines() or report.stderr.strip().splitlines() or ["no report"]
        if report.returncode:
            print(f"{report.stdout}{report.stderr}", flush=True)
            told.failures.append(f"Branch coverage of {name} is under {BRANCH_GATE} %: {total(lines)}")
        else:
            print(f"Branch coverage of {name:<11} {total(lines)}", flush=True)


def total(lines: list[str]) -> str:
    return next((line.split()[-1] for line in lines if line.startswith("TOTAL")), lines[-1])


def run(name: str, arguments: list[str], database: str, told: Told, waiting: int = 1) -> None:
    """One run of pytest. So many processes more than processors keep these busy: many tests wait for another
    process, and on PostgreSQL nearly all do.
    """
    print(f"— {name} —", flush=True)
    own_cache = f"cache_dir=.pytest_cache/{name.replace(', ', '-').replace(' ', '-').lower()}"
    processes = os.environ.get("TEST_PROCESSES") or str(CORES + waiting)
    # Whoever is done takes tests from the other: some take a hundred times as long as most.
    status, failures = pytest(["--dist", "worksteal", "-n", processes, "-o", own_cache, *arguments], database)
    if status and 0 < len(failures) <= SECOND_CHANCES:
        print(f"— {name}: {len(failures)} once more, alone —", flush=True)
        status, again = pytest(
            ["-n", "0", "-o", own_cache, "--last-failed", "--last-failed-no-failures", "none"], database
        )
        told.alone += [line for line in failures if status == 0]
        failures += again
    if status:
        told.failures += failures or [f"pytest itself ended with {status} ({name})."]


def pytest(arguments: list[str], database: str) -> tuple[int, list[str]]:
    """How it ended, and its own line for each test that failed."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    environment = os.environ | {"TEST_DATABASE": database, "COLUMNS": "250", "PYTHONUNBUFFERED": "1"}
    failures = []
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if line.startswith(("FAILED tests/", "ERROR tests/")):  # and not what a test has logged
                failures.append(line.rstrip())
    return process.returncode, failures


if __name__ == "__main__":
    main()
