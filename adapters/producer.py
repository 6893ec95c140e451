"""Enqueue by registered name, for callers that cannot import the actors."""

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from adapters.bootstrap import make_ledger, make_pool
from adapters.postgres.jobs import named_job
from adapters.postgres.ledger import PostgresLedger, enqueue_in
from adapters.postgres.pool import Connection
from adapters.settings import load_settings


def enqueue(
    job_name: str, params: Mapping[str, Any], *, delay: timedelta = timedelta(), ledger: PostgresLedger | None = None
) -> UUID:
    """Put a job into the ledger (the one that the settings name, unless another is given); return its id.

    Raises UnknownJobError that lists the known jobs, InvalidJobError for parameters that do not fit, TransientError
    when Postgres is away.
    """
    job = named_job(job_name, params, delay=delay)
    (ledger or default_ledger()).enqueue(job)
    return job.id


@cache
def default_ledger() -> PostgresLedger:
    """Build this process's ledger from the settings, once. Raises SettingsError."""
    return make_ledger(make_pool(load_settings()))


def enqueue_within(connection: Connection, job_name: str, params: Mapping[str, Any]) -> UUID:
    """Put a job into the ledger inside the caller's psycopg transaction: it exists exactly if that commits."""
    job = named_job(job_name, params)
    enqueue_in(connection, job)
    return job.id
