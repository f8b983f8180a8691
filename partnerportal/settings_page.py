"""What a person likes: the settings page, and the list of keyboard shortcuts."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_http_methods

from partnerportal import preferences, problems
from partnerportal.http import OperatorRequest, go_to, post_only, render_page
from partnerportal.permissions import Permission, may, require
from partnerportal.preferences import NoSuchChoice, Preferences
from partnerportal.problems import Problem


@require_http_methods(["GET", "POST"])
@require(Permission.VIEW)
def settings_page(request: OperatorRequest) -> HttpResponse:
    """Each control is a form of its own, and saves by itself; the theme's stands in every page."""
    if request.method == "POST":
        return _save(request, {name: request.POST[name] for name in request.POST})
    context = {
        "densities": preferences.DENSITIES,
        "sizes": preferences.SIZES,
        "zones": preferences.zones(),
        "may_write": may(request.user, Permission.WRITE_USERS),
    }
    return render(request, "settings/page.html", context)


@post_only
@require(Permission.VIEW)
def theme(request: OperatorRequest) -> HttpResponse:
    """Light, dark, or the system's choice; stays on the page."""
    return _save(request, {"theme": request.POST.get("theme", "")})


def _save(request: OperatorRequest, form: dict[str, str]) -> HttpResponse:
    try:
        wanted = preferences.read(form)
    except NoSuchChoice as refusal:
        return problems.answer(request, Problem(status=422, title="Nothing was saved", reason=str(refusal)))
    Preferences.save(request.user, **wanted)
    if not request.htmx:
        return go_to(request, problems.page_behind(request))
    if "zone" in wanted:  # the rail says which zone the times are in
        return render(request, "base.html#zone", {"zone_changed": True})
    return HttpResponse(status=204)


@require_GET
@require(Permission.VIEW)
def shortcuts(request: OperatorRequest) -> HttpResponse:
    """What the keyboard can do: a page, and for `?` the same as a dialog."""
    return render_page(request, "settings/shortcuts.html", "list", {})
