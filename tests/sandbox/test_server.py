"""The process and the socket."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from partnerportal.sandbox.server import running_sandbox

from .conftest import Asker

ROOT = Path(__file__).parents[2]
BEARER = {"Authorization": "Bearer sandbox:admin:partnercenter"}


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    # An empty environment: the sandbox needs none.
    with subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"]}
    ) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            found = re.fullmatch(r"sandbox listening on http://127\.0\.0\.1:(\d+)\n", line)
            assert found, line
            yield child, int(found[1])
        finally:
            child.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_module_runs_on_a_free_port_and_ends_cleanly(number: int) -> None:
    with process("-m", "partnerportal.sandbox.server", "--port", "0", "--profile", "empty") as (child, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/_sandbox/personas")
        assert connection.getresponse().status == 200
        child.send_signal(number)
        assert child.wait(5) == 0
        connection.close()


@pytest.mark.skipif(not (ROOT / "manage.py").is_file(), reason="no manage.py beside this package")
def test_the_management_command_needs_no_environment() -> None:
    with process("manage.py", "sandbox", "--port", "0", "--profile", "empty") as (child, _):
        child.terminate()
        assert child.wait(5) == 0


def test_demo_listens_within_two_seconds() -> None:
    started = time.monotonic()
    with process("-m", "partnerportal.sandbox.server", "--port", "0"):
        assert time.monotonic() - started < 2


def test_it_listens_on_loopback_alone(asker: Asker) -> None:
    assert asker.url == f"http://127.0.0.1:{asker.sandbox.port}"
    with running_sandbox(profile="empty") as other:
        assert other.port != asker.sandbox.port


def test_one_connection_serves_many_calls(asker: Asker) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", asker.sandbox.port, timeout=5)
    connection.connect()
    kept = connection.sock
    for _ in range(5):
        connection.request("GET", "/_/partnercenter/v1/customers?size=1", headers=BEARER)
        response = connection.getresponse()
        response.read()
        assert (response.status, response.version) == (200, 11)
    assert connection.sock is kept
    connection.close()


def test_a_body_in_chunks_and_expect_100_are_understood(asker: Asker) -> None:
    path = f"/_/partnercenter/v1/customers/{'0' * 8}-0000-4000-8000-{'0' * 12}/users"
    connection = http.client.HTTPConnection("127.0.0.1", asker.sandbox.port, timeout=5)
    headers = {**BEARER, "Content-Type": "application/json"}
    connection.request("POST", path, body=iter([b'{"displayName":', b'"N"}']), headers=headers, encode_chunked=True)
    response = connection.getresponse()
    assert (response.status, asker.journal()[-1]["body"]) == (404, {"displayName": "N"})
    response.read()
    connection.close()
    with socket.create_connection(("127.0.0.1", asker.sandbox.port), timeout=5) as raw:
        raw.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n".encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 100")
        raw.sendall(b"{}")
        assert raw.recv(100).startswith(b"HTTP/1.1 401")


def test_a_hundred_callers_at_once_are_all_answered(asker: Asker) -> None:
    def one(_: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", asker.sandbox.port, timeout=20)
        connection.request("GET", "/_/partnercenter/v1/customers?size=5", headers=BEARER)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status

    with ThreadPoolExecutor(100) as pool:
        assert set(pool.map(one, range(200))) == {200}
