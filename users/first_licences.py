"""Licences that are chosen with a new user: what the form offers, and the write that follows the create.

What is free is read as the form opens, by those who may assign licences, and travels with the form, signed.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from django import forms
from django.core import signing
from django.urls import reverse

from customers import countries
from customers.access import Access, Action, ActionDenied
from customers.explain import why_not
from customers.models import Customer
from partnerportal import chain_check
from partnerportal.models import Operator, TokenCache
from partnerportal.permissions import Permission, RoleMissing, may
from partnerportal.upstream.errors import Forbidden, UpstreamError
from partnerportal.upstream.http import budget
from partnerportal.upstream.licences import SubscribedSku
from partnerportal.upstream.partner_center import PartnerCenter

from . import actions, kinds, operations, queued, refusals
from .forms import TOO_OLD
from .models import OnboardingRow, Operation

State = Operation.State
PATIENCE = 5.0  # seconds that the form waits to be told what is free
TO_SEE = "Directory Readers, Global Reader, User Administrator or License Administrator"
WITHOUT = "The user is created without a licence; one can be assigned afterwards."
_SIGNER = signing.Signer(salt="users.first-licences")


@dataclass(frozen=True)
class Offer:
    """What a customer has bought: SKU id -> {"name", "part", "group", "left"}; or why that cannot be told."""

    skus: Mapping[str, Mapping[str, Any]]
    problem: str = ""

    @property
    def choices(self) -> list[tuple[str, str]]:
        """(SKU id, name with what is left), by name."""
        told = sorted((sku["name"], sku_id, sku["left"]) for sku_id, sku in self.skus.items())
        return [(sku_id, f"{name} ({f'{left:,}' if left > 0 else 'none'} left)") for name, sku_id, left in told]

    @property
    def used_up(self) -> frozenset[str]:
        return frozenset(sku_id for sku_id, sku in self.skus.items() if sku["left"] < 1)

    def why_not(self, chosen: list[str]) -> str:
        """What stands in the way of these licences, as a sentence; "" for nothing."""
        if gone := sorted(self.skus[sku_id]["name"] for sku_id in self.used_up.intersection(chosen)):
            return f"None left of {', '.join(gone)}. Take the tick away"
        if len({self.skus[sku_id]["group"] for sku_id in chosen}) > 1:
            return "Microsoft assigns these licences only one after the other. Choose one now, the others afterwards"
        return ""

    def preset(self, said: str) -> "Preset":
        """What becomes of the licences that a template names, by name or part number."""
        by_stock = sorted(self.skus.items(), key=lambda sku: sku[1]["left"])  # of two of one name the fuller counts
        known = {countries.fold(text): sku_id for sku_id, sku in by_stock for text in _called(sku)}
        found = {each: known.get(countries.fold(each)) for each in parted(said, known)}
        groups = [self.skus[sku_id]["group"] for sku_id in found.values() if sku_id and self.skus[sku_id]["left"] > 0]
        chosen, left_out = [], []
        for each, sku_id in found.items():
            if sku_id is None:
                left_out.append(f"The customer has no licence “{each}”.")
            elif self.skus[sku_id]["left"] < 1:
                left_out.append(f"None left of {self.skus[sku_id]['name']}.")
            elif self.skus[sku_id]["group"] != groups[0]:
                left_out.append(f"{self.skus[sku_id]['name']} can only be assigned afterwards.")
            else:
                chosen.append(sku_id)
        return Preset(tuple(dict.fromkeys(chosen)), " ".join(left_out))

    def signed(self, customer: Customer) -> str:
        """As the form carries it; it is worth nothing in a form of another customer."""
        return _SIGNER.sign_object(vars(self) | {"customer": customer.key}, compress=True)


@dataclass(frozen=True)
class Preset:
    """The licences of a template: the SKU ids that can be chosen, and in sentences why others are not."""

    chosen: tuple[str, ...] = ()
    left_out: str = ""


NOTHING = Offer({})


def parted(said: str, known: Collection[str]) -> list[str]:
    """The licences that a text names, between bars; without one between semicolons or commas.

    A name may have commas, which nothing but a bar leaves alone; by itself it is told by standing in `known`, folded.
    """
    wanted = [said] if countries.fold(said) in known else re.split("[|]" if "|" in said else "[;,]", said)
    return [text.strip() for text in wanted if text.strip()]


def near(said: str, known: Mapping[str, str]) -> str:
    """Which of `known`, folded text -> name, may have been meant, as a sentence after a blank; "" when none is near."""
    found = get_close_matches(countries.fold(said), known, n=2, cutoff=0.6)
    names = list(dict.fromkeys(known[each] for each in found))
    return f" Did you mean {' or '.join(names)}?" if names else ""


def _called(sku: Mapping[str, Any]) -> list[str]:
    return [text for text in (sku["name"], sku.get("part", "")) if text]


def opened(signed: str, customer: Customer) -> Offer:
    """What the form was opened with. Raises `ValidationError` for anything that we did not sign for this customer."""
    try:
        told = _SIGNER.unsign_object(signed)
    except signing.BadSignature:
        raise forms.ValidationError(TOO_OLD) from None
    if told["customer"] != customer.key:
        raise forms.ValidationError(TOO_OLD)
    return Offer(told["skus"], told["problem"])


def offer(customer: Customer, access: Access, *, by: Operator, partner_center: PartnerCenter) -> Offer:
    """What can be chosen here. Upstream is asked only for those who may assign it, and only for so long.

    Touches no database, and raises nothing: a form without licences is better than none.
    """
    verdict = access[Action.LICENCES]
    if not (may(by, Permission.WRITE_USERS) and access[Action.CREATE].tried):
        return NOTHING  # who is shown no form
    if not verdict.tried:
        return Offer({}, f"You cannot assign licences here. {why_not(verdict, customer)} {WITHOUT}")
    try:
        with budget(PATIENCE):
            skus = partner_center.subscribed_skus(customer.tenant_id or "")
    except Forbidden:  # Directory Writers may assign what they may not see
        return Offer({}, f"We cannot see which licences are free: that needs {TO_SEE}. {WITHOUT}")
    except UpstreamError as error:
        return Offer({}, f"We could not read which licences are free. {error} {WITHOUT}")
    return of_skus(skus)


def of_skus(skus: Iterable[SubscribedSku]) -> Offer:
    """What can be chosen of these."""
    return Offer(
        {sku.id: {"name": sku.name, "part": sku.part_number, "group": sku.group, "left": sku.available} for sku in skus}
    )


class Ticks(forms.CheckboxSelectMultiple):
    """Tick-boxes of which some can be read but not chosen."""

    closed: frozenset[str] = frozenset()

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *args, **kwargs)
        if str(value) in self.closed:
            option["attrs"]["disabled"] = True
        return option


# --- After the create ---------------------------------------------------------------------------------------


def follow(create: Operation, *, by: Operator, grant: TokenCache, in_run: bool = False) -> str:
    """Send the licences that wait for this create, once it is done. Returns why they were not sent, or "".

    Raises nothing of what stands in their way: the page that shows the new password comes in any case. A row of a run
    that the create has settled says how it went, too.
    """
    following = queued.after(create)
    if following is None:
        return ""
    trouble = _send(following, by=by, grant=grant, in_run=in_run)
    done = OnboardingRow.objects.filter(op_id=create.op_id, state=OnboardingRow.State.DONE)
    done.update(detail=f"{create.detail} {in_words(create, trouble)}".strip())
    return trouble


def _send(following: Operation, *, by: Operator, grant: TokenCache, in_run: bool) -> str:
    """Why they were not sent; "" when they were, or when there is nothing to send."""
    try:
        if following.is_due:
            actions.send_again(following, proved=False, by=by, grant=grant, in_run=in_run)
    except ActionDenied as denied:
        return denied.reason
    except RoleMissing as missing:
        return str(missing)
    except actions.TooFast:
        return actions.TOO_FAST
    except chain_check.Broken as broken:
        return str(broken)
    except UpstreamError as error:  # nothing was sent yet
        return str(error)
    operations.wait_for(following)  # another request may be at it
    return ""


@dataclass(frozen=True)
class Told:
    """What became of the licences, as a notice beside what became of the user."""

    kind: str
    title: str
    body: str = ""
    url: str = ""
    label: str = ""


def in_words(create: Operation, trouble: str = "") -> str:
    """How it stands with the licences of a new user, in a sentence; "" when none were chosen."""
    about = told(create, trouble)
    return f"{about.title} {about.body}".strip() if about else ""


def told(create: Operation, trouble: str = "") -> Told | None:
    """The second outcome of a create; None when no licences were chosen. `trouble`: why they were not sent just now."""
    following = queued.after(create)
    if following is None:
        return None
    operations.settled(following)
    names: dict[str, str] = following.fields["licences"]
    what, were = ("licences", "were") if len(names) > 1 else ("licence", "was")
    its_page = reverse("operation", args=[create.customer.key, following.op_id])
    if following.state == State.DONE:
        return Told("ok", f"The {what} {were} assigned: {', '.join(sorted(names.values()))}.")
    if following.is_due:
        return Told("warn", f"The {what} {were} not assigned yet.", trouble, its_page, f"Assign the {what}")
    if following.state == State.QUEUED:
        return Told("info", f"The {what} {were} not sent: that waits until this is known.")
    if following.undecided:
        return Told("warn", f"We do not know yet if the {what} {were} assigned.", "", its_page, "Check the licences")
    if not create.target_id:
        return Told("info", f"The {what} {were} not assigned: the user was not created.")
    form = reverse("user-licences", args=[create.customer.key, create.target_id])
    reason, body = _why(following)
    return Told("warn", f"The {what} {were} {reason}.", body, form, "Assign licences")


def _why(following: Operation) -> tuple[str, str]:
    """What completes "The licence was …", and what more is to be said."""
    if following.state == State.STOPPED or following.checked_at:
        return "not assigned", following.detail
    if following.code == refusals.NONE_LEFT:
        return "refused: none left", "Buy more, or take one from somebody, and assign it then."
    if following.code == kinds.NO_SUCH_USER:
        return "refused", "Microsoft does not know the new user everywhere yet. Assign it in some minutes."
    return "refused", refusals.explain(following).sentence
