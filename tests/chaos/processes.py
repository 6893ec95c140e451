"""The processes of a run, and the ways to hurt them."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from adapters.exporter.folder import live_workers, start_time
from tests.workers import MARK, Workers, _carries, _pids

SCHEDULER = [sys.executable, "-c", "from periodiq import entrypoint; entrypoint()", "actors"]


def worker_command(modules: Sequence[str], *, processes: int, threads: int, queues: Sequence[str] = ()) -> list[str]:
    sizes = ["--processes", str(processes), "--threads", str(threads), "--worker-shutdown-timeout", "20000"]
    return [sys.executable, "-m", "dramatiq", *modules, *sizes, *(["--queues", *queues] if queues else [])]


@dataclass
class Program(Workers):
    """A master and what descends from it, restarted whenever it ends, with a temporary folder of its own."""

    temporary: Path = Path()

    @property
    def folder(self) -> Path:
        pid = self.master.pid
        return self.temporary / f"headrace-{os.getuid()}" / f"{pid}-{start_time(pid)}"

    @property
    def is_ready(self) -> bool:
        return len(self.pids) >= self.process_count

    def kill_worker(self, number: int = 0) -> int:
        """Kill one worker process with signal 9; return its pid."""
        self.wait_until_ready()
        pid = live_workers(self.folder)[number]
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_until_restarted(self, starts: int, *, seconds: float = 60) -> None:
        """Wait until the process manager has started it more than `starts` times and its workers take jobs."""
        self.wait_until(lambda: len(self.starts) > starts and self.is_ready, seconds=seconds)

    def find(self, words: str) -> list[int]:
        """Return the live processes of this run whose command line has these words."""
        return [pid for pid in self.processes() if words in command_line(pid)]

    def parsers(self) -> list[int]:
        """Return the sandboxed parser processes: what the fork servers have forked."""
        servers = set(self.find("adapters.pdf.warm"))
        return [pid for pid in servers if parent(pid) in servers]


def start_program(
    command: Sequence[str], environment: Mapping[str, str], *, processes: int, folder: Path, name: str
) -> Program:
    log = folder / "logs" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    program = Program(command, environment, log, processes, True, temporary=folder / "tmp")
    program.manage()
    return program


def command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def parent(pid: int) -> int:
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def is_zombie(pid: int) -> bool:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def wait_until(condition: Callable[[], object], *, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


def carriers(mark: str) -> list[int]:
    """Return every live process that carries a run's mark."""
    return [pid for pid in _pids() if _carries(pid, f"{MARK}={mark}") and not is_zombie(pid)]
