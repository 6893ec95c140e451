"""One suite for the reservations table, in Postgres and in a SQLite file."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

import psycopg
import pytest

from adapters.postgres.pool import LazyPool
from adapters.postgres.usage import PostgresReservations
from adapters.sqlite.reservations import SCHEMA, SqliteReservations
from domain.housekeeping import cleanup_stale_reservations
from domain.ports import Reservations

WORKSPACE, JOB = uuid4(), uuid4()
INSERT = "INSERT INTO token_reservations (id, workspace_id, job_id, tokens, expires_at) VALUES ({})"


class Table(Protocol):
    reservations: Reservations

    def insert(self, tokens: int, expires_in: timedelta, job_id: UUID | None = JOB) -> UUID: ...

    def left(self) -> int: ...


@dataclass
class PostgresTable:
    reservations: Reservations
    connection: psycopg.Connection

    def insert(self, tokens: int, expires_in: timedelta, job_id: UUID | None = JOB) -> UUID:
        identity = uuid4()
        row = [identity, WORKSPACE, job_id, tokens, datetime.now(UTC) + expires_in]
        self.connection.execute(INSERT.format("%s, %s, %s, %s, %s"), row)
        return identity

    def left(self) -> int:
        row = self.connection.execute("SELECT count(*) FROM token_reservations").fetchone()
        return row[0] if row else 0


@dataclass
class SqliteTable:
    reservations: Reservations
    path: Path

    def insert(self, tokens: int, expires_in: timedelta, job_id: UUID | None = JOB) -> UUID:
        identity, moment = uuid4(), datetime.now(UTC) + expires_in
        row = [str(identity), str(WORKSPACE), job_id and str(job_id), tokens, moment.isoformat()]
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(SCHEMA)
            connection.execute(INSERT.format("?, ?, ?, ?, ?"), row)
        return identity

    def left(self) -> int:
        with closing(sqlite3.connect(self.path)) as connection:
            return int(connection.execute("SELECT count(*) FROM token_reservations").fetchone()[0])


@pytest.fixture(params=["postgres", "sqlite"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Table]:
    if request.param == "sqlite":
        path = tmp_path / "budget.db"
        yield SqliteTable(SqliteReservations(f"sqlite:///{path}"), path)
        return
    pool = LazyPool(request.getfixturevalue("database_url"), size=2)
    yield PostgresTable(PostgresReservations(pool), request.getfixturevalue("database"))
    pool.close()


def free(table: Table, limit: int | None = None):
    return (
        table.reservations.free_stale(limit) if limit else cleanup_stale_reservations(reservations=table.reservations)
    )


def test_an_empty_table_has_nothing_to_free(table: Table) -> None:
    assert free(table) == []


def test_an_expired_reservation_is_freed_and_returned(table: Table) -> None:
    identity = table.insert(70, timedelta(seconds=-1))

    (freed,) = free(table)

    assert (freed.id, freed.workspace_id, freed.job_id, freed.tokens) == (identity, WORKSPACE, JOB, 70)
    assert datetime.now(UTC) - timedelta(seconds=30) < freed.expires_at < datetime.now(UTC)
    assert table.left() == 0


def test_a_live_reservation_stays(table: Table) -> None:
    table.insert(70, timedelta(minutes=5))

    assert free(table) == []
    assert table.left() == 1


def test_what_is_freed_is_freed_once(table: Table) -> None:
    table.insert(70, timedelta(seconds=-1))

    assert len(free(table)) == 1
    assert free(table) == []


def test_a_round_is_bounded_and_begins_with_the_oldest(table: Table) -> None:
    young, old, older = (table.insert(1, timedelta(seconds=-seconds)) for seconds in (1, 10, 100))

    assert {freed.id for freed in free(table, limit=2)} == {old, older}
    assert [freed.id for freed in free(table, limit=2)] == [young]


def test_a_reservation_without_a_job_is_freed_too(table: Table) -> None:
    table.insert(5, timedelta(seconds=-1), job_id=None)

    assert [freed.job_id for freed in free(table)] == [None]


def test_a_moment_in_another_time_zone_is_the_same_moment(tmp_path: Path) -> None:
    table = SqliteTable(SqliteReservations(f"sqlite:///{tmp_path / 'budget.db'}"), tmp_path / "budget.db")
    table.insert(1, timedelta(minutes=5))
    with closing(sqlite3.connect(table.path)) as connection, connection:
        east = datetime.now(UTC).astimezone().replace(microsecond=0) + timedelta(minutes=5)
        connection.execute("UPDATE token_reservations SET expires_at = ?", [east.isoformat()])

    assert free(table) == []


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_a_job_that_has_ended_frees_its_reservation(
    state: str, database: psycopg.Connection, database_url: str
) -> None:
    pool = LazyPool(database_url, size=2)
    table = PostgresTable(PostgresReservations(pool), database)
    database.execute(
        "INSERT INTO jobs (id, queue, actor, message, workspace_id, state, finished_at, failure_code)"
        " VALUES (%s, 'q', 'a', '{}', %s, %s, now(), %s)",
        [JOB, WORKSPACE, state, "internal_error" if state == "failed" else None],
    )
    table.insert(70, timedelta(hours=1))

    assert len(free(table)) == 1
    pool.close()
