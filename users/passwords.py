"""Passwords: made to be read out, judged by Microsoft's rules."""

import secrets
from functools import cache
from pathlib import Path

from partnerportal.upstream.http import Secret

WORDS_FILE = Path(__file__).parent / "words" / "eff_large.txt"
LEFT_OUT = WORDS_FILE.with_name("left_out.txt")
WORDS = 4
TOO_WEAK = "Use 8 or more characters with three of: capitals, small letters, numbers, signs"
SHORTEST = 20  # characters of a generated password


@cache
def words() -> tuple[str, ...]:
    """The words of the EFF's large list, but for those with a hyphen and those that nobody should be sent."""
    lines = LEFT_OUT.read_text(encoding="ascii").splitlines()
    left_out = {word for line in lines if not line.startswith("#") for word in line.split()}
    words = WORDS_FILE.read_text(encoding="ascii").split()
    return tuple(word for word in words if word.isalpha() and word not in left_out)


def generate(user_name: str = "") -> Secret:
    """Four capitalised words and two digits, as in Tulip-Ivory-58-Kettle-Maple: over 55 bits, three of four classes.

    Never contains the part of `user_name` before the at sign, for Microsoft refuses that.
    """
    while True:
        first, second, third, fourth = (secrets.choice(words()).capitalize() for _ in range(WORDS))
        text = f"{first}-{second}-{secrets.randbelow(90) + 10}-{third}-{fourth}"
        if len(text) >= SHORTEST and not _contains_name(text, user_name):
            return Secret(text)


def problem_with(password: str, user_name: str) -> str:
    """Why Microsoft would refuse a typed password, as a sentence; "" when it should do."""
    if not password:
        return "Enter a password"
    if not 8 <= len(password) <= 256 or not password.isascii() or not password.isprintable():
        return "Use 8 to 256 letters, numbers and signs of a plain keyboard"
    classes = (str.isupper, str.islower, str.isdigit, lambda char: not char.isalnum())
    if sum(any(test(char) for char in password) for test in classes) < 3:
        return TOO_WEAK
    if _contains_name(password, user_name):
        return "A password cannot contain the user name"
    return ""


def _contains_name(password: str, user_name: str) -> bool:
    local = user_name.partition("@")[0].lower()
    return len(local) >= 3 and local in password.lower()
