"""Sealing and opening."""

import base64

import pytest
from cryptography.fernet import Fernet

from partnerportal import vault

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture(autouse=True)
def keys(settings):
    settings.VAULT_KEYS = [OLD]


def test_what_was_sealed_opens():
    assert vault.open("tokens", "17", vault.seal("tokens", "17", "geheim ✓")) == "geheim ✓"


def test_a_memoryview_opens_too():
    """PostgreSQL hands binary columns out as those."""
    assert vault.open("tokens", "17", memoryview(vault.seal("tokens", "17", "x"))) == "x"


def test_the_value_cannot_be_read_from_the_sealed_bytes():
    sealed = vault.seal("tokens", "17", "a-very-plain-word")
    assert b"a-very-plain-word" not in sealed
    assert b"a-very-plain-word" not in base64.urlsafe_b64decode(sealed)


@pytest.mark.parametrize(("purpose", "key"), [("tokens", "18"), ("password", "17"), ("17", "tokens"), ("", "")])
def test_it_opens_in_its_own_place_only(purpose, key):
    sealed = vault.seal("tokens", "17", "secret")
    with pytest.raises(vault.WrongPlace) as caught:
        vault.open(purpose, key, sealed)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("sealed", [b"", b"nonsense", Fernet(NEW).encrypt(b'["tokens","17","x"]')])
def test_what_no_key_opens_stays_closed(sealed):
    with pytest.raises(vault.CannotOpen) as caught:
        vault.open("tokens", "17", sealed)
    assert caught.value.__cause__ is None


def test_one_changed_byte_is_noticed():
    sealed = bytearray(vault.seal("tokens", "17", "secret"))
    sealed[30] ^= 1
    with pytest.raises(vault.CannotOpen):
        vault.open("tokens", "17", bytes(sealed))


def test_a_new_key_in_front_opens_the_old_and_seals_the_new(settings):
    sealed = vault.seal("tokens", "17", "secret")
    settings.VAULT_KEYS = [NEW, OLD]
    assert vault.open("tokens", "17", sealed) == "secret"
    fresh = vault.seal("tokens", "17", "secret")
    settings.VAULT_KEYS = [OLD]
    with pytest.raises(vault.CannotOpen):
        vault.open("tokens", "17", fresh)


def test_after_rotation_the_old_key_can_go(settings):
    sealed = vault.seal("tokens", "17", "secret")
    settings.VAULT_KEYS = [NEW, OLD]
    rotated = vault.rotate(sealed)
    settings.VAULT_KEYS = [NEW]
    assert vault.open("tokens", "17", rotated) == "secret"
    with pytest.raises(vault.CannotOpen):
        vault.rotate(sealed)


@pytest.mark.parametrize("keys", [[], ["short"], [OLD, "not-a-key"]])
def test_wrong_keys_are_named_without_being_shown(settings, keys):
    settings.VAULT_KEYS = keys
    with pytest.raises(vault.WrongKeys) as caught:
        vault.seal("tokens", "17", "x")
    assert "VAULT_KEYS" in str(caught.value)
    assert not any(key in str(caught.value) for key in keys)
