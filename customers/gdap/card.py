"""The capability card: one line an action, with the reason in words and what to do about it."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from partnerportal import clock
from partnerportal.models import Operator
from partnerportal.permissions import Permission, may
from partnerportal.upstream import roles
from partnerportal.upstream.graph import Assignment, Relationship

from .. import access
from ..access import Access, Action, Facts, Missing, Verdict
from ..explain import ago, contact, day, request_for_customer, request_for_lead, why_not_in_the_portal
from ..models import Customer
from . import news, team

ROLE_WORDS = {
    roles.USER_ADMINISTRATOR: "Create, change, block, and reset passwords of people who are not admins.",
    roles.DIRECTORY_WRITERS: "Create and change users and groups; may not be enough for some password resets.",
    roles.DIRECTORY_READERS: "See users.",
    roles.GLOBAL_READER: "See users and all settings, change nothing.",
    roles.LICENSE_ADMINISTRATOR: "Assign licences.",
    roles.PRIVILEGED_AUTHENTICATION_ADMINISTRATOR: "Reset passwords of anybody, admins included.",
}
"""What the roles that count here mean, in plain words."""


@dataclass(frozen=True)
class Line:
    """May this person do it, through what; or what is missing, since when, and who can help."""

    action: Action
    verdict: Verdict
    reason: str
    allowed: bool  # by GDAP and by the app role
    ask: str = ""
    since: datetime | None = None
    lead_text: str = ""
    customer_text: str = ""
    others: tuple[team.Member, ...] = ()

    @property
    def label(self) -> str:
        return self.action.value.capitalize()

    @property
    def role(self) -> str:
        path = self.verdict.path or self.verdict.granted
        return roles.NAMES[path.role] if path else ""

    @property
    def group(self) -> str:
        path = self.verdict.path or self.verdict.granted
        return path.group if path else ""

    @property
    def relationship(self) -> str:
        return self.verdict.path.relationship if self.verdict.path else self.verdict.relationship


def lines(
    found: Access, customer: Customer, *, about: Operator, by: Operator, others: Iterable[team.Member] = ()
) -> list[Line]:
    """The card about one person at one customer, for `by` to read."""
    held = team.holders([customer.tenant_id or ""]).get(customer.tenant_id or "", {})
    people = [member for member in others if member.operator != about]
    return [_line(verdict, customer, about, by, held, people) for verdict in found.verdicts.values()]


def _line(
    verdict: Verdict,
    customer: Customer,
    about: Operator,
    by: Operator,
    held: team.Holders,
    people: list[team.Member],
) -> Line:
    in_portal = verdict.action is Action.LIST or may(about, Permission.WRITE_USERS)
    allowed = verdict.yes and in_portal
    name = "" if about == by else about.name
    reason = _how(verdict) if verdict.yes else why(verdict, name)
    if verdict.yes and not in_portal:
        reason = f"The app role of {name} lets them look only." if name else why_not_in_the_portal(about)
    return Line(
        action=verdict.action,
        verdict=verdict,
        reason=reason,
        allowed=allowed,
        ask="" if verdict.yes else whom_to_ask(verdict),
        since=verdict.path.since if verdict.path else verdict.since,
        lead_text=request_for_lead(verdict, customer, name) if verdict.no else "",
        customer_text=request_for_customer(verdict, customer) if verdict.no else "",
        others=() if allowed else tuple(team.who_can(verdict.action, held, people)),
    )


def _how(verdict: Verdict) -> str:
    path = verdict.path
    if path and path.since and path.just_granted(clock.now()):
        return f"Granted {ago(path.since)}. Microsoft can need some minutes; we check again when you open the page."
    return ""


def why(verdict: Verdict, name: str = "") -> str:
    """What exactly is missing, naming relationship and group. `name`: of somebody else than the reader."""
    granted = verdict.granted
    role, group = (roles.NAMES[granted.role], granted.group) if granted else ("", "")
    through = f"“{verdict.relationship}”"
    match verdict.missing:
        case Missing.GROUP:
            who = f"{name} is" if name else "You are"
            return f"{who} not in the group {group}, which holds {role} through {through}."
        case Missing.ASSIGNMENT_PENDING if verdict.stuck(clock.now()):
            return f"{role} for the group {group} through {through} has been pending since {day(verdict.since)}."
        case Missing.ASSIGNMENT_PENDING:
            granted_when = f"granted {ago(verdict.since)}" if verdict.since else "just granted"
            return f"{role} was {granted_when} to {group} through {through}. Microsoft can need some minutes."
        case Missing.ASSIGNMENT_REMOVED:
            return f"{role} is being taken away from the group {group} in {through}."
        case Missing.ASSIGNMENT:
            return f"The relationship {through} includes {role}, but no security group holds it."
        case Missing.ROLE:
            return f"The relationship {through} does not include {verdict.needs}."
        case Missing.APPROVAL:
            since = f" since {day(verdict.since)}" if verdict.since else ""
            return f"The relationship {through} has waited for the customer’s approval{since}."
        case Missing.ENDED:
            return f"The relationship {through} ended{f' on {day(verdict.ended_at)}' if verdict.ended_at else ''}."
        case Missing.RELATIONSHIP:
            return "There is no GDAP relationship with this customer."
        case _:
            return f"We cannot tell, because {_inside(verdict.problem)}."


def _inside(sentence: str) -> str:
    return sentence if sentence.startswith(("Microsoft", "GDAP")) else sentence[:1].lower() + sentence[1:]


def whom_to_ask(verdict: Verdict) -> str:
    """Who can change it. Graph does not tell us the owners of a group, so it is the contact of the settings."""
    match verdict.missing:
        case Missing.ASSIGNMENT_PENDING if not verdict.stuck(clock.now()):
            return "Nobody: wait some minutes"
        case Missing.APPROVAL:
            return "The customer’s administrator"
        case Missing.ROLE | Missing.ENDED | Missing.RELATIONSHIP:
            return f"{contact()}, then the customer’s administrator"
    return contact()


# --- The relationships of the customer ----------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """One group's roles in a relationship."""

    group: str
    roles: list[str]
    status: str  # in words, "" when it is active
    mine: bool
    since: datetime | None


@dataclass(frozen=True)
class Agreement:
    """One relationship as the page shows it."""

    name: str
    status: str
    live: bool
    pending: bool
    ends_at: datetime | None  # of one that is over: when it ended
    extends: bool
    roles: list[str]
    held: list[Held]

    @property
    def mine(self) -> list[str]:
        """The groups of the reader that hold roles in it."""
        return sorted(held.group for held in self.held if held.mine and not held.status)

    @property
    def soon(self) -> bool:
        """Whether it ends within 30 days, by calendar."""
        if not self.live or self.ends_at is None:
            return False
        return timezone.localdate(self.ends_at) - timezone.localdate(clock.now()) <= timedelta(days=access.SOON)


def agreements(facts: Facts, names: Mapping[str, str]) -> list[Agreement]:
    """The customer's relationships, what stands first; `names`: of groups that Graph did not name."""
    named = {**names, **facts.group_names}
    made = [agreement(one, facts.assignments.get(one.id, ()), facts.my_groups, named) for one in facts.relationships]
    return sorted(made, key=lambda one: (not one.live, not one.pending, one.ends_at is None, one.ends_at, one.name))


def agreement(
    one: Relationship, assignments: Iterable[Assignment], my_groups: Collection[str], names: Mapping[str, str]
) -> Agreement:
    """A relationship as it stands now, for somebody in these groups."""
    now = clock.now()
    return Agreement(
        name=one.display_name,
        status=_status(one, now),
        live=access.has_begun(one, now),
        pending=one.status in access.NOT_YET,
        ends_at=access.ended_at(one, now) if access.is_over(one, now) else one.ends_at,
        extends=one.auto_extends,
        roles=role_names(one.roles),
        held=[
            Held(
                group=names.get(each.group_id, each.group_id),
                roles=role_names(each.roles),
                status="" if each.status == "active" else news.status_words(each.status),
                mine=each.group_id in my_groups,
                since=each.since,
            )
            for each in assignments
        ],
    )


def _status(relationship: Relationship, now: datetime) -> str:
    over = relationship.status == "active" and not access.is_live(relationship, now)
    return "Ended" if over else news.status_words(relationship.status)


def role_names(ids: Iterable[str]) -> list[str]:
    """The roles in words, those that count here first; unknown ones by their id."""
    order = list(ROLE_WORDS)
    known = sorted(
        ids, key=lambda one: (order.index(one) if one in ROLE_WORDS else len(order), roles.NAMES.get(one, one))
    )
    return [roles.NAMES.get(one, one) for one in known]
