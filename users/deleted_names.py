"""Which user names the deleted users of a customer had: one walk, shared by all creates of a quarter of an hour.

Whoever creates a user with such a name may want Restore instead. Partner Center finds nobody by name, so that takes a
walk over all deleted users, and many people are created one after the other. What is kept of a walk are hashes: they
tell that a name was not there, and nothing else. Where one may have been, the walk is made anew by whoever asks.
"""

from datetime import datetime, timedelta

from django.db.models import Q
from django.utils.crypto import salted_hmac

from customers.models import Customer
from partnerportal import clock
from partnerportal.upstream.http import budget
from partnerportal.upstream.partner_center import CustomerUser, PartnerCenter

from .models import DeletedNames, Operation

PAGES = 20  # of 500; who was deleted beyond them is not missed by a create
SECONDS = 8.0  # of the request's budget, for a courtesy
LAG = timedelta(minutes=2)  # so long after a delete a list may not show it


def had(customer: Customer, user_name: str, partner_center: PartnerCenter) -> CustomerUser | None:
    """The deleted user who had this name, of several the last one deleted. Raises an `UpstreamError`."""
    kept = DeletedNames.objects.filter(customer=customer).first()
    was_absent = kept and kept.is_fresh and _hashed(customer, user_name) not in kept.hashes
    if kept and was_absent and not _deleted_here(customer, user_name, since=kept.walked_at - LAG):
        return None
    found, hashes, began = [], set(), clock.now()
    with budget(SECONDS):
        for number, page in enumerate(partner_center.all_users(customer.tenant_id or "", deleted=True), start=1):
            for user in page.users:
                name = _name_before(user)
                hashes.add(_hashed(customer, name))
                found += [user] if name == user_name.lower() else []
            if number == PAGES:
                break
    _keep(customer, hashes, began)
    return max(found, key=lambda user: str(user.soft_deleted_at or ""), default=None)


def _deleted_here(customer: Customer, user_name: str, *, since: datetime) -> bool:
    """Whether a delete of ours, which the walk may not have seen, has taken this name."""
    late = Q(sent_at__gte=since) | Q(decided_at__gte=since) | Q(state__in=Operation.UNDECIDED)
    ours = Operation.objects.filter(late, kind=Operation.Kind.DELETE, customer=customer)
    return any(
        str(before.get("user_principal_name", "")).lower() == user_name.lower()
        for before in ours.values_list("before", flat=True)
    )


def _keep(customer: Customer, hashes: set[str], began: datetime) -> None:
    row = DeletedNames(customer=customer, hashes=sorted(hashes), walked_at=began)
    changing = ["hashes", "walked_at"]
    DeletedNames.objects.bulk_create([row], update_conflicts=True, unique_fields=["customer"], update_fields=changing)


def _name_before(user: CustomerUser) -> str:
    """Entra puts the object id, without dashes, before the name of a user that it deletes."""
    return user.user_principal_name.lower().removeprefix(user.id.replace("-", "").lower())


def _hashed(customer: Customer, name: str) -> str:
    about = f"{customer.tenant_id}/{name.lower()}"
    return salted_hmac("users.DeletedNames", about, algorithm="sha256").hexdigest()[:32]
