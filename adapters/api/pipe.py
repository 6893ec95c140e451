"""Carry bytes from the event loop to a thread, a bounded number at a time: a slow disk slows the sender down."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

T = TypeVar("T")

#: Pieces that are on their way. A piece is what the server hands over at once, 64 KiB with uvicorn.
MOST_PIECES = 8

#: The file has ended.
_END = object()


class SenderGoneError(Exception):
    """The sender stopped before the end."""


class Pipe:
    """The loop sends, one thread iterates. A sender that neither finishes nor breaks off leaves the thread waiting."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[object] = SimpleQueue()
        self._room = asyncio.Semaphore(MOST_PIECES)
        self._is_abandoned = False

    async def send(self, piece: bytes) -> bool:
        """Send a piece once there is room; False when nobody takes any more."""
        if self._is_abandoned:
            return False
        await self._room.acquire()
        if not self._is_abandoned:
            self._queue.put(piece)
        return not self._is_abandoned

    def finish(self) -> None:
        """Say that everything was sent."""
        self._queue.put(_END)

    def break_off(self) -> None:
        """Say that no more will come although more was meant to: the iteration raises SenderGoneError."""
        self._queue.put(SenderGoneError("the upload was broken off"))

    def abandon(self) -> None:
        """Say, in the loop, that nobody takes any more."""
        self._is_abandoned = True
        self._room.release()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces, in the thread."""
        while (item := self._queue.get()) is not _END:
            if isinstance(item, SenderGoneError):
                raise item
            self._loop.call_soon_threadsafe(self._room.release)
            assert isinstance(item, bytes)  # noqa: S101 - all that is left
            yield item


class Taking(Generic[T]):
    """A function that consumes a pipe in a thread, seen from the loop."""

    def __init__(self, take: Callable[[Iterable[bytes]], T], limiter: CapacityLimiter) -> None:
        self._pipe = Pipe()
        self._task = asyncio.ensure_future(run_sync(take, self._pipe, limiter=limiter))
        self._task.add_done_callback(lambda _: self._pipe.abandon())

    async def send(self, piece: bytes) -> bool:
        """Send a piece; False when the function has ended before its time."""
        return await self._pipe.send(piece)

    async def finish(self) -> T:
        """Say that this was all, and return or raise what the function does."""
        self._pipe.finish()
        return await self._task

    async def break_off(self) -> None:
        """Make the function stop, and wait until it has."""
        self._pipe.break_off()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.exception()  # heard of
