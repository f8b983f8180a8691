"""How Partner Center speaks: its bodies, errors, headers, replay and paging (CONTRACT 1.4 to 1.6 and 2.2)."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

from .. import paging
from ..cloud import Cloud
from ..refusal import Refused
from ..tokens import PARTNER_CENTER_AUDIENCE
from ..wire import BOM, JSON_TYPE, Request, Response, compact

WRITES = ("POST", "PATCH", "DELETE")
STRING_CODES = (900420, 900421)


def success(payload: Any, status: int = 200) -> Response:
    """Compact JSON behind a UTF-8 BOM: every real success has it (CONTRACT 1.5, trap 1)."""
    return Response(status, {"Content-Type": JSON_TYPE}, BOM + compact(payload))


def error_response(cloud: Cloud, error: Refused) -> Response:
    """No BOM; `code` is a number, but for 9004xx; 429 may speak the gateway's language (CONTRACT 1.6)."""
    if error.status == 429:
        headers = {"Content-Type": "application/json", "Retry-After": str(error.retry_after)}
        if cloud.assumed["throttle_body"] == "gateway":
            return Response(429, headers, compact({"statusCode": 429, "message": error.text}))
        body = {"code": error.code, "description": error.text, "data": [], "source": "PartnerFD"}
        return Response(429, headers, compact(body))
    if error.status == 401 and error.code == 400 and cloud.assumed["auth_error_body"] == "empty":
        return Response(401, {"WWW-Authenticate": "Bearer"})
    headers = {"Content-Type": JSON_TYPE}
    code, text, data = _told(cloud, error)
    if error.status == 401:
        headers["WWW-Authenticate"] = "OAuth realm=urn:cpsvc:cpid:sandbox"
    if error.code in STRING_CODES:
        return Response(error.status, headers, compact({"code": str(error.code), "description": text}))
    source = "PartnerFD" if error.code in (20002, 60012) else "PartnerApiServiceControllers"
    return Response(error.status, headers, compact({"code": code, "description": text, "data": data, "source": source}))


_PROPERTY = re.compile("userPrincipalName|displayName|firstName|lastName|phoneNumber|usageLocation|password|state")


def _told(cloud: Cloud, error: Refused) -> tuple[int, str, list[str]]:
    """(code, description, data) as the assumptions have them."""
    code, text, data = error.code, error.text, list(error.data)
    if code == 3000:
        named = _PROPERTY.search(text)
        code = int(cloud.assumed["validation_code"])
        if named and cloud.assumed["validation_names"] == "data":
            text, data = "Invalid property", [named[0]]
    if code == 900421:
        text = str(cloud.assumed["mfa_text"])
    if cloud.assumed["error_language"] == "de":
        text = "Die Anforderung wurde abgelehnt."
    return code, text, data


def finish(cloud: Cloud, request: Request, response: Response) -> Response:
    """The headers every answer carries: both ids echoed or made, and the server's own (CONTRACT 1.4, 1.5)."""
    echoed = {
        "MS-CorrelationId": request.header("MS-CorrelationId") or _new_id(),
        "MS-RequestId": request.header("MS-RequestId") or _new_id(),
        "MS-CV": request.header("MS-CV") or f"{secrets.token_urlsafe(12)[:16]}.0",
        "MS-ServerId": "101112616",
        "Request-Context": "appId=cid-v1:03ce8ca8-8373-4021-8f25-d5dd45c7b12f",
    }
    if request.header("ValidateMfa").lower() == "true" and not request.caller.problem:
        echoed["isMfaCompliant"] = "true" if request.caller.mfa else "false"
    response.headers = {**response.headers, **echoed}
    return response


def _new_id() -> str:
    bits = secrets.token_hex(16)
    return f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"


def handle(cloud: Cloud, request: Request, proceed: Any) -> Response:
    """Around every route: errors in this service's words, and replay of a write already answered."""
    try:
        if request.caller.problem or request.caller.audience != PARTNER_CENTER_AUDIENCE:
            cloud.check_partner_center(request.caller)
        _check_negotiation(cloud, request)
        response = _remembered(cloud, request, proceed)
    except Refused as error:
        response = error_response(cloud, error)
    return finish(cloud, request, response)


def _check_negotiation(cloud: Cloud, request: Request) -> None:
    accept = request.header("Accept").lower()
    if accept and not any(kind in accept for kind in ("json", "*/*", "application/*")):
        raise Refused(406, 0, "The sandbox answers in JSON only.")
    kind = request.header("Content-Type").partition(";")[0].strip().lower()
    judged = request.method in ("POST", "PATCH") and cloud.assumed["content_type_required"]
    if judged and kind not in ("application/json", "text/json"):
        raise Refused(415, 0, "The request entity's media type is not supported for this resource.")


def _remembered(cloud: Cloud, request: Request, proceed: Any) -> Response:
    """MS-RequestId is the idempotency key: same caller, method, path and id, same 2xx answer ([A], CONTRACT 1.4)."""
    request_id = request.header("MS-RequestId").lower()
    key = (request.caller.oid, request.method, request.path.lower().rstrip("/"), request_id)
    if request.method not in WRITES or not request_id or not cloud.assumed["replay_request_id"]:
        answer: Response = proceed()
        return answer
    if key in cloud.replays:
        request.replayed = True
        stored: Response = cloud.replays[key]
        return Response(stored.status, dict(stored.headers), stored.body)
    # Refusals are raised, so what comes back here is a 2xx.
    answer = proceed()
    cloud.replays[key] = Response(answer.status, dict(answer.headers), answer.body)
    return answer


def body_of(request: Request) -> dict[str, Any]:
    """The JSON object of a write, its names in lower case: PascalCase is accepted (CONTRACT 1.5)."""
    try:
        payload = json.loads(request.body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as why:
        raise Refused(400, 800002, "Invalid request input") from why
    if not isinstance(payload, dict):
        raise Refused(400, 800002, "Invalid request input")
    return {
        name.lower(): {k.lower(): v for k, v in value.items()} if isinstance(value, dict) else value
        for name, value in payload.items()
    }


def link(cloud: Cloud, uri: str, headers: list[dict[str, str]] | None = None) -> dict[str, Any]:
    return {"uri": f"{cloud.assumed['link_prefix']}{uri}", "method": "GET", "headers": headers or []}


# -- lists ------------------------------------------------------------------------------------------


def whole_list(items: list[dict[str, Any]]) -> Response:
    """A list that has no pages, and therefore no links (CONTRACT 8, row 7)."""
    return success({"totalCount": len(items), "items": items, "attributes": {"objectType": "Collection"}})


class Walk:
    """One page's worth of a list: where it starts, how it is filtered and sorted, and what comes next."""

    def __init__(self, cloud: Cloud, request: Request, path: str, default_size: int) -> None:
        self.cloud, self.request, self.path = cloud, request, path
        asked = {name.removeprefix("sortoption."): value for name, value in request.params().items()}
        token = "" if request.looping else request.header("MS-ContinuationToken")
        seek = asked.get("seekoperation", "").lower()
        self.walk: dict[str, Any]
        if token and seek in ("next", "0"):
            self.walk = paging.unpack(cloud, path, token)
        else:
            # A token in the query does nothing: page one comes again (trap 2).
            self.walk = {
                "size": paging.page_size(cloud, asked.get("size", ""), default_size),
                "filter": asked.get("filter", ""),
                "sort": asked.get("sortfield", ""),
                "direction": asked.get("sortdirection", ""),
                "after": None,
            }
        self.size = int(self.walk["size"])
        after = self.walk["after"]
        self.after: Any = tuple(after) if after else None

    def condition(self) -> dict[str, str]:
        """`filter` as JSON, its member names in any order and case (CONTRACT 2.3)."""
        text = self.walk["filter"]
        if not text:
            return {}
        try:
            payload = json.loads(text)
            return {str(name).lower(): str(value) for name, value in payload.items()}
        except (ValueError, AttributeError, RecursionError) as why:
            raise Refused(400, 2000, "The filter is not valid.") from why

    def collection(self, items: list[dict[str, Any]], last: Any) -> Response:
        """`totalCount` is this page's count (trap 3); the next page's token is a header of its link (trap 2)."""
        own = f"{self.path}?{self.request.query}" if self.request.query else self.path
        body: dict[str, Any] = {"totalCount": len(items), "items": items, "links": {"self": link(self.cloud, own)}}
        token = ""
        if self.request.looping:
            token = paging.LOOP_TOKEN
            if self.request.looping == "fresh":
                token = paging.pack(self.cloud, self.path, {**self.walk, "salt": secrets.token_hex(4)})
        elif last is not None:
            token = paging.pack(self.cloud, self.path, {**self.walk, "after": list(last)})
        where = self.cloud.assumed["continuation_in"]
        if token and where != "body":
            headers = [{"key": "MS-ContinuationToken", "value": token}]
            body["links"]["next"] = link(self.cloud, f"{self.path}?size={self.size}&seekOperation=Next", headers)
        if token and where != "links":
            body["continuationToken"] = token
        body["attributes"] = {"objectType": "Collection"}
        return success(body)
