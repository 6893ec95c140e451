"""Why a connection is closed. The codes from 4000 on are ours; the last two digits are those of the HTTP status."""

from dataclasses import dataclass

#: What is told to a client that is not reading has to get through within this.
FAREWELL_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Ending:
    """A close code of RFC 6455 and a sentence of at most 123 bytes."""

    code: int
    reason: str


BAD_REQUEST = Ending(4400, "The request is not valid: see since and client_id.")
UNAUTHENTICATED = Ending(4401, "Send a key, or a fresh ticket from POST /live/tickets: each works once.")
REVOKED = Ending(4401, "The key was revoked or has expired.")
FORBIDDEN = Ending(4403, "The key lacks the scope events.")
UNKNOWN_CHANNEL = Ending(4404, "There is no such channel.")
SLOW = Ending(4408, "You read too slowly. Connect again and resume after the last id that you have seen.")
TOO_MANY = Ending(4429, "Too many connections; close some or try again later.")
RESTART = Ending(1012, "The service restarts. Connect again and resume after the last id that you have seen.")
UNAVAILABLE = Ending(1013, "The database is not available at the moment; try again.")
BROKEN = Ending(1011, "The connection failed for a reason that is not yours; it was written down.")


class WatchEnded(Exception):
    """The watch is over, or has not begun."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending
