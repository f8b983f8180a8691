"""The pages before a run: sending a file, saying what its columns mean, and the template."""

import uuid
from contextlib import suppress
from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpResponse, HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from customers.find import access_customer
from customers.models import Customer
from partnerportal import csv_out
from partnerportal.http import OperatorRequest, go_to, render_page, takes_bodies_of, typed
from partnerportal.permissions import Permission, require

from ..forms import TOO_OLD, new_op_id
from ..models import OnboardingRun, WaitingFile
from ..tasks import start_checking
from . import check, columns, drafts, files
from .sheet import FileRefused, Sheet, megabytes

ROOM = 64 * 1024  # bytes that a form needs around its file
SHOWN = 3  # values of a column that help to tell what it means

HEADER = (
    "customer", "first_name", "last_name", "display_name", "user_name", "usage_location", "licences", "force_change",
    "immutable_id",
)  # fmt: skip
EXAMPLES = (
    ("example", "Zoë", "van den Berg", "", "zoe.vandenberg", "NL", "", "yes", ""),
    ("example", "Jürgen", "Groß", "Jürgen Groß (Sales)", "", "Germany", "", "", ""),
)


class UploadForm(forms.Form):
    """A file, and from whose page it was sent. What is in the file, `files.read` judges."""

    op_id = forms.UUIDField(widget=forms.HiddenInput, error_messages=dict.fromkeys(("required", "invalid"), TOO_OLD))
    customer = forms.CharField(required=False, widget=forms.HiddenInput)
    file = forms.FileField(
        label="File",
        allow_empty_file=True,
        error_messages={"required": "Choose a file"},
        widget=forms.FileInput(attrs={"accept": ".csv,.tsv,.txt,.xlsx"}),
    )


@takes_bodies_of(settings.ONBOARDING_FILE_LIMIT + ROOM)
@require_http_methods(["GET", "POST"])
@require(Permission.WRITE_USERS)
def onboarding_new(request: OperatorRequest) -> HttpResponse:
    """The form for a file; a POST reads it whole or refuses it whole, and leads to the check."""
    if request.method == "POST":
        return _read(request)
    key = typed(request.GET.dict(), "customer")
    customer = access_customer(key) if key else None
    form = UploadForm(initial={"op_id": new_op_id(), "customer": customer.key if customer else ""})
    return _page(request, form, customer)


def _read(request: OperatorRequest) -> HttpResponse:
    form = UploadForm(request.POST, request.FILES)
    key = typed(request.POST.dict(), "customer")
    customer = access_customer(key) if key else None
    if not form.is_valid():
        return _page(request, form, customer, status=422)
    if drafts.too_many_uploads(request.user):
        most = settings.ONBOARDING_FILES_AN_HOUR
        form.add_error("file", f"You sent {most} files within an hour, which is the most. Wait some minutes")
        return _page(request, form, customer, status=429)
    file = form.cleaned_data["file"]
    name = drafts.plain_name(file.name)
    try:
        response = _taken(request, file.read(), name, customer, form.cleaned_data["op_id"])
    except FileRefused as refused:
        drafts.note_upload(name, by=request.user, refused=str(refused))
        form.add_error("file", str(refused))
        return _page(request, form, customer, status=422)
    except drafts.StrangeForm:
        form.add_error("file", "This form was sent before, with other rows or by somebody else. Open it again")
        return _page(request, form, customer, status=409)
    return response


def _taken(request: OperatorRequest, data: bytes, name: str, customer: Customer | None, key: uuid.UUID) -> HttpResponse:
    """On to the check, or to the columns where they are not clear. Raises `FileRefused` and `StrangeForm`."""
    sheet = files.read(data, name)
    reading = columns.read(sheet, drafts.remembered(request.user))
    if reading.ask:
        drafts.note_upload(name, by=request.user, rows=len(sheet.rows))
        waiting = drafts.keep(sheet, name=name, by=request.user, customer=customer)
        return go_to(request, reverse("onboarding-columns", args=[waiting.pk]))
    lines = columns.lines(sheet, reading.meaning)
    drafts.note_upload(name, by=request.user, rows=len(lines))
    return to_check(request, drafts.make(lines, key=key, by=request.user, source=name, customer=customer))


def to_check(request: OperatorRequest, run: OnboardingRun) -> HttpResponse:
    """On to the page of the check, which leads on to the run once that has started, in another tab maybe."""
    with suppress(check.Started):
        start_checking(run, grant=request.grant)
    return go_to(request, reverse("run-check", args=[run.key]))


def _page(request: OperatorRequest, form: UploadForm, customer: Customer | None, status: int = 200) -> HttpResponse:
    context = {
        "form": form,
        "for_customer": customer,
        "most_size": megabytes(settings.ONBOARDING_FILE_LIMIT),
        "most_bytes": settings.ONBOARDING_FILE_LIMIT,
        "most_rows": settings.ONBOARDING_ROWS,
        "fields": columns.FIELDS,
    }
    return render_page(request, "onboarding/new.html", "form_area", context, status=status)


@require_http_methods(["GET", "POST"])
@require(Permission.WRITE_USERS)
def onboarding_columns(request: OperatorRequest, pk: uuid.UUID) -> HttpResponse:
    """What the columns of a file mean, where the headers do not say it clearly. What is said is remembered."""
    with suppress(drafts.StrangeForm):  # pressed again after Back: the file has become a run
        return to_check(request, drafts.earlier(pk, by=request.user))
    file, sheet = drafts.waiting(pk, by=request.user)
    headers = [header for header in sheet.columns if header]
    if request.method == "GET":
        reading = columns.read(sheet, drafts.remembered(request.user))
        return _ask(request, file, sheet, [guess.field for guess in reading.guesses], reading=reading)
    said = [request.POST.get(f"column-{number}", "") for number in range(len(headers))]
    try:
        reading = columns.chosen(sheet, said)
        lines = columns.lines(sheet, reading.meaning)
    except FileRefused as refused:
        return _ask(request, file, sheet, said, trouble=str(refused))
    drafts.remember({columns.folded(guess.header): guess.field for guess in reading.guesses}, by=request.user)
    try:
        run = drafts.make(lines, key=file.pk, by=request.user, source=file.name, customer=file.customer)
    except drafts.StrangeForm:  # the other of two presses was faster, and that one counts
        run = drafts.earlier(file.pk, by=request.user)
    file.delete()
    return to_check(request, run)


def _ask(
    request: OperatorRequest,
    file: WaitingFile,
    sheet: Sheet,
    said: list[str],
    *,
    reading: columns.Reading | None = None,
    trouble: str = "",
) -> HttpResponse:
    unsure = {guess.header for guess in reading.guesses if not guess.sure} if reading else set()
    places = [column for column, header in enumerate(sheet.columns) if header]
    rows: list[dict[str, Any]] = [
        {
            "header": sheet.columns[column],
            "values": [row.cells[column] for row in sheet.rows if row.cells[column]][:SHOWN],
            "field": field,
            "unsure": sheet.columns[column] in unsure,
        }
        for column, field in zip(places, said, strict=True)
    ]
    context = {"file": file, "sheet": sheet, "rows": rows, "fields": columns.FIELDS, "trouble": trouble}
    return render_page(request, "onboarding/columns.html", "form_area", context, status=422 if trouble else 200)


@require_GET
@require(Permission.WRITE_USERS)
def onboarding_template(request: OperatorRequest) -> HttpResponseBase:
    """An empty file with the columns that we know, and two rows that are passed over."""
    return csv_out.download("new-users", HEADER, EXAMPLES)
