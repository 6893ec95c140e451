"""Who owns which blob."""

from collections.abc import Sequence
from datetime import timedelta

from adapters.postgres.pool import Connection
from adapters.postgres.sql import load_queries

_BLOBS = load_queries("blobs")


class PostgresBlobs:
    """See domain.ports.Blobs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def disown(self, key: str, *, after: timedelta) -> None:
        """See the port."""
        self._connection.execute(_BLOBS["disown"], {"key": key, "after": after})

    def own(self, key: str) -> None:
        """See the port."""
        self._connection.execute(_BLOBS["own"], {"key": key})

    def find_due(self, limit: int) -> Sequence[str]:
        """See the port."""
        return [row[0] for row in self._connection.execute(_BLOBS["find_due"], {"limit": limit})]
