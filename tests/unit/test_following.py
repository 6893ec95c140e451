"""What follows a job is sent, or the job runs again."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import dramatiq
import pytest
from dramatiq.broker import MessageProxy

from domain import patience
from domain.errors import FailureCode, TransientError
from domain.jobs import SYSTEM_WORKSPACE, Lease
from domain.ledger import Claim
from middleware.attempt import Attempt, begin_attempt, end_attempt
from middleware.following import Following, LedgerCallbacks, LedgerPipelines
from middleware.retries import LedgerRetries

AWAY = TransientError(FailureCode.DATABASE_UNAVAILABLE, "away")


class FakeBroker:
    """Raises the given errors, one a message, then takes what is sent."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.sent: list[str] = []

    def enqueue(self, message: Any, delay: int | None = None) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(message.actor_name)

    def get_actor(self, name: str) -> SimpleNamespace:
        def send(*_: object) -> None:
            self.enqueue(SimpleNamespace(actor_name=name))

        return SimpleNamespace(options={}, send=send)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.0)


@pytest.fixture
def message() -> MessageProxy:
    target = dramatiq.Message("test", "second", (), {}, {"pipe_ignore": True}).asdict()
    options = {"pipe_target": target, "on_success": "second", "on_failure": "second"}
    return MessageProxy(dramatiq.Message("test", "first", (), {}, options, message_id=str(uuid4())))


@pytest.fixture
def attempt(message: MessageProxy) -> Iterator[Attempt]:
    lease = Lease(UUID(message.message_id), 1)
    attempt = Attempt(Claim(lease, message.asdict(), SYSTEM_WORKSPACE, None, 1, 0, 0.0))
    begin_attempt(attempt)
    yield attempt
    end_attempt()


BOTH = pytest.mark.parametrize("kind", [LedgerCallbacks, LedgerPipelines])


@BOTH
def test_what_follows_waits_for_the_database(kind: type[Following], message: MessageProxy, attempt: Attempt) -> None:
    broker: Any = FakeBroker(AWAY, AWAY)

    kind().after_process_message(broker, message)

    assert broker.sent == ["second"]
    assert attempt.unfollowed is None


@BOTH
def test_a_job_that_nothing_could_follow_runs_again(
    kind: type[Following], message: MessageProxy, attempt: Attempt
) -> None:
    broker: Any = FakeBroker(ValueError("a bug"))

    kind().after_process_message(broker, message)
    LedgerRetries(max_retries=3).after_process_message(broker, message)

    assert broker.sent == ["first"]
    assert attempt.failure is not None
    assert "ValueError" in attempt.failure.fingerprint


def test_no_callback_says_that_a_job_went_well_which_runs_again(message: MessageProxy, attempt: Attempt) -> None:
    broker: Any = FakeBroker(ValueError("a bug"))

    LedgerPipelines().after_process_message(broker, message)
    LedgerCallbacks().after_process_message(broker, message)

    assert broker.sent == []


@pytest.mark.parametrize("exception", [None, KeyError("failed anyway")], ids=["settled", "failed"])
def test_what_cannot_run_again_leaves_the_error_to_dramatiqs_log(
    exception: Exception | None, message: MessageProxy, attempt: Attempt
) -> None:
    attempt.lease.settled = exception is None
    broker: Any = FakeBroker(ValueError("a bug"))

    with pytest.raises(ValueError, match="a bug"):
        LedgerCallbacks().after_process_message(broker, message, exception=exception)

    assert attempt.unfollowed is None
