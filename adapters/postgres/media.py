"""The media_files table: what jobs do with it, and what callers read of it."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from adapters.postgres.jobs import named_job
from adapters.postgres.ledger import enqueue_in
from adapters.postgres.pool import Connection, LazyPool
from adapters.postgres.sql import load_queries
from domain.errors import InvalidJobError
from domain.media import JOB_OF_KIND, MediaFile, MediaKind, NewMedia, Picture, parse_recipe

_MEDIA = load_queries("media")

Row = dict[str, Any]


class PostgresMediaFiles:
    """See domain.media.MediaFiles."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, media: NewMedia) -> None:
        """See the port."""
        recipe = Jsonb(media.recipe.as_json()) if media.recipe is not None else None
        try:
            self._connection.execute(_MEDIA["insert_media"], asdict(media) | {"recipe": recipe})
        except psycopg.errors.ForeignKeyViolation:
            raise InvalidJobError(f"there is no workspace {media.workspace_id}") from None
        if media.job_id is not None:
            params = {"media_id": media.id, "workspace_id": media.workspace_id}
            enqueue_in(self._connection, named_job(JOB_OF_KIND[media.kind], params, job_id=media.job_id))

    def find_source(self, workspace_id: UUID, media_id: UUID | None, document_id: UUID | None) -> str | None:
        """See the port."""
        params = {"workspace_id": workspace_id, "media_id": media_id, "document_id": document_id}
        row = self._connection.execute(_MEDIA["find_source"], params).fetchone()
        return str(row[0]) if row else None

    def start(self, media_id: UUID, workspace_id: UUID, job_id: UUID) -> MediaFile | None:
        """See the port."""
        params = {"id": media_id, "workspace_id": workspace_id, "job_id": job_id}
        with self._connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(_MEDIA["start_media"], params).fetchone()
        if row is None:
            return None
        recipe = parse_recipe(row["recipe"]) if row["recipe"] is not None else None
        return MediaFile(**row | {"kind": MediaKind(row["kind"]), "recipe": recipe})

    def publish(self, media: MediaFile, picture: Picture, blob_key: str, content_sha256: bytes) -> bool:
        """See the port."""
        facts: Row = {
            "blob_key": blob_key,
            "byte_count": len(picture.content),
            "media_type": picture.format.media_type,
            "width": picture.width,
            "height": picture.height,
            "frames": picture.frames,
        }
        params = facts | {"content_sha256": content_sha256, "unchanged": picture.unchanged} | _key(media)
        row = self._connection.execute(_MEDIA["publish_media"], params).fetchone()
        if row is not None and media.kind is MediaKind.THUMBNAIL:
            job_id, source_media_id, source_document_id = row
            sources = {"source_media_id": source_media_id, "source_document_id": source_document_id}
            shown = {name: str(value) if value else None for name, value in sources.items()}
            data = Jsonb({"media_id": str(media.id), **shown, **facts})
            params = {"job_id": job_id, "workspace_id": media.workspace_id, "data": data}
            self._connection.execute(_MEDIA["note_thumbnail"], params)
        return row is not None

    def become(self, media: MediaFile, *, media_type: str | None = None, document_id: UUID | None = None) -> bool:
        """See the port."""
        params = {"media_type": media_type, "document_id": document_id} | _key(media)
        return bool(self._connection.execute(_MEDIA["file_became"], params).rowcount)

    def delete(self, media_id: UUID, workspace_id: UUID) -> tuple[bool, str | None]:
        """See the port. The running attempt learns of it at its next fence."""
        params = {"id": media_id, "workspace_id": workspace_id}
        self._connection.execute(
            _MEDIA["stop_media_job"], params
        )  # first: attempts, too, hold their job before the row
        row = self._connection.execute(_MEDIA["delete_media"], params).fetchone()
        return row is not None, row[0] if row else None


class MediaReading:
    """Pictures of one workspace, as rows by name. Another workspace's ids find nothing."""

    def __init__(self, pool: LazyPool, workspace_id: UUID) -> None:
        self._pool = pool
        self._workspace_id = workspace_id

    def find(self, media_id: UUID) -> Row | None:
        """Return a picture, whatever its state."""
        rows = self._rows("show_media", {"id": media_id})
        return rows[0] if rows else None

    def list(
        self,
        *,
        kind: str | None,
        state: str | None,
        source_id: UUID | None,
        after: tuple[datetime, UUID] | None,
        limit: int,
    ) -> Sequence[Row]:
        """Return at most `limit` pictures behind a position, the newest first."""
        created_at, after_id = after or (None, None)
        behind = {"created_at": created_at, "after_id": after_id}
        return self._rows("list_media", {"kind": kind, "state": state, "source_id": source_id, "limit": limit} | behind)

    def count_pending(self, most: int) -> int:
        """Count what jobs are still to make, up to `most`."""
        return int(self._rows("count_pending", {"most": most})[0]["count"])

    def _rows(self, query: str, params: Row) -> Sequence[Row]:
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_MEDIA[query], params | {"workspace_id": self._workspace_id}).fetchall()


def _key(media: MediaFile) -> Row:
    return {"id": media.id, "workspace_id": media.workspace_id}
