"""The folder that the workers of one master and their exporter share.

It is named after the master's process id and start time: fresh for every run, though process ids come back.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from time import time

LOCK = "exporter.lock"
BEACON = "alive-"

#: A beacon older than this belongs to a process that makes no progress.
BEACON_STALE_SECONDS = 15.0


def folder_of(master_pid: int) -> Path:
    """Name the folder of a running master, in the first one for our user that is not somebody else's."""
    names = (f"headrace-{os.getuid()}{suffix}" for suffix in chain([""], (f"-{number}" for number in count(1))))
    candidates = (Path(tempfile.gettempdir()) / name for name in names)
    return next(filter(_is_ours_to_use, candidates)) / f"{master_pid}-{start_time(master_pid)}"


def _is_ours_to_use(folder: Path) -> bool:
    """Tell whether it does not exist yet, or nobody else can put anything into it.

    Anyone may write to the temporary folder: a link of this name would have us remove folders where it points to.
    """
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o002


def open_folder(pid: int) -> Path:
    """Create the folder of a running process, a master or one of its workers, and remove those of dead ones."""
    folder = folder_of(pid)
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    for other in folder.parent.glob("*-*"):
        if not is_master_alive(other):
            shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def is_master_alive(folder: Path) -> bool:
    """Tell whether the master that a folder is named after still runs."""
    pid, _, started = folder.name.partition("-")
    return not pid.isdigit() or start_time(int(pid)) == started


def start_time(pid: int) -> str:
    """Tell when a process started, in clock ticks after boot (proc(5), field 22); without /proc, whether it lives."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return "0" if is_alive(pid) and not Path("/proc/self").exists() else "gone"


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
