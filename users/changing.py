"""Changing a user: the form from a fresh read, the review of what changes, the save, and who was faster."""

import uuid
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from customers import countries
from customers.access import Access, Action, ActionDenied
from customers.models import Customer
from partnerportal import grants
from partnerportal.http import OperatorRequest, render_page, wants_part
from partnerportal.permissions import Permission, may, require
from partnerportal.upstream.errors import UpstreamError
from partnerportal.upstream.partner_center import CustomerUser

from . import actions, forms, kinds, names, pages, tally
from .models import Operation

State = Operation.State


@require_http_methods(["GET", "POST"])
@require(Permission.VIEW)
def user_edit(request: OperatorRequest, key: str, user_id: uuid.UUID) -> HttpResponse:
    """The form of a user, filled from a fresh read; a POST leads to the review, and from there to the save."""
    customer = pages.tenant_of(key)
    if request.method == "POST":
        return _change(request, customer, user_id)
    try:
        access, person = pages.access_and_user(request, customer, user_id)
    except pages.NotShown as refusal:
        return pages.refused(request, customer, refusal.access, refusal.error)
    if not (may(request.user, Permission.WRITE_USERS) and access[Action.PATCH].tried):
        return pages.no_access(request, customer, access, Action.PATCH)
    if access[Action.LIST].no:  # the form could not be filled
        return pages.no_access(request, customer, access, Action.LIST)
    if person is None or person.is_deleted:
        return pages.gone(request, customer)
    return _edit_form(request, customer, access, person)


def _edit_form(request: OperatorRequest, customer: Customer, access: Access, person: CustomerUser) -> HttpResponse:
    values = kinds.values_of(person)
    local, domain = names.parted(person.user_principal_name)
    initial = {
        **values,
        "op_id": forms.new_op_id(),
        "was": forms.before_image(values),
        "user_name": local,
        "domain": domain,
    }
    form = _form(request, customer, person.id, initial=initial)
    context = {**pages.shell(request, customer, access), "form": form, "person": person, "user_id": person.id}
    return render(request, "users/edit.html", context)


def _change(request: OperatorRequest, customer: Customer, user_id: uuid.UUID) -> HttpResponse:
    if not may(request.user, Permission.WRITE_USERS):
        return pages.no_role(request, customer, Action.PATCH, "change user")
    form = _form(request, customer, user_id, data=_resolved(request))
    again = partial(pages.form_again, request, customer, form, "users/edit.html", user_id=user_id)
    if not form.is_valid():
        return again()
    step = request.POST.get("step")
    if step == "edit":
        context = {
            **pages.shell(request, customer, pages.access_now(request, customer)),
            "form": form,
            "user_id": user_id,
        }
        return render_page(request, "users/edit.html", "form_area", context)
    if not form.changes and not form.wants_password:
        return again(nothing_changed=True)
    if step == "save":
        return _save(request, customer, user_id, form)
    return _review(request, customer, user_id, form)


def _form(request: OperatorRequest, customer: Customer, user_id: uuid.UUID | str, **filled: Any) -> forms.EditUserForm:
    """The form of this operator about this user: what is sealed in it opens in no other."""
    owner = f"{request.user.pk}/{user_id}"
    return forms.EditUserForm(customer=customer, seen=tally.of(customer), owner=owner, **filled)


def _resolved(request: OperatorRequest) -> Any:
    """The posted form; where a conflict asked which value to keep, "theirs" replaces what was typed."""
    data = request.POST.copy()
    theirs = [name.removeprefix("keep_") for name, value in data.items() if value == "theirs"]
    if not theirs:
        return data
    try:
        current = forms.opened_before_image(data.get("was", ""))
    except ValidationError:
        return data
    for name in theirs:
        if name == "user_principal_name":
            data["user_name"], data["domain"] = names.parted(current[name])
        elif name in current:
            data[name] = current[name]
    return data


LABELS = {
    "display_name": "Display name",
    "first_name": "First name",
    "last_name": "Last name",
    "user_principal_name": "User name",
    "usage_location": "Usage location",
    "phone_number": "Phone",
    "immutable_id": "Immutable ID",
    "state": "State",
    "licences": "Licences",
}


def _review(request: OperatorRequest, customer: Customer, user_id: uuid.UUID, form: forms.EditUserForm) -> HttpResponse:
    """Field / Now / After, only what changes, before anything is sent."""
    rows = [
        {"label": LABELS[name], "now": _in_words(name, form.before[name]), "after": _in_words(name, value)}
        for name, value in form.changes.items()
    ]
    if form.wants_password:
        rows.append({"label": "Password", "now": "", "note": "Not shown", "after": "New temporary password"})
    context = {
        **pages.shell(request, customer, pages.access_now(request, customer)),
        "form": form,
        "rows": rows,
        "unchanged": len(form.before) - len(form.changes),
        "name": form.before["display_name"],
        "user_id": user_id,
        "hidden": _carried(form),
    }
    return render_page(request, "users/review.html", "form_area", context)


def _in_words(name: str, value: str) -> str:
    """The value of a field as people read it."""
    return countries.name_of(value) if name == "usage_location" else value


def _carried(form: forms.EditUserForm, **changed: str) -> list[tuple[str, str]]:
    """All that the review page has to hand on to the save, the typed password sealed."""
    kept = [(name, form.data.get(name, "")) for name in form.fields if name not in ("password", "sealed_password")]
    pairs = dict(kept) | {"sealed_password": form.sealed_for_review(changed.get("op_id", ""))} | changed
    if not form.cleaned_data["force_change"]:
        pairs.pop("force_change", None)
    return list(pairs.items())


def _save(request: OperatorRequest, customer: Customer, user_id: uuid.UUID, form: forms.EditUserForm) -> HttpResponse:
    again = partial(pages.form_again, request, customer, form, "users/edit.html", user_id=user_id)
    try:
        change = actions.Change(
            user_id=str(user_id),
            before=form.before,
            fields=form.changes,
            new_password=form.wants_password,
            password=form.typed_password,
            force_change=form.cleaned_data["force_change"],
        )
        op_id = form.cleaned_data["op_id"]
        operation = actions.change_user(change, customer=customer, op_id=op_id, by=request.user, grant=request.grant)
    except ActionDenied as denied:
        reason = denied.reason
        if denied.verdict.action is Action.RESET_PASSWORD:
            reason = f"Setting a password here needs {denied.verdict.needs}. {reason}"
        return again(denied=reason)
    except actions.Administrator as powerful:
        held = ", ".join(powerful.roles)
        return again(denied=f"This user has {held}. Set the password on its own page: Reset password.")
    except actions.ChangedMeanwhile as changed:
        return _conflict(request, customer, user_id, form, changed)
    except pages.NOT_SENT as error:
        return pages.not_sent(request, customer, error, again)
    if operation.was_too_late and (meanwhile := _what_changed(request, customer, user_id, form)):
        return _conflict(request, customer, user_id, form, meanwhile)
    if operation.state in {State.REFUSED, State.CONFLICT, State.DENIED}:
        return again(operation=operation)
    return pages.outcome(request, operation)


def _what_changed(
    request: OperatorRequest, customer: Customer, user_id: uuid.UUID, form: forms.EditUserForm
) -> actions.ChangedMeanwhile | None:
    """What Microsoft meant by "changed meanwhile"; None when the user looks as before, or cannot be read."""
    try:
        person = grants.partner_center(request.grant).user(customer.tenant_id or "", str(user_id))
    except UpstreamError:
        return None
    current = kinds.values_of(person)
    return actions.ChangedMeanwhile(current, form.before) if current != form.before else None


def _conflict(
    request: OperatorRequest,
    customer: Customer,
    user_id: uuid.UUID,
    form: forms.EditUserForm,
    changed: actions.ChangedMeanwhile,
) -> HttpResponse:
    """Somebody was faster: per field, keep theirs or use mine. Nothing was saved."""
    rows = []
    typed: dict[str, str] = {}
    for name in kinds.EDITABLE:
        was, theirs = changed.before.get(name, ""), changed.current[name]
        mine = form.changes.get(name, was)
        if name not in form.changes:
            typed[name] = theirs
        if theirs != was:
            needs_choice = name in form.changes and mine != theirs
            rows.append(
                {
                    "label": LABELS[name],
                    "now": _in_words(name, was),
                    "theirs": _in_words(name, theirs),
                    "after": _in_words(name, mine),
                }
                | ({"name": f"keep_{name}"} if needs_choice else {})
            )
    if "user_principal_name" in typed:
        typed["user_name"], typed["domain"] = names.parted(typed.pop("user_principal_name"))
    carried = _carried(form, was=forms.before_image(changed.current), op_id=str(forms.new_op_id()), **typed)
    context = {
        **pages.shell(request, customer, pages.access_now(request, customer)),
        "name": changed.before["display_name"],
        "rows": rows,
        "choices": [row for row in rows if "name" in row],
        "mine": form.changes or form.wants_password,
        "hidden": carried,
        "user_id": user_id,
    }
    response = render_page(request, "users/conflict.html", "form_area", context, status=409)
    if wants_part(request):
        response["HX-Retarget"], response["HX-Reswap"] = "#form-area", "outerHTML"
    return response
