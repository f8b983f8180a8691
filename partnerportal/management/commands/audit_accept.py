"""`manage.py audit_accept`: a Portal.Admin accepts a break of the audit trail, with a reason that is recorded."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from partnerportal import chain_check
from partnerportal.models import Operator
from partnerportal.permissions import Permission, may


class Command(BaseCommand):
    help = "Accept what audit_verify finds, so that changes to customers go on. It is written to the audit trail."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--by", required=True, help="e-mail of the Portal.Admin who accepts it")
        parser.add_argument("--reason", required=True, help="why, for whoever reads the trail later")

    def handle(self, *args: Any, **options: Any) -> None:
        by, reason = _admin(options["by"].strip()), options["reason"].strip()
        if not reason:
            raise CommandError("--reason is empty. Say why the break is accepted; nothing was changed.")
        report = chain_check.verify()
        if report.whole:
            raise CommandError("The audit trail is whole, so there is nothing to accept. Nothing was changed.")
        chain_check.accept(report, reason, by=by)
        self.stdout.write(f"Accepted by {by.name}, and written to the audit trail. Changes to customers go on.")


def _admin(email: str) -> Operator:
    """The one operator with this e-mail, who was a Portal.Admin when last seen."""
    found = [one for one in Operator.objects.filter(email__iexact=email) if may(one, Permission.AUDIT_ALL)]
    if len(found) != 1:
        raise CommandError(
            f"{'Several people' if found else 'Nobody'} with the e-mail {email} signed in as Portal.Admin. Let one "
            "sign in to the portal first, which works meanwhile; nothing was changed."
        )
    return found[0]
