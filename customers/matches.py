"""Which customers of the two sources may be one company. An equal name or domain is a hint, never a reason to join.

What people decide about a hint is in decisions.py. All comparing is done by the database, on columns that
`merge.tell` fills, and read in the order of the values: a sync of a million customers holds no list of them here.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.db.models import BooleanField, F, QuerySet, Value

from partnerportal.models import Operator

from . import countries
from .models import Customer, CustomerQuerySet, MatchDecision, MatchSuggestion, Reason

T = TypeVar("T")
BATCH = 500  # rows in one statement
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


def suggest() -> None:
    """Keep the pairs that look like one company; a person decides. Called in the transaction that changes the list.

    A suggestion that still holds keeps its row.
    """
    kept: set[int] = set()
    if _alone(theirs=True).exists() and _alone(theirs=False).exists():
        for pairs in _slices(_pairs()):
            kept |= _keep(pairs, kept)
    gone = (pk for pk in MatchSuggestion.objects.values_list("pk", flat=True).iterator() if pk not in kept)
    for pks in list(_slices(gone)):
        MatchSuggestion.objects.filter(pk__in=pks).delete()


def _keep(pairs: Iterable[Pair], kept: set[int]) -> set[int]:
    """Make these suggestions stand; returns their ids. What was kept already for a better reason stays so."""
    wanted: dict[tuple[int, int], Reason] = {}
    for pair in pairs:
        wanted.setdefault((pair.partner_center, pair.avepoint), pair.reason)
    found: set[int] = set()
    there = MatchSuggestion.objects.filter(avepoint_id__in={avepoint for _, avepoint in wanted})
    for pk, mine, theirs, told in there.values_list("pk", "partner_center_id", "avepoint_id", "reason"):
        reason = wanted.pop((mine, theirs), None)
        if reason is None:
            continue
        if told != reason and pk not in kept:
            MatchSuggestion.objects.filter(pk=pk).update(reason=reason)
        found.add(pk)
    made = [MatchSuggestion(partner_center_id=pc, avepoint_id=ap, reason=why) for (pc, ap), why in wanted.items()]
    return found | {row.pk for row in MatchSuggestion.objects.bulk_create(made, batch_size=BATCH)}


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


def _alone(*, theirs: bool) -> CustomerQuerySet:
    """Customers that one source only knows."""
    return Customer.objects.filter(listed=True, in_avepoint=theirs, in_partner_center=not theirs)


def _by_name() -> Iterator[Bearer]:
    """Who has a name that a customer of AvePoint's alone has, in the order of the names. One both know counts on both
    sides.
    """
    wanted = _alone(theirs=True).exclude(plain_name="").values("plain_name")
    named = Customer.objects.filter(listed=True, plain_name__in=wanted)
    return _bearers(_side(named, "plain_name", theirs=True), _side(named, "plain_name", theirs=False))


def _by_domain(ours: set[str]) -> Iterator[Bearer]:
    """Who has a domain that the owner of a customer of AvePoint's alone has, in the order of the domains."""
    wanted = _alone(theirs=True).exclude(owner_domain__in={"", *ours}).values("owner_domain")
    listed = Customer.objects.filter(listed=True)
    defaults = _bearers(
        _side(listed.filter(owner_domain__in=wanted), "owner_domain", theirs=True),
        _side(listed.filter(domain__in=wanted), "domain", theirs=False),
    )
    custom = dict[str, list[Bearer]]()
    for bearer in _custom_domains(listed, wanted):
        custom.setdefault(bearer.value, []).append(bearer)
    for value, group in groupby(defaults, attrgetter("value")):
        yield from {(one.theirs, one.pk): one for one in (*group, *custom.get(value, ()))}.values()


def _custom_domains(listed: CustomerQuerySet, wanted: QuerySet[Customer, Any]) -> Iterator[Bearer]:
    """Custom domains, read when somebody opened the customer: few have any, so these may be looked through."""
    read = listed.filter(in_partner_center=True).exclude(custom_domains=[])
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
