"""Mail: to one, or to many."""

from uuid import UUID

import structlog

import actors
from actors.stage import stage
from middleware.attempt import current_lease
from middleware.metrics import count_mail

log = structlog.get_logger(__name__)


@stage
def send_single_email(mailing_id: str, workspace_id: str) -> None:
    """Send one mail. A second delivery sends none if the first one has."""
    lease = current_lease()
    report = actors.runtime().send_mailing(UUID(mailing_id), UUID(workspace_id), lease=lease, observe=count_mail)
    log.info("mailing_sent", results=report.results, doubts=report.doubts)


@stage
def send_bulk_emails(mailing_id: str, workspace_id: str) -> None:
    """Send a mail to many. A second delivery goes on with those who have none yet."""
    lease = current_lease()
    report = actors.runtime().send_mailing(UUID(mailing_id), UUID(workspace_id), lease=lease, observe=count_mail)
    log.info("mailing_sent", results=report.results, doubts=report.doubts)
