"""Every way a job can end, through real worker processes."""

import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from os import kill
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from adapters.embedded.stack import embedded_stack
from tests.builders import a_job
from tests.e2e.conftest import IMPATIENT, Site, a_site
from tests.workers import Workers, running_workers, started

QUEUE = "extra"


@pytest.fixture(scope="module")
def workers(module_site: Site) -> Iterator[Workers]:
    with running_workers(module_site.environment | IMPATIENT) as workers:
        yield workers


def send(site: Site, name: str, *, options: dict | None = None, delay: timedelta = timedelta(), **kwargs) -> UUID:
    """Send an extra actor what it takes, as any process without the actors could."""
    job = a_job(name=name, queue=QUEUE, delay=delay)
    job.message.update(kwargs=kwargs, options=options or {}, message_timestamp=time.time_ns() // 1_000_000)
    site.rails.ledger.enqueue(job)
    return job.id


def label() -> str:
    return uuid4().hex


def test_a_job_runs_soon_after_it_was_sent(site: Site, workers: Workers) -> None:
    name, sent_at = label(), time.monotonic()

    job_id = send(site, "noop", label=name)

    assert site.wait_for_jobs(job_id) == ["succeeded"]
    assert time.monotonic() - sent_at < 2
    assert site.effects.count(name) == 1


def test_a_delayed_job_runs_when_it_is_due(site: Site, workers: Workers) -> None:
    name = label()
    job_id = send(site, "noop", label=name, delay=timedelta(seconds=1))

    time.sleep(0.6)
    assert name not in site.effects

    assert site.wait_for_jobs(job_id) == ["succeeded"]


def test_a_flaky_job_succeeds_after_retries_through_the_ledger(site: Site, workers: Workers) -> None:
    job_id = send(site, "flaky", label=label(), failures=2)

    assert site.wait_for_jobs(job_id) == ["succeeded"]

    assert site.rails.attempts(job_id) == ["retrying", "retrying", "succeeded"]
    assert site.rails.job(job_id)["attempt"] == 3


def test_a_permanent_error_fails_at_once(site: Site, workers: Workers) -> None:
    name = label()
    job_id = send(site, "permanent", label=name)

    assert site.wait_for_jobs(job_id) == ["failed"]

    job = site.rails.job(job_id)
    assert (job["failure_code"], job["failure_message"]) == ("too_large", "It is too large. Make it smaller.")
    assert site.effects.count(name) == 1


def test_exhausted_retries_fail_and_keep_the_traceback(site: Site, workers: Workers) -> None:
    name = label()
    job_id = send(site, "broken", label=name)

    assert site.wait_for_jobs(job_id) == ["failed"]

    assert site.rails.attempts(job_id) == ["retrying", "retrying", "failed"]
    assert site.rails.job(job_id)["failure_code"] == "internal_error"
    (traceback,) = site.rails.column(
        "SELECT traceback FROM job_attempts WHERE job_id = %s AND outcome = 'failed'", job_id
    )
    assert "in broken" in traceback
    assert "ValueError: a bug" in traceback
    assert "traceback" not in site.rails.job(job_id)["message"]["options"]


def test_a_job_past_its_age_limit_expires(site: Site, workers: Workers) -> None:
    name = label()
    job_id = send(site, "short_lived", label=name, delay=timedelta(seconds=0.2))

    assert site.wait_for_jobs(job_id) == ["failed"]

    assert site.rails.job(job_id)["failure_code"] == "expired"
    assert name not in site.effects


def test_a_job_that_no_worker_knows_fails(site: Site, workers: Workers) -> None:
    job_id = send(site, "nobody_knows_me")

    assert site.wait_for_jobs(job_id) == ["failed"]

    job = site.rails.job(job_id)
    assert job["failure_code"] == "unknown_job"
    assert "nobody_knows_me" in job["failure_message"]


def test_a_job_with_wrong_arguments_fails(site: Site, workers: Workers) -> None:
    job_id = send(site, "broken", options={"max_retries": 0}, colour="blue")

    assert site.wait_for_jobs(job_id) == ["failed"]

    assert "TypeError" in site.rails.job(job_id)["failure_fingerprint"]


def test_a_parked_job_waits_without_counting(site: Site, workers: Workers) -> None:
    job_id = send(site, "parking", label=label())

    assert site.wait_for_jobs(job_id) == ["succeeded"]

    assert site.rails.attempts(job_id) == ["parked", "parked", "succeeded"]
    assert site.rails.job(job_id)["attempt"] == 1


def test_a_job_past_its_time_limit_is_stopped(site: Site, workers: Workers) -> None:
    job_id = send(site, "endless", label=label())

    assert site.wait_for_jobs(job_id) == ["failed"]

    assert "TimeLimitExceeded" in site.rails.job(job_id)["failure_fingerprint"]


def test_no_time_limit_fires_while_a_retry_is_written(site: Site, workers: Workers) -> None:
    name, pids = label(), workers.pids
    job_id = send(site, "late_failure", label=name)
    workers.wait_until(lambda: name in site.effects)

    with site.rails.connection.transaction():
        site.rails.connection.execute("SELECT FROM jobs WHERE id = %s FOR UPDATE", [job_id])
        time.sleep(3)

    assert site.wait_for_jobs(job_id) == ["succeeded"]
    time.sleep(2.5)  # the watchdog would end a process whose thread has died
    assert workers.pids == pids


def test_a_job_in_a_queue_that_the_leading_relay_does_not_know_is_rung_for(site: Site, workers: Workers) -> None:
    job = a_job(name="noop", queue=f"queue-{label()}")
    site.rails.ledger.enqueue(job)

    workers.wait_until(lambda: site.rails.job(job.id)["state"] == "queued")

    assert site.rails.ledger.request_cancel(job.id)


def test_a_running_job_that_was_cancelled_does_not_end_as_succeeded(site: Site, workers: Workers) -> None:
    name = label()
    job_id = send(site, "held", label=name, until=f"{name} may end")
    workers.wait_until(lambda: f"{name} begun" in site.effects)

    assert site.rails.ledger.request_cancel(job_id)
    site.release(f"{name} may end")

    assert site.wait_for_jobs(job_id) == ["cancelled"]


@contextmanager
def refused(site: Site, job_id: UUID) -> Iterator[None]:
    """The ledger does not take this job."""
    execute = site.rails.connection.execute
    execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;"
        f"CREATE TRIGGER refuse BEFORE INSERT ON jobs FOR EACH ROW WHEN (NEW.id = '{job_id}') EXECUTE FUNCTION refuse()"
    )
    yield
    execute("DROP FUNCTION refuse CASCADE")


def test_a_job_has_not_ended_before_the_next_of_its_pipeline_is_in_the_ledger(site: Site, workers: Workers) -> None:
    name, second = label(), a_job(name="noop", queue=QUEUE)
    second.message.update(kwargs={"label": name}, options={"pipe_ignore": True})

    with refused(site, second.id):
        first = send(site, "noop", label=label(), options={"pipe_target": second.message, "max_retries": 1000})
        workers.wait_until(lambda: "retrying" in site.rails.attempts(first))

    assert site.wait_for_jobs(first) == ["succeeded"]
    assert site.wait_for_jobs(second.id) == ["succeeded"]
    assert site.effects.count(name) == 1


def test_every_hint_three_times_runs_every_job_once(site: Site, workers: Workers) -> None:
    from adapters.redis.hints import Hints
    from domain.ledger import DueJob

    names = [label() for _ in range(20)]
    jobs = [send(site, "noop", label=name, delay=timedelta(seconds=0.5)) for name in names]
    hints = Hints(site.environment["REDIS_URL"], prefix=site.environment["QUEUE_NAME"])
    hinted: set[UUID] = set()
    deadline = time.monotonic() + 10
    while len(hinted) < len(jobs) and time.monotonic() < deadline:
        queued = site.rails.column("SELECT id FROM jobs WHERE id = ANY(%s) AND state <> 'pending'", jobs)
        fresh = [DueJob(job_id, "noop") for job_id in queued if job_id not in hinted]
        hints.push(QUEUE, fresh * 3)
        hinted |= {job.id for job in fresh}

    assert set(site.wait_for_jobs(*jobs)) == {"succeeded"}

    assert [site.effects.count(name) for name in names] == [1] * len(names)
    assert site.rails.column("SELECT max(lease) FROM jobs WHERE id = ANY(%s)", jobs) == [1]


def test_emptying_redis_in_the_middle_loses_no_job_and_doubles_none(site: Site, workers: Workers) -> None:
    names = [label() for _ in range(200)]
    jobs = [send(site, "noop", label=name) for name in names]
    workers.wait_until(lambda: len(set(site.effects) & set(names)) > 20)

    site.redis().flushall()

    assert set(site.wait_for_jobs(*jobs)) == {"succeeded"}
    effects = site.effects
    assert [effects.count(name) for name in names] == [1] * len(names)


def catches(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has set a handler for a signal, which would end it before."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_two_schedulers_make_one_run_a_minute(site: Site, workers: Workers) -> None:
    """The first tick of a scheduler comes with its start, another one when it is called; a full minute is too long."""
    command = [str(Path(sys.executable).with_name("periodiq")), "actors"]
    ticks = "SELECT count(*) FROM schedule_ticks WHERE actor = 'sweep_documents'"

    with started(command, site.environment) as first, started(command, site.environment) as second:
        for scheduler in (first, second):
            scheduler.wait_until(lambda pid=scheduler.master.pid: catches(pid, signal.SIGALRM))
        assert site.rails.column(ticks)[0] >= 1
        for scheduler in (first, second):
            kill(scheduler.master.pid, signal.SIGALRM)
        for scheduler in (first, second):
            scheduler.wait_until(lambda it=scheduler: len(re.findall("Scheduling .*sweep_documents", it.log)) >= 2)

    site.wait_for_jobs()
    doubles = site.rails.column(
        "SELECT count(*) FROM schedule_ticks GROUP BY actor, date_trunc('minute', tick) HAVING count(*) > 1"
    )
    assert doubles == []
    per_minute = site.rails.column(
        "SELECT count(*) FROM jobs WHERE actor = 'sweep_documents' GROUP BY date_trunc('minute', created_at)"
    )
    assert set(per_minute) == {1}


def test_workers_of_one_queue_leave_the_others_alone(site: Site, workers: Workers) -> None:
    environment = site.environment | {"QUEUE_NAME": "apart"}
    workers.terminate()

    other, own = label(), send(site, "noop", label=label())
    elsewhere = a_job(name="noop", queue="ingest_index")
    elsewhere.message.update(kwargs={"label": other})
    with running_workers(environment, queues=[QUEUE], processes=1):
        site.rails.ledger.enqueue(elsewhere)
        assert site.wait_for_jobs(own) == ["succeeded"]
        time.sleep(1)

    assert site.rails.job(elsewhere.id)["state"] == "queued"
    site.rails.ledger.request_cancel(elsewhere.id)


def test_a_job_sent_while_redis_is_away_runs_when_it_is_back(database_url: str, server_folder: Path) -> None:
    with embedded_stack(server_folder, postgres=False) as stack:
        url = stack.redis_url
    assert url

    with (
        a_site(server_folder, database_url=database_url, redis_url=url) as site,
        running_workers(site.environment, processes=1) as workers,
    ):
        job_id = send(site, "noop", label="sent")
        time.sleep(1.5)
        assert site.effects == []

        with embedded_stack(server_folder, postgres=False) as again:
            assert again.redis_url == url
            assert site.wait_for_jobs(job_id, seconds=10) == ["succeeded"]

        assert site.effects == ["sent"]
        assert workers.exit_codes == []
