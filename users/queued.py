"""Writes that wait for another one: the licences of a user who is not there yet.

They are stored with the create, in its transaction, under a number made of the create's own. So nothing that was
wanted is lost with a process, and whoever goes on, in whichever request, goes on with the same operation.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db.models import F

from partnerportal import by_hand, clock

from .models import Operation

State = Operation.State
MOST = 8  # requests for the licences of one user: one for each try of its row, and one that is left to a person


def store(create: Operation, licences: Mapping[str, str]) -> None:
    """Keep these licences (SKU id -> name) to be assigned once the user is created. In the create's transaction."""
    if not licences:
        return
    known = {name: create.fields[name] for name in ("display_name", "user_principal_name")}
    Operation.objects.create(
        op_id=_op_id(create),
        kind=Operation.Kind.LICENCES,
        state=State.QUEUED,
        by=create.by,
        session=create.session,
        job=create.job,
        customer=create.customer,
        tenant_id=create.tenant_id,
        target_name=create.target_name,
        fields={"licences": dict(licences)},
        before={**known, "licences": {}},
        tries=0,
    )


def after(create: Operation) -> Operation | None:
    """What was stored to follow this create, in whatever state it is; None when nothing was."""
    if create.kind != Operation.Kind.CREATE:
        return None
    ids = [_op_id(create, number) for number in range(1, MOST + 1)]
    tries = {each.op_id: each for each in Operation.objects.select_related("customer", "by").filter(op_id__in=ids)}
    return next((tries[op_id] for op_id in reversed(ids) if op_id in tries), None)


def anew(create: Operation, answered: Operation) -> None:
    """What was answered and not done waits once more, as a request of its own (CONTRACT 1.7), `MOST` times in all."""
    ids = [_op_id(create, number) for number in range(1, MOST + 1)]
    if answered.op_id not in ids[:-1]:
        return
    same = "kind by session job customer tenant_id target_id target_name fields before".split()
    told = {name: getattr(answered, name) for name in same}
    Operation.objects.create(op_id=ids[ids.index(answered.op_id) + 1], state=State.QUEUED, tries=0, **told)


def licences_after(create: Operation) -> dict[str, str]:
    """The licences that were wanted with the user, SKU id -> name."""
    following = after(create)
    return dict(following.fields["licences"]) if following else {}


def lead_on(create: Operation) -> None:
    """What waits for a create that is decided now knows whom it is for, or is not wanted. In the same transaction."""
    if create.kind != Operation.Kind.CREATE or create.undecided:
        return
    waiting: dict[str, Any] = {"op_id": _op_id(create), "state": State.QUEUED}
    if not by_hand.read(Operation, waiting):  # as a rule
        return
    known: dict[str, Any] = {"target_id": create.target_id}
    if create.state != State.DONE:
        known = {"state": State.STOPPED, "decided_at": clock.now(), "detail": "The user was not created."}
    Operation.objects.filter(**waiting).update(fence=F("fence") + 1, **known)


def _op_id(create: Operation, number: int = 1) -> uuid.UUID:
    """The same one whoever asks, so that each request can be stored and sent once only."""
    return uuid.uuid5(create.op_id, "licences" if number == 1 else f"licences {number}")
