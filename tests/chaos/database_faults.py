"""PostgreSQL goes away, hangs up, or has no room."""

import time

from tests.chaos.fault import fault
from tests.chaos.plan import PROCESSES, THREADS
from tests.chaos.site import Site

ALL_ATTEMPTS = PROCESSES * THREADS


@fault("PostgreSQL restart")
def restart_postgres(site: Site) -> None:
    server = site.stack.postgres
    assert server
    site.blow(cut_attempts=ALL_ATTEMPTS)
    server.stop()
    time.sleep(2)
    server.start()
