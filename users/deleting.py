"""Deleting a user and bringing one back: a page that says what it means, and the write behind it."""

import uuid
from datetime import timedelta
from functools import partial

from django.http import HttpResponse
from django.views.decorators.http import require_http_methods

from customers.access import Action
from customers.models import Customer
from partnerportal import grants
from partnerportal.http import OperatorRequest, render_page
from partnerportal.models import Operator, TokenCache
from partnerportal.permissions import Permission, require
from partnerportal.upstream.partner_center import CustomerUser, PartnerCenter

from . import actions, confirming, kinds, links, pages
from .confirming import ConfirmForm, NamedForm
from .models import Operation

KEPT_FOR = timedelta(days=30)


def delete_user(
    user_id: str,
    before: dict[str, str],
    *,
    customer: Customer,
    op_id: uuid.UUID,
    by: Operator,
    grant: TokenCache,
    in_run: bool = False,
) -> Operation:
    """Delete the user of that name. Raises `ChangedMeanwhile` under another name, and what `carry_out` raises."""
    plan = _plan(Operation.Kind.DELETE, user_id, before, kinds.ACTIVE, kinds.DELETED)
    ready = partial(must_have_this_name, customer, user_id, before)
    operation = actions.carry_out(plan, ready, customer=customer, op_id=op_id, by=by, grant=grant, in_run=in_run)
    if operation.state == Operation.State.DONE:  # else beat ends them, once it is known
        links.end_of(user_id, operation.tenant_id)
    return operation


def restore_user(
    user_id: str,
    before: dict[str, str],
    *,
    customer: Customer,
    op_id: uuid.UUID,
    by: Operator,
    grant: TokenCache,
    in_run: bool = False,
) -> Operation:
    """Bring back a deleted user. Raises `UserGone` for somebody who is not deleted, and what `carry_out` raises."""

    def ready(partner_center: PartnerCenter) -> None:
        if kinds.deleted_user(partner_center, customer.tenant_id or "", user_id) is None:
            raise actions.UserGone

    plan = _plan(Operation.Kind.RESTORE, user_id, before, kinds.DELETED, kinds.ACTIVE)
    return actions.carry_out(plan, ready, customer=customer, op_id=op_id, by=by, grant=grant, in_run=in_run)


def must_have_this_name(
    customer: Customer, user_id: str, before: dict[str, str], partner_center: PartnerCenter
) -> None:
    """A name that was typed to confirm is to be the name of whom it hits."""
    user = kinds.active_user(partner_center, customer.tenant_id or "", user_id)
    if user is None:
        raise actions.UserGone
    if user.user_principal_name.lower() != before["user_principal_name"].lower():
        raise actions.ChangedMeanwhile(kinds.values_of(user), before)


def _plan(kind: Operation.Kind, user_id: str, before: dict[str, str], was: str, will_be: str) -> actions.Plan:
    return actions.Plan(
        kind=kind,
        target_id=user_id,
        target_name=before["display_name"],
        fields={"state": will_be},
        before={**before, "state": was},
    )


# --- Pages --------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@require(Permission.WRITE_USERS)
def user_delete(request: OperatorRequest, key: str, user_id: uuid.UUID) -> HttpResponse:
    """What deleting means, and the user name to be typed; a POST deletes."""
    return confirming.confirm_active(request, key, user_id, Action.DELETE, "users/delete.html", sent=_delete)


def _delete(request: OperatorRequest, customer: Customer, user_id: str) -> HttpResponse:
    form = NamedForm(request.POST, user_id=user_id)
    return confirming.confirmed(request, customer, form, "users/delete.html", delete_user)


@require_http_methods(["GET", "POST"])
@require(Permission.WRITE_USERS)
def user_restore(request: OperatorRequest, key: str, user_id: uuid.UUID) -> HttpResponse:
    """A deleted user and until when it is kept; a POST restores."""
    customer = pages.tenant_of(key)
    if request.method == "POST":
        form = ConfirmForm(request.POST, user_id=str(user_id))
        return confirming.confirmed(request, customer, form, "users/restore.html", restore_user)
    access = pages.access_now(request, customer)
    if not access[Action.RESTORE].tried:
        return pages.no_access(request, customer, access, Action.RESTORE)
    person = kinds.deleted_user(grants.partner_center(request.grant), customer.tenant_id or "", str(user_id))
    if person is None:
        return pages.gone(request, customer)
    context = {**pages.shell(request, customer, access), "form": ConfirmForm.about(person), **told(person)}
    return render_page(request, "users/restore.html", "form_area", context)


def told(person: CustomerUser) -> dict[str, object]:
    """What the page of a deleted user tells: who, and until when Microsoft keeps it."""
    deleted_at = person.soft_deleted_at
    return {"person": person, "user_id": person.id, "kept_until": deleted_at + KEPT_FOR if deleted_at else None}
