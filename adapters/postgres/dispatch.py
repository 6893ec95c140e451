"""The relay's side of the ledger: which jobs are due, and whose hint may be lost."""

from datetime import timedelta
from uuid import UUID

from psycopg.rows import dict_row

from adapters.postgres.pool import Connection
from adapters.postgres.sql import load_queries
from domain.ledger import DueJob

_JOBS = load_queries("jobs")

CHANNEL = "headrace_jobs"

#: Any constant will do: it only has to differ from other advisory locks of this database.
RELAY_LOCK = 4_104_205_418


class PostgresDispatch:
    """See domain.ledger.DispatchTable; over one connection of its own, which holds a session lock and listens."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lead(self) -> bool:
        """Try to become the one relay that acts; the lock falls when this connection closes."""
        row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", [RELAY_LOCK]).fetchone()
        return bool(row and row[0])

    def listen(self) -> None:
        """See the port."""
        self._connection.execute(f"LISTEN {CHANNEL}")

    def unlisten(self) -> None:
        """See the port. Each ring that is heard wakes this connection's backend, and whoever reads from it."""
        self._connection.execute(f"UNLISTEN {CHANNEL}")

    def wait(self, timeout: timedelta) -> set[str]:
        """Wait for a ring, or for the timeout; return the queues that were rung for, each once."""
        return {ring.payload for ring in self._connection.notifies(timeout=timeout.total_seconds(), stop_after=1)}

    def queues(self) -> list[str]:
        """Return the queues that have waiting jobs."""
        return [row[0] for row in self._connection.execute(_JOBS["queues"])]

    def pick_due(self, queue: str, limit: int) -> list[DueJob]:
        """Move due jobs of a queue to queued, fair between workspaces; return them in the order to ring."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(_JOBS["pick_due"], {"queue": queue, "limit": limit}).fetchall()
        rows.sort(key=lambda row: (row["priority"], row["turn"], row["available_at"]))
        return [DueJob(row["id"], row["actor"], row["lag_seconds"]) for row in rows]

    def ring_again(self, queue: str, *, age: timedelta, limit: int, known: set[UUID]) -> list[DueJob]:
        """Mark as rung again, and return, queued jobs whose last ring is older than `age`, except the known ones."""
        params = {"queue": queue, "age": age, "limit": limit, "known": list(known)}
        return [DueJob(*row) for row in self._connection.execute(_JOBS["ring_again"], params)]

    def next_due(self) -> timedelta | None:
        """Tell how long until the next waiting job is due, negative when it is overdue; None when none waits."""
        row = self._connection.execute(_JOBS["next_due"]).fetchone()
        return timedelta(seconds=row[0]) if row and row[0] is not None else None
