"""The sandbox's socket: HTTP/1.1 on 127.0.0.1, one thread a connection.

`python -m partnerportal.sandbox.server --port 8001 --profile demo` is the whole pretend cloud in a process; a test may
have one inside its own process:

    with running_sandbox(profile="demo") as sandbox:
        requests.get(f"{sandbox.url}/_/partnercenter/v1/customers", …)
"""

from __future__ import annotations

import argparse
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .cloud import Cloud
from .dispatch import Answer, Sandbox
from .faults import Faults
from .journal import Journal

PROFILES = ("demo", "large", "empty")
_LARGEST_BODY = 30_000_000


class SandboxServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512
    allow_reuse_address = True

    def __init__(self, port: int, sandbox: Sandbox) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.sandbox = sandbox

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Without the look-up of our own name, which can take seconds on a machine without DNS."""
        # One that was killed leaves its connections behind for a minute; the next one must not wait for that.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.port

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is not news; anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 600
    server: SandboxServer

    def do_GET(self) -> None:
        body = self._body()
        if body is None:
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.sandbox.answer(self.command, self.path, headers, body, self.server.port)
        self._send(answer)

    do_POST = do_GET  # noqa: N815 - http.server's own names
    do_PATCH = do_GET  # noqa: N815
    do_PUT = do_GET  # noqa: N815
    do_DELETE = do_GET  # noqa: N815
    do_HEAD = do_GET  # noqa: N815
    do_OPTIONS = do_GET  # noqa: N815

    def _body(self) -> bytes | None:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(pieces)
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _LARGEST_BODY:
            self.close_connection = True
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return None
        body = self.rfile.read(int(length))
        return body if len(body) == int(length) else None

    def _send(self, answer: Answer) -> None:
        response = answer.response
        if response is None:
            self._hang_up()
            return
        reason = HTTPStatus(response.status).phrase if response.status in HTTPStatus._value2member_map_ else "Unknown"
        lines = [f"HTTP/1.1 {response.status} {reason}", f"Date: {formatdate(usegmt=True)}"]
        given = {name.lower() for name in response.headers}
        if "content-length" not in given and response.status != 304:
            lines.append(f"Content-Length: {len(response.body)}")
        lines += [f"{name}: {_one_line(value)}" for name, value in response.headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        body = b"" if self.command == "HEAD" else response.body
        if answer.drip:
            self._drip(head + body, *answer.drip)
        elif answer.cut is not None:
            self.wfile.write(head + body[: answer.cut])
            self.wfile.flush()
            self.close_connection = True
        else:
            self.wfile.write(head + body)

    def _drip(self, raw: bytes, size: int, seconds: float) -> None:
        for start in range(0, len(raw), max(size, 1)):
            self.wfile.write(raw[start : start + max(size, 1)])
            self.wfile.flush()
            time.sleep(seconds)

    def _hang_up(self) -> None:
        """Reset rather than a polite end, as a broken network would."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Silent: the journal tells who asked what, without secrets."""


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")


@dataclass(slots=True)
class RunningSandbox:
    """A sandbox that listens: for tests in the same process."""

    url: str
    port: int
    cloud: Cloud
    journal: Journal
    faults: Faults


def make_server(port: int = 0, profile: str = "demo") -> SandboxServer:
    """Bound and listening, not yet serving; port 0 takes a free one."""
    return SandboxServer(port, Sandbox(Cloud(profile)))


@contextmanager
def running_sandbox(profile: str = "demo", port: int = 0) -> Iterator[RunningSandbox]:
    server = make_server(port, profile)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    sandbox = server.sandbox
    try:
        yield RunningSandbox(
            f"http://127.0.0.1:{server.port}", server.port, sandbox.cloud, sandbox.journal, sandbox.faults
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def serve(port: int, profile: str) -> None:
    """Until SIGTERM or SIGINT; prints one line when it listens."""
    server = make_server(port, profile)

    def stop(signum: int, frame: object) -> None:
        # shutdown() waits for serve_forever, which runs in this very thread.
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    sys.stdout.write(f"sandbox listening on http://127.0.0.1:{server.port}\n")
    sys.stdout.flush()
    server.serve_forever(poll_interval=0.1)
    server.server_close()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="sandbox", description="The pretend cloud, on 127.0.0.1 only.")
    parser.add_argument("--port", type=int, default=8001, help="0 takes a free one")
    parser.add_argument("--profile", choices=PROFILES, default="demo")
    options = parser.parse_args(arguments)
    serve(options.port, options.profile)


if __name__ == "__main__":
    main()
