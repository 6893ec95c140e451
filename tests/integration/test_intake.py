"""Uploads, restarts and deletions: one document per content, no job without its document, nothing left behind."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

import pytest

from adapters.postgres.transactions import PostgresUnit
from domain.errors import FailureCode, InvalidJobError, PermanentError, TransientError
from domain.housekeeping import sweep_blobs
from domain.indexing import Indexer, index_document
from domain.intake import Receipt, delete_document, receive_document, reindex_document
from tests.builders import (
    WORKSPACE,
    FakeBlobs,
    FakeEmbedder,
    Rails,
    a_batch,
    a_chunker,
    a_failed_document,
    a_ready_document,
    a_workspace,
    an_extracting_document,
    an_indexing_document,
    an_uploaded_document,
)

PDF = b"%PDF-1.7 the river"


@pytest.fixture
def blobs() -> FakeBlobs:
    return FakeBlobs()


def upload(rails: Rails, blobs: FakeBlobs, content: bytes = PDF, *, workspace_id=WORKSPACE, **options) -> Receipt:
    receive = partial(receive_document, transactions=rails.transactions, blobs=blobs, max_bytes=1000)
    return receive(workspace_id, "river.pdf", [content], **options)


# Receiving


def test_an_upload_is_a_document_a_blob_and_a_job(rails: Rails, blobs: FakeBlobs) -> None:
    receipt = upload(rails, blobs)

    document = rails.document(receipt.document_id)
    assert (document["state"], document["job_id"]) == ("uploaded", receipt.job_id)
    assert blobs.blobs == {document["blob_key"]: PDF}
    assert rails.job(receipt.job_id)["message"]["kwargs"] == {
        "document_id": str(receipt.document_id),
        "workspace_id": str(WORKSPACE),
    }


def test_the_same_bytes_twice_are_one_document(rails: Rails, blobs: FakeBlobs) -> None:
    first = upload(rails, blobs)

    again = upload(rails, blobs)
    sweep_blobs(transactions=rails.transactions, blobs=blobs)

    assert again == Receipt(first.document_id, None, is_new=False)
    assert (len(blobs.blobs), rails.count("documents"), rails.count("jobs")) == (1, 1, 1)


def test_the_same_bytes_at_the_same_time_are_one_document(rails: Rails, blobs: FakeBlobs) -> None:
    with ThreadPoolExecutor(4) as threads:
        receipts = list(threads.map(lambda _: upload(rails, blobs), range(8)))
    sweep_blobs(transactions=rails.transactions, blobs=blobs)

    assert sum(receipt.is_new for receipt in receipts) == 1
    assert (len(blobs.blobs), rails.count("documents"), rails.count("jobs")) == (1, 1, 1)


def test_a_copy_is_made_when_asked_for(rails: Rails, blobs: FakeBlobs) -> None:
    upload(rails, blobs)

    assert upload(rails, blobs, as_copy=True).is_new
    assert (len(blobs.blobs), rails.count("documents")) == (2, 2)


def test_another_workspace_gets_its_own(rails: Rails, blobs: FakeBlobs) -> None:
    upload(rails, blobs)

    assert upload(rails, blobs, workspace_id=a_workspace(rails)).is_new


def test_a_deleted_document_does_not_answer_for_its_bytes(rails: Rails, blobs: FakeBlobs) -> None:
    first = upload(rails, blobs)
    delete_document(first.document_id, WORKSPACE, transactions=rails.transactions, blobs=blobs)

    assert upload(rails, blobs).is_new


def test_a_failed_document_starts_over_when_it_is_uploaded_again(rails: Rails, blobs: FakeBlobs) -> None:
    document_id = a_failed_document(rails, content=PDF)

    receipt = upload(rails, blobs)

    assert (receipt.document_id, receipt.is_new) == (document_id, False)
    document = rails.document(document_id)
    assert (document["state"], document["job_id"]) == ("uploaded", receipt.job_id)
    assert (document["failure_code"], document["target_generation"]) == (None, 2)


def test_a_document_whose_blob_is_gone_is_mended_by_uploading_it_again(rails: Rails, blobs: FakeBlobs) -> None:
    document_id = a_failed_document(rails, content=PDF, blob_key="w/gone")

    upload(rails, blobs)

    assert blobs.blobs.keys() == {rails.document(document_id)["blob_key"]}


def test_no_document_no_job_and_no_blob_without_a_workspace(rails: Rails, blobs: FakeBlobs) -> None:
    with pytest.raises(InvalidJobError, match="no workspace"):
        upload(rails, blobs, workspace_id=uuid4())

    assert (blobs.blobs, rails.count("documents"), rails.count("jobs")) == ({}, 0, 0)


@pytest.mark.parametrize(
    ("content", "code"), [(b"GIF89a", FailureCode.NOT_A_PDF), (PDF + b"x" * 1000, FailureCode.TOO_LARGE)]
)
def test_what_is_refused_leaves_nothing(rails: Rails, blobs: FakeBlobs, content: bytes, code: FailureCode) -> None:
    with pytest.raises(PermanentError) as caught:
        upload(rails, blobs, content)

    assert caught.value.code is code
    assert (blobs.blobs, rails.count("documents")) == ({}, 0)


@pytest.mark.parametrize(
    "what",
    [TransientError(FailureCode.DATABASE_UNAVAILABLE, "the connection broke"), KeyboardInterrupt()],
    ids=["an outage", "an interrupt"],
)
def test_the_blob_outlives_a_commit_whose_answer_was_lost(rails: Rails, blobs: FakeBlobs, what: BaseException) -> None:
    @contextmanager
    def commit_without_an_answer() -> Iterator[PostgresUnit]:
        with rails.transaction() as unit:
            yield unit
        if rails.count("documents"):
            raise what

    with pytest.raises(type(what)):
        receive_document(WORKSPACE, "a", [PDF], transactions=commit_without_an_answer, blobs=blobs, max_bytes=1000)

    sweep_blobs(transactions=rails.transactions, blobs=blobs)
    assert list(blobs.blobs) == rails.column("SELECT blob_key FROM documents")


# Starting over


def test_a_ready_document_is_built_anew_beside_what_readers_see(rails: Rails) -> None:
    document_id = a_ready_document(rails)

    job_id = reindex_document(document_id, WORKSPACE, transactions=rails.transactions)

    document = rails.document(document_id)
    assert (document["state"], document["job_id"]) == ("uploaded", job_id)
    assert (document["generation"], document["target_generation"]) == (1, 2)
    assert rails.column("SELECT DISTINCT generation FROM chunks") == [1]


@pytest.mark.parametrize("build", [an_extracting_document, an_indexing_document])
def test_a_document_in_flight_does_not_start_over(rails: Rails, build) -> None:
    held = build(rails)

    assert reindex_document(held.id, WORKSPACE, transactions=rails.transactions) is None
    assert rails.document(held.id)["job_id"] == held.lease.job_id


def test_a_document_of_another_workspace_does_not_start_over(rails: Rails) -> None:
    document_id = a_ready_document(rails)

    assert reindex_document(document_id, a_workspace(rails), transactions=rails.transactions) is None


# Deleting


def remains(rails: Rails) -> dict[str, int]:
    tables = ("document_pages", "chunks", "chunk_embeddings")
    return {table: count for table in tables if (count := rails.count(table))}


def delete(rails: Rails, document_id, *, workspace_id=WORKSPACE, blobs: FakeBlobs | None = None) -> bool:
    return delete_document(document_id, workspace_id, transactions=rails.transactions, blobs=blobs or FakeBlobs())


def test_a_deleted_document_leaves_a_tombstone_alone(rails: Rails) -> None:
    document_id = a_ready_document(rails)
    blobs = FakeBlobs({"w/blob": PDF})

    assert delete(rails, document_id, blobs=blobs)

    assert rails.document(document_id)["state"] == "deleted"
    assert (remains(rails), blobs.blobs) == ({}, {})
    assert not delete(rails, document_id)


def test_a_document_is_deleted_while_storage_is_away_and_the_sweeper_finds_its_blob(rails: Rails) -> None:
    class Away(FakeBlobs):
        def delete(self, key: str) -> None:
            raise TransientError(FailureCode.BLOB_UNAVAILABLE, "no answer")

    document_id, blobs = a_ready_document(rails), {"w/blob": PDF}

    assert delete(rails, document_id, blobs=Away(blobs))

    assert rails.document(document_id)["state"] == "deleted"
    assert sweep_blobs(transactions=rails.transactions, blobs=FakeBlobs(blobs)) == 1
    assert blobs == {}


def test_a_document_that_waits_is_deleted_with_its_job(rails: Rails) -> None:
    document_id, job_id = an_uploaded_document(rails)

    assert delete(rails, document_id)

    assert rails.job(job_id)["state"] == "cancelled"


def test_a_document_deleted_while_its_pages_arrive_leaves_none(rails: Rails) -> None:
    held = an_extracting_document(rails)
    with rails.transaction(held.lease) as unit:
        unit.pages.add(held.document, a_batch(["one", "two"], page_count=3))

    assert delete(rails, held.id)

    with pytest.raises(Exception, match="asked to stop"), rails.transaction(held.lease) as unit:
        unit.pages.add(held.document, a_batch(["three"], first=3))
    assert rails.ledger.cancel(held.lease.job_id, held.lease)
    assert remains(rails) == {}
    assert rails.document(held.id)["state"] == "deleted"


def test_a_document_deleted_while_it_is_embedded_leaves_no_vector(rails: Rails) -> None:
    held = an_indexing_document(rails, [f"Page {n} tells of a mill on the river. " * 6 for n in range(6)])

    class DeletesInTheMiddle(FakeEmbedder):
        def embed(self, texts):
            if len(self.calls) == 1:
                assert delete(rails, held.id)
            return super().embed(texts)

    with pytest.raises(Exception, match="asked to stop"):
        index_document(
            held.id,
            WORKSPACE,
            lease=held.lease,
            transactions=rails.transactions,
            indexer=Indexer(a_chunker(), DeletesInTheMiddle()),
        )

    assert remains(rails) == {}


def test_a_stranger_deletes_nothing_and_stops_nothing(rails: Rails) -> None:
    held = an_extracting_document(rails)

    assert not delete(rails, held.id, workspace_id=a_workspace(rails))

    assert rails.job(held.lease.job_id)["cancel_requested_at"] is None
    assert rails.document(held.id)["state"] == "extracting"


def test_a_vector_that_another_document_needs_stays(rails: Rails) -> None:
    first = a_ready_document(rails, ["The same words."], content=b"1")
    second = a_ready_document(rails, ["The same words."], content=b"2")

    delete(rails, first)
    assert rails.count("chunk_embeddings") == 1

    delete(rails, second)
    assert rails.count("chunk_embeddings") == 0
