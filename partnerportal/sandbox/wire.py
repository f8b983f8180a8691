"""What the sandbox's services see of HTTP: a request, a response, and a table of routes.

Nothing here opens a socket (that is `server.py`) and nothing here knows a rule (that is `cloud.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from .cloud import Cloud
    from .tokens import Caller

BOM = b"\xef\xbb\xbf"
JSON_TYPE = "application/json; charset=utf-8"


@dataclass(slots=True)
class Request:
    """One call, already assigned to a service; `path` is what the vendor would see."""

    method: str
    service: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    origin: str
    """How the asker reaches this service: `https://graph.microsoft.com` or `http://127.0.0.1:8001/_/graph`."""
    browser_origin: str
    """Where a browser reaches the sandbox: always loopback, for a browser is not rerouted."""
    direct: bool
    """Asked under a `/_/` prefix rather than by the vendor's host name."""
    caller: Caller
    looping: str = ""
    """Set by the fault `loop`: every page is page one and names a next one."""
    replayed: bool = False

    def header(self, name: str) -> str:
        return self.headers.get(name.lower(), "")

    def params(self) -> dict[str, str]:
        """Query values by lower-case name; the last of equal names wins."""
        return {name.lower(): value for name, value in parse_qsl(self.query, keep_blank_values=True)}

    def values(self, name: str) -> list[str]:
        """All values of a query name that may be there several times."""
        pairs = parse_qsl(self.query, keep_blank_values=True)
        return [value for known, value in pairs if known.lower() == name.lower()]

    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


@dataclass(slots=True)
class Response:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def plain_json(cls, payload: Any, status: int = 200, **headers: str) -> Response:
        """JSON as most services print it: compact, UTF-8, no BOM."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, {"Content-Type": JSON_TYPE, **named}, compact(payload))

    @classmethod
    def html(cls, text: str, status: int = 200) -> Response:
        return cls(status, {"Content-Type": "text/html; charset=utf-8"}, text.encode())


def compact(payload: Any) -> bytes:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


Handler = Callable[..., Response]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    pattern: re.Pattern[str]
    handler: Handler


class Routes:
    """The routes of one host. Unknown paths are the caller's mistake and are never guessed at."""

    def __init__(self, *, any_case: bool = False) -> None:
        self._routes: list[Route] = []
        self._flags = re.IGNORECASE if any_case else 0

    def on(self, method: str, *paths: str) -> Callable[[Handler], Handler]:
        """Register a handler; `{name}` in a path is one segment, a trailing slash is tolerated."""

        def register(handler: Handler) -> Handler:
            for path in paths:
                pieces = re.split(r"\{(\w+)\}", path)
                pattern = "".join(
                    re.escape(piece) if index % 2 == 0 else f"(?P<{piece}>[^/]+)" for index, piece in enumerate(pieces)
                )
                self._routes.append(Route(method, re.compile(f"^{pattern}/?$", self._flags), handler))
            return handler

        return register

    def joined(self, *more: Routes) -> Routes:
        """One table of the routes of several modules."""
        whole = Routes()
        whole._routes = [route for routes in (self, *more) for route in routes]
        return whole

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def _matching(self, path: str) -> Iterator[tuple[Route, dict[str, str]]]:
        for route in self._routes:
            if found := route.pattern.match(path):
                yield route, {name: unquote(value).strip() for name, value in found.groupdict().items()}

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
        for route, ids in self._matching(path):
            if route.method == method:
                return route.handler, ids
        return None

    def methods(self, path: str) -> list[str]:
        return sorted({route.method for route, _ in self._matching(path)})


class ServiceError(Exception):
    """A refusal in the words of one service, raised by its routes."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


Respond = Callable[["Cloud", Request], Response]
