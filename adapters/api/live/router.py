"""The routes of live progress."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Security, WebSocket
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection

from adapters.api.auth import Principal, bearer, requires, unauthenticated
from adapters.api.documentation import problems
from adapters.api.live.admission import CLIENT_ID, MOST_SINCE, Wish, admit
from adapters.api.live.endings import (
    BAD_REQUEST,
    FORBIDDEN,
    TOO_MANY,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNKNOWN_CHANNEL,
    Ending,
    WatchEnded,
)
from adapters.api.live.service import Live
from adapters.api.live.socket import serve_socket
from adapters.api.live.stream import EventStream
from adapters.api.problems import Problem, try_again
from adapters.postgres.live import TICKET_CHARACTERS, TICKET_LIFETIME
from domain.api_keys import Scope

router = APIRouter(tags=["live"])

#: How long a client waits that found no room.
ROOM_SECONDS = 10

CODES = {
    BAD_REQUEST: "bad_request",
    UNAUTHENTICATED: "unauthenticated",
    FORBIDDEN: "insufficient_scope",
    UNKNOWN_CHANNEL: "channel_not_found",
}


STREAM_EXAMPLE = """\
retry: 1000

id: 4711
data: {"type":"connected","channel":"workspace","id":4711}

id: 4716
data: {"type":"task_notification","event":"document.ready","data":{"document_id":"…","state":"ready",…},"id":4716}

: still here
"""


class TicketOut(BaseModel):
    """What opens one connection, once."""

    ticket: str = Field(description="Goes into the address: `/ws/workspace?ticket=…`.", examples=["hrt_…"])
    expires_at: datetime
    expires_in: int = Field(description="Seconds from now.", examples=[30])


def live_of(connection: HTTPConnection) -> Live:
    """Return the live part of the process that serves a connection."""
    live: Live = connection.state.live
    return live


@router.post("/live/tickets", status_code=201, summary="Get a ticket for a browser", responses=problems())
def issue_ticket(request: Request, caller: Annotated[Principal, Depends(requires(Scope.EVENTS))]) -> TicketOut:
    """Return a ticket that opens one WebSocket or event stream of the workspace, once, within 30 seconds.

    For browsers, which cannot send a key with a WebSocket. Anybody else sends `Authorization: Bearer …` there.
    """
    ticket = live_of(request).store.issue_ticket(caller.workspace_id, caller.key_id)
    return TicketOut(
        ticket=ticket.secret, expires_at=ticket.expires_at, expires_in=int(TICKET_LIFETIME.total_seconds())
    )


def wish_of(
    channel: Annotated[
        str,
        Query(
            max_length=100, description="`workspace`, `document:<id>`, `task:<id>`, or a family such as `documents`."
        ),
    ] = "workspace",
    since: Annotated[
        int | None,
        Query(ge=0, le=MOST_SINCE, description="Resume after this id; 0: everything that is kept; none: from now on."),
    ] = None,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=MOST_SINCE, description="The same, as browsers send it; wins over `since`.")
    ] = None,
    client_id: Annotated[str | None, Query(pattern=CLIENT_ID, description="Your name for the connection.")] = None,
    ticket: Annotated[
        str | None, Query(max_length=TICKET_CHARACTERS, description="From `POST /live/tickets`, instead of a key.")
    ] = None,
) -> Wish:
    """Read what the caller wants to watch."""
    return Wish(channel, last_event_id if last_event_id is not None else since, client_id, ticket)


@router.get(
    "/events",
    status_code=200,
    response_class=EventStream,
    summary="Follow what happens (server-sent events)",
    responses={
        200: {
            "description": "Events, until one of both sides ends it.",
            "content": {EventStream.media_type: {"schema": {"type": "string"}, "example": STREAM_EXAMPLE}},
        },
        **problems(404),
    },
)
async def follow_events(
    request: Request,
    wish: Annotated[Wish, Depends(wish_of)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)],  # noqa: ARG001 - for the description
) -> EventStream:
    """Stream the events of a channel, each exactly once and in order, starting where the caller left off.

    Every event is `{"type": "task_notification", "event": …, "data": …, "id": …}`. The first message is
    `{"type": "connected", "id": …}`, the place to resume from before anything has happened.
    """
    live = live_of(request)
    try:
        watcher = await admit(request, wish, live.watching, live.store)
    except WatchEnded as refusal:
        raise _problem(refusal.ending) from None
    return EventStream(live.watching, watcher, wish.since)


@router.websocket("/ws/{channel}")
async def watch(websocket: WebSocket, channel: str) -> None:
    """Serve a WebSocket; see docs/live.md."""
    live = live_of(websocket)
    await serve_socket(websocket, channel, live.watching, live.store)


def _problem(ending: Ending) -> Problem:
    if ending == UNAUTHENTICATED:
        return unauthenticated(ending.reason)
    if ending == TOO_MANY:
        return try_again(429, "too_many_connections", ending.reason, ROOM_SECONDS)
    if ending == UNAVAILABLE:
        return try_again(503, "unavailable", ending.reason, 1)
    return Problem(ending.code - 4000, CODES[ending], ending.reason)
