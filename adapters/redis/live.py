"""The doorbell of live progress: a channel on which nothing is said but that there is something new in the log."""

import asyncio
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio

#: A ring that takes longer than this is not worth waiting for.
SOCKET_TIMEOUT_SECONDS = 2.0
RECONNECT_SECONDS = 1.0

#: After this long without a ring Redis is asked whether it is still there; a vanished host says nothing.
SILENCE_SECONDS = 15.0


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
                async with redis.asyncio.Redis.from_url(self._url, retry=None) as client, client.pubsub() as pubsub:
                    await pubsub.subscribe(self._channel)
                    await self._hear(pubsub, heard)
            except (redis.RedisError, OSError):
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _hear(self, pubsub: Any, heard: Callable[[], None]) -> None:
        is_asked = False
        while True:
            message = await pubsub.get_message(timeout=SILENCE_SECONDS)
            if message is None and is_asked:
                raise redis.ConnectionError("no answer")
            if message is None:
                await pubsub.ping()
            elif message["type"] != "pong":  # a ring, or the confirmation that from now on all are heard
                heard()
            is_asked = message is None

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()
