"""Connections: one small pool per process, opened where it is used and never carried over a fork."""

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from adapters.postgres.errors import translated

Connection = psycopg.Connection[Any]
Pool = ConnectionPool[Connection]

#: A statement that takes longer than this has lost its way; heartbeats must not wait behind it.
STATEMENT_TIMEOUT_SECONDS = 60
LOCK_TIMEOUT_SECONDS = 10

#: Transactions never wait for anything but the database: a worker that is silent in one has stopped, and holds locks.
IDLE_IN_TRANSACTION_SECONDS = 15

#: How long a job waits for a connection; people wait less (see `LazyPool`).
PATIENCE_SECONDS = 30.0

_OPTIONS: dict[str, Any] = {
    "autocommit": True,  # transactions are opened where they are meant
    "application_name": "headrace",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "options": (
        f"-c statement_timeout={STATEMENT_TIMEOUT_SECONDS}s -c lock_timeout={LOCK_TIMEOUT_SECONDS}s"
        f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_SECONDS}s"
        # Plans are cached while the tables are empty, when to read all of one looks cheap, and kept while they grow.
        # Where there is no other way, up to PostgreSQL 17 that is a price of 10^10, at which plans are compiled.
        " -c enable_seqscan=off -c jit=off"
        # The server's side: without these a worker whose host vanished keeps its session locks for two hours.
        " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 -c tcp_user_timeout=15000"
    ),
}


def connection_options(database_url: str) -> dict[str, Any]:
    """Return how every connection is opened: as its address says, such as with a search_path, then as we need it."""
    named = conninfo_to_dict(database_url).get("options") or ""
    return _OPTIONS | {"options": f"{named} {_OPTIONS['options']}"}


def connect(database_url: str) -> Connection:
    """Open one connection of its own, for threads that must never wait for the pool."""
    return psycopg.connect(database_url, **connection_options(database_url))


def is_alive(connection: Connection) -> bool:
    """Notice without a round trip that the server has hung up, as after a restart.

    An idle connection has nothing to say: what can be read from it is its end, or a word on the way to it.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        try:
            ConnectionPool.check_connection(connection)
        except psycopg.OperationalError:
            return False
    return True


def open_pool(
    database_url: str, *, size: int, min_size: int = 1, patience_seconds: float = PATIENCE_SECONDS, wait: bool = True
) -> Pool:
    """Open a pool and, unless told otherwise, wait until its first connection stands.

    Raises psycopg_pool.PoolTimeout after `patience_seconds`, as does whoever waits that long for a connection.
    """
    pool = ConnectionPool(
        database_url,
        kwargs=connection_options(database_url),
        min_size=min_size,
        max_size=size,
        configure=register_vector,
        timeout=patience_seconds,
        reconnect_timeout=5,  # the default of 300 s backs off to minutes and answers 25 s late after an outage
        name="headrace",
        open=False,
    )
    pool.open(wait=wait, timeout=patience_seconds)
    return pool


class LazyPool:
    """A pool that opens on first use and again in a forked child, for producers such as an API process."""

    def __init__(self, database_url: str, *, size: int, patience_seconds: float | None = None) -> None:
        """`patience_seconds`: how long callers wait for a connection, each for itself; None: as long as jobs do."""
        self._database_url = database_url
        self._size = size
        self._patience_seconds = patience_seconds
        self._lock = Lock()
        self._pool: Pool | None = None
        self._pid = 0

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection. Raises TransientError when the database is not available.

        Those that have died while they lay in the pool are put back, and replaced. The pool's own `check` would sleep
        after each of them, twice as long every time: half a minute, with good ones behind them.
        """
        with translated():
            for dead in range(self._size + 1):
                with self._open().connection() as connection:
                    if dead < self._size and not is_alive(connection):
                        continue
                    yield connection
                    return

    def stats(self) -> dict[str, int]:
        """Return psycopg_pool's statistics; empty before first use."""
        return self._pool.get_stats() if self._pool else {}

    def close(self) -> None:
        """Close the pool of this process; the next use opens another."""
        with self._lock:
            if self._pool is not None and self._pid == os.getpid():
                self._pool.close()
            self._pool = None

    def _open(self) -> Pool:
        with self._lock:
            if self._pool is None or self._pid != os.getpid():
                self._pool, self._pid = self._new_pool(), os.getpid()
            return self._pool

    def _new_pool(self) -> Pool:
        if self._patience_seconds is None:
            return open_pool(self._database_url, size=self._size)
        # Not waiting here: the others who come meanwhile would wait for this one first, and then for their own.
        return open_pool(self._database_url, size=self._size, patience_seconds=self._patience_seconds, wait=False)
