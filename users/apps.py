"""The users app."""

from typing import Any
from uuid import UUID

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class UsersConfig(AppConfig):
    name = "users"

    def ready(self) -> None:
        from customers import goto
        from partnerportal import sessions

        from . import across

        goto.OTHERS.append(across.find)
        sessions.renewed.connect(_keep_the_passwords, dispatch_uid="passwords of a sign-in that was renewed")
        post_migrate.connect(_keep_the_search, sender=self, dispatch_uid="indexes of the search for users")


def _keep_the_passwords(*, old: UUID, new: UUID, **_signal: Any) -> None:
    """The newer sign-in may see what the older one might."""
    from .models import Operation

    Operation.objects.filter(session=old).exclude(sealed_password=None).update(session=new)


def _keep_the_search(*, using: str, **_signal: Any) -> None:
    from customers import search

    from .index import TEXTS

    search.keep(connections[using], TEXTS)
