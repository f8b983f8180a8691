"""Whether the audit trail's chain is whole; what follows when it is not; and how a break is accepted.

A break stops the writes to customers, not the reading, and not the trail itself: what happens meanwhile is chained on.
All rows are looked at by `manage.py audit_verify` and every hour by a task, the newest ones and the head that is kept
beside the database before every write to a customer.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from django.db import transaction

from partnerportal import audit, by_hand, chain, clock
from partnerportal.chain import FIRST, Head
from partnerportal.models import AuditEvent, AuditHead, Operator

NEWEST = 20  # rows that are looked at before a write
SUSPECTS = 200  # rows of which each pair is tried for having changed places
EMPTY = Head(0, FIRST)
ACCEPTED = "accept broken audit trail"


class Broken(Exception):
    """The trail is not whole, so nothing is sent. The text is for the operator."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, from the first to the last entry that it concerns."""

    kind: str  # altered, swapped, deleted, truncated, replaced or added
    first: int
    last: int
    what: str
    mark: str  # tells it from all others, also from the next thing that is done to the same entries


@dataclass
class Report:
    """What a look at all rows has found. `accepted`: how many breaks somebody has accepted before."""

    entries: int = 0
    head: Head = EMPTY
    kept: Head | None = None
    findings: list[Finding] = field(default_factory=list)
    accepted: int = 0
    stopped: str = ""

    @property
    def whole(self) -> bool:
        return not (self.findings or self.stopped)


class _Suspect(NamedTuple):
    seq: int
    previous: str
    content: str
    hash: str


# --- Looking --------------------------------------------------------------------------------------------------


def verify(told: Head | None = None) -> Report:
    """Look at every row, and at the heads: in the database, beside it, and one that a log has `told`.

    What is found stops the writes to customers. Never changes a row.
    """
    report = Report(kept=chain.kept())  # before the rows: others go on writing
    report.head = _head() or report.head
    walk = _Walk(EMPTY)
    for event in AuditEvent.objects.order_by("seq", "id").iterator(chunk_size=2_000):
        walk.look_at(event)
    found = walk.ended(report.head)
    if end := _head():
        found += _beyond(end, walk.last)
    for known in (report.kept, told):
        if known and not any(one.first <= known.seq <= one.last for one in found) and not chain.bears_out(known):
            first = walk.last.seq + 1 if known.seq > walk.last.seq else known.seq
            kind = "truncated" if known.seq > walk.last.seq else "replaced"
            found.append(Finding(kind, first, known.seq, chain.differs(known), f"head {known.seq} {known.hash}"))
    report.entries = walk.entries
    report.findings = [one for one in found if one.mark not in walk.accepted]
    report.accepted = len(found) - len(report.findings)
    if report.findings:
        chain.stop(report.findings[0].what)
    report.stopped = AuditHead.objects.values_list("broken", flat=True).first() or ""
    return report


def must_hold() -> None:
    """To be asked before anything is sent to a customer. Raises `Broken` while the trail is not whole.

    Two queries: the head, and the newest rows.
    """
    if why := _why_not():
        chain.stop(why)
        raise Broken(
            f"Nothing was sent. The audit trail is not whole: {why} So that no change goes unrecorded, changes to "
            "customers are stopped, and reading goes on. Whoever runs Partner Desk has to run manage.py audit_verify, "
            "which says what to do."
        )


def told_stopped() -> str:
    """Why the writes to customers are stopped; "" while they are not. One query, nothing is looked at anew."""
    return AuditHead.objects.values_list("broken", flat=True).first() or ""


def accepted_since(moment: datetime | None) -> bool:
    """Whether a break was accepted after that: the database may be an older copy, and lack what was sent since."""
    heads = by_hand.read(AuditHead, {"pk": 1}) if moment else []
    return any(moment and head.accepted_at and head.accepted_at > moment for head in heads)


def _why_not() -> str:
    kept = chain.kept()  # before the head: others go on writing
    row = next(iter(by_hand.read(AuditHead, {"pk": 1})), None)
    if row and row.broken:
        return row.broken
    newest = _newest()
    if row is None and newest:
        return "The head of the chain was taken out of the database."
    if newest:
        walk = _Walk(Head(newest[0].seq - 1, newest[0].previous))
        for event in newest:
            walk.look_at(event)
        found = walk.ended(Head(row.count, row.hash) if row else EMPTY)
        if still := [one for one in found if one.mark not in walk.accepted]:
            return still[0].what
    known = {event.seq: event.hash for event in newest}
    if kept and known.get(kept.seq) != kept.hash and not chain.bears_out(kept):
        return chain.differs(kept)
    return ""


def _newest() -> list[AuditEvent]:
    """The newest rows, in their order; each carries the hash of what it says (`content`)."""
    found = by_hand.fetch(AuditEvent, "ORDER BY seq DESC, id DESC LIMIT %s", [NEWEST])
    return [_told(values) for values in reversed(found)]


@lru_cache(maxsize=10 * NEWEST)
def _told(values: tuple[Any, ...]) -> AuditEvent:
    """A row from its values as the database gave them: where none of them has changed, it need not be hashed anew."""
    (event,) = by_hand.built(AuditEvent, [values])
    event.content = chain.digest(event)
    return event


def _head() -> Head | None:
    row = AuditHead.objects.first()
    return Head(row.count, row.hash) if row else None


def _beyond(end: Head, last: Head) -> list[Finding]:
    """Rows after the head: nobody who writes through the chain leaves any."""
    if last.seq <= end.seq:
        return []
    what = f"{_entries(end.seq + 1, last.seq)} put in after the end of the chain, which is entry {end.seq}."
    return [Finding("added", end.seq + 1, last.seq, what, f"added {last.seq} {last.hash}")]


class _Walk:
    """Rows in the order of their places, each compared with the one before."""

    def __init__(self, before: Head) -> None:
        self.last = before
        self.is_sound = True  # the last row is what its own hash says
        self.entries = 0
        self.found: list[Finding] = []
        self.suspects: list[_Suspect] = []
        self.accepted: set[str] = set()

    def look_at(self, event: AuditEvent) -> None:
        """The next row."""
        self.entries += 1
        row = _Suspect(event.seq, event.previous, event.content or chain.digest(event), event.hash)
        last, sound = self.last, chain.joined(row.previous, row.seq, row.content) == row.hash
        if row.seq <= last.seq:
            what = f"There are two entries at place {row.seq}: one was put in."
            self.found.append(Finding("added", row.seq, row.seq, what, f"added {row.seq} {row.hash} {row.content}"))
            return
        if row.seq > last.seq + 1:
            self.found.append(_missing("deleted", last.seq + 1, row.seq - 1))
        elif sound and self.is_sound and row.previous != last.hash:
            self.found.append(_replaced(last, row.previous))
        if not sound:
            self.suspects.append(row)
        elif event.action == ACCEPTED and event.kind == AuditEvent.Kind.OUTCOME:
            self.accepted |= set(event.fields["accepted"][1])
        self.last, self.is_sound = Head(row.seq, row.hash), sound

    def ended(self, head: Head) -> list[Finding]:
        """All that is wrong. `head`: the end of the chain as it stood before the first row was looked at."""
        if self.last.seq < head.seq:
            self.found.append(_missing("truncated", self.last.seq + 1, head.seq))
        elif self.last.seq == head.seq and self.is_sound and self.last.hash != head.hash:
            self.found.append(_replaced(self.last, head.hash))
        found = [*self.found, *(_changed(row, self.suspects[:SUSPECTS]) for row in self.suspects)]
        return sorted(found, key=lambda one: one.first)


def _changed(row: _Suspect, suspects: Iterable[_Suspect]) -> Finding:
    """A row that is not what its hash says: it stands in another's place, or somebody has changed it."""
    mark = _mark(f"changed {row.seq}", *row[1:])
    for other in suspects:
        fits_there = chain.joined(row.previous, other.seq, row.content) == row.hash
        if other.seq != row.seq and (fits_there or chain.joined(row.previous, row.seq, other.content) == row.hash):
            what = f"Entry {row.seq} stands in the place of entry {other.seq}: they were swapped."
            return Finding("swapped", row.seq, row.seq, what, mark)
    return Finding("altered", row.seq, row.seq, f"Entry {row.seq} was altered after it was written.", mark)


def _replaced(last: Head, wanted: str) -> Finding:
    """The row `last` is whole, but not the one whose hash (`wanted`) what comes after it has noted."""
    what = f"Entry {last.seq} is not the one that was written: it was replaced."
    return Finding("replaced", last.seq, last.seq, what, _mark(f"replaced {last.seq}", last.hash, wanted))


def _missing(kind: str, first: int, last: int) -> Finding:
    how = "deleted" if kind == "deleted" else "cut off at the end, or the database is an old copy"
    return Finding(kind, first, last, f"{_entries(first, last)} {how}.", f"missing {first} {last}")


def _entries(first: int, last: int) -> str:
    return f"Entry {first} was" if first == last else f"Entries {first} to {last} were"


def _mark(what: str, *state: str) -> str:
    return f"{what} {hashlib.sha256(' '.join(state).encode()).hexdigest()[:16]}"


# --- Accepting ------------------------------------------------------------------------------------------------


def accept(report: Report, reason: str, *, by: Operator) -> None:
    """Let writes go on over what `report` has found. Who did so, and why, is the next row of the chain.

    The findings are not found again; whatever is done to the same rows later is.
    """
    subject = audit.Subject(
        action=ACCEPTED,
        target_name="audit trail",
        fields={
            "stopped because": (report.stopped, ""),
            "reason": ("", reason),
            "accepted": ([], [one.mark for one in report.findings]),
        },
    )
    with transaction.atomic():
        AuditHead.objects.update(broken="", accepted_at=clock.now())
        last = AuditEvent.objects.order_by("-seq", "-id").first()
        if last:  # rows may stand beyond a head that was set back
            AuditHead.objects.filter(count__lt=last.seq).update(count=last.seq, hash=last.hash, previous=last.previous)
        transaction.on_commit(chain.forget_kept)
        detail = f"Accepted at the console. {reason}"
        audit.note(subject, audit.Result(outcome=AuditEvent.Outcome.DONE, detail=detail), by=by)
