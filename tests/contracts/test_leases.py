"""A worker that goes silent loses its jobs, exactly once, and to exactly one other attempt."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic, sleep
from uuid import UUID

import pytest

from adapters.postgres.leases import PostgresLeases
from adapters.postgres.ledger import rescue_in, succeed_in
from adapters.postgres.pool import connect
from domain.errors import LeaseLostError
from domain.jobs import Lease
from tests.builders import (
    TTL,
    Rails,
    a_running_job,
    a_silent_job,
    an_extracting_document,
    must_claim,
    start_extraction,
)

# Renewing


def test_a_renewed_lease_does_not_expire(rails: Rails) -> None:
    claim = a_silent_job(rails)

    assert rails.leases.renew([claim.lease]) == set()

    assert rails.leases.rescue_expired() == {}


def test_renewing_tells_which_leases_are_lost(rails: Rails) -> None:
    held, ended, taken = a_running_job(rails), a_running_job(rails), a_silent_job(rails)
    rails.ledger.succeed(ended.lease)
    rails.leases.rescue_expired()
    must_claim(rails, taken.lease.job_id)

    lost = rails.leases.renew([held.lease, ended.lease, taken.lease])

    assert lost == {ended.lease.job_id, taken.lease.job_id}


def test_a_long_transaction_of_one_job_keeps_no_other_from_renewing(rails: Rails) -> None:
    busy, other = an_extracting_document(rails), a_running_job(rails)
    rails.expire(busy.lease.job_id, other.lease.job_id)

    with rails.transaction(busy.lease):
        started = monotonic()
        lost = rails.leases.renew([busy.lease, other.lease])
        seconds = monotonic() - started

    assert lost == set()
    assert seconds < 2
    assert rails.row("SELECT lease_expires_at > now() AS fresh FROM jobs WHERE id = %s", other.lease.job_id)["fresh"]


# Rescuing


def test_a_silent_job_runs_again(rails: Rails) -> None:
    claim = a_silent_job(rails)

    assert rails.leases.rescue_expired() == {claim.lease.job_id: "retrying"}

    assert must_claim(rails, claim.lease.job_id).lease.number == 2
    assert rails.attempts(claim.lease.job_id) == ["crashed", None]


def test_crashes_are_counted_apart_from_attempts(rails: Rails) -> None:
    claim = a_silent_job(rails)

    rails.leases.rescue_expired()

    second = must_claim(rails, claim.lease.job_id)
    assert (second.attempt, second.crash_count) == (1, 1)


def test_the_second_crash_fails_job_and_document(rails: Rails) -> None:
    first = an_extracting_document(rails)
    rails.expire(first.lease.job_id)
    rails.leases.rescue_expired()
    start_extraction(rails, first.id, first.lease.job_id)
    rails.expire(first.lease.job_id)

    assert rails.leases.rescue_expired() == {first.lease.job_id: "failed"}

    job, document = rails.job(first.lease.job_id), rails.document(first.id)
    assert (job["failure_code"], job["crash_count"]) == ("worker_crashed", 2)
    assert (document["state"], document["failure_code"]) == ("failed", "worker_crashed")
    assert "memory" in document["failure_message"]


def test_a_silent_job_that_was_asked_to_stop_ends_as_cancelled(rails: Rails) -> None:
    held = an_extracting_document(rails)
    rails.ledger.request_cancel(held.lease.job_id)
    rails.expire(held.lease.job_id)

    assert rails.leases.rescue_expired() == {held.lease.job_id: "cancelled"}

    assert rails.document(held.id)["failure_code"] == "cancelled"


def test_two_reapers_rescue_each_job_once(rails: Rails) -> None:
    silent = {a_silent_job(rails).lease.job_id for _ in range(20)}

    def reap(_: int) -> list[UUID]:
        with connect(rails.url) as connection:
            return list(PostgresLeases(connection, ttl=TTL, max_crashes=2).rescue_expired())

    with ThreadPoolExecutor(4) as threads:
        rescued = [job_id for reaped in threads.map(reap, range(4)) for job_id in reaped]

    assert sorted(rescued) == sorted(silent)
    assert set(rails.column("SELECT crash_count FROM jobs")) == {1}


def test_a_bad_row_does_not_keep_the_others_from_being_rescued(own_rails: Rails) -> None:
    rails = own_rails
    bad, good = an_extracting_document(rails), a_running_job(rails)
    rails.connection.execute("UPDATE jobs SET crash_count = 1 WHERE id = %s", [bad.lease.job_id])
    rails.connection.execute("ALTER TABLE documents ADD CHECK (state <> 'failed')")
    rails.expire(bad.lease.job_id, good.lease.job_id)

    assert rails.leases.rescue_expired() == {good.lease.job_id: "retrying"}


def test_a_document_that_somebody_locked_does_not_hold_up_the_heartbeat(rails: Rails) -> None:
    bad, good = an_extracting_document(rails), a_running_job(rails)
    rails.connection.execute("UPDATE jobs SET crash_count = 1 WHERE id = %s", [bad.lease.job_id])
    rails.expire(bad.lease.job_id, good.lease.job_id)

    with connect(rails.url) as other, other.transaction():
        other.execute("SELECT FROM documents WHERE id = %s FOR UPDATE", [bad.id])
        started = monotonic()
        rescued = rails.leases.rescue_expired()

    assert rescued == {good.lease.job_id: "retrying"}
    assert monotonic() - started < 4


# Rescue against finisher, in both orders


@contextmanager
def meanwhile(work):
    """Start work that will wait for a lock of the calling test, and give it time to get there."""
    with ThreadPoolExecutor(1) as thread:
        future: Future[object] = thread.submit(work)
        sleep(0.2)
        assert not future.done()
        yield future


def test_a_finisher_that_was_first_keeps_its_job(rails: Rails) -> None:
    claim = a_silent_job(rails)

    with connect(rails.url) as finisher, connect(rails.url) as reaper, finisher.transaction():
        assert succeed_in(finisher, [claim.lease])
        with meanwhile(lambda: rescue_in(reaper, claim.lease, max_crashes=2)) as rescue:
            finisher.execute("COMMIT; BEGIN")
            assert rescue.result() is None

    assert rails.job(claim.lease.job_id)["state"] == "succeeded"
    assert rails.attempts(claim.lease.job_id) == ["succeeded"]


def test_a_reaper_that_was_first_keeps_the_finisher_from_writing(rails: Rails) -> None:
    claim = a_silent_job(rails)

    with connect(rails.url) as finisher, connect(rails.url) as reaper, reaper.transaction():
        assert rescue_in(reaper, claim.lease, max_crashes=2) == "retrying"
        with meanwhile(lambda: succeed_in(finisher, [claim.lease])) as finish:
            reaper.execute("COMMIT; BEGIN")
            assert finish.result() == set()

    assert rails.job(claim.lease.job_id)["state"] == "retrying"
    assert rails.attempts(claim.lease.job_id) == ["crashed"]


def test_a_reaper_leaves_a_job_alone_whose_attempt_is_writing(rails: Rails) -> None:
    held = an_extracting_document(rails)
    rails.expire(held.lease.job_id)

    with rails.transaction(held.lease) as unit:
        assert rails.leases.rescue_expired() == {}
        unit.jobs.finish()

    assert rails.job(held.lease.job_id)["state"] == "succeeded"


def test_an_attempt_that_was_rescued_cannot_open_a_transaction(rails: Rails) -> None:
    held = an_extracting_document(rails)
    rails.expire(held.lease.job_id)
    rails.leases.rescue_expired()

    with pytest.raises(LeaseLostError), rails.transaction(held.lease):
        pytest.fail("a stale attempt got in")

    assert held.lease.lost


def test_a_lease_of_another_number_is_no_lease(rails: Rails) -> None:
    claim = a_running_job(rails)

    with pytest.raises(LeaseLostError), rails.transaction(Lease(claim.lease.job_id, claim.lease.number + 1)):
        pytest.fail("a forged lease got in")
