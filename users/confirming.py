"""Forms and pages that ask first, before something is done that cannot simply be undone."""

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from django import forms
from django.http import HttpResponse

from customers.access import Action
from customers.models import Customer
from partnerportal.http import OperatorRequest, render_page
from partnerportal.upstream.partner_center import CustomerUser

from . import actions, pages
from .forms import TOO_OLD, before_image, new_op_id, opened_before_image
from .kinds import values_of
from .models import Operation


class ConfirmForm(forms.Form):
    """Whom it is about, as they were when the page was shown, signed."""

    image_of = "confirm"
    op_id = forms.UUIDField(widget=forms.HiddenInput, error_messages=dict.fromkeys(("required", "invalid"), TOO_OLD))
    was = forms.CharField(widget=forms.HiddenInput, error_messages={"required": TOO_OLD})

    def __init__(self, *args: Any, user_id: str, **kwargs: Any) -> None:
        self.user_id = user_id
        super().__init__(*args, **kwargs)

    @classmethod
    def about(cls, user: CustomerUser) -> Self:
        """The form as it comes."""
        image = {"id": user.id, **values_of(user)}
        return cls(user_id=user.id, initial={"op_id": new_op_id(), "was": before_image(image, cls.image_of)})

    def clean_was(self) -> dict[str, str]:
        was = opened_before_image(self.cleaned_data["was"], self.image_of)
        if was.pop("id", "") != self.user_id:
            raise forms.ValidationError(TOO_OLD)
        return was

    @property
    def before_or_nothing(self) -> dict[str, str]:
        """Whom the page was about, as far as the form still tells."""
        try:
            return opened_before_image(self.data.get("was", ""), self.image_of)
        except forms.ValidationError:
            return {}

    @property
    def before(self) -> dict[str, str]:
        """Whom the page was about, of a form that is valid."""
        return dict(self.cleaned_data["was"])


class NamedForm(ConfirmForm):
    """Confirmed by typing the user name, letter for letter but for its case."""

    name = forms.CharField(
        label="User name",
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}),
        help_text="Type the user name to confirm.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if was := cleaned.get("was"):
            wanted = was["user_principal_name"]
            if cleaned.get("name", "").lower() != wanted.lower():
                self.add_error("name", f"Type the user name as it stands here: {wanted}")
        return cleaned


# --- Pages --------------------------------------------------------------------------------------------------


def confirm_active(
    request: OperatorRequest,
    key: str,
    user_id: uuid.UUID,
    action: Action,
    template: str,
    *,
    sent: Callable[[OperatorRequest, Customer, str], HttpResponse],
    more: Callable[[OperatorRequest, Customer, CustomerUser], dict[str, Any]] = lambda *_whom: {},
) -> HttpResponse:
    """The page that asks before something is done to an active user, by those who may; a POST is what `sent` does.

    `more` gives more of its context, and may ask upstream for it.
    """
    customer = pages.tenant_of(key)
    if request.method == "POST":
        return sent(request, customer, str(user_id))
    try:
        access, person = pages.access_and_user(request, customer, user_id)
    except pages.NotShown as refusal:
        return pages.refused(request, customer, refusal.access, refusal.error)
    for needed in (Action.LIST, action):
        if access[needed].no or (needed is action and not access[needed].tried):
            return pages.no_access(request, customer, access, needed)
    if person is None or person.is_deleted:
        return pages.gone(request, customer)
    context = {"form": NamedForm.about(person), "person": person, "user_id": person.id}
    context |= {**pages.shell(request, customer, access), **more(request, customer, person)}
    return render_page(request, template, "form_area", context)


def confirmed(
    request: OperatorRequest,
    customer: Customer,
    form: ConfirmForm,
    template: str,
    do: Callable[..., Operation],
) -> HttpResponse:
    """Do what was confirmed, and show what became of it; or the page again, with what stands in the way."""
    again = partial(
        pages.form_again, request, customer, form, template, user_id=form.user_id, person=form.before_or_nothing
    )
    if not form.is_valid():
        return again()
    op_id = form.cleaned_data["op_id"]
    try:
        operation = do(form.user_id, form.before, customer=customer, op_id=op_id, by=request.user, grant=request.grant)
    except actions.ChangedMeanwhile as changed:
        now = changed.current["user_principal_name"]
        renamed = now != form.before["user_principal_name"]
        what = f"The user name changed meanwhile: it is {now} now." if renamed else "The licences changed meanwhile."
        return again(denied=f"{what} Open the page again.", status=409)
    except pages.NOT_SENT as error:
        return pages.not_sent(request, customer, error, again)
    if operation.state in {Operation.State.REFUSED, Operation.State.CONFLICT, Operation.State.DENIED}:
        return again(operation=operation)
    return pages.outcome(request, operation)
