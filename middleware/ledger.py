"""Claim a job before its actor runs, settle it after. The message in Redis is a hint; the ledger is the truth."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import dramatiq
import structlog
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware, SkipMessage

from domain.crash_points import crash_point
from domain.errors import FailureCode, JobCancelledError, LeaseLostError
from domain.jobs import parse_uuid
from domain.ledger import Claim, Failure, Ledger, Outcome
from domain.patience import patiently
from middleware.attempt import Attempt, HeldLeases, begin_attempt, end_attempt, find_attempt

log = structlog.get_logger(__name__)


class JobLedger(Middleware):
    """Turns a hint into an attempt, and the attempt's end into a row.

    Stands before TimeLimit in the list, so that no time limit can fire while it claims or settles.
    """

    def __init__(self, ledger: Ledger, held: HeldLeases, *, lease_ttl: timedelta) -> None:
        self._ledger = ledger
        self._held = held
        self._lease_ttl = lease_ttl
        self._owner = uuid4()  # fresh per process: host names and pids come back

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Claim the job and put the ledger's message in the hint's place. Raises SkipMessage when there is none."""
        try:
            claim = self._claim(message)
        except Exception as error:  # dramatiq swallows any other kind here, and would run the actor unclaimed
            raise SkipMessage(f"not claimed: {error}") from error
        if claim is None:
            raise SkipMessage("not claimed: a duplicate or late hint")
        begin_attempt(Attempt(claim))
        self._held.add(claim.lease)
        crash_point("after_claim")

    def after_process_message(
        self,
        broker: Broker,  # noqa: ARG002
        message: MessageProxy,
        *,
        result: Any = None,  # noqa: ARG002
        exception: BaseException | None = None,
    ) -> None:
        """Settle what ended well or was cancelled. Retries and FailedState settle what ended badly."""
        attempt = find_attempt(message.message_id)
        if attempt is None or message.failed:
            return
        if exception is None and attempt.failure is None:
            self._succeed(attempt)
        elif isinstance(exception, JobCancelledError):
            attempt.outcome = Outcome.CANCELLED
            settle(attempt, lambda: self._ledger.cancel(attempt.lease.job_id, attempt.lease))
        elif isinstance(exception, LeaseLostError):
            attempt.outcome = Outcome.LOST
            log.warning("lease_lost", reason=str(exception))

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Settle a claimed job that another middleware skipped: as done, unless it was failed."""
        attempt = find_attempt(message.message_id)
        if attempt is None:
            return
        if not message.failed:
            self._succeed(attempt)
        else:
            sentence = "The job waited longer than its age limit allows and was not run."
            attempt.failure = Failure(FailureCode.EXPIRED, sentence, FailureCode.EXPIRED)

    def after_ack(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Let the lease go."""
        self._release(message)

    def after_nack(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Let the lease go."""
        self._release(message)

    def retry_running(self, message: dramatiq.Message[Any], delay: timedelta) -> bool:
        """Run this thread's own job again after `delay`; False when the message is another job.

        The broker asks this for every message, since dramatiq's Retries re-enqueues the message that is running.
        """
        attempt = find_attempt(message.message_id)
        if attempt is None or attempt.failure is None:
            return False
        outcome = attempt.outcome or Outcome.RETRYING
        stored = _without_traceback(message.asdict())
        failure = attempt.failure
        settled = settle(
            attempt, lambda: self._ledger.retry(attempt.lease, stored, failure, delay=delay, outcome=outcome)
        )
        attempt.outcome = outcome if settled else self._cancel_or_lose(attempt)
        return True

    def _claim(self, message: MessageProxy) -> Claim | None:
        job_id = parse_uuid("message_id", message.message_id)
        claim = self._ledger.claim(job_id, owner=self._owner, ttl=self._lease_ttl)
        if claim is not None:
            message._message = dramatiq.Message(**claim.message)
        return claim

    def _succeed(self, attempt: Attempt) -> None:
        is_settled = attempt.lease.settled or settle(attempt, lambda: self._ledger.succeed(attempt.lease))
        attempt.outcome = Outcome.SUCCEEDED if is_settled else self._cancel_or_lose(attempt)

    def _cancel_or_lose(self, attempt: Attempt) -> Outcome:
        cancelled = settle(attempt, lambda: self._ledger.cancel(attempt.lease.job_id, attempt.lease))
        return Outcome.CANCELLED if cancelled else Outcome.LOST

    def _release(self, message: MessageProxy) -> None:
        attempt = find_attempt(message.message_id)
        if attempt is not None:
            self._held.remove(attempt.lease)
            end_attempt()


def settle(attempt: Attempt, write: Callable[[], bool]) -> bool:
    """Write the attempt's end, patiently while the database is away and the lease may still be ours."""
    attempt.lease.settled = patiently(write, attempt.lease)
    return attempt.lease.settled


def fail_unclaimed(ledger: Ledger, message_id: str, failure: Failure) -> bool:
    """End a queued job that no actor here can run."""
    try:
        return ledger.fail(UUID(message_id), None, failure)
    except ValueError:
        return False


def _without_traceback(message: dict[str, Any]) -> dict[str, Any]:
    options = {key: value for key, value in message["options"].items() if key != "traceback"}
    return message | {"options": options}
