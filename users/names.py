"""User names: what Microsoft allows, and what we propose.

The rules are Entra's (learn.microsoft.com, concept-sspr-policy): ASCII letters, digits and ' . - _ ! # ^ ~, at most
64 before the at sign, 48 after it, 113 in all, no dot just before the at sign.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

DOMAIN = re.compile(r"(?=.{3,48}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+")
NOT_ALLOWED = "User name can have letters, numbers and . - _ ' ! # ^ ~ only"

_BY_HAND = str.maketrans(
    {
        "ß": "ss", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ł": "l", "ı": "i", "ħ": "h",
        "ŋ": "n", "ŧ": "t", "ə": "e", "ĸ": "k",
    }
)  # fmt: skip

USUAL = "first.last"
# What a user name can be made of. f and l are initials; main is the surname without its particles.
PATTERNS = (USUAL, "first.main", "f.last", "flast", "firstl", "firstlast", "first", "last.first", "last")
_TOKEN = re.compile("first|last|main|f|l")
DISPLAY = ("first last", "last first", "last, first")  # what a display name can be made of
PARTICLES = frozenset(
    "aan af al ap av bin bint da dal das de del della den der des di do dos du e el het ibn in la las le les lo los op "
    "t te ten ter van vom von y zu zum zur".split()
)


def latin(text: str) -> str:
    """Lower-case ASCII letters and digits of a name; "" when one of its letters cannot be written with them.

    Half a name would be a wrong one, so it is asked for instead.
    """
    plain = unicodedata.normalize("NFKD", text.lower().translate(_BY_HAND)).lower()
    letters = [char for char in plain if char.isalnum()]
    return "".join(letters) if all(char.isascii() for char in letters) else ""


def without_particles(last: str) -> str:
    """van den Berg -> Berg, de la Cruz -> Cruz; a surname that is nothing but a particle stays: Le."""
    words = last.split()
    while len(words) > 1 and latin(words[0]) in PARTICLES:
        words.pop(0)
    return " ".join(words)


def propose(first: str, last: str, pattern: str = USUAL) -> str:
    """A user name after a pattern, transliterated and cut at 64; "" when neither name can be written in ASCII."""
    given, family = latin(first), latin(last)
    if not (given and family):
        return (given or family)[:64]
    main = latin(without_particles(last)) or family
    parts = {"first": given, "last": family, "main": main, "f": given[0], "l": main[0]}
    return _TOKEN.sub(lambda token: parts[token[0]], pattern)[:64].strip(".")


def display(first: str, last: str, pattern: str = DISPLAY[0]) -> str:
    """A display name after a pattern; where there is one name only, that."""
    parts = {"first": first, "last": last}
    return re.sub("first|last", lambda word: parts[word[0]], pattern) if first and last else first or last


def others(first: str, last: str, taken: str) -> Iterator[str]:
    """More proposals when a name is taken: maya.lind2, m.lind, mlind, maya.lind3, …"""
    yield _numbered(taken, 2)
    if latin(first) and latin(last):
        if without_particles(last) != last.strip():
            yield propose(first, last, "first.main")
        yield propose(first, last, "f.last")
        yield propose(first, last, "flast")
    for number in range(3, 10):
        yield _numbered(taken, number)


def numbered(name: str) -> Iterator[str]:
    """maya.lind2 to maya.lind99: all that a locked pattern leaves when the name itself is taken."""
    return (_numbered(name, number) for number in range(2, 100))


def fits(local: str, first: str, last: str, pattern: str) -> bool:
    """Whether a user name is what the pattern makes of the names, or that with a number. Any fits unwritable names."""
    made = propose(first, last, pattern)
    return not made or local.lower() in {made, *numbered(made)}


def free(proposals: Iterable[str], taken: set[str], *, most: int = 2) -> list[str]:
    """The first few proposals that nobody has; `taken` holds lower-case local parts."""
    found: list[str] = []
    for name in proposals:
        if name.lower() not in taken and name not in found:
            found.append(name)
        if len(found) == most:
            break
    return found


def parted(user_name: str) -> tuple[str, str]:
    """What stands before the at sign, as it is, and the domain, in small letters."""
    local, _, domain = user_name.rpartition("@")
    return local, domain.lower()


def local_part_problem(text: str) -> str:
    """Why this cannot stand before the at sign, as a sentence; "" when it can.

    Judged exactly as typed: normalising first would turn look-alikes into other, valid names.
    """
    if not text:
        return "Enter a user name"
    if not text.isascii() or not re.fullmatch(r"[A-Za-z0-9'.\-_!#^~]+", text):
        return NOT_ALLOWED
    if len(text) > 64:
        return "A user name can have at most 64 characters before the @"
    if text.endswith("."):
        return "A user name cannot have a dot just before the @"
    return ""


def domain_problem(text: str) -> str:
    """Why this is no domain that a user name can have; "" when it may be one, in any case. Judged as typed, too."""
    if not text:
        return "Choose a domain"
    if not text.isascii() or not DOMAIN.fullmatch(text.lower()):
        return "Enter a domain such as contoso.com, 48 characters at most"
    return ""


def _numbered(name: str, number: int) -> str:
    return f"{name[: 64 - len(str(number))]}{number}"
