"""The fork server's own program: it loads a library, then forks a child at each request.

Every child inherits it, and copies each page of memory that either touches. So nothing is imported here that the server
can do without: `threading` alone, which puts itself in order after each fork, costs a child 60 pages.
"""

import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

#: A number that the server tells about a child: first its pid, later its exit status.
NUMBER = struct.Struct("!q")

_TARGET_BYTES = 1024
_ORDER_BYTES = 1 << 16


def main(requests: int, program: str) -> NoReturn:
    """Run the server until the worker is gone.

    Ctrl-C and systemd signal the whole group: the worker drains and its jobs may finish, so to server and children
    these signals mean nothing.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    module = import_module(program)
    module.warm_up()
    with socket.socket(fileno=requests) as connection:
        Server(connection, module.decode_order).run()
    os._exit(os.EX_OK)


class Server:
    """The server's side: forks, and tells how its children ended."""

    def __init__(self, requests: socket.socket, decode_order: Callable[[bytes], object]) -> None:
        self._requests = requests
        self._decode_order = decode_order
        self._statuses: dict[int, int] = {}
        self._bell, self._rope = os.pipe()
        for end in (self._bell, self._rope):
            os.set_blocking(end, False)

    def run(self) -> None:
        """Serve until nobody can ask any more."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._rope)
        poll = select.poll()
        poll.register(self._requests, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._bell in ready:
                os.read(self._bell, 4096)
                self._bury()
            if self._requests.fileno() in ready:
                name, descriptors, _, _ = socket.recv_fds(self._requests, _TARGET_BYTES, 3)
                if not name:
                    return
                self._fork(name.decode(), *descriptors)

    def _fork(self, target: str, results: int, orders: int, status: int) -> None:
        try:
            pid = os.fork()
        except OSError:  # no memory or no process left: the worker hears the pipe close, and tries again
            os.close(status)
        else:
            if pid == 0:
                self._be_child(target, results, orders, status)
            self._statuses[pid] = status
            _tell(status, pid)
        os.close(results)
        os.close(orders)

    def _be_child(self, target: str, results: int, orders: int, status: int) -> NoReturn:
        """Keep nothing of the server, so that nobody takes this child for it; run the target."""
        try:
            signal.set_wakeup_fd(-1)
            for descriptor in (self._bell, self._rope, self._requests.fileno(), status, *self._statuses.values()):
                os.close(descriptor)
            order = wait_for_order(orders)
            if order:
                module, _, name = target.partition(":")
                getattr(import_module(module), name)(results, self._decode_order(order))
            os._exit(os.EX_OK)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)

    def _bury(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                status = self._statuses.pop(ended[0])
                _tell(status, os.waitstatus_to_exitcode(ended[1]))
                os.close(status)


def wait_for_order(orders: int) -> bytes:
    """Wait until the parent says what to do; empty when it hangs up instead, or is gone."""
    order = b""
    while piece := os.read(orders, _ORDER_BYTES):
        order += piece
    os.close(orders)
    return order


def _tell(status: int, number: int) -> None:
    with suppress(BrokenPipeError):  # the worker is no longer interested
        os.write(status, NUMBER.pack(number))
