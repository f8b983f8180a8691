"""The form of a template: for each field of a new user a rule and a value."""

from typing import Any

from django import forms

from customers import countries
from customers.models import Customer
from partnerportal.widgets import Select

from . import names, templates
from .forms import FEDERATED, TextField, federated_domains, location_choices

LONGEST = 60  # characters of a name
NO_RULE = "No rule here"
LICENCES_HINT = (
    "Names or part numbers, with | between them, such as SPB. Chosen where the customer has them, some are left and "
    "whoever creates the user may assign them."
)
_LONGEST = {"immutable_id": 128, "licences": 400}


class TemplateForm(forms.Form):
    """`customer` None is for all customers; `named` is False for the defaults, of which there is one set."""

    version = forms.IntegerField(widget=forms.HiddenInput, min_value=0, max_value=10**6, initial=0)

    def __init__(self, *args: Any, customer: Customer | None, named: bool, **kwargs: Any) -> None:
        self.customer, self.named = customer, named
        super().__init__(*args, **kwargs)
        if named:
            self.fields["name"] = TextField(label="Name of the template", max_length=LONGEST)
            self.fields["name"].error_messages["required"] = "Enter a name, such as the team or the office it is for"
        for name in self.names:
            label, modes = templates.FIELDS[name]
            self.fields[f"{name}_mode"] = forms.ChoiceField(
                label=label,
                required=False,
                widget=Select,
                choices=[("", NO_RULE), *((mode, templates.MODES[mode]) for mode in modes)],
            )
            self.fields[f"{name}_value"] = self._value_field(name, label)

    @property
    def names(self) -> list[str]:
        """The fields that have rules here: a domain belongs to one customer."""
        return [name for name in templates.FIELDS if name != "domain" or self.customer]

    @property
    def pairs(self) -> list[tuple[forms.BoundField, forms.BoundField]]:
        """(rule, value) of each field."""
        return [(self[f"{name}_mode"], self[f"{name}_value"]) for name in self.names]

    def _value_field(self, name: str, label: str) -> forms.Field:
        label = f"{label}: value"
        if name in templates.MAY_BE_EMPTY:
            hint = LICENCES_HINT if name == "licences" else ""
            return TextField(label=label, required=False, max_length=_LONGEST.get(name, 64), help_text=hint)
        return forms.ChoiceField(label=label, required=False, widget=Select, choices=self._choices(name))

    def _choices(self, name: str) -> list[Any]:
        if name == "usage_location":
            plain = [("", "Choose a country or region"), *countries.names().items()]
            return location_choices(self.customer) if self.customer else plain
        if name == "domain":
            domains = [*self.customer.domains, *sorted(self.customer.seen_domains)] if self.customer else []
            kept = str(self.initial.get("domain_value", ""))
            return [("", "Choose a domain"), *((each, each) for each in dict.fromkeys([*domains, kept]) if each)]
        if name == "display_name":
            return [("", "Choose a pattern"), *((each, names.display("Maya", "Lind", each)) for each in names.DISPLAY)]
        if name == "user_name":
            shown = [(each, f"{each}: {names.propose('Maya', 'van Lind', each)}") for each in names.PATTERNS]
            return [("", "Choose a pattern"), *shown]
        return [("", "Choose a value"), *templates.WORDS[name].items()]

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if not countries.fold(name):
            raise forms.ValidationError("Enter a name with letters or numbers in it")
        return name

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for name in self.names:
            mode, value = cleaned.get(f"{name}_mode", ""), cleaned.get(f"{name}_value", "")
            if f"{name}_value" not in self.errors and (problem := self._problem(name, mode, value)):
                self.add_error(f"{name}_value" if mode else f"{name}_mode", problem)
        return cleaned

    def _problem(self, name: str, mode: str, value: str) -> str:
        """Why a rule and a value do not go together, as a sentence."""
        label = templates.FIELDS[name][0]
        if not mode:
            return f"Choose a rule for the value of {label}, or take the value out" if value else ""
        if not value and (name not in templates.MAY_BE_EMPTY or mode == templates.DEFAULT):
            return f"Choose what {label} is to be"
        if name == "domain" and self.customer and value in federated_domains(self.customer):
            return FEDERATED.format(domain=value)
        if name == "password_mode" and (mode, value) == (templates.HIDDEN, "typed"):
            return "A password that is typed needs its field. Lock it instead of hiding it"
        return ""

    @property
    def rules(self) -> dict[str, dict[str, str]]:
        """What was chosen, as a template keeps it."""
        said = self.cleaned_data
        return {
            name: {"mode": said[f"{name}_mode"], "value": said[f"{name}_value"]}
            for name in self.names
            if said[f"{name}_mode"]
        }


def initial_of(name: str, rules: templates.Rules, version: int) -> dict[str, Any]:
    """What the form of a template is filled with."""
    modes = {f"{field}_mode": rule["mode"] for field, rule in rules.items()}
    values = {f"{field}_value": rule["value"] for field, rule in rules.items()}
    return {"name": name, "version": version, **modes, **values}
