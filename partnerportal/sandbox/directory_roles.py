"""Entra's directory roles as Partner Center tells them: by template id, under their old names (CONTRACT 3.6, 4.3)."""

from __future__ import annotations

from typing import Final

from .directory import User

NAMES: Final = {
    "62e90394-69f5-4237-9190-012177145e10": "Company Administrator",
    "fe930be7-5e62-47db-91af-98c3a49a38b1": "User Account Administrator",
    "729827e3-9c14-49f7-bb1b-9608f156bbb8": "Helpdesk Administrator",
    "f023fd81-a637-4b56-95fd-791ac0226033": "Service Support Administrator",
    "e8611ab8-c189-46e8-94e1-60213ab1f814": "Privileged Role Administrator",
    "7be44c8a-adaf-4e2a-84d6-ab2649e08a13": "Privileged Authentication Administrator",
    "4d6ac14f-3453-41d0-bef9-a3e0c569773a": "License Administrator",
    "88d8e3e3-8f55-4a1e-953a-9b9898b8876b": "Directory Readers",
    "9360feb5-f418-4baa-8175-e2a00bac4301": "Directory Writers",
    "4a5d8f65-41da-4de4-8968-e035b65339cf": "Reports Reader",
}
IDS: Final = {name: role_id for role_id, name in NAMES.items()}
_HARMLESS = frozenset((IDS["Directory Readers"], IDS["Reports Reader"]))


def administers(user: User) -> bool:
    """Whether the user has more power than to look."""
    return bool(set(user.roles) - _HARMLESS)
