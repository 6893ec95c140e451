"""Tasks: how far, why not yet, stop, once more."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from adapters.api import models
from adapters.api.auth import workspace
from adapters.api.cursors import Cursor, Limit, decode_cursor, encode_cursor
from adapters.api.documentation import located, problems
from adapters.api.documents import started
from adapters.api.problems import Problem, not_found
from adapters.api.repeats import IdempotencyKey, Remember, Repeatable, respond
from adapters.bootstrap import WorkspaceRuntime
from adapters.postgres.api_reading import Row
from adapters.postgres.idempotency import Answer
from domain.api_keys import Scope
from domain.errors import FailureCode
from domain.jobs import JobState
from domain.tasks import ENDED, TaskStatus, Waiting, explain

router = APIRouter(prefix="/tasks", tags=["tasks"])

Readable = Annotated[WorkspaceRuntime, Depends(workspace(Scope.READ_TASKS))]
Writable = Annotated[WorkspaceRuntime, Depends(workspace(Scope.WRITE_TASKS))]

LONGEST_WAIT_SECONDS = 30
Wait = Annotated[
    int,
    Query(ge=0, le=LONGEST_WAIT_SECONDS, description="Answer when the task has ended, or after so many seconds."),
]
Statuses = Annotated[list[TaskStatus] | None, Query(description="In one of these statuses.")]

#: The name of an actor.
KIND = r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"

#: A waiting request looks at its task again after these pauses, the last one repeated.
LOOK_SECONDS = (0.1, 0.2, 0.3, 0.5)
#: When to ask again, in seconds.
RETRY_AFTER = "1"

#: A cancellation follows its task from its first job to its second; it cannot need more turns than this.
MOST_HANDOVERS = 3

RESULT = ("document_id", "generation", "page_count", "chunk_count", "tokens_embedded")
PLAIN = ("id", "kind", "status", "progress", "stage", "document_id", "media_id", "attempt", "crash_count",
         "cancel_requested", "created_at", "started_at", "finished_at")  # fmt: skip

#: What a bug says of itself is for the log.
HIDDEN_MESSAGE = "An unexpected error ended it; it was written down. Retry it, and report it if it fails again."


class Waiters:
    """Requests of this process that wait for a task. Waiting holds no thread and no connection."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0

    async def wait(self, here: WorkspaceRuntime, task_id: UUID, seconds: float) -> Row:
        """Return the task once it has ended or the time is over; at once when too many wait already."""
        deadline = time.monotonic() + (seconds if self._count < self._most else 0)
        self._count += 1
        try:
            for turn in range(int(LONGEST_WAIT_SECONDS / LOOK_SECONDS[0])):
                task = await run_sync(_found, here, task_id)
                left = deadline - time.monotonic()
                if task["status"] in ENDED or left <= 0:
                    break
                await asyncio.sleep(min(LOOK_SECONDS[min(turn, len(LOOK_SECONDS) - 1)], left))
            return task
        finally:
            self._count -= 1


@router.get("", response_model=models.TaskList, responses=problems())
def list_tasks(  # noqa: PLR0917 - the framework calls it by name
    here: Readable,
    status: Statuses = None,
    kind: Annotated[str | None, Query(pattern=KIND, description="Of this kind.")] = None,
    document_id: Annotated[UUID | None, Query(description="Of this document.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """List tasks, the latest first."""
    filters = (sorted(set(status or [])), kind, document_id)
    after = decode_cursor(cursor, (datetime.fromisoformat, UUID), *filters)
    rows = here.reading.tasks(statuses=status, kind=kind, document_id=document_id, after=after, limit=limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    following = encode_cursor((last["created_at"].isoformat(), last["id"]), *filters) if last else None
    return {"items": [shown(row) for row in rows[:limit]], "next": following}


@router.get("/{task_id}", response_model=models.Task, responses=problems(404))
async def read_task(task_id: UUID, request: Request, here: Readable, wait: Wait = 0) -> Response:
    """Return a task with every run of it. A document's indexing is the second half of its task."""
    task = await request.app.state.waiters.wait(here, task_id, wait)
    attempts = await run_sync(here.reading.attempts, task)
    body = models.Task.model_validate({**shown(task), "attempts": attempts})
    return _told(task, body.model_dump(mode="json"))


@router.get("/{task_id}/status", response_model=models.TaskState, responses=problems(404))
async def read_task_status(task_id: UUID, request: Request, here: Readable, wait: Wait = 0) -> Response:
    """Return how a task is, in short."""
    task = await request.app.state.waiters.wait(here, task_id, wait)
    body = models.TaskState(id=task["id"], status=task["status"], progress=task["progress"], stage=task["stage"])
    return _told(task, body.model_dump(mode="json"))


@router.get("/{task_id}/why", response_model=models.WhyNot, responses=problems(404))
def explain_task(task_id: UUID, request: Request, here: Readable) -> dict[str, Any]:
    """Say why a task is not running: one reason, and when it probably starts."""
    task = _found(here, task_id)
    job = Waiting(
        state=JobState(task["state"]),
        available_at=task["available_at"],
        last_outcome=here.reading.last_outcome(task["job_id"]),
        ahead=here.reading.count_ahead(task["queue"], task["available_at"]),
    )
    why = explain(job, request.app.state.runtime.queues.outlook(task["queue"]), datetime.now(UTC))
    seconds = None if why.seconds is None else round(why.seconds, 1)
    return {"task_id": task["id"], "reason": why.reason, "message": why.sentence, "estimated_seconds": seconds}


CANCELLED: dict[int | str, dict[str, Any]] = {
    200: {"model": models.TaskState, "description": "The task is cancelled."},
    202: {"model": models.TaskState, "description": "The task runs; it stops at its next safe point."},
}


@router.delete(
    "/{task_id}",
    response_model=models.TaskState,
    responses={**CANCELLED, **problems(404, 409)},
    operation_id="delete_task",
)
@router.post(
    "/{task_id}/cancel",
    response_model=models.TaskState,
    responses={**CANCELLED, **problems(404, 409)},
    operation_id="cancel_task",
)
def cancel_task(task_id: UUID, here: Writable) -> Response:
    """Stop a task: at once while it waits (200), at its next safe point while it runs (202)."""
    for _ in range(MOST_HANDOVERS):
        task = _found(here, task_id)
        if task["status"] == TaskStatus.CANCELLED:
            return _state(task, 200)
        if task["status"] in ENDED:
            raise Problem(409, "conflict", f"The task has {task['status']} already.")
        # False: between the two looks the job has ended; the task may go on in its second job.
        if here.producer.ledger.request_cancel(task["job_id"]):
            task = _found(here, task_id)
            return _state(task, 200 if task["status"] == TaskStatus.CANCELLED else 202)
    raise Problem(409, "conflict", "The task could not be cancelled: it changes too fast. Try again.")


@router.post(
    "/{task_id}/retry",
    status_code=202,
    response_model=models.Started,
    responses={202: located("It runs again, under the id that the answer names."), **problems(400, 404, 409)},
)
def retry_task(task_id: UUID, request: Request, here: Writable, idempotency_key: IdempotencyKey = None) -> Response:
    """Run a failed or cancelled task again. A document's starts over as a new task; nothing is paid for twice."""

    def retry(remember: Remember) -> Answer:
        job_id = _found(here, task_id)["job_id"]
        verdict = here.producer.retry_job(job_id, confirm=lambda verdict: remember(started(verdict.new_job_id)))
        if verdict.reason is not None:
            raise Problem(409, "conflict", f"The task cannot be retried: {verdict.reason}.")
        return started(verdict.new_job_id)

    return respond(Repeatable(request, here, idempotency_key).answer(retry))


def shown(task: Row) -> dict[str, Any]:
    """Turn a task's row into what callers see."""
    has_completed = task["status"] == TaskStatus.COMPLETED
    return {
        **{name: task[name] for name in PLAIN},
        "attempts": None,
        "result": {name: task[name] for name in RESULT} if has_completed else None,
        "error": _error(task),
        "replaced_by": task["replayed_by"],
    }


def _error(task: Row) -> dict[str, str] | None:
    if task["failure_code"] is None:
        return None
    is_bug = task["failure_code"] == FailureCode.INTERNAL_ERROR
    return {"code": task["failure_code"], "message": HIDDEN_MESSAGE if is_bug else task["failure_message"]}


def _state(task: Row, status: int) -> JSONResponse:
    body = models.TaskState(id=task["id"], status=task["status"], progress=task["progress"], stage=task["stage"])
    return JSONResponse(body.model_dump(mode="json"), status)


def _told(task: Row, body: dict[str, Any]) -> JSONResponse:
    return JSONResponse(body, headers={} if task["status"] in ENDED else {"Retry-After": RETRY_AFTER})


def _found(here: WorkspaceRuntime, task_id: UUID) -> Row:
    row = here.reading.task(task_id)
    if row is None:
        raise not_found("task", task_id)
    return row
