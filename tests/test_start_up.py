"""The twelve unsafe starts (and their variants) are refused by web, worker, beat and manage.py alike."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.core import checks as django_checks

from partnerportal import checks

ROOT = Path(settings.BASE_DIR)
CELERY = [sys.executable, "-m", "celery", "-A", "partnerportal"]
COMMANDS = {
    "web": [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--workers", "1"],
    "worker": [*CELERY, "worker", "--pool", "solo"],
    "beat": [*CELERY, "beat", "--pidfile="],
    "manage.py": [sys.executable, "manage.py", "showmigrations"],
}
KEY = "K7-" + "qZ3vN8xW" * 8
VAULT_KEY = Fernet.generate_key().decode()
PRODUCTION = {
    "SECRET_KEY": KEY,
    "VAULT_KEYS": VAULT_KEY,
    "ALLOWED_HOSTS": "portal.partner.example",
    "PUBLIC_URL": "https://portal.partner.example",
    "ENTRA_TENANT_ID": "00000000-0000-4000-8000-000000000001",
    "ENTRA_CLIENT_ID": "00000000-0000-4000-8000-000000000002",
    "ENTRA_CLIENT_SECRET": "one for the tests",
}
HOSTS = (
    "login.microsoftonline.com api.partnercenter.microsoft.com graph.microsoft.com graph.avepointonlineservices.com "
    "identity.avepointonlineservices.com gdapbridge360.azurewebsites.net gdapauthservice.azurewebsites.net"
).split()
ROUTES = {f"https://{host}": "http://127.0.0.1:8001" for host in HOSTS}
SANDBOX = PRODUCTION | {
    "ALLOWED_HOSTS": "127.0.0.1,localhost",
    "PUBLIC_URL": "http://127.0.0.1:8000",
    "UPSTREAM_ROUTES": json.dumps(ROUTES),
}


@dataclass
class Unsafe:
    """One way to start that must not work, and what the refusal says."""

    number: int  # of TRUST 2.5
    name: str
    says: str
    change: dict[str, str] = field(default_factory=dict)
    base: dict[str, str] = field(default_factory=lambda: PRODUCTION)
    module: str = "partnerportal.settings"
    open_file: str = ""

    def environment(self, folder: Path) -> dict[str, str]:
        environment = {"VAR_DIR": str(folder), "ENV_FILE": "/dev/null"} | self.base | self.change
        if self.open_file:
            path = folder / "open"
            path.write_text("" if self.open_file == "DATABASE_URL" else environment.pop(self.open_file, "KEY=value"))
            path.chmod(0o644)
            name = {"DATABASE_URL": "DATABASE_URL", "ENV_FILE": "ENV_FILE"}.get(
                self.open_file, f"{self.open_file}_FILE"
            )
            environment[name] = f"sqlite:///{path}" if name == "DATABASE_URL" else str(path)
        return environment | {"DJANGO_SETTINGS_MODULE": self.module}


ALL = [
    Unsafe(1, "debug", "DEBUG is on in production", {"DEBUG": "True"}),
    Unsafe(
        2, "sandbox behind a public address", "sandbox is on", {"PUBLIC_URL": "https://portal.partner.example",
        "ALLOWED_HOSTS": "portal.partner.example"}, SANDBOX,
    ),
    Unsafe(2, "moved clock", "CLOCK_OFFSET_FILE", {"CLOCK_OFFSET_FILE": "clock_offset"}),
    Unsafe(
        3, "sandbox elsewhere", "every target is http://127.0.0.1",
        {"UPSTREAM_ROUTES": json.dumps(ROUTES | {"https://graph.microsoft.com": "http://192.0.2.1:8001"})}, SANDBOX,
    ),
    Unsafe(
        3, "unrouted upstream", "Add https://graph.microsoft.com to UPSTREAM_ROUTES",
        {"UPSTREAM_ROUTES": json.dumps({k: v for k, v in ROUTES.items() if "graph.microsoft" not in k})}, SANDBOX,
    ),
    Unsafe(4, "unknown upstream", "GRAPH_URL is https://graph.example", {"GRAPH_URL": "https://graph.example/v1.0"}),
    Unsafe(4, "upstream without a scheme", "GRAPH_URL is graph.example/v1.0", {"GRAPH_URL": "graph.example/v1.0"}),
    Unsafe(4, "upstream without a host", "GRAPH_URL is https:/graph", {"GRAPH_URL": "https:/graph.example/v1.0"}),
    Unsafe(4, "upstream without TLS", "AVEPOINT_URL is http://", {"AVEPOINT_URL": "http://graph.microsoft.com"}),
    Unsafe(4, "upstream that is none", "GRAPH_URL is https://[::1, which is not one", {"GRAPH_URL": "https://[::1"}),
    Unsafe(4, "Entra that is none", "ENTRA_AUTHORITY is https://[::1, which is", {"ENTRA_AUTHORITY": "https://[::1"}),
    Unsafe(5, "no key", "SECRET_KEY is missing", {"SECRET_KEY": ""}),
    Unsafe(5, "short key", "SECRET_KEY is too short", {"SECRET_KEY": "Zq8-x" * 5}),
    Unsafe(5, "sample key", "SECRET_KEY is a sample", {"SECRET_KEY": "django-insecure-" + KEY}),
    Unsafe(6, "no vault key", "VAULT_KEYS is missing", {"VAULT_KEYS": ""}),
    Unsafe(6, "vault key is no Fernet key", "Key 2 of VAULT_KEYS", {"VAULT_KEYS": f"{VAULT_KEY},short"}),
    Unsafe(6, "one key for both", "VAULT_KEYS holds the SECRET_KEY", {"VAULT_KEYS": KEY}),
    Unsafe(7, "no hosts", "ALLOWED_HOSTS is empty", {"ALLOWED_HOSTS": ""}),
    Unsafe(7, "any host", "ALLOWED_HOSTS holds *", {"ALLOWED_HOSTS": "portal.partner.example,*"}),
    Unsafe(8, "redirect over http", "it starts with https://", {"PUBLIC_URL": "http://portal.partner.example"}),
    Unsafe(8, "redirect elsewhere", "is not in ALLOWED_HOSTS", {"PUBLIC_URL": "https://other.example"}),
    Unsafe(
        8, "address that is none", "PUBLIC_URL is https://[::1, which cannot be read as an address. Set it to the",
        {"PUBLIC_URL": "https://[::1"},
    ),
    Unsafe(
        8, "address without a scheme", "PUBLIC_URL is portal.partner.example, which cannot be read as an address",
        {"PUBLIC_URL": "portal.partner.example"},
    ),
    Unsafe(
        8, "port that is none", "PUBLIC_URL is https://portal.partner.example:x, which cannot be read as an address",
        {"PUBLIC_URL": "https://portal.partner.example:x"},
    ),
    Unsafe(9, "insecure cookies", "SESSION_COOKIE_SECURE is off", module="tests.unsafe.insecure_cookies"),
    Unsafe(9, "no HSTS", "SECURE_HSTS_SECONDS is 0", module="tests.unsafe.no_hsts"),
    Unsafe(10, "password backend", "ModelBackend", module="tests.unsafe.password_backend"),
    Unsafe(10, "Django's admin", "admin is installed", module="tests.unsafe.django_admin"),
    Unsafe(11, "no tenant", "ENTRA_TENANT_ID is missing", {"ENTRA_TENANT_ID": ""}),
    Unsafe(11, "every tenant", "ENTRA_TENANT_ID is common", {"ENTRA_TENANT_ID": "common"}),
    Unsafe(
        11, "tenant by its domain", "ENTRA_TENANT_ID is partner.example, which is no id",
        {"ENTRA_TENANT_ID": "partner.example"},
    ),
    Unsafe(
        11, "authority with a tenant", "Leave the path away",
        {"ENTRA_AUTHORITY": "https://login.microsoftonline.com/organizations"},
    ),
    Unsafe(12, "SQLite on many hosts", "PostgreSQL", {"CELERY_BROKER_URL": "amqp://broker.partner.example//"}),
    Unsafe(
        12, "no certificate", "ENTRA_CLIENT_CERTIFICATE names /nowhere/app.pem, which cannot be read. Set it to",
        {"ENTRA_CLIENT_CERTIFICATE": "/nowhere/app.pem"},
    ),
    Unsafe(
        12, "certificate that is none", "which does not hold a certificate and a private key",
        {"ENTRA_CLIENT_CERTIFICATE": "/dev/null"},
    ),
    Unsafe(12, "open database", "can be read by others", open_file="DATABASE_URL"),
    Unsafe(12, "open key file", "can be read by others", open_file="VAULT_KEYS"),
    Unsafe(12, "open .env", "can be read by others", open_file="ENV_FILE"),
]  # fmt: skip
ONE_EACH = list({case.number: case for case in reversed(ALL)}.values())[::-1]


def start(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    bare = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        command, cwd=ROOT, env=bare | environment, capture_output=True, text=True, timeout=20, check=False
    )


def test_there_are_twelve():
    assert [case.number for case in ONE_EACH] == list(range(1, 13))
    assert len(checks.RULES) == 12


@pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)
def test_web_worker_beat_and_manage_refuse(case, tmp_path):
    environment = case.environment(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        for name, done in zip(COMMANDS, pool.map(lambda cmd: start(cmd, environment), COMMANDS.values()), strict=True):
            assert done.returncode != 0, name
            assert case.says in done.stderr, f"{name}: {done.stdout}{done.stderr}"
            assert "Partner Desk does not start" in done.stderr, name


@pytest.mark.parametrize("case", [case for case in ALL if case not in ONE_EACH], ids=lambda case: case.name)
def test_the_variants_are_refused(case, tmp_path):
    done = start(COMMANDS["manage.py"], case.environment(tmp_path))
    assert done.returncode == 3
    assert case.says in done.stderr


@pytest.mark.parametrize("base", [PRODUCTION, SANDBOX], ids=["production", "sandbox"])
def test_sound_settings_start(base, tmp_path):
    environment = base | {"VAR_DIR": str(tmp_path), "ENV_FILE": "/dev/null"}
    done = start([sys.executable, "manage.py", "check"], environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("hosts", ["www.partner.example, portal.partner.example", " Portal.Partner.example ,"])
def test_blanks_and_capitals_in_the_hosts_say_nothing(hosts, tmp_path):
    environment = PRODUCTION | {"VAR_DIR": str(tmp_path), "ENV_FILE": "/dev/null", "ALLOWED_HOSTS": hosts}
    done = start([sys.executable, "manage.py", "check"], environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_production_has_no_warning_and_none_is_silenced(tmp_path):
    environment = PRODUCTION | {"VAR_DIR": str(tmp_path), "ENV_FILE": "/dev/null"}
    done = start([sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"], environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no issues (0 silenced)" in done.stdout


def test_what_the_portal_writes_is_for_its_owner_alone(tmp_path):
    environment = PRODUCTION | {"VAR_DIR": str(tmp_path / "var"), "ENV_FILE": "/dev/null"}
    for _ in range(2):  # the second start would be refused if the first one left the database open
        done = start([sys.executable, "manage.py", "showmigrations"], environment)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "var").stat().st_mode & 0o077 == 0
    assert (tmp_path / "var" / "portal.sqlite3").stat().st_mode & 0o077 == 0


def test_django_shows_the_refusals_as_errors(settings):
    settings.ALLOWED_HOSTS = []
    found = [message for message in django_checks.run_checks() if message.id == "partnerportal.E001"]
    assert [message.msg for message in found] == [
        "ALLOWED_HOSTS is empty. Set it to the host name of the portal.",
    ]


def test_the_tests_themselves_start_safely():
    assert checks.refusals() == []
