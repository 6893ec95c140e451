"""Proxies between Unix sockets: one that takes its time, one that swallows the answer to what was just written."""

import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

CHUNK = 1 << 16


class Proxy:
    """Passes bytes on between clients of `listen_at` and the server at `server`; subclasses say how."""

    def __init__(self, server: Path, listen_at: Path) -> None:
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(listen_at))
        self._listener.listen(256)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(self._server))
        except OSError:
            client.close()
            return
        pair = Pair(client, server)
        threading.Thread(target=_pump, args=(server, pair, self.from_server), daemon=True).start()
        _pump(client, pair, self.from_client)

    def from_client(self, pair: "Pair", data: bytes) -> None:
        pair.server.sendall(data)

    def from_server(self, pair: "Pair", data: bytes) -> None:
        pair.client.sendall(data)


class Pair:
    """The two ends of a connection. `is_doomed`: the server's next answer is the connection's end."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.is_doomed = False

    def cut(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _pump(source: socket.socket, pair: Pair, pass_on: Callable[[Pair, bytes], None]) -> None:
    with suppress(OSError):
        while data := source.recv(CHUNK):
            pass_on(pair, data)
    pair.cut()


class SlowProxy(Proxy):
    """Holds every answer back for `delay_seconds`."""

    delay_seconds = 0.0

    def from_server(self, pair: Pair, data: bytes) -> None:
        time.sleep(self.delay_seconds)
        pair.client.sendall(data)


class SwallowingProxy(Proxy):
    """Lets some writes through, waits until the server has done them, and hangs up instead of passing the answer on.

    `left` is how many answers are still to be swallowed, `share` how likely each of them is.
    """

    #: The end of a transaction, a claim, the marking of due jobs: all of them commit.
    WRITES = (b"COMMIT", b"lease = lease + 1", b"state = 'queued', hinted_at")

    def __init__(self, server: Path, listen_at: Path, *, share: float) -> None:
        super().__init__(server, listen_at)
        self.left = 0
        self.swallowed = 0
        self._share = share
        self._lock = threading.Lock()
        self._random = random.Random(7)

    def from_client(self, pair: Pair, data: bytes) -> None:
        if self.left and any(write in data for write in self.WRITES):
            with self._lock:
                pair.is_doomed = self.left > 0 and self._random.random() < self._share
                self.left -= pair.is_doomed
        pair.server.sendall(data)

    def from_server(self, pair: Pair, data: bytes) -> None:
        if pair.is_doomed:
            self.swallowed += 1
            pair.cut()
        else:
            pair.client.sendall(data)
