"""A throw-away installation: servers and workers of our own in a temporary folder, for the demo and the corpus run."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.bootstrap import prepare_database
from adapters.cli.place import own_place
from adapters.cli.programs import worker_command
from adapters.embedded.errors import EmbeddedError
from adapters.embedded.processes import LeashedProcess
from adapters.embedded.programs import WORKER_STOP
from adapters.embedded.stack import embedded_stack
from adapters.settings import Settings, load_settings

#: Nobody keeps what is in it: without waiting for the disk it starts and runs faster.
START_SECONDS, LOOK_SECONDS = 60.0, 0.02
QUICK_POSTGRES = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class Installation:
    """What runs. `worker` is Dramatiq's master process; what the workers say is in `log`."""

    settings: Settings
    folder: Path
    worker: LeashedProcess
    versions: Mapping[str, str]
    log: Path

    def wait_for_workers(self, is_up: Callable[[], bool]) -> None:
        """Wait until workers take jobs. Raises EmbeddedError with their last words if they cannot."""
        deadline = time.monotonic() + START_SECONDS
        while not is_up():
            if self.worker.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedError(f"The workers did not start. Their last words:\n{self.last_words()}")
            time.sleep(LOOK_SECONDS)

    def patience(self, seconds: float) -> Callable[[], bool]:
        """Return what tells whether waiting has become vain: the time is over, or the workers are gone."""
        deadline = time.monotonic() + seconds
        return lambda: time.monotonic() > deadline or self.worker.poll() is not None

    def last_words(self, lines: int = 12) -> str:
        """Return the end of what the workers said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def temporary_folder(*, keep: bool = False) -> Iterator[Path]:
    """Make a folder that the servers' account can enter, also when root runs them; remove it unless it is kept."""
    with _ended_in_order():
        folder = Path(tempfile.mkdtemp(prefix="headrace-"))
        folder.chmod(0o711)
        try:
            yield folder
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM, and a terminal that is closed, end the block like Ctrl-C: what it made is taken down."""
    ends = [signum for signum in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(signum) is signal.SIG_DFL]
    for signum in ends:
        signal.signal(signum, lambda signum, _: sys.exit(128 + signum))
    try:
        yield
    finally:
        for signum in ends:
            signal.signal(signum, signal.SIG_DFL)


@contextmanager
def own_installation(folder: Path, *, processes: int = 1, threads: int = 4) -> Iterator[Installation]:
    """Run servers and workers in the folder until the block ends, whatever DATABASE_URL and REDIS_URL name.

    Other settings, such as the embedder's, are the person's. No metrics port is opened.
    """
    with embedded_stack(folder, postgres_settings=QUICK_POSTGRES) as stack:
        place = own_place(stack)
        settings = load_settings({**place.addresses, "metrics_port": 0})
        prepare_database(settings)
        log = folder / "logs" / "workers.log"
        temporary = folder / "tmp"
        temporary.mkdir(mode=0o700)
        environment = [*place.environment, "METRICS_PORT=0", f"TMPDIR={temporary}"]  # nothing of theirs stays behind
        worker = _start(worker_command(environment, processes=processes, threads=threads), log)
        try:
            yield Installation(settings, folder, worker, stack.versions, log)
        finally:
            worker.stop()


def _start(command: list[str], log: Path) -> LeashedProcess:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return LeashedProcess(command, output=output, stop_steps=WORKER_STOP)
    finally:
        os.close(output)
