"""Sessions in the database as Django keeps them; what every request reads is read by hand (decision 30)."""

from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.utils import timezone

from partnerportal import by_hand

SHORTEST = 8  # characters, as Django has it; it makes 32


class SessionStore(db.SessionStore):
    """`SESSION_ENGINE` wants this name."""

    def _validate_session_key(self, key: str | None) -> bool:
        """Whether it looks like one that we made. A cookie may hold anything, and PostgreSQL fails at a NUL."""
        return bool(key and len(key) >= SHORTEST and frozenset(VALID_KEY_CHARS).issuperset(key))

    def _get_session_from_db(self) -> Any:
        """The row of a session that has not ended; without one, its key is forgotten, as Django does."""
        for row in by_hand.read(self.model, {"pk": self.session_key}):
            if row.expire_date > timezone.now():
                return row
        self._session_key = None
        return None
