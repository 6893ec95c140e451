"""Rate limits: one token bucket per API key, shared through Redis, or this process's own while Redis is away."""

import time
from collections import OrderedDict
from threading import Lock

import redis

#: A limit must not cost more than the request that it limits.
SOCKET_TIMEOUT_SECONDS = 0.25
#: After an error, Redis is left alone for this long.
PAUSE_SECONDS = 5.0
#: Buckets that one process remembers; the one that was unused longest is forgotten: it is full again by then.
MOST_LOCAL_BUCKETS = 10_000

#: Time is the server's, so that the clocks of several API processes need not agree.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(bucket[1]) or burst
local passed = math.max(0, now - (tonumber(bucket[2]) or now))
tokens = math.min(burst, tokens + passed * rate)
local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = (1 - tokens) / rate end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate) * 1000 + 1000)
return string.format('%.6f', wait)
"""


class TokenBuckets:
    """Buckets that hold `burst` tokens and gain `per_second`. Safe to share between threads."""

    def __init__(self, url: str, *, prefix: str, per_second: float, burst: int) -> None:
        self._redis = redis.Redis.from_url(
            url, socket_timeout=SOCKET_TIMEOUT_SECONDS, socket_connect_timeout=SOCKET_TIMEOUT_SECONDS, retry=None
        )
        self._script = self._redis.register_script(_TAKE)
        self._prefix = prefix
        self._per_second, self._burst = per_second, burst
        self._local = LocalBuckets(per_second=per_second, burst=burst)
        self._away_until = 0.0

    def take(self, name: str) -> float:
        """Take a token; return 0, or the seconds until there will be one. Never raises because Redis is away."""
        if time.monotonic() >= self._away_until:
            try:
                answer = self._script(keys=[f"{self._prefix}:bucket:{name}"], args=[self._per_second, self._burst])
                return float(answer)
            except redis.RedisError:
                self._away_until = time.monotonic() + PAUSE_SECONDS
        return self._local.take(name)

    def ping(self) -> None:
        """Raise redis.RedisError unless Redis answers."""
        self._redis.ping()

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()


class LocalBuckets:
    """The same within one process: with several of them, a key gets as many times the rate."""

    def __init__(self, *, per_second: float, burst: int) -> None:
        self._per_second, self._burst = per_second, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def take(self, name: str) -> float:
        """Take a token; return 0, or the seconds until there will be one."""
        with self._lock:
            now = time.monotonic()
            tokens, at = self._buckets.pop(name, (float(self._burst), now))
            tokens = min(float(self._burst), tokens + (now - at) * self._per_second)
            wait = 0.0 if tokens >= 1 else (1 - tokens) / self._per_second
            self._buckets[name] = (tokens - 1 if tokens >= 1 else tokens, now)
            if len(self._buckets) > MOST_LOCAL_BUCKETS:
                self._buckets.popitem(last=False)
        return wait
