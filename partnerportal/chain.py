"""The audit trail is a chain: the hash of each row covers the row before, so nothing of it goes unseen.

`AuditHead` holds how long the chain is and the hash of its last row. Whoever adds a row moves the head on first, by one
UPDATE that also gives the row its place and its hash: the lock on that one row puts the rows of all processes in one
order, on SQLite and PostgreSQL alike; there the row itself goes in by the same statement. The lock is held until the
commit, so **audit rows are the last that a transaction writes**: then nobody waits for another row while holding the
head (decision 25; tests/conftest.py sees to it).

After the commit the head is kept beside the database, in VAR_DIR, and told to the log. Who rewrites the database, or
puts back an old copy, would have to rewrite both. What verifies all this: chain_check.py.
"""

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction

from partnerportal import by_hand
from partnerportal.models import AuditEvent, AuditHead

log = logging.getLogger(__name__)

FIRST = "0" * 64  # what the first row is chained to

_CONTENT = (
    "attempt kind at mode actor_tid actor_oid actor_name action tenant_id customer_name target_id target_name fields "
    "outcome detail status code request_id upstream_request_id correlation_id milliseconds"
).split()

# New hash = SHA-256 of old hash, place and content; `joined` says the same in Python. Django gives SQLite the function.
_SHA256 = {"sqlite": "SHA256({0})", "postgresql": "encode(sha256(convert_to({0}, 'UTF8')), 'hex')"}
_MOVE_ON = (
    "UPDATE partnerportal_audithead SET count = count + 1, previous = hash, hash = {hashed} "
    "WHERE id = 1 RETURNING count, previous, hash"
)

_HASH_AT = "SELECT hash FROM partnerportal_auditevent WHERE seq = %s ORDER BY id DESC LIMIT 1"


class Head(NamedTuple):
    """The end of the chain as somebody knows it: the place and the hash of the last row."""

    seq: int
    hash: str


def digest(event: Any) -> str:
    """The hash of what a row says. What is empty is left out, so that columns may be added later."""
    said = {name: getattr(event, name) for name in _CONTENT if getattr(event, name) not in ("", None, {})}
    said |= {"attempt": str(event.attempt), "at": event.at.astimezone(UTC).isoformat(timespec="microseconds")}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def joined(previous: str, seq: int, content: str) -> str:
    """The hash of the row at this place, after the one with the hash `previous`."""
    return hashlib.sha256(f"{previous}{seq}{content}".encode()).hexdigest()


def append(event: AuditEvent) -> None:
    """Insert a row at the end of the chain, in the transaction that runs. To be the last of what it writes."""
    content = digest(event)
    with transaction.atomic(savepoint=False):
        if not _add(event, content):
            _begin()
            _add(event, content)
        transaction.on_commit(partial(keep, Head(event.seq, event.hash), event.previous), robust=True)


def _add(event: AuditEvent, content: str) -> bool:
    """Move the head on and insert the row. False when there is no head."""
    move_on = _MOVE_ON.format(hashed=_SHA256[connection.vendor].format("hash || (count + 1) || %s"))
    if connection.vendor == "postgresql":  # in one statement, for everybody waits who writes
        return by_hand.insert_with(event, move_on, [content], ("seq", "previous", "hash"))
    with connection.cursor() as cursor:
        cursor.execute(move_on, [content])
        moved = cursor.fetchall()
    for event.seq, event.previous, event.hash in moved:
        by_hand.insert(event)
    return bool(moved)


def _begin() -> None:
    """The head of a chain that has none: of a new one, or of one whose head somebody took away."""
    last = AuditEvent.objects.order_by("-seq", "-id").first()
    head = AuditHead(hash=FIRST, previous=FIRST)
    if last:
        head = AuditHead(count=last.seq, hash=last.hash, previous=last.previous)
        head.broken = "The head of the chain was taken out of the database."
        log.critical("the audit trail is broken: %s", head.broken)
    AuditHead.objects.bulk_create([head], ignore_conflicts=True)


def stop(why: str) -> None:
    """Stop the writes to customers until somebody accepts the break. The first reason stays."""
    if not AuditHead.objects.exists():
        _begin()
    if AuditHead.objects.filter(broken="").update(broken=why):
        log.critical("the audit trail is broken: %s", why)


def hash_at(seq: int) -> str | None:
    """The hash of the row at this place as the database has it; None where there is none."""
    if not seq:
        return FIRST
    with connection.cursor() as cursor:
        cursor.execute(_HASH_AT, [seq])
        found = cursor.fetchone()
    return found[0] if found else None


# --- Beside the database --------------------------------------------------------------------------------------


def kept() -> Head | None:
    """The head that this host has kept; None when it has kept none."""
    with _file() as file:
        return _read(file)


def keep(head: Head, previous: str) -> None:
    """Keep the head, and tell it to the log. Not over one that the database does not bear out: that is evidence."""
    log.info("audit head %d %s", head.seq, head.hash)
    with _file() as file:
        older = _read(file)
        follows = older in (None, Head(head.seq - 1, previous))
        if follows or bears_out(older):
            if follows or older.seq < head.seq:  # type: ignore[union-attr]
                os.pwrite(file, f"{head.seq:012d} {head.hash}\n".encode(), 0)
            return
    stop(differs(older))


def bears_out(older: Head | None) -> bool:
    """Whether the database still has the row that the kept head was."""
    return older is None or hash_at(older.seq) == older.hash


def differs(older: Head | None) -> str:
    """What it means that it has not."""
    count = older.seq if older else 0
    if hash_at(count) is None:
        return f"Entry {count} was written, and the database does not have it: it was cut off, or is an old copy."
    return f"Entry {count} of the database is not the one that was written: it was replaced."


def forget_kept() -> None:
    """After a break was accepted: the next head is kept, whatever this host knew."""
    with _file() as file:
        os.ftruncate(file, 0)


@contextmanager
def _file() -> Iterator[int]:
    """The open file, ours alone for the moment. A line of fixed length is written in place: no half of one is left."""
    file = os.open(Path(settings.VAR_DIR) / "audit-head", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _read(file: int) -> Head | None:
    """None for an empty file. What cannot be read is a head that no database bears out."""
    text = os.pread(file, 200, 0).decode("ascii", "replace").strip()
    count, _, hashed = text.partition(" ")
    if not text:
        return None
    return Head(int(count), hashed) if count.isascii() and count.isdigit() else Head(0, "unreadable")
