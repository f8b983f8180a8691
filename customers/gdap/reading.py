"""Reading the GDAP snapshot, from Graph's first page to the swap.

Graph shows relationships to people inside Admin agents only, so it is read with the token of whoever is at work:
when they sign in, and every 15 minutes while they are active. The copy is everybody's. A read comes whole or changes
nothing, and an empty answer (somebody outside Admin agents) replaces nothing.
"""

import contextvars
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from django.conf import settings
from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.db.models import Count

from partnerportal import clock, grants
from partnerportal.models import Operator, TokenCache
from partnerportal.upstream import tokens
from partnerportal.upstream.errors import SignInAgain, UpstreamError
from partnerportal.upstream.graph import CHUNK, Found, Graph, Relationship
from partnerportal.upstream.http import budget
from partnerportal.upstream.patience import patiently
from partnerportal.upstream.together import AT_ONCE

from .. import access, shortage, snapshot
from ..models import GRAPH, NOBODY_YET, GdapAssignment, GdapRead, Source
from . import relationships

log = logging.getLogger(__name__)
T = TypeVar("T")

EVERY = timedelta(minutes=15)  # while somebody is active
AT_SIGN_IN = timedelta(minutes=2)  # a copy that is younger is new enough for who has just come in
AFTER_FAILURE = timedelta(minutes=1)
LOOK_EVERY = 30.0  # seconds in which one sign-in causes one look at the ages at most

HEARTBEAT = 5.0  # seconds between two signs of life
LONGEST_WALK = 600.0  # seconds
LONGEST_PAUSE = 60.0  # seconds that a batch waits when Graph asks to slow down; longer fails the read
PATIENCE = 5  # how often one batch is asked again after such a pause

OUR_FAULT = "We had a fault while we put the relationships in place. The log names it; what we knew stays."


class LeaseLost(Exception):
    """Another worker has taken this read over; whatever we do now is theirs to do."""


# --- When it is due -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Due:
    """What should be read for somebody who is at work."""

    read: GdapRead | None = None  # a new one, to be published
    groups: bool = False  # their groups alone


def look(grant: TokenCache) -> Due:
    """Somebody is here: what is too old to go on with. Asks no upstream, and the database twice a minute at most."""
    if not cache.add(f"gdap-looked-{grant.pk}", True, LOOK_EVERY):
        return Due()
    access.remember_names(relationships.names_of())
    now = clock.now()
    if is_due(grant, now):
        read, is_new = request_read(by=grant.operator, grant=grant)
        if is_new:
            return Due(read=read)
    read_at = grant.operator.groups_read_at
    are_new = read_at is not None and grant.created_at <= read_at and abs(now - read_at) <= EVERY
    return Due(groups=not are_new)


def is_due(grant: TokenCache, now: datetime) -> bool:
    """Whether the snapshot is so old that this person's token should be used to read it.

    What is as far ahead counts as old: it is from before a clock was put right.
    """
    source = Source.objects.filter(pk=GRAPH).first()
    good_at = source.last_good_at if source else None
    mine = GdapRead.objects.filter(by=grant.operator).order_by("-pk").first()
    just_came_in = mine is None or mine.created_at < grant.created_at
    if good_at and abs(now - good_at) < (AT_SIGN_IN if just_came_in else EVERY):
        return False
    if mine is None or just_came_in:
        return True
    pause = EVERY if mine.state == GdapRead.State.EMPTY else AFTER_FAILURE
    return abs(now - (mine.finished_at or mine.created_at)) >= pause


def request_read(*, by: Operator, grant: TokenCache | None) -> tuple[GdapRead, bool]:
    """The read that will bring a fresh copy: the open one, or a new one. True when it is new."""
    if waiting := GdapRead.objects.filter(open=True).first():
        return waiting, False
    try:
        with transaction.atomic():
            return GdapRead.objects.create(by=by, grant=grant), True
    except IntegrityError:
        if grant and not TokenCache.objects.filter(pk=grant.pk).exists():  # signed out meanwhile
            grant = None
        return request_read(by=by, grant=grant)


# --- The groups of one person -------------------------------------------------------------------------------


def read_groups(grant_id: str) -> None:
    """Store the groups of a sign-in's operator, asked with their own token. Silence leaves what we know."""
    grant = TokenCache.objects.filter(pk=grant_id).select_related("operator").first()
    if grant is None:
        return
    try:
        with budget(settings.UPSTREAM_BUDGET):
            groups = grants.graph(grant).transitive_groups()
    except UpstreamError as error:
        log.info("the groups of operator %s could not be read: %s", grant.operator_id, error)
        return
    keep_groups(grant.operator, groups)


def keep_groups(operator: Operator, groups: Iterable[str]) -> None:
    """What Graph has just told this person about their groups."""
    operator.groups, operator.groups_read_at = sorted(groups), clock.now()
    Operator.objects.filter(pk=operator.pk).update(groups=operator.groups, groups_read_at=operator.groups_read_at)


# --- The walk -----------------------------------------------------------------------------------------------


@dataclass
class Walk:
    """A copy on its way into memory. Touches no database; the heartbeat reads `copy` while threads fill it."""

    copy: relationships.Copy = field(default_factory=relationships.Copy)
    my_groups: dict[str, str] | None = None
    quarantined: int = 0
    problem: str = ""
    worthless: bool = False  # the token: nobody but its owner can mend that
    stopped: bool = False

    def go(self, graph: Graph, pool: ThreadPoolExecutor) -> None:
        """Page after page, and behind each page its assignments. What goes wrong ends up in `problem`."""
        until = time.monotonic() + LONGEST_WALK
        mine = submit(pool, lambda: _in_time(graph.transitive_groups))
        batches: list[Future[None]] = []
        try:
            pages = graph.relationship_pages()
            while not self.stopped and (page := _in_time(lambda: next(pages, None))) is not None:
                live = self._take(page)
                chunks = [live[start : start + CHUNK] for start in range(0, len(live), CHUNK)]
                batches += [submit(pool, partial(self._assignments, graph, chunk)) for chunk in chunks]
                if time.monotonic() > until:
                    self.problem = "Microsoft Graph did not come to the end of the relationships in time."
                    self.stopped = True
            for batch in batches:
                batch.result()
            self.my_groups = mine.result()
            self.copy.names = self._names(graph)
        except SignInAgain as error:
            self.problem, self.worthless = str(error), True
        except UpstreamError as error:
            self.problem = str(error)
        finally:
            self.stopped = self.stopped or bool(self.problem)
            self.my_groups = self.my_groups or _brought(mine)

    def _take(self, page: Found[Relationship]) -> list[str]:
        """Keep a page; the ids of those that may have assignments that count."""
        usable = [row for row in map(relationships.fitted, page.rows) if row]
        self.copy.unreadable += page.unreadable + len(page.rows) - len(usable)
        self.quarantined += page.unreadable + len(page.rows) - len(usable)
        self.copy.relationships |= {row.id: row for row in usable}
        now = clock.now()
        return [row.id for row in usable if access.has_begun(row, now)]

    def _assignments(self, graph: Graph, chunk: list[str]) -> None:
        if self.stopped:
            return
        answers = patiently(
            lambda: graph.assignments_counted(chunk),
            pauses=PATIENCE,
            longest=LONGEST_PAUSE,
            go_on=lambda: not self.stopped,
        )
        for one, found in answers.items():
            usable = tuple(row for row in map(relationships.fitted, found.rows) if row)
            unusable = found.unreadable + len(found.rows) - len(usable)
            self.copy.assignments[one] = usable
            if unusable:
                self.copy.in_doubt.add(one)
                self.quarantined += unusable

    def _names(self, graph: Graph) -> dict[str, str]:
        """What the groups are called. Only words: without them the ids are shown, or the names that we knew."""
        groups = {each.group_id for many in self.copy.assignments.values() for each in many}
        names = {group: name for group, name in (self.my_groups or {}).items() if name and group in groups}
        try:
            return names | _in_time(lambda: graph.group_names(groups - names.keys()))
        except SignInAgain:
            raise
        except UpstreamError as error:
            log.info("the names of groups could not be read: %s", error)
            return names


def submit(pool: ThreadPoolExecutor, work: Callable[[], T]) -> "Future[T]":
    """Run it in the pool with the request id and the budget of whoever asks."""
    return pool.submit(contextvars.copy_context().run, work)


def _in_time(ask: Callable[[], T]) -> T:
    with budget(settings.UPSTREAM_BUDGET):
        return ask()


def _brought(mine: "Future[dict[str, str]]") -> dict[str, str] | None:
    """The groups, if they came although the rest did not."""
    return None if mine.cancel() or mine.exception() else mine.result()


def carry_out(read_id: int) -> None:
    """Do a read from its row alone. Safe to call twice, late, or after a kill: the claim decides."""
    read = GdapRead.claim(read_id)
    if read is None:
        return
    began = time.monotonic()
    try:
        walk = _walk(read)
        if walk.my_groups is not None and read.by:
            keep_groups(read.by, walk.my_groups)
        _finish(read, walk, time.monotonic() - began)
    except LeaseLost:
        log.warning("GDAP read %s was taken over by another worker", read.pk)
    except Exception:  # a fault of ours must not leave a read that is open for ever
        log.exception("GDAP read %s broke off", read.pk)
        now = clock.now()
        if read.write(state=GdapRead.State.FAILED, open=None, finished_at=now):
            Source.objects.filter(pk=GRAPH).update(problem=OUR_FAULT, last_tried_at=now)


def _walk(read: GdapRead) -> Walk:
    """The walk, in threads; this one keeps the lease alive meanwhile."""
    try:
        graph = _client(read)
    except UpstreamError as error:
        return Walk(problem=str(error), worthless=isinstance(error, SignInAgain))
    walk = Walk()
    with ThreadPoolExecutor(max_workers=AT_ONCE + 2) as pool:
        pending = {submit(pool, partial(walk.go, graph, pool))}
        try:
            while pending:
                done, pending = wait(pending, timeout=HEARTBEAT)
                for future in done:
                    future.result()
                if not read.beat(len(walk.copy.relationships)):
                    raise LeaseLost
        finally:
            walk.stopped = True
    return walk


def _client(read: GdapRead) -> Graph:
    """Graph in the name of who is at work. Raises `SignInAgain` when they have signed out meanwhile."""
    grant = TokenCache.objects.filter(gdapread=read).select_related("operator").first()
    if grant is None:
        raise SignInAgain(source=tokens.SOURCE, sent=False)
    with budget(settings.UPSTREAM_BUDGET):
        return grants.graph(grant)


# --- Putting it in place ------------------------------------------------------------------------------------


def _finish(read: GdapRead, walk: Walk, took: float) -> None:
    """Swap in what came whole, note the rest, close the read: all of it or nothing, and only if we still hold it."""
    now = clock.now()
    found = len(walk.copy.relationships)
    source = Source.named(GRAPH)
    state: str = GdapRead.State.DONE
    values: dict[str, Any] = {"last_tried_at": now, "problem": ""}
    if walk.problem:
        state, values["problem"] = GdapRead.State.FAILED, walk.problem
        if walk.worthless:  # says nothing about Graph
            values = {"problem": NOBODY_YET} if source.last_good_at is None else {}
    elif not found and not walk.copy.unreadable:
        state = GdapRead.State.EMPTY
        values = {"last_tried_at": now, "problem": NOBODY_YET} if source.last_good_at is None else {}
    elif _is_short(source, walk.copy):
        state = GdapRead.State.FAILED
        values["problem"] = f"Microsoft Graph {shortage.told(source)}. We keep what we know."
        values |= {"short_rows": source.short_rows, "short_assignments": source.short_assignments}
    else:
        values |= {"last_good_at": now, "took": took, "rows": found, "quarantined": walk.quarantined}
        values |= shortage.NO_QUESTION
    plan = relationships.plan(walk.copy, now) if state == GdapRead.State.DONE else None
    upserts = relationships.statements(plan, walk.copy.names) if plan else []
    with transaction.atomic():
        if not read.write(state=state, open=None, finished_at=now, rows_seen=found):
            raise LeaseLost
        if plan:
            snapshot.hold()  # before any customer is written, as whoever else writes them does
        Source.objects.filter(pk=GRAPH).update(**values)
        if plan and relationships.put_in_place(plan, upserts):
            snapshot.changed(sorts=("gdap",))


def _is_short(source: Source, copy: relationships.Copy) -> bool:
    """Whether a copy that came whole has far too little, and no Portal.Admin has said that it is right.

    Notes in the source what it has too little of.
    """
    listed = len(copy.relationships)
    source.short_rows = listed if shortage.is_short(listed, shortage.known(GRAPH)) else None
    assigned, before = _assigned(copy)
    source.short_assignments = assigned if shortage.is_short(assigned, before) else None
    return not all(shortage.is_accepted(one.found, one.accepted) for one in source.short)


def _assigned(copy: relationships.Copy) -> tuple[int, int]:
    """How many assignments the copy has, and how many we knew, of the relationships that it would change.

    What has ended is not asked for its assignments, and what could not be read keeps those that we knew: with these, a
    day on which many relationships end would look like a bad answer, and a bad answer like a good one.
    """
    told = copy.assignments.keys() - copy.in_doubt
    held = GdapAssignment.objects.values_list("relationship").annotate(n=Count("pk"))
    return sum(len(copy.assignments[one]) for one in told), sum(n for one, n in held if one in told)
