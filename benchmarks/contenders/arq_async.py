"""ARQ: coroutines, work that blocks in a thread pool as its documentation shows."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings

from benchmarks.contenders.environment import REDIS_SOCKET
from benchmarks.contenders.marks import mark

SETTINGS = RedisSettings(unix_socket_path=REDIS_SOCKET)


async def noop(_: dict[str, Any], number: int) -> None:
    """Do nothing, and say when."""
    mark(number)


async def ingest(context: dict[str, Any], path: str) -> None:
    """Do all the work in a thread."""
    from benchmarks.contenders.body import ingest_row_by_row

    await asyncio.get_running_loop().run_in_executor(context["pool"], ingest_row_by_row, path)


async def startup(context: dict[str, Any]) -> None:
    """One thread: PyMuPDF is not thread-safe."""
    context["pool"] = ThreadPoolExecutor(1)


class WorkerSettings:
    """What `arq` runs."""

    functions = (noop, ingest)
    redis_settings = SETTINGS
    on_startup = startup
    keep_result = 0


class _Sender:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._pool = self._loop.run_until_complete(create_pool(SETTINGS))

    def send(self, name: str, argument: object) -> None:
        self._loop.run_until_complete(self._pool.enqueue_job(name, argument))


_sender: list[_Sender] = []


def _send(name: str, argument: object) -> None:
    if not _sender:
        _sender.append(_Sender())
    _sender[0].send(name, argument)


def send_noop(number: int) -> None:
    """Send the no-op job."""
    _send("noop", number)


def send_document(path: str, **_: object) -> None:
    """Send the whole work as one job."""
    _send("ingest", path)
