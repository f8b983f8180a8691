"""What the form for a new user is opened with: templates, another user, the address; the nearer wins, locks hold."""

import uuid
from collections.abc import Mapping
from typing import Any

from customers import countries
from customers.models import Customer
from partnerportal import grants
from partnerportal.http import OperatorRequest, typed
from partnerportal.upstream.errors import UpstreamError

from . import forms, names, tally, templates

# What an address may fill in, for anybody can send one. Never a password, nor what says how it is made; nor the
# immutable ID, which ties the user to somebody in another directory for good.
FROM_ADDRESS = ("first_name", "last_name", "display_name", "user_name", "domain", "usage_location")
GONE = (
    "The template of this form is not there any more, so what it locked is open now. "
    "Check the fields and send the form again, without it"
)
Sources = dict[str, tuple[str, str]]
"""Field -> (value, where it is from)."""


def opened(request: OperatorRequest, customer: Customer) -> forms.NewUserForm:
    """The form as a GET asks for it. Raises `TemplateGone`."""
    return fresh(request, customer, template=typed(request.GET.dict(), "template"))


def fresh(request: OperatorRequest, customer: Customer, *, template: str) -> forms.NewUserForm:
    """An empty form with its defaults, after the template of this number. Raises `TemplateGone`."""
    chosen = templates.chosen(customer, template)
    rules, seen = templates.rules_for(customer, chosen), tally.of(customer)
    asked = request.GET.dict() if request.method == "GET" else {}
    sources = _like(request, customer, asked.get("like", "")) | _from_address(customer, asked)
    initial = {
        "op_id": forms.new_op_id(),
        "template": chosen.pk if chosen else "",
        "domain": forms.best_domain(customer, seen),
        "usage_location": customer.country_code,
        **templates.initial_of(rules),
        **{name: value for name, (value, _) in sources.items() if name not in rules or not rules[name].fixed},
    }
    return forms.NewUserForm(initial=initial, customer=customer, seen=seen, rules=rules, sources=sources)


def sent(request: OperatorRequest, customer: Customer) -> forms.NewUserForm:
    """The form as it was posted, under the rules of its template as they are now; with an error when it is gone."""
    data, chosen, gone = request.POST.copy(), None, False
    try:
        chosen = templates.chosen(customer, data.get("template", ""))
    except templates.TemplateGone:
        data["template"], gone = "", True
    rules = templates.rules_for(customer, chosen)
    form = forms.NewUserForm(data, customer=customer, seen=tally.of(customer), rules=rules)
    if gone and form.errors is not None:  # which judges the rest first
        form.add_error(None, GONE)
    return form


def around(customer: Customer, form: forms.UserForm) -> dict[str, Any]:
    """What stands on the page of the form: the form, and the templates to choose from."""
    said = form.data.get("template", "") if form.is_bound else form.initial.get("template", "")
    return {"form": form, "templates": templates.to_choose(customer), "template_id": str(said)}


def _like(request: OperatorRequest, customer: Customer, said: str) -> Sources:
    """?like=<user id> fills location and domain from another user, never the names."""
    try:
        model = grants.partner_center(request.grant).user(customer.tenant_id or "", str(uuid.UUID(said)))
    except (ValueError, UpstreamError):
        return {}
    found = {"usage_location": model.usage_location}
    domain = names.parted(model.user_principal_name)[1]
    if domain not in forms.federated_domains(customer):
        found["domain"] = domain
    return {name: (value, f"from {model.display_name}") for name, value in found.items() if value}


def _from_address(customer: Customer, asked: Mapping[str, str]) -> Sources:
    """The known fields of the address, as far as they can be filled in."""
    found = {name: forms.tidy(typed(asked, name)) for name in FROM_ADDRESS}
    domain, location = found["domain"].lower(), found["usage_location"].upper()
    is_domain = not names.domain_problem(domain) and domain not in forms.federated_domains(customer)
    found["domain"] = domain if is_domain else ""
    found["usage_location"] = location if location in countries.names() else ""
    return {name: (value, "from the address of this page") for name, value in found.items() if value}
