"""One POST to a stranger: no address that may not be told, no redirect, one deadline for everything, little read.

| what happens | becomes |
| --- | --- |
| 2xx | delivered, whatever the body does |
| 410 | gone |
| any other status, redirects too | rejected |
| no complete head of an answer within the deadline | timeout |
| no connection, no valid certificate, no HTTP | unreachable |
| an address that may not be told | forbidden; no connection is made |

A name is resolved here and the connection goes to the very addresses that were looked at, so that a hostile name server
is never asked a second time. The certificate is still checked against the name. Proxies of the environment are ignored:
they would resolve names themselves.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from domain.errors import InvalidWebhookError
from domain.webhook_delivery import Answer, Result
from domain.webhooks import TargetPolicy, parse_address

if TYPE_CHECKING:
    from httpcore2 import AsyncConnectionPool, AsyncNetworkStream, Response

Resolve = Callable[[str, int], Sequence[str]]

USER_AGENT = "Headrace-Webhooks/1 (Standard Webhooks)"

#: What of an answer is read, so that a polite server can finish: its content means nothing to us and is dropped.
BODY_BYTES, BODY_SECONDS = 4096, 1.0

#: Addresses of one name that are tried, each for its share of the deadline.
ADDRESSES_TRIED = 3

#: A name server that never answers holds a thread for half a minute; the deadline has let its caller go long before.
RESOLVER_THREADS = 32


class ForbiddenTargetError(Exception):
    """The name leads to an address that may not be told."""


def look_up(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name, as the system's resolver orders them. Raises OSError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # an empty label, or one of more than 63 characters
        raise OSError("it cannot be the name of a host") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class HttpSender:
    """See domain.webhook_delivery.Sender. Threads may share it, and so may forked processes before its first use."""

    def __init__(
        self,
        policy: TargetPolicy,
        *,
        timeout_seconds: float,
        ssl_context: SSLContext | None = None,
        resolve: Resolve = look_up,
    ) -> None:
        self._policy = policy
        self._timeout = timeout_seconds
        self._ssl_context = ssl_context
        self._resolve = resolve
        # Its own, since asyncio.run would wait for the threads of the loop's.
        self._resolvers = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="webhook-resolver")

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """See the port."""
        started = time.monotonic()
        result, status, error, retry_after = asyncio.run(self._attempt(url, headers, body))
        return Answer(result, time.monotonic() - started, status, error, retry_after)

    async def _attempt(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Result, int | None, str | None, timedelta | None]:
        from httpcore2 import NetworkError, ProtocolError, TimeoutException  # noqa: PLC0415 - for deliveries alone

        try:
            self._policy.check_url(url)
            async with asyncio.timeout(self._timeout) as deadline:
                return await self._post(url, headers, body, deadline)
        except (ForbiddenTargetError, InvalidWebhookError):
            return Result.FORBIDDEN, None, "Its address is not one that webhooks may be sent to.", None
        except (TimeoutError, TimeoutException):
            return Result.TIMEOUT, None, f"It did not answer within {self._timeout:g} s.", None
        except (NetworkError, ProtocolError, OSError) as error:
            return Result.UNREACHABLE, None, f"It cannot be reached: {_words(error)}", None

    async def _post(
        self, url: str, headers: Mapping[str, str], body: bytes, deadline: asyncio.Timeout
    ) -> tuple[Result, int | None, str | None, timedelta | None]:
        head = [("user-agent", USER_AGENT), ("accept", "*/*"), ("connection", "close"), *headers.items()]
        async with self._open_pool() as pool, pool.stream("POST", url, headers=head, content=body) as response:
            status = response.status
            deadline.reschedule(asyncio.get_running_loop().time() + 2 * BODY_SECONDS)
            await _read_a_little(response)
        if 200 <= status < 300:
            return Result.DELIVERED, status, None, None
        if status == 410:
            return Result.GONE, status, "It answered 410 Gone.", None
        redirect = ": redirects are not followed" if 300 <= status < 400 else ""
        return Result.REJECTED, status, f"It answered {status}{redirect}.", _asked_wait(response)

    def _open_pool(self) -> "AsyncConnectionPool":
        from httpcore2 import AsyncConnectionPool, default_ssl_context  # noqa: PLC0415

        # Reading the system's certificates takes longer than a whole delivery; two threads that do it do no harm.
        self._ssl_context = self._ssl_context or default_ssl_context()
        backend = _guarded_backend(self._addresses, self._timeout)
        return AsyncConnectionPool(ssl_context=self._ssl_context, max_connections=1, network_backend=backend)

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        """Look a host up once and return its addresses. Raises ForbiddenTargetError if any of them may not be told."""
        literal = parse_address(host)
        if literal is not None:
            found: Sequence[str] = [host]
        else:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._resolvers, self._resolve, host, port)
        addresses = [parse_address(each) for each in found]
        if not all(address is not None and self._policy.allows(address) for address in addresses):
            raise ForbiddenTargetError(host)
        return found


def _guarded_backend(addresses: Callable[[str, int], Any], timeout: float) -> Any:
    from httpcore2 import AnyIOBackend, ConnectError, ConnectTimeout  # noqa: PLC0415

    class GuardedBackend(AnyIOBackend):
        """Connects to the addresses that were looked at, never to a name."""

        async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> "AsyncNetworkStream":
            found = (await addresses(host, port))[:ADDRESSES_TRIED]
            failure: Exception = ConnectError(f"{host} has no address")
            for address in found:
                try:
                    return await super().connect_tcp(address, port, timeout=timeout / len(found))
                except (ConnectError, ConnectTimeout) as error:
                    failure = error
            raise failure

    return GuardedBackend()


async def _read_a_little(response: "Response") -> None:
    """Read the beginning of the body; the verdict stands already, so nothing that happens here matters."""
    from httpcore2 import NetworkError, ProtocolError  # noqa: PLC0415

    left = BODY_BYTES
    with suppress(TimeoutError, NetworkError, ProtocolError, OSError):
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in response.aiter_stream():
                left -= len(chunk)
                if left <= 0:
                    break


def _asked_wait(response: "Response") -> timedelta | None:
    """Read Retry-After: seconds or an HTTP date (RFC 9110, 10.2.3)."""
    value = next((value for name, value in response.headers if name.lower() == b"retry-after"), b"").decode("latin-1")
    with suppress(ValueError, TypeError, OverflowError):
        if value.strip().isdecimal():
            return timedelta(seconds=min(int(value), 10**6))
        return parsedate_to_datetime(value) - datetime.now(UTC) if value else None
    return None


def _words(error: Exception) -> str:
    """Return what went wrong, on one line, short."""
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
