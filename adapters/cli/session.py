"""What a command needs of a running installation: settings, use cases, and what it may read."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg

from adapters.bootstrap import ProducerRuntime, make_pool, make_producer, prepare_database
from adapters.cli.place import Place, resolve
from adapters.cli.reading import Reading
from adapters.postgres.migrate import check_schema
from adapters.postgres.pool import connect
from adapters.settings import Settings
from domain.errors import FailureCode, SettingsError, TransientError

DEFAULT_WORKSPACE = "default"
SQLITE = "DATABASE_URL names a SQLite file, which serves reservations alone; this needs PostgreSQL"


@dataclass(frozen=True, slots=True)
class Session:
    """A command's view of the installation, in one workspace."""

    settings: Settings
    workspace_id: UUID
    producer: ProducerRuntime
    reading: Reading


@contextmanager
def session(data_dir: Path | None = None, workspace: str = DEFAULT_WORKSPACE) -> Iterator[Session]:
    """Find the installation and look whether it can be used: for people, who should not wait for a pool's timeout.

    Raises SettingsError, SchemaError, TransientError (database_unavailable), InvalidJobError for no such workspace.
    """
    settings, place = resolve(data_dir)
    with opened(settings, workspace, place) as each:
        yield each


@contextmanager
def opened(settings: Settings, workspace: str = DEFAULT_WORKSPACE, place: Place | None = None) -> Iterator[Session]:
    """Open a session with given settings."""
    check_database(settings, place)
    pool = make_pool(settings)
    try:
        reading = Reading(pool)
        yield Session(settings, reading.workspace(workspace), make_producer(settings, pool), reading)
    finally:
        pool.close()


def check_database(settings: Settings, place: Place | None = None) -> None:
    """Look whether the database answers and has our schema. Raises SettingsError, SchemaError, TransientError."""
    if settings.is_sqlite:
        raise SettingsError(SQLITE)
    try:
        with closing(connect(settings.database_url.get_secret_value())) as connection:
            check_schema(connection)
    except psycopg.OperationalError as error:
        raise _unreachable(error, place) from error


def prepare(settings: Settings, place: Place | None = None) -> list[str]:
    """Bring the database to this version; return what was done. Raises SettingsError, SchemaError, TransientError."""
    if settings.is_sqlite:
        raise SettingsError(SQLITE)
    try:
        return prepare_database(settings)
    except psycopg.OperationalError as error:
        raise _unreachable(error, place) from error


def _unreachable(error: psycopg.Error, place: Place | None) -> TransientError:
    """Say that the database does not answer, in the words of libpq's first line; passwords are not in it."""
    whose = "the PostgreSQL of the running `headrace up`" if place else "the PostgreSQL that DATABASE_URL names"
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    message = f"{whose} does not answer: {reason}"
    return TransientError(FailureCode.DATABASE_UNAVAILABLE, message, retry_after=timedelta(seconds=2))
