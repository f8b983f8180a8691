"""What may *this* operator do in *this* customer, and why?

Graph has no single call for it. The answer is the union over the customer's active relationships of: an active
access assignment, whose roles include one that the action needs, to a security group that the operator is in
(nested groups count). The answer has three values: what we cannot tell, we do not deny. Partner Center has the
last word in any case.

Follows Graph's delegatedAdminRelationships, accessAssignments and transitiveMemberOf pages, and for the roles
each action needs Partner Center's page on the GDAP impact (learn.microsoft.com, dap-api-impact).
"""

import time
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

from django.conf import settings
from django.core.cache import cache

from partnerportal import clock
from partnerportal.models import Operator
from partnerportal.upstream import roles
from partnerportal.upstream.errors import SignInAgain, Unreachable, UpstreamError
from partnerportal.upstream.graph import Assignment, Graph, Relationship
from partnerportal.upstream.http import budget
from partnerportal.upstream.together import all_of

FRESH_FOR = timedelta(seconds=60)  # for reading; before a write it is asked anew
SOON = 30  # days
STUCK = timedelta(hours=2)
JUST_GRANTED = timedelta(minutes=15)  # so long a grant may need until it works everywhere


class Action(StrEnum):
    """What somebody may want to do to the users of a customer. The value completes "You may …"."""

    LIST = "see the users"
    CREATE = "create users"
    PATCH = "change users"
    RESET_PASSWORD = "reset passwords"  # noqa: S105
    DELETE = "delete users"
    RESTORE = "restore users"
    LICENCES = "assign licences"


_WRITERS = (roles.USER_ADMINISTRATOR, roles.DIRECTORY_WRITERS)
NEEDED: dict[Action, tuple[str, ...]] = {
    Action.LIST: (roles.DIRECTORY_READERS, roles.GLOBAL_READER, roles.USER_ADMINISTRATOR),
    Action.CREATE: _WRITERS,
    Action.PATCH: _WRITERS,
    Action.RESET_PASSWORD: (roles.USER_ADMINISTRATOR, roles.PRIVILEGED_AUTHENTICATION_ADMINISTRATOR),
    Action.DELETE: (roles.USER_ADMINISTRATOR,),
    Action.RESTORE: _WRITERS,
    Action.LICENCES: (*_WRITERS, roles.LICENSE_ADMINISTRATOR),
}

# When we cannot tell, these go to Microsoft, who decides. Anything that is not listed here is refused.
TRIED_WHEN_UNKNOWN = {Action.LIST, Action.CREATE, Action.PATCH}


class Answer(StrEnum):
    """May I? What we cannot tell is not a no."""

    YES = "yes"
    NO = "no"
    CANNOT_TELL = "cannot tell"


class Missing(StrEnum):
    """Why the answer is no: the first thing that stands in the way."""

    NOTHING = ""
    ROLE = "role not granted"
    GROUP = "not in the group"
    ASSIGNMENT = "not assigned to a group"
    ASSIGNMENT_PENDING = "assignment pending"
    ASSIGNMENT_REMOVED = "assignment being removed"
    APPROVAL = "approval pending"
    ENDED = "relationship ended"
    RELATIONSHIP = "no relationship"


@dataclass(frozen=True)
class Facts:
    """What Graph said about one customer and one operator. Plain data, so that `judge` needs no network."""

    taken_at: datetime
    relationships: tuple[Relationship, ...] = ()
    assignments: dict[str, tuple[Assignment, ...]] = field(default_factory=dict)
    my_groups: frozenset[str] = frozenset()
    group_names: dict[str, str] = field(default_factory=dict)
    sees_others: bool = False  # relationships with other customers are visible: an empty list really is empty
    problem: str = ""  # why we cannot tell


@dataclass(frozen=True)
class Path:
    """One way on which an operator holds a role: relationship -> assignment -> group -> me."""

    role: str
    relationship: str
    group: str
    ends_at: datetime | None
    extends: bool
    since: datetime | None = None  # the group has had it, as far as Graph says

    def just_granted(self, now: datetime) -> bool:
        """Whether it is so new that Microsoft may not act by it everywhere."""
        return self.since is not None and timedelta(0) <= now - self.since < JUST_GRANTED


@dataclass(frozen=True)
class Verdict:
    """May I? Through what, until when; or what is missing."""

    action: Action
    answer: Answer
    path: Path | None = None
    missing: Missing = Missing.NOTHING
    granted: Path | None = None  # the nearest grant that is not mine: what a lead would have to change
    relationship: str = ""  # the one in which it is missing
    since: datetime | None = None  # it has been missing, as far as Graph says
    ended_at: datetime | None = None
    problem: str = ""

    def stuck(self, now: datetime) -> bool:
        """Whether an assignment has been pending for so long that waiting is no advice."""
        pending = self.missing is Missing.ASSIGNMENT_PENDING
        return pending and self.since is not None and now - self.since > STUCK

    @property
    def yes(self) -> bool:
        return self.answer is Answer.YES

    @property
    def no(self) -> bool:
        return self.answer is Answer.NO

    @property
    def tried(self) -> bool:
        """Whether the action may go to Microsoft: yes, or cannot tell and nothing is lost by asking."""
        return self.yes or (self.answer is Answer.CANNOT_TELL and self.action in TRIED_WHEN_UNKNOWN)

    @property
    def needs(self) -> str:
        """The roles of which one is enough, in words."""
        return " or ".join(roles.NAMES[role] for role in NEEDED[self.action])

    def ends_soon(self, now: datetime) -> bool:
        """Whether the way in closes within 30 days and does not extend by itself."""
        path = self.path
        return bool(path and path.ends_at and not path.extends and (path.ends_at.date() - now.date()).days <= SOON)


@dataclass(frozen=True)
class Access:
    """All verdicts for one operator in one customer, as of `taken_at`."""

    taken_at: datetime
    verdicts: dict[Action, Verdict]
    held: tuple[Path, ...] = ()  # every role that the operator holds here, best path each

    def __getitem__(self, action: Action) -> Verdict:
        return self.verdicts[action]


ADMIN_AGENTS_ONLY = "Microsoft Graph shows GDAP relationships to Admin agents only"


class ActionDenied(Exception):
    """The operator may not do this here; nothing was sent. Carries the verdict, and the sentence that says why."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        self.verdict, self.reason = verdict, reason
        super().__init__(verdict.action)


def access_to(tenant_id: str, *, by: Operator, graph: Graph, fresh: bool = False) -> Access:
    """The verdicts for this operator here, at most 60 seconds old; asked anew when `fresh`.

    Takes at most `UPSTREAM_RIGHTS_BUDGET` seconds; what did not come by then is *cannot tell*. Touches no database,
    so it may run beside another call in a thread of its own. Raises `SignInAgain` when the token is worth nothing.
    """
    return judge(facts_about(tenant_id, by=by, graph=graph, fresh=fresh), clock.now())


def facts_about(tenant_id: str, *, by: Operator, graph: Graph, fresh: bool = False) -> Facts:
    """What Graph says about this operator here; as old, as quick and as free of the database as `access_to`."""
    key = _memo_key(tenant_id, by)
    known: Facts | None = None if fresh else cache.get(key)
    if known is None or not timedelta(0) <= clock.now() - known.taken_at < FRESH_FOR:
        known = ask(graph, tenant_id)
        if not known.problem:
            cache.set(key, known, FRESH_FOR.total_seconds())
            cache.set(f"{key}:last", known, 24 * 3600)
    return known


def last_known(tenant_id: str, *, by: Operator) -> Access | None:
    """What this process last knew, up to a day old: good enough to decide in which order to ask, for nothing else."""
    known: Facts | None = cache.get(f"{_memo_key(tenant_id, by)}:last")
    return judge(known, clock.now()) if known else None


def _memo_key(tenant_id: str, by: Operator) -> str:
    """What was known before the last sign-in counts no more: "sign out and in again" is a step that we tell people."""
    since = by.last_login.timestamp() if by.last_login else ""
    return f"access:{by.tid}:{by.oid}:{tenant_id}:{since}"


def ask(graph: Graph, tenant_id: str, my_groups: AbstractSet[str] | None = None) -> Facts:
    """Collect the facts from Graph. What fails becomes `problem`, never an empty answer.

    `my_groups`: of somebody else, whose groups only their own token can tell.
    """
    taken_at = clock.now()
    started = time.monotonic()
    try:
        with budget(settings.UPSTREAM_RIGHTS_BUDGET):
            return _collect(graph, tenant_id, taken_at, my_groups)
    except SignInAgain:
        raise
    except Unreachable:
        took = round(time.monotonic() - started)
        waited = f" in {took} seconds" if took >= 2 else ""
        return Facts(taken_at, problem=f"Microsoft Graph did not answer{waited}")
    except UpstreamError as error:
        return Facts(taken_at, problem=str(error).rstrip("."))


def _collect(graph: Graph, tenant_id: str, taken_at: datetime, my_groups: AbstractSet[str] | None) -> Facts:
    """Two rounds of calls: the relationships, then their assignments; and my groups beside both."""
    granted: Callable[[], Any] = partial(_granted, graph, tenant_id, taken_at)
    if my_groups is None:
        facts, named = all_of(granted, graph.transitive_groups)
    else:
        facts, named = granted(), dict.fromkeys(my_groups, "")
    known = {group: name for group, name in named.items() if name}
    facts = replace(facts, my_groups=frozenset(named), group_names=_remembered_names() | known)
    return _with_names(graph, facts)


def _granted(graph: Graph, tenant_id: str, taken_at: datetime) -> Facts:
    relationships = tuple(r for r in graph.relationships(tenant_id) if r.tenant_id == tenant_id)
    if not relationships:
        # Outside Admin agents Graph answers 200 and an empty list: that is silence, not a no.
        sees_others = graph.any_relationship()
        return Facts(taken_at, sees_others=sees_others, problem="" if sees_others else ADMIN_AGENTS_ONLY)
    asked = [r.id for r in relationships if has_begun(r, taken_at)]
    return Facts(taken_at, relationships, graph.assignments(asked) if asked else {}, sees_others=True)


# --- What the groups are called -----------------------------------------------------------------------------

_NAMES = "gdap-group-names"


def remember_names(names: Mapping[str, str]) -> None:
    """Keep what groups are called, so that no check has to ask: one round less before somebody reads a "no"."""
    cache.set(_NAMES, {**_remembered_names(), **names}, 24 * 3600)


def _remembered_names() -> dict[str, str]:
    return dict(cache.get(_NAMES) or {})


def _with_names(graph: Graph, facts: Facts) -> Facts:
    """With names for the groups of which a verdict tells; for those that nobody knows yet, Graph is asked.

    Only words: when they do not come, the verdicts stand all the same.
    """
    told = {
        path.group
        for verdict in judge(facts, facts.taken_at).verdicts.values()
        for path in (verdict.path, verdict.granted)
        if path and path.group
    }
    groups = {each.group_id for many in facts.assignments.values() for each in many}
    if not told & (groups - facts.group_names.keys()):
        return facts
    try:
        names = graph.group_names(groups - facts.group_names.keys())
    except SignInAgain:
        raise
    except UpstreamError:
        return facts
    remember_names(names)
    return replace(facts, group_names=facts.group_names | names)


def is_live(relationship: Relationship, now: datetime) -> bool:
    """Active, and its end still ahead: Graph may go on saying "active" for a while after the end."""
    return relationship.status == "active" and (relationship.ends_at is None or relationship.ends_at > now)


def is_ending(relationship: Relationship, now: datetime) -> bool:
    """Status "expiring": nobody says whether its roles still work, so it makes a no uncertain, not a yes."""
    return relationship.status == "expiring" and relationship.ends_at is not None and relationship.ends_at > now


def has_begun(relationship: Relationship, now: datetime) -> bool:
    """Whether its roles work, or may still work: only then are its assignments worth asking for."""
    return is_live(relationship, now) or is_ending(relationship, now)


def is_over(relationship: Relationship, now: datetime) -> bool:
    """Whether it once stood and does not any more, whatever its status says."""
    return relationship.status not in NOT_YET and not has_begun(relationship, now)


BY_DATE = ("active", "expiring", "expired")
"""The statuses of a relationship that is over because its day has come."""


def ended_at(relationship: Relationship, now: datetime) -> datetime | None:
    """When a relationship that is over ended; None when nobody says.

    Graph may go on telling the day that was agreed for one that was ended early: then it ended when Graph last changed
    it. Never "now", which would be another moment with every look.
    """
    ends, changed = (at if at and at <= now else None for at in (relationship.ends_at, relationship.modified_at))
    if ends and changed and relationship.status not in BY_DATE:
        return min(ends, changed)
    return ends or changed


Counts = Callable[[Relationship, datetime], bool]


def judge(facts: Facts, now: datetime) -> Access:
    """From facts to verdicts. Pure: the same facts and time give the same verdicts."""
    verdicts = {action: _verdict(action, facts, now) for action in Action}
    held = {path.role: path for path in sorted(_paths(facts, roles.NAMES, now), key=_lasting)}
    return Access(facts.taken_at, verdicts, tuple(held.values()))


def _verdict(action: Action, facts: Facts, now: datetime) -> Verdict:
    if facts.problem:
        return Verdict(action, Answer.CANNOT_TELL, problem=facts.problem)
    paths = _paths(facts, NEEDED[action], now)
    if paths:
        return Verdict(action, Answer.YES, path=max(paths, key=_lasting))
    if ending := _paths(facts, NEEDED[action], now, is_ending):
        problem = f"the GDAP relationship {ending[0].relationship} is just ending"
        return Verdict(action, Answer.CANNOT_TELL, problem=problem)
    return _no(action, facts, now)


def _grants(
    facts: Facts, wanted: Iterable[str], now: datetime, counts: Counts = is_live
) -> list[tuple[Assignment, Path]]:
    """Every assignment that holds a wanted role in a relationship that counts, mine or not, whatever its status."""
    wanted = set(wanted)
    return [
        (assignment, _path(facts, relationship, role, assignment))
        for relationship in facts.relationships
        if counts(relationship, now)
        for assignment in facts.assignments.get(relationship.id, ())
        for role in sorted(wanted & assignment.roles & relationship.roles)
    ]


def _paths(facts: Facts, wanted: Iterable[str], now: datetime, counts: Counts = is_live) -> list[Path]:
    return [
        path
        for assignment, path in _grants(facts, wanted, now, counts)
        if assignment.status == "active" and assignment.group_id in facts.my_groups
    ]


def _path(facts: Facts, relationship: Relationship, role: str, assignment: Assignment | None = None) -> Path:
    group, since = "", None
    if assignment:
        group, since = facts.group_names.get(assignment.group_id, assignment.group_id), assignment.since
    return Path(role, relationship.display_name, group, relationship.ends_at, relationship.auto_extends, since)


def _lasting(path: Path) -> tuple[bool, float]:
    """Longest way last: extending by itself, then the latest end."""
    return path.extends, path.ends_at.timestamp() if path.ends_at else float("inf")


NOT_YET = ("approvalPending", "approved", "activating", "created")
"""The statuses of a relationship that has never been active."""


def _no(action: Action, facts: Facts, now: datetime) -> Verdict:
    """The first thing that stands in the way, looked for from the nearest to the farthest."""
    no = partial(Verdict, action, Answer.NO)
    grants = _grants(facts, NEEDED[action], now, has_begun)
    for status, mine, missing in (
        ("pending", {True}, Missing.ASSIGNMENT_PENDING),
        ("active", {False}, Missing.GROUP),
        ("pending", {False}, Missing.GROUP),
        ("deleting", {True, False}, Missing.ASSIGNMENT_REMOVED),
    ):
        for assignment, path in grants:
            if assignment.status == status and (assignment.group_id in facts.my_groups) in mine:
                since = None if missing is Missing.GROUP else path.since
                return no(missing=missing, granted=path, relationship=path.relationship, since=since)
    live = [r for r in facts.relationships if has_begun(r, now)]
    for relationship in live:
        for role in NEEDED[action]:
            if role in relationship.roles:
                path = _path(facts, relationship, role)
                return no(missing=Missing.ASSIGNMENT, granted=path, relationship=path.relationship)
    if live:
        return no(missing=Missing.ROLE, relationship=live[0].display_name)
    for relationship in facts.relationships:
        if relationship.status in NOT_YET:
            name, since = relationship.display_name, relationship.created_at
            return no(missing=Missing.APPROVAL, relationship=name, since=since)
    if facts.relationships:
        ends = [(ended_at(r, now), r.display_name) for r in facts.relationships]
        at, name = max(ends, key=lambda end: (end[0] is not None, end[0]))
        return no(missing=Missing.ENDED, relationship=name, since=at, ended_at=at)
    return no(missing=Missing.RELATIONSHIP)
