"""From bytes to frozen types, and from a refusal to the error that says it (CONTRACT 1.5, 1.6, 4.5; TRUST F21 to F28).

There is one parser. Members that are null count as absent, for the real services leave them out. Whatever is
wrong with a body, the caller sees Unintelligible and nothing else.
"""

import base64
import binascii
import codecs
import contextlib
import html
import json
import re
from collections.abc import Iterable
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from typing import Annotated, Any, NoReturn, TypeVar
from uuid import UUID

import msgspec

from partnerportal import clock
from partnerportal.upstream.errors import (
    MFA_CODES,
    OUR_FAULT_CODES,
    Broken,
    Conflict,
    Forbidden,
    NotFound,
    Refused,
    SignInAgain,
    Throttled,
    Unintelligible,
    UpstreamError,
)
from partnerportal.upstream.http import Answer, Secret, retry_after

T = TypeVar("T")

MAX_DEPTH = 64
MAX_NUMBER = 30  # digits
MAX_TEXT = 1024  # characters of a service's own sentence
DEFAULT_WAIT = 30.0  # seconds, when a 429 does not say

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

Guid = Annotated[str, msgspec.Meta(pattern=rf"\A{_GUID.pattern}\Z")]
BearerToken = Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]{1,16384}\Z")]
NonEmpty = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]


def guid(value: str | UUID) -> str:
    """The canonical form of a GUID, fit for a path. Raises ValueError for anything else (TRUST T21)."""
    text = str(value)
    if not _GUID.fullmatch(text):
        raise ValueError("Not a GUID")
    return text.lower()


# --- Bodies -------------------------------------------------------------------------------------------------


class _Malformed(ValueError):
    pass


def decode(body: bytes) -> Any:
    """JSON with or without a BOM. Raises ValueError, without the body in it, for all that is not plain, sane JSON."""
    problem = False
    value: Any = None
    try:
        # A NUL in a name is no name, and PostgreSQL stores none.
        text = body.decode("utf-8-sig").replace("\\u0000", "\\ufffd")
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no, parse_int=_integer, parse_float=_fraction
        )
        _check_depth(value)
        if re.search(r"\\u[dD][89a-fA-F]", text):  # half a surrogate pair cannot be stored or shown
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        problem = True
    if problem:  # raised out here, so that no context carries the body
        raise _Malformed("Not the JSON that was promised")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Malformed("A member twice")
    return {name: value for name, value in found.items() if value is not None}


def _no(constant: str) -> NoReturn:
    raise _Malformed(constant)


def _integer(digits: str) -> int:
    if len(digits) > MAX_NUMBER:
        raise _Malformed("A giant number")
    return int(digits)


def _fraction(digits: str) -> float:
    value = float(digits) if len(digits) <= MAX_NUMBER else float("inf")
    if value in (float("inf"), float("-inf")):
        raise _Malformed("A giant number")
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return
    raise _Malformed("Nested too deeply")


def parse(answer: Answer, wanted: type[T]) -> T:
    """The body as `wanted`, strictly. Raises Unintelligible."""
    try:
        return msgspec.convert(decode(answer.body), wanted)
    except (ValueError, RecursionError):
        pass
    raise unintelligible(answer)


def parse_well(answer: Answer, wanted: type[T]) -> T | None:
    """The body read straight into `wanted`, ten times as fast as `parse`; None when it does not fit, so that `parse`
    is to judge it. For long lists, whose rows are nearly always good.

    Members that we do not use are skipped unseen, and of one that comes twice the last counts.
    """
    try:
        return msgspec.json.decode(answer.body.removeprefix(codecs.BOM_UTF8), type=wanted)
    except (ValueError, RecursionError):
        return None


def parse_row(row: object, wanted: type[T]) -> T | None:
    """One row of a list as `wanted`, or None when it is not that: the caller counts it (TRUST F28)."""
    try:
        return msgspec.convert(row, wanted)
    except (ValueError, RecursionError):
        return None


def moment(text: str) -> datetime | None:
    """An ISO 8601 time with 0 to 7 fraction digits (CONTRACT 1.5, 4.2), in UTC; None for nonsense, and for .NET's years
    1 and 9999: they mean that there is none, and a day more, or a zone further east, has no date any more.
    """
    try:
        found = datetime.fromisoformat(text)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if MINYEAR < found.year < MAXYEAR else None


# --- Refusals -----------------------------------------------------------------------------------------------

_TAKEN = re.compile(r"already (exists|in use|taken|been taken)|same value for property|ObjectConflict", re.IGNORECASE)
_TOKEN = re.compile(r"eyJ[\w-]{8,}(\.[\w-]*)*")
_ID = re.compile(r"[\x21-\x7e]{1,128}")


def expect(answer: Answer, *statuses: int, ours: str = "") -> None:
    """Raises the error that the answer means, unless it has one of `statuses`.

    `ours` is for services that we ask with the portal's own credentials: the sentence for 400, 401 and 403, which
    then never are SignInAgain, for no operator can mend them.
    """
    if answer.status not in statuses:
        raise refusal(answer, ours)


def unintelligible(answer: Answer) -> Unintelligible:
    request_id, correlation_id = ids(answer)
    return Unintelligible(
        source=answer.source,
        status=answer.status,
        request_id=request_id,
        correlation_id=correlation_id,
        took=answer.took,
        retryable=answer.reads,
    )


def refusal(answer: Answer, ours: str = "") -> UpstreamError:
    """The error for an answer that is not the one we want: status first, then the code (CONTRACT 1.6)."""
    if answer.status < 400 or answer.status > 599:
        return unintelligible(answer)
    code, description, data = _said(answer)
    request_id, correlation_id = ids(answer)
    claims = _claims(answer)
    own_fault = bool(ours) and answer.status in (400, 401, 403)
    kind = Forbidden if own_fault else _kind(answer.status, code, description, claims)
    retry_at = None
    if kind is Throttled:
        wait = retry_after(answer)
        retry_at = clock.now() + timedelta(seconds=DEFAULT_WAIT if wait is None else wait)
    return kind(
        source=answer.source,
        status=answer.status,
        code=code,
        description=description,
        data=data,
        request_id=request_id,
        correlation_id=correlation_id,
        took=answer.took,
        claims=claims,
        retryable=kind is Throttled or (kind is Broken and answer.reads and answer.status != 501),
        our_fault=own_fault or code in OUR_FAULT_CODES,
        sentence=ours if own_fault else "",
        retry_at=retry_at,
    )


def ids(answer: Answer) -> tuple[str, str]:
    """(request id, correlation id) as the service wrote them, else as we sent them: both are for its support."""
    return (
        _id(answer, "MS-RequestId", "request-id", "x-ms-request-id") or answer.request_id,
        _id(answer, "MS-CorrelationId", "client-request-id") or answer.correlation_id,
    )


def _id(answer: Answer, *names: str) -> str:
    values = (answer.headers.get(name, "") for name in names)
    return next((value for value in values if _ID.fullmatch(value)), "")


def _kind(status: int, code: str, description: str, claims: str) -> type[UpstreamError]:
    if status == 429:
        return Throttled
    if status >= 500 or status == 408:
        return Broken
    if code in OUR_FAULT_CODES:
        return Forbidden if status == 403 else Refused
    if status == 401 or claims or code in MFA_CODES:
        return SignInAgain
    if status == 403:
        return Forbidden
    if status in (404, 410):
        return NotFound
    if status in (409, 412) or code == "2055" or (status == 400 and _TAKEN.search(description)):
        return Conflict
    return Refused


class _Fault(msgspec.Struct, frozen=True):
    """Partner Center, the gateway before it, Graph, AvePoint and Entra in one: each fills other members."""

    code: Any = None
    description: Any = None
    message: Any = None
    data: Any = None
    error: Any = None
    error_description: Any = None


def _said(answer: Answer) -> tuple[str, str, tuple[str, ...]]:
    """(code, description, data) of a body of any shape; what is not understood is left empty, never shown."""
    try:
        body = decode(answer.body)
    except ValueError:
        return "", "", ()
    if isinstance(body, str):
        return "", plain(body, answer.secrets), ()
    fault = parse_row(body, _Fault) or _Fault()
    if isinstance(fault.error, dict):
        fault = parse_row(fault.error, _Fault) or _Fault()
    code = fault.code if fault.code is not None else fault.error
    told = [fault.description, fault.message, fault.error_description]
    data = fault.data if isinstance(fault.data, list) else []
    return (
        plain(str(code), (), 64) if isinstance(code, str | int) and not isinstance(code, bool) else "",
        next((plain(text, answer.secrets) for text in told if isinstance(text, str)), ""),
        tuple(plain(item, answer.secrets) for item in data[:20] if isinstance(item, str)),
    )


def plain(text: str, secrets: Iterable[Secret] = (), limit: int = MAX_TEXT) -> str:
    """A service's sentence as one line of printable text, without our secrets in it. Still to be escaped on output."""
    told = [secret.reveal() for secret in secrets if len(secret.reveal()) >= 6]
    text = _without(told, text[: limit * 8])
    with contextlib.suppress(ValueError):  # a character number of thousands of digits
        text = _without(told, html.unescape(text))
    text = _TOKEN.sub("…", text)
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.split())[:limit]


def _without(secrets: Iterable[str], text: str) -> str:
    """Cleaned before entities are opened and after: either may be how a service repeats a password."""
    for secret in secrets:
        text = text.replace(secret, "…")
    return text


def _claims(answer: Answer) -> str:
    """The JSON of a claims challenge in WWW-Authenticate (CONTRACT 4.5), ready for MSAL; "" if there is none."""
    found = re.search(r'\bclaims="([A-Za-z0-9+/_=-]{4,8192})"', answer.headers.get("WWW-Authenticate", ""))
    if not found:
        return ""
    text = found[1].replace("-", "+").replace("_", "/")
    try:
        return checked_claims(base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode())
    except (binascii.Error, ValueError):
        return ""


def checked_claims(text: str) -> str:
    """`text` if it is the JSON object that a claims challenge is, else ""."""
    try:
        return text if isinstance(decode(text.encode()), dict) else ""
    except ValueError:
        return ""
