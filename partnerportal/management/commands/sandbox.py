"""`manage.py sandbox`: the pretend cloud alone. Needs no environment."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from partnerportal.sandbox.server import PROFILES, serve


class Command(BaseCommand):
    help = "Run the sandbox (Entra, Partner Center, Graph, AvePoint, GDAP API) on 127.0.0.1."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8001, help="0 takes a free one")
        parser.add_argument("--profile", choices=PROFILES, default="demo")

    def handle(self, *args: Any, **options: Any) -> None:
        serve(options["port"], options["profile"])
