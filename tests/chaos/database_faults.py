"""PostgreSQL goes away, hangs up, has no room, or swallows its answers."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import psycopg

from adapters.embedded.stack import Stack
from tests.chaos.fault import fault
from tests.chaos.plan import PROCESSES, THREADS
from tests.chaos.processes import wait_until
from tests.chaos.proxies import SwallowingProxy
from tests.chaos.site import Site

ALL_ATTEMPTS = PROCESSES * THREADS
RESTART_SECONDS = 2.0
KILL_FOR_SECONDS, KILL_EVERY_SECONDS = 10.0, 0.1
SWALLOWED, SWALLOWED_SHARE = 30, 0.1

#: Ours are called `chaos`.
TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
    " WHERE application_name = 'headrace' ORDER BY random() LIMIT %s) victims"
)


@fault("PostgreSQL restart")
def restart_postgres(site: Site) -> None:
    server = site.stack.postgres
    assert server
    with site.blow(cut_attempts=ALL_ATTEMPTS):
        server.stop()
        time.sleep(RESTART_SECONDS)
        server.start()


@fault("stream of pg_terminate_backend")
def terminate_backends(site: Site) -> None:
    until = time.monotonic() + KILL_FOR_SECONDS
    while time.monotonic() < until:
        with site.blow(cut_attempts=1):
            site.rows(TERMINATE, 1)
        time.sleep(KILL_EVERY_SECONDS)


@fault("no connection left for 10 s")
def exhaust_connections(site: Site) -> None:
    with site.blow(cut_attempts=ALL_ATTEMPTS), ExitStack() as held:
        until = time.monotonic() + site.plan.exhausted_seconds
        taken = take_all(site, held)
        site.rows(TERMINATE, 1000)
        while time.monotonic() < until:
            taken += take_all(site, held)
            time.sleep(0.01)
        assert taken > 150, f"only {taken} connections were taken"


def take_all(site: Site, held: ExitStack) -> int:
    """Open connections until there is no room for another."""
    taken = 0
    with suppress(psycopg.OperationalError):
        while True:
            held.enter_context(psycopg.connect(site.database_url, application_name="chaos"))
            taken += 1
    return taken


_proxies: dict[Path, SwallowingProxy] = {}


@contextmanager
def swallowing(stack: Stack, folder: Path) -> Iterator[dict[str, str]]:
    """Put the proxy between PostgreSQL and everyone who writes: workers, scheduler, uploads."""
    place = parse_qs(urlsplit(str(stack.database_url)).query)
    name = f".s.PGSQL.{place['port'][0]}"
    here = folder / "proxy"
    here.mkdir()
    with SwallowingProxy(Path(place["host"][0]) / name, here / name, share=SWALLOWED_SHARE) as proxy:
        _proxies[folder] = proxy
        host = quote(place["host"][0], safe="")
        yield {"DATABASE_URL": str(stack.database_url).replace(f"host={host}", f"host={quote(str(here), safe='')}")}
        del _proxies[folder]


@fault("writes done, answers swallowed", proxied=swallowing)
def swallow_answers(site: Site) -> None:
    proxy = _proxies[site.folder]
    with site.blow(cut_attempts=SWALLOWED):
        proxy.left = SWALLOWED
        wait_until(lambda: not proxy.left, seconds=30, what=f"{SWALLOWED} swallowed answers")
