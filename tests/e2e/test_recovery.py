"""Processes are killed, stopped and drained; nothing is lost and nothing happens twice."""

import os
import signal
import time
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from adapters.redis.hints import Hints
from domain.ledger import DueJob
from tests.builders import a_pdf
from tests.e2e.conftest import IMPATIENT, Site
from tests.e2e.test_actors import QUEUE, label, send
from tests.workers import running_workers

DOCUMENTS, PAGES = 50, 8


@pytest.fixture
def site(own_site: Site) -> Site:
    return own_site


def a_book(number: int) -> bytes:
    pages = [
        "\n".join(f"Book {number}, page {page}, line {line}: water turns the wheel." for line in range(30))
        for page in range(PAGES)
    ]
    return a_pdf(*pages)


def upload_all(site: Site) -> list[UUID]:
    return [site.upload(a_book(number), name=f"{number}.pdf").document_id for number in range(DOCUMENTS)]


def count(site: Site, state: str) -> int:
    return int(site.rails.column("SELECT count(*) FROM documents WHERE state = %s", state)[0])


def assert_all_ready_exactly_once(site: Site, documents: list[UUID]) -> None:
    assert {site.rails.document(document_id)["state"] for document_id in documents} == {"ready"}
    site.wait_for_jobs()
    assert site.rails.column("SELECT documents FROM workspace_daily_usage") == [DOCUMENTS]
    assert site.rails.column("SELECT DISTINCT generation FROM documents") == [1]
    assert site.rails.column("SELECT state FROM jobs GROUP BY state") == ["succeeded"]
    published = (
        "SELECT count(*) FROM job_attempts GROUP BY job_id HAVING count(*) FILTER (WHERE outcome = 'succeeded') <> 1"
    )
    assert site.rails.column(published) == []
    pages = "SELECT count(*) FROM document_pages GROUP BY document_id, generation"
    assert set(site.rails.column(pages)) == {PAGES}
    assert site.rails.count("token_reservations") == 0


@pytest.mark.parametrize("lease", [IMPATIENT, {}], ids=["short leases", "defaults"])
def test_a_killed_worker_loses_no_document(site: Site, lease: dict[str, str], record_property) -> None:
    with running_workers(site.environment | lease, restart=True) as workers:
        documents = upload_all(site)
        workers.wait_until(lambda: count(site, "ready") >= 5)

        os.kill(workers.pids[0], signal.SIGKILL)

        workers.wait_until(lambda: len(workers.starts) == 2, seconds=30)
        site.wait_for_documents(seconds=60)
        seconds = time.monotonic() - workers.starts[1]
        assert workers.exit_codes == [1]

    record_property("seconds_after_restart", round(seconds, 1))
    assert seconds < 60
    assert_all_ready_exactly_once(site, documents)


def test_an_emptied_redis_loses_no_document(site: Site, record_property) -> None:
    with running_workers(site.environment) as workers:
        documents = upload_all(site)
        workers.wait_until(lambda: count(site, "ready") >= 5)

        site.redis().flushall()
        flushed_at = time.monotonic()

        site.wait_for_documents(seconds=60)

    seconds = time.monotonic() - flushed_at
    record_property("seconds_after_flush", round(seconds, 1))
    assert_all_ready_exactly_once(site, documents)
    assert site.rails.column("SELECT max(crash_count) FROM jobs") == [0]


def test_a_job_that_kills_its_worker_twice_is_failed(site: Site) -> None:
    name = label()
    with running_workers(site.environment | IMPATIENT, restart=True) as workers:
        job_id = send(site, "crashing", label=name)

        assert site.wait_for_jobs(job_id, seconds=40) == ["failed"]
        workers.wait_until(lambda: len(workers.starts) == 3)
        healthy = send(site, "noop", label="after")
        assert site.wait_for_jobs(healthy) == ["succeeded"]

    assert site.effects.count(name) == 2
    assert site.rails.attempts(job_id) == ["crashed", "crashed"]
    job = site.rails.job(job_id)
    assert (job["failure_code"], job["crash_count"], job["attempt"]) == ("worker_crashed", 2, 0)


def test_a_worker_that_was_paused_for_longer_than_its_lease_writes_nothing(site: Site) -> None:
    name, gate = label(), label()
    with running_workers(site.environment | IMPATIENT, threads=1) as workers:
        job_id = send(site, "held", label=name, until=gate)
        workers.wait_until(lambda: f"{name} begun" in site.effects)
        paused = next(int(line.split()[-1]) for line in site.effects if line.startswith(f"{name} runs in"))

        os.kill(paused, signal.SIGSTOP)
        workers.wait_until(lambda: ") T " in Path(f"/proc/{paused}/stat").read_text())
        site.release(gate)
        assert site.wait_for_jobs(job_id, seconds=30) == ["succeeded"]
        ended = site.rails.job(job_id)
        os.kill(paused, signal.SIGCONT)
        workers.wait_until(lambda: site.effects.count(f"{name} done") == 2)
        time.sleep(0.5)

        assert site.rails.job(job_id) == ended
        assert site.rails.attempts(job_id) == ["crashed", "succeeded"]
        assert len(workers.pids) == 2


# The end of a deployment


def test_a_drain_finishes_what_runs_and_leaves_no_process(site: Site) -> None:
    with running_workers(site.environment) as workers:
        names = [label() for _ in range(12)]
        jobs = [send(site, "drained", label=name) for name in names]
        workers.wait_until(lambda: sum(line.endswith("begun") for line in site.effects) == 8)
        workers.wait_until(lambda: site.rails.column("SELECT count(*) FROM jobs WHERE state = 'queued'") == [4])

        assert workers.terminate() == 0

        workers.wait_until(lambda: workers.processes() == [])

    states = [site.rails.job(job_id)["state"] for job_id in jobs]
    assert (states.count("succeeded"), states.count("queued")) == (8, 4)
    assert [site.effects.count(f"{name} done") for name in names].count(1) == 8
    assert site.rails.column("SELECT outcome FROM job_attempts") == ["succeeded"] * 8


def test_what_a_drain_handed_back_runs_at_once_elsewhere(site: Site) -> None:
    with running_workers(site.environment, processes=1, threads=1) as workers:
        running, name = send(site, "drained", label="first"), label()
        workers.wait_until(lambda: "first begun" in site.effects)
        waiting = [send(site, "noop", label=name) for _ in range(2)]
        workers.wait_until(lambda: {site.rails.job(job_id)["state"] for job_id in waiting} == {"queued"})
        workers.terminate()

    assert site.rails.job(running)["state"] == "succeeded"
    assert name not in site.effects
    with running_workers(site.environment, processes=1):
        assert site.wait_for_jobs(*waiting, seconds=8) == ["succeeded"] * 2

    assert site.effects.count(name) == 2
    assert site.rails.column("SELECT max(crash_count) FROM jobs") == [0]


def test_a_worker_that_drains_takes_no_hints(site: Site) -> None:
    hints, gate = Hints(site.environment["REDIS_URL"], prefix=site.environment["QUEUE_NAME"]), label()

    def stays() -> bool:
        hints.push(QUEUE, [DueJob(uuid4(), "noop")])
        time.sleep(1.5)
        return hints.depth(QUEUE) > 0

    with running_workers(site.environment, processes=1, threads=8) as workers:
        send(site, "held", label="first", until=gate)
        workers.wait_until(lambda: "first begun" in site.effects)
        workers.master.terminate()
        workers.wait_until(lambda: "Shutting down" in workers.log)

        assert stays() or stays(), "the first may meet a consumer that was waiting already"

        site.release(gate)
        assert workers.master.wait(timeout=30) == 0
    hints.close()


def test_workers_end_with_their_master(site: Site) -> None:
    with running_workers(site.environment) as workers:
        os.kill(workers.master.pid, signal.SIGKILL)

        workers.wait_until(lambda: workers.processes() == [], seconds=30)


def test_workers_outlive_a_restart_of_every_connection(site: Site) -> None:
    with running_workers(site.environment) as workers:
        name, gate = label(), label()
        running = send(site, "held", label=name, until=gate)
        workers.wait_until(lambda: f"{name} begun" in site.effects)

        with psycopg.connect(site.rails.url, autocommit=True) as killer:
            killer.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid NOT IN (pg_backend_pid(), %s)",
                [site.rails.connection.info.backend_pid],
            )
        later = send(site, "noop", label=label())
        site.release(gate)

        assert site.wait_for_jobs(running, later, seconds=30) == ["succeeded", "succeeded"]
        assert site.rails.attempts(running) == ["succeeded"]
        assert len(workers.pids) == 2
