"""Apply the numbered migrations, forward only, under an advisory lock, and remember their checksums."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import LiteralString

import psycopg

from domain.errors import SchemaError

#: Any constant will do: it only has to differ from other advisory locks of this database.
MIGRATION_LOCK = 4_104_205_417

LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of adapters/postgres/migrations."""

    name: str
    sql: LiteralString

    @property
    def checksum(self) -> str:
        """Return the SHA-256 of the text: an applied migration must never be edited."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations() -> list[Migration]:
    """Return every migration, in order."""
    found = (entry for entry in files("adapters.postgres.migrations").iterdir() if entry.name.endswith(".sql"))
    texts = ((entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8")) for entry in found)
    return [Migration(name, text) for name, text in sorted(texts)]


def migrate(database_url: str) -> list[str]:
    """Apply what is missing, each in its own transaction, and return the names applied.

    Two callers wait for each other. Raises SchemaError when an applied migration has been edited since.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        connection.execute(LEDGER)
        applied = _applied(connection)
        missing = [migration for migration in load_migrations() if _is_missing(migration, applied)]
        for migration in missing:
            _apply(connection, migration)
    return [migration.name for migration in missing]


def check_schema(connection: psycopg.Connection) -> None:
    """Raise SchemaError unless the database has every migration that this version knows."""
    exists = connection.execute("SELECT to_regclass('schema_migrations')").fetchone()
    applied = _applied(connection) if exists and exists[0] else {}
    missing = [migration.name for migration in load_migrations() if _is_missing(migration, applied)]
    if missing:
        raise SchemaError(f"the database schema is older than this version: run `headrace migrate` ({missing[0]} …)")


def _applied(connection: psycopg.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, checksum FROM schema_migrations").fetchall())


def _is_missing(migration: Migration, applied: dict[str, str]) -> bool:
    if migration.name in applied and applied[migration.name] != migration.checksum:
        raise SchemaError(f"migration {migration.name} was edited after it had been applied: restore the file")
    return migration.name not in applied


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    with connection.transaction():
        connection.execute(migration.sql)
        connection.execute(
            "INSERT INTO schema_migrations (name, checksum) VALUES (%s, %s)", [migration.name, migration.checksum]
        )
