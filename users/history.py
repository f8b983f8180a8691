"""What was done to one user from here, field by field; and the way back from the last change."""

import uuid
from typing import Any

from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET

from customers.access import Action, ActionDenied
from customers.models import Customer
from partnerportal import clock
from partnerportal.http import OperatorRequest, go_to, post_only, render_page
from partnerportal.models import Operator, TokenCache
from partnerportal.permissions import Permission, may, require
from partnerportal.upstream.errors import SignInAgain, UpstreamError

from . import actions, operations, pages
from .forms import new_op_id
from .models import Operation
from .templatetags.people import field_label, field_value

SHOWN = 50


def of_user(customer: Customer, user_id: str, *, by: Operator) -> list[Operation]:
    """The latest operations on a user, newest first: all of them for a Portal.Admin, for others their own."""
    done = Operation.objects.filter(customer=customer, target_id=user_id).select_related("by")
    if not may(by, Permission.AUDIT_ALL):
        done = done.filter(by=by)
    return list(done.order_by("-pk").prefetch_related("links")[:SHOWN])


def last_change(customer: Customer, user_id: str) -> Operation | None:
    """The change that may be undone: the newest write on this user by anybody, done, and at most 15 minutes old."""
    newest = Operation.objects.filter(customer=customer, target_id=user_id).order_by("-pk").first()
    if newest is None or newest.kind != Operation.Kind.PATCH or newest.state != Operation.State.DONE:
        return None
    young = newest.decided_at is not None and clock.now() - newest.decided_at < Operation.UNDONE_WITHIN
    return newest if young else None


def why_for_good(operation: Operation) -> str:
    """Why a change cannot be taken back at all, as a sentence; "" when it can."""
    if operation.fields.get("usage_location") and not operation.before.get("usage_location"):
        return "This cannot be undone: Microsoft lets nobody take a usage location away once there is one."
    return ""


def undo(operation: Operation, *, op_id: uuid.UUID, by: Operator, grant: TokenCache) -> Operation:
    """A new change back to what was there before. Not of a password, which nobody can read back.

    Raises `ChangedMeanwhile` when the user is not as that change has left them, and what `change_user` raises.
    """
    known: dict[str, str] = {name: operation.before.get(name, "") for name in operation.fields}
    change = actions.Change(
        user_id=operation.target_id, before={**operation.before, **operation.fields}, fields=known, new_password=False
    )
    return actions.change_user(change, customer=operation.customer, op_id=op_id, by=by, grant=grant)


# --- Pages --------------------------------------------------------------------------------------------------


@require_GET
@require(Permission.VIEW)
def user_history(request: OperatorRequest, key: str, user_id: uuid.UUID) -> HttpResponse:
    """Every operation with its fields before and after, who sent it, and its ids. Asks for the rights only."""
    customer = pages.tenant_of(key)
    access = pages.access_now(request, customer)
    if access[Action.LIST].no:
        return pages.no_access(request, customer, access, Action.LIST)
    return _page(request, customer, str(user_id))


def _page(
    request: OperatorRequest, customer: Customer, user_id: str, trouble: str = "", status: int = 200
) -> HttpResponse:
    context = pages.shell(request, customer, pages.access_now(request, customer))
    done = of_user(customer, user_id, by=request.user)
    last = last_change(customer, user_id) if context["may_change"] else None
    context |= {
        "user_id": user_id,
        "name": next((each.target_name for each in done if each.target_name), "This user"),
        "entries": [{"operation": operation, "rows": _rows(operation)} for operation in done],
        "undoable": last if last in done else None,
        "why_for_good": why_for_good(last) if last else "",
        "op_id": new_op_id(),
        "heads": ("Before", "After"),
        "trouble": trouble,
    }
    return render_page(request, "users/history.html", "entries", context, status=status)


def _rows(operation: Operation) -> list[dict[str, Any]]:
    """Field, before and after, in words."""
    rows = [
        {
            "label": field_label(name),
            "now": field_value(operation.before.get(name, ""), name),
            "after": field_value(value, name),
        }
        for name, value in operation.fields.items()
    ]
    if operation.sets_password:
        rows.append({"label": "Password", "now": "", "note": "Not shown", "after": "A new one, not shown"})
    return rows


@post_only
@require(Permission.WRITE_USERS)
def user_undo(request: OperatorRequest, key: str, user_id: uuid.UUID) -> HttpResponse:
    """Take the last change back, if nothing else has changed since."""
    customer = pages.tenant_of(key)
    try:
        wanted, op_id = (uuid.UUID(request.POST.get(name, "")) for name in ("operation", "op_id"))
    except ValueError:
        raise Http404("no such operation") from None
    seen = Operation.objects.filter(op_id=op_id, by=request.user, customer=customer, target_id=user_id).first()
    if seen:  # sent already: its page says what became of it
        return go_to(request, reverse("operation", args=[customer.key, op_id]))
    last = last_change(customer, str(user_id))
    if last is None or last.op_id != wanted or last not in of_user(customer, str(user_id), by=request.user):
        late = "This cannot be undone any more: 15 minutes are over, or something else was done to the user."
        return _page(request, customer, str(user_id), late, status=409)
    if why := why_for_good(last):
        return _page(request, customer, str(user_id), why, status=409)
    try:
        operation = undo(last, op_id=op_id, by=request.user, grant=request.grant)
    except ActionDenied as denied:
        return _page(request, customer, str(user_id), f"It was not undone. {denied.reason}", status=403)
    except actions.ChangedMeanwhile:
        changed = "It was not undone: somebody has changed this user since. Edit the user to see how they are now."
        return _page(request, customer, str(user_id), changed, status=409)
    except actions.UserGone:
        return pages.gone(request, customer)
    except operations.StrangeOperation:
        return pages.strange(request, customer)
    except actions.TooFast:
        return _page(request, customer, str(user_id), actions.TOO_FAST, status=429)
    except SignInAgain:
        raise
    except UpstreamError as error:  # nothing was sent yet
        return _page(request, customer, str(user_id), f"It was not undone. {error}", status=502)
    return pages.outcome(request, operation)
