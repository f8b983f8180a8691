"""What pages learn of a customer as they are opened, between two syncs."""

import re
from datetime import datetime, timedelta

from django.db import transaction

from partnerportal.upstream.partner_center import CustomerProfile

from . import snapshot
from .models import Customer, SourceName, SourceRow
from .telling import tell

DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-.]{0,251}[a-z0-9])?")
SEEN_EVERY = timedelta(minutes=1)  # the same figure is not written anew for every page


def learn(customer: Customer, profile: CustomerProfile, now: datetime) -> None:
    """Keep what Partner Center told of one customer when it was opened: country and custom domains."""
    with transaction.atomic():
        snapshot.hold()
        rows = SourceRow.objects.filter(customer=customer)
        if profile.country:
            rows.filter(source=SourceName.PARTNER_CENTER).update(country=profile.country)
        customer.profile_read_at = now
        customer.custom_domains = [d for d in map(str.lower, profile.custom_domains) if DOMAIN.fullmatch(d)]
        before = (customer.country, customer.search_text)
        tell(customer, list(rows), [label.text for label in customer.labels.all()])
        # Nothing else: a sync may have written the rest since this customer was read.
        told = ("profile_read_at", "custom_domains", "country", "country_code", "conflicts", "search_text")
        if customer.country != before[0]:
            with snapshot.changing(lambda: {customer.pk}):
                customer.save(update_fields=told)
            return
        customer.save(update_fields=told)
        if customer.search_text != before[1]:
            snapshot.changed(sorts=(), counts=False)


def see_domains(customer: Customer, domains: dict[str, str]) -> None:
    """Remember domains that its users have, or that Microsoft called federated.

    A user whose domain type is not told ("") does not make a federated domain an ordinary one; "managed" does.
    """
    known = customer.seen_domains
    fresh = {
        domain: kind
        for domain, kind in domains.items()
        if DOMAIN.fullmatch(domain) and (domain not in known or (kind and known[domain] != kind))
    }
    if fresh:
        customer.seen_domains = known | fresh
        Customer.objects.filter(pk=customer.pk).update(seen_domains=customer.seen_domains)


def see_users(customer: Customer, number: int, *, all_of_them: bool, at: datetime) -> None:
    """Remember how many users its first page showed, and when: to the minute, if nothing else is new."""
    told = (customer.users_seen, customer.users_seen_all)
    since = at - customer.users_seen_at if customer.users_seen_at else SEEN_EVERY
    if told == (number, all_of_them) and timedelta(0) <= since < SEEN_EVERY:
        return
    Customer.objects.filter(pk=customer.pk).update(users_seen=number, users_seen_all=all_of_them, users_seen_at=at)
