"""The documents table: what jobs do with it, and what uploads do."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from adapters.postgres.chunks import delete_other_generations
from adapters.postgres.pool import Connection
from adapters.postgres.sql import load_queries
from domain.documents import Document, DocumentState
from domain.errors import InvalidJobError

_DOCUMENTS = load_queries("documents")
_JOBS = load_queries("jobs")

#: What readers see of a document before it was ready for the first time.
NO_GENERATION = 0


class PostgresDocuments:
    """See domain.ports.Documents."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start_extraction(self, document_id: UUID, workspace_id: UUID, job_id: UUID) -> Document | None:
        """See the port."""
        return self._start("start_extraction", document_id, workspace_id, job_id)

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
        """See the port."""
        key = {"id": document.id, "job_id": document.job_id}
        progress = {"pages": pages, "chunks": chunks, "embedded": embedded}
        params = key | progress | {"next_job_id": next_job_id, "warning": warning}
        self._connection.execute(_DOCUMENTS["finish_extraction"], params)

    def start_indexing(self, document_id: UUID, workspace_id: UUID, job_id: UUID) -> Document | None:
        """See the port."""
        return self._start("start_indexing", document_id, workspace_id, job_id)

    def record_chunks(self, document: Document, *, chunks: int, embedded: int, tokens: int) -> None:
        """See the port."""
        params = {"id": document.id, "chunk_count": chunks, "chunks_done": embedded, "tokens": tokens}
        self._connection.execute(_DOCUMENTS["record_chunks"], params)

    def publish(self, document: Document, *, chunks: int, tokens: int) -> bool:
        """See the port."""
        params = {"id": document.id, "job_id": document.job_id, "chunks": chunks, "tokens": tokens}
        return bool(self._connection.execute(_DOCUMENTS["publish"], params).rowcount)

    def _start(self, query: str, document_id: UUID, workspace_id: UUID, job_id: UUID) -> Document | None:
        params = {"id": document_id, "workspace_id": workspace_id, "job_id": job_id}
        document = fetch_document(self._connection, query, params | {"is_held": False})
        if document is None and self._connection.execute(_DOCUMENTS["lock_document"], params).rowcount:
            document = fetch_document(self._connection, query, params | {"is_held": True})
        return document


class PostgresIntake:
    """See domain.ports.Intake."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find_by_content(self, workspace_id: UUID, content_sha256: bytes) -> Document | None:
        """See the port."""
        params = {"workspace_id": workspace_id, "content_sha256": content_sha256}
        self._connection.execute(_DOCUMENTS["lock_content"], params)
        return fetch_document(self._connection, "find_by_content", params)

    def add(self, document: Document) -> None:
        """See the port."""
        try:
            self._connection.execute(_DOCUMENTS["insert_document"], asdict(document))
        except psycopg.errors.ForeignKeyViolation:
            raise InvalidJobError(f"there is no workspace {document.workspace_id}") from None

    def reindex(self, document_id: UUID, workspace_id: UUID, job_id: UUID, *, blob_key: str | None = None) -> bool:
        """See the port."""
        params = {"id": document_id, "workspace_id": workspace_id, "job_id": job_id, "blob_key": blob_key}
        self._connection.execute(_DOCUMENTS["take_turn"], params)
        return bool(self._connection.execute(_DOCUMENTS["reindex"], params).rowcount)

    def replace(self, document_id: UUID, workspace_id: UUID, version: Document) -> Document | None:
        """See the port."""
        key = {"id": document_id, "workspace_id": workspace_id}
        jobs = {"document_id": document_id, "workspace_id": workspace_id}
        self._connection.execute(_DOCUMENTS["take_turn"], key)
        self._connection.execute(_JOBS["hold_jobs_of_document"], jobs)
        before = fetch_document(self._connection, "lock_document", key)
        if before is not None and before.content_sha256 != version.content_sha256:
            self._connection.execute(_JOBS["stop_jobs_of_document"], jobs)
            self._connection.execute(_DOCUMENTS["replace"], asdict(version) | key)
        return before

    def delete(self, document_id: UUID, workspace_id: UUID) -> str | None:
        """See the port. The running attempt learns of it at its next fence, before it can write another row."""
        key = {"id": document_id, "workspace_id": workspace_id}
        jobs = {"document_id": document_id, "workspace_id": workspace_id}
        self._connection.execute(_DOCUMENTS["take_turn"], key)
        self._connection.execute(_JOBS["hold_jobs_of_document"], jobs)
        self._connection.execute(_JOBS["stop_jobs_of_document"], jobs)
        row = self._connection.execute(_DOCUMENTS["delete"], key).fetchone()
        if row is None:
            return None
        delete_other_generations(self._connection, document_id, workspace_id, NO_GENERATION)
        return str(row[0])


def fetch_document(connection: Connection, query: str, params: dict[str, Any]) -> Document | None:
    """Run a query of documents.sql that returns one document or none."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_DOCUMENTS[query], params).fetchone()
    return Document(**row | {"state": DocumentState(row["state"])}) if row else None
