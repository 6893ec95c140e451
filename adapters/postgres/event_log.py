"""The log of events, followed by one reader of a process: in order, without gaps, whoever commits when."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from adapters.postgres.pool import connection_options
from adapters.postgres.sql import load_queries
from domain.live import LoggedEvent

_LIVE = load_queries("live")

AsyncConnection = psycopg.AsyncConnection[Any]


async def connect_async(database_url: str) -> AsyncConnection:
    """Open one connection of its own for a thread that runs an event loop."""
    return await psycopg.AsyncConnection.connect(database_url, **connection_options(database_url))


class EventLog:
    """Reads events by id, but only up to the settled one.

    Ids are given before their transactions commit, so that a lower one may show up after a higher one was read. An id
    is settled once every transaction that was writing events when it was the newest has ended. Whoever takes an id has
    locked the table before, and lets the lock go after its commit can be seen; CREATE INDEX CONCURRENTLY waits
    for writers in the same way. Transactions that write no events, however long, hold nothing up.

    Nothing is kept in the database for it: ids stay plain numbers that any process, started at any time, reads in the
    same order.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._settled = 0
        self._candidate: int | None = None
        self._writers: set[str] = set()

    @property
    def is_waiting(self) -> bool:
        """Whether there are events that cannot be read before somebody's transaction ends."""
        return self._candidate is not None

    async def settle(self) -> int:
        """Look how far the log is complete, and return that id. Waits for nothing; call it again while `is_waiting`."""
        if self._candidate is None:
            newest = await self._scalar("newest_id", {})
            if newest == self._settled:
                return self._settled
            self._candidate, self._writers = newest, await self._current_writers()  # in this order
        else:
            self._writers &= await self._current_writers()
        if not self._writers:
            self._settled, self._candidate = self._candidate, None
        return self._settled

    async def newest_event(self, until: int) -> int:
        """Return the id of the newest event up to a settled id; 0 when there is none.

        Only such an id is told to others: after a crash PostgreSQL gives again what nobody committed.
        """
        return await self._scalar("newest_event", {"until": until})

    async def read(
        self, after: int, until: int, workspace_ids: Collection[UUID], *, limit: int
    ) -> Sequence[LoggedEvent]:
        """Return at most `limit` events of some workspaces between two ids, the first excluded, in order."""
        params = {"after": after, "until": until, "workspace_ids": list(workspace_ids), "limit": limit}
        async with self._connection.cursor(row_factory=class_row(LoggedEvent)) as cursor:
            await cursor.execute(_LIVE["read_events"], params)
            return await cursor.fetchall()

    async def valid_keys(self, ids: Collection[UUID]) -> set[UUID]:
        """Return those of the API keys that still work."""
        rows = await self._connection.execute(_LIVE["valid_keys"], {"ids": list(ids)})
        return {row[0] for row in await rows.fetchall()}

    async def _current_writers(self) -> set[str]:
        rows = await self._connection.execute(_LIVE["writers"])
        return {row[0] for row in await rows.fetchall()}

    async def _scalar(self, query: str, params: dict[str, Any]) -> int:
        row = await (await self._connection.execute(_LIVE[query], params)).fetchone()
        return int(row[0]) if row else 0
