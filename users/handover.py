"""The page behind a one-time link, for people without a sign-in here; and what its maker does with a link."""

import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from partnerportal import rates
from partnerportal.http import OperatorRequest
from partnerportal.upstream.http import Secret

from . import forms, links, operations, pages
from .models import HandoverLink, Operation

# --- Who has the link ---------------------------------------------------------------------------------------


@csrf_exempt  # it acts for nobody who is signed in, and works without cookies; the address alone is the right
@require_http_methods(["GET", "HEAD", "POST"])
@login_not_required
@sensitive_post_parameters("passphrase")
@sensitive_variables("token", "password")
def handover(request: HttpRequest, token: str) -> HttpResponse:
    """Says whose link it is. A POST opens it, once: what only looks, as previews do, burns nothing."""
    if not links.may_knock(rates.counted_as(request)):
        answer = _page(request, 429, too_many=True)
        answer["Retry-After"] = "60"
        return answer
    if request.method != "POST":
        link = links.find(Secret(token))
        return _page(request, 200, link=link) if link else _page(request, 404)
    # Tidied first: some systems write an é as two characters, and a passphrase is measured as it is kept.
    typed = forms.tidy(request.POST.get("passphrase", ""))[: forms.LONGEST_PASSPHRASE]
    try:
        link, password = links.open_once(Secret(token), Secret(typed))
    except links.WrongPassphrase as wrong:
        link = links.find(Secret(token))
        return _page(request, 422, link=link, wrong=str(wrong)) if link else _page(request, 404)
    except links.Gone:
        return _page(request, 404)
    return _page(request, 200, link=link, password=password.reveal())


def _page(request: HttpRequest, status: int, *, link: HandoverLink | None = None, **told: Any) -> HttpResponse:
    operation = link.operation if link else None
    context = {"link": link, "operation": operation, "initials": _initials(operation), **told}
    answer = render(request, "users/handover.html", context, status=status)
    answer["Referrer-Policy"] = "no-referrer"  # the address is the key: not even our own files' requests name it
    answer["X-Robots-Tag"] = "noindex, nofollow"
    return answer


def _initials(operation: Operation | None) -> str:
    """Enough for the person it is for, and nothing for a stranger: no name, no user name, no company."""
    words = [word for word in operation.target_name.split() if word[0].isalpha()] if operation else []
    return "".join(f"{word[0]}." for word in (words[:1] + words[1:][-1:])).upper()


# --- Who makes it -------------------------------------------------------------------------------------------


@sensitive_post_parameters("passphrase")
def make(request: OperatorRequest, operation: Operation) -> HttpResponse:
    """Make a link; its address stands in this answer and nowhere else."""
    form = forms.LinkForm(request.POST)
    if not form.is_valid():
        return pages.outcome(request, operation, link_form=form, status=422)
    try:
        token = links.make(
            operation,
            lasts=timedelta(hours=form.cleaned_data["hours"]),
            passphrase=Secret(form.cleaned_data["passphrase"]),
            by=request.user,
            grant=request.grant,
        )
    except links.NothingToHandOver as nothing:
        trouble = f"No link was made: {nothing}. Set a new one, and hand that over."
        if operations.was_deleted(operation):
            trouble = "No link was made: the user was deleted, so there is nothing to hand over."
        return pages.outcome(request, operation, trouble)
    address = settings.PUBLIC_URL + reverse("handover", args=[token.reveal()])
    return pages.outcome(request, operation, link_address=address)


def revoke(request: OperatorRequest, operation: Operation) -> HttpResponse:
    """Close one of the links of this operation, which is one's own."""
    try:
        link = operation.links.get(pk=uuid.UUID(request.POST.get("link", "")))
    except (ValueError, HandoverLink.DoesNotExist):
        raise Http404("no such link") from None
    over = (
        "" if links.revoke(link, by=request.user) else "It was over before you revoked it. See below what became of it."
    )
    return pages.outcome(request, operation, over)


STEPS = {"link": make, "revoke": revoke}
"""What the page of an operation may ask for."""
