"""The GDAP snapshot: the partner's relationships beside its customers, and what they amount to for each of them.

Only `reading.py` brings a new copy, one at a time. It is planned outside of the transaction that puts it in place, so
that writers wait for the writing alone.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from django.db import connection, models
from django.db.models import Exists, F, OuterRef, Q, Subquery

from partnerportal import clock
from partnerportal.upstream.graph import Assignment, Relationship

from .. import access
from ..access import NEEDED, Action
from ..models import (
    GRAPH,
    Customer,
    GdapAssignment,
    GdapChange,
    GdapGrant,
    GdapRelationship,
    GdapState,
    SecurityGroup,
    Source,
)
from . import news

LONGEST_ID = 120  # characters
BATCH = 500  # rows in one statement; the database has a limit of variables
T = TypeVar("T")
Told = TypeVar("Told", Relationship, Assignment)


@dataclass
class Copy:
    """What one complete read of Graph brought."""

    relationships: dict[str, Relationship] = field(default_factory=dict)
    assignments: dict[str, tuple[Assignment, ...]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # of groups
    unreadable: int = 0  # relationships without an id we can use: what is absent may be one of them
    in_doubt: set[str] = field(default_factory=set)  # relationships some of whose assignments could not be read


def fitted(row: Told) -> Told | None:
    """The row as our columns take it: PostgreSQL refuses a NUL, and what is too long. None when its id does not fit."""
    if len(row.id) > LONGEST_ID or "\x00" in row.id:
        return None
    row = replace(row, status=_fit(row.status, 40), roles=frozenset(_fit(one, 64) for one in row.roles))
    if isinstance(row, Relationship):
        name, customer = _fit(row.display_name, 200), _fit(row.customer_name, 400)
        row = replace(row, display_name=name, customer_name=customer)
    return row


def _fit(text: str, longest: int) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:longest]


# --- From our rows to what the access check reads -----------------------------------------------------------


def facts(tenant_id: str, my_groups: Collection[str]) -> access.Facts | None:
    """What the snapshot says about one customer and somebody in these groups; None before the first read."""
    source = Source.objects.filter(pk=GRAPH).first()
    if source is None or source.last_good_at is None:
        return None
    rows = list(GdapRelationship.objects.filter(tenant_id=tenant_id, gone_at=None).prefetch_related("assignments"))
    assignments = {row.id: tuple(each.told for each in row.assignments.all()) for row in rows}
    return access.Facts(
        taken_at=source.last_good_at,
        relationships=tuple(row.told for row in rows),
        assignments=assignments,
        my_groups=frozenset(my_groups),
        group_names=names_of({each.group_id for many in assignments.values() for each in many}),
        sees_others=True,
    )


def names_of(group_ids: Collection[str] | None = None) -> dict[str, str]:
    """Group id -> what it is called, for these groups or for all that we know."""
    found = SecurityGroup.objects.exclude(name="")
    if group_ids is not None:
        found = found.filter(pk__in=group_ids)
    return dict(found.values_list("pk", "name"))


# --- What is different --------------------------------------------------------------------------------------


@dataclass
class Plan:
    """The rows to write so that the snapshot says what the copy says."""

    relationships: list[GdapRelationship] = field(default_factory=list)
    assignments: list[GdapAssignment] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)  # assignments
    grants: list[GdapGrant] = field(default_factory=list)
    revoked: list[int] = field(default_factory=list)  # grants
    changes: list[GdapChange] = field(default_factory=list)


def plan(copy: Copy, now: datetime) -> Plan:
    """Compare the copy with what we knew. Reads only."""
    made = Plan()
    known = {row.id: row for row in GdapRelationship.objects.all()}
    held: dict[str, dict[str, GdapAssignment]] = defaultdict(dict)
    for each in GdapAssignment.objects.all():
        held[each.relationship_id][each.assignment_id] = each
    last = Source.objects.filter(pk=GRAPH).values_list("last_good_at", flat=True).first()
    names = names_of() | copy.names
    for relationship in copy.relationships.values():
        assignments = _merged(copy, relationship.id, held[relationship.id])
        if known:  # the very first read is no news
            old = known.get(relationship.id)
            made.changes += news.of(old, held[relationship.id], relationship, assignments, names, last or now, now)
        _plan_relationship(made, known.pop(relationship.id, None), relationship, now)
        _plan_assignments(made, relationship.id, held.pop(relationship.id), assignments)
    _plan_missing(made, known.values(), now, whole=not copy.unreadable)
    for row in known.values():
        if row.gone_at:
            made.dropped += [each.pk for each in held.pop(row.id, {}).values()]
        else:
            copy.relationships[row.id] = row.told  # once absent is not yet gone
            copy.assignments[row.id] = tuple(each.told for each in held[row.id].values())
    _plan_grants(made, copy, now)
    return made


def _merged(copy: Copy, relationship_id: str, held: Mapping[str, GdapAssignment]) -> dict[str, Assignment]:
    """The assignments of a relationship; where some could not be read, those that we knew stay."""
    kept = {one: row.told for one, row in held.items()} if relationship_id in copy.in_doubt else {}
    merged = kept | {each.id: each for each in copy.assignments.get(relationship_id, ())}
    copy.assignments[relationship_id] = tuple(merged.values())
    return merged


def _plan_relationship(made: Plan, old: GdapRelationship | None, new: Relationship, now: datetime) -> None:
    if old and old.told == new and not old.missing_since and not old.gone_at:
        return
    made.relationships.append(
        GdapRelationship(
            id=new.id,
            tenant_id=new.tenant_id,
            customer_name=new.customer_name,
            display_name=new.display_name,
            status=new.status,
            created_at=new.created_at,
            activated_at=new.activated_at,
            modified_at=new.modified_at,
            ends_at=new.ends_at,
            extends=new.auto_extends,
            roles=sorted(new.roles),
            first_seen_at=old.first_seen_at if old else now,
        )
    )


def _plan_assignments(
    made: Plan, relationship_id: str, held: Mapping[str, GdapAssignment], wanted: Mapping[str, Assignment]
) -> None:
    made.dropped += [row.pk for one, row in held.items() if one not in wanted]
    made.assignments += [
        GdapAssignment(
            relationship_id=relationship_id,
            assignment_id=each.id,
            status=each.status,
            group_id=each.group_id,
            roles=sorted(each.roles),
            created_at=each.created_at,
            modified_at=each.modified_at,
        )
        for each in wanted.values()
        if each.id not in held or held[each.id].told != each
    ]


def _plan_missing(made: Plan, absent: Iterable[GdapRelationship], now: datetime, *, whole: bool) -> None:
    """Once absent is marked, twice is gone; from a read with unreadable rows nothing follows."""
    for row in absent if whole else ():
        if row.gone_at:
            continue
        if row.missing_since:
            row.gone_at = now
            made.changes.append(news.change(row, GdapChange.Kind.GONE, row.status, "", now))
        else:
            row.missing_since = now
        made.relationships.append(row)


def _plan_grants(made: Plan, copy: Copy, now: datetime) -> None:
    wanted = grants(copy, now)
    known = GdapGrant.objects.values_list("pk", "tenant_id", "group_id", "level", "ends_at", "extends")
    for pk, tenant, group, level, ends_at, extends in known:
        if wanted.get((tenant, group, level)) == Lasting(ends_at, extends):
            del wanted[tenant, group, level]
        elif (tenant, group, level) not in wanted:
            made.revoked.append(pk)
    made.grants = [
        GdapGrant(tenant_id=tenant, group_id=group, level=level, ends_at=lasting.ends_at, extends=lasting.extends)
        for (tenant, group, level), lasting in wanted.items()
    ]


class Lasting(NamedTuple):
    """How long a grant lasts."""

    ends_at: datetime | None
    extends: bool

    @property
    def rank(self) -> tuple[bool, float]:
        """The longest last: what extends by itself, then the latest end."""
        return self.extends, self.ends_at.timestamp() if self.ends_at else float("inf")


LEVELS = {GdapGrant.Level.EDIT: frozenset(NEEDED[Action.CREATE]), GdapGrant.Level.VIEW: frozenset(NEEDED[Action.LIST])}
"""A level -> the roles of which one gives it: the rule of access.py for creating and for seeing users."""


def grants(copy: Copy, now: datetime) -> dict[tuple[str, str, int], Lasting]:
    """(tenant, group, level) -> how long: what each group may do at each customer, by live relationships alone."""
    found: dict[tuple[str, str, int], Lasting] = {}
    for relationship in copy.relationships.values():
        if not (relationship.tenant_id and access.is_live(relationship, now)):
            continue
        lasting = Lasting(relationship.ends_at, relationship.auto_extends)
        for each in copy.assignments.get(relationship.id, ()):
            held = each.roles & relationship.roles if each.status == "active" else frozenset[str]()
            for level in (level for level, enough in LEVELS.items() if held & enough):
                key = (relationship.tenant_id, each.group_id, int(level))
                found[key] = max(lasting, found.get(key, lasting), key=lambda one: one.rank)
    return found


# --- Putting it in place ------------------------------------------------------------------------------------


def statements(made: Plan, names: Mapping[str, str]) -> list["Upsert"]:
    """The rows of a plan, ready to be written: made outside of the transaction, for it takes most of the time."""
    groups = [SecurityGroup(id=one, name=_fit(name, 256)) for one, name in names.items()]
    return [
        Upsert.of(made.relationships, ["id"], RELATIONSHIP),
        Upsert.of(made.assignments, ["relationship", "assignment_id"], ASSIGNMENT),
        Upsert.of(groups, ["id"], ["name"]),
        Upsert.of(made.grants, ["tenant_id", "group_id", "level"], Lasting._fields),
    ]


def put_in_place(made: Plan, upserts: Iterable["Upsert"]) -> bool:
    """Write a plan, in the caller's transaction. Whether anything was different."""
    _delete(GdapAssignment.objects, made.dropped)
    _delete(GdapGrant.objects, made.revoked)
    for upsert in upserts:
        upsert.write()
    GdapChange.objects.bulk_create(made.changes, batch_size=BATCH)
    return retell() or any(vars(made).values())


RELATIONSHIP = (
    *("tenant_id", "customer_name", "display_name", "status", "created_at", "activated_at", "modified_at", "ends_at"),
    *("extends", "roles", "first_seen_at", "missing_since", "gone_at"),
)
ASSIGNMENT = ("status", "group_id", "roles", "created_at", "modified_at")


@dataclass(frozen=True)
class Upsert:
    """Rows for one prepared statement: ten times as fast as `bulk_create`, and all writers wait for it on SQLite."""

    sql: str = ""
    rows: Sequence[Sequence[Any]] = ()

    @classmethod
    def of(cls, rows: Sequence[models.Model], key: Sequence[str], values: Sequence[str]) -> "Upsert":
        """Insert these rows; where there is one with that key, write the values."""
        if not rows:
            return cls()
        about = rows[0]._meta  # noqa: SLF001 -- the way to columns and their conversions
        fields = [about.get_field(name) for name in (*key, *values)]
        columns = [connection.ops.quote_name(str(field.column)) for field in fields]  # type: ignore[union-attr]
        changes = ", ".join(f"{column} = excluded.{column}" for column in columns[len(key) :])
        sql = (
            f"INSERT INTO {connection.ops.quote_name(about.db_table)} ({', '.join(columns)}) "  # noqa: S608  # nosec B608 -- our names
            f"VALUES ({', '.join(['%s'] * len(fields))}) ON CONFLICT ({', '.join(columns[: len(key)])}) "
            f"DO UPDATE SET {changes}"
        )
        made = [
            [field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields]  # type: ignore[union-attr]
            for row in rows
        ]
        return cls(sql, made)

    def write(self) -> None:
        if self.rows:
            with connection.cursor() as cursor:
                cursor.executemany(self.sql, self.rows)


def _delete(table: models.Manager[Any], pks: list[int]) -> None:
    for chunk in _chunks(pks):
        table.filter(pk__in=chunk).delete()


def _chunks(values: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(values), BATCH):
        yield values[start : start + BATCH]


# --- What it amounts to for a customer ----------------------------------------------------------------------


class Telling(NamedTuple):
    """The columns of a customer that come from here."""

    gdap_state: str
    gdap_ends_at: datetime | None = None
    gdap_extends: bool = False


def retell(tenant_ids: Collection[str] | None = None) -> bool:
    """Write what the snapshot says onto these customers, or onto all; called in the transaction that changes either.

    Whether anything was different.
    """
    if not Source.objects.filter(pk=GRAPH, last_good_at__isnull=False).exists():
        return False  # nothing was read yet: the columns stay empty
    current = GdapRelationship.objects.filter(gone_at=None)
    told_of = current.values_list("tenant_id", flat=True) if tenant_ids is None else tenant_ids
    changed = [_retell(chunk) for chunk in _chunks(sorted(set(told_of)))]
    if tenant_ids is not None:
        return any(changed)
    bare = Customer.objects.filter(~Exists(current.filter(tenant_id=OuterRef("tenant_id"))), tenant_id__isnull=False)
    emptied = bare.exclude(gdap_state=GdapState.NONE).update(**Telling(GdapState.NONE)._asdict())
    strangers = Customer.objects.filter(tenant_id=None).exclude(gdap_state="").update(**Telling("")._asdict())
    return any(changed) or bool(emptied) or bool(strangers)


def _retell(tenant_ids: Collection[str]) -> bool:
    now = clock.now()
    found: dict[str, list[Relationship]] = defaultdict(list)
    rows = GdapRelationship.objects.filter(tenant_id__in=tenant_ids, gone_at=None)
    columns = ("tenant_id", "status", "ends_at", "extends", "modified_at")
    for tenant_id, status, ends_at, extends, modified_at in rows.values_list(*columns):
        told = Relationship("", "", tenant_id, status, ends_at, extends, frozenset(), modified_at=modified_at)
        found[tenant_id].append(told)
    known = Customer.objects.filter(tenant_id__in=tenant_ids).values_list("pk", "tenant_id", *Telling._fields)
    changed = [
        (pk, telling)
        for pk, tenant_id, *columns in known
        if (telling := tell(found[tenant_id or ""], now)) != Telling(*columns)
    ]
    _write(changed)
    return bool(changed)


def _write(changed: Sequence[tuple[int, Telling]]) -> None:
    """One prepared statement for all rows: the first read tells every customer something."""
    ends = Customer._meta.get_field("gdap_ends_at")  # noqa: SLF001 -- the way to a column's own conversion
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE customers_customer SET gdap_state = %s, gdap_ends_at = %s, gdap_extends = %s WHERE id = %s",
            [
                (state, ends.get_db_prep_value(ends_at, connection), extends, pk)
                for pk, (state, ends_at, extends) in changed
            ],
        )


def tell(found: Iterable[Relationship], now: datetime) -> Telling:
    """What the relationships with one customer amount to."""
    found = list(found)
    if live := [one for one in found if access.has_begun(one, now)]:
        best = max((Lasting(one.ends_at, one.auto_extends) for one in live), key=lambda one: one.rank)
        return Telling(GdapState.LIVE, *best)
    if any(one.status in access.NOT_YET for one in found):
        return Telling(GdapState.PENDING)
    if found:
        ends = [at for one in found if (at := access.ended_at(one, now))]
        return Telling(GdapState.ENDED, max(ends, default=None))
    return Telling(GdapState.NONE)


def lasting_longest(now: datetime) -> dict[str, Subquery]:
    """For a query of customers: `relationship_name` and `relationship_roles` (template ids) of the relationship that
    their GDAP end is of. Null where none is live.
    """
    live = Q(status="active", ends_at=None) | Q(status__in=("active", "expiring"), ends_at__gt=now)
    found = GdapRelationship.objects.filter(live, tenant_id=OuterRef("tenant_id"), gone_at=None)
    best = found.order_by("-extends", F("ends_at").desc(nulls_first=True), "id")
    return {
        "relationship_name": Subquery(best.values("display_name")[:1]),
        "relationship_roles": Subquery(best.values("roles")[:1]),
    }
