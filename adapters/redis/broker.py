"""Dramatiq's broker over the ledger: sending writes Postgres, consuming waits for hints from Redis."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from threading import Condition
from typing import Any
from uuid import UUID

import dramatiq
import redis
from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.middleware import Middleware

from adapters.postgres.jobs import message_job
from adapters.postgres.ledger import NewJob, PostgresLedger, enqueue_in
from adapters.postgres.pool import Connection
from adapters.redis.hints import Hints, decode_hint
from domain.ledger import DueJob

Message = dramatiq.Message[Any]

#: A consumer looks up from waiting this often, to see whether it should stop.
POP_SECONDS = 1.0

#: When every thread was busy and one is free, others may be soon: fetching for them together waits this long.
LINGER_SECONDS = 0.002

#: Says whether the message is the running attempt of this thread, and hands it back to run again after the delay.
RetryRunning = Callable[[Message, timedelta], bool]


class LedgerBroker(Broker):
    """A broker whose truth is Postgres.

    `enqueue` writes the ledger and never touches Redis, so `actor.send()` works while Redis is away. Redis carries
    hints only, which a worker turns into a job by claiming it.
    """

    def __init__(
        self, *, ledger: PostgresLedger, hints: Hints, middleware: list[Middleware], retry_running: RetryRunning
    ) -> None:
        super().__init__(middleware=[])
        self.queues: set[str] = set()
        self.ledger = ledger
        self.hints = hints
        self._retry_running = retry_running
        for each in middleware:
            self.add_middleware(each)

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue, without a delay queue: delayed jobs wait in Postgres."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: Message, *, delay: int | None = None) -> Message:
        """Write the message into the ledger, due in `delay` milliseconds.

        A periodic actor's tick is written once per minute, whoever sends it. Raises InvalidJobError for parameters
        that do not fit, TransientError when Postgres is away.
        """
        wait = timedelta(milliseconds=delay or 0)
        if self._retry_running(message, wait):
            return message
        self.emit_before("enqueue", message, delay)
        job = self.job_of(message, wait)
        if "scheduled_at" in message.options:
            self.ledger.enqueue_tick(job, datetime.fromisoformat(message.options["scheduled_at"]))
        else:
            self.ledger.enqueue(job)
        self.emit_after("enqueue", message, delay)
        return message

    def enqueue_in(self, connection: Connection, message: Message, *, delay: int | None = None) -> Message:
        """Write the message inside the caller's psycopg transaction: the job exists exactly if that commits."""
        enqueue_in(connection, self.job_of(message, timedelta(milliseconds=delay or 0)))
        return message

    def job_of(self, message: Message, delay: timedelta) -> NewJob:
        """Build the ledger's row for a message."""
        actor = self.actors.get(message.actor_name)
        return message_job(message.asdict(), priority=actor.priority if actor else 0, delay=delay)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:  # noqa: ARG002
        """Wait for hints of a queue."""
        return HintConsumer(self.hints, queue_name, prefetch)

    def close(self) -> None:
        """Close the connections to Redis."""
        self.hints.close()

    def get_declared_queues(self) -> set[str]:
        """Return the queues of every declared actor."""
        return self.queues.copy()

    def flush(self, queue_name: str) -> None:
        """Refuse: the ledger keeps its jobs; cancel them instead."""
        raise NotImplementedError(f"cancel the jobs of {queue_name} instead of flushing the queue")

    def join(self, queue_name: str, *, interval: int = 100, timeout: int | None = None) -> None:
        """Refuse: ask the ledger whether jobs have ended."""
        raise NotImplementedError(f"ask the ledger whether the jobs of {queue_name} have ended")


class HintConsumer(Consumer):
    """Takes at most `prefetch` hints at a time and blocks for more, in Redis or until one of them is done.

    There is nothing to acknowledge in Redis: a hint that dies with its worker is rung for again.
    """

    def __init__(self, hints: Hints, queue_name: str, prefetch: int) -> None:
        self.logger = logging.getLogger(__name__)
        self._hints = hints
        self._queue_name = queue_name
        self._prefetch = prefetch
        self._cache: Iterator[Message] = iter(())
        self._outstanding = 0
        self._room = Condition()
        self._is_deaf = False
        #: When dramatiq last asked for a hint; the watchdog looks at it.
        self.last_progress = time.monotonic()

    def __next__(self) -> MessageProxy | None:
        """Return the next hint as a message without arguments; None when nothing came for a second."""
        self.last_progress = time.monotonic()
        message = next(self._cache, None) or self._fetch()
        return MessageProxy(message) if message else None

    def ack(self, message: MessageProxy) -> None:  # noqa: ARG002
        """Make room for another hint."""
        self._release(1)

    def nack(self, message: MessageProxy) -> None:  # noqa: ARG002
        """Make room for another hint: the ledger is the dead-letter queue."""
        self._release(1)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Ring for what was fetched and not started, so that another worker takes it at once."""
        jobs = [DueJob(UUID(message.message_id), message.actor_name) for message in messages]
        try:
            self._hints.push(self._queue_name, jobs)
        except redis.RedisError as error:
            self.logger.info("Hints were not given back, the relay will ring again: %s", error)

    def _fetch(self) -> Message | None:
        room = self._wait_for_room()
        if room <= 0:
            return None
        messages = [message for hint in self._pop(room) if (message := self._message(hint))]
        with self._room:
            self._outstanding += len(messages)
        self._cache = iter(messages)
        return next(self._cache, None)

    def _pop(self, room: int) -> list[bytes]:
        """Raise nothing when Redis is away: dramatiq would restart the consumer only after three seconds."""
        try:
            hints = self._hints.pop(self._queue_name, room, timeout_seconds=POP_SECONDS)
        except redis.RedisError as error:
            if not self._is_deaf:
                self.logger.warning("No hints from Redis, jobs wait in Postgres until it is back: %s", error)
            self._is_deaf = True
            time.sleep(POP_SECONDS)
            return []
        self._is_deaf = False
        return hints

    def _wait_for_room(self) -> int:
        with self._room:
            if self._outstanding >= self._prefetch and self._room.wait(POP_SECONDS):
                self._room.wait_for(lambda: 4 * self._outstanding <= 3 * self._prefetch, LINGER_SECONDS)
            return self._prefetch - self._outstanding

    def _release(self, count: int) -> None:
        with self._room:
            self._outstanding -= count
            self._room.notify()

    def _message(self, hint: bytes) -> Message | None:
        decoded = decode_hint(hint)
        if decoded is None:
            self.logger.warning("Ignored something in the hint list of %s that is no hint.", self._queue_name)
            return None
        return dramatiq.Message(self._queue_name, decoded.actor, (), {}, {}, message_id=str(decoded.id))
