"""Forks the children that handle strangers' files from a process that has the library loaded; a child of the worker.

`multiprocessing.forkserver` does the same for everybody. It brings along a resource tracker of 10 MB, a socket in the
file system and a start that costs each child 1 ms; and SIGTERM to the process group ends it before the worker drains.
"""

import atexit
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

#: What a child runs: its own end of the pipe for results, and its order as the server's program decodes it.
Target = Callable[[int, Any], None]

#: A number that the server tells about a child: first its pid, later its exit status.
NUMBER = struct.Struct("!q")

_TARGET_BYTES = 1024


class ForkServer:
    """The worker's side. The server starts with the first request, and again when it was found dead."""

    def __init__(self, program: str) -> None:
        """`program`: the module with `warm_up`, run once by the server, and `decode_order`, run by every child."""
        self._program = program
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        atexit.register(self.close)

    @property
    def pid(self) -> int | None:
        """Return the pid of the server, running or not; None before the first start."""
        return self._process.pid if self._process else None

    def request(self, target: Target, *, results: int, orders: int, status: int) -> None:
        """Ask for a child that runs `target` with these descriptors and do not wait for it.

        The server writes the child's pid and, at its end, its exit status to `status`. Raises OSError.
        """
        name = f"{target.__module__}:{target.__qualname__}".encode()
        with self._lock:
            socket.send_fds(self._connected(), [name], [results, orders, status])

    def _connected(self) -> socket.socket:
        if self._requests is None or self._process is None or self._process.poll() is not None:
            self.close()
            self._requests, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _start_command(theirs.fileno(), self._program)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
        return self._requests

    def close(self) -> None:
        """Let the server go, and with it the children that have no order."""
        if self._requests is not None:
            self._requests.close()
            self._requests = None


def _start_command(descriptor: int, program: str) -> str:
    path = [entry or str(Path.cwd()) for entry in sys.path]
    main = f"from adapters.sandbox.fork_server import main; main({descriptor}, {program!r})"
    return f"import sys; sys.path[:] = {path!r}; {main}"


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
            for descriptor in (self._bell, self._rope, status, *self._statuses.values()):
                os.close(descriptor)
            self._requests.close()
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
    with open(orders, "rb", buffering=0) as pipe:
        return pipe.read()


def _tell(status: int, number: int) -> None:
    with suppress(BrokenPipeError):  # the worker is no longer interested
        os.write(status, NUMBER.pack(number))
