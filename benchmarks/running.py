"""A contender at work: its worker processes, the process that sends to it, and how one sees that it is done."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psycopg

from adapters.embedded.processes import LeashedProcess
from benchmarks.contenders import Contender, bullmq_folder
from benchmarks.contenders.body import LOCAL_DIMENSIONS, REMOTE_DIMENSIONS, create_tables
from benchmarks.contenders.marks import read_marks
from benchmarks.marked import MARK, kill, marked
from benchmarks.servers import Servers, headrace_settings, prepare_headrace

ROOT = Path(__file__).parents[1]
STOP_STEPS = ((signal.SIGTERM, 15.0),)
LOOK_SECONDS = 0.002

_READY = {
    "headrace": "SELECT count(*) FROM documents WHERE state = 'ready'",
    "others": "SELECT count(*) FROM bench_documents",
}
_FAILED = "SELECT count(*), min(failure_message) FROM documents WHERE state = 'failed'"
_UNFINISHED = "SELECT count(*) FROM jobs WHERE finished_at IS NULL"


class DidNotFinishError(Exception):
    """A contender failed or took longer than the run's patience."""


@dataclass
class Running:
    """One contender, sent to and watched."""

    contender: Contender
    environment: Mapping[str, str]
    folder: Path
    watcher: "psycopg.Connection[Any]"
    producer: "subprocess.Popen[str]"
    patience_seconds: float
    mark: str
    sent_noops: int = 0

    def send_document(self, path: Path, workspace: int = 0) -> dict[str, Any]:
        """Send one document; return when that began and how long it took."""
        return self._order({"path": str(path), "workspace": workspace})

    def send_noops(self, count: int) -> dict[str, Any]:
        """Send some no-op jobs, numbered on from the last."""
        first, self.sent_noops = self.sent_noops, self.sent_noops + count
        return {"first": first} | self._order({"first": first, "count": count})

    def ready(self) -> int:
        """Count the documents that can be searched."""
        kind = "headrace" if self.contender.name == "headrace" else "others"
        return self._count(_READY[kind])

    def wait_until_ready(self, count: int, *, look_seconds: float = LOOK_SECONDS, patience: float | None = None) -> int:
        """Wait for that many documents; return when (nanoseconds)."""
        self.wait(lambda: self.ready() >= count, look_seconds=look_seconds, patience=patience)
        return time.monotonic_ns()

    def wait_for_noops(self, count: int) -> dict[int, int]:
        """Wait until that many no-op jobs have run, and Headrace has written it down; return when each ran."""
        effects = Path(self.environment["BENCH_EFFECTS"])
        self.wait(lambda: effects.exists() and effects.stat().st_size >= count * 16)
        if self.contender.name == "headrace":
            self.wait(lambda: self._count(_UNFINISHED) == 0, look_seconds=0.01)
        return read_marks(effects)

    def wait(
        self, done: Callable[[], bool], *, look_seconds: float = LOOK_SECONDS, patience: float | None = None
    ) -> None:
        """Wait; raise DidNotFinishError when it failed or takes too long."""
        look_again_at = time.monotonic() + 2
        deadline = time.monotonic() + (patience or self.patience_seconds)
        while not done():
            time.sleep(look_seconds)
            if time.monotonic() > look_again_at:
                look_again_at = time.monotonic() + 2
                self._raise_when_failed()
            if time.monotonic() > deadline:
                raise DidNotFinishError(f"{self.contender.label} took too long.\n{self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what its processes said."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(log.read_text(errors="replace")[-3000:] for log in logs)

    def processes(self) -> list[int]:
        """Return the pids of everything that this contender runs."""
        return marked(self.mark)

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self.producer.stdin is not None
        assert self.producer.stdout is not None
        self.producer.stdin.write(json.dumps(order) + "\n")
        self.producer.stdin.flush()
        answer = self.producer.stdout.readline()
        if not answer.startswith("{"):
            raise DidNotFinishError(f"{self.contender.label} cannot send: {answer}\n{self.last_words()}")
        found: dict[str, Any] = json.loads(answer)
        return found

    def _raise_when_failed(self) -> None:
        if self.contender.name == "headrace":
            row = self.watcher.execute(_FAILED).fetchone()
            if row and row[0]:
                raise DidNotFinishError(f"{row[0]} documents failed: {row[1]}")
        if self.producer.poll() is not None:
            raise DidNotFinishError(f"the producer of {self.contender.label} ended\n{self.last_words()}")

    def _count(self, query: str) -> int:
        row = self.watcher.execute(query).fetchone()
        return int(row[0]) if row else 0


@contextmanager
def running(
    contender: Contender,
    servers: Servers,
    database_url: str,
    *,
    kind: str,
    patience_seconds: float,
    embeddings_url: str = "",
    settings: Mapping[str, str] | None = None,
    workers: bool = True,
) -> Iterator[Running]:
    """Prepare the database, start workers and producer; stop them at the end. `kind`: documents or rails."""
    with TemporaryDirectory(prefix="run-", dir=servers.folder) as name, ExitStack() as stack:
        folder, mark = Path(name), uuid4().hex
        environment = _environment(contender, servers, database_url, folder, kind, embeddings_url, mark)
        environment |= dict(settings or {})
        stack.callback(kill, mark)
        _prepare(contender, environment, embeddings_url)
        watcher = stack.enter_context(closing(psycopg.connect(database_url, autocommit=True)))
        watcher.prepare_threshold = 1
        producer = _start_producer(contender, environment, folder)
        stack.callback(_end_producer, producer)
        run = Running(contender, environment, folder, watcher, producer, patience_seconds, mark)
        if workers:
            stack.enter_context(working(run, kind))
        yield run


@contextmanager
def working(run: Running, kind: str) -> Iterator[None]:
    """Run the contender's workers until the block ends."""
    commands = run.contender.workers(kind, is_remote=bool(run.environment["BENCH_EMBEDDINGS_URL"]))
    processes = [_start(command, run, number) for number, command in enumerate(commands)]
    try:
        yield
    finally:
        for process in processes:
            process.ask_to_stop()
        for process in processes:
            process.stop()


def _environment(
    contender: Contender, servers: Servers, url: str, folder: Path, kind: str, embeddings_url: str, mark: str
) -> dict[str, str]:
    """Tell the processes what they need, and nothing of ours besides."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    temporary = folder / "tmp"
    temporary.mkdir()
    ours = headrace_settings(url, servers, embeddings_url=embeddings_url) if contender.name == "headrace" else {}
    return {
        **inherited,
        **ours,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(temporary),
        "BENCH_DATABASE_URL": url,
        "BENCH_REDIS_SOCKET": servers.redis_socket,
        "BENCH_EFFECTS": str(folder / f"effects.{kind}"),
        "BENCH_EMBEDDINGS_URL": embeddings_url,
        "BENCH_BULLMQ": str(bullmq_folder() or ""),
        MARK: mark,
    }


def _prepare(contender: Contender, environment: Mapping[str, str], embeddings_url: str) -> None:
    if contender.name == "headrace":
        prepare_headrace({name: value for name, value in environment.items() if not name.startswith("BENCH_")})
        return
    dimensions = REMOTE_DIMENSIONS if embeddings_url else LOCAL_DIMENSIONS
    create_tables(environment["BENCH_DATABASE_URL"], dimensions=dimensions, index=contender.indexed)
    for command in contender.prepare:
        subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, timeout=60)


def _start(command: Sequence[str], run: Running, number: int) -> LeashedProcess:
    log = os.open(run.folder / f"worker-{number}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return LeashedProcess(command, output=log, stop_steps=STOP_STEPS, environment=run.environment, folder=ROOT)
    finally:
        os.close(log)


def _start_producer(contender: Contender, environment: Mapping[str, str], folder: Path) -> "subprocess.Popen[str]":
    with (folder / "producer.log").open("ab") as log:
        return subprocess.Popen(
            contender.producer,
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )


def _end_producer(producer: "subprocess.Popen[str]") -> None:
    """Close its input, on which it ends; a pool of processes may not notice."""
    assert producer.stdin is not None
    assert producer.stdout is not None
    with suppress(BrokenPipeError):
        producer.stdin.close()
    try:
        producer.wait(5)
    except subprocess.TimeoutExpired:
        producer.kill()
        producer.wait()
    producer.stdout.close()
