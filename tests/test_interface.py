"""The project keeps to the names that tools outside it rely on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
SHARED = ROOT.parent / "shared" / "INTERFACE.md"
needs_interface = pytest.mark.skipif(not SHARED.exists(), reason="INTERFACE.md lies beside the project, not in it")


def names_in_env_example() -> set[str]:
    return set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


def names_in_documentation() -> set[str]:
    return set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "configuration.md").read_text(), re.MULTILINE)) - {
        "UPSTREAM_ROUTES_"
    }


def interface() -> str:
    return SHARED.read_text(encoding="utf-8")


def test_documentation_lists_every_setting():
    assert names_in_documentation() == set(settings.SETTING_NAMES)


def test_env_example_lists_every_setting():
    assert names_in_env_example() == set(settings.SETTING_NAMES)


@needs_interface
def test_every_setting_of_the_interface_is_read():
    table = interface().split("## Settings")[1].split("\n## ")[0]
    firsts = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    promised = {name for cell in firsts for name in re.findall(r"`([A-Z_]+)`", cell)}
    assert len(promised) > 20
    assert promised <= set(settings.SETTING_NAMES)


@pytest.mark.parametrize("target", "setup demo clean-demo test check fix bench torture lock help".split())
def test_make_knows(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_make_help_names_every_target():
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets == set(re.findall(r"^  make ([a-z-]+)", told, re.MULTILINE))


def test_setup_does_nothing_when_nothing_is_to_do():
    asked = subprocess.run(["make", "-q", "setup"], cwd=ROOT, capture_output=True, check=False)
    if not (ROOT / ".venv" / ".synced").exists():
        pytest.skip("this environment was not made by make")
    assert asked.returncode in (0, 1)
    told = subprocess.run(["make", "-n", "setup"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "pip" not in told


def told_of(setting, said, folder, wanted=""):
    """How the settings are read with this one, or why they are not."""
    return subprocess.run(
        [sys.executable, "-c", f"from partnerportal import settings; print(settings.{wanted or setting})"],
        cwd=ROOT,
        env={setting: said, "ENV_FILE": "/dev/null", "VAR_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("said", "read"), [("", "0"), ("2", "2"), ("-1", ""), ("10", ""), ("9" * 5000, ""), ("many", ""), ("²", "")]
)
def test_the_number_of_proxies_is_a_number_or_nothing_starts(said, read, tmp_path):
    told = told_of("TRUSTED_PROXIES", said, tmp_path)
    assert told.stdout.strip() == read
    assert ("does not start: TRUSTED_PROXIES is" in told.stderr) == (read == "")


@pytest.mark.parametrize(
    ("said", "days"), [("", 90), ("1", 1), ("36500", 36_500), ("0", 0), ("-5", 0), ("999999", 0), ("for ever", 0)]
)
def test_names_are_kept_for_a_number_of_days_that_ends_before_all_dates_do(said, days, tmp_path):
    told = told_of("RUNS_KEEP_NAMES_DAYS", said, tmp_path, "RUNS_KEEP_NAMES.days")
    assert told.stdout.strip() == (str(days) if days else "")
    refusal = f"RUNS_KEEP_NAMES_DAYS is {said}, which is no number from 1 to 36500. Say how many days after its end"
    assert (refusal in told.stderr) == (days == 0)


@pytest.mark.parametrize(
    "said", ["postgres://u:secret@h:port/x", "postgres://u:secret@h:99999/x", "nonsense", "mysql://x"]
)
def test_what_is_no_database_is_told_without_its_password(said, tmp_path):
    told = told_of("DATABASE_URL", said, tmp_path, "DATABASES")
    assert "does not start: DATABASE_URL is neither PostgreSQL nor SQLite" in told.stderr
    assert "secret" not in told.stdout + told.stderr


@pytest.mark.parametrize("name", ["SECRET_KEY", "ENTRA_CLIENT_SECRET"])
def test_a_setting_may_come_from_a_file_and_loses_its_line_end(name, tmp_path):
    secret = tmp_path / "value"
    secret.write_text("first line\r\n")
    secret.chmod(0o600)
    code = f"from partnerportal import settings; print(repr(settings.{name}))"
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={f"{name}_FILE": str(secret), "ENV_FILE": "/dev/null", "VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told.strip() == "'first line'"


def test_an_empty_line_of_a_copied_example_does_not_stand_in_the_way_of_a_file(tmp_path):
    secret, dotenv = tmp_path / "value", tmp_path / ".env"
    secret.write_text("from the file\n")
    dotenv.write_text("SECRET_KEY=\n")
    done = subprocess.run(
        [sys.executable, "-c", "from partnerportal import settings; print(settings.SECRET_KEY)"],
        cwd=ROOT,
        env={"SECRET_KEY_FILE": str(secret), "ENV_FILE": str(dotenv), "VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "from the file"


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"SECRET_KEY_FILE": "/nowhere/at/all"}, "SECRET_KEY_FILE names /nowhere/at/all, which cannot be read."),
        ({"UPSTREAM_ROUTES": "on"}, "UPSTREAM_ROUTES is not a JSON object of origins."),
        ({"UPSTREAM_ROUTES": '["a"]'}, "UPSTREAM_ROUTES is not a JSON object of origins."),
        ({"UPSTREAM_ROUTES": '{"a": 1}'}, "UPSTREAM_ROUTES is not a JSON object of origins."),
    ],
)
def test_what_cannot_be_read_at_all_is_refused_with_a_sentence(environment, sentence, tmp_path):
    done = subprocess.run(
        [sys.executable, "manage.py", "showmigrations"],
        cwd=ROOT,
        env={"ENV_FILE": "/dev/null", "VAR_DIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", [["check"], ["makemigrations", "--check", "--dry-run"], ["collectstatic", "--help"]]
)
def test_commands_that_need_no_environment(command):
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env={"ENV_FILE": "/dev/null"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
