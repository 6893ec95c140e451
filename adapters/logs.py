"""Logs: one handler for structlog and the standard library, JSON in production, colours for people."""

import logging
import os
import sys
from typing import Any

import structlog

#: Said by Dramatiq for every duplicate hint, which is normal here.
_NOISE = "was skipped."


def configure_logging(*, log_format: str, log_level: str) -> None:
    """Send structlog and the standard library through one handler on the real standard error.

    Dramatiq replaces sys.stderr of its workers with a pipe that long lines can break; the file descriptor is safe.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_renderers(_is_json(log_format)))
    )
    handler.addFilter(lambda record: _NOISE not in str(record.msg))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(log_level)
    for chatty in ("httpx2", "httpcore2", "openai"):
        logging.getLogger(chatty).setLevel("WARNING")


def _is_json(log_format: str) -> bool:
    return log_format == "json" or (log_format == "auto" and not _is_terminal())


def _renderers(is_json: bool) -> list[Any]:
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if is_json:
        return [strip, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # Its own traceback shows what local variables hold: keys and passwords.
    plain = structlog.dev.plain_traceback
    return [strip, structlog.dev.ConsoleRenderer(colors=_has_colours(), exception_formatter=plain)]


def _has_colours() -> bool:
    return _is_terminal() and not os.environ.get("NO_COLOR")


def _is_terminal() -> bool:
    return sys.__stderr__ is not None and sys.__stderr__.isatty()
