"""Pairs that may be one company: the queue, one pair, all at once, and what has been decided."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.paginator import Page, Paginator
from django.http import Http404, HttpResponse, QueryDict
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from customers import countries, decisions
from customers.matches import partner_domains, to_check
from customers.models import MatchDecision, MatchSuggestion, Reason, SourceName, SourceRow
from partnerportal import problems
from partnerportal.http import OperatorRequest, go_to, post_only, render_page, wants_part
from partnerportal.permissions import Permission, may, require
from partnerportal.templatetags.portal import page_query

Verdict = MatchDecision.Verdict
PAIRS = 10  # on one page of the queue
DECIDED = 25


@dataclass(frozen=True)
class Card:
    """Two rows side by side, and what is known about them."""

    rows: decisions.Rows
    reason: str = ""
    decision: MatchDecision | None = None
    ours: frozenset[str] = frozenset()  # domains that say nothing

    @property
    def id(self) -> str:
        """Of the card in the page: the same before and after the decision."""
        return f"pair-{self.rows.mine.pk}-{self.rows.theirs.pk}"

    @property
    def confidence(self) -> str:
        return MatchSuggestion(reason=self.reason).confidence if self.reason else ""

    @property
    def why(self) -> str:
        return Reason(self.reason).label if self.reason else "Put side by side by hand"

    @property
    def domains(self) -> list[str]:
        return self.rows.mine.customer.domains or [self.rows.mine.domain]

    @property
    def owner_name(self) -> str:
        return self.rows.theirs.owner_email.rpartition("@")[0]

    @property
    def owner_domain(self) -> str:
        return self.rows.theirs.owner_email.rpartition("@")[2]

    @property
    def same_domain(self) -> str:
        """The domain that both have, "" when there is none, or when it is ours."""
        told = "" if self.partner_owned else self.owner_domain.lower()
        return next((domain for domain in self.domains if domain and domain == told), "")

    @property
    def partner_owned(self) -> bool:
        return self.owner_domain.lower() in self.ours

    @property
    def same_name(self) -> bool:
        return countries.fold(self.rows.mine.name) == countries.fold(self.rows.theirs.name)

    @property
    def countries(self) -> tuple[str, str]:
        """As people read them; Partner Center's list has none, so its one is there only if somebody opened it."""
        mine, theirs = self.rows.mine.country, self.rows.theirs.country
        code = countries.code_of(theirs)
        return countries.name_of(mine) if mine else "", countries.name_of(code) if code else theirs

    @property
    def same_country(self) -> bool:
        mine, theirs = self.countries
        return bool(mine) and mine == theirs


# --- The queue, and what has been decided ----------------------------------------------------------------------


@require_GET
@require(Permission.VIEW)
def matches(request: OperatorRequest) -> HttpResponse:
    """The pairs to check, the surest first; with `show=decided` what people have decided."""
    if request.GET.get("show") == "decided":
        return _decided(request)
    reason = request.GET.get("why", "")
    ours = partner_domains()
    pairs = to_check(ours).select_related("partner_center", "avepoint")
    if reason in Reason.values:
        pairs = pairs.filter(reason=reason)
    page = _page(request, pairs, PAIRS)
    if isinstance(page, HttpResponse):
        return page
    context = {
        **_counts(request, ours),
        "page": page,
        "params": _params(why=reason if reason in Reason.values else ""),
        "why": reason,
        "reasons": [(value, label) for value, label in Reason.choices],
        "cards": _cards(list(page), ours),
        "confirmable": min(decisions.confirmable(ours).count(), decisions.MOST_AT_ONCE),
    }
    return render_page(request, "matches/list.html", "results", context)


def _decided(request: OperatorRequest) -> HttpResponse:
    page = _page(request, decisions.decided(), DECIDED)
    if isinstance(page, HttpResponse):
        return page
    context = {
        **_counts(request),
        "page": page,
        "params": _params(show="decided"),
        "rows": _with_batches(list(page)),
    }
    return render_page(request, "matches/decided.html", "results", context)


def _with_batches(shown: Sequence[MatchDecision]) -> list[tuple[MatchDecision, int]]:
    """Each with how many of the decisions that were made with it still hold."""
    sizes = decisions.sizes_of(row.batch for row in shown)
    return [(row, sizes.get(row.batch, 0)) for row in shown]


def _counts(request: OperatorRequest, ours: set[str] | None = None) -> dict[str, Any]:
    return {
        "to_check": to_check(ours).count(),
        "decided": MatchDecision.objects.count(),
        "may_match": may(request.user, Permission.MATCH),
    }


def _params(**wanted: str) -> QueryDict:
    params = QueryDict(mutable=True)
    params.update({name: value for name, value in wanted.items() if value})
    return params


def _page(request: OperatorRequest, rows: Any, size: int) -> Page[Any] | HttpResponse:
    """The page that the URL asks for, or the way to the last one."""
    page = Paginator(rows, size).get_page(request.GET.get("page", "1"))
    wanted = request.GET.get("page", "1")
    if wanted != str(page.number):
        return go_to(request, f"{request.path}{page_query(request.GET, page.number)}")
    return page


def _cards(pairs: Sequence[MatchSuggestion], ours: set[str]) -> list[Card]:
    """The rows of these pairs, in one query however many they are."""
    ids = {pk for pair in pairs for pk in (pair.partner_center_id, pair.avepoint_id)}
    rows = {(row.customer_id, row.source): row for row in SourceRow.objects.filter(customer_id__in=ids)}
    cards = []
    for pair in pairs:
        mine = rows.get((pair.partner_center_id, SourceName.PARTNER_CENTER))
        theirs = rows.get((pair.avepoint_id, SourceName.AVEPOINT))
        if mine and theirs:
            mine.customer, theirs.customer = pair.partner_center, pair.avepoint
            cards.append(Card(decisions.Rows(mine, theirs), pair.reason, ours=frozenset(ours)))
    return cards


# --- One pair ----------------------------------------------------------------------------------------------------


@require_GET
@require(Permission.VIEW)
def match(request: OperatorRequest, tenant_id: str, avepoint_id: str) -> HttpResponse:
    """One pair side by side, suggested or not. What has vanished is shown only with what was decided on it."""
    card = _card(tenant_id, avepoint_id)
    if card.rows.gone and card.decision is None:
        raise Http404("one of the two is in no list any more")
    return _pair(request, card)


@post_only
@require(Permission.MATCH)
def decide(request: OperatorRequest, tenant_id: str, avepoint_id: str) -> HttpResponse:
    """Link the pair, or keep it apart."""
    verdict = request.POST.get("verdict", "")
    if verdict not in Verdict.values:
        raise Http404("no such verdict")
    card = _card(tenant_id, avepoint_id)
    try:
        done = decisions.decide(card.rows.mine.source_id, card.rows.theirs.source_id, Verdict(verdict), by=request.user)
    except decisions.Undecided as first:
        return _pair(request, _card(tenant_id, avepoint_id), trouble=str(first), status=409)
    said = f"{done.partner_center_name} and {done.avepoint_name}: {done.get_verdict_display().lower()}."
    if wants_part(request):
        return _pair(request, _card(tenant_id, avepoint_id), said=f"{said} {_left()}")
    messages.success(request, f"{said} {_left()}")
    return go_to(request, _back(request))


def _card(tenant_id: str, avepoint_id: str) -> Card:
    """Raises Http404 when a source never told one of the two."""
    tenant_id, avepoint_id = tenant_id.lower(), avepoint_id.lower()
    rows = None if "\x00" in tenant_id + avepoint_id else decisions.rows_of(tenant_id, avepoint_id)
    if rows is None:
        raise Http404("no such pair")
    found = MatchSuggestion.objects.filter(partner_center=rows.mine.customer, avepoint=rows.theirs.customer).first()
    decision = decisions.decision_on(tenant_id, avepoint_id)
    reason = found.reason if found else decision.reason if decision else ""
    return Card(rows, reason, decision, frozenset(partner_domains()))


def _pair(
    request: OperatorRequest, card: Card, *, said: str = "", trouble: str = "", status: int = 200
) -> HttpResponse:
    context = {**_counts(request), "card": card, "said": said, "trouble": trouble}
    response = render_page(request, "matches/pair.html", "card", context, status=status)
    if status >= 400:  # the card says it, not a notice above the page
        response["HX-Retarget"], response["HX-Reswap"] = f"#{card.id}", "outerHTML"
    return response


def _left() -> str:
    left = to_check().count()
    return f"{left:,} left to check." if left else "Nothing is left to check."


def _back(request: OperatorRequest) -> str:
    """The page of the queue that the form stood on."""
    page = request.POST.get("page", "")
    return reverse("matches") + (f"?page={page}" if page.isascii() and page.isdigit() and page != "1" else "")


# --- All at once -------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@require(Permission.MATCH)
def confirm(request: OperatorRequest) -> HttpResponse:
    """Shows all pairs whose domain stands once on either side; a POST links exactly those that were shown."""
    trouble = ""
    if request.method == "POST":
        try:
            count = decisions.confirm(request.POST.get("seen", ""), _batch(request), by=request.user)
        except decisions.Stale as changed:
            trouble = str(changed)
        else:
            messages.success(request, f"{count:,} pair{'' if count == 1 else 's'} linked. {_left()}")
            return go_to(request, f"{reverse('matches')}?show=decided")
    pairs = list(decisions.confirmable()[: decisions.MOST_AT_ONCE])
    context = {
        "pairs": pairs,
        "total": decisions.confirmable().count(),
        "seen": decisions.fingerprint(pairs),
        "batch": uuid.uuid4(),
        "trouble": trouble,
    }
    return render_page(request, "matches/confirm.html", "preview", context, status=409 if trouble else 200)


def _batch(request: OperatorRequest) -> uuid.UUID:
    """The id that the form was given when it was rendered."""
    try:
        return uuid.UUID(request.POST.get("batch", ""))
    except ValueError:
        raise Http404("a form without its id") from None


# --- Taking it back ----------------------------------------------------------------------------------------------


@post_only
@require(Permission.MATCH)
def undo(request: OperatorRequest, pk: int) -> HttpResponse:
    """Take one decision back; its card stands open again."""
    decision = MatchDecision.objects.filter(pk=pk).first()
    if decision is None:
        raise Http404("no such decision")
    try:
        decisions.undo(MatchDecision.objects.filter(pk=pk), by=request.user)
    except decisions.Undecided as first:
        return problems.answer(request, _too_late(first))
    said = f"{decision.partner_center_name} and {decision.avepoint_name} stand apart and undecided again."
    if wants_part(request):
        return _pair(request, _card(decision.tenant_id, decision.avepoint_id), said=f"{said} {_left()}")
    messages.success(request, said)
    return go_to(request, f"{reverse('matches')}?show=decided")


@post_only
@require(Permission.MATCH)
def undo_batch(request: OperatorRequest, batch: uuid.UUID) -> HttpResponse:
    """Take back all that was confirmed in one go, but for what was undone before."""
    try:
        count = decisions.undo(MatchDecision.objects.filter(batch=batch), by=request.user)
    except decisions.Undecided as first:
        return problems.answer(request, _too_late(first))
    messages.success(request, f"{count:,} decision{'' if count == 1 else 's'} undone. {_left()}")
    return go_to(request, f"{reverse('matches')}?show=decided")


def _too_late(first: decisions.Undecided) -> problems.Problem:
    return problems.Problem(status=409, title="This was undone before", reason=str(first))
