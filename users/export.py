"""All users of a customer as a CSV file, live: sent page by page as Partner Center gives them."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from django.http import HttpResponseBase
from django.views.decorators.http import require_GET

from customers.access import Action, access_to
from customers.models import Customer
from partnerportal import audit, csv_out, exports, grants, problems
from partnerportal.http import OperatorRequest
from partnerportal.models import AuditEvent
from partnerportal.permissions import Permission, require
from partnerportal.upstream.errors import Forbidden, UpstreamError
from partnerportal.upstream.partner_center import CustomerUser, UserPage

from . import everyone, pages, table

Outcome = AuditEvent.Outcome

HEADER = (
    "Display name",
    "User name",
    "First name",
    "Last name",
    "State",
    "Usage location",
    "Directory",
    "Last directory sync",
    "Deleted at",
    "Phone",
    "Immutable ID",
    "Object ID",
)
NO_ROLE = "You may no longer see the users here."


@require_GET
@require(Permission.VIEW)
def users_export(request: OperatorRequest, key: str) -> HttpResponseBase:
    """Every active user, or with `?state=deleted` every deleted one. The first page is asked for before the answer
    begins, so that a refusal is a page that says why; what fails later is told in the last line of the file.
    """
    customer = pages.tenant_of(key)
    if refused := exports.too_many(request):
        return refused
    access = access_to(customer.tenant_id or "", by=request.user, graph=grants.graph(request.grant))
    if access[Action.LIST].no:
        return pages.no_access(request, customer, access, Action.LIST)
    query = table.TableQuery.read(request.GET.dict())
    file = _File(request, customer, query)
    try:
        rows = file.begin()
    except Forbidden as error:
        if error.our_fault:
            raise
        return pages.refused(request, customer, access, error)
    except table.NoRole as refusal:
        return pages.no_access(request, customer, refusal.access, Action.LIST)
    except everyone.Ended:  # signed out in another tab just now
        return problems.sign_in_again(request)
    return csv_out.download(f"users-{customer.domain or customer.tenant_id}", HEADER, rows)


class _File:
    """One export: the intent is in the audit trail before anything is asked, the outcome once it has ended."""

    def __init__(self, request: OperatorRequest, customer: Customer, query: table.TableQuery) -> None:
        self.by = request.user
        self.about = audit.Subject(
            action=exports.USERS,
            tenant_id=customer.tenant_id or "",
            customer_name=customer.name,
            fields={"state": ("", query.state)},
        )
        self.pages = everyone.pages(customer.tenant_id or "", grant=request.grant, deleted=query.deleted)
        self.attempt = audit.intend(self.about, by=self.by)
        self.sent: set[str] = set()

    def begin(self) -> Iterator[list[object]]:
        """Ask for the first page. Raises what stands in its way, which is in the trail then."""
        try:
            first = next(self.pages)
        except (UpstreamError, table.NoRole, everyone.Ended) as error:
            is_denied = isinstance(error, Forbidden | table.NoRole)
            self._end(Outcome.DENIED if is_denied else Outcome.FAILED, f"Nothing was exported. {_told(error)}")
            raise
        return self._rows(first)

    def _rows(self, first: UserPage) -> Iterator[list[object]]:
        outcome, problem = Outcome.FAILED, "The browser did not wait for the end."
        try:
            for page in chain([first], self.pages):
                for user in page.users:
                    if user.id not in self.sent:  # a page may come twice
                        self.sent.add(user.id)
                        yield _row(user)
            outcome, problem = Outcome.DONE, ""
        except (UpstreamError, table.NoRole, everyone.Ended) as error:
            problem = _told(error)
            yield [f"NOT COMPLETE: {len(self.sent):,} users are above, and there are more. {problem} Export again."]
        finally:
            self._end(outcome, " ".join(filter(None, (f"Exported {len(self.sent):,} users.", problem))))

    def _end(self, outcome: str, detail: str) -> None:
        audit.conclude(self.attempt, self.about, audit.Result(outcome=outcome, detail=detail), by=self.by)


def _told(error: Exception) -> str:
    return NO_ROLE if isinstance(error, table.NoRole) else str(error)


def _row(user: CustomerUser) -> list[Any]:
    if user.domain_type == "federated":
        directory = "Federated"
    else:
        directory = "On-premises" if user.is_synced else "Cloud"
    return [
        user.display_name,
        user.user_principal_name,
        user.first_name,
        user.last_name,
        "deleted" if user.is_deleted else user.state,
        user.usage_location,
        directory,
        user.last_directory_sync,
        user.soft_deleted_at,
        user.phone_number,
        user.immutable_id,
        user.id,
    ]
