"""The ledger of jobs as workers see it: claims, endings, and the ports of the threads that keep it moving."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from domain.errors import FailureCode
from domain.jobs import Lease


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed job: what to run, and under which lease. `message` is the Dramatiq message as a dictionary."""

    lease: Lease
    message: dict[str, Any]
    workspace_id: UUID
    document_id: UUID | None
    attempt: int
    crash_count: int
    waited_seconds: float


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    RETRYING = "retrying"
    PARKED = "parked"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt ended badly. `fingerprint` groups failures with the same cause."""

    code: FailureCode
    message: str
    fingerprint: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class DueJob:
    """A job to ring for. `lag_seconds`: how long it has been due."""

    id: UUID
    actor: str
    lag_seconds: float = 0.0


class Ledger(Protocol):
    """What surrounds every attempt. Each method is one transaction; False or None: somebody else was faster."""

    def claim(self, job_id: UUID, *, owner: UUID, ttl: timedelta) -> Claim | None:
        """Start an attempt of a queued job."""
        ...

    def succeed(self, lease: Lease) -> bool:
        """End the attempt well."""
        ...

    def retry(
        self, lease: Lease, message: dict[str, Any], failure: Failure, *, delay: timedelta, outcome: Outcome
    ) -> bool:
        """Run the job again with the message's options and its arguments as they were sent.

        That is after `delay`, or for an interrupted job at its old place in the queue. A parked or interrupted attempt
        does not count.
        """
        ...

    def fail(self, job_id: UUID, lease: Lease | None, failure: Failure) -> bool:
        """End the job badly and its document with it; without a lease, a queued job that no worker can run."""
        ...

    def cancel(self, job_id: UUID, lease: Lease | None = None) -> bool:
        """End a waiting job and its document, or a running attempt that was asked to stop."""
        ...


class LeaseTable(Protocol):
    """Leases as their keeper sees them."""

    def renew(self, leases: Sequence[Lease]) -> set[UUID]:
        """Renew all leases; return the jobs whose lease is lost."""
        ...

    def rescue_expired(self) -> dict[UUID, str]:
        """Take expired jobs from silent workers; return the state each of them got."""
        ...


class DispatchTable(Protocol):
    """Waiting jobs as the relay sees them."""

    def lead(self) -> bool:
        """Try to become the one relay that acts."""
        ...

    def listen(self) -> None:
        """Hear rings from now on: after it, look for jobs that were rung for before."""
        ...

    def unlisten(self) -> None:
        """Hear no rings until the next `listen`; ringing costs less while nobody does."""
        ...

    def wait(self, timeout: timedelta) -> set[str]:
        """Wait for somebody to ring, or for the timeout; return the queues that were rung for."""
        ...

    def queues(self) -> list[str]:
        """Return the queues that have waiting jobs."""
        ...

    def pick_due(self, queue: str, limit: int) -> list[DueJob]:
        """Move due jobs of a queue to queued, fair between workspaces; return them in the order to ring."""
        ...

    def ring_again(self, queue: str, *, age: timedelta, limit: int, known: set[UUID]) -> list[DueJob]:
        """Mark as rung again, and return, queued jobs whose last ring is older than `age`, except the known ones."""
        ...

    def next_due(self) -> timedelta | None:
        """Tell how long until the next waiting job is due; None when none waits."""
        ...


class HintLists(Protocol):
    """The doorbell. Every method raises an OSError or a RuntimeError of its library when the doorbell is away."""

    def push(self, queue: str, jobs: Sequence[DueJob]) -> None:
        """Ring for jobs, in this order."""
        ...

    def peek(self, queue: str, limit: int) -> set[UUID]:
        """Return the jobs rung for, of the first `limit` hints."""
        ...

    def depth(self, queue: str) -> int:
        """Count the hints of a queue."""
        ...
