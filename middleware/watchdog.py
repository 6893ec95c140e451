"""Tell whether this process still makes progress: a beacon file for the exporter, an exit for a dead thread."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import monotonic

import structlog
from dramatiq.worker import ConsumerThread, Worker

log = structlog.get_logger(__name__)

BEACON_SECONDS = 1.0

#: A thread that made no progress for this long turns liveness red.
STUCK_SECONDS = 30.0

#: sysexits(3) EX_SOFTWARE; the process manager restarts the workers.
EXIT_DEAD_THREAD = 70


class Watchdog(Thread):
    """Touches the process's beacon while consumers, worker threads, lease keeper and relay all live and move.

    Dramatiq never replaces a thread that died. Then the process exits, its jobs are rescued, and its master and the
    process manager start new workers. A process whose master died drains: nobody would stop it any more.
    """

    def __init__(
        self,
        worker: Worker,
        beacon: Path,
        *,
        progress: Mapping[str, Callable[[], float]],
        on_beat: Callable[[], None],
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._worker = worker
        self._beacon = beacon
        self._progress = progress
        self._on_beat = on_beat
        self._master = os.getppid()
        self._is_draining = False

    def run(self) -> None:
        """Check every second, as long as the process lives."""
        while True:
            time.sleep(BEACON_SECONDS)
            self.look()

    def look(self) -> None:
        """Check once."""
        if not self._is_draining:
            self._drain_when_the_master_died()
            self._exit_when_a_thread_died()
        if self._is_draining or not self._stuck_threads():
            self._show_beacon()
        self._on_beat()

    def drain(self) -> None:
        """Expect threads to end: the process shuts down and is alive until it is gone."""
        self._is_draining = True

    def _drain_when_the_master_died(self) -> None:
        if os.getppid() != self._master:
            log.critical("master_died", next="this process finishes what it runs and exits")
            self.drain()
            os.kill(os.getpid(), signal.SIGTERM)

    def _show_beacon(self) -> None:
        with suppress(OSError):  # the exporter removes the folder with the master; a full disk must not end this thread
            self._beacon.touch()

    def _exit_when_a_thread_died(self) -> None:
        dead = self._dead_threads()
        if dead and not self._is_draining:
            log.critical("thread_died", threads=dead, next="this process exits, its jobs are rescued")
            os._exit(EXIT_DEAD_THREAD)

    def _dead_threads(self) -> list[str]:
        threads = [*self._worker.workers, *self._worker.consumers.values()]
        return [thread.name for thread in threads if not thread.is_alive()]

    def _stuck_threads(self) -> list[str]:
        last = {name: moved() for name, moved in self._progress.items()} | self._last_of_consumers()
        return [name for name, moved_at in last.items() if monotonic() - moved_at > STUCK_SECONDS]

    def _last_of_consumers(self) -> dict[str, float]:
        """Ask the consumers that tell; between two connections a consumer thread has none."""
        found = {name: getattr(thread.consumer, "last_progress", None) for name, thread in self._consumers()}
        return {name: moved_at for name, moved_at in found.items() if moved_at is not None}

    def _consumers(self) -> list[tuple[str, ConsumerThread]]:
        return list(self._worker.consumers.items())
