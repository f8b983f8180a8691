"""What was asked of the pretend cloud, in order, with nothing secret in clear (INTERFACE.md, TRUST 2.6)."""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from .wire import Request

REDACTED = "<redacted>"
_SECRET_NAMES = re.compile(
    r"^(password|client_secret|refresh_token|access_token|id_token|code|code_verifier|client_assertion|assertion)$",
    re.IGNORECASE,
)
_KEPT = 50_000


def redacted(value: Any, name: str = "") -> Any:
    """A copy without secret values; that a password was sent stays visible."""
    if _SECRET_NAMES.match(name) and value is not None:
        return REDACTED
    if isinstance(value, dict):
        return {key: redacted(item, str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted(item) for item in value]
    return value


def readable_body(request: Request) -> Any:
    """JSON and forms as their members; what is neither only by its length: it might hold a secret."""
    if not request.body:
        return None
    kind = request.header("Content-Type").lower()
    if "form-urlencoded" in kind:
        return redacted(request.form())
    try:
        return redacted(json.loads(request.body.decode("utf-8-sig")))
    except (ValueError, RecursionError):
        return f"<{len(request.body)} bytes that are not JSON>"


def readable_query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    if not any(_SECRET_NAMES.match(name) for name, _ in pairs):
        return query
    return urlencode([(name, REDACTED if _SECRET_NAMES.match(name) else value) for name, value in pairs], safe="<>")


class Journal:
    """One entry a call, written when the call arrives and completed when its answer is known."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._seq = 0

    def open(self, request: Request, at: datetime) -> dict[str, Any]:
        ids = {name: request.header(header) for name, header in _ID_HEADERS[request.service].items()}
        entry: dict[str, Any] = {
            "seq": 0,
            "at": at.isoformat(),
            "service": request.service,
            "method": request.method,
            "path": request.path,
            "query": readable_query(request.query),
            "subject": request.caller.oid,
            "persona": request.caller.persona,
            "audience": request.caller.audience,
            "request_id": ids["request_id"],
            "correlation_id": ids["correlation_id"],
            "body": readable_body(request),
            "status": None,
            "replayed": False,
            "fault": "",
        }
        with self._lock:
            self._seq += 1
            entry["seq"] = self._seq
            self._entries.append(entry)
        return entry

    def close(self, entry: dict[str, Any], *, status: int | None, replayed: bool, fault: str) -> None:
        """`status` None: the caller got no answer, whatever happened inside."""
        with self._lock:
            entry.update(status=status, replayed=replayed, fault=fault)

    def after(self, seq: int) -> list[dict[str, Any]]:
        with self._lock:
            if not self._entries or self._entries[-1]["seq"] <= seq:
                return []
            return [dict(entry) for entry in self._entries if entry["seq"] > seq]

    def clear(self) -> None:
        """Forget; the numbers go on, so that `after=` of an old page stays right."""
        with self._lock:
            self._entries.clear()


_PARTNER_CENTER_IDS = {"request_id": "MS-RequestId", "correlation_id": "MS-CorrelationId"}
_OTHER_IDS = {"request_id": "client-request-id", "correlation_id": "MS-CorrelationId"}
_ID_HEADERS = {
    "partnercenter": _PARTNER_CENTER_IDS,
    **dict.fromkeys(("entra", "graph", "avepoint", "gdap"), _OTHER_IDS),
}
