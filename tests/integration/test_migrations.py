"""Migrations run once, in order, one caller at a time, and nobody may edit them afterwards."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from adapters.postgres.migrate import check_schema, load_migrations, migrate
from domain.errors import SchemaError


def test_an_empty_database_gets_every_migration_once(empty_database_url: str) -> None:
    names = [migration.name for migration in load_migrations()]

    assert migrate(empty_database_url) == names
    assert migrate(empty_database_url) == []


def test_two_callers_wait_for_each_other(empty_database_url: str) -> None:
    with ThreadPoolExecutor(2) as threads:
        applied = list(threads.map(migrate, [empty_database_url] * 2))

    assert sorted(map(len, applied)) == [0, len(load_migrations())]


def test_names_are_numbered_without_a_gap() -> None:
    numbers = [int(migration.name.partition("_")[0]) for migration in load_migrations()]

    assert numbers == list(range(1, len(numbers) + 1))


def test_a_migrated_database_passes(database: psycopg.Connection) -> None:
    check_schema(database)


def test_an_empty_database_is_too_old(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection, pytest.raises(SchemaError, match="run `headrace migrate`"):
        check_schema(connection)


def test_a_missing_migration_is_named(database: psycopg.Connection) -> None:
    last = load_migrations()[-1].name
    database.execute("DELETE FROM schema_migrations WHERE name = %s", [last])

    with pytest.raises(SchemaError, match=last):
        check_schema(database)


def test_an_edited_migration_is_refused(database: psycopg.Connection, database_url: str) -> None:
    database.execute("UPDATE schema_migrations SET checksum = 'other'")

    with pytest.raises(SchemaError, match="was edited after"):
        check_schema(database)
    with pytest.raises(SchemaError, match="was edited after"):
        migrate(database_url)


def test_a_newer_schema_serves_older_workers(database: psycopg.Connection) -> None:
    database.execute("INSERT INTO schema_migrations (name, checksum) VALUES ('9999_later', 'x')")

    check_schema(database)


def test_a_failing_migration_leaves_nothing(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE documents ()")
        with pytest.raises(psycopg.errors.DuplicateTable):
            migrate(empty_database_url)

        assert connection.execute("SELECT count(*) FROM schema_migrations").fetchone() == (0,)
        assert connection.execute("SELECT to_regclass('jobs')").fetchone() == (None,)
