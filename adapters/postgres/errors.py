"""Translate psycopg's errors once, here, keeping the cause."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from psycopg_pool import PoolTimeout

from domain.errors import FailureCode, TransientError

#: The database is away or busy; the same statement may succeed in a moment. Everything else is a bug or bad data.
TRANSIENT = (
    psycopg.OperationalError,  # includes lost connections, timeouts, deadlocks, serialization failures, shutdowns
    psycopg.InterfaceError,
    PoolTimeout,
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise TransientError (database_unavailable) for what time may mend."""
    try:
        yield
    except TRANSIENT as error:
        message = f"the database is not available: {type(error).__name__}"
        raise TransientError(FailureCode.DATABASE_UNAVAILABLE, message, retry_after=timedelta(seconds=2)) from error
