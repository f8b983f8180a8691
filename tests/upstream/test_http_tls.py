"""TLS: whose certificate is trusted, and how long a handshake may take."""

import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from partnerportal.upstream import connections
from partnerportal.upstream.errors import Unreachable
from partnerportal.upstream.http import budget, send

from .conftest import PARTNER_CENTER, Listener, reply
from .test_http import get, post


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A certificate for localhost that nobody but us trusts."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def tls(certificate: Any, listen: Any, settings: Any) -> Any:
    """Starts a TLS listener, reached as https://localhost."""

    def start(script: Any) -> Listener:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

        def wrapped(connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as secure:
                from .conftest import read_request

                while request := read_request(secure):
                    script(secure, request)

        listener: Listener = listen(lambda connection, request: None)
        listener._talk = lambda connection: _quietly(wrapped, connection)  # type: ignore[method-assign]
        settings.UPSTREAM_ROUTES = {PARTNER_CENTER: listener.url.replace("http://127.0.0.1", "https://localhost")}
        return listener

    return start


def _quietly(talk: Any, connection: socket.socket) -> None:
    try:
        talk(connection)
    except OSError:
        connection.close()


def test_a_certificate_that_nobody_signed_is_not_trusted(tls: Any) -> None:
    tls(lambda connection, request: connection.sendall(reply()))
    for call in (get(), post(json={})):
        with pytest.raises(Unreachable) as caught:
            send(call)
        assert not caught.value.sent
        assert not caught.value.retryable
        assert str(caught.value) == "Partner Center was not asked: its certificate is not valid."


def test_tls_works_and_its_deadline_holds(tls: Any, certificate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "DEFAULT_CA_BUNDLE_PATH", str(certificate))
    answers = [reply(b'{"a":1}'), None]

    def script(connection: Any, request: bytes) -> None:
        answer = answers.pop(0)
        if answer:
            connection.sendall(answer)
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" ")
            time.sleep(0.05)

    tls(script)
    assert send(get()).body == b'{"a":1}'
    began = time.monotonic()
    with pytest.raises(Unreachable) as caught, budget(0.4):
        send(post(json={}))
    assert time.monotonic() - began < 1.0
    assert caught.value.ambiguous


def test_a_handshake_that_never_ends_was_not_sent(listen: Any, settings: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.UPSTREAM_ROUTES = {PARTNER_CENTER: f"https://127.0.0.1:{server.getsockname()[1]}"}
        settings.UPSTREAM_CONNECT_TIMEOUT = 0.3
        began = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            send(post(json={}))
        assert time.monotonic() - began < 1.0
        assert not caught.value.sent


def test_a_connection_outside_of_a_call_has_no_time() -> None:
    with pytest.raises(TimeoutError):
        connections._Bounded("127.0.0.1", 9).connect()
    with pytest.raises(TimeoutError):
        connections._left()
