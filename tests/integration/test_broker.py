"""Sending writes Postgres and nothing else; hints may be lost, doubled or junk."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from threading import Event, Thread
from uuid import UUID, uuid4

import dramatiq
import pytest
import redis

from adapters.postgres.pool import connect
from adapters.producer import enqueue, enqueue_within
from adapters.redis.broker import LedgerBroker
from adapters.redis.hints import Hints, decode_hint, encode_hint
from domain.errors import InvalidJobError, UnknownJobError
from domain.ledger import DueJob
from middleware.relay import LEAST_AHEAD, Relay
from tests.builders import QUEUE, WORKSPACE, Rails, a_pending_job, a_queued_job

NOWHERE = "redis://127.0.0.1:9/0"
MESSAGE_OPTIONS = {"args": (), "kwargs": {}, "options": {}}


@pytest.fixture
def hints(redis_url: str, redis_prefix: str) -> Iterator[Hints]:
    hints = Hints(redis_url, prefix=redis_prefix)
    yield hints
    hints.close()


@pytest.fixture
def hint_list(redis_prefix: str) -> str:
    return f"{redis_prefix}:hints:{QUEUE}"


@pytest.fixture
def broker(rails: Rails, hints: Hints) -> LedgerBroker:
    return a_broker(rails, hints)


def a_broker(rails: Rails, hints: Hints) -> LedgerBroker:
    return LedgerBroker(
        ledger=rails.ledger,
        hints=hints,
        middleware=[dramatiq.middleware.Retries()],
        retry_running=lambda message, delay: False,
    )


def an_actor(broker: LedgerBroker, name: str = "paint", **options) -> dramatiq.Actor:
    return dramatiq.actor(lambda **kwargs: None, broker=broker, actor_name=name, queue_name=QUEUE, **options)


# Sending


def test_sending_needs_no_redis(rails: Rails) -> None:
    paint = an_actor(a_broker(rails, Hints(NOWHERE, prefix="x")))

    message = paint.send(colour="blue")

    job = rails.job(UUID(message.message_id))
    assert (job["state"], job["actor"], job["queue"]) == ("pending", "paint", QUEUE)
    assert job["message"]["kwargs"] == {"colour": "blue"}


def test_sending_leaves_redis_alone(broker: LedgerBroker, redis_client: redis.Redis) -> None:
    an_actor(broker).send()

    assert redis_client.keys("*") == []


def test_a_delay_is_when_the_job_is_due(rails: Rails, broker: LedgerBroker) -> None:
    message = an_actor(broker).send_with_options(delay=60_000)

    waits = rails.column("SELECT available_at - now() FROM jobs WHERE id = %s", message.message_id)[0]
    assert timedelta(seconds=58) < waits <= timedelta(seconds=60)


def test_the_actors_priority_is_the_jobs(rails: Rails, broker: LedgerBroker) -> None:
    an_actor(broker, priority=7).send()

    assert rails.column("SELECT priority FROM jobs") == [7]


def test_the_same_message_twice_is_one_job(rails: Rails, broker: LedgerBroker) -> None:
    message = an_actor(broker).message()

    broker.enqueue(message)
    broker.enqueue(message)

    assert rails.count("jobs") == 1


def test_a_message_joins_the_callers_transaction(rails: Rails, broker: LedgerBroker) -> None:
    message = an_actor(broker).message()

    with connect(rails.url) as connection:
        with connection.transaction(force_rollback=True):
            broker.enqueue_in(connection, message)
        assert rails.count("jobs") == 0

        with connection.transaction():
            broker.enqueue_in(connection, message, delay=1000)
    assert rails.count("jobs") == 1


def test_a_tick_is_sent_once_a_minute(rails: Rails, broker: LedgerBroker) -> None:
    sweep = an_actor(broker, "sweep")
    for second in ("00", "01", "59"):
        sweep.send_with_options(scheduled_at=f"2026-11-21T12:30:{second}+00:00")

    assert rails.count("jobs") == 1


@pytest.mark.parametrize("identity", ["1", "not-a-uuid", ""])
def test_an_id_that_is_no_uuid_is_refused(rails: Rails, broker: LedgerBroker, identity: str) -> None:
    message = dramatiq.Message(queue_name=QUEUE, actor_name="paint", message_id=identity, **MESSAGE_OPTIONS)

    with pytest.raises(InvalidJobError, match="must be a UUID"):
        broker.enqueue(message)

    assert rails.count("jobs") == 0


@pytest.mark.parametrize(
    ("kwargs", "fault"),
    [
        ({}, "missing: document_id, workspace_id"),
        ({"document_id": "1", "workspace_id": str(WORKSPACE)}, "document_id must be a UUID"),
        ({"document_id": str(WORKSPACE), "workspace_id": str(WORKSPACE), "colour": 1}, "unknown: colour"),
    ],
)
def test_wrong_parameters_of_a_known_job_are_refused(rails: Rails, broker, kwargs, fault: str) -> None:
    extract = an_actor(broker, "extract_document")

    with pytest.raises(InvalidJobError, match=fault):
        extract.send(**kwargs)

    assert rails.count("jobs") == 0


def test_positional_parameters_get_their_names(rails: Rails, broker: LedgerBroker) -> None:
    document_id = uuid4()

    an_actor(broker, "extract_document").send(str(document_id), str(WORKSPACE))

    job = rails.row("SELECT * FROM jobs")
    assert (job["document_id"], job["workspace_id"], job["message"]["args"]) == (document_id, WORKSPACE, [])


# Sending by name


def test_a_job_is_sent_by_name(rails: Rails) -> None:
    job_id = enqueue("index_document", {"document_id": uuid4(), "workspace_id": WORKSPACE}, ledger=rails.ledger)

    assert rails.job(job_id)["queue"] == "ingest_index"


def test_an_unknown_name_lists_the_known_ones(rails: Rails) -> None:
    with pytest.raises(UnknownJobError, match=r"known jobs: .*extract_document, .*index_document"):
        enqueue("paint", {}, ledger=rails.ledger)


def test_a_job_sent_by_name_joins_the_callers_transaction(rails: Rails) -> None:
    with connect(rails.url) as connection, connection.transaction(force_rollback=True):
        enqueue_within(connection, "sweep_documents", {})

    assert rails.count("jobs") == 0


@pytest.mark.parametrize("name", ["email:send", "file:process", "process_file"])
def test_what_takes_a_transaction_of_its_own_joins_no_other(rails: Rails, name: str) -> None:
    with connect(rails.url) as connection, pytest.raises(InvalidJobError, match="use enqueue"):
        enqueue_within(connection, name, {"media_id": uuid4(), "workspace_id": WORKSPACE})
    with pytest.raises(InvalidJobError, match="neither a delay nor a ledger"):
        enqueue(name, {}, ledger=rails.ledger)

    assert rails.count("jobs") == 0


# Hints


def take(broker: LedgerBroker, count: int, *, prefetch: int = 8, seconds: float = 3) -> list[str]:
    """Return the ids of the next `count` hints, fewer when the time is over."""
    consumer, deadline, found = broker.consume(QUEUE, prefetch), time.monotonic() + seconds, []
    while len(found) < count and time.monotonic() < deadline:
        message = next(consumer)
        if message is not None:
            found.append(message.message_id)
    return found


def test_a_hint_says_which_job_and_nothing_more() -> None:
    job = DueJob(uuid4(), "paint")

    assert decode_hint(encode_hint(job)) == job
    assert b"blue" not in encode_hint(job)


@pytest.mark.parametrize("junk", [b"", b"junk", b"[]", b"{}", b'{"job": "1", "actor": "a"}', b"\xff", b"null", b"1"])
def test_junk_among_the_hints_is_ignored(broker, hints: Hints, redis_client, hint_list: str, junk: bytes) -> None:
    job = DueJob(uuid4(), "paint")
    redis_client.rpush(hint_list, junk)
    hints.push(QUEUE, [job])

    assert take(broker, 1) == [str(job.id)]
    assert hints.depth(QUEUE) == 0


def test_a_list_that_is_no_list_is_survived(broker, hints: Hints, redis_client, hint_list: str) -> None:
    redis_client.set(hint_list, "junk")
    consumer = broker.consume(QUEUE, 1)
    assert next(consumer) is None

    redis_client.delete(hint_list)
    hints.push(QUEUE, [DueJob(uuid4(), "paint")])

    assert next(consumer) is not None


def test_a_consumer_takes_no_more_than_it_has_room_for(broker: LedgerBroker, hints: Hints) -> None:
    hints.push(QUEUE, [DueJob(uuid4(), "paint") for _ in range(5)])
    consumer = broker.consume(QUEUE, 2)

    first, second = next(consumer), next(consumer)
    assert next(consumer) is None
    assert hints.depth(QUEUE) == 3

    consumer.ack(first)
    consumer.nack(second)
    assert next(consumer)
    assert next(consumer)


def test_hints_that_were_not_started_are_given_back(broker: LedgerBroker, hints: Hints) -> None:
    hints.push(QUEUE, [DueJob(uuid4(), "paint"), DueJob(uuid4(), "paint")])
    consumer = broker.consume(QUEUE, 8)
    fetched = [next(consumer), next(consumer)]

    consumer.requeue(fetched)

    assert {str(job_id) for job_id in hints.peek(QUEUE, 10)} == {message.message_id for message in fetched}


def test_a_consumer_without_redis_waits_and_raises_nothing(rails: Rails) -> None:
    broker = a_broker(rails, Hints(NOWHERE, prefix="x"))
    consumer = broker.consume(QUEUE, 1)

    assert next(consumer) is None
    consumer.requeue([dramatiq.broker.MessageProxy(an_actor(broker).message())])


# The relay


class CountingDispatch:
    """The real table, with a count of what it was asked."""

    def __init__(self, dispatch) -> None:
        self._dispatch = dispatch
        self.asked = 0

    def __getattr__(self, name: str):
        self.asked += name != "wait"
        return getattr(self._dispatch, name)


@pytest.fixture
def relay(rails: Rails, hints: Hints) -> Iterator[CountingDispatch]:
    yield from a_relay(rails, hints, batch_size=5)


def a_relay(rails: Rails, hints: Hints, *, batch_size: int) -> Iterator[CountingDispatch]:
    from contextlib import closing, contextmanager

    from adapters.postgres.dispatch import PostgresDispatch

    counting = CountingDispatch(None)

    @contextmanager
    def open_dispatch():
        with closing(connect(rails.url)) as connection:
            counting._dispatch = PostgresDispatch(connection)
            yield counting

    thread = Relay(open_dispatch, hints, queues=[QUEUE], batch_size=batch_size, interval=timedelta(seconds=5))
    thread.start()
    try:
        yield counting
    finally:
        thread.stop()
        assert not thread.is_alive()


def eventually(condition, seconds: float = 4) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def test_the_relay_rings_for_what_was_sent(rails: Rails, hints: Hints, relay) -> None:
    job_id = a_pending_job(rails)

    eventually(lambda: hints.peek(QUEUE, 10) == {job_id}, seconds=1.5)
    assert rails.job(job_id)["state"] == "queued"


def test_the_relay_rings_when_a_job_becomes_due(rails: Rails, hints: Hints, relay) -> None:
    job_id = a_pending_job(rails, delay=timedelta(seconds=0.5))

    eventually(lambda: hints.peek(QUEUE, 10) == {job_id}, seconds=1.5)


def test_the_relay_rings_again_after_the_doorbell_was_emptied(rails, hints: Hints, relay, redis_client) -> None:
    jobs = {a_pending_job(rails) for _ in range(3)}
    eventually(lambda: hints.peek(QUEUE, 10) == jobs)

    redis_client.flushdb()

    eventually(lambda: hints.peek(QUEUE, 10) == jobs, seconds=7)


def test_the_relay_keeps_the_doorbell_shallow_and_itself_calm(rails: Rails, hints: Hints, relay) -> None:
    def is_shallow() -> bool:
        return LEAST_AHEAD // 2 < hints.depth(QUEUE) <= LEAST_AHEAD  # more hints come when half of them are gone

    for _ in range(30):
        a_pending_job(rails)

    eventually(is_shallow)
    asked = relay.asked
    time.sleep(1)

    assert is_shallow()
    assert relay.asked - asked < 10
    hints.pop(QUEUE, LEAST_AHEAD - 1, timeout_seconds=1)
    eventually(is_shallow)


def test_a_relay_under_load_rings_for_other_queues_too(rails: Rails, hints: Hints, relay) -> None:
    """Under load it does not listen; it looks around instead, long before its interval of five seconds."""
    waits = []
    for _ in range(3):
        for _ in range(60):
            a_pending_job(rails)
        eventually(lambda: hints.pop(QUEUE, 1, timeout_seconds=1) != [])
        other, sent_at = a_pending_job(rails, queue="another"), time.monotonic()
        while other not in hints.peek("another", 10):
            assert time.monotonic() < sent_at + 4, "nobody rings"
            for _ in range(8):  # the load goes on, so that it never has a reason to listen
                a_pending_job(rails)
            hints.pop(QUEUE, 50, timeout_seconds=0.01)
        waits.append(time.monotonic() - sent_at)
        hints.pop("another", 10, timeout_seconds=1)

    assert max(waits) < 2


def test_a_relay_that_was_under_load_listens_again(
    rails: Rails, hints: Hints, relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("middleware.relay.DEAF_LOOK_SECONDS", 100.0)  # so it would take that long without listening
    jobs = [a_pending_job(rails) for _ in range(60)]
    rung: set[str] = set()

    def all_are_rung_for() -> bool:
        rung.update(json.loads(hint)["job"] for hint in hints.pop(QUEUE, 50, timeout_seconds=0.1))
        return rung >= set(map(str, jobs))

    eventually(all_are_rung_for)
    time.sleep(0.3)

    job_id, sent_at = a_pending_job(rails, queue="another"), time.monotonic()

    eventually(lambda: hints.peek("another", 10) == {job_id})
    assert time.monotonic() - sent_at < 2


def test_the_relay_rings_further_ahead_for_workers_that_are_fast(rails: Rails, hints: Hints, relay) -> None:
    jobs = {a_pending_job(rails) for _ in range(60)}
    taken: set[UUID] = set()
    deepest = 0

    def take_all() -> bool:
        nonlocal deepest
        found = [decode_hint(hint) for hint in hints.pop(QUEUE, 100, timeout_seconds=0.01)]
        deepest = max(deepest, len(found))
        taken.update(hint.id for hint in found if hint)
        return taken == jobs

    eventually(take_all)
    assert LEAST_AHEAD < deepest <= 20


def test_a_job_of_a_queue_that_no_worker_here_serves_does_not_make_the_relay_spin(rails: Rails, relay) -> None:
    a_pending_job(rails, queue="elsewhere")
    time.sleep(0.3)

    asked = relay.asked
    time.sleep(1)

    assert relay.asked - asked < 100


def test_the_relay_survives_the_loss_of_its_connection(rails: Rails, hints: Hints, relay) -> None:
    eventually(lambda: relay.asked)
    rails.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> %s",
        [rails.connection.info.backend_pid],
    )

    job_id = a_pending_job(rails)

    eventually(lambda: hints.peek(QUEUE, 10) == {job_id})


def test_a_second_relay_takes_over(rails: Rails, hints: Hints) -> None:
    first, second = a_relay(rails, hints, batch_size=5), a_relay(rails, hints, batch_size=5)
    next(first)
    next(second)

    with pytest.raises(StopIteration):
        next(first)
    job_id = a_pending_job(rails)

    eventually(lambda: hints.peek(QUEUE, 10) == {job_id})
    with pytest.raises(StopIteration):
        next(second)


def test_a_relay_that_does_not_lead_helps_out_when_the_leader_stalls(rails: Rails, hints: Hints, monkeypatch) -> None:
    monkeypatch.setattr("middleware.relay.HELP_SECONDS", 0.2)
    assert rails.dispatch.lead(), "this test leads, and does nothing"
    follower = a_relay(rails, hints, batch_size=5)
    next(follower)

    lost = a_queued_job(rails)
    rails.connection.execute("UPDATE jobs SET hinted_at = now() - interval '1 hour'")
    due = a_pending_job(rails)

    eventually(lambda: hints.peek(QUEUE, 10) == {lost, due})
    with pytest.raises(StopIteration):
        next(follower)


def test_stopping_interrupts_a_relay_without_a_database() -> None:
    stopped = Event()

    def refuse():
        raise OSError("no database")

    relay = Relay(refuse, Hints(NOWHERE, prefix="x"), queues=[QUEUE], batch_size=1, interval=timedelta(seconds=5))
    relay.start()
    Thread(target=lambda: (relay.stop(), stopped.set())).start()

    assert stopped.wait(3)
    assert not relay.is_alive()


def test_a_relay_that_waits_for_a_server_moves() -> None:
    def refuse():
        raise OSError("no database")

    relay = Relay(refuse, Hints(NOWHERE, prefix="x"), queues=[QUEUE], batch_size=1, interval=timedelta(seconds=5))
    made = relay.last_progress
    relay.start()

    eventually(lambda: relay.last_progress > made, seconds=20)
    relay.stop()
