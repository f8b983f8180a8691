"""The users app."""

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class UsersConfig(AppConfig):
    name = "users"

    def ready(self) -> None:
        from customers import goto

        from . import across

        goto.OTHERS.append(across.find)
        post_migrate.connect(_keep_the_search, sender=self, dispatch_uid="indexes of the search for users")


def _keep_the_search(*, using: str, **_signal: Any) -> None:
    from customers import search

    from .index import TEXTS

    search.keep(connections[using], TEXTS)
