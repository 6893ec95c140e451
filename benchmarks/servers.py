"""One PostgreSQL and one Valkey for the whole run, and a fresh database for every measurement."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import unquote

import psycopg
import redis
from psycopg import sql

from adapters.bootstrap import prepare_database
from adapters.embedded.stack import Stack, embedded_stack
from adapters.settings import Settings
from benchmarks.contenders.environment import REMOTE_SETTINGS
from benchmarks.contenders.headrace_places import make_workspaces

#: As a server is set up for such a machine. Nothing is traded for durability: each figure is with both switches on.
POSTGRES = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "512MB"}
POSTGRES |= {"max_wal_size": "4GB", "maintenance_work_mem": "1GB"}


@dataclass
class Servers:
    """The servers of a run and a folder for everything else."""

    stack: Stack
    folder: Path
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def redis_socket(self) -> str:
        """Where Valkey listens."""
        return unquote(str(self.stack.redis_url).removeprefix("unix://").partition("?")[0])

    @property
    def versions(self) -> Mapping[str, str]:
        """Name and version of both."""
        return self.stack.versions

    @contextmanager
    def database(self, *, keep: bool = False) -> Iterator[str]:
        """Lend an empty database, with nothing left to write out from the one before, and an empty Valkey."""
        name = f"bench_{next(self._numbers)}"
        with closing(self._admin()) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            admin.execute("CHECKPOINT")
        with redis.Redis(unix_socket_path=self.redis_socket) as valkey:
            valkey.flushall()
        try:
            yield self._url(name)
        finally:
            if not keep:
                self.drop(name)

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        with closing(self._admin()) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def pids(self) -> list[int]:
        """The servers' own pids."""
        return [server.pid for server in (self.stack.postgres, self.stack.valkey) if server and server.pid]

    def _admin(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(str(self.stack.database_url), autocommit=True)

    def _url(self, name: str) -> str:
        assert self.stack.postgres is not None
        return self.stack.postgres.url(name)


@contextmanager
def running_servers() -> Iterator[Servers]:
    """Run both servers in a temporary folder; nothing of it is left behind."""
    folder = Path(tempfile.mkdtemp(prefix="hb-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        with embedded_stack(folder / "servers", postgres_settings=POSTGRES) as stack:
            yield Servers(stack, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def headrace_settings(database_url: str, servers: Servers, *, embeddings_url: str = "") -> dict[str, str]:
    """Return Headrace's settings: its defaults over these servers."""
    settings = {
        "DATABASE_URL": database_url,
        "REDIS_URL": str(servers.stack.redis_url),
        "BLOB_URL": f"file://{servers.folder / 'blobs'}",
        "METRICS_PORT": "0",
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "WARNING",
    }
    return settings | (REMOTE_SETTINGS | {"OPENAI_BASE_URL": embeddings_url} if embeddings_url else {})


def prepare_headrace(settings: Mapping[str, str]) -> None:
    """Bring the database to Headrace's schema and give it the workspaces of a run."""
    values = {name.lower(): value for name, value in settings.items()}
    prepare_database(Settings(_env_file=None, **values))  # type: ignore[arg-type,call-arg]
    make_workspaces(settings["DATABASE_URL"])
