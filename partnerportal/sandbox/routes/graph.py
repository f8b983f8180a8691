"""Microsoft Graph over HTTP: what it tells about GDAP, and the signed-in person's groups (CONTRACT 4)."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from .. import seed
from ..cloud import Cloud
from ..directory import Assignment, Group, Relationship
from ..tokens import GRAPH_AUDIENCE
from ..wire import Request, Response, Routes, ServiceError, compact

routes = Routes()
_CLAUSE = re.compile(r"^\s*(status|customer/tenantId)\s+eq\s+'((?:[^']|'')*)'\s*$", re.IGNORECASE)
_TYPE = "#microsoft.graph.delegatedAdminRelationship"


def refuse(status: int, code: str, message: str) -> ServiceError:
    return ServiceError(Response.plain_json({"error": {"code": code, "message": message}}, status))


def handle(cloud: Cloud, request: Request, proceed: Callable[[], Response]) -> Response:
    """The token first; every error gets Graph's `innerError`, every answer its request ids."""
    request_id = secrets.token_hex(16)
    request_id = "-".join((request_id[:8], request_id[8:12], request_id[12:16], request_id[16:20], request_id[20:]))
    client_id = request.header("client-request-id") or request_id
    try:
        _check_token(request)
        response = proceed()
    except ServiceError as error:
        response = error.response
        payload = json.loads(response.body)
        inner = {"date": f"{cloud.now():%Y-%m-%dT%H:%M:%S}", "request-id": request_id, "client-request-id": client_id}
        payload["error"]["innerError"] = inner
        response.body = compact(payload)
    if "json" in response.headers.get("Content-Type", ""):
        kind = "application/json" if response.status >= 400 else "application/json;odata.metadata=minimal;charset=utf-8"
        response.headers["Content-Type"] = kind
    response.headers |= {"request-id": request_id, "client-request-id": client_id, "OData-Version": "4.0"}
    return response


def _check_token(request: Request) -> None:
    caller = request.caller
    if not caller.problem and caller.audience == GRAPH_AUDIENCE:
        return
    message = {
        "missing": "Access token is empty.",
        "malformed": "IDX14100: JWT is not well formed.",
        "expired": "Lifetime validation failed, the token is expired.",
    }.get(caller.problem, "Access token validation failure. Invalid audience.")
    raise refuse(401, "InvalidAuthenticationToken", message)


def _person(request: Request) -> str:
    if request.caller.app_only:
        raise refuse(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
    return request.caller.oid


def _gdap_reader(request: Request) -> None:
    if request.caller.app_only:
        raise refuse(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
    if request.caller.tid != seed.PARTNER_TENANT_ID:
        raise refuse(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")


def _time(at: datetime | None) -> str | None:
    """Graph's seven fraction digits."""
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06d}6Z" if at else None


def _page(
    cloud: Cloud,
    request: Request,
    context: str,
    rows: list[Any],
    *,
    most: int,
    write: Callable[[Any], dict[str, Any]] = dict,
) -> Response:
    """The rows of one page, as `write` puts them: of 20,000 rows only these are written.

    `$top`, `$select`, `$count`, and a nextLink to be followed as it is (CONTRACT 4.5)."""
    asked = request.params()
    top = asked.get("$top", "")
    if top and (not top.isdigit() or not 1 <= int(top) <= most):
        raise refuse(400, "Request_BadRequest", f"Invalid page size specified: '{top}'. Must be between 1 and {most}.")
    size = int(top) if top else int(cloud.assumed["graph_page_size"])
    token = "" if request.looping else asked.get("$skiptoken", "")
    if token and not re.fullmatch(r"sandbox\d+", token):
        raise refuse(400, "Request_BadRequest", "The skip token is not valid.")
    start = int(token.removeprefix("sandbox")) if token else 0
    empty_first = bool(cloud.assumed["graph_empty_first_page"]) and not token and bool(rows)
    chosen = [] if empty_first else rows[start : start + size]
    following = 0 if empty_first else start + size
    body: dict[str, Any] = {"@odata.context": f"{request.origin}/v1.0/{context}"}
    if asked.get("$count", "").lower() == "true":
        body["@odata.count"] = len(rows)
    if request.looping or empty_first or following < len(rows):
        kept = "".join(
            f"{quote(name, safe='$')}={quote(value)}&"
            for name, value in asked.items()
            if name not in ("$skiptoken", "salt")
        )
        salt = f"&salt={secrets.token_hex(4)}" if request.looping == "fresh" else ""
        body["@odata.nextLink"] = f"{request.origin}{request.path}?{kept}$skiptoken=sandbox{following}{salt}"
    body["value"] = [_selected(write(row), asked.get("$select", "")) for row in chosen]
    return Response.plain_json(body)


def _selected(row: dict[str, Any], select: str) -> dict[str, Any]:
    if not select:
        return row
    wanted = {name.strip() for name in select.split(",")}
    return {name: value for name, value in row.items() if name in wanted or name.startswith("@odata")}


# -- GDAP -------------------------------------------------------------------------------------------


def relationship_payload(relationship: Relationship) -> dict[str, Any]:
    """EDMX: delegatedAdminRelationship; activated and end dates are null until it is active."""
    customer = None
    if relationship.tenant_id:
        customer = {"tenantId": relationship.tenant_id, "displayName": relationship.customer_name}
    return {
        "@odata.type": _TYPE,
        "@odata.etag": f'W/"{relationship.id[:20]}"',
        "id": relationship.id,
        "displayName": relationship.name,
        "duration": relationship.duration,
        "customer": customer,
        "accessDetails": {"unifiedRoles": [{"roleDefinitionId": role} for role in relationship.roles]},
        "status": relationship.status,
        "autoExtendDuration": relationship.auto_extend,
        "createdDateTime": _time(relationship.created),
        "lastModifiedDateTime": _time(relationship.modified),
        "activatedDateTime": _time(relationship.activated),
        "endDateTime": _time(relationship.ends),
    }


def assignment_payload(assignment: Assignment) -> dict[str, Any]:
    return {
        "@odata.type": "#microsoft.graph.delegatedAdminAccessAssignment",
        "@odata.etag": f'W/"{assignment.id[:20]}"',
        "id": assignment.id,
        "status": assignment.status,
        "createdDateTime": _time(assignment.created),
        "lastModifiedDateTime": _time(assignment.modified),
        "accessContainer": {"accessContainerId": assignment.group_id, "accessContainerType": "securityGroup"},
        "accessDetails": {"unifiedRoles": [{"roleDefinitionId": role} for role in assignment.roles]},
    }


def _conditions(text: str) -> dict[str, str]:
    """`status eq 'active'` and `customer/tenantId eq '…'`, together or alone; nothing else is known to work."""
    found: dict[str, str] = {}
    if not text:
        return found
    for clause in re.split(r"\s+and\s+", text.strip(), flags=re.IGNORECASE):
        match = _CLAUSE.match(clause)
        if match is None or match[1].lower() in found:
            raise refuse(400, "Request_BadRequest", f"Invalid filter clause: {clause}")
        found[match[1].lower()] = match[2].replace("''", "'")
    return found


@routes.on("GET", "/v1.0/tenantRelationships/delegatedAdminRelationships")
def list_relationships(cloud: Cloud, request: Request) -> Response:
    """GDC:tenantrelationship-list-delegatedadminrelationships. Outside Admin agents: 200 and nothing."""
    _gdap_reader(request)
    conditions = _conditions(request.params().get("$filter", ""))
    rows = []
    if cloud.is_admin_agent(request.caller.oid):
        tenant = conditions.get("customer/tenantid")
        known = cloud.relationships_of(tenant.lower()) if tenant else list(cloud.world.relationships.values())
        rows = [
            relationship
            for relationship in known
            if conditions.get("status", relationship.status).lower() == relationship.status.lower()
            and cloud.listed("graph", relationship.tenant_id)
        ]
    context = "tenantRelationships/$metadata#delegatedAdminRelationships"
    return _page(cloud, request, context, rows, most=300, write=relationship_payload)


def _relationship(cloud: Cloud, request: Request, relationship_id: str) -> Relationship:
    _gdap_reader(request)
    found = cloud.world.relationships.get(relationship_id)
    if found is None or not cloud.is_admin_agent(request.caller.oid):
        raise refuse(404, "Request_ResourceNotFound", f"Resource '{relationship_id}' does not exist.")
    return found


@routes.on("GET", "/v1.0/tenantRelationships/delegatedAdminRelationships/{relationship_id}")
def get_relationship(cloud: Cloud, request: Request, relationship_id: str) -> Response:
    found = _relationship(cloud, request, relationship_id)
    context = f"{request.origin}/v1.0/tenantRelationships/$metadata#delegatedAdminRelationships/$entity"
    return Response.plain_json({"@odata.context": context, **relationship_payload(found)})


@routes.on("GET", "/v1.0/tenantRelationships/delegatedAdminRelationships/{relationship_id}/accessAssignments")
def list_assignments(cloud: Cloud, request: Request, relationship_id: str) -> Response:
    """GDC:delegatedadminrelationship-list-accessassignments."""
    found = _relationship(cloud, request, relationship_id)
    rows = [assignment_payload(one) for one in found.assignments if cloud.listed("assignments", one.id)]
    return _page(cloud, request, "tenantRelationships/$metadata#accessAssignments", rows, most=300)


@routes.on("GET", "/v1.0/tenantRelationships/delegatedAdminCustomers")
def list_gdap_customers(cloud: Cloud, request: Request) -> Response:
    """GDC:tenantrelationship-list-delegatedadmincustomers."""
    _gdap_reader(request)
    rows: dict[str, dict[str, Any]] = {}
    if cloud.is_admin_agent(request.caller.oid):
        for relationship in cloud.world.relationships.values():
            if cloud.live(relationship):
                rows[relationship.tenant_id] = {
                    "@odata.type": "#microsoft.graph.delegatedAdminCustomer",
                    "@odata.etag": f'W/"{relationship.tenant_id[:20]}"',
                    "id": relationship.tenant_id,
                    "tenantId": relationship.tenant_id,
                    "displayName": relationship.customer_name,
                }
    return _page(cloud, request, "tenantRelationships/$metadata#delegatedAdminCustomers", list(rows.values()), most=300)


# -- me and groups ----------------------------------------------------------------------------------


def group_payload(group: Group) -> dict[str, Any]:
    return {
        "@odata.type": "#microsoft.graph.group",
        "id": group.id,
        "displayName": group.name,
        "securityEnabled": True,
        "mailEnabled": False,
    }


@routes.on("GET", "/v1.0/me")
def me(cloud: Cloud, request: Request) -> Response:
    persona = cloud.persona_by_oid(_person(request))
    if persona is None:
        raise refuse(404, "Request_ResourceNotFound", "The user does not exist.")
    body = {"id": persona.oid, "displayName": persona.name, "userPrincipalName": persona.upn, "mail": persona.upn}
    return Response.plain_json({"@odata.context": f"{request.origin}/v1.0/$metadata#users/$entity", **body})


@routes.on(
    "GET",
    "/v1.0/me/transitiveMemberOf",
    "/v1.0/me/transitiveMemberOf/microsoft.graph.group",
)
def my_groups(cloud: Cloud, request: Request) -> Response:
    """GDC:user-list-transitivememberof. `$count` wants ConsistencyLevel: eventual."""
    oid = _person(request)
    if "$count" in request.params() and request.header("ConsistencyLevel").lower() != "eventual":
        raise refuse(400, "Request_UnsupportedQuery", "$count is not currently supported without ConsistencyLevel.")
    rows = [group_payload(cloud.world.groups[group_id]) for group_id in sorted(cloud.transitive_groups(oid))]
    return _page(cloud, request, "$metadata#groups", rows, most=999)


@routes.on("POST", "/v1.0/me/checkMemberGroups")
def check_groups(cloud: Cloud, request: Request) -> Response:
    """GDC:directoryobject-checkmembergroups: at most 20 ids, transitive."""
    oid = _person(request)
    try:
        ids = json.loads(request.body)["groupIds"]
    except (ValueError, KeyError, TypeError) as why:
        raise refuse(400, "Request_BadRequest", "The request body must hold groupIds.") from why
    if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
        raise refuse(400, "Request_BadRequest", "groupIds is a collection of strings.")
    if len(ids) > 20:
        raise refuse(400, "Request_BadRequest", "The number of group ids exceeds the limit of 20.")
    mine = cloud.transitive_groups(oid)
    body = {
        "@odata.context": f"{request.origin}/v1.0/$metadata#Collection(Edm.String)",
        "value": [item for item in ids if item.lower() in mine],
    }
    return Response.plain_json(body)


@routes.on("GET", "/v1.0/groups/{group_id}")
def get_group(cloud: Cloud, request: Request, group_id: str) -> Response:
    group = cloud.world.groups.get(group_id.lower())
    if group is None or request.caller.tid != seed.PARTNER_TENANT_ID:
        raise refuse(404, "Request_ResourceNotFound", f"Resource '{group_id}' does not exist.")
    row = {name: value for name, value in group_payload(group).items() if name != "@odata.type"}
    context = f"{request.origin}/v1.0/$metadata#groups/$entity"
    return Response.plain_json({"@odata.context": context, **_selected(row, request.params().get("$select", ""))})


# -- $batch -----------------------------------------------------------------------------------------


@routes.on("POST", "/v1.0/$batch")
def batch(cloud: Cloud, request: Request) -> Response:
    """Up to 20 calls in one; each is answered for itself."""
    try:
        calls = json.loads(request.body)["requests"]
        ids = [str(call["id"]) for call in calls]
    except (ValueError, KeyError, TypeError) as why:
        raise refuse(400, "BadRequest", "Invalid batch payload format.") from why
    if len(calls) > 20:
        raise refuse(400, "BadRequest", "Number of batch requests exceeds the limit of 20.")
    if len(set(ids)) != len(ids):
        raise refuse(400, "BadRequest", "Request id must be unique.")
    return Response.plain_json({"responses": [_one(cloud, request, call) for call in calls]})


def _one(cloud: Cloud, outer: Request, call: dict[str, Any]) -> dict[str, Any]:
    parts = urlsplit(str(call.get("url", "")))
    method = str(call.get("method", "GET")).upper()
    path = "/v1.0/" + parts.path.lstrip("/").removeprefix("v1.0/")
    found = None if path.endswith("$batch") else routes.find(method, path)
    body = call.get("body")
    inner = replace(
        outer, method=method, path=path, query=parts.query, body=b"" if body is None else compact(body), looping=""
    )
    if found is None:
        text = f"sandbox has no route for {method} {path} in a batch"
        response = refuse(404, "BadRequest", text).response
    else:
        handler, ids = found
        response = handle(cloud, inner, lambda: handler(cloud, inner, **ids))
    answer: dict[str, Any] = {"id": str(call["id"]), "status": response.status, "headers": response.headers}
    if response.body:
        answer["body"] = json.loads(response.body)
    return answer
