"""How well each upstream is known, the sync that is under way, and the questions that a sync has left."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET

from customers import shortage, sync, tasks
from customers.gdap import reading
from customers.models import GRAPH, LABELS, GdapSync, Source, SourceName, SyncRun
from partnerportal import clock
from partnerportal.http import OperatorRequest, go_to, post_only, render_page
from partnerportal.permissions import Permission, RoleMissing, may, require
from partnerportal.upstream import gdap_api


@dataclass(frozen=True)
class Health:
    """One upstream as the page shows it. `next_at` or else `next_words` say when it is asked again."""

    name: str
    label: str
    missing: str = ""  # the settings that it wants; empty when it is configured
    source: Source | None = None  # None: we keep no copy of what it says
    last_good_at: datetime | None = None
    problem: str = ""
    next_at: datetime | None = None
    next_words: str = ""
    try_url: str = ""

    @property
    def took(self) -> str:
        """How long the last complete answer took, in words."""
        if not self.source or self.source.took is None:
            return ""
        seconds = self.source.took
        if round(seconds, 1) < 60:
            return f"{seconds:.1f} s"
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"


@require_GET
@require(Permission.VIEW)
def sources(request: OperatorRequest) -> HttpResponse:
    """Every upstream: the last good answer, its age, its rows, the last error and the next try."""
    run = SyncRun.objects.filter(open=True).select_related("requested_by").first()
    known = {source.name: source for source in Source.objects.select_related("accepted_by")}
    upstreams = [*(_customer_list(name, known, run) for name in SourceName), _relationships(known), _gdap_api()]
    context = {
        "upstreams": upstreams,
        "questions": [(one, shortage.told(one)) for one in known.values() if one.short and one.is_configured],
        "may_decide": may(request.user, Permission.DECIDE_SOURCES),
        "run": run,
        "may_cancel": run is not None and sync.may_cancel(run, request.user),
        "last": SyncRun.objects.filter(open=None).select_related("cancelled_by").order_by("-pk").first(),
    }
    return render_page(request, "sources/list.html", "health", context)


@post_only
@require(Permission.REFRESH)
def cancel(request: OperatorRequest) -> HttpResponse:
    """Stop the sync that the button was made for. Raises `RoleMissing` for somebody else's."""
    wanted = request.POST.get("run", "")
    run = SyncRun.objects.filter(open=True, pk=wanted).first() if wanted.isdecimal() and len(wanted) < 18 else None
    if run and not sync.may_cancel(run, request.user):
        raise RoleMissing(Permission.DECIDE_SOURCES)
    if run and sync.cancel(run, by=request.user):
        messages.success(request, "The sync was cancelled. Nothing was changed.")
    else:
        messages.info(request, "That sync had ended before.")
    return go_to(request, reverse("sources"))


@post_only
@require(Permission.DECIDE_SOURCES)
def answer(request: OperatorRequest) -> HttpResponse:
    """Say that a short list is right, or take that back."""
    name = request.POST.get("source", "")
    if name not in (*SourceName.values, GRAPH):
        raise Http404("no source that we keep a copy of")
    source = Source.named(name)
    if request.POST.get("answer") == "wait":
        changed = shortage.wait_after_all(source, by=request.user)
    else:
        changed = shortage.accept(source, _count(request, "rows"), _count(request, "assignments"), by=request.user)
        if changed:
            _ask_again(request, name)
    if not changed:
        messages.warning(request, "The question has changed meanwhile. Nothing was decided.")
    return go_to(request, reverse("sources"))


def _count(request: OperatorRequest, name: str) -> int | None:
    """How many the question was about; None when it was about something else."""
    text = request.POST.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 9 else None


def _ask_again(request: OperatorRequest, name: str) -> None:
    """Read the source anew, for its next answer is the one that is believed."""
    if name == GRAPH:
        read, is_new = reading.request_read(by=request.user, grant=request.grant)
        if is_new:
            tasks.start_read(read)
        return
    run, is_new = sync.request_sync(by=request.user, grant=request.grant)
    if is_new:
        tasks.start_sync(run)


# --- One upstream after the other ----------------------------------------------------------------------------


def _customer_list(name: SourceName, known: dict[str, Source], run: SyncRun | None) -> Health:
    source = known.get(name) or Source(name=name)
    if not source.is_configured:
        return Health(name, name.label, missing="AVEPOINT_CLIENT_ID and AVEPOINT_CLIENT_SECRET", source=source)
    if run:
        next_at, words = None, "Now, see above"
    elif source.problem == sync.ONLY_FOR_PEOPLE:
        next_at, words = None, "When somebody presses Try now"
    else:
        next_at, words = _next_sync(), "As soon as the worker runs"
    return Health(
        name,
        name.label,
        source=source,
        last_good_at=source.last_good_at,
        problem=source.problem,
        next_at=next_at,
        next_words=words,
        try_url="" if run else reverse("customers-refresh"),
    )


def _next_sync() -> datetime | None:
    """When the clock starts the next sync, as far as we can tell; None when it should have done so."""
    last = SyncRun.objects.order_by("-pk").values_list("created_at", flat=True).first()
    due = last + settings.SYNC_EVERY if last else None
    return due if due and due > clock.now() else None


def _relationships(known: dict[str, Source]) -> Health:
    source = known.get(GRAPH) or Source(name=GRAPH)
    return Health(
        GRAPH,
        LABELS[GRAPH],
        source=source,
        last_good_at=source.last_good_at,
        problem=source.problem,
        next_words="Every 15 minutes while somebody inside Admin agents is here",
        try_url=reverse("gdap-refresh"),
    )


def _gdap_api() -> Health:
    label = "GDAP API"
    if not gdap_api.configured():
        wanted = "GDAP_API_TOKEN, or GDAP_API_AUTH_URL with GDAP_API_USERNAME and GDAP_API_PASSWORD"
        return Health("gdap", label, missing=wanted)
    last = GdapSync.objects.first()
    taken = {GdapSync.State.REQUESTED, GdapSync.State.SEEN, GdapSync.State.TIMED_OUT}
    good = GdapSync.objects.filter(state__in=taken).first()
    return Health(
        "gdap",
        label,
        last_good_at=good.requested_at if good else None,
        problem=last.message if last and last.state not in taken else "",
        next_words="When somebody presses Sync customers",
    )
