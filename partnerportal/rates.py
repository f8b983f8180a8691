"""Which address asks, and how many sign-ins it may start within a minute. The database counts: for all processes."""

import logging
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from django.conf import settings
from django.http import HttpRequest

from partnerportal import clock
from partnerportal.models import SignInStart

logger = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)


def start_sign_in(request: HttpRequest) -> datetime | None:
    """Count a sign-in that starts. Not None: it may not, for too many did; so long, no other one may.

    In the sandbox, whoever sits at this machine is not counted: tests and tools sign in as fast as they can.
    """
    address = client_address(request)
    is_local = address is not None and address.is_loopback
    if is_local and settings.SANDBOX:
        return None
    counted, most = _network(address), settings.SIGN_IN_STARTS_A_MINUTE
    again_at = _full_until(counted, most)  # asked first: a flood writes nothing
    if again_at is None:
        start = SignInStart.objects.create(address=counted)
        # Once more, with our own: of several at the same moment, none may have seen the others.
        if again_at := _full_until(counted, most + 1):
            start.delete()
    if again_at and is_local:
        logger.warning("Too many sign-ins from this machine itself. Behind a proxy, set TRUSTED_PROXIES.")
    return again_at


def counted_as(request: HttpRequest) -> str:
    """What a request counts for: the address of whoever asks, or the /64 of an IPv6 one."""
    return _network(client_address(request))


def client_address(request: HttpRequest) -> IPv4Address | IPv6Address | None:
    """Who asks: whoever opened the connection, or, behind trusted proxies, whom the outermost of them names.

    Anybody can send X-Forwarded-For, so only the entries that our own proxies have put at its end are looked at.
    """
    forwarded = request.headers.get("X-Forwarded-For", "")
    hops = [*(forwarded.split(",") if forwarded else ()), request.META.get("REMOTE_ADDR", "")]
    return _parsed(hops[max(0, len(hops) - 1 - settings.TRUSTED_PROXIES)].strip()) or _parsed(hops[-1])


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address, with or without a port, as some proxies tell it; None for anything else."""
    for host in (text, text.rpartition(":")[0]):
        try:
            found = ip_address(host.strip("[]"))
        except ValueError:
            continue
        return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
    return None


def _network(address: IPv4Address | IPv6Address | None) -> str:
    """What is counted as one: an IPv4 address; of IPv6 the /64, for any one customer has all of it."""
    if address is None:
        return "unknown"  # a socket without addresses
    return str(IPv6Network((int(address), 64), strict=False) if isinstance(address, IPv6Address) else address)


def _full_until(address: str, most: int) -> datetime | None:
    """When the oldest of so many starts is a minute old; None when there are fewer. Clocks may differ by a minute."""
    now = clock.now()
    starts = SignInStart.objects.filter(address=address, at__gt=now - MINUTE, at__lt=now + MINUTE)
    newest = list(starts.order_by("-at").values_list("at", flat=True)[:most])
    return newest[-1] + MINUTE if len(newest) == most else None


def forget() -> int:
    """Starts that no limit looks at any more. Returns how many."""
    now = clock.now()
    return SignInStart.objects.exclude(at__gt=now - MINUTE, at__lt=now + MINUTE).delete()[0]
