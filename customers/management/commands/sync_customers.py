"""`manage.py sync_customers`: one sync of the customer list, here and now."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from customers.models import Customer, Source, SyncRun
from customers.sync import sync_now


class Command(BaseCommand):
    help = "Walks Partner Center and AvePoint and puts what came whole in place."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--unless-there", action="store_true", help="do nothing when there are customers already")

    def handle(self, *_args: Any, unless_there: bool, **_options: Any) -> None:
        if unless_there and Customer.objects.exists():
            return
        while (run := sync_now()).open:
            time.sleep(1)  # another process holds it, or died with it: then its lease runs out soon
        self.stdout.write(f"{Customer.objects.count()} customers")
        if run.state == SyncRun.State.CANCELLED:
            raise CommandError("The sync was cancelled. Nothing was changed.")
        if run.state == SyncRun.State.FAILED:
            problems = Source.objects.exclude(problem="").values_list("problem", flat=True)
            raise CommandError("The sync did not come through. " + " ".join(problems))
