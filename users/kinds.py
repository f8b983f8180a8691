"""How the kinds of operation differ: what is sent, and what a look-up after an unknown outcome can tell.

All else is the same for all of them: `actions.py` asks for the rights, `operations.py` keeps the books.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from partnerportal.models import Operator
from partnerportal.upstream.errors import NotFound
from partnerportal.upstream.partner_center import CustomerUser, NewUser, PartnerCenter, Receipt

from . import operations, seen_names
from .models import Operation

State = Operation.State

ACTIVE, DELETED = "active", "deleted"
NO_SUCH_USER = "60002"  # not every 404 says that the user is gone


@dataclass(frozen=True)
class Write:
    """The two things that are different."""

    send: Callable[[PartnerCenter, Operation], Receipt]
    check: Callable[[Operation, PartnerCenter, Operator], None]


# The fields of a user that a form may change, as Partner Center names them in snake case.
EDITABLE = ("display_name", "first_name", "last_name", "user_principal_name", "usage_location", "phone_number")


def values_of(user: CustomerUser) -> dict[str, str]:
    """The editable fields of a user, as a before-image."""
    return {name: getattr(user, name) for name in EDITABLE}


# --- Create and change --------------------------------------------------------------------------------------


def _create(partner_center: PartnerCenter, operation: Operation) -> Receipt:
    password = operations.sealed_password_of(operation)
    new = NewUser(**operation.fields, password=password, force_change=operation.force_change)
    return partner_center.create_user(operation.tenant_id, new, request_id=operation.op_id)


def _patch(partner_center: PartnerCenter, operation: Operation) -> Receipt:
    receipt = partner_center.update_user(
        operation.tenant_id,
        operation.target_id,
        operation.fields,
        password=operations.sealed_password_of(operation) if operation.sets_password else None,
        force_change=operation.force_change,
        request_id=operation.op_id,
    )
    if receipt.user and (other := differing(receipt.user, operation.fields)):  # an empty value may have been ignored
        told = f"Microsoft said yes, but its answer shows {other} than was sent. Open the user to see what was saved."
        return replace(receipt, warnings=(*receipt.warnings, told))
    return receipt


def _reset(partner_center: PartnerCenter, operation: Operation) -> Receipt:
    return partner_center.reset_password(
        operation.tenant_id,
        operation.target_id,
        operations.sealed_password_of(operation),
        force_change=operation.force_change,
        request_id=operation.op_id,
    )


def _check_create(operation: Operation, partner_center: PartnerCenter, by: Operator) -> None:
    wanted: dict[str, Any] = operation.fields
    name = wanted["user_principal_name"]
    found, began = seen_names.look_up(operation.customer, name, partner_center, since=_last_heard_of(operation))
    if found and not found.is_deleted:
        if operations.claimed_by_another(operation, found.id):
            detail = f"There is a user {found.user_principal_name}, made by another form than this one."
            operations.decide(operation, by=by, state=State.CONFLICT, detail=detail, sealed_password=None)
        elif is_as_wanted(found, wanted) and operation.seen_absent_at:
            operations.decide(operation, by=by, state=State.DONE, target_id=found.id)
        elif is_as_wanted(found, wanted):
            detail = (
                f"There is a user {found.user_principal_name} with these very values. Nobody had looked if that "
                "name was free before it was sent, so it may be this one or somebody else’s. Look at it, and say "
                "whose it is."
            )
            operations.decide(
                operation, by=by, state=State.UNKNOWN, detail=detail, target_id=found.id, found_absent=False
            )
        else:
            detail = (
                f"There is a user {found.user_principal_name}, but with other values: {found.display_name}. "
                "It may be this one, changed since, or somebody else’s. Look at it; if it is yours, set a new password."
            )
            operations.decide(
                operation, by=by, state=State.CONFLICT, detail=detail, target_id=found.id, sealed_password=None
            )
    elif not operation.has_password:  # kept for a day; by then Microsoft shows what there is
        operations.decide(operation, by=by, state=State.STOPPED, detail=f"A day later there is no user {name}.")
    else:
        detail = f"{name} is not there{', but a deleted user had that name' if found else ''}."
        known: dict[str, Any] = {} if found else {"seen_absent_at": began}  # a complete walk, whenever it was
        operations.decide(
            operation,
            by=by,
            state=State.UNKNOWN,
            detail=detail,
            checked_at=began,
            target_id="",
            found_absent=True,
            **known,
        )


def _last_heard_of(operation: Operation) -> datetime | None:
    """When the write was over at the latest, or was looked up last: a walk that began before tells nothing new."""
    over = operation.sent_at + timedelta(seconds=settings.UPSTREAM_BUDGET) if operation.sent_at else None
    return max((at for at in (over, operation.checked_at) if at), default=None)


def is_as_wanted(found: CustomerUser, wanted: Mapping[str, Any]) -> bool:
    """Whether the user has all these values."""
    return not _others(found, wanted)


def differing(found: CustomerUser, wanted: Mapping[str, Any]) -> str:
    """Which values of the user are others, in words: "another first name and usage location"; "" when none is."""
    told = [name.replace("_", " ") for name in _others(found, wanted)]
    return f"another {' and '.join(filter(None, [', '.join(told[:-1]), *told[-1:]]))}" if told else ""


def _others(found: CustomerUser, wanted: Mapping[str, Any]) -> list[str]:
    """The fields that differ. Microsoft may write a user name in another case, and hide the immutable ID."""
    return [
        name
        for name, value in wanted.items()
        if name != "immutable_id"
        and not (
            str(getattr(found, name)).lower() == value.lower()
            if name in ("user_principal_name", "usage_location")
            else getattr(found, name) == value
        )
    ]


def _check_patch(operation: Operation, partner_center: PartnerCenter, by: Operator) -> None:
    user = active_user(partner_center, operation.tenant_id, operation.target_id)
    if user is None:
        operations.decide(operation, by=by, state=State.CONFLICT, detail="This user is gone.", sealed_password=None)
        return
    can_go_again = operation.has_password or not operation.sets_password
    if operation.sets_password and operations.newer_password(operation):
        detail = "A newer password was set for this user meanwhile. That one counts."
        operations.decide(operation, by=by, state=State.CONFLICT, detail=detail, sealed_password=None)
    elif is_as_wanted(user, operation.fields):
        if not operation.sets_password:
            operations.decide(operation, by=by, state=State.DONE)
            return
        # A password cannot be read back. The same one may be sent again, for a day.
        detail = "The fields are saved. " if operation.fields else ""
        detail += "Whether the password was set cannot be read back."
        detail += "" if can_go_again else " It is not kept any more: set a new one."
        operations.decide(operation, by=by, state=State.UNKNOWN, detail=detail, found_absent=can_go_again)
    elif values_of(user) != operation.before:
        detail = "Somebody else has changed this user meanwhile."
        operations.decide(operation, by=by, state=State.CONFLICT, detail=detail, sealed_password=None)
    elif can_go_again:
        detail = "Nothing has changed yet."
        operations.decide(operation, by=by, state=State.UNKNOWN, detail=detail, found_absent=True)
    else:
        operations.decide(operation, by=by, state=State.STOPPED, detail="A day later nothing has changed.")


# --- Delete and restore -------------------------------------------------------------------------------------


def active_user(partner_center: PartnerCenter, tenant_id: str, user_id: str) -> CustomerUser | None:
    """The user; None when deleted or never there. Raises `NotFound` when it is not the user that is missing."""
    try:
        user = partner_center.user(tenant_id, user_id)
    except NotFound as error:
        if error.code != NO_SUCH_USER:
            raise
        return None
    return None if user.is_deleted else user


def deleted_user(partner_center: PartnerCenter, tenant_id: str, user_id: str) -> CustomerUser | None:
    """A deleted user by id. No call reads one, so this walks the deleted ones at size 500."""
    for page in partner_center.all_users(tenant_id, deleted=True):
        for user in page.users:
            if user.id == user_id:
                return user
    return None


def _delete(partner_center: PartnerCenter, operation: Operation) -> Receipt:
    return partner_center.delete_user(operation.tenant_id, operation.target_id, request_id=operation.op_id)


def _check_delete(operation: Operation, partner_center: PartnerCenter, by: Operator) -> None:
    if active_user(partner_center, operation.tenant_id, operation.target_id) is None:
        operations.decide(operation, by=by, state=State.DONE)
    else:
        detail = "The user is still there."
        operations.decide(operation, by=by, state=State.UNKNOWN, detail=detail, found_absent=True)


def _restore(partner_center: PartnerCenter, operation: Operation) -> Receipt:
    return partner_center.restore_user(operation.tenant_id, operation.target_id, request_id=operation.op_id)


def _check_restore(operation: Operation, partner_center: PartnerCenter, by: Operator) -> None:
    if active_user(partner_center, operation.tenant_id, operation.target_id):
        operations.decide(operation, by=by, state=State.DONE)
    elif deleted_user(partner_center, operation.tenant_id, operation.target_id):
        detail = "The user is still deleted."
        operations.decide(operation, by=by, state=State.UNKNOWN, detail=detail, found_absent=True)
    else:
        # Between the two lists while replication lags, or gone for good: to send it again would be a guess.
        detail = "The user is neither among the active users nor among the deleted ones."
        operations.decide(operation, by=by, state=State.UNKNOWN, detail=detail)


# --- Licences -----------------------------------------------------------------------------------------------


def _assigned_and_removed(operation: Operation) -> tuple[set[str], set[str]]:
    held, wanted = set(operation.before["licences"]), set(operation.fields["licences"])
    return wanted - held, held - wanted


def _update_licences(partner_center: PartnerCenter, operation: Operation) -> Receipt:
    assign, remove = _assigned_and_removed(operation)
    return partner_center.update_licences(
        operation.tenant_id,
        operation.target_id,
        assign=sorted(assign),
        remove=sorted(remove),
        request_id=operation.op_id,
    )


def _check_licences(operation: Operation, partner_center: PartnerCenter, by: Operator) -> None:
    try:
        now = {each.sku_id for each in partner_center.licences(operation.tenant_id, operation.target_id)}
    except NotFound as error:
        if error.code != NO_SUCH_USER:
            raise
        operations.decide(operation, by=by, state=State.CONFLICT, detail="This user is gone.")
        return
    assign, remove = _assigned_and_removed(operation)
    missing, left = assign - now, remove & now
    if not missing and not left:
        operations.decide(operation, by=by, state=State.DONE)
    elif missing == assign and left == remove:
        detail = "Nothing has changed yet."
        operations.decide(operation, by=by, state=State.UNKNOWN, detail=detail, found_absent=True)
    else:
        known: dict[str, str] = {**operation.before["licences"], **operation.fields["licences"]}
        told = ", ".join(sorted(known[sku_id] for sku_id in missing | left))
        detail = f"Only a part is as it was wanted. Not done: {told}."
        operations.decide(operation, by=by, state=State.CONFLICT, detail=detail)


WRITES = {
    Operation.Kind.CREATE: Write(_create, _check_create),
    Operation.Kind.PATCH: Write(_patch, _check_patch),
    Operation.Kind.RESET: Write(_reset, _check_patch),
    Operation.Kind.DELETE: Write(_delete, _check_delete),
    Operation.Kind.RESTORE: Write(_restore, _check_restore),
    Operation.Kind.LICENCES: Write(_update_licences, _check_licences),
}


# --- Names --------------------------------------------------------------------------------------------------


def taken_names(partner_center: PartnerCenter, tenant_id: str, domain: str, *, pages: int = 4) -> set[str] | None:
    """The lower-case local parts in use in a domain; None where that would take more than these pages of 500."""
    taken: set[str] = set()
    for number, page in enumerate(partner_center.all_users(tenant_id), start=1):
        for user in page.users:
            local, _, of = user.user_principal_name.lower().partition("@")
            if of == domain.lower():
                taken.add(local)
        if number == pages and page.next:
            return None
    return taken
