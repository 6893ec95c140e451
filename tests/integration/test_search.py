"""Search finds what is published in one workspace, by meaning and by words, through both indexes."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from pgvector import HalfVector

from adapters.postgres.pool import LazyPool
from adapters.postgres.search import PostgresSearcher, search_statement
from adapters.postgres.sql import load_queries
from adapters.postgres.vector_index import ensure_vector_index, vector_index_name
from domain.search import Hit, Within, search_chunks
from tests.builders import (
    WORKSPACE,
    FakeEmbedder,
    Rails,
    a_failed_document,
    a_ready_document,
    a_workspace,
    an_indexing_document,
)

MANY = 3_000


def search(rails: Rails, query: str, *, workspace_id: UUID = WORKSPACE, limit: int = 10) -> list[Hit]:
    return list(
        search_chunks(workspace_id, query, limit=limit, searcher=PostgresSearcher(rails.pool), embedder=FakeEmbedder())
    )


def test_a_hit_says_where_it_stands(rails: Rails) -> None:
    document_id = a_ready_document(rails, ["A page about the weather.", "The wallower drives the spur wheel."])

    best = search(rails, "wallower")[0]

    assert (best.document_id, best.document_name) == (document_id, "river.pdf")
    assert "wallower" in best.text
    assert best.page_from <= 2 <= best.page_to
    assert best.score > 0


def test_words_are_found_in_any_of_their_forms(rails: Rails) -> None:
    a_ready_document(rails, ["Dressing the millstones takes two days."], content=b"%PDF-1 a")
    wanted = a_ready_document(rails, ["The wheels were turning."], content=b"%PDF-1 b")

    assert search(rails, "turned wheel")[0].document_id == wanted


def test_the_same_text_in_two_documents_is_two_hits_in_the_order_they_came(rails: Rails) -> None:
    documents = [a_ready_document(rails, ["Same text."], content=content) for content in (b"%PDF-1 a", b"%PDF-1 b")]

    assert [hit.document_id for hit in search(rails, "same text")] == documents


def test_a_text_that_a_document_repeats_is_found_in_reading_order(rails: Rails) -> None:
    page = "The mill stands still. " * 12
    a_ready_document(rails, [page] * 4)

    ordinals = [hit.ordinal for hit in search(rails, "mill", limit=100)]

    assert len(ordinals) == len(set(ordinals)) > 1
    assert search(rails, "mill", limit=100) == search(rails, "mill", limit=100)


def test_a_question_of_stop_words_is_answered_by_meaning_alone(rails: Rails) -> None:
    a_ready_document(rails)

    assert len(search(rails, "the of and")) == 1


@pytest.mark.parametrize(
    "query", ["a & b | !c", "'; DROP TABLE chunks; --", "http://x.org/?a=1&b=2", "%s %(x)s {model}"]
)
def test_a_question_is_never_a_program(rails: Rails, query: str) -> None:
    a_ready_document(rails)

    assert len(search(rails, query)) == 1


def test_the_limit_holds(rails: Rails) -> None:
    for number in range(4):
        a_ready_document(rails, [f"Mill number {number}."], content=b"%%PDF-1 %d" % number)

    assert len(search(rails, "mill", limit=3)) == 3


def test_another_workspace_is_never_searched(rails: Rails) -> None:
    theirs = a_workspace(rails)
    a_ready_document(rails, ["Our mill."])
    a_ready_document(rails, ["Their mill."], workspace_id=theirs)

    assert [hit.text for hit in search(rails, "mill")] == ["Our mill."]
    assert [hit.text for hit in search(rails, "mill", workspace_id=theirs)] == ["Their mill."]
    assert search(rails, "mill", workspace_id=uuid4()) == []


def test_a_deleted_document_is_gone_and_its_twin_is_not(rails: Rails) -> None:
    first = a_ready_document(rails, ["Same text."], content=b"%PDF-1 a")
    second = a_ready_document(rails, ["Same text."], content=b"%PDF-1 b")
    with rails.transaction() as unit:
        assert unit.intake.delete(first, WORKSPACE)

    assert [hit.document_id for hit in search(rails, "same text")] == [second]


def test_a_deleted_document_is_not_found_even_while_its_chunks_are_still_there(rails: Rails) -> None:
    document_id = a_ready_document(rails)
    rails.connection.execute("UPDATE documents SET state = 'deleted' WHERE id = %s", [document_id])

    assert search(rails, "mill") == []


def test_a_document_in_flight_or_failed_is_not_found(rails: Rails) -> None:
    held = an_indexing_document(rails)
    store_chunk(rails, held.document, "The river turns the mill.")
    a_failed_document(rails, content=b"%PDF-1 b")

    assert search(rails, "mill") == []


def test_readers_see_the_old_generation_until_the_new_one_is_published(rails: Rails) -> None:
    document_id = a_ready_document(rails, ["The old mill."])
    with rails.transaction() as unit:
        assert unit.intake.reindex(document_id, WORKSPACE, uuid4())
    rails.connection.execute(
        "INSERT INTO chunks SELECT document_id, 2, ordinal, workspace_id, 'The new mill.', sha256('The new mill.'),"
        " page_from, page_to, char_start, char_end, token_count FROM chunks WHERE document_id = %s",
        [document_id],
    )
    assert [hit.text for hit in search(rails, "mill")] == ["The old mill."]

    rails.connection.execute("UPDATE documents SET generation = 2 WHERE id = %s", [document_id])
    assert [hit.text for hit in search(rails, "mill")] == ["The new mill."]


def test_vectors_of_another_model_are_not_compared(rails: Rails) -> None:
    a_ready_document(rails)
    rails.connection.execute("UPDATE chunk_embeddings SET model = 'other/8'")

    assert len(search(rails, "mill")) == 1  # by its words
    assert search(rails, "the of and") == []


def store_chunk(rails: Rails, document: Any, text: str) -> None:
    """Store a chunk with its vector in a generation that nobody has published."""
    text_hash = sha256(text.encode()).digest()
    rails.connection.execute(
        "INSERT INTO chunks (document_id, generation, ordinal, workspace_id, text, text_hash, page_from, page_to,"
        " char_start, char_end, token_count) VALUES (%s, %s, 0, %s, %s, %s, 1, 1, 0, 10, 4)",
        [document.id, document.target_generation, document.workspace_id, text, text_hash],
    )
    vector = FakeEmbedder().embed([text]).vectors[0]
    rails.connection.execute(
        "INSERT INTO chunk_embeddings VALUES (%s, 'fake/8', %s, %s::halfvec)",
        [document.workspace_id, text_hash, str(vector.tolist())],
    )


# Plans and many rows


@pytest.fixture(scope="module")
def crowd(module_rails: Rails) -> Rails:
    """Two workspaces: ours with thousands of chunks and a small one. One chunk in three is unpublished, one vector in
    ten waits for the index.
    """
    rails = module_rails
    rails.connection.execute("DELETE FROM documents; DELETE FROM chunks; DELETE FROM chunk_embeddings")
    rails.connection.execute("INSERT INTO workspaces (id, name) VALUES (%s, 'small')", [SMALL])
    generator = np.random.default_rng(7)
    for workspace_id, count in ((WORKSPACE, MANY), (SMALL, 30)):
        fill(rails, workspace_id, generator.normal(size=(count, 8)))
    ensure_vector_index(rails.connection, "fake/8", 8)
    rails.connection.execute("ANALYZE")
    return rails


SMALL = UUID("00000000-0000-4000-8000-00000000aaaa")


def fill(rails: Rails, workspace_id: UUID, vectors: Any) -> None:
    published, hidden = uuid4(), uuid4()
    for document_id, generation in ((published, 1), (hidden, 0)):
        rails.connection.execute(
            "INSERT INTO documents (id, workspace_id, name, state, blob_key, content_sha256, byte_count, generation,"
            " ready_at, chunk_count) VALUES (%s, %s, 'crowd.pdf', %s, 'k', sha256(%s::text::bytea), 1, %s, now(), 1)",
            [document_id, workspace_id, "ready" if generation else "indexing", str(document_id), generation],
        )
    with rails.connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO chunks (document_id, generation, ordinal, workspace_id, text, text_hash, page_from, page_to,"
            " char_start, char_end, token_count) VALUES (%s, 1, %s, %s, %s, sha256(%s::bytea), 1, 1, 0, 1, 1)",
            [
                (published if n % 3 else hidden, n, workspace_id, f"water number {n}", f"{workspace_id}{n}")
                for n in range(len(vectors))
            ],
        )
        cursor.executemany(
            "INSERT INTO chunk_embeddings VALUES (%s, 'fake/8', sha256(%s::bytea), %s::halfvec, %s)",
            [
                (workspace_id, f"{workspace_id}{n}", str(vector.tolist()), n % 10 > 0)
                for n, vector in enumerate(vectors)
            ],
        )


def plan(rails: Rails, workspace_id: UUID, *forbid: str, explain: str = "EXPLAIN") -> str:
    params = {
        "workspace_id": workspace_id,
        "query": "number 77",
        "vector": HalfVector(np.ones(8)),
        "by_meaning": True,
        "by_words": True,
        "by_index": True,
        "document_ids": None,
        "uploaded_from": None,
        "uploaded_to": None,
        "depth": 50,
        "limit": 10,
    }
    with rails.pool.connection() as connection, connection.transaction():
        for way in forbid:
            connection.execute(f"SET LOCAL enable_{way} = off")
        connection.execute(load_queries("search")["widen_search"], {"ef_search": "100"})
        statement = search_statement("fake/8", 8).as_string(connection)
        return "\n".join(row[0] for row in connection.execute(f"{explain} {statement}", params))


def test_the_nearest_are_taken_from_the_vector_index_and_from_what_waits_for_it(crowd: Rails) -> None:
    found = plan(crowd, WORKSPACE)

    assert vector_index_name("fake/8", 8) in found
    assert "chunk_embeddings_waiting" in found


def test_what_the_index_finds_enough_of_is_not_compared_one_by_one(crowd: Rails) -> None:
    assert "never executed" in plan(crowd, WORKSPACE, explain="EXPLAIN (ANALYZE)")


def test_words_are_looked_up_in_the_full_text_index(crowd: Rails) -> None:
    assert "chunks_full_text" in plan(crowd, WORKSPACE, "seqscan")


def test_the_index_finds_what_comparing_everything_finds(crowd: Rails) -> None:
    vector = FakeEmbedder().embed(["the"]).vectors[0]
    nearest = crowd.connection.execute(
        "SELECT c.text FROM chunk_embeddings e JOIN chunks c USING (workspace_id, text_hash)"
        " JOIN documents d ON d.id = c.document_id AND d.generation = c.generation"
        " WHERE e.workspace_id = %s ORDER BY e.embedding <=> %s::halfvec LIMIT 10",
        [WORKSPACE, str(vector.tolist())],
    ).fetchall()

    found = search(crowd, "the")

    assert len({hit.text for hit in found} & {row[0] for row in nearest}) >= 9
    assert search(crowd, "the") == found


def test_a_small_workspace_is_not_crowded_out(crowd: Rails) -> None:
    found = search(crowd, "the", workspace_id=SMALL, limit=100)

    assert len(found) == 20


def test_unpublished_vectors_do_not_crowd_out_published_ones(crowd: Rails) -> None:
    assert len(search(crowd, "the", limit=50)) == 50


@pytest.fixture
def hasty(crowd: Rails) -> Iterator[PostgresSearcher]:
    """A searcher whose index is always asked and gives up soon, as it does among 20,000 vectors of others."""
    pool = LazyPool(crowd.url, size=1)
    with pool.connection() as connection:
        connection.execute("SET hnsw.max_scan_tuples = 1; SET enable_sort = off")
    yield PostgresSearcher(pool)
    pool.close()


@pytest.mark.parametrize("is_named", [False, True], ids=["a small workspace", "a document"])
def test_what_is_small_is_found_where_the_index_gives_up(crowd: Rails, hasty: PostgresSearcher, is_named: bool) -> None:
    documents = crowd.column("SELECT id FROM documents WHERE workspace_id = %s AND state = 'ready'", SMALL)
    within = Within(document_ids=tuple(documents) if is_named else None)

    found = search_chunks(SMALL, "the", limit=10, searcher=hasty, embedder=FakeEmbedder(), within=within)

    assert len(found) == 10
    assert found == search(crowd, "the", workspace_id=SMALL)
