"""Empty databases to measure on, each gone afterwards."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.requirements_plugin import POSTGRES_URL


def kinds(*, short: bool) -> list[str]:
    """What this machine has; what it lacks is said and left out. SQLite alone when it need only be `short`."""
    if short:
        return ["sqlite"]
    try:
        psycopg.connect(POSTGRES_URL).close()
    except psycopg.OperationalError as error:
        print(f"PostgreSQL is left out: {error}", flush=True)
        return ["sqlite"]
    return ["sqlite", "postgres"]


@contextmanager
def new_database(kind: str) -> Iterator[str]:
    """The address of an empty database, "sqlite" or "postgres"."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="partner-desk-bench-") as folder:
            yield f"sqlite:///{Path(folder) / 'bench.sqlite3'}"
        return
    name = f"bench_partnerdesk_{uuid.uuid4().hex}"
    with psycopg.connect(POSTGRES_URL, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlsplit(POSTGRES_URL)._replace(path=f"/{name}").geturl()
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def on(url: str) -> dict[str, str]:
    """The environment of a process that measures there, with settings of its own."""
    env = {name: value for name, value in os.environ.items() if name not in ("TEST_OWNER", "TEST_DATABASE")}
    return env | ({"TEST_DATABASE_URL": url} if url else {})
