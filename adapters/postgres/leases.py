"""Leases: renewed by their owner in one statement, taken from workers that went silent."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import psycopg

from adapters.postgres.ledger import rescue_in
from adapters.postgres.pool import Connection
from adapters.postgres.sql import load_queries
from domain.jobs import Lease

_JOBS = load_queries("jobs")

#: Jobs rescued in one round; the rest waits for the next one, seconds later.
RESCUE_LIMIT = 200

#: The thread that rescues also renews: a row that somebody has locked waits for the next round.
RESCUE_LOCK_TIMEOUT = "100ms"


class PostgresLeases:
    """See domain.ledger.LeaseTable; over one connection of its own."""

    def __init__(self, connection: Connection, *, ttl: timedelta, max_crashes: int) -> None:
        self._connection = connection
        self._ttl = ttl
        self._max_crashes = max_crashes

    def renew(self, leases: Sequence[Lease]) -> set[UUID]:
        """Renew all leases; return the jobs whose lease is lost."""
        params = {"ttl": self._ttl, "ids": [x.job_id for x in leases], "leases": [x.number for x in leases]}
        held = {row[0] for row in self._connection.execute(_JOBS["renew"], params)}
        return {lease.job_id for lease in leases} - held

    def rescue_expired(self) -> dict[UUID, str]:
        """Take expired jobs from silent workers, one transaction each; return the state each of them got."""
        rows = self._connection.execute(_JOBS["find_expired"], {"limit": RESCUE_LIMIT}).fetchall()
        states = {row[0]: self._rescue(Lease(row[0], row[1])) for row in rows}
        return {job_id: state for job_id, state in states.items() if state}

    def _rescue(self, lease: Lease) -> str | None:
        """Keep one bad row from stopping the rescue of the others; a lost connection stops the round."""
        try:
            with self._connection.transaction():
                self._connection.execute(f"SET LOCAL lock_timeout = '{RESCUE_LOCK_TIMEOUT}'")
                return rescue_in(self._connection, lease, max_crashes=self._max_crashes)
        except (psycopg.errors.IntegrityError, psycopg.errors.DataError, psycopg.errors.LockNotAvailable):
            return None
