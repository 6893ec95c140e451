"""Statistics for callers, and probes for those who run the process."""

import time
from collections import Counter
from typing import Annotated, Any, Literal

import redis
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from adapters.api import models
from adapters.api.auth import workspace
from adapters.api.documentation import open_problems, problems
from adapters.bootstrap import ApiRuntime, WorkspaceRuntime
from adapters.postgres.migrate import check_schema
from domain.api_keys import Scope
from domain.errors import SchemaError, TransientError
from domain.jobs import JobState
from domain.tasks import TaskStatus, status_of

router = APIRouter()

PROBES = {503: {"model": models.Health, "description": "It does not work, and why."}, **open_problems(500)}


@router.get("/stats", response_model=models.Stats, responses=problems(), tags=["status"])
def read_stats(request: Request, here: Annotated[WorkspaceRuntime, Depends(workspace(Scope.STATS))]) -> dict[str, Any]:
    """Return figures of the caller's workspace, and whether anybody works."""
    runtime: ApiRuntime = request.app.state.runtime
    counts = here.reading.count_jobs()
    tasks: Counter[TaskStatus | None] = Counter()
    jobs: Counter[JobState] = Counter()
    for (state, actor), count in counts.items():
        tasks[status_of(state, actor)] += count
        jobs[state] += count
    completed, failed = tasks[TaskStatus.COMPLETED], tasks[TaskStatus.FAILED]
    return {
        "worker": {"status": "running" if runtime.queues.has_workers() else "none"},
        "jobs": {
            "pending": tasks[TaskStatus.PENDING],
            "processing": tasks[TaskStatus.PROCESSING],
            "completed": completed,
            "failed": failed,
        },
        "queue": {
            "waiting": jobs[JobState.PENDING] + jobs[JobState.QUEUED] + jobs[JobState.RETRYING],
            "active": jobs[JobState.RUNNING],
            "completed": completed,
            "failed": failed,
        },
        "connections": {"db": True, "redis": check_redis(runtime) == "ok"},
    }


@router.get("/health", response_model=models.Health, responses=PROBES, tags=["status"])
@router.get("/readyz", response_model=models.Health, responses=PROBES, tags=["status"], operation_id="ready")
def read_health(request: Request) -> JSONResponse:
    """Say whether requests can be served. Without Redis they can: jobs are accepted and wait for it."""
    runtime: ApiRuntime = request.app.state.runtime
    database, doorbell = check_database(runtime), check_redis(runtime)
    status: Literal["ok", "degraded", "unavailable"] = "ok" if doorbell == "ok" else "degraded"
    status = status if database == "ok" else "unavailable"
    health = models.Health(
        status=status,
        uptime=round(time.monotonic() - request.app.state.started_at, 1),
        version=request.app.version,
        connections={"db": database, "redis": doorbell},
    )
    return JSONResponse(health.model_dump(mode="json"), 503 if status == "unavailable" else 200)


@router.get("/livez", response_model=models.Alive, responses=open_problems(500), tags=["status"])
async def read_liveness() -> dict[str, str]:
    """Say that the process answers; this asks nobody else."""
    return {"status": "alive"}


def check_database(runtime: ApiRuntime) -> str:
    """Return `ok`, or what is wrong, without naming where the database is."""
    try:
        with runtime.pool.connection() as connection:
            check_schema(connection)
    except SchemaError:
        return "the schema is older than this version"
    except TransientError:
        return "unreachable"
    return "ok"


def check_redis(runtime: ApiRuntime) -> str:
    """Return `ok`, or what is wrong."""
    try:
        runtime.buckets.ping()
    except redis.RedisError:
        return "unreachable"
    return "ok"
