"""What is told of tasks."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from adapters.api.models.base import A_DOCUMENT, A_TASK, A_TIME, Answer, Count, Failure, Percent, example
from domain.tasks import Reason, TaskStatus


class Attempt(Answer):
    """One run of a stage. `outcome` is null while it runs."""

    stage: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None


class TaskResult(Answer):
    """What a document's task has made; null members: the document has changed since, or the task made none."""

    document_id: UUID | None
    generation: Count | None
    page_count: Count | None
    chunk_count: Count | None
    tokens_embedded: Count | None


class TaskState(Answer):
    """How a task is, in short."""

    model_config = example(id=A_TASK, status="processing", progress=62, stage="index_document")

    id: UUID
    status: TaskStatus
    progress: Percent = Field(description="0 to 100; it never goes back, and 100 means completed.")
    stage: str = Field(description="The job that the task is at.")


A_TASK_IN_FULL = {
    "id": A_TASK,
    "kind": "extract_document",
    "status": "processing",
    "progress": 62,
    "stage": "index_document",
    "document_id": A_DOCUMENT,
    "media_id": None,
    "attempt": 1,
    "crash_count": 0,
    "cancel_requested": False,
    "attempts": [
        {
            "stage": "extract_document",
            "started_at": A_TIME,
            "ended_at": A_TIME,
            "outcome": "succeeded",
        }
    ],
    "result": None,
    "error": None,
    "replaced_by": None,
    "created_at": A_TIME,
    "started_at": A_TIME,
    "finished_at": None,
}


class Task(Answer):
    """A task: a job, or for a document the job that reads it and the one that indexes it, on one scale."""

    model_config = example(**A_TASK_IN_FULL)

    id: UUID
    kind: str
    status: TaskStatus
    progress: Percent
    stage: str
    document_id: UUID | None
    media_id: UUID | None = Field(description="The picture that the task makes, or the file that it looks at.")
    attempt: Count = Field(description="Runs of this stage that count: parked and handed-back ones do not.")
    crash_count: Count
    cancel_requested: bool
    attempts: list[Attempt] | None = Field(description="Every run; null in lists.")
    result: TaskResult | None
    error: Failure | None
    replaced_by: UUID | None = Field(description="The job that a retry put in this one's place.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TaskList(Answer):
    """Some tasks, the latest first."""

    model_config = example(items=[A_TASK_IN_FULL | {"attempts": None}], next=None)

    items: list[Task]
    next: str | None


class WhyNot(Answer):
    """Why a task is not running: the first reason that applies, and when it probably starts."""

    model_config = example(
        task_id=A_TASK,
        reason="behind_others",
        message="12 other jobs of the workspace came before it.",
        estimated_seconds=8.5,
    )

    task_id: UUID
    reason: Reason
    message: str
    estimated_seconds: float | None = Field(
        description="From the queue's rate of the last minutes, counting all that is due; null: nobody can tell."
    )
