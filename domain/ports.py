"""Every boundary of the domain, as protocols. Adapters do not inherit; mypy proves the fit in adapters/bootstrap.py."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from uuid import UUID

import numpy as np
import numpy.typing as npt

from domain.documents import Chunk, Document, Page, PageBatch
from domain.errors import PermanentError
from domain.jobs import Lease, StoredJob
from domain.media import MediaFiles
from domain.retention import Pruned, Retention
from domain.usage import Reservation

Vectors = npt.NDArray[np.float32]


class PageReader(Protocol):
    """Reads the text of a file without trusting it."""

    @property
    def version(self) -> str:
        """Name parser and version; a new value releases quarantined files."""
        ...

    def read_pages(self, file: Path, *, first_page: int = 1) -> Generator[PageBatch]:
        """Yield consecutive pages from `first_page` on, as they are parsed; closing the iterator stops the parser.

        Page texts are clean: valid UTF-8, no NUL, no lone surrogate. A file with pages yields at least one batch of
        pages unless `first_page` is past its end. Whoever waits gets an empty batch every half second: a place to stop.

        Raises PermanentError: not_a_pdf, pdf_encrypted, pdf_damaged, pdf_no_pages, too_large, parse_timeout,
        parse_memory, parser_crashed.
        """
        ...


@dataclass(frozen=True, slots=True)
class EmbeddingLimits:
    """What one request to the embedder may carry, and how many a document may have under way."""

    inputs_per_request: int
    tokens_per_request: int
    tokens_per_input: int
    requests_at_a_time: int = 1


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One unit-length vector a text, in the order of the texts: shape (texts, dimensions). `tokens`: what it cost."""

    vectors: Vectors
    tokens: int


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def model(self) -> str:
        """Name provider and model; stored with every vector."""
        ...

    @property
    def dimensions(self) -> int:
        """Return the length of every vector."""
        ...

    @property
    def limits(self) -> EmbeddingLimits:
        """Return what one call of `embed` may carry."""
        ...

    @property
    def is_free(self) -> bool:
        """Tell whether a vector that is lost may be made again: nobody is paid, and nobody has to be waited for."""
        ...

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts that stay within the limits; the result is checked for count, order, dimension and finiteness.

        Raises PermanentError (embedding_rejected), TransientError (embedding_unavailable) and ParkedError (the
        provider asks to wait).
        """
        ...


class BlobStore(Protocol):
    """Keeps uploaded bytes under opaque keys."""

    def put(self, key: str, content: Iterable[bytes]) -> None:
        """Store the stream; when `content` raises, nothing stays behind and the error passes through."""
        ...

    def local_file(self, key: str) -> AbstractContextManager[Path]:
        """Lend the blob as a local read-only file for the time of the context.

        Raises PermanentError (blob_missing) and TransientError (blob_unavailable).
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the blob; a missing one is fine."""
        ...


@dataclass(frozen=True, slots=True)
class PagesRead:
    """What extraction has stored of a document. `characters` counts what is not white space, `blank` pages without."""

    pages: int
    characters: int
    blank: int
    lost: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChunkText:
    """A distinct text that has no vector yet."""

    text_hash: bytes
    text: str
    token_count: int


class Documents(Protocol):
    """The documents table inside one transaction. Each verb is one of `domain.documents.TRANSITIONS`."""

    def start_extraction(self, document_id: UUID, workspace_id: UUID, job_id: UUID) -> Document | None:
        """Take the document for this job; None when it is gone, done, or another live job has it."""
        ...

    def finish_extraction(
        self,
        document: Document,
        *,
        next_job_id: UUID,
        pages: int,
        warning: str | None,
        chunks: int | None = None,
        embedded: int = 0,
    ) -> None:
        """Hand the document, of which all `pages` are stored, to the job that indexes it, which may be the same one.

        `chunks` and `embedded`: how far that has come already.
        """
        ...

    def start_indexing(self, document_id: UUID, workspace_id: UUID, job_id: UUID) -> Document | None:
        """Take the document for this job; None when it is gone, done, or another live job has it."""
        ...

    def record_chunks(self, document: Document, *, chunks: int, embedded: int, tokens: int) -> None:
        """Note the progress of indexing; `tokens` is added to what the generation has cost."""
        ...

    def publish(self, document: Document, *, chunks: int, tokens: int) -> bool:
        """Let readers see the target generation with its `chunks`; False when this job may no longer do so.

        `tokens` is added to what the generation has cost.
        """
        ...


class Intake(Protocol):
    """The documents table as uploads see it, inside one transaction."""

    def find_by_content(self, workspace_id: UUID, content_sha256: bytes) -> Document | None:
        """Find the live document with these bytes; a second upload of them waits until this transaction ends."""
        ...

    def add(self, document: Document) -> None:
        """Insert an uploaded document. Raises InvalidJobError when the workspace does not exist."""
        ...

    def reindex(self, document_id: UUID, workspace_id: UUID, job_id: UUID, *, blob_key: str | None = None) -> bool:
        """Start over with a new generation, from another blob if given; False when it is in flight or gone."""
        ...

    def replace(self, document_id: UUID, workspace_id: UUID, version: Document) -> Document | None:
        """Give the document the bytes and the job of `version`, stopping its jobs; return what it was before."""
        ...

    def delete(self, document_id: UUID, workspace_id: UUID) -> str | None:
        """Remove pages, chunks and vectors, stop its job, leave a tombstone; return the blob key, None if unknown."""
        ...


class Blobs(Protocol):
    """Who owns which blob, inside one transaction."""

    def disown(self, key: str, *, after: timedelta) -> None:
        """Let the sweeper delete the blob after this long, unless a document owns it by then."""
        ...

    def own(self, key: str) -> None:
        """Keep the blob: a document owns it."""
        ...

    def find_due(self, limit: int) -> Sequence[str]:
        """Return unowned blobs whose time is over."""
        ...


class ParserDeaths(Protocol):
    """Files that killed their parser, inside one transaction."""

    def find(self, document: Document, parser_version: str) -> PermanentError | None:
        """Return what the content died of when it is quarantined under this parser version."""
        ...

    def record(self, document: Document, parser_version: str, error: PermanentError) -> bool:
        """Count one more death; True when the content is quarantined from here on."""
        ...


class Sweeping(Protocol):
    """What housekeeping does, inside one transaction."""

    def adopt_stranded(self, *, age: timedelta, limit: int) -> Sequence[UUID]:
        """Give documents that no unfinished job will move on a new extraction job; return the documents."""
        ...

    def prune(self, keep: Retention, limit: int) -> Pruned:
        """Remove at most `limit` old rows of each kind; return how many went."""
        ...

    def index_vectors(self, *, limit: int, spare: int) -> int:
        """Let at most `limit` waiting vectors enter the index and return how many did.

        While documents are on their way none does, unless more than `spare` wait.
        """
        ...


class Pages(Protocol):
    """The pages of a document's target generation inside one transaction."""

    def add(self, document: Document, batch: PageBatch) -> None:
        """Store consecutive pages and the progress they mean; `finish_extraction` notes that of the last ones."""
        ...

    def summarise(self, document: Document) -> PagesRead:
        """Sum up what is stored."""
        ...

    def read(self, document: Document, *, after: int, limit: int) -> list[Page]:
        """Return at most `limit` pages behind page `after`, in order."""
        ...


class Chunks(Protocol):
    """The chunks and vectors of a document's target generation inside one transaction."""

    def clear(self, document: Document) -> None:
        """Remove what an earlier attempt stored of the generation."""
        ...

    def add(self, document: Document, chunks: Iterable[Chunk]) -> None:
        """Store some more chunks of the generation."""
        ...

    def missing(self, document: Document, model: str) -> list[ChunkText]:
        """Return the distinct texts that have no vector of this model in the workspace, in reading order."""
        ...

    def keep_vectors(self, document: Document) -> None:
        """Until the end of the transaction, let nobody remove vectors of the document's workspace."""
        ...

    def lock_vectors(self, document: Document) -> None:
        """Let nobody keep vectors of the workspace, as some will be removed: before writing what those write, too."""
        ...

    def embed(self, document: Document, model: str, texts: Sequence[ChunkText], vectors: Vectors) -> None:
        """Store vectors, shape (texts, dimensions); ones that the workspace has already are left alone."""
        ...

    def count_embedded(self, document: Document, model: str) -> tuple[int, int]:
        """Return the number of chunks, and of those that have their vector."""
        ...

    def delete_others(self, document: Document) -> None:
        """Remove pages and chunks of other generations, and vectors that no chunk needs any more."""
        ...


class Usage(Protocol):
    """Token budgets inside one transaction."""

    def reserve(self, document: Document, tokens: int) -> None:
        """Set tokens aside for the document's job.

        Raises ParkedError until midnight UTC when today's budget is used up, PermanentError (budget_exceeded) when
        the document alone needs more than a whole day's budget.
        """
        ...

    def settle(self, document: Document, *, batch: int, reserved: int, spent: int) -> bool:
        """Book what a batch cost and give back what had been reserved for it; False when it was booked before.

        Batches are numbered from 1, in order, anew after each `reserve`.
        """
        ...

    def check_budget(self, document: Document, tokens: int) -> None:
        """Raise what `reserve` raises, and set nothing aside; a workspace with a budget is held by the transaction."""
        ...

    def count_document(self, document: Document, *, tokens: int = 0) -> None:
        """Book the pages and chunks of a document that became ready, and tokens that were not booked by batches."""
        ...


class Jobs(Protocol):
    """The ledger inside one transaction."""

    def enqueue(self, name: str, document_id: UUID, workspace_id: UUID, *, job_id: UUID | None = None) -> UUID:
        """Put in a job for a document; it exists exactly if this transaction commits. Return its id."""
        ...

    def finish(self) -> None:
        """End the attempt that holds this transaction's lease: its effect and its end commit together."""
        ...


class DeadLetters(Protocol):
    """Jobs that have ended, inside one transaction."""

    def hold(self, job_id: UUID) -> StoredJob | None:
        """Return a job and hold it until the transaction ends; None when there is none."""
        ...

    def replay(self, job_id: UUID) -> None:
        """Let a failed or cancelled job wait again, with all its retries before it; its attempts stay."""
        ...

    def supersede(self, job_id: UUID, by: UUID) -> None:
        """Note the job that has taken this one's place."""
        ...

    def discard(self, job_id: UUID) -> None:
        """Remove a failed job with its attempts."""
        ...


class Unit(Protocol):
    """One short transaction over every aggregate."""

    @property
    def documents(self) -> Documents: ...  # noqa: D102
    @property
    def intake(self) -> Intake: ...  # noqa: D102
    @property
    def blobs(self) -> Blobs: ...  # noqa: D102
    @property
    def media(self) -> MediaFiles: ...  # noqa: D102
    @property
    def parser_deaths(self) -> ParserDeaths: ...  # noqa: D102
    @property
    def sweeping(self) -> Sweeping: ...  # noqa: D102
    @property
    def dead_letters(self) -> DeadLetters: ...  # noqa: D102
    @property
    def pages(self) -> Pages: ...  # noqa: D102
    @property
    def chunks(self) -> Chunks: ...  # noqa: D102
    @property
    def usage(self) -> Usage: ...  # noqa: D102
    @property
    def jobs(self) -> Jobs: ...  # noqa: D102


class Transactions(Protocol):
    """Opens units of work."""

    def __call__(self, lease: Lease | None = None) -> AbstractContextManager[Unit]:
        """Open a transaction: commit on a clean exit, roll back on an error. Never hold one across slow I/O.

        With a lease, nothing can take the job away until the transaction ends, and entering raises LeaseLostError
        when somebody already did, JobCancelledError when the job was asked to stop.
        """
        ...


class Reservations(Protocol):
    """The reservations table, on its own."""

    def free_stale(self, limit: int) -> list[Reservation]:
        """Free at most `limit` reservations that expired or whose job has ended; return them."""
        ...
