"""Forks the children that handle strangers' files from a process that has the library loaded; a child of the worker.

`multiprocessing.forkserver` does the same for everybody. It brings along a resource tracker of 10 MB, a socket in the
file system and a start that costs each child 1 ms; and SIGTERM to the process group ends it before the worker drains.
"""

import atexit
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: What a child runs: its own end of the pipe for results, and its order as the server's program decodes it.
Target = Callable[[int, Any], None]


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
                    stdout=subprocess.DEVNULL,  # whatever a library prints must not reach the worker's log
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
    main = f"from adapters.sandbox.server import main; main({descriptor}, {program!r})"
    return f"import sys; sys.path[:] = {path!r}; {main}"
