"""History goes when its time is over, a bounded batch at a time; what lives is never touched."""

from datetime import timedelta

import pytest

from adapters.bootstrap import make_retention
from adapters.postgres.sql import load_queries
from adapters.settings import Settings
from domain.housekeeping import ROUND_LIMIT, prune_history
from domain.retention import Pruned, Retention
from tests.builders import (
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
    an_extracting_document,
    an_indexing_document,
    an_uploaded_document,
)

DAY = timedelta(days=1)
KEEP = Retention(finished_jobs=7 * DAY, failed_jobs=90 * DAY, events=5 * DAY, ticks=2 * DAY)

MANY_JOBS = """
INSERT INTO jobs (id, queue, actor, message, workspace_id, state, finished_at, failure_code)
SELECT gen_random_uuid(), 'test', 'noop', '{}', gen_random_uuid(), state, now() - n * interval '10 minutes',
       CASE WHEN state = 'failed' THEN 'internal_error' END
FROM generate_series(1, %(count)s) n, unnest(%(states)s::text[]) state
"""
MANY_ATTEMPTS = """
INSERT INTO job_attempts (job_id, lease, owner, started_at, outcome)
SELECT id, 1, id, now(), 'succeeded' FROM jobs
"""
MANY_EVENTS = """
INSERT INTO job_events (job_id, workspace_id, event, at)
SELECT gen_random_uuid(), gen_random_uuid(), 'x', now() - n * interval '10 minutes' FROM generate_series(1, %(count)s) n
"""
MANY_TICKS = """
INSERT INTO schedule_ticks (actor, tick, job_id)
SELECT 'noop', now() - n * interval '10 minutes', gen_random_uuid() FROM generate_series(1, %(count)s) n
"""


def prune(rails: Rails, keep: Retention = KEEP) -> Pruned:
    return prune_history(transactions=rails.transactions, keep=keep)


def grow_older(rails: Rails, days: float) -> None:
    """Let everything in the database be that much older."""
    age = timedelta(days=days)
    rails.connection.execute("UPDATE jobs SET created_at = created_at - %(a)s, finished_at = finished_at - %(a)s,"
                             " started_at = started_at - %(a)s", {"a": age})  # fmt: skip
    rails.connection.execute("UPDATE job_events SET at = at - %s", [age])
    rails.connection.execute("UPDATE schedule_ticks SET tick = tick - %s", [age])
    rails.connection.execute("UPDATE parser_deaths SET last_at = last_at - %s", [age])


@pytest.mark.parametrize("build", [a_succeeded_job, a_cancelled_job])
def test_finished_jobs_go_after_their_time_with_their_attempts(rails: Rails, build) -> None:
    build(rails)
    grow_older(rails, 6.9)
    assert prune(rails).jobs == 0

    grow_older(rails, 0.2)

    assert prune(rails).jobs == 1
    assert (rails.count("jobs"), rails.count("job_attempts")) == (0, 0)


def test_dead_letters_have_a_time_of_their_own(rails: Rails) -> None:
    a_failed_job(rails)
    grow_older(rails, 89.9)
    assert prune(rails).failed_jobs == 0

    grow_older(rails, 0.2)

    assert prune(rails).failed_jobs == 1
    assert (rails.count("jobs"), rails.count("job_attempts")) == (0, 0)


def test_events_and_ticks_go_after_their_times(rails: Rails) -> None:
    a_succeeded_job(rails)
    rails.connection.execute("INSERT INTO schedule_ticks VALUES ('noop', now(), gen_random_uuid())")
    grow_older(rails, 3)
    assert prune(rails) == Pruned(ticks=1)

    grow_older(rails, 3)

    assert prune(rails) == Pruned(events=1)
    assert rails.count("jobs") == 1


def test_a_file_that_killed_its_parser_is_forgotten_with_the_dead_letters(rails: Rails) -> None:
    rails.connection.execute(
        "INSERT INTO parser_deaths VALUES (sha256('x'), 'fake/1', 2, 'parser_crashed', 'It died.')"
    )
    grow_older(rails, 89)
    assert prune(rails).parser_deaths == 0

    grow_older(rails, 2)

    assert prune(rails).parser_deaths == 1


@pytest.mark.parametrize("build", [a_pending_job, a_queued_job, a_running_job, a_retrying_job])
def test_a_job_that_has_not_ended_is_kept_however_old(rails: Rails, build) -> None:
    build(rails)
    grow_older(rails, 1000)
    attempts = rails.count("job_attempts")

    prune(rails)

    assert (rails.count("jobs"), rails.count("job_attempts")) == (1, attempts)


@pytest.mark.parametrize(
    "build", [an_uploaded_document, an_extracting_document, an_indexing_document, a_ready_document, a_failed_document]
)
def test_documents_and_what_is_made_of_them_stay(rails: Rails, build) -> None:
    build(rails)
    tables = ("documents", "document_pages", "chunks", "chunk_embeddings", "workspace_daily_usage", "workspaces")
    before = {table: rails.count(table) for table in tables}
    grow_older(rails, 1000)

    prune(rails)

    assert {table: rails.count(table) for table in tables} == before
    unfinished = rails.column("SELECT count(*) FROM jobs WHERE finished_at IS NULL")
    assert unfinished == [int(build in (an_uploaded_document, an_extracting_document, an_indexing_document))]


def test_a_round_is_bounded_and_takes_the_oldest(rails: Rails) -> None:
    rails.connection.execute(MANY_JOBS, {"count": 50, "states": ["succeeded", "failed"]})
    at_once = Retention(*[timedelta()] * 4)
    newest = rails.column("SELECT max(finished_at) FROM jobs")

    with rails.transaction() as unit:
        assert unit.sweeping.prune(at_once, 20) == Pruned(jobs=20, failed_jobs=20, events=20)

    assert rails.count("jobs") == 60
    assert rails.column("SELECT max(finished_at) FROM jobs") == newest


def test_a_run_goes_on_until_little_is_left(rails: Rails) -> None:
    rails.connection.execute(MANY_JOBS, {"count": 2 * ROUND_LIMIT + 300, "states": ["succeeded"]})
    a_pending_job(rails)

    assert prune(rails, Retention(*[timedelta()] * 4)).jobs == 2 * ROUND_LIMIT + 300

    assert rails.column("SELECT state FROM jobs") == ["pending"]


def test_two_runs_at_the_same_time_share_the_work(rails: Rails) -> None:
    rails.connection.execute(MANY_JOBS, {"count": 30, "states": ["succeeded"]})
    at_once = Retention(*[timedelta()] * 4)

    with rails.transaction() as first:
        assert first.sweeping.prune(at_once, 20).jobs == 20
        with rails.transaction() as second:
            assert second.sweeping.prune(at_once, 20).jobs == 10


def test_each_kind_has_its_setting() -> None:
    settings = Settings(
        _env_file=None,
        database_url="postgresql://x",
        redis_url="redis://x",
        keep_jobs_days=1,
        keep_failed_jobs_days=2,
        keep_events_days=3,
        keep_ticks_days=4,
    )

    assert make_retention(settings) == Retention(DAY, 2 * DAY, 3 * DAY, 4 * DAY)


@pytest.fixture(scope="module")
def crowded(module_rails: Rails) -> Rails:
    """A database with history of months, most of it too young to go."""
    connection = module_rails.connection
    with connection.transaction():
        connection.execute(MANY_JOBS, {"count": 6000, "states": ["succeeded", "cancelled", "failed"]})
        connection.execute(MANY_ATTEMPTS)
        connection.execute(MANY_EVENTS, {"count": 20000})
        connection.execute(MANY_TICKS, {"count": 20000})
    for table in ("jobs", "job_attempts", "job_events", "schedule_ticks"):
        connection.execute(f"ANALYZE {table}")  # type: ignore[arg-type]
    return module_rails


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("prune_jobs", "jobs_finished"),
        ("prune_failed_jobs", "jobs_failed"),
        ("prune_events", "job_events_age"),
        ("prune_ticks", "schedule_ticks_age"),
    ],
)
def test_pruning_uses_its_index(crowded: Rails, query: str, index: str) -> None:
    params = {"age": timedelta(days=30), "limit": 100}
    plan = "\n".join(
        row[0] for row in crowded.connection.execute("EXPLAIN " + load_queries("retention")[query], params)
    )

    assert index in plan
    assert "Seq Scan" not in plan


def test_removing_a_job_finds_its_attempts_by_index(crowded: Rails) -> None:
    plan = crowded.column("EXPLAIN DELETE FROM job_attempts WHERE job_id = %s", "00000000-0000-4000-8000-000000000001")

    assert "job_attempts_pkey" in "\n".join(plan)
