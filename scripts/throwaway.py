"""A portal with a database of its own, thrown away afterwards: what screenshots and browser tests look at.

It is served as in production (gunicorn, hashed and compressed static files), in front of a pretend cloud that
runs already. Nothing of the shell's settings reaches it, and it dies with whoever started it.
"""

import atexit
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
from cryptography.fernet import Fernet

from partnerportal.sandbox import seed
from scripts.demo import HOST, ROOT, UPSTREAM_HOSTS, get, manage

READY_WITHIN = 90.0  # seconds
STOP_WITHIN = 6.0  # seconds between SIGTERM and SIGKILL
_CELERY = [sys.executable, "-m", "celery", "-A", "partnerportal"]
# Whatever becomes of us, the kernel ends the child: the process asks for that, then becomes the command.
_DIE_WITH_PARENT = (
    "import ctypes, os, sys\n"
    "sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 9)\n"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


@dataclass
class Portal:
    """A portal that answers at `url`."""

    url: str
    folder: Path
    settings: dict[str, str]
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def manage(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command of manage.py with this portal's settings; `finish` waits for it."""
        return self._spawn(f"{arguments[0]}.log", manage(*arguments))

    def finish(self, *commands: subprocess.Popen[bytes]) -> None:
        """Wait for commands that must succeed."""
        for command in commands:
            if command.wait(READY_WITHIN):
                raise RuntimeError(f"{' '.join(map(str, command.args))} failed:\n{self.logs()}")  # type: ignore[arg-type]

    def serve(self) -> None:
        """Start gunicorn, and wait until it answers."""
        port = self.url.rpartition(":")[2]
        self._start("web", [sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{port}", "--workers", "1"])
        self._wait("web", lambda: get(int(port), "/livez") is not None)

    def work(self) -> None:
        """Start the worker and its clock, once."""
        if self.has_worker:
            return
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        self._start("worker", [*_CELERY, "worker", "--pool", "threads", "--concurrency", "2", "-l", "INFO", *quiet])
        self._start("beat", [*_CELERY, "beat", "-l", "INFO", "--pidfile="])
        self._wait("worker", lambda: " ready." in self.log("worker"))

    @property
    def has_worker(self) -> bool:
        return "worker" in self._running

    def log(self, name: str) -> str:
        """What a process has said so far."""
        path = self.folder / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        """End all processes: politely, then not."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + STOP_WITHIN
        for process in self._running.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, name: str, command: list[str]) -> None:
        self._running[name] = self._spawn(f"{name}.log", command)

    def _spawn(self, log: str, command: list[str]) -> subprocess.Popen[bytes]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        with (self.folder / log).open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-c", _DIE_WITH_PARENT, *command],
                cwd=ROOT,
                env=kept | self.settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        until = time.monotonic() + READY_WITHIN
        while not ready():
            if self._running[name].poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the {name} did not start:\n{self.logs()}")
            time.sleep(0.05)


@contextmanager
def running_portal(*, port: int, cloud: str, synced: bool = True, **more: str) -> Iterator[Portal]:
    """A portal at this port with the customers of the pretend cloud at `cloud`; `more` are settings."""
    folder = Path(tempfile.mkdtemp(prefix="partner-desk-portal-"))
    portal = Portal(f"http://{HOST}:{port}", folder, _settings(folder, port, cloud) | more)
    try:
        _begin(portal)
        portal.finish(*([portal.manage("sync_customers")] if synced else []))
        portal.serve()
        yield portal
    finally:
        portal.stop()
        shutil.rmtree(folder, ignore_errors=True)


_begun: list[Path] = []  # a portal's folder with tables and static files, before anything was read


def _begin(portal: Portal) -> None:
    """Make the tables and the static files; the next portals of this process get copies, which take no time."""
    if _begun:
        shutil.copytree(_begun[0], portal.folder, dirs_exist_ok=True)
        return
    portal.finish(portal.manage("collectstatic", "--noinput", "-v0"), portal.manage("migrate", "-v0"))
    kept = Path(tempfile.mkdtemp(prefix="partner-desk-begun-"))
    atexit.register(shutil.rmtree, kept, ignore_errors=True)
    _begun.append(shutil.copytree(portal.folder, kept, dirs_exist_ok=True))


def _settings(folder: Path, port: int, cloud: str) -> dict[str, str]:
    """As `make demo` writes them, with keys that nobody will need again."""
    routes = ", ".join(f'"https://{host}": "{cloud}"' for host in UPSTREAM_HOSTS)
    return {
        "ENV_FILE": os.devnull,
        "VAR_DIR": str(folder),
        "PYTHONUNBUFFERED": "1",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "VAULT_KEYS": Fernet.generate_key().decode(),
        "ALLOWED_HOSTS": f"{HOST},localhost",
        "PUBLIC_URL": f"http://{HOST}:{port}",
        "ENTRA_TENANT_ID": seed.PARTNER_TENANT_ID,
        "ENTRA_CLIENT_ID": seed.CLIENT_ID,
        "ENTRA_CLIENT_SECRET": seed.CLIENT_SECRET,
        "AVEPOINT_CLIENT_ID": seed.AVEPOINT_CLIENT_ID,
        "AVEPOINT_CLIENT_SECRET": seed.AVEPOINT_CLIENT_SECRET,
        "GDAP_API_USERNAME": seed.GDAP_API_USERNAME,
        "GDAP_API_PASSWORD": seed.GDAP_API_PASSWORD,
        "UPSTREAM_ROUTES": f"{{{routes}}}",
    }


def signed_in_cookies(url: str, persona: str) -> list[dict[str, str]]:
    """Go through the real door without a browser; the cookies of whoever came in, as Playwright takes them."""
    session = requests.Session()
    door = session.get(f"{url}/signin/", allow_redirects=False, timeout=20).headers["Location"]
    chosen = session.post(door, data={"persona": persona}, allow_redirects=False, timeout=20)
    answer = session.get(chosen.headers["Location"], allow_redirects=False, timeout=20)
    if answer.status_code != 303 or answer.headers["Location"] != "/":
        raise RuntimeError(f"{persona} did not come in: {answer.status_code} {answer.headers.get('Location')}")
    session.get(f"{url}/customers/", timeout=20).raise_for_status()  # brings the CSRF cookie
    return [{"name": cookie.name, "value": str(cookie.value), "url": url} for cookie in session.cookies]
