"""What a watcher sees: channels, and what the log's events are called outside."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from domain.errors import HeadraceError


class ChannelKind(StrEnum):
    """What a channel shows: everything of the workspace, one document, one task, or a family of jobs."""

    WORKSPACE = "workspace"
    DOCUMENT = "document"
    TASK = "task"
    FAMILY = "family"


class Family(StrEnum):
    """Jobs of one kind, by the first word of their queue."""

    DOCUMENTS = "documents"
    MEDIA = "media"
    EMAIL = "email"
    EXPORTS = "exports"
    NOTIFICATIONS = "notifications"


FAMILIES: Mapping[str, Family] = {str(family): family for family in Family}

#: First word of a queue's name: the family of its jobs.
FAMILY_OF_QUEUE: Mapping[str, Family] = {**FAMILIES, "ingest": Family.DOCUMENTS}

#: The log's word for what happened to a job: the API's. What is missing here is for operators, or told otherwise.
TASK_EVENTS: Mapping[str, str] = {
    "queued": "task.queued",
    "replayed": "task.queued",
    "processing": "task.processing",
    "progress": "task.progress",
    "succeeded": "task.completed",
    "retrying": "task.retrying",
    "parked": "task.retrying",
    "interrupted": "task.retrying",
    "failed": "task.failed",
    "cancelled": "task.cancelled",
}

DOCUMENT_PREFIX = "document."

#: What else a job tells of while it ends well; the rest of it is in the event itself.
RESULT_EVENTS = frozenset(
    {"cache.warmed", "erasure.done", "export.ready", "notification.created", "thumbnail_generated"}
)

#: A watcher is told once that events it has not seen are gone, or that its place in the log is none.
GAP_EVENT = "gap"


class UnknownChannelError(HeadraceError, LookupError):
    """There is no such channel, or it shows what this workspace does not have."""


@dataclass(frozen=True, slots=True)
class Channel:
    """What a watcher watches, within its own workspace. `key`: the document's or the task's id, or the family."""

    kind: ChannelKind
    key: UUID | Family | None = None

    def __str__(self) -> str:
        """Write it as callers do."""
        if self.kind is ChannelKind.WORKSPACE:
            return str(self.kind)
        return str(self.key) if self.kind is ChannelKind.FAMILY else f"{self.kind}:{self.key}"


WORKSPACE_CHANNEL = Channel(ChannelKind.WORKSPACE)


def parse_channel(text: str) -> Channel:
    """Read `workspace`, `document:<id>`, `task:<id>` or a family's name. Raises UnknownChannelError."""
    if text == ChannelKind.WORKSPACE:
        return WORKSPACE_CHANNEL
    if text in FAMILIES:
        return Channel(ChannelKind.FAMILY, FAMILIES[text])
    kind, _, key = text.partition(":")
    if kind in (ChannelKind.DOCUMENT, ChannelKind.TASK):
        try:
            return Channel(ChannelKind(kind), UUID(key))
        except ValueError:
            pass
    raise UnknownChannelError(
        f"there is no channel {text[:80]!r}; there are workspace, document:<id>, task:<id>, {', '.join(Family)}"
    )


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """A row of the log. `actor` and `queue` are missing once the job has been pruned.

    `goes_on`: the job has ended well, but its task goes on with another one.
    """

    id: int
    workspace_id: UUID
    task_id: UUID | None
    document_id: UUID | None
    event: str
    data: Mapping[str, Any]
    at: datetime
    actor: str | None
    queue: str | None
    goes_on: bool


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """One event as a watcher sees it. Ids grow in the order of delivery; a watcher resumes after the last it saw."""

    id: int
    name: str
    workspace_id: UUID
    channels: tuple[Channel, ...]
    data: Mapping[str, Any]


def present(logged: LoggedEvent) -> LiveEvent | None:
    """Return the event as a watcher sees it; None for what is no news to one."""
    is_document = logged.event.startswith(DOCUMENT_PREFIX)
    is_result = logged.event in RESULT_EVENTS
    name = logged.event if is_document or is_result else TASK_EVENTS.get(logged.event)
    if name is None or logged.goes_on or "by" in logged.data:  # replayed by another job, whose events tell the rest
        return None
    if is_result:
        data = {**_ids(logged), **logged.data, "at": logged.at.isoformat()}
    else:
        data = _document_data(logged) if is_document else _task_data(logged, name)
    return LiveEvent(logged.id, name, logged.workspace_id, tuple(_channels(logged)), data)


def _channels(logged: LoggedEvent) -> list[Channel]:
    shown = [WORKSPACE_CHANNEL]
    if logged.document_id is not None:
        shown.append(Channel(ChannelKind.DOCUMENT, logged.document_id))
    if logged.task_id is not None:
        shown.append(Channel(ChannelKind.TASK, logged.task_id))
    if family := family_of(logged):
        shown.append(Channel(ChannelKind.FAMILY, family))
    return shown


def family_of(logged: LoggedEvent) -> Family | None:
    """Return the family of an event; None for other jobs, and once a job without a document has been pruned."""
    if logged.document_id is not None:
        return Family.DOCUMENTS
    return FAMILY_OF_QUEUE.get((logged.queue or "").partition("_")[0])


def _document_data(logged: LoggedEvent) -> dict[str, Any]:
    """Return what is news of a document, in the shape that `GET /documents/{id}` has."""
    facts = logged.data
    return {
        **_ids(logged),
        "name": facts.get("name"),
        "state": facts.get("state"),
        "progress": {
            "percent": facts.get("progress", 0),
            "extraction": {"done": facts.get("pages_done", 0), "total": facts.get("page_count")},
            "indexing": {"done": facts.get("chunks_done", 0), "total": facts.get("chunk_count")},
        },
        "failure": _failure(logged),
        "warning": facts.get("warning"),
        "page_count": facts.get("page_count"),
        "chunk_count": facts.get("chunk_count"),
        "generation": facts.get("generation", 0),
        "at": logged.at.isoformat(),
    }


def _task_data(logged: LoggedEvent, name: str) -> dict[str, Any]:
    status = name.removeprefix("task.")
    data: dict[str, Any] = {
        **_ids(logged),
        "actor": logged.actor,
        "status": status,
        "error": _failure(logged),
        "at": logged.at.isoformat(),
    }
    if "attempt" in logged.data:
        data["attempt"] = logged.data["attempt"]
    if "progress" in logged.data:
        data["progress"] = logged.data["progress"]
    elif status == "progress":
        data["progress"] = dict(logged.data)
    if status == "retrying":
        data |= {"reason": logged.event, "retry_at": logged.data.get("at")}
    return data


def _ids(logged: LoggedEvent) -> dict[str, str | None]:
    return {
        "task_id": str(logged.task_id) if logged.task_id else None,
        "document_id": str(logged.document_id) if logged.document_id else None,
    }


def _failure(logged: LoggedEvent) -> dict[str, Any] | None:
    error = logged.data.get("error")
    return {"code": logged.data.get("code"), "message": error} if error else None


class LiveBell(Protocol):
    """Tells whoever follows the log that there is something new. Only a hint: they look every second anyway."""

    def ring(self) -> None:
        """Ring. Raises what the doorbell raises when it is away; nothing is lost by it."""
        ...
