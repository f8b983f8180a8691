"""The customer sync of the GDAP API (seed 000): asked once, then watched, for the API tells nobody when it is done.

It answers "Accepted" or 401 and later sends an e-mail. So we keep the request, remember what its customer list
looked like just before, and look until it has changed.
"""

import hashlib
import json
import logging
import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from partnerportal import audit, chain_check, clock
from partnerportal.models import AuditEvent, Operator
from partnerportal.upstream.errors import UpstreamError
from partnerportal.upstream.gdap_api import GdapApi, GdapCustomer
from partnerportal.upstream.http import budget

from ..models import Customer, GdapSync

log = logging.getLogger(__name__)

STILL_SENDING = timedelta(seconds=90)  # in which whoever asks tells the outcome themselves
LOOK_BEFORE = 8.0  # seconds of the request's budget to read the list as it was; the rest is for the request itself


class AlreadyRequested(Exception):
    """Another request still counts: `current` says who asked and when. Or this form was sent before."""


class NotRequested(Exception):
    """The GDAP API gave us no token, so nothing was asked for. The message says why."""


def current() -> GdapSync | None:
    """The request that blocks the next one, or None. Lets go of one that has settled and is old enough."""
    for request in GdapSync.objects.filter(open=True).select_related("by"):
        if not request.may_reopen(clock.now()):
            return request
        GdapSync.objects.filter(pk=request.pk).update(open=None)
    return None


def request_sync(*, by: Operator, op_id: uuid.UUID) -> GdapSync:
    """Ask the GDAP API to synchronise the partner's customers; the mail about it goes to `by`.

    Raises `AlreadyRequested`, `chain_check.Broken`, and `NotRequested` when we could not even sign in. An
    `UpstreamError` is kept in the row and raised again.
    """
    if current() or GdapSync.objects.filter(op_id=op_id).exists():
        raise AlreadyRequested
    chain_check.must_hold()
    subject = _subject(by)
    api = GdapApi()
    try:
        api.sign_in()
    except UpstreamError as error:
        audit.note(subject, audit.Result(outcome=AuditEvent.Outcome.FAILED, detail=str(error)), by=by)
        raise NotRequested(str(error)) from error
    with budget(LOOK_BEFORE):
        rows = listed(api)
    kept = small(rows or ())
    try:
        with transaction.atomic():
            request = GdapSync.objects.create(
                op_id=op_id,
                by=by,
                email=by.email,
                before="" if rows is None else fingerprint(kept),
                rows_before=kept,
            )
            audit.intend(subject, by=by, attempt=op_id)
    except IntegrityError:
        raise AlreadyRequested from None
    try:
        message = api.synchronize(settings.ENTRA_TENANT_ID, by.email)
    except UpstreamError as error:
        _refused_or_unknown(request, subject, error, by)
        raise
    _write(request, subject, audit.Result(outcome="done", detail=message), by, GdapSync.State.REQUESTED, message)
    return request


def _refused_or_unknown(request: GdapSync, subject: audit.Subject, error: UpstreamError, by: Operator) -> None:
    state = GdapSync.State.UNKNOWN if error.ambiguous else GdapSync.State.REFUSED
    outcome = AuditEvent.Outcome.UNKNOWN if error.ambiguous else AuditEvent.Outcome.REFUSED
    result = audit.Result(outcome=outcome, detail=str(error), status=error.status, code=error.code)
    _write(request, subject, result, by, state, str(error))


def _write(
    request: GdapSync, subject: audit.Subject, result: audit.Result, by: Operator, state: str, message: str
) -> None:
    request.state, request.message, request.open = state, message, True
    fields = ["state", "message", "open"]
    if state == GdapSync.State.REFUSED:
        request.open, request.rows_before = None, {}  # nobody will look for its effect
        fields.append("rows_before")
    with transaction.atomic():
        request.save(update_fields=fields)
        audit.conclude(request.op_id, subject, result, by=by)


# --- What its customer list looks like ----------------------------------------------------------------------

Rows = dict[str, list[str]]
"""Tenant id -> [digest of name and domain, when it was synchronised]: the list, small enough to keep."""

NAMED = 20  # customers named of each kind


def listed(api: GdapApi) -> tuple[GdapCustomer, ...] | None:
    """The GDAP API's customer list as it is now; None when it cannot be read."""
    try:
        return api.customers(settings.ENTRA_TENANT_ID)
    except UpstreamError as error:
        log.info("the GDAP API's customer list could not be read: %s", error)
        return None


def small(rows: Iterable[GdapCustomer]) -> Rows:
    """What is kept of the list."""
    return {row.tenant_id: [_digest(f"{row.name}\n{row.domain}")[:12], str(row.timestamp or "")] for row in rows}


def fingerprint(rows: Rows) -> str:
    """Tells one list from another, in whatever order its rows came."""
    return _digest(json.dumps(rows, sort_keys=True))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def difference(before: Rows, rows: Iterable[GdapCustomer]) -> dict[str, Any]:
    """What became of the list: counts of what appeared, changed, went and was only read again; and names."""
    names = {row.tenant_id: row.name or row.domain or row.tenant_id for row in rows}
    after = small(rows)
    both = before.keys() & after.keys()
    found = {
        "appeared": sorted(after.keys() - before.keys()),
        "changed": sorted(one for one in both if before[one][0] != after[one][0]),
        "went": sorted(before.keys() - after.keys()),
    }
    again = sum(before[one][0] == after[one][0] and before[one][1] != after[one][1] for one in both)
    gone = Customer.objects.filter(tenant_id__in=found["went"][:NAMED])
    names |= {customer.tenant_id or "": customer.name for customer in gone}
    told = {kind: [names.get(one, one)[:200] for one in ids[:NAMED]] for kind, ids in found.items()}
    return {"again": again, "names": told, **{kind: len(ids) for kind, ids in found.items()}}


def look() -> None:
    """Settle the open request: its effect is visible, or half an hour has gone by."""
    waiting = {GdapSync.State.REQUESTED, GdapSync.State.UNKNOWN, GdapSync.State.SENT}
    for request in GdapSync.objects.filter(open=True, state__in=waiting).select_related("by"):
        now = clock.now()
        if request.state == GdapSync.State.SENT and abs(now - request.requested_at) < STILL_SENDING:
            continue
        rows = listed(GdapApi()) if request.before else None
        if rows is not None and fingerprint(small(rows)) != request.before:
            observed = difference(request.rows_before, rows)
            _settle(request, state=GdapSync.State.SEEN, seen_at=now, observed=observed, rows_before={})
        elif abs(now - request.requested_at) >= GdapSync.TIMES_OUT:
            _settle(request, state=GdapSync.State.TIMED_OUT, rows_before={})


def _settle(request: GdapSync, **values: Any) -> None:
    """What was found out, unless somebody was faster. Where the sender died, the trail gets its outcome here."""
    with transaction.atomic():
        won = GdapSync.objects.filter(pk=request.pk, state=request.state).update(**values)
        if won and request.state == GdapSync.State.SENT:
            detail = "The portal was interrupted before the answer came."
            result = audit.Result(outcome=AuditEvent.Outcome.UNKNOWN, detail=detail)
            audit.conclude(request.op_id, _subject(request.by), result, by=request.by)


def _subject(by: Operator) -> audit.Subject:
    return audit.Subject(action="gdap sync", target_name=by.email)
