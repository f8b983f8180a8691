"""The customers app."""

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class CustomersConfig(AppConfig):
    name = "customers"

    def ready(self) -> None:
        post_migrate.connect(_keep_the_search, sender=self, dispatch_uid="indexes of the search")


def _keep_the_search(*, using: str, **_signal: Any) -> None:
    from . import search

    search.keep(connections[using], search.CUSTOMERS)
