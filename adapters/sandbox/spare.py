"""Keeps one child waiting, so that no file waits for a child's start."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from adapters.sandbox.child import Child
from adapters.sandbox.fork_server import ForkServer, Target
from domain.errors import FailureCode, TransientError

#: How long to wait after each failed start. A killed fork server takes about 10 ms to give its memory back.
START_PAUSES_SECONDS = (0.02, 0.1, 0.5)


class Spare:
    """At most one child without an order, and none unless asked for. It leaves with its parent, however that ends."""

    def __init__(self, server: ForkServer, target: Target) -> None:
        self._server = server
        self._target = target
        self._lock = threading.Lock()
        self._wanted = False
        self._child: Child | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep one from now on."""
        self._wanted = True
        self.replace()
        try:
            yield
        finally:
            self._wanted = False
            self._dismiss(self._pop())

    def take(self, order: bytes) -> Child:
        """Give the order to the child that waits, or to a new one if there is none or it died waiting."""
        spare = self._pop()
        if spare is not None:
            try:
                spare.give(order)
                return spare
            except (OSError, EOFError):
                self._dismiss(spare)
        return start(self._server, self._target, order)

    def replace(self) -> None:
        """Ask for another child; does not wait for it. If that fails, the next file starts its own and tells."""
        with self._lock, suppress(OSError, EOFError):
            if self._wanted and self._child is None:
                self._child = Child(self._server, self._target)

    def _pop(self) -> Child | None:
        with self._lock:
            child, self._child = self._child, None
        return child

    @staticmethod
    def _dismiss(child: Child | None) -> None:
        if child is not None:
            child.close()


def start(server: ForkServer, target: Target, order: bytes) -> Child:
    """Start a child. A fork server that died is replaced, but only once the kernel has done with the dead one."""
    for pause_seconds in START_PAUSES_SECONDS:
        try:
            return _started(server, target, order)
        except (OSError, EOFError):
            time.sleep(pause_seconds)
    try:
        return _started(server, target, order)
    except (OSError, EOFError) as error:
        raise TransientError(
            FailureCode.INTERNAL_ERROR, f"The sandboxed process could not be started: {error!r}."
        ) from error


def _started(server: ForkServer, target: Target, order: bytes) -> Child:
    child = Child(server, target)
    try:
        child.give(order)
    except BaseException:
        child.close()
        raise
    return child
