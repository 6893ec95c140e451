"""Who is blamed when a worker dies: not its innocent neighbours."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

from domain.ledger import Claim
from tests.builders import TTL, Rails, a_queued_job


def must_start(rails: Rails, job_id: UUID, owner: UUID) -> Claim:
    rails.make_due()
    rails.ring()
    claim = rails.ledger.claim(job_id, owner=owner, ttl=TTL)
    assert claim is not None
    return claim


def a_worker_dies(rails: Rails, *job_ids: UUID) -> dict[UUID, str]:
    """Run these jobs in one worker, which goes silent; return what becomes of them."""
    owner = uuid4()
    for job_id in job_ids:
        must_start(rails, job_id, owner)
    rails.expire(*job_ids)
    return rails.leases.rescue_expired()


def test_a_job_that_was_alone_both_times_is_failed_at_the_second_death(rails: Rails) -> None:
    killer = a_queued_job(rails)

    assert a_worker_dies(rails, killer) == {killer: "retrying"}
    assert a_worker_dies(rails, killer) == {killer: "failed"}


def test_a_job_that_died_with_others_gets_one_run_more(rails: Rails) -> None:
    killer, neighbour, another = (a_queued_job(rails) for _ in range(3))

    assert set(a_worker_dies(rails, killer, neighbour, another).values()) == {"retrying"}
    assert a_worker_dies(rails, killer) == {killer: "retrying"}
    assert a_worker_dies(rails, killer) == {killer: "failed"}


def test_a_worker_runs_one_suspect_at_a_time(rails: Rails) -> None:
    one, two = a_queued_job(rails), a_queued_job(rails)
    a_worker_dies(rails, one, two)
    owner = uuid4()
    rails.ring()

    first = must_start(rails, one, owner)

    assert rails.ledger.claim(two, owner=owner, ttl=TTL) is None
    assert rails.job(two)["state"] == "queued"
    assert rails.ledger.succeed(first.lease)
    assert rails.ledger.claim(two, owner=owner, ttl=TTL) is not None


def test_another_worker_runs_the_other_suspect(rails: Rails) -> None:
    one, two = a_queued_job(rails), a_queued_job(rails)
    a_worker_dies(rails, one, two)

    must_start(rails, one, uuid4())

    assert must_start(rails, two, uuid4()).crash_count == 1


def test_threads_of_one_worker_that_claim_at_once_start_one_suspect(rails: Rails) -> None:
    suspects = [a_queued_job(rails) for _ in range(4)]
    a_worker_dies(rails, *suspects)
    owner = uuid4()
    rails.ring()

    with ThreadPoolExecutor(4) as threads:
        claims = list(threads.map(lambda job_id: rails.ledger.claim(job_id, owner=owner, ttl=TTL), suspects))

    assert sum(claim is not None for claim in claims) == 1


def test_the_relay_rings_again_at_once_for_a_suspect_that_had_to_wait(rails: Rails) -> None:
    one, two = a_queued_job(rails), a_queued_job(rails)
    a_worker_dies(rails, one, two)
    owner = uuid4()
    must_start(rails, one, owner)
    rails.ledger.claim(two, owner=owner, ttl=TTL)
    queue, patience = rails.job(two)["queue"], TTL

    assert [job.id for job in rails.dispatch.ring_again(queue, age=patience, limit=10, known=set())] == [two]


def test_a_rescued_job_keeps_its_place_in_the_queue(rails: Rails) -> None:
    job_id = a_queued_job(rails)
    before = rails.job(job_id)["available_at"]
    owner = uuid4()
    assert rails.ledger.claim(job_id, owner=owner, ttl=TTL)
    rails.expire(job_id)

    rails.leases.rescue_expired()

    assert rails.job(job_id)["available_at"] == before
