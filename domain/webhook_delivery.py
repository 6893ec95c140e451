"""Deliver one event to one endpoint: once if all goes well, again and again with growing pauses if not."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from domain.crash_points import crash_point
from domain.errors import FailureCode, HeadraceError, ParkedError, PermanentError, TransientError
from domain.jobs import Lease
from domain.patience import patiently
from domain.webhooks import message_body, message_headers

#: What to wait before the next attempt: the schedule that the Standard Webhooks specification proposes, three days.
RETRY_AFTER = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
ATTEMPTS = len(RETRY_AFTER) + 1

#: Dramatiq's own count only has to stay out of the way: it also counts what went wrong on our side.
MAX_RETRIES = 3 * ATTEMPTS

#: What a receiver may ask for in Retry-After.
SOONEST, LATEST = timedelta(seconds=5), timedelta(hours=24)

#: Attempts at a time for one endpoint, and for one that failed last time. The others wait their turn without a thread.
IN_FLIGHT = 4
IN_FLIGHT_WHEN_FAILING = 1

#: An endpoint that fails is left alone for this long, doubled with every failure, by all of its deliveries.
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=5)

#: Every success calls the next of those who wait. Should nobody be called, they come by themselves: after half a second
#: per waiting delivery, or, for an endpoint that fails, after a quarter of the time for which it has been failing.
SECONDS_PER_WAITING = 0.5
LONGEST_WAIT = timedelta(hours=4)


class Result(StrEnum):
    """What became of an attempt: the metric's label."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    GONE = "gone"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    FORBIDDEN = "forbidden"
    DISCARDED = "discarded"
    OBSOLETE = "obsolete"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint, as an attempt finds it. `secrets`: the newest first, never shown.

    `failing`: how long the endpoint has been; `paused`: how long it is to be left alone; `ahead`: running attempts that
    come before this one; `waiting`: deliveries that wait for the endpoint, counted no further than it matters.
    """

    id: UUID
    workspace_id: UUID
    event_id: UUID
    event: str
    data: Mapping[str, Any]
    created_at: datetime
    attempts: int
    endpoint_id: UUID
    url: str
    secrets: Sequence[bytes] = field(repr=False)
    disabled: bool
    failures: int
    failing: timedelta
    paused: timedelta
    ahead: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt. `status`: of the HTTP answer, None without one; `error`: a sentence, None if it is well.

    `retry_after`: what the receiver asked for.
    """

    result: Result
    seconds: float
    status: int | None = None
    error: str | None = None
    retry_after: timedelta | None = None


class Deliveries(Protocol):
    """The deliveries. Each method is one transaction that the lease fences: LeaseLostError, JobCancelledError."""

    def begin(self, delivery_id: UUID, workspace_id: UUID, lease: Lease) -> Delivery | None:
        """Return the delivery; None when it is gone, done, or another job's."""
        ...

    def succeed(self, delivery: Delivery, answer: Answer, lease: Lease) -> None:
        """Note that it was delivered and that the endpoint is well, call the next that waits, and end the job."""
        ...

    def fail(self, delivery: Delivery, answer: Answer, lease: Lease, *, is_final: bool, pause: timedelta) -> timedelta:
        """Note a failed attempt and leave the endpoint alone for a while; return how long it has been failing."""
        ...

    def discard(self, delivery: Delivery, reason: str, lease: Lease) -> None:
        """Give the delivery up without an attempt, and end the job."""
        ...

    def disable(self, delivery: Delivery, reason: str, lease: Lease) -> None:
        """Disable the endpoint, and put an event about it into the log."""
        ...


class Sender(Protocol):
    """Sends messages to strangers."""

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Make one POST within the deadline; whatever the other side does is an answer, not an error."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What one run did. `error`: what the job has to end with; `disabled`: why this run disabled the endpoint."""

    delivery_id: UUID
    result: Result
    endpoint_id: UUID | None = None
    about: str | None = None
    attempt: int = 0
    status: int | None = None
    seconds: float = 0.0
    disabled: str | None = None
    error: HeadraceError | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What may be logged."""
        known = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "error"}
        return {name: value if isinstance(value, int | float) else str(value) for name, value in known.items() if value}

    def conclude(self) -> None:
        """Raise the error, if there is one, for the ledger to act on."""
        if self.error is not None:
            raise self.error


def deliver_webhook(
    delivery_id: UUID,
    workspace_id: UUID,
    *,
    lease: Lease,
    deliveries: Deliveries,
    sender: Sender,
    disable_after: timedelta,
) -> DeliveryReport:
    """Attempt a delivery. A second run, after a crash, sends the same message under the same id.

    Raises ParkedError when the endpoint has to be left alone. A failed attempt is in the report, with its error.
    """
    delivery = deliveries.begin(delivery_id, workspace_id, lease)
    if delivery is None:
        return DeliveryReport(delivery_id, Result.OBSOLETE)
    if delivery.disabled:
        deliveries.discard(delivery, "The endpoint is disabled.", lease)
        return DeliveryReport(delivery_id, Result.DISCARDED, delivery.endpoint_id, delivery.event)
    _wait_for_turn(delivery)
    body = message_body(delivery.event, delivery.created_at, delivery.data)
    headers = message_headers(delivery.event_id, body, delivery.secrets, int(time.time()))
    answer = sender.send(delivery.url, headers, body)
    crash_point("after_webhook_answered")
    if answer.result is Result.DELIVERED:
        patiently(lambda: deliveries.succeed(delivery, answer, lease), lease)
        return _report(delivery, answer)
    return _fail(delivery, answer, lease=lease, deliveries=deliveries, disable_after=disable_after)


def _wait_for_turn(delivery: Delivery) -> None:
    room = IN_FLIGHT_WHEN_FAILING if delivery.failures else IN_FLIGHT
    if not delivery.paused and delivery.ahead < room:
        return
    crowd = timedelta(seconds=delivery.waiting * SECONDS_PER_WAITING)
    patience = min(LONGEST_WAIT, delivery.failing / 4 if delivery.failures else crowd)
    wait = max(timedelta(seconds=1), delivery.paused, patience) * random.uniform(1, 1.25)  # noqa: S311
    raise ParkedError(FailureCode.WEBHOOK_FAILED, "other deliveries to this endpoint come first", retry_after=wait)


def _fail(
    delivery: Delivery, answer: Answer, *, lease: Lease, deliveries: Deliveries, disable_after: timedelta
) -> DeliveryReport:
    is_hopeless = answer.result in {Result.GONE, Result.FORBIDDEN}
    is_final = is_hopeless or delivery.attempts + 1 >= ATTEMPTS
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(delivery.failures, 10))
    failing = patiently(lambda: deliveries.fail(delivery, answer, lease, is_final=is_final, pause=pause), lease)
    disabled = _why_disabled(answer, failing, disable_after)
    if disabled:
        patiently(lambda: deliveries.disable(delivery, disabled, lease), lease)
    return _report(delivery, answer, disabled, _error(delivery, answer, is_final=is_final))


def _why_disabled(answer: Answer, failing: timedelta, disable_after: timedelta) -> str | None:
    if answer.result is Result.GONE:
        return "It answered 410 Gone."
    if failing >= disable_after:
        return f"Every attempt of the last {failing.days} days failed; the last error: {answer.error}"
    return None


def _error(delivery: Delivery, answer: Answer, *, is_final: bool) -> HeadraceError:
    message = answer.error or "The delivery failed."
    if is_final:
        return PermanentError(FailureCode.WEBHOOK_FAILED, message)
    wait = RETRY_AFTER[min(delivery.attempts, len(RETRY_AFTER) - 1)]
    if answer.retry_after is not None:
        wait = min(max(answer.retry_after, SOONEST), LATEST)
    return TransientError(FailureCode.WEBHOOK_FAILED, message, retry_after=wait)


def _report(
    delivery: Delivery, answer: Answer, disabled: str | None = None, error: HeadraceError | None = None
) -> DeliveryReport:
    return DeliveryReport(
        delivery.id,
        answer.result,
        delivery.endpoint_id,
        delivery.event,
        delivery.attempts + 1,
        answer.status,
        answer.seconds,
        disabled,
        error,
    )
