"""Both servers in one data folder, for `headrace up`, `headrace demo` and the tests."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded.folders import hold_folder, open_folder
from adapters.embedded.postgres import EmbeddedPostgres
from adapters.embedded.supervisor import Server
from adapters.embedded.valkey import EmbeddedValkey


@dataclass(frozen=True, slots=True)
class Stack:
    """The servers that run. A URL is None where a server was not asked for."""

    data_dir: Path
    postgres: EmbeddedPostgres | None
    valkey: EmbeddedValkey | None

    @property
    def versions(self) -> Mapping[str, str]:
        """Name and version of each server that runs."""
        return {server.name: server.version for server in (self.postgres, self.valkey) if server}

    @property
    def servers(self) -> Sequence[Server]:
        """Those that run, for a supervisor to watch."""
        return [server for server in (self.postgres, self.valkey) if server]

    @property
    def database_url(self) -> str | None:
        """The address of the database `headrace`."""
        return self.postgres.url() if self.postgres else None

    @property
    def redis_url(self) -> str | None:
        """The address of the doorbell."""
        return self.valkey.url() if self.valkey else None


@contextmanager
def embedded_stack(
    data_dir: Path,
    *,
    postgres: bool = True,
    valkey: bool = True,
    postgres_port: int | None = None,
    postgres_settings: Mapping[str, str] | None = None,
    valkey_persistent: bool = False,
) -> Iterator[Stack]:
    """Run the servers until the block ends, or this process does, even by kill -9.

    Raises FolderInUseError if another process owns the folder, EmbeddedError if a server cannot run.
    """
    folder = open_folder(data_dir)
    with hold_folder(folder.root) as lock, ExitStack() as servers:
        database = doorbell = None
        if postgres:
            database = EmbeddedPostgres(folder, port=postgres_port, settings=postgres_settings, lock=lock)
            servers.callback(database.stop)
            database.start()
        if valkey:
            doorbell = EmbeddedValkey(folder, persistent=valkey_persistent, lock=lock)
            servers.callback(doorbell.stop)
            doorbell.start()
        yield Stack(folder.root, database, doorbell)
