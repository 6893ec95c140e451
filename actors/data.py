"""A workspace's data as a whole: taken along, erased, told of, kept at hand."""

from dataclasses import asdict
from uuid import UUID

import structlog

import actors
from actors.stage import stage
from domain.notifications import Notification
from middleware.attempt import current_lease
from middleware.metrics import count_erasure, count_export, count_notification

log = structlog.get_logger(__name__)


@stage
def export_workspace(workspace_id: str, format: str) -> None:
    """Write a workspace to files. A second delivery goes on behind the last part."""
    report = actors.runtime().data.export_workspace(UUID(workspace_id), format, lease=current_lease())
    log.info("workspace_exported", **asdict(report))
    count_export(report)


@stage
def erase_document(erased_id: str, workspace_id: str) -> None:
    """Erase a document with all that was made of it. A second delivery goes on where the first stopped."""
    report = actors.runtime().data.erase_document(UUID(erased_id), UUID(workspace_id), lease=current_lease())
    log.info("document_erased", **asdict(report))
    count_erasure(report)


@stage
def erase_workspace(workspace_id: str) -> None:
    """Erase everything that a workspace holds. A second delivery goes on where the first stopped."""
    report = actors.runtime().data.erase_workspace(UUID(workspace_id), lease=current_lease())
    log.info("workspace_erased", **asdict(report))
    count_erasure(report)


@stage
def user_notification(  # noqa: PLR0917 - the message's members
    workspace_id: str, user: str, kind: str, title: str, body: str, about: str, dedup_key: str
) -> None:
    """Tell a user something, once, wherever that user wishes."""
    notification = Notification(UUID(workspace_id), user, kind, title, body, about, dedup_key)
    report = actors.runtime().data.user_notification(notification, lease=current_lease())
    log.info("user_notified", **asdict(report))
    count_notification(report)


@stage
def warm_cache(workspace_id: str) -> None:
    """Load what a workspace is searched in into memory. Running it twice does no harm."""
    report = actors.runtime().data.warm_cache(UUID(workspace_id), lease=current_lease())
    log.info("cache_warmed", **asdict(report))
