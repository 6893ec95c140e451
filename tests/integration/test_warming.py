"""Warming: what a workspace is searched in gets into memory, with and without pg_prewarm."""

from contextlib import closing
from pathlib import Path

from adapters.embedded.stack import embedded_stack
from adapters.postgres.migrate import migrate
from adapters.postgres.pool import LazyPool, connect
from adapters.postgres.vector_index import ensure_vector_index
from adapters.postgres.warming import PostgresCache
from domain.warming import WarmingReport, WarmingWay, warm_cache
from tests.builders import WORKSPACE, FakeEmbedder, Rails, a_ready_document, a_running_job


def warm(rails: Rails, cache: PostgresCache | None = None) -> WarmingReport:
    embedder = FakeEmbedder()
    ensure_vector_index(rails.connection, embedder.model, embedder.dimensions)
    lease = a_running_job(rails, name="warm_cache", queue="maintenance").lease
    cache = cache or PostgresCache(rails.pool, model=embedder.model, dimensions=embedder.dimensions)
    return warm_cache(WORKSPACE, lease=lease, cache=cache)


class WithoutPrewarm(PostgresCache):
    def prewarm(self) -> None:
        return None


def test_rows_are_read_where_relations_cannot_be(own_rails: Rails) -> None:
    for number in range(4):
        a_ready_document(own_rails, [f"Page {number}", "Shared"], content=str(number).encode())
    embedder = FakeEmbedder()
    cache = WithoutPrewarm(own_rails.pool, model=embedder.model, dimensions=embedder.dimensions)

    report = warm(own_rails, cache)

    assert report.way is WarmingWay.ROWS
    vectors, chunks = own_rails.count("chunk_embeddings"), own_rails.count("chunks")
    assert report.blocks == vectors + chunks
    assert report.before is not None
    assert report.after is not None
    assert report.after.hit >= report.before.hit
    [data] = own_rails.column("SELECT data FROM job_events WHERE event = 'cache.warmed'")
    assert data["after"]["hit"] == report.after.hit


def test_relations_are_read_where_the_server_can(own_rails: Rails) -> None:
    a_ready_document(own_rails)
    can = bool(own_rails.column("SELECT 1 FROM pg_extension WHERE extname = 'pg_prewarm'"))

    report = warm(own_rails)

    assert report.way is (WarmingWay.PREWARM if can else WarmingWay.ROWS)
    assert report.blocks > 0


def test_an_empty_workspace_is_warm(own_rails: Rails) -> None:
    report = warm(own_rails)

    assert (report.before, report.after) == (None, None)


FILL = """
WITH texts AS (SELECT n, 'Passage ' || n || repeat(' of the mill and the river', 20) AS words
               FROM generate_series(1, 5000) n),
     document AS (SELECT id FROM documents LIMIT 1),
     stored AS (INSERT INTO chunks (document_id, generation, ordinal, workspace_id, text, text_hash, page_from, page_to,
                                    char_start, char_end, token_count)
                SELECT d.id, 1, 100 + n, %(workspace_id)s, words, sha256(convert_to(words, 'UTF8')), 1, 1, 0, 500, 100
                FROM texts, document d)
INSERT INTO chunk_embeddings (workspace_id, model, text_hash, embedding, is_indexed)
SELECT %(workspace_id)s, %(model)s, sha256(convert_to(words, 'UTF8')),
       (SELECT array_agg(sin(n * dimension)::real) FROM generate_series(1, 8) dimension)::vector::halfvec, true
FROM texts
"""


def test_after_a_restart_a_workspace_is_warm_again(server_folder: Path) -> None:
    embedder = FakeEmbedder()
    with embedded_stack(server_folder, valkey=False) as stack:
        assert stack.database_url
        migrate(stack.database_url)
        with closing(connect(stack.database_url)) as connection:
            pool = LazyPool(stack.database_url, size=2)
            a_ready_document(Rails(stack.database_url, pool, connection))
            ensure_vector_index(connection, embedder.model, embedder.dimensions)
            connection.execute(FILL, {"workspace_id": WORKSPACE, "model": embedder.model})
            pool.close()

    with embedded_stack(server_folder, valkey=False) as stack, closing(connect(str(stack.database_url))) as connection:
        pool = LazyPool(str(stack.database_url), size=2)
        report = warm(Rails(str(stack.database_url), pool, connection))
        pool.close()

    assert report.before is not None
    assert report.after is not None
    assert report.before.hit < report.after.hit
    assert report.after.hit > 0.99
