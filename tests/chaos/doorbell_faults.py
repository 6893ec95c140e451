"""Valkey forgets, vanishes, or takes its time."""

import time

from tests.chaos.fault import fault
from tests.chaos.site import Site

FLUSHES, FLUSH_EVERY_SECONDS = 10, 0.5
DOORBELL = ("running", "queued")


@fault("FLUSHALL, ten times", disturbed=DOORBELL)
def flush_all(site: Site) -> None:
    with site.redis() as client:
        for _ in range(FLUSHES):
            site.blow()
            client.flushall()
            time.sleep(FLUSH_EVERY_SECONDS)
