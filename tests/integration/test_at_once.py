"""A small document is indexed by the job that extracts it; whatever interrupts that leaves an ordinary document."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Barrier, BrokenBarrierError
from uuid import UUID

import pytest

from adapters.postgres.chunks import PostgresChunks
from domain.documents import Document
from domain.errors import FailureCode, LeaseLostError, ParkedError, PermanentError, TransientError
from domain.extraction import ExtractionReport, extract_document
from domain.indexing import Indexer, index_document
from domain.intake import delete_document, reindex_document
from domain.ledger import Outcome
from tests.builders import (
    A_FAILURE,
    WORKSPACE,
    FakeBlobs,
    FakeEmbedder,
    FakeReader,
    Rails,
    a_chunker,
    a_workspace,
    an_uploaded_document,
    must_claim,
)

#: Some ten chunks, which are three requests to the embedder.
PAGES = [
    "\n".join(f"Page {page}, line {line}: the {line}th mill on the long river." for line in range(30)) for page in "ab"
]


@dataclass
class Small:
    """A document of two pages, which come in one batch; each `extract` is another attempt of its job."""

    rails: Rails
    document_id: UUID
    job_id: UUID
    workspace_id: UUID = WORKSPACE
    reader: FakeReader = field(default_factory=lambda: FakeReader(PAGES))
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    blobs: FakeBlobs = field(default_factory=lambda: FakeBlobs({"w/blob": b"%PDF-"}))

    def extract(self) -> ExtractionReport:
        self.lease = must_claim(self.rails, self.job_id).lease
        return extract_document(
            self.document_id,
            self.workspace_id,
            lease=self.lease,
            transactions=self.rails.transactions,
            blobs=self.blobs,
            reader=self.reader,
            indexer=Indexer(a_chunker(), self.embedder),
        )

    def index(self) -> None:
        """Run the job that the document was handed to."""
        index_document(
            self.document_id,
            self.workspace_id,
            lease=must_claim(self.rails, self.row["job_id"]).lease,
            transactions=self.rails.transactions,
            indexer=Indexer(a_chunker(), self.embedder),
        )

    def crash(self) -> None:
        self.rails.expire(self.job_id)
        self.rails.leases.rescue_expired()

    def park(self) -> None:
        message = self.rails.job(self.job_id)["message"]
        assert self.rails.ledger.retry(self.lease, message, A_FAILURE, delay=timedelta(), outcome=Outcome.PARKED)

    @property
    def row(self) -> dict:
        return self.rails.document(self.document_id)

    @property
    def actors(self) -> list[str]:
        return self.rails.column("SELECT actor FROM jobs WHERE document_id = %s ORDER BY id", self.document_id)

    def assert_ready_once(self) -> None:
        row = self.row
        assert (row["state"], row["generation"], row["page_count"], row["pages_done"]) == ("ready", 1, 2, 2)
        assert (
            row["chunk_count"]
            == row["chunks_done"]
            == self.rails.count("chunks")
            == self.rails.count("chunk_embeddings")
        )
        assert row["tokens_embedded"] == self.embedder.tokens
        texts = [text for call in self.embedder.calls for text in call]
        assert len(texts) == len(set(texts)) == row["chunk_count"]
        usage = self.rails.row("SELECT * FROM workspace_daily_usage WHERE workspace_id = %s", self.workspace_id)
        assert (usage["tokens"], usage["pages"], usage["documents"]) == (self.embedder.tokens, 2, 1)
        assert self.rails.count("document_pages") == 2
        assert self.rails.count("token_reservations") == 0


def small(rails: Rails, *, budget: int | None = None) -> Small:
    workspace_id = a_workspace(rails, budget=budget) if budget else WORKSPACE
    return Small(rails, *an_uploaded_document(rails, workspace_id=workspace_id), workspace_id=workspace_id)


def an_outage() -> TransientError:
    return TransientError(FailureCode.EMBEDDING_UNAVAILABLE, "no answer")


def a_wait() -> ParkedError:
    return ParkedError(FailureCode.EMBEDDING_UNAVAILABLE, "429", retry_after=timedelta(seconds=1))


def test_one_job_takes_it_all_the_way(rails: Rails) -> None:
    document = small(rails)

    report = document.extract()

    document.assert_ready_once()
    assert document.actors == ["extract_document"]
    assert rails.job(document.job_id)["state"] == "succeeded"
    assert report.pages == 2
    assert report.indexing is not None
    assert report.indexing.chunks == report.indexing.embedded == document.row["chunk_count"] > 8


def test_a_document_of_several_batches_is_handed_over(rails: Rails) -> None:
    document = small(rails)
    document.reader = FakeReader([*PAGES, "a third page"])

    report = document.extract()

    assert report.indexing is None
    assert document.row["state"] == "indexing"
    assert document.actors == ["extract_document", "index_document"]


@pytest.mark.parametrize("answers_before", [0, 1, 2])
def test_a_provider_that_fails_costs_no_page_and_no_token_twice(rails: Rails, answers_before: int) -> None:
    document = small(rails)
    document.embedder.errors = [None] * answers_before + [an_outage()]
    with pytest.raises(TransientError, match="no answer"):
        document.extract()
    assert rails.count("document_pages") == 2
    document.crash()

    document.extract()
    document.index()

    assert document.reader.first_pages == [1]
    document.assert_ready_once()


def test_a_provider_that_asks_to_wait_parks_the_job_and_the_document_goes_on(rails: Rails) -> None:
    document = small(rails)
    document.embedder.errors = [None, a_wait()]
    with pytest.raises(ParkedError):
        document.extract()
    document.park()

    document.extract()
    assert document.actors == ["extract_document", "index_document"]
    document.index()

    document.assert_ready_once()


def test_a_workspace_without_tokens_today_keeps_the_pages_and_waits_in_the_job_that_indexes(rails: Rails) -> None:
    document = small(rails, budget=100_000)
    spend = (
        "INSERT INTO workspace_daily_usage (workspace_id, day, tokens) VALUES (%s, timezone('utc', now())::date, %s)"
    )
    rails.connection.execute(spend, [document.workspace_id, 99_999])

    report = document.extract()

    assert report.indexing is None
    assert (document.row["state"], rails.count("document_pages"), rails.count("chunks")) == ("indexing", 2, 0)
    assert document.embedder.calls == []
    with pytest.raises(ParkedError, match="budget"):
        document.index()


def test_a_document_that_exceeds_the_whole_budget_fails_with_nothing_stored(rails: Rails) -> None:
    document = small(rails, budget=10)

    with pytest.raises(PermanentError, match="daily budget of 10"):
        document.extract()

    assert (rails.count("document_pages"), rails.count("chunks")) == (0, 0)


def test_a_stale_attempt_publishes_nothing(rails: Rails) -> None:
    document = small(rails)
    late = document.embedder.embed

    def embed_after_losing_the_job(texts: list[str]) -> object:
        document.crash()
        return late(texts)

    document.embedder.embed = embed_after_losing_the_job  # type: ignore[method-assign, assignment]

    with pytest.raises(LeaseLostError):
        document.extract()

    assert document.row["state"] == "indexing"
    assert rails.count("chunk_embeddings") == 0


def test_a_document_deleted_meanwhile_leaves_nothing(rails: Rails) -> None:
    document = small(rails)
    embed = document.embedder.embed

    def embed_after_the_deletion(texts: list[str]) -> object:
        delete_document(document.document_id, WORKSPACE, transactions=rails.transactions, blobs=document.blobs)
        return embed(texts)

    document.embedder.embed = embed_after_the_deletion  # type: ignore[method-assign, assignment]

    with pytest.raises(Exception, match="asked to stop"):
        document.extract()

    assert document.row["state"] == "deleted"
    assert (rails.count("document_pages"), rails.count("chunks"), rails.count("chunk_embeddings")) == (0, 0, 0)


@pytest.mark.parametrize(
    ("reader", "code"),
    [
        (FakeReader(["", " \n"]), FailureCode.PDF_NO_TEXT),
        (FakeReader(PAGES, lost=frozenset({2})), FailureCode.PDF_DAMAGED),
    ],
)
def test_what_cannot_be_read_is_not_indexed(rails: Rails, reader: FakeReader, code: FailureCode) -> None:
    document = small(rails)
    document.reader = reader

    with pytest.raises(PermanentError) as caught:
        document.extract()

    assert caught.value.code is code
    assert document.embedder.calls == []


def test_a_repaired_file_is_ready_with_its_warning_whoever_indexes_it(rails: Rails) -> None:
    document = small(rails)
    document.reader = FakeReader(PAGES, repaired=True)
    document.embedder.errors = [an_outage()]
    with pytest.raises(TransientError):
        document.extract()
    document.crash()

    document.extract()
    document.index()

    assert "has been repaired" in document.row["warning"]


def a_free_one(rails: Rails, *, budget: int | None = None) -> Small:
    document = small(rails, budget=budget)
    document.embedder.is_free = True
    return document


def test_with_a_free_embedder_one_transaction_stores_everything(rails: Rails) -> None:
    document = a_free_one(rails)
    embed, seen = document.embedder.embed, []

    def embed_and_look(texts: list[str]) -> object:
        seen.append((document.row["state"], rails.count("document_pages"), rails.count("token_reservations")))
        return embed(texts)

    document.embedder.embed = embed_and_look  # type: ignore[method-assign, assignment]

    report = document.extract()

    document.assert_ready_once()
    assert set(seen) == {("extracting", 0, 0)}
    assert document.actors == ["extract_document"]
    assert rails.job(document.job_id)["state"] == "succeeded"
    assert report.indexing is not None
    assert report.indexing.embedded == report.indexing.chunks == rails.count("chunks")


def test_a_free_embedder_counts_a_text_that_stands_twice_once(rails: Rails) -> None:
    document = a_free_one(rails)
    line = "The mill on the long river. " * 20
    document.reader = FakeReader([line, line])

    report = document.extract()

    assert report.indexing is not None
    assert report.indexing.chunks == rails.count("chunks")
    assert report.indexing.embedded == rails.count("chunk_embeddings")
    assert report.indexing.reused == report.indexing.chunks - report.indexing.embedded > 0


def test_what_interrupts_a_free_embedder_leaves_nothing_and_the_next_attempt_does_it_all(rails: Rails) -> None:
    document = a_free_one(rails)
    document.embedder.errors = [None, an_outage()]
    with pytest.raises(TransientError, match="no answer"):
        document.extract()
    assert (rails.count("document_pages"), rails.count("chunks"), rails.count("chunk_embeddings")) == (0, 0, 0)
    document.crash()
    document.embedder = FakeEmbedder(is_free=True)

    document.extract()

    document.assert_ready_once()


def test_a_stale_attempt_with_a_free_embedder_stores_nothing(rails: Rails) -> None:
    document = a_free_one(rails)
    embed = document.embedder.embed

    def embed_after_losing_the_job(texts: list[str]) -> object:
        if document.row["state"] == "extracting" and rails.job(document.job_id)["state"] == "running":
            document.crash()
        return embed(texts)

    document.embedder.embed = embed_after_losing_the_job  # type: ignore[method-assign, assignment]

    with pytest.raises(LeaseLostError):
        document.extract()

    assert document.row["state"] == "extracting"
    assert (rails.count("document_pages"), rails.count("chunks"), rails.count("chunk_embeddings")) == (0, 0, 0)


def test_a_free_embedder_keeps_to_the_budget(rails: Rails) -> None:
    today, whole = a_free_one(rails, budget=100_000), a_free_one(rails, budget=10)
    spend = (
        "INSERT INTO workspace_daily_usage (workspace_id, day, tokens) VALUES (%s, timezone('utc', now())::date, %s)"
    )
    rails.connection.execute(spend, [today.workspace_id, 99_999])

    report = today.extract()

    assert report.indexing is None
    assert (today.row["state"], rails.count("document_pages"), rails.count("chunks")) == ("indexing", 2, 0)
    assert today.actors == ["extract_document", "index_document"]
    with pytest.raises(PermanentError, match="daily budget of 10"):
        whole.extract()
    assert rails.count("chunks") == 0


def test_another_document_with_the_same_text_shares_its_vectors(rails: Rails) -> None:
    a_free_one(rails).extract()
    vectors = rails.count("chunk_embeddings")

    document = a_free_one(rails)
    document.extract()

    assert document.row["state"] == "ready"
    assert rails.count("chunk_embeddings") == vectors
    assert rails.count("chunks") == 2 * vectors


def test_vectors_that_a_deletion_takes_away_meanwhile_are_stored_again(rails: Rails) -> None:
    first = a_free_one(rails)
    first.extract()
    document = a_free_one(rails)
    embed = document.embedder.embed

    def embed_after_the_deletion(texts: list[str]) -> object:
        if first.row["state"] == "ready":
            delete_document(first.document_id, WORKSPACE, transactions=rails.transactions, blobs=first.blobs)
        return embed(texts)

    document.embedder.embed = embed_after_the_deletion  # type: ignore[method-assign, assignment]

    document.extract()

    assert document.row["state"] == "ready"
    assert rails.count("chunk_embeddings") == rails.count("chunks") == document.row["chunk_count"]


def test_a_new_generation_by_a_free_embedder_replaces_the_old_one(rails: Rails) -> None:
    document = a_free_one(rails)
    document.extract()
    document.job_id = reindex_document(document.document_id, WORKSPACE, transactions=rails.transactions)

    document.extract()

    row = document.row
    assert (row["state"], row["generation"]) == ("ready", 2)
    assert rails.column("SELECT DISTINCT generation FROM chunks") == [2]
    assert rails.count("chunk_embeddings") == rails.count("chunks") == row["chunk_count"]


def test_two_new_generations_do_not_wait_for_each_other(rails: Rails, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [a_free_one(rails) for _ in range(2)]
    for document in documents:
        document.extract()
        document.job_id = reindex_document(document.document_id, WORKSPACE, transactions=rails.transactions)
    both, remove = Barrier(2, timeout=2), PostgresChunks.delete_others

    def remove_together(chunks: PostgresChunks, document: Document) -> None:
        with suppress(BrokenBarrierError):
            both.wait()
        remove(chunks, document)

    monkeypatch.setattr(PostgresChunks, "delete_others", remove_together)

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(Small.extract, documents))

    assert [report.indexing is not None for report in reports] == [True, True]
    assert [document.row["generation"] for document in documents] == [2, 2]
