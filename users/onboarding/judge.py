"""What becomes of one row: the user that it would make, and what stands in its way, in words. Nothing is asked here.

The shape is judged by the form for a new user, so that a file is held to no other rules than a person.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from customers import countries
from customers.models import Customer
from partnerportal.upstream.licences import SubscribedSku
from partnerportal.upstream.partner_center import CustomerUser

from .. import forms, names, templates
from ..first_licences import near, of_skus, parted
from ..models import OnboardingRow
from ..new_forms import NewUserForm
from ..tally import Tally
from . import cells
from .columns import FIELDS
from .sheet import shortened

State = OnboardingRow.State
Problem = dict[str, Any]
"""{"field", "sentence"}, and "choices" where there is something to choose: [[value, words]]; see `against`."""


@dataclass(frozen=True)
class Facts:
    """What is known of a customer when its rows are judged."""

    problem: str = ""  # why no row of it can go now, as a sentence
    why_no_licences: str = ""
    domains: frozenset[str] = frozenset()  # verified ones
    active: Mapping[str, CustomerUser] = field(default_factory=dict)  # user name in small letters -> user
    deleted: Mapping[str, CustomerUser] = field(default_factory=dict)
    whole: bool = True  # all of its users were looked at
    skus: tuple[SubscribedSku, ...] | None = None  # None: nobody asked, or we may not see them


@dataclass
class Judged:
    """A row as it would go: what is to be true of the user, and what was found."""

    fields: dict[str, str] = field(default_factory=dict)
    force_change: bool = True
    licences: dict[str, str] = field(default_factory=dict)  # SKU id -> name
    by_template: bool = False  # these licences
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)

    def against(self, name: str, sentence: str, choices: Iterable[tuple[str, str]] = (), **there: str) -> None:
        """`there`: the id of the user who has the name already, and the row state that this means."""
        found = {"field": name, "sentence": sentence, "choices": [list(each) for each in choices]}
        self.problems.append(found | ({"there": there} if there else {}))

    @property
    def user_name(self) -> str:
        return self.fields.get("user_principal_name", "")


class RowForm(NewUserForm):
    """The form for a new user, filled by a row. No page shows it, so it offers no countries: the row's is known."""

    def _locations(self, seen: Tally) -> forms.Locations:
        code = self._said("usage_location")
        return [("", ""), (code, code)]


def judge(typed: Mapping[str, str], customer: Customer, facts: Facts, rules: Mapping[str, templates.Rule]) -> Judged:
    """One row by itself, beside what its customer has. What rows have in common, `together` judges."""
    judged = Judged()
    rules = {name: rule for name, rule in rules.items() if name != "password_mode"}  # no file holds passwords
    if facts.problem:
        judged.against("customer", facts.problem)
    form = RowForm(_as_posted(typed, customer, rules, judged), customer=customer, rules=rules)
    form.is_valid()
    _take_errors(form, judged)
    judged.fields = {name: form.cleaned_data.get(name, "") for name in _TOLD}
    judged.force_change = bool(form.cleaned_data.get("force_change", True))
    if not facts.problem and not any(problem["field"] in ("user_name", "domain") for problem in judged.problems):
        _judge_name(judged, customer, facts)
    _judge_sign_in(typed, judged)
    _note_domain(typed, judged)
    if cells.yes_or_no(typed.get("licences", "")) is False:  # none is wanted, whatever a template fills in
        _require_licences(rules.get("licences"), judged, facts)
    elif typed.get("licences", ""):
        _judge_licences(typed["licences"], judged, facts)
    elif "licences" in rules:
        _take_licences(rules["licences"], judged, facts)
    return judged


def _judge_sign_in(typed: Mapping[str, str], judged: Judged) -> None:
    """Partner Center creates nobody who may not sign in, so a row that asks for it is not sent as if it had not."""
    for name, wanted in (("blocked", False), ("enabled", True)):
        said = typed.get(name, "")
        if not said or (answer := cells.yes_or_no(said)) is wanted:
            continue
        if answer is None:
            judged.against(name, f"“{shortened(said)}” is neither yes nor no")
            continue
        write = "yes" if wanted else "no"
        judged.against(
            name, f"A user who may not sign in cannot be created from here. Write {write}, and block them later"
        )


_TOLD = ("user_principal_name", "display_name", "first_name", "last_name", "usage_location", "immutable_id")


def _as_posted(
    typed: Mapping[str, str], customer: Customer, rules: Mapping[str, templates.Rule], judged: Judged
) -> dict[str, str]:
    """The row as a browser would send the form; what a template fixes stands as it is fixed."""
    said = dict.fromkeys(FIELDS, "") | dict(typed)
    fixed = {name: rule for name, rule in rules.items() if rule.fixed and name != "user_name"}
    filled = {name: rule.value for name, rule in rules.items() if name not in ("user_name", "display_name")}
    for name, rule in fixed.items():
        if said.get(name) and name != "display_name" and not _is_same(name, said[name], rule.value):
            value = templates.value_in_words(name, rule.value) or "empty"
            judged.against(name, f"{FIELDS[name]} is locked by {rule.source}: {value}. Leave the cell empty")
            said[name] = ""
    first, last = said["first_name"], said["last_name"]
    said["user_name"] = said["user_name"] or _proposed(first, last, said["display_name"], rules)
    return {
        "op_id": str(forms.new_op_id()),
        **{name: said[name] or filled.get(name, "") for name in ("first_name", "last_name", "immutable_id")},
        "display_name": "" if "display_name" in fixed else said["display_name"],
        "user_name": said["user_name"],
        "domain": said["domain"].lower() or filled.get("domain", "") or forms.best_domain(customer),
        "usage_location": _location(said["usage_location"], judged)
        or filled.get("usage_location")
        or customer.country_code,
        "password_mode": NewUserForm.MADE,
        "force_change": templates.ON if _must_change(said["force_change"], filled, judged) else templates.OFF,
    }


def _is_same(name: str, said: str, value: str) -> bool:
    if name == "usage_location":
        return cells.country_of(said) == value
    if name == "force_change":
        return cells.yes_or_no(said) == (value == templates.ON)
    return said.lower() == value.lower()


def _proposed(first: str, last: str, display: str, rules: Mapping[str, templates.Rule]) -> str:
    """A user name for a row that has none, by the pattern that holds here."""
    rule = rules.get("user_name")
    if not (first or last):
        first, _, last = display.partition(" ")
    return names.propose(first, last, rule.value if rule and rule.value else names.USUAL)


def _location(said: str, judged: Judged) -> str:
    code = cells.country_of(said) if said else ""
    if said and not code:
        meant = cells.country_meant(said)
        also = f" Did you mean {meant}?" if meant else ""
        choices = [(cells.country_of(meant), f"Use {meant}")] if meant else []
        judged.against("usage_location", f"“{shortened(said)}” is no country or region that we know.{also}", choices)
    return code


def _must_change(said: str, filled: Mapping[str, str], judged: Judged) -> bool:
    answer = cells.yes_or_no(said) if said else filled.get("force_change", templates.ON) == templates.ON
    if answer is None:
        judged.against("force_change", f"“{shortened(said)}” is neither yes nor no")
    return answer is not False


def _take_errors(form: RowForm, judged: Judged) -> None:
    """The form's errors on the cells in which they can be mended. What was told already is not told twice."""
    told = {problem["field"] for problem in judged.problems}
    for name, errors in form.errors.items():
        place = {"other_domain": "domain", "__all__": "user_name"}.get(name, name)
        if place not in FIELDS:
            place = "user_name"
        if place not in told:
            judged.against(place, " ".join(str(error) for error in errors))


def _judge_name(judged: Judged, customer: Customer, facts: Facts) -> None:
    """Whether the user name can be had: its domain, the active users, the deleted ones."""
    name = judged.user_name.lower()
    local, domain = names.parted(name)
    if domain not in facts.domains:
        near = get_close_matches(domain, facts.domains, n=1, cutoff=0.6)
        also = f" Did you mean {near[0]}?" if near else f" It has {_in_words(sorted(facts.domains))}."
        choices = [(f"{local}@{near[0]}", f"Use {local}@{near[0]}")] if near else []
        judged.against("user_name", f"{domain} is not a domain of {customer.name}.{also}", choices)
    elif there := facts.active.get(name):
        if all(str(getattr(there, each)).lower() == judged.fields[each].lower() for each in _SAME):
            sentence = f"{there.display_name} is there already, with the same values. Nothing to do"
            judged.against("user_name", sentence, id=there.id, state=State.CONFLICT)
        else:
            sentence = f"The user name {name} is taken by {there.display_name}."
            judged.against("user_name", sentence, free(judged, facts), id=there.id, state=State.DIFFERS)
    elif deleted := facts.deleted.get(name):
        judged.against(
            "user_name",
            f"{deleted.display_name} had the user name {name} and was deleted. Restore them, or choose another name.",
            free(judged, facts),
        )
    elif not facts.whole:
        sentence = (
            f"{customer.name} has too many users to look at them all, so the name may be taken. Microsoft decides"
        )
        judged.notes.append({"field": "user_name", "sentence": sentence})


def _note_domain(typed: Mapping[str, str], judged: Judged) -> None:
    """A whole user name goes before the column beside it; who wrote another domain there is told."""
    said, used = typed.get("domain", ""), names.parted(judged.user_name)[1]
    if said and used and said.lower() != used:
        sentence = f"The user name has the domain {used}, so {shortened(said)} in the domain’s cell is not used"
        judged.notes.append({"field": "domain", "sentence": sentence})


_SAME = ("display_name", "first_name", "last_name", "usage_location")


def free(judged: Judged, facts: Facts, also_taken: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Two user names of the same domain that nobody has, to choose from."""
    local, domain = names.parted(judged.user_name)
    taken = {
        names.parted(name)[0] for name in (*facts.active, *facts.deleted, *also_taken) if name.endswith(f"@{domain}")
    }
    proposals = names.others(judged.fields.get("first_name", ""), judged.fields.get("last_name", ""), local)
    return [(f"{each}@{domain}", f"Use {each}@{domain}") for each in names.free(proposals, taken, most=2)]


_MOST_NAMED = 5  # licences that a row is told it cannot have


def _judge_licences(said: str, judged: Judged, facts: Facts) -> None:
    """The licences of a row, by name or part number, separated as `parted` has it."""
    if facts.problem:
        return
    if facts.why_no_licences or facts.skus is None:
        why = facts.why_no_licences or "We cannot see which licences the customer has."
        judged.against("licences", f"{why} Leave the cell empty to create the user without one")
        return
    by_stock = sorted(facts.skus, key=lambda sku: sku.available)  # of two of one name the fuller counts
    known = {countries.fold(text): sku for sku in by_stock for text in (sku.part_number, sku.name) if text}
    named = {each: known.get(countries.fold(each)) for each in parted(said, known)}
    judged.licences = {sku.id: sku.name for sku in named.values() if sku}
    names = {text: sku.name for text, sku in known.items()}
    unknown = [each for each, sku in named.items() if sku is None]
    for each in unknown[:_MOST_NAMED]:
        also = near(each, names)
        judged.against("licences", f"The customer has no licence “{shortened(each)}”.{also}")
    if (more := len(unknown) - _MOST_NAMED) > 0:
        judged.against("licences", f"{more:,} more names are no licences of the customer either")
    groups = {sku.group for sku in facts.skus if sku.id in judged.licences}
    if len(groups) > 1:
        judged.against("licences", "Microsoft assigns these licences only one after the other. Leave one out")


def _require_licences(rule: templates.Rule | None, judged: Judged, facts: Facts) -> None:
    """A row without a licence where templates want one; not where there is none to name, as in the form."""
    can_name = not facts.why_no_licences and any(sku.available > 0 for sku in facts.skus or ())
    if rule and rule.mode == templates.REQUIRED and can_name:
        judged.against("licences", f"Licences are required by {rule.source}. Name one")


def _take_licences(rule: templates.Rule, judged: Judged, facts: Facts) -> None:
    """The licences that templates give to a row which names none. What cannot be had is a note, and stops nobody."""
    if not rule.value:
        _require_licences(rule, judged, facts)
    if facts.problem or not rule.value:
        return
    left_out = facts.why_no_licences
    if facts.skus is not None and not left_out:
        offer = of_skus(facts.skus)
        preset = offer.preset(rule.value)
        left_out, judged.by_template = preset.left_out, True
        judged.licences = {sku_id: offer.skus[sku_id]["name"] for sku_id in preset.chosen}
    if left_out or facts.skus is None:
        sentence = f"{left_out} {rule.value}, set by {rule.source}, is not assigned".strip()
        judged.notes.append({"field": "licences", "sentence": sentence})


# --- What rows of one customer have in common -----------------------------------------------------------------


def together(rows: Mapping[int, Judged], facts: Facts, elsewhere: Mapping[str, str]) -> None:
    """Judge the rows of one customer (by line) against each other; `elsewhere`: user name -> who creates it already."""
    lines: dict[str, list[int]] = {}
    for line, judged in sorted(rows.items()):
        if judged.user_name and not any(problem["field"] == "user_name" for problem in judged.problems):
            lines.setdefault(judged.user_name.lower(), []).append(line)
    for name, same in lines.items():
        if name in elsewhere:
            for line in same:
                rows[line].against("user_name", elsewhere[name])
        elif len(same) > 1:
            for line in same:
                others = _in_words([str(each) for each in same if each != line])
                sentence = (
                    f"Row{'s'[: len(same) > 2]} {others} {'have' if len(same) > 2 else 'has'} this user name too."
                )
                rows[line].against("user_name", sentence, free(rows[line], facts, lines))
    _judge_stock(rows, facts)


def _judge_stock(rows: Mapping[int, Judged], facts: Facts) -> None:
    """Rows for which no licence is left, counted over the rows that can go, in the order of the file."""
    ready = {line: judged for line, judged in sorted(rows.items()) if not judged.problems}
    needed = Counter(sku for judged in ready.values() for sku in judged.licences)
    for sku in facts.skus or ():
        short = needed[sku.id] - max(sku.available, 0)
        if short > 0:
            with_it = [judged for judged in ready.values() if sku.id in judged.licences]
            with_it.sort(key=lambda judged: judged.by_template)  # what was asked for goes before what a template gives
            for judged in with_it[-short:]:
                if judged.by_template:
                    del judged.licences[sku.id]
                    judged.notes.append({"field": "licences", "sentence": f"None left of {sku.name}: created without"})
                    continue
                judged.against(
                    "licences",
                    f"{sku.name}: this run needs {needed[sku.id]:,}, {max(sku.available, 0):,} free. "
                    "Buy more, or leave the cell empty to create the user without it",
                )


def _in_words(things: list[str]) -> str:
    shown = things[:4]
    more = f" and {len(things) - 4:,} more" if len(things) > 4 else ""
    return ", ".join(shown) + more
