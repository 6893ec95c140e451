"""Starts the parser child from the fork server, listens to it without ever blocking on it, and buries it.

`multiprocessing.Process` is not used, for three reasons: its children run the caller's `__main__` again (120-190 ms
each, and code of ours before the limits stand), its bookkeeping is shared by all threads and then mistakes exit
statuses, and `Connection.recv` waits for ever when a child stops in the middle of a message.
"""

import fcntl
import os
import pickle
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver, process, util
from pathlib import Path
from types import TracebackType
from typing import Self

from adapters.pdf.child import wait_for_order
from adapters.pdf.protocol import HEADER, Order

Target = Callable[[int, Order], None]

#: What the fork server imports once, so that a child need not. Python 3.11 gives it no `sys.path`: where Headrace is
#: neither installed nor the working directory, only PyMuPDF is found and each child compiles the rest (25 ms).
PRELOAD = ["adapters.pdf.warm"]

#: A killed child is gone at once; waiting longer means that the fork server died before it.
BURIAL_SECONDS = 5.0
#: So much may the child be ahead of its parent: some ninety pages of text. Linux grants a user 64 MiB of such pipes.
PIPE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Task:
    """What the fork server's new process unpickles and runs; multiprocessing names the method."""

    target: Target

    def _bootstrap(self, parent_sentinel: int) -> int:  # noqa: ARG002 - multiprocessing's signature
        results, orders = forkserver.get_inherited_fds() or []
        order = wait_for_order(orders)
        if order is not None:
            self.target(results, order)
        return os.EX_OK


def start_server(folder: Path) -> None:
    """Start the fork server ahead of the first child, which would wait a second for its imports.

    Its socket goes into `folder`, which is removed with this process; left to itself, multiprocessing makes a folder
    that a killed process leaves behind under a name that nobody can tell from others.
    """
    process.current_process()._config["tempdir"] = str(folder)  # type: ignore[attr-defined]
    util.Finalize(None, shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, exitpriority=-100)
    forkserver.set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()


class Child:
    """One child process: it waits for its one order, then talks through its pipe. Leaving the context kills it."""

    def __init__(self, target: Target) -> None:
        """Ask the fork server for a child and do not wait for it. Raises OSError or EOFError when nobody is there."""
        forkserver.set_forkserver_preload(PRELOAD)
        self._results, results = os.pipe()
        orders, self._orders = os.pipe()
        self._status = -1
        self._pid = 0
        self._exit_status: int | None = None
        self._heard = bytearray()
        try:
            _widen(self._results)
            self._start([results, orders], Task(target))
        except BaseException:
            self.close()
            raise
        finally:
            os.close(results)
            os.close(orders)

    def _start(self, descriptors: list[int], task: Task) -> None:
        self._status, instructions = forkserver.connect_to_new_process(descriptors)
        with os.fdopen(instructions, "wb") as pipe:
            pickle.dump({"sys_path": [entry or str(Path.cwd()) for entry in sys.path]}, pipe)
            pickle.dump(task, pipe)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.close()

    def give(self, order: Order) -> None:
        """Tell the child, once it is there, what to read. Raises OSError or EOFError when it or the server is gone."""
        self._pid = self._pid or int(forkserver.read_signed(self._status))
        if _readable(self._status, 0):
            raise ChildProcessError("the child ended before its order, or the fork server did")
        os.write(self._orders, pickle.dumps(order))
        os.close(self._orders)
        self._orders = -1

    def read_frame(self, *, timeout_seconds: float, max_bytes: int) -> tuple[bytes, bytes] | None:
        """Return kind and payload of the child's next message, or None when it takes longer.

        Raises EOFError when the child hung up, and ValueError when the message exceeds `max_bytes`.
        """
        deadline = time.monotonic() + timeout_seconds
        while (frame := self._cut_frame(max_bytes)) is None:
            if not _readable(self._results, deadline - time.monotonic()):
                return None
            self._hear()
        return frame

    def _cut_frame(self, max_bytes: int) -> tuple[bytes, bytes] | None:
        if len(self._heard) < HEADER.size:
            return None
        kind, size = HEADER.unpack_from(self._heard)
        if size > max_bytes:
            raise ValueError("the parser sent more than it may")
        end = HEADER.size + size
        if len(self._heard) < end:
            return None
        payload = bytes(memoryview(self._heard)[HEADER.size : end])
        del self._heard[:end]
        return kind, payload

    def _hear(self) -> None:
        piece = os.read(self._results, PIPE_BYTES)
        if not piece:
            raise EOFError("the parser hung up")
        self._heard += piece

    def exit_status(self) -> int | None:
        """Wait for the end: an exit code, minus a signal, or None when the fork server died and nobody can tell."""
        if self._exit_status is None and _readable(self._status, BURIAL_SECONDS):
            with suppress(EOFError):
                self._exit_status = int(forkserver.read_signed(self._status))
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
