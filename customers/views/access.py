"""What somebody may do at one customer, and why: the capability card."""

import uuid
from datetime import timedelta
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from customers import access, favourites
from customers.access import Action, Facts
from customers.find import access_customer
from customers.gdap import card, reading, relationships, team
from customers.models import Customer, Source
from partnerportal import clock, grants
from partnerportal.http import OperatorRequest
from partnerportal.models import Operator
from partnerportal.permissions import Permission, RoleMissing, may, require
from partnerportal.upstream import roles

NOT_HERE_YET = "their groups are not known: they have not been here since groups are read"


@require_GET
@require(Permission.VIEW)
def customer_access(request: OperatorRequest, key: str) -> HttpResponse:
    """One line an action, live from Graph; from the snapshot, with its age, when Graph does not tell."""
    customer = access_customer(key)
    if customer.key != key:
        return redirect("customer-access", customer.key)
    if customer.tenant_id is None:
        return render(request, "users/not_in_partner_center.html", {"customer": customer})
    about = _about(request)
    asks_others = may(request.user, Permission.ASK_FOR_OTHERS)
    staff = team.members()
    facts, told_instead = _facts(request, customer, about)
    found = access.judge(facts, clock.now())
    names = relationships.names_of({each.group_id for many in facts.assignments.values() for each in many})
    shown = card.lines(found, customer, about=about, by=request.user, others=staff)
    context: dict[str, Any] = {
        "customer": customer,
        "ages": Source.telling(customer),
        "is_favourite": favourites.has(customer, by=request.user),
        "about": about,
        "other": about if about != request.user else None,
        "people": [member.operator for member in staff] if asks_others else [],
        "lines": shown,
        "tells_since": any(line.since for line in shown),
        "tells_who": any(line.ask or line.others for line in shown),
        "first_no": next((line for line in shown if line.verdict.no and line.action is not Action.LIST), None),
        "facts": facts,
        "told_instead": told_instead,  # why the card is from the snapshot; "" when it is live
        "agreements": card.agreements(facts, names),
        "role_words": [(roles.NAMES[role], words) for role, words in card.ROLE_WORDS.items()],
    }
    return render(request, "customers/access.html", context)


def _about(request: OperatorRequest) -> Operator:
    """Whose rights are asked for: one's own, or with `?for=` somebody else's. Raises RoleMissing or Http404."""
    wanted = request.GET.get("for", "")
    if not wanted or wanted.lower() == str(request.user.oid):
        return request.user
    if not may(request.user, Permission.ASK_FOR_OTHERS):
        raise RoleMissing(Permission.ASK_FOR_OTHERS)
    try:
        found = Operator.objects.filter(oid=uuid.UUID(wanted), tid=request.user.tid).first()
    except ValueError:
        found = None
    if found is None:
        raise Http404("nobody of that id has been here")
    return found


def _facts(request: OperatorRequest, customer: Customer, about: Operator) -> tuple[Facts, str]:
    """The facts, and why they are from the snapshot; "" when Graph has just told them."""
    tenant_id, graph = customer.tenant_id or "", grants.graph(request.grant)
    if about == request.user:
        facts = access.facts_about(tenant_id, by=about, graph=graph, fresh=True)
        if not facts.problem:
            _keep_groups(about, facts)
    elif about.groups_read_at is None:
        return Facts(clock.now(), problem=NOT_HERE_YET), ""
    else:
        facts = access.ask(graph, tenant_id, frozenset(about.groups))
    if facts.problem and about.groups_read_at is not None:
        kept = relationships.facts(tenant_id, about.groups)
        if kept is not None:
            return kept, facts.problem
    return facts, ""


def _keep_groups(operator: Operator, facts: Facts) -> None:
    """What Graph has just said of one's groups counts for the lists too."""
    read_at = operator.groups_read_at
    if sorted(facts.my_groups) != operator.groups or read_at is None or clock.now() - read_at > timedelta(minutes=1):
        reading.keep_groups(operator, facts.my_groups)
