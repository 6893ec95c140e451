"""The second wall between workspaces: transactions in which PostgreSQL itself shows one workspace alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from adapters.postgres.pool import Connection, LazyPool
from adapters.postgres.sql import load_queries

_TENANCY = load_queries("tenancy")


class WorkspacePool(LazyPool):
    """A pool as one workspace sees it.

    Each connection is lent inside a transaction that has given up its owner's rights: the policies of
    migrations/0002_api.sql hide and refuse the rows of every other workspace, whatever a statement asks for.
    Transactions that the borrower opens nest in it as savepoints.
    """

    def __init__(self, pool: LazyPool, workspace_id: UUID) -> None:
        self._whole = pool
        self._workspace_id = workspace_id
        self._lent: Connection | None = None

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection until the block ends, and commit. Raises TransientError when there is none."""
        with self._whole.connection() as connection, connection.transaction():
            connection.execute(_TENANCY["assume_workspace"], {"workspace_id": str(self._workspace_id)})
            self._lent = connection
            try:
                yield connection
            finally:
                self._lent = None

    @property
    def lent(self) -> Connection:
        """The connection of the transaction that is open, for what must be committed with it. One thread's use."""
        if self._lent is None:
            raise RuntimeError("no transaction is open")
        return self._lent

    def stats(self) -> dict[str, int]:
        """Return the statistics of the whole pool."""
        return self._whole.stats()

    def close(self) -> None:
        """Leave the whole pool open: it is not ours."""
