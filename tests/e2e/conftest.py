"""A module's own database, doorbell and blobs, and the environment of workers over them."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import redis

from adapters.bootstrap import ProducerRuntime, make_producer
from adapters.postgres.pool import connect
from adapters.settings import Settings
from domain.intake import Receipt
from tests.builders import WORKSPACE, Rails
from tests.conftest import _new_database, short_folder

#: A dead worker's jobs are taken from it soon, so that tests need not wait.
IMPATIENT = {"LEASE_SECONDS": "3", "HEARTBEAT_SECONDS": "1"}


@dataclass
class Site:
    """Everything that one deployment shares."""

    rails: Rails
    producer: ProducerRuntime
    environment: dict[str, str]
    folder: Path

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.environment["REDIS_URL"])

    def upload(self, content: bytes, *, name: str = "river.pdf", workspace_id: UUID = WORKSPACE, **options) -> Receipt:
        return self.producer.receive_document(workspace_id, name, [content], **options)

    @property
    def effects(self) -> list[str]:
        """The labels that the extra actors left, in order."""
        path = Path(self.environment["E2E_EFFECTS"])
        return path.read_text().splitlines() if path.exists() else []

    def release(self, label: str) -> None:
        """Let the jobs end that are `held` until this label."""
        with Path(self.environment["E2E_EFFECTS"]).open("a") as file:
            file.write(f"{label}\n")

    def wait_for_jobs(self, *job_ids: UUID, seconds: float = 20) -> list[str]:
        """Wait until these jobs, or all, have ended; return their states."""
        unfinished = "SELECT count(*) FROM jobs WHERE finished_at IS NULL AND (id = ANY(%(ids)s) OR %(ids)s = '{}')"
        self.wait_until(lambda: self._count(unfinished, list(job_ids)) == 0, seconds)
        return [self.rails.job(job_id)["state"] for job_id in job_ids]

    def wait_for_documents(self, *document_ids: UUID, seconds: float = 30) -> list[str]:
        """Wait until these documents, or all, have arrived; return their states."""
        unfinished = (
            "SELECT count(*) FROM documents WHERE state IN ('uploaded', 'extracting', 'indexing')"
            " AND (id = ANY(%(ids)s) OR %(ids)s = '{}')"
        )
        self.wait_until(lambda: self._count(unfinished, list(document_ids)) == 0, seconds)
        return [self.rails.document(document_id)["state"] for document_id in document_ids]

    def _count(self, query: str, ids: list[UUID]) -> int:
        row = self.rails.connection.execute(query, {"ids": ids}).fetchone()
        return int(row[0]) if row else 0

    def wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition; fail with how far everything is when it does not come true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.report()
            time.sleep(0.05)

    def report(self) -> str:
        """Say how far jobs and documents are."""
        jobs = self.rails.connection.execute("SELECT actor, state, count(*) FROM jobs GROUP BY 1, 2").fetchall()
        documents = self.rails.connection.execute("SELECT state, count(*) FROM documents GROUP BY 1").fetchall()
        return f"not in time: {jobs} {documents}"


@pytest.fixture(scope="module")
def module_site(postgres_url: str, template_database: str, redis_url: str) -> Iterator[Site]:
    with _a_new_site(postgres_url, template_database, redis_url) as site:
        yield site


@pytest.fixture
def own_site(postgres_url: str, template_database: str, redis_url: str) -> Iterator[Site]:
    """A site of one test's own: what is left in flight disturbs no other, and its settings may differ."""
    with _a_new_site(postgres_url, template_database, redis_url) as site:
        yield site


@pytest.fixture
def site(module_site: Site) -> Site:
    return module_site


@contextmanager
def _a_new_site(postgres_url: str, template_database: str, redis_url: str) -> Iterator[Site]:
    with (
        short_folder() as folder,
        _new_database(postgres_url, template_database) as url,
        a_site(folder, database_url=url, redis_url=redis_url) as site,
    ):
        yield site


@contextmanager
def a_site(folder: Path, *, database_url: str, redis_url: str) -> Iterator[Site]:
    """Open a site over these servers; nothing runs there yet."""
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "BLOB_URL": f"file://{folder}/blobs",
        "QUEUE_NAME": f"e2e-{uuid4().hex[:8]}",
        "METRICS_PORT": "0",
        "LOG_FORMAT": "json",
        "E2E_EFFECTS": str(folder / "effects"),
    }
    given = {name.lower(): value for name, value in environment.items()}
    producer = make_producer(Settings(_env_file=None, **given))  # type: ignore[arg-type,call-arg]
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with closing(connect(database_url)) as connection:
        rails = Rails(database_url, producer.pool, connection)
        yield Site(rails, producer, inherited | environment, folder)
    producer.pool.close()
