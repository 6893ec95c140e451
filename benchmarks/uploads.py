"""Uploads over HTTP: `python -m benchmarks.uploads [--megabytes 10] [--rounds 20]`.

One API process on loopback. Told is how long a caller waits for `202 Accepted`, which promises that the bytes are
stored and the job is in the ledger; and, in turns with it, how long the disk takes to store the same bytes (write and
fsync, nothing else), for what part of it nobody can take away.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import httpx

from adapters.embedded.stack import embedded_stack
from adapters.postgres.api_keys import PostgresApiKeys
from adapters.postgres.migrate import migrate
from adapters.postgres.pool import LazyPool
from benchmarks.figures import summary
from domain.api_keys import Scope
from tests.chaos.site import free_port
from tests.conftest import short_folder
from tests.live_clients import running_api

MEGABYTE = 1024 * 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.uploads", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.megabytes * MEGABYTE, arguments.rounds), indent=2))


def measure(byte_count: int, rounds: int) -> dict[str, Any]:
    """Run one measurement over servers of its own."""
    with short_folder() as folder, embedded_stack(folder) as stack:
        assert stack.database_url
        assert stack.redis_url
        migrate(stack.database_url)
        pool = LazyPool(stack.database_url, size=2)
        keys = PostgresApiKeys(pool)
        secret = keys.create(keys.create_workspace("uploads")["id"], "bench", frozenset(Scope))[1]
        pool.close()
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "DATABASE_URL": stack.database_url,
            "REDIS_URL": stack.redis_url,
            "BLOB_URL": f"file://{folder}/blobs",
        }
        with (
            running_api(environment, free_port()) as server,
            httpx.Client(base_url=f"http://{server.address}", timeout=60) as client,
        ):
            client.headers["Authorization"] = f"Bearer {secret}"
            client.get("/documents").raise_for_status()
            found = [one_round(client, byte_count, folder) for _ in range(rounds)]
    uploads, writes = ([pair[number] * 1e3 for pair in found] for number in (0, 1))
    ratios = summary([upload / write for upload, write in zip(uploads, writes, strict=True)])
    return {
        "bytes": byte_count,
        "upload_ms": {name: round(value, 1) for name, value in summary(uploads).items()},
        "disk_ms": {name: round(value, 1) for name, value in summary(writes).items()},
        "upload_vs_disk": round(ratios["p50"], 2),
    }


def one_round(client: httpx.Client, byte_count: int, folder: Path) -> tuple[float, float]:
    """Upload new bytes, then store as many on the same disk; return the seconds of both."""
    content = b"%PDF-1.7\n" + os.urandom(byte_count)
    began = time.perf_counter()
    client.post("/documents", files={"file": ("large.pdf", content)}).raise_for_status()
    uploaded = time.perf_counter() - began
    return uploaded, store(content, folder / "bare")


def store(content: bytes, path: Path) -> float:
    """Write and fsync; return the seconds."""
    began = time.perf_counter()
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
