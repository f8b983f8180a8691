"""Connections kept open, whose sockets know when to stop.

requests and urllib3 limit each read, not the whole: a byte every second keeps them for ever. These sockets give
every read and write only the time that the exchange of the running thread has left. Nothing here chooses where to
go: an adapter talks to the one origin it was made for (TRUST T19).
"""

import ipaddress
import logging
import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from django.conf import settings
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.connection import create_connection

IDLE_LIMIT = 60.0  # seconds after which a firewall on the way may have forgotten a pooled connection
POOL = 32  # connections kept open for each origin

# urllib3 prints whole URLs when an answer's headers are odd; a query may hold a password (GDAP API).
for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(lambda record: record.levelno >= logging.ERROR)


@dataclass
class Exchange:
    """What the sockets of the running thread need to know (a time.monotonic()), and what they found out."""

    deadline: float
    connecting: bool = False


_current = threading.local()


@contextmanager
def exchange(deadline: float) -> Iterator[Exchange]:
    """All connections that this thread uses inside stop at `deadline`."""
    _current.exchange = found = Exchange(deadline)
    try:
        yield found
    finally:
        _current.exchange = None


# --- Sockets ------------------------------------------------------------------------------------------------


def _left() -> float:
    now: Exchange | None = getattr(_current, "exchange", None)
    left = now.deadline - time.monotonic() if now is not None else 0.0
    if left <= 0:
        raise TimeoutError("The time for this call is used up")
    return left


class _Socket(socket.socket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left())
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self.settimeout(_left())
        super().sendall(*args, **kwargs)


class _TLSSocket(ssl.SSLSocket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left())
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left())
        return super().send(*args, **kwargs)


class _Bounded(HTTPConnection):
    """Connects within UPSTREAM_CONNECT_TIMEOUT, name look-up and all addresses together."""

    _used_at = 0.0

    def connect(self) -> None:
        now: Exchange | None = getattr(_current, "exchange", None)
        if now is None:
            raise TimeoutError("A connection outside of a call")
        now.connecting = True
        super().connect()
        now.connecting = False

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._used_at = time.monotonic()
        super().request(*args, **kwargs)

    @property
    def is_connected(self) -> bool:
        return super().is_connected and time.monotonic() - self._used_at < IDLE_LIMIT

    def _new_conn(self) -> socket.socket:
        limit = min(float(settings.UPSTREAM_CONNECT_TIMEOUT), _left())
        until = time.monotonic() + limit
        problem: OSError = TimeoutError("Connecting took too long")
        try:
            for address in _addresses(self._dns_host, limit):
                if (left := until - time.monotonic()) <= 0:
                    break
                try:
                    plain = create_connection((address, self.port), left, socket_options=self.socket_options)
                except OSError as error:
                    problem = error
                else:
                    bounded = _Socket(plain.family, plain.type, plain.proto, fileno=plain.detach())
                    bounded.settimeout(max(0.01, until - time.monotonic()))  # the TLS handshake comes under it, too
                    return bounded
        except OSError as error:
            problem = error
        raise urllib3.exceptions.NewConnectionError(self, f"No connection: {type(problem).__name__}")


class _BoundedTLS(_Bounded, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Bounded


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedTLS


def _addresses(host: str, limit: float) -> list[str]:
    """The addresses of a host within `limit` seconds: getaddrinfo itself knows no timeout."""
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    found: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found.put([str(row[4][0]) for row in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)])
        except (OSError, UnicodeError):
            found.put(OSError("The name is unknown"))

    threading.Thread(target=look_up, name="upstream-dns", daemon=True).start()
    try:
        outcome = found.get(timeout=limit)
    except queue.Empty:
        return []
    if isinstance(outcome, OSError):
        raise outcome
    return outcome


# --- Connections kept open ----------------------------------------------------------------------------------


class _Origin(HTTPAdapter):
    """Talks to one origin and to nothing else, or to the loopback address that stands for it (UPSTREAM_ROUTES)."""

    def __init__(self, origin: str, target: str) -> None:
        self._host = urlsplit(origin).netloc
        self._target = target
        super().__init__(pool_connections=1, pool_maxsize=POOL)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(
            connections, maxsize, block, ssl_context=_tls_context(DEFAULT_CA_BUNDLE_PATH), **pool_kwargs
        )
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        return self.poolmanager.connection_from_url(self._target)

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """The TLS context verifies already; requests would load the certificates again for each connection."""

    def add_headers(self, request: requests.PreparedRequest, **kwargs: Any) -> None:
        request.headers["Host"] = self._host


@lru_cache
def _tls_context(authorities: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authorities)
    context.sslsocket_class = _TLSSocket
    return context


_adapters: dict[tuple[str, str], _Origin] = {}
_adapters_lock = threading.Lock()


def adapter(origin: str) -> HTTPAdapter:
    """The adapter that talks to `origin` and to nothing else, or to what UPSTREAM_ROUTES puts in its place."""
    target = settings.UPSTREAM_ROUTES.get(origin, origin)
    with _adapters_lock:
        if (origin, target) not in _adapters:
            _adapters[origin, target] = _Origin(origin, target)
        return _adapters[origin, target]


def forget_connections() -> None:
    """Close what is kept open (tests, and each process after a fork)."""
    with _adapters_lock:
        for kept in _adapters.values():
            kept.close()
        _adapters.clear()


os.register_at_fork(after_in_child=_adapters.clear)
