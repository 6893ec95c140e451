"""Live progress through a real API server and real workers."""

import json
import os
import signal
import urllib.error
from collections.abc import Iterator
from uuid import uuid4

import pytest

from domain.api_keys import Scope
from tests.builders import WORKSPACE, a_pdf, a_workspace
from tests.e2e.conftest import IMPATIENT, Site
from tests.live_clients import (
    EventStream,
    Server,
    a_key,
    call,
    close_code,
    open_socket,
    receive,
    receive_until,
    receive_until_closed,
    running_api,
)
from tests.workers import running_workers

PDF = a_pdf("The river turns the mill.", "The mill grinds the corn.")

A_DOCUMENTS_LIFE = [
    "task.queued", "document.uploaded", "task.processing", "document.extracting", "document.indexing",
    "document.ready", "task.completed",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def workers(module_site: Site) -> Iterator[None]:
    with running_workers(module_site.environment | IMPATIENT, processes=1):
        yield


@pytest.fixture(scope="module")
def server(module_site: Site) -> Iterator[Server]:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running_api(module_site.environment, port) as server:
        yield server


@pytest.fixture(scope="module")
def key(module_site: Site) -> str:
    return a_key(module_site.rails)


def upload(site: Site) -> tuple[str, str]:
    """Upload a document that no test uploaded before; return its id and that of its task."""
    receipt = site.upload(PDF + f"% {uuid4()}".encode())
    return str(receipt.document_id), str(receipt.job_id)


def test_a_socket_tells_a_documents_life(site: Site, server: Server, key: str) -> None:
    with open_socket(server, key=key) as workspace:
        greeting = receive(workspace)
        document_id, task_id = upload(site)
        told = receive_until(workspace, "task.completed", document_id=document_id)

    assert greeting["type"] == "connected"
    assert greeting["channel"] == "workspace"
    assert [message["event"] for message in told] == A_DOCUMENTS_LIFE
    assert {message["data"]["task_id"] for message in told} == {task_id}
    assert [message["id"] for message in told] == sorted({message["id"] for message in told})
    assert greeting["id"] < told[0]["id"]


@pytest.mark.parametrize("channel", ["document:{document}", "task:{task}", "documents", "workspace"])
def test_every_channel_replays_the_same_life(site: Site, server: Server, key: str, channel: str) -> None:
    with open_socket(server, key=key) as workspace:
        since = receive(workspace)["id"]
    document_id, task_id = upload(site)
    site.wait_for_documents()

    with open_socket(server, channel.format(document=document_id, task=task_id), key=key, since=since) as socket:
        told = receive_until(socket, "task.completed", document_id=document_id)

    assert [message["event"] for message in told] == A_DOCUMENTS_LIFE


def test_a_stream_resumes_after_the_last_event_it_has_seen(site: Site, server: Server, key: str) -> None:
    with EventStream(server, "channel=workspace", key=key) as stream:
        greeting = next(iter(stream))
        place = stream.last_event_id
    document_id, _ = upload(site)
    with EventStream(server, f"channel=document:{document_id}", key=key, last_event_id=place) as stream:
        first = stream.until("document.extracting")
        place = stream.last_event_id
    with EventStream(server, f"channel=document:{document_id}", key=key, last_event_id=place) as stream:
        rest = stream.until("task.completed")

    assert greeting == {"type": "connected", "channel": "workspace", "id": greeting["id"]}
    assert [message["event"] for message in first + rest] == A_DOCUMENTS_LIFE


def test_a_ticket_opens_one_connection(server: Server, key: str) -> None:
    status, body, _ = call(server, "POST", "/live/tickets", key=key)
    with open_socket(server, ticket=body["ticket"]) as first:
        greeting = receive(first)
    with open_socket(server, ticket=body["ticket"]) as second:
        code = close_code(second)
    with pytest.raises(urllib.error.HTTPError) as refused:
        EventStream(server, f"ticket={body['ticket']}")

    assert status == 201
    assert body["expires_in"] == 30
    assert greeting["type"] == "connected"
    assert code == 4401
    assert refused.value.code == 401
    assert body["ticket"] not in server.log


def test_a_ticket_opens_a_stream(server: Server, key: str) -> None:
    _, body, _ = call(server, "POST", "/live/tickets", key=key)

    with EventStream(server, f"ticket={body['ticket']}") as stream:
        assert next(iter(stream))["type"] == "connected"


def test_an_old_ticket_opens_nothing(site: Site, server: Server, key: str) -> None:
    _, body, _ = call(server, "POST", "/live/tickets", key=key)
    site.rails.connection.execute("UPDATE live_tickets SET expires_at = now()")

    with open_socket(server, ticket=body["ticket"]) as socket:
        assert close_code(socket) == 4401


@pytest.mark.parametrize(
    ("scopes", "code"),
    [([Scope.READ_DOCUMENTS, Scope.READ_TASKS], 4403), ([Scope.EVENTS], None)],
    ids=["without", "with"],
)
def test_watching_needs_the_scope_events(site: Site, server: Server, scopes: list[Scope], code: int | None) -> None:
    key = a_key(site.rails, *scopes)
    with open_socket(server, key=key) as socket:
        if code is None:
            assert receive(socket)["type"] == "connected"
            return
        assert close_code(socket) == code
    with pytest.raises(urllib.error.HTTPError) as refused:
        EventStream(server, "", key=key)
    assert refused.value.code == 403
    assert call(server, "POST", "/live/tickets", key=key)[0] == 403


@pytest.mark.parametrize("key", [None, "hr_nonsense"])
def test_nobody_watches_without_a_key(server: Server, key: str | None) -> None:
    with open_socket(server, key=key) as socket:
        assert close_code(socket) == 4401
    status, body, headers = call(server, "GET", "/events", key=key)
    assert (status, body["code"]) == (401, "unauthenticated")
    assert headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("channel", ["document:{document}", "task:{task}"])
def test_channels_of_another_workspace_are_as_unknown_as_those_of_nothing(
    site: Site, server: Server, channel: str
) -> None:
    stranger = a_key(site.rails, workspace_id=a_workspace(site.rails))
    document_id, task_id = upload(site)
    theirs = channel.format(document=document_id, task=task_id)
    nobodys = channel.format(document=uuid4(), task=uuid4())

    answers = [call(server, "GET", f"/events?channel={name}", key=stranger) for name in (theirs, nobodys)]
    codes = []
    for name in (theirs, nobodys):
        with open_socket(server, name, key=stranger) as socket:
            codes.append(close_code(socket))

    assert answers[0][:2] == answers[1][:2]
    assert answers[0][0] == 404
    assert codes == [4404, 4404]


def test_another_workspace_hears_nothing(site: Site, server: Server, key: str) -> None:
    stranger = a_workspace(site.rails)
    with (
        open_socket(server, key=a_key(site.rails, workspace_id=stranger)) as theirs,
        open_socket(server, key=key) as mine,
    ):
        upload(site)
        receive_until(mine, "task.completed")
        receipt = site.upload(PDF, workspace_id=stranger)
        told = receive_until(theirs, "task.completed")

    assert {message["data"]["document_id"] for message in told} == {str(receipt.document_id)}


@pytest.mark.parametrize(
    ("channel", "query", "code", "status"),
    [
        ("nonsense", "", 4404, 404),
        ("document:7", "", 4404, 404),
        ("workspace", "since=x", 4400, 422),
        ("workspace", "since=-1", 4400, 422),
        ("workspace", "since=99999999999999999999", 4400, 422),
        ("workspace", "client_id=two%20words", 4400, 422),
    ],
)
def test_requests_that_make_no_sense(
    server: Server, key: str, channel: str, query: str, code: int, status: int
) -> None:
    fields = dict(part.split("=") for part in query.split("&") if part)
    with open_socket(server, channel, key=key, **fields) as socket:
        assert close_code(socket) == code
    assert call(server, "GET", f"/events?channel={channel}&{query}", key=key)[0] == status


def test_a_place_whose_events_are_gone_is_said_to_have_a_gap(site: Site, server: Server, key: str) -> None:
    with open_socket(server, key=key, since=10**15) as ahead:
        messages = [receive(ahead), receive(ahead)]

    assert [message["type"] for message in messages] == ["connected", "gap"]
    assert messages[1]["id"] == messages[0]["id"] < 10**15


MANY = """
INSERT INTO job_events (job_id, workspace_id, event, data)
SELECT gen_random_uuid(), %s, 'queued', jsonb_build_object('attempt', repeat('x', 3000)) FROM generate_series(1, %s)
"""


def test_a_client_that_reads_too_slowly_is_closed_and_resumes(site: Site, server: Server, key: str) -> None:
    """Thirty megabytes are more than two sockets' buffers hold."""
    with open_socket(server, key=key, client_id="slow") as slow:
        receive(slow)
        with open_socket(server, key=key, client_id="quick") as quick:
            receive(quick)
            for _ in range(100):
                site.rails.connection.execute(MANY, [WORKSPACE, 100])
            upload(site)
            ids = [message["id"] for message in receive_until(quick, "task.completed")]
        messages, code = receive_until_closed(slow)
    seen = [message["id"] for message in messages]
    with open_socket(server, key=key, since=seen[-1]) as again:
        rest = [message["id"] for message in receive_until(again, "task.completed")]

    assert code == 4408
    assert len(ids) > 10_000
    assert seen + rest == ids


def test_a_stop_ends_streams_and_sockets_at_once(site: Site, server: Server, key: str) -> None:
    starts = len(server.starts)
    with open_socket(server, key=key) as socket, EventStream(server, "", key=key) as stream:
        receive(socket)
        messages = iter(stream)
        next(messages)
        os.kill(server.master.pid, signal.SIGTERM)

        assert close_code(socket) == 1012
        assert list(messages) == []

    server.wait_until(lambda: len(server.starts) > starts and server.answers())


def test_the_description_names_the_routes(server: Server) -> None:
    _, description, _ = call(server, "GET", "/openapi.json")

    assert "/events" in description["paths"]
    assert "/live/tickets" in description["paths"]
    assert "text/event-stream" in json.dumps(description["paths"]["/events"]["get"]["responses"]["200"])
