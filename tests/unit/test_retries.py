"""What follows a failed attempt, by kind of error."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from uuid import UUID, uuid4

import dramatiq
import pytest
from dramatiq.broker import MessageProxy

from domain import patience
from domain.errors import (
    FailureCode,
    JobCancelledError,
    LeaseLostError,
    ParkedError,
    PermanentError,
    TransientError,
)
from domain.jobs import SYSTEM_WORKSPACE, Lease
from domain.ledger import Claim, Outcome
from middleware.attempt import Attempt, begin_attempt, end_attempt
from middleware.retries import LedgerRetries

MIN, MAX = 1000, 60_000


@dataclass
class RecordingBroker:
    """Remembers delays in milliseconds instead of enqueuing."""

    delays: list[int | None] = field(default_factory=list)

    def enqueue(self, message: object, delay: int | None = None) -> None:
        self.delays.append(delay)

    def get_actor(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(options={})


@dataclass
class Running:
    """A message whose attempt this thread runs."""

    message: MessageProxy
    attempt: Attempt
    broker: RecordingBroker

    def end_with(self, exception: BaseException | None, *, max_retries: int = 3) -> None:
        retries = LedgerRetries(max_retries=max_retries, min_backoff=MIN, max_backoff=MAX)
        retries.after_process_message(self.broker, self.message, exception=exception)  # type: ignore[arg-type]


@pytest.fixture
def running() -> Iterator[Running]:
    message = dramatiq.Message("test", "paint", (), {}, {}, message_id=str(uuid4()))
    lease = Lease(UUID(message.message_id), 1)
    attempt = Attempt(Claim(lease, message.asdict(), SYSTEM_WORKSPACE, None, 1, 0, 0.0))
    begin_attempt(attempt)
    yield Running(MessageProxy(message), attempt, RecordingBroker())
    end_attempt()


def test_success_is_followed_by_nothing(running: Running) -> None:
    running.end_with(None)

    assert (running.broker.delays, running.message.failed, running.attempt.failure) == ([], False, None)


def test_a_permanent_error_fails_the_job(running: Running) -> None:
    running.end_with(PermanentError(FailureCode.TOO_LARGE, "Too large."))

    assert running.message.failed
    assert running.broker.delays == []
    assert running.attempt.failure is not None
    assert running.attempt.failure.code is FailureCode.TOO_LARGE


def test_a_parked_job_waits_as_long_as_it_asked_and_burns_no_retry(running: Running) -> None:
    for _ in range(10):
        running.end_with(ParkedError(FailureCode.BUDGET_EXCEEDED, "wait", retry_after=timedelta(minutes=5)))

    assert set(running.broker.delays) == {300_000}
    assert running.attempt.outcome is Outcome.PARKED
    assert "retries" not in running.message.options
    assert not running.message.failed


def test_a_transient_error_waits_as_long_as_it_asks(running: Running) -> None:
    error = TransientError(FailureCode.BLOB_UNAVAILABLE, "away", retry_after=timedelta(seconds=7))

    running.end_with(error)

    assert running.broker.delays == [7000]
    assert running.message.options["retries"] == 1


@pytest.mark.parametrize("error", [TransientError(FailureCode.BLOB_UNAVAILABLE, "away"), ValueError("a bug")])
def test_anything_else_backs_off(running: Running, error: Exception) -> None:
    for _ in range(3):
        running.end_with(error)

    first, second, third = running.broker.delays
    assert first is not None
    assert second is not None
    assert third is not None
    assert MIN <= first <= 2 * MIN <= second <= 4 * MIN <= third <= MAX


def test_the_last_retry_is_the_last(running: Running) -> None:
    for _ in range(4):
        running.end_with(ValueError("a bug"), max_retries=3)

    assert len(running.broker.delays) == 3
    assert running.message.failed


def test_who_is_told_of_the_last_retry_is_told_when_the_database_is_back(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.0)
    errors = [TransientError(FailureCode.DATABASE_UNAVAILABLE, "away")] * 2
    told: list[dict[str, int]] = []

    def send(message: object, ended: dict[str, int]) -> None:
        if errors:
            raise errors.pop()
        told.append(ended)

    running.message.options["on_retry_exhausted"] = "tell"
    monkeypatch.setattr(running.broker, "get_actor", lambda name: SimpleNamespace(options={}, send=send))

    running.end_with(ValueError("a bug"), max_retries=0)

    assert told == [{"retries": 0, "max_retries": 0}]
    assert running.message.failed


@pytest.mark.parametrize("kind", [LeaseLostError, JobCancelledError])
def test_a_lost_lease_is_nobodys_failure(running: Running, kind: type[LeaseLostError]) -> None:
    running.end_with(kind("gone"))

    assert (running.broker.delays, running.message.failed, running.attempt.failure) == ([], False, None)


def test_a_message_without_an_attempt_is_left_alone(running: Running) -> None:
    end_attempt()

    running.end_with(ValueError("a bug"))

    assert (running.broker.delays, running.message.failed) == ([], False)
