"""One confined child: gives it its order, listens to it without ever blocking on it, and buries it."""

import fcntl
import os
import select
import signal
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from adapters.sandbox.fork_server import ForkServer, Target
from adapters.sandbox.frames import HEADER
from adapters.sandbox.server import NUMBER

#: A killed child is gone at once; waiting longer means that the fork server died before it.
BURIAL_SECONDS = 5.0
#: So much may the child be ahead of its parent: some ninety pages of text. Linux grants a user 64 MiB of such pipes.
PIPE_BYTES = 1 << 18
#: So long may a message lie in the pipe. Waking up for each page costs 0.09 ms, a fourteenth of what reading it does.
NAP_SECONDS = 0.02


class Child:
    """One child process: it waits for its one order, then talks through its pipe. Leaving the context kills it."""

    def __init__(self, server: ForkServer, target: Target) -> None:
        """Ask the fork server for a child and do not wait for it. Raises OSError."""
        self._results, results = os.pipe()
        orders, self._orders = os.pipe()
        self._status, status = os.pipe()
        self._pid = 0
        self._exit_status: int | None = None
        self._heard = bytearray()
        try:
            os.set_blocking(self._results, False)
            _widen(self._results)
            server.request(target, results=results, orders=orders, status=status)
        except BaseException:
            self.close()
            raise
        finally:
            for theirs in (results, orders, status):
                os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.close()

    def give(self, order: bytes) -> None:
        """Tell the child, once it is there, what to do. Raises OSError or EOFError when it or the server is gone."""
        self._pid = self._pid or self._read_number()
        if _readable(self._status, 0):
            raise ChildProcessError("the child ended before its order, or the fork server did")
        os.write(self._orders, order)
        os.close(self._orders)
        self._orders = -1

    def read_frame(self, *, timeout_seconds: float, max_bytes: int) -> tuple[bytes, bytes] | None:
        """Return kind and payload of the child's next message, or None when it takes longer.

        Raises EOFError when the child hung up, and ValueError when the message exceeds `max_bytes`.
        """
        deadline = time.monotonic() + timeout_seconds
        while (frame := self._cut_frame(max_bytes)) is None:
            if not self._hear():
                left_seconds = deadline - time.monotonic()
                if left_seconds <= 0:
                    return None
                self._nap(min(left_seconds, NAP_SECONDS))
        return frame

    def _cut_frame(self, max_bytes: int) -> tuple[bytes, bytes] | None:
        if len(self._heard) < HEADER.size:
            return None
        kind, size = HEADER.unpack_from(self._heard)
        if size > max_bytes:
            raise ValueError("the child sent more than it may")
        end = HEADER.size + size
        if len(self._heard) < end:
            return None
        payload = bytes(memoryview(self._heard)[HEADER.size : end])
        del self._heard[:end]
        return kind, payload

    def _hear(self) -> bool:
        """Take what lies in the pipe; False when there is nothing. Raises EOFError when there never will be."""
        try:
            piece = os.read(self._results, PIPE_BYTES)
        except BlockingIOError:
            return False
        if not piece:
            raise EOFError("the child hung up")
        self._heard += piece
        return True

    def _nap(self, seconds: float) -> None:
        """Wait so long, or until the child hangs up: it does so as soon as it has said everything."""
        poll = select.poll()
        poll.register(self._results, 0)
        poll.poll(seconds * 1000)

    def exit_status(self) -> int | None:
        """Wait for the end: an exit code, minus a signal, or None when the fork server died and nobody can tell."""
        if self._exit_status is None and _readable(self._status, BURIAL_SECONDS):
            with suppress(EOFError):
                self._exit_status = self._read_number()
        return self._exit_status

    def kill(self) -> None:
        """End the child, whatever it does, and wait until it is gone."""
        if self._exit_status is None and not _readable(self._status, 0):
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self.exit_status()

    def close(self) -> None:
        """Hang up: a child without an order leaves at once."""
        for descriptor in (self._orders, self._results, self._status):
            if descriptor >= 0:
                os.close(descriptor)
        self._orders = self._results = self._status = -1

    def _read_number(self) -> int:
        """Read what the fork server says; it writes each number at once."""
        said = os.read(self._status, NUMBER.size)
        if len(said) < NUMBER.size:
            raise EOFError("the fork server hung up")
        return int(NUMBER.unpack(said)[0])


def _widen(pipe: int) -> None:
    """Let the pipe hold more; where that is not possible, the child waits for its parent more often."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _readable(descriptor: int, timeout_seconds: float) -> bool:
    """Wait until there is something to read or the other side hung up; `select` would fail above descriptor 1023."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(timeout_seconds, 0) * 1000))
