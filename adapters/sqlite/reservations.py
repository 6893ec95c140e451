"""The reservations table in a SQLite file, for callers that keep their budget there."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from uuid import UUID

from domain.usage import Reservation

#: Times are ISO 8601 text in UTC, as SQLite's own date functions write and compare them.
SCHEMA = """
CREATE TABLE IF NOT EXISTS token_reservations (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    job_id text,
    tokens integer NOT NULL CHECK (tokens >= 0),
    created_at text NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    expires_at text NOT NULL
)
"""

FREE_STALE = """
DELETE FROM token_reservations WHERE id IN (
    SELECT id FROM token_reservations WHERE julianday(expires_at) <= julianday('now') ORDER BY expires_at LIMIT :limit)
RETURNING id, workspace_id, job_id, tokens, expires_at
"""

BUSY_TIMEOUT_SECONDS = 10.0


class SqliteReservations:
    """See domain.ports.Reservations. The table is created when it is missing."""

    def __init__(self, database_url: str) -> None:
        self._path = database_url.removeprefix("sqlite:///")

    def free_stale(self, limit: int) -> list[Reservation]:
        """See the port. SQLite has no jobs, so only time makes a reservation stale."""
        with self._connection() as connection:
            rows = connection.execute(FREE_STALE, {"limit": limit}).fetchall()
        return [_reservation(*row) for row in rows]

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_SECONDS)) as connection, connection:
            connection.execute(SCHEMA)
            yield connection


def _reservation(identity: str, workspace_id: str, job_id: str | None, tokens: int, expires_at: str) -> Reservation:
    moment = datetime.fromisoformat(expires_at)
    return Reservation(
        id=UUID(identity),
        workspace_id=UUID(workspace_id),
        job_id=UUID(job_id) if job_id else None,
        tokens=tokens,
        expires_at=moment if moment.tzinfo else moment.replace(tzinfo=UTC),
    )
