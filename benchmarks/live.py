"""Live progress under load: `python -m benchmarks.live [--clients 1000] [--workspaces 20] [--rate 100] [--seconds 20]`.

One API process on loopback, clients over WebSockets in another process, events at a steady rate, spread over the
workspaces. Told is how long each event took from the transaction that wrote it to each client that watches it, whether
any was lost, doubled or out of order, and what the API process took of a core. Clients share the machine with
everything else, so that the figures are the worst case for it. Every loop has a count and a time limit.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from websockets.asyncio.client import connect

from adapters.embedded.stack import embedded_stack
from adapters.postgres.api_keys import PostgresApiKeys
from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.migrate import migrate
from adapters.postgres.pool import LazyPool
from adapters.redis.live import RedisLiveBell
from domain.api_keys import Scope
from tests.builders import a_job
from tests.chaos.site import free_port
from tests.conftest import short_folder
from tests.live_clients import running_api

#: Connections opened at a time.
OPENING_AT_ONCE = 50
#: How long the last events may take.
DRAIN_SECONDS = 20.0
RING_SECONDS = 0.05


def main() -> int:
    arguments = parse()
    if arguments.watch:
        asyncio.run(watch_all(json.loads(Path(arguments.watch).read_text())))
        return 0
    print(json.dumps(measure(arguments), indent=2))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--workspaces", type=int, default=20)
    parser.add_argument("--rate", type=int, default=100, help="events a second, over all workspaces")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--watch", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one measurement over servers of its own."""
    with short_folder() as folder, embedded_stack(folder) as stack:
        assert stack.database_url
        assert stack.redis_url
        migrate(stack.database_url)
        pool = LazyPool(stack.database_url, size=2)
        keys = PostgresApiKeys(pool)
        workspaces = [keys.create_workspace(f"live {number}")["id"] for number in range(arguments.workspaces)]
        secrets = [keys.create(each, "bench", frozenset(Scope))[1] for each in workspaces]
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "DATABASE_URL": stack.database_url,
            "REDIS_URL": stack.redis_url,
            "BLOB_URL": f"file://{folder}/blobs",
            "LIVE_CLIENTS": str(arguments.clients),
            "LIVE_CLIENTS_PER_WORKSPACE": str(arguments.clients),
            "LOG_LEVEL": "WARNING",
        }
        bell = RedisLiveBell(stack.redis_url, prefix="headrace")
        with running_api(environment, free_port()) as server, watching(arguments, server.address, secrets) as clients:
            clients.wait_for("connected")
            before = cpu_seconds(server.master.pid)
            began = time.monotonic()
            sent = write_events(PostgresLedger(pool), bell, workspaces, arguments)
            clients.send({"sent": sent})
            told = clients.wait_for("done")
            seconds = time.monotonic() - began
            used = cpu_seconds(server.master.pid) - before
            memory = resident_bytes(server.master.pid)
        pool.close()
    return {
        "clients": arguments.clients,
        "workspaces": arguments.workspaces,
        "events": sent,
        "events_per_second": round(sent / arguments.seconds, 1),
        "deliveries_per_second": round(told["deliveries"] / seconds),
        **told,
        "api_cores": round(used / seconds, 2),
        "api_memory_bytes": memory,
    }


def write_events(ledger: PostgresLedger, bell: RedisLiveBell, workspaces: Sequence[Any], arguments: Any) -> int:
    """Put in jobs at a steady rate, each of which is one event; ring as a worker process does."""
    stopping = Event()

    def ring() -> None:
        while not stopping.wait(RING_SECONDS):
            bell.ring()

    ringing = Thread(target=ring)
    ringing.start()
    began, count = time.monotonic(), arguments.rate * arguments.seconds
    for number in range(count):
        due = began + number / arguments.rate
        time.sleep(max(0.0, due - time.monotonic()))
        ledger.enqueue(a_job(workspace_id=workspaces[number % len(workspaces)], queue="media"))
    stopping.set()
    ringing.join()
    return count


class Clients:
    """The process of the clients; it speaks a line of JSON at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def wait_for(self, word: str) -> dict[str, Any]:
        assert self._process.stdout
        line = json.loads(self._process.stdout.readline())
        assert line.pop("word") == word
        return line

    def send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()


@contextmanager
def watching(arguments: argparse.Namespace, address: str, secrets: Sequence[str]):
    order = Path(f"/tmp/hr-live-{uuid4().hex[:8]}.json")
    order.write_text(json.dumps({"address": address, "secrets": secrets, "clients": arguments.clients}))
    command = [sys.executable, "-m", "benchmarks.live", "--watch", str(order)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Clients(process)
        finally:
            process.kill()
            order.unlink()


# The clients' process


async def watch_all(order: dict[str, Any]) -> None:
    """Open every connection, say so, read until everything has come, and say what was seen."""
    clients, secrets = order["clients"], order["secrets"]
    opening = asyncio.Semaphore(OPENING_AT_ONCE)
    ready = [asyncio.Event() for _ in range(clients)]
    seen: list[list[int]] = [[] for _ in range(clients)]
    lags: list[float] = []

    async def watch(number: int) -> None:
        headers = {"Authorization": f"Bearer {secrets[number % len(secrets)]}"}
        uri = f"ws://{order['address']}/ws/workspace?client_id=bench-{number}"
        async with opening:
            connection = await connect(
                uri, additional_headers=headers, compression=None, proxy=None, open_timeout=60, ping_interval=None
            )
            await connection.recv()
        ready[number].set()
        async for text in connection:
            now = time.time()
            message = json.loads(text)
            seen[number].append(message["id"])
            lags.append(now - timestamp(message["data"]["at"]))

    began = time.monotonic()
    tasks = [asyncio.create_task(watch(number)) for number in range(clients)]
    await asyncio.wait_for(asyncio.gather(*(event.wait() for event in ready)), timeout=120)
    say({"word": "connected", "seconds": time.monotonic() - began})
    sent = json.loads(await asyncio.to_thread(sys.stdin.readline))["sent"]
    expected = [len(range(number % len(secrets), sent, len(secrets))) for number in range(clients)]
    deadline = time.monotonic() + DRAIN_SECONDS
    while any(len(ids) < count for ids, count in zip(seen, expected, strict=True)) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    ended = sum(task.done() for task in tasks)
    say({"word": "done", **summary(seen, expected, lags), "closed_by_server": ended})


def summary(seen: list[list[int]], expected: list[int], lags: list[float]) -> dict[str, Any]:
    lags.sort()
    return {
        "deliveries": len(lags),
        "missing": sum(count - len(ids) for ids, count in zip(seen, expected, strict=True)),
        "doubled_or_unordered": sum(a >= b for ids in seen for a, b in pairwise(ids)),
        "lag_ms": {
            "p50": round(statistics.median(lags) * 1000, 1),
            "p99": round(lags[int(len(lags) * 0.99)] * 1000, 1),
            "max": round(lags[-1] * 1000, 1),
        },
    }


def timestamp(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
