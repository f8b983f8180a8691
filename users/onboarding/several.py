"""Several users of a customer, selected in its table: what is to be done to them, and the run that is made of it.

Nothing is sent here. The run is stored with its rows as they are now, and looked over on its own page.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django import forms
from django.db import IntegrityError, transaction
from django.http import HttpResponse
from django.urls import reverse

from customers import countries
from customers.access import Access
from customers.models import Customer
from partnerportal import clock, grants
from partnerportal.http import OperatorRequest, go_to, post_only, render_page
from partnerportal.models import Operator
from partnerportal.permissions import Permission, require
from partnerportal.upstream.errors import UpstreamError
from partnerportal.upstream.licences import SubscribedSku
from partnerportal.upstream.partner_center import CustomerUser, PartnerCenter

from .. import actions, kinds, licensing, pages, table, tally
from ..forms import TOO_OLD, location_choices, new_op_id
from ..models import OnboardingRow, OnboardingRun, Operation

Kind = Operation.Kind
MOST = 500  # the largest page of the table; a form may have 200 fields (TRUST 2.4), so their ids come as one
MOST_ASKED = 100  # users whose licences are read before a run is made
AT_ONCE = 8  # of them side by side

CHOICES = {  # what a button of the table says -> the kind of write
    "location": Kind.PATCH,
    "licences": Kind.LICENCES,
    "delete": Kind.DELETE,
    "restore": Kind.RESTORE,
}
NOT_DELETED = "This user is not among the deleted ones."


@dataclass(frozen=True)
class Wish:
    """What is to become of every one of the users."""

    kind: Operation.Kind
    title: str
    fields: Mapping[str, Any]
    groups: Mapping[str, int] = field(default_factory=dict)  # SKU id -> how many are left, as far as one may see


def make(
    wish: Wish, ids: Sequence[str], *, op_id: uuid.UUID, customer: Customer, by: Operator, partner_center: PartnerCenter
) -> OnboardingRun:
    """The run for these users, checked and not started. Raises `UpstreamError`; IntegrityError for a known `op_id`."""
    found = _people(partner_center, customer, ids, deleted=wish.kind == Kind.RESTORE)
    now = clock.now()
    run = OnboardingRun(
        key=op_id, by=by, kind=wish.kind, title=wish.title, state=OnboardingRun.State.CHECKED, checked_at=now
    )
    rows = [_row(run, line, user_id, found.get(user_id), wish, customer) for line, user_id in enumerate(ids, start=1)]
    _ration(rows, wish, customer, partner_center)
    with transaction.atomic():
        run.save(force_insert=True)
        OnboardingRow.objects.bulk_create(rows)
    return run


def _people(
    partner_center: PartnerCenter, customer: Customer, ids: Sequence[str], *, deleted: bool
) -> dict[str, CustomerUser]:
    """The users with these ids; the walk ends as soon as all are found."""
    wanted = set(ids)
    found: dict[str, CustomerUser] = {}
    for page in partner_center.all_users(customer.tenant_id or "", deleted=deleted):
        found |= {user.id: user for user in page.users if user.id in wanted}
        if len(found) == len(wanted):
            break
    return found


def _row(
    run: OnboardingRun, line: int, user_id: str, user: CustomerUser | None, wish: Wish, customer: Customer
) -> OnboardingRow:
    row = OnboardingRow(run=run, line=line, customer=customer, tenant_id=customer.tenant_id or "", target_id=user_id)
    row.fields, row.checked_at = dict(wish.fields), run.checked_at
    if user is None:
        row.problems = [_problem("", NOT_DELETED if wish.kind == Kind.RESTORE else actions.GONE)]
        return row
    row.target_name, row.user_name = user.display_name[:400], user.user_principal_name[:400]
    row.before = kinds.values_of(user)
    location = user.usage_location
    if wish.kind == Kind.PATCH and location == wish.fields["usage_location"]:
        row.problems = [_problem("usage_location", f"Is in {countries.name_of(location)} already.")]
    elif wish.kind == Kind.LICENCES and wish.fields["assign"] and not location:
        row.problems = [_problem("usage_location", "Has no usage location. Microsoft assigns no licence without one.")]
    return row


def _problem(name: str, sentence: str) -> dict[str, str]:
    return {"field": name, "sentence": sentence}


def _ration(rows: Sequence[OnboardingRow], wish: Wish, customer: Customer, partner_center: PartnerCenter) -> None:
    """The first who need a licence get what is left of it; who comes after is told so before anything is sent."""
    good = [row for row in rows if not row.problems]
    assign: Mapping[str, str] = wish.fields.get("assign", {})
    scarce = {sku: wish.groups[sku] for sku in assign if wish.groups.get(sku, len(good)) < len(good)}
    held = _held(good, customer, partner_center) if scarce else {}
    for sku, left in scarce.items():
        need = [row for row in good if not row.problems and sku not in held.get(row.target_id, ())]
        for row in need[max(left, 0) :]:
            row.problems = [_problem("licences", f"{len(need)} would need {assign[sku]}, and {left} are left.")]


def _held(rows: Sequence[OnboardingRow], customer: Customer, partner_center: PartnerCenter) -> dict[str, set[str]]:
    """User id -> the SKUs that they have. Each is asked about alone, so no more than `MOST_ASKED`: of whom we know
    nothing counts as one who needs what is to be assigned.
    """
    asked, held = rows[:MOST_ASKED], {}
    for first in range(0, len(asked), AT_ONCE):
        some = asked[first : first + AT_ONCE]
        calls = [partial(partner_center.licences, customer.tenant_id or "", row.target_id) for row in some]
        for row, answer in zip(some, table.side_by_side(*calls), strict=True):
            if not isinstance(answer, UpstreamError):
                held[row.target_id] = {each.sku_id for each in answer}
    return held


# --- Page ---------------------------------------------------------------------------------------------------


class Selection(forms.Form):
    """The users that were ticked, and what is to be done to them."""

    op_id = forms.UUIDField(error_messages=dict.fromkeys(("required", "invalid"), TOO_OLD))
    do = forms.ChoiceField(choices=[(name, name) for name in CHOICES])
    usage_location = forms.ChoiceField(label="Usage location", required=False)
    assign = forms.MultipleChoiceField(label="Assign", required=False, widget=forms.CheckboxSelectMultiple)
    remove = forms.MultipleChoiceField(label="Take away", required=False, widget=forms.CheckboxSelectMultiple)

    def __init__(self, *args: Any, customer: Customer, skus: Sequence[SubscribedSku] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.skus = {sku.id: sku for sku in skus}
        chosen = self.data.get("usage_location", "")
        self._choices("usage_location", location_choices(customer, chosen, tally.of(customer)))
        self._choices("assign", [(sku.id, f"{sku.name} ({sku.available:,} left)") for sku in skus if not sku.none_left])
        self._choices("remove", [(sku.id, sku.name) for sku in skus if sku.consumed])

    def _choices(self, name: str, choices: Any) -> None:
        found = self.fields[name]
        assert isinstance(found, forms.ChoiceField | forms.MultipleChoiceField)  # noqa: S101 -- for the type checker
        found.choices = choices

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("do") == "location" and not cleaned.get("usage_location"):
            self.add_error("usage_location", "Choose a usage location")
        if cleaned.get("do") == "licences" and not {"assign", "remove"} & self.errors.keys():
            self._clean_licences(cleaned)
        return cleaned

    def _clean_licences(self, cleaned: dict[str, Any]) -> None:
        assign, remove = set(cleaned.get("assign", [])), set(cleaned.get("remove", []))
        if not assign | remove:
            self.add_error("assign", "Choose a licence to assign or to take away")
        elif assign & remove:
            self.add_error("remove", "A licence is either assigned or taken away. Choose one of the two")
        elif len({self.skus[sku].group for sku in assign | remove}) > 1:
            self.add_error("assign", "Microsoft changes these licences only one after the other. Choose fewer")

    @property
    def licences(self) -> list[forms.BoundField]:
        """The two sets of ticks, for the page."""
        return [self["assign"], self["remove"]]

    @property
    def wish(self) -> Wish:
        """What was chosen."""
        match self.cleaned_data["do"]:
            case "location":
                code = self.cleaned_data["usage_location"]
                return Wish(Kind.PATCH, f"Usage location {countries.name_of(code)}", {"usage_location": code})
            case "licences":
                assign, remove = self._named("assign"), self._named("remove")
                left = {sku: self.skus[sku].available for sku in assign}
                told = ", ".join([*assign.values(), *(f"without {name}" for name in remove.values())])
                return Wish(Kind.LICENCES, f"Licences: {told}"[:200], {"assign": assign, "remove": remove}, left)
            case "delete":
                return Wish(Kind.DELETE, "Delete users", {"state": kinds.DELETED})
        return Wish(Kind.RESTORE, "Restore users", {"state": kinds.ACTIVE})

    def _named(self, name: str) -> dict[str, str]:
        """The licences that were ticked there: SKU id -> name."""
        return {sku: self.skus[sku].name for sku in self.cleaned_data[name]}


@post_only
@require(Permission.WRITE_USERS)
def users_several(request: OperatorRequest, key: str) -> HttpResponse:
    """From the ticks in the table to what is to be done, and from there to a run that can be looked over."""
    customer = pages.tenant_of(key)
    kind = CHOICES.get(request.POST.get("do", ""))
    ids, trouble = _ticked(request)
    access = pages.access_now(request, customer, fresh=True)
    if kind and not access[actions.NEEDS[kind]].yes:  # what nobody can tell is not tried on several users
        return pages.no_access(request, customer, access, actions.NEEDS[kind])
    partner_center = grants.partner_center(request.grant)
    skus = licensing.skus_of(partner_center, customer.tenant_id or "") if kind == Kind.LICENCES else ()
    asked = request.POST.get("step") == "check" or kind in (Kind.DELETE, Kind.RESTORE)
    form = Selection(request.POST if asked else None, customer=customer, skus=skus or ())
    if kind is None or trouble or skus is None or not asked or not form.is_valid():
        told = {"ids": ids, "do": request.POST.get("do", ""), "trouble": trouble, "unseen": skus is None}
        return _ask(request, customer, access, form, told)
    op_id, wish = form.cleaned_data["op_id"], form.wish
    run = OnboardingRun.objects.filter(key=op_id).first()
    try:
        run = run or make(wish, ids, op_id=op_id, customer=customer, by=request.user, partner_center=partner_center)
    except IntegrityError:  # the other of two presses was faster
        run = OnboardingRun.objects.get(key=op_id)
    if run.by_id != request.user.pk or not _is_of(run, wish, customer, ids):
        told = {"ids": ids, "do": request.POST["do"], "used": True, "op_id": new_op_id()}
        return _ask(request, customer, access, form, told, status=409)
    return go_to(request, reverse("run-check", args=[run.key]))


def _is_of(run: OnboardingRun, wish: Wish, customer: Customer, ids: Sequence[str]) -> bool:
    """Whether the run does just this to just these users: Back shows the form again, and another choice can be made."""
    rows = list(run.rows.values_list("customer", "target_id", "fields"))
    about = {(customer_id, user_id) for customer_id, user_id, _ in rows}
    same = about == {(customer.pk, user_id) for user_id in ids}
    return run.kind == wish.kind and same and all(fields == wish.fields for *_, fields in rows)


def _ticked(request: OperatorRequest) -> tuple[list[str], str]:
    """The ids of the users, each once; and what is wrong with the selection. With scripts they are one field."""
    said = [*request.POST.getlist("user"), *filter(None, request.POST.get("users", "").split(","))]
    try:
        ids = list(dict.fromkeys(str(uuid.UUID(value)) for value in said))
    except ValueError:
        return [], "These ticks are not of this page. Open the list again and tick there."
    if not ids:
        return [], "No user is ticked."
    return ids, f"At most {MOST} users at once, as many as a page can show; {len(ids)} are ticked." if len(
        ids
    ) > MOST else ""


def _ask(
    request: OperatorRequest,
    customer: Customer,
    access: Access,
    form: Selection,
    told: dict[str, Any],
    status: int | None = None,
) -> HttpResponse:
    """What is still to be chosen, or what is wrong."""
    status = status or (422 if form.errors or told["trouble"] else 200)
    context = {**pages.shell(request, customer, access), "op_id": request.POST.get("op_id", ""), **told, "form": form}
    context["count"] = len(told["ids"])
    return render_page(request, "onboarding/several.html", "form_area", context, status=status)
