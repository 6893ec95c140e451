"""Valkey forgets, vanishes, takes its time, or says everything three times."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from adapters.embedded.stack import Stack
from adapters.redis.hints import Hints
from domain.ledger import DueJob
from tests.chaos.fault import fault
from tests.chaos.proxies import SlowProxy
from tests.chaos.site import Site

FLUSHES, FLUSH_EVERY_SECONDS = 10, 0.5
RESTART_SECONDS = 1.0
SLOW_SECONDS, SLOW_FOR_SECONDS = 0.2, 15.0
REPEATS, REPEAT_FOR_SECONDS = 3, 10.0
QUEUES = ("ingest_extract", "ingest_index")

RUNG = "SELECT id, actor FROM jobs WHERE queue = %s AND state IN ('queued', 'running') LIMIT 20"

#: What the doorbell can hurt: what it was told and no worker has claimed.
RUNG_FOR = ("running", "queued")


@fault("FLUSHALL, ten times", disturbed=RUNG_FOR)
def flush_all(site: Site) -> None:
    with site.redis() as client:
        for _ in range(FLUSHES):
            with site.blow():
                client.flushall()
            time.sleep(FLUSH_EVERY_SECONDS)


@fault("Valkey restart without persistence", disturbed=RUNG_FOR)
def restart_valkey(site: Site) -> None:
    silence_valkey(site, RESTART_SECONDS)


@fault("Valkey outage", disturbed=RUNG_FOR)
def valkey_outage(site: Site) -> None:
    silence_valkey(site, site.plan.valkey_outage_seconds)


def silence_valkey(site: Site, seconds: float) -> None:
    server = site.stack.valkey
    assert server
    with site.blow():
        server.stop()
        time.sleep(seconds)
        server.start()


_slow: dict[Path, SlowProxy] = {}


@contextmanager
def slowed_down(stack: Stack, folder: Path) -> Iterator[dict[str, str]]:
    path = unquote(urlsplit(str(stack.redis_url)).path)
    with SlowProxy(Path(path), folder / "slow.sock") as proxy:
        _slow[folder] = proxy
        yield {"REDIS_URL": f"unix://{folder}/slow.sock?db=0"}
        del _slow[folder]


@fault("slow Valkey, 200 ms an answer", proxied=slowed_down, disturbed=RUNG_FOR)
def slow_valkey(site: Site) -> None:
    proxy = _slow[site.folder]
    with site.blow():
        proxy.delay_seconds = SLOW_SECONDS
        time.sleep(SLOW_FOR_SECONDS)
        proxy.delay_seconds = 0.0


@fault("every hint three times", disturbed=RUNG_FOR)
def repeat_hints(site: Site) -> None:
    hints = Hints(str(site.stack.redis_url), prefix="headrace")
    until = time.monotonic() + REPEAT_FOR_SECONDS
    while time.monotonic() < until:
        with site.blow():
            for queue in QUEUES:
                jobs = [DueJob(*row) for row in site.rows(RUNG, queue)]
                hints.push(queue, jobs * REPEATS)
        time.sleep(0.25)
    hints.close()
