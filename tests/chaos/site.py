"""One fault's own world: servers, processes, documents, and what the harness knows of them."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import redis

from adapters.bootstrap import ProducerRuntime, make_producer, prepare_database
from adapters.embedded.stack import Stack, embedded_stack
from adapters.settings import Settings
from domain.errors import TransientError
from domain.jobs import SYSTEM_WORKSPACE
from tests.builders import WORKSPACE
from tests.chaos.counting import CountingServer
from tests.chaos.documents import Upload
from tests.chaos.plan import BATCH_TEXTS, BATCHES_AT_A_TIME, PROCESSES, RECOVERY_P99_SECONDS, THREADS, Plan
from tests.chaos.processes import SCHEDULER, Program, start_program, wait_until, worker_command
from tests.conftest import short_folder

if TYPE_CHECKING:
    from tests.chaos.families import Load

DIMENSIONS = 64

#: Housekeeping is nobody's job.
IN_FLIGHT = f"SELECT id FROM jobs WHERE workspace_id <> '{SYSTEM_WORKSPACE}' AND state = ANY(%s)"


@dataclass
class Site:
    """Everything that one fault shares. Faults act on it; invariants are asked of it."""

    plan: Plan
    folder: Path
    stack: Stack
    server: CountingServer
    environment: dict[str, str]
    producer: ProducerRuntime
    uploads: Sequence[Upload]
    disturbed: tuple[str, ...] = ("running",)
    recovery_seconds: float = RECOVERY_P99_SECONDS
    workers: list[Program] = field(default_factory=list)
    schedulers: list[Program] = field(default_factory=list)
    ids: dict[str, UUID] = field(default_factory=dict)
    #: The jobs that were in flight when the fault struck, with the end of the last blow that met them.
    affected: dict[UUID, datetime] = field(default_factory=dict)
    #: How many running attempts the fault may have cut off: each may pay for one batch again.
    cut_attempts: int = 0
    #: Documents that end as failed because of the fault, rightly, with the code they must have.
    given_up: dict[str, str] = field(default_factory=dict)
    #: What runs beside documents, for faults that ask for it.
    load: "Load | None" = None
    #: The families of which the fault must have met a job.
    must_meet: frozenset[str] = frozenset()
    blows: int = 0
    refused_uploads: int = 0
    stale_writes: int = 0
    orphan_processes: int = 0
    cleanup: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self._database: psycopg.Connection[Any] | None = None
        self.stopping = Event()

    # What there is

    @property
    def database_url(self) -> str:
        """The server itself, past any proxy."""
        return str(self.stack.database_url)

    @property
    def blob_folder(self) -> Path:
        return self.folder / "blobs"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def master(self) -> Program:
        return self.workers[0]

    def redis(self) -> "redis.Redis":
        return redis.Redis.from_url(str(self.stack.redis_url))

    def rows(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        """Ask the database, patiently: the fault may have it."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return self._connection().execute(query, params).fetchall()
            except psycopg.OperationalError:
                self._database = None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def value(self, query: str, *params: object) -> Any:
        return self.rows(query, *params)[0][0]

    def _connection(self) -> "psycopg.Connection[Any]":
        if self._database is None or self._database.closed:
            self._database = psycopg.connect(self.database_url, autocommit=True, application_name="chaos")
        return self._database

    @contextmanager
    def connected(self) -> "Iterator[psycopg.Connection[Any]]":
        """Lend a connection of its own, for one transaction."""
        with psycopg.connect(self.database_url, application_name="chaos") as connection:
            yield connection

    # What happens

    def start_workers(
        self,
        *modules: str,
        processes: int = PROCESSES,
        threads: int = THREADS,
        queues: Sequence[str] = (),
        **environment: str,
    ) -> Program:
        command = worker_command(modules or ("actors",), processes=processes, threads=threads, queues=queues)
        environment["METRICS_PORT"] = str(free_port())
        name = f"workers-{len(self.workers) + 1}"
        program = start_program(
            command, self.environment | environment, processes=processes, folder=self.folder, name=name
        )
        self.workers.append(program)
        return program

    def start_scheduler(self) -> Program:
        name = f"scheduler-{len(self.schedulers) + 1}"
        program = start_program(SCHEDULER, self.environment, processes=0, folder=self.folder, name=name)
        self.schedulers.append(program)
        return program

    def upload(self, uploads: Sequence[Upload]) -> None:
        """Upload like a patient client: what was refused for now is sent again."""
        deadline = time.monotonic() + self.plan.patience_seconds
        for each in uploads:
            while each.name not in self.ids and not self.stopping.is_set() and time.monotonic() < deadline:
                try:
                    receipt = self.producer.receive_document(WORKSPACE, each.name, [each.content])
                    self.ids[each.name] = receipt.document_id
                except TransientError:
                    self.refused_uploads += 1
                    self.stopping.wait(0.3)

    @contextmanager
    def uploading(self, uploads: Sequence[Upload]) -> Iterator[None]:
        thread = Thread(target=self.upload, args=(uploads,), name="uploader", daemon=True)
        thread.start()
        yield
        thread.join(self.plan.patience_seconds)

    @contextmanager
    def blow(self, *, cut_attempts: int = 0, lasts: bool = False) -> Iterator[None]:
        """Strike inside: recovery of what is in flight just before is counted from the end of the block.

        `lasts`: the block takes a while, so what is in flight at its end counts, too.
        """
        self.blows += 1
        self.cut_attempts += cut_attempts
        in_flight = [row[0] for row in self.rows(IN_FLIGHT, list(self.disturbed))]
        yield
        if lasts:
            in_flight += [row[0] for row in self.rows(IN_FLIGHT, list(self.disturbed))]
        self.affected |= dict.fromkeys(in_flight, datetime.now(UTC))

    def count_recovery_from_now(self) -> None:
        """Make one blow of all that were: recovery of whatever they met is counted from here."""
        self.affected = dict.fromkeys(self.affected, datetime.now(UTC))

    def ready(self) -> int:
        return self._documents("ready")

    def terminal(self) -> int:
        return self._documents("ready", "failed")

    def _documents(self, *states: str) -> int:
        query = "SELECT count(*) FROM documents WHERE workspace_id = %s AND state = ANY(%s)"
        return int(self.value(query, WORKSPACE, list(states)))

    def wait_for_ready(self, count: int) -> None:
        wait_until(lambda: self.ready() >= count, seconds=self.plan.patience_seconds, what=f"{count} ready")

    def wait_until_quiet(self) -> None:
        """Wait until documents and jobs have ended; giving up is for the invariants to judge."""
        unfinished = "SELECT count(*) FROM jobs WHERE finished_at IS NULL"
        with suppress(TimeoutError):
            wait_until(
                lambda: self.terminal() >= len(self.uploads) and not self.value(unfinished),
                seconds=self.plan.patience_seconds,
                what="every document terminal",
            )

    def stop(self) -> None:
        """Shut everything down as a deployment does, and count what does not go."""
        programs = [*self.schedulers, *self.workers]
        for program in programs:
            program._stopping.set()
            program.master.terminate()
        with suppress(TimeoutError):
            wait_until(lambda: not any(map(_lives, programs)), seconds=40, what="shutdown")
        self.orphan_processes = sum(len(_lives(program)) for program in programs)

    def close(self) -> None:
        self.stopping.set()
        for program in [*self.schedulers, *self.workers]:
            program.close()
        self.producer.pool.close()
        self.cleanup.close()


def _lives(program: Program) -> list[int]:
    program.master.poll()
    return program.processes()


@contextmanager
def a_site(
    plan: Plan,
    uploads: Sequence[Upload],
    *,
    extra: dict[str, str],
    proxied: Callable[["Stack", Path], Any] | None,
) -> Iterator[Site]:
    """Open servers that keep what they promise (fsync on) and a producer over them; no worker runs yet."""
    with ExitStack() as cleanup:
        folder = cleanup.enter_context(short_folder())
        stack = cleanup.enter_context(embedded_stack(folder / "data"))
        server = CountingServer(dimensions=DIMENSIONS, seconds_per_request=0.02)
        cleanup.enter_context(server)
        (folder / "tmp").mkdir(mode=0o700)
        addresses = {"DATABASE_URL": str(stack.database_url), "REDIS_URL": str(stack.redis_url)}
        configured = _configuration(plan, folder, server) | extra
        prepare_database(settings_of(configured | addresses))
        if proxied:
            addresses |= cleanup.enter_context(proxied(stack, folder))
        environment = configured | addresses
        producer = make_producer(settings_of(environment))
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        site = Site(plan, folder, stack, server, inherited | environment, producer, uploads)
        cleanup.callback(site.close)
        yield site


def _configuration(plan: Plan, folder: Path, server: CountingServer) -> dict[str, str]:
    return {
        "BLOB_URL": f"file://{folder}/blobs",
        "EMBEDDING_PROVIDER": "openai",
        "EMBEDDING_MODEL": "chaos",
        "EMBEDDING_DIMENSIONS": str(DIMENSIONS),
        "EMBEDDING_INPUTS_PER_REQUEST": str(BATCH_TEXTS),
        "EMBEDDING_REQUESTS_AT_A_TIME": str(BATCHES_AT_A_TIME),
        "EMBEDDING_TIMEOUT_SECONDS": "5",
        "OPENAI_BASE_URL": server.url,
        "CHUNK_TOKENS": "128",
        "LEASE_SECONDS": str(plan.lease_seconds),
        "HEARTBEAT_SECONDS": str(plan.heartbeat_seconds),
        "LOG_FORMAT": "json",
        "TMPDIR": str(folder / "tmp"),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings_of(environment: dict[str, str]) -> Settings:
    given = {name.lower(): value for name, value in environment.items()}
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]
