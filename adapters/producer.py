"""Enqueue by registered name, for callers that cannot import the actors."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from adapters.postgres.jobs import named_job
from adapters.postgres.ledger import PostgresLedger, enqueue_in
from adapters.postgres.pool import Connection


def enqueue(
    job_name: str, params: Mapping[str, Any], *, ledger: PostgresLedger, delay: timedelta = timedelta()
) -> UUID:
    """Put a job into the ledger; return its id.

    Raises UnknownJobError that lists the known jobs, InvalidJobError for parameters that do not fit, TransientError
    when Postgres is away.
    """
    job = named_job(job_name, params, delay=delay)
    ledger.enqueue(job)
    return job.id


def enqueue_within(connection: Connection, job_name: str, params: Mapping[str, Any]) -> UUID:
    """Put a job into the ledger inside the caller's psycopg transaction: it exists exactly if that commits."""
    job = named_job(job_name, params)
    enqueue_in(connection, job)
    return job.id
