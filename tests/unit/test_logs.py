"""What people read on a terminal: no secrets, and colours only where they are wanted."""

import logging
import sys
from io import StringIO

import pytest
import structlog

from adapters.logs import _renderers


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def line(record: logging.LogRecord) -> str:
    return structlog.stdlib.ProcessorFormatter(processors=_renderers(is_json=False)).format(record)


def a_record(message: str, **more: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "x", "levelname": "ERROR", "msg": message} | more)


def test_a_traceback_shows_no_local_variables() -> None:
    secret = "hunter" + "2"
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        text = line(a_record("it failed", exc_info=sys.exc_info()))

    assert "RuntimeError: a bug" in text
    assert secret not in text


@pytest.mark.parametrize(
    ("stream", "no_color", "is_coloured"), [(Terminal(), "", True), (Terminal(), "1", False), (StringIO(), "", False)]
)
def test_colours_are_for_terminals_that_want_them(
    stream: StringIO, no_color: str, is_coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "__stderr__", stream)
    monkeypatch.setenv("NO_COLOR", no_color)

    assert ("\x1b[" in line(a_record("hello"))) is is_coloured
