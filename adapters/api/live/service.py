"""What live progress needs in a process, and how long it lives."""

import asyncio
import logging
import re
import signal
import threading
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

from adapters.api.live.endings import RESTART
from adapters.api.live.follower import Follower
from adapters.api.live.hub import Hub
from adapters.api.live.watch import Watching
from adapters.postgres.event_log import connect_async
from adapters.postgres.live import TICKET_BRAND, PostgresLive
from adapters.postgres.pool import LazyPool
from adapters.redis.live import RedisLiveBell
from adapters.settings import Settings

logger = logging.getLogger(__name__)

_TICKET = re.compile(rf"{TICKET_BRAND}[\w-]+")


class Live:
    """The reader of the log, the hub, and who may listen to it. Nothing connects before `running`."""

    def __init__(self, settings: Settings, pool: LazyPool) -> None:
        self.hub = Hub(most_watchers=settings.live_clients, most_per_workspace=settings.live_clients_per_workspace)
        self.store = PostgresLive(pool)
        self.watching = Watching(self.hub, self.store)
        connect = partial(connect_async, settings.database_url.get_secret_value())
        self.follower = Follower(self.hub, connect)
        self._bell = RedisLiveBell(settings.redis_url.get_secret_value(), prefix=settings.queue_name)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the log until the context ends; end every watch with the process's first signal to stop."""
        tasks = [asyncio.create_task(self.follower.run()), asyncio.create_task(self._bell.listen(self.follower.wake))]
        for task in tasks:
            task.add_done_callback(_tell_of_bug)
        try:
            with _hidden_tickets(), _told_of_signals(lambda: self.hub.end_all(RESTART)):
                yield
        finally:
            self.hub.end_all(RESTART)
            await _stop(tasks)
            self._bell.close()


async def _stop(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel until they have ended: redis-py loses a cancellation that comes while it connects."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=0.2)


def _tell_of_bug(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.critical("live progress has stopped: %s", type(error).__name__, exc_info=error)


@contextmanager
def _told_of_signals(stop: Any) -> Iterator[None]:
    """Call `stop` when the process is asked to end: the server waits for open streams, which end only by this."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    loop = asyncio.get_running_loop()
    former: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(stop)
        if callable(following := former[number]):
            following(number, frame)

    for number in (int(signal.SIGTERM), int(signal.SIGINT)):
        former[number] = signal.getsignal(number)
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, following in former.items():
            signal.signal(number, following)


@contextmanager
def _hidden_tickets() -> Iterator[None]:
    """Keep tickets, which come in addresses, out of the server's log, however the server was started."""
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "uvicorn.access")]
    for logger in loggers:
        logger.addFilter(_hide_tickets)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_hide_tickets)


def _hide_tickets(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            _TICKET.sub(f"{TICKET_BRAND}…", value) if isinstance(value, str) else value for value in record.args
        )
    return True
