"""Jobs and documents in the state that their builder's name says, made by the real adapters on a real database."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from uuid import UUID, uuid4

import numpy as np

from adapters.postgres.dispatch import PostgresDispatch
from adapters.postgres.leases import PostgresLeases
from adapters.postgres.ledger import NewJob, PostgresLedger
from adapters.postgres.pool import Connection, LazyPool
from adapters.postgres.transactions import PostgresTransactions, PostgresUnit
from domain.documents import Document, Page, PageBatch
from domain.errors import FailureCode, PermanentError
from domain.jobs import Lease
from domain.ledger import Claim, Failure, Outcome
from domain.ports import EmbeddingLimits, Embeddings
from tests.embeddings_server import count_tokens, vector_of

WORKSPACE = UUID("00000000-0000-4000-8000-000000000001")
QUEUE = "test"
TTL = timedelta(seconds=20)
A_FAILURE = Failure(FailureCode.INTERNAL_ERROR, "It broke.", "fingerprint", "Traceback …")


@dataclass(frozen=True)
class Rails:
    """The ledger and everything around it, over one test's database."""

    url: str
    pool: LazyPool
    connection: Connection

    @property
    def ledger(self) -> PostgresLedger:
        return PostgresLedger(self.pool)

    @property
    def leases(self) -> PostgresLeases:
        return PostgresLeases(self.connection, ttl=TTL, max_crashes=2)

    @property
    def dispatch(self) -> PostgresDispatch:
        return PostgresDispatch(self.connection)

    @property
    def transactions(self) -> PostgresTransactions:
        return PostgresTransactions(self.pool, reservation_ttl=timedelta(seconds=600))

    def transaction(self, lease: Lease | None = None) -> AbstractContextManager[PostgresUnit]:
        return self.transactions(lease)

    def ring(self) -> list[UUID]:
        """Do the relay's work: everything that is due becomes queued."""
        queues = self.column("SELECT DISTINCT queue FROM jobs WHERE state IN ('pending', 'retrying')")
        return [job.id for queue in queues for job in self.dispatch.pick_due(queue, 1000)]

    def claim(self, job_id: UUID) -> Claim | None:
        return self.ledger.claim(job_id, owner=uuid4(), ttl=TTL)

    def expire(self, *job_ids: UUID) -> None:
        """Let the leases of jobs run out."""
        self.connection.execute(
            "UPDATE jobs SET lease_expires_at = now() - interval '1 ms' WHERE id = ANY(%s) AND state = 'running'",
            [list(job_ids)],
        )

    def make_due(self) -> None:
        """Let the time pass that waiting jobs wait for."""
        self.connection.execute("UPDATE jobs SET available_at = now() WHERE state IN ('pending', 'retrying')")

    def job(self, job_id: UUID) -> dict[str, Any]:
        return self.row("SELECT * FROM jobs WHERE id = %s", job_id)

    def document(self, document_id: UUID) -> dict[str, Any]:
        return self.row("SELECT * FROM documents WHERE id = %s", document_id)

    def attempts(self, job_id: UUID) -> list[str | None]:
        """Return the outcome of every attempt, oldest first; None while it runs."""
        return self.column("SELECT outcome FROM job_runs WHERE job_id = %s ORDER BY lease", job_id)

    def count(self, table: str) -> int:
        return int(self.column(f"SELECT count(*) FROM {table}")[0])

    def row(self, query: str, *params: object) -> dict[str, Any]:
        cursor = self.connection.execute(query, params)
        row = cursor.fetchone()
        assert row is not None, f"no row: {query} {params}"
        return {column.name: value for column, value in zip(cursor.description or (), row, strict=True)}

    def column(self, query: str, *params: object) -> list[Any]:
        return [row[0] for row in self.connection.execute(query, params)]


# Jobs


def a_job(*, name: str = "noop", queue: str = QUEUE, **fields: Any) -> NewJob:
    """A job that is in no ledger yet."""
    job_id = fields.pop("id", uuid4())
    message = {
        "queue_name": queue,
        "actor_name": name,
        "args": [],
        "kwargs": {},
        "options": {},
        "message_id": str(job_id),
        "message_timestamp": 0,
    }
    return NewJob(id=job_id, queue=queue, actor=name, message=message, **{"workspace_id": WORKSPACE} | fields)


def a_pending_job(rails: Rails, **fields: Any) -> UUID:
    job = a_job(**fields)
    rails.ledger.enqueue(job)
    return job.id


def a_queued_job(rails: Rails, **fields: Any) -> UUID:
    job_id = a_pending_job(rails, **fields)
    rails.ring()
    return job_id


def a_running_job(rails: Rails, **fields: Any) -> Claim:
    return must_claim(rails, a_queued_job(rails, **fields))


def a_silent_job(rails: Rails, **fields: Any) -> Claim:
    """A running job whose lease has expired."""
    claim = a_running_job(rails, **fields)
    rails.expire(claim.lease.job_id)
    return claim


def a_retrying_job(rails: Rails, *, delay: timedelta = timedelta(hours=1), **fields: Any) -> UUID:
    claim = a_running_job(rails, **fields)
    assert rails.ledger.retry(claim.lease, claim.message, A_FAILURE, delay=delay, outcome=Outcome.RETRYING)
    return claim.lease.job_id


def a_succeeded_job(rails: Rails, **fields: Any) -> UUID:
    claim = a_running_job(rails, **fields)
    assert rails.ledger.succeed(claim.lease)
    return claim.lease.job_id


def a_failed_job(rails: Rails, **fields: Any) -> UUID:
    claim = a_running_job(rails, **fields)
    assert rails.ledger.fail(claim.lease.job_id, claim.lease, A_FAILURE)
    return claim.lease.job_id


def a_cancelled_job(rails: Rails, **fields: Any) -> UUID:
    job_id = a_pending_job(rails, **fields)
    assert rails.ledger.cancel(job_id)
    return job_id


def must_claim(rails: Rails, job_id: UUID) -> Claim:
    """Claim a queued or due job."""
    rails.make_due()
    rails.ring()
    claim = rails.claim(job_id)
    assert claim is not None
    return claim


# Documents


@dataclass(frozen=True)
class Held:
    """A document in the hands of a running attempt."""

    document: Document
    lease: Lease

    @property
    def id(self) -> UUID:
        return self.document.id


def an_uploaded_document(
    rails: Rails, content: bytes = b"%PDF-1.7 water", *, workspace_id: UUID = WORKSPACE, blob_key: str = "w/blob"
) -> tuple[UUID, UUID]:
    """Return the document and the pending job that will extract it."""
    document_id = uuid4()
    with rails.transaction() as unit:
        job_id = unit.jobs.enqueue("extract_document", document_id, workspace_id)
        unit.intake.add(
            Document(
                id=document_id,
                workspace_id=workspace_id,
                name="river.pdf",
                state="uploaded",  # type: ignore[arg-type]
                blob_key=blob_key,
                content_sha256=sha256(content).digest(),
                byte_count=len(content),
                generation=0,
                target_generation=1,
                job_id=job_id,
            )
        )
    return document_id, job_id


def an_extracting_document(rails: Rails, **upload: Any) -> Held:
    document_id, job_id = an_uploaded_document(rails, **upload)
    return start_extraction(rails, document_id, job_id, workspace_id=upload.get("workspace_id", WORKSPACE))


def start_extraction(rails: Rails, document_id: UUID, job_id: UUID, *, workspace_id: UUID = WORKSPACE) -> Held:
    claim = must_claim(rails, job_id)
    with rails.transaction(claim.lease) as unit:
        document = unit.documents.start_extraction(document_id, workspace_id, job_id)
    assert document is not None
    return Held(document, claim.lease)


def an_indexing_document(rails: Rails, pages: Sequence[str] = ("The river turns the mill.",), **upload: Any) -> Held:
    """A document whose pages are stored and whose indexing has begun."""
    held = an_extracting_document(rails, **upload)
    with rails.transaction(held.lease) as unit:
        unit.pages.add(held.document, a_batch(pages))
        next_job_id = unit.jobs.enqueue("index_document", held.id, held.document.workspace_id)
        unit.documents.finish_extraction(held.document, next_job_id=next_job_id, pages=len(pages), warning=None)
        unit.jobs.finish()
    claim = must_claim(rails, next_job_id)
    with rails.transaction(claim.lease) as unit:
        document = unit.documents.start_indexing(held.id, held.document.workspace_id, next_job_id)
    assert document is not None
    return Held(document, claim.lease)


def a_ready_document(rails: Rails, pages: Sequence[str] = ("The river turns the mill.",), **upload: Any) -> UUID:
    from domain.indexing import Indexer, index_document

    held = an_indexing_document(rails, pages, **upload)
    index_document(
        held.id,
        held.document.workspace_id,
        lease=held.lease,
        transactions=rails.transactions,
        indexer=Indexer(a_chunker(), FakeEmbedder()),
    )
    return held.id


def a_failed_document(rails: Rails, **upload: Any) -> UUID:
    held = an_extracting_document(rails, **upload)
    assert rails.ledger.fail(held.lease.job_id, held.lease, A_FAILURE)
    return held.id


def a_batch(pages: Sequence[str], *, first: int = 1, page_count: int | None = None) -> PageBatch:
    numbered = tuple(Page(number, text) for number, text in enumerate(pages, start=first))
    return PageBatch(page_count or first - 1 + len(pages), numbered)


def a_workspace(rails: Rails, *, budget: int | None = None) -> UUID:
    workspace_id = uuid4()
    rails.connection.execute(
        "INSERT INTO workspaces (id, name, daily_token_budget) VALUES (%s, %s, %s)",
        [workspace_id, f"workspace {workspace_id}", budget],
    )
    return workspace_id


def a_chunker() -> Any:
    from domain.chunking import Chunker

    return Chunker(max_tokens=64)


# Fakes of the ports that reach outside


@dataclass
class FakeBlobs:
    """Blobs in a dictionary."""

    blobs: dict[str, bytes] = field(default_factory=dict)

    def put(self, key: str, content: Iterable[bytes]) -> None:
        self.blobs[key] = b"".join(content)

    @contextmanager
    def local_file(self, key: str) -> Iterator[Path]:
        if key not in self.blobs:
            raise PermanentError(FailureCode.BLOB_MISSING, "The uploaded file is no longer in storage.")
        with NamedTemporaryFile() as file:
            file.write(self.blobs[key])
            file.flush()
            yield Path(file.name)

    def delete(self, key: str) -> None:
        self.blobs.pop(key, None)


@dataclass
class FakeReader:
    """Reads the given pages in batches of two; `stop_before` is the page at which it raises `error`."""

    pages: Sequence[str]
    stop_before: int = 0
    error: Exception | None = None
    repaired: bool = False
    lost: frozenset[int] = frozenset()
    first_pages: list[int] = field(default_factory=list)
    version: str = "fake/1"

    def read_pages(self, file: Path, *, first_page: int = 1) -> Iterator[PageBatch]:
        self.first_pages.append(first_page)
        for first in range(first_page, len(self.pages) + 1, 2):
            if self.error and first <= self.stop_before <= first + 1:
                raise self.error
            texts = self.pages[first - 1 : first + 1]
            numbered = tuple(Page(n, text, lost=n in self.lost) for n, text in enumerate(texts, start=first))
            yield PageBatch(len(self.pages), numbered, repaired=self.repaired)


FEW_AT_A_TIME = EmbeddingLimits(inputs_per_request=4, tokens_per_request=1000, tokens_per_input=500)


@dataclass
class FakeEmbedder:
    """Embeds like the server of the tests; raises `errors` first, one a call (None: answer)."""

    model: str = "fake/8"
    dimensions: int = 8
    limits: EmbeddingLimits = FEW_AT_A_TIME
    errors: list[Exception | None] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    tokens: int = 0
    is_free: bool = False

    def embed(self, texts: Sequence[str]) -> Embeddings:
        error = self.errors.pop(0) if self.errors else None
        if error:
            raise error
        self.calls.append(list(texts))
        cost = sum(map(count_tokens, texts))
        self.tokens += cost
        return Embeddings(np.array([vector_of(text, self.dimensions) for text in texts]), cost)


# Files


def a_pdf(*pages: str) -> bytes:
    """A small, undamaged PDF with one line of ASCII text per line of each page."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for text in pages:
        kids.append(f"{len(objects) + 1} 0 R")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {len(objects) + 2} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        lines = "".join(f"({_escaped(line)}) Tj T* " for line in text.splitlines())
        stream = f"BT /F1 11 Tf 14 TL 72 720 Td {lines}ET".encode()
        objects.append(f"<< /Length {len(stream)} >>\nstream\n".encode() + stream + b"\nendstream")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    return _pdf_file(objects)


def _pdf_file(objects: Sequence[bytes]) -> bytes:
    content, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(content))
        content += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    head = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    return content + head.encode() + f"startxref\n{len(content)}\n%%EOF\n".encode()


def _escaped(line: str) -> str:
    return line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
