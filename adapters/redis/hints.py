"""Hints: lists in Redis that say "look at job X". Losing one costs a second, never a job."""

import json
from collections.abc import Sequence
from typing import cast
from uuid import UUID

import redis

from domain.ledger import DueJob

#: Redis answers within this or is taken for gone.
SOCKET_TIMEOUT_SECONDS = 5.0


class Hints:
    """The hint lists, one per queue. Raises redis.RedisError when Redis is away."""

    def __init__(self, url: str, *, prefix: str) -> None:
        self._redis = redis.Redis.from_url(
            url, socket_timeout=SOCKET_TIMEOUT_SECONDS, socket_connect_timeout=SOCKET_TIMEOUT_SECONDS, retry=None
        )
        self._prefix = prefix

    def push(self, queue: str, jobs: Sequence[DueJob]) -> None:
        """Ring for jobs, in this order."""
        hints = [encode_hint(job) for job in jobs]
        if hints:
            self._redis.rpush(self._key(queue), *hints)

    def pop(self, queue: str, limit: int, *, timeout_seconds: float) -> list[bytes]:
        """Wait for hints and take at most `limit`; empty when the time, shorter than the socket's, is over."""
        answer = self._redis.blmpop(timeout_seconds, 1, self._key(queue), direction="LEFT", count=limit)
        return cast(list[bytes], answer[1]) if answer else []

    def peek(self, queue: str, limit: int) -> set[UUID]:
        """Return the jobs rung for, of the first `limit` hints."""
        found = (decode_hint(hint) for hint in self._redis.lrange(self._key(queue), 0, limit - 1))
        return {hint.id for hint in found if hint}

    def depth(self, queue: str) -> int:
        """Count the hints of a queue."""
        return int(self._redis.llen(self._key(queue)))

    def ping(self) -> None:
        """Raise unless Redis answers."""
        self._redis.ping()

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()

    def _key(self, queue: str) -> str:
        return f"{self._prefix}:hints:{queue}"


def encode_hint(job: DueJob) -> bytes:
    """Write a hint. It carries no arguments: the ledger has them, and Redis is not trusted with them."""
    return json.dumps({"job": str(job.id), "actor": job.actor}).encode()


def decode_hint(hint: bytes | str) -> DueJob | None:
    """Read a hint; None when it is not one of ours."""
    try:
        fields = json.loads(hint)
        return DueJob(UUID(fields["job"]), str(fields["actor"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
