"""Jobs that have ended, for those who retry and discard them; and every job, for those who look."""

from dataclasses import asdict
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import dict_row

from adapters.postgres.pool import Connection, LazyPool
from adapters.postgres.sql import load_queries
from domain.dead_letters import JobFilter
from domain.documents import DocumentState
from domain.jobs import JobState, StoredJob

_LETTERS = load_queries("dead_letters")

Row = dict[str, Any]


class PostgresDeadLetters:
    """See domain.ports.DeadLetters."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def hold(self, job_id: UUID) -> StoredJob | None:
        """See the port."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(_LETTERS["take_turn"], {"id": job_id})
            cursor.execute(_LETTERS["hold"], {"id": job_id})
            row = cursor.execute(_LETTERS["read_held"], {"id": job_id}).fetchone()
        if row is None:
            return None
        document_state = DocumentState(row["document_state"]) if row["document_state"] else None
        return StoredJob(**row | {"state": JobState(row["state"]), "document_state": document_state})

    def replay(self, job_id: UUID) -> None:
        """See the port."""
        self._connection.execute(_LETTERS["replay"], {"id": job_id})

    def supersede(self, job_id: UUID, by: UUID) -> None:
        """See the port."""
        self._connection.execute(_LETTERS["supersede"], {"id": job_id, "by": by})

    def discard(self, job_id: UUID) -> None:
        """See the port."""
        self._connection.execute(_LETTERS["discard"], {"id": job_id})


class JobSearch:
    """What people read of jobs, as rows by name. Every method is one short read."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def find(self, wanted: JobFilter, *, limit: int | None = None) -> list[Row]:
        """Return the jobs that fit, the latest first."""
        # What is empty asks for nothing: no ids and no states mean any.
        given = {name: value or None for name, value in asdict(wanted).items() if name not in ("ids", "states")}
        lists = {"ids": list(wanted.ids) or None, "states": [str(state) for state in wanted.states] or None}
        return self._rows(_LETTERS["find_jobs"], given | lists | {"replayed": wanted.replayed, "limit": limit})

    def read(self, job_id: UUID) -> Row | None:
        """Return everything about one job, its Dramatiq message under `message`."""
        rows = self._rows(_LETTERS["read_job"], {"id": job_id})
        return rows[0] if rows else None

    def attempts(self, job_id: UUID) -> list[Row]:
        """Return every run of a job with its error and traceback, oldest first."""
        return self._rows(_LETTERS["read_attempts"], {"id": job_id})

    def _rows(self, query: LiteralString, params: Row) -> list[Row]:
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, params).fetchall()
