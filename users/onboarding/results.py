"""What became of a run: its results as a file, and the one-time links that its owner makes for whom it created."""

import uuid
from collections.abc import Iterator, Mapping
from datetime import timedelta

from django.http import Http404, HttpResponseBase
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods

from partnerportal import audit, clock, csv_out, exports
from partnerportal.http import OperatorRequest, render_page
from partnerportal.models import AuditEvent
from partnerportal.permissions import Permission, require
from partnerportal.upstream.http import Secret

from .. import forms
from ..models import OnboardingRun, Operation
from . import handing, pages, words

HEADER = (
    "Row",
    "Customer",
    "Tenant ID",
    "Name",
    "User name",
    "Result",
    "Reason",
    "Fix",
    "Code",
    "Object ID",
    "Request ID",
    "At",
)
LINK_HEADER = ("One-time link", "Link works until")
NOTHING = (
    "No link was made: whoever was created has one, has opened one, was deleted, has had a newer password since, or "
    "was created more than a day ago."
)


@require_GET
@require(Permission.WRITE_USERS)
def run_results(request: OperatorRequest, run_id: uuid.UUID) -> HttpResponseBase:
    """What became of each row, as a CSV file. No password is in it."""
    found = pages.access_run(run_id, request.user)
    return exports.too_many(request) or _file(request, found)


def _file(
    request: OperatorRequest, run: OnboardingRun, slips: Mapping[int, handing.Slip] | None = None
) -> HttpResponseBase:
    """With `slips` it has two columns more, and is no less secret than the links in it."""
    told = f" {len(slips):,} of them with a one-time link." if slips else ""
    detail = f"Exported {pages.rows_of(run).count():,} rows.{told}"
    about = audit.Subject(action=exports.RUN, target_name=f"run {run.pk}")
    audit.note(about, audit.Result(outcome=AuditEvent.Outcome.DONE, detail=detail), by=request.user)
    header = HEADER + LINK_HEADER if slips else HEADER
    return csv_out.download(f"run-{run.pk}", header, _lines(run, slips or {}))


def _lines(run: OnboardingRun, slips: Mapping[int, handing.Slip]) -> Iterator[list[object]]:
    now = clock.now()
    for row in pages.rows_of(run).order_by("line").iterator(chunk_size=500):
        slip = slips.get(row.pk)
        yield [
            row.line,
            row.customer.name if row.customer else "",
            row.tenant_id,
            row.target_name,
            row.user_name,
            words.of_row(row, run.kind, now).text,
            row.detail or " ".join(problem["sentence"] for problem in row.problems),
            words.fix_of(row, run.kind),
            row.code,
            row.target_id,
            row.request_id if row.operation else "",
            row.decided_at,
            *([slip.address, slip.until] if slip else ["", ""] if slips else []),
        ]


@sensitive_post_parameters("passphrase")
@require_http_methods(["GET", "POST"])
@require(Permission.WRITE_USERS)
def run_handover(request: OperatorRequest, run_id: uuid.UUID) -> HttpResponseBase:
    """One-time links for those whom a run has created: as slips to print, or as columns of the results.

    Raises Http404 for whoever did not start it: a Portal.Admin sees the run, and no way to its passwords (TRUST T14).
    """
    run = pages.access_run(run_id, request.user)
    if run.by_id != request.user.pk or run.kind != Operation.Kind.CREATE:
        raise Http404("nothing to hand over")
    if request.method == "GET":
        return _page(request, run, forms.RunLinksForm())
    form = forms.RunLinksForm(request.POST)
    if not form.is_valid():
        return _page(request, run, form, status=422)
    as_file = request.POST.get("step") == "file"
    if as_file and (refused := exports.too_many(request)):
        return refused
    slips = handing.make(
        run,
        pages.rows_of(run),
        lasts=timedelta(hours=form.cleaned_data["hours"]),
        passphrase=Secret(form.cleaned_data["passphrase"]),
        anew=form.cleaned_data["anew"],
        by=request.user,
        grant=request.grant,
    )
    if not slips:
        return _page(request, run, form, error=NOTHING, status=409)
    if as_file:
        return _file(request, run, handing.by_row(slips))
    return _page(request, run, form, slips=slips, with_passphrase=bool(form.cleaned_data["passphrase"]))


def _page(
    request: OperatorRequest, run: OnboardingRun, form: forms.RunLinksForm, *, status: int = 200, **more: object
) -> HttpResponseBase:
    context = {
        "run": run,
        "form": form,
        "waiting": handing.waiting(run, pages.rows_of(run)),
        "most": handing.MOST,
        **more,
    }
    return render_page(request, "onboarding/handing.html", "form_area", context, status=status)
