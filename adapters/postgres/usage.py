"""Token budgets: reserve before spending, settle after."""

from datetime import timedelta

from adapters.postgres.pool import Connection, LazyPool
from adapters.postgres.sql import load_queries
from domain.documents import Document
from domain.errors import FailureCode, ParkedError, PermanentError
from domain.ids import new_id
from domain.usage import Reservation

_USAGE = load_queries("usage")


class PostgresUsage:
    """See domain.ports.Usage."""

    def __init__(self, connection: Connection, *, ttl: timedelta) -> None:
        self._connection = connection
        self._ttl = ttl

    def reserve(self, document: Document, tokens: int) -> None:
        """See the port."""
        self.check_budget(document, tokens)
        params = {"id": new_id(), "workspace_id": document.workspace_id, "job_id": document.job_id, "tokens": tokens}
        self._connection.execute(_USAGE["reserve"], params | {"ttl": self._ttl})

    def settle(self, document: Document, *, batch: int, reserved: int, spent: int) -> bool:
        """See the port."""
        owner = {"workspace_id": document.workspace_id, "job_id": document.job_id}
        cost = {"batch": batch, "reserved": reserved, "spent": spent, "ttl": self._ttl}
        return bool(self._connection.execute(_USAGE["settle"], owner | cost).rowcount)

    def count_document(self, document: Document, *, tokens: int = 0) -> None:
        """See the port."""
        self._connection.execute(_USAGE["count_document"], {"document_id": document.id, "tokens": tokens})

    def check_budget(self, document: Document, tokens: int) -> None:
        """See the port."""
        if tokens == 0:  # what costs nothing needs no budget
            return
        params = {"workspace_id": document.workspace_id, "job_id": document.job_id}
        held = self._connection.execute(_USAGE["hold_budget"], params).fetchone()
        if held is None:
            return
        (budget,) = held
        if tokens > budget:
            message = f"The document needs {tokens:,} tokens, more than the workspace's daily budget of {budget:,}."
            raise PermanentError(FailureCode.BUDGET_EXCEEDED, message)
        [(spent, reserved, seconds_to_midnight)] = self._connection.execute(_USAGE["taken"], params).fetchall()
        if spent + reserved + tokens > budget:
            message = f"Today's budget of {budget:,} tokens is used up; the document continues after midnight UTC."
            wait = timedelta(seconds=seconds_to_midnight + 1)
            raise ParkedError(FailureCode.BUDGET_EXCEEDED, message, retry_after=wait)


class PostgresReservations:
    """See domain.ports.Reservations."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def free_stale(self, limit: int) -> list[Reservation]:
        """See the port."""
        with self._pool.connection() as connection:
            rows = connection.execute(_USAGE["free_stale_reservations"], {"limit": limit}).fetchall()
        return [Reservation(*row) for row in rows]
