"""What is due is rung for: in order of priority, workspace by workspace, and once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import monotonic
from uuid import UUID, uuid4

import pytest

from adapters.postgres.dispatch import PostgresDispatch
from adapters.postgres.pool import connect
from tests.builders import QUEUE, Rails, a_cancelled_job, a_pending_job, a_queued_job, a_retrying_job, a_running_job


def picked(rails: Rails, limit: int = 100) -> list[UUID]:
    return [job.id for job in rails.dispatch.pick_due(QUEUE, limit)]


# What is picked


def test_only_due_jobs_are_picked(rails: Rails) -> None:
    due = a_pending_job(rails)
    a_pending_job(rails, delay=timedelta(minutes=1))
    a_cancelled_job(rails)

    assert picked(rails) == [due]
    assert rails.job(due)["state"] == "queued"


def test_a_retrying_job_is_picked_when_its_time_has_come(rails: Rails) -> None:
    job_id = a_retrying_job(rails)
    assert picked(rails) == []

    rails.make_due()

    assert picked(rails) == [job_id]


def test_a_job_is_picked_once(rails: Rails) -> None:
    a_pending_job(rails)

    assert len(picked(rails)) == 1
    assert picked(rails) == []


def test_a_queue_knows_only_its_own_jobs(rails: Rails) -> None:
    a_pending_job(rails, queue="elsewhere")

    assert picked(rails) == []


def test_a_lower_number_goes_first_then_the_longer_wait(rails: Rails) -> None:
    late, early = a_pending_job(rails, priority=5), a_pending_job(rails, priority=5)
    urgent = a_pending_job(rails, priority=-1)
    rails.connection.execute("UPDATE jobs SET available_at = now() - interval '1 hour' WHERE id = %s", [early])

    assert picked(rails) == [urgent, early, late]


def test_the_limit_takes_the_most_urgent(rails: Rails) -> None:
    for _ in range(3):
        a_pending_job(rails, priority=5)
    urgent = a_pending_job(rails, priority=0)

    assert picked(rails, limit=1) == [urgent]


def test_a_workspace_with_few_jobs_does_not_wait_behind_one_with_many(rails: Rails) -> None:
    busy, quiet = uuid4(), uuid4()
    many = [a_pending_job(rails, workspace_id=busy) for _ in range(10)]
    few = [a_pending_job(rails, workspace_id=quiet) for _ in range(2)]

    order = picked(rails, limit=6)

    assert set(order[:2]) == {many[0], few[0]}
    assert set(order[2:4]) == {many[1], few[1]}
    assert order[4:] == many[2:4]


def test_two_relays_never_pick_the_same_job(rails: Rails) -> None:
    jobs = {a_pending_job(rails, workspace_id=UUID(int=n % 5)) for n in range(60)}

    def pick(_: int) -> list[UUID]:
        with connect(rails.url) as connection:
            dispatch = PostgresDispatch(connection)
            return [job.id for _ in range(20) for job in dispatch.pick_due(QUEUE, 5)]

    with ThreadPoolExecutor(3) as threads:
        found = [job_id for part in threads.map(pick, range(3)) for job_id in part]

    assert sorted(found) == sorted(jobs)


def test_a_job_that_somebody_has_locked_holds_up_no_other(rails: Rails) -> None:
    locked, free = a_pending_job(rails), a_pending_job(rails)

    with connect(rails.url) as other, other.transaction():
        other.execute("SELECT FROM jobs WHERE id = %s FOR UPDATE", [locked])
        assert picked(rails) == [free]

    assert picked(rails) == [locked]


# Lost hints


def age_hints(rails: Rails, seconds: float) -> None:
    rails.connection.execute(
        "UPDATE jobs SET hinted_at = now() - make_interval(secs => %s) WHERE state = 'queued'", [seconds]
    )


def rung_again(rails: Rails, *, known: set[UUID] = frozenset(), limit: int = 100) -> list[UUID]:  # type: ignore[assignment]
    return [job.id for job in rails.dispatch.ring_again(QUEUE, age=timedelta(seconds=5), limit=limit, known=known)]


def test_a_queued_job_without_a_hint_is_rung_for_again(rails: Rails) -> None:
    job_id = a_queued_job(rails)
    age_hints(rails, 6)

    assert rung_again(rails) == [job_id]
    assert rung_again(rails) == [], "it has just been rung for"


def test_a_fresh_hint_is_given_time(rails: Rails) -> None:
    a_queued_job(rails)

    assert rung_again(rails) == []


def test_a_hint_that_is_still_there_is_not_rung_for_again(rails: Rails) -> None:
    known, lost = a_queued_job(rails), a_queued_job(rails)
    age_hints(rails, 6)

    assert rung_again(rails, known={known}) == [lost]


def test_running_jobs_are_not_rung_for(rails: Rails) -> None:
    a_running_job(rails)
    rails.connection.execute("UPDATE jobs SET hinted_at = now() - interval '1 hour'")

    assert rung_again(rails) == []


def test_the_longest_lost_is_rung_for_first(rails: Rails) -> None:
    newer, older = a_queued_job(rails), a_queued_job(rails)
    age_hints(rails, 6)
    rails.connection.execute("UPDATE jobs SET hinted_at = now() - interval '1 hour' WHERE id = %s", [older])

    assert rung_again(rails, limit=1) == [older]
    assert rung_again(rails, limit=1) == [newer]


# Waking up


def test_nothing_is_due_when_nothing_waits(rails: Rails) -> None:
    a_queued_job(rails)

    assert rails.dispatch.next_due() is None


def test_next_due_is_the_time_of_the_next_job(rails: Rails) -> None:
    a_pending_job(rails, delay=timedelta(seconds=90))
    a_pending_job(rails, delay=timedelta(seconds=30))

    wait = rails.dispatch.next_due()

    assert wait is not None
    assert timedelta(seconds=28) < wait <= timedelta(seconds=30)


def test_a_new_job_wakes_the_relay(rails: Rails) -> None:
    rails.dispatch.listen()

    a_pending_job(rails)

    started = monotonic()
    assert rails.dispatch.wait(timedelta(seconds=5))
    assert monotonic() - started < 1


def test_a_ring_during_another_query_is_heard_later(rails: Rails) -> None:
    rails.dispatch.listen()
    a_pending_job(rails)

    rails.dispatch.pick_due(QUEUE, 10)

    assert rails.dispatch.wait(timedelta(seconds=1))


def test_who_does_not_listen_hears_nothing(rails: Rails) -> None:
    rails.dispatch.listen()
    rails.dispatch.unlisten()
    a_pending_job(rails)

    assert not rails.dispatch.wait(timedelta(seconds=0.1))
    assert rails.dispatch.queues() == [QUEUE]


def test_many_rings_count_as_one(rails: Rails) -> None:
    rails.dispatch.listen()
    for _ in range(20):
        a_pending_job(rails)
    rails.dispatch.pick_due(QUEUE, 100)

    assert rails.dispatch.wait(timedelta(seconds=1))
    assert not rails.dispatch.wait(timedelta(seconds=0.1))


def test_one_relay_leads_and_the_next_follows_when_it_is_gone(rails: Rails) -> None:
    with connect(rails.url) as first:
        assert PostgresDispatch(first).lead()
        assert not rails.dispatch.lead()

    for _ in range(50):
        if rails.dispatch.lead():
            return
    pytest.fail("nobody leads")
