"""The dry run: every row is judged beside what its customer has, and nothing is sent.

One walk over the customers of a run, a few at a time, by a worker, with the sign-in of whoever asked, at the pace that
all runs share. What it finds is written row by row, so that a walk which breaks off, or is killed, has lost nothing and
is begun where it was: a row with `checked_at` is done. An edit takes `checked_at` away from all rows of the customers
that it concerns.
"""

import contextvars
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from functools import partial

from django.db import connections, transaction
from django.db.models import F, Q

from customers import learning
from customers.access import Action
from customers.explain import why_not
from customers.models import Customer
from partnerportal import clock, grants, pace
from partnerportal.models import TokenCache
from partnerportal.upstream.errors import SignInAgain, UpstreamError
from partnerportal.upstream.http import paced

from .. import names, seen_names, seen_skus, table, templates
from ..first_licences import of_skus
from ..models import OnboardingCheck, OnboardingRow, OnboardingRun, Operation
from . import drafts, facts, judge, whose

log = logging.getLogger(__name__)

AT_ONCE = 4  # customers that are asked about side by side
SIGNED_OUT = "Whoever asked for the check has signed out meanwhile. Check again."
OUR_FAULT = "We had a fault while we checked the rows. Check again; the log names it."


class Started(Exception):
    """The run has started, so its rows are what they are."""


class LeaseLost(Exception):
    """Another worker has taken this walk over, or a new one was asked for."""


# --- Asking for it ------------------------------------------------------------------------------------------


def request(run: OnboardingRun, *, grant: TokenCache, everything: bool = False) -> OnboardingCheck:
    """The check of a run, with a walk that is open; `everything`: also of what was checked already. Raises `Started`.

    A walk that is under way has lost its claim by that: it may have read what was edited since.
    """
    check, _ = OnboardingCheck.objects.get_or_create(run=run)
    asked = {"open": True, "published_at": clock.now(), "leased_until": None, "problem": "", "customers": 0, "done": 0}
    with transaction.atomic():
        if not run.move(to=OnboardingRun.State.DRAFT, before=OnboardingRun.BEFORE):
            raise Started
        OnboardingCheck.objects.filter(pk=check.pk).update(fence=F("fence") + 1, grant=grant, **asked)
        if everything:
            run.rows.update(checked_at=None)
    check.refresh_from_db()
    return check


def edit(run: OnboardingRun, typed: Mapping[int, Mapping[str, str]], *, grant: TokenCache) -> OnboardingCheck:
    """Change what rows say (line -> field -> text), and ask for all rows of their customers to be judged anew."""
    with transaction.atomic():
        check = request(run, grant=grant)
        rows = list(run.rows.filter(line__in=typed))
        for row in rows:
            row.typed = {**row.typed, **typed[row.line]}
        OnboardingRow.objects.bulk_update(rows, ["typed"], batch_size=500)
        run.rows.filter(Q(customer__in={row.customer_id for row in rows} - {None}) | Q(line__in=typed)).update(
            checked_at=None
        )
    return check


def is_fresh(run: OnboardingRun) -> bool:
    """Whether every row was checked, and lately enough for the run to start."""
    if run.state != OnboardingRun.State.CHECKED or run.checked_at is None:
        return False
    return abs(clock.now() - run.checked_at) < OnboardingCheck.FRESH


# --- The walk -----------------------------------------------------------------------------------------------


def carry_out(check_id: int) -> None:
    """Do a walk from its row alone. Safe to call twice, late, or after a kill: the claim decides."""
    check = OnboardingCheck.claim(check_id)
    if check is None:
        return
    try:
        _walk(check)
    except LeaseLost:
        log.warning("the check of run %s was taken over", check.run_id)
    except SignInAgain:
        check.write(open=False, leased_until=None, problem=SIGNED_OUT)
    except UpstreamError as error:
        check.write(open=False, leased_until=None, problem=f"{error} Check again.")
    except Exception:  # a fault of ours must not leave a walk that is open for ever
        log.exception("the check of run %s broke off", check.run_id)
        check.write(open=False, leased_until=None, problem=OUR_FAULT)


def _walk(check: OnboardingCheck) -> None:
    """Round after round, until no row is left that nobody has looked at."""
    if check.grant is None:
        check.write(open=False, leased_until=None, problem=SIGNED_OUT)
        return
    _find_customers(check)
    while waiting := _waiting(check.run):
        if not check.write(customers=check.done + len(waiting)):
            raise LeaseLost
        for customer, answers in _asked(check, waiting):
            _judge(check, customer, answers)
        _find_customers(check)
    with transaction.atomic():
        oldest = check.run.rows.order_by("checked_at").values_list("checked_at", flat=True).first()
        # First the run, then its check, as whoever edits does: else each could wait for the other.
        check.run.move(to=OnboardingRun.State.CHECKED, before=OnboardingRun.BEFORE, checked_at=oldest)
        if not check.write(open=False, leased_until=None, problem=""):
            raise LeaseLost


def _waiting(run: OnboardingRun) -> list[Customer]:
    """The customers of rows that were not checked, in the order of the file."""
    keys = run.rows.filter(checked_at=None).order_by("line").values_list("customer", flat=True)
    found = Customer.objects.in_bulk([key for key in dict.fromkeys(keys) if key])
    return list(found.values())


def _find_customers(check: OnboardingCheck) -> None:
    """Who is meant by the rows that were not checked; those that mean nobody are done with that."""
    customers = whose.Customers()
    rows = list(check.run.rows.filter(checked_at=None))
    for row in rows:
        typed: dict[str, str] = row.typed
        found = customers.of(typed.get("customer", ""), typed.get("user_name", ""), typed.get("domain", ""))
        row.customer, row.tenant_id = found.customer, (found.customer.tenant_id or "") if found.customer else ""
        if found.customer is None:
            row.problems = [{"field": "customer", "sentence": found.sentence, "choices": [*map(list, found.choices)]}]
            row.notes, row.creates, row.checked_at = [], "", clock.now()
            row.user_name, row.target_name = typed.get("user_name", "")[:400], drafts.name_of(typed)
    told = ["customer", "tenant_id", "problems", "notes", "creates", "user_name", "target_name", "checked_at"]
    _keep(check, rows, told)


def _keep(check: OnboardingCheck, rows: list[OnboardingRow], told: Iterable[str], **progress: int) -> None:
    """Write down what was found, as long as the walk is ours: else somebody has edited the rows meanwhile."""
    with transaction.atomic():
        if not check.write(leased_until=clock.now() + OnboardingCheck.LEASE, **progress):
            raise LeaseLost
        OnboardingRow.objects.bulk_update(rows, list(told), batch_size=500)


def _asked(check: OnboardingCheck, customers: Iterable[Customer]) -> Iterator[tuple[Customer, facts.Answers]]:
    """Each customer with what upstream told of it, as the answers come in. Raises `SignInAgain`."""
    assert check.grant is not None  # noqa: S101 -- for the type checker
    by, run = check.grant.operator, check.run
    with_licences = set(
        run.rows.exclude(typed__licences=None).exclude(typed__licences="").values_list("customer", flat=True)
    )
    wanted = list(customers)
    with_licences |= {each.pk for each in wanted if "licences" in templates.rules_for(each)}
    while wanted:
        some, wanted = wanted[:AT_ONCE], wanted[AT_ONCE:]
        if not TokenCache.objects.filter(pk=check.grant.pk).exists():
            raise SignInAgain(source="Entra", sent=False)
        ask = partial(
            facts.ask, by=by, graph=grants.graph(check.grant), partner_center=grants.partner_center(check.grant)
        )
        calls = [partial(ask, each.tenant_id or "", licences=each.pk in with_licences) for each in some]
        yield from zip(some, side_by_side(calls, partial(_hold, check)), strict=True)


def side_by_side(
    calls: Iterable[Callable[[], facts.Answers]],
    meanwhile: Callable[[], None],
    every: timedelta = OnboardingCheck.LEASE / 3,
) -> Iterator[facts.Answers]:
    """The answers, in the order of the calls; each is made in a thread that takes its turns by itself. A customer that
    answers slowly takes longer than the lease: so `meanwhile` is called while we wait.
    """
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        with paced(pace):
            futures = [pool.submit(contextvars.copy_context().run, _and_hang_up, call) for call in calls]
        for future in futures:
            while not wait([future], timeout=every.total_seconds()).done:
                meanwhile()
            yield future.result()


def _hold(check: OnboardingCheck) -> None:
    """The walk stays ours for another while. Raises `LeaseLost`."""
    if not check.write(leased_until=clock.now() + OnboardingCheck.LEASE):
        raise LeaseLost


def _and_hang_up(call: Callable[[], facts.Answers]) -> facts.Answers:
    """The pace is asked over a connection of the thread's own, which ends with it."""
    try:
        return call()
    finally:
        connections.close_all()


def _judge(check: OnboardingCheck, customer: Customer, answers: facts.Answers) -> None:
    """Judge all rows of one customer, for what they have in common may have changed, and write down what was found."""
    if answers.profile:
        learning.learn(customer, answers.profile, clock.now())
    learning.see_domains(customer, table.domains_of(answers.active))
    seen_skus.learn(of_skus(answers.skus or ()).skus)
    known, rules = _facts(customer, answers), templates.rules_for(customer)
    if answers.walked_at and answers.whole:  # so the rows go out without a walk of their own
        seen_names.keep(customer, {*known.active, *known.deleted}, answers.walked_at, whole=True)
    rows = list(check.run.rows.filter(customer=customer))
    found = {row.line: judge.judge(row.typed, customer, known, rules) for row in rows}
    judge.together(found, known, _created_elsewhere(check.run, customer))
    now = clock.now()
    for row in rows:
        _write_down(row, found[row.line], now)
    _keep(check, rows, _TOLD, done=check.done + 1)


_TOLD = (
    "fields", "force_change", "licences", "problems", "notes", "creates", "user_name", "target_name", "checked_at"
)  # fmt: skip


def _write_down(row: OnboardingRow, judged: judge.Judged, now: datetime) -> None:
    row.fields, row.force_change, row.licences = judged.fields, judged.force_change, judged.licences
    row.problems, row.notes, row.checked_at = judged.problems, judged.notes, now
    user_name = judged.user_name if names.parted(judged.user_name)[0] else ""  # a domain alone names nobody
    row.user_name, row.creates = user_name[:400], user_name.lower()[:400]
    row.target_name = judged.fields["display_name"][:400]


def _facts(customer: Customer, answers: facts.Answers) -> judge.Facts:
    """What upstream told, as the rows are judged by it."""
    access, profile = answers.access, answers.profile
    if access is None or not access[Action.CREATE].yes:
        return judge.Facts(problem=why_not(access[Action.CREATE], customer) if access else "We could not check this.")
    if answers.error or profile is None:
        return judge.Facts(problem=f"This customer could not be checked. {answers.error} Check again")
    may_license = access[Action.LICENCES]
    return judge.Facts(
        why_no_licences="" if may_license.yes else why_not(may_license, customer),
        domains=frozenset(domain.lower() for domain in (profile.domain, *profile.custom_domains) if domain),
        active={user.user_principal_name.lower(): user for user in answers.active},
        deleted={seen_names.name_before(user): user for user in answers.deleted},
        whole=answers.whole,
        skus=answers.skus,
    )


def _created_elsewhere(run: OnboardingRun, customer: Customer) -> dict[str, str]:
    """User name -> the sentence about who creates it already: another run, or a form whose outcome nobody knows."""
    states = [*OnboardingRow.OPEN, OnboardingRow.State.UNKNOWN]
    rows = OnboardingRow.objects.filter(tenant_id=customer.tenant_id, state__in=states).exclude(run=run)
    rows = rows.filter(Q(run__state__in=OnboardingRun.OPEN) | Q(state=OnboardingRow.State.UNKNOWN))
    found = {
        row.creates: f"Run {row.run_id} of {row.run.by.name} creates this user name. Wait for it, or choose another"
        for row in rows.exclude(creates="").select_related("run__by")
    }
    undecided = Operation.objects.filter(
        kind=Operation.Kind.CREATE, customer=customer, state__in=Operation.UNDECIDED, row=None
    )
    for operation in undecided.select_related("by"):
        name = str(operation.fields.get("user_principal_name", "")).lower()
        found[name] = f"{operation.by.name} sent a user of this name, and nobody knows yet if it was created."
    return found
