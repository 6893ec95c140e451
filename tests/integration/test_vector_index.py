"""The vector index of a model is built once, beside readers and writers, also after an interrupted build."""

from threading import Thread

import psycopg
import pytest

from adapters.postgres.pool import connect
from adapters.postgres.vector_index import ensure_vector_index, has_vector_index, vector_index_name
from domain.errors import SettingsError
from tests.builders import WORKSPACE, Rails

MODEL = "local/it's a model-8"


@pytest.fixture
def rails(own_rails: Rails) -> Rails:
    return own_rails


def store(rails: Rails, name: str, dimensions: int) -> None:
    rails.connection.execute(
        "INSERT INTO chunk_embeddings VALUES (%s, %s, sha256(%s::bytea), %s::halfvec, true)",
        [WORKSPACE, MODEL, name, str([1.0] * dimensions)],
    )


def test_it_is_built_once(rails: Rails) -> None:
    assert not has_vector_index(rails.connection, MODEL, 8)
    assert ensure_vector_index(rails.connection, MODEL, 8)
    assert has_vector_index(rails.connection, MODEL, 8)
    assert not ensure_vector_index(rails.connection, MODEL, 8)


def test_each_model_and_length_has_its_own(rails: Rails) -> None:
    store(rails, "a", 8)
    assert ensure_vector_index(rails.connection, MODEL, 8)
    assert ensure_vector_index(rails.connection, "another", 16)

    names = rails.column(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'chunk_embeddings'::regclass"
    )
    assert {vector_index_name(MODEL, 8), vector_index_name("another", 16)} <= set(names)


def test_what_an_interrupted_build_left_is_replaced(rails: Rails) -> None:
    store(rails, "too short", 4)
    with pytest.raises(psycopg.errors.DataException):
        ensure_vector_index(rails.connection, MODEL, 8)
    assert rails.column("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [1]

    rails.connection.execute("DELETE FROM chunk_embeddings")
    assert ensure_vector_index(rails.connection, MODEL, 8)
    assert has_vector_index(rails.connection, MODEL, 8)


def test_two_callers_wait_for_each_other(rails: Rails) -> None:
    for number in range(200):
        store(rails, str(number), 8)
    built: list[bool] = []

    def ensure() -> None:
        with connect(rails.url) as connection:
            built.append(ensure_vector_index(connection, MODEL, 8))

    threads = [Thread(target=ensure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(built) == [False, False, False, True]


def test_the_connection_keeps_its_timeouts(rails: Rails) -> None:
    before = rails.column("SELECT current_setting('statement_timeout') || current_setting('lock_timeout')")
    ensure_vector_index(rails.connection, MODEL, 8)

    assert rails.column("SELECT current_setting('statement_timeout') || current_setting('lock_timeout')") == before
    assert rails.column("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [0]


@pytest.mark.parametrize("dimensions", [0, 4001])
def test_vectors_that_cannot_be_indexed_are_refused(rails: Rails, dimensions: int) -> None:
    with pytest.raises(SettingsError, match="EMBEDDING_DIMENSIONS"):
        ensure_vector_index(rails.connection, MODEL, dimensions)
