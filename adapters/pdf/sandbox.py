"""Starts the parser child from the fork server, listens to it without ever blocking on it, and buries it.

`multiprocessing.Process` is not used, for three reasons: its children run the caller's `__main__` again (120-190 ms
each, and code of ours before the limits stand), its bookkeeping is shared by all threads and then mistakes exit
statuses, and `Connection.recv` waits for ever when a child stops in the middle of a message.
"""

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

from adapters.pdf.protocol import Order

Target = Callable[[int, Order], None]

#: What the fork server imports once, so that a child need not. Python 3.11 gives it no `sys.path`: where Headrace is
#: neither installed nor the working directory, only PyMuPDF is found and each child compiles the rest (25 ms).
PRELOAD = ["pymupdf", "adapters.pdf.document", "adapters.pdf.sandbox"]

#: A killed child is gone at once; waiting longer means that the fork server died before it.
BURIAL_SECONDS = 5.0
_READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Task:
    """What the fork server's new process unpickles and runs; multiprocessing names the method."""

    target: Target
    order: Order

    def _bootstrap(self, parent_sentinel: int) -> int:  # noqa: ARG002 - multiprocessing's signature
        descriptors = forkserver.get_inherited_fds() or []
        self.target(descriptors[0], self.order)
        return os.EX_OK


def warm_up(folder: Path) -> None:
    """Start the fork server ahead of the first child, which would wait a second for its imports.

    Its socket goes into `folder`, which is removed with this process; left to itself, multiprocessing makes a folder
    that a killed process leaves behind under a name that nobody can tell from others.
    """
    process.current_process()._config["tempdir"] = str(folder)  # type: ignore[attr-defined]
    util.Finalize(None, shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, exitpriority=-100)
    forkserver.set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()


class Child:
    """One child process and the pipe it talks through. Leaving the context kills it."""

    def __init__(self, target: Target, order: Order) -> None:
        """Start the child. Raises OSError or EOFError when the fork server fails."""
        forkserver.set_forkserver_preload(PRELOAD)
        self._results, results = os.pipe()
        self._status = -1
        self._exit_status: int | None = None
        self._heard = bytearray()
        try:
            self.pid = self._start(results, Task(target, order))
        except BaseException:
            self._close()
            raise
        finally:
            os.close(results)

    def _start(self, results: int, task: Task) -> int:
        self._status, orders = forkserver.connect_to_new_process([results])
        with os.fdopen(orders, "wb") as pipe:
            pickle.dump({"sys_path": [entry or str(Path.cwd()) for entry in sys.path]}, pipe)
            pickle.dump(task, pipe)
        return int(forkserver.read_signed(self._status))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._close()

    def read_line(self, *, timeout_seconds: float, max_bytes: int) -> bytes | None:
        """Return the child's next line, or None when it takes longer.

        Raises EOFError when the child hung up, and ValueError when the line exceeds `max_bytes`.
        """
        deadline = time.monotonic() + timeout_seconds
        searched = 0
        while (end := self._heard.find(b"\n", searched)) < 0:
            searched = len(self._heard)
            if searched > max_bytes:
                raise ValueError("the parser sent more than it may")
            if not _readable(self._results, deadline - time.monotonic()):
                return None
            self._hear()
        line = bytes(self._heard[:end])
        del self._heard[: end + 1]
        return line

    def _hear(self) -> None:
        piece = os.read(self._results, _READ_BYTES)
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
                os.kill(self.pid, signal.SIGKILL)
        self.exit_status()

    def _close(self) -> None:
        for descriptor in (self._results, self._status):
            if descriptor >= 0:
                os.close(descriptor)


def _readable(descriptor: int, timeout_seconds: float) -> bool:
    """Wait until there is something to read or the other side hung up; `select` would fail above descriptor 1023."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(timeout_seconds, 0) * 1000))
