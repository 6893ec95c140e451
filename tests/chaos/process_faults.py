"""Processes that die, stop, or are asked to go."""

import os
import signal
import time
from contextlib import suppress
from typing import Any

from tests.chaos.fault import fault
from tests.chaos.plan import THREADS
from tests.chaos.processes import wait_until
from tests.chaos.site import Site

KILLS = 3

#: A parser that was killed is started again after a second; within less, every kill meets another file.
PARSER_HUNT_SECONDS = 0.9


@fault("kill -9 of a worker, three times")
def kill_worker(site: Site) -> None:
    for _ in range(KILLS):
        starts = len(site.master.starts)
        with site.blow(cut_attempts=THREADS):
            site.master.kill_worker()
        site.master.wait_until_restarted(starts)


@fault("kill -9 of the master")
def kill_master(site: Site) -> None:
    starts = len(site.master.starts)
    with site.blow():
        os.kill(site.master.master.pid, signal.SIGKILL)
    site.master.wait_until_restarted(starts)


@fault("kill -9 of sandbox children")
def kill_parsers(site: Site) -> None:
    killed: set[int] = set()
    with site.blow():
        until = time.monotonic() + PARSER_HUNT_SECONDS
        while time.monotonic() < until:
            for pid in set(site.master.parsers()) - killed:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
    assert killed, "no parser was running"


@fault("kill -9 of the exporter")
def kill_exporter(site: Site) -> None:
    wait_until(lambda: site.master.find("adapters.exporter"), seconds=20, what="the first exporter")
    (exporter,) = site.master.find("adapters.exporter")
    with site.blow():
        os.kill(exporter, signal.SIGKILL)
        wait_until(lambda: set(site.master.find("adapters.exporter")) - {exporter}, seconds=20, what="a new exporter")


@fault("kill -9 of the scheduler")
def kill_scheduler(site: Site) -> None:
    (scheduler,) = site.schedulers
    starts = len(scheduler.starts)
    with site.blow():
        os.kill(scheduler.master.pid, signal.SIGKILL)
        wait_until(lambda: len(scheduler.starts) > starts, seconds=20, what="a new scheduler")


def start_two_schedulers(site: Site) -> None:
    site.start_workers()
    site.start_scheduler()
    site.start_scheduler()


@fault("two schedulers", start=start_two_schedulers)
def two_schedulers(site: Site) -> None:
    with site.blow():
        wait_until(lambda: site.value("SELECT count(*) FROM schedule_ticks"), seconds=70, what="a tick")
        time.sleep(2)


@fault("SIGSTOP of a worker for longer than its lease, then SIGCONT")
def pause_worker(site: Site) -> None:
    site.master.wait_until_ready()
    with site.blow(cut_attempts=THREADS):
        paused = site.master.pids[0]
        os.kill(paused, signal.SIGSTOP)
        try:
            time.sleep(site.plan.lease_seconds + 2 * site.plan.heartbeat_seconds)
            before = rescued_rows(site)
        finally:
            os.kill(paused, signal.SIGCONT)
    assert before, "no job was taken from the paused worker"
    time.sleep(5)
    after = rescued_rows(site)
    site.stale_writes += sum(after[job] != row for job, row in before.items())


def rescued_rows(site: Site) -> dict[Any, Any]:
    """Return all that a stale attempt could change of the jobs that were rescued and have succeeded since."""
    rows = site.rows(
        "SELECT j.id, j.lease, j.state, j.finished_at,"
        " (SELECT count(*) FROM document_pages p WHERE p.document_id = j.document_id),"
        " (SELECT array_agg(a.outcome ORDER BY a.lease) FROM job_attempts a WHERE a.job_id = j.id)"
        " FROM jobs j WHERE j.state = 'succeeded'"
        " AND EXISTS (SELECT FROM job_attempts a WHERE a.job_id = j.id AND a.outcome = 'crashed')"
    )
    return {row[0]: row[1:] for row in rows}


def start_two_masters(site: Site) -> None:
    site.start_workers(processes=1)
    site.start_workers(processes=1)
    site.start_scheduler()


@fault("rolling restart by SIGTERM", start=start_two_masters)
def rolling_restart(site: Site) -> None:
    for program in site.workers:
        program.wait_until_ready()
        starts = len(program.starts)
        with site.blow():
            program.master.terminate()
        program.wait_until_restarted(starts)
    assert not site.value("SELECT count(*) FROM job_attempts WHERE outcome = 'crashed'"), "a drain cost an attempt"
