"""Whether the database belongs to a newer version than this process: then it was forgotten in an upgrade.

A migration's number says it. What this process knows is read when it starts: later, the files may be the newer ones.
"""

import re
from pathlib import Path

from django.db import connection

_APPS = ("partnerportal", "customers", "users")
_NUMBER = re.compile(r"([0-9]{4})_")


def _newest(names: list[str]) -> int:
    return max((int(found[1]) for name in names if (found := _NUMBER.match(name))), default=0)


_ROOT = Path(__file__).resolve().parent.parent
KNOWN = {app: _newest([path.stem for path in (_ROOT / app / "migrations").glob("*.py")]) for app in _APPS}


def is_left_behind() -> bool:
    """Whether migrations were applied that this process does not know. One small query; raises `DatabaseError`."""
    with connection.cursor() as cursor:  # by hand: it is asked before every message (decision 30)
        cursor.execute("SELECT app, max(name) FROM django_migrations WHERE name < 'a' GROUP BY app")
        applied = dict(cursor.fetchall())
    return any(_newest([applied[app]]) > KNOWN[app] for app in _APPS if app in applied)
