"""What housekeeping does: adopt what is stranded, prune what is old."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from adapters.postgres.jobs import enqueue_document_job
from adapters.postgres.pool import Connection
from adapters.postgres.sql import load_queries
from domain.retention import Pruned, Retention

_CHUNKS = load_queries("chunks")
_DOCUMENTS = load_queries("documents")
_RETENTION = load_queries("retention")


class PostgresSweeping:
    """See domain.ports.Sweeping."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def adopt_stranded(self, *, age: timedelta, limit: int) -> Sequence[UUID]:
        """See the port."""
        rows = self._connection.execute(_DOCUMENTS["find_stranded"], {"age": age, "limit": limit}).fetchall()
        for document_id, workspace_id in rows:
            job_id = enqueue_document_job(self._connection, "extract_document", document_id, workspace_id)
            self._connection.execute(_DOCUMENTS["adopt"], {"id": document_id, "job_id": job_id})
        return [row[0] for row in rows]

    def prune(self, keep: Retention, limit: int) -> Pruned:
        """See the port."""
        return Pruned(
            jobs=self._prune("prune_jobs", keep.finished_jobs, limit),
            failed_jobs=self._prune("prune_failed_jobs", keep.failed_jobs, limit),
            events=self._prune("prune_events", keep.events, limit),
            ticks=self._prune("prune_ticks", keep.ticks, limit),
            parser_deaths=self._prune("prune_parser_deaths", keep.failed_jobs, limit),
            webhooks=self._prune("prune_webhooks", keep.finished_jobs, limit),
            failed_webhooks=self._prune("prune_failed_webhooks", keep.failed_jobs, limit),
            exports=self._prune("prune_exports", keep.finished_jobs, limit),
            notifications=self._prune("prune_notifications", keep.failed_jobs, limit),
        )

    def index_vectors(self, *, limit: int, spare: int) -> int:
        """See the port."""
        return self._connection.execute(_CHUNKS["index_waiting"], {"limit": limit, "spare": spare}).rowcount

    def _prune(self, query: str, age: timedelta, limit: int) -> int:
        return self._connection.execute(_RETENTION[query], {"age": age, "limit": limit}).rowcount
