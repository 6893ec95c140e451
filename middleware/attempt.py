"""The attempt that this thread is running, and the leases that this process holds."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from uuid import UUID

from domain.errors import LeaseLostError
from domain.jobs import Lease
from domain.ledger import Claim, Failure, Outcome


@dataclass(slots=True)
class Attempt:
    """One run of a job: its claim, and what is known of its end so far."""

    claim: Claim
    started_at: float = field(default_factory=monotonic)
    outcome: Outcome | None = None
    failure: Failure | None = None
    unfollowed: Exception | None = None  # why the job that follows is not in the ledger

    @property
    def lease(self) -> Lease:
        """Return the right to write."""
        return self.claim.lease

    @property
    def seconds(self) -> float:
        """Return how long it has been running."""
        return monotonic() - self.started_at


_attempt: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


def begin_attempt(attempt: Attempt) -> None:
    """Make this the attempt of the thread."""
    _attempt.set(attempt)


def end_attempt() -> None:
    """Forget the attempt of the thread."""
    _attempt.set(None)


def find_attempt(message_id: str) -> Attempt | None:
    """Return this thread's attempt if it runs the given message."""
    attempt = _attempt.get()
    return attempt if attempt and attempt.claim.message.get("message_id") == message_id else None


def current_lease() -> Lease:
    """Return the lease of the job that this thread runs. Raises LeaseLostError outside of a job."""
    attempt = _attempt.get()
    if attempt is None:
        raise LeaseLostError("no job is running in this thread; send the actor a message instead of calling it")
    return attempt.lease


class HeldLeases:
    """The leases of this process, shared by its worker threads and the thread that renews them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._leases: dict[UUID, Lease] = {}
        self._is_interrupted = False

    def add(self, lease: Lease) -> None:
        """Renew this lease from now on."""
        with self._lock:
            lease.interrupted = self._is_interrupted
            self._leases[lease.job_id] = lease

    def interrupt(self) -> None:
        """Ask every attempt, also those that are just being claimed, to hand its job back at its next safe point."""
        with self._lock:
            self._is_interrupted = True
            for lease in self._leases.values():
                lease.interrupted = True

    def remove(self, lease: Lease) -> None:
        """Stop renewing this lease."""
        with self._lock:
            if self._leases.get(lease.job_id) is lease:
                del self._leases[lease.job_id]

    def unsettled(self) -> list[Lease]:
        """Return the leases that are still needed."""
        with self._lock:
            return [lease for lease in self._leases.values() if not lease.settled]
