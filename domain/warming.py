"""Load what a workspace is searched in into memory, and say what that changed."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from domain.crash_points import crash_point
from domain.jobs import Lease

#: Searches that measure: as many before as after, by different vectors, so that the first do not warm for the second.
PROBES = 8

#: The workspace's own vectors that stand in for recent queries where relations cannot be read as a whole.
WALKS = 200


class WarmingWay(StrEnum):
    """How memory was filled: whole relations by pg_prewarm, or the workspace's rows and walks through its index."""

    PREWARM = "pg_prewarm"
    ROWS = "rows"


@dataclass(frozen=True, slots=True)
class Probe:
    """What some searches cost. `hit`: share of blocks that PostgreSQL had in memory, 0 to 1; `milliseconds`: each."""

    hit: float
    milliseconds: float


@dataclass(frozen=True, slots=True)
class WarmingReport:
    """What was loaded. `blocks`: of 8 KiB with pg_prewarm, else rows; `before` and `after`: None without vectors."""

    way: WarmingWay
    blocks: int
    before: Probe | None
    after: Probe | None


class Cache(Protocol):
    """The database's memory, as seen by one workspace. Each method is some short statements."""

    def probe(self, workspace_id: UUID, *, skip: int, probes: int) -> Probe | None:
        """Search for some of the workspace's own vectors behind the first `skip`; None when it has none."""
        ...

    def prewarm(self) -> int | None:
        """Read chunks, vectors and their indexes as a whole; return the blocks, None where the server cannot."""
        ...

    def read_rows(self, workspace_id: UUID, lease: Lease, *, walks: int) -> int:
        """Read the workspace's chunks and vectors, and walk through the index from some of them; return the rows."""
        ...

    def note(self, workspace_id: UUID, report: WarmingReport, lease: Lease) -> None:
        """Put the figure into the log, and end the job."""
        ...


def warm_cache(workspace_id: UUID, *, lease: Lease, cache: Cache) -> WarmingReport:
    """Load a workspace's vector index and chunks into memory. Running it twice does no harm."""
    before = cache.probe(workspace_id, skip=0, probes=PROBES)
    blocks = cache.prewarm()
    way = WarmingWay.PREWARM if blocks is not None else WarmingWay.ROWS
    if blocks is None:
        blocks = cache.read_rows(workspace_id, lease, walks=WALKS)
    report = WarmingReport(way, blocks, before, cache.probe(workspace_id, skip=PROBES, probes=PROBES))
    crash_point("before_warming_is_noted")
    cache.note(workspace_id, report, lease)
    return report
