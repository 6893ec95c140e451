"""Ids on every line of a job's log, JSON in production, colours for people."""

from collections.abc import Callable

import structlog
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from middleware.attempt import find_attempt


class LogContext(Middleware):
    """Binds the ids of the running job to whatever its thread logs, and logs the job's end."""

    def __init__(self, configure: Callable[[], None]) -> None:
        """`configure` sets up logging."""
        self._configure = configure

    def after_process_boot(self, broker: Broker) -> None:  # noqa: ARG002
        """Set up logging in every worker process."""
        self._configure()

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
