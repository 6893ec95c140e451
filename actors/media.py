"""Media: pictures of pictures and of pages, and files that are routed by what they are."""

from dataclasses import asdict
from uuid import UUID

import structlog

import actors
from actors.stage import stage
from middleware.attempt import current_lease
from middleware.metrics import count_picture

log = structlog.get_logger(__name__)


@stage
def generate_thumbnail(media_id: str, workspace_id: str) -> None:
    """Make a small picture of an image or of a document's page. A second delivery publishes no second one."""
    report = actors.runtime().media.make_picture(UUID(media_id), UUID(workspace_id), lease=current_lease())
    log.info("thumbnail_generated", **asdict(report))
    count_picture(report)


@stage
def optimize_image(media_id: str, workspace_id: str) -> None:
    """Write an image anew, never larger than it was. A second delivery publishes no second one."""
    report = actors.runtime().media.make_picture(UUID(media_id), UUID(workspace_id), lease=current_lease())
    log.info("image_optimized", **asdict(report))
    count_picture(report)


@stage
def process_media(media_id: str, workspace_id: str) -> None:
    """Carry out a recipe's operations in order. A second delivery publishes no second result."""
    report = actors.runtime().media.make_picture(UUID(media_id), UUID(workspace_id), lease=current_lease())
    log.info("media_processed", **asdict(report))
    count_picture(report)


@stage
def process_file(media_id: str, workspace_id: str) -> None:
    """Make a file a document or a picture, whatever its content says. A second delivery finds nothing to do."""
    report = actors.runtime().media.process_file(UUID(media_id), UUID(workspace_id), lease=current_lease())
    log.info("file_processed", **asdict(report))
