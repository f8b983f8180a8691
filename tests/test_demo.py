"""`make demo`: what dies comes back, and nothing outlives the supervisor, whatever ends it."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tests.settings import free_port

ROOT = Path(settings.BASE_DIR)


class RunningDemo:
    """A demo in a folder of its own, with the processes that belong to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.sandbox_port = free_port(), free_port()
        self.log = folder / "demo.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scripts.demo"],
                cwd=ROOT,
                # A shell's own settings must not leak into the demo.
                env={
                    "PATH": os.environ["PATH"],
                    "VAR_DIR": str(folder / "var"),
                    "PORT": str(self.port),
                    "SANDBOX_PORT": str(self.sandbox_port),
                    "SECRET_KEY": "short",
                    "GRAPH_URL": "https://graph.example",
                },
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.log.read_text()

    def members(self) -> dict[int, str]:
        """Every process that has this demo's folder in its environment, with its command line."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"VAR_DIR={self.folder}/var".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return {pid: line for pid, line in found.items() if line}

    def child(self, words: str) -> int:
        """The oldest process whose command line holds `words`."""
        return min((pid for pid, line in self.members().items() if words in line), default=0)

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def wait_until(true: Callable[[], object], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[RunningDemo]:
    running = RunningDemo(tmp_path)
    try:
        wait_until(lambda: "Ctrl-C ends it" in running.said() or running.process.poll() is not None, 90)
        assert running.process.poll() is None, running.said()
        yield running
    finally:
        for pid in running.members():
            os.kill(pid, signal.SIGKILL)
        running.process.wait()


def test_what_dies_comes_back_and_ctrl_c_leaves_nothing(demo):
    assert demo.answers()
    for words in ("manage.py sandbox", "celery -A partnerportal worker", "celery -A partnerportal beat", "gunicorn"):
        before = demo.child(words)
        assert before, words
        os.kill(before, signal.SIGKILL)
        wait_until(lambda before=before, words=words: demo.child(words) not in (0, before))
    wait_until(demo.answers)
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(20) == 0
    assert demo.members() == {}
    assert not demo.answers()


def test_the_keys_and_nothing_else_outlive_a_supervisor_that_was_killed_outright(demo):
    file = demo.folder / "var" / "demo.env"
    assert file.stat().st_mode & 0o777 == 0o600
    keys = [line for line in file.read_text().splitlines() if line.startswith(("SECRET_KEY=", "VAULT_KEYS="))]
    assert len(keys) == 2
    demo.process.kill()
    wait_until(lambda: not demo.members(), 5)
    demo.process.wait()
    again = RunningDemo(demo.folder)
    try:
        wait_until(lambda: "Ctrl-C ends it" in again.said(), 60)
        assert set(keys) <= set(file.read_text().splitlines())
    finally:
        again.process.terminate()
        again.process.wait(20)


def test_a_busy_port_is_said_in_one_sentence(tmp_path):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(
            [sys.executable, "-m", "scripts.demo"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path / "second"), "PORT": str(port)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Port {port} cannot be used")
    assert f"make demo PORT={port + 80}" in done.stderr
