"""The exporter beside real workers, and starts that must not succeed."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from dramatiq import Worker
from dramatiq.brokers.stub import StubBroker

from adapters.bootstrap import make_pool, open_worker_runtime
from adapters.settings import load_settings
from middleware.runtime import RuntimeLifecycle
from tests.builders import a_pdf
from tests.e2e.conftest import IMPATIENT, Site
from tests.e2e.test_actors import label, send
from tests.workers import Workers, running_workers

TOKEN = "a-long-random-string"

#: What the acceptance of the main job run asks for, and the least that each must say by then.
FAMILIES = {
    "headrace_jobs_finished_total": 'actor="extract_document",outcome="succeeded",queue="ingest_extract"',
    "headrace_job_duration_seconds_bucket": 'actor="extract_document"',
    "headrace_job_wait_seconds_bucket": 'queue="ingest_extract"',
    "headrace_jobs_in_progress": 'actor="extract_document"',
    "headrace_queue_depth": "queue=",
    "headrace_queue_oldest_age_seconds": "queue=",
    "headrace_documents": 'state="ready"',
    "headrace_relay_lag_seconds": "",
    "headrace_pages_total": "",
    "headrace_chunks_total": "",
    "headrace_embedding_tokens_total": "model=",
    "headrace_database_pool_size": "",
    "headrace_database_pool_available": "",
    "headrace_database_pool_waiting": "",
    "headrace_database_up": "",
    "headrace_build_info": "version=",
}


class Probe:
    """Asks one exporter."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, token: str = "") -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def is_up(self) -> bool:
        return self.get("/healthz")[0] == 200


@pytest.fixture(scope="module")
def probe() -> Probe:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return Probe(listener.getsockname()[1])


@pytest.fixture(scope="module")
def workers(module_site: Site, probe: Probe) -> Iterator[Workers]:
    environment = {"METRICS_PORT": str(probe.port), "METRICS_REQUIRE_AUTH": "true", "METRICS_TOKEN": TOKEN}
    with running_workers(module_site.environment | IMPATIENT | environment) as workers:
        workers.wait_until(probe.is_up)
        yield workers


def exporter_pids(workers: Workers) -> list[int]:
    """One, but for the moment in which both worker processes have started one: only one of them gets the port."""
    return [pid for pid in workers.processes() if b"adapters.exporter" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_every_family_of_metrics_is_there(site: Site, workers: Workers, probe: Probe) -> None:
    site.wait_for_documents(site.upload(a_pdf("The river turns the mill.")).document_id)
    site.wait_for_jobs()
    workers.wait_until(lambda: "headrace_database_pool_size" in probe.get("/metrics", TOKEN)[1])

    lines = probe.get("/metrics", TOKEN)[1].splitlines()

    missing = {
        family: labels
        for family, labels in FAMILIES.items()
        if not any(line.startswith((f"{family}{{", f"{family} ")) and labels in line for line in lines)
    }
    assert missing == {}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_accepts_the_metrics(site: Site, workers: Workers, probe: Probe) -> None:
    site.wait_for_jobs(send(site, "flaky", label=label(), failures=1))

    text = probe.get("/metrics", TOKEN)[1]
    checked = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, check=False)

    assert (checked.returncode, (checked.stdout + checked.stderr).decode()) == (0, "")


def test_metrics_ask_for_the_token(workers: Workers, probe: Probe) -> None:
    assert probe.get("/metrics")[0] == 403
    assert probe.get("/metrics", "wrong")[0] == 403
    assert probe.get("/metrics", TOKEN)[0] == 200


def test_probes_know_the_workers(workers: Workers, probe: Probe) -> None:
    assert json.loads(probe.get("/healthz")[1]) == {"status": "alive", "workers": 2, "stuck": []}
    assert probe.get("/readyz")[0] == 200


def test_a_killed_exporter_comes_back(workers: Workers, probe: Probe) -> None:
    (killed,) = exporter_pids(workers)

    os.kill(killed, signal.SIGKILL)

    workers.wait_until(lambda: probe.is_up() and killed not in exporter_pids(workers), seconds=15)
    workers.wait_until(lambda: len(exporter_pids(workers)) == 1, seconds=15)
    assert len(workers.pids) == 2


def test_a_reaped_lease_is_counted(site: Site, workers: Workers, probe: Probe) -> None:
    job_id = send(site, "noop", label=label(), delay=timedelta(hours=1))
    site.rails.connection.execute(
        "UPDATE jobs SET state = 'running', lease = 1, lease_owner = gen_random_uuid(), claimed_at = now(),"
        " lease_expires_at = now() - interval '1 s' WHERE id = %s",
        [job_id],
    )

    assert site.wait_for_jobs(job_id) == ["succeeded"]

    workers.wait_until(lambda: 'headrace_leases_reaped_total{state="retrying"}' in probe.get("/metrics", TOKEN)[1])


def test_the_exporter_lives_as_long_as_the_master(site: Site, workers: Workers, probe: Probe) -> None:
    """The last test of these workers: it ends them."""
    name, folder = label(), workers.folder
    send(site, "held", label=name, until=f"{name} may end")
    workers.wait_until(lambda: f"{name} begun" in site.effects)
    assert folder.is_dir()

    workers.master.terminate()
    time.sleep(1.5)
    assert workers.master.poll() is None
    assert probe.is_up(), "dark during the drain"
    assert probe.get("/metrics", TOKEN)[0] == 200
    site.release(f"{name} may end")

    assert workers.master.wait(timeout=20) == 0
    workers.wait_until(lambda: workers.processes() == [], seconds=5)
    assert probe.get("/healthz")[0] == 0
    assert not folder.exists()


# Starts that must not succeed


def start(environment: dict[str, str], *, seconds: float = 20) -> tuple[int, str]:
    """Start a worker that cannot; return its exit code and what it said."""
    with running_workers(environment, processes=1, wait=False) as workers:
        code = workers.master.wait(timeout=seconds)
        return code, workers.log


@pytest.mark.parametrize(
    ("wrong", "variable"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL is missing"),
        ({"REDIS_URL": "http://localhost"}, "REDIS_URL is wrong"),
        ({"LEASE_SECONDS": "soon"}, "LEASE_SECONDS is wrong"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_its_name(site: Site, wrong: dict[str, str], variable: str) -> None:
    code, said = start(site.environment | wrong)

    assert code == 78
    assert variable in said
    assert "example:" in said
    assert "Traceback" not in said


def test_an_older_schema_stops_the_start_with_the_remedy(site: Site, empty_database_url: str) -> None:
    code, said = start(site.environment | {"DATABASE_URL": empty_database_url})

    assert code == 78
    assert "headrace migrate" in said


def test_a_missing_database_stops_the_start(site: Site) -> None:
    code, said = start(site.environment | {"DATABASE_URL": "postgresql://x:hush@127.0.0.1:9/x"}, seconds=45)

    assert code == 69
    assert "the database is not available" in said
    assert "hush" not in said


def test_an_error_that_nobody_thought_of_stops_the_start_with_its_traceback(
    site: Site, database: psycopg.Connection, database_url: str
) -> None:
    database.execute("ALTER TABLE schema_migrations RENAME COLUMN name TO title")

    code, said = start(site.environment | {"DATABASE_URL": database_url})

    assert code == 69
    assert "UndefinedColumn" in said


def test_a_sqlite_file_serves_no_workers(site: Site, tmp_path: Path) -> None:
    code, said = start(site.environment | {"DATABASE_URL": f"sqlite:///{tmp_path / uuid4().hex}"})

    assert code == 78
    assert "workers need PostgreSQL" in said


def test_a_missing_temporary_folder_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/dev/null/nowhere"])
    addresses = {"database_url": "postgresql://x@127.0.0.1:9/x", "redis_url": "redis://127.0.0.1:9/0"}
    settings = load_settings(addresses)
    open_runtime = partial(open_worker_runtime, settings, make_pool(settings))

    with pytest.raises(OSError, match="set TMPDIR"), open_runtime(["media"]):
        pass
    with pytest.raises(SystemExit) as ended:
        RuntimeLifecycle(open_runtime).before_worker_boot(StubBroker(), Worker(StubBroker(), queues={"media"}))
    assert ended.value.code == 69


def test_a_missing_redis_stops_no_start(site: Site, database: psycopg.Connection, database_url: str) -> None:
    environment = site.environment | {"REDIS_URL": "redis://127.0.0.1:9/0", "DATABASE_URL": database_url}
    with running_workers(environment, processes=1) as workers:
        assert len(workers.pids) == 1
