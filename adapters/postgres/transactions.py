"""Units of work: one short transaction over every aggregate, fenced by a lease when it has one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from adapters.postgres.blobs import PostgresBlobs
from adapters.postgres.chunks import PostgresChunks
from adapters.postgres.dead_letters import PostgresDeadLetters
from adapters.postgres.documents import PostgresDocuments, PostgresIntake
from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.media import PostgresMediaFiles
from adapters.postgres.pages import PostgresPages
from adapters.postgres.parser_deaths import PostgresParserDeaths
from adapters.postgres.pool import Connection, LazyPool
from adapters.postgres.sql import load_queries
from adapters.postgres.sweeping import PostgresSweeping
from adapters.postgres.usage import PostgresUsage
from domain.errors import JobCancelledError, LeaseLostError
from domain.jobs import Lease

_JOBS = load_queries("jobs")


@dataclass(frozen=True, slots=True)
class PostgresUnit:
    """See domain.ports.Unit."""

    documents: PostgresDocuments
    intake: PostgresIntake
    blobs: PostgresBlobs
    media: PostgresMediaFiles
    parser_deaths: PostgresParserDeaths
    sweeping: PostgresSweeping
    dead_letters: PostgresDeadLetters
    pages: PostgresPages
    chunks: PostgresChunks
    usage: PostgresUsage
    jobs: PostgresJobs


class PostgresTransactions:
    """See domain.ports.Transactions."""

    def __init__(self, pool: LazyPool, *, reservation_ttl: timedelta) -> None:
        self._pool = pool
        self._reservation_ttl = reservation_ttl

    @contextmanager
    def __call__(self, lease: Lease | None = None) -> Iterator[PostgresUnit]:
        """See the port."""
        with self._pool.connection() as connection:
            with connection.transaction():
                if lease is not None:
                    hold(connection, lease)
                unit = self._unit(connection, lease)
                yield unit
            if lease is not None and unit.jobs.finished:
                lease.settled = True

    def _unit(self, connection: Connection, lease: Lease | None) -> PostgresUnit:
        return PostgresUnit(
            documents=PostgresDocuments(connection),
            intake=PostgresIntake(connection),
            blobs=PostgresBlobs(connection),
            media=PostgresMediaFiles(connection),
            parser_deaths=PostgresParserDeaths(connection),
            sweeping=PostgresSweeping(connection),
            dead_letters=PostgresDeadLetters(connection),
            pages=PostgresPages(connection),
            chunks=PostgresChunks(connection),
            usage=PostgresUsage(connection, ttl=self._reservation_ttl),
            jobs=PostgresJobs(connection, lease),
        )


@contextmanager
def held(pool: LazyPool, lease: Lease) -> Iterator[Connection]:
    """Open a transaction that the lease fences. Raises LeaseLostError or JobCancelledError."""
    with pool.connection() as connection, connection.transaction():
        hold(connection, lease)
        yield connection


def hold(connection: Connection, lease: Lease) -> None:
    """Lock the attempt's job until the transaction ends. Raises LeaseLostError or JobCancelledError."""
    row = connection.execute(_JOBS["fence"], {"id": lease.job_id, "lease": lease.number}).fetchone()
    if row is None:
        lease.lost = True
        raise LeaseLostError(f"lease {lease.number} of job {lease.job_id} is lost")
    if row[0]:
        raise JobCancelledError(f"job {lease.job_id} was asked to stop")
