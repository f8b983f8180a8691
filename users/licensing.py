"""The licences of a user: what they have, what is free, and one form that assigns and takes away.

Microsoft changes only licences of one group in a request, all or nothing, so a save is one operation.
"""

import uuid
from functools import partial
from typing import Any

from django import forms
from django.http import HttpResponse
from django.views.decorators.http import require_http_methods

from customers.access import Action
from customers.models import Customer
from partnerportal import grants
from partnerportal.http import OperatorRequest, render_page
from partnerportal.models import Operator, TokenCache
from partnerportal.permissions import Permission, require
from partnerportal.upstream.errors import Forbidden, NotFound
from partnerportal.upstream.licences import Licence, SubscribedSku
from partnerportal.upstream.partner_center import CustomerUser, PartnerCenter

from . import actions, confirming, pages, seen_skus
from .confirming import ConfirmForm
from .first_licences import of_skus
from .forms import before_image, new_op_id
from .kinds import NO_SUCH_USER, values_of
from .models import Operation

TEMPLATE = "users/licences.html"
Names = dict[str, str]
"""SKU id -> name."""


def change_licences(
    user_id: str,
    before: dict[str, Any],
    *,
    wanted: Names,
    customer: Customer,
    op_id: uuid.UUID,
    by: Operator,
    grant: TokenCache,
    in_run: bool = False,
) -> Operation:
    """Make `wanted` the licences of a user who has those of `before`.

    Raises `ChangedMeanwhile` when the user has others by now, and what `carry_out` raises.
    """
    held: Names = before["licences"]

    def ready(partner_center: PartnerCenter) -> None:
        if held_by(partner_center, customer, user_id).keys() != held.keys():
            raise actions.ChangedMeanwhile({"user_principal_name": before["user_principal_name"]}, before)

    plan = actions.Plan(
        kind=Operation.Kind.LICENCES,
        target_id=user_id,
        target_name=before["display_name"],
        fields={"licences": wanted},
        before={**{name: value for name, value in before.items() if name != "offered"}},
    )
    return actions.carry_out(plan, ready, customer=customer, op_id=op_id, by=by, grant=grant, in_run=in_run)


def skus_of(partner_center: PartnerCenter, tenant_id: str) -> tuple[SubscribedSku, ...] | None:
    """What a customer has bought; None for Directory Writers, who may assign what they may not see.

    Raises any `UpstreamError` but `Forbidden`.
    """
    try:
        return partner_center.subscribed_skus(tenant_id)
    except Forbidden:
        return None


def held_by(partner_center: PartnerCenter, customer: Customer, user_id: str) -> Names:
    """The licences of a user. Raises `UserGone`, and an `UpstreamError`."""
    try:
        return {each.sku_id: each.name for each in partner_center.licences(customer.tenant_id or "", user_id)}
    except NotFound as error:
        if error.code != NO_SUCH_USER:
            raise
        raise actions.UserGone from error


class LicencesForm(ConfirmForm):
    """A tick for each licence that the user has or that has units left. Carries what it was made from, signed."""

    image_of = "licences"
    sku = forms.MultipleChoiceField(label="Licences", required=False, widget=forms.CheckboxSelectMultiple)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["sku"]
        assert isinstance(field, forms.MultipleChoiceField)  # noqa: S101 -- for the type checker
        was: dict[str, Any] = self.before_or_nothing if self.is_bound else self.initial.get("image", {})
        field.choices = [(sku_id, told["words"]) for sku_id, told in was.get("offered", {}).items()]

    @classmethod
    def of(
        cls, user: CustomerUser, held: tuple[Licence, ...], skus: tuple[SubscribedSku, ...] | None
    ) -> "LicencesForm":
        """The form as it comes; `skus` is None where the operator may not see what is free."""
        image = {
            "id": user.id,
            **values_of(user),
            "licences": {each.sku_id: each.name for each in held},
            "offered": _offered(held, skus or ()),
        }
        was = before_image(image, cls.image_of)
        initial = {"op_id": new_op_id(), "was": was, "image": image, "sku": list(image["licences"])}
        return cls(user_id=user.id, initial=initial)

    @property
    def wanted(self) -> Names:
        """The licences that the user is to have."""
        was = self.cleaned_data["was"]
        ticked = set(self.cleaned_data["sku"])
        return {sku_id: told["name"] for sku_id, told in was["offered"].items() if sku_id in ticked}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if "was" not in cleaned or "sku" not in cleaned:
            return cleaned
        was, wanted = cleaned["was"], set(cleaned["sku"])
        assigned, changed = wanted - was["licences"].keys(), wanted ^ was["licences"].keys()
        if not changed:
            self.add_error("sku", "You changed nothing. Tick a licence or take a tick away")
        elif assigned and not was["usage_location"]:
            self.add_error("sku", "Microsoft assigns no licence without a usage location. Edit the user and set one")
        elif len({was["offered"][sku_id]["group"] for sku_id in changed}) > 1:
            self.add_error("sku", "Microsoft changes these licences only one after the other. Change one of them first")
        return cleaned


def _offered(held: tuple[Licence, ...], skus: tuple[SubscribedSku, ...]) -> dict[str, dict[str, str]]:
    """Every licence that may be ticked: those of the user, then those with units left, by name."""
    left = {sku.id: f"{sku.available:,} left" for sku in skus}
    mine = sorted((each.name, each.sku_id, each.group) for each in held)
    has = {sku_id for _, sku_id, _ in mine}
    free = sorted((sku.name, sku.id, sku.group) for sku in skus if not sku.none_left and sku.id not in has)
    return {
        sku_id: {"name": name, "group": group, "words": f"{name} ({left[sku_id]})" if sku_id in left else name}
        for name, sku_id, group in (*mine, *free)
    }


# --- Pages --------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@require(Permission.WRITE_USERS)
def user_licences(request: OperatorRequest, key: str, user_id: uuid.UUID) -> HttpResponse:
    """What the user has and what is free; a POST leads to the review, and from there to the save."""
    return confirming.confirm_active(request, key, user_id, Action.LICENCES, TEMPLATE, sent=_change, more=_stock)


def _stock(request: OperatorRequest, customer: Customer, person: CustomerUser) -> dict[str, Any]:
    """The form, and which of the customer's licences are used up."""
    partner_center = grants.partner_center(request.grant)
    held = partner_center.licences(customer.tenant_id or "", person.id)
    skus = skus_of(partner_center, customer.tenant_id or "")
    seen_skus.learn(of_skus(skus or ()).skus)
    mine = {each.sku_id for each in held}
    return {
        "form": LicencesForm.of(person, held, skus),
        "unseen": skus is None,
        "used_up": sorted(sku.name for sku in skus or () if sku.none_left and sku.id not in mine),
    }


def _change(request: OperatorRequest, customer: Customer, user_id: str) -> HttpResponse:
    form = LicencesForm(request.POST, user_id=user_id)
    if form.is_valid() and request.POST.get("step") == "review":
        return _review(request, customer, form)
    wanted = form.wanted if form.is_valid() else {}
    return confirming.confirmed(request, customer, form, TEMPLATE, partial(change_licences, wanted=wanted))


def _review(request: OperatorRequest, customer: Customer, form: LicencesForm) -> HttpResponse:
    """What is assigned and what is taken away, before anything is sent."""
    was: dict[str, Any] = form.before
    held, wanted = was["licences"], form.wanted
    rows = [{"label": name, "now": "", "after": "Assigned"} for sku, name in wanted.items() if sku not in held]
    rows += [{"label": name, "now": "Assigned", "after": ""} for sku, name in held.items() if sku not in wanted]
    kept = [("op_id", form.data["op_id"]), ("was", form.data["was"])]
    context = {
        **pages.shell(request, customer, pages.access_now(request, customer)),
        "user_id": form.user_id,
        "person": was,
        "rows": rows,
        "hidden": [*kept, *(("sku", sku_id) for sku_id in wanted)],
    }
    return render_page(request, "users/licences_review.html", "form_area", context)
