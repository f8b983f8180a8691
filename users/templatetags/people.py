"""Words for the pages of users: countries, roles, fields, and what support wants to know."""

from django import forms, template
from django.core.exceptions import NON_FIELD_ERRORS

from customers import countries
from partnerportal.upstream import roles
from users.changing import LABELS
from users.models import Operation

register = template.Library()


@register.filter
def country(code: str) -> str:
    """GB -> United Kingdom; what is no code stays as it is."""
    return countries.name_of(code)


@register.filter
def role_name(role_id: str) -> str:
    """The name of a role by its template id."""
    return roles.NAMES.get(role_id, role_id)


@register.filter
def field_label(name: str) -> str:
    """What a field is called on screens."""
    return LABELS.get(name, name.replace("_", " ").capitalize())


@register.filter
def field_value(value: object, name: str) -> object:
    """A field's value as people read it: names of countries and licences, not their codes."""
    if isinstance(value, dict):
        return ", ".join(value.values())
    if name == "state" and isinstance(value, str):
        return value.capitalize()
    return countries.name_of(value) if name == "usage_location" and isinstance(value, str) and value else value


@register.filter
def error_heading(form: forms.Form, outcome: str) -> str:
    """ "The user was not created: fix 3 fields"; the outcome alone when no field is to blame."""
    count = len(form.errors.keys() - {NON_FIELD_ERRORS})
    if not count:
        return outcome
    return f"{outcome}: fix {count} field{'s' if count > 1 else ''}"


@register.filter
def for_support(operation: Operation) -> str:
    """What to paste into a support ticket: no secret in it."""
    lines = [
        f"Action: {operation.get_kind_display()}",
        f"Tenant ID: {operation.tenant_id}",
        f"Answer: HTTP {operation.status}, code {operation.code or 'none'}",
        f"Microsoft said: {operation.detail}",
        f"MS-RequestId: {operation.op_id}",
        f"MS-CorrelationId: {operation.correlation_id}",
        f"Time: {operation.decided_at:%Y-%m-%d %H:%M:%S} UTC" if operation.decided_at else "",
    ]
    return "\n".join(filter(None, lines))
