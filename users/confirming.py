"""Forms that ask for a user name before something is done that cannot simply be undone."""

from typing import Any, Self

from django import forms

from partnerportal.upstream.partner_center import CustomerUser

from .forms import TOO_OLD, before_image, new_op_id, opened_before_image
from .kinds import values_of


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
