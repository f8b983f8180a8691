"""The list of runs: one's own, and for a Portal.Admin everybody's, with filters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET

from customers.models import Customer
from partnerportal.http import OperatorRequest, differing, render_page, typed, with_query
from partnerportal.models import Operator
from partnerportal.permissions import Permission, may, require

from ..models import OnboardingRow, OnboardingRun, Operation

RowState = OnboardingRow.State
FAILED = (RowState.REFUSED, RowState.DENIED, RowState.UNKNOWN)
KINDS = [
    (Operation.Kind.CREATE, "New users"),
    (Operation.Kind.PATCH, "Changes"),
    (Operation.Kind.LICENCES, "Licences"),
    (Operation.Kind.DELETE, "Deletes"),
    (Operation.Kind.RESTORE, "Restores"),
]


@dataclass(frozen=True)
class RunQuery:
    """What the address of the list asks for; the defaults are left out of it."""

    STATES: ClassVar[dict[str, tuple[str, tuple[str, ...]]]] = {
        "open": ("Under way", OnboardingRun.OPEN),
        "over": ("Over", OnboardingRun.OVER),
        "before": ("Not started", OnboardingRun.BEFORE),
    }

    state: str = ""
    kind: str = ""
    q: str = ""  # in the title, or the run's number
    customer: str = ""  # its key
    whose: str = ""  # or "mine", for those who see everybody's

    @classmethod
    def read(cls, params: Mapping[str, str]) -> tuple["RunQuery", list[tuple[str, str]]]:
        """The query, and the values in it that nobody knows, which are left out."""
        known: dict[str, Any] = {"state": cls.STATES, "kind": dict(KINDS), "whose": ("mine",)}
        said = {name: typed(params, name) for name in vars(cls()) if typed(params, name)}
        unknown = [(name, value) for name, value in said.items() if name in known and value not in known[name]]
        return cls(**{name: value for name, value in said.items() if (name, value) not in unknown}), unknown

    def url(self, **changes: Any) -> str:
        """The list's address with these changes, from its first page on."""
        return with_query(reverse("runs"), differing(vars(replace(self, **changes)), vars(RunQuery())))

    def rows(self, by: Operator) -> QuerySet[OnboardingRun]:
        """The runs that match and that this person may see, newest first, with their counts."""
        rows = OnboardingRow.objects.filter(run=OuterRef("pk"))
        known, listed = rows.exclude(customer=None), Q(rows__customer__listed=True)
        found = OnboardingRun.objects.select_related("by", "checking").order_by("-pk")
        found = found.filter(Exists(rows.filter(customer__listed=True)) | ~Exists(known))  # as `pages.access_run` does
        if self.whose or not may(by, Permission.AUDIT_ALL):
            found = found.filter(by=by)
        if self.state:
            found = found.filter(state__in=self.STATES[self.state][1])
        if self.kind:
            found = found.filter(kind=self.kind)
        if self.q:
            number = self.q if self.q.isascii() and self.q.isdigit() and len(self.q) < 10 else "0"
            found = found.filter(Q(title__icontains=self.q) | Q(source__icontains=self.q) | Q(pk=number))
        if self.customer:
            found = found.filter(pk__in=OnboardingRow.objects.filter(customer__key=self.customer).values("run"))
        return found.annotate(
            all=Count("rows"),
            done=Count("rows", filter=Q(rows__state=RowState.DONE)),
            failed=Count("rows", filter=Q(rows__state__in=FAILED)),
            customers=Count("rows__customer", filter=listed, distinct=True),
            customer_name=Max("rows__customer__name", filter=listed),
        )


@require_GET
@require(Permission.WRITE_USERS)
def runs(request: OperatorRequest) -> HttpResponse:
    """One's own runs, newest first; a Portal.Admin sees everybody's. Filters: state, kind, words, customer, whose."""
    query, unknown = RunQuery.read(request.GET.dict())
    context = {
        "query": query,
        "page": Paginator(query.rows(request.user), 25).get_page(request.GET.get("page", "1")),
        "sees_all": may(request.user, Permission.AUDIT_ALL),
        "filtered": query != RunQuery(),
        "unknown": unknown,
        "views": [(query.url(state=""), "All", not query.state)]
        + [(query.url(state=name), label, query.state == name) for name, (label, _) in RunQuery.STATES.items()],
        "kinds": KINDS,
        "customer": Customer.objects.filter(key=query.customer, listed=True).first() if query.customer else None,
        "keeps_names": settings.RUNS_KEEP_NAMES.days,
    }
    return render_page(request, "onboarding/list.html", "results", context)
