"""`python -m tests.faults.make_runs JSON`: runs that create users, checked and not started; prints their keys.

`{"rows": of all together, "runs": …, "customers": at most, "prefix": of the names, "taken": {tenant id: user names}}`.
Each run has rows in all customers where whoever has signed in last may create; every fiftieth row has a name that is
taken.
"""

import json
import sys
from itertools import islice
from typing import Any

import django

django.setup()

from customers.access import Action, access_to
from customers.models import Customer
from partnerportal import clock, grants
from partnerportal.models import TokenCache
from users.models import OnboardingRow, OnboardingRun, Operation

EVERY = 50  # rows, one has a name that is taken


def main() -> None:
    """All runs."""
    asked = json.loads(sys.argv[1])
    grant = TokenCache.objects.filter(job=None).select_related("operator").latest("created_at")
    graph = grants.graph(grant)
    where = Customer.objects.filter(tenant_id__in=asked["taken"], listed=True).order_by("pk")
    may = (c for c in where if access_to(c.tenant_id or "", by=grant.operator, graph=graph)[Action.CREATE].yes)
    customers = list(islice(may, asked["customers"]))
    numbers = iter(range(asked["rows"]))
    for number in range(asked["runs"]):
        by = {"by": grant.operator, "kind": Operation.Kind.CREATE, "title": f"Run {number}"}
        run = OnboardingRun.objects.create(state=OnboardingRun.State.CHECKED, checked_at=clock.now(), **by)
        share = asked["rows"] // asked["runs"] + (number < asked["rows"] % asked["runs"])
        rows = islice(numbers, share)
        OnboardingRow.objects.bulk_create(
            row_of(run, line, name, customers[name % len(customers)], asked) for line, name in enumerate(rows, start=1)
        )
        print(run.key)


def row_of(run: OnboardingRun, line: int, number: int, customer: Customer, asked: dict[str, Any]) -> OnboardingRow:
    """A row for a newcomer, or for somebody who is there."""
    name = f"{asked['prefix']}{number}"
    there = asked["taken"][customer.tenant_id]
    taken = there.pop() if there and number % EVERY == EVERY - 1 else ""
    user_name = taken or f"{name}@{customer.domain}"
    return OnboardingRow(
        run=run,
        line=line,
        customer=customer,
        tenant_id=customer.tenant_id or "",
        user_name=user_name,
        target_name=f"Ada {name}",
        creates=user_name.lower(),
        fields={"user_principal_name": user_name, "display_name": f"Ada {name}", "usage_location": "NL"},
    )


if __name__ == "__main__":
    main()
