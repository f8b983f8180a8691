"""The sentences about access: what you may do here, through what, until when; or what is missing and who can help."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from partnerportal import clock
from partnerportal.models import Operator
from partnerportal.permissions import Permission, may
from partnerportal.upstream import roles

from .access import Access, Action, Missing, Path, Verdict
from .models import Customer


@dataclass(frozen=True)
class Banner:
    """What stands on top of a customer's page. `quiet` goes into the head, everything else is a notice."""

    kind: str  # quiet, info, warn
    title: str
    body: str = ""
    steps: tuple[str, ...] = ()  # how to get access
    request_text: str = ""  # to copy for the lead


def banner(access: Access, customer: Customer, *, by: Operator, copied: Access | None = None) -> Banner:
    """The one sentence about editing in this customer, for this operator. `copied`: see `by_our_copy`."""
    edit = access[Action.CREATE]
    if not may(by, Permission.WRITE_USERS):
        return Banner(
            "info",
            "You can look at these users but not change them.",
            f"{why_not_in_the_portal(by)} {_also_needs(edit)}".strip(),
        )
    if edit.yes and edit.path and edit.ends_soon(clock.now()):
        return Banner("warn", _ends_soon(edit.path), _does_not_extend(edit.path))
    if edit.yes and edit.path:
        return Banner("quiet", f"You can edit users here ({roles.NAMES[edit.path.role]}).")
    if not edit.no:
        title = f"We could not check your roles ({edit.problem})."
        body = f"{by_our_copy(copied, Action.CREATE, customer)} You can try; Microsoft decides.".strip()
        known = copied[Action.CREATE] if copied else edit
        request_text = request_for_lead(known, customer) if known.no else ""
        return Banner("info", title, body, how_to_get(known) if known.no else (), request_text)
    steps, request_text = how_to_get(edit), request_for_lead(edit, customer)
    if not access[Action.LIST].yes:
        return Banner("info", why_not(edit, customer), _you_have(access), steps, request_text)
    needs = f"Creating or changing a user here needs the {edit.needs} role."
    why = "" if edit.missing is Missing.ROLE else why_not(edit, customer)
    body = " ".join(filter(None, (needs, why, _you_have(access))))
    return Banner("info", "You can look at these users but not change them.", body, steps, request_text)


def by_our_copy(copied: Access | None, action: Action, customer: Customer) -> str:
    """What our copy of GDAP says where Graph does not tell: no more than a hint, with its age. "" without a copy."""
    if copied is None:
        return ""
    verdict, said = copied[action], f"Our copy of {clock.told(copied.taken_at, '%-d %b %Y, %H:%M %Z')} says"
    if verdict.yes and verdict.path:
        return f"{said} yes: {through(verdict.path)}."
    return f"{said} no. {why_not(verdict, customer)}" if verdict.no else ""


def why_not_in_the_portal(by: Operator) -> str:
    """The sentence for somebody whose app role lets them look only."""
    role = next(iter(by.app_roles), "no app role")
    return f"Your app role in Partner Desk is {role}; creating or changing users needs Portal.Operator."


def why_not(verdict: Verdict, customer: Customer) -> str:
    """One sentence: why this action is not possible here. For a verdict that is not yes."""
    role = roles.NAMES[verdict.granted.role] if verdict.granted else ""
    group = verdict.granted.group if verdict.granted else ""
    match verdict.missing:
        case Missing.GROUP:
            return (
                f"The customer has granted {role} to your company, but you are not in the group that holds it "
                f"({group}). Ask your lead to add you."
            )
        case Missing.ASSIGNMENT_PENDING if verdict.stuck(clock.now()):
            return f"{role} for {group} has been pending since {day(verdict.since)}. {contact()} can look why."
        case Missing.ASSIGNMENT_PENDING:
            if verdict.since:
                return (
                    f"{role} was granted to {group} {ago(verdict.since)}. Microsoft can need some minutes; "
                    "we check again when you open the page."
                )
            return f"{role} was just granted to {group}. Microsoft can need some minutes; open this page again then."
        case Missing.ASSIGNMENT_REMOVED:
            return (
                f"The customer has granted {role} to your company, but it is being taken away from the group {group}. "
                f"{contact()} can assign it to a group that you are in."
            )
        case Missing.ASSIGNMENT:
            return (
                f"The customer has granted {role} to your company, but no security group holds it. "
                f"{contact()} can assign it to a group that you are in."
            )
        case Missing.ROLE:
            return (
                f"No relationship with this customer includes {verdict.needs}. "
                "A new request needs the customer’s approval."
            )
        case Missing.APPROVAL:
            return "The customer has not yet approved the GDAP relationship that your company asked for."
        case Missing.ENDED:
            when = f" ended on {day(verdict.ended_at)}" if verdict.ended_at else " has ended"
            return f"Your access to {customer.name}{when}. A new relationship needs the customer’s approval."
        case Missing.RELATIONSHIP:
            return f"Your company has no GDAP relationship with {customer.name}."
        case _:
            return f"We could not check your roles ({verdict.problem}), and this is not done on a guess."


def how_to_get(verdict: Verdict) -> tuple[str, ...]:
    """The steps that lead from no to yes."""
    check = "Come back to this page. We check your roles again each time you open it."
    match verdict.missing:
        case Missing.GROUP if verdict.granted:
            return (
                (
                    f"Ask a lead to add you to the security group {verdict.granted.group}. "
                    f"It already holds {roles.NAMES[verdict.granted.role]} for this customer."
                ),
                "Wait about 5 minutes, then sign out of Partner Desk and in again.",
                check,
            )
        case Missing.ASSIGNMENT_PENDING if not verdict.stuck(clock.now()):
            return ("Wait some minutes.", check)
        case Missing.ASSIGNMENT_PENDING:
            return (f"Ask {contact(capital=False)} why the assignment is still pending.", check)
        case Missing.ASSIGNMENT | Missing.ASSIGNMENT_REMOVED:
            return (f"Ask {contact(capital=False)} to assign the role to a security group that you are in.", check)
        case Missing.APPROVAL:
            return ("Ask the customer’s administrator to approve the request in their admin centre.", check)
        case _:
            return (
                f"Ask {contact(capital=False)} for a GDAP relationship that includes {verdict.needs}.",
                "The customer’s administrator approves it.",
                check,
            )


def request_for_lead(verdict: Verdict, customer: Customer, name: str = "") -> str:
    """A text to copy: customer, tenant ID, role needed, group and link. `name`: of somebody else than the reader."""
    lines = [
        f"{f'{name} needs' if name else 'I need'} to {verdict.action.value} in {customer.name}.",
        f"Tenant ID: {customer.tenant_id}",
        f"Role needed: {verdict.needs}",
        f"What is missing: {verdict.missing.value or 'we could not check'}",
    ]
    if verdict.relationship:
        lines.append(f"GDAP relationship: {verdict.relationship}")
    if verdict.granted and verdict.granted.group:
        lines.append(f"Group: {verdict.granted.group}")
    if settings.PUBLIC_URL:
        lines.append(f"{settings.PUBLIC_URL}/customers/{customer.key}/users/")
    return "\n".join(lines)


def request_for_customer(verdict: Verdict, customer: Customer) -> str:
    """A text to send to the customer's administrator; "" where only our own side has something to do."""
    match verdict.missing:
        case Missing.APPROVAL:
            ask = f"Our request “{verdict.relationship}” waits for your approval."
        case Missing.ENDED:
            ended = f" on {day(verdict.ended_at)}" if verdict.ended_at else ""
            ask = f"The GDAP relationship “{verdict.relationship}” ended{ended}. We will send you a new request."
        case Missing.ROLE | Missing.RELATIONSHIP:
            ask = "We will send you a request for a GDAP relationship."
        case _:
            return ""
    return "\n".join(
        (
            f"To the administrator of {customer.name}",
            "",
            f"To {verdict.action.value} for you, we need the role {verdict.needs}. {ask}",
            (
                "You can approve it as a Global Administrator in the Microsoft 365 admin centre, Settings, "
                "Partner relationships."
            ),
            f"Your tenant ID: {customer.tenant_id}",
        )
    )


def through(path: Path) -> str:
    """ "User Administrator, through Helpdesk Tier 1, until 3 Dec 2026"."""
    until = f", until {day(path.ends_at)}" if path.ends_at else ""
    return f"{roles.NAMES[path.role]}, through {path.relationship}{until}"


def day(at: datetime | None) -> str:
    """ "3 Dec 2026", in the zone of the person who reads it, or "" for no date."""
    local = timezone.localtime(at) if at else None
    return f"{local.day} {local:%b %Y}" if local else ""


def ago(at: datetime) -> str:
    """ "3 minutes ago", "5 hours ago", or the day."""
    minutes = int((clock.now() - at).total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes < 120:
        return f"{minutes} minute{'' if minutes == 1 else 's'} ago"
    return f"{minutes // 60} hours ago" if minutes < 48 * 60 else f"on {day(at)}"


def _ends_soon(path: Path) -> str:
    today = timezone.localdate(clock.now())
    days = (timezone.localdate(path.ends_at) - today).days if path.ends_at else 0
    left = "today" if days <= 0 else "in 1 day" if days == 1 else f"in {days} days"
    return f"You can create and change users here until {day(path.ends_at)}, {left}."


def _does_not_extend(path: Path) -> str:
    return (
        f"Your role is {roles.NAMES[path.role]}, through the GDAP relationship {path.relationship}. "
        f"It does not extend by itself; {contact(capital=False)} can turn that on."
    )


def _also_needs(edit: Verdict) -> str:
    return "" if edit.yes else f"It also needs {edit.needs} in this customer."


def _you_have(access: Access) -> str:
    return f"You have {'; '.join(through(path) for path in access.held)}." if access.held else ""


def contact(*, capital: bool = True) -> str:
    """Who can help where nobody better is known, as the settings say."""
    who = str(settings.ACCESS_CONTACT)
    return who[:1].upper() + who[1:] if capital else who
