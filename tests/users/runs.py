"""How tests bring a run about: its rows, a sign-in behind it, and a worker that takes what was knocked for."""

from typing import Any

from customers.models import Customer
from partnerportal.sandbox import seed
from tests.customers.gdap_reads import grant_of
from users import kinds
from users.models import OnboardingRow, OnboardingRun, Operation
from users.onboarding import delivery, steering
from users.tasks import carry_out_row

from .conftest import tenant

Kind, State, RowState = Operation.Kind, OnboardingRun.State, OnboardingRow.State


def customer(key: str = "contoso") -> Customer:
    return Customer.objects.get(tenant_id=tenant(key))


def newcomers(run: OnboardingRun, *names: str, key: str = "contoso") -> None:
    """Rows that create users of these names."""
    domain = {"contoso": "contosotrading.onmicrosoft.example"}.get(key) or customer(key).domain
    first = run.rows.count() + 1
    for line, name in enumerate(names, start=first):
        upn = f"{name}@{domain}"
        fields = {"user_principal_name": upn, "display_name": name.title(), "usage_location": "NL"}
        about = {"customer": customer(key), "tenant_id": tenant(key), "target_name": name.title(), "user_name": upn}
        run.rows.create(line=line, fields=fields, creates=upn.lower(), **about)


def people(run: OnboardingRun, users: Any, fields: dict[str, Any], key: str = "contoso") -> None:
    """Rows about users who are there."""
    for line, user in enumerate(users, start=1):
        before = {
            "display_name": user.display_name,
            "first_name": user.first_name,
            "last_name": user.last_name,
            "user_principal_name": user.upn,
            "usage_location": user.usage_location,
            "phone_number": user.phone,
        }
        assert before.keys() == set(kinds.EDITABLE)
        about = {"customer": customer(key), "tenant_id": tenant(key), "target_name": user.display_name}
        run.rows.create(line=line, target_id=user.id, user_name=user.upn, fields=fields, before=before, **about)


def checked(persona: str = "admin", kind: str = Kind.CREATE, **more: Any) -> OnboardingRun:
    """A run without rows, ready to be started."""
    by = grant_of(persona).operator
    return OnboardingRun.objects.create(by=by, kind=kind, title="Starters", state=State.CHECKED, **more)


def start(run: OnboardingRun, persona: str = "admin", **how: Any) -> OnboardingRun:
    assert steering.start(run, by=run.by, grant=sign_in_of(persona), **how)
    return run


def sign_in_of(persona: str) -> Any:
    """The newest sign-in of that persona: no job's copy."""
    rows = type(grant_of(persona)).objects.filter(operator__oid=seed.PERSONA_OIDS[persona], job=None)
    return rows.select_related("operator").order_by("-created_at")[0]


class Worker:
    """Takes the messages one after the other, as a worker would."""

    def __init__(self) -> None:
        self.messages: list[int] = []
        self.later: list[tuple[int, float]] = []  # messages that come in so many seconds
        self.taken = 0

    def put(self, row_id: int) -> None:
        self.messages.append(row_id)

    def put_by(self, args: tuple[int], countdown: float) -> None:
        self.later.append((args[0], countdown))

    def take(self) -> None:
        """One message."""
        self.taken += 1
        carry_out_row(self.messages.pop(0))

    def drain(self, run: OnboardingRun | None = None) -> None:
        """All messages, with those that they lead to; first those of a run that was just started.

        Those that were to come later come at once: too early, if nobody has moved the clock, which does no harm.
        """
        self.messages += [row_id for row_id, _ in self.later]
        self.later.clear()
        if run:
            self.messages += delivery.due(run)
        while self.messages:
            self.take()


def states(run: OnboardingRun) -> list[str]:
    """The states of the rows, in their order."""
    return list(run.rows.order_by("line").values_list("state", flat=True))


def all_accounted_for(run: OnboardingRun, rows: int) -> bool:
    return sum(OnboardingRow.counts(run).values()) == rows
