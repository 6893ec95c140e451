"""Figures and probes."""

from typing import Literal

from adapters.api.models.base import Answer, Count, example


class JobCounts(Answer):
    """The workspace's tasks by status."""

    pending: Count
    processing: Count
    completed: Count
    failed: Count


class QueueCounts(Answer):
    """The workspace's jobs as the queue sees them: waiting (for a time or a worker), running, ended."""

    waiting: Count
    active: Count
    completed: Count
    failed: Count


class Connections(Answer):
    """Which of the two servers answer."""

    db: bool
    redis: bool


class Stats(Answer):
    """Figures of the caller's workspace, and whether anybody works."""

    model_config = example(
        worker={"status": "running"},
        jobs={"pending": 3, "processing": 2, "completed": 1204, "failed": 1},
        queue={"waiting": 3, "active": 2, "completed": 1204, "failed": 1},
        connections={"db": True, "redis": True},
    )

    worker: dict[Literal["status"], Literal["running", "none"]]
    jobs: JobCounts
    queue: QueueCounts
    connections: Connections


class Health(Answer):
    """Whether the API works. `degraded`: it does, without Redis: jobs are accepted and wait for it."""

    model_config = example(status="ok", uptime=86400.0, version="0.1.0", connections={"db": "ok", "redis": "ok"})

    status: Literal["ok", "degraded", "unavailable"]
    uptime: float
    version: str
    connections: dict[Literal["db", "redis"], str]


class Alive(Answer):
    """The process answers."""

    model_config = example(status="alive")

    status: Literal["alive"]
