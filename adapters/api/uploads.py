"""Uploads: from the socket into storage, a few pieces at a time, with limits for bytes, time and number."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from anyio import CapacityLimiter
from fastapi import Request
from starlette.requests import ClientDisconnect

from adapters.api.multipart import FileBegins, FileBytes, FileEnds, read_multipart
from adapters.api.pipe import Taking
from adapters.api.problems import Problem, try_again
from adapters.settings import Settings
from domain.errors import HeadraceError

T = TypeVar("T")

#: Consumes a file in a thread: its name, its bytes.
Take = Callable[[str, Iterable[bytes]], T]

#: A sender that is silent for this long has gone.
IDLE_SECONDS = 30.0
#: What boundaries and headers may add to the bytes of the files.
OVERHEAD_BYTES = 64 * 1024
#: A batch holds at most so many files, and so many times the bytes of the largest document.
BATCH_FILES, BATCH_DOCUMENTS = 100, 10
#: After a refusal the rest of a small body is still read: many clients look at the answer only when they have sent all.
DRAIN_BYTES, DRAIN_SECONDS = 1024 * 1024, 2.0


class Uploads:
    """The uploads of this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limiter = CapacityLimiter(settings.api_most_uploads)
        self._running = 0

    async def receive_one(self, request: Request, take: Take[T]) -> T:
        """Stream the one file of a request into `take`, whose input ends only once the whole body has arrived.

        Raises Problem (400, 408, 413, 415, 422, 503) and what `take` raises.
        """
        body = self._body(request, self._settings.document_max_bytes)
        with self._slot():
            events = read_multipart(request.headers.get("content-type", ""), body)
            taking: Taking[T] | None = None
            try:
                async for event in events:
                    if isinstance(event, FileBegins):
                        if taking is not None:
                            raise Problem(422, "invalid_request", "Send one file; /documents/batch takes several.")
                        taking = self._start(take, event)
                    elif isinstance(event, FileBytes) and taking and not await taking.send(event.content):
                        break
                if taking is None:
                    raise Problem(422, "invalid_request", "The body has no file.")
                return await taking.finish()
            except BaseException:
                await _stop(taking, body)
                raise

    async def receive_many(self, request: Request, take: Take[T]) -> list[tuple[str, T | HeadraceError]]:
        """Stream every file of a request into a `take` of its own; what one is refused for does not stop the others.

        Raises Problem as `receive_one` does; files that were complete before that are taken all the same.
        """
        body = self._body(request, self._settings.document_max_bytes * BATCH_DOCUMENTS)
        taken: list[tuple[str, T | HeadraceError]] = []
        with self._slot():
            events = read_multipart(request.headers.get("content-type", ""), body)
            taking: Taking[T] | None = None
            name = ""
            try:
                async for event in events:
                    if isinstance(event, FileBegins):
                        if len(taken) == BATCH_FILES:
                            raise Problem(422, "invalid_request", f"A batch takes at most {BATCH_FILES} files.")
                        taking, name = self._start(take, event), event.name
                    elif isinstance(event, FileBytes) and taking:
                        await taking.send(event.content)
                    elif isinstance(event, FileEnds) and taking:
                        finished, taking = taking, None
                        outcome: T | HeadraceError = await _outcome(finished)
                        taken.append((name, outcome))
            except BaseException:
                await _stop(taking, body)
                raise
        if not taken:
            raise Problem(422, "invalid_request", "The body has no file.")
        return taken

    def _start(self, take: Take[T], file: FileBegins) -> Taking[T]:
        return Taking(lambda content: take(file.name, content), self._limiter)

    async def _body(self, request: Request, most_bytes: int) -> AsyncIterator[bytes]:
        """Yield the body. Raises Problem: 400, 408, 413, 415."""
        most_bytes += OVERHEAD_BYTES
        _check_declared(request, most_bytes)
        deadline, received = time.monotonic() + self._settings.api_upload_seconds, 0
        pieces = aiter(request.stream())
        while True:
            try:
                patience = min(IDLE_SECONDS, deadline - time.monotonic())
                piece = await asyncio.wait_for(anext(pieces), max(patience, 0))
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise Problem(408, "request_timeout", "The upload was too slow.", headers=CLOSE) from None
            except ClientDisconnect:
                raise Problem(400, "incomplete_body", "The upload was broken off.") from None
            received += len(piece)
            if received > most_bytes:
                raise _too_large(most_bytes)
            if piece:
                yield piece

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Count an upload from its first byte on, not only once its file has begun."""
        if self._running >= self._settings.api_most_uploads:
            raise try_again(503, "too_many_uploads", "Too many uploads are under way; try again.", 2)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1


CLOSE = {"Connection": "close"}


def _check_declared(request: Request, most_bytes: int) -> None:
    """Refuse at once what says itself that it cannot be taken."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "unsupported_media_type", "Send the body without Content-Encoding.")
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > most_bytes:
        raise _too_large(most_bytes)


def _too_large(most_bytes: int) -> Problem:
    detail = f"The request is larger than {most_bytes - OVERHEAD_BYTES:,} bytes."
    return Problem(413, "too_large", detail, headers=CLOSE)


async def _outcome(taking: Taking[T]) -> T | HeadraceError:
    try:
        return await taking.finish()
    except HeadraceError as error:
        return error


async def _stop(taking: Taking[T] | None, body: AsyncIterator[bytes]) -> None:
    """Stop taking, then read a little of what still comes."""
    if taking is not None:
        await taking.break_off()
    read, deadline = 0, time.monotonic() + DRAIN_SECONDS
    with suppress(Problem, TimeoutError, StopAsyncIteration, RuntimeError):
        while read < DRAIN_BYTES:
            read += len(await asyncio.wait_for(anext(body), max(deadline - time.monotonic(), 0)))
