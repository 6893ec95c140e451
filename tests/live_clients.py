"""A real API server on loopback, and clients that watch it."""

import json
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from adapters.postgres.api_keys import PostgresApiKeys
from domain.api_keys import Scope
from tests.builders import WORKSPACE, Rails
from tests.workers import Workers, started

#: Whatever a client waits for comes within this, or the test has failed.
PATIENCE_SECONDS = 20.0


class Server(Workers):
    """A server process that is started again when it ends."""

    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def running_api(environment: Mapping[str, str], port: int) -> Iterator[Server]:
    """Serve the application; started again whenever it ends."""
    command = [sys.executable, "-m", "adapters.api"]
    with started(command, {**environment, "API_PORT": str(port)}, restart=True) as server:
        server.__class__, server.port = Server, port
        server.wait_until(server.answers)
        yield server


def a_key(rails: Rails, *scopes: Scope, workspace_id: UUID = WORKSPACE) -> str:
    """A key of a workspace, with all scopes unless some are named."""
    return PostgresApiKeys(rails.pool).create(workspace_id, "test", frozenset(scopes or Scope))[1]


def call(
    server: Server, method: str, path: str, *, key: str | None = None, **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return status, JSON body and headers, their names in small letters, of a request."""
    request = urllib.request.Request(f"http://{server.address}{path}", method=method, headers=_headers(key) | headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return answer.status, json.loads(answer.read() or "{}"), _lower(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error), _lower(error.headers)


def open_socket(
    server: Server, channel: str = "workspace", *, key: str | None = None, **query: object
) -> ClientConnection:
    """Open a WebSocket with a key in the header, or whatever is in the query."""
    text = "&".join(f"{name}={value}" for name, value in query.items())
    uri = f"ws://{server.address}/ws/{channel}?{text}"
    return connect(
        uri,
        additional_headers=_headers(key),
        proxy=None,
        compression=None,
        open_timeout=PATIENCE_SECONDS,
        close_timeout=0.2,  # this client does not read on for the answer to its goodbye while messages wait
    )


def receive(connection: ClientConnection) -> dict[str, Any]:
    """Return the next message."""
    message: dict[str, Any] = json.loads(connection.recv(timeout=PATIENCE_SECONDS))
    return message


def receive_until(connection: ClientConnection, event: str, **data: object) -> list[dict[str, Any]]:
    """Return the notifications up to one with this name and these data."""
    told = []
    while True:
        message = receive(connection)
        if message["type"] != "task_notification":
            continue
        told.append(message)
        if message["event"] == event and data.items() <= message["data"].items():
            return told


def receive_until_closed(connection: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """Return what is left to read and the code the server closed with."""
    messages = []
    try:
        while True:
            messages.append(receive(connection))
    except ConnectionClosed as closed:
        return messages, closed.rcvd.code if closed.rcvd else None


def close_code(connection: ClientConnection) -> int | None:
    """Read to the end; return the code the server closed with."""
    return receive_until_closed(connection)[1]


class EventStream:
    """A client of server-sent events that resumes like a browser's."""

    def __init__(self, server: Server, query: str, *, key: str | None = None, last_event_id: str | None = None) -> None:
        headers = _headers(key) | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        request = urllib.request.Request(f"http://{server.address}/events?{query}", headers=headers)
        self.answer = urllib.request.urlopen(request, timeout=PATIENCE_SECONDS)
        self.last_event_id: str | None = last_event_id

    def __enter__(self) -> "EventStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.answer.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield messages until the server ends the stream."""
        fields: dict[str, str] = {}
        for raw in self.answer:
            name, _, value = raw.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
                continue
            self.last_event_id = fields.get("id", self.last_event_id)
            if "data" in fields:
                yield json.loads(fields["data"])
            fields = {}

    def until(self, event: str) -> list[dict[str, Any]]:
        told = []
        for message in self:
            if message["type"] == "task_notification":
                told.append(message)
                if message["event"] == event:
                    return told
        raise AssertionError(f"the stream ended before {event}: {told}")


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
