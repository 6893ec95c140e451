"""Two at once over the same row: whoever was first keeps it, the other writes nothing."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from adapters.postgres.dispatch import PostgresDispatch
from adapters.postgres.erasures import PostgresErasures
from adapters.postgres.leases import PostgresLeases
from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.pool import LazyPool, connect
from adapters.postgres.transactions import PostgresUnit
from domain.documents import Chunk, Document
from domain.errors import FailureCode, LeaseLostError, ParkedError, PermanentError
from domain.jobs import Lease
from domain.ledger import Outcome
from domain.ports import ChunkText
from tests.builders import (
    A_FAILURE,
    QUEUE,
    TTL,
    WORKSPACE,
    Held,
    Rails,
    a_batch,
    a_job,
    a_pending_job,
    a_queued_job,
    a_running_job,
    a_silent_job,
    a_workspace,
    an_extracting_document,
    an_indexing_document,
)


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[Future[object]]:
    """Start work that will wait for a lock of the calling test, and give it time to get there."""
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(work)
        sleep(0.15)
        assert not future.done(), "it should wait for the lock"
        yield future


def everything(rails: Rails) -> dict[str, list[Any]]:
    """Every row that an attempt may write."""
    tables = ("jobs", "job_attempts", "job_events", "documents", "document_pages", "chunks", "chunk_embeddings",
              "workspace_daily_usage", "token_reservations", "parser_deaths", "unowned_blobs")  # fmt: skip
    return {table: rails.column(f"SELECT t::text FROM {table} t ORDER BY 1") for table in tables}


def rescue(rails: Rails, held: Held) -> None:
    rails.expire(held.lease.job_id)
    assert rails.leases.rescue_expired() == {held.lease.job_id: "retrying"}


# A stale attempt writes nothing at all

A_CHUNK = Chunk(0, "The river.", b"\1" * 32, 1, 1, 0, 10, 3)
A_TEXT = ChunkText(b"\1" * 32, "The river.", 3)
A_VECTOR = np.ones((1, 8), dtype=np.float32)


def count_document(unit: PostgresUnit, held: Held) -> None:
    unit.documents.record_chunks(held.document, chunks=1, embedded=1, tokens=0)
    unit.usage.count_document(held.document)


WRITES: dict[str, Callable[[PostgresUnit, Held], object]] = {
    "a page": lambda unit, held: unit.pages.add(held.document, a_batch(["late"], first=9)),
    "a chunk": lambda unit, held: unit.chunks.add(held.document, [A_CHUNK]),
    "a vector": lambda unit, held: unit.chunks.embed(held.document, "fake/8", [A_TEXT], A_VECTOR),
    "progress": lambda unit, held: unit.documents.record_chunks(held.document, chunks=9, embedded=9, tokens=9),
    "a state": lambda unit, held: unit.documents.publish(held.document, chunks=1, tokens=0),
    "a hand-over": lambda unit, held: unit.documents.finish_extraction(
        held.document,
        next_job_id=unit.jobs.enqueue("index_document", held.id, held.document.workspace_id),
        pages=1,
        warning=None,
    ),
    "usage": lambda unit, held: unit.usage.settle(held.document, batch=1, reserved=0, spent=9),
    "a reservation": lambda unit, held: unit.usage.reserve(held.document, 9),
    "a document counted": count_document,
    "a parser's death": lambda unit, held: unit.parser_deaths.record(
        held.document, "fake/1", PermanentError(FailureCode.PARSER_CRASHED, "It died.")
    ),
    "its end": lambda unit, held: unit.jobs.finish(),
}


@pytest.mark.parametrize("build", [an_extracting_document, an_indexing_document])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_stale_attempt_writes_not(rails: Rails, build, write) -> None:
    held = build(rails)
    rescue(rails, held)
    before = everything(rails)

    with pytest.raises(LeaseLostError), rails.transaction(held.lease) as unit:
        write(unit, held)

    assert everything(rails) == before


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_an_attempt_whose_job_runs_elsewhere_writes_not(rails: Rails, write) -> None:
    held = an_indexing_document(rails)
    rescue(rails, held)
    rails.ring()
    assert rails.claim(held.lease.job_id)
    before = everything(rails)

    with pytest.raises(LeaseLostError), rails.transaction(held.lease) as unit:
        write(unit, held)

    assert everything(rails) == before


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_an_attempt_that_was_cancelled_writes_not(rails: Rails, write) -> None:
    held = an_indexing_document(rails)
    rails.ledger.request_cancel(held.lease.job_id)
    before = everything(rails)

    with pytest.raises(LeaseLostError), rails.transaction(held.lease) as unit:
        write(unit, held)

    assert everything(rails) == before


def test_each_of_these_writes_is_one(rails: Rails) -> None:
    """What a stale attempt may not do, a live one can: else the tests above could not fail."""
    for name, write in WRITES.items():
        held = an_extracting_document(rails) if name == "a hand-over" else an_indexing_document(rails)
        before = everything(rails)
        with rails.transaction(held.lease) as unit:
            write(unit, held)
        assert everything(rails) != before, name


# Reaper against finisher, over a whole unit of work


def test_a_reaper_waits_for_an_effect_that_is_being_committed_and_then_leaves_it(rails: Rails) -> None:
    held = an_indexing_document(rails)
    rails.expire(held.lease.job_id)
    with connect(rails.url) as other:
        reaper = PostgresLeases(other, ttl=TTL, max_crashes=2)
        with rails.transaction(held.lease) as unit:
            assert reaper.rescue_expired() == {}, "it skips what is locked"
            unit.jobs.finish()
        assert reaper.rescue_expired() == {}

    assert rails.job(held.lease.job_id)["state"] == "succeeded"


def test_a_finisher_that_waits_for_a_reaper_writes_nothing(rails: Rails) -> None:
    held = an_indexing_document(rails)
    rails.expire(held.lease.job_id)

    def finish() -> None:
        with rails.transaction(held.lease) as unit:
            unit.chunks.add(held.document, [A_CHUNK])
            unit.jobs.finish()

    with connect(rails.url) as reaper, reaper.transaction():
        assert PostgresLeases(reaper, ttl=TTL, max_crashes=2).rescue_expired()
        with meanwhile(finish) as finished:
            reaper.execute("COMMIT; BEGIN")
            with pytest.raises(LeaseLostError):
                finished.result()

    assert rails.count("chunks") == 0
    assert rails.job(held.lease.job_id)["state"] == "retrying"


def test_a_paused_worker_that_wakes_after_the_rescue_ends_nothing_in_any_way(rails: Rails) -> None:
    claim = a_silent_job(rails)
    rails.leases.rescue_expired()
    rails.ring()
    rails.claim(claim.lease.job_id)
    before = everything(rails)
    ledger, lease = rails.ledger, claim.lease

    assert not ledger.succeed(lease)
    assert not ledger.fail(lease.job_id, lease, A_FAILURE)
    assert not ledger.cancel(lease.job_id, lease)
    assert not ledger.retry(lease, claim.message, A_FAILURE, delay=timedelta(), outcome=Outcome.RETRYING)
    assert rails.leases.renew([lease]) == {lease.job_id}
    assert everything(rails) == before


# Cancel against complete


def test_a_cancellation_that_comes_while_the_effect_commits_is_too_late(rails: Rails) -> None:
    held = an_extracting_document(rails)

    with (
        ThreadPoolExecutor(1) as thread,
        rails.transaction(held.lease) as unit,
    ):
        asked = thread.submit(rails.ledger.request_cancel, held.lease.job_id)
        sleep(0.15)
        assert not asked.done()
        unit.jobs.finish()
    assert asked.result() is False

    job = rails.job(held.lease.job_id)
    assert (job["state"], job["cancel_requested_at"]) == ("succeeded", None)


def test_a_cancellation_that_came_first_keeps_the_effect_out(rails: Rails) -> None:
    held = an_extracting_document(rails)

    def finish() -> None:
        with rails.transaction(held.lease) as unit:
            unit.pages.add(held.document, a_batch(["one"]))
            unit.jobs.finish()

    with connect(rails.url) as other, other.transaction():
        other.execute("UPDATE jobs SET cancel_requested_at = now() WHERE id = %s", [held.lease.job_id])
        with meanwhile(finish) as finished:
            other.execute("COMMIT; BEGIN")
            with pytest.raises(LeaseLostError):
                finished.result()

    assert rails.count("document_pages") == 0
    assert not rails.ledger.succeed(held.lease)
    assert rails.ledger.cancel(held.lease.job_id, held.lease)


def test_of_many_cancellations_and_completions_each_job_sees_one_end(rails: Rails) -> None:
    claims = [a_running_job(rails) for _ in range(12)]
    ledger = rails.ledger

    def complete(claim) -> bool:
        return ledger.succeed(claim.lease) or ledger.cancel(claim.lease.job_id, claim.lease)

    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(ledger.request_cancel, claim.lease.job_id) for claim in claims]
        ended = [threads.submit(complete, claim) for claim in reversed(claims)]

    assert all(future.result() for future in ended)
    for claim, future in zip(claims, asked, strict=True):
        state = rails.job(claim.lease.job_id)["state"]
        assert state == ("cancelled" if future.result() else "succeeded")
        assert rails.attempts(claim.lease.job_id) == [state]


def test_a_claim_and_a_cancellation_leave_no_job_that_runs_uncancelled(rails: Rails) -> None:
    jobs = [a_queued_job(rails) for _ in range(12)]

    with ThreadPoolExecutor(4) as threads:
        claimed = [threads.submit(rails.claim, job_id) for job_id in jobs]
        asked = [threads.submit(rails.ledger.request_cancel, job_id) for job_id in reversed(jobs)]

    assert all(future.result() for future in asked)
    for job_id, future in zip(jobs, claimed, strict=True):
        job = rails.job(job_id)
        assert job["cancel_requested_at"] is not None
        assert job["state"] == ("running" if future.result() else "cancelled")


# Two of a kind


def test_two_relays_over_many_jobs_ring_each_once(rails: Rails) -> None:
    jobs = {a_pending_job(rails) for _ in range(60)}

    def relay(_: int) -> list[Any]:
        with connect(rails.url) as connection:
            dispatch, rung = PostgresDispatch(connection), []
            while found := dispatch.pick_due(QUEUE, 7):
                rung += [job.id for job in found]
            return rung

    with ThreadPoolExecutor(4) as threads:
        rung = [job_id for found in threads.map(relay, range(4)) for job_id in found]

    assert len(rung) == len(set(rung))
    assert set(rung) == jobs
    assert set(rails.column("SELECT state FROM jobs")) == {"queued"}


def test_two_schedulers_at_the_same_moment_make_one_job(rails: Rails) -> None:
    tick = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)

    def schedule(_: int) -> bool:
        pool = LazyPool(rails.url, size=1)
        try:
            return PostgresLedger(pool).enqueue_tick(a_job(name="sweep_blobs"), tick)
        finally:
            pool.close()

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(schedule, range(4)))

    assert sorted(made) == [False, False, False, True]
    assert rails.count("jobs") == 1


def test_who_waits_for_a_document_sees_the_job_it_was_handed_to_meanwhile(rails: Rails) -> None:
    held = an_extracting_document(rails)

    def start() -> Document | None:
        with rails.transaction() as unit:
            return unit.documents.start_extraction(held.id, WORKSPACE, uuid4())

    with ExitStack() as after:
        with rails.transaction(held.lease) as unit:
            next_job_id = unit.jobs.enqueue("index_document", held.id, WORKSPACE)
            unit.documents.finish_extraction(held.document, next_job_id=next_job_id, pages=1, warning=None)
            unit.jobs.finish()
            started = after.enter_context(meanwhile(start))
        assert started.result() is None

    assert rails.document(held.id)["job_id"] == next_job_id


def delete(rails: Rails, held: Held, _: Lease) -> None:
    with rails.transaction() as unit:
        assert unit.intake.delete(held.id, WORKSPACE)


def erase(rails: Rails, held: Held, lease: Lease) -> None:
    PostgresErasures(rails.pool).begin(WORKSPACE, held.id, lease)


def erase_everything(rails: Rails, _: Held, lease: Lease) -> None:
    PostgresErasures(rails.pool).begin(WORKSPACE, None, lease)


@pytest.mark.parametrize("stop", [delete, erase, erase_everything])
def test_who_waits_for_a_hand_over_stops_the_job_that_it_made(rails: Rails, stop) -> None:
    held, lease = an_extracting_document(rails), a_running_job(rails, name="erase").lease

    with ExitStack() as after:
        with rails.transaction(held.lease) as unit:
            next_job_id = unit.jobs.enqueue("index_document", held.id, WORKSPACE)
            unit.documents.finish_extraction(held.document, next_job_id=next_job_id, pages=1, warning=None)
            unit.jobs.finish()
            stopped = after.enter_context(meanwhile(lambda: stop(rails, held, lease)))
        stopped.result()

    assert rails.job(next_job_id)["state"] == "cancelled"


def test_who_waits_for_a_budget_sees_what_was_reserved_meanwhile(rails: Rails) -> None:
    workspace_id = a_workspace(rails, budget=100)
    first, second = (an_indexing_document(rails, workspace_id=workspace_id, content=name) for name in (b"a", b"b"))

    def reserve() -> None:
        with rails.transaction(second.lease) as unit:
            unit.usage.reserve(second.document, 60)

    with ExitStack() as after:
        with rails.transaction(first.lease) as unit:
            unit.usage.reserve(first.document, 60)
            reserved = after.enter_context(meanwhile(reserve))
        with pytest.raises(ParkedError):
            reserved.result()

    assert rails.column("SELECT tokens FROM token_reservations") == [60]


def test_reapers_that_meet_a_bad_row_and_a_locked_one_rescue_the_rest(own_rails: Rails) -> None:
    rails = own_rails
    bad, locked = an_extracting_document(rails), an_extracting_document(rails, content=b"%PDF-1.7 other")
    good = [a_silent_job(rails).lease.job_id for _ in range(5)]
    rails.connection.execute("UPDATE jobs SET crash_count = 1 WHERE id = %s", [bad.lease.job_id])
    rails.connection.execute("ALTER TABLE documents ADD CHECK (state <> 'failed')")
    rails.expire(bad.lease.job_id, locked.lease.job_id)

    def reap(_: int) -> dict[Any, str]:
        with connect(rails.url) as connection:
            return PostgresLeases(connection, ttl=TTL, max_crashes=2).rescue_expired()

    with rails.transaction(locked.lease), ThreadPoolExecutor(3) as threads:
        rescued = [job_id for found in threads.map(reap, range(3)) for job_id in found]

    assert sorted(rescued) == sorted(good)
    assert rails.job(bad.lease.job_id)["state"] == "running", "its turn comes when the row is mended"
