"""What has been paid for is kept while the database is away."""

from uuid import uuid4

import pytest

from domain import patience
from domain.errors import FailureCode, LeaseLostError, TransientError
from domain.jobs import Lease
from domain.patience import patiently

AWAY = TransientError(FailureCode.DATABASE_UNAVAILABLE, "away")


class Step:
    """Raises the given errors, one a call, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "kept"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.0)


def test_a_step_is_repeated_until_the_database_answers() -> None:
    step = Step(AWAY, AWAY)

    assert patiently(step, Lease(uuid4(), 1)) == "kept"
    assert step.calls == 3


@pytest.mark.parametrize(
    "error",
    [TransientError(FailureCode.EMBEDDING_UNAVAILABLE, "busy"), LeaseLostError("lost"), ValueError("a bug")],
)
def test_no_other_error_is_repeated(error: Exception) -> None:
    step = Step(error)

    with pytest.raises(type(error)):
        patiently(step, Lease(uuid4(), 1))
    assert step.calls == 1


def test_a_lost_lease_ends_the_patience() -> None:
    step = Step(AWAY, AWAY)

    with pytest.raises(TransientError):
        patiently(step, Lease(uuid4(), 1, lost=True))
    assert step.calls == 1


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", -1.0)

    with pytest.raises(TransientError):
        patiently(Step(AWAY), Lease(uuid4(), 1))
