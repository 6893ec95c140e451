"""No request but an upload has a large body. The framework's own limit answers in plain text."""

import re

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.api.problems import Problem, response_of

MOST_BYTES = 256 * 1024

#: Uploads are streamed and count for themselves (uploads.py).
_STREAMED = re.compile(r"/documents(/batch|/[^/]+/file)?|/media|/tasks/files/process")

#: Two bodies, every character of them escaped; ten thousand recipients with a name and some variables each.
LARGER = {"/tasks/email/send": 4 * 1024 * 1024, "/tasks/email/bulk": 8 * 1024 * 1024}


class BodyLimit:
    """Refuses what declares itself too large, and stops reading what turns out to be."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or _STREAMED.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        most = LARGER.get(scope["path"], MOST_BYTES)
        detail = f"The request is larger than {most:,} bytes."
        if _declared(scope) > most:
            await response_of(Problem(413, "too_large", detail, headers={"Connection": "close"}))(scope, receive, send)
            return
        received = 0

        async def receive_some() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(413, detail)
            return message

        await self._app(scope, receive_some, send)


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0
