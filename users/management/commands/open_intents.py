"""`manage.py open_intents`: what was begun and has no end yet. The worker does the same at every start."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from users import open_intents

WHAT_TO_DO = (
    "Rows of a run are looked up by the run itself. For the others press Check again on the page of the customer. "
    "Nothing is sent again before a look-up has found nothing."
)


class Command(BaseCommand):
    help = "Make what has lost its sender unknown, and list the operations whose outcome nobody knows."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *_args: Any, **options: Any) -> None:
        lost, intents = open_intents.resolve()
        left = open_intents.undecided()
        if options["json"]:
            told = {"made_unknown": lost, "concluded": intents, "undecided": [asdict(each) for each in left]}
            self.stdout.write(json.dumps(told | {"what_to_do": WHAT_TO_DO if left else ""}, indent=2))
            return
        self.stdout.write(f"Made unknown just now: {lost} operations, {intents} other entries. Undecided: {len(left)}.")
        for each in left:
            self.stdout.write(f"{each.since}  {each.what} at {each.customer}, by {each.who}, request {each.request_id}")
        if left:
            self.stdout.write(WHAT_TO_DO)
