"""One HNSW index per embedding model, built beside running readers and writers."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

from psycopg import sql

from adapters.postgres.pool import Connection
from domain.errors import SettingsError

#: pgvector indexes a halfvec up to here.
MOST_DIMENSIONS = 4_000

#: Any constant will do: it only has to differ from other advisory locks of this database.
INDEX_LOCK = 4_104_205_419
LOOK_SECONDS = 0.2

CREATE = """
CREATE INDEX CONCURRENTLY {name} ON chunk_embeddings
USING hnsw ((embedding::halfvec({dimensions})) halfvec_cosine_ops) WHERE model = {model} AND is_indexed
"""


def vector_index_name(model: str, dimensions: int) -> str:
    """Name the index of a model; a model's name is no identifier."""
    return f"chunk_embeddings_hnsw_{hashlib.sha256(f'{model}:{dimensions}'.encode()).hexdigest()[:12]}"


def has_vector_index(connection: Connection, model: str, dimensions: int) -> bool:
    """Tell whether the index exists and is complete."""
    return _is_valid(connection, vector_index_name(model, dimensions)) is True


def ensure_vector_index(connection: Connection, model: str, dimensions: int) -> bool:
    """Build the model's index unless it exists; False when it did.

    Needs a connection in autocommit. What an interrupted build left behind is removed first. Two callers wait for each
    other. Raises SettingsError for more than 4000 dimensions.
    """
    if not 0 < dimensions <= MOST_DIMENSIONS:
        raise SettingsError(
            f"EMBEDDING_DIMENSIONS is wrong: vectors of {dimensions} numbers cannot be indexed; "
            f"the most is {MOST_DIMENSIONS}"
        )
    name = vector_index_name(model, dimensions)
    with _alone(connection):
        is_valid = _is_valid(connection, name)
        if is_valid:
            return False
        if is_valid is False:
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(name)))
        connection.execute(
            sql.SQL(CREATE).format(
                name=sql.Identifier(name), dimensions=sql.Literal(dimensions), model=sql.Literal(model)
            )
        )
    return True


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Keep other builders out, for as long as it takes.

    Asks again and again instead of waiting inside Postgres: a concurrent build waits for every open snapshot, also for
    that of a session that waits for it.
    """
    timeouts = connection.execute(
        "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
    ).fetchone()
    connection.execute("SELECT set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false)")
    while not _ask(connection, "SELECT pg_try_advisory_lock(%s)", INDEX_LOCK):
        time.sleep(LOOK_SECONDS)
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", [INDEX_LOCK])
        connection.execute(
            "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false)", timeouts
        )


def _is_valid(connection: Connection, name: str) -> bool | None:
    """Return None when there is no index of this name."""
    answer = _ask(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", name)
    return None if answer is None else bool(answer)


def _ask(connection: Connection, query: LiteralString, value: object) -> object:
    row = connection.execute(query, [value]).fetchone()
    return row[0] if row else None
