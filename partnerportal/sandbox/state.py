"""What may be changed behind the portal's back while the sandbox runs: `POST /_sandbox/state {op, …}`.

=======================  ==============================================================================================
op                       fields; effect
=======================  ==============================================================================================
terminate_relationship   tenant_id, relationship_id?; status `terminated`, ended now (all of the tenant's live ones)
restore_relationship     tenant_id, relationship_id?; as the seed had it
set_relationship         relationship_id, status?, ends_in_days?, roles?
set_assignment           relationship_id, group, status
add_to_group             persona, group (key, name or id of the group)
remove_from_group        persona, group
set_app_roles            persona, roles
set_units                tenant_id, sku (id or part number), units; so many bought from now on
set_directory_roles      tenant_id, user_id, roles (ids)
expire_tokens            every access token issued so far is expired
revoke_refresh_token     persona
require_mfa              on, at? (`both` (default), `token`, `partnercenter`)
replication_lag          seconds until a write is visible to readers
set_clock_offset         seconds, for the cloud's own clock
hide_customers           source (partnercenter, avepoint, gdap, graph), fraction 0 to 1; `assignments`: the access
                         assignments of the relationships that Graph lists
assume                   name, value: see assumptions.py
=======================  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from . import directory_roles, seed
from .cloud import Cloud
from .directory import Group, Persona, Relationship

SOURCES = ("partnercenter", "avepoint", "gdap", "graph", "assignments")


class BadOperation(ValueError):
    """An operation that does not exist, or lacks what it needs."""


def personas(cloud: Cloud) -> list[dict[str, Any]]:
    with cloud.lock:
        return [
            {**asdict(persona), "admin_agent": cloud.is_admin_agent(persona.oid)}
            for persona in cloud.world.personas.values()
        ]


def shown(cloud: Cloud) -> dict[str, Any]:
    with cloud.lock:
        return {
            "profile": cloud.world.profile,
            "now": cloud.now().isoformat(),
            "clock_offset": cloud.clock_offset,
            "replication_lag": cloud.lag,
            "require_mfa": sorted(cloud.mfa_at),
            "hidden": dict(cloud.hidden),
            "assumed": dict(cloud.assumed),
            "special": dict(seed.SPECIAL) if cloud.world.profile == "demo" else {},
            "groups": {
                group.key: {"id": group.id, "name": group.name, "members": sorted(group.members)}
                for group in cloud.world.groups.values()
            },
        }


def reset(cloud: Cloud, profile: Any) -> dict[str, Any]:
    try:
        cloud.reset(str(profile))
    except ValueError as why:
        raise BadOperation(str(why)) from why
    return {"profile": cloud.world.profile, "customers": len(cloud.world.customers)}


def change(cloud: Cloud, payload: Any) -> dict[str, Any]:
    if not isinstance(payload, dict) or payload.get("op") not in _OPERATIONS:
        raise BadOperation(f"op is one of: {', '.join(sorted(_OPERATIONS))}")
    with cloud.lock:
        try:
            answer = _OPERATIONS[payload["op"]](cloud, payload)
        except KeyError as why:
            raise BadOperation(f"{payload['op']} needs {why}") from why
        except (TypeError, ValueError) as why:
            raise BadOperation(str(why)) from why
    return {"op": payload["op"], **answer}


def _persona(cloud: Cloud, key: str) -> Persona:
    if key not in cloud.world.personas:
        raise BadOperation(f"persona is one of: {', '.join(cloud.world.personas)}")
    return cloud.world.personas[key]


def _group(cloud: Cloud, name: str) -> Group:
    wanted = name.lower()
    aliases = {"admin agents": "adminagents"}
    for group in cloud.world.groups.values():
        if aliases.get(wanted, wanted) in (group.id, group.key, group.name.lower()):
            return group
    raise BadOperation(f"no group is called {name!r}")


def _chosen(cloud: Cloud, payload: dict[str, Any]) -> list[Relationship]:
    tenant_id = str(payload["tenant_id"]).lower()
    wanted = payload.get("relationship_id")
    found = [r for r in cloud.relationships_of(tenant_id) if wanted in (None, r.id)]
    if not found:
        raise BadOperation("no such relationship")
    return found


def _store(cloud: Cloud, relationship: Relationship) -> None:
    cloud.world.relationships[relationship.id] = relationship
    cloud.world.by_tenant = None


def _terminate(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    ended = []
    for relationship in _chosen(cloud, payload):
        if cloud.live(relationship) or payload.get("relationship_id"):
            _store(cloud, relationship.with_status("terminated", cloud.now()))
            ended.append(relationship.id)
    return {"terminated": ended}


def _restore(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    seeded = seed.build(cloud.world.profile, datetime.now(UTC)).relationships
    back = []
    for relationship in _chosen(cloud, payload):
        if relationship.id in seeded:
            _store(cloud, seeded[relationship.id])
            back.append(relationship.id)
    return {"restored": back}


def _set_relationship(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    relationship = cloud.world.relationships[str(payload["relationship_id"])]
    if "status" in payload:
        relationship.status = str(payload["status"])
    if "ends_in_days" in payload:
        relationship.ends = cloud.now() + timedelta(days=float(payload["ends_in_days"]))
    if "roles" in payload:
        relationship.roles = tuple(str(role) for role in payload["roles"])
    return {"relationship_id": relationship.id}


def _set_assignment(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    relationship = cloud.world.relationships[str(payload["relationship_id"])]
    group = _group(cloud, str(payload["group"]))
    status = str(payload["status"])
    changed = 0
    for assignment in relationship.assignments:
        if assignment.group_id == group.id:
            assignment.status = status
            changed += 1
    return {"changed": changed}


def _add_to_group(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    group = _group(cloud, str(payload["group"]))
    group.members.add(_persona(cloud, str(payload["persona"])).oid)
    return {"group": group.id}


def _remove_from_group(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    group = _group(cloud, str(payload["group"]))
    group.members.discard(_persona(cloud, str(payload["persona"])).oid)
    return {"group": group.id}


def _set_app_roles(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    roles = payload["roles"]
    if not isinstance(roles, list):
        raise BadOperation("roles is a list")
    persona = _persona(cloud, str(payload["persona"]))
    persona.app_roles = [str(role) for role in roles]
    return {"roles": persona.app_roles}


def _set_units(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    customer = cloud.world.customers[str(payload["tenant_id"]).lower()]
    wanted, units = str(payload["sku"]), int(payload["units"])
    if not any(wanted in (each.product.id, each.product.part_number) for each in customer.subscriptions):
        raise BadOperation("the customer has no such subscription")
    customer.subscriptions = tuple(
        replace(each, active=units) if wanted in (each.product.id, each.product.part_number) else each
        for each in customer.subscriptions
    )
    return {"units": units}


def _set_directory_roles(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    user = cloud.world.customers[str(payload["tenant_id"]).lower()].directory.users[str(payload["user_id"]).lower()]
    roles = tuple(str(role).lower() for role in payload["roles"])
    if strange := [role for role in roles if role not in directory_roles.NAMES]:
        raise BadOperation(f"no directory role has the id {strange[0]!r}")
    user.roles = roles
    return {"roles": list(roles)}


def _expire_tokens(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    cloud.entra.generation += 1
    return {}


def _revoke(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    persona = _persona(cloud, str(payload["persona"]))
    grants = [grant for grant in cloud.entra.refresh.values() if grant.persona == persona.key and not grant.revoked]
    for grant in grants:
        grant.revoked = True
    return {"revoked": len(grants)}


def _require_mfa(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    where = str(payload.get("at", "both"))
    if where not in ("both", "token", "partnercenter"):
        raise BadOperation("at is both, token or partnercenter")
    places = {"token", "partnercenter"} if where == "both" else {where}
    cloud.mfa_at = places if payload["on"] else set()
    return {"at": sorted(cloud.mfa_at)}


def _replication_lag(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    cloud.lag = float(payload["seconds"])
    return {"seconds": cloud.lag}


def _set_clock_offset(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    cloud.clock_offset = float(payload["seconds"])
    return {"now": cloud.now().isoformat()}


def _hide_customers(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    source, fraction = str(payload["source"]), float(payload["fraction"])
    if source not in SOURCES or not 0 <= fraction <= 1:
        raise BadOperation(f"source is one of {', '.join(SOURCES)}; fraction is from 0 to 1")
    cloud.hidden[source] = fraction
    return {"source": source, "fraction": fraction}


def _assume(cloud: Cloud, payload: dict[str, Any]) -> dict[str, Any]:
    return {"name": payload["name"], "value": cloud.assume(str(payload["name"]), payload["value"])}


_OPERATIONS: dict[str, Callable[[Cloud, dict[str, Any]], dict[str, Any]]] = {
    "terminate_relationship": _terminate,
    "restore_relationship": _restore,
    "set_relationship": _set_relationship,
    "set_assignment": _set_assignment,
    "add_to_group": _add_to_group,
    "remove_from_group": _remove_from_group,
    "set_app_roles": _set_app_roles,
    "set_units": _set_units,
    "set_directory_roles": _set_directory_roles,
    "expire_tokens": _expire_tokens,
    "revoke_refresh_token": _revoke,
    "require_mfa": _require_mfa,
    "replication_lag": _replication_lag,
    "set_clock_offset": _set_clock_offset,
    "hide_customers": _hide_customers,
    "assume": _assume,
}
