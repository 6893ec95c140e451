"""The reader of a process: it survives the database, notices revoked keys, and hears the bell."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from uuid import UUID, uuid4

import pytest

from adapters.api.live.endings import RESTART, REVOKED
from adapters.api.live.follower import Follower
from adapters.api.live.hub import Hub, Watcher
from adapters.postgres.api_keys import PostgresApiKeys
from adapters.postgres.event_log import connect_async
from adapters.redis.live import RedisLiveBell
from domain.api_keys import Scope
from domain.live import WORKSPACE_CHANNEL
from tests.builders import WORKSPACE, Rails, a_pending_job

PATIENCE_SECONDS = 10.0


def following(rails: Rails, use: Callable[[Hub, Follower], Awaitable[None]], **options: float) -> None:
    """Use a hub while a follower feeds it."""

    async def run() -> None:
        hub = Hub(most_watchers=10, most_per_workspace=10)
        follower = Follower(hub, partial(connect_async, rails.url), **options)
        task = asyncio.create_task(follower.run())
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await hub.is_ready.wait()
                await use(hub, follower)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(run())


def watch(hub: Hub, key_id: UUID | None = None) -> Watcher:
    watcher = Watcher(WORKSPACE, key_id or uuid4(), WORKSPACE_CHANNEL)
    hub.enter(watcher)
    watcher.after = hub.position
    hub.listen(watcher)
    return watcher


async def take(watcher: Watcher) -> list[int]:
    return [frame.id for frame in await watcher.take(seconds=PATIENCE_SECONDS)]


def test_it_reads_on_when_its_connection_was_cut(own_rails: Rails) -> None:
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE '%%job_events%%' AND pid <> pg_backend_pid()"
    )

    async def use(hub: Hub, follower: Follower) -> None:
        watcher = watch(hub)
        a_pending_job(own_rails, workspace_id=WORKSPACE)
        first = await take(watcher)
        assert own_rails.column(cut)
        a_pending_job(own_rails, workspace_id=WORKSPACE)
        second = await take(watcher)

        assert first + second == own_rails.column("SELECT id FROM job_events ORDER BY id")

    following(own_rails, use)


def test_a_watch_ends_when_its_key_is_revoked(rails: Rails) -> None:
    keys = PostgresApiKeys(rails.pool)
    revoked, kept = (keys.create(WORKSPACE, name, frozenset(Scope))[0].id for name in ("a", "b"))

    async def use(hub: Hub, follower: Follower) -> None:
        ended, other = watch(hub, revoked), watch(hub, kept)
        keys.revoke(str(revoked))
        while ended.ending is None:
            await asyncio.sleep(0.02)

        assert ended.ending == REVOKED
        assert other.ending is None

    following(rails, use, check_keys_seconds=0.1)


def test_another_database_behind_the_same_address_sends_everybody_away(own_rails: Rails) -> None:
    async def use(hub: Hub, follower: Follower) -> None:
        hub.position = 10**9
        watcher = watch(hub)
        own_rails.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )
        while watcher.ending is None:
            await asyncio.sleep(0.02)

        assert watcher.ending == RESTART
        assert hub.position < 10**9

    following(own_rails, use)


def test_a_ring_is_heard_by_everybody_with_the_same_prefix(redis_url: str) -> None:
    async def run() -> None:
        bell, heard = RedisLiveBell(redis_url, prefix="ours"), asyncio.Event()
        listening = asyncio.create_task(bell.listen(heard.set))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await heard.wait()  # the subscription stands
            heard.clear()
            RedisLiveBell(redis_url, prefix="others").ring()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(heard.wait(), 0.2)
            RedisLiveBell(redis_url, prefix="ours").ring()
            await heard.wait()
        listening.cancel()
        await asyncio.wait([listening], timeout=1)

    asyncio.run(run())
