"""What people decide about a pair: one company, or kept apart; and taking that back.

A decision is a row that names the sources' own ids, so no sync touches it. It takes effect at once, in the transaction
that stores it. Of two people who decide on one pair at once the database lets one win; the other is told who it was.
"""

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from partnerportal import audit, clock
from partnerportal.models import AuditEvent, Operator

from . import joining, snapshot
from .matches import in_force, to_check, touching
from .models import Customer, MatchDecision, MatchSuggestion, Reason, SourceName, SourceRow

Verdict = MatchDecision.Verdict
MOST_AT_ONCE = 500  # pairs confirmed in one go: about four seconds, in which nobody else can write


class Undecided(Exception):
    """Nothing was done, for the reason that the sentence tells: somebody was first, or the pair is no pair any more."""


class Stale(Undecided):
    """The list that was confirmed is not the one there is now."""


@dataclass(frozen=True)
class Rows:
    """One row of either source that may be one company."""

    mine: SourceRow  # Partner Center's
    theirs: SourceRow  # AvePoint's

    @property
    def joined(self) -> bool:
        return self.mine.customer_id == self.theirs.customer_id

    @property
    def gone(self) -> bool:
        """Whether a source tells of one of them no longer."""
        return self.mine.gone_at is not None or self.theirs.gone_at is not None

    @property
    def open(self) -> bool:
        """Whether either is there and stands alone, so that they can be linked."""
        mine, theirs = self.mine.customer, self.theirs.customer
        return not self.gone and not self.joined and not mine.in_avepoint and not theirs.in_partner_center


def rows_of(tenant_id: str, avepoint_id: str) -> Rows | None:
    """The two rows with these ids, with their customers; None when a source never told one of them."""
    ids = Q(source=SourceName.PARTNER_CENTER, source_id=tenant_id) | Q(
        source=SourceName.AVEPOINT, source_id=avepoint_id
    )
    found = {row.source: row for row in SourceRow.objects.filter(ids).select_related("customer")}
    if len(found) < 2:
        return None
    return Rows(found[SourceName.PARTNER_CENTER], found[SourceName.AVEPOINT])


def decision_on(tenant_id: str, avepoint_id: str) -> MatchDecision | None:
    """What holds for this pair."""
    found = MatchDecision.objects.filter(tenant_id=tenant_id, avepoint_id=avepoint_id, undone_at=None)
    return found.select_related("by").first()


def link_of(customer: Customer) -> MatchDecision | None:
    """The link that makes this customer one of both sources, if a person made it."""
    found = in_force(Verdict.LINKED).filter(tenant_id=customer.tenant_id).select_related("by")
    return found.first() if customer.tenant_id else None


# --- Deciding -------------------------------------------------------------------------------------------------


def decide(tenant_id: str, avepoint_id: str, verdict: MatchDecision.Verdict, *, by: Operator) -> MatchDecision:
    """Link the two rows, or keep them apart. Raises `Undecided`, and then nothing was done."""
    try:
        with transaction.atomic():
            with snapshot.changing(lambda: _touched([(tenant_id, avepoint_id)])):
                decision = _decide(tenant_id, avepoint_id, verdict, uuid.uuid4(), by)
            _note_decided(decision, by)
            return decision
    except IntegrityError:
        raise Undecided(_who_was_first(tenant_id, avepoint_id)) from None


def _decide(
    tenant_id: str, avepoint_id: str, verdict: MatchDecision.Verdict, batch: uuid.UUID, by: Operator
) -> MatchDecision:
    rows = rows_of(tenant_id, avepoint_id)
    if rows is None or rows.gone:
        raise Undecided("One of the two is in no source any more. Nothing was done.")
    if decision_on(tenant_id, avepoint_id) or not rows.open:
        raise Undecided(_who_was_first(tenant_id, avepoint_id, rows))
    mine, theirs = rows.mine.customer, rows.theirs.customer
    suggestion = MatchSuggestion.objects.filter(partner_center=mine, avepoint=theirs).first()
    decision = MatchDecision.objects.create(
        tenant_id=tenant_id,
        avepoint_id=avepoint_id,
        partner_center_name=rows.mine.name,
        avepoint_name=rows.theirs.name,
        verdict=verdict,
        reason=suggestion.reason if suggestion else "",
        batch=batch,
        by=by,
    )
    if verdict == Verdict.LINKED:
        MatchSuggestion.objects.filter(Q(partner_center=mine) | Q(avepoint=theirs)).delete()
        joining.join(rows.theirs, mine)
    elif suggestion:
        suggestion.delete()
    return decision


def _touched(pairs: Iterable[tuple[str, str]]) -> set[int]:
    """The customers that a decision on these pairs (tenant, AvePoint's id) may change, or take out of the queue."""
    return touching({source_id for pair in pairs for source_id in pair})


def _who_was_first(tenant_id: str, avepoint_id: str, rows: Rows | None = None) -> str:
    """Who decided what, for somebody who came too late."""
    either = Q(tenant_id=tenant_id, avepoint_id=avepoint_id)
    linked = Q(verdict=Verdict.LINKED) & (Q(tenant_id=tenant_id) | Q(avepoint_id=avepoint_id))
    held = MatchDecision.objects.filter(either | linked, undone_at=None).select_related("by").first()
    if held:
        done = (
            f"{held.by.name} linked {held.partner_center_name} and {held.avepoint_name}"
            if held.verdict == Verdict.LINKED
            else f"{held.by.name} kept {held.partner_center_name} and {held.avepoint_name} apart"
        )
        return f"{done} at {_at(held)}. Nothing more was done."
    if rows and rows.joined:
        return "Both sources tell the same tenant ID, so these two are one customer already. Nothing was done."
    return "One of the two belongs to another customer by now. Nothing was done."


def _at(decision: MatchDecision, undone: bool = False) -> str:
    moment = decision.undone_at if undone and decision.undone_at else decision.decided_at
    return f"{moment:%H:%M} UTC on {moment.day} {moment:%b %Y}"


# --- Many at once ---------------------------------------------------------------------------------------------


def confirmable(ours: set[str] | None = None) -> QuerySet[MatchSuggestion]:
    """What may be linked without looking at each pair: the domain stands once on either side. In a fixed order."""
    same = MatchSuggestion.objects.filter(reason=Reason.DOMAIN).exclude(pk=OuterRef("pk"))
    twice = Exists(same.filter(partner_center=OuterRef("partner_center"))) | Exists(
        same.filter(avepoint=OuterRef("avepoint"))
    )
    pairs = to_check(ours).filter(reason=Reason.DOMAIN).exclude(twice)
    return pairs.select_related("partner_center", "avepoint")


def fingerprint(pairs: Iterable[MatchSuggestion]) -> str:
    """What a preview showed, in short: confirming another list than that is refused."""
    told = "\n".join(f"{pair.partner_center.key} {pair.avepoint.key}" for pair in pairs)
    return hashlib.sha256(told.encode()).hexdigest()


def confirm(seen: str, batch: uuid.UUID, *, by: Operator) -> int:
    """Link all pairs of the preview with this fingerprint, in one transaction; how many these are.

    A batch that was confirmed before, by a second press, is done and stays so: how many of it still hold. Raises
    `Stale` when all of it was undone or there is another list by now, and then nothing was done.
    """
    try:
        with transaction.atomic():
            snapshot.hold()
            return _confirm(seen, batch, by)
    except IntegrityError:
        raise Stale(_what_changed()) from None


def _confirm(seen: str, batch: uuid.UUID, by: Operator) -> int:
    before = MatchDecision.objects.filter(batch=batch, by=by)
    if done := before.filter(undone_at=None).count():
        return done
    if undone := before.select_related("undone_by").order_by("-undone_at").first():
        raise Stale(_what_was_undone(undone))
    pairs = list(confirmable()[:MOST_AT_ONCE])
    if not pairs or fingerprint(pairs) != seen:
        raise Stale(_what_changed())
    ids = [(pair.partner_center.tenant_id or "", pair.avepoint.avepoint_id) for pair in pairs]
    made = []
    with snapshot.changing(lambda: _touched(ids)):
        for tenant_id, avepoint_id in ids:
            try:
                made.append(_decide(tenant_id, avepoint_id, Verdict.LINKED, batch, by))
            except Undecided as refusal:  # this one is no pair any more
                raise Stale(str(refusal)) from None
    for decision in made:  # the trail comes last in a transaction
        _note_decided(decision, by)
    return len(pairs)


def _what_was_undone(last: MatchDecision) -> str:
    who = last.undone_by.name if last.undone_by else "Somebody"
    told = f"You confirmed this list before, and {who} undid that at {_at(last, undone=True)}."
    return f"{told} Nothing was linked. What can be linked now stands below."


def _what_changed() -> str:
    last = MatchDecision.objects.select_related("by").order_by("-pk").first()
    told = f" The last decision is of {last.by.name}, at {_at(last)}." if last else ""
    return f"The list is not the one that you looked at: somebody decided, or a sync came in.{told} Nothing was linked."


# --- Taking it back -------------------------------------------------------------------------------------------


def undo(decisions: QuerySet[MatchDecision], *, by: Operator) -> int:
    """Take these decisions back, all in one transaction; how many it were. What somebody undid before is left.

    A linked row gets a customer of its own again, and the pair stands in the queue again. Raises `Undecided` when
    there is nothing left to undo.
    """
    with transaction.atomic():
        snapshot.hold()
        held = list(decisions.filter(undone_at=None).order_by("pk"))
        undone = []
        if held:
            ids = [(decision.tenant_id, decision.avepoint_id) for decision in held]
            with snapshot.changing(lambda: _touched(ids)):
                for decision in held:
                    won = MatchDecision.objects.filter(pk=decision.pk, undone_at=None).update(
                        undone_by=by, undone_at=clock.now()
                    )
                    if won:
                        _take_back(decision)
                        undone.append(decision)
            for decision in undone:
                _note("undo match decision", decision, decision.get_verdict_display(), "", by)
            return len(held)
    last = decisions.select_related("undone_by").order_by("-undone_at").first()
    if last is None or last.undone_by is None:
        raise Undecided("There is no such decision. Nothing was done.")
    raise Undecided(f"{last.undone_by.name} undid this at {_at(last, undone=True)}. Nothing more was done.")


def _take_back(decision: MatchDecision) -> None:
    rows = rows_of(decision.tenant_id, decision.avepoint_id)
    if rows and decision.verdict == Verdict.LINKED and rows.joined:
        joining.part(rows.theirs)
        rows = rows_of(decision.tenant_id, decision.avepoint_id)
    if rows and rows.open and decision.reason:
        MatchSuggestion.objects.get_or_create(
            partner_center=rows.mine.customer, avepoint=rows.theirs.customer, defaults={"reason": decision.reason}
        )


def _note_decided(decision: MatchDecision, by: Operator) -> None:
    is_link = decision.verdict == Verdict.LINKED
    action = "link customers" if is_link else "keep customers apart"
    _note(action, decision, "", decision.get_verdict_display(), by)


def _note(action: str, decision: MatchDecision, before: str, after: str, by: Operator) -> None:
    subject = audit.Subject(
        action=action,
        tenant_id=decision.tenant_id,
        customer_name=decision.partner_center_name,
        target_id=decision.avepoint_id,
        target_name=decision.avepoint_name,
        fields={"match": (before, after)},
    )
    audit.note(subject, audit.Result(outcome=AuditEvent.Outcome.DONE), by=by)


# --- What has been decided ------------------------------------------------------------------------------------


def decided() -> QuerySet[MatchDecision]:
    """All decisions, the newest first, undone ones too."""
    return MatchDecision.objects.select_related("by", "undone_by").order_by(F("decided_at").desc(), "-pk")


def sizes_of(batches: Iterable[uuid.UUID]) -> dict[uuid.UUID, int]:
    """How many decisions of each batch still hold."""
    found: dict[uuid.UUID, int] = {}
    for batch in MatchDecision.objects.filter(batch__in=set(batches), undone_at=None).values_list("batch", flat=True):
        found[batch] = found.get(batch, 0) + 1
    return found
