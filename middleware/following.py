"""Dramatiq's pipelines and callbacks: a job ends well only when those that follow it are in the ledger."""

from functools import partial
from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Callbacks, Middleware, Pipelines

from domain.patience import patiently
from middleware.attempt import find_attempt


class Following(Middleware):
    """Sends patiently while the database is away, and has the job run again when that did not help.

    Dramatiq would swallow the error, and the next job with it. LedgerRetries finds it with the attempt.
    """

    def after_process_message(self, broker: Broker, message: MessageProxy, **end: Any) -> None:
        """Send what follows; the same job again for a pipeline, another one for a callback."""
        attempt = find_attempt(message.message_id)
        if attempt is None or attempt.unfollowed:
            return
        try:
            patiently(partial(super().after_process_message, broker, message, **end), attempt.lease)
        except Exception as error:
            if end.get("exception") or attempt.lease.settled:
                raise  # the job has failed anyway, or has ended in a transaction of its own
            attempt.unfollowed = error


class LedgerCallbacks(Following, Callbacks):
    """`on_success` and `on_failure`."""


class LedgerPipelines(Following, Pipelines):
    """`pipe_target`."""
