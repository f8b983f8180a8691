"""What a read of the GDAP snapshot found different from the one before, in words."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from partnerportal.upstream import roles
from partnerportal.upstream.graph import Assignment, Relationship

from .. import access
from ..models import GdapAssignment, GdapChange, GdapRelationship


def of(
    old: GdapRelationship | None,
    held: Mapping[str, GdapAssignment],
    new: Relationship,
    assignments: Mapping[str, Assignment],
    names: Mapping[str, str],
    last: datetime,
    now: datetime,
) -> Iterator[GdapChange]:
    """What one relationship has to tell since the last read."""
    kind = GdapChange.Kind
    if old is None or old.gone_at:
        yield change(new, kind.NEW, "", status_words(new.status), now)
        return
    before = old.told
    over = access.is_over(new, now)
    if over and access.has_begun(before, last):
        yield change(new, kind.ENDED, status_words(before.status), _end_words(new, now), now)
    elif before.status != new.status and not (over and access.is_over(before, last)):  # an end is told once
        yield change(new, kind.STATUS, status_words(before.status), status_words(new.status), now)
    if before.ends_at != new.ends_at:
        yield change(new, kind.ENDS, _day(before.ends_at), _day(new.ends_at), now)
    if before.auto_extends != new.auto_extends:
        words = {True: "extends by itself", False: "does not extend"}
        yield change(new, kind.EXTENDS, words[before.auto_extends], words[new.auto_extends], now)
    if before.roles != new.roles:
        yield change(new, kind.ROLES, _roles(before.roles - new.roles), _roles(new.roles - before.roles), now)
    if access.has_begun(new, now):
        left = {_grant_words(each.told, names) for each in held.values()}
        came = {_grant_words(each, names) for each in assignments.values()}
        if left != came:
            yield change(new, kind.GROUPS, "; ".join(sorted(left - came)), "; ".join(sorted(came - left)), now)


def change(about: Relationship | GdapRelationship, kind: str, before: str, after: str, now: datetime) -> GdapChange:
    """A line of "Changes", not stored yet; before and after are cut to what the table shows."""
    return GdapChange(
        at=now,
        tenant_id=about.tenant_id,
        relationship_id=about.id,
        display_name=about.display_name,
        kind=kind,
        before=before[:400],
        after=after[:400],
    )


_STATUSES = {
    "activating": "Being activated",
    "active": "Active",
    "approvalPending": "Waiting for approval",
    "approved": "Approved",
    "created": "Not sent yet",
    "deleting": "Being removed",
    "deleted": "Removed",
    "error": "In error",
    "expired": "Ended",
    "expiring": "Just ending",
    "pending": "Pending",
    "terminated": "Ended early",
    "terminating": "Being ended",
    "terminationRequested": "End requested",
}


def status_words(status: str) -> str:
    """Graph's word for the status of a relationship or an assignment, in ours; unknown ones as they came."""
    return _STATUSES.get(status, status)


def _end_words(relationship: Relationship, now: datetime) -> str:
    at = access.ended_at(relationship, now)
    return f"Ended {_day(at)}" if at else status_words(relationship.status)


def _day(at: datetime | None) -> str:
    return f"{at.day} {at:%b %Y}" if at else "no date"


def _roles(ids: Iterable[str]) -> str:
    return ", ".join(sorted(roles.NAMES.get(one, one) for one in ids))


def _grant_words(each: Assignment, names: Mapping[str, str]) -> str:
    status = "" if each.status == "active" else f" ({status_words(each.status).lower()})"
    return f"{names.get(each.group_id, each.group_id)}: {_roles(each.roles)}{status}"
