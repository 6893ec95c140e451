"""What jobs and documents note for watchers, and what watchers are told."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from adapters.postgres.live import PostgresLive
from adapters.postgres.sql import load_queries
from domain.jobs import SYSTEM_WORKSPACE
from domain.ledger import Outcome
from domain.live import WORKSPACE_CHANNEL, Channel, ChannelKind, Family, LiveEvent, parse_channel, present
from tests.builders import (
    A_FAILURE,
    WORKSPACE,
    Rails,
    a_batch,
    a_cancelled_job,
    a_failed_document,
    a_failed_job,
    a_pending_job,
    a_queued_job,
    a_ready_document,
    a_running_job,
    a_silent_job,
    a_succeeded_job,
    a_workspace,
    an_extracting_document,
    an_uploaded_document,
    must_claim,
)


def replay(rails: Rails, channel: Channel = WORKSPACE_CHANNEL, workspace_id: UUID = WORKSPACE) -> Sequence[LiveEvent]:
    logged = PostgresLive(rails.pool).replay(workspace_id, channel, after=0, until=2**62, limit=1000)
    return [event for row in logged if (event := present(row)) and channel in event.channels]


def names(rails: Rails, channel: Channel = WORKSPACE_CHANNEL) -> list[str]:
    return [event.name for event in replay(rails, channel)]


def task_channel(job_id: UUID) -> Channel:
    return Channel(ChannelKind.TASK, job_id)


def document_channel(document_id: UUID) -> Channel:
    return Channel(ChannelKind.DOCUMENT, document_id)


# Tasks


def test_a_task_that_ends_well(rails: Rails) -> None:
    job_id = a_succeeded_job(rails, workspace_id=WORKSPACE)

    assert names(rails, task_channel(job_id)) == ["task.queued", "task.processing", "task.completed"]


def test_a_task_that_ends_badly_says_why(rails: Rails) -> None:
    job_id = a_failed_job(rails, workspace_id=WORKSPACE)

    last = replay(rails, task_channel(job_id))[-1]

    assert last.name == "task.failed"
    assert last.data["error"] == {"code": A_FAILURE.code, "message": A_FAILURE.message}
    assert last.data["status"] == "failed"
    assert last.data["task_id"] == str(job_id)


def test_a_task_that_is_tried_again_says_when_and_why(rails: Rails) -> None:
    claim = a_running_job(rails, workspace_id=WORKSPACE)
    rails.ledger.retry(claim.lease, claim.message, A_FAILURE, delay=timedelta(hours=1), outcome=Outcome.RETRYING)

    last = replay(rails, task_channel(claim.lease.job_id))[-1]

    assert last.name == "task.retrying"
    assert last.data["reason"] == "retrying"
    assert last.data["retry_at"]
    assert last.data["error"]["message"] == A_FAILURE.message


def test_a_task_that_is_cancelled(rails: Rails) -> None:
    job_id = a_cancelled_job(rails, workspace_id=WORKSPACE)

    assert names(rails, task_channel(job_id)) == ["task.queued", "task.cancelled"]


def test_a_task_whose_worker_died_is_tried_again_and_then_failed(rails: Rails) -> None:
    claim = a_silent_job(rails, workspace_id=WORKSPACE)
    job_id = claim.lease.job_id
    rails.leases.rescue_expired()
    must_claim(rails, job_id)
    rails.expire(job_id)
    rails.leases.rescue_expired()

    told = replay(rails, task_channel(job_id))

    assert [event.name for event in told] == [
        "task.queued", "task.processing", "task.retrying", "task.processing", "task.failed",
    ]  # fmt: skip
    assert told[-1].data["error"]["code"] == "worker_crashed"


def test_jobs_of_the_system_workspace_are_no_news(rails: Rails) -> None:
    a_succeeded_job(rails, workspace_id=SYSTEM_WORKSPACE)
    a_queued_job(rails, workspace_id=SYSTEM_WORKSPACE)

    assert rails.column("SELECT event FROM job_events") == []
    assert replay(rails, workspace_id=UUID(int=0)) == []


@pytest.mark.parametrize("queue", ["media", "media_video"])
def test_a_family_shows_the_jobs_of_its_queues(rails: Rails, queue: str) -> None:
    mine = a_pending_job(rails, workspace_id=WORKSPACE, queue=queue)
    a_pending_job(rails, workspace_id=WORKSPACE, queue="email")

    told = replay(rails, Channel(ChannelKind.FAMILY, Family.MEDIA))

    assert [event.data["task_id"] for event in told] == [str(mine)]


def test_deliveries_of_webhooks_are_no_news(rails: Rails) -> None:
    a_succeeded_job(rails, workspace_id=WORKSPACE, queue="webhooks")

    assert replay(rails) == []


# Documents


def pages_done(event: LiveEvent) -> int:
    return int(event.data["progress"]["extraction"]["done"])


def test_a_documents_task_goes_on_until_it_is_indexed(rails: Rails) -> None:
    document_id = a_ready_document(rails, ["The river turns the mill."] * 3)
    task_id = rails.column("SELECT id FROM jobs WHERE document_id = %s ORDER BY created_at", document_id)[0]

    expected = [
        "task.queued",
        "document.uploaded",
        "task.processing",
        "document.extracting",
        "document.indexing",
        "document.ready",
        "task.completed",
    ]
    assert names(rails, document_channel(document_id)) == expected
    assert names(rails, task_channel(task_id)) == expected
    assert names(rails, Channel(ChannelKind.FAMILY, Family.DOCUMENTS)) == expected
    assert {event.data["task_id"] for event in replay(rails)} == {str(task_id)}


def test_what_a_ready_document_says(rails: Rails) -> None:
    document_id = a_ready_document(rails)

    ready = replay(rails, document_channel(document_id))[-2]

    assert ready.data | {"at": None} == {
        "document_id": str(document_id),
        "task_id": ready.data["task_id"],
        "name": "river.pdf",
        "state": "ready",
        "progress": {
            "percent": 100,
            "extraction": {"done": 1, "total": 1},
            "indexing": {"done": 1, "total": 1},
        },
        "failure": None,
        "warning": None,
        "page_count": 1,
        "chunk_count": 1,
        "generation": 1,
        "at": None,
    }


def test_a_failed_document_says_why(rails: Rails) -> None:
    document_id = a_failed_document(rails)

    told = {event.name: event.data for event in replay(rails, document_channel(document_id))}

    assert told["document.failed"]["failure"] == {"code": A_FAILURE.code, "message": A_FAILURE.message}
    assert told["task.failed"]["error"] == {"code": A_FAILURE.code, "message": A_FAILURE.message}


def test_pages_tell_every_twentieth_of_the_way_and_not_the_end(rails: Rails) -> None:
    held = an_extracting_document(rails)
    for first in range(1, 201):
        with rails.transaction(held.lease) as unit:
            unit.pages.add(held.document, a_batch(["water"], first=first, page_count=200))

    done = [pages_done(e) for e in replay(rails) if e.name == "document.progress"]

    assert done == list(range(10, 200, 10))


def test_a_slow_batch_tells_its_progress_however_small(rails: Rails) -> None:
    held = an_extracting_document(rails)
    for first in (1, 2):
        rails.connection.execute("UPDATE documents SET updated_at = now() - interval '2 s'")
        with rails.transaction(held.lease) as unit:
            unit.pages.add(held.document, a_batch(["water"], first=first, page_count=1000))

    assert [pages_done(e) for e in replay(rails) if e.name == "document.progress"] == [1, 2]


def test_chunks_tell_their_progress(rails: Rails) -> None:
    document_id, _ = an_uploaded_document(rails)
    rails.connection.execute("UPDATE documents SET state = 'indexing'")
    for done in range(101):
        rails.connection.execute("UPDATE documents SET chunk_count = 100, chunks_done = %s", [done])

    told = [
        e.data["progress"]["indexing"]["done"]
        for e in replay(rails, document_channel(document_id))
        if e.name == "document.progress"
    ]

    assert told == list(range(5, 100, 5))


def test_a_new_version_of_a_waiting_document_starts_over(rails: Rails) -> None:
    document_id, job_id = an_uploaded_document(rails)
    new_version = {"id": document_id, "workspace_id": WORKSPACE, "job_id": job_id, "blob_key": "w/new"}
    content = {"content_sha256": bytes(32), "byte_count": 5}
    rails.connection.execute(load_queries("documents")["replace"], new_version | content)

    assert names(rails, document_channel(document_id)).count("document.uploaded") == 2


# Whose is it


def test_another_workspace_sees_nothing(rails: Rails) -> None:
    document_id = a_ready_document(rails)
    stranger = a_workspace(rails)
    job_id = rails.column("SELECT job_id FROM documents")[0]

    for channel in (WORKSPACE_CHANNEL, document_channel(document_id), task_channel(job_id)):
        assert replay(rails, channel, stranger) == []
        if channel is not WORKSPACE_CHANNEL:
            assert PostgresLive(rails.pool).find_channel(stranger, channel) is None
            assert PostgresLive(rails.pool).find_channel(WORKSPACE, channel) is not None


def test_channels_of_nothing_do_not_exist(rails: Rails) -> None:
    live = PostgresLive(rails.pool)

    assert live.find_channel(WORKSPACE, document_channel(uuid4())) is None
    assert live.find_channel(WORKSPACE, task_channel(uuid4())) is None
    assert live.find_channel(WORKSPACE, parse_channel("documents")) == parse_channel("documents")


def test_either_job_of_a_documents_task_finds_its_channel(rails: Rails) -> None:
    document_id = a_ready_document(rails)
    first, second = rails.column("SELECT id FROM jobs WHERE document_id = %s ORDER BY created_at", document_id)
    live = PostgresLive(rails.pool)

    assert live.find_channel(WORKSPACE, task_channel(first)) == task_channel(first)
    assert live.find_channel(WORKSPACE, task_channel(second)) == task_channel(first)


# Tickets


@pytest.fixture
def key_id(rails: Rails) -> UUID:
    from adapters.postgres.api_keys import PostgresApiKeys
    from domain.api_keys import Scope

    return PostgresApiKeys(rails.pool).create(WORKSPACE, "test", frozenset(Scope))[0].id


def test_a_ticket_works_once(rails: Rails, key_id: UUID) -> None:
    live = PostgresLive(rails.pool)
    ticket = live.issue_ticket(WORKSPACE, key_id)

    assert live.redeem_ticket(ticket.secret) == (WORKSPACE, key_id)
    assert live.redeem_ticket(ticket.secret) is None


def test_a_ticket_is_stored_as_a_hash(rails: Rails, key_id: UUID) -> None:
    ticket = PostgresLive(rails.pool).issue_ticket(WORKSPACE, key_id)

    row = rails.row("SELECT * FROM live_tickets")

    assert ticket.secret not in str(row)
    assert ticket.secret.encode() not in bytes(row["hash"])


def test_an_old_ticket_opens_nothing_and_is_forgotten(rails: Rails, key_id: UUID) -> None:
    live = PostgresLive(rails.pool)
    tickets = [live.issue_ticket(WORKSPACE, key_id) for _ in range(2)]
    rails.connection.execute("UPDATE live_tickets SET expires_at = now() - interval '1 s'")

    assert live.redeem_ticket(tickets[0].secret) is None

    live.issue_ticket(WORKSPACE, key_id)

    assert rails.count("live_tickets") == 1


@pytest.mark.parametrize("fate", ["revoked_at = now()", "expires_at = now()"])
def test_a_ticket_dies_with_its_key(rails: Rails, key_id: UUID, fate: str) -> None:
    live = PostgresLive(rails.pool)
    ticket = live.issue_ticket(WORKSPACE, key_id)
    rails.connection.execute(f"UPDATE api_keys SET {fate}")

    assert live.redeem_ticket(ticket.secret) is None


@pytest.mark.parametrize("text", ["", "hrt_", "hrt_" + "x" * 200, "nonsense", "hrt_\0"])
def test_what_is_no_ticket_opens_nothing(rails: Rails, text: str) -> None:
    assert PostgresLive(rails.pool).redeem_ticket(text) is None


# Gaps


def test_a_place_before_the_oldest_event_has_a_gap(rails: Rails) -> None:
    live = PostgresLive(rails.pool)
    a_pending_job(rails, workspace_id=WORKSPACE)
    first = rails.column("SELECT min(id) FROM job_events")[0]
    a_pending_job(rails, workspace_id=WORKSPACE)

    assert not live.has_gap(first)

    rails.connection.execute("DELETE FROM job_events WHERE id = %s", [first])

    assert live.has_gap(first)
    assert not live.has_gap(first + 1)


def test_a_place_that_the_log_never_reached_is_a_gap(rails: Rails) -> None:
    a_pending_job(rails, workspace_id=WORKSPACE)

    assert PostgresLive(rails.pool).has_gap(10**9)


def test_events_that_are_all_gone_are_a_gap(rails: Rails) -> None:
    first, last = (a_pending_job(rails, workspace_id=WORKSPACE) and newest(rails) for _ in range(2))
    rails.connection.execute("DELETE FROM job_events")

    assert PostgresLive(rails.pool).has_gap(first)
    assert not PostgresLive(rails.pool).has_gap(last)


def newest(rails: Rails) -> int:
    return int(rails.column("SELECT max(id) FROM job_events")[0])
