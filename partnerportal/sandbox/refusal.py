"""How the pretend cloud says no."""

from __future__ import annotations


class Refused(Exception):
    """The cloud says no: the status and code of CONTRACT 1.6, and the service's own words."""

    def __init__(self, status: int, code: int, text: str, *, data: tuple[str, ...] = (), retry_after: int = 0) -> None:
        super().__init__(text)
        self.status, self.code, self.text, self.data, self.retry_after = status, code, text, data, retry_after
