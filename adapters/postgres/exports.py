"""Exports in Postgres: read by key, page after page, so that no transaction stays open while files are written."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.pool import Connection, LazyPool
from adapters.postgres.sql import load_queries
from adapters.postgres.transactions import held
from domain.exports import Export, ExportFormat, ExportKind, Part, Place, Rows, part_name, sign_link
from domain.jobs import Lease

_EXPORTS = load_queries("exports")

Row = dict[str, Any]

NOWHERE = UUID(int=0)

#: Before the first row of each kind.
BEGINNINGS: dict[ExportKind, Place] = {
    ExportKind.DOCUMENTS: (NOWHERE,),
    ExportKind.PAGES: (NOWHERE, -1),
    ExportKind.CHUNKS: (NOWHERE, -1),
    ExportKind.EMBEDDINGS: ("", ""),
}

READS: dict[ExportKind, str] = {
    ExportKind.DOCUMENTS: "read_documents",
    ExportKind.PAGES: "read_pages",
    ExportKind.CHUNKS: "read_chunks",
    ExportKind.EMBEDDINGS: "read_embeddings",
}

#: Of the vectors that are read at a time: 4000 numbers of four bytes are the longest, 16 MB.
MOST_VECTORS = 500


class PostgresExports:
    """See domain.exports.Exports."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def begin(self, workspace_id: UUID, wanted: ExportFormat, lease: Lease, *, keep: timedelta) -> Export:
        """See the port."""
        ids = {"id": lease.job_id, "workspace_id": workspace_id}
        with held(self._pool, lease) as connection:
            found = _find(connection, ids)
            if found is None:
                new = ids | {"format": wanted, "secret": secrets.token_bytes(32), "keep": keep}
                connection.execute(_EXPORTS["begin_export"], new)
                connection.execute(_EXPORTS["fix_documents"], ids)
                connection.execute(_EXPORTS["estimate_rows"], ids)
                found = _find(connection, ids)
        assert found is not None  # by this transaction  # noqa: S101
        return _export(found)

    def read(self, export: Export, kind: ExportKind, after: Place, *, rows: int, size: int) -> Rows:
        """See the port."""
        place = after or BEGINNINGS[kind]
        params = {
            "id": export.id,
            "workspace_id": export.workspace_id,
            "after_1": place[0],
            "after_2": place[-1],
            "rows": min(rows, MOST_VECTORS) if kind is ExportKind.EMBEDDINGS else rows,
            "size": size,
        }
        with self._pool.connection() as connection:
            found = connection.execute(_EXPORTS[READS[kind]], params, binary=True).fetchall()
        return [(*row[:2], _numbers(row[2])) for row in found] if kind is ExportKind.EMBEDDINGS else found

    def expect_blob(self, export: Export, key: str, lease: Lease) -> None:
        """See the port."""
        with held(self._pool, lease) as connection:
            connection.execute(_EXPORTS["expect_blob"], {"id": export.id, "key": key})

    def add_part(self, export: Export, part: Part, lease: Lease) -> None:
        """See the port."""
        params = {
            "id": export.id,
            "kind": part.kind,
            "number": part.number,
            "rows": part.row_count,
            "bytes": part.byte_count,
            "sha256": part.sha256,
            "blob_key": part.blob_key,
            "place": Jsonb([value if isinstance(value, int) else str(value) for value in part.place]),
            "is_last": part.is_last,
        }
        with held(self._pool, lease) as connection:
            connection.execute(_EXPORTS["add_part"], params)
            connection.execute(_EXPORTS["note_export_progress"], {"id": export.id})

    def finish(self, export: Export, lease: Lease) -> tuple[int, Sequence[Part]]:
        """See the port."""
        ids = {"id": export.id}
        with held(self._pool, lease) as connection:
            parts = [_part(*row) for row in connection.execute(_EXPORTS["read_parts"], ids)]
            done = {"manifest": Jsonb(_manifest(export, parts))}
            row = connection.execute(_EXPORTS["finish_export"], ids | done).fetchone()
            connection.execute(_EXPORTS["forget_documents"], ids)
            connection.execute(_EXPORTS["note_export_ready"], ids)
            PostgresJobs(connection, lease).finish()
        lease.settled = True
        return int(row[0]) if row else 0, parts


def _find(connection: Connection, ids: Row) -> Row | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_EXPORTS["find_export"], ids).fetchone()


def _export(row: Row) -> Export:
    parts = {ExportKind(kind): part for kind, part in row["parts"].items()}
    return Export(
        id=row["id"],
        workspace_id=row["workspace_id"],
        format=ExportFormat(row["format"]),
        started_at=row["created_at"],
        expires_at=row["expires_at"],
        places={kind: tuple(place) for kind, (_, place, _) in parts.items()},
        numbers={kind: number for kind, (number, _, _) in parts.items()},
        done=frozenset(kind for kind, (_, _, is_last) in parts.items() if is_last),
    )


def _part(kind: str, *values: Any) -> Part:
    number, rows, size, sha256, blob_key, place, is_last = values
    return Part(ExportKind(kind), number, rows, size, bytes(sha256), blob_key, tuple(place), is_last)


def _manifest(export: Export, parts: Sequence[Part]) -> Row:
    """Say what there is: rows of each kind, and every file with what it must hash to."""
    files = [
        {
            "name": part_name(part.kind, part.number, export.format),
            "rows": part.row_count,
            "bytes": part.byte_count,
            "sha256": part.sha256.hex(),
        }
        for part in parts
    ]
    rows = {str(kind): sum(part.row_count for part in parts if part.kind is kind) for kind in ExportKind}
    return {"rows": rows, "files": files}


def _numbers(vector: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(vector.to_numpy(), dtype=np.float32)


class ExportSearch:
    """What people see of a workspace's exports, as rows by name."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def exports(self, workspace_id: UUID, *, before: tuple[datetime, UUID] | None = None, limit: int = 20) -> list[Row]:
        """Return the latest exports; `before`: creation and id of the last one seen."""
        place = {"before": before[0] if before else None, "before_id": before[1] if before else None}
        return self._rows({"workspace_id": workspace_id, "id": None, "limit": limit} | place)

    def export(self, export_id: UUID, workspace_id: UUID) -> Row | None:
        """Return one export of a workspace."""
        place = {"before": None, "before_id": None}
        rows = self._rows({"workspace_id": workspace_id, "id": export_id, "limit": 1} | place)
        return rows[0] if rows else None

    def _rows(self, params: Row) -> list[Row]:
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_EXPORTS["list_exports"], params).fetchall()


class ExportLinks:
    """Signs and follows download links. It works over the whole pool: a link itself says who may read what."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def sign(self, export_id: UUID, workspace_id: UUID, names: Sequence[str], expires: int) -> dict[str, str]:
        """Return the signature of each file; none when the workspace has no such export."""
        with self._pool.connection() as connection:
            ids = {"id": export_id, "workspace_id": workspace_id}
            row = connection.execute(_EXPORTS["read_secret"], ids).fetchone()
        return {name: sign_link(bytes(row[0]), f"{export_id}/{name}", expires) for name in names} if row else {}

    def follow(self, export_id: UUID, kind: str, number: int) -> Row | None:
        """Return secret, format, blob key and hash of a part of a finished export that has not expired."""
        params = {"id": export_id, "kind": kind, "number": number}
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_EXPORTS["find_link"], params).fetchone()
