"""How long history is kept."""

from dataclasses import astuple, dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Retention:
    """Ages after which history is pruned. Failed jobs are the dead letters, kept apart from the others.

    Deliveries of webhooks are kept as long as jobs that ended the same way.
    """

    finished_jobs: timedelta
    failed_jobs: timedelta
    events: timedelta
    ticks: timedelta


@dataclass(frozen=True, slots=True)
class Pruned:
    """Rows removed in one round."""

    jobs: int = 0
    failed_jobs: int = 0
    events: int = 0
    ticks: int = 0
    parser_deaths: int = 0
    webhooks: int = 0
    failed_webhooks: int = 0
    exports: int = 0
    notifications: int = 0

    def __add__(self, other: "Pruned") -> "Pruned":
        """Add up two rounds."""
        return Pruned(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def most(self) -> int:
        """Return the largest of the counts: at the limit, there is more to do."""
        return max(int(count) for count in astuple(self))
