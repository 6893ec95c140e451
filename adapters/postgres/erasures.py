"""Erase documents and workspaces in Postgres."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.pool import Connection, LazyPool
from adapters.postgres.sql import load_queries
from adapters.postgres.transactions import held
from domain.erasure import no_such_document
from domain.jobs import Lease

_CHUNKS = load_queries("chunks")
_DOCUMENTS = load_queries("documents")
_ERASURES = load_queries("erasures")
_JOBS = load_queries("jobs")

Row = dict[str, Any]

#: Tables whose rows are found otherwise than by a workspace of their own.
PAGES, JOBS = "document_pages", "jobs"
_HOLDING = {PAGES: "hold_page_rows", JOBS: "hold_job_rows"}


class PostgresErasures:
    """See domain.erasure.Erasures."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def begin(self, workspace_id: UUID, document_id: UUID | None, lease: Lease) -> bool:
        """See the port."""
        ids = {"id": lease.job_id, "workspace_id": workspace_id, "document_id": document_id}
        with held(self._pool, lease) as connection:
            connection.execute(_ERASURES["begin_erasure"], ids)
            if document_id is None:
                connection.execute(_ERASURES["hold_jobs"], ids)
                return not _number(connection, "stop_jobs", ids)
            connection.execute(_DOCUMENTS["take_turn"], {"id": document_id})
            connection.execute(_JOBS["hold_jobs_of_document"], ids)
            connection.execute(_JOBS["stop_jobs_of_document"], ids)
            if _is_unknown(connection, ids):
                raise no_such_document(document_id)
            return not _number(connection, "running_of_document", ids)

    def erase_document(self, workspace_id: UUID, document_id: UUID, lease: Lease) -> str | None:
        """See the port."""
        ids = {"id": lease.job_id, "workspace_id": workspace_id, "document_id": document_id}
        with held(self._pool, lease) as connection:
            row = connection.execute(_ERASURES["has_counted"], ids).fetchone()
            if row is not None and row[0]:
                return str(row[1]) if row[1] else None
            connection.execute(_DOCUMENTS["take_turn"], {"id": document_id})
            counts, blob_key = _erase_rows_of(connection, ids), None
            found = connection.execute(_ERASURES["erase_document_row"], ids).fetchone()
            if found is not None:
                counts["documents"], counts["blobs"], blob_key = 1, 1, str(found[0])
                connection.execute(_ERASURES["disown_document_blob"], {"blob_key": blob_key})
            _count(connection, lease, counts, blob_key=blob_key)
            return blob_key

    def tables(self) -> Sequence[str]:
        """See the port."""
        with self._pool.connection() as connection:
            found = [str(row[0]) for row in connection.execute(_ERASURES["workspace_tables"])]
        return [PAGES, *found, JOBS]

    def erase_rows(self, workspace_id: UUID, table: str, lease: Lease, *, limit: int) -> int:
        """See the port."""
        params = {"id": lease.job_id, "workspace_id": workspace_id, "limit": limit}
        with held(self._pool, lease) as connection:
            held_rows = connection.execute(_about(table, _HOLDING.get(table, "hold_rows")), params)
            places = [place for (place,) in held_rows]
            gone = connection.execute(_about(table, "erase_rows"), {"places": places}).rowcount
            _count(connection, lease, {table: gone} if gone else {})
            return gone

    def condemn_blobs(self, keys: Sequence[str], lease: Lease) -> None:
        """See the port."""
        with held(self._pool, lease) as connection:
            new = connection.execute(_ERASURES["condemn_blobs"], {"keys": list(keys)}).rowcount
            _count(connection, lease, {"blobs": new} if new else {})

    def strike_out(self, keys: Sequence[str], lease: Lease) -> None:
        """See the port."""
        with held(self._pool, lease) as connection:
            connection.execute(_ERASURES["strike_out"], {"id": lease.job_id, "keys": list(keys)})

    def finish(self, lease: Lease) -> Mapping[str, int]:
        """See the port."""
        with held(self._pool, lease) as connection:
            row = connection.execute(_ERASURES["finish_erasure"], {"id": lease.job_id}).fetchone()
            connection.execute(_ERASURES["note_erasure"], {"id": lease.job_id})
            PostgresJobs(connection, lease).finish()
        lease.settled = True
        return dict(row[0]) if row else {}


class ErasureSearch:
    """What people see of receipts, as rows by name."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def receipts(self, workspace_id: UUID, *, erasure_id: UUID | None = None, limit: int = 20) -> list[Row]:
        """Return the latest receipts, or one."""
        params = {"workspace_id": workspace_id, "id": erasure_id, "limit": limit}
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_ERASURES["list_erasures"], params).fetchall()

    def knows(self, workspace_id: UUID, document_id: UUID) -> bool:
        """Tell whether the workspace has a document, deleted or not."""
        ids = {"workspace_id": workspace_id, "document_id": document_id}
        with self._pool.connection() as connection:
            row = connection.execute(_ERASURES["knows_document"], ids).fetchone()
        return bool(row and row[0])


def _is_unknown(connection: Connection, ids: Row) -> bool:
    if connection.execute(_ERASURES["hold_document"], ids).fetchone() is not None:
        return False
    row = connection.execute(_ERASURES["has_counted"], ids).fetchone()
    return row is None or not row[0]


def _erase_rows_of(connection: Connection, ids: Row) -> dict[str, int]:
    """Remove what was made of a document, in the order in which its own jobs would hold the rows."""
    counts = {PAGES: connection.execute(_ERASURES["erase_pages"], ids).rowcount}
    hashes = [row[0] for row in connection.execute(_ERASURES["erase_chunks"], ids)]
    connection.execute(_CHUNKS["lock_vectors"], ids)
    gone = connection.execute(_CHUNKS["delete_unneeded"], ids | {"text_hashes": list(set(hashes))}).rowcount
    return counts | {
        "chunks": len(hashes),
        "chunk_embeddings": gone,
        "job_events": connection.execute(_ERASURES["erase_events"], ids).rowcount,
        "jobs": connection.execute(_ERASURES["erase_jobs"], ids).rowcount,
        "notifications": connection.execute(_ERASURES["erase_notifications"], ids).rowcount,
        "webhook_deliveries": connection.execute(_ERASURES["erase_deliveries"], ids).rowcount,
    }


def _about(table: str, query: str) -> sql.Composed:
    return sql.SQL(_ERASURES[query]).format(table=sql.Identifier(table))


def _count(connection: Connection, lease: Lease, counts: Mapping[str, int], *, blob_key: str | None = None) -> None:
    params = {"id": lease.job_id, "counts": Jsonb(dict(counts)), "blob_key": blob_key}
    connection.execute(_ERASURES["count_erased"], params)


def _number(connection: Connection, query: str, ids: Row) -> int:
    row = connection.execute(_ERASURES[query], ids).fetchone()
    return int(row[0]) if row else 0
