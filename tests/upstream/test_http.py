"""The transport: what leaves, how long it may take, and what happens when the other side is broken or hostile."""

import contextvars
import copy
import gzip
import logging
import pickle
import socket
import threading
import time
from typing import Any

import pytest

from partnerportal.upstream import connections
from partnerportal.upstream.errors import Unintelligible, Unreachable
from partnerportal.upstream.http import Call, Secret, allowed_origins, budget, origin_of, remaining, send
from partnerportal.upstream.payload import expect

from .conftest import PARTNER_CENTER, Listener, reply

URL = f"{PARTNER_CENTER}/v1/customers"
SOURCE = "Partner Center"


def get(url: str = URL, **more: Any) -> Call:
    return Call(source=SOURCE, method="GET", url=url, **more)


def post(url: str = URL, **more: Any) -> Call:
    return Call(source=SOURCE, method="POST", url=url, **more)


# --- What leaves --------------------------------------------------------------------------------------------


def test_a_call_leaves_as_it_was_written(listen: Any) -> None:
    listener: Listener = listen(lambda connection, request: connection.sendall(reply(b'{"a":1}')))
    answer = send(
        get(
            token=Secret("tok"),
            params=[("$filter", "status eq 'active'"), ("size", "5")],
            headers={"MS-RequestId": "one"},
        )
    )
    assert (answer.status, answer.body) == (200, b'{"a":1}')
    head = listener.requests[0].decode()
    assert head.startswith("GET /v1/customers?$filter=status%20eq%20'active'&size=5 HTTP/1.1\r\n")
    assert "\r\nHost: api.partnercenter.microsoft.com\r\n" in head
    assert "\r\nAuthorization: Bearer tok\r\n" in head
    assert "\r\nMS-RequestId: one\r\n" in head
    assert "\r\nAccept: application/json\r\n" in head
    assert "Cookie" not in head


def test_json_and_forms_carry_their_secrets_in_the_clear_only_on_the_wire(listen: Any) -> None:
    listener = listen(lambda connection, request: connection.sendall(reply()))
    call = post(json={"name": "Zoë", "passwordProfile": {"password": Secret("pw-1234")}})
    assert "pw-1234" not in repr(call)
    send(call)
    assert listener.requests[0].endswith('{"name":"Zoë","passwordProfile":{"password":"pw-1234"}}'.encode())
    send(post(form=[("grant_type", "client_credentials"), ("client_secret", Secret("s&=1"))]))
    assert listener.requests[1].endswith(b"grant_type=client_credentials&client_secret=s%26%3D1")
    assert b"Content-Type: application/x-www-form-urlencoded\r\n" in listener.requests[1]
    send(post(url=f"{URL}?a=b", params=[("password", Secret("p w"))], body=b"raw"))
    assert listener.requests[2].startswith(b"POST /v1/customers?a=b&password=p%20w ")
    assert listener.requests[2].endswith(b"\r\n\r\nraw")


def test_a_post_without_a_body_says_so(listen: Any) -> None:
    listener = listen(lambda connection, request: connection.sendall(reply()))
    send(post())
    assert b"Content-Length: 0\r\n" in listener.requests[0]


def test_connections_are_kept_and_used_again(listen: Any) -> None:
    listener = listen(lambda connection, request: connection.sendall(reply()))
    for _ in range(3):
        send(get())
    assert (len(listener.requests), listener.connections) == (3, 1)


def test_a_connection_that_was_idle_for_long_is_not_trusted(listen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = listen(lambda connection, request: connection.sendall(reply()))
    send(get())
    monkeypatch.setattr(connections, "IDLE_LIMIT", 0.0)
    send(post())
    assert listener.connections == 2


def test_cookies_are_not_kept(listen: Any) -> None:
    listener = listen(lambda connection, request: connection.sendall(reply(headers="Set-Cookie: a=b\r\n")))
    send(get())
    send(get())
    assert b"Cookie" not in listener.requests[1]


def test_proxies_of_the_environment_are_ignored(listen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    listen(lambda connection, request: connection.sendall(reply()))
    assert send(get()).status == 200


def test_a_redirect_with_a_password_is_not_followed(listen: Any) -> None:
    listener = listen(
        lambda connection, request: connection.sendall(
            reply(b"", status="307 Temporary Redirect", headers=f"Location: {PARTNER_CENTER}/elsewhere\r\n")
        )
    )
    answer = send(post(json={"password": Secret("pw-1234")}))
    assert (answer.status, len(listener.requests)) == (307, 1)
    with pytest.raises(Unintelligible) as caught:
        expect(answer, 200)
    assert caught.value.ambiguous


# --- Where it may go ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://api.partnercenter.microsoft.com/v1",
        "https://evil.example/v1",
        "https://api.partnercenter.microsoft.com.evil.example/v1",
        "https://api.partnercenter.microsoft.com@evil.example/v1",
        "https://user:pw@api.partnercenter.microsoft.com/v1",
        "https://api.partnercenter.microsoft.com:8443/v1",
        "https://api.partnercenter.microsoft.com:x/v1",
        "https://api.partnercenter.microsoft.com\\@evil.example/v1",
        "https://api.partnercenter.microsoft.com /v1",
        "https://api.partnercenter.microsoft.com/v1\r\nHost: evil.example",
        "https://[::1]/v1",
        "https://[/v1",
        "https:///v1",
        "//api.partnercenter.microsoft.com/v1",
        "file:///etc/passwd",
        "",
    ],
)
def test_an_address_outside_the_settings_is_refused_before_a_byte_leaves(url: str) -> None:
    with pytest.raises(Unreachable) as caught:
        send(get(url, token=Secret("tok")))
    assert not caught.value.sent
    assert not caught.value.ambiguous
    assert str(caught.value) == "Partner Center was not asked: the address is none of those in the settings."


def test_port_443_may_be_spelled_out() -> None:
    assert origin_of("https://API.partnercenter.microsoft.com:443/v1") == PARTNER_CENTER


def test_the_settings_decide_who_may_be_asked(settings: Any) -> None:
    settings.PARTNER_CENTER_URL = "https://partner.partnercenterapi.microsoftonline.cn"
    assert "https://partner.partnercenterapi.microsoftonline.cn" in allowed_origins()
    assert PARTNER_CENTER not in allowed_origins()


# --- How long it may take -----------------------------------------------------------------------------------


def drip(piece: bytes, every: float = 0.05) -> Any:
    def script(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" if piece.startswith(b"X") else b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(piece)
            time.sleep(every)

    return script


@pytest.mark.parametrize("piece", [b"X-Drip: 1\r\n", b"X", b" "])
def test_a_dripping_answer_ends_at_the_deadline(listen: Any, piece: bytes) -> None:
    listen(drip(piece))
    began = time.monotonic()
    with pytest.raises(Unreachable) as caught, budget(0.5):
        send(get())
    assert 0.4 < time.monotonic() - began < 1.0
    assert caught.value.sent
    assert str(caught.value) == "Partner Center did not answer in 1 second."


def test_a_dripping_chunked_answer_ends_at_the_deadline(listen: Any) -> None:
    def script(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1\r\n \r\n")
            time.sleep(0.05)

    listen(script)
    began = time.monotonic()
    with pytest.raises(Unreachable), budget(0.4):
        send(get())
    assert time.monotonic() - began < 1.0


def test_silence_ends_at_the_deadline_and_a_write_is_then_ambiguous(listen: Any) -> None:
    listener = listen(lambda connection, request: time.sleep(4))
    with pytest.raises(Unreachable) as caught, budget(1.5):
        send(post(json={}, request_id="r-1", correlation_id="c-1"))
    error = caught.value
    assert error.ambiguous
    assert not error.retryable
    assert (error.request_id, error.correlation_id) == ("r-1", "c-1")
    assert len(listener.requests) == 1


def test_a_server_that_does_not_read_ends_at_the_deadline() -> None:
    """The kernel takes some of the body, so the request may have left."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("django.conf.settings.UPSTREAM_ROUTES", {PARTNER_CENTER: target})
            began = time.monotonic()
            with pytest.raises(Unreachable) as caught, budget(0.4):
                send(post(body=b"x" * 30_000_000))
            assert time.monotonic() - began < 1.5
            assert caught.value.ambiguous


def test_budgets_are_shared_and_the_smaller_wins(settings: Any) -> None:
    assert remaining() == settings.UPSTREAM_BUDGET
    with budget(5):
        with budget(60):
            assert 4 < remaining() <= 5
        with budget(1):
            assert remaining() <= 1
        assert remaining() > 4
        context = contextvars.copy_context()
        found: list[float] = []
        thread = threading.Thread(target=lambda: found.append(context.run(remaining)))
        thread.start()
        thread.join()
        assert found[0] <= 5
    assert remaining() == settings.UPSTREAM_BUDGET


def test_nothing_is_sent_when_no_time_is_left(listen: Any) -> None:
    listener = listen(lambda connection, request: connection.sendall(reply()))
    with pytest.raises(Unreachable) as caught, budget(0):
        send(post())
    assert not caught.value.ambiguous
    assert str(caught.value) == "There was no time left to ask Partner Center."
    assert listener.requests == []


# --- What may break -----------------------------------------------------------------------------------------


@pytest.fixture
def closed_port(settings: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    settings.UPSTREAM_ROUTES = {PARTNER_CENTER: f"http://127.0.0.1:{port}"}


@pytest.mark.usefixtures("closed_port")
def test_a_closed_port_means_it_was_not_sent(no_waiting: list[float]) -> None:
    with pytest.raises(Unreachable) as caught:
        send(post(json={}))
    assert not caught.value.sent
    assert not caught.value.ambiguous
    assert str(caught.value) == "Partner Center cannot be reached."
    assert no_waiting == []
    with pytest.raises(Unreachable) as caught:
        send(get())
    assert caught.value.retryable
    assert len(no_waiting) == 2


def test_an_unknown_name_means_it_was_not_sent(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.UPSTREAM_ROUTES = {}

    def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(Unreachable) as caught:
        send(post(json={}))
    assert not caught.value.sent


def test_a_name_look_up_that_hangs_ends_with_the_connect_timeout(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.UPSTREAM_ROUTES = {}
    settings.UPSTREAM_CONNECT_TIMEOUT = 0.2
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(5) and [])
    began = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        send(post(json={}))
    release.set()
    assert time.monotonic() - began < 1
    assert not caught.value.sent


def test_every_address_of_a_name_is_tried_within_one_timeout(
    listen: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = listen(lambda connection, request: connection.sendall(reply()))
    port = listener.url.rsplit(":", 1)[1]
    settings.UPSTREAM_ROUTES = {PARTNER_CENTER: f"http://localhost:{port}"}
    found = [(socket.AF_INET6, 1, 6, "", ("::1", 0, 0, 0)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", 0))]
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: found if host == "localhost" else real(host, *a, **k)
    )
    assert send(get()).status == 200


def test_further_addresses_are_left_when_the_time_is_up(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.UPSTREAM_ROUTES = {}
    settings.UPSTREAM_CONNECT_TIMEOUT = 0.1
    tried: list[str] = []

    def hang(address: tuple[str, int], *_: Any, **__: Any) -> None:
        tried.append(address[0])
        time.sleep(0.15)
        raise TimeoutError

    monkeypatch.setattr(connections, "create_connection", hang)
    monkeypatch.setattr(connections, "_addresses", lambda *_: ["192.0.2.1", "192.0.2.2"])
    with pytest.raises(Unreachable) as caught:
        send(post())
    assert tried == ["192.0.2.1"]
    assert not caught.value.sent


@pytest.mark.parametrize("cut", [b"", b"HTTP/1.1 20", reply(b'{"items":[')[:-1] + b"", b"nonsense\r\n\r\n"])
def test_a_connection_that_breaks_off_leaves_a_write_unknown(listen: Any, cut: bytes) -> None:
    def script(connection: socket.socket, request: bytes) -> None:
        connection.sendall(cut)
        connection.shutdown(socket.SHUT_RDWR)

    listener = listen(script)
    with pytest.raises(Unreachable) as caught:
        send(post(json={}))
    assert caught.value.ambiguous
    assert str(caught.value) == "Partner Center broke the connection off before it had answered."
    assert len(listener.requests) == 1


def test_a_reset_leaves_a_write_unknown(listen: Any) -> None:
    def script(connection: socket.socket, request: bytes) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        connection.close()

    listen(script)
    with pytest.raises(Unreachable) as caught:
        send(post(json={}))
    assert caught.value.ambiguous


def test_a_truncated_body_is_no_answer(listen: Any, no_waiting: list[float]) -> None:
    def script(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"items":[')
        connection.shutdown(socket.SHUT_RDWR)

    listener = listen(script)
    with pytest.raises(Unreachable):
        send(get())
    assert len(listener.requests) == 3


def test_a_refusal_whose_body_breaks_off_is_still_a_refusal(listen: Any) -> None:
    def script(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b'HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\n{"code":')
        connection.shutdown(socket.SHUT_RDWR)

    listen(script)
    answer = send(post(json={}))
    assert (answer.status, answer.body) == (403, b"")


def test_too_many_headers_are_no_answer(listen: Any) -> None:
    listen(lambda connection, request: connection.sendall(reply(headers="X: y\r\n" * 200)))
    with pytest.raises(Unreachable):
        send(post())


def test_a_packed_body_is_unpacked(listen: Any) -> None:
    packed = gzip.compress(b'{"a":1}')
    listen(lambda connection, request: connection.sendall(reply(packed, headers="Content-Encoding: gzip\r\n")))
    assert send(get()).body == b'{"a":1}'


@pytest.mark.parametrize("chunked", [False, True])
def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(listen: Any, settings: Any, chunked: bool) -> None:
    settings.UPSTREAM_BODY_LIMIT = 100_000
    bomb = gzip.compress(b"0" * 50_000_000)

    def script(connection: socket.socket, request: bytes) -> None:
        if chunked:
            head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.sendall(head + f"{len(bomb):x}\r\n".encode() + bomb + b"\r\n0\r\n\r\n")
        else:
            connection.sendall(reply(bomb, headers="Content-Encoding: gzip\r\n"))

    listen(script)
    began = time.monotonic()
    with pytest.raises(Unintelligible) as caught:
        send(post(json={}))
    assert caught.value.ambiguous
    assert time.monotonic() - began < 2


def test_a_body_over_the_limit_is_refused(listen: Any, settings: Any) -> None:
    settings.UPSTREAM_BODY_LIMIT = 10
    listen(lambda connection, request: connection.sendall(reply(b"x" * 11)))
    with pytest.raises(Unintelligible):
        send(get())


def test_a_body_that_is_not_packed_as_it_says_is_refused(listen: Any) -> None:
    listen(lambda connection, request: connection.sendall(reply(b"plain", headers="Content-Encoding: gzip\r\n")))
    with pytest.raises(Unintelligible) as caught:
        send(get())
    assert caught.value.status == 200


def test_what_cannot_be_written_is_not_sent(listen: Any) -> None:
    listener = listen(lambda connection, request: connection.sendall(reply()))
    with pytest.raises(Unreachable) as caught:
        send(post(json={"name": "\ud800"}))
    assert not caught.value.sent
    with pytest.raises(Unreachable) as caught:
        send(post(headers={"X": "a\r\nb"}))
    assert not caught.value.sent
    assert listener.requests == []


# --- Secrets and the log ------------------------------------------------------------------------------------


def test_a_secret_does_not_print_itself() -> None:
    secret = Secret("hunter2-hunter2")
    for text in (repr(secret), str(secret), f"{secret}", f"{secret:>20}", "%s" % secret, repr([secret])):  # noqa: UP031
        assert "hunter2" not in text
    assert secret.reveal() == "hunter2-hunter2"
    assert secret == Secret("hunter2-hunter2")
    assert secret != Secret("other")
    assert secret != "hunter2-hunter2"
    assert len({secret, Secret("hunter2-hunter2")}) == 1
    assert bool(secret)
    assert not Secret("")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.deepcopy(secret)


def test_the_log_has_one_line_a_call_and_neither_query_nor_secret(
    listen: Any, caplog: pytest.LogCaptureFixture
) -> None:
    listen(lambda connection, request: connection.sendall(reply()))
    with caplog.at_level(logging.INFO):
        send(
            get(
                token=Secret("tok-secret"),
                params=[("password", Secret("pw-secret")), ("email", "maya@example.com")],
                request_id="r-1",
            )
        )
    lines = [record.getMessage() for record in caplog.records if record.name == "partnerportal.upstream.http"]
    assert len(lines) == 1
    assert lines[0].startswith("Partner Center GET /v1/customers: 200 in ")
    assert lines[0].endswith("ms (request r-1)")
    assert not any(word in caplog.text for word in ("tok-secret", "pw-secret", "maya@"))


def test_odd_headers_do_not_put_the_query_into_the_log(listen: Any, caplog: pytest.LogCaptureFixture) -> None:
    listen(
        lambda connection, request: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n: odd\r\nx\r\n\r\n{}")
    )
    with caplog.at_level(logging.WARNING):
        send(get(params=[("password", Secret("pw-secret"))]))
    assert "pw-secret" not in caplog.text


def test_a_failure_carries_no_secret_in_any_corner(listen: Any) -> None:
    def script(connection: socket.socket, request: bytes) -> None:
        connection.shutdown(socket.SHUT_RDWR)

    listen(script)
    with pytest.raises(Unreachable) as caught:
        send(post(token=Secret("tok-secret"), json={"p": Secret("pw-secret")}))
    error = caught.value
    assert "secret" not in f"{error!r} {error.args} {vars(error)}"
    assert error.__cause__ is None
    assert error.__context__ is None


def test_many_threads_share_the_connections(listen: Any) -> None:
    listener = listen(lambda connection, request: connection.sendall(reply(request.split(b" ")[1].rsplit(b"/", 1)[1])))
    found: dict[int, bytes] = {}

    def ask(number: int) -> None:
        for _ in range(5):
            found[number] = send(get(f"{URL}/{number}", token=Secret(f"tok-{number}"))).body

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: str(number).encode() for number in range(30)}
    for request in listener.requests:
        number = request.split(b" ")[1].rsplit(b"/", 1)[1]
        assert b"Bearer tok-" + number + b"\r\n" in request
