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


#: First word of a queue's name: the family of its jobs.
FAMILY_OF_QUEUE: Mapping[str, Family] = {
    "ingest": Family.DOCUMENTS,
    "media": Family.MEDIA,
    "email": Family.EMAIL,
    "exports": Family.EXPORTS,
}

#: The log's word for what happened to a job: the API's. What is missing here is told by another event.
TASK_EVENTS: Mapping[str, str] = {
    "queued": "task.queued",
    "replayed": "task.queued",
    "processing": "task.processing",
    "succeeded": "task.completed",
    "retrying": "task.retrying",
    "parked": "task.retrying",
    "interrupted": "task.retrying",
    "failed": "task.failed",
    "cancelled": "task.cancelled",
}

DOCUMENT_PREFIX = "document."


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
            return self.kind
        return str(self.key) if self.kind is ChannelKind.FAMILY else f"{self.kind}:{self.key}"


WORKSPACE_CHANNEL = Channel(ChannelKind.WORKSPACE)


def parse_channel(text: str) -> Channel:
    """Read `workspace`, `document:<id>`, `task:<id>` or a family's name. Raises UnknownChannelError."""
    if text == ChannelKind.WORKSPACE:
        return WORKSPACE_CHANNEL
    if text in Family:
        return Channel(ChannelKind.FAMILY, Family(text))
    kind, _, key = text.partition(":")
    if kind in (ChannelKind.DOCUMENT, ChannelKind.TASK):
        try:
            return Channel(ChannelKind(kind), UUID(key))
        except ValueError:
            pass
    raise UnknownChannelError(
        f"there is no channel {text[:80]!r}: watch workspace, document:<id>, task:<id>, {', '.join(Family)}"
    )


@dataclass(frozen=True, slots=True)
class Event:
    """One event as a watcher sees it. Ids grow in the order of delivery; a watcher resumes after the last it has seen."""

    id: int
    name: str
    workspace_id: UUID
    task_id: UUID | None
    document_id: UUID | None
    family: Family | None
    data: Mapping[str, Any]

    def channels(self) -> list[Channel]:
        """Name every channel that shows it."""
        shown = [WORKSPACE_CHANNEL]
        if self.document_id is not None:
            shown.append(Channel(ChannelKind.DOCUMENT, self.document_id))
        if self.task_id is not None:
            shown.append(Channel(ChannelKind.TASK, self.task_id))
        if self.family is not None:
            shown.append(Channel(ChannelKind.FAMILY, self.family))
        return shown


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """A row of the log. `actor` and `queue` are missing once the job has been pruned."""

    id: int
    job_id: UUID | None
    workspace_id: UUID
    document_id: UUID | None
    event: str
    data: Mapping[str, Any]
    at: datetime
    actor: str | None
    queue: str | None


def present(logged: LoggedEvent) -> Event | None:
    """Return the event as a watcher sees it; None for what is only for operators."""
    is_document = logged.event.startswith(DOCUMENT_PREFIX)
    name = logged.event if is_document else TASK_EVENTS.get(logged.event)
    if name is None or "by" in logged.data:  # replayed by another job: that one's events tell the rest
        return None
    return Event(
        id=logged.id,
        name=name,
        workspace_id=logged.workspace_id,
        task_id=logged.job_id,
        document_id=logged.document_id,
        family=_family(logged),
        data=_document_data(logged) if is_document else _task_data(logged, name),
    )


def _family(logged: LoggedEvent) -> Family | None:
    if logged.document_id is not None:
        return Family.DOCUMENTS
    return FAMILY_OF_QUEUE.get((logged.queue or "").partition("_")[0])


def _document_data(logged: LoggedEvent) -> dict[str, Any]:
    facts = {key: value for key, value in logged.data.items() if key not in ("code", "error")}
    return {
        "document_id": str(logged.document_id),
        "task_id": _text(logged.job_id),
        **facts,
        **_failure(logged),
        "at": logged.at.isoformat(),
    }


def _task_data(logged: LoggedEvent, name: str) -> dict[str, Any]:
    data = {
        "task_id": _text(logged.job_id),
        "document_id": _text(logged.document_id),
        "actor": logged.actor,
        "status": name.partition(".")[2],
        **_failure(logged),
        "at": logged.at.isoformat(),
    }
    if "attempt" in logged.data:
        data["attempt"] = logged.data["attempt"]
    if name == "task.retrying":
        data |= {"reason": logged.event, "retry_at": logged.data.get("at")}
    return data


def _failure(logged: LoggedEvent) -> dict[str, Any]:
    error = logged.data.get("error")
    return {"error": {"code": logged.data.get("code"), "message": error}} if error else {}


def _text(value: UUID | None) -> str | None:
    return str(value) if value else None


class LiveBell(Protocol):
    """Tells whoever follows the log that there is something new. Only a hint: they look every second anyway."""

    def ring(self) -> None:
        """Ring, without ever raising or waiting for long."""
        ...
