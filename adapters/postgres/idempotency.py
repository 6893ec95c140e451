"""Requests that may be repeated (draft-ietf-httpapi-idempotency-key-header): one key, one effect, one answer."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from adapters.postgres.pool import Connection
from adapters.postgres.sql import load_queries
from adapters.postgres.tenancy import WorkspacePool
from domain.errors import HeadraceError

_KEYS = load_queries("idempotency")

LIFETIME = timedelta(days=1)


class KeyInUseError(HeadraceError):
    """Another request with this key is being worked on."""


class KeyLostError(HeadraceError):
    """The request took longer than it may hold its key, and another one with the same key took over."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered with."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer together with the SHA-256 of what was asked."""

    fingerprint: bytes
    answer: Answer


class RequestKey:
    """An Idempotency-Key of one request to one operation of one workspace."""

    def __init__(self, pool: WorkspacePool, workspace_id: UUID, operation: str, key: str) -> None:
        self._pool = pool
        self._row = {"workspace_id": workspace_id, "operation": operation, "key": key, "owner": uuid4()}

    def begin(self, patience: timedelta) -> StoredAnswer | None:
        """Take the key, for at most `patience`; return the answer if an earlier request got one.

        Raises KeyInUseError when an earlier request has none yet.
        """
        with self._pool.connection() as connection:
            connection.execute(_KEYS["forget_old"], self._row | {"lifetime": LIFETIME})
            begun = connection.execute(_KEYS["begin"], self._row | {"patience": patience, "lifetime": LIFETIME})
            return None if begun.rowcount else self._answered(connection)

    def remember(self, fingerprint: bytes, answer: Answer) -> None:
        """Keep the answer in the pool's open transaction. Raises KeyLostError, which rolls that back."""
        params = {
            "fingerprint": fingerprint,
            "status": answer.status,
            "headers": Jsonb(answer.headers),
            "body": Jsonb(answer.body),
        }
        if not self._pool.lent.execute(_KEYS["remember"], self._row | params).rowcount:
            raise KeyLostError("another request with this key took over")

    def release(self) -> None:
        """Give the key back, unless it has its answer."""
        with self._pool.connection() as connection:
            connection.execute(_KEYS["release"], self._row)

    def _answered(self, connection: Connection) -> StoredAnswer:
        with connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(_KEYS["read_answer"], self._row).fetchone()
        if row is None or row["status"] is None:
            raise KeyInUseError("a request with this key is being worked on")
        return StoredAnswer(bytes(row["fingerprint"]), Answer(row["status"], row["headers"], row["body"]))
