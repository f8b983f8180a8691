"""Faults on order: what the pretend cloud does wrong, where, and how often (INTERFACE.md, TRUST 3.3).

A fault is `{service, method, path, kind, times, …}`. It meets a call when service and method are equal (or left out)
and the regular expression `path` is found in the vendor's path. `times` is 1 by default, 0 = until cleared; `skip` lets
that many matching calls through first; `share` (1) is the part of them that it meets, by the dice; `query` is a second
regular expression, on the query; `persona` names a caller; `header` names a request header that must be there
(`MS-ContinuationToken`: only later pages).

================  ==========================================================================================
kind              what happens; every kind also takes `effect` (does the call happen at all?)
================  ==========================================================================================
status            answer `status` (500) with `headers` and `body` (text or JSON); no effect
slow              wait `seconds` (10), then as usual; `after: true` waits behind the effect
drip              effect, then `bytes` (1) of the answer every `seconds` (0.5)
drop_before       close the connection; no effect
drop_after        effect, then close the connection without an answer
fail_after        effect, then answer `status` (500)
truncate          effect, then the share `at` (0.5) of the body; `honest: true`: Content-Length fits what is sent
html              a gateway's HTML page with `status` (200); no effect
bad_json          effect, then `status` 200 and `body` (text that is not JSON)
no_bom            effect; the answer without its byte order mark
loop              page one for ever, always with a next page; `fresh: true`: with a new token each time
throttle          more than `per_second` (1) calls a second get 429; `retry_after` (1; null = no header), `shape`
                  gateway | fault
empty             effect, then `status` (200) with no body
huge              `megabytes` (50) of JSON, `gzip: true` for packed; no effect
deep              JSON nested `depth` (5000) deep; no effect
bare_string       `status` (403) and a bare JSON string `body`; no effect
repeat_items      effect; the page's items come twice (overlapping pages)
null_items        effect; every second item loses the members named in `members` (["id"])
expired_token     401 as for an expired token; no effect
================  ==========================================================================================
"""

from __future__ import annotations

import gzip
import itertools
import json
import random
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from .wire import BOM, Request, Response, compact

SERVICES = ("entra", "partnercenter", "graph", "avepoint", "gdap")
WITHOUT_EFFECT = frozenset(
    ("status", "drop_before", "html", "huge", "deep", "bare_string", "expired_token", "throttle")
)  # fmt: skip
KINDS = WITHOUT_EFFECT | frozenset(
    ("slow", "drip", "drop_after", "fail_after", "truncate", "bad_json", "no_bom", "loop", "empty", "repeat_items",
     "null_items")
)  # fmt: skip
_KNOWN = frozenset(
    ("service", "method", "path", "query", "persona", "header", "kind", "times", "skip", "effect", "status", "headers",
     "body", "seconds", "after", "bytes", "at", "honest", "fresh", "per_second", "retry_after", "shape", "megabytes",
     "gzip", "depth", "members", "share")
)  # fmt: skip
_HTML = (
    "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1>"
    "<p>The web server reported a bad gateway error.</p><script>alert('sandbox')</script></body></html>"
)


class BadFault(ValueError):
    """A fault nobody could mean; it is refused rather than ignored."""


@dataclass(slots=True)
class Fault:
    number: int
    spec: dict[str, Any]
    left: int
    skip: int
    hits: int = 0
    calls: list[float] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return str(self.spec["kind"])

    @property
    def has_effect(self) -> bool:
        return bool(self.spec.get("effect", self.kind not in WITHOUT_EFFECT))

    def number_of(self, name: str, default: float) -> float:
        return float(self.spec.get(name, default))

    def meets(self, request: Request) -> bool:
        spec = self.spec
        return (
            spec.get("service", request.service) == request.service
            and str(spec.get("method", request.method)).upper() == request.method
            and re.search(str(spec.get("path", "")), request.path) is not None
            and re.search(str(spec.get("query", "")), request.query) is not None
            and spec.get("persona", request.caller.persona) == request.caller.persona
            and ("header" not in spec or bool(request.header(str(spec["header"]))))
        )


class Faults:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._numbers = itertools.count(1)

    def add(self, specs: Any) -> list[dict[str, Any]]:
        """All of the list or nothing of it."""
        specs = [specs] if isinstance(specs, dict) else specs
        if not isinstance(specs, list):
            raise BadFault("send a JSON list of faults")
        made = [self._checked(spec) for spec in specs]
        with self._lock:
            self._faults += made
        return [self._shown(fault) for fault in made]

    def _checked(self, spec: Any) -> Fault:
        if not isinstance(spec, dict) or spec.get("kind") not in KINDS:
            raise BadFault(f"a fault is an object with a kind of: {', '.join(sorted(KINDS))}")
        if strange := set(spec) - _KNOWN:
            raise BadFault(f"no fault has: {', '.join(sorted(strange))}")
        if "service" in spec and spec["service"] not in SERVICES:
            raise BadFault(f"service is one of: {', '.join(SERVICES)}")
        try:
            re.compile(str(spec.get("path", "")))
            re.compile(str(spec.get("query", "")))
            times, skip = int(spec.get("times", 1)), int(spec.get("skip", 0))
            share = float(spec.get("share", 1))
        except (re.error, TypeError, ValueError) as why:
            raise BadFault(str(why)) from why
        if not 0 <= share <= 1:
            raise BadFault("share is a part of the calls: 0 to 1")
        return Fault(next(self._numbers), dict(spec), times if times > 0 else -1, skip)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def shown(self) -> list[dict[str, Any]]:
        with self._lock:
            return [self._shown(fault) for fault in self._faults]

    def _shown(self, fault: Fault) -> dict[str, Any]:
        left = None if fault.left < 0 else fault.left
        return {"id": fault.number, "left": left, "hits": fault.hits, **fault.spec}

    def take(self, request: Request) -> Fault | None:
        """The first fault this call meets; it is used up by that."""
        with self._lock:
            for fault in self._faults:
                if not fault.meets(request):
                    continue
                if random.random() >= fault.number_of("share", 1):  # noqa: S311 - dice, no secret
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                if fault.kind == "throttle" and not self._too_fast(fault):
                    continue
                fault.hits += 1
                if fault.left > 0:
                    fault.left -= 1
                    if fault.left == 0:
                        self._faults.remove(fault)
                return fault
        return None

    def _too_fast(self, fault: Fault) -> bool:
        now = time.monotonic()
        fault.calls = [at for at in fault.calls if now - at < 1.0]
        if len(fault.calls) >= fault.number_of("per_second", 1):
            return True
        fault.calls.append(now)
        return False


def instead(fault: Fault, request: Request) -> Response:
    """The answer of a fault that keeps the call from happening."""
    spec = fault.spec
    match fault.kind:
        case "html":
            return Response.html(str(spec.get("body", _HTML)), int(spec.get("status", 200)))
        case "throttle":
            return _throttled(spec)
        case "huge":
            return _huge(fault)
        case "deep":
            depth = int(spec.get("depth", 5000))
            body = b'{"items":' + b"[" * depth + b"]" * depth + b',"totalCount":0}'
            return Response(200, {"Content-Type": "application/json; charset=utf-8"}, body)
        case "bare_string":
            return Response.plain_json(spec.get("body", "Customer tagging denied."), int(spec.get("status", 403)))
        case "expired_token":
            return _expired(request)
    return _status(spec, 500)


def _status(spec: dict[str, Any], default: int) -> Response:
    status = int(spec.get("status", default))
    headers = {str(name): str(value) for name, value in (spec.get("headers") or {}).items()}
    body = spec.get("body", "" if status in (204, 304) else {"code": status, "description": "A fault on order."})
    raw = body.encode() if isinstance(body, str) else compact(body)
    if raw and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
    return Response(status, headers, raw)


def _throttled(spec: dict[str, Any]) -> Response:
    wait = spec.get("retry_after", 1)
    headers = {"Content-Type": "application/json"}
    if wait is not None:
        headers["Retry-After"] = str(wait)
    text = f"Rate limit is exceeded. Try again in {wait} seconds."
    if spec.get("shape") == "fault":
        return Response(429, headers, compact({"code": 429, "description": text, "data": [], "source": "PartnerFD"}))
    return Response(429, headers, compact({"statusCode": 429, "message": text}))


def _huge(fault: Fault) -> Response:
    raw = b'{"totalCount":1,"items":[{"id":"' + b"a" * int(fault.number_of("megabytes", 50) * 1_000_000) + b'"}]}'
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if fault.spec.get("gzip"):
        headers["Content-Encoding"] = "gzip"
        raw = gzip.compress(raw, 6)
    return Response(200, headers, raw)


def _expired(request: Request) -> Response:
    if request.service == "graph":
        error = {"code": "InvalidAuthenticationToken", "message": "Lifetime validation failed, the token is expired."}
        return Response.plain_json({"error": error}, 401)
    return Response(401, {"WWW-Authenticate": 'Bearer error="invalid_token"'})


def spoiled(fault: Fault, response: Response) -> Response:
    """The answer of a call that did happen, made wrong."""
    spec = fault.spec
    match fault.kind:
        case "fail_after":
            return _status(spec, 500)
        case "html":
            return Response.html(str(spec.get("body", _HTML)), int(spec.get("status", 200)))
        case "status":
            return _status(spec, 500)
        case "bad_json":
            text = str(spec.get("body", '{"totalCount": 2, "items": [{"id": NaN,,'))
            return Response(int(spec.get("status", response.status)), dict(response.headers), text.encode())
        case "no_bom":
            return Response(response.status, dict(response.headers), response.body.removeprefix(BOM))
        case "empty":
            headers = {name: value for name, value in response.headers.items() if name != "Content-Type"}
            return Response(int(spec.get("status", 200)), headers, b"")
        case "repeat_items" | "null_items":
            return _with_items_changed(fault, response)
        case "truncate" if spec.get("honest"):
            cut = int(len(response.body) * fault.number_of("at", 0.5))
            return Response(response.status, dict(response.headers), response.body[:cut])
    return response


def _with_items_changed(fault: Fault, response: Response) -> Response:
    bom = BOM if response.body.startswith(BOM) else b""
    try:
        payload = json.loads(response.body.decode("utf-8-sig"))
    except ValueError:
        return response
    name = next((name for name in ("items", "value") if isinstance(payload.get(name), list)), "")
    if not name:
        return response
    if fault.kind == "repeat_items":
        payload[name] = payload[name] * 2
    else:
        for item in payload[name][::2]:
            for member in fault.spec.get("members", ["id"]):
                item.pop(member, None)
    return Response(response.status, dict(response.headers), bom + compact(payload))
