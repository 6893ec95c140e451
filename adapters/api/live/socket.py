"""Live progress over a WebSocket: one event, one text message."""

import asyncio
from collections.abc import Sequence

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from adapters.api.live.admission import admit, read_wish
from adapters.api.live.endings import FAREWELL_SECONDS, UNAVAILABLE, Ending, WatchEnded
from adapters.api.live.frames import Frame
from adapters.api.live.watch import Watching
from adapters.postgres.live import PostgresLive
from domain.errors import TransientError


async def serve_socket(websocket: WebSocket, channel: str, watching: Watching, live: PostgresLive) -> None:
    """Serve one socket from handshake to close. A refusal is a close code, since browsers show nothing else."""
    await websocket.accept()
    ending = await _serve(websocket, channel, watching, live)
    if ending is not None and websocket.application_state is WebSocketState.CONNECTED:
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await websocket.close(ending.code, ending.reason)
        except (TimeoutError, WebSocketDisconnect, RuntimeError):
            return  # it does not read, or is gone


async def _serve(websocket: WebSocket, channel: str, watching: Watching, live: PostgresLive) -> Ending | None:
    try:
        wish = read_wish(channel, websocket.query_params)
        watcher = await admit(websocket, wish, watching, live)
    except WatchEnded as refusal:
        return refusal.ending
    except TransientError:
        return UNAVAILABLE

    async def write(frames: Sequence[Frame]) -> None:
        for frame in frames:  # the protocol's own pings are the sign of life
            await websocket.send_text(frame.text)

    return await watching.serve(watcher, wish.since, write=write, gone=_gone(websocket))


async def _gone(websocket: WebSocket) -> None:
    """Wait until the client leaves; what it says is ignored."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
