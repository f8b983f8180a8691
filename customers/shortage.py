"""Far fewer than before: a walk that finds under half of what was there replaces nothing, and a Portal.Admin is asked.

One rule for every walk: over the customers of a source, over the GDAP relationships, and over their access assignments.
"""

from django.db import transaction
from django.db.models import Q

from partnerportal import audit, clock
from partnerportal.models import AuditEvent, Operator

from .models import GRAPH, GdapAssignment, GdapRelationship, Source, SourceRow

SHORT = 0.5  # a complete answer with fewer rows than this part of what we knew counts as short
SHORT_MATTERS_FROM = 10  # rows; below that a halved list is everyday life, an empty one is not
AS_ACCEPTED = 0.9  # of the rows that a Portal.Admin has called right must be there when they are taken at their word


def is_short(found: int, before: int) -> bool:
    """Whether so few are to be asked about, where there were so many before."""
    return found < before * SHORT and not (found and before < SHORT_MATTERS_FROM)


def is_accepted(found: int, accepted: int | None) -> bool:
    """Whether a Portal.Admin has said that so few are right."""
    return accepted is not None and found >= accepted * AS_ACCEPTED


def known(source: str, what: str = "rows") -> int:
    """How many customers, GDAP relationships, or (`what`: "assignments") access assignments of these we know."""
    if what == "assignments":
        return GdapAssignment.objects.filter(relationship__missing_since=None, relationship__gone_at=None).count()
    if source == GRAPH:
        return GdapRelationship.objects.filter(missing_since=None, gone_at=None).count()
    return SourceRow.objects.filter(source=source, missing_since=None).count()


def told(source: Source) -> str:
    """ "listed 20 customers where we know 76": all that the last walk found too few of."""
    words = [f"{one.in_words} where we know {known(source.name, one.what):,}" for one in source.short]
    return f"listed {', and '.join(words)}"


# --- What a Portal.Admin says to it -------------------------------------------------------------------------

_NO_ANSWER: dict[str, None] = {
    "accepted_rows": None,
    "accepted_assignments": None,
    "accepted_by": None,
    "accepted_at": None,
}
NO_QUESTION = {"short_rows": None, "short_assignments": None, **_NO_ANSWER}
_UNANSWERED = Q(short_rows__isnull=False, accepted_rows=None) | Q(
    short_assignments__isnull=False, accepted_assignments=None
)
_ANSWERED = Q(accepted_rows__isnull=False) | Q(accepted_assignments__isnull=False)


def accept(source: Source, rows: int | None, assignments: int | None = None, *, by: Operator) -> bool:
    """Believe the next walk that finds about so few; once. False when that is no longer the question."""
    answer = {"accepted_rows": rows, "accepted_assignments": assignments, "accepted_by": by, "accepted_at": clock.now()}
    with transaction.atomic():
        asked = Source.objects.filter(_UNANSWERED, pk=source.pk, short_rows=rows, short_assignments=assignments)
        if not asked.update(**answer):
            return False
        _audit_answer(source, "accepted", by)
    return True


def wait_after_all(source: Source, *, by: Operator) -> bool:
    """Take an acceptance back that no walk has used yet. False when there is none."""
    with transaction.atomic():
        if not Source.objects.filter(_ANSWERED, pk=source.pk).update(**_NO_ANSWER):
            return False
        _audit_answer(source, "not accepted", by)
    return True


def _audit_answer(source: Source, answer: str, by: Operator) -> None:
    source.refresh_from_db()
    subject = audit.Subject(
        action=f"few {source.short[0].word}s {answer}",
        target_name=source.label,
        fields={one.what: (known(source.name, one.what), one.found) for one in source.short},
    )
    audit.note(subject, audit.Result(outcome=AuditEvent.Outcome.DONE), by=by)
