"""How much of everything a run measures: `FULL` gives the figures of the README, `QUICK` shows that everything runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Every count and bound of a run; nothing loops without one of them."""

    mode: str
    rounds: int
    bulk_pages: int
    idle_samples: int
    noops: int
    pickups: int
    chunks: tuple[int, int]
    page_cost_pages: int
    pending: tuple[int, int]
    reservations: int
    stale_reservations: int
    long_pdf_pages: tuple[int, int]
    documents_for_rss: tuple[int, int]
    flood: int
    quiet_every_seconds: float
    patience_seconds: float


FULL = Sizes(
    mode="full",
    rounds=3,
    bulk_pages=5_000,
    idle_samples=50,
    noops=10_000,
    pickups=50,
    chunks=(10_000, 1_000_000),
    page_cost_pages=500,
    pending=(1_000, 1_000_000),
    reservations=1_000_000,
    stale_reservations=5_000,
    long_pdf_pages=(100, 5_000),
    documents_for_rss=(500, 10_000),
    flood=5_000,
    quiet_every_seconds=5.0,
    patience_seconds=1_200.0,
)

QUICK = Sizes(
    mode="quick",
    rounds=1,
    bulk_pages=250,
    idle_samples=10,
    noops=3_000,
    pickups=10,
    chunks=(2_000, 20_000),
    page_cost_pages=100,
    pending=(1_000, 50_000),
    reservations=50_000,
    stale_reservations=500,
    long_pdf_pages=(100, 1_000),
    documents_for_rss=(50, 200),
    flood=300,
    quiet_every_seconds=2.0,
    patience_seconds=300.0,
)

#: Fewer no-op jobs for a contender that starts a process for each of them.
SLOW_SHARE = 10

#: What every contender gets, on two cores.
PROCESSES = 2
#: Ours for documents: two a core (docs/operations.md).
THREADS = 2
#: Ours where a remote embedder has to be waited for (docs/operations.md): a waiting thread costs nothing.
HEADRACE_REMOTE_THREADS = 12
#: The default of those that run jobs in threads or as coroutines.
RAILS_THREADS = 8
#: Ours for jobs of milliseconds (docs/operations.md): a thread waits for two commits, which it shares with the others.
HEADRACE_RAILS_THREADS = 32

#: The remote embedder: a request costs this, a token that on top.
SECONDS_PER_REQUEST, SECONDS_PER_TOKEN = 0.080, 20e-6
