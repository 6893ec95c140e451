"""Start: how soon every worker process takes jobs, and what an idle one holds in memory. Headrace alone."""

import time
from pathlib import Path

from benchmarks.bench import Bench, Figure
from benchmarks.contenders import named
from benchmarks.memory import MIB, children, proportional_bytes, resident_bytes, with_children
from benchmarks.running import DidNotFinishError, Running, running, working
from benchmarks.sizes import PROCESSES

#: Waiting jobs: more than the first process can do before the last one is there.
JOBS = 2_000
SETTLE_SECONDS = 3.0

_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
_FIRST_CLAIMS = "SELECT extract(epoch FROM min(started_at))::float8 FROM jobs WHERE lease > 0 GROUP BY lease_owner"


def start(bench: Bench) -> Figure:
    """Start workers over waiting jobs; seconds from the command until the last process has claimed its first one."""
    with (
        bench.servers.database() as url,
        running(
            named(["headrace"])[0],
            bench.servers,
            url,
            kind="rails",
            patience_seconds=bench.sizes.patience_seconds,
            workers=False,
        ) as run,
    ):
        run.send_noops(JOBS)
        began = _column(run, _NOW)[0]
        with working(run, "rails"):
            run.wait_for_noops(run.sent_noops)
            claims = _column(run, _FIRST_CLAIMS)
            if len(claims) != PROCESSES:
                raise DidNotFinishError(f"{len(claims)} of {PROCESSES} worker processes have taken a job")
            time.sleep(SETTLE_SECONDS)
            alone = [resident_bytes([pid]) for pid in _workers(run)]
            family = [proportional_bytes(with_children([pid])) for pid in _workers(run)]
    return {
        "seconds_until_every_process_works": round(max(claims) - began, 2),
        "idle_worker_mib": round(max(alone) / MIB),
        "idle_worker_and_parsers_mib": round(max(family) / MIB),
    }


def _column(run: Running, query: str) -> list[float]:
    return [float(row[0]) for row in run.watcher.execute(query)]


def _workers(run: Running) -> list[int]:
    """Find the worker processes: those of dramatiq that have started no other of its kind."""
    ours = {pid for pid in run.processes() if b"dramatiq" in Path(f"/proc/{pid}/cmdline").read_bytes()}
    return [pid for pid in ours if not ours.intersection(children(pid))]
