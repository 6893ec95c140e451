"""A worker whose clock is wrong: the ledger knows only the database's."""

import time

from tests.chaos.fault import fault
from tests.chaos.site import Site

WRONG_FOR_SECONDS = 8.0


def start_with_a_wrong_clock(site: Site) -> None:
    site.start_workers(processes=1)
    site.start_workers("tests.chaos.wrong_clock", "actors", processes=1)
    site.start_scheduler()


@fault("a worker's clock jumps by hours", start=start_with_a_wrong_clock)
def wrong_clock(site: Site) -> None:
    with site.blow():
        time.sleep(WRONG_FOR_SECONDS)
