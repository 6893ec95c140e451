"""`python -m adapters.api`: serve the API with uvicorn. Exits with 78 when that cannot work with these settings."""

import errno
import socket
import sys

import uvicorn

from adapters.api.app import create_app
from adapters.logs import configure_logging
from adapters.settings import Settings, load_settings
from domain.errors import SettingsError

#: sysexits(3) EX_CONFIG: a restart does not help.
EXIT_CONFIGURATION = 78

#: Requests that run get this long after SIGTERM. Longer uploads are broken off; their senders try again.
SHUTDOWN_SECONDS = 20
#: What watchers say is ignored, so it has to be short.
MOST_SOCKET_MESSAGE_BYTES = 4096
#: A client that takes nothing for this long is cut off, whatever waits for it.
UNREAD_SECONDS = 60
#: Connections that wait to be accepted.
BACKLOG = 1024


def main() -> int:
    """Serve until a signal; return the exit code."""
    try:
        settings = load_settings()
        app = create_app(settings)
        listener = _listen(settings)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    configure_logging(log_format=settings.log_format, log_level=settings.log_level)
    options = uvicorn.Config(
        app,
        log_config=None,  # ours
        access_log=False,  # adapters/api/envelope.py writes one line a request
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        ws_per_message_deflate=False,  # would compress each event once for every watcher
        ws_max_size=MOST_SOCKET_MESSAGE_BYTES,
    )
    uvicorn.Server(options).run([listener])
    return 0


def _listen(settings: Settings) -> socket.socket:
    """Take the port. Raises SettingsError when somebody has it, or when it is none of this machine's."""
    family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; what is accepted inherits it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
    try:
        listener.bind((settings.api_host, settings.api_port))
    except OSError as error:
        listener.close()
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES) and not isinstance(
            error, socket.gaierror
        ):
            raise
        reason = error.strerror or type(error).__name__
        raise SettingsError(
            f"The API cannot listen on {settings.api_host}:{settings.api_port} ({reason}): set API_HOST and API_PORT; "
            "example: API_PORT=8080"
        ) from None
    return listener


if __name__ == "__main__":
    sys.exit(main())
