"""The folder that the workers of one master and their exporter share."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time

LOCK = "exporter.lock"
BEACON = "alive-"

#: A beacon older than this belongs to a process that makes no progress.
BEACON_STALE_SECONDS = 15.0


@contextmanager
def exporter_lock(folder: Path) -> Iterator[bool]:
    """Hold the right to be the exporter; yields False when another process has it."""
    with (folder / LOCK).open("w") as file:
        yield _try_lock(file.fileno())


def is_locked(folder: Path) -> bool:
    """Tell whether an exporter is running."""
    with exporter_lock(folder) as is_mine:
        return not is_mine


def stuck_workers(folder: Path) -> list[int]:
    """Return the live worker processes that stopped making progress."""
    beacons = {int(path.name.removeprefix(BEACON)): path for path in folder.glob(f"{BEACON}*")}
    return sorted(pid for pid, path in beacons.items() if is_alive(pid) and _age_seconds(path) > BEACON_STALE_SECONDS)


def live_workers(folder: Path) -> list[int]:
    """Return the worker processes that have shown a beacon and still exist."""
    pids = (int(path.name.removeprefix(BEACON)) for path in folder.glob(f"{BEACON}*"))
    return sorted(pid for pid in pids if is_alive(pid))


def is_alive(pid: int) -> bool:
    """Tell whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _age_seconds(path: Path) -> float:
    try:
        return time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
