"""A job is claimed once, ends once, and takes its document with it. Every late writer writes nothing."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from adapters.postgres.ledger import enqueue_in
from adapters.postgres.pool import connect
from domain.ledger import Outcome
from tests.builders import (
    A_FAILURE,
    QUEUE,
    Rails,
    a_cancelled_job,
    a_failed_job,
    a_job,
    a_pending_job,
    a_queued_job,
    a_retrying_job,
    a_running_job,
    a_silent_job,
    a_succeeded_job,
    an_extracting_document,
    an_uploaded_document,
    must_claim,
)

# Putting jobs in


def test_the_same_id_twice_is_one_job(rails: Rails) -> None:
    job = a_job()

    rails.ledger.enqueue(job)
    rails.ledger.enqueue(job)

    assert rails.count("jobs") == 1


def test_a_finished_job_does_not_start_over_when_its_id_comes_again(rails: Rails) -> None:
    job_id = a_succeeded_job(rails)

    rails.ledger.enqueue(a_job(id=job_id))

    assert rails.job(job_id)["state"] == "succeeded"
    assert rails.ring() == []


def test_a_job_put_in_by_a_transaction_that_rolls_back_never_was(rails: Rails) -> None:
    with connect(rails.url) as connection, connection.transaction(force_rollback=True):
        enqueue_in(connection, a_job())

    assert rails.count("jobs") == 0


def test_a_job_put_in_by_a_transaction_is_seen_when_that_commits(rails: Rails) -> None:
    with connect(rails.url) as connection, connection.transaction():
        enqueue_in(connection, a_job())
        assert rails.ring() == []

    assert len(rails.ring()) == 1


def test_a_delayed_job_is_due_later(rails: Rails) -> None:
    job_id = a_pending_job(rails, delay=timedelta(hours=1))

    assert rails.ring() == []
    assert rails.claim(job_id) is None


# Claims


def test_of_many_claimers_one_gets_the_job(rails: Rails) -> None:
    job_id = a_queued_job(rails)

    with ThreadPoolExecutor(8) as threads:
        claims = [claim for claim in threads.map(lambda _: rails.claim(job_id), range(16)) if claim]

    assert len(claims) == 1
    assert rails.attempts(job_id) == [None]


def test_a_job_nobody_rang_for_cannot_be_claimed(rails: Rails) -> None:
    job_id = a_pending_job(rails)

    assert rails.claim(job_id) is None


@pytest.mark.parametrize("build", [a_succeeded_job, a_failed_job, a_cancelled_job, a_retrying_job])
def test_a_job_that_is_not_queued_cannot_be_claimed(rails: Rails, build) -> None:
    job_id = build(rails)
    before = rails.job(job_id)

    assert rails.claim(job_id) is None
    assert rails.job(job_id) == before


def test_a_job_that_never_was_cannot_be_claimed(rails: Rails) -> None:
    assert rails.claim(uuid4()) is None


def test_a_claim_brings_what_the_sender_sent(rails: Rails) -> None:
    job = a_job(name="resize", document_id=uuid4())
    rails.ledger.enqueue(job)

    claim = must_claim(rails, job.id)

    assert claim.message == job.message
    assert (claim.document_id, claim.workspace_id) == (job.document_id, job.workspace_id)
    assert (claim.attempt, claim.crash_count) == (1, 0)


def test_the_lease_number_grows_with_every_claim(rails: Rails) -> None:
    job_id = a_retrying_job(rails)
    second = must_claim(rails, job_id)
    rails.ledger.retry(second.lease, second.message, A_FAILURE, delay=timedelta(), outcome=Outcome.PARKED)

    third = must_claim(rails, job_id)

    assert [second.lease.number, third.lease.number] == [2, 3]


# Endings


def test_a_retry_counts_as_an_attempt(rails: Rails) -> None:
    job_id = a_retrying_job(rails)

    assert rails.job(job_id)["attempt"] == 1
    assert must_claim(rails, job_id).attempt == 2


def test_a_parked_job_waits_without_counting(rails: Rails) -> None:
    claim = a_running_job(rails)

    rails.ledger.retry(claim.lease, claim.message, A_FAILURE, delay=timedelta(hours=1), outcome=Outcome.PARKED)

    job = rails.job(claim.lease.job_id)
    assert (job["state"], job["attempt"]) == ("retrying", 0)
    assert rails.attempts(claim.lease.job_id) == ["parked"]
    assert rails.ring() == []


def test_an_interrupted_job_keeps_its_place(rails: Rails) -> None:
    claim = a_running_job(rails)
    first, second = claim.lease.job_id, a_pending_job(rails)

    rails.ledger.retry(claim.lease, claim.message, A_FAILURE, delay=timedelta(), outcome=Outcome.INTERRUPTED)

    assert [job.id for job in rails.dispatch.pick_due(QUEUE, 1)] == [first]
    assert rails.ring() == [second]


def test_a_retry_keeps_the_options_and_forgets_what_the_actor_did_to_its_arguments(rails: Rails) -> None:
    claim = a_running_job(rails)
    claim.message["kwargs"]["found"] = {"what JSON", "does not know"}
    claim.message["options"]["retries"] = 1

    rails.ledger.retry(claim.lease, claim.message, A_FAILURE, delay=timedelta(), outcome=Outcome.RETRYING)

    message = must_claim(rails, claim.lease.job_id).message
    assert (message["kwargs"], message["options"]) == ({}, {"retries": 1})


def test_a_retry_keeps_the_error_and_its_traceback(rails: Rails) -> None:
    job_id = a_retrying_job(rails)

    attempt = rails.row("SELECT * FROM job_attempts WHERE job_id = %s", job_id)

    assert (attempt["error"], attempt["traceback"]) == (A_FAILURE.message, A_FAILURE.traceback)


def test_a_failed_job_keeps_code_sentence_and_fingerprint(rails: Rails) -> None:
    job = rails.job(a_failed_job(rails))

    assert job["failure_code"] == A_FAILURE.code
    assert job["failure_message"] == A_FAILURE.message
    assert job["failure_fingerprint"] == A_FAILURE.fingerprint


def test_a_queued_job_that_no_worker_can_run_fails_without_a_lease(rails: Rails) -> None:
    job_id = a_queued_job(rails)

    assert rails.ledger.fail(job_id, None, A_FAILURE)
    assert rails.job(job_id)["state"] == "failed"


@pytest.mark.parametrize("build", [a_succeeded_job, a_cancelled_job, a_retrying_job, a_pending_job])
def test_without_a_lease_only_a_queued_job_fails(rails: Rails, build) -> None:
    job_id = build(rails)

    assert not rails.ledger.fail(job_id, None, A_FAILURE)


def test_without_a_lease_a_running_job_does_not_fail(rails: Rails) -> None:
    claim = a_running_job(rails)

    assert not rails.ledger.fail(claim.lease.job_id, None, A_FAILURE)
    assert rails.job(claim.lease.job_id)["state"] == "running"


def test_an_attempt_ends_once(rails: Rails) -> None:
    claim = a_running_job(rails)

    assert rails.ledger.succeed(claim.lease)

    assert not rails.ledger.succeed(claim.lease)
    assert not rails.ledger.fail(claim.lease.job_id, claim.lease, A_FAILURE)
    assert not rails.ledger.retry(claim.lease, claim.message, A_FAILURE, delay=timedelta(), outcome=Outcome.RETRYING)
    assert rails.job(claim.lease.job_id)["state"] == "succeeded"
    events = rails.column("SELECT event FROM job_events WHERE job_id = %s ORDER BY id", claim.lease.job_id)
    assert events == ["queued", "processing", "succeeded"]


# Late writers


@pytest.mark.parametrize("ending", ["succeed", "retry", "fail", "cancel"])
def test_a_stale_attempt_ends_nothing(rails: Rails, ending: str) -> None:
    stale = a_silent_job(rails)
    job_id = stale.lease.job_id
    rails.leases.rescue_expired()
    fresh = must_claim(rails, job_id)
    rails.connection.execute(
        "UPDATE jobs SET cancel_requested_at = now() WHERE id = %s AND %s", [job_id, ending == "cancel"]
    )
    before = rails.job(job_id)

    written = {
        "succeed": lambda: rails.ledger.succeed(stale.lease),
        "retry": lambda: rails.ledger.retry(
            stale.lease, {"forged": True}, A_FAILURE, delay=timedelta(), outcome=Outcome.RETRYING
        ),
        "fail": lambda: rails.ledger.fail(job_id, stale.lease, A_FAILURE),
        "cancel": lambda: rails.ledger.cancel(job_id, stale.lease),
    }[ending]()

    assert not written
    assert rails.job(job_id) == before
    assert rails.attempts(job_id) == ["crashed", None]
    assert before["lease"] == fresh.lease.number


def test_a_rescued_job_that_waits_is_safe_from_its_old_attempt(rails: Rails) -> None:
    stale = a_silent_job(rails)
    rails.leases.rescue_expired()

    assert not rails.ledger.succeed(stale.lease)
    assert rails.job(stale.lease.job_id)["state"] == "retrying"


# Cancelling


@pytest.mark.parametrize("build", [a_pending_job, a_queued_job, a_retrying_job])
def test_a_waiting_job_is_cancelled_at_once(rails: Rails, build) -> None:
    job_id = build(rails)

    assert rails.ledger.request_cancel(job_id)

    assert rails.job(job_id)["state"] == "cancelled"
    rails.make_due()
    assert rails.ring() == []
    assert rails.claim(job_id) is None


def test_a_running_job_is_asked_to_stop(rails: Rails) -> None:
    claim = a_running_job(rails)

    assert rails.ledger.request_cancel(claim.lease.job_id)

    assert rails.job(claim.lease.job_id)["state"] == "running"
    assert rails.ledger.cancel(claim.lease.job_id, claim.lease)
    assert rails.attempts(claim.lease.job_id) == ["cancelled"]


def test_a_running_job_that_nobody_asked_to_stop_cannot_cancel_itself(rails: Rails) -> None:
    claim = a_running_job(rails)

    assert not rails.ledger.cancel(claim.lease.job_id, claim.lease)


def test_a_job_asked_to_stop_is_not_run_again(rails: Rails) -> None:
    claim = a_running_job(rails)
    rails.ledger.request_cancel(claim.lease.job_id)

    assert not rails.ledger.retry(claim.lease, claim.message, A_FAILURE, delay=timedelta(), outcome=Outcome.RETRYING)


def test_a_job_asked_to_stop_never_ends_as_succeeded(rails: Rails) -> None:
    claim = a_running_job(rails)
    rails.ledger.request_cancel(claim.lease.job_id)

    assert not rails.ledger.succeed(claim.lease)
    assert rails.ledger.cancel(claim.lease.job_id, claim.lease)


@pytest.mark.parametrize("build", [a_succeeded_job, a_failed_job, a_cancelled_job])
def test_a_job_that_has_ended_cannot_be_cancelled(rails: Rails, build) -> None:
    job_id = build(rails)
    before = rails.job(job_id)

    assert not rails.ledger.request_cancel(job_id)
    assert rails.job(job_id) == before


# The document goes with its job


def test_a_failing_job_fails_its_document(rails: Rails) -> None:
    held = an_extracting_document(rails)

    rails.ledger.fail(held.lease.job_id, held.lease, A_FAILURE)

    document = rails.document(held.id)
    assert (document["state"], document["failure_code"]) == ("failed", A_FAILURE.code)
    assert document["failure_message"] == A_FAILURE.message


def test_a_cancelled_job_fails_its_document_with_that_reason(rails: Rails) -> None:
    document_id, job_id = an_uploaded_document(rails)

    rails.ledger.request_cancel(job_id)

    document = rails.document(document_id)
    assert (document["state"], document["failure_code"]) == ("failed", "cancelled")


def test_job_and_document_fail_together_or_not_at_all(own_rails: Rails) -> None:
    rails = own_rails
    held = an_extracting_document(rails)
    rails.connection.execute("ALTER TABLE documents ADD CHECK (state <> 'failed')")

    with pytest.raises(Exception, match="violates check constraint"):
        rails.ledger.fail(held.lease.job_id, held.lease, A_FAILURE)

    assert rails.job(held.lease.job_id)["state"] == "running"
    assert rails.document(held.id)["state"] == "extracting"


def test_a_job_does_not_fail_a_document_that_another_job_has(rails: Rails) -> None:
    held = an_extracting_document(rails)
    stranger = a_running_job(rails, name="extract_document", document_id=held.id)

    assert rails.ledger.fail(stranger.lease.job_id, stranger.lease, A_FAILURE)

    assert rails.document(held.id)["state"] == "extracting"


def test_an_ended_job_leaves_no_reservation(rails: Rails) -> None:
    for end in ("succeed", "fail"):
        claim = a_running_job(rails)
        rails.connection.execute(
            "INSERT INTO token_reservations (id, workspace_id, job_id, tokens, expires_at)"
            " VALUES (gen_random_uuid(), gen_random_uuid(), %s, 5, now() + interval '1 hour')",
            [claim.lease.job_id],
        )
        if end == "succeed":
            rails.ledger.succeed(claim.lease)
        else:
            rails.ledger.fail(claim.lease.job_id, claim.lease, A_FAILURE)

    assert rails.count("token_reservations") == 0


# Ticks

MINUTE = datetime(2026, 11, 21, 12, 30, 1, tzinfo=UTC)


def test_two_schedulers_make_one_job_a_minute(rails: Rails) -> None:
    with ThreadPoolExecutor(4) as threads:
        moments = [MINUTE + timedelta(milliseconds=n) for n in range(8)]
        made = list(threads.map(lambda moment: rails.ledger.enqueue_tick(a_job(name="sweep"), moment), moments))

    assert sum(made) == 1
    assert rails.count("jobs") == 1


def test_each_periodic_actor_has_its_own_ticks(rails: Rails) -> None:
    assert rails.ledger.enqueue_tick(a_job(name="sweep"), MINUTE)
    assert rails.ledger.enqueue_tick(a_job(name="clean"), MINUTE)


@pytest.mark.parametrize("claimed", [False, True])
def test_a_tick_makes_no_job_while_the_last_run_is_not_over(rails: Rails, claimed: bool) -> None:
    first = a_job(name="sweep")
    rails.ledger.enqueue_tick(first, MINUTE)
    if claimed:
        must_claim(rails, first.id)

    assert not rails.ledger.enqueue_tick(a_job(name="sweep"), MINUTE + timedelta(minutes=1))
    assert rails.count("jobs") == 1


def test_the_tick_after_a_finished_run_makes_a_job(rails: Rails) -> None:
    first = a_job(name="sweep")
    rails.ledger.enqueue_tick(first, MINUTE)
    rails.ledger.succeed(must_claim(rails, first.id).lease)

    assert not rails.ledger.enqueue_tick(a_job(name="sweep"), MINUTE + timedelta(seconds=30))
    assert rails.ledger.enqueue_tick(a_job(name="sweep"), MINUTE + timedelta(minutes=1))
