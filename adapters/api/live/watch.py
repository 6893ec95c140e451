"""One connection's way through the log: what it has missed from Postgres, then live, without a gap or a double."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import anyio
from starlette.websockets import WebSocketDisconnect

from adapters.api.live.endings import BROKEN, UNAVAILABLE, Ending, WatchEnded
from adapters.api.live.frames import Frame, connected_frame, frame_of, gap_frame
from adapters.api.live.hub import Hub, Watcher
from adapters.postgres.live import PostgresLive
from domain.errors import TransientError
from domain.live import present

logger = logging.getLogger(__name__)

EVENTS_PER_REPLAY = 500

#: Replays at a time, so that a thousand watchers who come back at once leave connections for other requests.
REPLAYS_AT_ONCE = 2

#: A silent connection hears something this often, so that proxies keep it.
KEEP_ALIVE_SECONDS = 15.0

#: The log's place is known within this after the start, unless the database is away.
READY_SECONDS = 5.0


class Watching:
    """Serves watches over the hub and the database."""

    def __init__(self, hub: Hub, live: PostgresLive) -> None:
        self.hub = hub
        self._live = live
        self._limiter = anyio.CapacityLimiter(REPLAYS_AT_ONCE)

    async def ask(self, question: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Ask the database in another thread, a few at a time. Raises TransientError when it is away."""
        return await anyio.to_thread.run_sync(partial(question, *args, **kwargs), limiter=self._limiter)

    async def serve(
        self,
        watcher: Watcher,
        since: int | None,
        *,
        write: Callable[[Sequence[Frame]], Awaitable[None]],
        gone: Coroutine[Any, Any, None],
    ) -> Ending | None:
        """Write frames until the client is `gone` (None) or the watch is over; then say why.

        `since`: the last event that the client has; None: everything from now on. A client that does not read blocks
        `write`; the end of its watch cancels that.
        """
        writing = asyncio.create_task(_write_all(self._frames(watcher, since), write))
        leaving = asyncio.create_task(gone)
        watcher.on_end = writing.cancel
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.hub.leave(watcher)
            for task in (writing, leaving):
                task.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)
        return watcher.ending or _ending_of(writing)

    async def _frames(self, watcher: Watcher, since: int | None) -> AsyncGenerator[Sequence[Frame]]:
        """Yield what the watcher is to be sent; nothing at all means that it is time for a sign of life.

        Raises WatchEnded, TransientError.
        """
        self.hub.enter(watcher)
        await self._wait_until_ready()
        has_gap = bool(since) and await self.ask(self._live.has_gap, since)
        position = self.hub.position
        watcher.after = position if since is None else since
        if has_gap:
            watcher.after = min(watcher.after, position)
        yield [connected_frame(watcher.channel, watcher.after), *([gap_frame(watcher.after)] if has_gap else [])]
        async for page in self._replay(watcher):
            yield page
        self.hub.listen(watcher)  # with no await since the last look at the hub's position
        while True:
            yield await watcher.take(seconds=KEEP_ALIVE_SECONDS)

    async def _wait_until_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self.hub.is_ready.wait()
        except TimeoutError:
            raise WatchEnded(UNAVAILABLE) from None

    async def _replay(self, watcher: Watcher) -> AsyncGenerator[Sequence[Frame]]:
        """Yield what was missed, page by page, until there is nothing between the watcher and the hub."""
        while watcher.after < self.hub.position:
            until = self.hub.position
            logged = await self.ask(
                self._live.replay,
                watcher.workspace_id,
                watcher.channel,
                after=watcher.after,
                until=until,
                limit=EVENTS_PER_REPLAY,
            )
            watcher.after = logged[-1].id if len(logged) == EVENTS_PER_REPLAY else until
            events = (event for row in logged if (event := present(row)) and watcher.channel in event.channels)
            if page := [frame_of(event) for event in events]:
                yield page


def _ending_of(writing: asyncio.Task[None]) -> Ending | None:
    error = None if writing.cancelled() else writing.exception()
    if isinstance(error, WatchEnded):
        return error.ending
    if isinstance(error, TransientError):
        return UNAVAILABLE
    if error is None or isinstance(error, OSError | WebSocketDisconnect):
        return None  # the client is gone
    logger.error("a watch failed: %s", type(error).__name__, exc_info=error)
    return BROKEN


async def _write_all(
    frames: AsyncGenerator[Sequence[Frame]], write: Callable[[Sequence[Frame]], Awaitable[None]]
) -> None:
    async with aclosing(frames):
        async for some in frames:
            await write(some)
