"""The GDAP API of seed 000 (AppXite GDAP Bridge 360) over HTTP: sign-in, sync, list (CONTRACT 6)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta

from .. import entra, seed
from ..cloud import Cloud
from ..directory import GdapRow
from ..seed import gdap_row
from ..tokens import GDAP_AUDIENCE
from ..wire import JSON_TYPE, Request, Response, Routes

routes = Routes(any_case=True)
auth_routes = Routes(any_case=True)


def handle(cloud: Cloud, request: Request, proceed: Callable[[], Response]) -> Response:
    _settle(cloud)
    return proceed()


def _nothing() -> Response:
    """Bad token and missing rights look the same: 401 and the word null."""
    return Response(401, {"Content-Type": JSON_TYPE}, b"null")


@auth_routes.on("POST", "/api/Auth", "/api/AuthService")
def authenticate(cloud: Cloud, request: Request) -> Response:
    """User name and password in the query: keep it out of logs."""
    asked = request.params()
    right_name = secrets.compare_digest(asked.get("username", "").lower().encode(), seed.GDAP_API_USERNAME.encode())
    right_word = secrets.compare_digest(asked.get("password", "").encode(), seed.GDAP_API_PASSWORD.encode())
    if not (right_name and right_word):
        return _nothing()
    access = entra.app_token(
        cloud, GDAP_AUDIENCE, issuer=request.origin, subject=seed.GDAP_API_USERNAME, tenant="", roles=[]
    )
    return Response.plain_json({"access_token": access})


def _refused(request: Request, partner: str) -> bool:
    caller = request.caller
    return bool(caller.problem) or caller.audience != GDAP_AUDIENCE or partner.lower() != seed.PARTNER_TENANT_ID


@routes.on("POST", "/api/SynchronizePartnerCustomers")
def synchronize(cloud: Cloud, request: Request) -> Response:
    """Accepted now, done some seconds later, told by e-mail: there is no job id and no status."""
    asked = request.params()
    if _refused(request, asked.get("partnerid", "")) or "@" not in asked.get("email", ""):
        return _nothing()
    if cloud.gdap_syncs and cloud.assumed["gdap_repeat"] == 429:
        return Response(429, {"Content-Type": JSON_TYPE, "Retry-After": "60"}, b"null")
    cloud.gdap_syncs.append(cloud.now() + timedelta(seconds=float(cloud.assumed["gdap_sync_seconds"])))
    body = {"Result": "Accepted", "Message": "Your customers will be synchronized now."}
    return Response.plain_json(body, int(cloud.assumed["gdap_sync_status"]))


def _settle(cloud: Cloud) -> None:
    """Syncs whose time has come: every customer gets a row, every row a new Timestamp."""
    due = [at for at in cloud.gdap_syncs if at <= cloud.now()]
    if not due:
        return
    cloud.gdap_syncs = [at for at in cloud.gdap_syncs if at not in due]
    for customer in cloud.world.customers.values():
        row = cloud.world.gdap.setdefault(customer.id, gdap_row(customer))
        row.synced_at = max(due)


@routes.on("GET", "/api/Customers", "/api/ListCustomers")
def list_customers(cloud: Cloud, request: Request) -> Response:
    if _refused(request, request.params().get("providerid", "")):
        return _nothing()
    rows = [_payload(row) for row in cloud.world.gdap.values() if cloud.listed("gdap", row.tenant_id)]
    return Response.plain_json({"CurrentEntitiesSynced": rows})


def _payload(row: GdapRow) -> dict[str, object]:
    return {
        "TenantDomain": row.domain,
        "CompanyName": row.company,
        "PrimaryContact": row.contact,
        "FirstName": row.first_name,
        "LastName": row.last_name,
        "PartitionKey": seed.PARTNER_TENANT_ID,
        "RowKey": row.tenant_id,
        "Timestamp": f"{row.synced_at:%Y-%m-%dT%H:%M:%S.%fZ}" if row.synced_at else None,
        "ETag": {},
    }
