"""AvePoint over HTTP: the token endpoint and the list of customers (seed 004, CONTRACT 5)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from .. import entra, seed
from ..cloud import Cloud
from ..directory import AvePointRow
from ..tokens import AVEPOINT_AUDIENCE
from ..wire import Request, Response, Routes, ServiceError

routes = Routes()
identity_routes = Routes()
SCOPE = "partner.customers.read.all"
CONTEXT = "https://graph.avepointonlineservices.com/partner/$metadata#Customers"


def handle(cloud: Cloud, request: Request, proceed: Callable[[], Response]) -> Response:
    try:
        response = proceed()
    except ServiceError as error:
        response = error.response
        body = cloud.assumed["avepoint_error_body"]
        if body != "json":
            response = Response(response.status, {"Content-Type": "text/plain"}, b"Failed." if body == "text" else b"")
    response.headers["request-id"] = secrets.token_hex(16)
    return response


def _error(status: int, code: str, message: str) -> ServiceError:
    return ServiceError(Response.plain_json({"error": {"code": code, "message": message}}, status))


@identity_routes.on("POST", "/connect/token")
def token(cloud: Cloud, request: Request) -> Response:
    """AVP:register-app: client credentials with a scope; secret or certificate."""
    form = request.form()

    def refuse(error: str) -> Response:
        return Response.plain_json({"error": error}, 400)

    if form.get("grant_type") != "client_credentials":
        return refuse("unsupported_grant_type")
    if form.get("client_id") != seed.AVEPOINT_CLIENT_ID:
        return refuse("invalid_client")
    if assertion := form.get("client_assertion"):
        claims = entra.unsigned_claims(assertion)
        if claims.get("iss") != seed.AVEPOINT_CLIENT_ID or claims.get("sub") != seed.AVEPOINT_CLIENT_ID:
            return refuse("invalid_client")
    elif not secrets.compare_digest(form.get("client_secret", "").encode(), seed.AVEPOINT_CLIENT_SECRET.encode()):
        return refuse("invalid_client")
    if SCOPE not in form.get("scope", "").split() or len(form["scope"].split()) > 1:
        return refuse("invalid_scope")
    access = entra.app_token(
        cloud, AVEPOINT_AUDIENCE, issuer=request.origin, subject=seed.AVEPOINT_CLIENT_ID, tenant="", roles=[SCOPE]
    )
    life = int(cloud.assumed["access_token_seconds"])
    answer = {"access_token": access, "expires_in": life, "token_type": "Bearer", "scope": SCOPE}
    return Response.plain_json(answer, Cache_Control="no-store")


def _check(request: Request) -> None:
    if request.caller.problem or request.caller.audience != AVEPOINT_AUDIENCE:
        raise _error(401, "Unauthorized", "The access token is missing, expired or not for this service.")


def _payload(cloud: Cloud, row: AvePointRow) -> dict[str, str]:
    return {
        "id": _told_id(cloud, row),
        "organization": row.organization,
        "ownerEmail": row.owner_email,
        "jobStatus": row.job_status,
        "countryOrRegion": row.country,
    }


def _told_id(cloud: Cloud, row: AvePointRow) -> str:
    """Nothing proves that AvePoint's id is the tenant id: hence the switch (CONTRACT 5)."""
    if cloud.assumed["avepoint_id_is_tenant_id"] or row.told_id.lower() != row.tenant_id:
        return row.told_id
    return row.own_id


@routes.on("GET", "/partner/customers")
def list_customers(cloud: Cloud, request: Request) -> Response:
    """AVP:all-customers. No paging parameter is documented; a next page is an assumption."""
    _check(request)
    rows = [row for row in cloud.world.avepoint if cloud.listed("avepoint", row.own_id)]
    size = int(cloud.assumed["avepoint_paging"])
    body: dict[str, Any] = {"@odata.context": CONTEXT}
    if not size:
        body["value"] = [_payload(cloud, row) for row in rows]
        if request.looping:
            body[str(cloud.assumed["avepoint_next_link"])] = f"{request.origin}/partner/customers?$skiptoken=loop"
        return Response.plain_json(body)
    asked = request.params().get("$skiptoken", "0")
    start = int(asked) if asked.isdigit() and not request.looping else 0
    body["value"] = [_payload(cloud, row) for row in rows[start : start + size]]
    if request.looping or start + size < len(rows):
        salt = f"&salt={secrets.token_hex(4)}" if request.looping == "fresh" else ""
        following = f"{request.origin}/partner/customers?$skiptoken={start + size}{salt}"
        body[str(cloud.assumed["avepoint_next_link"])] = following
    return Response.plain_json(body)


@routes.on("GET", "/partner/customers/{row_id}")
def get_customer(cloud: Cloud, request: Request, row_id: str) -> Response:
    """AVP:specific-customers."""
    _check(request)
    for row in cloud.world.avepoint:
        if _told_id(cloud, row) == row_id:
            return Response.plain_json({"@odata.context": f"{CONTEXT}/$entity", **_payload(cloud, row)})
    raise _error(404, "NotFound", "The customer is not found.")
