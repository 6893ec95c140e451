"""The contenders: one small module each, started as its own documentation advises."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks.sizes import HEADRACE_RAILS_THREADS, HEADRACE_REMOTE_THREADS, PROCESSES, RAILS_THREADS, THREADS, Sizes

PYTHON = sys.executable
SCRIPTS = Path(sys.executable).parent
HERE = "benchmarks.contenders"
Command = tuple[str, ...]


@dataclass(frozen=True)
class Contender:
    """What is measured. `documents` and `rails` are the commands of its workers; none means that it has no workers.

    `remote`: those for documents over a remote embedder, if they are others.
    """

    name: str
    label: str
    module: str
    needs: tuple[str, ...] = ()
    documents: tuple[Command, ...] = ()
    rails: tuple[Command, ...] = ()
    remote: tuple[Command, ...] = ()
    prepare: tuple[Command, ...] = ()
    indexed: bool = True
    slow: bool = False
    note: str = field(default="", compare=False)

    @property
    def missing(self) -> str | None:
        """Say which package is not installed; None when all are."""
        absent = [need for need in self.needs if not _is_there(need)]
        return f"not installed: {', '.join(absent)}" if absent else None

    @property
    def producer(self) -> Command:
        """The command of the process that sends."""
        if self.module.endswith(".mjs"):
            return ("node", self.module, "producer")
        return (PYTHON, "-m", "benchmarks.producer", self.module)

    def workers(self, kind: str, *, is_remote: bool) -> tuple[Command, ...]:
        """Return the commands of its workers."""
        if kind == "rails":
            return self.rails
        return self.remote if is_remote and self.remote else self.documents

    def noops(self, sizes: Sizes) -> int:
        """Return how many no-op jobs it gets."""
        from benchmarks.sizes import SLOW_SHARE

        return max(50, sizes.noops // SLOW_SHARE) if self.slow else sizes.noops


def bullmq_folder() -> Path | None:
    """Find where `make bench` has put BullMQ."""
    places = [Path(os.environ.get("BENCH_BULLMQ", "")), Path(sys.prefix) / "node"]
    return next((place for place in places if (place / "node_modules" / "bullmq").is_dir()), None)


def _is_there(need: str) -> bool:
    return bullmq_folder() is not None if need == "bullmq" else find_spec(need) is not None


def _dramatiq(module: str, threads: int) -> Command:
    return (PYTHON, "-m", "dramatiq", module, "--processes", str(PROCESSES), "--threads", str(threads))


def _celery(*options: str) -> Command:
    app = (f"--app={HERE}.celery_prefork", "worker", "--loglevel=WARNING", f"--concurrency={PROCESSES}")
    return (PYTHON, "-m", "celery", *app, *options)


def _each(*command: str) -> tuple[Command, ...]:
    return (command,) * PROCESSES


_BULLMQ = str(Path(__file__).with_name("bullmq.mjs"))
_PROCRASTINATE = (PYTHON, "-m", "procrastinate", f"--app={HERE}.procrastinate_app.app")
_LANGCHAIN = ("langchain_community", "langchain_postgres", "langchain_text_splitters")

ALL = (
    Contender(
        "headrace",
        "Headrace",
        f"{HERE}.headrace",
        documents=(_dramatiq("actors", THREADS),),
        rails=(_dramatiq(f"{HERE}.headrace", HEADRACE_RAILS_THREADS),),
        remote=(_dramatiq("actors", HEADRACE_REMOTE_THREADS),),
    ),
    Contender("bare", "bare limit", f"{HERE}.bare_limit"),
    Contender("bare_unindexed", "bare limit, no vector index", f"{HERE}.bare_limit", indexed=False),
    Contender("bare_tuned", "bare limit, tuned, no index", f"{HERE}.bare_tuned", indexed=False),
    Contender("bare_remote", "bare limit, no vector index", f"{HERE}.bare_remote", indexed=False),
    Contender("parser", "parsing alone", f"{HERE}.bare_parser", indexed=False),
    Contender("langchain_1", "LangChain, one process", f"{HERE}.langchain_1", _LANGCHAIN),
    Contender("langchain_2", "LangChain, two processes", f"{HERE}.langchain_2", _LANGCHAIN),
    Contender(
        "celery",
        "Celery prefork",
        f"{HERE}.celery_prefork",
        ("celery",),
        documents=(_celery("--prefetch-multiplier=1"),),
        rails=(_celery(),),
    ),
    Contender(
        "rq",
        "RQ default worker",
        f"{HERE}.rq_jobs",
        ("rq",),
        documents=_each(PYTHON, "-m", f"{HERE}.rq_jobs", "default"),
        rails=_each(PYTHON, "-m", f"{HERE}.rq_jobs", "default"),
        slow=True,
    ),
    Contender(
        "rq_preloaded",
        "RQ preloaded",
        f"{HERE}.rq_jobs",
        ("rq",),
        documents=_each(PYTHON, "-m", f"{HERE}.rq_jobs", "preloaded"),
        rails=_each(PYTHON, "-m", f"{HERE}.rq_jobs", "preloaded"),
    ),
    Contender(
        "arq",
        "ARQ",
        f"{HERE}.arq_async",
        ("arq",),
        documents=_each(str(SCRIPTS / "arq"), f"{HERE}.arq_async.WorkerSettings"),
        rails=_each(str(SCRIPTS / "arq"), f"{HERE}.arq_async.WorkerSettings"),
    ),
    Contender(
        "dramatiq",
        "Dramatiq on Redis",
        f"{HERE}.dramatiq_redis",
        documents=(_dramatiq(f"{HERE}.dramatiq_redis", 1),),
        rails=(_dramatiq(f"{HERE}.dramatiq_redis", RAILS_THREADS),),
        note="one thread a process for documents: PyMuPDF is not thread-safe",
    ),
    Contender(
        "procrastinate",
        "Procrastinate",
        f"{HERE}.procrastinate_app",
        ("procrastinate",),
        rails=_each(*_PROCRASTINATE, "worker", "--concurrency", str(RAILS_THREADS)),
        prepare=((*_PROCRASTINATE, "schema", "--apply"),),
    ),
    Contender("bullmq", "BullMQ", _BULLMQ, ("bullmq",), rails=_each("node", _BULLMQ, "worker")),
)


def named(names: Sequence[str]) -> list[Contender]:
    """Return contenders by name, in that order."""
    by_name = {each.name: each for each in ALL}
    return [by_name[name] for name in names]
