"""The pages of templates: those of one customer, and those of all customers."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from customers import countries
from customers.access import Action
from customers.explain import why_not
from customers.learning import see_domains
from customers.models import Customer
from partnerportal import audit, grants
from partnerportal.http import OperatorRequest, go_to
from partnerportal.models import AuditEvent
from partnerportal.permissions import Permission, RoleMissing, may, require
from partnerportal.upstream.errors import UpstreamError

from . import first_licences, pages, seen_skus, table, templates
from .models import UserTemplate
from .template_forms import TemplateForm, initial_of


@require_GET
@require(Permission.WRITE_USERS)
def customer_templates(request: OperatorRequest, key: str) -> HttpResponse:
    """The templates of one customer, and those of all that hold here too."""
    customer = pages.tenant_of(key)
    if refused := _not_for_them(request, customer):
        return refused
    context = {"rows": _rows(customer), "for_all": _rows(None), "may_change": True, "customer": customer}
    return render(request, "users/templates.html", context)


@require_GET
@require(Permission.WRITE_USERS)
def all_templates(request: OperatorRequest) -> HttpResponse:
    """The templates of all customers."""
    context = {"rows": _rows(None), "may_change": may(request.user, Permission.SET_DEFAULTS), "customer": None}
    return render(request, "users/templates.html", context)


@require_http_methods(["GET", "POST"])
@require(Permission.WRITE_USERS)
def customer_template(request: OperatorRequest, key: str, which: str) -> HttpResponse:
    """One template of a customer: its defaults, a new one, or one by its number."""
    customer = pages.tenant_of(key)
    if request.method == "GET" and (refused := _not_for_them(request, customer)):
        return refused
    return _template(request, customer, which)


@require_http_methods(["GET", "POST"])
@require(Permission.WRITE_USERS)
def all_template(request: OperatorRequest, which: str) -> HttpResponse:
    """One template of all customers. Reading is for whoever may create; changing is for a Portal.Admin."""
    if request.method == "POST" and not may(request.user, Permission.SET_DEFAULTS):
        raise RoleMissing(Permission.SET_DEFAULTS)
    return _template(request, None, which)


def _not_for_them(request: OperatorRequest, customer: Customer) -> HttpResponse | None:
    """The page that says why, for whoever may not create users there: the form that is filled is not shown to them."""
    access = pages.access_now(request, customer)
    return None if access[Action.CREATE].tried else pages.no_access(request, customer, access, Action.CREATE)


def _rows(customer: Customer | None) -> list[dict[str, Any]]:
    """The defaults, which stand there though they are none yet, and the named ones."""
    found = list(templates.of(customer))
    if not found or found[0].name:
        found.insert(0, UserTemplate(customer=customer))
    return [{"row": row, "url": _url(row), "words": templates.in_words(row.rules)} for row in found]


def _url(row: UserTemplate) -> str:
    which = str(row.pk) if row.name else "defaults"
    return (
        reverse("template", args=[row.customer.key, which]) if row.customer else reverse("all-template", args=[which])
    )


def _list_url(customer: Customer | None) -> str:
    return reverse("templates", args=[customer.key]) if customer else reverse("all-templates")


def _found(customer: Customer | None, which: str) -> UserTemplate:
    """The row behind an address; a new one where there is none yet, or none any more. Raises Http404."""
    if which == "new":
        return UserTemplate(customer=customer)
    if which == "defaults":
        return templates.of(customer).filter(name="").first() or UserTemplate(customer=customer)
    if not (which.isascii() and which.isdigit() and len(which) < 19):
        raise Http404("no such template")
    return templates.of(customer).exclude(name="").filter(pk=which).first() or UserTemplate(customer=customer)


def _template(request: OperatorRequest, customer: Customer | None, which: str) -> HttpResponse:
    named = which != "defaults"
    if request.method == "POST" and customer and (why := _why_not(request, customer)):
        form = TemplateForm(request.POST, customer=customer, named=named)  # what they typed, and nothing of ours
        form.add_error(None, why)
        return _page(request, UserTemplate(customer=customer), form, status=403)
    row = _found(customer, which)
    was_there = not {"version", "version_shown"}.isdisjoint(request.POST)  # says a form of it
    if not row.pk and which not in ("new", "defaults") and not was_there:
        raise Http404("no such template")
    if request.method == "GET":
        rules = _suggested(request, customer) if which == "new" and customer else row.rules
        form = TemplateForm(customer=customer, named=named, initial=initial_of(row.name, rules, row.version))
        return _page(request, row, form)
    form = TemplateForm(request.POST, customer=customer, named=named, initial=initial_of(row.name, row.rules, 0))
    try:
        match request.POST.get("step"):
            case "remove":
                return _remove(request, row)
            case "copy" if row.pk:
                return go_to(request, _url(_copy(request, row)))
            case "save":
                return _save(request, row, form)
            case _:
                raise Http404("no such step")
    except templates.TemplateRefused as refusal:
        return _refused(request, row, form, str(refusal))


def _refused(request: OperatorRequest, row: UserTemplate, form: TemplateForm, why: str) -> HttpResponse:
    """Nothing was done: what was typed stands there still, or beside another step the template as it is now."""
    step = request.POST.get("step", "")
    if step != "save":
        kept = TemplateForm(
            customer=row.customer, named=form.named, initial=initial_of(row.name, row.rules, row.version)
        )
        return _page(request, row, kept, refused={step: why}, status=422 if step == "copy" else 409)
    if not row.pk:  # removed meanwhile: saving what came back makes a new one
        form.data = {**request.POST.dict(), "version": "0"}
    form.add_error(None, why)
    return _page(request, row, form, status=409)


def _remove(request: OperatorRequest, row: UserTemplate) -> HttpResponse:
    """Away with it, as it was shown; where somebody has removed it already, that is what was wanted."""
    version = request.POST.get("version_shown", "")
    if row.pk:
        is_number = version.isascii() and version.isdigit() and len(version) < 8
        templates.remove(row, version=int(version) if is_number else 0, by=request.user)
    return go_to(request, _list_url(row.customer))


def _why_not(request: OperatorRequest, customer: Customer) -> str:
    """Why this person may not change what new users of this customer are made with: asked anew, "" when they may."""
    access = pages.access_now(request, customer, fresh=True)
    verdict = access[Action.CREATE]
    if verdict.tried:
        return ""
    why = why_not(verdict, customer)
    about = audit.Subject(action="change template", tenant_id=customer.tenant_id or "", customer_name=customer.name)
    audit.note(about, audit.Result(outcome=AuditEvent.Outcome.DENIED, detail=why), by=request.user)
    return f"Templates of {customer.name} are changed by those who may create users there. {why}"


def _copy(request: OperatorRequest, row: UserTemplate) -> UserTemplate:
    to = templates.target_of(request.POST.get("to", ""))
    if why := _why_not(request, to):
        raise templates.TemplateRefused(f"{why} Nothing was copied.")
    return templates.copy(row, to, by=request.user)


def _save(request: OperatorRequest, row: UserTemplate, form: TemplateForm) -> HttpResponse:
    if form.is_valid() and (why := _no_such_licence(request, row.customer, form.rules)):
        form.add_error("licences_value", why)
    if not form.is_valid():
        return _page(request, row, form, status=422)
    name, version = form.cleaned_data.get("name", ""), form.cleaned_data["version"]
    saved = templates.save(row, name=name, rules=form.rules, version=version, by=request.user)
    return go_to(request, _url(saved) if _unseen(form.rules) else _list_url(row.customer))


def _no_such_licence(request: OperatorRequest, customer: Customer | None, rules: templates.Rules) -> str:
    """Why a licence that the rules name cannot be meant; "" when each can, or when we know too little to say so."""
    if "licences" not in rules:
        return ""
    if customer is None:
        known, nobody = seen_skus.anywhere(), "No customer whose licences were read here has a licence"
    else:
        access, partner_center = pages.access_now(request, customer), grants.partner_center(request.grant)
        offer = first_licences.offer(customer, access, by=request.user, partner_center=partner_center)
        seen_skus.learn(offer.skus)
        known = seen_skus.called([(sku["name"], sku["part"]) for sku in offer.skus.values()])
        nobody = "The customer has no licence"
    wrong = [each for each in first_licences.parted(rules["licences"]["value"], known) if not _is_in(known, each)]
    return " ".join(f"{nobody} “{each}”.{first_licences.near(each, known)}" for each in wrong if known)


def _unseen(rules: templates.Rules) -> list[str]:
    """The licences of these rules that were not seen at any customer yet, so that nobody could check their names."""
    if not (said := rules.get("licences", {}).get("value", "")):
        return []
    known = seen_skus.anywhere()
    return [each for each in first_licences.parted(said, known) if not _is_in(known, each)]


def _is_in(known: Mapping[str, str], said: str) -> bool:
    return countries.fold(said) in known


def _suggested(request: OperatorRequest, customer: Customer) -> templates.Rules:
    """?from=<user id>: what that user suggests for a template. Nothing, when they cannot be read."""
    try:
        user_id = str(uuid.UUID(request.GET.get("from", "")))
    except ValueError:
        return {}
    partner_center, tenant_id = grants.partner_center(request.grant), customer.tenant_id or ""
    user, licences = table.side_by_side(
        lambda: partner_center.user(tenant_id, user_id), lambda: partner_center.licences(tenant_id, user_id)
    )
    if isinstance(user, UpstreamError):
        return {}
    see_domains(customer, table.domains_of([user]))
    held = [] if isinstance(licences, UpstreamError) else [licence.name for licence in licences]
    return templates.from_user(user, held)


def _page(
    request: OperatorRequest,
    row: UserTemplate,
    form: TemplateForm,
    *,
    refused: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    """`refused`: why a step beside saving was not done, by its name."""
    customer = row.customer
    context = {
        "customer": customer,
        "row": row,
        "form": form,
        "title": row.name or ("New template" if form.named else "Defaults"),
        "whose": customer.name if customer else "all customers",
        "list_url": _list_url(customer),
        "may_change": customer is not None or may(request.user, Permission.SET_DEFAULTS),
        "unseen": ", ".join(_unseen(row.rules)) if row.pk else "",
        "copy_refused": (refused or {}).get("copy", ""),
        "remove_refused": (refused or {}).get("remove", ""),
        "copy_to": request.POST.get("to", ""),
    }
    return render(request, "users/template.html", context, status=status)
