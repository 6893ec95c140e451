"""A generation is seen whole or not at all, and no text is paid for twice."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from time import sleep
from uuid import UUID

import pytest

from adapters.postgres.transactions import PostgresUnit
from domain.chunking import passage
from domain.documents import Chunk
from domain.errors import FailureCode, LeaseLostError, ParkedError, PermanentError, TransientError
from domain.extraction import extract_document
from domain.indexing import Indexer, IndexingReport, index_document
from domain.intake import delete_document, reindex_document
from domain.jobs import Lease
from tests.builders import (
    A_FAILURE,
    WORKSPACE,
    FakeBlobs,
    FakeEmbedder,
    FakeReader,
    Held,
    Rails,
    a_chunker,
    a_ready_document,
    a_workspace,
    an_indexing_document,
    must_claim,
)

from domain.ledger import Outcome  # isort: skip

SENTENCES = [f"Sentence number {n} tells of the {n}th mill on the long river. " * 4 for n in range(12)]


@dataclass
class Indexing:
    """A document being indexed; each `run` is one attempt."""

    rails: Rails
    held: Held
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)

    def run(self) -> IndexingReport:
        return index_document(
            self.held.id,
            self.held.document.workspace_id,
            lease=self.held.lease,
            transactions=self.rails.transactions,
            indexer=Indexer(a_chunker(), self.embedder),
        )

    def try_again(self) -> None:
        """Park and claim the job anew."""
        claim_message = self.rails.job(self.held.lease.job_id)["message"]
        assert self.rails.ledger.retry(
            self.held.lease, claim_message, A_FAILURE, delay=timedelta(), outcome=Outcome.PARKED
        )
        self.held = Held(self.held.document, must_claim(self.rails, self.held.lease.job_id).lease)

    @property
    def row(self) -> dict:
        return self.rails.document(self.held.id)


def indexing(rails: Rails, pages=SENTENCES, **upload) -> Indexing:
    return Indexing(rails, an_indexing_document(rails, pages, **upload))


def an_outage() -> TransientError:
    return TransientError(FailureCode.EMBEDDING_UNAVAILABLE, "no answer")


# The whole way


def test_a_published_document_has_a_vector_for_every_chunk(rails: Rails) -> None:
    work = indexing(rails)

    report = work.run()

    row = work.row
    assert (row["state"], row["generation"]) == ("ready", 1)
    assert row["chunk_count"] == row["chunks_done"] == report.chunks == rails.count("chunks") > 4
    assert rails.count("chunk_embeddings") == report.embedded == report.chunks
    assert rails.job(work.held.lease.job_id)["state"] == "succeeded"
    assert work.held.lease.settled


def test_every_chunk_is_found_back_in_the_stored_pages(rails: Rails) -> None:
    indexing(rails).run()

    pages = dict(rails.connection.execute("SELECT number, text FROM document_pages").fetchall())
    columns = "ordinal, text, text_hash, page_from, page_to, char_start, char_end, token_count"
    chunks = [Chunk(*row) for row in rails.connection.execute(f"SELECT {columns} FROM chunks ORDER BY ordinal")]
    assert chunks
    assert [passage(pages, chunk) for chunk in chunks] == [chunk.text for chunk in chunks]


def test_batches_keep_the_limits_of_the_embedder(rails: Rails) -> None:
    work = indexing(rails)

    work.run()

    assert max(map(len, work.embedder.calls)) <= work.embedder.limits.inputs_per_request
    assert len(work.embedder.calls) > 1


def test_usage_is_exact_and_no_reservation_stays(rails: Rails) -> None:
    workspace_id = a_workspace(rails, budget=1_000_000)
    work = indexing(rails, workspace_id=workspace_id)

    report = work.run()

    usage = rails.row("SELECT * FROM workspace_daily_usage WHERE workspace_id = %s", workspace_id)
    assert usage["tokens"] == report.tokens == work.embedder.tokens == work.row["tokens_embedded"]
    assert (usage["pages"], usage["chunks"], usage["documents"]) == (12, report.chunks, 1)
    assert rails.count("token_reservations") == 0


# Not twice


def test_a_second_attempt_pays_for_no_batch_again(rails: Rails) -> None:
    work = indexing(rails)
    work.embedder.errors = [None, None, an_outage()]
    with pytest.raises(TransientError):
        work.run()
    work.try_again()

    work.run()

    texts = [text for call in work.embedder.calls for text in call]
    assert len(texts) == len(set(texts)) == rails.count("chunks")
    assert work.row["tokens_embedded"] == work.embedder.tokens
    assert rails.column("SELECT tokens FROM workspace_daily_usage") == [work.embedder.tokens]


def test_texts_that_the_workspace_has_are_not_embedded_again(rails: Rails) -> None:
    indexing(rails, content=b"first").run()
    twin = indexing(rails, content=b"second")

    report = twin.run()

    assert twin.embedder.calls == []
    assert (report.embedded, report.tokens, report.reused) == (0, 0, report.chunks)
    assert twin.row["state"] == "ready"


def test_another_workspace_pays_for_its_own(rails: Rails) -> None:
    indexing(rails).run()
    other = indexing(rails, workspace_id=a_workspace(rails))

    assert other.run().reused == 0


def test_a_text_that_repeats_is_embedded_once(rails: Rails) -> None:
    page = "The same long sentence stands on every page of this document. " * 3
    work = indexing(rails, [page] * 8)

    work.run()

    texts = [text for call in work.embedder.calls for text in call]
    assert len(texts) == len(set(texts))
    assert rails.count("chunk_embeddings") == len(texts)


# Not half


def test_readers_see_nothing_before_the_end(rails: Rails) -> None:
    work = indexing(rails)
    work.embedder.errors = [None, an_outage()]

    with pytest.raises(TransientError):
        work.run()

    assert (work.row["state"], work.row["generation"]) == ("indexing", 0)
    assert work.row["chunks_done"] == 4


def test_a_stale_attempt_cannot_publish(rails: Rails) -> None:
    work = indexing(rails)

    class IsRescuedMeanwhile(FakeEmbedder):
        def embed(self, texts):
            if len(self.calls) == 1:
                rails.expire(work.held.lease.job_id)
                rails.leases.rescue_expired()
            return super().embed(texts)

    work.embedder = IsRescuedMeanwhile()
    with pytest.raises(LeaseLostError):
        work.run()

    assert work.row["state"] == "indexing"
    assert rails.count("chunk_embeddings") == 4


def test_a_document_without_chunks_is_never_ready(rails: Rails) -> None:
    work = indexing(rails, ["  ", "\n"])

    with pytest.raises(PermanentError) as caught:
        work.run()

    assert caught.value.code is FailureCode.PDF_NO_TEXT
    assert work.row["state"] == "indexing"


def test_a_vector_that_vanishes_keeps_a_document_from_being_ready(rails: Rails) -> None:
    work = indexing(rails)

    class LosesOne(FakeEmbedder):
        def embed(self, texts):
            rails.connection.execute("DELETE FROM chunk_embeddings")
            return super().embed(texts)

    work.embedder = LosesOne()
    with pytest.raises(TransientError, match="vectors vanished"):
        work.run()

    assert work.row["state"] == "indexing"


def test_a_twin_deleted_in_the_middle_takes_no_vector_along(rails: Rails) -> None:
    first = a_ready_document(rails, SENTENCES, content=b"first")
    second = Indexing(rails, an_indexing_document(rails, SENTENCES, content=b"second"))

    with ThreadPoolExecutor(1) as thread:
        with rails.transaction() as unit:
            unit.intake.delete(first, WORKSPACE)
            published = thread.submit(second.run)
            sleep(0.5)
        published.result()

    missing = rails.column(
        "SELECT count(*) FROM chunks c WHERE document_id = %s AND NOT EXISTS"
        " (SELECT FROM chunk_embeddings e WHERE e.text_hash = c.text_hash)",
        second.held.id,
    )
    assert missing == [0]


# Generations


def reindexed(rails: Rails, document_id: UUID, pages: list[str]) -> Indexing:
    job_id = reindex_document(document_id, WORKSPACE, transactions=rails.transactions)
    assert job_id
    extract_document(
        document_id,
        WORKSPACE,
        lease=must_claim(rails, job_id).lease,
        transactions=rails.transactions,
        blobs=FakeBlobs({"w/blob": b"%PDF-"}),
        reader=FakeReader(pages),
    )
    next_job = rails.document(document_id)["job_id"]
    return Indexing(rails, Held(None, must_claim(rails, next_job).lease))  # type: ignore[arg-type]


def test_a_new_generation_replaces_the_old_one_at_once(rails: Rails) -> None:
    document_id = a_ready_document(rails, ["Old words about the river.", "Words that stay."])

    work = reindexed(rails, document_id, ["New words about the mill.", "Words that stay."])
    assert rails.column("SELECT DISTINCT generation FROM chunks") == [1]
    index_document(
        document_id,
        WORKSPACE,
        lease=work.held.lease,
        transactions=rails.transactions,
        indexer=Indexer(a_chunker(), work.embedder),
    )

    row = rails.document(document_id)
    assert (row["state"], row["generation"]) == ("ready", 2)
    for table in ("chunks", "document_pages"):
        assert rails.column(f"SELECT DISTINCT generation FROM {table}") == [2]
    assert rails.count("chunk_embeddings") == rails.count("chunks")


def test_a_reindexing_that_fails_leaves_readers_the_old_generation(rails: Rails) -> None:
    document_id = a_ready_document(rails)
    job_id = reindex_document(document_id, WORKSPACE, transactions=rails.transactions)
    assert job_id
    claim = must_claim(rails, job_id)
    with rails.transaction(claim.lease) as unit:
        unit.documents.start_extraction(document_id, WORKSPACE, job_id)

    rails.ledger.fail(job_id, claim.lease, A_FAILURE)

    row = rails.document(document_id)
    assert (row["state"], row["generation"]) == ("failed", 1)
    assert rails.column("SELECT DISTINCT generation FROM chunks") == [1]


def test_a_new_generation_and_a_new_document_do_not_wait_for_each_other(rails: Rails) -> None:
    document_id = a_ready_document(rails, ["Old words about the river."])
    work = reindexed(rails, document_id, ["New words about the mill."])
    newcomer = an_indexing_document(rails, content=b"newcomer")
    failures: list[TransientError] = []

    @contextmanager
    def watched(lease: Lease | None = None) -> Iterator[PostgresUnit]:
        try:
            with rails.transactions(lease) as unit:
                yield unit
        except TransientError as error:  # an attempt would be patient with it
            failures.append(error)
            raise

    indexer, lease = Indexer(a_chunker(), work.embedder), work.held.lease
    with ThreadPoolExecutor(1) as thread:
        with rails.transaction(newcomer.lease) as unit:
            unit.chunks.keep_vectors(newcomer.document)
            published = thread.submit(
                index_document, document_id, WORKSPACE, lease=lease, transactions=watched, indexer=indexer
            )
            sleep(0.3)
            assert not published.done(), "it removes vectors"
            unit.usage.settle(newcomer.document, batch=1, reserved=0, spent=9)
        published.result()

    assert failures == []
    assert rails.document(document_id)["generation"] == 2


def test_what_was_deleted_is_skipped(rails: Rails) -> None:
    work = indexing(rails)
    job_id = work.held.lease.job_id
    delete_document(work.held.id, WORKSPACE, transactions=rails.transactions, blobs=FakeBlobs())

    with pytest.raises(LeaseLostError):
        work.run()

    assert work.embedder.calls == []
    assert rails.ledger.cancel(job_id, work.held.lease)
    assert work.row["state"] == "deleted"


def test_a_provider_that_asks_to_wait_parks_and_the_rest_goes_on(rails: Rails) -> None:
    work = indexing(rails)
    wait = ParkedError(FailureCode.EMBEDDING_UNAVAILABLE, "429", retry_after=timedelta(seconds=7))
    work.embedder.errors = [None, wait]
    with pytest.raises(ParkedError):
        work.run()
    work.try_again()

    work.run()

    assert work.row["state"] == "ready"
    assert rails.job(work.held.lease.job_id)["attempt"] == 1
