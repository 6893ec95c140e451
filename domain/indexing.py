"""Turn stored pages into chunks with vectors, and show them to readers all at once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from uuid import UUID

import numpy as np

from domain.chunking import Chunker
from domain.crash_points import crash_point
from domain.documents import Chunk, Document, Page
from domain.embedding import embed_side_by_side, plan_batches
from domain.errors import FailureCode, PermanentError, TransientError
from domain.jobs import Lease
from domain.patience import patiently
from domain.ports import ChunkText, Embedder, Embeddings, Transactions, Unit

#: Pages loaded in one transaction: some 500 kB of text, milliseconds.
PAGES_PER_READ = 200

#: Chunks stored in one transaction: some 300 ms, far from a heartbeat even on a busy machine.
CHUNKS_PER_WRITE = 2000

NO_TEXT_SENTENCE = (
    "The file has no text layer: its pages are empty, scanned images, or an XFA form. Run text recognition (OCR) on "
    "it, or print it to a new PDF, and upload the result."
)


@dataclass(frozen=True, slots=True)
class Indexer:
    """What cuts a document's text into passages and gives them vectors."""

    chunker: Chunker
    embedder: Embedder


@dataclass(frozen=True, slots=True)
class IndexingReport:
    """What one indexing did. `reused`: chunks whose text the workspace had a vector for already."""

    skipped: bool = False
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    tokens: int = 0


def index_document(
    document_id: UUID,
    workspace_id: UUID,
    *,
    lease: Lease,
    transactions: Transactions,
    indexer: Indexer,
) -> IndexingReport:
    """Chunk the document, embed the texts that are new to its workspace, and publish the generation.

    Each batch of vectors commits with its tokens; a second run pays for none of them again. Embedding happens
    outside of any transaction. The last transaction checks that every chunk has its vector, shows the generation to
    readers, removes older ones and ends the job.

    Raises PermanentError, ParkedError (empty budget, provider's limit), TransientError, LeaseLostError.
    """
    with transactions(lease) as unit:
        document = unit.documents.start_indexing(document_id, workspace_id, lease.job_id)
        if document is None:
            unit.jobs.finish()
            return IndexingReport(skipped=True)
        unit.chunks.clear(document)
        pages = unit.pages.read(document, after=0, limit=PAGES_PER_READ)
    indexing = Indexing(document, lease, transactions, indexer)
    chunks, missing = indexing.store_chunks(pages)
    return indexing.embed_and_publish(missing, chunks)


def in_batches(chunks: Iterable[Chunk], size: int) -> Iterator[list[Chunk]]:
    """Gather chunks into lists of at most `size`."""
    stream = iter(chunks)
    while batch := list(islice(stream, size)):
        yield batch


@dataclass(frozen=True, slots=True)
class Indexing:
    """One run over one document; its steps in the order they happen."""

    document: Document
    lease: Lease
    transactions: Transactions
    indexer: Indexer

    def store_chunks(self, first_pages: list[Page]) -> tuple[int, list[ChunkText]]:
        """Write the generation's chunks in short transactions: readers do not see them yet. The last one reserves.

        Return how many there are, and the texts that have no vector yet.
        """
        count = 0
        for chunks in in_batches(self.indexer.chunker.chunk_pages(self._pages(first_pages)), CHUNKS_PER_WRITE):
            self.lease.checkpoint()
            count += len(chunks)
            with self.transactions(self.lease) as unit:
                if len(chunks) < CHUNKS_PER_WRITE:
                    return count, self._store_last(unit, chunks, count)
                unit.chunks.add(self.document, chunks)
        if count == 0:
            raise PermanentError(FailureCode.PDF_NO_TEXT, NO_TEXT_SENTENCE)
        with self.transactions(self.lease) as unit:
            return count, self._store_last(unit, [], count)

    def _store_last(self, unit: Unit, chunks: Sequence[Chunk], count: int) -> list[ChunkText]:
        missing = self.store(unit, chunks)
        unit.documents.record_chunks(self.document, chunks=count, embedded=count - len(missing), tokens=0)
        return missing

    def store(self, unit: Unit, chunks: Sequence[Chunk]) -> list[ChunkText]:
        """Store the last chunks, find the texts that have no vector yet and set their tokens aside."""
        unit.chunks.add(self.document, chunks)
        missing = unit.chunks.missing(self.document, self.indexer.embedder.model)
        unit.usage.reserve(self.document, sum(text.token_count for text in missing))
        return missing

    def embed_unpaid(self, chunks: Iterable[Chunk]) -> tuple[list[ChunkText], Embeddings]:
        """Embed each distinct text of the chunks, of which there is one, by an embedder that is free."""
        texts = {chunk.text_hash: ChunkText(chunk.text_hash, chunk.text, chunk.token_count) for chunk in chunks}
        batches = plan_batches(texts.values(), self.indexer.embedder.limits, tokens=lambda text: text.token_count)
        answers = embed_side_by_side(self.indexer.embedder, batches, checkpoint=self.lease.checkpoint)
        results = [result for _, result in answers]
        vectors = np.concatenate([result.vectors for result in results])
        return list(texts.values()), Embeddings(vectors, tokens=sum(result.tokens for result in results))

    def store_unpaid(
        self, unit: Unit, chunks: Sequence[Chunk], texts: Sequence[ChunkText], result: Embeddings
    ) -> IndexingReport:
        """Store all chunks with their vectors.

        Raises ParkedError or PermanentError when the workspace has not that many tokens.
        """
        unit.chunks.add(self.document, chunks)
        unit.chunks.keep_vectors(self.document)
        unit.chunks.embed(self.document, self.indexer.embedder.model, texts, result.vectors)
        unit.usage.check_budget(self.document, result.tokens)
        return IndexingReport(
            chunks=len(chunks), embedded=len(texts), reused=len(chunks) - len(texts), tokens=result.tokens
        )

    def embed_and_publish(self, missing: list[ChunkText], chunks: int) -> IndexingReport:
        """Embed batch by batch; the transaction that stores the last one publishes."""
        spent, left = 0, len(missing)
        embedder = self.indexer.embedder
        batches = plan_batches(missing, embedder.limits, tokens=lambda text: text.token_count)
        results = embed_side_by_side(embedder, batches, checkpoint=self.lease.checkpoint)
        for number, (batch, result) in enumerate(results, start=1):
            crash_point("after_embedding_before_storing")
            spent, left = spent + result.tokens, left - len(batch)
            patiently(partial(self._store_vectors, number, batch, result, (chunks - left, chunks)), self.lease)
        if not missing:
            with self.transactions(self.lease) as unit:
                self._publish(unit, chunks, tokens=0)
        crash_point("after_publishing_commits")
        return IndexingReport(chunks=chunks, embedded=len(missing), reused=chunks - len(missing), tokens=spent)

    def _store_vectors(
        self, number: int, batch: list[ChunkText], result: Embeddings, progress: tuple[int, int]
    ) -> None:
        """Keep what a batch has brought and book what it cost. Doing it twice does it once."""
        embedded, chunks = progress
        with self.transactions(self.lease) as unit:
            if embedded == chunks and self.document.target_generation > 1:
                unit.chunks.lock_vectors(self.document)  # others write vectors and usage behind this lock, too
            unit.chunks.embed(self.document, self.indexer.embedder.model, batch, result.vectors)
            reserved = sum(text.token_count for text in batch)
            is_new = unit.usage.settle(self.document, batch=number, reserved=reserved, spent=result.tokens)
            tokens = result.tokens if is_new else 0
            if embedded == chunks:
                self._publish(unit, chunks, tokens=tokens)
            else:
                unit.documents.record_chunks(self.document, chunks=chunks, embedded=embedded, tokens=tokens)
        crash_point("after_storing_vectors")

    def _publish(self, unit: Unit, chunks: int, *, tokens: int) -> None:
        """Flip the generation, unless a vector is missing."""
        stored, embedded = unit.chunks.count_embedded(self.document, self.indexer.embedder.model)
        if embedded < stored:
            message = f"{stored - embedded} of {stored} vectors vanished while the document was indexed"
            raise TransientError(FailureCode.INTERNAL_ERROR, message)
        self.flip(unit, chunks, tokens=tokens)

    def flip(self, unit: Unit, chunks: int, *, tokens: int, unbooked: int = 0) -> None:
        """Show the generation to readers and remove older ones; end the job. `unbooked`: of the tokens."""
        if unit.documents.publish(self.document, chunks=chunks, tokens=tokens):
            if self.document.target_generation > 1:
                unit.chunks.delete_others(self.document)
            unit.usage.count_document(self.document, tokens=unbooked)
        unit.jobs.finish()
        crash_point("before_publishing_commits")

    def _pages(self, first_pages: list[Page]) -> Iterator[Page]:
        pages = first_pages
        yield from pages
        while len(pages) == PAGES_PER_READ:
            with self.transactions(self.lease) as unit:
                pages = unit.pages.read(self.document, after=pages[-1].number, limit=PAGES_PER_READ)
            yield from pages
