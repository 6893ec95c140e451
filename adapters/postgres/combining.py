"""Let threads that write the same kind of thing at the same time share one transaction."""

from collections.abc import Callable, Sequence
from threading import Lock
from time import monotonic, sleep
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


#: While several threads write at a time, one that is about to write waits this long for others to join it.
LINGER_SECONDS = 0.002
#: So long after the last time several did, one that comes is taken to be alone.
LONELY_SECONDS = 0.05


class _Ticket(Generic[Item, Result]):
    """One caller's item, and the lock it sleeps on until it has its result or has to write itself."""

    __slots__ = ("error", "is_done", "item", "result", "wake")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.is_done = False
        self.result: Result
        self.error: BaseException | None = None
        self.wake = Lock()
        self.wake.acquire()


class Combined(Generic[Item, Result]):
    """Calls `write` with one item, or with all that gathered while the last call was under way.

    Flat combining: who comes while nobody writes, writes; the others wait, and the first of them writes for all.
    A lone caller waits for nobody. An error is raised in every caller whose item was in the batch.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Sequence[Result]], *, most: int) -> None:
        """`write` returns a result for each item, in order; it gets at most `most` of them."""
        self._write = write
        self._most = most
        self._lock = Lock()
        self._waiting: list[_Ticket[Item, Result]] = []
        self._is_writing = False
        self._busy_until = 0.0

    def __call__(self, item: Item) -> Result:
        """Write the item, alone or with others, and return its result."""
        ticket: _Ticket[Item, Result] = _Ticket(item)
        with self._lock:
            self._waiting.append(ticket)
            must_wait, self._is_writing = self._is_writing, True
        if must_wait:
            ticket.wake.acquire()
        if not ticket.is_done:
            self._write_batch()
        if ticket.error is not None:
            raise ticket.error
        return ticket.result

    def _write_batch(self) -> None:
        if monotonic() < self._busy_until:
            sleep(LINGER_SECONDS)
        with self._lock:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        self._busy_until = monotonic() + LONELY_SECONDS if len(batch) > 1 else 0.0
        try:
            for ticket, result in zip(batch, self._write([ticket.item for ticket in batch]), strict=True):
                ticket.result = result
        except BaseException as error:  # whatever it is, nobody may wait for ever
            for ticket in batch:
                ticket.error = error
        for ticket in batch:
            ticket.is_done = True
            ticket.wake.release()
        with self._lock:
            self._is_writing = bool(self._waiting)
            if self._waiting:
                self._waiting[0].wake.release()
