"""Live progress as server-sent events: the same log, resumed by `Last-Event-ID`."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapters.api.live.endings import FAREWELL_SECONDS, Ending
from adapters.api.live.frames import Frame
from adapters.api.live.hub import Watcher
from adapters.api.live.watch import Watching

HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events until its buffer is full
}

#: What a browser waits before it connects again, in milliseconds.
RETRY = b"retry: 1000\n\n"
SIGN_OF_LIFE = b": still here\n\n"


class EventStream(Response):
    """An answer that lasts. It ends when the client leaves, reads too slowly, or may no longer watch."""

    media_type = "text/event-stream"

    def __init__(self, watching: Watching, watcher: Watcher, since: int | None) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["Content-Length"]
        self._watching = watching
        self._watcher = watcher
        self._since = since

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Serve the stream."""

        async def write(frames: Sequence[Frame]) -> None:
            body = b"".join(frame.stream for frame in frames) or SIGN_OF_LIFE
            await send({"type": "http.response.body", "body": body, "more_body": True})

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": RETRY, "more_body": True})
        ending = await self._watching.serve(self._watcher, self._since, write=write, gone=gone())
        if ending is not None:
            await _say(send, ending)


async def _say(send: Send, ending: Ending) -> None:
    body = f": {ending.code} {ending.reason}\n\n".encode()
    with suppress(TimeoutError, OSError):  # it does not read, or is gone
        async with asyncio.timeout(FAREWELL_SECONDS):
            await send({"type": "http.response.body", "body": body, "more_body": False})
