"""All that is known of one customer, from where and how old, and the labels that people have put on it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET

from customers import countries, decisions, favourites, labels, matches
from customers.find import access_customer
from customers.merge import TENANT_ID
from customers.models import (
    Customer,
    Label,
    MatchDecision,
    MatchSuggestion,
    Source,
    SourceName,
    SourceRow,
    avepoint_row,
)
from partnerportal.http import OperatorRequest, go_to, post_only, render_page, wants_part
from partnerportal.permissions import Permission, may, require

PARTNER_CENTER_PAGE = "https://partner.microsoft.com/dashboard/v2/customers/{}/account"
AVEPOINT_PAGE = "https://www.avepointonlineservices.com/"  # no address of one customer is documented


@dataclass(frozen=True)
class Line:
    """One field: what either source says, what the portal shows, and why, where they differ."""

    field: str
    mine: str | datetime | None = ""
    theirs: str | datetime | None = ""
    shown: str = ""
    why: str = ""
    note: str = ""
    kind: str = ""  # "id" for what people copy, "time" for instants


@require_GET
@require(Permission.VIEW)
def details(request: OperatorRequest, key: str) -> HttpResponse:
    """Every field with its sources and their age."""
    customer = access_customer(key)
    if customer.key != key:
        return redirect("customer-details", customer.key)
    beside = request.GET.get("beside", "").strip()
    if beside and (other := _named(beside)) and customer.avepoint_id:
        return redirect("match", other.tenant_id, customer.avepoint_id)
    return _page(request, customer, beside=beside)


def _named(text: str) -> Customer | None:
    """The one customer of Partner Center with this tenant ID or domain."""
    wanted = text.replace("\x00", "").lower()
    column = "tenant_id" if TENANT_ID.fullmatch(wanted) else "domain"
    found = Customer.objects.listed().filter(**{column: wanted}, in_partner_center=True)[:2]
    return found[0] if wanted and len(found) == 1 else None


def _page(request: OperatorRequest, customer: Customer, status: int = 200, **more: Any) -> HttpResponse:
    rows = list(SourceRow.objects.filter(customer=customer, gone_at=None))
    mine = next((row for row in rows if row.source == SourceName.PARTNER_CENTER), None)
    theirs = avepoint_row(rows, customer.tenant_id)
    context = {
        "customer": customer,
        "ages": Source.telling(customer),
        "is_favourite": favourites.has(customer, by=request.user),
        "mine": mine,
        "theirs": theirs,
        "lines": _lines(customer, mine, theirs),
        "partner_center_page": PARTNER_CENTER_PAGE.format(customer.tenant_id) if customer.tenant_id else "",
        "avepoint_page": AVEPOINT_PAGE if customer.in_avepoint else "",
        "link": decisions.link_of(customer) if theirs and mine else None,
        "suggestions": _suggestions(customer),
        "apart": _apart(customer, mine, theirs),
        "may_match": may(request.user, Permission.MATCH),
        **_label_context(request, customer),
        **more,
    }
    return render_page(request, "customers/details.html", "labels", context, status=status)


def _lines(customer: Customer, mine: SourceRow | None, theirs: SourceRow | None) -> list[Line]:
    """The table, field by field. What neither source tells is left out."""
    pc, ap = mine or SourceRow(), theirs or SourceRow()
    codes = countries.code_of(pc.country), countries.code_of(ap.country)
    told = (
        countries.name_of(codes[0]) if codes[0] else pc.country,
        countries.name_of(codes[1]) if codes[1] else ap.country,
    )
    seen = [row.first_seen_at if row else None for row in (mine, theirs)]
    relationship = pc.relationship[:1].upper() + pc.relationship[1:]
    partner_owned = customer.owner_domain in matches.partner_domains()
    ours = "This is our own domain: it says nothing about the customer." if partner_owned else ""
    others = ", ".join(domain for domain in customer.domains if domain != customer.domain)
    lines = [
        Line(
            "Name",
            pc.name,
            ap.name,
            customer.name,
            "The names differ. Partner Center’s is shown, for orders and users are there."
            if "name" in customer.conflicts
            else "",
        ),
        Line("Default domain", pc.domain, "", customer.domain),
        Line("Other domains", others, "", others),
        Line("Owner e-mail", "", ap.owner_email, customer.owner_email, note=ours),
        Line(
            "Country",
            told[0],
            ap.country if ap.country == told[1] or not ap.country else f"{told[1]} (told as “{ap.country}”)",
            customer.country,
            "The countries differ. AvePoint’s is shown, for Partner Center’s list has none: its own is read when "
            "somebody opens the customer."
            if "country" in customer.conflicts
            else "",
        ),
        Line("AvePoint status", "", ap.status, customer.ap_status),
        Line("Relationship to us", relationship, "", relationship),
        Line("ID", pc.given_id, ap.given_id, customer.tenant_id or ap.given_id, kind="id"),
        Line("First seen", seen[0], seen[1], kind="time"),
        Line("Not seen since", pc.missing_since, ap.missing_since, kind="time"),
    ]
    return [line for line in lines if line.mine or line.theirs]


def _suggestions(customer: Customer) -> list[MatchSuggestion]:
    """Pairs that nobody has decided on, of this customer."""
    column = "partner_center" if customer.tenant_id else "avepoint"
    return list(matches.to_check().filter(**{column: customer}).select_related("partner_center", "avepoint")[:12])


def _apart(customer: Customer, mine: SourceRow | None, theirs: SourceRow | None) -> list[MatchDecision]:
    """What it was kept apart from."""
    found = matches.in_force(MatchDecision.Verdict.APART).select_related("by").order_by("-decided_at")
    if mine:
        return list(found.filter(tenant_id=mine.source_id)[:12])
    return list(found.filter(avepoint_id=theirs.source_id)[:12]) if theirs else []


# --- Labels -----------------------------------------------------------------------------------------------------

HINTS = {
    Label.Kind.ALIAS: "Another name that people use, as in mails or on the phone.",
    Label.Kind.CODE: "A number or code of ours: ERP, CRM, contract. As many as there are.",
    Label.Kind.TAG: "A word that groups customers, such as a branch or a team.",
}


def _label_context(request: OperatorRequest, customer: Customer) -> dict[str, Any]:
    return {
        "labels": [(kind, HINTS[kind], found) for kind, found in labels.of(customer)],
        "may_label": may(request.user, Permission.LABEL),
        "longest": labels.LONGEST,
    }


@post_only
@require(Permission.LABEL)
def label_add(request: OperatorRequest, key: str) -> HttpResponse:
    """Put a label on the customer."""
    customer = access_customer(key)
    kind, text = request.POST.get("kind", ""), request.POST.get("text", "")
    if kind not in Label.Kind.values:
        raise Http404("no such kind of label")
    try:
        label = labels.add(customer, Label.Kind(kind), text, by=request.user)
    except labels.LabelRefused as refused:
        return _page(request, access_customer(key), status=422, refused_kind=kind, refused=str(refused), typed=text)
    return _labels_again(request, key, f"{label.text} added.", kind)


@post_only
@require(Permission.LABEL)
def label_remove(request: OperatorRequest, key: str, pk: int) -> HttpResponse:
    """Take a label off the customer. One that is gone already is gone."""
    label = labels.remove(access_customer(key), pk, by=request.user)
    said = f"{label.text} removed." if label else "It was removed before."
    return _labels_again(request, key, said, label.kind if label else "")


def _labels_again(request: OperatorRequest, key: str, said: str, kind: str) -> HttpResponse:
    customer = access_customer(key)  # anew: somebody may have made it one with another meanwhile
    if wants_part(request):
        return _page(request, customer, said=said, changed_kind=kind)
    return go_to(request, f"{reverse('customer-details', args=[customer.key])}#labels")
