"""Valkey, run by us in a data folder: the doorbell."""

import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote

from adapters.embedded.binaries import MINIMAL_ENVIRONMENT, find_valkey, valkey_version
from adapters.embedded.errors import EmbeddedError
from adapters.embedded.folders import DataFolder
from adapters.embedded.processes import LeashedProcess, StopSteps

START_SECONDS = 20.0
STOP_STEPS: StopSteps = ((signal.SIGTERM, 10.0),)

SERVER_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    "maxmemory-policy": "noeviction",
    "save": "",
    "loglevel": "notice",
}


class EmbeddedValkey:
    """One server on a Unix socket. It keeps nothing unless `persistent`: hints are rung again from Postgres."""

    name = "valkey"

    def __init__(
        self,
        folder: DataFolder,
        *,
        persistent: bool = False,
        settings: Mapping[str, str] | None = None,
        lock: int | None = None,
    ) -> None:
        """`settings` go on top of ours; `lock` is the descriptor from `hold_folder`."""
        self._folder = folder
        self._socket = folder.sockets / "valkey.sock"
        self._settings = SERVER_SETTINGS | {"appendonly": "yes" if persistent else "no"} | dict(settings or {})
        self._lock = lock
        self._process: LeashedProcess | None = None
        self._program = find_valkey(folder.account, folder.copies)
        self.version = valkey_version(self._program)

    @property
    def pid(self) -> int | None:
        """The server's pid while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def url(self, database: int = 0) -> str:
        """Return the address for redis-py."""
        return f"unix://{quote(str(self._socket))}?db={database}"

    def start(self) -> None:
        """Start and wait until it answers."""
        if self.pid is not None:
            return
        self._launch()
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"Valkey did not start. Its last words:\n{self._folder.log_end('valkey')}")
            time.sleep(0.01)

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs. Raises if it was never started."""
        if self._process is None:
            raise EmbeddedError("Valkey was not started")
        return self._process.poll()

    def stop(self) -> None:
        """Stop, after writing what it must keep."""
        if self._process is not None:
            self._process.stop()
            self._socket.unlink(missing_ok=True)

    def _launch(self) -> None:
        self._socket.unlink(missing_ok=True)
        settings = self._settings | {"unixsocket": str(self._socket), "dir": str(self._folder.valkey)}
        arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
        with self._folder.log("valkey") as log:
            self._process = LeashedProcess(
                [str(self._program), *arguments],
                output=log,
                stop_steps=STOP_STEPS,
                account=self._folder.account,
                environment=MINIMAL_ENVIRONMENT,
                folder=self._folder.root,
                keep_open=() if self._lock is None else (self._lock,),
            )

    def _answers(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            client.connect(str(self._socket))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        return False
