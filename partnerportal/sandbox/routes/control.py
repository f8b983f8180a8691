"""The sandbox's own doors: personas, journal, faults, state, reset (INTERFACE.md, "Sandbox over HTTP")."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from .. import state
from ..faults import BadFault
from ..wire import Response

if TYPE_CHECKING:
    from ..dispatch import Sandbox


def handle(sandbox: Sandbox, method: str, path: str, query: str, body: bytes) -> Response:
    """Errors name what would have been right: whoever calls this is a test or its author."""
    try:
        payload = json.loads(body) if body else None
    except ValueError:
        return Response.plain_json({"error": "the body is not JSON"}, 400)
    try:
        return _route(sandbox, method, path, query, payload)
    except (BadFault, state.BadOperation) as why:
        return Response.plain_json({"error": str(why)}, 400)


def _route(sandbox: Sandbox, method: str, path: str, query: str, payload: Any) -> Response:
    match method, path:
        case "GET", "/" | "/_sandbox/":
            return Response.plain_json(
                {"sandbox": "Partner Desk's pretend cloud", "profile": sandbox.cloud.world.profile}
            )
        case "GET", "/_sandbox/personas":
            return Response.plain_json(state.personas(sandbox.cloud))
        case "GET", "/_sandbox/journal":
            after = parse_qs(query).get("after", ["0"])[0]
            if not after.lstrip("-").isdigit():
                return Response.plain_json({"error": "after is a number"}, 400)
            return Response.plain_json(sandbox.journal.after(int(after)))
        case "DELETE", "/_sandbox/journal":
            sandbox.journal.clear()
            return Response(204)
        case "GET", "/_sandbox/faults":
            return Response.plain_json(sandbox.faults.shown())
        case "POST", "/_sandbox/faults":
            return Response.plain_json(sandbox.faults.add(payload))
        case "DELETE", "/_sandbox/faults":
            sandbox.faults.clear()
            return Response(204)
        case "GET", "/_sandbox/state":
            return Response.plain_json(state.shown(sandbox.cloud))
        case "POST", "/_sandbox/state":
            return Response.plain_json(state.change(sandbox.cloud, payload))
        case "POST", "/_sandbox/reset":
            profile = (payload or {}).get("profile", sandbox.cloud.world.profile)
            answer = state.reset(sandbox.cloud, profile)
            sandbox.faults.clear()
            sandbox.journal.clear()
            return Response.plain_json(answer)
    text = f"sandbox has no route for {method} {path}"
    return Response.plain_json({"error": text}, 404)
