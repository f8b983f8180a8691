"""Runs that have not started: made of the rows of a file, found again by whoever made them, told row by row."""

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePath

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, Q, QuerySet
from django.http import Http404

from customers.models import Customer
from partnerportal import audit, clock, vault
from partnerportal.models import AuditEvent, Operator

from .. import names
from ..models import ColumnMeaning, OnboardingRow, OnboardingRun, Operation, WaitingFile
from . import columns
from .sheet import Row, Sheet, shortened

UPLOAD = "read a file of new users"
_SEALED = "file of new users"
NO_PROBLEM = Q(problems=[])
RowState = OnboardingRow.State


class StrangeForm(Exception):
    """This form was sent before, by somebody else or for something else. Nothing of it is shown."""


def make(
    lines: Iterable[columns.Line], *, key: uuid.UUID, by: Operator, source: str, customer: Customer | None
) -> OnboardingRun:
    """A run of these rows, not checked yet. The same form with the same rows gives the same run, once it is made.

    Raises `StrangeForm` when it was sent by somebody else, with other rows, or when a row was changed since.
    `customer` is meant by every row that names none.
    """
    usual = {"customer": customer.tenant_id or ""} if customer else {}
    wanted = {line.number: usual | {k: v for k, v in line.typed.items() if v} for line in lines}
    title = re.sub(r"[_\-]+", " ", PurePath(source).stem).strip()[:200] or "New users"
    try:
        with transaction.atomic():
            run = OnboardingRun.objects.create(
                key=key, by=by, kind=Operation.Kind.CREATE, title=title, source=source[:255]
            )
            _fill(run, wanted)
    except IntegrityError:
        run = earlier(key, by=by)
        if dict(run.rows.values_list("line", "typed")) != wanted:
            raise StrangeForm from None
    return run


def _fill(run: OnboardingRun, wanted: Mapping[int, dict[str, str]]) -> None:
    rows = (
        OnboardingRow(run=run, line=line, typed=typed, target_name=name_of(typed), user_name=_user_name(typed))
        for line, typed in wanted.items()
    )
    OnboardingRow.objects.bulk_create(rows, batch_size=500)


def name_of(typed: Mapping[str, str]) -> str:
    """Whom a line of a file is about, by what it says of their name; "" when it says nothing."""
    said = typed.get("display_name") or names.display(typed.get("first_name", ""), typed.get("last_name", ""))
    return said[:400]


def _user_name(typed: Mapping[str, str]) -> str:
    return typed.get("user_name", "")[:400]


def to_mend(run: OnboardingRun) -> QuerySet[OnboardingRow]:
    """The rows of a run from a file, which is over, that come to a good end only with other values.

    Not those that another run of mended rows has sent since.
    """
    told = Q(state=RowState.STOPPED) & ~NO_PROBLEM | Q(state__in=(RowState.REFUSED, RowState.DIFFERS))
    told |= Q(state=RowState.CONFLICT, target_id="")
    again = OnboardingRow.objects.filter(run__origin=run, run__kind=Operation.Kind.CREATE)
    sent = again.exclude(run__state__in=OnboardingRun.BEFORE)
    return run.rows.filter(told).exclude(typed={}).exclude(line__in=sent.values("line")).order_by("line")


def mend(run: OnboardingRun, *, by: Operator) -> OnboardingRun | None:
    """A run of just these rows, not checked yet; for a second press the same one. None when there is no such row."""
    wanted = dict(to_mend(run).values_list("line", "typed"))
    if not wanted:
        return None
    key = uuid.uuid5(run.key, f"mend {sorted(wanted)}")
    try:
        with transaction.atomic():
            mending = OnboardingRun.objects.create(
                key=key, by=by, kind=Operation.Kind.CREATE, title=run.title, source=run.source, origin=run
            )
            _fill(mending, wanted)
    except IntegrityError:
        mending = earlier(key, by=by)
    return mending


def earlier(key: uuid.UUID, *, by: Operator) -> OnboardingRun:
    """The run that this form has made already. Raises `StrangeForm`."""
    run = OnboardingRun.objects.filter(key=key, by=by).first()
    if run is None:
        raise StrangeForm
    return run


def find(key: uuid.UUID, *, by: Operator) -> OnboardingRun:
    """A run that this person is preparing: only they see what is to become of it. Raises Http404."""
    run = OnboardingRun.objects.filter(key=key, by=by, kind=Operation.Kind.CREATE).select_related("by").first()
    if run is None:
        raise Http404("no such run")
    return run


def discard(run: OnboardingRun) -> None:
    """Throw away what was not started. Who starts it at this moment was faster, or finds nothing to start."""
    with transaction.atomic():
        if run.move(to=OnboardingRun.State.DRAFT, before=OnboardingRun.BEFORE):
            run.delete()


# --- Files whose columns are not clear ----------------------------------------------------------------------


def keep(sheet: Sheet, *, name: str, by: Operator, customer: Customer | None) -> WaitingFile:
    """The rows of a file, sealed, until its sender has said what the columns mean."""
    file = WaitingFile(by=by, customer=customer, name=name[:255])
    rows = [(row.number, row.cells, {str(column): words for column, words in row.odd.items()}) for row in sheet.rows]
    file.sealed = vault.seal(_SEALED, str(file.pk), json.dumps([sheet.columns, rows, sheet.told, sorted(sheet.hidden)]))
    file.save(force_insert=True)
    return file


def waiting(pk: uuid.UUID, *, by: Operator) -> tuple[WaitingFile, Sheet]:
    """A file that waits, and what it holds. Raises Http404 for another's, and for one whose time is over."""
    since = clock.now() - WaitingFile.FOR
    file = WaitingFile.objects.filter(pk=pk, by=by, created_at__gt=since).select_related("customer").first()
    if file is None:
        raise Http404("no such file")
    try:
        names, rows, told, *hidden = json.loads(vault.open(_SEALED, str(file.pk), bytes(file.sealed)))
    except vault.VaultError:
        raise Http404("the file cannot be opened any more") from None
    made = (
        Row(number, tuple(cells), {int(column): words for column, words in odd.items()}) for number, cells, odd in rows
    )
    return file, Sheet(tuple(names), tuple(made), told, frozenset(*hidden))  # a version before kept none


def remembered(by: Operator) -> dict[str, str]:
    """What this person has said that headers mean: folded header -> field."""
    return dict(ColumnMeaning.objects.filter(operator=by).values_list("header", "field"))


def remember(meanings: Mapping[str, str], *, by: Operator) -> None:
    """Keep what somebody has said that headers mean, for their next file."""
    rows = [ColumnMeaning(operator=by, header=header, field=field) for header, field in meanings.items()]
    ColumnMeaning.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["operator", "header"], update_fields=["field"]
    )


def plain_name(name: str) -> str:
    """The name of a file as the trail and the pages tell it."""
    return shortened(PurePath(name).name) or "unnamed"


def note_upload(name: str, *, by: Operator, refused: str = "", rows: int = 0) -> None:
    """The audit trail knows of every file that was sent, and nothing of what stood in it."""
    outcome = AuditEvent.Outcome.FAILED if refused else AuditEvent.Outcome.DONE
    result = audit.Result(outcome=outcome, detail="The file was refused." if refused else f"{rows:,} rows.")
    audit.note(audit.Subject(action=UPLOAD, target_name=name[:200]), result, by=by)


def too_many_uploads(by: Operator) -> bool:
    """Whether this person has sent as many files within an hour as they may."""
    since = clock.now() - timedelta(hours=1)
    sent = AuditEvent.objects.filter(kind=AuditEvent.Kind.INTENT, action=UPLOAD, actor_oid=str(by.oid), at__gt=since)
    return sent.count() >= settings.ONBOARDING_FILES_AN_HOUR


# --- What a check has found ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tally:
    """How many rows of a run can go, cannot, are to be looked at, and were not checked; and of how many customers."""

    rows: int
    ready: int
    problems: int
    notes: int
    unchecked: int
    customers: int

    @property
    def checked(self) -> int:
        return self.rows - self.unchecked

    @property
    def words(self) -> str:
        """What the button says."""
        users, customers = f"user{'s'[: self.ready != 1]}", f"customer{'s'[: self.customers != 1]}"
        return f"Create {self.ready:,} {users} in {self.customers:,} {customers}"


def tally(run: OnboardingRun) -> Tally:
    """One query over the rows."""
    checked = Q(checked_at__isnull=False)
    ready = checked & NO_PROBLEM
    found = run.rows.aggregate(  # named otherwise than the columns, which the filters mean
        of_rows=Count("pk"),
        of_ready=Count("pk", filter=ready),
        of_problems=Count("pk", filter=checked & ~NO_PROBLEM),
        of_notes=Count("pk", filter=ready & ~Q(notes=[])),
        of_unchecked=Count("pk", filter=~checked),
        of_customers=Count("customer", filter=ready, distinct=True),
    )
    return Tally(**{name.removeprefix("of_"): count for name, count in found.items()})
