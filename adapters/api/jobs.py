"""Jobs by name: what callers may put in besides documents."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from adapters import by_name
from adapters.api import models
from adapters.api.auth import Principal, principal, require_scope
from adapters.api.documentation import located, problems
from adapters.api.documents import started
from adapters.api.media import check_backlog
from adapters.api.models import data
from adapters.api.problems import Problem
from adapters.api.repeats import IdempotencyKey, Remember, Repeatable, respond
from adapters.api.tasks import Writable
from adapters.bootstrap import WorkspaceRuntime
from adapters.postgres.idempotency import Answer
from adapters.postgres.jobs import named_job
from adapters.postgres.ledger import enqueue_in
from domain.api_keys import Scope
from domain.errors import JobUnavailableError, UnknownJobError
from domain.jobs import ALIASES, MEDIA_QUEUE, find_job

router = APIRouter(prefix="/tasks", tags=["tasks"])

#: What may be put in by name. Other jobs are the house's own, or need what their routes check.
CALLABLE = frozenset(ALIASES) | frozenset(ALIASES.values())

#: Scopes that a job's own route asks for, where these are others than the right to start tasks.
SCOPES = {
    "export_workspace": Scope.EXPORTS,
    "process_file": Scope.WRITE_MEDIA,
    "send_single_email": Scope.EMAIL,
    "user_notification": Scope.NOTIFICATIONS,
}

Caller = Annotated[Principal, Depends(principal)]


#: An answer that names a new task.
BEGUN: dict[int | str, dict[str, Any]] = {202: located("The task has begun."), **problems(400, 409, 413)}


@router.post("", status_code=202, response_model=models.Started, responses={**BEGUN, **problems(400, 404, 409, 413)})
def start_task(
    wanted: data.NewJob, request: Request, caller: Caller, here: Writable, idempotency_key: IdempotencyKey = None
) -> Response:
    """Put in a job by its name or an alias. The workspace is the key's, whatever the parameters say."""
    if wanted.name not in CALLABLE:
        raise Problem(422, "unknown_job", f"There is no such job to start; there are: {', '.join(ALIASES)}.")
    require_scope(caller, SCOPES.get(ALIASES.get(wanted.name, wanted.name), Scope.WRITE_TASKS))
    if "workspace_id" in wanted.params:
        raise Problem(422, "invalid_request", "The workspace is the key's; leave workspace_id out.")
    return put_in(request, here, idempotency_key, wanted.name, wanted.params)


@router.post("/cache/warm", status_code=202, response_model=models.Started, responses=BEGUN)
def start_warming(request: Request, here: Writable, idempotency_key: IdempotencyKey = None) -> Response:
    """Load the workspace's vector index and chunks into the database's memory."""
    return put_in(request, here, idempotency_key, "warm_cache", {})


def put_in(request: Request, here: WorkspaceRuntime, key: str | None, name: str, params: Mapping[str, Any]) -> Response:
    """Put a job of the caller's workspace into the ledger, once. Raises Problem, InvalidJobError."""

    def enqueue(remember: Remember) -> Answer:
        whole = {**params, "workspace_id": here.id}
        try:
            if by_name.takes_content(name):
                return _put_in_content(name, whole, here, remember)
            job = named_job(name, whole)
        except (JobUnavailableError, UnknownJobError):
            raise Problem(409, "job_unavailable", f"This installation has no job {name}.") from None
        answer = started(job.id)
        with here.pool.connection() as connection:
            enqueue_in(connection, job)
            remember(answer)
        return answer

    repeatable, what = Repeatable(request, here, key), repr((name, sorted(params.items())))
    return respond(repeatable.answer_upload(lambda _, remember: enqueue(remember), (), what))


def _put_in_content(name: str, params: Mapping[str, Any], here: WorkspaceRuntime, remember: Remember) -> Answer:
    def confirm(job_id: UUID) -> None:
        remember(started(job_id))

    if find_job(name).queue == MEDIA_QUEUE:
        check_backlog(here)
    return started(by_name.put_in(name, params, office=here.mail, media=here.producer.media, confirm=confirm))
