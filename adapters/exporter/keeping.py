"""Keep one exporter process running beside the workers of a master, whoever of them dies."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from adapters.exporter.folder import is_locked

CHECK_SECONDS = 2.0
#: Waited after an exporter ended at once, as it does when its port is taken.
BACKOFF_SECONDS = 30.0


@contextmanager
def keep_exporter(folder: Path, *, is_wanted: bool) -> Iterator[None]:
    """Start the exporter unless another worker did, and again whenever it is gone.

    The exporter is no child to wait for: it outlives the worker that started it and ends with the master, so that
    `/metrics` answers during a drain.
    """
    _reserve_room(folder)
    stop = Event()
    if not is_wanted:
        stop.set()
    thread = Thread(target=_keep, args=(folder, stop), name="exporter-keeper", daemon=True)
    thread.start()
    yield
    stop.set()


def _reserve_room(folder: Path) -> None:
    """Give the workers' files of metrics, which begin as holes, their room on the disk now.

    They are memory to the workers: with no room left at its first use, the kernel kills a worker with SIGBUS.
    """
    if sys.platform == "darwin":
        return  # has no posix_fallocate
    with suppress(OSError):  # the folder may go with the master, and a disk that is full already stops no start
        for path in folder.glob("*.db"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _keep(folder: Path, stop: Event) -> None:
    while not stop.is_set():
        try:
            has_failed = not is_locked(folder) and bool(_wait(_start(folder), stop))
        except FileNotFoundError:
            return  # the folder went with the master
        except OSError as error:  # no room for the lock's file, no more processes: in a while perhaps
            sys.stderr.write(f"The metrics exporter cannot start: {error}. Tried again in {BACKOFF_SECONDS:.0f} s.\n")
            has_failed = True
        stop.wait(BACKOFF_SECONDS if has_failed else CHECK_SECONDS)


def _start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "adapters.exporter", "--folder", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)


def _wait(process: subprocess.Popen[bytes], stop: Event) -> int | None:
    """Return the exit code; None when this worker stops first, or a signal killed the exporter."""
    while not stop.wait(CHECK_SECONDS / 4):
        code = process.poll()
        if code is not None:
            return code if code > 0 else None
    return None
