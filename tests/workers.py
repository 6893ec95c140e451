"""Real `dramatiq actors` processes for a test, under a process manager that restarts them when asked to.

    with running_workers(environment, processes=2) as workers:
        os.kill(workers.pids[0], signal.SIGKILL)
        workers.wait_until(lambda: "job_rescued" in workers.log)

Every process that descends from a run carries a mark in its environment. When the context ends, whatever still
carries it is killed, also when the test failed.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from uuid import uuid4

from adapters.exporter.folder import folder_of, live_workers

ROOT = Path(__file__).parents[1]
MARK = "HEADRACE_TEST_RUN"
BOOT_SECONDS = 30.0
RESTART_PAUSE_SECONDS = 0.2


@dataclass
class Workers:
    """One master and what descends from it."""

    command: Sequence[str]
    environment: Mapping[str, str]
    log_file: Path
    process_count: int
    restart: bool
    mark: str = field(default_factory=lambda: uuid4().hex)
    starts: list[float] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopping = Event()
        self._manager = Thread(target=self._manage, daemon=True)
        self._log = self.log_file.open("ab")
        self.master = self._start()

    @property
    def folder(self) -> Path:
        """Where the master's workers keep metrics and beacons."""
        return self.folders[-1]

    @property
    def pids(self) -> list[int]:
        """The worker processes that run now."""
        return live_workers(self.folder)

    @property
    def log(self) -> str:
        """Everything that was said so far."""
        return self.log_file.read_text(errors="replace")

    def processes(self) -> list[int]:
        """Return every live process of this run: workers, parsers, exporter."""
        return [pid for pid in _pids() if _carries(pid, f"{MARK}={self.mark}")]

    def wait_until_ready(self) -> None:
        """Wait until every worker process has shown its beacon."""
        self.wait_until(lambda: len(self.pids) == self.process_count, seconds=BOOT_SECONDS)

    def wait_until(self, condition: Callable[[], object], *, seconds: float = 20) -> None:
        """Wait for a condition; fail with the log when it does not come true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s; the log ends:\n{self.log[-6000:]}"
            time.sleep(0.05)

    def terminate(self, *, seconds: float = 30) -> int:
        """Ask the master to drain, as a deployment does; return its exit code."""
        self._stopping.set()
        self.master.terminate()
        return self.master.wait(timeout=seconds)

    def manage(self) -> None:
        """Begin to restart the master whenever it ends."""
        self._manager.start()

    def close(self) -> None:
        """Kill whatever is left."""
        self._stopping.set()
        if self._manager.ident:
            self._manager.join()
        for _ in range(20):
            left = self.processes()
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self.master.wait(timeout=0.1)
            if not left:
                break
        self._log.close()
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts.append(time.monotonic())
        master = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env={**self.environment, MARK: self.mark},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        self.folders.append(folder_of(master.pid))
        return master

    def _manage(self) -> None:
        while not self._stopping.wait(0.05):
            code = self.master.poll()
            if code is not None:
                self.exit_codes.append(code)
                if not self.restart or self._stopping.wait(RESTART_PAUSE_SECONDS):
                    return
                self.master = self._start()


@contextmanager
def running_workers(
    environment: Mapping[str, str],
    *,
    modules: Sequence[str] = ("actors", "tests.e2e.extra_actors"),
    processes: int = 2,
    threads: int = 4,
    queues: Sequence[str] = (),
    restart: bool = False,
    wait: bool = True,
) -> Iterator[Workers]:
    """Run `dramatiq` over these modules; wait until it can take jobs unless told otherwise."""
    command = [sys.executable, "-m", "dramatiq", *modules, "--processes", str(processes), "--threads", str(threads)]
    command += ["--worker-shutdown-timeout", "20000", *(["--queues", *queues] if queues else [])]
    with started(command, environment, processes=processes, restart=restart) as workers:
        if wait:
            workers.wait_until_ready()
        yield workers


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], *, processes: int = 0, restart: bool = False
) -> Iterator[Workers]:
    """Run any command of this kind, such as `periodiq actors`, and kill what is left of it at the end."""
    with TemporaryDirectory(prefix="hr-log-") as folder:
        workers = Workers(command, environment, Path(folder) / "log", processes, restart)
        try:
            workers.manage()
            yield workers
        finally:
            workers.close()


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _carries(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
