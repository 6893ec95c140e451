"""Clients that come and go at random, while the doorbell and the server are hurt, see every event once and in order."""

import os
import random
import signal
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from websockets.exceptions import WebSocketException

from adapters.embedded.stack import Stack, embedded_stack
from adapters.postgres.live import PostgresLive
from domain.live import WORKSPACE_CHANNEL, present
from tests.builders import WORKSPACE, a_pdf
from tests.conftest import _new_database, short_folder
from tests.e2e.conftest import Site, a_site
from tests.live_clients import EventStream, Server, a_key, open_socket, receive, running_api
from tests.workers import running_workers

DOCUMENTS = 200

#: What a client meets when the server is away.
BROKEN = (OSError, EOFError, TimeoutError, WebSocketException, urllib.error.URLError)


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A Valkey of this test's own, which it may stop."""
    with short_folder() as folder, embedded_stack(folder, postgres=False) as stack:
        yield stack


@pytest.fixture
def own_site(postgres_url: str, template_database: str, stack: Stack) -> Iterator[Site]:
    assert stack.redis_url
    with (
        short_folder() as folder,
        _new_database(postgres_url, template_database) as url,
        a_site(folder, database_url=url, redis_url=stack.redis_url) as site,
    ):
        yield site


class Client(threading.Thread):
    """Follows the workspace until it is told to stop, over one connection after the other."""

    def __init__(self, watch: Callable[["Client"], Iterator[dict]], server: Server, key: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.server, self.key = server, key
        self.place = 0
        self.seen: list[int] = []
        self.connections = 0
        self.breaks: list[str] = []
        self.fault: BaseException | None = None
        self.stopping = threading.Event()
        self._watch = watch
        self._dice = random.Random(seed)

    def run(self) -> None:
        while not self.stopping.is_set() and self.fault is None:
            try:
                self._follow(self._dice.randint(1, 120))
            except BROKEN as error:
                self.breaks.append(type(error).__name__)
            except BaseException as error:
                self.fault = error

    def _follow(self, events: int) -> None:
        for message in self._watch(self):
            assert message["type"] in ("connected", "task_notification"), message
            if message["type"] == "connected":
                assert message["id"] == self.place
                self.connections += 1
                continue
            self.place = message["id"]
            self.seen.append(message["id"])
            events -= 1
            if events == 0 or self.stopping.is_set():
                return


def over_a_socket(client: Client) -> Iterator[dict]:
    with open_socket(client.server, key=client.key, since=client.place) as connection:
        while True:
            yield receive(connection)


def over_the_documents_socket(client: Client) -> Iterator[dict]:
    with open_socket(client.server, "documents", key=client.key, since=client.place) as connection:
        while True:
            yield receive(connection)


def over_a_stream(client: Client) -> Iterator[dict]:
    with EventStream(client.server, "", key=client.key, last_event_id=str(client.place)) as stream:
        yield from stream


@contextmanager
def following(clients: list[Client]) -> Iterator[None]:
    for client in clients:
        client.start()
    try:
        yield
    finally:
        for client in clients:
            client.stopping.set()


def hurt(stack: Stack, server: Server) -> Iterator[None]:
    """One fault a step: the doorbell goes, the server dies, the server is restarted, the doorbell goes again."""
    assert stack.valkey
    while True:
        stack.valkey.stop()
        time.sleep(0.5)
        stack.valkey.start()
        yield
        for number in (signal.SIGKILL, signal.SIGTERM):
            os.kill(server.master.pid, number)
            starts = len(server.starts)
            server.wait_until(lambda starts=starts: len(server.starts) > starts and server.answers())
            yield


def upload_all(site: Site) -> None:
    for number in range(DOCUMENTS):
        site.upload(a_pdf(f"Document {number} of the mill. {uuid4()}"))


def test_every_event_is_seen_once_and_in_order(own_site: Site, stack: Stack, free_port: int) -> None:
    key = a_key(own_site.rails)
    with (
        running_workers(own_site.environment, processes=2),
        running_api(own_site.environment, free_port) as server,
    ):
        watches = [over_a_socket, over_a_stream, over_the_documents_socket, over_a_socket]
        clients = [Client(watch, server, key, seed) for seed, watch in enumerate(watches)]
        with following(clients):
            uploader = threading.Thread(target=upload_all, args=[own_site])
            uploader.start()
            faults = hurt(stack, server)
            done = 0
            while done < 5 or uploader.is_alive():
                next(faults)
                done += 1
            uploader.join()
            states = own_site.wait_for_documents(seconds=120)
            expected = [
                row.id
                for row in PostgresLive(own_site.rails.pool).replay(
                    WORKSPACE, WORKSPACE_CHANNEL, after=0, until=2**62, limit=100_000
                )
                if present(row)
            ]
            own_site.wait_until(lambda: all(client.place >= expected[-1] or client.fault for client in clients), 30)

    assert states == []
    assert own_site.rails.column("SELECT DISTINCT state FROM documents") == ["ready"]
    assert len(expected) >= 7 * DOCUMENTS
    for client in clients:
        assert client.fault is None
        assert client.seen == expected
        assert client.connections > done
