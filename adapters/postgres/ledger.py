"""The ledger of jobs: enqueue, claim, settle. Every write after a claim carries the lease number."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from adapters.postgres.combining import Combined
from adapters.postgres.pool import Connection, LazyPool
from adapters.postgres.sql import load_queries
from domain.errors import FailureCode
from domain.jobs import SYSTEM_WORKSPACE, Lease
from domain.ledger import Claim, Failure, Outcome

_JOBS = load_queries("jobs")
_DOCUMENTS = load_queries("documents")

#: Most jobs that one transaction claims or ends.
MOST_TOGETHER = 64


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job on its way into the ledger. `message` is the Dramatiq message as a dictionary."""

    id: UUID
    queue: str
    actor: str
    message: dict[str, Any]
    workspace_id: UUID = SYSTEM_WORKSPACE
    document_id: UUID | None = None
    priority: int = 0
    delay: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A job that a worker thread would like to run."""

    job_id: UUID
    owner: UUID
    ttl: timedelta


class PostgresLedger:
    """See domain.ledger.Ledger, and what producers need.

    Every method is one transaction; threads that claim, or succeed, at the same time share one.
    """

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool
        self._claim = Combined(self._claim_together, most=MOST_TOGETHER)
        self._succeed = Combined(self._succeed_together, most=MOST_TOGETHER)

    def enqueue(self, job: NewJob) -> None:
        """Put a job in and ring; the same id twice is one job."""
        with self._pool.connection() as connection:
            enqueue_in(connection, job)

    def enqueue_tick(self, job: NewJob, tick: datetime) -> bool:
        """Put in the job of a periodic actor unless another scheduler did, or its last run is not over."""
        with self._pool.connection() as connection, connection.transaction():
            taken = connection.execute(_JOBS["record_tick"], {"actor": job.actor, "tick": tick, "job_id": job.id})
            if taken.rowcount:
                enqueue_in(connection, job)
            return bool(taken.rowcount)

    def claim(self, job_id: UUID, *, owner: UUID, ttl: timedelta) -> Claim | None:
        """Start an attempt; None when the job is not queued: a duplicate, a late hint, a cancelled job.

        None, too, for a job whose worker died, while another such job runs for this owner: the relay rings again.
        """
        return self._claim(_Wanted(job_id, owner, ttl))

    def succeed(self, lease: Lease) -> bool:
        """End the attempt well; False when the lease is no longer held."""
        return self._succeed(lease)

    def _claim_together(self, wanted: Sequence[_Wanted]) -> list[Claim | None]:
        params = {
            "ids": [each.job_id for each in wanted],
            "owners": [each.owner for each in wanted],
            "ttls": [each.ttl for each in wanted],
        }
        try:
            with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
                rows = {row.pop("id"): row for row in cursor.execute(_JOBS["claim"], params)}
        except psycopg.errors.UniqueViolation:  # another suspect of this owner was claimed at the same moment
            return self._claim_one_by_one(wanted)
        claimed = [(each.job_id, rows.pop(each.job_id, None)) for each in wanted]  # a duplicate goes without
        return [Claim(**row | {"lease": Lease(job_id, row["lease"])}) if row else None for job_id, row in claimed]

    def _claim_one_by_one(self, wanted: Sequence[_Wanted]) -> list[Claim | None]:
        if len(wanted) > 1:
            return [self._claim_together([each])[0] for each in wanted]
        with self._pool.connection() as connection:
            connection.execute(_JOBS["drop_hint"], {"id": wanted[0].job_id})
        return [None]

    def _succeed_together(self, leases: Sequence[Lease]) -> list[bool]:
        with self._pool.connection() as connection:
            ended = succeed_in(connection, leases)
        return [lease.job_id in ended for lease in leases]

    def retry(
        self, lease: Lease, message: dict[str, Any], failure: Failure, *, delay: timedelta, outcome: Outcome
    ) -> bool:
        """Run the job again after `delay`; False when the lease is no longer held or the job was cancelled.

        Of the message only the options are stored: an actor may have changed its arguments.
        """
        params = {
            "delay": delay,
            "options": Jsonb(message.get("options", {})),
            "outcome": outcome,
            "error": failure.message,
            "traceback": failure.traceback,
        }
        with self._pool.connection() as connection:
            return bool(connection.execute(_JOBS["retry"], params | _fence(lease)).rowcount)

    def fail(self, job_id: UUID, lease: Lease | None, failure: Failure) -> bool:
        """End the job badly and its document with it, in one transaction; False when the lease is no longer held."""
        params = {
            "id": job_id,
            "lease": lease.number if lease else None,
            "code": failure.code,
            "error": failure.message,
            "fingerprint": failure.fingerprint,
            "traceback": failure.traceback,
        }
        with self._pool.connection() as connection, connection.transaction():
            return _end_badly(connection, "fail", params, failure.code, failure.message)

    def cancel(self, job_id: UUID, lease: Lease | None = None) -> bool:
        """End a waiting job and its document, or a running attempt (`lease`) that was asked to stop."""
        params = {"id": job_id, "lease": lease.number if lease else None}
        with self._pool.connection() as connection, connection.transaction():
            return _end_badly(connection, "cancel", params, FailureCode.CANCELLED, CANCELLED_SENTENCE)

    def request_cancel(self, job_id: UUID) -> bool:
        """Cancel a job: at once while it waits, at its next safe point while it runs; False when it has ended."""
        params = {"id": job_id, "lease": None}
        with self._pool.connection() as connection, connection.transaction():
            is_asked = bool(connection.execute(_JOBS["request_cancel"], params).rowcount)
            _end_badly(connection, "cancel", params, FailureCode.CANCELLED, CANCELLED_SENTENCE)
            return is_asked


CANCELLED_SENTENCE = "The job was cancelled."


def enqueue_in(connection: Connection, job: NewJob) -> None:
    """Put a job into the ledger inside the caller's transaction: it exists exactly if that commits."""
    connection.execute(
        _JOBS["insert_job"],
        {
            "id": job.id,
            "queue": job.queue,
            "actor": job.actor,
            "message": Jsonb(job.message),
            "workspace_id": job.workspace_id,
            "document_id": job.document_id,
            "priority": job.priority,
            "delay": job.delay,
        },
    )


def succeed_in(connection: Connection, leases: Sequence[Lease]) -> set[UUID]:
    """End attempts well inside the caller's transaction, so that effect and end commit together; return their jobs.

    Missing from the answer: who no longer held the lease, or was asked to stop.
    """
    params = {"ids": [lease.job_id for lease in leases], "leases": [lease.number for lease in leases]}
    return {row[0] for row in connection.execute(_JOBS["succeed"], params)}


def rescue_in(connection: Connection, lease: Lease, *, max_crashes: int) -> str | None:
    """Take an expired job from its silent worker; return the state it got, None when the worker was faster."""
    params = _fence(lease) | {"max_crashes": max_crashes, "error": CRASHED_SENTENCE}
    row = connection.execute(_JOBS["rescue"], params).fetchone()
    if row is None:
        return None
    job_id, document_id, state, _ = row
    if state == "failed":
        _fail_document(connection, job_id, document_id, FailureCode.WORKER_CRASHED, CRASHED_SENTENCE)
    if state == "cancelled":
        _fail_document(connection, job_id, document_id, FailureCode.CANCELLED, CANCELLED_SENTENCE)
    return str(state)


CRASHED_SENTENCE = (
    "The worker process died repeatedly while it ran this job; the job was stopped so that it cannot take more "
    "workers down. Look for memory limits and crashes in the worker's log, then retry it."
)


def _end_badly(connection: Connection, query: str, params: dict[str, Any], code: str, message: str) -> bool:
    row = connection.execute(_JOBS[query], params).fetchone()
    if row is not None:
        _fail_document(connection, row[0], row[1], code, message)
    return row is not None


def _fail_document(connection: Connection, job_id: UUID, document_id: UUID | None, code: str, message: str) -> None:
    if document_id is not None:
        params = {"id": document_id, "job_id": job_id, "code": code, "message": message}
        connection.execute(_DOCUMENTS["fail"], params)


def _fence(lease: Lease) -> dict[str, Any]:
    return {"id": lease.job_id, "lease": lease.number}
