"""Follow the log: one task and one connection a process, woken by the doorbell, or by its own clock."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

import psycopg

from adapters.api.live.endings import RESTART, REVOKED
from adapters.api.live.hub import Hub
from adapters.postgres.event_log import AsyncConnection, EventLog
from domain.live import present

logger = logging.getLogger(__name__)

#: How often the log is looked at when nobody rings.
INTERVAL_SECONDS = 1.0
#: Rings within this time count as one: at most fifty looks a second, some milliseconds of the database each.
PAUSE_SECONDS = 0.02
RECONNECT_SECONDS = 1.0

EVENTS_PER_READ = 500

#: How soon the watches of a revoked key end.
CHECK_KEYS_SECONDS = 15.0


class Follower:
    """Brings the log's events to the hub, in order and each once, over as many connections as it takes."""

    def __init__(
        self,
        hub: Hub,
        connect: Callable[[], Awaitable[AsyncConnection]],
        *,
        check_keys_seconds: float = CHECK_KEYS_SECONDS,
    ) -> None:
        self._hub = hub
        self._check_keys_seconds = check_keys_seconds
        self._connect = connect
        self._news = asyncio.Event()
        self._is_away = False

    def wake(self) -> None:
        """Look at the log soon."""
        self._news.set()

    async def run(self) -> None:
        """Follow until cancelled. While the database is away watchers stay, and miss nothing."""
        while True:
            try:
                async with await self._connect() as connection:
                    await self._follow(EventLog(connection))
            except (psycopg.Error, OSError, TimeoutError) as error:
                if not self._is_away:
                    logger.warning("the log of events is not available: %s", type(error).__name__)
                self._is_away = True
            except Exception as error:  # a bug must not leave every watcher in silence
                logger.error("the log of events was not read: %s", type(error).__name__, exc_info=error)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _follow(self, log: EventLog) -> None:
        await self._start(log)
        check_at = monotonic() + self._check_keys_seconds
        while True:
            await self._read_news(log)
            if monotonic() >= check_at:
                await self._check_keys(log)
                check_at = monotonic() + self._check_keys_seconds
            await asyncio.sleep(PAUSE_SECONDS)
            if not log.is_waiting:
                with suppress(TimeoutError):
                    async with asyncio.timeout(INTERVAL_SECONDS):
                        await self._news.wait()
            self._news.clear()

    async def _start(self, log: EventLog) -> None:
        """Find the place in the log. A place that it has never reached means that another database was put in."""
        settled = await log.settle()
        while log.is_waiting:
            await asyncio.sleep(PAUSE_SECONDS)
            settled = await log.settle()
        if not self._hub.is_ready.is_set() or settled < self._hub.position:
            self._hub.end_all(RESTART)
            self._hub.position = await log.newest_event(settled)
        self._is_away = False
        self._hub.is_ready.set()

    async def _read_news(self, log: EventLog) -> None:
        settled = await log.settle()
        is_more = settled > self._hub.position
        while is_more:
            version, workspaces = self._hub.version, self._hub.workspaces
            events = (
                await log.read(self._hub.position, settled, workspaces, limit=EVENTS_PER_READ) if workspaces else ()
            )
            is_more = len(events) == EVENTS_PER_READ
            position = events[-1].id if is_more else await log.newest_event(settled)
            if version != self._hub.version:
                is_more = True  # somebody has come whose workspace was not read: once more, with it
                continue
            self._hub.publish(filter(None, map(present, events)), position)

    async def _check_keys(self, log: EventLog) -> None:
        watchers = self._hub.watchers
        valid = await log.valid_keys({watcher.key_id for watcher in watchers}) if watchers else set()
        for watcher in watchers:
            if watcher.key_id not in valid:
                watcher.end(REVOKED)
