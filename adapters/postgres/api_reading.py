"""What the API reads of one workspace, and of the queues as a whole. Every method is one short read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from adapters.postgres.dispatch import RELAY_LOCK
from adapters.postgres.pool import LazyPool
from adapters.postgres.sql import load_queries
from domain.jobs import EXTRACT_QUEUE, JobState
from domain.tasks import Outlook

_DOCUMENTS = load_queries("api_documents")
_TASKS = load_queries("api_tasks")

Row = dict[str, Any]
#: Where a list goes on: the time and the id of its last item.
Position = tuple[datetime, UUID]


class WorkspaceReading:
    """Documents and tasks of one workspace, as rows by name. Another workspace's ids find nothing."""

    def __init__(self, pool: LazyPool, workspace_id: UUID) -> None:
        self._pool = pool
        self._workspace_id = workspace_id

    def document(self, document_id: UUID) -> Row | None:
        """Return a document that is not deleted."""
        return self._one(_DOCUMENTS["read_document"], {"id": document_id})

    def documents(self, *, states: Sequence[str] | None, after: Position | None, limit: int) -> list[Row]:
        """Return at most `limit` documents behind a position, the newest first."""
        return self._rows(_DOCUMENTS["list_documents"], {"states": _list(states), "limit": limit, **_behind(after)})

    def page(self, document_id: UUID, number: int) -> Row | None:
        """Return a page of what readers see."""
        return self._one(_DOCUMENTS["read_page"], {"id": document_id, "number": number})

    def chunks(self, document_id: UUID, generation: int, *, after: int, limit: int) -> list[Row]:
        """Return at most `limit` chunks of a published generation behind an ordinal."""
        params = {"id": document_id, "generation": generation, "after": after, "limit": limit}
        return self._rows(_DOCUMENTS["list_chunks"], params)

    def task(self, task_id: UUID) -> Row | None:
        """Return a task by its own id or by the id of its second job."""
        task = self._one(_TASKS["read_task"], {"id": task_id})
        if task is not None:
            return task
        first = self._one(_TASKS["task_of_job"], {"id": task_id})
        return self._one(_TASKS["read_task"], {"id": first["id"]}) if first else None

    def tasks(
        self,
        *,
        statuses: Sequence[str] | None,
        kind: str | None,
        document_id: UUID | None,
        after: Position | None,
        limit: int,
    ) -> list[Row]:
        """Return at most `limit` tasks behind a position, the latest first."""
        params = {"statuses": _list(statuses), "kind": kind, "document_id": document_id, "limit": limit}
        return self._rows(_TASKS["list_tasks"], params | _behind(after))

    def attempts(self, task: Row) -> list[Row]:
        """Return every run of a task's stages."""
        return self._rows(_TASKS["task_attempts"], {"id": task["id"], "job_id": task["job_id"]})

    def last_outcome(self, job_id: UUID) -> str | None:
        """Return how the last run of a job ended."""
        row = self._one(_TASKS["last_attempt"], {"job_id": job_id})
        return str(row["outcome"]) if row else None

    def count_ahead(self, queue: str, available_at: datetime) -> int:
        """Count the workspace's jobs that are handed out before one that is due at this time."""
        row = self._one(_TASKS["count_ahead"], {"queue": queue, "available_at": available_at})
        return int(row["jobs"]) if row else 0

    def backlog(self, limit: int) -> int:
        """Count the documents that wait to be read, up to a limit."""
        row = self._one(_TASKS["backlog"], {"queue": EXTRACT_QUEUE, "limit": limit})
        return int(row["jobs"]) if row else 0

    def count_jobs(self) -> dict[tuple[JobState, str], int]:
        """Count the jobs by state and actor."""
        rows = self._rows(_TASKS["count_jobs"], {})
        return {(JobState(row["state"]), row["actor"]): row["jobs"] for row in rows}

    def _one(self, query: Any, params: Row) -> Row | None:
        rows = self._rows(query, params)
        return rows[0] if rows else None

    def _rows(self, query: Any, params: Row) -> list[Row]:
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, params | {"workspace_id": self._workspace_id}).fetchall()


class QueueReading:
    """What is true of the queues as a whole: figures, nobody's rows."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def outlook(self, queue: str) -> Outlook:
        """Tell how a queue does."""
        params = {"queue": queue, "lock": RELAY_LOCK}
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(_TASKS["queue_outlook"], params).fetchone()
        assert row is not None  # it asks for figures alone  # noqa: S101
        return Outlook(**row)

    def has_workers(self) -> bool:
        """Tell whether some worker process lives and hands out jobs."""
        with self._pool.connection() as connection:
            row = connection.execute(_TASKS["has_workers"], {"lock": RELAY_LOCK}).fetchone()
        return bool(row and row[0])


def _behind(after: Position | None) -> Row:
    return {"before": after[0] if after else None, "before_id": after[1] if after else None}


def _list(names: Sequence[str] | None) -> list[str] | None:
    return [str(name) for name in names] if names else None
