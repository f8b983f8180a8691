"""Which customers of the two sources may be one company. An equal name or domain is a hint, never a reason to join.

What people decide about a hint is in decisions.py. All comparing is done by the database, on columns that
`telling.tell` fills, and read in the order of the values: what is held here are the pairs that come or go.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.db.models import BooleanField, F, Q, QuerySet, Value

from partnerportal.models import Operator

from . import countries
from .models import Customer, CustomerQuerySet, MatchDecision, MatchSuggestion, Reason, SourceName, SourceRow

T = TypeVar("T")
BATCH = 500  # rows in one statement
BOTH = (SourceName.PARTNER_CENTER, SourceName.AVEPOINT)
MOST_OF_ONE_NAME = 12  # pairs; a name that stands more often than that says nothing about anybody

# --- What is compared -----------------------------------------------------------------------------------------

_LEGAL_FORMS = frozenset(
    "ab ag aps as asa bv bvba co corp corporation cv doo eirl eood esrl eurl gbr gmbh hf inc incorporated kft kg kgaa "
    "kk lda limited llc llp lp ltd ltda nv ohg ood oy oyj pbc plc pte pty pvt sa sae sarl sas sca sl slu snc sp spa "
    "spzoo sprl srl sro sl ug vof zoo".split()
)
_WORDS = re.compile(r"\w+")
_DOTTED = re.compile(r"(?<=\w)[.'’](?=\w)")  # S.A., O'Brien: one word


def plain(name: str) -> str:
    """A name for comparing: no case, accents, punctuation or legal form. "Contoso, S.A." and "CONTOSO" are equal.

    A name that is nothing but a legal form stays as it is.
    """
    words = _WORDS.findall(_DOTTED.sub("", countries.fold(name)).replace("_", " "))
    kept = list(words)
    while kept and kept[-1] in _LEGAL_FORMS:
        kept.pop()
    return " ".join(kept or words)[:200]


def domain_of(email: str) -> str:
    """The domain of an e-mail address, "" when there is none."""
    return email.rpartition("@")[2].strip().lower()[:255] if "@" in email else ""


def partner_domains() -> set[str]:
    """Our own domains: those of the staff's addresses, and of our own tenant where Partner Center lists it.

    As owner of an AvePoint row they say nothing: the partner owns the rows of many customers.
    """
    ours = {domain_of(email) for email in Operator.objects.values_list("email", flat=True)}
    for own in Customer.objects.filter(tenant_id=settings.ENTRA_TENANT_ID.lower()):
        ours.update(own.domains)
    return ours - {""}


def to_check(ours: set[str] | None = None) -> QuerySet[MatchSuggestion]:
    """The pairs that wait for a person, the surest first. Not those of a domain that a sign-in has made ours since.

    `ours` are the partner's domains, where the caller knows them already.
    """
    ours = partner_domains() if ours is None else ours
    found = MatchSuggestion.objects.exclude(reason=Reason.DOMAIN, avepoint__owner_domain__in=ours)
    return found.order_by("reason", "id")


# --- Suggesting -----------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """Ids of two customers, Partner Center's first, and why they may be one."""

    partner_center: int
    avepoint: int
    reason: Reason


class Bearer(NamedTuple):
    """A customer that has a value, on one side."""

    value: str
    theirs: bool  # AvePoint's side
    pk: int
    key: str
    alone: bool  # only one source knows it


@dataclass
class Compared:
    """What the suggestions should be, against what they are; `write` lets them be so."""

    made: dict[tuple[int, int], Reason] = field(default_factory=dict)  # (Partner Center's, AvePoint's) -> why
    better: dict[int, Reason] = field(default_factory=dict)  # suggestion -> why it stands now
    gone: list[int] = field(default_factory=list)  # suggestions
    customers: set[int] = field(default_factory=set)  # that are in a pair which comes or goes

    def write(self) -> None:
        """Called in the transaction that changes the list. A suggestion that still holds keeps its row."""
        for pks in _slices(self.gone):
            MatchSuggestion.objects.filter(pk__in=pks).delete()
        for pk, reason in self.better.items():
            MatchSuggestion.objects.filter(pk=pk).update(reason=reason)
        rows = (
            MatchSuggestion(partner_center_id=pc, avepoint_id=ap, reason=why) for (pc, ap), why in self.made.items()
        )
        for some in _slices(rows):
            MatchSuggestion.objects.bulk_create(some)


def suggest() -> None:
    """Keep the pairs that look like one company; a person decides."""
    compare().write()


def compare() -> Compared:
    """Look for pairs in the whole list as it is now."""
    found = Compared()
    kept: set[int] = set()
    if all(Customer.objects.alone_in(source).exists() for source in reversed(BOTH)):
        for pairs in _slices(_pairs()):
            kept |= _sort_out(pairs, kept, found)
    for pk, mine, theirs in MatchSuggestion.objects.values_list("pk", "partner_center_id", "avepoint_id").iterator():
        if pk not in kept:
            found.gone.append(pk)
            found.customers.update((mine, theirs))
    found.customers.update(pk for pair in found.made for pk in pair)
    return found


def _sort_out(pairs: Iterable[Pair], kept: set[int], found: Compared) -> set[int]:
    """The suggestions that these pairs keep; what is new or has a better reason is noted. What was kept already for a
    better reason stays so.
    """
    wanted: dict[tuple[int, int], Reason] = {}
    for pair in pairs:
        if (pair.partner_center, pair.avepoint) not in found.made:
            wanted.setdefault((pair.partner_center, pair.avepoint), pair.reason)
    there = MatchSuggestion.objects.filter(avepoint_id__in={avepoint for _, avepoint in wanted})
    still: set[int] = set()
    for pk, mine, theirs, told in there.values_list("pk", "partner_center_id", "avepoint_id", "reason"):
        reason = wanted.pop((mine, theirs), None)
        if reason is None:
            continue
        if told != reason and pk not in kept:
            found.better[pk] = reason
        still.add(pk)
    found.made.update(wanted)
    return still


def touching(source_ids: Collection[str]) -> set[int]:
    """The customers that a change of the rows with these ids may change: their own, those of rows that somebody has
    linked with one of them, and all that one of these is suggested with.
    """
    linked = in_force(MatchDecision.Verdict.LINKED).filter(Q(tenant_id__in=source_ids) | Q(avepoint_id__in=source_ids))
    ids = set(source_ids).union(*linked.values_list("tenant_id", "avepoint_id"))
    rows = SourceRow.objects.filter(source__in=SourceName.values, source_id__in=ids)  # as the index has them
    own = set(rows.values_list("customer_id", flat=True))
    suggested = MatchSuggestion.objects.filter(Q(partner_center__in=own) | Q(avepoint__in=own))
    return own.union(*suggested.values_list("partner_center_id", "avepoint_id"))


def _pairs() -> Iterator[Pair]:
    """All that may be one company, the better reason first. Not what somebody has kept apart."""
    apart = set(in_force(MatchDecision.Verdict.APART).values_list("tenant_id", "avepoint_id"))
    ours = partner_domains()
    for reason, bearers in ((Reason.DOMAIN, _by_domain(ours)), (Reason.NAME, _by_name())):
        for _, group in groupby(bearers, attrgetter("value")):
            both = list(group)
            theirs = [bearer for bearer in both if bearer.theirs]
            mine = [bearer for bearer in both if not bearer.theirs]
            once = len(theirs) == len(mine) == 1
            if not mine or (not once and reason is Reason.DOMAIN) or len(theirs) * len(mine) > MOST_OF_ONE_NAME:
                continue
            why = reason if once else Reason.NAMES
            for pc in mine:
                for ap in theirs:
                    if pc.alone and ap.alone and (pc.key, ap.key.removeprefix("ap-")) not in apart:
                        yield Pair(pc.pk, ap.pk, why)


def _by_name() -> Iterator[Bearer]:
    """Who has a name that customers alone have on either side, in the order of the names. One both know counts on both
    sides.
    """
    mine, theirs = (Customer.objects.alone_in(source).exclude(plain_name="").values("plain_name") for source in BOTH)
    wanted = theirs.filter(plain_name__in=mine)
    if wanted.exists():
        named = Customer.objects.filter(listed=True, plain_name__in=wanted)
        yield from _bearers(_side(named, "plain_name", theirs=True), _side(named, "plain_name", theirs=False))


def _by_domain(ours: set[str]) -> Iterator[Bearer]:
    """Who has a domain that the owner of a customer of AvePoint's alone has, and a customer of Partner Center's alone,
    in the order of the domains.
    """
    listed = Customer.objects.filter(listed=True)
    theirs = Customer.objects.alone_in(SourceName.AVEPOINT).exclude(owner_domain__in={"", *ours}).values("owner_domain")
    custom = dict[str, list[Bearer]]()
    for bearer in _custom_domains(listed, theirs):
        custom.setdefault(bearer.value, []).append(bearer)
    wanted = theirs.filter(owner_domain__in=Customer.objects.alone_in(SourceName.PARTNER_CENTER).values("domain"))
    if not custom and not wanted.exists():
        return
    if custom:
        wanted = theirs  # a domain that was read with a customer is in no column
    defaults = _bearers(
        _side(listed.filter(owner_domain__in=wanted), "owner_domain", theirs=True),
        _side(listed.filter(domain__in=wanted), "domain", theirs=False),
    )
    for value, group in groupby(defaults, attrgetter("value")):
        yield from {(one.theirs, one.pk): one for one in (*group, *custom.get(value, ()))}.values()


def _custom_domains(listed: CustomerQuerySet, wanted: QuerySet[Customer, Any]) -> Iterator[Bearer]:
    """Custom domains, read when somebody opened the customer: few have any, so these may be looked through."""
    read = listed.filter(in_partner_center=True, profile_read_at__isnull=False).exclude(custom_domains=[])
    columns = read.values_list("pk", "key", "in_avepoint", "custom_domains")
    for rows in _slices(columns.iterator(chunk_size=BATCH)):
        named = {domain for *_, domains in rows for domain in domains}
        asked = {
            value
            for some in _slices(sorted(named))
            for value in wanted.filter(owner_domain__in=some).values_list("owner_domain", flat=True)
        }
        for pk, key, both, domains in rows:
            for domain in asked.intersection(domains):
                yield Bearer(domain, False, pk, key, not both)


def _side(found: CustomerQuerySet, column: str, *, theirs: bool) -> CustomerQuerySet:
    """One side's bearers of a column's value."""
    mine, other = ("in_avepoint", "in_partner_center") if theirs else ("in_partner_center", "in_avepoint")
    return found.filter(**{mine: True}).annotate(
        value=F(column), theirs=Value(theirs, output_field=BooleanField()), other=F(other)
    )


def _bearers(*sides: CustomerQuerySet) -> Iterator[Bearer]:
    """Both sides in the order of the values, read as they are needed."""
    columns: tuple[Any, ...] = ("value", "theirs", "pk", "key", "other")  # the plugin knows no annotations of others
    first, second = (side.values_list(*columns) for side in sides)
    for value, theirs, pk, key, other in first.union(second, all=True).order_by(columns[0]).iterator(chunk_size=2000):
        yield Bearer(value, bool(theirs), pk, key, not other)


# --- What people have said ------------------------------------------------------------------------------------


def in_force(verdict: MatchDecision.Verdict) -> QuerySet[MatchDecision]:
    """Decisions of this kind that nobody has undone."""
    return MatchDecision.objects.filter(verdict=verdict, undone_at=None)


def _slices(items: Iterable[T]) -> Iterator[list[T]]:
    """So many at a time as one statement takes."""
    rest = iter(items)
    while some := list(islice(rest, BATCH)):
        yield some
