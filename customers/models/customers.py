"""One tenant that the partner manages, as the sources together tell it, and what people have written on it."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Self

from django.db import models
from django.db.models import F, Q

from partnerportal import clock
from partnerportal.models import Operator

from .. import search
from .upstreams import SourceName

SOON = timedelta(days=30)


class CustomerQuerySet(models.QuerySet["Customer"]):
    """Reads of the customer list. Nothing here asks an upstream."""

    SORTS = {
        "name": ("sort_name", "id"),
        "domain": ("domain", "sort_name", "id"),
        "source": ("in_partner_center", "in_avepoint", "sort_name", "id"),
        "country": ("country", "sort_name", "id"),
        "gdap": ("gdap_ends_at", "sort_name", "id"),
        "ap": ("ap_status", "sort_name", "id"),
    }
    """Sort key -> its columns. Each has an index of just these over the listed customers."""

    EMPTY: dict[str, dict[str, Any]] = {
        "domain": {"domain": ""},
        "country": {"country": ""},
        "gdap": {"gdap_ends_at": None},
        "ap": {"ap_status": ""},
    }
    """Sort key -> what its empty values look like. They stand last in both directions."""

    def listed(self) -> Self:
        """Without those that every source has left out twice."""
        return self.filter(listed=True)

    def search(self, text: str, *, walking: bool = False) -> Self:
        """Rows that have every word of the text in their search text, accents and case aside; short words begin one.

        `walking`: for many hits, read in the order of a sort index, so without the search's own index.
        """
        return self.filter(search.condition(text, walking=walking))

    def from_source(self, *sources: str) -> Self:
        """Those of these combinations: "both", "pc" (Partner Center only), "ap" (AvePoint only)."""
        wanted = Q()
        for source in sources:
            wanted |= Q(in_partner_center=source != "ap", in_avepoint=source != "pc")
        return self.filter(wanted)

    def in_one_source(self) -> Self:
        return self.from_source("pc", "ap")

    def alone_in(self, source: str) -> Self:
        """Listed ones that only this source knows, as an index has them."""
        return self.filter(_alone(source))

    def gdap_ends_soon(self, now: datetime) -> Self:
        """GDAP ends within 30 days, by calendar, and does not extend by itself."""
        return self.filter(gdap_ends_soon(now))

    def needing_attention(self, now: datetime) -> Self:
        """GDAP ended or about to, AvePoint failed, a match to check, or missing from a source."""
        return self.filter(
            Q(gdap_state="ended")
            | _ends_soon(now)
            | Q(ap_status="Failed")
            | Q(missing_since__isnull=False)
            | _to_check()
        )

    def to_check(self) -> Self:
        """Those that may be the same company as another one."""
        return self.filter(_to_check())

    def in_order(self, sort: str) -> Self:
        """Sorted by one of `SORTS`, "-" in front turns all of it round; but empty values stay last."""
        key = sort.removeprefix("-")
        down = sort.startswith("-")
        columns = [F(name).desc() if down else F(name).asc() for name in self.SORTS.get(key, self.SORTS["name"])]
        empty = self.EMPTY.get(key)
        empty_last = [models.Case(models.When(_is(empty), then=1), default=0)] if empty else []
        return self.order_by(*empty_last, *columns)

    @classmethod
    def order_by_hand(cls, sort: str) -> str:
        """What `in_order` says, as SQL."""
        key, way = sort.removeprefix("-"), "DESC" if sort.startswith("-") else "ASC"
        columns = [f"{name} {way}" for name in cls.SORTS.get(key, cls.SORTS["name"])]
        for name, value in cls.EMPTY.get(key, {}).items():
            is_empty = f"{name} IS NULL" if value is None else f"{name} = ''"
            columns.insert(0, f"CASE WHEN {is_empty} THEN 1 ELSE 0 END")
        return ", ".join(columns)

    def filled(self, key: str, *, empty: bool = False) -> Self:
        """The part of the list whose values of this sort are there, or (`empty`) are not."""
        return self.filter(_is(self.EMPTY[key]) if empty else ~_is(self.EMPTY[key])) if key in self.EMPTY else self


def _is(empty: dict[str, Any]) -> Q:
    """`column = ''` or `column IS NULL`, as the indexes want it."""
    [(name, value)] = empty.items()
    return Q(**{f"{name}__isnull": True}) if value is None else Q(**{name: value})


def _alone(source: str) -> Q:
    """Listed customers that only this source knows."""
    return Q(listed=True, in_partner_center=source == "partner_center", in_avepoint=source == "avepoint")


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def gdap_ends_soon(now: datetime) -> Q:
    """GDAP ends within 30 days and does not extend by itself. The days are those of UTC, for everybody alike."""
    return _ends_soon(now) & Q(gdap_ends_at__gte=_midnight(now))


def _ends_soon(now: datetime) -> Q:
    # To the day, so that a count holds until midnight.
    return Q(gdap_state="live", gdap_extends=False, gdap_ends_at__lt=_midnight(now) + SOON + timedelta(days=1))


def _to_check() -> Q:
    from .matches import MatchSuggestion  # which stands above this module

    pairs = MatchSuggestion.objects.all()
    return Q(pk__in=pairs.values("partner_center")) | Q(pk__in=pairs.values("avepoint"))


class Customer(models.Model):
    """One tenant that the partner manages, as the sources together tell it. Rebuilt from its source rows.

    `key` is what stands in URLs: the lower-case tenant id, or "ap-" and the AvePoint id (reverse() encodes it).
    """

    key = models.CharField(max_length=400, unique=True)
    tenant_id = models.CharField(max_length=36, unique=True, null=True)  # noqa: DJ001 -- null: not in Partner Center
    name = models.CharField(max_length=400)
    sort_name = models.CharField(max_length=400)
    domain = models.CharField(max_length=255, blank=True)
    country = models.CharField(max_length=120, blank=True)  # a name people read; unknown ones as AvePoint wrote them
    country_code = models.CharField(max_length=2, blank=True)
    ap_status = models.CharField(max_length=120, blank=True)
    owner_email = models.CharField(max_length=320, blank=True)
    in_partner_center = models.BooleanField(default=False)
    in_avepoint = models.BooleanField(default=False)
    missing_from = models.CharField(max_length=20, blank=True)  # the source that stopped listing it, or "both"
    missing_since = models.DateTimeField(null=True)  # the first complete walk without it
    listed = models.BooleanField(default=True)  # False once every source has left it out twice
    conflicts = models.JSONField(default=list)  # the fields on which the sources differ: "name", "country"
    # From the GDAP snapshot; for everybody alike. Who may do what: `GdapGrant`.
    gdap_state = models.CharField(max_length=10, blank=True)  # one of GdapState; "" before the first snapshot
    gdap_ends_at = models.DateTimeField(null=True)  # of the live relationship that lasts longest; of the last ended one
    gdap_extends = models.BooleanField(default=False)
    search_text = models.TextField(default="")
    # What matches.py compares. Told with the rest, so that a sync compares columns and no rows in Python.
    plain_name = models.CharField(max_length=200, blank=True)  # without legal form, punctuation, accents and case
    owner_domain = models.CharField(max_length=255, blank=True)  # of `owner_email`
    # Read by id when the customer is opened, for Partner Center's list has none of it.
    profile_read_at = models.DateTimeField(null=True)
    custom_domains = models.JSONField(default=list)
    seen_domains = models.JSONField(default=dict)  # domain -> "federated", "managed" or "": users, refusals
    # What somebody saw who opened its users last; null before. For the list's column "Users".
    users_seen = models.PositiveIntegerField(null=True)
    users_seen_all = models.BooleanField(null=True)  # False: that was the first page, and there are more
    users_seen_at = models.DateTimeField(null=True)

    objects = CustomerQuerySet.as_manager()

    class Meta:
        # One for each sort; migration 0002 adds those of the search, which differ between the databases.
        indexes = [
            *(
                models.Index(fields=columns, condition=Q(listed=True), name=f"list_by_{key}")
                for key, columns in CustomerQuerySet.SORTS.items()
            ),
            models.Index(fields=["missing_since"], condition=Q(missing_since__isnull=False), name="list_missing"),
            # For the suggestions, which are looked for after each sync.
            models.Index(fields=["plain_name", "domain"], condition=_alone("partner_center"), name="alone_in_pc"),
            models.Index(fields=["plain_name", "owner_domain"], condition=_alone("avepoint"), name="alone_in_ap"),
            models.Index(fields=["profile_read_at"], condition=Q(profile_read_at__isnull=False), name="profile_read"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def source_words(self) -> str:
        if self.in_partner_center and self.in_avepoint:
            return "Both"
        return "Partner Center only" if self.in_partner_center else "AvePoint only"

    @property
    def missing_words(self) -> str:
        """What stands before the day of `missing_since`."""
        labels = dict(SourceName.choices)
        return f"Not in {labels[self.missing_from]} since" if self.missing_from in labels else "Not seen since"

    def synced(self, read_at: Mapping[str, datetime | None]) -> datetime | None:
        """How old this row is at most: the older of the last complete reads of its sources."""
        told_by = [name for name in SourceName if getattr(self, f"in_{name.value}")]
        times = [read_at.get(name) for name in told_by]
        return min((time for time in times if time), default=None) if all(times) else None

    @property
    def avepoint_name(self) -> str:
        """What AvePoint calls a customer that both know; one query."""
        from .sources import avepoint_row  # which stands above this module

        row = avepoint_row(self.rows.filter(gone_at=None), self.tenant_id)
        return row.name if row else ""

    @property
    def avepoint_id(self) -> str:
        """AvePoint's id of a customer that only AvePoint knows, folded."""
        return self.key.removeprefix("ap-") if self.tenant_id is None else ""

    @property
    def domains(self) -> list[str]:
        """The domains that Partner Center told us of, the default one first."""
        return domains_of(self.domain, self.custom_domains)


def domains_of(domain: str, custom_domains: Iterable[str]) -> list[str]:
    """Each once, the default one first."""
    return list(dict.fromkeys(one for one in (domain, *custom_domains) if one))


class Label(models.Model):
    """A word that people have put on a customer: another name, an internal code, a tag. Found by the search."""

    class Kind(models.TextChoices):
        ALIAS = "alias", "Alias"
        CODE = "code", "Internal code"
        TAG = "tag", "Tag"

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="labels")
    kind = models.CharField(max_length=5, choices=Kind)
    text = models.CharField(max_length=80)
    folded = models.CharField(max_length=80)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer", "kind", "folded"], name="one_label_a_customer")]
        indexes = [models.Index(fields=["kind", "folded"])]

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class OneAnOperator(models.Model):
    """What an operator has with a customer, once."""

    operator = models.ForeignKey(Operator, on_delete=models.CASCADE)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE)

    class Meta:
        abstract = True
        constraints = [models.UniqueConstraint(fields=["operator", "customer"], name="one_%(class)s_an_operator")]


class Favourite(OneAnOperator):
    """A customer that an operator keeps at hand."""

    created_at = models.DateTimeField(default=clock.now)

    def __str__(self) -> str:
        return f"{self.operator_id} likes {self.customer_id}"


class Visit(OneAnOperator):
    """When an operator last opened a customer."""

    at = models.DateTimeField(default=clock.now)

    class Meta(OneAnOperator.Meta):
        indexes = [models.Index(fields=["operator", "-at"])]

    def __str__(self) -> str:
        return f"{self.operator_id} saw {self.customer_id}"


class Snapshot(models.Model):
    """What is true of the whole list until something in it changes: counts and choices, so that no page counts rows.

    One row. `generation` grows with each change; what processes remember of the list is remembered under it.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    generation = models.PositiveBigIntegerField(default=0)
    facts = models.JSONField(default=dict)
    built_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"snapshot {self.generation}"


class ListAnchor(models.Model):
    """Rows of the list in one order whose places are known, so that no page is slower than the first: every 500th
    when they are noted. They move with what changes, and are noted anew before two of them are too far apart.
    """

    EVERY = 500
    WIDEST = 2_000  # places between two of them

    sort = models.CharField(max_length=10)
    place = models.PositiveIntegerField()
    values = models.JSONField()  # of the columns of that order

    class Meta:
        constraints = [models.UniqueConstraint(fields=["sort", "place"], name="one_anchor_a_place")]

    def __str__(self) -> str:
        return f"{self.sort} {self.place}"
