"""The log of events is read in order, each event once, whoever commits when."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from uuid import uuid4

import psycopg
import pytest

from adapters.postgres.event_log import EventLog, connect_async
from adapters.postgres.pool import connect
from tests.builders import WORKSPACE, Rails

INSERT = "INSERT INTO job_events (job_id, workspace_id, event) VALUES (%s, %s, 'queued') RETURNING id"


@pytest.fixture
def writers(rails: Rails) -> Iterator[list[psycopg.Connection]]:
    """Connections that write events in transactions of their own."""
    connections = [connect(rails.url) for _ in range(4)]
    for connection in connections:
        connection.autocommit = False
    yield connections
    for connection in connections:
        connection.close()


def write(connection: psycopg.Connection) -> int:
    """Write an event in the connection's open transaction; return its id."""
    row = connection.execute(INSERT, [uuid4(), WORKSPACE]).fetchone()
    assert row
    return int(row[0])


def with_log(rails: Rails, use: Callable[[EventLog], Awaitable[None]]) -> None:
    async def run() -> None:
        async with await connect_async(rails.url) as connection:
            await use(EventLog(connection))

    asyncio.run(run())


async def read(log: EventLog, after: int = 0) -> list[int]:
    """Read what can be read after an event."""
    settled = await log.settle()
    return [event.id for event in await log.read(after, settled, [WORKSPACE], limit=1000)]


def test_an_event_waits_for_older_ones_that_are_not_committed(rails: Rails, writers) -> None:
    slow, fast = writers[:2]

    async def watch(log: EventLog) -> None:
        await log.settle()
        first = write(slow)
        second = write(fast)
        fast.commit()

        assert await read(log) == []
        assert log.is_waiting

        slow.commit()

        assert await read(log) == [first, second]
        assert not log.is_waiting

    with_log(rails, watch)


def test_an_event_that_is_rolled_back_is_not_waited_for(rails: Rails, writers) -> None:
    slow, fast = writers[:2]

    async def watch(log: EventLog) -> None:
        write(slow)
        second = write(fast)
        fast.commit()

        assert await read(log) == []

        slow.rollback()

        assert await read(log) == [second]

    with_log(rails, watch)


def test_a_savepoint_that_is_released_keeps_the_log_waiting(rails: Rails, writers) -> None:
    slow, fast = writers[:2]

    async def watch(log: EventLog) -> None:
        slow.execute("SELECT")  # begins the transaction, so that the next one is a savepoint
        with slow.transaction():
            first = write(slow)
        second = write(fast)
        fast.commit()

        assert await read(log) == []

        slow.commit()

        assert await read(log) == [first, second]

    with_log(rails, watch)


def test_a_long_transaction_that_writes_no_events_holds_nothing_up(rails: Rails, writers) -> None:
    idle, busy = writers[:2]

    async def watch(log: EventLog) -> None:
        idle.execute("UPDATE workspaces SET name = name WHERE id = %s", [WORKSPACE])
        event = write(busy)
        busy.commit()

        assert await read(log) == [event]

        idle.rollback()

    with_log(rails, watch)


def test_writers_that_came_later_are_not_waited_for(rails: Rails, writers) -> None:
    first, second, third = writers[:3]

    async def watch(log: EventLog) -> None:
        event = write(first)
        await log.settle()
        write(second)
        first.commit()
        write(third)

        assert await read(log) == [event]

        second.rollback()
        third.rollback()

    with_log(rails, watch)


@pytest.mark.parametrize("seed", range(8))
def test_readers_see_every_committed_event_once_and_in_the_same_order(rails: Rails, writers, seed: int) -> None:
    """Transactions of several events each open, commit and roll back in any order, between reads at any moment."""
    dice = random.Random(seed)
    committed: list[int] = []
    written: dict[psycopg.Connection, list[int]] = {}
    seen: list[list[int]] = [[], []]

    async def watch() -> None:
        async with await connect_async(rails.url) as one, await connect_async(rails.url) as two:
            logs = [EventLog(one), EventLog(two)]

            async def look(reader: int) -> None:
                seen[reader] += await read(logs[reader], after=max(seen[reader], default=0))

            for _ in range(200):
                step, connection = dice.random(), dice.choice(writers)
                if step < 0.4:
                    written.setdefault(connection, []).append(write(connection))
                elif step < 0.6:
                    connection.commit()
                    committed.extend(written.pop(connection, []))
                elif step < 0.7:
                    connection.rollback()
                    written.pop(connection, None)
                else:
                    await look(dice.randrange(2))
            for connection in writers:
                connection.rollback()
            for reader in (0, 1):
                await look(reader)  # settles what was waited for
                await look(reader)

    asyncio.run(watch())

    assert len(committed) > 10
    assert seen == [sorted(committed)] * 2


def test_a_place_in_the_log_is_never_an_id_that_may_be_given_again(rails: Rails, writers) -> None:
    async def watch(log: EventLog) -> None:
        event = write(writers[0])
        writers[0].commit()
        rolled_back = write(writers[1])
        writers[1].rollback()
        settled = await log.settle()

        assert settled == rolled_back
        assert await log.newest_event(settled) == event

    with_log(rails, watch)


def test_events_of_other_workspaces_are_not_read(rails: Rails) -> None:
    with closing(connect(rails.url)) as connection:
        connection.execute(INSERT, [uuid4(), uuid4()])
        mine = connection.execute(INSERT, [uuid4(), WORKSPACE]).fetchone()

    async def watch(log: EventLog) -> None:
        assert await read(log) == [mine[0]]

    with_log(rails, watch)
