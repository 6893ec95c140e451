"""Who may watch what: a key in a header, or a ticket in the address for those who cannot send headers."""

from collections.abc import Mapping
from dataclasses import dataclass
from re import compile as compiled
from uuid import UUID

from starlette.requests import HTTPConnection

from adapters.api.auth import Principal, authenticate
from adapters.api.live.endings import BAD_REQUEST, FORBIDDEN, UNAUTHENTICATED, UNKNOWN_CHANNEL, WatchEnded
from adapters.api.live.hub import Watcher
from adapters.api.live.watch import Watching
from adapters.api.problems import Problem
from adapters.postgres.live import PostgresLive
from domain.api_keys import Scope
from domain.live import Channel, UnknownChannelError, parse_channel

CLIENT_ID = r"^[A-Za-z0-9._:-]{1,64}$"
_CLIENT_ID = compiled(CLIENT_ID)

#: The largest id that PostgreSQL can give.
MOST_SINCE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for."""

    channel: str
    since: int | None
    client_id: str | None
    ticket: str | None


def read_wish(channel: str, query: Mapping[str, str], last_event_id: str | None = None) -> Wish:
    """Read a request. Raises WatchEnded when it makes no sense."""
    since, client_id = last_event_id or query.get("since") or None, query.get("client_id") or None
    if client_id is not None and not _CLIENT_ID.match(client_id):
        raise WatchEnded(BAD_REQUEST)
    if since is not None and not (since.isascii() and since.isdigit() and int(since[:20]) <= MOST_SINCE):
        raise WatchEnded(BAD_REQUEST)
    return Wish(channel, None if since is None else int(since[:20]), client_id, query.get("ticket"))


async def admit(connection: HTTPConnection, wish: Wish, watching: Watching, live: PostgresLive) -> Watcher:
    """Return the watcher of a client that may watch. Raises WatchEnded, TransientError.

    The workspace is the caller's own: another one's documents and tasks are as unknown as those that never were.
    """
    caller = await _identify(connection, wish, watching, live)
    try:
        channel = parse_channel(wish.channel)
    except UnknownChannelError:
        raise WatchEnded(UNKNOWN_CHANNEL) from None
    found: Channel | None = await watching.ask(live.find_channel, caller.workspace_id, channel)
    if found is None:
        raise WatchEnded(UNKNOWN_CHANNEL)
    watcher = Watcher(caller.workspace_id, caller.key_id, found, wish.client_id)
    watching.hub.check_room(watcher)
    return watcher


async def _identify(connection: HTTPConnection, wish: Wish, watching: Watching, live: PostgresLive) -> Principal:
    if wish.ticket is not None:
        found: tuple[UUID, UUID] | None = await watching.ask(live.redeem_ticket, wish.ticket)
        if found is None:
            raise WatchEnded(UNAUTHENTICATED)
        return Principal(*found, frozenset({Scope.EVENTS}))
    kind, _, secret = connection.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer":
        raise WatchEnded(UNAUTHENTICATED)
    try:
        caller: Principal = await watching.ask(authenticate, connection.app, secret.strip())
    except Problem:
        raise WatchEnded(UNAUTHENTICATED) from None
    if Scope.EVENTS not in caller.scopes:
        raise WatchEnded(FORBIDDEN)
    return caller
