"""A real receiver of webhooks on loopback, which can be told to misbehave.

with Receiver() as receiver:
    receiver.then(500, times=2)
    …
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
"""

import ssl
import threading
import time
from collections import deque
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from email.message import Message
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Manner(StrEnum):
    """How an answer is given."""

    AT_ONCE = "at_once"
    NEVER = "never"  # reads the request, says nothing
    DRIPPING_HEAD = "dripping_head"  # a byte of the status line now and then
    DRIPPING_BODY = "dripping_body"  # a good head, then a byte now and then
    GIANT_BODY = "giant_body"  # a good head, then as much as the other side takes
    GIANT_HEAD = "giant_head"  # headers without end
    CLOSED = "closed"  # hangs up
    NOT_HTTP = "not_http"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the receiver saw it."""

    path: str
    headers: Message
    body: bytes
    at: float


@dataclass
class Receiver(AbstractContextManager["Receiver"]):
    """Serves until the context ends."""

    host: str = "127.0.0.1"
    ssl_context: ssl.SSLContext | None = None
    requests: list[Seen] = field(default_factory=list)
    connections: int = 0
    bytes_taken: int = 0

    def __post_init__(self) -> None:
        self._answers: deque[tuple[int, dict[str, str], Manner]] = deque()
        self._http = _Http((self.host, 0), _Handler)
        self._http.receiver = self
        if self.ssl_context:
            self._http.socket = self.ssl_context.wrap_socket(self._http.socket, server_side=True)
        self.stopping = threading.Event()

    @property
    def port(self) -> int:
        return self._http.server_port

    @property
    def url(self) -> str:
        return f"http{'s' if self.ssl_context else ''}://{self.host}:{self.port}/hook"

    def then(
        self,
        status: int = 200,
        headers: dict[str, str] | None = None,
        *,
        manner: Manner = Manner.AT_ONCE,
        times: int = 1,
    ) -> None:
        """Answer so for the next `times` requests, after those already asked for; then 204 again."""
        self._answers.extend([(status, headers or {}, manner)] * times)

    def forget(self) -> None:
        self._answers.clear()
        self.requests.clear()

    def take(self, request: Seen) -> tuple[int, dict[str, str], Manner]:
        self.requests.append(request)
        return self._answers.popleft() if self._answers else (204, {}, Manner.AT_ONCE)

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # many connect at once
    receiver: Receiver

    def handle_error(self, *_: Any) -> None:
        """Clients that hang up, or refuse the certificate, are what the tests are about."""

    def verify_request(self, *_: Any) -> bool:
        self.receiver.connections += 1
        return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def do_POST(self) -> None:
        receiver = self.server.receiver
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        status, headers, manner = receiver.take(Seen(self.path, self.headers, body, time.monotonic()))
        self.close_connection = True
        with suppress(OSError):
            getattr(self, f"_{manner}")(status, headers)

    def _at_once(self, status: int, headers: dict[str, str]) -> None:
        self._head(status, headers, length=0)

    def _never(self, *_: Any) -> None:
        self.server.receiver.stopping.wait(30)

    def _closed(self, *_: Any) -> None:
        pass

    def _not_http(self, *_: Any) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")

    def _dripping_head(self, *_: Any) -> None:
        self._drip(b"HTTP/1.1 200 OK\r\nx-slow: " + b"z" * 1000)

    def _dripping_body(self, status: int, headers: dict[str, str]) -> None:
        self._head(status, headers, length=1000)
        self._drip(b"z" * 1000)

    def _giant_body(self, status: int, headers: dict[str, str]) -> None:
        self._head(status, headers, length=2**40)
        while not self.server.receiver.stopping.is_set():
            self.server.receiver.bytes_taken += self.connection.send(b"z" * 4096)

    def _giant_head(self, *_: Any) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.server.receiver.stopping.is_set():
            self.wfile.write(b"x-more: " + b"z" * 4096 + b"\r\n")

    def _drip(self, content: bytes) -> None:
        for index in range(len(content)):
            self.wfile.write(content[index : index + 1])
            if self.server.receiver.stopping.wait(0.1):
                return

    def _head(self, status: int, headers: dict[str, str], *, length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(length))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Stay quiet."""
