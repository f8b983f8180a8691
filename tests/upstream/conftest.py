"""Two tools: `wire` for one exchange down to its bytes, `listener` for what only a real socket can do."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import responses

from partnerportal.upstream import avepoint, http, tokens
from partnerportal.upstream.connections import forget_connections
from partnerportal.upstream.http import Secret

PARTNER_CENTER = "https://api.partnercenter.microsoft.com"
GRAPH = "https://graph.microsoft.com/v1.0"
TENANT = "4d3cf487-70f4-4e1e-9ff1-b2bfce8d9f04"
USER = "a45f1416-3300-4f65-9e8d-f123b397a4ea"
BOM = b"\xef\xbb\xbf"


def body(value: object, *, bom: bool = True) -> bytes:
    """A body as Partner Center writes it: compact, behind a BOM."""
    return (BOM if bom else b"") + json.dumps(value, separators=(",", ":")).encode()


def customer_pages(client: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of `client.customers()`, page by page."""
    for page in client.customers():
        yield tuple(row for stretch in page for row in stretch.rows)


def sent_text(call: responses.Call) -> str:
    """The body of a request."""
    sent = call.request.body
    assert isinstance(sent, bytes)
    return sent.decode()


@pytest.fixture
def token() -> Secret:
    return Secret("the-access-token")


@pytest.fixture
def wire() -> Iterator[responses.RequestsMock]:
    """Exchanges are scripted here; one that is not is an error."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    def forget() -> None:
        avepoint.forget_token()
        tokens.forget_http_cache()
        forget_connections()

    forget()
    yield
    forget()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between retries, which are not slept."""
    pauses: list[float] = []
    # Not time.sleep itself: the sandbox sleeps in the same process.
    monkeypatch.setattr(http, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pauses.append))
    return pauses


Script = Callable[[socket.socket, bytes], None]


@dataclass
class Listener:
    """A server made of a bare socket. `script` gets each connection with the request that came over it."""

    script: Script
    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    def serve(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(10)
            try:
                while request := read_request(connection):
                    self.requests.append(request)
                    self.script(connection, request)
            except OSError:
                return


def read_request(connection: socket.socket) -> bytes:
    """One whole request, b"" at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(rest) < length:
        rest += connection.recv(65536)
    return head + b"\r\n\r\n" + rest


def reply(payload: bytes = b"{}", *, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(payload)}\r\n{headers}\r\n".encode() + payload


@pytest.fixture
def listen(settings: Any) -> Iterator[Callable[[Script], Listener]]:
    """Starts a listener to which every upstream is rerouted."""
    servers: list[socket.socket] = []

    def start(script: Script) -> Listener:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        listener = Listener(script, f"http://127.0.0.1:{server.getsockname()[1]}")
        settings.UPSTREAM_ROUTES = dict.fromkeys(settings.UPSTREAM_ROUTES, listener.url)
        threading.Thread(target=listener.serve, args=(server,), daemon=True).start()
        return listener

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
