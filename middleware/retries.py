"""Dramatiq's own Retries, told apart by kind of error and made durable by the broker."""

from datetime import timedelta
from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.errors import Retry
from dramatiq.middleware import Retries

from domain.errors import JobInterruptedError, LeaseLostError, ParkedError, PermanentError, TransientError
from domain.jobs import Lease
from domain.ledger import Outcome
from domain.patience import patiently
from middleware.attempt import find_attempt
from middleware.failures import describe


class LedgerRetries(Retries):
    """Decides what follows a failed attempt; the broker writes it to the ledger.

    PermanentError ends the job. ParkedError waits without counting as a retry. TransientError waits as long as it
    asks, or backs off. JobInterruptedError hands the job back at once. LeaseLostError is nobody's failure: the job
    belongs to another attempt.
    """

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any = None,  # noqa: ARG002
        exception: BaseException | None = None,
    ) -> None:
        """Re-enqueue or fail the message."""
        attempt = find_attempt(message.message_id)
        if attempt is None:
            return
        exception = exception or attempt.unfollowed
        if exception is None or isinstance(exception, LeaseLostError):
            return
        attempt.failure = describe(exception)
        if isinstance(exception, PermanentError):
            message.fail()
        elif isinstance(exception, ParkedError):
            attempt.outcome = Outcome.PARKED
            broker.enqueue(message._message, delay=_milliseconds(exception.retry_after))
        elif isinstance(exception, JobInterruptedError):
            attempt.outcome = Outcome.INTERRUPTED
            broker.enqueue(message._message)
        else:
            self._retry_or_fail(broker, message, _as_dramatiq(exception), attempt.lease)

    def _retry_or_fail(self, broker: Broker, message: MessageProxy, exception: BaseException, lease: Lease) -> None:
        retries = message.options.get("retries", 0)

        def decide() -> None:
            message.options["retries"] = retries  # dramatiq counts up each time
            super(LedgerRetries, self).after_process_message(broker, message, exception=exception)  # type: ignore[no-untyped-call]

        patiently(decide, lease)  # it may send `on_retry_exhausted`


def _as_dramatiq(exception: BaseException) -> BaseException:
    if isinstance(exception, TransientError) and exception.retry_after is not None:
        return Retry(exception.message, delay=_milliseconds(exception.retry_after))
    return exception


def _milliseconds(delay: timedelta | None) -> int:
    return round(delay.total_seconds() * 1000) if delay else 0
