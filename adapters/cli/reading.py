"""What the command line reads from the database, as rows by name."""

from collections.abc import Sequence
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import dict_row

from adapters.postgres.dispatch import RELAY_LOCK
from adapters.postgres.pool import LazyPool
from adapters.postgres.sql import load_queries
from domain.errors import InvalidJobError

Row = dict[str, Any]

_DOCUMENTS = load_queries("documents")
_JOBS = load_queries("jobs")


class Reading:
    """Queries of documents.sql and jobs.sql. Every method is one short read."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def workspace(self, workspace: str) -> UUID:
        """Find a workspace by name or id. Raises InvalidJobError that lists what there is."""
        rows = self._rows(_DOCUMENTS["find_workspace"], {"workspace": workspace})
        if rows:
            return UUID(str(rows[0]["id"]))
        names = [row["name"] for row in self._rows(_DOCUMENTS["workspace_names"])]
        raise InvalidJobError(f"there is no workspace {workspace!r}; there are: {', '.join(names)}")

    def document(self, document_id: UUID, workspace_id: UUID) -> Row | None:
        """Return everything about one document."""
        rows = self._rows(_DOCUMENTS["show"], {"id": document_id, "workspace_id": workspace_id})
        return rows[0] if rows else None

    def newest(self, workspace_id: UUID, limit: int) -> list[Row]:
        """Return the newest documents of a workspace."""
        return self._rows(_DOCUMENTS["list"], {"workspace_id": workspace_id, "limit": limit})

    def follow(self, document_ids: Sequence[UUID]) -> dict[UUID, Row]:
        """Return how far some documents are."""
        rows = self._rows(_DOCUMENTS["follow"], {"ids": list(document_ids)})
        return {row["id"]: row for row in rows}

    def count_by_state(self) -> dict[str, int]:
        """Count all documents per state."""
        return {row["state"]: row["documents"] for row in self._rows(_DOCUMENTS["count_by_state"])}

    def queues(self) -> list[Row]:
        """Count the unfinished jobs per queue and state."""
        return self._rows(_JOBS["queue_depths"])

    def has_workers(self) -> bool:
        """Tell whether some worker process lives and hands out jobs."""
        return bool(self._rows(_DOCUMENTS["relay_leads"], {"lock": RELAY_LOCK})[0]["leads"])

    def job(self, job_id: UUID) -> Row | None:
        """Return one job."""
        rows = self._rows(_JOBS["show_job"], {"id": job_id})
        return rows[0] if rows else None

    def stages(self, document_id: UUID) -> list[Row]:
        """Return the jobs of a document, in order."""
        return self._rows(_DOCUMENTS["stages"], {"document_id": document_id})

    def attempts(self, job_ids: Sequence[UUID]) -> list[Row]:
        """Return every run of some jobs."""
        return self._rows(_DOCUMENTS["attempts"], {"job_ids": list(job_ids)})

    def opening(self, document_id: UUID) -> str:
        """Return how the published text of a document begins."""
        rows = self._rows(_DOCUMENTS["opening"], {"document_id": document_id})
        return str(rows[0]["text"]) if rows else ""

    def _rows(self, query: LiteralString, params: Row | None = None) -> list[Row]:
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, params).fetchall()
