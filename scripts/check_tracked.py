"""No file of the repository holds a registry's address, a path of one machine, or a secret.

Looks at what git tracks and at what it would add. A line that must hold such a thing (a test of this very rule)
is written so that it does not match.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

RULES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "a registry's address",
        re.compile(
            r"(?i)\b(?:pypi\.(?:org|python\.org)|files\.pythonhosted\.org|registry\.(?:npmjs\.org|yarnpkg\.com)"
            r"|(?:deb|security|ftp|archive)\.debian\.org|archive\.ubuntu\.com|proxy\.golang\.org"
            r"|(?:index|static)\.crates\.io)\b|(?<!emit-)index-url[ =]|--find-[l]inks"
        ),
    ),
    (
        "a path of one machine",
        re.compile(r"(?<![\w.:/)}>-])/(?:(?:work|root)(?![\w-])|(?:home|Users)/[A-Za-z]\w*/\w)"),
    ),
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*\n?[A-Za-z0-9+/]{20}")),
    ("a JSON Web Token", re.compile(r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}")),
    ("a sealed value", re.compile(r"\bgAAAAA[A-Za-z0-9_-]{60,}")),
    (
        "a Fernet key",
        re.compile(
            r"(?<![A-Za-z0-9_+/-])(?=[A-Za-z0-9_-]*\d)(?=[A-Za-z0-9_-]*[A-Z])[A-Za-z0-9_-]{43}=(?![A-Za-z0-9=])"
        ),
    ),
    ("a client secret of Entra", re.compile(r"(?<![\w~.-])[A-Za-z0-9_-]{3}8Q~[A-Za-z0-9_~.-]{31,34}")),
    (
        "a cloud access key",
        re.compile(r"\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bxox[abp]-[A-Za-z0-9-]{10,}"),
    ),
)
FORBIDDEN_NAMES = re.compile(
    r"(?:^|/)(?:\.env|.*\.(?:sqlite3?|db|pem|pfx|p12|key|pyc)|id_rsa|core|.*~|\.DS_Store)$"
    r"|(?:^|/)(?:utils|helpers|services|managers)\.py$|(?:^|/)(?:common|core)/"
)


def main() -> None:
    """Prints each find as file:line and ends with 1 when there is any."""
    finds = [find for path in tracked() for find in finds_in(path)]
    print("\n".join(finds))
    sys.exit(1 if finds else 0)


def tracked() -> Iterator[Path]:
    """What git tracks, and what is new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    for name in sorted(set(listed.split("\0")) - {""}):
        if (ROOT / name).is_file():
            yield Path(name)


def finds_in(path: Path) -> Iterator[str]:
    """Every line of one file that a rule objects to, and the file's name if that alone is wrong."""
    if FORBIDDEN_NAMES.search(path.as_posix()):
        yield f"{path}: a file of this name does not belong in the repository"
    content = (ROOT / path).read_bytes()
    if b"\0" in content[:8000]:
        return
    text = content.decode("utf-8", errors="replace")
    for what, pattern in RULES:
        for match in pattern.finditer(text):
            yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {what}"


if __name__ == "__main__":
    main()
