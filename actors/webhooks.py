"""Webhooks: tell receivers what happened."""

from functools import partial
from uuid import UUID

import structlog

import actors
from actors.stage import stage
from domain.webhook_delivery import MAX_RETRIES
from middleware.attempt import current_lease
from middleware.metrics import count_delivery

log = structlog.get_logger(__name__)


@partial(stage, max_retries=MAX_RETRIES)
def deliver_webhook(delivery_id: str, workspace_id: str) -> None:
    """Tell one endpoint of one event. A second delivery sends the same message under the same id."""
    lease = current_lease()
    report = actors.runtime().deliver_webhook(UUID(delivery_id), UUID(workspace_id), lease=lease)
    log.info("webhook_attempted", **report.facts)
    count_delivery(report)
    report.conclude()
