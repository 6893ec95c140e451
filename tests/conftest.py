"""Real servers for the tests: one PostgreSQL and one Valkey a session, a fresh database and an empty doorbell a test.

`DATABASE_URL` and `HEADRACE_TEST_REDIS_URL` name servers to use instead; databases called `headrace_test_*` come and go
there, and that Redis database is emptied before each test that uses it (hence a name that nothing else sets). One such
pair cannot serve two processes of tests: `make test` then starts only one.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis
from psycopg import sql

from adapters.embedded.stack import embedded_stack

# The tests kill processes, never the machine: without fsync a killed PostgreSQL still loses nothing.
QUICK_POSTGRES = {"fsync": "off", "full_page_writes": "off", "autovacuum_naptime": "5s", "shared_buffers": "64MB"}


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder short enough for sockets, which the servers' account can enter even if root runs the tests."""
    folder = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The address of the session's PostgreSQL, in a database where a superuser may create others."""
    if url := os.environ.get("DATABASE_URL"):
        yield url
        return
    with short_folder() as folder, embedded_stack(folder, valkey=False, postgres_settings=QUICK_POSTGRES) as stack:
        assert stack.database_url
        yield stack.database_url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The address of the session's Valkey."""
    if url := os.environ.get("HEADRACE_TEST_REDIS_URL"):
        yield url
        return
    with short_folder() as folder, embedded_stack(folder, postgres=False) as stack:
        assert stack.redis_url
        yield stack.redis_url


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> Iterator[str]:
    """The name of a migrated database, the mould of every test's own."""
    from adapters.postgres.migrate import migrate

    name = f"headrace_test_template_{uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        migrate(_beside(postgres_url, name))
        yield name
        _drop(server, name)


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """The address of a database of this test's own with nothing in it, for the migrations' own tests."""
    with _new_database(postgres_url, "template1") as url:
        yield url


@pytest.fixture
def database_url(postgres_url: str, template_database: str) -> Iterator[str]:
    """The address of a migrated, empty database of this test's own."""
    with _new_database(postgres_url, template_database) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection, in autocommit, to this test's own database."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the session's Valkey, emptied for this test."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        yield client


@pytest.fixture
def redis_prefix(redis_client: redis.Redis) -> str:
    """A prefix for keys that no other test uses; the doorbell behind it was emptied."""
    return f"test-{uuid4().hex[:8]}"


@contextmanager
def _new_database(server_url: str, template: str) -> Iterator[str]:
    name = f"headrace_test_{uuid4().hex[:12]}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield _beside(server_url, name)
        finally:
            _drop(server, name)


def _drop(server: psycopg.Connection, name: str) -> None:
    server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _beside(server_url: str, database: str) -> str:
    """Return the address of another database on the same server, as a URL: settings accept nothing else."""
    head, _, query = server_url.partition("?")
    scheme, _, rest = head.partition("://")
    authority = rest.partition("/")[0]
    return f"{scheme}://{authority}/{database}" + (f"?{query}" if query else "")


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder for a test that runs servers of its own."""
    with short_folder() as folder:
        yield folder


@pytest.fixture
def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
