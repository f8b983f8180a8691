"""`manage.py audit_verify`: whether the audit trail is whole. Ends with 1 when it is not, and says what to do."""

import json
import re
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from partnerportal import chain_check
from partnerportal.chain import Head

WHOLE = "The audit trail is whole. Nothing is to be done."
WHAT_TO_DO = (
    "Changes to customers are stopped; reading goes on. Find out who could write to the database, and compare with the "
    "“audit head” lines of the log and with a backup. Then put the right rows back, or leave it as it is, and in both "
    "cases run manage.py audit_accept --by E-MAIL --reason “…”: it is recorded, and changes go on."
)


class Command(BaseCommand):
    help = "Look for entries of the audit trail that were altered, swapped, deleted, cut off, replaced or added."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
        parser.add_argument("--head", default="", help='a head that the log told: "COUNT HASH"')

    def handle(self, *args: Any, **options: Any) -> None:
        report = chain_check.verify(_head(options["head"]))
        what_to_do = "" if report.whole else WHAT_TO_DO
        if options["json"]:
            told = {
                "whole": report.whole,
                **asdict(report),
                "head": report.head._asdict(),
                "kept": report.kept and report.kept._asdict(),
                "what_to_do": what_to_do,
            }
            self.stdout.write(json.dumps(told, indent=2))
        else:
            self.stdout.write(f"{report.entries:,} entries looked at; breaks accepted earlier: {report.accepted}.")
            for finding in report.findings:
                self.stdout.write(f"{finding.kind}: {finding.what}")
            if report.stopped and not report.findings:
                self.stdout.write(f"Changes to customers have been stopped since this was found: {report.stopped}")
            self.stdout.write(what_to_do or WHOLE)
        if not report.whole:
            sys.exit(1)


def _head(said: str) -> Head | None:
    if not said:
        return None
    found = re.fullmatch(r"\s*(\d{1,12})[\s:]+([0-9a-f]{64})\s*", said, re.ASCII)
    if not found:
        raise CommandError(
            f"--head is {said}. Give the two values of an “audit head” line of the log: number and hash."
        )
    return Head(int(found[1]), found[2])
