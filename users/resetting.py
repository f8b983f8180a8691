"""A new password for somebody who has lost theirs; for an administrator, by somebody who proves who they are."""

import uuid
from functools import partial

from django.http import HttpResponse
from django.views.decorators.http import require_http_methods

from customers.access import Action
from customers.models import Customer
from partnerportal import grants, problems, sessions
from partnerportal.http import OperatorRequest, render_page
from partnerportal.models import Operator, TokenCache
from partnerportal.permissions import Permission, require
from partnerportal.upstream.partner_center import CustomerUser, PartnerCenter

from . import actions, confirming, pages
from .confirming import ConfirmForm, NamedForm
from .deleting import must_have_this_name
from .models import Operation

TEMPLATE = "users/reset.html"


def reset_password(
    user_id: str,
    before: dict[str, str],
    *,
    proved: bool,
    customer: Customer,
    op_id: uuid.UUID,
    by: Operator,
    grant: TokenCache,
) -> Operation:
    """Set a password that is made here, to be changed at the first sign-in.

    `proved`: the operator has just signed in anew and typed the user's name. Without it, raises `Administrator` for
    somebody with power; raises what `carry_out` raises.
    """

    def ready(partner_center: PartnerCenter) -> None:
        must_have_this_name(customer, user_id, before, partner_center)
        held = actions.powers_of(partner_center, customer, user_id)
        if held and not proved:
            raise actions.Administrator(held)

    plan = actions.Plan(
        kind=Operation.Kind.RESET,
        target_id=user_id,
        target_name=before["display_name"],
        fields={},
        before=before,
        new_password=True,
    )
    return actions.carry_out(plan, ready, customer=customer, op_id=op_id, by=by, grant=grant)


# --- Page ---------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@require(Permission.WRITE_USERS)
def user_reset(request: OperatorRequest, key: str, user_id: uuid.UUID) -> HttpResponse:
    """Says whose password it is, and what power they have; a POST sets it and shows it once."""
    return confirming.confirm_active(request, key, user_id, Action.RESET_PASSWORD, TEMPLATE, sent=_reset, more=_whose)


def _whose(request: OperatorRequest, customer: Customer, person: CustomerUser) -> dict[str, object]:
    """The roles of the user, asked before anything is offered, and what they ask of the operator."""
    powers = actions.powers_of(grants.partner_center(request.grant), customer, person.id)
    form = NamedForm.about(person) if powers else ConfirmForm.about(person)
    return {"form": form, "powers": powers, **proof(request, bool(powers))}


def proof(request: OperatorRequest, needed: bool) -> dict[str, str]:
    """The way to sign in anew, where that is needed."""
    return problems.way_to_prove(request) if needed else {}


def asked_for(powerful: actions.Administrator) -> str:
    """What stands in the way of an administrator's password, as a sentence."""
    held = ", ".join(powerful.roles)
    asked = "Microsoft must have asked for your password or key within the last 15 minutes"
    return f"This user has {held}. For that, {asked}, and you type the user name."


def is_proved(request: OperatorRequest, user_name: str) -> bool:
    """Whether the operator has signed in anew and typed this user name: what an administrator's password asks for."""
    named = request.POST.get("name", "").strip().lower() == user_name.lower() != ""
    return named and sessions.proved_lately(request)


def _reset(request: OperatorRequest, customer: Customer, user_id: str) -> HttpResponse:
    """Whoever sends a name confirms it; an administrator's is asked for by the action, not by the form."""
    named = "name" in request.POST
    form = (NamedForm if named else ConfirmForm)(request.POST, user_id=user_id)
    proved = named and form.is_valid() and sessions.proved_lately(request)
    try:
        return confirming.confirmed(request, customer, form, TEMPLATE, partial(reset_password, proved=proved))
    except actions.Administrator as powerful:
        form = NamedForm(request.POST, user_id=user_id)
        form.add_error(None, asked_for(powerful))
        context = {
            **pages.shell(request, customer, pages.access_now(request, customer)),
            **proof(request, needed=True),
            "form": form,
            "person": form.before_or_nothing,
            "powers": powerful.roles,
            "user_id": user_id,
        }
        return render_page(request, TEMPLATE, "form_area", context, status=403)
