"""A customer sync, from the first page to the swap.

Both sources are walked side by side, each page into `StagedRow` as it comes; only what came whole is put in place, in
one transaction. A walk that failed or came short changes nothing and is shown with the age of what we have.
"""

import contextlib
import contextvars
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction

from partnerportal import audit, clock, grants
from partnerportal.models import AuditEvent, Operator, TokenCache
from partnerportal.permissions import Permission, may
from partnerportal.upstream import avepoint, tokens
from partnerportal.upstream.errors import Refused, SignInAgain, UpstreamError
from partnerportal.upstream.http import budget
from partnerportal.upstream.paging import Stretch
from partnerportal.upstream.partner_center import PartnerCenter

from . import indexes, merge, shortage, staging
from .models import Source, SourceName, SyncRun

log = logging.getLogger(__name__)

NUDGE_AGAIN = timedelta(seconds=20)  # how long an unclaimed run waits for another message
HEARTBEAT = 5.0  # seconds between two signs of life
PAGES_WAITING = 32  # pages that were read and not stored yet; a walk that is ahead waits
GATHER = 0.25  # seconds in which pages are put together
LONGEST_WALK = 1500.0  # seconds; RabbitMQ gives a message to somebody else after half an hour, Redis after an hour

ONLY_FOR_PEOPLE = "Partner Center gives this list to people only. Press Refresh to have it read with your sign-in."
OUR_FAULT = "We had a fault while we put the lists in place. The log names it; what we knew stays."
app_only_refused = threading.Event()  # Partner Center said 401 or 403 to our own token: not asked again until restart


class LeaseLost(Exception):
    """Another worker has taken this run over, or somebody has cancelled it; whatever we do now must not count."""


@dataclass
class Walk:
    """One source on its way to us. A thread fills its fields while the main thread reads them."""

    roll: staging.RollCall
    read: Callable[["Walk"], Iterator["Page"]]
    rows: int = 0  # so far, those that come twice included
    pages: int = 0
    took: float = 0.0  # seconds
    unreadable: int = 0  # rows without an id: what is absent may be one of them
    unusable: int = 0  # rows whose id cannot stand in an address of ours
    problem: str = ""
    skipped: bool = False  # nobody was asked, so nothing is known to be wrong
    short: bool = False  # it came whole, and brought far too little
    stopped: bool = False

    @property
    def source(self) -> SourceName:
        return SourceName(self.roll.source)

    def go(self, pages: "Pages") -> None:
        """Hand over page after page, each read with a budget of its own, and None at the end. What goes wrong ends up
        in `problem`.
        """
        began = time.monotonic()
        try:
            iterator = self.read(self)
            while not self.stopped:
                with budget(settings.UPSTREAM_BUDGET):
                    page = next(iterator, None)
                if page is None:
                    break
                self.rows, self.pages = self.rows + sum(stretch.number for stretch in page), self.pages + 1
                self._hand_over(pages, page)
                if time.monotonic() > began + LONGEST_WALK:
                    self.problem = f"{self.source.label} did not come to the end of its list in time."
                    break
        except UpstreamError as error:
            self.problem = str(error)
        except Exception:  # one source's surprise must not stop the other one's walk, nor every sync after it
            log.exception("the walk over %s broke off", self.source)
            self.problem = f"We had a fault while we read {self.source.label}."
        finally:
            self.took = time.monotonic() - began
            self._hand_over(pages, None)

    def _hand_over(self, pages: "Pages", page: "Page | None") -> None:
        while not self.stopped:
            with contextlib.suppress(queue.Full):  # the main thread is behind, or has gone
                pages.put((self, page), timeout=0.5)
                return


Page = Sequence[Stretch[merge.Seen]]
Pages = queue.Queue[tuple[Walk, Page | None]]


def request_sync(*, by: Operator | None = None, grant: TokenCache | None = None) -> tuple[SyncRun, bool]:
    """The run that will refresh the lists: the open one, or a new one. True when it is new."""
    try:
        with transaction.atomic():
            return SyncRun.objects.create(requested_by=by, grant=grant), True
    except IntegrityError:
        if grant and not TokenCache.objects.filter(pk=grant.pk).exists():  # signed out meanwhile
            return request_sync(by=by)
        waiting = SyncRun.objects.filter(open=True)
        if grant:  # a run of the clock has no token of a person, and may need one
            waiting.filter(grant=None, state=SyncRun.State.QUEUED).update(requested_by=by, grant=grant)
        run = waiting.first()
        return (run, False) if run else request_sync(by=by, grant=grant)


def sync_now() -> SyncRun:
    """Walk both sources here and now, for `make demo` and the command line. Returns the finished run."""
    run, _ = request_sync()
    carry_out(run.pk)
    run.refresh_from_db()
    return run


def carry_out(run_id: int) -> None:
    """Do a run from its row alone. Safe to call twice, late, or after a kill: the claim decides."""
    run = SyncRun.claim(run_id)
    if run is None:
        return
    try:
        _store(run, [], [], anew=True)
        _finish(run, _walk_side_by_side(run, _walks(run)))
    except LeaseLost:
        log.warning("sync %s was cancelled, or taken over by another worker", run.pk)
    except Exception:  # a fault of ours must not leave a run that is open for ever
        log.exception("sync %s broke off", run.pk)
        _broke_off(run)


def _broke_off(run: SyncRun) -> None:
    """Close a run that a fault of ours has ended; nothing of it was put in place."""
    now = clock.now()
    if run.write(state=SyncRun.State.FAILED, open=None, finished_at=now):
        Source.objects.filter(name__in=SourceName.values).update(problem=OUR_FAULT, last_tried_at=now)


def may_cancel(run: SyncRun, operator: Operator) -> bool:
    """One's own run, or anybody's for those who decide about the sources."""
    return run.requested_by_id == operator.pk or may(operator, Permission.DECIDE_SOURCES)


def cancel(run: SyncRun, *, by: Operator) -> bool:
    """Stop a run before it has changed anything. False when it had ended before."""
    with transaction.atomic():
        if not SyncRun.cancel(run.pk, by):
            return False
        staging.forget()
        done = audit.Result(outcome=AuditEvent.Outcome.DONE, detail="Nothing was changed.")
        audit.note(audit.Subject(action="sync cancelled"), done, by=by)
    return True


# --- Walking ------------------------------------------------------------------------------------------------


def _walks(run: SyncRun) -> list[Walk]:
    """Partner Center first, app-only where the registration allows it; AvePoint where it is configured."""
    of_people = app_only_refused.is_set()
    walks = [_as_a_person(run) if of_people else _walk(SourceName.PARTNER_CENTER, _app_only)]
    return [*walks, _walk(SourceName.AVEPOINT, _avepoint_pages)] if avepoint.configured() else walks


def _walk(source: SourceName, read: Callable[[Walk], Iterator[Page]]) -> Walk:
    return Walk(staging.RollCall(source), read)


def _app_only(walk: Walk) -> Iterator[Page]:
    """Partner Center's list for our own registration; a refusal at its door is remembered."""
    try:
        yield from _partner_center_pages(PartnerCenter(tokens.app_only_partner_center()), walk)
    except Refused as error:
        if walk.pages or error.status not in (400, 401, 403):
            raise
        log.warning("Partner Center's list is not for our registration, only for people: %s", error)
        app_only_refused.set()
        walk.problem, walk.skipped = ONLY_FOR_PEOPLE, True


def _as_a_person(run: SyncRun) -> Walk:
    """Partner Center's list with the token of the operator who asked; left alone when nobody did, or who did is out."""
    walk = _walk(SourceName.PARTNER_CENTER, lambda walk: _partner_center_pages(client, walk))
    # As it is now: since the run began, they may have signed in anew, or out.
    grant = TokenCache.objects.filter(syncrun=run).select_related("operator").first()
    if grant is None:
        walk.problem, walk.skipped = ONLY_FOR_PEOPLE, True
        return walk
    try:  # here and not in the walk, whose thread touches no database
        with budget(settings.UPSTREAM_BUDGET):
            client = grants.partner_center(grant)
    except SignInAgain:
        walk.problem, walk.skipped = ONLY_FOR_PEOPLE, True
    except UpstreamError as error:
        walk.problem = str(error)
    return walk


def _partner_center_pages(client: PartnerCenter, walk: Walk) -> Iterator[Page]:
    for page in client.customers(walk.roll.familiar):
        walk.unreadable = client.quarantined
        yield [Stretch(mark, number, tuple(map(merge.from_partner_center, rows))) for mark, number, rows in page]


def _avepoint_pages(walk: Walk) -> Iterator[Page]:
    client = avepoint.AvePoint(avepoint.fetch_token())
    for page in client.customers(walk.roll.familiar):
        walk.unreadable = client.quarantined
        yield [_usable(stretch, walk) for stretch in page]


def _usable(stretch: Stretch[avepoint.AvePointCustomer], walk: Walk) -> Stretch[merge.Seen]:
    """Without rows that cannot be ours. Such a stretch is read every time, for these are counted every time."""
    rows = tuple(row for row in map(merge.from_avepoint, stretch.rows) if row is not None)
    unusable = len(stretch.rows) - len(rows)
    walk.unusable += unusable
    return Stretch(b"" if unusable else stretch.mark, stretch.number - unusable, rows)


def _walk_side_by_side(run: SyncRun, walks: Sequence[Walk]) -> list[Walk]:
    """Run the walks in threads that touch no database; this one stores what they bring and keeps the lease alive.

    Returns the walks as they ended. Partner Center's is begun again as a person where it is for people only.
    """
    pages: Pages = queue.Queue(PAGES_WAITING)
    ended = [walk for walk in walks if walk.problem]
    going: dict[SourceName, tuple[Walk, Future[None]]] = {}
    with ThreadPoolExecutor(max_workers=len(walks) + 1) as pool:

        def begin(walk: Walk) -> None:
            going[walk.source] = walk, pool.submit(contextvars.copy_context().run, walk.go, pages)

        try:
            for walk in walks:
                if not walk.problem:
                    begin(walk)
            while going:
                came = _waiting(pages)
                _store(run, came, [*ended, *(walk for walk, _ in going.values())])
                for walk in [walk for walk, page in came if page is None]:
                    going.pop(walk.source)[1].result()
                    again = _as_a_person(run) if walk.skipped else walk
                    if again is not walk and not again.problem:
                        begin(again)
                    else:
                        ended.append(again)
        finally:
            for walk, _ in going.values():
                walk.stopped = True
    return ended


def _waiting(pages: Pages) -> list[tuple[Walk, Page | None]]:
    """What has come, to be stored in one go, for a transaction a page costs more than the page. Nothing when nothing
    came within a heartbeat.
    """
    came = []
    with contextlib.suppress(queue.Empty):
        came.append(pages.get(timeout=HEARTBEAT))
        until = time.monotonic() + GATHER
        while len(came) < PAGES_WAITING and came[-1][1] is not None:
            came.append(pages.get(timeout=max(0.0, until - time.monotonic())))
    return came


def _store(
    run: SyncRun, came: Sequence[tuple[Walk, Page | None]], walks: Sequence[Walk], *, anew: bool = False
) -> None:
    """Stage the pages that came and say how far we are, as long as we hold the run: in one transaction, so that
    nobody who has lost it stages anything. `anew` drops what a run that died has left.
    """
    with transaction.atomic():
        if not run.beat(sum(walk.rows for walk in walks), sum(walk.pages for walk in walks)):
            raise LeaseLost
        if anew:
            staging.forget()
        for walk in {walk.source: walk for walk, _ in came}.values():
            stretches = [stretch for other, page in came if other is walk for stretch in page or ()]
            staging.stage(run, stretches, walk.roll)


# --- Putting it in place ------------------------------------------------------------------------------------


def _finish(run: SyncRun, walks: Sequence[Walk]) -> None:
    """Swap in what came whole, note the rest, close the run: all of it or nothing, and only if we still hold it."""
    now = clock.now()
    found = {walk.source: staging.count(run, walk.roll) for walk in walks}
    for walk in walks:
        if not walk.problem and not _enough(walk, found[walk.source]):
            walk.short = True
            too_few = Source(name=walk.source, short_rows=found[walk.source])
            walk.problem = f"{walk.source.label} {shortage.told(too_few)}. We keep what we know."
    whole = {walk.source: walk.roll for walk in walks if not walk.problem}
    partial = {walk.source for walk in walks if walk.unreadable}
    failed = any(walk.problem and not walk.skipped for walk in walks)
    indexes.set_aside(sum(found[source] for source in whole))
    with transaction.atomic():
        state = SyncRun.State.FAILED if failed else SyncRun.State.DONE
        seen = sum(found[source] for source in whole)
        if not run.write(state=state, open=None, finished_at=now, rows_seen=seen):
            raise LeaseLost
        merge.put_in_place(run, whole, now, partial=partial)
        for walk in walks:
            _note(walk, found[walk.source], now)
        staging.forget()


def _enough(walk: Walk, found: int) -> bool:
    """Whether a walk that ended well found what it should, so that nothing is emptied by a bad answer.

    Fewer are enough once a Portal.Admin has said that they are right.
    """
    if not shortage.is_short(found + walk.unreadable, shortage.known(walk.source)):
        return True
    return shortage.is_accepted(found, Source.named(walk.source).accepted_rows)


def _note(walk: Walk, found: int, now: datetime) -> None:
    source = Source.named(walk.source)
    if walk.skipped and source.last_good_at:
        return  # its age says enough
    values: dict[str, object] = {"last_tried_at": now, "problem": walk.problem}
    if walk.short:
        values["short_rows"] = found
    if not walk.problem:
        values |= {"last_good_at": now, "took": walk.took, "rows": found}
        values |= {"quarantined": walk.unreadable + walk.unusable, **shortage.NO_QUESTION}
    Source.objects.filter(pk=source.pk).update(**values)
