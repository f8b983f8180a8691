"""The portal's settings in the tests: sandbox mode, random keys, and a cloud on a loopback port of our own.

Nothing needs to be set. `TEST_DATABASE=postgres` runs the same suite on the PostgreSQL of `TEST_POSTGRES_URL`.
"""

import atexit
import contextlib
import json
import os
import secrets
import shutil
import socket
import tempfile

from cryptography.fernet import Fernet

from tests.requirements_plugin import POSTGRES_URL


def free_port() -> int:
    """A port nobody listens on, below those that the kernel gives to outgoing connections: it stays free."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


# Every pytest process has its own cloud, keys and database; the servers and workers that a test starts inherit
# them. The xdist workers are children of pytest too, so the name of the owner tells the two apart.
_owner = os.environ.get("PYTEST_XDIST_WORKER", "main")
if os.environ.get("TEST_OWNER") != _owner:
    os.environ["TEST_OWNER"] = _owner
    os.environ["SANDBOX_PORT"] = str(free_port())
    os.environ["VAR_DIR"] = tempfile.mkdtemp(prefix="partner-desk-test-")
    atexit.register(shutil.rmtree, os.environ["VAR_DIR"], ignore_errors=True)
    os.environ["SECRET_KEY"] = secrets.token_urlsafe(50)
    os.environ["VAULT_KEYS"] = Fernet.generate_key().decode()
os.environ.setdefault("TEST_RUN", str(os.getpid()))

SANDBOX_PORT = int(os.environ["SANDBOX_PORT"])
SANDBOX_URL = f"http://127.0.0.1:{SANDBOX_PORT}"

os.environ.update(
    {
        "ENV_FILE": os.devnull,
        "PUBLIC_URL": os.environ.get("TEST_PUBLIC_URL", "http://127.0.0.1:8000"),
        "ALLOWED_HOSTS": "127.0.0.1,localhost,testserver",
        "DEBUG": "False",
        "DATABASE_URL": os.environ.get("TEST_DATABASE_URL")
        or (POSTGRES_URL if os.environ.get("TEST_DATABASE") == "postgres" else ""),
        "CELERY_BROKER_URL": os.environ.get("TEST_BROKER_URL", "filesystem://"),
        "PARTNER_CENTER_RATES": os.environ.get("TEST_RATES", "1000,1000"),  # no test waits for its turn
        "CLOCK_OFFSET_FILE": f"{os.environ['VAR_DIR']}/clock_offset",
        "UPSTREAM_ROUTES": json.dumps(
            {
                f"https://{host}": SANDBOX_URL
                for host in (
                    "login.microsoftonline.com",
                    "api.partnercenter.microsoft.com",
                    "graph.microsoft.com",
                    "graph.avepointonlineservices.com",
                    "identity.avepointonlineservices.com",
                    "gdapbridge360.azurewebsites.net",
                    "gdapauthservice.azurewebsites.net",
                )
            }
        ),
    }
)


def _sandbox_registration() -> dict[str, str]:
    """The tenant, client id and secrets that the sandbox knows."""
    from partnerportal.sandbox import seed

    return {
        "ENTRA_TENANT_ID": seed.PARTNER_TENANT_ID,
        "ENTRA_CLIENT_ID": seed.CLIENT_ID,
        "ENTRA_CLIENT_SECRET": seed.CLIENT_SECRET,
        "AVEPOINT_CLIENT_ID": seed.AVEPOINT_CLIENT_ID,
        "AVEPOINT_CLIENT_SECRET": seed.AVEPOINT_CLIENT_SECRET,
        "GDAP_API_USERNAME": seed.GDAP_API_USERNAME,
        "GDAP_API_PASSWORD": seed.GDAP_API_PASSWORD,
    }


os.environ.update(_sandbox_registration())

from partnerportal.settings import *  # noqa: E402, F403
from partnerportal.settings import DATABASES, STORAGES, VAR_DIR  # noqa: E402

# A file for SQLite, as in the demo: a database in memory knows no WAL and locks whole tables between threads.
DATABASES["default"]["TEST"] = {
    "NAME": str(VAR_DIR / "test.sqlite3")
    if DATABASES["default"]["ENGINE"].endswith("sqlite3")
    else f"test_partnerdesk_{os.environ['TEST_RUN']}"
}
# The manifest storage wants collectstatic first.
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
# With DEBUG off, whitenoise would look in STATIC_ROOT only.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
# What a test wrote need not survive a power cut; waiting for the disk would double the time of the suite.
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"]["init_command"] += "PRAGMA synchronous=OFF;"
else:
    DATABASES["default"].setdefault("OPTIONS", {})["options"] = "-c synchronous_commit=off"
