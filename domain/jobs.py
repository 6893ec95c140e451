"""The job: one unit of work in the ledger. Its id is the Dramatiq message id."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from domain.documents import DocumentState
from domain.errors import (
    InvalidJobError,
    JobInterruptedError,
    JobUnavailableError,
    LeaseLostError,
    UnknownJobError,
)

#: Owns jobs that belong to no workspace, such as housekeeping.
SYSTEM_WORKSPACE = UUID(int=0)


class JobState(StrEnum):
    """Where a job is. `pending` and `retrying` wait for their time, `queued` has been rung for, the rest is clear."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


J = JobState

#: verb: (the states it may leave, the state it reaches). The diagram in docs/architecture.md is generated from this.
TRANSITIONS: dict[str, tuple[frozenset[JobState], JobState]] = {
    "ring": (frozenset({J.PENDING, J.RETRYING}), J.QUEUED),
    "claim": (frozenset({J.QUEUED}), J.RUNNING),
    "succeed": (frozenset({J.RUNNING}), J.SUCCEEDED),
    "retry": (frozenset({J.RUNNING}), J.RETRYING),
    "fail": (frozenset({J.QUEUED, J.RUNNING}), J.FAILED),
    "cancel": (frozenset({J.PENDING, J.QUEUED, J.RUNNING, J.RETRYING}), J.CANCELLED),
    "replay": (frozenset({J.FAILED, J.CANCELLED}), J.PENDING),
}

#: Nothing but a person's `replay` leaves these.
FINISHED = frozenset({J.SUCCEEDED, J.FAILED, J.CANCELLED})


@dataclass(slots=True)
class Lease:
    """The right of one attempt to write. `number` is the fence: it grows with every claim of the job.

    `settled` is set once the attempt's end has been written; `lost` once somebody else took the job; `interrupted`
    when the process shuts down.
    """

    job_id: UUID
    number: int
    settled: bool = field(default=False, compare=False)
    lost: bool = field(default=False, compare=False)
    interrupted: bool = field(default=False, compare=False)

    def checkpoint(self) -> None:
        """Mark a safe point between two costly steps. Raises LeaseLostError or JobInterruptedError to stop here."""
        if self.lost:
            raise LeaseLostError(f"lease {self.number} of job {self.job_id} is lost")
        if self.interrupted:
            raise JobInterruptedError(f"job {self.job_id} is handed back: its worker shuts down")


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What the catalogue knows of a job. `params`: every parameter and its type, UUID or int or str."""

    name: str
    queue: str
    params: Mapping[str, type]
    time_limit: timedelta


EXTRACT_QUEUE = "ingest_extract"
INDEX_QUEUE = "ingest_index"
MAINTENANCE_QUEUE = "maintenance"
WEBHOOK_QUEUE = "webhooks"
EXPORT_QUEUE = "exports"
NOTIFICATION_QUEUE = "notifications"
MEDIA_QUEUE = "media"
MAIL_QUEUE = "email"

DOCUMENT_PARAMS: Mapping[str, type] = {"document_id": UUID, "workspace_id": UUID}
MEDIA_PARAMS: Mapping[str, type] = {"media_id": UUID, "workspace_id": UUID}
WEBHOOK_PARAMS: Mapping[str, type] = {"delivery_id": UUID, "workspace_id": UUID}
MAIL_PARAMS: Mapping[str, type] = {"mailing_id": UUID, "workspace_id": UUID}
WORKSPACE_PARAMS: Mapping[str, type] = {"workspace_id": UUID}
EXPORT_PARAMS: Mapping[str, type] = {"workspace_id": UUID, "format": str}
#: Not `document_id`: the job is not one of the document's, all of which it stops.
ERASURE_PARAMS: Mapping[str, type] = {"erased_id": UUID, "workspace_id": UUID}
NOTIFICATION_PARAMS: Mapping[str, type] = {
    "workspace_id": UUID,
    "user": str,
    "kind": str,
    "title": str,
    "body": str,
    "about": str,
    "dedup_key": str,
}

#: Every job that callers may start by name. A test keeps it equal to the declared actors.
JOBS: Mapping[str, JobSpec] = {
    spec.name: spec
    for spec in (
        JobSpec("extract_document", EXTRACT_QUEUE, DOCUMENT_PARAMS, timedelta(minutes=30)),
        JobSpec("index_document", INDEX_QUEUE, DOCUMENT_PARAMS, timedelta(hours=2)),
        JobSpec("deliver_webhook", WEBHOOK_QUEUE, WEBHOOK_PARAMS, timedelta(minutes=5)),
        JobSpec("export_workspace", EXPORT_QUEUE, EXPORT_PARAMS, timedelta(hours=6)),
        JobSpec("erase_document", EXPORT_QUEUE, ERASURE_PARAMS, timedelta(minutes=10)),
        JobSpec("erase_workspace", EXPORT_QUEUE, WORKSPACE_PARAMS, timedelta(hours=6)),
        JobSpec("user_notification", NOTIFICATION_QUEUE, NOTIFICATION_PARAMS, timedelta(minutes=1)),
        JobSpec("warm_cache", MAINTENANCE_QUEUE, WORKSPACE_PARAMS, timedelta(minutes=10)),
        JobSpec("generate_thumbnail", MEDIA_QUEUE, MEDIA_PARAMS, timedelta(minutes=10)),
        JobSpec("optimize_image", MEDIA_QUEUE, MEDIA_PARAMS, timedelta(minutes=10)),
        JobSpec("process_media", MEDIA_QUEUE, MEDIA_PARAMS, timedelta(minutes=10)),
        JobSpec("process_file", MEDIA_QUEUE, MEDIA_PARAMS, timedelta(minutes=10)),
        JobSpec("send_single_email", MAIL_QUEUE, MAIL_PARAMS, timedelta(minutes=30)),
        JobSpec("send_bulk_emails", MAIL_QUEUE, MAIL_PARAMS, timedelta(minutes=30)),
        JobSpec("cleanup_stale_reservations", MAINTENANCE_QUEUE, {}, timedelta(minutes=1)),
        JobSpec("sweep_documents", MAINTENANCE_QUEUE, {}, timedelta(minutes=5)),
        JobSpec("sweep_blobs", MAINTENANCE_QUEUE, {}, timedelta(minutes=10)),
        JobSpec("index_vectors", MAINTENANCE_QUEUE, {}, timedelta(minutes=5)),
        JobSpec("prune_history", MAINTENANCE_QUEUE, {}, timedelta(minutes=10)),
    )
}

#: Names for callers by string, accepted wherever a job's own name is. Of a job that is not here they are unavailable.
ALIASES: Mapping[str, str] = {
    "email:send": "send_single_email",
    "user:notification": "user_notification",
    "data:export": "export_workspace",
    "file:process": "process_file",
    "cache:warm": "warm_cache",
}


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job as people see it who retry or discard it, with what they must know of its document.

    `replayed_by`: the job that has taken this one's place.
    """

    id: UUID
    actor: str
    state: JobState
    workspace_id: UUID
    document_id: UUID | None
    replayed_by: UUID | None
    document_state: DocumentState | None
    document_job_id: UUID | None

    @property
    def moves_document(self) -> bool:
        """Whether it takes a document from state to state, so that running it again is the document's business."""
        return self.document_id is not None and self.actor in JOBS and JOBS[self.actor].params is DOCUMENT_PARAMS


def find_job(name: str) -> JobSpec:
    """Look up a job by its name or an alias.

    Raises UnknownJobError that lists the known names, JobUnavailableError for an alias of a job that is not here.
    """
    spec = JOBS.get(ALIASES.get(name, name))
    if spec is None and name in ALIASES:
        raise JobUnavailableError(f"{name} stands for {ALIASES[name]}, which this installation does not have")
    if spec is None:
        raise UnknownJobError(name, [*JOBS, *ALIASES])
    return spec


def check_params(spec: JobSpec, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as they go into the message (UUIDs as text). Raises InvalidJobError naming the fault."""
    unknown, missing = params.keys() - spec.params.keys(), spec.params.keys() - params.keys()
    if unknown or missing:
        raise InvalidJobError(
            f"{spec.name} takes ({', '.join(spec.params)}); "
            f"missing: {', '.join(sorted(missing)) or 'none'}; unknown: {', '.join(sorted(unknown)) or 'none'}"
        )
    return {name: _check_param(spec.name, name, kind, params[name]) for name, kind in spec.params.items()}


def _check_param(job: str, name: str, kind: type, value: Any) -> Any:
    if kind is UUID:
        return str(parse_uuid(f"{job}.{name}", value))
    if type(value) is not kind:
        raise InvalidJobError(f"{job}.{name} must be {kind.__name__}, not {type(value).__name__}")
    return value


def parse_uuid(name: str, value: Any) -> UUID:
    """Return the UUID in its one canonical form. Raises InvalidJobError when it is not one."""
    try:
        return value if isinstance(value, UUID) else UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise InvalidJobError(f"{name} must be a UUID, not {value!r:.80}") from None
