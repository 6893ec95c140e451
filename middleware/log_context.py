"""Ids on every line of a job's log, JSON in production, colours for people."""

import logging
import sys
from typing import Any

import structlog
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from middleware.attempt import find_attempt

#: Said for every duplicate hint, which is normal here.
_NOISE = "was skipped."


class LogContext(Middleware):
    """Binds the ids of the running job to whatever its thread logs, and logs the job's end."""

    def __init__(self, *, log_format: str, log_level: str) -> None:
        self._format = log_format
        self._level = log_level

    def after_process_boot(self, broker: Broker) -> None:  # noqa: ARG002
        """Set up logging in every worker process."""
        configure_logging(log_format=self._format, log_level=self._level)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Bind the ids. Stands behind JobLedger, which knows them."""
        attempt = find_attempt(message.message_id)
        if attempt is not None:
            ids = {"job_id": message.message_id, "actor": message.actor_name, "lease": attempt.lease.number}
            if attempt.claim.document_id:
                ids["document_id"] = str(attempt.claim.document_id)
                ids["workspace_id"] = str(attempt.claim.workspace_id)
            structlog.contextvars.bind_contextvars(**ids)

    def after_ack(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Forget the ids."""
        structlog.contextvars.clear_contextvars()

    def after_nack(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Forget the ids."""
        structlog.contextvars.clear_contextvars()


def configure_logging(*, log_format: str, log_level: str) -> None:
    """Send structlog and the standard library through one handler on the real standard error.

    Dramatiq replaces sys.stderr of its workers with a pipe that long lines can break; the file descriptor is safe.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_renderers(_is_json(log_format)))
    )
    handler.addFilter(lambda record: _NOISE not in str(record.msg))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(log_level)
    for chatty in ("httpx2", "httpcore2", "openai"):
        logging.getLogger(chatty).setLevel("WARNING")


def _is_json(log_format: str) -> bool:
    is_terminal = sys.__stderr__ is not None and sys.__stderr__.isatty()
    return log_format == "json" or (log_format == "auto" and not is_terminal)


def _renderers(is_json: bool) -> list[Any]:
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if is_json:
        return [strip, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [strip, structlog.dev.ConsoleRenderer()]
