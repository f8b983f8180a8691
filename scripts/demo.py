"""`make demo`: the portal and its pretend cloud on this machine, from nothing, watched until Ctrl-C.

State lives in var/. Every child is in a session of its own, dies with this process whatever becomes of it,
and is started again one second after it died by itself.
"""

import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from cryptography.fernet import Fernet

from partnerportal.sandbox import seed

ROOT = Path(__file__).resolve().parent.parent
VAR = Path(os.environ.get("VAR_DIR", ROOT / "var")).resolve()
ENV_FILE = VAR / "demo.env"
LOGS = VAR / "log"
HOST = "127.0.0.1"
UPSTREAM_HOSTS = (
    "login.microsoftonline.com",
    "api.partnercenter.microsoft.com",
    "graph.microsoft.com",
    "graph.avepointonlineservices.com",
    "identity.avepointonlineservices.com",
    "gdapbridge360.azurewebsites.net",
    "gdapauthservice.azurewebsites.net",
)
READY_WITHIN = 120.0  # seconds until everything answers
RESTART_AFTER = 1.0  # seconds
STOP_WITHIN = 8.0  # seconds between SIGTERM and SIGKILL
_PR_SET_PDEATHSIG = 1


class Stop(Exception):
    """Ctrl-C or SIGTERM."""


@dataclass
class Demo:
    """What was asked for on make's command line."""

    port: int
    sandbox_port: int
    profile: str

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def cloud(self) -> str:
        return f"http://{HOST}:{self.sandbox_port}"


@dataclass
class Child:
    """One process that is kept running."""

    name: str
    command: list[str]
    log: Path = field(init=False)
    process: subprocess.Popen[bytes] | None = None
    died_at: float = 0.0

    def __post_init__(self) -> None:
        self.log = LOGS / f"{self.name}.log"

    def start(self) -> None:
        self.process = spawn(self.command, self.log)

    def lines_of_this_run(self) -> str:
        with contextlib.suppress(OSError):
            return self.log.read_text(encoding="utf-8", errors="replace")
        return ""


def main() -> None:
    """Starts everything, then watches it."""
    demo = asked_for()
    signal.signal(signal.SIGTERM, stop_on_signal)
    signal.signal(signal.SIGINT, stop_on_signal)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup asks to ignore it
        signal.signal(signal.SIGHUP, stop_on_signal)
    if "MAKELEVEL" in os.environ:
        die_with_parent(signal.SIGTERM)  # make killed outright must not leave a demo behind
    os.umask(0o077)
    started: list[Child] = []
    try:
        with only_one_here():
            refuse_busy_ports(demo)
            write_environment(demo)
            bring_up(demo, started)
            announce(demo)
            watch(started)
    except (Stop, KeyboardInterrupt):
        say("\nStopping.")
    finally:
        stop(started)


def bring_up(demo: Demo, started: list[Child]) -> None:
    """Cloud and database side by side, then the customers, then what serves them."""
    sandbox, *rest = children(demo)
    begin(sandbox, started)
    static = spawn(manage("collectstatic", "--noinput", "-v0"), LOGS / "collectstatic.log")
    finish(spawn(manage("migrate", "-v0"), LOGS / "migrate.log"), "migrate")
    wait_for(lambda: get(demo.sandbox_port, "/_sandbox/personas") is not None, "the sandbox", [sandbox])
    finish(spawn(manage("sync_customers", "--unless-there"), LOGS / "first-sync.log"), "first-sync")
    finish(static, "collectstatic")
    for child in rest:
        begin(child, started)
    web, worker, beat = rest
    wait_for(lambda: get(demo.port, "/livez") is not None, "the portal", [web])
    wait_for(lambda: " ready." in worker.lines_of_this_run(), "the worker", [worker])
    wait_for(lambda: "beat: Starting" in beat.lines_of_this_run(), "the scheduler", [beat])


def children(demo: Demo) -> list[Child]:
    """The four processes of a demo."""
    celery = [sys.executable, "-m", "celery", "-A", "partnerportal"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [
        Child("sandbox", manage("sandbox", "--port", str(demo.sandbox_port), "--profile", demo.profile)),
        Child("web", [sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{demo.port}", "--workers", "1"]),
        Child("worker", [*celery, "worker", "--pool", "threads", "--concurrency", "4", "--loglevel", "INFO", *quiet]),
        Child("beat", [*celery, "beat", "--loglevel", "INFO", "--pidfile="]),
    ]


def begin(child: Child, started: list[Child]) -> None:
    child.start()
    started.append(child)


def watch(started: list[Child]) -> NoReturn:
    """Starts again what dies, until a signal ends this."""
    while True:
        for child in started:
            if child.process is None or child.process.poll() is None:
                continue
            if not child.died_at:
                child.died_at = time.monotonic()
                say(f"The {child.name} ended ({child.process.returncode}); see {child.log}")
                kill_group(child, signal.SIGKILL)
            elif time.monotonic() - child.died_at >= RESTART_AFTER:
                child.died_at = 0.0
                child.start()
                say(f"The {child.name} runs again.")
        time.sleep(0.1)


def stop(started: list[Child]) -> None:
    """Ends all children: politely, then not."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for child in started:
        kill_group(child, signal.SIGTERM)
    until = time.monotonic() + STOP_WITHIN
    for child in started:
        if child.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.1, until - time.monotonic()))
            kill_group(child, signal.SIGKILL)
            child.process.wait()


# --- Before anything starts ---------------------------------------------------------------------------------


def asked_for() -> Demo:
    """PORT, SANDBOX_PORT and PROFILE."""
    profile = os.environ.get("PROFILE", "demo")
    if profile not in ("demo", "large", "empty"):
        sys.exit(f"PROFILE is {profile}. Choose demo, large or empty.")
    demo = Demo(port_from("PORT", "8000"), port_from("SANDBOX_PORT", "8001"), profile)
    if demo.port == demo.sandbox_port:
        sys.exit(f"PORT and SANDBOX_PORT are both {demo.port}. Choose two.")
    return demo


def port_from(name: str, default: str) -> int:
    value = os.environ.get(name, default)
    if not (value.isdecimal() and 0 < int(value) < 65536):
        sys.exit(f"{name} is {value}. Choose a number from 1 to 65535.")
    return int(value)


def refuse_busy_ports(demo: Demo) -> None:
    for name, port in (("PORT", demo.port), ("SANDBOX_PORT", demo.sandbox_port)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                sys.exit(f"Port {port} cannot be used ({error.strerror}). Choose another: make demo {name}={port + 80}")


@contextlib.contextmanager
def only_one_here() -> Iterator[None]:
    """Two demos must not share one var/."""
    LOGS.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (VAR / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit(f"A demo runs from this folder already (it holds {VAR / 'demo.lock'}).")
        yield


def write_environment(demo: Demo) -> None:
    """var/demo.env: the keys of the first start, and what follows from the ports."""
    kept = read_environment()
    # Each profile is a cloud of its own, so each has a database of its own.
    database = VAR / ("portal.sqlite3" if demo.profile == "demo" else f"portal-{demo.profile}.sqlite3")
    values = {
        "DATABASE_URL": f"sqlite:///{database}",
        "SECRET_KEY": kept.get("SECRET_KEY") or secrets.token_urlsafe(50),
        "VAULT_KEYS": kept.get("VAULT_KEYS") or Fernet.generate_key().decode(),
        "ALLOWED_HOSTS": f"{HOST},localhost",
        "PUBLIC_URL": demo.url,
        "ENTRA_TENANT_ID": seed.PARTNER_TENANT_ID,
        "ENTRA_CLIENT_ID": seed.CLIENT_ID,
        "ENTRA_CLIENT_SECRET": seed.CLIENT_SECRET,
        "AVEPOINT_CLIENT_ID": seed.AVEPOINT_CLIENT_ID,
        "AVEPOINT_CLIENT_SECRET": seed.AVEPOINT_CLIENT_SECRET,
        "GDAP_API_USERNAME": seed.GDAP_API_USERNAME,
        "GDAP_API_PASSWORD": seed.GDAP_API_PASSWORD,
        "UPSTREAM_ROUTES": json.dumps({f"https://{host}": demo.cloud for host in UPSTREAM_HOSTS}),
        "CLOCK_OFFSET_FILE": str(VAR / "clock_offset"),
    }
    text = "# Written by `make demo`; the two keys stay, the rest is made anew each time.\n"
    text += "".join(f"{name}={value}\n" for name, value in values.items())
    ENV_FILE.touch(mode=0o600)
    ENV_FILE.chmod(0o600)
    ENV_FILE.write_text(text, encoding="utf-8")


def read_environment() -> dict[str, str]:
    if not ENV_FILE.exists():
        return {}
    lines = ENV_FILE.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def announce(demo: Demo) -> None:
    """The address, and who can sign in."""
    personas: list[dict[str, Any]] = json.loads(get(demo.sandbox_port, "/_sandbox/personas") or b"[]")
    wide = max((len(person["name"]) for person in personas), default=0)
    say(f"\nPartner Desk answers at {demo.url}/ (its pretend cloud at {demo.cloud}, its log in {LOGS})\n")
    say("Sign in as:")
    for person in personas:
        say(f"  {person['key']:<9} {person['name']:<{wide}}  {person['note']}")
    forget = "`make clean-demo` forgets it" if VAR == ROOT / "var" else f"delete {VAR} to forget it"
    say(f"\nCtrl-C ends it; {forget}.")


def say(words: str) -> None:
    """Prints, when anybody listens: a closed pipe is no reason to stop."""
    with contextlib.suppress(OSError):
        print(words, flush=True)


# --- Processes ----------------------------------------------------------------------------------------------


def manage(*arguments: str) -> list[str]:
    return [sys.executable, "manage.py", *arguments]


def spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """A child that hears of no Ctrl-C, sees no setting of this shell, and dies with us."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=kept | {"ENV_FILE": str(ENV_FILE), "VAR_DIR": str(VAR), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - there are no threads here
        )


def die_with_parent(number: signal.Signals) -> None:
    """Asks the kernel for a signal when the process that started this one is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def kill_group(child: Child, number: signal.Signals) -> None:
    if child.process is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, number)


def finish(process: subprocess.Popen[bytes], name: str) -> None:
    """Waits for a step that must succeed."""
    try:
        if process.wait() == 0:
            return
    except Stop:
        process.kill()
        raise
    give_up(f"The step {name} failed.", LOGS / f"{name}.log")


def wait_for(done: Any, what: str, needed: list[Child]) -> None:
    """Polls until `done()`; gives up when a child it needs has died or it takes too long."""
    until = time.monotonic() + READY_WITHIN
    while not done():
        for child in needed:
            if child.process is not None and child.process.poll() is not None:
                give_up(f"{what.capitalize()} ended while starting.", child.log)
        if time.monotonic() > until:
            give_up(f"{what.capitalize()} does not answer after {READY_WITHIN:.0f} s.", needed[0].log)
        time.sleep(0.05)


def give_up(sentence: str, log: Path) -> NoReturn:
    tail = log.read_bytes()[-3000:].decode(errors="replace") if log.exists() else ""
    sys.exit(f"{sentence} The end of {log}:\n{tail}")


def get(port: int, path: str) -> bytes | None:
    """The body of a 2xx answer; None for anything else."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body: bytes = answer.read()
        return body if 200 <= answer.status < 300 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def stop_on_signal(_number: int, _frame: object) -> NoReturn:
    raise Stop


if __name__ == "__main__":
    main()
