"""What the views of users share: the head of a customer, refusals with reasons, forms that come back, outcomes."""

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from django.forms import Form
from django.http import Http404, HttpResponse, QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from customers.access import Access, Action, ActionDenied, Answer, Facts, access_to, judge
from customers.explain import Banner, banner, by_our_copy, how_to_get, request_for_lead, why_not, why_not_in_the_portal
from customers.find import access_customer
from customers.gdap import relationships
from customers.learning import see_domains
from customers.models import Customer, Source
from partnerportal import audit, chain_check, clock, grants, problems, sessions
from partnerportal.http import OperatorRequest, render_page, wants_part, with_query
from partnerportal.models import AuditEvent, Operator
from partnerportal.nav import freshness_of
from partnerportal.permissions import Permission, may
from partnerportal.upstream.errors import Forbidden, NotFound, SignInAgain, UpstreamError
from partnerportal.upstream.partner_center import CustomerUser

from . import (
    actions,
    first_licences,
    forms,
    kinds,
    names,
    new_forms,
    operations,
    refusals,
    table,
    templates,
)
from .around import Around
from .models import Operation

State = Operation.State


class NotShown(Exception):
    """Partner Center refused to show users. Carries what was known of the rights, and its error."""

    def __init__(self, access: Access, error: Forbidden) -> None:
        self.access, self.error = access, error
        super().__init__()


IN_RUNS = (Action.PATCH, Action.LICENCES, Action.DELETE, Action.RESTORE)
"""What may be done to several users at once."""


def shell(request: OperatorRequest, customer: Customer, access: Access, around: Around | None = None) -> dict[str, Any]:
    """What the head of every page of a customer shows: who it is, and what the operator may do here."""
    in_portal = may(request.user, Permission.WRITE_USERS)
    known = around or Around(request, customer)
    copied = _copied(access, Action.CREATE, customer, request.user)
    return {
        "customer": customer,
        "access": access,
        "banner": banner(access, customer, by=request.user, copied=copied),
        # Read where they are shown: a part draws no head and no rail.
        "is_favourite": SimpleLazyObject(lambda: known.is_favourite),
        "ages": SimpleLazyObject(lambda: Source.telling(customer, known.sources)),
        "undecided": SimpleLazyObject(lambda: known.undecided),
        "freshness": lambda: freshness_of(known.sources),
        "gdap_ends_soon": lambda: known.gdap_ends_soon,
        "may_create": in_portal and access[Action.CREATE].tried,
        "may_change": in_portal and access[Action.PATCH].tried,
        "may_license": in_portal and access[Action.LICENCES].tried,
        "may_delete": in_portal and access[Action.DELETE].tried,
        "may_restore": in_portal and access[Action.RESTORE].tried,
        "may_reset": in_portal and access[Action.RESET_PASSWORD].yes,
        "may_several": in_portal and any(access[action].yes for action in IN_RUNS),
        "why_no_reset": ""
        if access[Action.RESET_PASSWORD].yes
        else f"Setting a password here needs {access[Action.RESET_PASSWORD].needs}. "
        + why_not(access[Action.RESET_PASSWORD], customer),
    }


def _copied(access: Access, action: Action, customer: Customer, by: Operator) -> Access | None:
    """The rights by our copy of GDAP, which colleagues' tokens read, where Graph tells this person no yes and no no."""
    if access[action].answer is not Answer.CANNOT_TELL or by.groups_read_at is None:
        return None
    kept = relationships.facts(customer.tenant_id or "", by.groups)
    return judge(kept, clock.now()) if kept else None


def no_access(request: OperatorRequest, customer: Customer, access: Access, action: Action) -> HttpResponse:
    """The page that says why, instead of a table or a form. Nothing but the rights was asked."""
    verdict = access[action]
    in_portal = may(request.user, Permission.WRITE_USERS) or action is Action.LIST
    reasons = [] if in_portal else [why_not_in_the_portal(request.user)]
    if verdict.no or in_portal:
        reasons.append(why_not(verdict, customer))
    context = {**shell(request, customer, access), "action": action, "reason": " ".join(reasons)}
    context["banner"] = Banner("quiet", "")
    context["verdict"] = verdict
    context["steps"] = how_to_get(verdict) if verdict.no else ()
    context["request_text"] = request_for_lead(verdict, customer) if verdict.no else ""
    context["creates"] = may(request.user, Permission.WRITE_USERS) and access[Action.CREATE].yes
    return render_page(request, "users/no_access.html", "reason", context, status=403)


def refused(request: OperatorRequest, customer: Customer, access: Access, error: Forbidden) -> HttpResponse:
    """Partner Center did not let them see the users: what it said, and what we know of their rights.

    Rights that said yes are asked anew: a group or a relationship may have gone within the last minute.
    """
    if access[Action.LIST].yes:
        access = access_now(request, customer, fresh=True)
    if access[Action.LIST].no:
        return no_access(request, customer, access, Action.LIST)
    verdict = access[Action.LIST]
    known = "Graph says that you have the role. Microsoft can need some minutes after a change."
    request_text = ""
    steps: tuple[str, ...] = ()
    if not verdict.yes:
        copied = _copied(access, Action.LIST, customer, request.user)
        by_copy = copied[Action.LIST] if copied else verdict
        known = f"We could not check your roles ({verdict.problem}). {by_our_copy(copied, Action.LIST, customer)}"
        known = f"{known.strip()} Seeing the users needs {verdict.needs}."
        request_text = "" if by_copy.yes else request_for_lead(by_copy, customer)
        steps = how_to_get(by_copy) if by_copy.no else ()
    context = {**shell(request, customer, access), "action": Action.LIST, "verdict": verdict, "error": error}
    context |= {"reason": f"{error} {known}", "banner": Banner("quiet", "")}
    context |= {"request_text": request_text, "steps": steps}
    context["next_step"] = problems.denied("").next_step
    return render_page(request, "users/no_access.html", "reason", context, status=403)


def no_role(request: OperatorRequest, customer: Customer, action: Action, attempt: str) -> HttpResponse:
    """Somebody whose app role lets them look only has sent a form: written down, and refused with the reason."""
    about = audit.Subject(action=attempt, tenant_id=customer.tenant_id or "", customer_name=customer.name)
    result = audit.Result(outcome=AuditEvent.Outcome.DENIED, detail=why_not_in_the_portal(request.user))
    audit.note(about, result, by=request.user)
    return no_access(request, customer, access_now(request, customer), action)


def tenant_of(key: str) -> Customer:
    """A customer whose users Partner Center can be asked for. Raises Http404."""
    customer = access_customer(key)
    if customer.tenant_id is None:
        raise Http404("not in Partner Center")
    return customer


def access_now(request: OperatorRequest, customer: Customer, *, fresh: bool = False) -> Access:
    """The rights, for a page that has more to say than them: not even a sign-in that ran out stands in its way."""
    try:
        return access_to(customer.tenant_id or "", by=request.user, graph=grants.graph(request.grant), fresh=fresh)
    except UpstreamError as error:
        return judge(Facts(clock.now(), problem=str(error).rstrip(".")), clock.now())


def access_and_user(
    request: OperatorRequest, customer: Customer, user_id: uuid.UUID
) -> tuple[Access, CustomerUser | None]:
    """The rights and one user, asked side by side; None when the user is not in this customer.

    Raises `NotShown` when Partner Center does not let this operator see users here.
    """
    partner_center, graph = grants.partner_center(request.grant), grants.graph(request.grant)
    access, answers = table.beside_the_rights(
        customer,
        lambda: partner_center.user(customer.tenant_id or "", str(user_id)),
        by=request.user,
        graph=graph,
    )
    if access[Action.LIST].no or (isinstance(answers[0], NotFound) and answers[0].code == kinds.NO_SUCH_USER):
        return access, None
    if isinstance(answers[0], Forbidden):
        raise NotShown(access, answers[0])
    if isinstance(answers[0], UpstreamError):
        raise answers[0]
    return access, answers[0]


def gone(request: OperatorRequest, customer: Customer) -> HttpResponse:
    """The user is not in this customer (any more)."""
    return render_page(request, "users/gone.html", "reason", {"customer": customer}, status=404)


def strange(request: OperatorRequest, customer: Customer) -> HttpResponse:
    """An op_id that belongs to something else: nothing of it is shown."""
    return render_page(request, "users/used_form.html", "reason", {"customer": customer}, status=409)


def template_gone(request: OperatorRequest, customer: Customer) -> HttpResponse:
    """The address names a template that is not there any more."""
    return render_page(request, "users/template_gone.html", "reason", {"customer": customer}, status=409)


def still_open(
    request: OperatorRequest, customer: Customer, form: forms.UserForm, operation: Operation
) -> HttpResponse:
    """A second form for a name of which nobody knows yet whether it was created: one's own is shown, to be checked."""
    if operation.by_id == request.user.pk:
        return outcome(request, operations.settled(operation), "This name was sent before, in another form.")
    when = timezone.localtime(operation.created_at)
    reason = (
        f"{operation.by.name} sent a user with this name on {when:%-d %b %Y at %H:%M}, and nobody knows yet if it was "
        "created. Ask them to check, or choose another name."
    )
    return form_again(request, customer, form, "users/new.html", denied=reason, status=409)


def was_deleted(request: OperatorRequest, customer: Customer, form: forms.UserForm, user: CustomerUser) -> HttpResponse:
    """A deleted user had the name: Restore stands before a second user, who would make it impossible."""
    when = f" on {timezone.localtime(user.soft_deleted_at):%-d %b %Y}" if user.soft_deleted_at else ""
    name = form.cleaned_data["user_principal_name"]
    form.add_error(
        "user_name",
        f"{user.display_name} had the user name {name} and was deleted{when}. "
        "Restore that user, choose another name, or say below that a new user is wanted",
    )
    deleted_url = with_query(reverse("users", args=[customer.key]), {"state": "deleted"})
    return form_again(request, customer, form, "users/new.html", status=409, deleted_url=deleted_url)


def outcome(
    request: OperatorRequest,
    operation: Operation,
    trouble: str = "",
    *,
    unsent: str = "",
    link_form: forms.LinkForm | None = None,
    link_address: str = "",
    status: int = 200,
    asks: dict[str, Any] | None = None,
) -> HttpResponse:
    """What became of an operation: done, with the password for those who may see it, or not known.

    `trouble` says why it could not be found out just now, `unsent` why the licences of a new user were not sent.
    `link_address`: of a one-time link that was made just now. `asks`: what has to be proved before it goes again.
    """
    if operation.names_nobody:
        left = {"operation": operation, "customer": operation.customer}
        return render_page(request, "users/forgotten.html", "form_area", left)
    password = operations.password_of(operation, by=request.user, grant=request.grant)
    context = {
        "operation": operation,
        "customer": operation.customer,
        "password": password.reveal() if password else "",
        "user_name": operation.user_name,
        "is_create": operation.kind == Operation.Kind.CREATE,
        "form_url": form_of(operation),
        "trouble": trouble,
        "by_look_up": operation.checked_at is not None,
        "absent_words": _absent_words(operation),
        **(asks or {}),
    }
    if operation.state == State.DONE:
        links = list(operation.links.all())
        context |= {"links": links, "link_form": link_form or forms.LinkForm(), "link_address": link_address}
        context["kept_for_link"] = any(link.is_open for link in links)
        context["replaced"] = operation.sets_password and operations.newer_password(operation)
        context["first_licences"] = first_licences.told(operation, unsent)
        return render_page(request, "users/done.html", "form_area", context, status=status)
    if operation.undecided:
        context |= {"waits": operation.state == State.QUEUED, "first_licences": first_licences.told(operation)}
        return _in_place(request, render_page(request, "users/undecided.html", "form_area", context, status=status))
    return render_page(request, "users/not_done.html", "form_area", {**context, "refusal": refusals.explain(operation)})


def _in_place(request: OperatorRequest, response: HttpResponse) -> HttpResponse:
    """Where the form stood, whatever its status: htmx would put 403, 409 or 429 into the notice of the page."""
    if wants_part(request) and response.status_code not in (200, 422):
        response["HX-Retarget"], response["HX-Reswap"] = "#form-area", "outerHTML"
    return response


def _absent_words(operation: Operation) -> str:
    """That nobody had the name of a new user before it was sent; "" when that was not seen."""
    if operation.seen_absent_at is None:
        return ""
    return f"Nobody had this user name at {timezone.localtime(operation.seen_absent_at):%H:%M}. "


def another(request: OperatorRequest, operation: Operation, unsent: str = "") -> HttpResponse:
    """What was created, with its password, and below it the form for the next one: same customer, same template."""
    customer, access = operation.customer, access_now(request, operation.customer)
    password = operations.password_of(operation, by=request.user, grant=request.grant)
    partner_center = grants.partner_center(request.grant)
    offer = first_licences.offer(customer, access, by=request.user, partner_center=partner_center)
    fresh = partial(new_forms.fresh, request, customer, offer)
    try:
        form = fresh(template=request.POST.get("template", ""))
    except templates.TemplateGone:  # just now; the password is to be shown all the same
        form = fresh(template="")
    context = {
        **shell(request, customer, access),
        **new_forms.around(customer, form),
        "created": operation,
        "first_licences": first_licences.told(operation, unsent),
        "password": password.reveal() if password else "",
        "user_name": operation.fields["user_principal_name"],
    }
    return render_page(request, "users/new.html", "form_area", context)


def form_again(
    request: OperatorRequest,
    customer: Customer,
    form: Form,
    template: str,
    *,
    operation: Operation | None = None,
    denied: str = "",
    trouble: UpstreamError | None = None,
    status: int = 0,
    **more: Any,
) -> HttpResponse:
    """The form with what is to be fixed and all that was typed, but for the password.

    422; 403 when denied; the status of the trouble that came before anything was sent.
    """
    suggestions: list[str] = []
    sign_in_url = ""
    access = access_now(request, customer)
    if isinstance(form, new_forms.NewUserForm) and not access[Action.CREATE].tried:
        form = form.bare()
    if operation:
        refusal = refusals.explain(operation)
        form.add_error(refusal.field if refusal.field in form.fields else None, refusal.sentence)
        if refusal.field == "user_name" and isinstance(form, forms.UserForm):
            suggestions = _free_names(request, customer, form)
        if refusal.field == "domain" and (domain := refusals.federated_domain(operation)):
            see_domains(customer, {domain: "federated"})
        if operation.status == 401:
            sessions.remember_challenge(request, claims=operation.claims)
            sign_in_url = problems.sign_in_url(request.path)
    elif denied or trouble:
        form.add_error(None, denied or str(trouble))
    is_proposed = isinstance(form, forms.UserForm) and not form.data.get("user_name") and bool(form.proposal)
    form = _ready_again(form, was_answered=operation is not None)
    context = {
        **shell(request, customer, access),
        **(new_forms.around(customer, form) if isinstance(form, forms.UserForm) else {"form": form}),
        "operation": operation,
        "suggestions": suggestions,
        "is_proposed": is_proposed,
        "sign_in_url": sign_in_url,
        **more,
    }
    status = status or (problems.status_of(trouble) if trouble else 403 if denied else 422)
    return _in_place(request, render_page(request, template, "form_area", context, status=status))


NOT_SENT = (
    ActionDenied,
    actions.UserGone,
    actions.TooFast,
    operations.StrangeOperation,
    chain_check.Broken,
    UpstreamError,
)
"""What ends any write of a form before anything of it was sent."""


def not_sent(
    request: OperatorRequest, customer: Customer, error: Exception, again: Callable[..., HttpResponse]
) -> HttpResponse:
    """What is shown after one of `NOT_SENT`; `again` is the form, with what was typed. Raises `SignInAgain` on."""
    match error:
        case ActionDenied():
            return again(denied=error.reason)
        case actions.UserGone():
            return gone(request, customer)
        case actions.TooFast():
            return again(denied=actions.TOO_FAST, status=429)
        case operations.StrangeOperation():
            return strange(request, customer)
        case chain_check.Broken():
            return again(denied=str(error), status=503)
        case UpstreamError() if not isinstance(error, SignInAgain):
            return again(trouble=error)
    raise error


FORMS = {
    Operation.Kind.PATCH: "user-edit",
    Operation.Kind.RESET: "user-reset",
    Operation.Kind.DELETE: "user-delete",
    Operation.Kind.RESTORE: "user-restore",
    Operation.Kind.LICENCES: "user-licences",
}


def form_of(operation: Operation) -> str:
    """The address of the form from which an operation came."""
    kind = Operation.Kind(operation.kind)
    if kind is Operation.Kind.CREATE or not operation.target_id:  # licences of somebody who was not created
        return reverse("user-new", args=[operation.customer.key])
    return reverse(FORMS[kind], args=[operation.customer.key, operation.target_id])


def _ready_again(form: Form, *, was_answered: bool) -> Form:
    """The same form and errors; the password is asked for again, and after an answered write comes a new `op_id`.

    Where no user name was typed the proposed one stands there: without scripts nobody else has made it.
    """
    data = QueryDict(mutable=True)
    data.update(form.data)
    data["password"] = ""
    if isinstance(form, forms.UserForm):
        data["user_name"] = data.get("user_name") or form.proposal
    if was_answered or "op_id" in form.errors:
        data["op_id"] = str(forms.new_op_id())
    form.data = data
    return form


def _free_names(request: OperatorRequest, customer: Customer, form: forms.UserForm) -> list[str]:
    """Up to two free names to offer, where looking takes no more than a few calls."""
    typed, _, domain = form.cleaned_data["user_principal_name"].partition("@")
    try:
        partner_center = grants.partner_center(request.grant)
        taken = kinds.taken_names(partner_center, customer.tenant_id or "", domain)
    except UpstreamError:
        return []
    first, last = form.cleaned_data.get("first_name", ""), form.cleaned_data.get("last_name", "")
    if taken is None:
        return []
    if form.user_name_is_locked:  # else what is offered would be refused
        return names.free(names.numbered(form.proposal or typed), taken, most=2)
    return names.free(names.others(first, last, typed), taken, most=2)
