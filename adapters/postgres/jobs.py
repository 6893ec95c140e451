"""Build jobs as rows of the ledger, from a name in the catalogue or from a Dramatiq message."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from adapters.postgres.ledger import NewJob, enqueue_in, succeed_in
from adapters.postgres.pool import Connection
from domain.errors import InvalidJobError, LeaseLostError
from domain.ids import new_id
from domain.jobs import JOBS, SYSTEM_WORKSPACE, Lease, check_params, find_job, parse_uuid


def named_job(
    name: str, params: Mapping[str, Any], *, delay: timedelta = timedelta(), job_id: UUID | None = None
) -> NewJob:
    """Build a job by its registered name. Raises UnknownJobError and InvalidJobError."""
    spec = find_job(name)
    message = {
        "queue_name": spec.queue,
        "actor_name": spec.name,
        "args": [],
        "kwargs": check_params(spec, params),
        "options": {},
        "message_id": str(job_id or new_id()),
        "message_timestamp": time.time_ns() // 1_000_000,
    }
    return message_job(message, delay=delay)


def message_job(message: dict[str, Any], *, priority: int = 0, delay: timedelta = timedelta()) -> NewJob:
    """Build a job from a Dramatiq message. A catalogued job's parameters are checked: InvalidJobError.

    The document and the workspace a job belongs to are its keyword arguments of these names, when they are UUIDs.
    """
    spec = JOBS.get(message["actor_name"])
    kwargs = message["kwargs"]
    if spec is not None:
        kwargs = check_params(spec, _named(list(spec.params), message["args"], kwargs))
        message = message | {"args": [], "kwargs": kwargs}
    document_id, workspace_id = _uuid(kwargs.get("document_id")), _uuid(kwargs.get("workspace_id"))
    return NewJob(
        id=parse_uuid("message_id", message["message_id"]),
        queue=message["queue_name"],
        actor=message["actor_name"],
        message=message,
        workspace_id=workspace_id or SYSTEM_WORKSPACE,
        document_id=document_id,
        priority=priority,
        delay=delay,
    )


def enqueue_document_job(
    connection: Connection, name: str, document_id: UUID, workspace_id: UUID, *, job_id: UUID | None = None
) -> UUID:
    """Put a document's job into the ledger inside the caller's transaction; return the job's id."""
    job = named_job(name, {"document_id": document_id, "workspace_id": workspace_id}, job_id=job_id)
    enqueue_in(connection, job)
    return job.id


class PostgresJobs:
    """See domain.ports.Jobs."""

    def __init__(self, connection: Connection, lease: Lease | None) -> None:
        self._connection = connection
        self._lease = lease
        self.finished = False

    def enqueue(self, name: str, document_id: UUID, workspace_id: UUID, *, job_id: UUID | None = None) -> UUID:
        """See the port."""
        return enqueue_document_job(self._connection, name, document_id, workspace_id, job_id=job_id)

    def finish(self) -> None:
        """See the port. Raises LeaseLostError outside of a leased transaction."""
        if self._lease is None or not succeed_in(self._connection, [self._lease]):
            raise LeaseLostError("only the attempt that holds the lease can end a job")
        self.finished = True


def _named(names: list[str], args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    if len(args) > len(names):
        raise InvalidJobError(f"takes at most {len(names)} arguments, got {len(args)}")
    return dict(zip(names, args, strict=False)) | dict(kwargs)


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else value if isinstance(value, UUID) else None
    except ValueError:
        return None
