"""Sealing and opening: tokens and passwords at rest.

A sealed value carries what it is for (`purpose`) and whose it is (`key`), and both are compared on opening: a
sealed value copied into another row, or another column, does not open there. Keys are in `VAULT_KEYS`, newest
first; `rotate` seals an old value again with the newest key, so that the oldest can be taken away.
"""

import json

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.views.decorators.debug import sensitive_variables


class VaultError(Exception):
    """A sealed value is of no use."""


class CannotOpen(VaultError):
    """None of the keys opens it: it was changed, or its key is gone."""


class WrongPlace(VaultError):
    """It opens, but was sealed for another purpose or another row."""


class WrongKeys(VaultError, ImproperlyConfigured):
    """`VAULT_KEYS` is empty or holds something that is no Fernet key."""


@sensitive_variables("value")
def seal(purpose: str, key: str, value: str) -> bytes:
    """`value`, encrypted for this purpose and row only."""
    return _fernet().encrypt(json.dumps([purpose, key, value]).encode())


@sensitive_variables("value")
def open(purpose: str, key: str, sealed: bytes) -> str:  # noqa: A001 (vault.open reads as it should)
    """What was sealed for this purpose and row. Raises `CannotOpen` or `WrongPlace`."""
    try:
        found_purpose, found_key, value = json.loads(_fernet().decrypt(bytes(sealed)))
    except InvalidToken:
        raise CannotOpen("This does not open with any of VAULT_KEYS.") from None
    if (found_purpose, found_key) != (purpose, key):
        raise WrongPlace(f"This was not sealed as {purpose} of this row.")
    return str(value)


def rotate(sealed: bytes) -> bytes:
    """The same secret, sealed with the newest key."""
    try:
        return _fernet().rotate(bytes(sealed))
    except InvalidToken:
        raise CannotOpen("This does not open with any of VAULT_KEYS.") from None


@sensitive_variables()
def _fernet() -> MultiFernet:
    try:
        return MultiFernet([Fernet(key) for key in settings.VAULT_KEYS])
    except ValueError:
        raise WrongKeys("VAULT_KEYS needs one Fernet key or more: 32 random bytes in URL-safe base64 each.") from None
