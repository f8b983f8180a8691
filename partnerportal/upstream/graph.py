"""Microsoft Graph: who of the partner's staff may do what for which customer (GDAP, CONTRACT 4).

https://learn.microsoft.com/graph/api/resources/delegatedadminrelationships-api-overview — always with the token of
the operator: a caller outside of Admin agents gets an empty list with 200, which means "cannot tell" (trap 11).
All methods raise the tree of errors.py.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

import msgspec
from django.conf import settings
from requests.structures import CaseInsensitiveDict

from partnerportal.upstream.errors import SignInAgain, Throttled, UpstreamError
from partnerportal.upstream.http import Answer, Call, Secret, send
from partnerportal.upstream.paging import LoopGuard, same_resource
from partnerportal.upstream.payload import Guid, NonEmpty, expect, guid, moment, parse, parse_row, unintelligible
from partnerportal.upstream.together import all_of

T = TypeVar("T")

SOURCE = "Microsoft Graph"
CHUNK = 20  # the most that $batch takes
LARGEST_PAGE = 300  # relationships
LARGEST_GROUP_PAGE = 999
_RELATIONSHIPS = "/tenantRelationships/delegatedAdminRelationships"


# --- What callers see ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Relationship:
    """What a customer has granted to the partner: the ceiling, not what one person may do. `roles` are role
    template ids; `status` an open word ("active", "expired", …); `ends_at` is None until it was approved.
    `customer_name` is Graph's copy and may be stale.
    """

    id: str
    display_name: str
    tenant_id: str
    status: str
    ends_at: datetime | None
    auto_extends: bool
    roles: frozenset[str]
    customer_name: str = ""
    created_at: datetime | None = None
    activated_at: datetime | None = None
    modified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """Roles of a relationship that the members of one security group have. `status` "active" alone counts."""

    id: str
    status: str
    group_id: str
    roles: frozenset[str]
    created_at: datetime | None = None
    modified_at: datetime | None = None

    @property
    def since(self) -> datetime | None:
        """Since when it is as it is, as far as Graph says."""
        return self.modified_at or self.created_at


RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class Found(Generic[RowT]):
    """Rows of a list, and how many more of them could not be read: what is absent may be one of those."""

    rows: tuple[RowT, ...] = ()
    unreadable: int = 0


# --- What Graph writes --------------------------------------------------------------------------------------


class _Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class _Role(_Wire, frozen=True):
    role_definition_id: str


class _AccessDetails(_Wire, frozen=True):
    unified_roles: tuple[_Role, ...] = ()

    def ids(self) -> frozenset[str]:
        return frozenset(role.role_definition_id.lower() for role in self.unified_roles)


class _Customer(_Wire, frozen=True):
    tenant_id: Guid
    display_name: str = ""


class _Relationship(_Wire, frozen=True):
    id: NonEmpty
    customer: _Customer | None = None
    display_name: str = ""
    status: str = ""
    created_date_time: str = ""
    activated_date_time: str = ""
    last_modified_date_time: str = ""
    end_date_time: str = ""
    auto_extend_duration: str = ""
    access_details: _AccessDetails = _AccessDetails()

    def relationship(self) -> Relationship:
        return Relationship(
            id=self.id,
            display_name=self.display_name,
            tenant_id=self.customer.tenant_id.lower() if self.customer else "",
            status=self.status,
            ends_at=moment(self.end_date_time),
            auto_extends=self.auto_extend_duration not in ("", "P0D", "PT0S"),
            roles=self.access_details.ids(),
            customer_name=self.customer.display_name if self.customer else "",
            created_at=moment(self.created_date_time),
            activated_at=moment(self.activated_date_time),
            modified_at=moment(self.last_modified_date_time),
        )


class _Container(_Wire, frozen=True):
    access_container_id: Guid


class _Assignment(_Wire, frozen=True):
    id: NonEmpty
    access_container: _Container
    status: str = ""
    created_date_time: str = ""
    last_modified_date_time: str = ""
    access_details: _AccessDetails = _AccessDetails()

    def assignment(self) -> Assignment:
        return Assignment(
            self.id,
            self.status,
            self.access_container.access_container_id.lower(),
            self.access_details.ids(),
            moment(self.created_date_time),
            moment(self.last_modified_date_time),
        )


class _Group(_Wire, frozen=True):
    id: Guid
    display_name: str = ""


class _Page(_Wire, frozen=True):
    value: list[Any]
    next_link: str = msgspec.field(name="@odata.nextLink", default="")


class _SubAnswer(_Wire, frozen=True):
    id: str
    status: int
    headers: dict[str, Any] = {}
    body: Any = None


class _Batch(_Wire, frozen=True):
    responses: list[_SubAnswer]


# --- The client ---------------------------------------------------------------------------------------------


class Graph:
    """Asks as the operator to whom the token belongs."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def relationships(
        self, tenant_id: str | None = None, *, status: str | None = None, top: int = LARGEST_PAGE
    ) -> tuple[Relationship, ...]:
        """Page "List delegatedAdminRelationships": all of them, or those of one customer, or of one status."""
        conditions = []
        if status is not None:
            conditions.append(f"status eq {_quoted(status)}")
        if tenant_id is not None:
            conditions.append(f"customer/tenantId eq {_quoted(guid(tenant_id))}")
        query = [("$filter", " and ".join(conditions))] if conditions else []
        rows = self._rows(f"{_RELATIONSHIPS}", (*query, ("$top", str(top))), _Relationship)
        return tuple(row.relationship() for row in rows)

    def any_relationship(self) -> bool:
        """Does Graph show this operator any relationship at all? If not, an empty list says nothing (trap 11)."""
        return any(True for _ in self._rows(_RELATIONSHIPS, (("$top", "1"),), _Relationship))

    def relationship_pages(self) -> Iterator[Found[Relationship]]:
        """Every relationship of the partner, page by page, each once. Rows that cannot be read are counted (F28)."""
        url, seen = f"{settings.GRAPH_URL}{_RELATIONSHIPS}", set[str]()
        first = self._send("GET", url, params=(("$top", str(LARGEST_PAGE)),))
        expect(first, 200)
        for answer, rows in self._pages(first, url):
            found = _counted(answer, rows, _Relationship)
            fresh = [row.relationship() for row in found.rows if row.id not in seen]
            seen.update(row.id for row in fresh)
            yield Found(tuple(fresh), found.unreadable)

    def assignments(self, relationship_ids: Sequence[str]) -> dict[str, tuple[Assignment, ...]]:
        """Page "List accessAssignments", twenty relationships in one request, the requests side by side.

        Raises when one of them fails.
        """
        found = self._assignments(relationship_ids, strict=True)
        return {one: each.rows for one, each in found.items()}

    def assignments_counted(self, relationship_ids: Sequence[str]) -> dict[str, Found[Assignment]]:
        """As `assignments`, but rows that cannot be read are counted instead of failing the whole (F28)."""
        return self._assignments(relationship_ids, strict=False)

    def _assignments(self, relationship_ids: Sequence[str], *, strict: bool) -> dict[str, Found[Assignment]]:
        paths = {f"{_RELATIONSHIPS}/{quote(one, safe='')}/accessAssignments": one for one in relationship_ids}
        found: dict[str, Found[Assignment]] = {}
        for path, answer in self._many(list(paths)):
            expect(answer, 200)
            whole: dict[str, Assignment] = {}
            unreadable = 0
            for page, rows in self._pages(answer, f"{settings.GRAPH_URL}{path}"):
                these = Found(_all(page, rows, _Assignment)) if strict else _counted(page, rows, _Assignment)
                whole |= {row.id: row.assignment() for row in these.rows}
                unreadable += these.unreadable
            found[paths[path]] = Found(tuple(whole.values()), unreadable)
        return found

    def transitive_groups(self) -> dict[str, str]:
        """Page "List a user's memberships (direct and transitive)": all groups of the operator, id -> display name.

        The names come where the permission GroupMember.Read.All is granted; else they are "".
        """
        query = (("$select", "id,displayName"), ("$top", str(LARGEST_GROUP_PAGE)))
        rows = self._rows("/me/transitiveMemberOf/microsoft.graph.group", query, _Group)
        return {row.id.lower(): row.display_name for row in rows}

    def group_names(self, group_ids: Iterable[str]) -> dict[str, str]:
        """Page "Get group": id -> display name, for explanations. Groups that Graph does not show are left out."""
        paths = {f"/groups/{one}?$select=id,displayName": one for one in sorted({guid(each) for each in group_ids})}
        names = {}
        for path, answer in self._many(list(paths)):
            if answer.status in (403, 404):
                continue
            expect(answer, 200)
            names[paths[path]] = parse(answer, _Group).display_name
        return names

    # Pages

    def _rows(self, path: str, query: tuple[tuple[str, str], ...], wanted: type[T]) -> Iterator[T]:
        url = f"{settings.GRAPH_URL}{path}"
        answer = self._send("GET", url, params=query)
        expect(answer, 200)
        return self._rest(answer, url, wanted)

    def _rest(self, answer: Answer, url: str, wanted: type[T]) -> Iterator[T]:
        """The rows of this page and of all that follow, every one of them readable."""
        for page, rows in self._pages(answer, url):
            yield from _all(page, rows, wanted)

    def _pages(self, answer: Answer, url: str) -> Iterator[tuple[Answer, list[Any]]]:
        """This page and all that follow, with their rows. A page may be empty and still not be the last."""
        guard = LoopGuard(settings.CUSTOMER_PAGE_LIMIT)
        while True:
            page = parse(answer, _Page)
            yield answer, page.value
            if not page.next_link:
                return
            link = same_resource(page.next_link, url)
            if not link:
                raise unintelligible(answer)
            guard.go_on(link, answer)
            answer = self._send("GET", link)
            expect(answer, 200)

    # Many questions in one request

    def _many(self, paths: list[str]) -> Iterator[tuple[str, Answer]]:
        """Page "Combine multiple requests": each path with its answer; the requests go side by side."""
        chunks = list(_chunks(paths))
        for answers in all_of(*(partial(self._twenty, chunk) for chunk in chunks)):
            yield from answers.items()

    def _twenty(self, chunk: list[str]) -> dict[str, Answer]:
        """The answers to up to twenty paths; one by one where $batch itself fails."""
        try:
            return self._batch(chunk)
        except (SignInAgain, Throttled):
            raise
        except UpstreamError as error:
            if error.status is None or error.status < 400:
                raise
            return {path: self._send("GET", f"{settings.GRAPH_URL}{path}") for path in chunk}

    def _batch(self, paths: list[str]) -> dict[str, Answer]:
        requests = [{"id": str(number), "method": "GET", "url": path} for number, path in enumerate(paths)]
        whole = self._send("POST", f"{settings.GRAPH_URL}/$batch", json={"requests": requests})
        expect(whole, 200)
        parts = {part.id: part for part in parse(whole, _Batch).responses}
        if set(parts) != {request["id"] for request in requests}:
            raise unintelligible(whole)
        return {path: _as_answer(parts[str(number)], whole) for number, path in enumerate(paths)}

    def _send(
        self, method: str, url: str, *, params: tuple[tuple[str, str], ...] = (), json: Mapping[str, Any] | None = None
    ) -> Answer:
        request_id = str(uuid4())
        return send(
            Call(
                source=SOURCE,
                method=method,
                url=url,
                params=params,
                json=json,
                headers={"client-request-id": request_id},
                token=self._token,
                request_id=request_id,
                replayable=True,  # every POST here only reads
            )
        )


def _as_answer(part: _SubAnswer, whole: Answer) -> Answer:
    headers = {name: value for name, value in part.headers.items() if isinstance(value, str)}
    return Answer(
        source=SOURCE,
        status=part.status,
        headers=CaseInsensitiveDict({"request-id": whole.headers.get("request-id", ""), **headers}),
        body=msgspec.json.encode(part.body),
        took=whole.took,
        request_id=whole.request_id,
        secrets=whole.secrets,
    )


def _all(answer: Answer, rows: list[Any], wanted: type[T]) -> tuple[T, ...]:
    """All rows of a page. Raises Unintelligible when one of them cannot be read."""
    try:
        return tuple(msgspec.convert(rows, list[wanted]))  # type: ignore[valid-type]
    except msgspec.ValidationError:
        pass
    raise unintelligible(answer)


def _counted(answer: Answer, rows: list[Any], wanted: type[T]) -> Found[T]:
    """The rows of a page that can be read. Raises Unintelligible when none of them can."""
    read = tuple(row for row in (parse_row(each, wanted) for each in rows) if row is not None)
    if rows and not read:
        raise unintelligible(answer)
    return Found(read, len(rows) - len(read))


def _quoted(text: str) -> str:
    """An OData string: quotes doubled (TRUST T21)."""
    return "'" + text.replace("'", "''") + "'"


def _chunks(values: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]
