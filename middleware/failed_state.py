"""Move a job to failed, and its document with it, however it ended badly."""

import structlog
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from domain.errors import FailureCode
from domain.ledger import Failure, Ledger, Outcome
from middleware.attempt import Attempt, find_attempt
from middleware.ledger import fail_unclaimed, settle

log = structlog.get_logger(__name__)


class FailedState(Middleware):
    """Acts on the one event that every bad end passes: permanent errors, exhausted retries, age, unknown actors.

    (A crashed worker passes none; the reaper ends its jobs with the same statement.)
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def before_nack(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Write the failure; a lease that was lost meanwhile writes nothing."""
        attempt = find_attempt(message.message_id)
        if attempt is None:
            sentence = f"No worker knows the job {message.actor_name!r}; deploy workers that do, then retry it."
            fail_unclaimed(
                self._ledger, message.message_id, Failure(FailureCode.UNKNOWN_JOB, sentence, message.actor_name)
            )
        else:
            self._fail(attempt)

    def _fail(self, attempt: Attempt) -> None:
        failure = attempt.failure or Failure(FailureCode.INTERNAL_ERROR, "The job failed.", "unknown")
        written = settle(attempt, lambda: self._ledger.fail(attempt.lease.job_id, attempt.lease, failure))
        attempt.outcome = Outcome.FAILED if written else Outcome.LOST
        log.warning("job_failed", code=failure.code, error=failure.message, written=written)
