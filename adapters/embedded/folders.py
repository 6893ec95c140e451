"""The data folder: what lies where, who may use it, and who does."""

import contextlib
import fcntl
import hashlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded.accounts import Account, am_root, server_account
from adapters.embedded.errors import EmbeddedError, FolderInUseError

SOCKET_PATH_BYTES = 103  # macOS allows 104 with the final NUL, Linux 108
LONGEST_SOCKET_NAME = ".s.PGSQL.65535.lock"
FORMER_OWNER_SECONDS = 45.0
LOG_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The paths of one embedded installation, made and owned as they must be."""

    root: Path
    sockets: Path
    account: Account | None

    @property
    def postgres(self) -> Path:
        """PostgreSQL's own folder."""
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        """Valkey's own folder, empty unless it persists."""
        return self.root / "valkey"

    @property
    def logs(self) -> Path:
        """What the servers say."""
        return self.root / "logs"

    @property
    def copies(self) -> Path:
        """Server programs that had to be copied out of their wheels."""
        return self.root / "programs"

    @contextlib.contextmanager
    def log(self, name: str) -> Iterator[int]:
        """Open a server's log for appending, as a descriptor; a large one is set aside first."""
        path = self.logs / f"{name}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def log_end(self, name: str, lines: int = 8) -> str:
        """Return the last lines of a server's log, for an error message."""
        path = self.logs / f"{name}.log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def give(self, path: Path) -> None:
        """Make a folder that only the servers' account, and root, can enter."""
        path.mkdir(mode=0o700, exist_ok=True)
        if self.account is not None and path.stat().st_uid != self.account.uid:
            os.chown(path, self.account.uid, self.account.gid)
        path.chmod(0o700)


def default_data_dir() -> Path:
    """Return the platform's place for data: one for the machine as root, else one of the user's."""
    if am_root():
        return Path("/var/lib/headrace")
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/headrace"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "headrace"  # the platform's word


def open_folder(root: Path) -> DataFolder:
    """Make the data folder and what lies in it. Never touches the permissions of anything above it."""
    try:
        root = root.resolve()
        make_folder(root)
        account = server_account(root / "postgres")
        if account is not None:
            _check_reachable(root, account)
        folder = DataFolder(root, _socket_folder(root), account)
        folder.logs.mkdir(mode=0o700, exist_ok=True)
        for path in (folder.valkey, folder.sockets):
            folder.give(path)
    except PermissionError as error:
        raise EmbeddedError(f"{error.filename} belongs to another user: choose another data folder") from error
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
        raise EmbeddedError(f"{root} cannot be a data folder ({reason}); choose another one") from error
    return folder


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing; as root, for others to enter whatever the umask."""
    if path.is_dir():
        return
    make_folder(path.parent)
    mode = 0o755 if am_root() else 0o700
    path.mkdir(mode, exist_ok=True)
    path.chmod(mode)


def _check_reachable(root: Path, account: Account) -> None:
    for path in (root, *root.parents):
        status = path.stat()
        bit = 0o100 if status.st_uid == account.uid else 0o010 if status.st_gid == account.gid else 0o001
        if not status.st_mode & bit:
            raise EmbeddedError(
                f"user {account.name}, who runs the servers for root, cannot enter {path}; choose a data folder "
                "outside of it, such as /var/lib/headrace"
            )


def _socket_folder(root: Path) -> Path:
    """Prefer the data folder itself; the system's temporary folder if that is too deep or cannot hold sockets."""
    inside = root / "run"
    if len(os.fsencode(inside / LONGEST_SOCKET_NAME)) <= SOCKET_PATH_BYTES and _can_hold_sockets(root):
        return inside
    name = f"headrace-{os.geteuid()}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"
    return _private_folder(Path(tempfile.gettempdir()) / name, root)


def _can_hold_sockets(root: Path) -> bool:
    """Try it: some network and shared folders cannot."""
    path = root / f".s.{os.getpid()}"
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(path))
        path.unlink()
    except OSError:
        return False
    return True


def _private_folder(path: Path, root: Path) -> Path:
    """Make it, or accept what an earlier run made; anyone may write to the temporary folder, so trust no other's."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    account = server_account(root / "postgres")
    owners = {os.geteuid(), account.uid if account else os.geteuid()}
    status = path.lstat()
    if path.is_symlink() or status.st_uid not in owners or status.st_mode & 0o077:
        raise EmbeddedError(f"{path} is not ours; remove it, or choose a data folder with a shorter path")
    return path


@contextlib.contextmanager
def hold_folder(root: Path) -> Iterator[int]:
    """Own the folder until the block ends. Yields the lock's descriptor, for the leashes to hold too.

    So the lock is free only when the servers of a killed owner are gone as well. Raises FolderInUseError if the owner
    lives; waits for the servers of a dead one.
    """
    path = root / "owner.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, root)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, root: Path) -> None:
    deadline = time.monotonic() + FORMER_OWNER_SECONDS
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        owner = int(os.pread(descriptor, 32, 0) or 0)
        if is_running(owner):
            raise FolderInUseError(f"{root} is in use by process {owner}; stop that, or choose another data folder")
        if time.monotonic() > deadline:
            raise FolderInUseError(f"the servers of an earlier owner of {root} do not end; see {root / 'logs'}")
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    """Tell whether a process of this id runs, ours or not. One that ended and was not collected does not run."""
    if pid <= 0:
        return False
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
