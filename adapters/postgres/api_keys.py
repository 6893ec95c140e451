"""API keys and the workspaces that they open."""

import hmac
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row

from adapters.postgres.pool import LazyPool
from adapters.postgres.sql import load_queries
from domain.api_keys import ApiKey, Scope, digest, is_well_formed, new_secret, prefix_of
from domain.errors import InvalidJobError

_KEYS = load_queries("api_keys")

Row = dict[str, Any]


class PostgresApiKeys:
    """The api_keys table. Every method is one transaction."""

    def __init__(self, pool: LazyPool) -> None:
        self._pool = pool

    def create(
        self, workspace_id: UUID, name: str, scopes: frozenset[Scope], *, lifetime: timedelta | None = None
    ) -> tuple[ApiKey, str]:
        """Add a key; return it together with its secret, which cannot be read again. `lifetime` None: for ever."""
        secret = new_secret()
        params = {
            "id": uuid4(),
            "workspace_id": workspace_id,
            "name": name,
            "prefix": prefix_of(secret),
            "secret_sha256": digest(secret),
            "scopes": sorted(scopes),
            "lifetime": lifetime,
        }
        return _key(self._rows("insert_key", params)[0]), secret

    def find(self, secret: str) -> tuple[UUID, UUID, frozenset[str]] | None:
        """Return id, workspace and scopes of a key that may be used now; None for anything else."""
        if not is_well_formed(secret):
            return None
        for row in self._rows("find_valid", {"prefix": prefix_of(secret)}):
            if hmac.compare_digest(bytes(row["secret_sha256"]), digest(secret)):
                if row["is_use_old"]:
                    self._execute("note_use", {"id": row["id"]})
                return row["id"], row["workspace_id"], frozenset(row["scopes"])
        return None

    def list_keys(self, workspace_id: UUID | None = None) -> list[ApiKey]:
        """Return the keys of a workspace, or all, the oldest first; revoked ones too."""
        return [_key(row) for row in self._rows("list_keys", {"workspace_id": workspace_id})]

    def revoke(self, key: str) -> ApiKey | None:
        """End the life of a key named by id or prefix; None when there is no such key that works."""
        rows = self._rows("revoke_key", {"key": key})
        return _key(rows[0]) if rows else None

    def create_workspace(self, name: str, *, daily_token_budget: int | None = None) -> Row:
        """Add a workspace. Raises InvalidJobError when the name is taken."""
        params = {"id": uuid4(), "name": name, "budget": daily_token_budget}
        try:
            return self._rows("insert_workspace", params)[0]
        except psycopg.errors.UniqueViolation:
            raise InvalidJobError(f"there is a workspace {name!r} already") from None

    def list_workspaces(self) -> list[Row]:
        """Return the workspaces that people use, the oldest first."""
        return self._rows("list_workspaces", {})

    def _rows(self, name: str, params: Row) -> list[Row]:
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_KEYS[name], params).fetchall()

    def _execute(self, name: str, params: Row) -> None:
        with self._pool.connection() as connection:
            connection.execute(_KEYS[name], params)


def _key(row: Row) -> ApiKey:
    return ApiKey(**row | {"scopes": frozenset(row["scopes"])})
