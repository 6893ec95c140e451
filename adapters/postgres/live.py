"""What a watcher asks of the database once: tickets, whether its channel exists, and what it has missed."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from adapters.postgres.pool import LazyPool
from adapters.postgres.sql import load_queries
from adapters.postgres.tenancy import WorkspacePool
from domain.live import Channel, ChannelKind, LoggedEvent

_LIVE = load_queries("live")

#: How every ticket begins, so that scanners find one that leaked, and logs can hide it.
TICKET_BRAND = "hrt_"
TICKET_LIFETIME = timedelta(seconds=30)

#: Longest text that is taken for a ticket at all.
TICKET_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Ticket:
    """What lets somebody who cannot send headers open one connection, once."""

    secret: str
    expires_at: datetime


class PostgresLive:
    """Tickets and replays. Every method is one transaction. Raises TransientError when the database is away."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def issue_ticket(self, workspace_id: UUID, key_id: UUID) -> Ticket:
        """Make a ticket for the holder of a key. Only its hash is kept."""
        secret = TICKET_BRAND + secrets.token_urlsafe(32)
        params = {
            "hash": _hash(secret),
            "workspace_id": workspace_id,
            "key_id": key_id,
            "lifetime": TICKET_LIFETIME,
        }
        with self._pool.connection() as connection:
            row = connection.execute(_LIVE["issue_ticket"], params).fetchone()
        assert row is not None  # an INSERT returns its row  # noqa: S101
        return Ticket(secret, row[0])

    def redeem_ticket(self, secret: str) -> tuple[UUID, UUID] | None:
        """Use a ticket up; return its workspace and key, or None when it opens nothing."""
        if not secret.startswith(TICKET_BRAND) or len(secret) > TICKET_CHARACTERS:
            return None
        with self._pool.connection() as connection:
            row = connection.execute(_LIVE["redeem_ticket"], {"hash": _hash(secret)}).fetchone()
        return (row[0], row[1]) if row else None

    def find_channel(self, workspace_id: UUID, channel: Channel) -> Channel | None:
        """Return the channel if the workspace has what it shows; either job of a document's task finds the task's."""
        query = {ChannelKind.DOCUMENT: "find_document", ChannelKind.TASK: "find_task"}.get(channel.kind)
        if query is None:
            return channel
        with WorkspacePool(self._pool, workspace_id).connection() as connection:
            params = {"key": channel.key, "workspace_id": workspace_id}
            row = connection.execute(_LIVE[query], params).fetchone()
        return Channel(channel.kind, row[0]) if row else None

    def has_gap(self, after: int) -> bool:
        """Tell whether events after this one may have been pruned, or the log has never been that far."""
        with self._pool.connection() as connection:
            row = connection.execute(_LIVE["oldest_event"]).fetchone()
        oldest, newest = row or (0, 0)
        return bool(0 < after < oldest or after > newest)

    def replay(
        self, workspace_id: UUID, channel: Channel, *, after: int, until: int, limit: int
    ) -> Sequence[LoggedEvent]:
        """Return at most `limit` settled events of a channel between two ids, the first excluded, in order.

        A family's replay holds the whole workspace's: its reader picks.
        """
        query = {ChannelKind.DOCUMENT: "replay_document", ChannelKind.TASK: "replay_task"}.get(
            channel.kind, "replay_workspace"
        )
        params: dict[str, Any] = {
            "workspace_id": workspace_id,
            "key": channel.key,
            "after": after,
            "until": until,
            "limit": limit,
        }
        with (
            WorkspacePool(self._pool, workspace_id).connection() as connection,
            connection.cursor(row_factory=class_row(LoggedEvent)) as cursor,
        ):
            return cursor.execute(_LIVE[query], params).fetchall()


def _hash(secret: str) -> bytes:
    """Return what is stored of a ticket. Its 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).digest()
