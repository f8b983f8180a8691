"""`make check`: every tool side by side; the output of those that object, and how long each took."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.fernet import Fernet

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
PACKAGES = ["partnerportal", "customers", "users"]


@dataclass
class Check:
    """One tool and how it is called."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    must_not_say: str = ""


def checks(private: Path) -> Iterator[Check]:
    """All of them, the slowest first."""
    manage = [sys.executable, "manage.py"]
    yield Check("types", [str(BIN / "mypy")])
    yield Check("lint", [str(BIN / "ruff"), "check", "--output-format", "concise", "."])
    yield Check("format", [str(BIN / "ruff"), "format", "--check", "."])
    yield Check("import rules", [str(BIN / "lint-imports")])
    yield Check("templates", [str(BIN / "djade"), "--check", "--target-version", "5.2", *templates()])
    yield Check("migrations", [*manage, "makemigrations", "--check", "--dry-run"])
    yield Check(
        "deployment",
        [*manage, "check", "--deploy", "--fail-level", "WARNING"],
        production(private),
        must_not_say="silenced)",
    )
    yield Check("dependencies", [str(BIN / "deptry"), *PACKAGES, "scripts"])
    yield Check("dead code", [str(BIN / "vulture")])
    yield Check(
        "security", [str(BIN / "bandit"), "-q", "-ll", "-c", "pyproject.toml", "-r", *PACKAGES, "scripts", "manage.py"]
    )
    yield Check("tracked files", [sys.executable, "-m", "scripts.check_tracked"])


def main() -> None:
    """Runs them all and ends with 1 when one objects."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as private, ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        objections = [name for name in pool.map(run, checks(Path(private))) if name]
    print(f"{time.monotonic() - began:.1f} s in all", flush=True)
    if objections:
        sys.exit(f"make check: {', '.join(objections)} failed")


def run(check: Check) -> str:
    """Runs one; its name when it objects, else nothing."""
    began = time.monotonic()
    result = subprocess.run(
        check.command,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        | {"ENV_FILE": os.devnull}
        | check.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    good = result.returncode == 0 and not silenced(result.stdout, check.must_not_say)
    line = f"{'ok  ' if good else 'FAIL'} {check.name:<14} {time.monotonic() - began:5.1f} s"
    print(line if good else f"{line}\n{result.stdout.rstrip()}", flush=True)
    return "" if good else check.name


def silenced(output: str, words: str) -> bool:
    """Django ends with "(0 silenced)."; any other number is an objection."""
    return bool(words) and words in output and f"(0 {words}" not in output


def templates() -> list[str]:
    return [str(path.relative_to(ROOT)) for path in sorted((ROOT / "templates").rglob("*.html"))]


def production(private: Path) -> dict[str, str]:
    """Settings of a made-up but sound production, for `check --deploy`."""
    return {
        # Long and varied, so that Django's own judgement passes; it opens nothing.
        "SECRET_KEY": Fernet.generate_key().decode() + Fernet.generate_key().decode(),
        "VAULT_KEYS": Fernet.generate_key().decode(),
        "DATABASE_URL": f"sqlite:///{private / 'portal.sqlite3'}",
        "VAR_DIR": str(private),
        "ALLOWED_HOSTS": "portal.partner.example",
        "PUBLIC_URL": "https://portal.partner.example",
        "ENTRA_TENANT_ID": "00000000-0000-4000-8000-000000000001",
        "ENTRA_CLIENT_ID": "00000000-0000-4000-8000-000000000002",
        "ENTRA_CLIENT_SECRET": Fernet.generate_key().decode(),
        "UPSTREAM_ROUTES": json.dumps({}),
    }


if __name__ == "__main__":
    main()
