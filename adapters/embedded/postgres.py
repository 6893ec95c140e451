"""PostgreSQL with pgvector, run by us in a data folder."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from adapters.embedded.accounts import owner_name
from adapters.embedded.binaries import MINIMAL_ENVIRONMENT, PostgresBinaries, find_postgres
from adapters.embedded.errors import EmbeddedError
from adapters.embedded.folders import DataFolder, is_running
from adapters.embedded.processes import LeashedProcess, StopSteps

SUPERUSER = "postgres"
DATABASE = "headrace"
SOCKET_PORT = 5432
START_SECONDS = 60.0
LEFTOVER_SECONDS = 40.0

# Fast shutdown: roll back and disconnect everyone. Then immediate: like a crash, recovered from the log at next start.
STOP_STEPS: StopSteps = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 6.0))

SERVER_SETTINGS = {
    "max_connections": "200",
    "shared_preload_libraries": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "unix_socket_permissions": "0700",
}


class EmbeddedPostgres:
    """One server on a Unix socket and, if a port is given, on 127.0.0.1 with a password."""

    name = "postgres"

    def __init__(
        self,
        folder: DataFolder,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        lock: int | None = None,
    ) -> None:
        """`settings` go on top of ours; `lock` is the descriptor from `hold_folder`."""
        self._folder = folder
        self._port = port
        self._settings = SERVER_SETTINGS | dict(settings or {})
        self._kept_open = () if lock is None else (lock,)
        self._process: LeashedProcess | None = None
        self._data = folder.postgres
        self._binaries = find_postgres(_data_major(self._data), folder.account, folder.copies)

    @property
    def version(self) -> str:
        """PostgreSQL's version, such as 18.4."""
        return self._binaries.version

    @property
    def pid(self) -> int | None:
        """The postmaster's pid while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def url(self, database: str = DATABASE) -> str:
        """Return the address over the Unix socket; there the system vouches for the user, no password is asked."""
        host = quote(str(self._folder.sockets), safe="")
        return f"postgresql://{SUPERUSER}@/{quote(database)}?host={host}&port={self._port or SOCKET_PORT}"

    def tcp_url(self, database: str = DATABASE) -> str:
        """Return the address over 127.0.0.1, with the password that only this user can read."""
        if self._port is None:
            raise EmbeddedError("this server has no TCP port")
        return f"postgresql://{SUPERUSER}:{self._password()}@127.0.0.1:{self._port}/{quote(database)}"

    def start(self) -> None:
        """Start, on first use after initdb, and wait until the database `headrace` answers."""
        if self.pid is not None:
            return
        if not (self._data / "PG_VERSION").exists():
            _initialise(self._folder, self._binaries, self._kept_open)
        _stop_leftover(self._folder, self._binaries)
        _write_access_rules(self._folder)
        deadline = time.monotonic() + START_SECONDS
        self._launch()
        while not self._is_ready():
            if self._process is not None and self._process.poll() is not None:
                self._relaunch_or_fail(deadline)
            if time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"PostgreSQL did not start in {START_SECONDS:.0f} s; see {self._folder.logs}")
            time.sleep(0.01)
        self._prepare_database()

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs. Raises if it was never started."""
        if self._process is None:
            raise EmbeddedError("PostgreSQL was not started")
        return self._process.poll()

    def stop(self) -> None:
        """Disconnect everyone, roll back what is open, stop."""
        if self._process is not None:
            self._process.stop()

    def _launch(self) -> None:
        for leftover in self._folder.sockets.glob(".s.PGSQL.*"):
            leftover.unlink(missing_ok=True)
        settings = self._settings | {
            "unix_socket_directories": '"' + str(self._folder.sockets) + '"',
            "listen_addresses": "" if self._port is None else "127.0.0.1",
            "port": str(self._port or SOCKET_PORT),
            "hba_file": str(self._folder.root / "pg_hba.conf"),
            "ident_file": str(self._folder.root / "pg_ident.conf"),
        }
        arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self._folder.log("postgres") as log:
            self._process = LeashedProcess(
                [self._binaries.program("postgres"), "-D", str(self._data), *arguments],
                output=log,
                stop_steps=STOP_STEPS,
                account=self._folder.account,
                # The pid file of a killed server may name a process that lives but is another's by now. PostgreSQL
                # believes no pid file that names its "grandparent", and still checks the shared memory for survivors.
                environment=MINIMAL_ENVIRONMENT | {"PG_GRANDPARENT_PID": str(_noted_pid(self._data) or 0)},
                folder=self._folder.root,
                keep_open=self._kept_open,
            )

    def _relaunch_or_fail(self, deadline: float) -> None:
        """Survivors of a killed postmaster notice within moments; anything else is for a person to read."""
        reason = self._folder.log_end("postgres")
        if "pre-existing shared memory block" not in reason or time.monotonic() > deadline:
            raise EmbeddedError(f"PostgreSQL did not start in {self._data}. Its last words:\n{reason}")
        time.sleep(0.2)
        self._launch()

    def _is_ready(self) -> bool:
        """Read what pg_ctl reads: the last line of the pid file, once it is this server's."""
        with suppress(OSError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return len(lines) >= 8 and lines[7].strip() == "ready" and int(lines[0]) == self.pid
        return False

    def _prepare_database(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
            if self._port is not None:
                statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
                connection.execute(statement.format(sql.Identifier(SUPERUSER), sql.Literal(self._password())))

    def _password(self) -> str:
        path = self._folder.root / "postgres.password"
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(24))
        return path.read_text()


def _data_major(data: Path) -> int | None:
    with suppress(FileNotFoundError):
        return int((data / "PG_VERSION").read_text())
    return None


def _initialise(folder: DataFolder, binaries: PostgresBinaries, kept_open: Sequence[int]) -> None:
    """Make a new cluster beside its place and move it there, so that one cut short is never taken for whole.

    An initdb that is stopped empties its folder: with the lock in its leash's hands no next owner works there yet.
    """
    new = folder.root / "postgres.new"
    shutil.rmtree(new, ignore_errors=True)
    folder.give(new)
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if binaries.major >= 17 else []
    command = [binaries.program("initdb"), "-D", str(new), "-U", SUPERUSER, "-E", "UTF8", "--locale=C", *locale]
    with folder.log("initdb") as log:
        initdb = LeashedProcess(
            [*command, "--auth-local=peer", "--auth-host=reject", "--no-instructions"],
            output=log,
            account=folder.account,
            environment=MINIMAL_ENVIRONMENT,
            folder=folder.root,
            keep_open=kept_open,
        )
    try:
        code = initdb.wait()
    finally:
        initdb.stop()  # who is interrupted here may remove the folder next
    if code:
        raise EmbeddedError(f"initdb failed with code {code}. Its last words:\n{folder.log_end('initdb')}")
    if folder.postgres.exists():
        folder.postgres.rmdir()  # refuses, rightly, if anything lies there
    new.rename(folder.postgres)


def _write_access_rules(folder: DataFolder) -> None:
    """Let in whoever runs us, by the system's word at the socket; over TCP, only with the password.

    Outside PostgreSQL's own folder: as root we must not write where the servers' account could plant a link.
    """
    names = {owner_name()} | ({folder.account.name} if folder.account else set())
    users = "".join(f'headrace "{name}" all\n' for name in sorted(names))
    rules = "local all all peer map=headrace\nhost all all 127.0.0.1/32 scram-sha-256\n"
    for name, text in (("pg_hba.conf", rules), ("pg_ident.conf", users)):
        path = folder.root / name
        path.write_text(f"# Written by Headrace at every start.\n{text}")
        path.chmod(0o644)


def _noted_pid(data: Path) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        return int((data / "postmaster.pid").read_text().splitlines()[0])
    return None


def _stop_leftover(folder: DataFolder, binaries: PostgresBinaries) -> None:
    """Stop the server that an owner left behind when it was killed together with its leash."""
    pid = _noted_pid(folder.postgres)
    if pid is None or not is_running(pid) or not _serves(pid, folder.postgres):
        return
    account = folder.account
    with suppress(subprocess.CalledProcessError):  # it may have ended on its own between the look and the call
        subprocess.run(
            [binaries.program("pg_ctl"), "stop", "-D", str(folder.postgres), "-m", "fast", "-t", "30"],
            check=True,
            capture_output=True,
            env=MINIMAL_ENVIRONMENT,
            cwd="/",
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    _wait_until_gone(pid, folder.postgres)


def _wait_until_gone(pid: int, data: Path) -> None:
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while is_running(pid) and _serves(pid, data):
        if time.monotonic() > deadline:
            raise EmbeddedError(f"an earlier PostgreSQL (process {pid}) on {data} does not stop; end it and try again")
        time.sleep(0.05)


def _serves(pid: int, data: Path) -> bool:
    """Tell whether that process is a PostgreSQL on this folder; pids are used again."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        listing = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], check=False, capture_output=True, text=True)
        words = [listing.stdout]
        return "postgres" in words[0] and str(data) in words[0]
    return "postgres" in Path(words[0]).name and str(data) in words
