"""Enqueue by registered name, for callers that cannot import the actors."""

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from adapters import by_name
from adapters.bootstrap import ProducerRuntime, make_producer
from adapters.mail.bootstrap import PostOffice, make_post_office
from adapters.postgres.jobs import named_job
from adapters.postgres.ledger import PostgresLedger, enqueue_in
from adapters.postgres.pool import Connection
from adapters.settings import load_settings
from domain.errors import InvalidJobError


def enqueue(
    job_name: str, params: Mapping[str, Any], *, delay: timedelta = timedelta(), ledger: PostgresLedger | None = None
) -> UUID:
    """Put a job into the ledger (the one that the settings name, unless another is given); return its id.

    A mail is given as `to`, `subject`, `text` and so on, a file as `blob_key` and `name`; both start at once, where the
    settings say.

    Raises UnknownJobError that lists the known jobs, InvalidJobError for parameters that do not fit, TransientError
    when Postgres is away; for a mail InvalidMailError, too, and PermanentError for what cannot be taken in.
    """
    if by_name.takes_content(job_name):
        if delay or ledger:
            raise InvalidJobError(f"{job_name} takes neither a delay nor a ledger")
        producer, office = default_producer()
        return by_name.put_in(job_name, params, office=office, media=producer.media)
    job = named_job(job_name, params, delay=delay)
    (ledger or default_producer()[0].ledger).enqueue(job)
    return job.id


@cache
def default_producer() -> tuple[ProducerRuntime, PostOffice]:
    """Bind what this process puts in, as the settings say, once. Raises SettingsError."""
    settings = load_settings()
    producer = make_producer(settings)
    return producer, make_post_office(settings, producer.pool)


def enqueue_within(connection: Connection, job_name: str, params: Mapping[str, Any]) -> UUID:
    """Put a job into the ledger inside the caller's psycopg transaction: it exists exactly if that commits.

    Raises InvalidJobError, also for mails and files, which take a transaction of their own.
    """
    if by_name.takes_content(job_name):
        raise InvalidJobError(f"{job_name} takes a transaction of its own: use enqueue")
    job = named_job(job_name, params)
    enqueue_in(connection, job)
    return job.id
