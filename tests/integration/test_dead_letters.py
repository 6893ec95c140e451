"""Dead letters: found by what they have in common, retried without doing anything twice, discarded, cancelled."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest

from adapters.postgres.dead_letters import JobSearch
from adapters.postgres.ledger import rescue_in
from adapters.postgres.pool import connect
from adapters.postgres.sql import load_queries
from domain.dead_letters import JobFilter, Verdict, discard_job, parse_age, retry_job
from domain.errors import FailureCode, InvalidJobError, JobCancelledError
from domain.intake import delete_document, reindex_document
from domain.jobs import JobState
from domain.ledger import Failure, Outcome
from tests.builders import (
    A_FAILURE,
    WORKSPACE,
    FakeBlobs,
    Rails,
    a_cancelled_job,
    a_failed_document,
    a_failed_job,
    a_pending_job,
    a_queued_job,
    a_ready_document,
    a_retrying_job,
    a_running_job,
    a_succeeded_job,
    a_workspace,
    an_extracting_document,
    an_indexing_document,
    an_uploaded_document,
    must_claim,
)


def retry(rails: Rails, job_id: UUID) -> Verdict:
    return retry_job(job_id, transactions=rails.transactions)


def discard(rails: Rails, job_id: UUID) -> Verdict:
    return discard_job(job_id, transactions=rails.transactions)


def job_of(rails: Rails, document_id: UUID) -> UUID:
    return rails.document(document_id)["job_id"]


def events(rails: Rails, job_id: UUID) -> list[str]:
    return rails.column("SELECT event FROM job_events WHERE job_id = %s ORDER BY id", job_id)


# Retry: jobs without a document


@pytest.mark.parametrize("build", [a_failed_job, a_cancelled_job])
def test_a_job_runs_again_under_its_own_id(rails: Rails, build) -> None:
    job_id = build(rails)

    assert retry(rails, job_id) == Verdict(job_id, new_job_id=job_id)

    job = rails.job(job_id)
    assert (job["state"], job["failure_code"], job["finished_at"]) == ("pending", None, None)
    assert rails.ledger.succeed(must_claim(rails, job_id).lease)
    assert events(rails, job_id)[-3:] == ["replayed", "processing", "succeeded"]


def test_its_attempts_stay_and_its_lease_goes_on(rails: Rails) -> None:
    job_id = a_failed_job(rails)
    retry(rails, job_id)

    claim = must_claim(rails, job_id)

    assert claim.lease.number == 2
    assert rails.attempts(job_id) == ["failed", None]
    assert rails.column("SELECT traceback FROM job_attempts WHERE lease = 1") == ["Traceback …"]


def test_it_has_all_its_retries_and_crashes_before_it(rails: Rails) -> None:
    claim = a_running_job(rails)
    claim.message["options"] |= {"retries": 5, "requeue_timestamp": 1, "max_age": 1000}
    rails.connection.execute("UPDATE jobs SET crash_count = 1")
    rails.ledger.retry(claim.lease, claim.message, A_FAILURE, delay=timedelta(), outcome=Outcome.RETRYING)
    lease = must_claim(rails, claim.lease.job_id).lease
    rails.ledger.fail(lease.job_id, lease, A_FAILURE)

    retry(rails, lease.job_id)

    job = rails.job(lease.job_id)
    assert job["message"]["options"] == {"max_age": 1000}
    assert job["message"]["message_timestamp"] == pytest.approx(job["available_at"].timestamp() * 1000, abs=2)
    assert job["crash_count"] == 0


def test_a_job_that_was_cancelled_while_it_ran_is_not_cancelled_again(rails: Rails) -> None:
    claim = a_running_job(rails)
    rails.ledger.request_cancel(claim.lease.job_id)
    assert rails.ledger.cancel(claim.lease.job_id, claim.lease)

    retry(rails, claim.lease.job_id)

    assert rails.ledger.succeed(must_claim(rails, claim.lease.job_id).lease)


@pytest.mark.parametrize("build", [a_pending_job, a_queued_job, a_running_job, a_retrying_job, a_succeeded_job])
def test_a_job_that_did_not_fail_is_not_retried(rails: Rails, build) -> None:
    built = build(rails)
    job_id = built if isinstance(built, UUID) else built.lease.job_id
    before = rails.job(job_id)

    verdict = retry(rails, job_id)

    assert "only failed and cancelled jobs can be retried" in str(verdict.reason)
    assert rails.job(job_id) == before


def test_a_job_that_never_was_is_refused(rails: Rails) -> None:
    assert retry(rails, uuid4()).reason == discard(rails, uuid4()).reason == "there is no such job"


def test_of_two_retries_one_is_refused(rails: Rails) -> None:
    job_id = a_failed_job(rails)

    with ThreadPoolExecutor(4) as threads:
        verdicts = list(threads.map(partial(retry, rails), [job_id] * 4))

    assert sum(verdict.reason is None for verdict in verdicts) == 1
    assert events(rails, job_id).count("replayed") == 1


def test_an_attempt_from_before_the_replay_writes_nothing(rails: Rails) -> None:
    claim = a_running_job(rails)
    rails.ledger.fail(claim.lease.job_id, claim.lease, A_FAILURE)
    retry(rails, claim.lease.job_id)
    before = rails.job(claim.lease.job_id)

    assert not rails.ledger.succeed(claim.lease)
    assert not rails.ledger.fail(claim.lease.job_id, claim.lease, A_FAILURE)

    assert rails.job(claim.lease.job_id) == before


# Retry: the jobs of documents


def test_a_failed_document_starts_over_with_a_new_job_and_the_letter_names_it(rails: Rails) -> None:
    document_id = a_failed_document(rails)
    dead = job_of(rails, document_id)

    verdict = retry(rails, dead)

    row = rails.document(document_id)
    assert (row["state"], row["job_id"], row["failure_code"]) == ("uploaded", verdict.new_job_id, None)
    letter = rails.job(dead)
    assert (letter["state"], letter["replayed_by"]) == ("failed", verdict.new_job_id)
    assert rails.column("SELECT data ->> 'by' FROM job_events WHERE event = 'replayed'") == [str(verdict.new_job_id)]


def test_a_document_that_failed_while_it_was_indexed_starts_over(rails: Rails) -> None:
    held = an_indexing_document(rails)
    rails.ledger.fail(held.lease.job_id, held.lease, A_FAILURE)

    verdict = retry(rails, held.lease.job_id)

    assert rails.job(verdict.new_job_id)["actor"] == "extract_document"
    assert rails.document(held.id)["target_generation"] == 2


def test_a_cancelled_document_starts_over(rails: Rails) -> None:
    document_id, job_id = an_uploaded_document(rails)
    rails.ledger.request_cancel(job_id)
    assert rails.document(document_id)["failure_code"] == "cancelled"

    assert retry(rails, job_id).reason is None

    assert rails.document(document_id)["state"] == "uploaded"


def test_a_letter_is_retried_once(rails: Rails) -> None:
    dead = job_of(rails, a_failed_document(rails))

    with ThreadPoolExecutor(4) as threads:
        verdicts = list(threads.map(partial(retry, rails), [dead] * 4))

    assert sum(verdict.reason is None for verdict in verdicts) == 1
    assert {verdict.reason.split()[-1] for verdict in verdicts if verdict.reason} == {"place"}
    assert rails.count("jobs") == 2


def test_a_document_that_is_on_its_way_or_ready_is_left_alone(rails: Rails) -> None:
    document_id = a_failed_document(rails)
    dead = job_of(rails, document_id)
    reindex_document(document_id, WORKSPACE, transactions=rails.transactions)

    assert retry(rails, dead).reason == "its document is uploaded"

    assert rails.count("jobs") == 2


def test_a_ready_document_is_left_alone(rails: Rails) -> None:
    document_id = a_ready_document(rails)
    job_id = job_of(rails, document_id)
    rails.connection.execute("UPDATE jobs SET state = 'failed', failure_code = 'expired' WHERE id = %s", [job_id])

    assert retry(rails, job_id).reason == "its document is ready"


def test_a_deleted_document_is_left_alone(rails: Rails) -> None:
    document_id = a_failed_document(rails)
    dead = job_of(rails, document_id)
    delete_document(document_id, WORKSPACE, transactions=rails.transactions, blobs=FakeBlobs())

    assert retry(rails, dead).reason == "its document is deleted"


def test_of_two_letters_of_a_document_the_latest_counts(rails: Rails) -> None:
    document_id = a_failed_document(rails)
    first = job_of(rails, document_id)
    second = reindex_document(document_id, WORKSPACE, transactions=rails.transactions)
    lease = must_claim(rails, second).lease
    rails.ledger.fail(second, lease, A_FAILURE)

    assert retry(rails, first).reason == f"its document failed later, in job {second}; retry that one"
    assert retry(rails, second).reason is None


def test_who_waits_for_a_job_to_fail_retries_it(rails: Rails) -> None:
    held = an_extracting_document(rails)
    rails.expire(held.lease.job_id)

    with connect(rails.url) as reaper, ThreadPoolExecutor(1) as thread:
        with reaper.transaction():
            assert rescue_in(reaper, held.lease, max_crashes=1) == "failed"
            retried = thread.submit(retry, rails, held.lease.job_id)
            reaper.execute("SELECT pg_sleep(0.3)")
            assert not retried.done()
        assert retried.result().reason is None


def test_who_retries_a_letter_and_who_erases_its_document_do_not_wait_in_a_circle(rails: Rails) -> None:
    document_id = a_failed_document(rails)
    documents, erasures = load_queries("documents"), load_queries("erasures")

    with connect(rails.url) as eraser, ThreadPoolExecutor(1) as thread:
        with eraser.transaction():
            eraser.execute(documents["take_turn"], {"id": document_id})
            retried = thread.submit(retry, rails, job_of(rails, document_id))
            eraser.execute("SELECT pg_sleep(0.3)")
            eraser.execute(erasures["erase_jobs"], {"document_id": document_id, "workspace_id": WORKSPACE})
        assert retried.result().reason == "there is no such job"


# Discard


def test_a_discarded_letter_is_gone_with_its_attempts_and_its_document_stays_failed(rails: Rails) -> None:
    document_id = a_failed_document(rails)
    dead = job_of(rails, document_id)

    assert discard(rails, dead) == Verdict(dead)

    assert (rails.count("jobs"), rails.count("job_attempts")) == (0, 0)
    assert rails.document(document_id)["state"] == "failed"
    assert events(rails, dead)[-1] == "discarded"


def test_a_document_whose_letter_was_discarded_can_start_over(rails: Rails) -> None:
    document_id = a_failed_document(rails)
    discard(rails, job_of(rails, document_id))

    assert reindex_document(document_id, WORKSPACE, transactions=rails.transactions)


@pytest.mark.parametrize("build", [a_pending_job, a_queued_job, a_retrying_job, a_succeeded_job, a_cancelled_job])
def test_only_failed_jobs_are_discarded(rails: Rails, build) -> None:
    job_id = build(rails)

    assert "only failed jobs can be discarded" in str(discard(rails, job_id).reason)

    assert rails.count("jobs") == 1


# Cancel


@contextmanager
def held_by_a_stranger(rails: Rails, job_id: UUID):
    with connect(rails.url) as other, other.transaction():
        other.execute("SELECT FROM jobs WHERE id = %s FOR UPDATE", [job_id])
        yield other


def test_a_job_that_changes_hands_while_it_is_cancelled_is_cancelled_all_the_same(rails: Rails) -> None:
    claim = a_running_job(rails)
    job_id = claim.lease.job_id

    with ThreadPoolExecutor(1) as thread, held_by_a_stranger(rails, job_id) as other:
        asked = thread.submit(rails.ledger.request_cancel, job_id)
        other.execute("SELECT pg_sleep(0.2)")
        other.execute("UPDATE jobs SET state = 'retrying', lease_expires_at = NULL")
    assert asked.result()

    assert rails.job(job_id)["state"] == "cancelled"


def test_a_running_document_stops_at_its_next_transaction_and_fails_as_cancelled(rails: Rails) -> None:
    held = an_extracting_document(rails)

    assert rails.ledger.request_cancel(held.lease.job_id)
    with pytest.raises(JobCancelledError), rails.transaction(held.lease):
        pytest.fail("a cancelled attempt got in")
    assert not rails.ledger.succeed(held.lease)
    assert rails.ledger.cancel(held.lease.job_id, held.lease)

    assert rails.job(held.lease.job_id)["state"] == "cancelled"
    assert rails.document(held.id)["failure_code"] == "cancelled"


# Find


def find(rails: Rails, **fields) -> set[UUID]:
    return {row["id"] for row in JobSearch(rails.pool).find(JobFilter(**fields))}


def test_every_filter_narrows(rails: Rails) -> None:
    workspace_id = a_workspace(rails)
    budget = Failure(FailureCode.BUDGET_EXCEEDED, "It is used up.", "budget")
    waiting = a_pending_job(rails, queue="other", name="paint")
    mine = a_failed_job(rails, workspace_id=workspace_id)
    broke = a_running_job(rails).lease
    rails.ledger.fail(broke.job_id, broke, budget)
    everything = {waiting, mine, broke.job_id}

    assert find(rails) == everything
    assert (
        find(rails, queue="other") == find(rails, actor="paint") == find(rails, states=(JobState.QUEUED,)) == {waiting}
    )
    assert find(rails, states=(JobState.QUEUED, JobState.FAILED)) == everything
    assert find(rails, workspace_id=workspace_id) == find(rails, fingerprint="fingerprint") == {mine}
    assert find(rails, code="budget_exceeded") == find(rails, fingerprint="budget") == {broke.job_id}
    assert find(rails, ids=(mine, uuid4())) == {mine}
    assert find(rails, queue="test", code="internal_error", states=(JobState.SUCCEEDED,)) == set()


def test_ages_count_from_the_end_else_from_the_sending(rails: Rails) -> None:
    old, new, waiting = a_failed_job(rails), a_failed_job(rails), a_pending_job(rails)
    rails.connection.execute("UPDATE jobs SET finished_at = now() - interval '2 hours' WHERE id = %s", [old])
    rails.connection.execute("UPDATE jobs SET created_at = now() - interval '2 hours' WHERE id = %s", [waiting])

    hour = timedelta(hours=1)
    assert find(rails, older_than=hour) == {old, waiting}
    assert find(rails, newer_than=hour) == {new}
    assert find(rails, newer_than=3 * hour, older_than=hour) == {old, waiting}


def test_letters_whose_place_was_taken_are_shown_on_request(rails: Rails) -> None:
    dead = job_of(rails, a_failed_document(rails))
    new_job_id = retry(rails, dead).new_job_id

    assert find(rails) == {new_job_id}
    assert find(rails, replayed=True) == {new_job_id, dead}


def test_the_latest_come_first_and_the_limit_keeps_them(rails: Rails) -> None:
    jobs = [a_failed_job(rails) for _ in range(3)]

    assert [row["id"] for row in JobSearch(rails.pool).find(JobFilter(), limit=2)] == [jobs[2], jobs[1]]


def test_a_letter_keeps_what_was_sent_and_what_went_wrong(rails: Rails) -> None:
    dead = job_of(rails, a_failed_document(rails))
    search = JobSearch(rails.pool)

    letter, attempts = search.read(dead), search.attempts(dead)

    assert letter["message"]["kwargs"].keys() == {"document_id", "workspace_id"}
    assert (letter["document_state"], letter["document_name"]) == ("failed", "river.pdf")
    assert [(each["outcome"], each["error"], each["traceback"]) for each in attempts] == [
        ("failed", "It broke.", "Traceback …")
    ]
    assert search.read(uuid4()) is None


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("90s", timedelta(seconds=90)),
        ("10m", timedelta(minutes=10)),
        ("2h", timedelta(hours=2)),
        (" 3D ", timedelta(days=3)),
        ("1w", timedelta(weeks=1)),
    ],
)
def test_ages_are_read(text: str, age: timedelta) -> None:
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "10", "m", "1.5h", "-1h", "1 month", "9999999d"])
def test_what_is_no_age_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InvalidJobError, match="10m"):
        parse_age(text)


def test_an_age_beyond_a_hundred_years_is_refused() -> None:
    with pytest.raises(InvalidJobError, match="hundred years"):
        parse_age("999999w")
