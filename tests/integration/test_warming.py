"""Warming: what a workspace is searched in gets into memory, with and without pg_prewarm."""

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
