"""What the URL of the GDAP page asks for, and the relationships that answer it. Reads the snapshot only."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from django.core.cache import cache
from django.db.models import Case, Count, F, OuterRef, Q, QuerySet, Subquery, TextField, When
from django.db.models.functions import Cast
from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone

from partnerportal import clock
from partnerportal.http import differing, typed, with_query
from partnerportal.upstream import roles

from ..access import BY_DATE, NOT_YET
from ..models import Customer, GdapChange, GdapRelationship, Snapshot

VIEWS = {"": "Relationships", "matrix": "Who can do what", "changes": "Changes since yesterday"}
SOON = {"7": "7 days", "30": "30 days", "90": "90 days"}
ENDS = {"ended": "Ended", **{value: f"Ends within {words}" for value, words in SOON.items()}, "later": "Ends later"}
AUTO = {"no": "Does not extend by itself", "yes": "Extends by itself"}
LIVE = ("active", "expiring")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_KNOWN = {
    "view": re.compile("matrix|changes"),
    "ends": re.compile("|".join(ENDS)),
    "auto": re.compile("no|yes"),
    "role": re.compile(r"[0-9a-f-]{36}"),
    "page": re.compile("0*[1-9][0-9]{0,5}"),
}


@dataclass(frozen=True)
class GdapQuery:
    """What the URL of the GDAP page asks for. Defaults are left out of URLs, unknown values become the default.

    Without `ends`, everything that stands or waits for approval.
    """

    view: str = ""
    ends: str = ""
    auto: str = ""
    customer: str = ""
    role: str = ""
    from_: str = ""  # ISO days, both included
    to: str = ""
    page: int = 1

    @classmethod
    def read(cls, params: Mapping[str, str]) -> "GdapQuery":
        given = {key: typed(params, key.rstrip("_")) for key in vars(cls())}
        good = {key: value for key, value in given.items() if key not in _KNOWN or _KNOWN[key].fullmatch(value)}
        for key in ("from_", "to"):
            good[key] = value if _day(value := given[key]) else ""
        return cls(**{**good, "page": int(good.get("page") or 1)}).of_its_view()  # type: ignore[arg-type]

    def of_its_view(self) -> "GdapQuery":
        """Without what its view does not apply: who can do what is asked by customer alone."""
        return GdapQuery(self.view, customer=self.customer, page=self.page) if self.view == "matrix" else self

    def params(self, **changes: Any) -> QueryDict:
        """The query string with these changes; whatever changes, page 1 comes unless a page is asked for."""
        return QueryDict(urlencode(self._differing(changes)))

    def _differing(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return differing(vars(replace(self, **{"page": 1, **changes}).of_its_view()), vars(GdapQuery()))

    def url(self, name: str = "gdap", **changes: Any) -> str:
        return with_query(reverse(name), self._differing(changes))

    @property
    def chips(self) -> list[tuple[str, str]]:
        """(what is applied, the URL without it)."""
        applied = [
            (ENDS.get(self.ends, ""), {"ends": ""}, self.ends),
            (AUTO.get(self.auto, ""), {"auto": ""}, self.auto),
            (f"Customer: {self.customer}", {"customer": ""}, self.customer),
            (f"Role: {roles.NAMES.get(self.role, self.role)}", {"role": ""}, self.role),
            (f"Ends {_span(self.from_, self.to)}", {"from_": "", "to": ""}, self.from_ or self.to),
        ]
        return [(words, self.url(**without)) for words, without, value in applied if value]

    def rows(self) -> QuerySet[GdapRelationship]:
        """The matching relationships, what ends first in front; of the ended ones the last."""
        now = clock.now()
        found = GdapRelationship.objects.filter(gone_at=None)
        match self.ends:
            case "ended":
                found = found.filter(ended(now))
            case "7" | "30" | "90":
                found = found.filter(live(now), ends_at__lt=_midnight(int(self.ends) + 1))
            case "later":
                found = found.filter(live(now)).filter(Q(ends_at=None) | Q(ends_at__gte=_midnight(91)))
            case _:
                found = found.filter(live(now) | Q(status__in=NOT_YET))
        if self.auto:
            found = found.filter(extends=self.auto == "yes").exclude(status__in=NOT_YET)
        found = found.annotate(end=_ended_at(now) if self.ends == "ended" else F("ends_at"))
        if self.from_:
            found = found.filter(end__gte=_start(_day(self.from_)))
        if self.to:
            found = found.filter(end__lt=_start(_day(self.to), days=1))
        if self.role:
            found = found.annotate(words=Cast("roles", TextField())).filter(words__contains=self.role)
        if self.customer:
            found = found.filter(
                Q(tenant_id__in=Customer.objects.search(self.customer).exclude(tenant_id=None).values("tenant_id"))
                | Q(display_name__icontains=self.customer)
                | Q(customer_name__icontains=self.customer)
            )
        shown = Customer.objects.listed().filter(tenant_id=OuterRef("tenant_id"))
        found = found.annotate(listed_name=Subquery(shown.values("name")), listed_key=Subquery(shown.values("key")))
        end = F("end").desc(nulls_last=True) if self.ends == "ended" else F("end").asc(nulls_last=True)
        return found.order_by(end, "display_name", "id")


def _ended_at(now: datetime) -> Case:
    """As `access.ended_at`, for the database to sort by."""
    early = ~Q(status__in=BY_DATE) & Q(modified_at__lte=now, ends_at__gt=F("modified_at"))
    changed = When(modified_at__lte=now, then=F("modified_at"))
    return Case(When(early, then=F("modified_at")), When(ends_at__lte=now, then=F("ends_at")), changed)


def live(now: datetime) -> Q:
    """What grants something now, or may."""
    return Q(status__in=LIVE) & (Q(ends_at=None) | Q(ends_at__gt=now))


def ended(now: datetime) -> Q:
    """What once stood and does not any more, whatever its status says."""
    return ~Q(status__in=(*LIVE, *NOT_YET)) | Q(status__in=LIVE, ends_at__lte=now)


def tiles(query: GdapQuery) -> list[dict[str, Any]]:
    """The tiles above the list: words, how many, and the list behind each."""
    counts = _counts()
    made = [
        ("Ended", "ended", {"ends": "ended", "auto": ""}, "stop"),
        *((words, value, {"ends": value, "auto": ""}, "clock") for value, words in SOON.items()),
        ("Later", "later", {"ends": "later", "auto": ""}, ""),
        ("Not extending", "no", {"ends": "", "auto": "no"}, "alert"),
    ]
    plain = GdapQuery()  # a tile counts among all relationships: no other filter stays
    return [
        {
            "words": words,
            "count": counts[key],
            "icon": icon,
            "url": plain.url(**({"ends": "", "auto": ""} if _chosen(query, where) else where)),
            "chosen": _chosen(query, where),
        }
        for words, key, where, icon in made
    ]


def _chosen(query: GdapQuery, where: Mapping[str, str]) -> bool:
    return (query.ends, query.auto) == (where["ends"], where["auto"])


def _counts() -> dict[str, int]:
    """How many relationships are behind each tile; counted once a minute and with each change of the snapshot."""
    generation = Snapshot.objects.filter(pk=1).values_list("generation", flat=True).first()
    zone = timezone.get_current_timezone_name().replace(" ", "_")  # a day is another one elsewhere
    key = f"gdap-tiles-{generation}-{timezone.localdate(clock.now())}-{zone}"
    counts: dict[str, int] | None = cache.get(key)
    if counts is None:
        now = clock.now()
        standing = live(now)
        counts = GdapRelationship.objects.filter(gone_at=None).aggregate(
            ended=Count("pk", filter=ended(now)),
            later=Count("pk", filter=standing & (Q(ends_at=None) | Q(ends_at__gte=_midnight(91)))),
            no=Count("pk", filter=standing & Q(extends=False)),
            **{value: Count("pk", filter=standing & Q(ends_at__lt=_midnight(int(value) + 1))) for value in SOON},
        )
        cache.set(key, counts, 60)
    return counts


def changes_since_yesterday() -> QuerySet[GdapChange]:
    """What the reads since yesterday, 00:00, found different; newest first."""
    shown = Customer.objects.listed().filter(tenant_id=OuterRef("tenant_id"))
    found = GdapChange.objects.filter(at__gte=_midnight(-1))
    found = found.annotate(listed_name=Subquery(shown.values("name")), listed_key=Subquery(shown.values("key")))
    return found.order_by("-at", "display_name", "pk")


def first_read_lately() -> datetime | None:
    """When GDAP was read for the first time, if that was since yesterday: nothing can have changed before."""
    first = GdapRelationship.objects.order_by("first_seen_at").values_list("first_seen_at", flat=True).first()
    return first if first and first >= _midnight(-1) else None


def _midnight(days: int) -> datetime:
    """The beginning of the day so many days from today, in the reader's zone."""
    return _start(timezone.localdate(clock.now()), days=days)


def _start(day: date | None, *, days: int = 0) -> datetime:
    return timezone.make_aware(datetime.combine((day or date.min) + timedelta(days=days), time()))


def _day(text: str) -> date | None:
    try:
        found = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        return None
    return found if found and 1970 < found.year < 9000 else None


def _span(first: str, last: str) -> str:
    words = [f"{kind} {day.day} {day:%b %Y}" for kind, text in (("from", first), ("to", last)) if (day := _day(text))]
    return " ".join(words)
