"""Which customer a row means: by tenant ID, by domain, or by the exact name. What may mean two is asked about."""

import re
from dataclasses import dataclass

from customers import countries
from customers.models import Customer
from customers.search import MANY

from .. import names
from .sheet import shortened

_TENANT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOST = 5  # customers that a sentence offers
_LONGEST = 400  # characters of a name; what is longer names nobody, and is too much for a search


@dataclass(frozen=True)
class Found:
    """The customer, or why there is none: a sentence, and tenant IDs with the words that tell them apart."""

    customer: Customer | None = None
    sentence: str = ""
    choices: tuple[tuple[str, str], ...] = ()


class Customers:
    """Finds customers, each text once: a file names the same few again and again."""

    def __init__(self) -> None:
        self._known: dict[str, Found] = {}

    def of(self, said: str, user_name: str, domain: str) -> Found:
        """Whom a row means by what it says; without a word of it, by the domain of the user name."""
        said = said.replace("\x00", "").strip()
        meant = said or domain.strip().lower() or (names.parted(user_name)[1] if "@" in user_name else "")
        if meant not in self._known:
            self._known[meant] = _find(meant) if meant else Found(sentence="Say which customer this user is for")
        return self._known[meant]


def _find(said: str) -> Found:
    text = said.lower()
    listed = Customer.objects.filter(listed=True)
    if len(said) > _LONGEST:
        return _told(said, [])
    if _TENANT_ID.fullmatch(text):
        found = list(listed.filter(tenant_id=text))
    elif not names.domain_problem(text):
        found = list(listed.filter(domain__iexact=text)) or [
            each for each in listed.search(text)[:MANY] if text in (domain.lower() for domain in each.domains)
        ]
    else:
        found = []
    if not found:
        found = list(listed.filter(sort_name=countries.fold(said)))  # all of them: one of two would be a guess
    return _told(said, found)


def _told(said: str, found: list[Customer]) -> Found:
    here = [each for each in found if each.tenant_id]
    if len(here) == 1:
        return Found(here[0])
    if here:
        return Found(
            sentence=f"{len(here)} customers are named “{said}”. Choose one, by its domain or tenant ID",
            choices=_choices(here),
        )
    if found:
        return Found(sentence=f"{found[0].name} is not in Partner Center, so no user can be created there")
    said = shortened(said)
    near = list(Customer.objects.filter(listed=True, tenant_id__isnull=False).search(said)[:_MOST])
    also = f" Did you mean {near[0].name}?" if len(near) == 1 else ""
    return Found(
        sentence=f"No customer has the tenant ID, domain or name “{said}”.{also} "
        "Write its tenant ID, its domain, or its name as the customer list has it",
        choices=_choices(near),
    )


def _choices(customers: list[Customer]) -> tuple[tuple[str, str], ...]:
    return tuple((each.tenant_id or "", f"{each.name} ({each.domain or each.tenant_id})") for each in customers[:_MOST])
