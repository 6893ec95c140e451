"""Workers that die at named places in the code, which a token in a folder turns on."""

from functools import partial
from pathlib import Path

from domain.crash_points import CRASH_POINTS
from domain.jobs import EXTRACT_QUEUE, INDEX_QUEUE, MAINTENANCE_QUEUE
from tests.chaos.fault import fault
from tests.chaos.plan import THREADS
from tests.chaos.processes import wait_until
from tests.chaos.site import Site


def start_with_tokens(site: Site, threads: int = THREADS) -> None:
    tokens(site).mkdir()
    site.environment["CRASH_TOKENS"] = str(tokens(site))
    site.start_workers(threads=threads)
    site.start_scheduler()


def start_apart_with_tokens(site: Site) -> None:
    """Let workers serve one stage each: these hand every document over."""
    tokens(site).mkdir()
    site.environment["CRASH_TOKENS"] = str(tokens(site))
    site.start_workers(processes=1, queues=[EXTRACT_QUEUE])
    site.start_workers(processes=1, queues=[INDEX_QUEUE, MAINTENANCE_QUEUE])
    site.start_scheduler()


def tokens(site: Site) -> Path:
    return site.folder / "tokens"


def crash_at(point: str, site: Site, threads: int = THREADS) -> None:
    """Let workers die there; no job is met twice, for the tokens are gone before the first lease has run out."""
    count = 2 if site.plan.quick else 3
    with site.blow(cut_attempts=count * threads):
        for number in range(count):
            (tokens(site) / f"{point}.{number}").touch()
        wait_until(lambda: not any(tokens(site).iterdir()), seconds=60, what=f"{count} crashes at {point}")


#: Passed only where another job indexes the document.
HAND_OVER = "after_outbox_insert"

for _point in CRASH_POINTS:
    _start = start_apart_with_tokens if _point == HAND_OVER else start_with_tokens
    fault(f"crash point {_point}", start=_start)(partial(crash_at, _point))

#: The worst place to die, in workers that run one job at a time: one batch for each killed process, and not one more.
fault("one-thread workers die between answer and commit", start=partial(start_with_tokens, threads=1))(
    partial(crash_at, "after_embedding_before_storing", threads=1)
)
