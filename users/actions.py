"""What an operator does to a customer's users: ask for the right, store the intent, send, store the answer.

Nothing here knows of requests or pages. Whoever calls gives `by` and the `grant` whose tokens are used: never
another person's, never an app-only token, never AvePoint's.
"""

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings
from django.db import IntegrityError

from customers.access import Action, ActionDenied, access_to
from customers.explain import why_not
from customers.models import Customer
from partnerportal import audit, chain_check, grants
from partnerportal.models import AuditEvent, Operator, TokenCache
from partnerportal.permissions import Permission, RoleMissing, may
from partnerportal.upstream.errors import Forbidden, NotFound, SignInAgain, Throttled, UpstreamError
from partnerportal.upstream.http import Secret
from partnerportal.upstream.partner_center import CustomerUser, PartnerCenter
from partnerportal.vault import VaultError

from . import kinds, operations, passwords, queued, refusals, seen_names
from .kinds import EDITABLE, values_of
from .models import Operation

log = logging.getLogger(__name__)

State = Operation.State


class ChangedMeanwhile(Exception):
    """Somebody else changed the user after the form was filled. Nothing was saved."""

    def __init__(self, current: dict[str, str], before: dict[str, str]) -> None:
        self.current, self.before = current, before
        super().__init__()


class WasDeleted(Exception):
    """A deleted user had this very name: restoring them may be what is wanted. Nothing was sent."""

    def __init__(self, user: CustomerUser) -> None:
        self.user = user
        super().__init__()


TOO_FAST = "You sent more changes within a minute than anybody types. Wait a minute, then send this one again."


class TooFast(Exception):
    """More writes within a minute than a person sends by hand. `TOO_FAST` says so to whoever did."""


GONE = "The user is not in this customer any more."


class UserGone(Exception):
    """The user is not in this customer (any more). `GONE` says so."""


class Administrator(Exception):
    """The user has power in the customer's directory: a new password needs more than a right. `roles` by name."""

    def __init__(self, roles: tuple[str, ...]) -> None:
        self.roles = roles
        super().__init__()


def create_user(
    *,
    customer: Customer,
    fields: Mapping[str, str],
    password: Secret | None,
    force_change: bool,
    op_id: uuid.UUID,
    by: Operator,
    grant: TokenCache,
    despite_deleted: bool = False,
    licences: Mapping[str, str] | None = None,
    in_run: bool = False,
) -> Operation:
    """Create a user; `password` None means that one is made. Returns the operation in whatever state it ended.

    `licences` (SKU id -> name) are stored with it and not sent: `first_licences.follow` does that.

    The same `op_id` gives the same operation, however often it is sent; a run brings a new one. Raises `ActionDenied`
    before anything leaves, `RoleMissing`, `StillOpen` while another create of this name is undecided, `WasDeleted` for
    the name of a deleted user unless `despite_deleted`, and `StrangeOperation` for an `op_id` of somebody else.
    """
    create = Operation.Kind.CREATE
    name = fields["display_name"]
    about = operations.about(create, customer, name, fields, sets_password=True)
    what: dict[str, Any] = {"kind": create, "fields": fields, "force_change": force_change}

    def known() -> Operation | None:
        earlier = operations.find(op_id, **what, by=by, customer=customer, password=password)
        if earlier and queued.licences_after(earlier) != dict(licences or {}):
            raise operations.StrangeOperation
        return earlier

    with _refusals_noted(about, by):
        if not in_run and (earlier := known()):
            return operations.wait_for(earlier)
        _must_be_allowed([Action.CREATE], customer, by=by, grant=grant, in_run=in_run)
        if not in_run:  # a run has looked, and the database lets no second one in
            _must_be_decided(customer, fields["user_principal_name"], but=op_id, by=by, grant=grant)
        partner_center = grants.partner_center(grant)
        sight = _seen(partner_center, customer, fields["user_principal_name"], despite_deleted, in_run=in_run)
        begin = partial(
            operations.begin,
            op_id,
            **what,
            by=by,
            grant=grant,
            customer=customer,
            target_name=name,
            password=password or passwords.generate(fields["user_principal_name"]),
            licences=licences,
            seen_absent_at=sight.absent_at,
        )
        try:
            operation = begin()
        except IntegrityError:  # the other of two presses was faster, or another form or run
            if earlier := known():
                return operations.wait_for(earlier)
            _must_be_decided(customer, fields["user_principal_name"], but=op_id, by=by, grant=grant)
            operation = begin()
    return operations.send(operation, partial(_write_of(operation).send, partner_center, operation))


def _must_be_decided(customer: Customer, user_name: str, *, but: uuid.UUID, by: Operator, grant: TokenCache) -> None:
    """Raises `StillOpen` while nobody knows what became of another create of this name.

    Whoever sent it may have left. Once it cannot go again, for its password is gone, whoever wants the name next looks.
    """
    older = operations.undecided_create(customer, user_name, but=but)
    if older is None:
        return
    operations.settled(older)
    if older.state == State.UNKNOWN and not older.has_password:
        _write_of(older).check(older, grants.partner_center(grant), by)
    if older.undecided:
        raise operations.StillOpen(older) from None


@dataclass(frozen=True)
class Change:
    """What is to become of one user: only these fields, and a password when `new_password` (None: one is made)."""

    user_id: str
    before: Mapping[str, str]  # what the form was filled from
    fields: Mapping[str, str]
    new_password: bool = False
    password: Secret | None = None
    force_change: bool = True


def change_user(
    change: Change, *, customer: Customer, op_id: uuid.UUID, by: Operator, grant: TokenCache, in_run: bool = False
) -> Operation:
    """Carry out a change. Sends changed fields only; a password alone is a reset.

    Raises `ChangedMeanwhile` when the user no longer is what the form was filled from, `Administrator` for a password
    of somebody with power, and what `carry_out` raises.
    """
    plan = Plan(
        kind=Operation.Kind.PATCH if change.fields else Operation.Kind.RESET,
        target_id=change.user_id,
        target_name=change.before["display_name"],
        fields=change.fields,
        before=change.before,
        new_password=change.new_password,
        password=change.password,
        force_change=change.force_change,
    )

    def ready(partner_center: PartnerCenter) -> None:
        _must_be_unchanged(partner_center, customer, change.user_id, change.before)
        if change.new_password:
            _must_have_no_power(partner_center, customer, change.user_id)

    return carry_out(plan, ready, customer=customer, op_id=op_id, by=by, grant=grant, in_run=in_run)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One write to a user who is there, as somebody has confirmed it."""

    kind: Operation.Kind
    target_id: str
    target_name: str
    fields: Mapping[str, Any]
    before: Mapping[str, Any]
    new_password: bool = False
    password: Secret | None = None  # None: one is made
    force_change: bool = True

    def subject(self, customer: Customer) -> audit.Subject:
        """The plan as the audit trail tells it."""
        return operations.about(
            self.kind,
            customer,
            self.target_name,
            self.fields,
            before=self.before,
            target_id=self.target_id,
            sets_password=self.new_password,
        )

    def started(self, op_id: uuid.UUID, customer: Customer, by: Operator) -> Operation | None:
        """The operation that was made of it under this id. Raises `StrangeOperation`."""
        return operations.find(
            op_id,
            kind=self.kind,
            fields=self.fields,
            target_id=self.target_id,
            by=by,
            customer=customer,
            sets_password=self.new_password,
            password=self.password,
            force_change=self.force_change,
        )

    def password_to_set(self) -> Secret | None:
        """The typed one, or a new one that does not hold the user's name as it will be."""
        if not self.new_password:
            return None
        return self.password or passwords.generate({**self.before, **self.fields}["user_principal_name"])


def carry_out(
    plan: Plan,
    ready: Callable[[PartnerCenter], None],
    *,
    customer: Customer,
    op_id: uuid.UUID,
    by: Operator,
    grant: TokenCache,
    in_run: bool = False,
) -> Operation:
    """The one way of every write but the create: rights, a last look, the intent, one request, its outcome.

    `ready` takes the last look and raises what stands in the way. Raises `ActionDenied` for the whole when any part of
    it is not allowed, and what `create_user` raises.
    """
    with _refusals_noted(plan.subject(customer), by):
        if not in_run and (earlier := plan.started(op_id, customer, by)):
            return operations.wait_for(earlier)
        _must_be_allowed(_needs(plan.kind, plan.new_password), customer, by=by, grant=grant, in_run=in_run)
        partner_center = grants.partner_center(grant)
        try:
            ready(partner_center)
            operation = operations.begin(
                op_id,
                kind=plan.kind,
                fields=plan.fields,
                target_id=plan.target_id,
                by=by,
                grant=grant,
                customer=customer,
                target_name=plan.target_name,
                before=plan.before,
                password=plan.password_to_set(),
                force_change=plan.force_change,
            )
        except (ChangedMeanwhile, UserGone, IntegrityError):  # by the other of two presses, which was faster?
            if earlier := plan.started(op_id, customer, by):
                return operations.wait_for(earlier)
            raise
    return operations.send(operation, partial(kinds.WRITES[plan.kind].send, partner_center, operation))


def powers_of(partner_center: PartnerCenter, customer: Customer, user_id: str) -> tuple[str, ...]:
    """The roles of a user that give power, by name; empty for everybody else.

    Where we may not look, we do not guess: such a user is treated as an administrator.
    """
    try:
        held = partner_center.directory_roles(customer.tenant_id or "", user_id)
    except Forbidden:
        return ("roles that we may not see",)
    except NotFound as error:
        if error.code != kinds.NO_SUCH_USER:
            raise
        raise UserGone from error
    return tuple(role.name for role in held if role.administers)


def _must_have_no_power(partner_center: PartnerCenter, customer: Customer, user_id: str) -> None:
    if held := powers_of(partner_center, customer, user_id):
        raise Administrator(held)


def _seen(
    partner_center: PartnerCenter, customer: Customer, user_name: str, despite_deleted: bool, *, in_run: bool
) -> seen_names.Sight:
    """What is known of the name before it is sent. Not worth a create where no answer comes; a run can wait for it.

    Raises `WasDeleted` unless `despite_deleted`.
    """
    sight = seen_names.Sight()
    try:
        sight = seen_names.look(customer, user_name, partner_center)
    except (SignInAgain, Throttled):  # nothing was sent yet
        if in_run:
            raise
    except UpstreamError as error:  # the create itself will be told what is wrong
        log.info("the user names could not be looked through: %s", error)
    except Exception:  # nor is it worth one for a fault of ours, in what nobody has asked for
        log.exception("the user names could not be looked through")
    if sight.deleted and not despite_deleted:
        raise WasDeleted(sight.deleted)
    return sight


def check_again(operation: Operation, *, by: Operator, grant: TokenCache, in_run: bool = False) -> None:
    """Find out what became of an unknown operation, by looking the user up. Raises `UpstreamError`.

    A run keeps its own pauses; for a person it raises `TooSoon` so shortly after the last time.
    """
    if operation.lost:
        operations.give_up(operation)
    if operation.state != State.UNKNOWN:
        return
    if not in_run:
        operations.take_look_up(operation)
    _write_of(operation).check(operation, grants.partner_center(grant), by)


def send_again(operation: Operation, *, proved: bool, by: Operator, grant: TokenCache, in_run: bool = False) -> None:
    """Send an operation under its old id: a look-up has found that it had no effect, or it was never sent.

    `proved`: as for `reset_password`, and of now: whoever pressed the first time may have left the browser open.
    Raises `Administrator` without it when a password is for somebody with power, and `UserGone`.
    """
    is_first = operation.is_due
    if not (is_first or operation.may_go_again):
        return
    is_create = operation.kind == Operation.Kind.CREATE
    wanted = _needs(Operation.Kind(operation.kind), operation.sets_password)
    with _refusals_noted(operations.subject(operation), by):
        _must_be_allowed(wanted, operation.customer, by=by, grant=grant, in_run=in_run)
    partner_center = grants.partner_center(grant)
    if not (is_create or is_first or _still_had_no_effect(operation, partner_center, by)):
        return
    if operation.sets_password and not is_create and not proved:
        with _refusals_noted(operations.subject(operation), by):
            _must_have_no_power(partner_center, operation.customer, operation.target_id)
    if operation.sets_password and not _opens(operation):
        detail = "The password can no longer be opened, so it is not sent again. Set a new one."
        operations.decide(operation, by=by, state=State.STOPPED, detail=detail, sealed_password=None)
        return
    with _refusals_noted(operations.subject(operation), by):
        won = operations.again(operation, by=by, grant=grant)
    if not won:
        return
    operations.send(operation, partial(_write_of(operation).send, partner_center, operation))
    if is_create and operation.state == State.UNKNOWN and refusals.name_is_taken(operation.detail):
        _write_of(operation).check(operation, partner_center, by)  # by our own first try?


def give_up(operation: Operation, *, by: Operator) -> None:
    """The person has looked, found nothing, and wants no more of it: the name is free for another form.

    Not before Microsoft would have shown it: else the user, and a password that nobody knows, would come up later.
    """
    if operation.is_due or operation.may_be_given_up:
        detail = "Given up before it was sent." if operation.is_due else "Given up after a look-up found nothing."
        operations.decide(operation, by=by, state=State.STOPPED, detail=detail, sealed_password=None)


def say_whose(operation: Operation, *, ours: bool, by: Operator) -> None:
    """A look-up has found a user with the very values, and the person has looked at it: made by this create, or not."""
    if not operation.may_be_ours:
        return
    if ours:
        detail = "Said to be the user that this form has made."
        operations.decide(operation, by=by, state=State.DONE, detail=detail)
    else:
        detail = f"There is a user {operation.user_name}, said to be somebody else’s. Choose another name."
        operations.decide(operation, by=by, state=State.CONFLICT, detail=detail, target_id="", sealed_password=None)


def _opens(operation: Operation) -> bool:
    """Whether the sealed password can be read: a key may have been taken away since."""
    try:
        operations.sealed_password_of(operation)
    except VaultError:
        return False
    return True


def _must_be_allowed(
    wanted: Sequence[Action], customer: Customer, *, by: Operator, grant: TokenCache, in_run: bool = False
) -> None:
    """App role and GDAP must both say yes, asked anew. Raises `RoleMissing`, `TooFast` or `ActionDenied`.

    For the rows of a run an answer may be a minute old and the pace is Microsoft's to say, but nothing is merely tried.
    """
    if not may(by, Permission.WRITE_USERS):
        raise RoleMissing(Permission.WRITE_USERS)
    if not in_run and operations.sent_within_a_minute(by) >= settings.WRITES_A_MINUTE:
        raise TooFast
    access = access_to(customer.tenant_id or "", by=by, graph=grants.graph(grant), fresh=not in_run)
    for verdict in (access[each] for each in wanted):
        if not (verdict.yes if in_run else verdict.tried):
            raise ActionDenied(verdict, why_not(verdict, customer))


@contextmanager
def _refusals_noted(about: audit.Subject, by: Operator) -> Iterator[None]:
    """What is refused before anything was sent is written down all the same, and raised on."""
    try:
        yield
    except ActionDenied as denied:
        _note(about, AuditEvent.Outcome.DENIED, denied.reason, by)
        raise
    except TooFast:
        _note(about, AuditEvent.Outcome.DENIED, "More writes within a minute than a person sends by hand.", by)
        raise
    except WasDeleted:
        _note(about, AuditEvent.Outcome.CONFLICT, "A deleted user had this name. Restore was offered instead.", by)
        raise
    except operations.StrangeOperation:
        _note(about, AuditEvent.Outcome.DENIED, "This form was sent before, with other values or by somebody else.", by)
        raise
    except ChangedMeanwhile:
        _note(about, AuditEvent.Outcome.CONFLICT, "The user had changed since the form was opened.", by)
        raise
    except UserGone:
        _note(about, AuditEvent.Outcome.CONFLICT, GONE, by)
        raise
    except chain_check.Broken as broken:
        _note(about, AuditEvent.Outcome.REFUSED, str(broken), by)
        raise
    except Administrator as powerful:
        detail = f"The user is an administrator: {', '.join(powerful.roles)}."
        _note(about, AuditEvent.Outcome.DENIED, detail, by)
        raise


def _note(about: audit.Subject, outcome: str, detail: str, by: Operator) -> None:
    audit.note(about, audit.Result(outcome=outcome, detail=detail), by=by)


def _must_be_unchanged(
    partner_center: PartnerCenter, customer: Customer, user_id: str, before: Mapping[str, str]
) -> None:
    """Read the user once more under this tenant, and compare with what the form was filled from."""
    user = kinds.active_user(partner_center, customer.tenant_id or "", user_id)
    if user is None:
        raise UserGone
    current = values_of(user)
    if any(current[name] != before.get(name, "") for name in EDITABLE):
        raise ChangedMeanwhile(current, dict(before))


NEEDS = {
    Operation.Kind.CREATE: Action.CREATE,
    Operation.Kind.PATCH: Action.PATCH,
    Operation.Kind.RESET: Action.RESET_PASSWORD,
    Operation.Kind.DELETE: Action.DELETE,
    Operation.Kind.RESTORE: Action.RESTORE,
    Operation.Kind.LICENCES: Action.LICENCES,
}


def _still_had_no_effect(operation: Operation, partner_center: PartnerCenter, by: Operator) -> bool:
    """Whether a write may go once more: somebody may have been at the user since the look-up."""
    _write_of(operation).check(operation, partner_center, by)
    return operation.may_go_again


def _write_of(operation: Operation) -> kinds.Write:
    return kinds.WRITES[Operation.Kind(operation.kind)]


def _needs(kind: Operation.Kind, sets_password: bool) -> list[Action]:
    """The rights that a write needs. Who creates a user may set its first password."""
    wanted = [NEEDS[kind]]
    return [*wanted, Action.RESET_PASSWORD] if sets_password and kind is Operation.Kind.PATCH else wanted
