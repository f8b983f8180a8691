"""kombu's broker in a folder, with whole files only.

kombu opens a message's file, then fills it; a worker that looks in between takes an empty message and dies of
it. Here a file gets its name when it is complete. Exchange tables, which kombu fills in the same way, are
linked into place before kombu looks for them.
"""

import contextlib
import os
import time
import uuid
from pathlib import Path
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    """What the worker reads from and everybody writes to."""

    def _put(self, queue: str, payload: dict[str, Any], **kwargs: Any) -> None:  # type: ignore[override]  # kombu has two names for it
        # The name sorts by the age of the message, which is the order in which the worker takes them. kombu
        # uses the monotonic clock, which starts again with the machine.
        folder = Path(self.data_folder_out)
        name = f"{time.time_ns():020d}_{uuid.uuid4()}"
        part = folder / f"{name}.part"
        part.write_text(dumps(payload), encoding="utf-8")
        part.rename(folder / f"{name}.{queue}.msg")

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        table = self._exchange_file(exchange)
        if not table.exists():
            part = table.with_suffix(f".{uuid.uuid4()}")
            part.write_text(dumps([(routing_key or "", pattern or "", queue or "")]), encoding="utf-8")
            with contextlib.suppress(FileExistsError):
                os.link(part, table)  # unlike a rename, this does not replace another process's table
            part.unlink()
        super()._queue_bind(exchange, routing_key, pattern, queue)


class Transport(filesystem.Transport):
    """Named in celery.py for the broker address `filesystem://`."""

    Channel = Channel
