"""The doorbell of live progress: a channel on which nothing is said but that there is something new in the log."""

import asyncio
from collections.abc import Callable

import redis
import redis.asyncio

#: A ring that takes longer than this is not worth waiting for.
SOCKET_TIMEOUT_SECONDS = 2.0
RECONNECT_SECONDS = 1.0


class RedisLiveBell:
    """See domain.live.LiveBell. Raises redis.RedisError when Redis is away."""

    def __init__(self, url: str, *, prefix: str) -> None:
        self._url = url
        self._channel = f"{prefix}:live"
        self._redis = redis.Redis.from_url(
            url, socket_timeout=SOCKET_TIMEOUT_SECONDS, socket_connect_timeout=SOCKET_TIMEOUT_SECONDS, retry=None
        )

    def ring(self) -> None:
        """See the port."""
        self._redis.publish(self._channel, "")

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` whenever somebody rings, and after each time that Redis was away; until cancelled."""
        while True:
            try:
                async with redis.asyncio.Redis.from_url(self._url, socket_keepalive=True, retry=None) as client:
                    await self._hear(client, heard)
            except (redis.RedisError, OSError):
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _hear(self, client: redis.asyncio.Redis, heard: Callable[[], None]) -> None:
        async with client.pubsub() as pubsub:
            await pubsub.subscribe(self._channel)
            async for _ in pubsub.listen():  # the first message confirms the subscription
                heard()

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()
