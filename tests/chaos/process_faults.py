"""Processes that die, stop, or are asked to go."""

import os
import signal
import time
from contextlib import suppress

from tests.chaos.fault import fault
from tests.chaos.plan import THREADS
from tests.chaos.processes import wait_until
from tests.chaos.site import Site

KILLS = 3


@fault("kill -9 of a worker, three times")
def kill_worker(site: Site) -> None:
    for _ in range(KILLS):
        starts = len(site.master.starts)
        site.blow(cut_attempts=THREADS)
        site.master.kill_worker()
        site.blow_ended()
        site.master.wait_until_restarted(starts)


@fault("kill -9 of the master")
def kill_master(site: Site) -> None:
    starts = len(site.master.starts)
    site.blow()
    os.kill(site.master.master.pid, signal.SIGKILL)
    site.blow_ended()
    site.master.wait_until_restarted(starts)
