"""The one way out: every question to another service goes through `send`, MSAL's too.

Rules (TRUST 2.4, T12, T19): only https hosts of the settings; redirects, proxies and cookies off; a wall-clock
deadline that a dripping server cannot stretch; at most UPSTREAM_BODY_LIMIT unpacked bytes; reads retried inside
the budget, writes never. Query strings, headers and bodies are never logged.
"""

import hmac
import http.client
import json
import logging
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, NoReturn, Protocol
from urllib.parse import quote, urlencode, urlsplit

import requests
import urllib3.exceptions
from django.conf import settings
from requests.structures import CaseInsensitiveDict

from partnerportal import clock
from partnerportal.upstream.connections import Exchange, adapter, exchange
from partnerportal.upstream.errors import Unintelligible, Unreachable, UpstreamError

logger = logging.getLogger(__name__)

MAX_RETRIES = 2
LONGEST_WAIT = 5.0  # seconds that a read waits for a Retry-After; longer is the caller's to decide
LONGEST_RETRY_AFTER = 3600.0  # seconds
_TRY_AGAIN = re.compile(rb"[Tt]ry again in (\d{1,9}) seconds?")
RETRIED_STATUSES = frozenset({429, 502, 503, 504})


# --- Secrets ------------------------------------------------------------------------------------------------


class Secret:
    """A token or password that does not print itself. `reveal()` is for the wire and the vault only."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode("utf-8", "replace"), other._value.encode("utf-8", "replace"))

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not pickled")


# --- The time that is left ----------------------------------------------------------------------------------

_deadline: ContextVar[float | None] = ContextVar("upstream_deadline", default=None)


@contextmanager
def budget(seconds: float) -> Iterator[None]:
    """All upstream calls inside share `seconds`; a budget inside a budget is the smaller of both.

    A thread started inside shares it when it is run by `contextvars.copy_context().run`.
    """
    outer = _deadline.get()
    mine = time.monotonic() + seconds
    token = _deadline.set(mine if outer is None else min(mine, outer))
    try:
        yield
    finally:
        _deadline.reset(token)


def remaining() -> float:
    """Seconds left in the budget, never below 0; UPSTREAM_BUDGET when none is active."""
    deadline = _deadline.get()
    return float(settings.UPSTREAM_BUDGET) if deadline is None else max(0.0, deadline - time.monotonic())


# --- Whose turn it is ---------------------------------------------------------------------------------------


class Pacer(Protocol):
    """What lets calls go one after the other, for all processes that ask (`pace.py`)."""

    def turn(self, call: "Call") -> None:
        """Return when the call may go. Raises `Throttled` when that is too far away."""

    def slow_down(self, call: "Call", seconds: float | None) -> None:
        """The call was answered 429, with the seconds that it asks for."""


_pacer: ContextVar[Pacer | None] = ContextVar("upstream_pacer", default=None)


@contextmanager
def paced(pacer: Pacer) -> Iterator[None]:
    """Every try of a call inside waits for its turn; what is answered 429 is not tried again in here."""
    token = _pacer.set(pacer)
    try:
        yield
    finally:
        _pacer.reset(token)


# --- Question and answer ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Call:
    """One question. A `Secret` may stand in `params`, `form` or `json`: it is revealed on the wire only.

    `params` are pairs, encoded as %20 and with `$` kept, as OData pages print them. `replayable` marks a POST
    that only reads and may therefore be retried.
    """

    source: str
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Sequence[tuple[str, str | Secret]] = field(default=(), repr=False)
    json: Any = field(default=None, repr=False)
    form: Sequence[tuple[str, str | Secret]] | None = field(default=None, repr=False)
    body: bytes | None = field(default=None, repr=False)
    token: Secret | None = None
    request_id: str = ""
    correlation_id: str = ""
    replayable: bool = False

    @property
    def reads(self) -> bool:
        return self.replayable or self.method in ("GET", "HEAD")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back, whatever its status. `body` is unpacked; empty when a 4xx or 5xx broke off inside it."""

    source: str
    status: int
    headers: CaseInsensitiveDict[str] = field(repr=False)
    body: bytes = field(repr=False)
    took: float  # seconds, retries included
    reads: bool = True
    request_id: str = ""
    correlation_id: str = ""
    secrets: tuple[Secret, ...] = field(default=(), repr=False)


def send(call: Call) -> Answer:
    """The answer to one question, of any status; reads are retried (MAX_RETRIES) while the budget lasts.

    Raises Unreachable when there is no answer, Unintelligible when a 2xx cannot be unpacked or is too large, and
    inside `paced` Throttled, with `sent` False, when it is not its turn soon.
    """
    started = time.monotonic()
    deadline = started + remaining()
    origin = _allowed_origin(call)
    pacer = _pacer.get()
    attempt = 0
    while True:
        if pacer:
            pacer.turn(call)
        outcome = _once(call, origin, started, deadline)
        _log(call, outcome, started)
        if pacer and isinstance(outcome, Answer) and outcome.status == 429:
            pacer.slow_down(call, retry_after(outcome))
            break
        pause = _pause(outcome, attempt) if call.reads else None
        if pause is None or time.monotonic() + pause >= deadline:
            break
        time.sleep(pause)
        attempt += 1
    if isinstance(outcome, UpstreamError):
        raise outcome
    return outcome


def retry_after(answer: Answer) -> float | None:
    """Seconds that the service asks us to wait: the Retry-After header (seconds or date), or the gateway's sentence
    "Try again in 57 seconds." (CONTRACT 1.6). Between 0 and an hour; None when it asks for nothing we understand.
    """
    header = answer.headers.get("Retry-After", "").strip()
    seconds: float | None = None
    if re.fullmatch(r"[0-9]{1,9}", header):
        seconds = float(header)
    elif header:
        try:
            moment = parsedate_to_datetime(header)
        except (ValueError, OverflowError):
            pass
        else:
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = (moment - clock.now()).total_seconds()
    if seconds is None and answer.status == 429:
        said = _TRY_AGAIN.search(answer.body[:4096])
        seconds = float(said[1]) if said else None
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _pause(outcome: Answer | UpstreamError, attempt: int) -> float | None:
    """Seconds to wait before a read is sent again; None = this outcome stands."""
    if attempt >= MAX_RETRIES:
        return None
    backoff = random.uniform(0.1, 0.4) * (1 << attempt)  # noqa: S311 (jitter)  # nosec B311
    if isinstance(outcome, UpstreamError):
        return backoff if outcome.retryable else None
    if outcome.status not in RETRIED_STATUSES:
        return None
    asked = retry_after(outcome)
    if asked is None:
        return backoff
    return asked + backoff / 10 if asked <= LONGEST_WAIT else None


def _log(call: Call, outcome: Answer | UpstreamError, started: float) -> None:
    logger.info(
        "%s %s %s: %s in %d ms (request %s)",
        call.source,
        call.method,
        urlsplit(call.url).path,
        outcome.status or type(outcome).__name__,
        (time.monotonic() - started) * 1000,
        call.request_id or "-",
    )


# --- Where we may go ----------------------------------------------------------------------------------------

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def origin_of(url: str) -> str:
    """`https://host` of an https URL on port 443 without user info; "" for anything else."""
    if not re.fullmatch(r"[\x21-\x7e]+", url) or "\\" in url:
        return ""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    host = (parts.hostname or "").lower()
    if parts.scheme != "https" or "@" in parts.netloc or port not in (None, 443) or not _HOST.fullmatch(host):
        return ""
    return f"https://{host}"


@lru_cache(maxsize=8)
def _origins(urls: tuple[str, ...]) -> frozenset[str]:
    return frozenset(origin_of(url) for url in urls) - {""}


def allowed_origins() -> frozenset[str]:
    """The origins of the upstreams that are configured. Nothing else is ever asked."""
    return _origins(
        (
            settings.ENTRA_AUTHORITY,
            settings.PARTNER_CENTER_URL,
            settings.GRAPH_URL,
            settings.AVEPOINT_URL,
            settings.AVEPOINT_TOKEN_URL,
            settings.GDAP_API_URL,
            settings.GDAP_API_AUTH_URL,
        )
    )


def _allowed_origin(call: Call) -> str:
    origin = origin_of(call.url)
    if origin not in allowed_origins():
        raise Unreachable(
            source=call.source,
            sent=False,
            request_id=call.request_id,
            correlation_id=call.correlation_id,
            sentence=f"{call.source} was not asked: the address is none of those in the settings.",
        )
    return origin


# --- One exchange -------------------------------------------------------------------------------------------


class _TooLarge(Exception):
    pass


def _once(call: Call, origin: str, started: float, deadline: float) -> Answer | UpstreamError:
    left = deadline - time.monotonic()
    if left <= 0:
        return _unreachable(call, started, sent=False, sentence=f"There was no time left to ask {call.source}.")
    try:
        prepared = _prepare(call)
    except ValueError:
        sentence = f"{call.source} was not asked: what was to be sent cannot be written."
        return _unreachable(call, started, sent=False, sentence=sentence)
    response: requests.Response | None = None
    problem: Exception | None = None
    body = b""
    with exchange(deadline) as state:
        try:
            timeout = (min(left, settings.UPSTREAM_CONNECT_TIMEOUT), left)
            response = adapter(origin).send(prepared, stream=True, timeout=timeout)
            body = _read(response, settings.UPSTREAM_BODY_LIMIT)
        except (
            _TooLarge,
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            OSError,
            ValueError,
        ) as error:
            problem = error
        finally:
            if response is not None:
                response.close()
    if response is None or (problem is not None and response.status_code < 400):
        return _failure(call, problem, response, state, started)
    return Answer(
        source=call.source,
        status=response.status_code,
        headers=CaseInsensitiveDict(response.headers),
        body=body,
        took=time.monotonic() - started,
        reads=call.reads,
        request_id=call.request_id,
        correlation_id=call.correlation_id,
        secrets=_secrets_of(call),
    )


def _failure(
    call: Call, problem: Exception | None, response: requests.Response | None, state: Exchange, started: float
) -> UpstreamError:
    if isinstance(problem, _TooLarge | urllib3.exceptions.DecodeError):
        return Unintelligible(
            source=call.source,
            status=response.status_code if response is not None else None,
            request_id=call.request_id,
            correlation_id=call.correlation_id,
            took=time.monotonic() - started,
        )
    if time.monotonic() >= state.deadline - 0.01:
        return _unreachable(call, started, sent=not state.connecting)
    if state.connecting or isinstance(problem, requests.ConnectTimeout):
        certificate = "CERTIFICATE" in str(problem).upper()
        return _unreachable(
            call,
            started,
            sent=False,
            retryable=call.reads and not certificate,
            sentence=f"{call.source} was not asked: its certificate is not valid." if certificate else "",
        )
    if isinstance(problem, requests.ReadTimeout | TimeoutError):
        return _unreachable(call, started)
    return _unreachable(
        call, started, retryable=call.reads, sentence=f"{call.source} broke the connection off before it had answered."
    )


def _unreachable(
    call: Call, started: float, *, sent: bool = True, retryable: bool = False, sentence: str = ""
) -> Unreachable:
    return Unreachable(
        source=call.source,
        request_id=call.request_id,
        correlation_id=call.correlation_id,
        sent=sent,
        took=time.monotonic() - started,
        retryable=retryable,
        sentence=sentence,
    )


def _prepare(call: Call) -> requests.PreparedRequest:
    headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "partner-desk", **call.headers}
    if call.token is not None:
        headers["Authorization"] = f"Bearer {call.token.reveal()}"
    data = call.body
    if call.json is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(call.json, default=_reveal, ensure_ascii=False, separators=(",", ":")).encode()
    elif call.form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        data = urlencode([(name, _reveal(value)) for name, value in call.form]).encode()
    prepared = requests.Request(call.method, f"https://{urlsplit(call.url).netloc}/", headers, data=data).prepare()
    # Set afterwards, for requests would write a link of the service in its own way.
    prepared.url = call.url
    if call.params:
        query = urlencode([(name, _reveal(value)) for name, value in call.params], quote_via=quote, safe="$'")
        prepared.url += ("&" if "?" in call.url else "?") + query
    return prepared


def _reveal(value: object) -> str:
    return value.reveal() if isinstance(value, Secret) else str(value)


def _secrets_of(call: Call) -> tuple[Secret, ...]:
    """Every secret of the question, so that an answer that repeats one can be cleaned."""
    found: list[Secret] = [call.token] if call.token is not None else []
    waiting: list[Any] = [call.json, list(call.params), list(call.form or ())]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Secret):
            found.append(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
    return tuple(found)


def _read(response: requests.Response, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for piece in response.raw.stream(65_536, decode_content=True):
        size += len(piece)
        if size > limit:
            raise _TooLarge
        pieces.append(piece)
    return b"".join(pieces)
