"""What surrounds every request: an id, security headers, one line in the log, an answer even to a bug."""

import logging
import re
import time
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.api.problems import problem_of, response_of

logger = logging.getLogger(__name__)

#: An id that a proxy in front may have given, so that both logs name the same request.
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")

#: Probes come every few seconds.
UNLOGGED = frozenset({"/livez", "/readyz", "/health"})

#: Answers are data of one caller: no page may frame, sniff, script or keep them.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000",
    "Cache-Control": "no-store",
}


class Envelope:
    """The outermost layer. A route that sets one of the headers itself keeps its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, began, status = _request_id(scope), time.monotonic(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if status:  # the answer has begun: all that is left is to break it off
                raise
            await response_of(problem_of(error))(scope, receive, send_with_headers)
        finally:
            if scope["path"] not in UNLOGGED:
                logger.info(
                    "%s %s %d %.1f ms request_id=%s",
                    scope["method"],
                    scope["path"].encode("unicode_escape").decode()[:200],  # no line of the log is a caller's
                    status,
                    (time.monotonic() - began) * 1000,
                    request_id,
                )


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value.decode("latin-1")):
            return str(value.decode("latin-1"))
    return uuid4().hex
