"""Sweepers find what a vanished job left behind, and leave alone what is on its way."""

from datetime import timedelta

import pytest

from domain.errors import FailureCode, TransientError
from domain.housekeeping import index_vectors, sweep_blobs, sweep_documents
from tests.builders import (
    WORKSPACE,
    FakeBlobs,
    Rails,
    a_failed_document,
    a_ready_document,
    an_extracting_document,
    an_indexing_document,
    an_uploaded_document,
    must_claim,
)

AT_ONCE = timedelta()


def strand(rails: Rails, document_id) -> None:
    """Let the document's jobs vanish."""
    rails.connection.execute("DELETE FROM jobs WHERE document_id = %s", [document_id])


def sweep(rails: Rails, stranded_after: timedelta = AT_ONCE) -> list:
    return list(sweep_documents(transactions=rails.transactions, stranded_after=stranded_after))


@pytest.mark.parametrize(
    "build",
    [
        lambda rails: an_uploaded_document(rails)[0],
        lambda rails: an_extracting_document(rails).id,
        lambda rails: an_indexing_document(rails).id,
    ],
    ids=["uploaded", "extracting", "indexing"],
)
def test_a_document_whose_job_vanished_gets_a_new_one(rails: Rails, build) -> None:
    document_id = build(rails)
    strand(rails, document_id)

    assert sweep(rails) == [document_id]

    job_id = rails.document(document_id)["job_id"]
    claim = must_claim(rails, job_id)
    with rails.transaction(claim.lease) as unit:
        assert unit.documents.start_extraction(document_id, WORKSPACE, job_id)
    assert sweep(rails) == [], "it is on its way again"


@pytest.mark.parametrize("build", [an_uploaded_document, an_extracting_document, an_indexing_document])
def test_a_document_with_a_live_job_is_left_alone(rails: Rails, build) -> None:
    build(rails)

    assert sweep(rails) == []


@pytest.mark.parametrize("build", [a_ready_document, a_failed_document])
def test_a_document_that_has_arrived_is_left_alone(rails: Rails, build) -> None:
    strand(rails, build(rails))

    assert sweep(rails) == []


def test_a_fresh_document_is_given_time(rails: Rails) -> None:
    strand(rails, an_uploaded_document(rails)[0])

    assert sweep(rails, timedelta(minutes=1)) == []


def test_a_document_that_somebody_is_working_on_is_left_alone(rails: Rails) -> None:
    document_id, _ = an_uploaded_document(rails)
    strand(rails, document_id)

    with rails.transaction() as unit:
        assert unit.intake.delete(document_id, WORKSPACE)
        assert sweep(rails) == []


# Vectors enter the index


@pytest.fixture
def vectors(own_rails: Rails) -> Rails:
    """Thirty vectors that wait."""
    own_rails.connection.execute(
        "INSERT INTO chunk_embeddings (workspace_id, model, text_hash, embedding)"
        " SELECT %s, 'fake/8', sha256(n::text::bytea), '[1, 2]' FROM generate_series(1, 30) n",
        [WORKSPACE],
    )
    return own_rails


def waiting(rails: Rails) -> int:
    return rails.column("SELECT count(*) FROM chunk_embeddings WHERE NOT is_indexed")[0]


def test_waiting_vectors_enter_the_index_batch_by_batch(vectors: Rails, monkeypatch) -> None:
    monkeypatch.setattr("domain.housekeeping.INDEX_BATCH", 7)

    assert index_vectors(transactions=vectors.transactions) == 30
    assert waiting(vectors) == 0
    assert index_vectors(transactions=vectors.transactions) == 0


def test_they_wait_while_a_document_is_on_its_way(vectors: Rails) -> None:
    an_extracting_document(vectors)

    assert index_vectors(transactions=vectors.transactions) == 0


def test_no_more_of_them_wait_than_a_search_can_compare(vectors: Rails, monkeypatch) -> None:
    monkeypatch.setattr("domain.housekeeping.INDEX_BATCH", 7)
    monkeypatch.setattr("domain.housekeeping.MOST_WAITING_VECTORS", 10)
    an_extracting_document(vectors)

    assert index_vectors(transactions=vectors.transactions) == 21
    assert waiting(vectors) == 9


def test_a_run_ends_in_time(vectors: Rails, monkeypatch) -> None:
    monkeypatch.setattr("domain.housekeeping.INDEX_BATCH", 7)

    assert index_vectors(transactions=vectors.transactions, seconds=0) == 0


# Blobs


def test_a_blob_that_cannot_be_deleted_does_not_keep_the_others(rails: Rails) -> None:
    class Locked(FakeBlobs):
        def delete(self, key: str) -> None:
            if key == "w/locked":
                raise TransientError(FailureCode.BLOB_UNAVAILABLE, "AccessDenied")
            super().delete(key)

    blobs = Locked({"w/locked": b"", "w/other": b""})
    with rails.transaction() as unit:
        unit.blobs.disown("w/locked", after=-timedelta(minutes=1))
        unit.blobs.disown("w/other", after=AT_ONCE)

    with pytest.raises(TransientError):
        sweep_blobs(transactions=rails.transactions, blobs=blobs)
    assert sweep_blobs(transactions=rails.transactions, blobs=blobs) == 1

    assert blobs.blobs.keys() == {"w/locked"}
    assert rails.column("SELECT key FROM unowned_blobs") == ["w/locked"], "it has another turn"
