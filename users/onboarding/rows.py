"""What one row of a run asks for, as the write that a form would have made: the same checks, the same operation."""

import uuid
from datetime import timedelta
from typing import Any

from customers.access import ActionDenied
from partnerportal import clock, grants
from partnerportal.models import Operator, TokenCache
from partnerportal.permissions import RoleMissing
from partnerportal.upstream.errors import Throttled

from .. import actions, deleting, first_licences, kinds, licensing, operations, queued
from ..models import OnboardingRow, Operation

Kind = Operation.Kind
ASK_AGAIN_AFTER = timedelta(seconds=60)
How = dict[str, Any]
"""What all writes are told alike: in which customer, under which `op_id`, by whom and with whose tokens."""


def send(row: OnboardingRow, grant: TokenCache, op_id: uuid.UUID) -> Operation | None:
    """Send what the row asks for, once, under this new id. None: it is so already, and nothing was sent.

    Raises what the actions raise before anything is sent.
    """
    how = {"customer": row.customer, "op_id": op_id, "by": row.run.by, "grant": grant, "in_run": True}
    return SENDERS[Kind(row.run.kind)](row, how)


def _create(row: OnboardingRow, how: How) -> Operation:
    # The check has looked for deleted users of that name.
    return actions.create_user(
        fields=row.fields,
        password=None,
        force_change=row.force_change,
        despite_deleted=True,
        licences=row.licences,
        **how,
    )


class NotYet(Exception):
    """The licences are not assigned yet, or nobody knows what became of them."""


def afterwards(done: Operation, by: Operator, grant: TokenCache) -> str:
    """Send what waits for an operation that is done, the licences of a new user, or find out what became of them.

    Returns how that went, in words. `by` has the app roles that were read last. Raises `NotYet` and an `UpstreamError`
    while it may still come to something: then it is to be called again.
    """
    following, trouble = queued.after(done), ""
    if following is None:
        return ""
    operations.settled(following)
    try:
        if following.state == Operation.State.UNKNOWN:
            actions.check_again(following, by=by, grant=grant, in_run=True)
        actions.send_again(following, proved=False, by=by, grant=grant, in_run=True)
    except (ActionDenied, RoleMissing) as denied:
        trouble = getattr(denied, "reason", str(denied))
    if following.state == Operation.State.REFUSED and following.status in (429, None):
        queued.anew(done, following)
        raise Throttled(source="Partner Center", retry_at=following.retry_at or clock.now() + ASK_AGAIN_AFTER)
    if following.state == Operation.State.REFUSED and following.code == kinds.NO_SUCH_USER:
        queued.anew(done, following)  # who was created is not known everywhere at once
        raise NotYet
    if following.undecided and not trouble:
        raise NotYet
    return first_licences.in_words(done, trouble)


def _change(row: OnboardingRow, how: How) -> Operation:
    return actions.change_user(actions.Change(user_id=row.target_id, before=row.before, fields=row.fields), **how)


def _delete(row: OnboardingRow, how: How) -> Operation:
    return deleting.delete_user(row.target_id, row.before, **how)


def _restore(row: OnboardingRow, how: How) -> Operation:
    return deleting.restore_user(row.target_id, row.before, **how)


def _licences(row: OnboardingRow, how: How) -> Operation | None:
    """What the user has now, with those to assign and without those to take away: SKU id -> name in `fields`."""
    held = licensing.held_by(grants.partner_center(how["grant"]), how["customer"], row.target_id)
    kept = {sku: name for sku, name in held.items() if sku not in row.fields["remove"]}
    wanted = kept | row.fields["assign"]
    if wanted.keys() == held.keys():
        return None
    return licensing.change_licences(row.target_id, {**row.before, "licences": held}, wanted=wanted, **how)


SENDERS = {
    Kind.CREATE: _create,
    Kind.PATCH: _change,
    Kind.DELETE: _delete,
    Kind.RESTORE: _restore,
    Kind.LICENCES: _licences,
}
