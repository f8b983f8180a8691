"""The state of the pretend cloud and its rules, without HTTP.

`Cloud` is one world (see `seed.py`) plus what may be switched while it runs. Everything is done under `lock`; the
routes translate between these methods and each vendor's wire.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from . import directory_roles, licences, seed, validation
from .assumptions import ASSUMPTIONS, checked
from .directory import Customer, Persona, Relationship, User, World
from .entra import EntraState
from .refusal import Refused
from .seed_gdap import ROLE
from .tokens import AUDIENCES, NOBODY, PARTNER_CENTER_AUDIENCE, Caller, SigningKey

READ_ROLES = frozenset(ROLE[name] for name in ("Directory Readers", "Global Reader", "User Administrator"))
WRITE_ROLES = frozenset(ROLE[name] for name in ("User Administrator", "Directory Writers"))
RESET_ROLES = frozenset(ROLE[name] for name in ("User Administrator", "Privileged Authentication Administrator"))
DELETE_ROLES = frozenset((ROLE["User Administrator"],))
_LICENCE_ROLES = frozenset(ROLE[name] for name in ("User Administrator", "License Administrator"))
SKU_READ_ROLES = READ_ROLES | _LICENCE_ROLES
LICENCE_READ_ROLES = _LICENCE_ROLES | {ROLE["Directory Readers"], ROLE["Directory Writers"]}
LICENCE_WRITE_ROLES = _LICENCE_ROLES | {ROLE["Directory Writers"]}
ROLE_LIST_ROLES = frozenset((ROLE["Directory Readers"],))
MEMBER_WRITE_ROLES = frozenset((ROLE["Privileged Role Administrator"],))
MEMBER_READ_ROLES = MEMBER_WRITE_ROLES | frozenset(
    ROLE[name] for name in ("Directory Readers", "Global Reader", "Directory Writers")
)


class Cloud:
    def __init__(self, profile: str = "demo") -> None:
        self.lock = threading.RLock()
        self.key = SigningKey()
        self.entra = EntraState()
        self.reset(profile)

    # -- the world and its clock --------------------------------------------------------------------

    def reset(self, profile: str) -> None:
        """Plant the seed anew. The signing key and issued tokens survive; every switch goes back to its default."""
        world = seed.build(profile, datetime.now(UTC))
        with self.lock:
            self.world: World = world
            self.clock_offset = 0.0
            self.lag = 0.0
            self.mfa_at: set[str] = set()
            self.hidden: dict[str, float] = {}
            self.assumed: dict[str, Any] = {name: row.default for name, row in ASSUMPTIONS.items()}
            self.replays: dict[tuple[str, str, str, str], Any] = {}
            self.used_continuations: set[str] = set()
            self.gdap_syncs: list[datetime] = []
            self._asked: dict[str, deque[float]] = {}

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.clock_offset)

    def assume(self, name: str, value: Any) -> Any:
        with self.lock:
            self.assumed[name] = checked(name, value)
            return self.assumed[name]

    # -- who is asking ------------------------------------------------------------------------------

    def persona_by_oid(self, oid: str) -> Persona | None:
        return next((p for p in self.world.personas.values() if p.oid == oid), None)

    def identify(self, authorization: str, *, direct: bool) -> Caller:
        """Read a bearer token. Whether it is good for the service asked, the service decides."""
        kind, _, token = authorization.partition(" ")
        if not authorization:
            return NOBODY
        if kind.lower() != "bearer" or not token.strip():
            return Caller(problem="malformed")
        token = token.strip()
        if token.startswith("sandbox:"):
            return self._sandbox_bearer(token) if direct else Caller(problem="malformed")
        if token == seed.GDAP_API_TOKEN:
            return Caller(oid="gdap-api", persona="gdap-api", audience=AUDIENCES["gdap"], app_only=True)
        claims = self.key.read(token)
        if claims is None:
            return Caller(problem="malformed")
        oid = str(claims.get("oid", claims.get("sub", "")))
        persona = self.persona_by_oid(oid)
        caller = Caller(
            oid=oid,
            tid=str(claims.get("tid", "")),
            persona=persona.key if persona else str(claims.get("who", "")),
            audience=str(claims.get("aud", "")),
            app_only=claims.get("idtyp") == "app",
            mfa="mfa" in claims.get("amr", ()),
        )
        now = self.now().timestamp()
        generation = int(str(claims.get("uti", "0")).partition("-")[0] or 0)
        if now >= claims["exp"] or now < claims["nbf"] - 300 or generation < self.entra.generation:
            return replace(caller, problem="expired")
        return caller

    def _sandbox_bearer(self, token: str) -> Caller:
        """`sandbox:<persona>:<service>`, for tests and people with curl (INTERFACE.md)."""
        _, _, rest = token.partition(":")
        who, _, service = rest.partition(":")
        if service not in AUDIENCES:
            return Caller(problem="malformed")
        audience = AUDIENCES[service]
        if who == "app":
            return Caller(seed.APP_OID, seed.PARTNER_TENANT_ID, "app", audience, app_only=True)
        if who not in self.world.personas:
            return Caller(problem="malformed")
        persona = self.world.personas[who]
        return Caller(persona.oid, persona.tid, persona.key, audience, mfa=True)

    def transitive_groups(self, member_id: str) -> set[str]:
        """Every group the person is in, also through groups in groups."""
        found: set[str] = set()
        todo = [member_id]
        while todo:
            member = todo.pop()
            for group in self.world.groups.values():
                if member in group.members and group.id not in found:
                    found.add(group.id)
                    todo.append(group.id)
        return found

    def is_admin_agent(self, oid: str) -> bool:
        return seed.GROUP_IDS["admin_agents"] in self.transitive_groups(oid)

    def is_agent(self, oid: str) -> bool:
        """Whom Partner Center lets in. Graph tells the GDAP relationships to Admin agents alone (CONTRACT 1.2, 4.4)."""
        agents = {seed.GROUP_IDS[key] for key in ("admin_agents", "helpdesk_agents", "sales_agents")}
        return bool(agents & self.transitive_groups(oid))

    # -- GDAP ---------------------------------------------------------------------------------------

    def live(self, relationship: Relationship) -> bool:
        """Does it grant anything now? A past endDateTime counts, whatever the status says (CONTRACT 4.4)."""
        statuses = {"active", "expiring"} if self.assumed["expiring_grants"] else {"active"}
        return relationship.status in statuses and relationship.ends is not None and relationship.ends > self.now()

    def relationships_of(self, tenant_id: str) -> list[Relationship]:
        if self.world.by_tenant is None:
            self.world.by_tenant = {}
            for relationship in self.world.relationships.values():
                self.world.by_tenant.setdefault(relationship.tenant_id, []).append(relationship)
        return self.world.by_tenant.get(tenant_id, [])

    def roles(self, oid: str, tenant_id: str) -> set[str]:
        """The union over live relationships, active assignments and the person's transitive groups."""
        groups = self.transitive_groups(oid)
        held: set[str] = set()
        for relationship in self.relationships_of(tenant_id):
            if self.live(relationship):
                for assignment in relationship.assignments:
                    if assignment.status == "active" and assignment.group_id in groups:
                        held |= set(assignment.roles) & set(relationship.roles)
        return held

    # -- Partner Center: may this caller do this here? ----------------------------------------------

    def check_partner_center(self, caller: Caller, *, app_only: bool = False) -> None:
        """Token, audience, MFA, app-only and the staff role, in the order Partner Center looks (CONTRACT 1.2, 1.3)."""
        if caller.problem:
            raise Refused(401, 400, "Access denied")
        if caller.audience != PARTNER_CENTER_AUDIENCE:
            text = f"The audience '{caller.audience}' in the token is invalid and is no longer supported in Partner "
            raise Refused(401, 900420, text + "Center API.")
        if caller.app_only:
            answer = self.assumed["app_only_customers"] if app_only else "403"
            if answer == "401":
                raise Refused(401, 400, "Access denied")
            if answer == "403":
                raise Refused(403, 900329, "This resource doesn't support application-only authentication.")
            return
        if "partnercenter" in self.mfa_at and not caller.mfa:
            raise Refused(401, 900421, "MFA is required for this request.")
        if caller.tid != seed.PARTNER_TENANT_ID:
            raise Refused(403, 2006, "The partner is not valid.")
        if not self.is_agent(caller.oid):
            text = "The supplied role does not have the rights to perform the requested operation"
            raise Refused(403, 900150, text)

    def customer(self, customer_id: str) -> Customer:
        """By tenant id: 400/900118 for what is no GUID, 404/60003 unknown, 403/20002 somebody else's."""
        key = customer_id.lower()
        if not _is_guid(key):
            raise Refused(400, 900118, "Invalid Customer Id")
        if key in self.world.strangers:
            raise Refused(403, 20002, "No relationship between caller and account.")
        if key not in self.world.customers:
            raise Refused(404, 60003, "Tenant not found")
        self._count_request(key)
        return self.world.customers[key]

    def require_role(self, caller: Caller, customer: Customer, roles: frozenset[str]) -> None:
        if not self.roles(caller.oid, customer.id) & roles:
            raise Refused(403, 900308, "Insufficient privileges to complete the operation.")

    def _count_request(self, customer_id: str) -> None:
        limit = int(self.assumed["customer_rate_limit"])
        if not limit:
            return
        asked = self._asked.setdefault(customer_id, deque())
        now = time.monotonic()
        while asked and now - asked[0] >= 60:
            asked.popleft()
        if len(asked) >= limit:
            wait = int(60 - (now - asked[0])) + 1
            text = f"Rate limit is exceeded. Try again in {wait} seconds."
            raise Refused(429, 429, text, retry_after=wait)
        asked.append(now)

    # -- users --------------------------------------------------------------------------------------

    def user(self, customer: Customer, user_id: str, *, deleted: bool = False) -> User:
        """A user as readers see it. User names find nobody: only object ids do (CONTRACT 3.2)."""
        found = customer.directory.get(user_id, self.now())
        if found is None or (found.deleted_at is not None and not deleted):
            raise Refused(404, 60002, "User object ID is not found")
        return found

    def user_to_change(self, customer: Customer, user_id: str, *, deleted: bool = False) -> User:
        """A user as the next write finds it: with all earlier writes, also those that readers do not see yet.

        Whom nobody sees yet cannot be written to either.
        """
        shown = self.user(customer, user_id, deleted=True)
        newest = customer.directory.users[shown.id]
        if newest.deleted_at is not None and not deleted:
            raise Refused(404, 60002, "User object ID is not found")
        return newest

    def _refuse_taken_name(self, customer: Customer, upn: str, except_id: str = "") -> None:
        for other in customer.directory.users.values():
            if other.id == except_id or other.upn.lower() != upn.lower():
                continue
            if other.deleted_at is None or self.assumed["deleted_upn_blocks"]:
                text = "Another object with the same value for property userPrincipalName already exists."
                raise Refused(409 if self.assumed["duplicate_upn_409"] else 400, 3000, text)

    def create_user(self, customer: Customer, fields: dict[str, Any]) -> User:
        """POST …/users: validated, then stored; the answer echoes the password (CONTRACT 3.3)."""
        profile = fields.get("passwordprofile") or {}
        upn, display = text_of(fields, "userprincipalname"), text_of(fields, "displayname")
        if not upn:
            raise Refused(400, 3000, "Property userPrincipalName is required.")
        password = text_of(profile, "password") or generated_password()
        location = text_of(fields, "usagelocation")
        names = [text_of(fields, name) for name in ("firstname", "lastname", "phonenumber")]
        try:
            validation.check_upn(upn, customer.domains, customer.federated_domains)
            validation.check_display_name(display)
            validation.check_name_lengths(*names)
            if location:
                validation.check_usage_location(location)
            validation.check_password(password, upn)
        except validation.Invalid as why:
            raise Refused(400, 3000, str(why)) from why
        self._refuse_taken_name(customer, upn)
        user = User(
            new_guid(),
            customer.directory.new_seq(),
            upn,
            display,
            names[0],
            names[1],
            location.upper(),
            names[2],
            text_of(fields, "immutableid"),
            password=password,
            force_change=profile.get("forcechangepassword") is not False,
        )
        customer.directory.put(user, self.now(), self.lag)
        return user

    def change_user(self, customer: Customer, user: User, fields: dict[str, Any]) -> User:
        """PATCH …/users/{id}: only what is sent and not null changes; the last write wins (CONTRACT 3.4)."""
        changed = replace(user, before=None, settles_at=None, password="")
        for name, attribute in (("firstname", "first_name"), ("lastname", "last_name"), ("phonenumber", "phone")):
            value = fields.get(name)
            if isinstance(value, str) and (value or self.assumed["empty_string_clears"]):
                setattr(changed, attribute, value)
        for name, attribute in (
            ("displayname", "display_name"),
            ("userprincipalname", "upn"),
            ("usagelocation", "usage_location"),
        ):
            if isinstance(fields.get(name), str):
                setattr(changed, attribute, fields[name])
        if user.synced_at is not None:
            read_only = ("display_name", "first_name", "last_name", "upn", "phone")
            if any(getattr(user, name) != getattr(changed, name) for name in read_only):
                text = "Unable to update the specified properties for on-premises mastered Directory Sync objects."
                raise Refused(400, 3000, text)
        try:
            validation.check_display_name(changed.display_name)
            validation.check_name_lengths(changed.first_name, changed.last_name, changed.phone)
            if changed.usage_location or isinstance(fields.get("usagelocation"), str):
                validation.check_usage_location(changed.usage_location)
                changed.usage_location = changed.usage_location.upper()
            if changed.upn != user.upn:
                validation.check_upn(changed.upn, customer.domains, customer.federated_domains)
        except validation.Invalid as why:
            raise Refused(400, 3000, str(why)) from why
        if changed.upn.lower() != user.upn.lower():
            self._refuse_taken_name(customer, changed.upn, except_id=user.id)
        if isinstance(fields.get("passwordprofile"), dict):
            self._set_password(changed, fields["passwordprofile"])
        customer.directory.put(changed, self.now(), self.lag)
        return changed

    def _set_password(self, user: User, profile: dict[str, Any]) -> None:
        if user.synced_at is not None and not self.assumed["synced_password_writeback"]:
            raise Refused(400, 3000, "The password of this user is managed on premises.")
        password = text_of(profile, "password") or generated_password()
        try:
            validation.check_password(password, user.upn)
        except validation.Invalid as why:
            raise Refused(400, 3000, str(why)) from why
        user.password = password
        user.force_change = profile.get("forcechangepassword") is not False

    def protect_administrator(self, caller: Caller, customer: Customer, user: User) -> None:
        """Entra keeps some administrators from a mere User Administrator; nobody says whether it does so here [A]."""
        above = ROLE["Privileged Authentication Administrator"] in self.roles(caller.oid, customer.id)
        if self.assumed["administrators_protected"] and directory_roles.administers(user) and not above:
            raise Refused(403, 900308, "Insufficient privileges to complete the operation.")

    def delete_user(self, customer: Customer, user: User) -> None:
        """Deleted users are `inactive` for 30 days, then gone. Their licences are free at once."""
        gone = replace(user, before=None, settles_at=None, deleted_at=self.now())
        customer.directory.put(gone, self.now(), self.lag)

    def restore_user(self, customer: Customer, user: User) -> User:
        if user.deleted_at is None:
            return user
        try:
            self._refuse_taken_name(customer, user.upn, except_id=user.id)
        except Refused as why:
            raise Refused(409 if self.assumed["restore_conflict_409"] else 400, 3000, why.text) from why
        kept = licences.still_free(customer, user) if self.assumed["restored_user_licences"] else ()
        back = replace(user, before=None, settles_at=None, deleted_at=None, licences=kept)
        customer.directory.put(back, self.now(), self.lag)
        return back

    # -- lists of customers -------------------------------------------------------------------------

    def listed(self, source: str, key: str) -> bool:
        """False for the share of rows, customers or not, that `hide_customers` made this source forget."""
        fraction = self.hidden.get(source, 0.0)
        if not fraction:
            return True
        digest = sum((index + 1) * ord(char) for index, char in enumerate(key)) * 2654435761 % 1000
        return digest >= fraction * 1000


def text_of(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def new_guid() -> str:
    bits = secrets.token_hex(16)
    return f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"


def generated_password() -> str:
    return f"Gx7!{secrets.token_urlsafe(12)}"


def _is_guid(text: str) -> bool:
    parts = text.split("-")
    return [len(part) for part in parts] == [8, 4, 4, 4, 12] and all(c in "0123456789abcdef-" for c in text)
