"""From a raw HTTP call to the right service and back: the path every request takes through the sandbox."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from . import faults
from .cloud import Cloud
from .entra import EntraError
from .faults import Fault, Faults
from .journal import Journal
from .refusal import Refused
from .routes import (
    avepoint,
    control,
    entra,
    gdap,
    graph,
    partner_center,
    partner_center_licences,
    partner_center_roles,
)
from .tokens import Caller
from .wire import Request, Response, Routes, ServiceError

Around = Callable[[Cloud, Request, Callable[[], Response]], Response]


@dataclass(frozen=True, slots=True)
class Service:
    """One host of the pretend internet: its prefix when called directly, its journal name, its routes."""

    name: str
    prefix: str
    hosts: tuple[str, ...]
    routes: Routes
    around: Around
    root: str = ""
    """Put before a directly called path that lacks it."""


def _entra_around(cloud: Cloud, request: Request, proceed: Callable[[], Response]) -> Response:
    try:
        return proceed()
    except EntraError as error:
        return entra.error_response(cloud, error)


SERVICES = (
    Service("entra", "entra", ("login.microsoftonline.com",), entra.routes, _entra_around),
    Service(
        "partnercenter",
        "partnercenter",
        ("api.partnercenter.microsoft.com",),
        partner_center.routes.joined(partner_center_licences.routes, partner_center_roles.routes),
        partner_center.handle,
    ),
    Service("graph", "graph", ("graph.microsoft.com",), graph.routes, graph.handle),
    Service("avepoint", "avepoint", ("graph.avepointonlineservices.com",), avepoint.routes, avepoint.handle),
    Service(
        "avepoint",
        "avepoint-identity",
        ("identity.avepointonlineservices.com",),
        avepoint.identity_routes,
        avepoint.handle,
    ),
    Service(
        "gdap",
        "gdap",
        ("gdapbridge360.azurewebsites.net", "dev-gdap.azurewebsites.net"),
        gdap.routes,
        gdap.handle,
    ),
    Service("gdap", "gdap-auth", ("gdapauthservice.azurewebsites.net",), gdap.auth_routes, gdap.handle, root="/api"),
)
_BY_HOST = {host: service for service in SERVICES for host in service.hosts}
_BY_PREFIX = {service.prefix: service for service in SERVICES}


@dataclass(slots=True)
class Answer:
    """What goes onto the wire, and how badly."""

    response: Response | None
    """None: the connection is closed without a word."""
    cut: int | None = None
    """Send only so many bytes of the body although Content-Length promises all."""
    drip: tuple[int, float] | None = None
    """So many bytes at a time, with so many seconds between."""


@dataclass(slots=True)
class Sandbox:
    """The cloud, its journal and its faults, behind one door."""

    cloud: Cloud
    journal: Journal = field(default_factory=Journal)
    faults: Faults = field(default_factory=Faults)
    sleep: Callable[[float], Any] = time.sleep

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes, port: int) -> Answer:
        """`headers` by lower-case name; `target` as on the request line."""
        parts = urlsplit(target)
        host = headers.get("host", "").lower()
        bare_host = host.removesuffix(":443")
        browser_origin = f"http://127.0.0.1:{port}"
        if bare_host not in _BY_HOST:
            if parts.path == "/" or parts.path.startswith("/_sandbox/"):
                return Answer(control.handle(self, method, parts.path, parts.query, body))
            return self._direct(method, parts.path, parts.query, headers, body, host, browser_origin)
        service = _BY_HOST[bare_host]
        request = self._request(service, method, parts.path, parts.query, headers, body, direct=False)
        request.origin, request.browser_origin = f"https://{bare_host}", browser_origin
        return self._serve(service, request)

    def _direct(
        self, method: str, path: str, query: str, headers: dict[str, str], body: bytes, host: str, browser_origin: str
    ) -> Answer:
        pieces = path.split("/", 3)
        service = _BY_PREFIX.get(pieces[2]) if len(pieces) > 2 and pieces[1] == "_" else None
        if service is None:
            return Answer(no_route(method, host, path, []))
        rest = "/" + (pieces[3] if len(pieces) > 3 else "")
        if service.root and not rest.startswith(f"{service.root}/"):
            rest = service.root + rest
        request = self._request(service, method, rest, query, headers, body, direct=True)
        request.origin, request.browser_origin = f"http://{host}/_/{service.prefix}", browser_origin
        return self._serve(service, request)

    def _request(
        self,
        service: Service,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        body: bytes,
        *,
        direct: bool,
    ) -> Request:
        authorization = "" if service.name == "entra" else headers.get("authorization", "")
        with self.cloud.lock:
            caller = self.cloud.identify(authorization, direct=direct)
        if service.name == "entra":
            caller = Caller(problem="missing")
        return Request(method, service.name, path, query, headers, body, "", "", direct, caller)

    def _serve(self, service: Service, request: Request) -> Answer:
        entry = self.journal.open(request, self.cloud.now())
        fault = self.faults.take(request)
        answer = self._faulty(service, request, fault) if fault else Answer(self._handle(service, request))
        status = answer.response.status if answer.response else None
        self.journal.close(entry, status=status, replayed=request.replayed, fault=fault.kind if fault else "")
        return answer

    def _handle(self, service: Service, request: Request) -> Response:
        """The honest answer. The lock is held throughout: every call is one step."""
        found = service.routes.find(request.method, request.path)
        if found is None:
            where = request.origin.partition("//")[2]
            return no_route(request.method, where, request.path, service.routes.methods(request.path))
        handler, ids = found
        with self.cloud.lock:
            try:
                return service.around(self.cloud, request, lambda: handler(self.cloud, request, **ids))
            except ServiceError as error:
                return error.response
            except Refused as error:
                return Response.plain_json({"error": error.text}, error.status)

    def _faulty(self, service: Service, request: Request, fault: Fault) -> Answer:
        if fault.kind == "loop":
            request.looping = "fresh" if fault.spec.get("fresh") else "same"
        if fault.kind == "slow" and not fault.spec.get("after"):
            self.sleep(fault.number_of("seconds", 10))
        if not fault.has_effect:
            return Answer(None if fault.kind.startswith("drop") else faults.instead(fault, request))
        response = faults.spoiled(fault, self._handle(service, request))
        if fault.kind == "slow" and fault.spec.get("after"):
            self.sleep(fault.number_of("seconds", 10))
        if fault.kind.startswith("drop"):
            return Answer(None)
        if fault.kind == "truncate" and not fault.spec.get("honest"):
            return Answer(response, cut=int(len(response.body) * fault.number_of("at", 0.5)))
        if fault.kind == "drip":
            return Answer(response, drip=(int(fault.number_of("bytes", 1)), fault.number_of("seconds", 0.5)))
        return Answer(response)


def no_route(method: str, host: str, path: str, allowed: list[str]) -> Response:
    """Unknown is loud: a guess would hide a mistake of the caller."""
    if allowed:
        text = f"sandbox knows {host}{path}, but not with {method}: {', '.join(allowed)}"
        return Response.plain_json({"code": 0, "error": text, "description": text}, 405, Allow=", ".join(allowed))
    text = f"sandbox has no route for {method} {host}{path}"
    return Response.plain_json({"error": text, "description": text}, 404)
